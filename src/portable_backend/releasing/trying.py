"""Trying a finished wheel: installed into a fresh environment, its modules imported, the project's tests run.

Nothing here looks at the source tree but to copy what the tests are made of: what is tried is the wheel. Where this
machine cannot load it, it is tried in a container of its target's image, or not at all, and then said so.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from ..environments import IsolatedEnvironment, isolated_environment
from ..errors import BuildFailed, SettingsError, TrialFailed
from ..inner import read_pyproject
from ..machine import HostFacts
from ..settings import TrialSettings
from ..targets import Libc, find_platform_tag
from ..wheels import WheelName, parse_wheel_name
from .processes import run_shown

if TYPE_CHECKING:
    from ..pipeline import Build

Progress = Callable[[str], None]

_PLACEHOLDER = re.compile(r"(?<!\$)\{(project|package|wheel)\}")
_TOLD_LINES = 20
# Finds the module before it imports it: a file of another name could be what the name leads to.
IMPORT = """
import importlib, importlib.util, os, sys
name, files = sys.argv[1], sys.argv[2:]
spec = importlib.util.find_spec(name)
if spec is None:
    sys.exit("no module of that name is found")
if os.path.basename(spec.origin or "") not in files:
    sys.exit("the name leads to %s instead" % spec.origin)
importlib.import_module(name)
"""


class Module(NamedTuple):
    """An extension module of a wheel.

    :param name: as an import statement spells it.
    :param files: names of the files that it may be loaded from; several where a wheel serves several interpreters.
    """

    name: str
    files: tuple[str, ...]


class Tried(NamedTuple):
    """What came of trying a wheel.

    :param status: ``passed``, ``not run`` or ``none`` (nothing was asked for).
    :param detail: what was done, or why it was not.
    """

    status: str
    detail: str


NOTHING = Tried("none", "")


class Wanted(NamedTuple):
    """What a wheel is tried with.

    :param smoke: import every extension module.
    :param settings: the project's tests; ``None`` where there are none, or none are wanted.
    """

    smoke: bool
    settings: Optional[TrialSettings]

    @property
    def nothing(self) -> bool:
        """Whether a wheel passes untried."""
        return not self.smoke and (self.settings is None or not self.settings.command)


def wanted(settings: Optional[TrialSettings], smoke: bool, tests: bool) -> Wanted:
    """What is wanted, by options and settings."""
    return Wanted(smoke, settings if tests and settings is not None and settings.command else None)


def try_wheel(build: Build, source: Path, wheel: Path, what: Wanted, progress: Progress) -> Tried:
    """Try a wheel that was built, or that serves the interpreter of ``build`` as well.

    :param source: the project's root, for files that tests are made of.
    :raises TrialFailed: if the wheel does not pass.
    :raises SettingsError: if the tests cannot be made ready as the settings want it.
    """
    if what.nothing:
        return NOTHING
    requirements = _requirements(wheel, source, what)
    modules = extension_modules(wheel) if what.smoke else ()
    reason = why_not_here(parse_wheel_name(wheel.name), build)
    if reason is not None:
        from .elsewhere import try_in_container

        return try_in_container(build, source, wheel, what, requirements, modules, reason, progress)
    with isolated_environment(build.interpreter.executable, progress) as environment:
        progress(f"installing {wheel.name} into a fresh environment")
        _install(environment, requirements, wheel)
        with tempfile.TemporaryDirectory(prefix="portable-backend-trial-") as scratch:
            copy_sources(source, () if what.settings is None else what.settings.sources, Path(scratch))
            environ = _environ(environment, what.settings)
            _import_all(environment.python, modules, Path(scratch), environ, progress)
            for command in () if what.settings is None else what.settings.command:
                line = filled(command, source, wheel)
                progress(f"testing: {line}")
                _run(["/bin/sh", "-c", line], Path(scratch), environ, wheel, command)
    return Tried("passed", _done(modules, what))


def _done(modules: Sequence[Module], what: Wanted) -> str:
    parts = [f"{len(modules)} module{'' if len(modules) == 1 else 's'} imported"] if what.smoke else []
    count = 0 if what.settings is None else len(what.settings.command)
    parts += [f"{count} command{'' if count == 1 else 's'} passed"] if count else []
    return ", ".join(parts)


def why_not_here(name: WheelName, build: Build) -> Optional[str]:
    """Why a wheel cannot be loaded by the interpreter of its build on this machine; ``None`` if it can. Pure."""
    if not build.interpreter.executable:
        return f"there is no interpreter {build.interpreter.short_version} on this machine"
    if name.platform == "any" or build.host.system != "linux":
        return None
    return _foreign(name, build.host, build.interpreter.platform.partition("-")[2] or build.interpreter.machine)


def _foreign(name: WheelName, host: HostFacts, machine: str) -> Optional[str]:
    reasons = []
    for platform in name.platforms:
        tag = find_platform_tag(platform)
        if tag is None:
            own = platform in (f"linux_{machine}", f"linux_{machine.replace('-', '_')}")
            reasons.append(None if own else f"{platform} is for another machine")
        elif tag.arch.value != machine and not (tag.arch.value == "i686" and machine in ("i386", "i586")):
            reasons.append(f"this machine is {machine}")
        elif (tag.libc is Libc.MUSL) != (host.libc == "musl"):
            reasons.append(f"this machine's C library is {host.libc}")
        elif tag.libc is Libc.GLIBC and host.libc_version is not None and host.libc_version < tag.version:
            reasons.append(f"this machine has glibc {host.libc_version[0]}.{host.libc_version[1]}")
        else:
            reasons.append(None)
    return None if None in reasons else reasons[0]


# --- what is tried -----------------------------------------------------------------------------------------------


def extension_modules(wheel: Path) -> tuple[Module, ...]:
    """The extension modules of a wheel, in the order of their names."""
    from ..auditing.facts import installed_path, read_wheel_facts
    from ..auditing.graph import is_extension_module
    from ..wheels import open_wheel

    found: dict[str, list[str]] = {}
    with open_wheel(wheel) as opened:
        for member, elf in read_wheel_facts(opened).elves.items():
            if is_extension_module(member, elf):
                path = installed_path(member)
                found.setdefault(module_name(path), []).append(os.path.basename(path))
    return tuple(Module(name, tuple(sorted(files))) for name, files in sorted(found.items()) if name)


def module_name(path: str) -> str:
    """How an import statement spells a file, given by its path in ``site-packages``."""
    directory, _, file = path.rpartition("/")
    stem = file.partition(".")[0]
    parts = [*filter(None, directory.split("/")), *([] if stem == "__init__" else [stem])]
    return ".".join(parts)


def _requirements(wheel: Path, source: Path, what: Wanted) -> list[str]:
    """What pip is told to install, but for the wheel itself, which stands first with the extras that are asked for."""
    settings = what.settings or TrialSettings()
    extras = f"[{','.join(settings.extras)}]" if settings.extras else ""
    groups = group_requirements(read_pyproject(source), settings.groups) if settings.groups else []
    name = parse_wheel_name(wheel.name).name
    return [f"{name}{extras}", *settings.requires, *groups]


def group_requirements(pyproject: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The requirements of dependency groups, those that they include among them (PEP 735).

    :raises SettingsError: for a group that is not there, or that includes itself.
    """
    from packaging.utils import canonicalize_name

    table = pyproject.get("dependency-groups", {})
    groups = {canonicalize_name(name): entries for name, entries in table.items()} if isinstance(table, dict) else {}

    def expand(name: str, trail: tuple[str, ...]) -> list[str]:
        key = canonicalize_name(name)
        if key in trail:
            raise SettingsError(f"the dependency group {name} includes itself: {' → '.join([*trail, key])}")
        entries = groups.get(key)
        if not isinstance(entries, list):
            known = f"the groups are {', '.join(groups)}" if groups else "pyproject.toml has no [dependency-groups]"
            raise SettingsError(f"there is no dependency group {name}", known)
        found: list[str] = []
        for entry in entries:
            if isinstance(entry, str):
                found.append(entry)
            elif (
                isinstance(entry, dict) and list(entry) == ["include-group"] and isinstance(entry["include-group"], str)
            ):
                found += expand(entry["include-group"], (*trail, key))
            else:
                raise SettingsError(f"the dependency group {name} holds {entry!r}, which PEP 735 does not know")
        return found

    return [requirement for name in names for requirement in expand(name, ())]


def copy_sources(source: Path, names: Sequence[str], directory: Path) -> None:
    """Copy files and directories of the project, each to the place that it has there.

    :raises SettingsError: if one is not there, or a link leads out of the project.
    """
    root = source.resolve()
    for name in names:
        place = (source / name).resolve()
        if place != root and root not in place.parents:
            raise SettingsError(f"test.sources names {name}, which leads out of the project")
        destination = directory / os.path.normpath(name)
        if place.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(place, destination, symlinks=True, ignore=ignored, dirs_exist_ok=True)
        elif place.is_file():
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(place, destination)
        else:
            cure = "see that the sdist holds it (MANIFEST.in and the like), or build with --no-sdist"
            raise SettingsError(f"test.sources names {name}, which is not in {source.name}", cure)


def filled(command: str, project: object, wheel: object) -> str:
    """A command with its placeholders replaced, each quoted for the shell."""
    values = {"project": project, "package": project, "wheel": wheel}
    return _PLACEHOLDER.sub(lambda match: shlex.quote(str(values[match[1]])), command)


# --- trying it here ----------------------------------------------------------------------------------------------


def _install(environment: IsolatedEnvironment, requirements: Sequence[str], wheel: Path) -> None:
    first, *others = requirements
    try:
        environment.install([f"{first} @ {wheel.resolve().as_uri()}", *others])
    except BuildFailed as error:
        detail = error.message.partition("\n")[2]
        message = f"{wheel.name} cannot be installed with what its tests require:\n{detail}"
        raise TrialFailed(message, "see to its dependencies and test.requires") from None


def _environ(environment: IsolatedEnvironment, settings: Optional[TrialSettings]) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    for name, value in environment.activated(environ).items():
        environ.pop(name, None)
        if value is not None:
            environ[name] = value
    return {**environ, **({} if settings is None else settings.environment)}


def _import_all(
    python: str, modules: Sequence[Module], cwd: Path, environ: Mapping[str, str], progress: Progress
) -> None:
    """Import each module in a process of its own, so that none hides behind another, not even one that crashes."""
    failed = []
    for module in modules:
        status, lines = run_shown([python, "-I", "-c", IMPORT, module.name, *module.files], cwd, environ)
        progress(f"import {module.name}: {'good' if not status else 'FAILED'}")
        if status:
            failed.append(f"{module.name}: {failure(status, lines)}")
    if failed:
        raise TrialFailed(
            "\n  ".join([f"{len(failed)} of {len(modules)} extension modules cannot be imported", *failed])
        )


def failure(status: int, lines: Sequence[str]) -> str:
    """Why a child failed, in few words."""
    if status < 0:
        return f"ended by signal {-status}"
    return lines[-1].strip()[:300] if lines else f"exit status {status}"


def _run(command: Sequence[str], cwd: Path, environ: Mapping[str, str], wheel: Path, said: str) -> None:
    status, lines = run_shown(command, cwd, environ)
    if status:
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        last = [f"    {line[:300]}" for line in lines[-_TOLD_LINES:]]
        raise TrialFailed("\n".join([f"the test of {wheel.name} failed ({how}): {said}", *last]))


def outcome_data(tried: Tried) -> dict[str, str]:
    """For the process that waits for it."""
    return {"status": tried.status, "detail": tried.detail}
