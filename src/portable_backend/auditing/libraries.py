"""Finding libraries on the machine as its dynamic loader would, and the closure of those that a wheel lacks.

glibc looks in the RPATHs of the file that needs a library and of those that loaded it, in ``LD_LIBRARY_PATH``, in the
file's RUNPATH, in ``ld.so.cache`` and in the default directories; musl in ``LD_LIBRARY_PATH``, in the RPATHs or
RUNPATHs of that whole chain, and in the directories of its path file. Copies for newer processors (``glibc-hwcaps``)
are never taken, since the wheel has to run on others, and those for other architectures are passed over.

Sources: ld.so(8); glibc's ``elf/dl-load.c`` and, for the cache, ``sysdeps/generic/dl-cache.h``; musl's
``ldso/dynlink.c``.
"""

from __future__ import annotations

import functools
import glob
import mmap
import os
import re
import struct
from collections import deque
from pathlib import Path
from types import MappingProxyType

from .. import elf
from ..errors import ElfError, RepairError
from ..patterns import later
from ..records import NamedTuple
from ..targets import Arch, Libc
from ..wheels.hashing import sha256
from ..wheels.parallel import available_threads, map_threads
from .facts import installed_path, root_of
from .graph import Places, aliases, find_by_rpath, find_inside, index_names, partition, plan_graph, serves

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Optional

MAX_LIBRARY_SIZE = 4 << 30
SYSTEM = Path("/")


class HostLibrary(NamedTuple):
    """A library found on this machine.

    :param path: where, symbolic links resolved.
    :param digest: sha256 of its bytes, in hexadecimal.
    :param state: what is different after the file was written to, or another was put in its place.
    """

    path: Path
    facts: elf.ElfFacts
    digest: str
    state: tuple[int, ...] = ()


class Closure(NamedTuple):
    """The libraries that a wheel lacks, with those that they need in turn.

    :param libraries: by an absolute name: the resolved path, with a number after it where one file finds different
        libraries depending on who loads it, and so has to be there more than once.
    :param links: for each owner (a member, or the name of a library here) and name that it needs what satisfies it: the
        name of a library here or a member; ``None`` where nothing does.
    :param conflicts: for members and names that several libraries satisfy, by who loads the member, all of these.
    :param notes: what deserves a word: two libraries of one soname in one load.
    """

    libraries: Mapping[str, HostLibrary]
    links: Mapping[tuple[str, str], Optional[str]]
    conflicts: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType({})
    notes: tuple[str, ...] = ()


class Trail(NamedTuple):
    """Where the loader looks for a file's sake: its RPATH and those of its loaders, its RUNPATH; which are its own."""

    rpaths: tuple[str, ...] = ()
    runpath: Optional[tuple[str, ...]] = None
    own: tuple[str, ...] = ()

    def leads_to(self, name: str, path: str) -> bool:
        """Whether the file's own entries have a library of that name that is this file."""
        return any(os.path.realpath(os.path.join(directory, name)) == path for directory in self.own)


_NOWHERE = Trail()


class LibraryFinder:
    """Looks libraries up on this machine, for one architecture and C library.

    :param ldpaths: directories to search before those of ``LD_LIBRARY_PATH``.
    :param root: the directory that is the machine's root; another one is of use to tests only.
    """

    def __init__(self, arch: Arch, libc: Libc, ldpaths: Sequence[str] = (), root: Path = SYSTEM) -> None:
        self._arch = arch
        self.libc = libc
        self._root = root
        self._lib = _lib_of(arch, root)
        variable = self.expand(re.sub("[;\n]", ":", os.environ.get("LD_LIBRARY_PATH", "")), None, relative=True)
        self._early = (*ldpaths, *variable)
        self._cache = read_ld_cache(root / "etc/ld.so.cache") if libc is Libc.GLIBC else {}
        self._late = _glibc_directories(arch, root) if libc is Libc.GLIBC else _musl_directories(arch, root)

    def find(self, name: str, trail: Trail = _NOWHERE) -> Optional[Path]:
        """The path of a library as the loader would open it, or ``None``."""
        return next(filter(self._fits, self._candidates(name, trail)), None)

    def _candidates(self, name: str, trail: Trail) -> Iterator[Path]:
        if "/" in name:
            yield Path(name)
            return
        rpaths = trail.rpaths if trail.runpath is None else ()
        glibc = self.libc is Libc.GLIBC
        own = (*rpaths, *self._early, *(trail.runpath or ())) if glibc else (*self._early, *rpaths)
        yield from (Path(directory) / name for directory in dict.fromkeys(own))
        yield from (self._root / path.lstrip("/") for path in self._cache.get(name, ()))
        yield from (self._root / directory.lstrip("/") / name for directory in self._late)

    def trail(self, facts: elf.ElfFacts, origin: Optional[Path], inherited: tuple[str, ...] = ()) -> Trail:
        """Where to look for what a file needs.

        :param origin: the directory that it was found in; ``None`` where that is not known, as for members of a wheel.
        :param inherited: the RPATHs of the files that loaded it.
        """
        own = self.expand((facts.rpath if facts.runpath is None else facts.runpath) or "", origin)
        if self.libc is Libc.GLIBC and facts.runpath is not None:
            return Trail(inherited, own, own)
        return Trail((*own, *inherited), None, own)  # musl knows one path a file, and every one is inherited

    def expand(self, path: str, origin: Optional[Path], relative: bool = False) -> tuple[str, ...]:
        """The directories that a path means here; what cannot be known (``$ORIGIN`` of a member) is left out.

        :param relative: whether entries that depend on the working directory count.
        """
        if self.libc is Libc.MUSL and re.search(r"\$(?!ORIGIN|\{ORIGIN\})", path):
            return ()  # musl then ignores the path as a whole
        entries = (each for entry in path.split(":") for each in self._expand_entry(entry, origin))
        return tuple(entry for entry in entries if entry and (relative or entry.startswith("/")))

    def _expand_entry(self, entry: str, origin: Optional[Path]) -> Iterator[str]:
        tokens = {one or other for one, other in _TOKEN.findall(entry)}
        if "ORIGIN" in tokens and origin is None:
            return
        for platform in _PLATFORMS.get(self._arch, ()) if "PLATFORM" in tokens else ("",):
            values = {"ORIGIN": str(origin), "LIB": self._lib, "PLATFORM": platform}
            yield _TOKEN.sub(functools.partial(_value_of, values), entry)

    def _fits(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                head = file.read(20)
        except (OSError, ValueError):
            return False
        if len(head) < 20 or not elf.is_elf(head):
            return False
        bits, little = {1: 32, 2: 64}.get(head[4], 0), head[5] == 1
        machine = struct.unpack_from("<H" if little else ">H", head, 18)[0]
        return (machine, bits, little) == (self._arch.machine, self._arch.bits, self._arch.little)


# --- the closure -------------------------------------------------------------------------------------------------


def find_closure(elves: Mapping[str, elf.ElfFacts], wanted: Callable[[str], bool], finder: LibraryFinder) -> Closure:
    """Find what the files of a wheel miss, and what that needs, and so on.

    Every extension module, executable and library at the top is loaded in thought, as the loader would do it on this
    machine: breadth first, and a library that is loaded already serves whoever needs it by that name.

    :param wanted: whether a name has to come along at all (the policy may promise it).
    :raises RepairError: if a library that was found is damaged.
    """
    shelf = _Shelf(elves, wanted, finder)
    starts = plan_graph(elves, finder.libc).starts
    closure = _merge({start: _Load(start, shelf) for start in starts}, starts, shelf)
    files = list({each.path: each for each in closure.libraries.values()}.values())
    digests = dict(zip((each.path for each in files), map_threads(_digest_of, files, available_threads())))
    libraries = {name: each._replace(digest=digests[each.path]) for name, each in closure.libraries.items()}
    return closure._replace(libraries=libraries)


class _Shelf:
    """What all simulated loads share."""

    def __init__(self, elves: Mapping[str, elf.ElfFacts], wanted: Callable[[str], bool], finder: LibraryFinder) -> None:
        self.elves = elves
        self.wanted = wanted
        self.finder = finder
        self.index = index_names(elves)
        self.places = Places(elves)
        self._libraries: dict[str, HostLibrary] = {}
        self._found: dict[tuple[str, Trail], Optional[tuple[str, Trail]]] = {}

    def library(self, path: str) -> HostLibrary:
        """The library of this machine with that path."""
        if path not in self._libraries:
            self._libraries[path] = _read_library(Path(path))
        return self._libraries[path]

    def facts(self, name: str) -> elf.ElfFacts:
        """Of a member, or of the library of this machine with that path."""
        return self.elves[name] if name in self.elves else self.library(name).facts

    def find(self, name: str, trail: Trail) -> Optional[tuple[str, Trail]]:
        """The library of this machine that a trail leads to, and the trail that begins there."""
        key = (name, trail)
        if key not in self._found:
            found = self.finder.find(name, trail)
            path = "" if found is None else str(found.resolve())
            next_trail = found and self.finder.trail(self.library(path).facts, found.parent, trail.rpaths)
            self._found[key] = (path, next_trail) if next_trail else None
        return self._found[key]


class _Load:
    """One simulated load.

    ``files`` are those loaded, by member or resolved path, each with its trail; ``links`` say for each of them and each
    name what satisfies it; ``notes`` tell of names that two files in it answer to.
    """

    def __init__(self, root: str, shelf: _Shelf) -> None:
        self._shelf = shelf
        self._parents: dict[str, Optional[str]] = {root: None}
        self._loaded: dict[str, str] = {}
        self.files: dict[str, Trail] = {}
        self.links: dict[tuple[str, str], Optional[str]] = {}
        self.notes: list[str] = []
        queue = deque([root])
        self._add(root, shelf.finder.trail(shelf.elves[root], None))
        while queue:
            owner = queue.popleft()
            for name in shelf.facts(owner).needed:
                target = self._resolve(owner, name)
                if target is None:
                    if shelf.wanted(name):
                        self.links[owner, name] = None
                    continue
                file, trail = target
                self.links[owner, name] = file
                self._loaded.setdefault(name, file)
                if file not in self.files:
                    self._parents[file] = owner
                    self._add(file, trail)
                    queue.append(file)

    def _add(self, file: str, trail: Trail) -> None:
        self.files[file] = trail
        for alias in aliases(self._shelf.facts(file), self._shelf.finder.libc):
            self._loaded.setdefault(alias, file)

    def _resolve(self, owner: str, name: str) -> Optional[tuple[str, Trail]]:
        loaded = self._loaded.get(name)
        if loaded is None:
            return self._search(owner, name)
        members = self._shelf.elves
        if loaded == owner or (owner in members and loaded in members) or not self._shelf.wanted(name):
            return loaded, self.files[loaded]
        other = self._search(owner, name)
        if other is None or other[0] == loaded:
            return loaded, self.files[loaded]
        keeps_own = owner in members and other[0] in members  # what is in the wheel is used there
        insists = loaded not in members and self.files[owner].leads_to(name, other[0])
        reachable = loaded not in members or root_of(installed_path(loaded)) == ""
        facts = self._shelf.facts
        if reachable and not (keeps_own or insists) and serves(facts(loaded), facts(owner), name, facts(other[0])):
            self.notes.append(f"{owner} needs {name}: {loaded}, loaded before it, serves it; {other[0]} is left out")
            return loaded, self.files[loaded]
        why = "gives way to the wheel's own" if keeps_own else "is not" if insists else "lacks what it takes from"
        self.notes.append(f"{owner} needs {name}: {loaded}, loaded before it, {why} {other[0]}; both go in")
        return other

    def _search(self, owner: str, name: str) -> Optional[tuple[str, Trail]]:
        shelf, trail = self._shelf, self.files[owner]
        if owner in shelf.elves:
            inside = find_by_rpath(name, owner, self._parents, shelf.elves, shelf.places, shelf.finder.libc)
            if inside is None and shelf.wanted(name):
                inside = find_inside(owner, name, shelf.elves, shelf.index)
            if inside is not None:
                return inside, shelf.finder.trail(shelf.elves[inside], None, trail.rpaths)
        return shelf.find(name, trail) if shelf.wanted(name) else None


def _merge(loads: Mapping[str, _Load], starts: Mapping[str, bool], shelf: _Shelf) -> Closure:
    """One closure of all loads: a library that finds the same everywhere is one, whoever loads it."""
    edges: dict[tuple[str, str], dict[str, object]] = {}
    for root, load in loads.items():
        for file in load.files.keys() - shelf.elves.keys():
            edges[root, file] = {}
    for root, load in loads.items():
        for (owner, name), target in load.links.items():
            if (root, owner) in edges:
                edges[root, owner][name] = (root, target) if (root, target) in edges else target
    edges = dict(sorted(edges.items(), key=lambda item: (item[0][1], item[0][0])))
    classes = partition({node: node[1] for node in edges}, edges)
    names: dict[int, str] = {}
    counts: dict[str, int] = {}
    for node, number in classes.items():
        if number not in names:
            counts[node[1]] = count = counts.get(node[1], 0) + 1
            names[number] = node[1] if count == 1 else f"{node[1]} (copy {count})"
    libraries = {names[number]: shelf.library(path) for (_, path), number in classes.items()}

    found: dict[tuple[str, str], dict[str, None]] = {}
    for root, load in loads.items():
        for (owner, name), target in load.links.items():
            inside = owner in shelf.elves
            if inside and owner != root and not starts[root]:
                continue  # a file that others load may find by their help what it does not find on its own
            key = (owner if inside else names[classes[root, owner]], name)
            node = (root, target or "")
            answer = names[classes[node]] if node in classes else target
            found.setdefault(key, {}).update({} if answer is None else {answer: None})
    return Closure(
        libraries=libraries,
        links={key: next(iter(answers), None) for key, answers in found.items()},
        conflicts={key: tuple(answers) for key, answers in found.items() if len(answers) > 1},
        notes=tuple(dict.fromkeys(note for load in loads.values() for note in load.notes)),
    )


def state_of(found: os.stat_result) -> tuple[int, ...]:
    """What is different after a file was written to, or another was put in its place."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_library(path: Path) -> HostLibrary:
    """Its facts; its bytes are not kept, and its digest is left for later, when it is known to be wanted."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_size > MAX_LIBRARY_SIZE:
                raise RepairError(f"{path}: larger than {MAX_LIBRARY_SIZE >> 30} GiB; not grafted")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
                return HostLibrary(path, elf.scan(data), "", state_of(found))
    except (OSError, ValueError, BufferError, ElfError) as error:
        raise RepairError(f"{path}: cannot be grafted: {error}", "install the library again") from None


def _digest_of(library: HostLibrary) -> str:
    hashed = sha256()
    try:
        with library.path.open("rb") as file:
            while piece := file.read(1 << 20):
                hashed.update(piece)
            same = state_of(os.fstat(file.fileno())) == library.state
    except OSError as error:
        raise RepairError(f"{library.path}: cannot be grafted: {error}", "install the library again") from None
    if not same:
        raise RepairError(f"{library.path} was changed while the wheel was repaired", "repair it again")
    return hashed.hexdigest()


# --- the machine's directories -----------------------------------------------------------------------------------

# As glibc's is_dst has it: with braces, or followed by nothing that could belong to the name.
_TOKEN = later(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


def _value_of(values: Mapping[str, str], match: re.Match[str]) -> str:
    return values[match[1] or match[2]]


# What ``$PLATFORM`` stands for is the processor's business, and with some of Intel's not the kernel's word for it
# (glibc, sysdeps/x86/cpu-features.c). What suits every processor comes first. On other architectures there are many.
_PLATFORMS = {
    Arch.X86_64: ("x86_64", "haswell", "xeon_phi"),
    Arch.I686: ("i686", "i586", "haswell", "xeon_phi"),
    Arch.AARCH64: ("aarch64",),
}

# Debian's multiarch names, where they are not the tag's architecture followed by -linux-gnu.
_MULTIARCH = {
    Arch.I686: "i386-linux-gnu",
    Arch.ARMV7L: "arm-linux-gnueabihf",
    Arch.PPC64LE: "powerpc64le-linux-gnu",
    Arch.PPC64: "powerpc64-linux-gnu",
}


def _multiarch(arch: Arch) -> str:
    return _MULTIARCH.get(arch, f"{arch.value}-linux-gnu")


def _lib_of(arch: Arch, root: Path) -> str:
    """What ``$LIB`` stands for: where this machine's glibc itself was installed to."""
    names = [f"lib/{_multiarch(arch)}", *(["lib64"] if arch.bits == 64 else []), "lib"]
    return next((name for name in names if (root / name / "libc.so.6").exists()), names[-1])


def _glibc_directories(arch: Arch, root: Path) -> tuple[str, ...]:
    """The default directories, then those of ld.so.conf: for the loader they count only once ldconfig has seen them."""
    default = [f"{usr}/lib/{_multiarch(arch)}" for usr in ("", "/usr")]
    default += ["/lib64", "/usr/lib64"] if arch.bits == 64 else []
    return tuple(dict.fromkeys((*default, "/lib", "/usr/lib", *_configured(root, "/etc/ld.so.conf"))))


def _configured(root: Path, name: str, depth: int = 0) -> list[str]:
    """The directories of ld.so.conf and of the files that it includes."""
    path = root / name.lstrip("/")
    try:
        lines = path.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in (text.split("#")[0].strip() for text in lines):
        words = line.split(None, 1)
        if len(words) == 2 and words[0] == "include" and depth < 8:
            pattern = os.path.join(os.path.dirname(name), words[1])
            for included in sorted(glob.glob(glob.escape(str(root)) + "/" + pattern.lstrip("/"))):
                found += _configured(root, f"/{os.path.relpath(included, root)}", depth + 1)
        elif line.startswith("/"):
            found.append(line.partition("=")[0].rstrip())  # libc4's "directory=type"
    return found


_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_OLD_CACHE_MAGIC = b"ld.so-1.7.0\0"


def read_ld_cache(path: Path) -> dict[str, tuple[str, ...]]:
    """The libraries in ``ld.so.cache`` by soname, in its order, without those for certain processors.

    The header is magic (20 bytes), number of entries, length of strings and 5 reserved words; an entry is flags, offset
    of the key, offset of the value, operating system version and hardware capabilities; offsets count from the magic.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    if data.startswith(_OLD_CACHE_MAGIC):  # a header of the old format, with entries of 12 bytes, in front
        skipped = 16 + 12 * struct.unpack_from("=I", data.ljust(16, b"\0"), 12)[0]
        data = data[(skipped + 7) // 8 * 8 :]
    if not data.startswith(_CACHE_MAGIC) or len(data) < 48:
        return {}
    found: dict[str, list[str]] = {}
    count = min(struct.unpack_from("=I", data, 20)[0], (len(data) - 48) // 24)
    for number in range(count):
        _, key, value, _, capabilities = struct.unpack_from("=iIIIQ", data, 48 + 24 * number)
        if capabilities == 0 and key < len(data) and value < len(data):
            found.setdefault(_string(data, key), []).append(_string(data, value))
    return {name: tuple(dict.fromkeys(values)) for name, values in found.items()}


def _string(data: bytes, start: int) -> str:
    return os.fsdecode(data[start : data.find(b"\0", start, start + 4096)])


def _musl_directories(arch: Arch, root: Path) -> tuple[str, ...]:
    """musl's directories, where this machine has a musl of that architecture at all."""
    if not os.path.lexists(root / f"lib/ld-musl-{arch.musl_name}.so.1"):
        return ()
    try:
        text = (root / f"etc/ld-musl-{arch.musl_name}.path").read_text("utf-8", "surrogateescape")
    except OSError:
        return ("/lib", "/usr/local/lib", "/usr/lib")
    return tuple(entry for entry in text.replace("\n", ":").split(":") if entry)
