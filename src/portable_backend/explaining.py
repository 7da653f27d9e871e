"""``audit`` with more to say: ``--explain``, ``--html`` and ``--diff``. Imported when one of them is asked for."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from .auditing.closer import Closer, look_closer
from .auditing.verdict import JudgeOptions
from .errors import OutputError, PortableBackendError, UsageError
from .report.progress import tell


def run_closer(options: argparse.Namespace, judge: JudgeOptions) -> int:
    """Run ``audit`` with one of the options that take a closer look, and return its exit status."""
    if options.diff:
        return _run_diff(options, judge)
    if options.html and len(options.wheels) != 1:
        raise UsageError("--html writes a page about one wheel", "give one wheel for each page")
    if options.map and not (options.explain or options.html):
        raise UsageError("--map is of use with --explain or --html only")
    worst = 0
    for path in options.wheels:
        try:
            look = look_closer(path, judge, options.map, progress=tell)
            if options.html:
                _write_page(options.html, look, path)
        except PortableBackendError as error:
            worst = max(worst, error.exit_code)
            _report_error(path, error, options.json)
            continue
        _tell(look, path, options)
        worst = max(worst, 0 if look.verdict.compliant else 1)
    return worst


def _tell(look: Closer, path: str, options: argparse.Namespace) -> None:
    from .report.data import verdict_data
    from .report.explained import explained_text, explanation_data
    from .report.terminal import print_report
    from .report.text import verdict_text

    if options.json:
        more = {"explanation": explanation_data(look, path)} if options.explain else {}
        print(json.dumps({**verdict_data(look.name, look.verdict), **more}))
    elif options.explain:
        print_report(explained_text(look, path, options.verbose))
    else:
        print_report(verdict_text(look.name, look.verdict, options.verbose))


def _run_diff(options: argparse.Namespace, judge: JudgeOptions) -> int:
    from .report.changes import changes_data, changes_text, find_changes
    from .report.terminal import print_report

    if len(options.wheels) != 2:
        raise UsageError("--diff compares two wheels", "portable-backend audit --diff OLD NEW")
    if options.html or options.explain or options.map:
        raise UsageError("--diff goes with neither --html, --explain nor --map", "ask for one after the other")
    looks = []
    for path in options.wheels:
        try:
            looks.append(look_closer(path, judge, callers=False))
        except PortableBackendError as error:
            _report_error(path, error, options.json)
            return error.exit_code
    changes = find_changes(*looks)
    if options.json:
        print(json.dumps(changes_data(changes)))
    else:
        print_report(changes_text(changes, options.verbose))
    return 1 if changes.different else 0


def _report_error(path: str, error: PortableBackendError, as_json: bool) -> None:
    if as_json:
        from .report.data import error_data

        data: dict[str, Any] = error_data(os.path.basename(path), error)
        print(json.dumps(data))
    print(f"portable-backend: error: {error}", file=sys.stderr)


def _write_page(target: str, look: Closer, path: str) -> None:
    from pathlib import Path

    from .report.page import make_page
    from .wheels.writing import writing

    if os.path.exists(target) and not os.path.isfile(target):
        raise OutputError(f"{target}: is no regular file", "name a file")
    with writing(Path(target)) as file:
        file.write(make_page(look, path).encode("utf-8", "backslashreplace"))
    tell(f"wrote {target}")


__all__ = ["run_closer"]
