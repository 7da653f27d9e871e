"""Parsers that are filled when they are used, and what their options have in common."""

from __future__ import annotations

import argparse
import os
import sys


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

    def make_commands(self) -> list[CommandParser]:
        """The parsers of its commands, all of them made."""
        return [each for action in self._actions if isinstance(action, Commands) for each in action.make_all()]

    def format_usage(self) -> str:
        from ..describing import read_command, usage

        self.make_commands()
        return f"usage: {usage(read_command(self, tuple(self.prog.split())))}\n"

    def format_help(self, everything: bool = False) -> str:
        from ..describing import help_text, read_command

        self.make_commands()
        described = read_command(self, tuple(self.prog.split()), self.description or self.about)
        return help_text(described, _columns() - 1, everything)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Optional

    _SubParsersAction = argparse._SubParsersAction[CommandParser]
else:
    _SubParsersAction = argparse._SubParsersAction


class Commands(_SubParsersAction):
    """Commands of which each parser is made when it is the one that was given: each takes a millisecond."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._announced: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], str]] = {}

    def announce(
        self, name: str, fill: Callable[[argparse.ArgumentParser], None], about: str, aliases: Sequence[str] = ()
    ) -> None:
        """Add a command that :meth:`CommandParser.complete` fills; ``about`` is its line in the help."""
        self._choices_actions.append(self._ChoicesPseudoAction(name, aliases, about))
        for each in (name, *aliases):
            self._announced[each] = (name, fill, about)
            self._name_parser_map[each] = None  # type: ignore[assignment]  # made when it is asked for

    def _make(self, given: str) -> CommandParser:
        name, fill, about = self._announced[given]
        made = self._name_parser_map[name] or CommandParser(prog=f"{self._prog_prefix} {name}")
        made.fill, made.about = fill, about
        self._name_parser_map[given] = self._name_parser_map[name] = made
        return made

    def make_all(self) -> list[CommandParser]:
        """The parsers of all commands."""
        return list(dict.fromkeys(self._name_parser_map[name] or self._make(name) for name in self._announced))

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None) -> None:
        if self._name_parser_map.get(values[0], True) is None:
            self._make(values[0])
        super().__call__(parser, namespace, values, option)


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
