"""``audit`` and ``repair``."""

from __future__ import annotations

import os

from ..errors import PortableBackendError, WheelError, one_line
from ..report.printing import print_json, print_report, progress_of, report_error, tell_github
from ..signs import working
from .plain import add_quiet

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..repairing.plan import RepairOptions
    from ..report.printing import Outcome
    from .plain import Options

_LIBS_DIR = ".libs"


def _add_judging(parser: Options) -> None:
    parser.add_argument("wheels", metavar="WHEEL", nargs="+", help="file of a wheel")
    parser.add_argument(
        "--exclude", metavar="SONAME", action="append", default=[], help="library (pattern) that users have; repeatable"
    )
    parser.add_argument("--disable-isa-ext-check", action="store_true", help="waive requirements of instruction sets")
    parser.add_argument("--disable-abi3-check", action="store_true", help="take the word of a stable ABI tag for it")
    parser.add_argument("--json", action="store_true", help="print one JSON object per wheel, a line each")
    parser.add_argument("-v", "--verbose", action="store_true", help="every finding, not just the deciding ones")


def add_audit(parser: Options) -> None:
    """Add the options of ``audit``."""
    _add_judging(parser)
    add_quiet(parser, "of wheels only those that are not what they claim")
    parser.add_argument("--explain", action="store_true", help="policy by policy, who calls for what, and what to type")
    parser.add_argument(
        "--map",
        metavar="[MEMBER=]FILE",
        action="append",
        default=[],
        help="linker map that tells archive members; repeatable",
    )
    parser.add_argument("--html", metavar="FILE", help="write one page with pictures and a symbol table")
    parser.add_argument("--diff", action="store_true", help="what changed between two wheels, OLD and NEW")
    parser.set_defaults(run=_run_audit)


def add_repair(parser: Options) -> None:
    """Add the options of ``repair``."""
    _add_judging(parser)
    add_quiet(parser)
    plat = os.environ.get("AUDITWHEEL_PLAT", "auto")
    level = os.environ.get("AUDITWHEEL_ZIP_COMPRESSION_LEVEL", "6")
    parser.add_argument(
        "--plat",
        "--target",
        metavar="TAG",
        default=plat,
        help="tag to reach (default: $AUDITWHEEL_PLAT, or the best)",
    )
    parser.add_argument("-w", "--wheel-dir", metavar="DIR", default="wheelhouse", help="default: wheelhouse")
    parser.add_argument("-L", "--lib-sdir", metavar="SUFFIX", default=_LIBS_DIR, help="of the directory of grafts")
    parser.add_argument("--ldpaths", metavar="DIR[:DIR]…", default="", help="directories to search for libraries first")
    parser.add_argument(
        "--graft",
        metavar="SONAME",
        action="append",
        default=[],
        help="library (pattern) to graft though promised; repeatable",
    )
    parser.add_argument("--strip", action="store_true", help="strip symbols from native files")
    parser.add_argument("--only-plat", action="store_true", help="name no tag but the one asked for")
    parser.add_argument("--no-update-tags", action="store_true", help="leave file name and WHEEL as they are")
    parser.add_argument("--clear-execstack", action="store_true", help="take the wish for an executable stack away")
    parser.add_argument(
        "-z", "--zip-compression-level", metavar="0-9", type=_compression_level, default=level, help="default: 6"
    )
    parser.set_defaults(run=_run_repair)


def _compression_level(text: str) -> int:
    """A level of deflate; of the environment's, too, which argparse holds against no list of choices."""
    if len(text) != 1 or text not in "0123456789":
        import argparse  # wanted by nobody else here

        raise argparse.ArgumentTypeError(f"{text!r} is not one of 0 to 9")
    return int(text)


def _require_file(path: str) -> None:
    """Tell what is not there before what is wrong with its name: a pattern that the shell found nothing for, mostly.

    :raises WheelError: if nothing has that name.
    """
    if not os.path.lexists(path):
        pattern = any(each in path for each in "*?[")
        cure = "no file matches this pattern, and so the shell has left it as it is" if pattern else None
        raise WheelError(f"{one_line(path)}: No such file or directory", cure)


def judge_options(options: argparse.Namespace) -> Any:
    """How wheels are to be judged, by the options of a command that has some of ``audit``'s."""
    from ..auditing.verdict import JudgeOptions

    waived = bool(getattr(options, "disable_isa_ext_check", False))
    abi3 = not getattr(options, "disable_abi3_check", False)
    return JudgeOptions(tuple(options.exclude or ()), isa_check=not waived, abi3_check=abi3)


def _run_audit(options: argparse.Namespace) -> int:
    if options.explain or options.html or options.diff or options.map:
        from ..explaining import run_closer

        return run_closer(options, judge_options(options))
    from ..auditing.read import read_verdict
    from ..report.data import verdict_data
    from ..report.text import verdict_text

    worst = 0
    outcomes: list[Outcome] = []
    for path in options.wheels:
        try:
            _require_file(path)
            with working(f"judging {os.path.basename(path)}", options.quiet):
                verdict = read_verdict(path, judge_options(options))
        except PortableBackendError as error:
            worst = max(worst, error.exit_code)
            outcomes.append((path, error))
            report_error(path, error, options.json)
            continue
        outcomes.append((path, verdict))
        if options.json:
            print_json(verdict_data(os.path.basename(path), verdict))
        elif not (options.quiet and verdict.compliant):
            print_report(verdict_text(os.path.basename(path), verdict, options.verbose))
        worst = max(worst, 0 if verdict.compliant else 1)
    tell_github("audit", outcomes, options)
    return worst


def _run_repair(options: argparse.Namespace) -> int:
    from pathlib import Path

    from ..repairing.apply import repair_wheel
    from ..report.data import repair_data

    worst = 0
    outcomes: list[Outcome] = []
    for path in options.wheels:
        try:
            _require_file(path)
            with working(f"repairing {os.path.basename(path)}", options.quiet):
                result = repair_wheel(
                    Path(path), Path(options.wheel_dir), _repair_options(path, options), progress_of(options)
                )
        except PortableBackendError as error:
            worst = max(worst, error.exit_code)
            outcomes.append((path, error))
            report_error(path, error, options.json)
            continue
        outcomes.append((str(result.path), result.after))
        if options.json:
            print_json(repair_data(str(result.path), result.after, result.plan, result.compressor))
        else:
            print(result.path)
    tell_github("repair", outcomes, options)
    return worst


def _libs_dir(suffix: str) -> str:
    if suffix == _LIBS_DIR:  # spare most the import
        return suffix
    from ..settings import check_libs_dir

    return check_libs_dir(suffix, "-L")


def _repair_options(path: str, options: argparse.Namespace) -> RepairOptions:
    from ..policy.policy import check_graft
    from ..repairing.plan import RepairOptions
    from ..targets import parse_target
    from ..wheels import arch_of_name, parse_wheel_name

    arch = arch_of_name(parse_wheel_name(os.path.basename(path)))
    return RepairOptions(
        target=None if options.plat == "auto" else parse_target(options.plat, arch),
        judge=judge_options(options),
        only_target_tag=options.only_plat,
        update_tags=not options.no_update_tags,
        libs_dir=_libs_dir(options.lib_sdir),
        ldpaths=tuple(filter(None, options.ldpaths.split(":"))),
        graft=check_graft(options.graft, "--graft"),
        clear_execstack=options.clear_execstack,
        strip=options.strip,
        compression_level=int(options.zip_compression_level),
    )
