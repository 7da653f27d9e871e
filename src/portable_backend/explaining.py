"""``audit`` with more to say: ``--explain``, ``--html`` and ``--diff``. Imported when one of them is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from .auditing.closer import Closer, look_closer
from .auditing.verdict import JudgeOptions
from .errors import OutputError, PortableBackendError, UsageError
from .report.printing import print_json, print_report, progress_of, report_error, tell_github
from .signs import working

if TYPE_CHECKING:
    import argparse

    from .report.printing import Outcome


def run_closer(options: argparse.Namespace, judge: JudgeOptions) -> int:
    """Run ``audit`` with one of the options that take a closer look, and return its exit status."""
    if options.diff:
        return _run_diff(options, judge)
    if options.html and len(options.wheels) != 1:
        raise UsageError("--html writes a page about one wheel", "give one wheel for each page")
    if options.map and not (options.explain or options.html):
        raise UsageError("--map is of use with --explain or --html only")
    worst = 0
    outcomes: list[Outcome] = []
    progress = progress_of(options)
    for path in options.wheels:
        try:
            with working(f"looking into {os.path.basename(path)}", options.quiet):
                look = look_closer(path, judge, options.map, progress=progress)
                if options.html:
                    _write_page(options.html, look, path, progress)
        except PortableBackendError as error:
            worst = max(worst, error.exit_code)
            outcomes.append((path, error))
            report_error(path, error, options.json)
            continue
        outcomes.append((path, look.verdict))
        if options.json or not (options.quiet and look.verdict.compliant):
            _tell(look, path, options)
        worst = max(worst, 0 if look.verdict.compliant else 1)
    tell_github("audit", outcomes, options)
    return worst


def _tell(look: Closer, path: str, options: argparse.Namespace) -> None:
    from .report.data import verdict_data
    from .report.explained import explained_text, explanation_data
    from .report.text import verdict_text

    if options.json:
        more = {"explanation": explanation_data(look, path)} if options.explain else {}
        print_json({**verdict_data(look.name, look.verdict), **more})
    elif options.explain:
        print_report(explained_text(look, path, options.verbose))
    else:
        print_report(verdict_text(look.name, look.verdict, options.verbose))


def _run_diff(options: argparse.Namespace, judge: JudgeOptions) -> int:
    from .report.changes import changes_data, changes_text, find_changes

    if len(options.wheels) != 2:
        raise UsageError("--diff compares two wheels", "portable-backend audit --diff OLD NEW")
    if options.html or options.explain or options.map:
        raise UsageError("--diff goes with neither --html, --explain nor --map", "ask for one after the other")
    looks = []
    for path in options.wheels:
        try:
            with working(f"looking into {os.path.basename(path)}", options.quiet):
                looks.append(look_closer(path, judge, callers=False))
        except PortableBackendError as error:
            report_error(path, error, options.json)
            return error.exit_code
    changes = find_changes(*looks)
    if options.json:
        print_json(changes_data(changes))
    elif not (options.quiet and not changes.different):
        print_report(changes_text(changes, options.verbose))
    return 1 if changes.different else 0


def _write_page(target: str, look: Closer, path: str, progress: Callable[[str], None]) -> None:
    from pathlib import Path

    from .report.page import make_page
    from .wheels.writing import writing

    if os.path.exists(target) and not os.path.isfile(target):
        raise OutputError(f"{target}: is no regular file", "name a file")
    with writing(Path(target)) as file:
        file.write(make_page(look, path).encode("utf-8", "backslashreplace"))
    progress(f"wrote {target}")


__all__ = ["run_closer"]
