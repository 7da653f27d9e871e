"""Which names of symbols the files of a wheel look up in vain, as the dynamic loader would find out. Pure.

Of a hundred thousand references nearly all lead to a file that is loaded along. That is found out for all files at
once, by the compiled module where it is there, and the rules need only look at what is left.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict

from ..elf import ElfFacts, PackedSymbols, names_among, names_where
from ..records import NamedTuple

try:
    from .. import _native
except ImportError:
    _native = None  # type: ignore[assignment]  # a module, or nothing where it is not built

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Optional


class Lookups(NamedTuple):
    """What became of the strong references of all files.

    :param missing: by file the names that it looks up by name alone and that no file that is loaded with it exports.
    :param watched: by file those of the names in question that it refers to, whatever their version.
    :param providers: of names that some file misses, the files that export them nevertheless, sorted; none where there
        are none.
    """

    missing: Mapping[str, Collection[str]]
    watched: Mapping[str, frozenset[str]]
    providers: Mapping[str, list[str]]


def look_up(
    elves: Mapping[str, ElfFacts], scopes: Mapping[str, frozenset[str]], by_name: bool, watch: frozenset[str]
) -> Lookups:
    """Look up all strong references by name.

    :param scopes: by file those that are loaded with it.
    :param by_name: whether references that have a version are looked up by name as well, as musl does.
    :param watch: names of which it is told who refers to them.
    """
    found = None if _native is None else _look_up_compiled(elves, scopes, by_name, watch)
    return _look_up_plainly(elves, scopes, by_name, watch) if found is None else found


def _look_up_compiled(
    elves: Mapping[str, ElfFacts], scopes: Mapping[str, frozenset[str]], by_name: bool, watch: frozenset[str]
) -> Optional[Lookups]:
    """The same; ``None`` where symbols are not packed, or were named such that it would take too long."""
    members = sorted(elves)
    bits = _bits_of(members, scopes)
    folded, files = [], []
    for member in members:
        imports, exports = elves[member].imports, elves[member].exports
        if not isinstance(imports, PackedSymbols):
            return None
        names = exports.names_at_hand() if isinstance(exports, PackedSymbols) else None
        if names is None:
            folded.append(member)
        files.append((*imports.references(by_name), names or b"", bits[scopes[member]]))
    found = _native.look_up(tuple(files), "".join(name + "\0" for name in watch).encode("utf-8", "surrogateescape"))
    if found is None:
        return None
    missing, watched, numbers = found
    providers = {name: [members[number] for number in theirs] for name, theirs in numbers.items()}
    lookups = Lookups(dict(zip(members, missing)), dict(zip(members, map(frozenset, watched))), providers)
    return _with_folded(lookups, {member: elves[member] for member in folded}, scopes) if folded else lookups


def _bits_of(members: Sequence[str], scopes: Mapping[str, frozenset[str]]) -> Mapping[frozenset[str], bytes]:
    """Each scope as the bits of the numbers of its files."""
    bits = {member: 1 << number for number, member in enumerate(members)}
    size = len(members) // 8 + 1
    return {scope: sum(map(bits.__getitem__, scope)).to_bytes(size, "little") for scope in set(scopes.values())}


def _with_folded(lookups: Lookups, elves: Mapping[str, ElfFacts], scopes: Mapping[str, frozenset[str]]) -> Lookups:
    """The same if there are files besides whose names are not at hand: they are asked for what is missing so far."""
    wanted = set().union(*lookups.missing.values())
    providers = defaultdict(list, lookups.providers)
    theirs: defaultdict[str, list[str]] = defaultdict(list)
    for member, facts in elves.items():
        for name in names_among(facts.exports, wanted):
            insort(providers[name], member)
            theirs[name].append(member)
    missing = dict(lookups.missing)
    for member, scope in scopes.items():
        if not scope.isdisjoint(elves):
            left = [name for name in missing[member] if name not in theirs or scope.isdisjoint(theirs[name])]
            missing[member] = left
    return lookups._replace(missing=missing, providers=dict(providers))


def _look_up_plainly(
    elves: Mapping[str, ElfFacts], scopes: Mapping[str, frozenset[str]], by_name: bool, watch: frozenset[str]
) -> Lookups:
    names = {
        member: set(names_where(facts.imports, lambda symbol: (by_name or symbol.version is None) and not symbol.weak))
        for member, facts in elves.items()
    }
    watched = {
        member: watch.intersection(names_where(facts.imports, lambda symbol: not symbol.weak))
        for member, facts in elves.items()
    }
    wanted: set[str] = set().union(*names.values())
    providers: defaultdict[str, list[str]] = defaultdict(list)
    for member in sorted(elves):
        for name in names_among(elves[member].exports, wanted):
            providers[name].append(member)
    first = {name: members[0] for name, members in providers.items()}
    missing = {}
    for member, scope in scopes.items():
        # Nearly all have a provider that is there: nothing else is asked of those.
        left = [name for name, found in zip(names[member], map(first.get, names[member])) if found not in scope]
        missing[member] = [name for name in left if name not in providers or scope.isdisjoint(providers[name])]
    return Lookups(missing, watched, dict(providers))


__all__ = ["Lookups", "look_up"]
