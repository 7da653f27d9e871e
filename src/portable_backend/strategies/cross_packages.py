"""Headers and libraries of build requirements that are compiled per platform, from the package's wheel for the target.

numpy's ``_numpyconfig.h`` says how large types are, and ``libnpymath.a`` is machine code: both are for the machine that
numpy was installed on. What is installed stays there, because build scripts import it. The compiler is given the
target's files in the place of the installed ones. Where there is no wheel for the target, it refuses them.

That is so for every package that was installed from a wheel for one platform and has files for compilers. Nobody knows
beforehand whose files a build uses, and some of these wheels are huge: so the compiler's wrapper (:mod:`zigcc`) has a
wheel fetched when it is first given a path in such a package, by running this module in a process of its own.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ..records import NamedTuple

if TYPE_CHECKING:
    from ..targets import PlatformTag

_FOR_COMPILERS = re.compile(r"\.(h|hh|hpp|hxx|h\+\+|cuh|a)$|(^|/)lib[^/]+\.so(\.[0-9.]+)?$")
# Extension modules, and what no compiler reads.
_NOT_FOR_COMPILERS = re.compile(r"\.(py|pyi|pyc|pyd)$|(^|/)(?!lib)[^/]+\.so$")


class CompiledPackage(NamedTuple):
    """A package of this machine with files for compilers.

    :param top: the directory that they are below, as it is installed.
    :param inside: the same within the wheel.
    """

    name: str
    version: str
    top: str
    inside: str

    @property
    def requirement(self) -> str:
        """As pip calls it."""
        return f"{self.name}=={self.version}"


def compiled_packages(path: Iterable[str]) -> Iterator[CompiledPackage]:
    """The packages on a ``sys.path`` that were compiled for one platform and have files for compilers."""
    seen: set[str] = set()
    for directory in path:
        with contextlib.suppress(OSError):
            for entry in sorted(os.listdir(directory)):
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                if entry.endswith(".dist-info") and version and name.lower() not in seen:
                    seen.add(name.lower())
                    for inside in _tops(Path(directory, entry)):
                        yield CompiledPackage(name, version, os.path.join(directory, inside), inside)


def _tops(dist_info: Path) -> Iterator[str]:
    """The directories that hold all of a package's files for compilers; none if it is the same for all platforms."""
    try:
        wheel = (dist_info / "WHEEL").read_text(encoding="utf-8", errors="replace")
        record = (dist_info / "RECORD").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    tags = re.findall(r"(?m)^Tag:\s*\S+-([^\s-]+)\s*$", wheel)
    if not tags or "any" in tags:
        return
    names = [row[0] for row in csv.reader(record.splitlines()) if row and not os.path.isabs(row[0])]
    directories = {os.path.dirname(name) for name in names if name.split("/")[0] != ".."}
    tops = {_top(name, directories) for name in names if _FOR_COMPILERS.search(name)}
    yield from sorted(tops - {""})


def _top(name: str, directories: AbstractSet[str]) -> str:
    """The highest directory above a file that has files of the package itself: others share a namespace's."""
    words = name.split("/")[:-1]
    tops = ("/".join(words[:count]) for count in range(1, len(words) + 1))
    return next((top for top in tops if top in directories), "")


def place_of(package: CompiledPackage, cache: Path, target: PlatformTag, python: tuple[int, int]) -> Path:
    """Where the files of a package for the target are kept."""
    platform = f"{target.libc.family}-{target.arch.value}"
    return cache / f"{package.name}-{package.version}-cp{python[0]}{python[1]}-{platform}"


def fetch(requirement: str, place: Path, target: PlatformTag, python: str, pythons: Sequence[str]) -> Optional[str]:
    """Get the target's wheel and keep what compilers may read; returns why that is not possible.

    :param requirement: with its version, as ``numpy==2.2.6``.
    :param python: version of the interpreter that the wheel is for, as ``3.11``.
    :param pythons: interpreters that may have a pip.
    """
    from ..wheels import open_wheel

    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f".{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if place.is_dir():
            return None
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".package-") as near:
            wheel = _download(requirement, target, python, near, pythons)
            if isinstance(wheel, str):
                return wheel
            fresh = Path(near) / "new"
            fresh.mkdir()
            with open_wheel(wheel) as opened:
                for member in opened.members:
                    if not member.endswith("/") and not _NOT_FOR_COMPILERS.search(member):
                        (fresh / member).parent.mkdir(parents=True, exist_ok=True)
                        (fresh / member).write_bytes(opened.read(member))
            fresh.rename(place)
    return None


def _download(requirement: str, target: PlatformTag, python: str, directory: str, pythons: Sequence[str]) -> Path | str:
    """The wheel of a requirement for the target, by pip; or why there is none."""
    from ..policy.policy import get_policies

    options = [
        *("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--dest", directory),
        *("--implementation", "cp", "--python-version", python),
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


def main(words: Sequence[str]) -> int:
    """What the compiler's wrapper runs: ``TARGET PYTHON REQUIREMENT PLACE INTERPRETER…``; prints why it failed."""
    from ..targets import Arch, parse_target

    target, python, requirement, place, *pythons = words
    why = fetch(requirement, Path(place), parse_target(target, Arch.X86_64), python, pythons)
    if why is not None:
        sys.stdout.write(why)
    return 0 if why is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
