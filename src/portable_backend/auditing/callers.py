"""Who calls for a symbol: the places in one ELF file's code and data that use what it imports. Pure.

A call of a library's function goes through a slot of the global offset table, which a relocation names; usually by way
of a stub of the procedure linkage table that jumps through the slot::

    call memcpy@plt ──► stub: jmp *slot ──► slot ◄── R_X86_64_JUMP_SLOT memcpy@GLIBC_2.14
    └─ found among the code by where it leads        └─ found among the relocations by its name

So no disassembler is needed: a place counts if, read as an instruction of the few kinds that matter, it leads to the
very stub or slot. That bytes which are no such instruction do so by chance is next to impossible, since a displacement
of 32 bits would have to hit one of a few addresses. What is found is true; that all was found is not claimed: addresses
that are computed otherwise, and code of architectures other than x86-64 and AArch64, are not seen.

The name of the function around a place is that of the symbol table that ``strip`` removes, its source that of
``.debug_line`` (see :mod:`.lines`) or of the symbol table's file names. The bytes may be hostile: every range is
checked, and what is looked through is bounded.

Sources: the psABIs of x86-64 and AArch64 (relocations, procedure linkage tables); gABI, chapters 4 and 5.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from struct import Struct, error, unpack
from typing import TYPE_CHECKING, Optional

from ..records import NamedTuple
from .lines import DebugSections, find_lines

if TYPE_CHECKING:
    from ..elf import Buffer

#: As many places are told of each symbol.
SHOWN = 8
# Bounds of what is looked through.
_MOST_CODE = 128 << 20
_MOST_DEBUG = 128 << 20
_MOST_SYMBOLS = 4_000_000
_MOST_RELOCATIONS = 8_000_000
_MOST_NAMES = 1_000_000
_MOST_SLOTS = 200_000
_MOST_PLACES = 20_000
# Of so many places of a symbol the names are looked up; those of which most is known are told.
_MOST_NAMED = 200

_X86_64, _AARCH64 = 62, 183
# Relocations that write the symbol's address into data; and those that copy it, which are no use of their own.
_ABSOLUTE = {_X86_64: 1, _AARCH64: 257}
_COPY = {_X86_64: 5, _AARCH64: 1024}

_HEADER = Struct("<16xHHIQQQIHHHHHH")
_SEGMENT = Struct("<IIQQQQQQ")
_SECTION = Struct("<IIQQQQIIQQ")
_SYMBOL = Struct("<IBBHQQ")
_RELA = Struct("<QQq")
_PAIR = Struct("<QQ")
_DISPLACEMENT = Struct("<i")
_VERNEED, _VERNAUX = Struct("<HHIII"), Struct("<IHHII")
_COMPRESSED = Struct("<IIQQ")

_PT_LOAD, _PT_DYNAMIC, _PF_X = 1, 2, 1
_SHT_SYMTAB, _SHT_DYNSYM, _SHT_NOBITS = 2, 11, 8
_SHF_COMPRESSED, _ELFCOMPRESS_ZLIB = 0x800, 1
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 5, 6, 7, 8, 23
_DT_VERSYM, _DT_VERNEED = 0x6FFFFFF0, 0x6FFFFFFE
_STT_OBJECT, _STT_FUNC, _STT_FILE, _STT_IFUNC = 1, 2, 4, 10


class Caller(NamedTuple):
    """One place that uses a symbol.

    :param how: ``call``, ``jump`` (a call at a function's end), ``load`` (the address is taken) or ``data`` (the
        address is written into data, such as a table of functions).
    :param address: of the instruction or datum, as the file counts.
    :param function: the function, or variable, around it; ``None`` where the symbol table is gone.
    :param source: ``path:line``, where there are line tables for it.
    :param unit: the source file of which that is known, be it the name alone.
    :param object: the object file or ``archive.a(member.o)`` that a linker map tells.
    :param crate: the Rust crate that the names tell, with its version where a path has it.
    """

    how: str
    address: int
    function: Optional[str] = None
    source: Optional[str] = None
    unit: Optional[str] = None
    object: Optional[str] = None
    crate: Optional[str] = None


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
        return _File(memoryview(image)).callers(wanted)
    except (_Strange, error, ValueError, OverflowError, IndexError) as problem:
        reason = str(problem) if isinstance(problem, _Strange) else "its structures contradict each other"
        return {symbol: Calls((), 0, reason) for symbol in wanted}


class _Strange(Exception):
    """Why nothing can be told."""


class _Load(NamedTuple):
    flags: int
    offset: int
    vaddr: int
    size: int


class _Section(NamedTuple):
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


class _Slots(NamedTuple):
    """Addresses at which the loader writes a symbol's address, by what uses them: code, or whoever reads the data."""

    code: dict[int, str]
    data: dict[int, str]


class _File:
    def __init__(self, image: memoryview) -> None:
        self.image = image
        if bytes(image[:7]) != b"\x7fELF\x02\x01\x01":
            raise _Strange("only code for x86-64 and AArch64 is looked through")
        _, self.machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, names = _HEADER.unpack_from(
            image
        )
        if self.machine not in _ABSOLUTE:
            raise _Strange("only code for x86-64 and AArch64 is looked through")
        self.loads: list[_Load] = []
        self.dynamic: dict[int, int] = {}
        if phentsize == _SEGMENT.size:
            self._read_segments(phoff, phnum)
        self.sections = self._read_sections(shoff, shnum, names) if shentsize == _SECTION.size else []

    # Structures.

    def bytes_at(self, offset: int, size: int) -> memoryview:
        """A range of the file; empty where it is not wholly inside."""
        return self.image[offset : offset + size] if offset + size <= len(self.image) else self.image[:0]

    def mapped(self, address: int, size: int = -1) -> memoryview:
        """What the loader maps at an address, so many bytes or up to the end of the segment."""
        for load in reversed(self.loads):
            if load.vaddr <= address < load.vaddr + load.size:
                skip = address - load.vaddr
                room = load.size - skip
                return self.bytes_at(load.offset + skip, room if size < 0 else min(size, room))
        return self.image[:0]

    def _read_segments(self, offset: int, count: int) -> None:
        dynamic = None
        for fields in _SEGMENT.iter_unpack(self.bytes_at(offset, count * _SEGMENT.size)):
            kind, flags, start, vaddr, _, size, _, _ = fields
            if kind == _PT_LOAD:
                self.loads.append(_Load(flags, start, vaddr, size))
            elif kind == _PT_DYNAMIC:
                dynamic = vaddr, size
        if dynamic is not None:
            table = self.mapped(*dynamic)
            for tag, value in _PAIR.iter_unpack(table[: len(table) // _PAIR.size * _PAIR.size]):
                if tag == 0:
                    break
                self.dynamic[tag] = value

    def _read_sections(self, offset: int, count: int, names: int) -> list[_Section]:
        raw = list(_SECTION.iter_unpack(self.bytes_at(offset, count * _SECTION.size)))
        strings = self.bytes_at(raw[names][4], raw[names][5]) if names < len(raw) else self.image[:0]
        return [
            _Section(_text(strings, name, 64), kind, flags, address, start, size, link)
            for name, kind, flags, address, start, size, link, *_ in raw
        ]

    def content(self, name: str) -> bytes:
        """The content of a section, inflated where it is compressed; empty where there is none, or none to be had."""
        section = next((each for each in self.sections if each.name == name and each.type != _SHT_NOBITS), None)
        if section is None or section.size > _MOST_DEBUG:
            return b""
        data = bytes(self.bytes_at(section.offset, section.size))
        if not section.flags & _SHF_COMPRESSED:
            return data
        kind, _, size, _ = _COMPRESSED.unpack_from(data)
        if kind != _ELFCOMPRESS_ZLIB or size > _MOST_DEBUG:
            return b""
        try:
            return zlib.decompressobj().decompress(data[_COMPRESSED.size :], size)
        except zlib.error:
            return b""

    # From names to slots.

    def callers(self, wanted: Collection[str]) -> dict[str, Calls]:
        slots = self.find_slots(wanted)
        found: defaultdict[str, list[Caller]] = defaultdict(list)
        for address, symbol in sorted(slots.data.items()):
            found[symbol].append(Caller("data", address))
        code = [load for load in self.loads if load.flags & _PF_X and load.size]
        too_large = sum(load.size for load in code) > _MOST_CODE
        if slots.code and not too_large:
            search = self.x86_64_uses if self.machine == _X86_64 else self.aarch64_uses
            for caller, symbol in search(code, slots.code):
                if len(found[symbol]) < _MOST_PLACES:
                    found[symbol].append(caller)
        some = {symbol: sorted(found[symbol], key=_address)[:_MOST_NAMED] for symbol in wanted}
        named = self.named([caller for callers in some.values() for caller in callers])
        nothing = "its code is too large to be looked through" if too_large else "no use of it was found in its code"
        shown = {
            symbol: sorted(map(named.__getitem__, callers), key=_worth)[:SHOWN] for symbol, callers in some.items()
        }
        return {
            symbol: Calls(tuple(callers), len(found[symbol]), None if callers else nothing)
            for symbol, callers in shown.items()
        }

    def find_slots(self, wanted: Collection[str]) -> _Slots:
        slots = _Slots({}, {})
        names: dict[int, str] = {}
        versions = self.read_versions()
        for table, size in ((_DT_RELA, _DT_RELASZ), (_DT_JMPREL, _DT_PLTRELSZ)):
            if table not in self.dynamic or size not in self.dynamic:
                continue
            records = self.mapped(self.dynamic[table], min(self.dynamic[size], _MOST_RELOCATIONS * _RELA.size))
            for address, info, _ in _RELA.iter_unpack(records[: len(records) // _RELA.size * _RELA.size]):
                index, kind = info >> 32, info & 0xFFFFFFFF
                if index == 0 or kind == _COPY[self.machine]:
                    continue
                if index not in names:
                    if len(names) > _MOST_NAMES:
                        break
                    names[index] = self.symbol_name(index, versions)
                if names[index] in wanted and len(slots.data) + len(slots.code) < _MOST_SLOTS:
                    (slots.data if kind == _ABSOLUTE[self.machine] else slots.code)[address] = names[index]
        return slots

    def symbol_name(self, index: int, versions: Mapping[int, str]) -> str:
        """The name of a dynamic symbol with its version; empty for one that is defined here."""
        record = self.mapped(self.dynamic.get(_DT_SYMTAB, 0) + index * _SYMBOL.size, _SYMBOL.size)
        if len(record) < _SYMBOL.size:
            return ""
        name, _, _, section, _, _ = _SYMBOL.unpack(record)
        if section != 0:
            return ""
        text = _text(self.mapped(self.dynamic.get(_DT_STRTAB, 0) + name), 0)
        versym = self.mapped(self.dynamic[_DT_VERSYM] + 2 * index, 2) if _DT_VERSYM in self.dynamic else b""
        version = versions.get(int.from_bytes(versym, "little") & 0x7FFF)
        return f"{text}@{version}" if version else text

    def read_versions(self) -> dict[int, str]:
        """The needed versions by their index. The chains only move forward."""
        found: dict[int, str] = {}
        if _DT_VERNEED not in self.dynamic:
            return found
        strings = self.mapped(self.dynamic.get(_DT_STRTAB, 0))
        table = self.mapped(self.dynamic[_DT_VERNEED])
        at, steps = 0, _MOST_PLACES
        while at + _VERNEED.size <= len(table) and steps > 0:
            _, count, _, aux, step = _VERNEED.unpack_from(table, at)
            each = at + aux
            for _ in range(count):
                steps -= 1
                if each + _VERNAUX.size > len(table) or steps < 0:
                    break
                _, _, index, name, forward = _VERNAUX.unpack_from(table, each)
                found[index & 0x7FFF] = _text(strings, name)
                if forward == 0:
                    break
                each += forward
            if step == 0:
                break
            at += step
        return found

    # From slots to code.

    def x86_64_uses(self, code: list[_Load], slots: Mapping[int, str]) -> Iterator[tuple[Caller, str]]:
        stubs: dict[int, str] = {}
        jumps: dict[int, str] = {}
        for load in code:
            body = self.bytes_at(load.offset, load.size)
            for match in _RIP_RELATIVE.finditer(body):
                at = match.start()
                if at + 6 > len(body):
                    continue
                symbol = slots.get(load.vaddr + at + 6 + _DISPLACEMENT.unpack_from(body, at + 2)[0])
                if symbol is None:
                    continue
                opcode, address = bytes(body[at : at + 2]), load.vaddr + at
                if opcode == b"\xff\x25" and len(jumps) < _MOST_SLOTS:
                    jumps[address] = symbol
                    stubs.update((address - skip, symbol) for skip in _entries_before(body, at))
                else:
                    yield Caller("call" if opcode == b"\xff\x15" else "load", address), symbol
        used: set[int] = set()
        for load in code:
            body = self.bytes_at(load.offset, load.size)
            for match in _RELATIVE_CALL.finditer(body):
                at = match.start() + len(match[0]) - 1
                if at + 5 > len(body):
                    continue
                target = load.vaddr + at + 5 + _DISPLACEMENT.unpack_from(body, at + 1)[0]
                if target in stubs:
                    used.add(target)
                    yield Caller("call" if match[0] == b"\xe8" else "jump", load.vaddr + match.start()), stubs[target]
        yield from self.jumps_of_their_own(jumps, used, 5)

    def jumps_of_their_own(
        self, jumps: Mapping[int, str], used: Collection[int], before: int
    ) -> Iterator[tuple[Caller, str]]:
        """Jumps through a slot that are no stubs: outside of the linkage table, and nothing calls them."""
        tables = [(each.address, each.address + each.size) for each in self.sections if each.name.startswith(".plt")]
        for address, symbol in jumps.items():
            is_called = any(address - skip in used for skip in range(before + 1))
            if not is_called and not any(start <= address < end for start, end in tables):
                yield Caller("jump", address), symbol

    def aarch64_uses(self, code: list[_Load], slots: Mapping[int, str]) -> Iterator[tuple[Caller, str]]:
        stubs: dict[int, str] = {}
        jumps: dict[int, str] = {}
        for body, at, address, slot, is_stub in self.aarch64_loads(code, slots):
            if not is_stub:
                yield Caller("load", address), slots[slot]
            elif len(jumps) < _MOST_SLOTS:
                jumps[address] = stubs[address] = slots[slot]
                if bytes(body[max(at - 4, 0) : at]) == _BTI_C:
                    stubs[address - 4] = slots[slot]
        used: set[int] = set()
        for load in code:
            for at, word in _words(self.bytes_at(load.offset, load.size & ~3)):
                # b and bl: 26 bits, signed, in words
                if word & 0x7C000000 == 0x14000000:
                    distance = ((word & 0x3FFFFFF) ^ 0x2000000) - 0x2000000
                    target = load.vaddr + at + 4 * distance
                    if target in stubs:
                        used.add(target)
                        yield Caller("call" if word >> 31 else "jump", load.vaddr + at), stubs[target]
        yield from self.jumps_of_their_own(jumps, used, 4)

    def aarch64_loads(
        self, code: list[_Load], slots: Mapping[int, str]
    ) -> Iterator[tuple[memoryview, int, int, int, bool]]:
        """Where a slot's page is taken and the slot then loaded: the code, the place in it, its address, the slot, and
        whether a stub does so.
        """
        pages = {slot & ~0xFFF for slot in slots}
        for load in code:
            body = self.bytes_at(load.offset, load.size & ~3)
            for at, word in _words(body):
                # adrp xD, page
                if word & 0x9F000000 != 0x90000000:
                    continue
                page = (load.vaddr + at & ~0xFFF) + _adrp_offset(word)
                if page in pages:
                    slot, is_stub = _loaded_slot(body, at, page, word & 31, slots)
                    if slot is not None:
                        yield body, at, load.vaddr + at, slot, is_stub

    # From places to names.

    def named(self, callers: Collection[Caller]) -> dict[Caller, Caller]:
        addresses = sorted({caller.address for caller in callers})
        functions = self.functions_around(addresses)
        debug = DebugSections(*map(self.content, (".debug_line", ".debug_line_str", ".debug_str")))
        lines = find_lines(debug, addresses)
        named = {}
        for caller in callers:
            function, unit = functions.get(caller.address, (None, None))
            source = lines.get(caller.address)
            unit = source.rpartition(":")[0] if source else unit
            named[caller] = caller._replace(
                function=function, source=source, unit=unit, crate=find_crate(function, source)
            )
        return named

    def functions_around(self, addresses: list[int]) -> dict[int, tuple[str, Optional[str]]]:
        """Name and source file, if known, of the function or variable around each address."""
        found: dict[int, tuple[str, Optional[str]]] = {}
        tables = [each for kind in (_SHT_SYMTAB, _SHT_DYNSYM) for each in self.sections if each.type == kind][:2]
        for table in tables if addresses else ():
            sizes: dict[int, int] = {}
            strings = self.image[:0]
            if table.link < len(self.sections):
                strings = self.bytes_at(self.sections[table.link].offset, self.sections[table.link].size)
            body = self.bytes_at(table.offset, min(table.size, _MOST_SYMBOLS * _SYMBOL.size))
            file, steps = None, _MOST_PLACES * 10
            for name, info, _, section, value, size in _SYMBOL.iter_unpack(
                body[: len(body) // _SYMBOL.size * _SYMBOL.size]
            ):
                kind = info & 15
                if kind == _STT_FILE:
                    file = name
                if section == 0 or kind not in (_STT_OBJECT, _STT_FUNC, _STT_IFUNC):
                    continue
                for place in range(bisect_left(addresses, value), len(addresses)):
                    address = addresses[place]
                    if address >= value + size or steps < 0:
                        break
                    steps -= 1
                    if size < sizes.get(address, 1 << 64):  # the innermost
                        sizes[address] = size
                        local = info >> 4 == 0
                        unit = _text(strings, file) if local and file is not None else ""
                        found[address] = _text(strings, name), unit or None
            if found:
                break
        return found


# mov, cmp, add, or, test; call and jmp: through an address relative to the next instruction
_RIP_RELATIVE = re.compile(rb"[\x8b\x3b\x39\x03\x0b\x85\xff](?=[\x05\x0d\x15\x1d\x25\x2d\x35\x3d])", re.DOTALL)
# call, jmp, and the conditional jumps
_RELATIVE_CALL = re.compile(rb"\xe8|\xe9|\x0f[\x80-\x8f]", re.DOTALL)
_ENDBR64, _BND = b"\xf3\x0f\x1e\xfa", b"\xf2"
_BTI_C = b"\x5f\x24\x03\xd5"


def _entries_before(body: memoryview, at: int) -> Iterator[int]:
    """How many bytes before the jump of a stub calls may enter it: with ``bnd`` and ``endbr64`` in front of it."""
    yield 0
    back = 0
    if bytes(body[max(at - 1, 0) : at]) == _BND:
        back = 1
        yield back
    if bytes(body[max(at - back - 4, 0) : at - back]) == _ENDBR64:
        yield back + 4


def _words(body: memoryview) -> Iterator[tuple[int, int]]:
    """Offset and value of each instruction."""
    for start in range(0, len(body) // 4 * 4, 1 << 20):
        piece = body[start : min(start + (1 << 20), len(body) // 4 * 4)]
        yield from zip(range(start, start + len(piece), 4), unpack(f"<{len(piece) // 4}I", piece))


def _adrp_offset(word: int) -> int:
    pages = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
    return ((pages ^ 0x100000) - 0x100000) << 12


def _loaded_slot(
    body: memoryview, at: int, page: int, register: int, slots: Mapping[int, str]
) -> tuple[Optional[int], bool]:
    """The slot that is loaded soon after its page was, and whether what is loaded is jumped to, as in a stub."""
    following = body[at + 4 : at + 36]
    words = unpack(f"<{len(following) // 4}I", following)
    for place, word in enumerate(words):
        # ldr xT, [xN, #8 * n]
        if word & 0xFFC00000 == 0xF9400000 and word >> 5 & 31 == register:
            slot = page + 8 * (word >> 10 & 0xFFF)
            if slot in slots:
                jump = 0xD61F0000 | (word & 31) << 5  # br xT
                return slot, register in (16, 17) and jump in words[place + 1 : place + 3]
    return None, False


def _text(strings: memoryview, offset: int, most: int = 4096) -> str:
    """A string of a table, cut where it is longer than there is reason to be."""
    return bytes(strings[offset : offset + most]).partition(b"\0")[0].decode("utf-8", "replace")


def _address(caller: Caller) -> int:
    return caller.address


def _worth(caller: Caller) -> tuple[bool, bool, int]:
    return caller.source is None, caller.function is None, caller.address


_REGISTRY = re.compile(r"/registry/src/[^/]+/([A-Za-z0-9_\-]+?)-([0-9]+\.[^/]*)/")
_CHECKOUT = re.compile(r"/git/checkouts/([A-Za-z0-9_\-]+)-[0-9a-f]+/")
_OF_RUST = re.compile(r"/rustc/[^/]+/library/([a-z_]+)/")
_V0 = re.compile(r"_R[A-Za-z0-9_]*?C(?:s[0-9A-Za-z]*_)?([0-9]+)_?([A-Za-z_][A-Za-z0-9_]*)")


def find_crate(function: Optional[str], source: Optional[str]) -> Optional[str]:
    """The Rust crate that a path or a mangled name tells, if one does."""
    path = (source or "").replace("\\", "/")
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
