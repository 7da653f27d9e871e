"""Who calls for a symbol: the places in one ELF file's code and data that use what it imports. Pure.

A call of a library's function goes through a slot of the global offset table, which a relocation names; usually by way
of a stub of the procedure linkage table that jumps through the slot::

    call memcpy@plt ──► stub: jmp *slot ──► slot ◄── R_X86_64_JUMP_SLOT memcpy@GLIBC_2.14
    └─ found among the code by where it leads        └─ found among the relocations by its name

So no disassembler is needed: a place counts if, read as an instruction of the few kinds that matter, it leads to the
very stub or slot. That bytes which are no such instruction do so by chance is next to impossible, since a displacement
of 20 to 32 bits would have to hit one of a few addresses. What is found is true; that all was found is not claimed:
addresses that are computed otherwise are not seen. The machines' instructions are in :mod:`.uses` and
:mod:`.more_uses`.

The name of the function around a place is that of the symbol table that ``strip`` removes, its source that of
``.debug_line`` (see :mod:`.lines`) or of the symbol table's file names. The bytes may be hostile: every range is
checked, and what is looked through is bounded.

Source: gABI, chapters 4 and 5.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from struct import error
from typing import TYPE_CHECKING, Optional

from ..records import NamedTuple
from .dwarf import DebugSections
from .image import AARCH64, ARM, I386, PPC64, RISCV, S390, X86_64, Image, Section, Strange, text_at
from .lines import find_rows
from .more_uses import arm_uses, i386_uses, ppc64_uses, riscv_uses, s390_uses
from .units import Unit, find_units, join
from .uses import Use, aarch64_uses, x86_64_uses

if TYPE_CHECKING:
    from ..elf import Buffer

#: As many places are told of each symbol.
SHOWN = 8
# Bounds of what is looked through.
_MOST_CODE = 128 << 20
_MOST_SYMBOLS = 4_000_000
_MOST_PLACES = 20_000
# Of so many places of a symbol the names are looked up; those of which most is known are told.
_MOST_NAMED = 200

_SHT_SYMTAB, _SHT_DYNSYM = 2, 11
_STT_OBJECT, _STT_FUNC, _STT_FILE, _STT_IFUNC = 1, 2, 4, 10

_USES: dict[int, Callable[[Image, Mapping[int, str]], Iterator[Use]]] = {
    X86_64: x86_64_uses,
    AARCH64: aarch64_uses,
    I386: i386_uses,
    ARM: arm_uses,
    PPC64: ppc64_uses,
    S390: s390_uses,
    RISCV: riscv_uses,
}


class Caller(NamedTuple):
    """One place that uses a symbol.

    :param how: ``call``, ``jump`` (a call at a function's end), ``load`` (the address is taken) or ``data`` (the
        address is written into data, such as a table of functions).
    :param address: of the instruction or datum, as the file counts.
    :param function: the function, or variable, around it; ``None`` where the symbol table is gone.
    :param source: ``path:line``, where there are line tables for it; of a header, where the code was written there.
    :param unit: the source file that was compiled, or, where only that is told, the one of the line or of the symbol
        table.
    :param object: the object file or ``archive.a(member.o)`` that a linker map tells.
    :param crate: the Rust crate that the names tell, with its version where a path has it.
    :param language: that the source is in, as ``C++``.
    :param compiler: as ``GNU C17 12.2.0`` or ``rustc 1.83.0``.
    """

    how: str
    address: int
    function: Optional[str] = None
    source: Optional[str] = None
    unit: Optional[str] = None
    object: Optional[str] = None
    crate: Optional[str] = None
    language: Optional[str] = None
    compiler: Optional[str] = None


class Calls(NamedTuple):
    """The places that use a symbol: the first few, how many there are, and why there are none, if so."""

    callers: tuple[Caller, ...]
    total: int
    unknown: Optional[str] = None


def find_callers(image: Buffer, wanted: Collection[str]) -> dict[str, Calls]:
    """Find the places in a file that use some of its imported symbols.

    :param image: the whole file.
    :param wanted: symbols, as ``name@VERSION`` where they have a version.
    :returns: of each wanted symbol what was found; never an error, whatever the bytes are.
    """
    try:
        return _callers(Image(memoryview(image)), wanted)
    except (Strange, error, ValueError, OverflowError, IndexError) as problem:
        reason = str(problem) if isinstance(problem, Strange) else "its structures contradict each other"
        return {symbol: Calls((), 0, reason) for symbol in wanted}


def _callers(image: Image, wanted: Collection[str]) -> dict[str, Calls]:
    slots = image.find_slots(wanted)
    found: defaultdict[str, list[Caller]] = defaultdict(list)
    for address, symbol in sorted(slots.data.items()):
        found[symbol].append(Caller("data", address))
    too_large = sum(load.size for load in image.code()) > _MOST_CODE
    if slots.code and not too_large:
        for how, address, symbol in _USES[image.machine](image, slots.code):
            if len(found[symbol]) < _MOST_PLACES:
                found[symbol].append(Caller(how, address))
    some = {symbol: sorted(found[symbol], key=_address)[:_MOST_NAMED] for symbol in wanted}
    named = _named(image, [caller for callers in some.values() for caller in callers])
    nothing = "its code is too large to be looked through" if too_large else "no use of it was found in its code"
    shown = {symbol: sorted(map(named.__getitem__, callers), key=_worth)[:SHOWN] for symbol, callers in some.items()}
    return {
        symbol: Calls(tuple(callers), len(found[symbol]), None if callers else nothing)
        for symbol, callers in shown.items()
    }


def _named(image: Image, callers: Collection[Caller]) -> dict[Caller, Caller]:
    addresses = sorted({caller.address for caller in callers})
    functions = _functions_around(image, addresses)
    debug = _debug_sections(image)
    rows = find_rows(debug, addresses)
    units = find_units(debug, {row.unit for row in rows.values()})
    named = {}
    for caller in callers:
        function, file = functions.get(caller.address, (None, None))
        row = rows.get(caller.address)
        unit = (units.get(row.unit) if row else None) or Unit()
        source = join(unit.directory or "", row.source) if row else None
        named[caller] = caller._replace(
            function=function,
            source=source,
            unit=unit.path or (source.rpartition(":")[0] if source else file),
            crate=find_crate(function, source, unit.path or unit.directory),
            language=unit.language,
            compiler=unit.compiler,
        )
    return named


def _debug_sections(image: Image) -> DebugSections:
    names = ("line", "line_str", "str", "info", "abbrev", "str_offsets")
    line, line_str, strings, info, abbrev, offsets = (image.content(f".debug_{name}") for name in names)
    size = 8 if image.wide else 4
    return DebugSections(line, line_str, strings, info, abbrev, offsets, image.order, size)


def _functions_around(image: Image, addresses: list[int]) -> dict[int, tuple[str, Optional[str]]]:
    """Name and source file, if known, of the function or variable around each address."""
    found: dict[int, tuple[str, Optional[str]]] = {}
    tables = [each for kind in (_SHT_SYMTAB, _SHT_DYNSYM) for each in image.sections if each.type == kind][:2]
    for table in tables if addresses else ():
        _look_up(image, table, addresses, found)
        if found:
            break
    return found


def _look_up(image: Image, table: Section, addresses: list[int], found: dict[int, tuple[str, Optional[str]]]) -> None:
    sizes: dict[int, int] = {}
    strings = image.image[:0]
    if table.link < len(image.sections):
        strings = image.bytes_at(image.sections[table.link].offset, image.sections[table.link].size)
    file, steps = None, _MOST_PLACES * 10
    body = image.bytes_at(table.offset, min(table.size, _MOST_SYMBOLS * image.layout.symbol.size))
    for name, info, section, value, size in image.symbols(body, _MOST_SYMBOLS):
        kind = info & 15
        if kind == _STT_FILE:
            file = name
        if section == 0 or kind not in (_STT_OBJECT, _STT_FUNC, _STT_IFUNC):
            continue
        # Bit 0 of a function's value tells of Thumb code.
        start = value & ~1 if image.machine == ARM and kind == _STT_FUNC else value
        for place in range(bisect_left(addresses, start), len(addresses)):
            address = addresses[place]
            if address >= start + size or steps < 0:
                break
            steps -= 1
            if size < sizes.get(address, 1 << 64):  # the innermost
                sizes[address] = size
                local = info >> 4 == 0
                unit = text_at(strings, file) if local and file is not None else ""
                found[address] = text_at(strings, name), unit or None


def _address(caller: Caller) -> int:
    return caller.address


def _worth(caller: Caller) -> tuple[bool, bool, int]:
    return caller.source is None, caller.function is None, caller.address


_REGISTRY = re.compile(r"/registry/src/[^/]+/([A-Za-z0-9_\-]+?)-([0-9]+\.[^/]*)(?:/|$)")
_CHECKOUT = re.compile(r"/git/checkouts/([A-Za-z0-9_\-]+)-[0-9a-f]+(?:/|$)")
_OF_RUST = re.compile(r"/rustc/[^/]+/library/([a-z_]+)/")
_V0 = re.compile(r"_R[A-Za-z0-9_]*?C(?:s[0-9A-Za-z]*_)?([0-9]+)_?([A-Za-z_][A-Za-z0-9_]*)")


def find_crate(function: Optional[str], source: Optional[str], unit: Optional[str] = None) -> Optional[str]:
    """The Rust crate that a path or a mangled name tells, if one does.

    :param source: the file of the line, which may be that of a function that was written into another.
    :param unit: the file that was compiled, which comes first.
    """
    for path in ((unit or "")[:4096].replace("\\", "/"), (source or "")[:4096].replace("\\", "/")):
        match = _REGISTRY.search(path)
        if match:
            return f"{match[1]} {match[2]}"
        match = _CHECKOUT.search(path) or _OF_RUST.search(path)
        if match:
            return match[1]
    name = (function or "")[:1000]
    match = _V0.match(name) if name.startswith("_R") else None
    if match:
        return match[2][: int(match[1][:4])]
    return _legacy_crate(name)


def _legacy_crate(name: str) -> Optional[str]:
    """The first part of a path in Rust's older mangling, which ends in a hash; that of C++ does not."""
    match = re.match(r"_ZN([0-9]{1,4})", name)
    if match is None or not re.search(r"17h[0-9a-f]{16}E", name):
        return None
    first = name[match.end() : match.end() + int(match[1])]
    words = re.match(r"(?:_?\$[A-Z0-9a-z]+\$)*([A-Za-z_][A-Za-z0-9_]*)", first)
    return words[1].lstrip("_") or None if words else None


__all__ = ["SHOWN", "Caller", "Calls", "find_callers", "find_crate"]
