"""What a trial of a wheel consists of, wherever it takes place."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ..errors import SettingsError
from ..inner import read_pyproject
from ..records import NamedTuple
from ..settings import TrialSettings
from ..wheels.names import parse_wheel_name

_PLACEHOLDER = re.compile(r"(?<!\$)\{(project|package|wheel)\}")
TOLD_LINES = 20
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


def done(modules: Sequence[Module], what: Wanted) -> str:
    """What a wheel has passed, in words."""
    parts = [f"{len(modules)} module{'' if len(modules) == 1 else 's'} imported"] if what.smoke else []
    count = 0 if what.settings is None else len(what.settings.command)
    parts += [f"{count} command{'' if count == 1 else 's'} passed"] if count else []
    return ", ".join(parts)


# --- what it needs -----------------------------------------------------------------------------------------------


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


def requirements_of(wheel: Path, source: Path, what: Wanted) -> list[str]:
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


def failure(status: int, lines: Sequence[str]) -> str:
    """Why a child failed, in few words."""
    if status < 0:
        return f"ended by signal {-status}"
    return lines[-1].strip()[:300] if lines else f"exit status {status}"
