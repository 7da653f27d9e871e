"""Which names files look up in vain: by the compiled module and without it the same, whatever the files are like."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Optional

import pytest
from elf_builder import Elf, build

from portable_backend import elf
from portable_backend.auditing import lookup
from portable_backend.auditing.lookup import Lookups, look_up
from portable_backend.elf import ElfFacts, ExportedSymbol, ImportedSymbol, PackedSymbols, PassedSymbols

TEMPLATE = elf.scan(build(Elf()).bytes)
WATCH = frozenset({"w0", "n1", "n2", "\udcff"})
Scopes = Mapping[str, frozenset[str]]


def pack(names: Sequence[str], codes: Sequence[int]) -> tuple[bytes, bytes, tuple[Optional[str], ...]]:
    packed = "".join(name + "\0" for name in names).encode("utf-8", "surrogateescape")
    return packed, struct.pack(f"{len(codes)}H", *codes), (None, None, None, None, "GLIBC_2.5", "libc.so.6")


def facts_of(imports: Sequence[tuple[str, int]], exports: Sequence[str], kind: str = "packed") -> ElfFacts:
    """A file with these symbols; imports with their codes: version 2 is one, 0 and 1 are none, 0x8000 is weak."""
    names, codes, versions = pack(exports, [1] * len(exports))
    theirs: object = PackedSymbols(ExportedSymbol, (names, codes, versions))
    if kind == "passed":
        digests = b"".join(sha256(name).digest()[:8] for name in names.split(b"\0")[:-1])
        theirs = PassedSymbols((digests, codes, versions, b""))
    elif kind == "folded":
        theirs = PackedSymbols(ExportedSymbol, (elf.fold_names(memoryview(names)), codes, versions))
    mine = PackedSymbols(ImportedSymbol, pack([name for name, _ in imports], [code for _, code in imports]))
    return TEMPLATE._replace(imports=mine, exports=theirs)  # type: ignore[arg-type]  # one class for both


def plain(elves: Mapping[str, ElfFacts]) -> Mapping[str, ElfFacts]:
    """The same as the scanner without compiled code has them; not of exports that passed by."""
    return {
        member: facts._replace(
            imports=tuple(facts.imports),
            exports=facts.exports if isinstance(facts.exports, PassedSymbols) else tuple(facts.exports),
        )
        for member, facts in elves.items()
    }


def random_scene(
    chance: random.Random, kinds: Sequence[str]
) -> tuple[dict[str, ElfFacts], Scopes, dict[str, set[str]]]:
    """Files, what is loaded with each, and what each exports."""
    pool = [f"n{number}" for number in range(12)] + ["w0", "", "é", "\udcff", "a" * 7, "a" * 8, "a" * 9, "b" * 300]
    members = [f"{chance.choice('abc')}/{number}.so" for number in range(chance.randint(0, 20))]
    codes = [0, 1, 2, 0x8000, 0x8001, 0x8002]
    exports = {member: chance.choices(pool, k=chance.choice([0, 1, 9])) for member in members}
    elves = {
        member: facts_of(
            [(name, chance.choice(codes)) for name in chance.choices(pool, k=chance.choice([0, 3, 20]))],
            exports[member],
            chance.choice(kinds),
        )
        for member in members
    }
    few = [frozenset(chance.sample(members, chance.randint(0, min(5, len(members))))) for _ in range(4)]
    scopes = {member: chance.choice(few) for member in members}
    return elves, scopes, {member: set(names) for member, names in exports.items()}


def expected(elves: Mapping[str, ElfFacts], scopes: Scopes, exports: Mapping[str, set[str]], by_name: bool) -> Lookups:
    """Word for word what is promised."""
    missing, watched = {}, {}
    for member, facts in elves.items():
        strong = [symbol for symbol in facts.imports if not symbol.weak]
        looked = {symbol.name for symbol in strong if by_name or symbol.version is None}
        missing[member] = looked.difference(*(exports[other] for other in scopes[member]))
        watched[member] = WATCH.intersection(symbol.name for symbol in strong)
    providers = {
        name: [member for member in sorted(elves) if name in exports[member]] for name in set().union(*missing.values())
    }
    return Lookups(missing, watched, {name: members for name, members in providers.items() if members})


def as_sets(found: Lookups) -> Lookups:
    """What is found; a file misses no name twice."""
    assert all(len(names) == len(set(names)) for names in found.missing.values())
    missing = {member: set(names) for member, names in found.missing.items()}
    providers = {name: list(found.providers[name]) for name in set().union(*missing.values()) & set(found.providers)}
    return Lookups(missing, dict(found.watched), providers)


@pytest.mark.parametrize("kinds", [["packed"], ["packed", "passed", "folded"]])
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_all_find_the_same(
    seed: int, by_name: bool, kinds: list[str], native_scan: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    elves, scopes, exports = random_scene(random.Random(seed), kinds)
    wanted = expected(elves, scopes, exports, by_name)
    assert as_sets(look_up(elves, scopes, by_name, WATCH)) == wanted
    assert as_sets(look_up(plain(elves), scopes, by_name, WATCH)) == wanted
    monkeypatch.setattr(lookup, "_native", None)
    assert as_sets(look_up(elves, scopes, by_name, WATCH)) == wanted


def test_many_names(native_scan: object) -> None:
    """More than the table has room for at first."""
    names = [f"_ZN7library{number}Ev" for number in range(30_000)]
    elves = {"a.so": facts_of([(name, 0) for name in names], []), "b.so": facts_of([], names[:-7])}
    scopes = dict.fromkeys(elves, frozenset(elves))
    assert sorted(look_up(elves, scopes, False, WATCH).missing["a.so"]) == sorted(names[-7:])


def colliding(count: int) -> list[str]:
    """Names that the compiled module cannot tell apart by their hashes: lookup.c has the same arithmetic."""

    def mix(number: int, word: int) -> int:
        mixed = (number ^ word) * 0x9E3779B97F4A7C15 % 2**64
        return mixed ^ mixed >> 32

    made = []
    for number in range(8 * count):
        first = f"{number:08}".encode()
        second = (mix(16, int.from_bytes(first, "little")) ^ 0x0123456789ABCDEF).to_bytes(8, "little")
        if 0 not in second:
            made.append((first + second).decode("utf-8", "surrogateescape"))
    return made[:count]


def crowded() -> list[dict[str, ElfFacts]]:
    names = colliding(3000)
    alike = {"a.so": facts_of([(name, 0) for name in names], []), "b.so": facts_of([], names[5:])}
    shared = [f"n{number}" for number in range(300)]
    # Each name is exported by hundreds of files, of which the last is the one that counts.
    popular = {f"{number:03}.so": facts_of([(name, 0) for name in shared], shared) for number in range(300)}
    return [alike, popular]


@pytest.mark.parametrize("place", [0, 1])
def test_names_made_to_take_long(place: int, native_scan: object) -> None:
    """The compiled module gives up rather than take time out of proportion; nothing else changes."""
    elves = crowded()[place]
    scopes = {member: frozenset({member, max(elves)}) for member in elves}
    assert lookup._native is not None
    files = tuple(
        (*facts.imports.references(False), facts.exports.names_at_hand(), bytes(99))  # type: ignore[attr-defined]  # packed
        for facts in elves.values()
    )
    assert lookup._native.look_up(files, b"") is None
    names = {member: {symbol.name for symbol in facts.exports} for member, facts in elves.items()}
    assert as_sets(look_up(elves, scopes, False, WATCH)) == expected(elves, scopes, names, False)


def test_bytes_that_are_no_symbols(native_scan: object) -> None:
    """Nothing is read that is not there."""
    assert lookup._native is not None
    look = lookup._native.look_up
    assert look((), b"") == ([], [], {})
    assert look(((b"a\0b", b"\0\0\0\0\0", b"\1", b"a", b""),), b"a") == ([["a"]], [[]], {})
    assert look(((b"a\0b\0", b"\0\0\5\0", b"\1", b"b\0a\0", b""),), b"b\0") == ([["a"]], [["b"]], {"a": [0]})
    assert look(((b"a\0", b"\0\0", b"\1", b"a\0", b"\1"),), b"") == ([[]], [[]], {})
    assert lookup._native.names_of_starts(b"a\0\0ab\0a", (b"a\0", b"ab\0\0", b"\0"), 9) == ["a", ""]
    assert lookup._native.names_of_starts(b"a\0b\0", (b"",), 1) == ["a"]
    assert lookup._native.names_in_groups(b"a\0b\0c\0d", b"\0\0\1\x80\7\0\0\0", b"\2\1", 2) == [["b"], ["a"]]
    with pytest.raises(ValueError, match="groups"):
        lookup._native.names_in_groups(b"a\0", b"\0\0", b"\3", 2)
    for wrong in (((b"", b"", b"", b""),), (3,), ((b"", b"", b"", b"", ""),)):
        with pytest.raises(TypeError):
            look(wrong, b"")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_what_names_are_asked(seed: int, fold: bool, native_scan: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginnings, whole names and groups: as of a tuple of the symbols, with the compiled module and without it."""
    chance = random.Random(seed)
    names = chance.choices(["Py", "Py_A", "_PyB", "P", "", "init", "initdemo", "\udcff", "é"], k=chance.randint(0, 9))
    packed, codes, versions = pack(names, chance.choices([0, 1, 2, 3, 0x8000, 0x8002], k=len(names)))
    given = elf.fold_names(memoryview(packed)) if fold else packed
    keys = [("libc.so.6", "GLIBC_2.5"), (None, None), ("liba.so", "none")]
    for native in (elf._native, None):
        monkeypatch.setattr(elf, "_native", native)
        symbols = PackedSymbols(ImportedSymbol, (given, codes, (*versions, "é", "liba.so")))
        plainly = tuple(symbols)
        for wanted in (keys, keys[:1], [], None):
            assert elf.group_names(symbols, wanted) == elf.group_names(plainly, wanted)
        for starts, whole in ((("Py", "_Py"), ()), (("Pyx",), ("init",)), ((), ("", "\udcff")), (("i",), ("_PyB",))):
            assert elf.has_name(symbols, starts, whole) == elf.has_name(plainly, starts, whole)
        exports = PackedSymbols(ExportedSymbol, (given, codes, versions))
        assert elf.names_of_python(exports) == [name for name in names if name.startswith(("Py", "_Py"))]
