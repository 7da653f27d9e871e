"""Trying a finished wheel: installed into a fresh environment, its modules imported, the project's tests run.

Nothing here looks at the source tree but to copy what the tests are made of: what is tried is the wheel. Where this
machine cannot load it, it is tried in a container of its target's image, or not at all, and then said so.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ..environments import IsolatedEnvironment, isolated_environment
from ..errors import BuildFailed, TrialFailed
from ..machine import HostFacts
from ..settings import TrialSettings
from ..targets import Libc, find_platform_tag
from ..wheels import WheelName, parse_wheel_name
from .elsewhere import try_in_container
from .processes import TookTooLong, run_with_its_own
from .trials import (
    IMPORT,
    NOTHING,
    TOLD_LINES,
    Module,
    Tried,
    Wanted,
    copy_sources,
    done,
    extension_modules,
    failure,
    filled,
    requirements_of,
    too_long,
)

if TYPE_CHECKING:
    from ..pipeline import Build

Progress = Callable[[str], None]


def try_wheel(build: Build, source: Path, wheel: Path, what: Wanted, progress: Progress) -> Tried:
    """Try a wheel that was built, or that serves the interpreter of ``build`` as well.

    :param source: the project's root, for files that tests are made of.
    :raises TrialFailed: if the wheel does not pass.
    :raises SettingsError: if the tests cannot be made ready as the settings want it.
    """
    if what.nothing:
        return NOTHING
    requirements = requirements_of(wheel, source, what)
    modules = extension_modules(wheel) if what.smoke else ()
    reason = why_not_here(parse_wheel_name(wheel.name), build)
    if reason is not None:
        return try_in_container(build, source, wheel, what, requirements, modules, reason, progress)
    with isolated_environment(build.interpreter.executable, progress) as environment:
        progress(f"installing {wheel.name} into a fresh environment")
        _install(environment, requirements, wheel)
        with tempfile.TemporaryDirectory(prefix="portable-backend-trial-") as scratch:
            copy_sources(source, () if what.settings is None else what.settings.sources, Path(scratch))
            environ = _environ(environment, what.settings)
            timeout = what.timeout
            _import_all(environment.python, modules, Path(scratch), environ, timeout, progress)
            for command in () if what.settings is None else what.settings.command:
                line = filled(command, source, wheel)
                progress(f"testing: {line}")
                _run(["/bin/sh", "-c", line], Path(scratch), environ, timeout, wheel, command)
    return Tried("passed", done(modules, what))


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
    python: str,
    modules: Sequence[Module],
    cwd: Path,
    environ: Mapping[str, str],
    timeout: float,
    progress: Progress,
) -> None:
    """Import each module in a process of its own, so that none hides behind another, not even one that crashes."""
    failed = []
    for module in modules:
        command = [python, "-I", "-c", IMPORT, module.name, *module.files]
        try:
            status, lines = run_with_its_own(command, cwd, environ, timeout)
        except TookTooLong:
            status, lines = 1, [too_long(timeout)]
        progress(f"import {module.name}: {'good' if not status else 'FAILED'}")
        if status:
            failed.append(f"{module.name}: {failure(status, lines)}")
    if failed:
        raise TrialFailed(
            "\n  ".join([f"{len(failed)} of {len(modules)} extension modules cannot be imported", *failed])
        )


def _run(command: Sequence[str], cwd: Path, environ: Mapping[str, str], timeout: float, wheel: Path, said: str) -> None:
    try:
        status, lines = run_with_its_own(command, cwd, environ, timeout)
    except TookTooLong:
        raise TrialFailed(f"the test of {wheel.name} {too_long(timeout)}: {said}") from None
    if status:
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        last = [f"    {line[:300]}" for line in lines[-TOLD_LINES:]]
        raise TrialFailed("\n".join([f"the test of {wheel.name} failed ({how}): {said}", *last]))
