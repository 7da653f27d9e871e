"""The command line: parsing and printing only."""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Optional

from . import __version__
from .errors import PortableBackendError, UsageError, missing_requirement, printable
from .interrupts import Terminated, terminable
from .report.printing import Outcome, complain, print_json, print_report, report_error, tell_github
from .signs import working

if TYPE_CHECKING:
    from .describing import Command
    from .pipeline import Build
    from .repairing.plan import RepairOptions
    from .strategies.container.engine import CacheItem, Engine

_INTERNAL_ERROR = 70
_INTERRUPTED = 130
_TERMINATED = 143
_LIBS_DIR = ".libs"


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
        complain(error, annotate=not getattr(options, "json", False))
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print("portable-backend: interrupted", file=sys.stderr)
        return _TERMINATED if isinstance(interrupt, Terminated) else _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _INTERNAL_ERROR
    except Exception as error:
        blocked = missing_requirement(error) if isinstance(error, ModuleNotFoundError) else None
        if blocked is not None:
            complain(blocked, annotate=not getattr(options, "json", False))
            return blocked.exit_code
        if os.environ.get("PORTABLE_BACKEND_TRACEBACK") == "1":
            raise
        print(printable(f"portable-backend: internal error: {type(error).__name__}: {error}"), file=sys.stderr)
        print("  cure: PORTABLE_BACKEND_TRACEBACK=1 shows where; please report it", file=sys.stderr)
        print(f"  see: {PortableBackendError('').address}", file=sys.stderr)
        return _INTERNAL_ERROR


class _Command(argparse.ArgumentParser):
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

    def format_usage(self) -> str:
        from .describing import read_command, usage

        return f"usage: {usage(read_command(self, tuple(self.prog.split())))}\n"

    def format_help(self, everything: bool = False) -> str:
        from .describing import help_text, read_command

        described = read_command(self, tuple(self.prog.split()), self.description or self.about)
        return help_text(described, _columns() - 1, everything)


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, _Command)
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


def _progress(options: argparse.Namespace) -> Callable[[str], None]:
    """Where lines of progress go: standard error, or nowhere with ``--quiet``."""
    from .report.progress import tell

    return (lambda line: None) if options.quiet else tell


def _parser() -> _Command:
    parser = _Command(prog="portable-backend", description="Build, judge and repair portable wheels.")
    parser.add_argument("--version", action="version", version=f"portable-backend {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Command)

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


def described() -> Command:
    """The whole command line as a value."""
    from .describing import read_command

    def complete(parser: argparse.ArgumentParser) -> None:
        if isinstance(parser, _Command):
            parser.complete()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for each in dict.fromkeys(action.choices.values()):
                    complete(each)

    parser = _parser()
    complete(parser)
    return read_command(parser, ("portable-backend",), parser.description or "")


# --- build and plan ----------------------------------------------------------------------------------------------


def _add_build_options(parser: argparse.ArgumentParser, source_help: str, **source: Any) -> None:
    from .settings import MODES, STRATEGIES

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


def _add_build(parser: argparse.ArgumentParser) -> None:
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
    _add_quiet(parser, "no progress, no output of the inner backend")
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


def _add_quiet(parser: argparse.ArgumentParser, text: str = "no progress") -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help=text)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    _add_build_options(parser, "a directory (default: this one), an sdist, or name==version", nargs="?", default=".")
    parser.add_argument("--target", "--plat", metavar="TAG", help="platform tag to reach, as manylinux_2_17")
    parser.add_argument("--python", metavar="X.Y|PATH", help="interpreter to build for (default: the running one)")
    _add_quiet(parser)
    parser.set_defaults(run=_run_plan)


def _config_settings(options: argparse.Namespace) -> dict[str, Any]:
    """``-C`` as frontends pass it (several values of a key become a list), our own options among them."""
    from .settings import PREFIX

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
        return _run_release(options)
    from pathlib import Path

    from .frontend import build_source
    from .releasing.single import SingleTrial

    progress = _progress(options)

    trial = SingleTrial(options.smoke, not options.no_test, progress)
    with _output_to_stderr(silent=options.quiet), working("building", options.quiet):
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
        from .auditing.read import read_verdict
        from .report.data import verdict_data
        from .report.text import verdict_text

        with working(f"judging {path.name}", options.quiet):
            verdict = read_verdict(path, _judge_options(options))
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


def _run_release(options: argparse.Namespace) -> int:
    from pathlib import Path

    from .releasing.prepare import Options, plan_release
    from .releasing.run import opened_project, run_release
    from .report.colour import wants_colour
    from .report.live import open_display
    from .report.release import plan_data, plan_text, summary_data, summary_text

    targets, options.target = options.target, []
    wanted = Options(
        source=options.source,
        directory=Path(options.wheel_dir),
        config_settings=_config_settings(options),
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
        stack.enter_context(_output_to_stderr(silent=options.quiet))
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
            complain(PortableBackendError(f"{row.label}: {row.error['message']}", row.error["cure"]))
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


def _run_plan(options: argparse.Namespace) -> int:
    from .interpreters import find_python
    from .pipeline import read_build
    from .report.colour import wants_colour
    from .report.text import plan_text
    from .sources import opened_source

    python = find_python(options.python)
    with working("planning", options.quiet), opened_source(options.source, python, _progress(options)) as source:
        build = read_build(source, _config_settings(options), python)
        data, lines = _planned(build)
    if options.json:
        print_json(data)
    else:
        print(plan_text(lines, wants_colour(sys.stdout, os.environ)))
    return 0


def _planned(build: Build) -> tuple[dict[str, Any], list[str]]:
    """What is said of a plan: as data, and as lines."""
    from .interpreters import applicable
    from .pipeline import build_requirements, find_obstacle

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
    from .settings import ContainerSettings
    from .strategies.container.images import choose_image

    if build.passes_through or build.plan.strategy != "container":
        return None
    return choose_image(build.plan.target, build.settings.container or ContainerSettings())


# --- the cache of the container strategy -------------------------------------------------------------------------


def _add_cache(parser: argparse.ArgumentParser) -> None:
    from .settings import ENGINES

    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=_Command)
    for name, run, text in (
        ("info", _run_cache_info, "list volumes and images with their sizes"),
        ("clear", _run_cache_clear, "remove them"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.about = text
        verb.add_argument("kinds", metavar="KIND", nargs="*", help="pip, uv, cargo, …, before-all (default: all)")
        verb.add_argument("--engine", choices=ENGINES, default="auto", help="default: the first that answers")
        verb.add_argument("--json", action="store_true", help="print one JSON object")
        _add_quiet(verb)
        verb.set_defaults(run=run)


def _cached(options: argparse.Namespace) -> tuple[Engine, list[CacheItem]]:
    from .strategies.container.engine import find_engine
    from .strategies.container.images import KINDS, kind_of

    unknown = sorted(set(options.kinds) - set(KINDS))
    if unknown:
        raise UsageError(f"unknown kind {unknown[0]}", f"the kinds are {', '.join(KINDS)}")
    with working("looking for an engine", options.quiet):
        engine = find_engine(options.engine)
        _progress(options)(f"asking {engine.description}, which adds up sizes")
        kept = engine.kept()
    return engine, [item for item in kept if not options.kinds or kind_of(item) in options.kinds]


def _run_cache_info(options: argparse.Namespace) -> int:
    from .report.data import cache_data
    from .report.text import cache_text

    engine, items = _cached(options)
    if options.json:
        print_json(cache_data(engine.description, items))
    else:
        print(cache_text(engine.description, items))
    return 0


def _run_cache_clear(options: argparse.Namespace) -> int:
    from .report.data import cache_data

    engine, items = _cached(options)
    worst, dropped = 0, []
    for item in items:
        try:
            with working(f"removing {item.name}", options.quiet):
                engine.drop(item)
        except PortableBackendError as error:  # a build may be using it right now; the others can go
            worst = max(worst, error.exit_code)
            complain(error)
        else:
            dropped.append(item)
    if options.json:
        print_json(cache_data(engine.description, dropped))
    else:
        print(f"removed {len(dropped)} of {len(items)}")
    return worst


# --- tab completion ----------------------------------------------------------------------------------------------


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    parser.set_defaults(run=_run_completion)


def _run_completion(options: argparse.Namespace) -> int:
    from .completion import SCRIPTS

    print(SCRIPTS[options.shell](described()), end="")
    return 0


# --- the machine -------------------------------------------------------------------------------------------------


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_quiet(parser, "only what is not in order")
    parser.set_defaults(run=_run_doctor)


def _run_doctor(options: argparse.Namespace) -> int:
    from .doctor.examine import examine
    from .report.colour import wants_colour
    from .report.doctor import doctor_data, doctor_text, is_well

    with working("looking at this machine", options.quiet):
        diagnosis = examine()
    if options.json:
        print_json(doctor_data(diagnosis))
    else:
        print(doctor_text(diagnosis, wants_colour(sys.stdout, os.environ), options.quiet))
    return 0 if is_well(diagnosis) else 1


# --- init and ci -------------------------------------------------------------------------------------------------


def _add_init(parser: argparse.ArgumentParser) -> None:
    from .settings import STRATEGIES

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

    from .adopting.init import Wishes, apply_proposal, propose_init, propose_undo
    from .report.adopting import init_data, init_text

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


def _add_ci(parser: argparse.ArgumentParser) -> None:
    services = parser.add_subparsers(metavar="SERVICE", required=True, parser_class=_Command)
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

    from .adopting.github import matrix, workflow
    from .adopting.workflows import read_request, write_workflow

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


@contextmanager
def _output_to_stderr(silent: bool) -> Iterator[None]:
    """Keep standard output for the result: what the inner backend prints goes to standard error, or nowhere."""
    import warnings

    original = sys.stdout
    with open(os.devnull, "w", encoding="utf-8") as nowhere, warnings.catch_warnings():
        if silent:
            warnings.simplefilter("ignore")  # pyproject-hooks hands the backend's own warnings on to us
        sys.stdout = nowhere if silent else sys.stderr
        try:
            yield
        finally:
            sys.stdout = original


# --- audit and repair --------------------------------------------------------------------------------------------


def _add_judging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wheels", metavar="WHEEL", nargs="+", help="file of a wheel")
    parser.add_argument(
        "--exclude", metavar="SONAME", action="append", default=[], help="library (pattern) that users have; repeatable"
    )
    parser.add_argument("--disable-isa-ext-check", action="store_true", help="waive requirements of instruction sets")
    parser.add_argument("--disable-abi3-check", action="store_true", help="take the word of a stable ABI tag for it")
    parser.add_argument("--json", action="store_true", help="print one JSON object per wheel, a line each")
    parser.add_argument("-v", "--verbose", action="store_true", help="every finding, not just the deciding ones")


def _add_audit(parser: argparse.ArgumentParser) -> None:
    _add_judging(parser)
    _add_quiet(parser, "of wheels only those that are not what they claim")
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


def _add_repair(parser: argparse.ArgumentParser) -> None:
    _add_judging(parser)
    _add_quiet(parser)
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
        raise argparse.ArgumentTypeError(f"{text!r} is not one of 0 to 9")
    return int(text)


def _judge_options(options: argparse.Namespace) -> Any:
    from .auditing.verdict import JudgeOptions

    waived = bool(getattr(options, "disable_isa_ext_check", False))
    abi3 = not getattr(options, "disable_abi3_check", False)
    return JudgeOptions(tuple(options.exclude or ()), isa_check=not waived, abi3_check=abi3)


def _run_audit(options: argparse.Namespace) -> int:
    if options.explain or options.html or options.diff or options.map:
        from .explaining import run_closer

        return run_closer(options, _judge_options(options))
    from .auditing.read import read_verdict
    from .report.data import verdict_data
    from .report.text import verdict_text

    worst = 0
    outcomes: list[Outcome] = []
    for path in options.wheels:
        try:
            with working(f"judging {os.path.basename(path)}", options.quiet):
                verdict = read_verdict(path, _judge_options(options))
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
    tell_github("audit", outcomes, options.json, _progress(options))
    return worst


def _run_repair(options: argparse.Namespace) -> int:
    from pathlib import Path

    from .repairing.apply import repair_wheel
    from .report.data import repair_data

    worst = 0
    outcomes: list[Outcome] = []
    for path in options.wheels:
        try:
            with working(f"repairing {os.path.basename(path)}", options.quiet):
                result = repair_wheel(
                    Path(path), Path(options.wheel_dir), _repair_options(path, options), _progress(options)
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
    tell_github("repair", outcomes, options.json, _progress(options))
    return worst


def _libs_dir(suffix: str) -> str:
    if suffix == _LIBS_DIR:  # spare most the import
        return suffix
    from .settings import check_libs_dir

    return check_libs_dir(suffix, "-L")


def _repair_options(path: str, options: argparse.Namespace) -> RepairOptions:
    from .policy.policy import check_graft
    from .repairing.plan import RepairOptions
    from .targets import parse_target
    from .wheels import arch_of_name, parse_wheel_name

    arch = arch_of_name(parse_wheel_name(os.path.basename(path)))
    return RepairOptions(
        target=None if options.plat == "auto" else parse_target(options.plat, arch),
        judge=_judge_options(options),
        only_target_tag=options.only_plat,
        update_tags=not options.no_update_tags,
        libs_dir=_libs_dir(options.lib_sdir),
        ldpaths=tuple(filter(None, options.ldpaths.split(":"))),
        graft=check_graft(options.graft, "--graft"),
        clear_execstack=options.clear_execstack,
        strip=options.strip,
        compression_level=int(options.zip_compression_level),
    )


if __name__ == "__main__":
    sys.exit(main())
