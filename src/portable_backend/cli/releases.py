"""``build`` of several wheels."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from ..errors import error_of_kind
from ..report.printing import complain, output_to_stderr, print_json


def run_releases(options: argparse.Namespace, targets: Sequence[str], config_settings: dict[str, Any]) -> int:
    """Build what is asked for, but what is there already; for the parsed options of ``build``.

    :param config_settings: for the inner backend and for us, without a target.
    :returns: the exit status.
    """
    from pathlib import Path

    from ..releasing.prepare import Options, plan_release
    from ..releasing.run import opened_project, run_release
    from ..report.colour import wants_colour
    from ..report.live import open_display
    from ..report.release import plan_data, plan_text, summary_data, summary_text

    wanted = Options(
        source=options.source,
        directory=Path(options.wheel_dir),
        config_settings=config_settings,
        targets=tuple(targets),
        pythons=tuple(options.python),
        isolated=not options.no_isolation,
        sdist=options.sdist,
        sdist_only=options.sdist_only,
        skip_existing=options.skip_existing,
        parallel=options.jobs,
        log_dir=None if options.log_dir is None else Path(options.log_dir),
        smoke=options.smoke,
        tests=not options.no_test,
        fail_fast=options.fail_fast,
    )
    with ExitStack() as stack:
        stack.enter_context(output_to_stderr(silent=options.quiet))
        display = stack.enter_context(open_display(options.quiet))
        opened, root = stack.enter_context(opened_project(wanted, display))
        plan = plan_release(opened, root, display.note)
        display.expect(len(plan.jobs) + (plan.sdist == "build"))
        summary = None if options.list else run_release(opened, plan, root, display, _said(options))
    if summary is None:
        print_json(plan_data(plan)) if options.json else print(plan_text(plan))
        return 0
    if not options.quiet:
        print(summary_text(summary, wants_colour(sys.stderr, os.environ)), file=sys.stderr)
    if options.json:
        print_json(summary_data(summary))
    else:
        for path in filter(None, (summary.sdist, *summary.wheels)):
            print(path)
    for row in summary.rows:
        if row.error is not None and row.status == "failed":
            message = f"{row.label}: {row.error['message']}"
            complain(error_of_kind(row.error["kind"], message, row.error["cure"]))
    return summary.exit_code


def _said(options: argparse.Namespace) -> list[str]:
    """The words of the command that each job of a release repeats."""
    words = ["-w", options.wheel_dir]
    words += [
        word
        for name in ("strategy", "mode")
        if getattr(options, name)
        for word in (f"--{name}", getattr(options, name))
    ]
    words += [word for soname in options.exclude or () for word in ("--exclude", soname)]
    words += [word for text in options.config_setting for word in ("-C", text)]
    flags = ("strip", "no_isolation", "smoke", "no_test")
    return words + [f"--{name.replace('_', '-')}" for name in flags if getattr(options, name)]
