"""The command line: parsing and printing only. Each command has its options and its output in a module of its own."""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Optional

from .. import __version__
from ..errors import PortableBackendError
from ..interrupts import Terminated, terminable
from .parsing import CommandParser

if TYPE_CHECKING:
    from ..describing import Command

_INTERNAL_ERROR = 70
_INTERRUPTED = 130
_TERMINATED = 143


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command and return its exit code (see :mod:`portable_backend.errors`)."""
    gc.set_threshold(100_000)  # a command makes many values, few circles, and soon ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know fewer letters than a report has
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        with terminable():
            return int(options.run(options))
    except PortableBackendError as error:
        if os.environ.get("PORTABLE_BACKEND_TRACEBACK") == "1":
            import traceback

            traceback.print_exc()
        from .printing import complain

        complain(error, annotate=not getattr(options, "json", False))
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print("portable-backend: interrupted", file=sys.stderr)
        return _TERMINATED if isinstance(interrupt, Terminated) else _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _INTERNAL_ERROR
    except Exception as error:
        if os.environ.get("PORTABLE_BACKEND_TRACEBACK") == "1":
            raise
        print(f"portable-backend: internal error: {type(error).__name__}: {error}", file=sys.stderr)
        print("  cure: PORTABLE_BACKEND_TRACEBACK=1 shows where; please report it", file=sys.stderr)
        print(f"  see: {PortableBackendError('').address}", file=sys.stderr)
        return _INTERNAL_ERROR


def _parser() -> CommandParser:
    parser = CommandParser(prog="portable-backend", description="Build, judge and repair portable wheels.")
    parser.add_argument("--version", action="version", version=f"portable-backend {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=CommandParser)

    def add(name: str, fill: Callable[[argparse.ArgumentParser], None], about: str, *aliases: str) -> None:
        command = commands.add_parser(name, help=about, aliases=aliases)
        command.fill, command.about = fill, about

    add("build", _add_build, "build a compliant wheel of any project")
    add("plan", _add_plan, "say what a build would do, and why")
    add("audit", _add_audit, "say what wheels are, and whether their tags are true", "show")
    add("repair", _add_repair, "make wheels compliant that were built elsewhere")
    add("cache", _add_cache, "what the container strategy keeps between builds")
    add("doctor", _add_doctor, "say what this machine can build with, and what is missing")
    add("init", _add_init, "make an existing project use portable-backend")
    add("ci", _add_ci, "print a workflow that builds and publishes")
    add("completion", _add_completion, "print a script for tab completion")
    return parser


# A command's module is imported when that command was given.


def _add_build(parser: argparse.ArgumentParser) -> None:
    from .building import add_build

    add_build(parser)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    from .building import add_plan

    add_plan(parser)


def _add_audit(parser: argparse.ArgumentParser) -> None:
    from .judging import add_audit

    add_audit(parser)


def _add_repair(parser: argparse.ArgumentParser) -> None:
    from .judging import add_repair

    add_repair(parser)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    from .cache import add_cache

    add_cache(parser)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    from .doctor import add_doctor

    add_doctor(parser)


def _add_init(parser: argparse.ArgumentParser) -> None:
    from .projects import add_init

    add_init(parser)


def _add_ci(parser: argparse.ArgumentParser) -> None:
    from .projects import add_ci

    add_ci(parser)


def described() -> Command:
    """The whole command line as a value."""
    from ..describing import read_command

    def complete(parser: argparse.ArgumentParser) -> None:
        if isinstance(parser, CommandParser):
            parser.complete()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for each in dict.fromkeys(action.choices.values()):
                    complete(each)

    parser = _parser()
    complete(parser)
    return read_command(parser, ("portable-backend",), parser.description or "")


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    parser.set_defaults(run=_run_completion)


def _run_completion(options: argparse.Namespace) -> int:
    from ..completion import SCRIPTS

    print(SCRIPTS[options.shell](described()), end="")
    return 0
