"""``build`` of one wheel, and ``plan``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Optional

from ..errors import UsageError
from ..report.printing import output_to_stderr, print_json, progress_of
from ..signs import working
from .plain import add_quiet

if TYPE_CHECKING:
    from ..pipeline import Build


def _add_build_options(parser: argparse.ArgumentParser, source_help: str, **source: Any) -> None:
    from ..settings import MODES, STRATEGIES

    parser.add_argument("source", metavar="SOURCE", help=source_help, **source)
    parser.add_argument("--strategy", choices=STRATEGIES, help="where the inner backend runs")
    parser.add_argument("--mode", choices=MODES, help="repair (default), check or off")
    parser.add_argument(
        "--exclude", metavar="SONAME", action="append", help="library (pattern) that users have; repeatable"
    )
    parser.add_argument("--strip", action="store_true", help="strip symbols from native files")
    parser.add_argument(
        "-C",
        "--config-setting",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting of ours or of the inner backend",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_build(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``build``."""
    _add_build_options(parser, "a directory, an sdist, or name==version")
    parser.add_argument(
        "--target",
        "--plat",
        metavar="TAG",
        action="append",
        default=[],
        help="platform tag to reach, as manylinux_2_17; repeatable",
    )
    parser.add_argument(
        "--python",
        metavar="X.Y|X.Y-X.Z|PATH",
        action="append",
        default=[],
        help="as 3.12, 3.9-3.13, cp313t, pypy, all, or a path",
    )
    parser.add_argument("-w", "--wheel-dir", metavar="DIR", default="dist", help="default: dist")
    parser.add_argument(
        "--no-isolation", action="store_true", help="build with what is installed beside the interpreter"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say how the wheel was judged, too")
    add_quiet(parser, "no progress, no output of the inner backend")
    _add_release_options(parser)
    parser.set_defaults(run=_run_build)


def _add_release_options(parser: argparse.ArgumentParser) -> None:
    release = parser.add_argument_group("releases", "several wheels by one command: docs/how-to/release.md")
    release.add_argument("--list", action="store_true", help="say what would be built, and build nothing")
    sdist = release.add_mutually_exclusive_group()
    sdist.add_argument(
        "--sdist",
        action="store_true",
        default=None,
        help="build the sdist first, the wheels from it (default: if several)",
    )
    sdist.add_argument("--no-sdist", dest="sdist", action="store_false", help="build each wheel from the directory")
    sdist.add_argument("--sdist-only", action="store_true", help="build the sdist and no wheel")
    release.add_argument("--skip-existing", action="store_true", help="do not build again what is there and good")
    release.add_argument(
        "-j", "--jobs", metavar="N", type=_count, help="so many builds at a time (default: what the machine can do)"
    )
    release.add_argument("--log-dir", metavar="DIR", help="directory for the logs (default: in the user's cache)")
    release.add_argument("--fail-fast", action="store_true", help="end all when one fails")
    release.add_argument("--smoke", action="store_true", help="import every extension module of each wheel")
    release.add_argument("--no-test", action="store_true", help="do not run the project's tests")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 1024):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of jobs")
    return int(text)


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``plan``."""
    _add_build_options(parser, "a directory (default: this one), an sdist, or name==version", nargs="?", default=".")
    parser.add_argument("--target", "--plat", metavar="TAG", help="platform tag to reach, as manylinux_2_17")
    parser.add_argument("--python", metavar="X.Y|PATH", help="interpreter to build for (default: the running one)")
    add_quiet(parser)
    parser.set_defaults(run=_run_plan)


def _config_settings(options: argparse.Namespace) -> dict[str, Any]:
    """``-C`` as frontends pass it (several values of a key become a list), our own options among them."""
    from ..settings import PREFIX

    settings: dict[str, Any] = {}
    target = options.target if isinstance(options.target, (str, type(None))) else next(iter(options.target), None)
    own = [("target", target), ("strategy", options.strategy), ("mode", options.mode)]
    pairs = [(PREFIX + name, value) for name, value in own if value is not None]
    pairs += [(PREFIX + "exclude", soname) for soname in options.exclude or ()]
    pairs += [(PREFIX + "strip", "true")] if options.strip else []
    for text in options.config_setting:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"-C {text}: write KEY=VALUE")
        pairs.append((key, value))
    for key, value in pairs:
        old = settings.get(key)
        settings[key] = value if old is None else [*([old] if isinstance(old, str) else old), value]
    return settings


def _run_build(options: argparse.Namespace) -> int:
    options.target = [word.strip() for text in options.target for word in text.split(",") if word.strip()]
    if _is_release(options):
        from .releases import run_releases

        targets, options.target = options.target, []
        return run_releases(options, targets, _config_settings(options))
    from pathlib import Path

    from ..frontend import build_source
    from ..releasing.single import SingleTrial

    progress = progress_of(options)

    trial = SingleTrial(options.smoke, not options.no_test, progress)
    with output_to_stderr(silent=options.quiet), working("building", options.quiet):
        path = build_source(
            options.source,
            Path(options.wheel_dir),
            _config_settings(options),
            python=options.python[0] if options.python else None,
            isolated=not options.no_isolation,
            progress=progress,
            make_trial=trial.make,
        )
    if options.json or options.verbose:
        from ..auditing.read import read_verdict
        from ..report.data import verdict_data
        from ..report.text import verdict_text
        from .judging import judge_options

        with working(f"judging {path.name}", options.quiet):
            verdict = read_verdict(path, judge_options(options))
        if options.verbose:
            print(verdict_text(path.name, verdict, verbose=True), file=sys.stderr)
    if options.json:
        print_json({**verdict_data(path.name, verdict), "path": str(path), **trial.data()})
    else:
        print(path)
    return 0


def _is_release(options: argparse.Namespace) -> bool:
    """Whether more is asked for than one wheel, or an option was given that a single build has no use for."""
    words = options.python
    several = len(options.target) > 1 or len(words) > 1 or any(_is_several(word) for word in words)
    asked = (options.list, options.sdist, options.sdist_only, options.skip_existing, options.fail_fast)
    return several or any(asked) or options.jobs is not None or options.log_dir is not None


def _is_several(word: str) -> bool:
    if "/" in word or os.path.isfile(word):
        return False
    return "," in word or "-" in word or word in ("all", "pypy") or word.startswith(("pypy", "pp"))


def _run_plan(options: argparse.Namespace) -> int:
    from ..interpreters import find_python
    from ..pipeline import read_build
    from ..report.colour import wants_colour
    from ..report.text import plan_text
    from ..sources import opened_source

    python = find_python(options.python)
    with working("planning", options.quiet), opened_source(options.source, python, progress_of(options)) as source:
        build = read_build(source, _config_settings(options), python)
        data, lines = _planned(build)
    if options.json:
        print_json(data)
    else:
        print(plan_text(lines, wants_colour(sys.stdout, os.environ)))
    return 0


def _planned(build: Build) -> tuple[dict[str, Any], list[str]]:
    """What is said of a plan: as data, and as lines."""
    from ..interpreters import applicable
    from ..pipeline import build_requirements, find_obstacle

    plan, image, obstacle, requirements = build.plan, _image_of(build), find_obstacle(build), build_requirements(build)
    data = {
        "version": 1,
        "target": None if plan.target is None else str(plan.target),
        "strategy": plan.strategy,
        "mode": plan.mode,
        "inner_backend": plan.inner.name,
        "python": build.interpreter.executable,
        "requirements": requirements,
        "image": image and image[0],
        "reasons": list(plan.reasons),
        "blocked": obstacle,
    }
    lines = list(plan.reasons)
    if obstacle:
        lines.append(f"blocked: {obstacle}")
    if image:
        lines.append(f"image {image[0]}: {image[1]}")
    lines.append(f"interpreter {build.interpreter.executable} ({build.interpreter.short_version})")
    lines.append(
        f"adds to the build environment: {', '.join(applicable(requirements, build.interpreter)) or 'nothing'}"
    )
    return data, lines


def _image_of(build: Build) -> Optional[tuple[str, str]]:
    """The image that a container build would take, and why."""
    from ..settings import ContainerSettings
    from ..strategies.container.images import choose_image

    if build.passes_through or build.plan.strategy != "container":
        return None
    return choose_image(build.plan.target, build.settings.container or ContainerSettings())
