"""``doctor``."""

from __future__ import annotations

import argparse
import os
import sys

from ..report.printing import print_json
from ..signs import working
from .plain import add_quiet


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``doctor``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_quiet(parser, "only what is not in order")
    parser.set_defaults(run=_run_doctor)


def _run_doctor(options: argparse.Namespace) -> int:
    from ..doctor.examine import examine
    from ..report.colour import wants_colour
    from ..report.doctor import doctor_data, doctor_text, is_well

    with working("looking at this machine", options.quiet):
        diagnosis = examine()
    if options.json:
        print_json(doctor_data(diagnosis))
    else:
        print(doctor_text(diagnosis, wants_colour(sys.stdout, os.environ), options.quiet))
    return 0 if is_well(diagnosis) else 1
