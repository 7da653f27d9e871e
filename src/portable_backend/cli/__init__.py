"""The command line: parsing and printing only. Each command has its options and its output in a module of its own."""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import suppress

from .. import __version__
from ..errors import PortableBackendError, missing_requirement, printable
from .plain import PlainLine

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import SimpleNamespace
    from typing import Any, Optional

    from ..describing import Command
    from .parsing import CommandParser
    from .plain import Options

_INTERNAL_ERROR = 70
_INTERRUPTED = 130
_TERMINATED = 143


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command and return its exit code (see :mod:`portable_backend.errors`)."""
    # A command makes many values, few circles, and soon ends; so do modules, which are imported behind this.
    gc.set_threshold(100_000)
    from ..interrupts import Terminated, terminable

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know fewer letters than a report has
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if arguments is None else arguments
    options: Any = read_plain(arguments) or _parser().parse_args(arguments)
    try:
        with terminable():
            return int(options.run(options))
    except PortableBackendError as error:
        if os.environ.get("PORTABLE_BACKEND_TRACEBACK") == "1":
            import traceback

            traceback.print_exc()
        return _complain(error, options)
    except KeyboardInterrupt as interrupt:
        print("portable-backend: interrupted", file=sys.stderr)
        return _TERMINATED if isinstance(interrupt, Terminated) else _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _INTERNAL_ERROR
    except Exception as error:
        blocked = missing_requirement(error) if isinstance(error, ModuleNotFoundError) else None
        if blocked is not None:
            return _complain(blocked, options)
        if os.environ.get("PORTABLE_BACKEND_TRACEBACK") == "1":
            raise
        print(printable(f"portable-backend: internal error: {type(error).__name__}: {error}"), file=sys.stderr)
        print("  cure: PORTABLE_BACKEND_TRACEBACK=1 shows where; please report it", file=sys.stderr)
        print(f"  see: {PortableBackendError('').address}", file=sys.stderr)
        return _INTERNAL_ERROR


def _complain(error: PortableBackendError, options: Any) -> int:
    from ..report.printing import complain

    complain(error, annotate=not getattr(options, "json", False))
    return error.exit_code


def run() -> None:
    """Run the command that the process was started with, and end it.

    A command that only reads and writes files has nothing left to clear up then; the interpreter would take every value
    apart, which takes as long as starting it: :func:`os._exit`.
    """
    reads = bool(sys.argv[1:2]) and sys.argv[1] in _LEAVES_NOTHING
    if reads:
        with suppress(ImportError):  # where it was not built
            from .._native import spare_memory

            spare_memory()
    code = main()
    if reads and _is_alone():
        try:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
        except OSError:
            pass  # the interpreter says so, as it does for every program
        else:
            os._exit(code)
    sys.exit(code)


def _is_alone() -> bool:
    import threading  # imported by now

    return threading.active_count() == 1


# Of each command the module that knows it, which is imported when that command was given.
_COMMANDS = (
    ("build", "building", "build a compliant wheel of any project"),
    ("plan", "building", "say what a build would do, and why"),
    ("audit", "judging", "say what wheels are, and whether their tags are true"),
    ("repair", "judging", "make wheels compliant that were built elsewhere"),
    ("cache", "cache", "what the container strategy keeps between builds"),
    ("doctor", "doctor", "say what this machine can build with, and what is missing"),
    ("init", "projects", "make an existing project use portable-backend"),
    ("ci", "projects", "print a workflow that builds and publishes"),
)
_ALIASES = {"audit": ("show",)}
_LEAVES_NOTHING = ("audit", "show", "repair")


def read_plain(arguments: Sequence[str]) -> Optional[SimpleNamespace]:
    """What a command line asks for, as the parser would tell, if that can be told without it (see :mod:`.plain`)."""
    given = arguments[0] if arguments else ""
    if given not in _LEAVES_NOTHING:
        return None
    name, module = next((name, module) for name, module, _ in _COMMANDS if given in (name, *_ALIASES.get(name, ())))
    line = PlainLine()
    _fill(name, module, line)
    return line.read(arguments[1:])


def _parser() -> CommandParser:
    from functools import partial

    from .parsing import CommandParser, Commands

    parser = CommandParser(prog="portable-backend", description="Build, judge and repair portable wheels.")
    parser.add_argument("--version", action="version", version=f"portable-backend {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=CommandParser, action=Commands)
    assert isinstance(commands, Commands)
    for name, module, about in _COMMANDS:
        commands.announce(name, partial(_fill, name, module), about, _ALIASES.get(name, ()))
    commands.announce("completion", _add_completion, "print a script for tab completion")
    return parser


def _fill(name: str, module: str, parser: Options) -> None:
    """Make the options of a command."""
    getattr(__import__(f"{__name__}.{module}", fromlist=("",)), f"add_{name}")(parser)


def described() -> Command:
    """The whole command line as a value."""
    from ..describing import read_command

    def complete(parser: CommandParser) -> None:
        parser.complete()
        for each in parser.make_commands():
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
