"""From options to the plan of a release: sources read, interpreters asked, existing wheels judged. Nothing is built."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from .. import pipeline
from ..errors import PortableBackendError, UsageError, WheelError
from ..inner import find_inner, own_table, read_pyproject
from ..interpreters import Interpreter, namesake, read_interpreter
from ..records import NamedTuple
from ..settings import PREFIX, ContainerSettings, parse_settings
from ..targets import Arch, find_platform_tag, parse_target
from ..wheels.names import WheelName, parse_wheel_name, project_of
from . import finding
from .job import error_data
from .plan import Job, Python, Selection, Wish, choose, covers, distinct, parse_wishes
from .project import Project, read_project
from .trials import wanted

if TYPE_CHECKING:
    from ..pipeline import Build

Progress = Callable[[str], None]
SDIST_END = ".tar.gz"


class Options(NamedTuple):
    """What the command line says.

    :param config_settings: those of ``-C`` and of options that are settings, the target excepted.
    :param sdist: whether an sdist is built first; ``None`` if that is left to us.
    :param parallel: how many jobs run at a time; ``None`` for as many as the machine can.
    :param said: what the user called the source, where ``source`` is a copy of it that will be gone.
    """

    source: str
    directory: Path
    config_settings: Mapping[str, Any]
    targets: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ()
    isolated: bool = True
    sdist: Optional[bool] = None
    sdist_only: bool = False
    skip_existing: bool = False
    parallel: Optional[int] = None
    log_dir: Optional[Path] = None
    smoke: bool = False
    tests: bool = True
    fail_fast: bool = False
    said: str = ""


class ReleasePlan(NamedTuple):
    """What a release will do.

    :param sdist: ``build`` for one that is built first, ``existing`` for one that is there, ``None`` for none.
    :param existing: file names of the wheels that are there already, by label of the job.
    :param builds: the build of each job that can be built, by label.
    """

    project: Project
    jobs: tuple[Job, ...]
    sdist: Optional[str]
    existing: Mapping[str, str]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    builds: Mapping[str, Build]


def plan_release(options: Options, root: Path, progress: Progress) -> ReleasePlan:
    """Plan the release of the project in ``root``.

    :raises UsageError: if an interpreter is missing, or none is left.
    :raises SettingsError: for settings that make no sense whatever the job.
    """
    pyproject = read_pyproject(root)
    find_inner(pyproject, parse_settings(own_table(pyproject), os.environ, options.config_settings))
    for word in options.targets:
        parse_target(word, Arch.X86_64)  # a word that is no target is nobody's job
    project = read_project(root, pyproject)
    wishes = parse_wishes(options.pythons) if options.pythons else (Wish(sys.executable, path=sys.executable),)
    here = finding.find_here(wishes, progress)
    jobs: list[Job] = []
    builds: dict[str, Build] = {}
    left_out: dict[str, None] = {}
    targets: tuple[Optional[str], ...] = options.targets or (None,)
    for target in () if options.sdist_only else targets:
        selection = _select(options, root, target, wishes, here, project.requires, progress)
        left_out.update(dict.fromkeys(selection.left_out))
        for python in selection.pythons:
            job, build = _plan_job(options, root, python, target, here)
            if build is not None:
                builds.setdefault(job.label, build)
            jobs.append(job)
    notes = []
    if project.requires is None:
        notes.append("requires-python is not stated in pyproject.toml: no interpreter is left out for it")
    several = distinct(jobs)
    sdist = _sdist_wish(options, len(several))
    if sdist and options.skip_existing and find_sdist(options.directory, project) is not None:
        sdist = "existing"
    existing: Mapping[str, str] = {}
    if options.skip_existing:
        if project.key is None and several:
            notes.append("the version is not stated in pyproject.toml: what exists is known once the sdist is there")
        existing = find_existing(options.directory, project.key, several, builds, progress)
    return ReleasePlan(project, several, sdist, existing, tuple(left_out), tuple(notes), builds)


def _sdist_wish(options: Options, jobs: int) -> Optional[str]:
    if (options.sdist or options.sdist_only) and not os.path.isdir(options.source):
        raise UsageError(f"{options.said or options.source} is no directory to build an sdist of", "leave --sdist out")
    if options.sdist_only:
        return "build"
    wish = (jobs > 1) if options.sdist is None else options.sdist
    return "build" if wish and os.path.isdir(options.source) else None


def _select(
    options: Options,
    root: Path,
    target: Optional[str],
    wishes: Sequence[Wish],
    here: Mapping[Python, Interpreter],
    requires: Optional[str],
    progress: Progress,
) -> Selection:
    """The interpreters for a target: those of this machine, or of the image where that is what builds."""
    image = _image(options, root, target)
    if image is None:
        return choose(wishes, list(here), requires, finding.HERE)
    reference, engine = image
    try:
        inside = finding.find_in_image(reference, engine)
    except PortableBackendError as error:
        progress(f"the image {reference} cannot be asked for its interpreters: {error.message}")
        inside = None
    if inside is None:  # the build will fetch it, and say so if an interpreter is not there
        names = [name for wish in wishes for name in wish.names or ()]
        inside = [*(Python(name, name.version) for name in names), *here]
    # One that is here as well can try the wheels.
    local = {python.name: python for python in reversed(list(here))}
    known = [local.get(python.name, python) for python in inside]
    paths = [python for python in here if any(wish.path == python.executable for wish in wishes)]
    return choose(wishes, [*paths, *known], requires, f"in the image {reference}")


def _image(options: Options, root: Path, target: Optional[str]) -> Optional[tuple[str, str]]:
    """The image and the engine that builds a target; ``None`` where this machine itself does."""
    from ..strategies.container.images import choose_image

    try:
        build = pipeline.read_build(root, _config(options, target), read_interpreter())
        if not build.is_remote:
            return None
        settings = build.settings.container or ContainerSettings()
        return choose_image(build.plan.target, settings)[0], settings.engine
    except PortableBackendError:
        return None  # each job will say so


def _config(options: Options, target: Optional[str]) -> dict[str, Any]:
    return {**options.config_settings, **({} if target is None else {f"{PREFIX}target": target})}


def _plan_job(
    options: Options, root: Path, python: Python, target: Optional[str], here: Mapping[Python, Interpreter]
) -> tuple[Job, Optional[Build]]:
    """A job, and its build. What stands in its way is no reason to give the others up."""
    interpreter = here.get(python) or namesake(*python.name)
    if python.executable is not None:
        python = python._replace(executable=os.path.abspath(python.executable))
    try:
        build = pipeline.read_build(root, _config(options, target), interpreter)
        pipeline.require_strategy(build)
        if not build.is_remote and python.executable is None:
            raise UsageError(f"there is no interpreter {python.name.spoken} {finding.HERE}", "install it")
    except PortableBackendError as error:
        return Job(python, target, _spelled(target, interpreter), "", obstacle=error_data(error)), None
    tested = not wanted(build.settings.test, options.smoke, options.tests).nothing
    planned = None if build.plan.target is None else str(build.plan.target)
    return Job(python, target, planned, build.plan.strategy, tested), build


def _spelled(target: Optional[str], interpreter: Interpreter) -> Optional[str]:
    if target is None:
        return None
    from ..targets import parse_arch

    try:
        return str(parse_target(target, parse_arch(interpreter.machine)))
    except PortableBackendError:
        return target


# --- what is there already ---------------------------------------------------------------------------------------


def find_sdist(directory: Path, project: Project) -> Optional[Path]:
    """The sdist of the project's version, if it is there."""
    if project.key is None:
        return None
    for path in sorted(directory.glob(f"*{SDIST_END}")):
        if sdist_key(path) == project.key:
            return path
    return None


def sdist_key(path: Path) -> Optional[tuple[str, str]]:
    """Name and version that an sdist's file name tells, normalised."""
    name, dash, version = (
        path.name.removesuffix(SDIST_END).rpartition("-") if path.name.endswith(SDIST_END) else ("",) * 3
    )
    return project_of(f"{name.replace('-', '_')}-{version}") if dash else None


def find_existing(
    directory: Path,
    key: Optional[tuple[str, str]],
    jobs: Sequence[Job],
    builds: Mapping[str, Build],
    progress: Progress,
) -> dict[str, str]:
    """The wheels that need not be built again, by label of the job that would build them.

    :param key: name and version of the project, normalised.
    """
    if key is None or not directory.is_dir():
        return {}
    found: dict[str, str] = {}
    for path in sorted(directory.glob("*.whl")):
        try:
            name = parse_wheel_name(path.name)
        except WheelError:
            continue
        if project_of(f"{name.name}-{name.version}") != key:
            continue
        for job in jobs:
            build = builds.get(job.label)
            if job.label not in found and build is not None and _is_good(path, name, job, build, progress):
                found[job.label] = path.name
    return found


def _is_good(path: Path, name: WheelName, job: Job, build: Build, progress: Progress) -> bool:
    """Whether a wheel is one that the job could have built: judged, not believed."""
    from ..auditing.read import read_verdict
    from ..targets import Libc

    if build.plan.mode == "off" or not covers(name, job.target, job):
        return False
    target = build.plan.target
    claimed = [tag for tag in map(find_platform_tag, name.platforms) if tag is not None]
    if target is not None and name.platform != "any" and not any(target.covers(tag) for tag in claimed):
        return False
    own = Libc.MUSL if build.host.libc == "musl" else Libc.GLIBC
    machine = build.interpreter.platform.partition("-")[2]
    if (
        target is None
        and name.platform != "any"
        and not any(tag.libc is own and tag.arch.value == machine for tag in claimed)
    ):
        return False
    options = pipeline.repair_options(build.settings, build.plan)
    try:
        verdict = read_verdict(path, options.judging, own)
    except PortableBackendError as error:
        progress(f"{path.name} is there and will be built again: {error.message.splitlines()[0]}")
        return False
    good = verdict.compliant and (target is None or verdict.satisfies(target))
    if not good:
        progress(f"{path.name} is there and will be built again: it does not satisfy {target or 'what its tag claims'}")
    return good
