"""Parsers that are filled when they are used, and what their options have in common."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, Optional


class CommandParser(argparse.ArgumentParser):
    """A command whose options are made when it is the one that was given: none waits for the others' imports."""

    fill: Optional[Callable[[argparse.ArgumentParser], None]] = None
    about: str = ""

    def _get_formatter(self) -> argparse.HelpFormatter:
        # Asked for with each option; left to itself it imports shutil, and that the compressors, to learn a width.
        return argparse.HelpFormatter(self.prog, width=_columns() - 2)

    def parse_known_args(self, *arguments: Any, **named: Any) -> Any:
        self.complete()
        return super().parse_known_args(*arguments, **named)

    def complete(self) -> None:
        """Make the options."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)
            if any(
                group.title not in (self._positionals.title, self._optionals.title) for group in self._action_groups
            ):
                self.add_argument("--help-all", action=_HelpAll, nargs=0, help="explain all options and exit")

    def format_usage(self) -> str:
        from ..describing import read_command, usage

        return f"usage: {usage(read_command(self, tuple(self.prog.split())))}\n"

    def format_help(self, everything: bool = False) -> str:
        from ..describing import help_text, read_command

        described = read_command(self, tuple(self.prog.split()), self.description or self.about)
        return help_text(described, _columns() - 1, everything)


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, CommandParser)
        sys.stdout.write(parser.format_help(everything=True))
        parser.exit()


def _columns() -> int:
    """The width of the terminal, as :func:`shutil.get_terminal_size` finds it."""
    text = os.environ.get("COLUMNS", "")
    if text.isdecimal() and int(text):
        return int(text)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1).columns or 80
    except (OSError, ValueError):
        return 80


def add_quiet(parser: argparse.ArgumentParser, text: str = "no progress") -> None:
    """Add ``--quiet``; ``text`` is its help."""
    parser.add_argument("-q", "--quiet", action="store_true", help=text)
