"""``init`` and ``ci``: what a project begins with."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import UsageError
from ..report.printing import print_json
from .parsing import CommandParser


def add_init(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``init``."""
    from ..settings import STRATEGIES

    parser.add_argument("directory", metavar="DIR", nargs="?", default=".", help="the project (default: here)")
    parser.add_argument("--target", "--plat", metavar="TAG", help="platform tag to reach, as manylinux_2_17")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--strategy", choices=STRATEGIES, help="where the inner backend runs")
    where.add_argument("--container", action="store_true", help="build in images, by an empty container table")
    parser.add_argument("--from-cibuildwheel", action="store_true", help="translate [tool.cibuildwheel], too")
    parser.add_argument("--remove-cibuildwheel", action="store_true", help="and take the table out")
    parser.add_argument("--undo", action="store_true", help="put back what an earlier init changed")
    parser.add_argument("-n", "--dry-run", action="store_true", help="show the changes, write nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="write without asking")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run_init)


def _run_init(options: argparse.Namespace) -> int:
    from pathlib import Path

    from ..adopting.init import Wishes, apply_proposal, propose_init, propose_undo
    from ..report.adopting import init_data, init_text

    directory = Path(options.directory)
    settings: dict[str, Any] = {name: getattr(options, name) for name in ("target", "strategy")}
    settings = {name: value for name, value in settings.items() if value is not None}
    if options.container:
        settings["container"] = {}
    if options.undo and (settings or options.from_cibuildwheel or options.remove_cibuildwheel):
        raise UsageError("--undo takes no settings", "give the directory alone")
    if options.remove_cibuildwheel and not options.from_cibuildwheel:
        raise UsageError("--remove-cibuildwheel goes with --from-cibuildwheel")
    if options.undo:
        proposal = propose_undo(directory)
    else:
        proposal = propose_init(directory, Wishes(settings, options.from_cibuildwheel, options.remove_cibuildwheel))
    if not options.json:
        print(init_text(proposal), end="")
    write = proposal.changes and not options.dry_run
    if write and not options.yes:
        _ask(proposal.path, options.json)
    if write:
        apply_proposal(proposal)
    if options.json:
        print_json(init_data(proposal, write))
    elif write:
        print(f"{'removed' if proposal.after is None else 'wrote'} {proposal.path}")
    return 0


def _ask(path: object, as_json: bool) -> None:
    """Ask on a terminal whether to write; elsewhere nobody answers."""
    if as_json or not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("nothing was written: there is no terminal to ask on", "--yes writes, --dry-run only shows")
    try:
        answer = input(f"Write {path}? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was written")


def add_ci(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``ci``."""
    services = parser.add_subparsers(metavar="SERVICE", required=True, parser_class=CommandParser)
    about = "print a workflow for GitHub Actions"
    github = services.add_parser("github", help=about)
    github.about = about
    github.add_argument("directory", metavar="DIR", nargs="?", default=".", help="the project (default: here)")
    github.add_argument("--matrix", action="store_true", help="print the matrix alone, as JSON")
    github.add_argument("--python", metavar="X.Y[-X.Y]", action="append", help="interpreters; repeatable")
    github.add_argument("--target", metavar="TAG", action="append", help="platform tag to build for; repeatable")
    github.add_argument("--environment", metavar="NAME", default="pypi", help="that publishes (default: pypi)")
    github.add_argument("--no-publish", action="store_true", help="build and test only")
    github.add_argument("--output", metavar="FILE", help="write it there, instead of printing it")
    github.add_argument("--force", action="store_true", help="replace a file that was not made by this command")
    github.set_defaults(run=_run_ci_github)


def _run_ci_github(options: argparse.Namespace) -> int:
    from pathlib import Path

    from ..adopting.github import matrix, workflow
    from ..adopting.workflows import read_request, write_workflow

    directory = Path(options.directory)
    request = read_request(
        directory, options.python, options.target, options.environment, publish=not options.no_publish
    )
    if options.matrix:
        import json

        text = json.dumps(matrix(request)) + "\n"
    else:
        text = workflow(request, options.output)
    if options.output is None:
        print(text, end="")
    else:
        print(write_workflow(Path(options.output), text, options.force))
    return 0
