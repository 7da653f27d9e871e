"""Headers and archives of build requirements that are compiled per platform, from the package's wheel for the target.

numpy's ``_numpyconfig.h`` says how large types are, and ``libnpymath.a`` is machine code: both are for the machine that
numpy was installed on. What is installed stays there, because build scripts import it. The compiler is given the
target's directories in the place of the installed ones. Where there is no wheel for the target, it refuses them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ..records import NamedTuple

if TYPE_CHECKING:
    from ..interpreters import Interpreter
    from ..targets import PlatformTag

# Distribution → its directories that compilers and linkers are pointed to, those of several versions.
_DIRECTORIES = {
    "numpy": ("numpy/_core/include", "numpy/core/include", "numpy/_core/lib", "numpy/core/lib"),
}


class Replaced(NamedTuple):
    """What takes the place of what.

    :param instead: directories of this machine's packages, and those with the target's files.
    :param refused: directories of this machine's packages that nothing can take the place of, and why.
    """

    instead: Mapping[str, str]
    refused: Mapping[str, str]


NOTHING_REPLACED = Replaced({}, {})


def replace_packages(
    path: Iterable[str], target: PlatformTag, interpreter: Interpreter, cache: Path, pythons: Sequence[str]
) -> Replaced:
    """Find the packages that are compiled per platform among those installed, and get their files for the target.

    :param path: ``sys.path`` of the build.
    :param cache: the directory to keep files in.
    :param pythons: interpreters that may have a pip.
    """
    instead: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name, version, site in _installed(path):
        place = cache / f"{name}-{version}-cp{interpreter.version[0]}{interpreter.version[1]}-{_platform(target)}"
        why = None if place.is_dir() else _fetch(name, version, target, interpreter, place, pythons)
        for directory in _DIRECTORIES[name]:
            own = os.path.join(site, directory)
            if not os.path.isdir(own):
                continue
            if why is None and (place / directory).is_dir():
                instead[own] = str(place / directory)
            else:
                refused[own] = f"{name} {version}: {why or 'its wheel for the target lacks the directory'}"
    return Replaced(instead, refused)


def _platform(target: PlatformTag) -> str:
    return f"{target.libc.family}-{target.arch.value}"


def _installed(path: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Name, version and directory of what is installed and compiled per platform."""
    seen: set[str] = set()
    for directory in path:
        with contextlib.suppress(OSError):
            for entry in sorted(os.listdir(directory)):
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                if entry.endswith(".dist-info") and name in _DIRECTORIES and version and name not in seen:
                    seen.add(name)
                    yield name, version, directory


def _fetch(
    name: str, version: str, target: PlatformTag, interpreter: Interpreter, place: Path, pythons: Sequence[str]
) -> Optional[str]:
    """Get the target's wheel and keep the directories that matter; returns why that is not possible."""
    from ..wheels import open_wheel

    with tempfile.TemporaryDirectory(prefix="portable-backend-") as scratch:
        wheel = _download(f"{name}=={version}", target, interpreter, scratch, pythons)
        if isinstance(wheel, str):
            return wheel
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".package-") as near:
            fresh = Path(near) / "new"
            fresh.mkdir()
            with open_wheel(wheel) as opened:
                for member in opened.members:
                    if member.startswith(tuple(f"{directory}/" for directory in _DIRECTORIES[name])):
                        (fresh / member).parent.mkdir(parents=True, exist_ok=True)
                        (fresh / member).write_bytes(opened.read(member))
            with contextlib.suppress(OSError):  # another build was faster
                fresh.rename(place)
    return None


def _download(
    requirement: str, target: PlatformTag, interpreter: Interpreter, directory: str, pythons: Sequence[str]
) -> Path | str:
    """The wheel of a requirement for the target, by pip; or why there is none."""
    from ..policy.policy import get_policies

    options = [
        *("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--dest", directory),
        *("--implementation", "cp", "--python-version", interpreter.short_version),
    ]
    # Which glibc a wheel was built for changes none of its headers.
    for policy in get_policies(target.libc, target.arch):
        options += [word for tag in policy.tag.names for word in ("--platform", tag)]
    pip = _find_pip(pythons)
    if pip is None:
        return "there is no pip to download its wheel for the target with"
    done = subprocess.run(
        [*pip, "download", *options, requirement],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        cwd=directory,
        env=_environ(),
    )
    found = sorted(Path(directory).glob("*.whl"))
    if done.returncode or not found:
        said = [line for line in done.stdout.splitlines() if line.strip()]
        why = said[-1].removeprefix("ERROR: ")[:200] if said else "no reason given"
        return f"pip finds no wheel of it for {target.arch.value}: {why}"
    return found[0]


def _environ() -> dict[str, str]:
    """Without PYTHONPATH: what it leads to is for the build's interpreter, and hides pip where pip isolates builds."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _find_pip(pythons: Sequence[str]) -> Optional[Sequence[str]]:
    for python in dict.fromkeys((*pythons, sys.executable)):
        command = [python, "-m", "pip"]
        done = subprocess.run(
            [*command, "--version"], capture_output=True, stdin=subprocess.DEVNULL, check=False, env=_environ(), cwd="/"
        )
        if done.returncode == 0:
            return command
    return None
