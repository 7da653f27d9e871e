"""Finding libraries on the machine as its dynamic loader would, and the closure of those that a wheel lacks.

Source: ld.so(8): RPATH, then ``LD_LIBRARY_PATH``, then RUNPATH, then the configured and the default directories;
for musl its path file and default (``ldso/dynlink.c``). Libraries of another architecture are passed over.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .. import elf
from ..errors import ElfError, RepairError
from ..targets import Arch, Libc

MAX_LIBRARY_SIZE = 4 << 30


@dataclass(frozen=True)
class HostLibrary:
    """A library found on this machine.

    :param path: where, symbolic links resolved.
    :param digest: sha256 of its bytes, in hexadecimal.
    """

    path: Path
    facts: elf.ElfFacts
    digest: str


@dataclass(frozen=True)
class Closure:
    """The libraries that a wheel lacks, with those that they need in turn.

    :param libraries: by resolved path.
    :param links: for each owner (a member's name, or a library's resolved path as text) and name that it needs,
        the path that satisfies it, ``None`` where nothing on this machine does.
    """

    libraries: Mapping[Path, HostLibrary]
    links: Mapping[tuple[str, str], Optional[Path]]


@dataclass(frozen=True)
class _Need:
    """Somebody needs a library: who, and what that says about where to look."""

    owner: str
    name: str
    rpaths: tuple[str, ...]
    runpath: Optional[tuple[str, ...]]


class LibraryFinder:
    """Looks libraries up on this machine, for one architecture and C library.

    :param ldpaths: directories to search before those of ``LD_LIBRARY_PATH``.
    """

    def __init__(self, arch: Arch, libc: Libc, ldpaths: Sequence[str] = ()) -> None:
        self._arch = arch
        self._early = (*ldpaths, *filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")))
        self._late = _glibc_directories(arch) if libc is Libc.GLIBC else _musl_directories(arch)

    def find(self, name: str, rpaths: Iterable[str] = (), runpath: Optional[Iterable[str]] = None) -> Optional[Path]:
        """The path of a library as the loader would open it, or ``None``.

        :param rpaths: directories of RPATH entries, which a RUNPATH disables.
        """
        if "/" in name:
            return Path(name) if self._fits(Path(name)) else None
        directories = (*(rpaths if runpath is None else ()), *self._early, *(runpath or ()), *self._late)
        for directory in dict.fromkeys(directories):
            candidate = Path(directory) / name
            if self._fits(candidate):
                return candidate
        return None

    def _fits(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                head = file.read(20)
        except OSError:
            return False
        if len(head) < 20 or not elf.is_elf(head):
            return False
        bits, little = {1: 32, 2: 64}.get(head[4], 0), head[5] == 1
        machine = struct.unpack_from("<H" if little else ">H", head, 18)[0]
        return (machine, bits, little) == (self._arch.machine, self._arch.bits, self._arch.little)


def find_closure(
    elves: Mapping[str, elf.ElfFacts],
    missing: Mapping[str, Sequence[str]],
    wanted: Callable[[str], bool],
    finder: LibraryFinder,
) -> Closure:
    """Find what the files of a wheel miss, and what that needs, and so on.

    :param missing: for each member the *needed* names that the wheel does not satisfy.
    :param wanted: whether a name has to come along at all (the policy may promise it).
    :raises RepairError: if a library that was found is damaged.
    """
    libraries: dict[Path, HostLibrary] = {}
    links: dict[tuple[str, str], Optional[Path]] = {}
    queue = deque(
        _Need(member, name, *_member_paths(elves[member]))
        for member in sorted(missing)
        for name in missing[member]
        if wanted(name)
    )
    while queue:
        need = queue.popleft()
        if (need.owner, need.name) in links:
            continue
        found = finder.find(need.name, need.rpaths, need.runpath)
        links[need.owner, need.name] = path = found.resolve() if found else None
        if found is None or path is None or path in libraries:
            continue
        libraries[path] = library = _read_library(path)
        rpaths, runpath = _library_paths(library.facts, found.parent, need.rpaths)
        queue.extend(_Need(str(path), name, rpaths, runpath) for name in library.facts.needed if wanted(name))
    return Closure(libraries, links)


def _member_paths(facts: elf.ElfFacts) -> tuple[tuple[str, ...], Optional[tuple[str, ...]]]:
    """The absolute directories among a member's paths; those inside the wheel were searched before."""
    rpath, runpath = (
        tuple(entry for entry in (path or "").split(":") if entry.startswith("/"))
        for path in (facts.rpath, facts.runpath)
    )
    return rpath, None if facts.runpath is None else runpath


def _library_paths(
    facts: elf.ElfFacts, origin: Path, inherited: tuple[str, ...]
) -> tuple[tuple[str, ...], Optional[tuple[str, ...]]]:
    expand = functools.partial(_expand, origin=origin)
    if facts.runpath is not None:
        return inherited, expand(facts.runpath)
    return (*expand(facts.rpath or ""), *inherited), None


def _expand(path: str, origin: Path) -> tuple[str, ...]:
    entries = (entry.replace("${ORIGIN}", str(origin)).replace("$ORIGIN", str(origin)) for entry in path.split(":"))
    return tuple(entry for entry in entries if entry.startswith("/"))


def _read_library(path: Path) -> HostLibrary:
    try:
        if path.stat().st_size > MAX_LIBRARY_SIZE:
            raise RepairError(f"{path}: larger than {MAX_LIBRARY_SIZE >> 30} GiB; not grafted")
        data = path.read_bytes()
        return HostLibrary(path, elf.scan(data), hashlib.sha256(data).hexdigest())
    except (OSError, ElfError) as error:
        raise RepairError(f"{path}: cannot be grafted: {error}", "install the library again") from None


# Debian's multiarch names, where they are not the tag's architecture followed by -linux-gnu.
_MULTIARCH = {
    Arch.I686: "i386-linux-gnu",
    Arch.ARMV7L: "arm-linux-gnueabihf",
    Arch.PPC64LE: "powerpc64le-linux-gnu",
    Arch.PPC64: "powerpc64-linux-gnu",
}


def _glibc_directories(arch: Arch) -> tuple[str, ...]:
    multiarch = _MULTIARCH.get(arch, f"{arch.value}-linux-gnu")
    default = [f"{root}/lib/{multiarch}" for root in ("", "/usr")]
    default += ["/lib64", "/usr/lib64"] if arch.bits == 64 else []
    return tuple(dict.fromkeys((*_configured(Path("/etc/ld.so.conf")), *default, "/lib", "/usr/lib")))


def _configured(path: Path, depth: int = 0) -> list[str]:
    """The directories of ld.so.conf and of the files that it includes."""
    try:
        lines = path.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in (text.split("#")[0].strip() for text in lines):
        if line.startswith("include ") and depth < 8:
            pattern = os.path.join(path.parent, line[len("include ") :].strip())
            for included in sorted(glob.glob(pattern)):
                found += _configured(Path(included), depth + 1)
        elif line.startswith("/"):
            found.append(line)
    return found


def _musl_directories(arch: Arch) -> tuple[str, ...]:
    """musl's directories, where this machine has a musl of that architecture at all."""
    if not os.path.exists(f"/lib/ld-musl-{arch.musl_name}.so.1"):
        return ()
    try:
        text = Path(f"/etc/ld-musl-{arch.musl_name}.path").read_text("utf-8", "surrogateescape")
    except OSError:
        return ("/lib", "/usr/local/lib", "/usr/lib")
    return tuple(entry for entry in text.replace("\n", ":").split(":") if entry)
