"""Which library needs which, inside a wheel, as the dynamic loader would find out. Pure.

Source: ld.so(8) and the gABI's chapter on dynamic linking: a *needed* entry is satisfied by an object that is
already loaded under that name; else it is looked for in the object's own RUNPATH, or, if it has none, in its RPATH
and those of the objects that caused it to be loaded. musl (``ldso/dynlink.c``) differs twice: every path is inherited,
RUNPATH or RPATH, and an object that is loaded answers to its file name, not to its soname.
"""

from __future__ import annotations

import functools
import posixpath
from collections import defaultdict, deque
from itertools import compress
from types import MappingProxyType

from ..elf import ElfFacts, has_name, names_among
from ..records import NamedTuple
from ..targets import Libc
from .facts import basename, installed_path, root_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
    from typing import Optional, TypeVar

    _Need = tuple[str, str]
    _Node = TypeVar("_Node", bound=Hashable)


class _Given(NamedTuple):
    edges: Mapping[str, Mapping[str, tuple[str, ...]]]
    unresolved: Mapping[str, tuple[str, ...]]
    scopes: Mapping[str, frozenset[str]]
    doubles: tuple[tuple[str, str, str], ...] = ()
    starts: Mapping[str, bool] = MappingProxyType({})


class Graph(_Given):
    """The dependencies within a wheel.

    :param edges: for each file and each name that it needs, the members that satisfy it (more than one where
        different extension modules lead to different copies).
    :param unresolved: for each file, the needed names that no rpath inside the wheel leads to.
    :param scopes: for each file, all files that can be loaded together with it, itself included: symbols of any of
        them can satisfy its own.
    :param doubles: names that two files answer to in one load: the name, the file that is loaded first and serves all,
        and the one that somebody's own path leads to, or that bears the same soname.
    :param starts: the files that were loaded by themselves, and whether that is how they are really loaded: then what
        the files that come along do not find is missing.
    """

    def outside(self, member: str) -> frozenset[str]:
        """All unresolved names in the scope of a file."""
        scope = self.scopes[member]
        if scope not in self._outside:  # many files have one in common
            self._outside[scope] = frozenset(name for each in scope for name in self.unresolved[each])
        return self._outside[scope]

    @functools.cached_property
    def _outside(self) -> dict[frozenset[str], frozenset[str]]:
        return {}


class _Loading(NamedTuple):
    """What one simulated load of a root found: (file, needed name) → member, and what it did not find."""

    found: Mapping[tuple[str, str], str]
    missing: frozenset[tuple[str, str]]
    members: frozenset[str]
    doubles: frozenset[tuple[str, str, str]]


def is_root(member: str, facts: ElfFacts) -> bool:
    """Whether something outside of the wheel loads this file by itself: an extension module or an executable."""
    return facts.interpreter is not None or facts.type == 2 or is_extension_module(member, facts)


def is_extension_module(member: str, facts: ElfFacts) -> bool:
    """Whether it has an entry point that an import would call (PEP 489, PEP 793, Python 2's and cffi's)."""
    stem = basename(member).split(".")[0]
    prefixes = ("PyInit_", "PyModExport_", "PyInitU_", "PyModExportU_")
    return has_name(facts.exports, prefixes, (f"init{stem}", f"_cffi_pypyinit_{stem}"))


def plan_graph(elves: Mapping[str, ElfFacts], libc: Libc = Libc.GLIBC) -> Graph:
    """Load every extension module and executable of a wheel in thought, then what none of them reached.

    Of the latter, those that another one reaches are not loaded by themselves: as with ctypes, something opens the
    library at the top, and it brings the others along.
    """
    places = Places(elves)
    edges = _plain_edges(elves, libc, places)

    def load_of(root: str) -> _Loading:
        return _load(root, elves, libc, places) if edges is None else _load_plain(root, edges)

    roots = [member for member in elves if is_root(member, elves[member])]
    loads = {member: load_of(member) for member in roots}
    reached = set().union(*(load.members for load in loads.values()))
    rest = {member: load_of(member) for member in elves if member not in reached}
    helped = {member for root, load in rest.items() for member in load.members if member != root}
    tops = dict.fromkeys(member for member in rest if member not in helped)
    by_tops = {member for top in tops for member in rest[top].members}
    loads.update((member, load) for member, load in rest.items() if member in tops or member not in by_tops)
    if edges is not None:
        return _merge_plain(elves, loads, frozenset((*roots, *tops)), edges)
    return _merge(elves, loads, frozenset((*roots, *tops)))


def _plain_edges(
    elves: Mapping[str, ElfFacts], libc: Libc, places: Places
) -> Optional[Mapping[str, Mapping[str, str]]]:
    """What each file needs of the wheel and where it is, if that is the same whoever loads it; ``None`` if it is not.

    It is the same if each file finds all of it by its own paths, and no name means two files. Most wheels are like
    that, and then loads need not be gone through one by one, in which large ones would spend most of their time.
    """
    owners: dict[str, str] = {}
    for member, facts in elves.items():
        for alias in aliases(facts, libc):
            if owners.setdefault(alias, member) != member:
                return None
    edges: dict[str, Mapping[str, str]] = {}
    for member, facts in elves.items():
        found = {}
        for name in filter(places.names.__contains__, facts.needed):
            target = places.find_alone((member, name), libc)
            if target is None or owners.setdefault(name, target) != target:
                return None
            found[name] = target
        edges[member] = found
    return edges


def _load_plain(root: str, edges: Mapping[str, Mapping[str, str]]) -> _Loading:
    """What a root brings along; what it finds is in ``edges``."""
    members = {root}
    queue = [root]
    while queue:
        new = set(edges[queue.pop()].values()) - members
        members |= new
        queue.extend(new)
    return _Loading({}, frozenset(), frozenset(members), frozenset())


def _merge_plain(
    elves: Mapping[str, ElfFacts],
    loads: Mapping[str, _Loading],
    roots: frozenset[str],
    edges: Mapping[str, Mapping[str, str]],
) -> Graph:
    return Graph(
        edges={member: {name: (target,) for name, target in edges[member].items()} for member in elves},
        unresolved={
            member: tuple(name for name in elves[member].needed if name not in edges[member]) for member in elves
        },
        scopes=_scopes(elves, loads.values()),
        doubles=(),
        starts={member: member in roots for member in loads},
    )


class Places:
    """Where the files of a wheel are, and where their paths lead: asked again for each root that loads them."""

    def __init__(self, elves: Mapping[str, ElfFacts]) -> None:
        self.by_path = {installed_path(member): member for member in elves}
        self.basenames = frozenset(map(basename, self.by_path))
        self._found: dict[tuple[Optional[str], str, str], tuple[str, ...]] = {}
        self._directories: dict[tuple[Optional[str], str], list[str]] = {}
        self._own_finds: dict[tuple[int, str], Optional[str]] = {}
        self._elves = elves
        self._origins = {member: posixpath.dirname(installed_path(member)) for member in elves}
        alike = {member: (_path_of(facts), self._origins[member], *_kind(facts)) for member, facts in elves.items()}
        self._alike = _numbered(alike)
        self.names = self.basenames.union(facts.soname for facts in elves.values() if facts.soname)
        self._needs: dict[str, tuple[list[_Need], frozenset[_Need]]] = {}

    def needs(self, member: str) -> tuple[list[_Need], frozenset[_Need]]:
        """What a file needs, each as the file and the name: what the wheel may have, in order, and what it has not."""
        if member not in self._needs:
            keys = [(member, name) for name in self._elves[member].needed]
            inside = [key for key in keys if key[1] in self.names]
            self._needs[member] = inside, frozenset(keys).difference(inside)
        return self._needs[member]

    def find_alone(self, key: tuple[str, str], libc: Libc) -> Optional[str]:
        """What a file finds of a name by its own paths alone, as (file, name): one answer for all loads.

        And for all files of the same kind, in the same place and with the same path, which most of a wheel's are.
        """
        member, name = key
        alike = self._alike[member], name
        if alike not in self._own_finds:
            self._own_finds[alike] = find_by_rpath(name, member, {member: None}, self._elves, self, libc)
        return self._own_finds[alike]

    def search(self, path: Optional[str], holder: str, name: str) -> tuple[str, ...]:
        """The members of this name in the directories of one file's path, in its order."""
        key = (path, self._origins[holder], name)
        if key not in self._found:
            if key[:2] not in self._directories:
                self._directories[key[:2]] = directories_inside(path, holder)
            candidates = (
                self.by_path.get(name if directory == "." else f"{directory}/{name}")
                for directory in self._directories[key[:2]]
            )
            self._found[key] = tuple(filter(None, candidates))
        return self._found[key]


def _load(root: str, elves: Mapping[str, ElfFacts], libc: Libc, places: Places) -> _Loading:
    found: dict[tuple[str, str], str] = {}
    missing: set[tuple[str, str]] = set()
    doubles: set[tuple[str, str, str]] = set()
    loaded = dict.fromkeys(aliases(elves[root], libc), root)
    parents: dict[str, Optional[str]] = {root: None}
    queue = deque([root])
    basenames = places.basenames
    while queue:
        member = queue.popleft()
        inside, outside = places.needs(member)
        missing |= outside
        for key in inside:
            own = target = None
            name = key[1]
            if name in basenames:
                own = places.find_alone(key, libc)
                target = loaded.get(name) or own or find_by_rpath(name, member, parents, elves, places, libc)
            elif name in loaded:  # by its soname
                target = loaded[name]
            if target is None:
                missing.add(key)
                continue
            if own is not None and own != target:
                doubles.add((name, target, own))
            found[key] = target
            loaded.setdefault(name, target)
            if target not in parents:
                parents[target] = member
                queue.append(target)
                for alias in aliases(elves[target], libc):
                    first = loaded.setdefault(alias, target)
                    if first != target:
                        doubles.add((alias, first, target))
    return _Loading(found, frozenset(missing), frozenset(parents), frozenset(doubles))


def aliases(facts: ElfFacts, libc: Libc) -> tuple[str, ...]:
    """The names that a file answers to once it is loaded, besides the one that it was found by."""
    return (facts.soname,) if facts.soname and libc is Libc.GLIBC else ()


def find_by_rpath(
    name: str,
    member: str,
    parents: Mapping[str, Optional[str]],
    elves: Mapping[str, ElfFacts],
    places: Places,
    libc: Libc,
) -> Optional[str]:
    """The file of the wheel that a file's own paths, or its loaders', lead to.

    :param parents: by file the one that caused it to be loaded.
    :param places: where members are installed.
    """
    if name not in places.basenames:  # nor is a path, which the loader opens as it is
        return None
    facts = elves[member]
    alone = facts.runpath is not None and libc is Libc.GLIBC
    for holder in (member,) if alone else _chain(member, parents):
        path = _path_of(elves[holder]) if alone or libc is Libc.MUSL else _own_rpath(elves[holder])
        for target in places.search(path, holder, name):
            if _compatible(elves[target], facts):
                return target
    return None


def _chain(member: str, parents: Mapping[str, Optional[str]]) -> Iterator[str]:
    """A file, the one that caused it to be loaded, and so on up to the root."""
    holder: Optional[str] = member
    while holder is not None:
        yield holder
        holder = parents[holder]


def index_names(elves: Mapping[str, ElfFacts]) -> dict[str, list[str]]:
    """The members that bear a name, as their file name or their soname."""
    index: defaultdict[str, list[str]] = defaultdict(list)
    for member in sorted(elves):
        for name in {basename(member), *aliases(elves[member], Libc.GLIBC)}:
            index[name].append(member)
    return dict(index)


def find_inside(
    member: str, name: str, elves: Mapping[str, ElfFacts], index: Mapping[str, Sequence[str]]
) -> Optional[str]:
    """A file of the wheel that would satisfy a name if only an rpath led there; the nearest of several.

    One with that file name is preferred to one that has it as its soname only: the latter has to be asked for by its
    file name.

    :param index: as :func:`index_names` makes it.
    """
    found = [
        other
        for other in index.get(name, ())
        if other != member
        and root_of(installed_path(other)) in ("", root_of(installed_path(member)))
        and _compatible(elves[other], elves[member])
        and (basename(other) == name or not is_root(other, elves[other]))
    ]
    here = posixpath.dirname(installed_path(member))

    def distance(other: str) -> tuple[bool, int]:
        return basename(other) != name, len(posixpath.relpath(installed_path(other), here or "."))

    return min(found, key=distance, default=None)


def serves(loaded: ElfFacts, user: ElfFacts, name: str, other: ElfFacts) -> bool:
    """Whether a library that is loaded already has all that a file takes from another one of the same name."""
    versions = {version for library, versions in user.version_needs if library == name for version in versions}
    if loaded.version_definitions and not versions.issubset(loaded.version_definitions):
        return False
    if versions and not loaded.version_definitions and other.version_definitions:
        return False
    taken = {symbol.name for symbol in user.imports if not symbol.weak and symbol.version is None}
    taken = names_among(other.exports, taken)
    return names_among(loaded.exports, taken) == taken


def partition(kinds: Mapping[_Node, Hashable], edges: Mapping[_Node, Mapping[str, object]]) -> dict[_Node, int]:
    """Number nodes so that equal numbers mean: of the same kind, with edges of the same names to equal nodes.

    Ends of edges that are no nodes are equal to themselves. Circles are no obstacle: nodes are taken for equal until an
    edge tells them apart, and as long as one does, the numbers grow.
    """
    numbers = _numbered(kinds)
    while True:
        ends: dict[object, int] = {node: number for node, number in numbers.items()}  # noqa: C416 (wider keys)
        keys = {
            node: (numbers[node], tuple(sorted((name, repr(ends.get(end, end))) for name, end in edges[node].items())))
            for node in kinds
        }
        finer = _numbered(keys)
        if len(set(finer.values())) == len(set(numbers.values())):
            return finer
        numbers = finer


def _numbered(kinds: Mapping[_Node, Hashable]) -> dict[_Node, int]:
    known: dict[Hashable, int] = {}
    return {node: known.setdefault(kind, len(known)) for node, kind in kinds.items()}


def _own_rpath(facts: ElfFacts) -> Optional[str]:
    """RPATH counts only where there is no RUNPATH."""
    return facts.rpath if facts.runpath is None else None


def _compatible(one: ElfFacts, other: ElfFacts) -> bool:
    return _kind(one) == _kind(other)


def _kind(facts: ElfFacts) -> tuple[int, int, bool]:
    """Files of one kind can be loaded together."""
    return facts.machine, facts.bits, facts.little


def _path_of(facts: ElfFacts) -> Optional[str]:
    """The path by which a file itself finds what it needs, whatever the C library."""
    return facts.rpath if facts.runpath is None else facts.runpath


def directories_inside(path: Optional[str], member: str) -> list[str]:
    """The entries of an RPATH or RUNPATH that lie inside the wheel, relative to its installed root."""
    entries = [] if path is None else path.split(":")
    inside = (entry_inside(entry, member) for entry in entries)
    return [directory for directory in inside if directory is not None]


def entry_inside(entry: str, member: str) -> Optional[str]:
    """The directory that one entry of an RPATH names, relative to ``site-packages``, ``.`` for that itself.

    ``None`` where it leaves the wheel: absolute ones, relative ones (they depend on the working directory), those
    with ``$LIB`` or ``$PLATFORM``, and empty ones.
    """
    rest = entry.replace("${ORIGIN}", "$ORIGIN")
    if rest != "$ORIGIN" and not rest.startswith("$ORIGIN/"):
        return None
    rest = rest[len("$ORIGIN") :].lstrip("/")
    if "$" in rest:
        return None
    origin = posixpath.dirname(installed_path(member))
    directory = posixpath.normpath(posixpath.join(origin, rest)) if origin or rest else "."
    leaves = directory == ".." or directory.startswith(("../", "/")) or root_of(directory) != root_of(origin)
    return None if leaves else directory


def _merge(elves: Mapping[str, ElfFacts], loads: Mapping[str, _Loading], roots: frozenset[str]) -> Graph:
    edges: dict[str, dict[str, tuple[str, ...]]] = {member: {} for member in elves}
    lost: defaultdict[str, set[str]] = defaultdict(set)
    for root, load in loads.items():
        for (member, name), target in load.found.items():
            targets = edges[member].get(name, ())
            if target not in targets:
                edges[member][name] = (*targets, target)
        for member, name in load.missing:
            # A file that others load may find by their help what it does not find on its own.
            if member == root or root in roots:
                lost[member].add(name)
    return Graph(
        edges=edges,
        unresolved={member: tuple(name for name in elves[member].needed if name in lost[member]) for member in elves},
        scopes=_scopes(elves, loads.values()),
        doubles=tuple(sorted(set().union(*(load.doubles for load in loads.values())))),
        starts={member: member in roots for member in loads},
    )


def _scopes(elves: Mapping[str, ElfFacts], loads: Iterable[_Loading]) -> Mapping[str, frozenset[str]]:
    """For each file, the files of all loads that it is in. Sets are bits of a number until the end: there are many."""
    names = list(elves)
    bits = {member: 1 << number for number, member in enumerate(names)}
    scopes = dict.fromkeys(names, 0)
    for load in loads:
        together = sum(map(bits.__getitem__, load.members))
        for member in load.members:
            scopes[member] |= together
    made: dict[int, frozenset[str]] = {}  # many files have one in common
    for scope in scopes.values():
        if scope not in made:
            digits = bin(scope)[:1:-1]
            made[scope] = frozenset(compress(names, map("1".__eq__, digits)))
    return {member: made[scope] for member, scope in scopes.items()}
