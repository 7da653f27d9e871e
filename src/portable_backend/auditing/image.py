"""An ELF file's structures as far as the search for callers goes by them, of both classes and byte orders. Pure.

The bytes may be hostile: every range is checked, and no loop is longer than its bound.

Sources: gABI, chapters 4 and 5; the psABIs for the numbers of relocations.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from struct import Struct
from typing import TYPE_CHECKING

from ..records import NamedTuple

if TYPE_CHECKING:
    from typing import Literal

# Bounds of what is looked through.
_MOST_DEBUG = 128 << 20
_MOST_RELOCATIONS = 8_000_000
_MOST_NAMES = 1_000_000
MOST_SLOTS = 200_000
_MOST_VERSIONS = 20_000
_MOST_DYNAMIC = 100_000

X86_64, AARCH64, I386, ARM, PPC64, S390, RISCV = 62, 183, 3, 40, 21, 22, 243


class _Relocations(NamedTuple):
    """Numbers of relocations of a machine: what writes a symbol's address into data, and what copies the symbol.

    :param shared: whether the first fills the global offset table, too.
    """

    absolute: int
    copy: int
    shared: bool = False


# What is looked through: whether of 64 bits, whether big-endian, and the machine.
_KNOWN = {
    (True, False, X86_64): _Relocations(1, 5),
    (True, False, AARCH64): _Relocations(257, 1024),
    (False, False, I386): _Relocations(1, 5),
    (False, False, ARM): _Relocations(2, 20),
    (True, False, PPC64): _Relocations(38, 19, shared=True),
    (True, True, S390): _Relocations(22, 9),
    (True, False, RISCV): _Relocations(2, 4, shared=True),
}

_PT_LOAD, _PT_DYNAMIC, PF_X = 1, 2, 1
_SHT_NOBITS = 8
_SHF_COMPRESSED, _ELFCOMPRESS_ZLIB = 0x800, 1
_DT_PLTRELSZ, DT_PLTGOT, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ = 2, 3, 5, 6, 7, 8
_DT_REL, _DT_RELSZ, _DT_PLTREL, _DT_JMPREL = 17, 18, 20, 23
_DT_VERSYM, _DT_VERNEED = 0x6FFFFFF0, 0x6FFFFFFE


class Strange(Exception):
    """Why nothing can be told."""


class Load(NamedTuple):
    """A segment that is mapped. Size in the file, in bytes."""

    flags: int
    offset: int
    vaddr: int
    size: int


class Section(NamedTuple):
    """A section's header."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


class Slots(NamedTuple):
    """Addresses at which the loader writes a symbol's address, by what uses them: code, or whoever reads the data."""

    code: dict[int, str]
    data: dict[int, str]


class Symbol(NamedTuple):
    """A symbol as it stands in a table; ``name`` is an offset."""

    name: int
    info: int
    section: int
    value: int
    size: int


class _Layout:
    """Of a class and byte order: the structures."""

    def __init__(self, wide: bool, order: str) -> None:
        self.header = Struct(order + ("16xHHIQQQIHHHHHH" if wide else "16xHHIIIIIHHHHHH"))
        self.segment = Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
        self.section = Struct(order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
        self.symbol = Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
        self.rel = Struct(order + ("QQ" if wide else "II"))
        self.rela = Struct(order + ("QQq" if wide else "IIi"))
        self.compressed = Struct(order + ("IIQQ" if wide else "III"))
        self.verneed, self.vernaux = Struct(order + "HHIII"), Struct(order + "IHHII")


class Image:
    """A file for one of the machines that are known.

    :raises Strange: if it is for another one.
    """

    def __init__(self, image: memoryview) -> None:
        self.image = image
        ident = bytes(image[:7])
        wide, big = ident[4:5] == b"\x02", ident[5:6] == b"\x02"
        self.order: Literal["little", "big"] = "big" if big else "little"
        self.machine, self.wide = int.from_bytes(image[18:20], self.order), wide
        known = _KNOWN.get((wide, big, self.machine))
        if known is None or ident != b"\x7fELF" + bytes((1 + wide, 1 + big, 1)):
            raise Strange("code for its machine is not looked through")
        self.relocations = known
        self.layout = _Layout(self.wide, "<" if self.order == "little" else ">")
        _, _, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, names = self.layout.header.unpack_from(
            image
        )
        self.loads: list[Load] = []
        self.dynamic: dict[int, int] = {}
        if phentsize == self.layout.segment.size:
            self._read_segments(phoff, phnum)
        wanted = shentsize == self.layout.section.size
        self.sections = self._read_sections(shoff, shnum, names) if wanted else []

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
        for fields in _whole(self.layout.segment, self.bytes_at(offset, count * self.layout.segment.size)):
            if self.wide:
                kind, flags, start, vaddr, _, size, _, _ = fields
            else:
                kind, start, vaddr, _, size, _, flags, _ = fields
            if kind == _PT_LOAD:
                self.loads.append(Load(flags, start, vaddr, size))
            elif kind == _PT_DYNAMIC:
                dynamic = vaddr, size
        if dynamic is not None:
            table = self.mapped(*dynamic)[: _MOST_DYNAMIC * self.layout.rel.size]
            for tag, value in _whole(self.layout.rel, table):
                if tag == 0:
                    break
                self.dynamic[tag] = value

    def _read_sections(self, offset: int, count: int, names: int) -> list[Section]:
        raw = list(_whole(self.layout.section, self.bytes_at(offset, count * self.layout.section.size)))
        strings = self.bytes_at(raw[names][4], raw[names][5]) if names < len(raw) else self.image[:0]
        return [
            Section(text_at(strings, name, 64), kind, flags, address, start, size, link)
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
        if len(data) < self.layout.compressed.size:
            return b""
        kind, *_, size, _ = self.layout.compressed.unpack_from(data)
        if kind != _ELFCOMPRESS_ZLIB or size > _MOST_DEBUG:
            return b""
        try:
            return zlib.decompressobj().decompress(data[self.layout.compressed.size :], size)
        except zlib.error:
            return b""

    def code(self) -> list[Load]:
        """The segments that are run."""
        return [load for load in self.loads if load.flags & PF_X and load.size]

    def symbols(self, body: memoryview, most: int) -> Iterator[Symbol]:
        """The first so many symbols of a table."""
        layout = self.layout.symbol
        for fields in _whole(layout, body[: most * layout.size]):
            yield self._symbol(fields)

    def _symbol(self, fields: tuple[int, ...]) -> Symbol:
        if self.wide:
            name, info, _, section, value, size = fields
        else:
            name, value, size, info, _, section = fields
        return Symbol(name, info, section, value, size)

    def find_slots(self, wanted: Collection[str]) -> Slots:
        """Where the loader writes the addresses of the wanted symbols, ``name@VERSION`` where they have one."""
        slots = Slots({}, {})
        names: dict[int, str] = {}
        versions = self._read_versions()
        kinds = self.relocations
        tables = self._offset_tables() if kinds.shared else []
        for address, index, kind in self._relocated():
            if index == 0 or kind == kinds.copy:
                continue
            if index not in names:
                if len(names) > _MOST_NAMES:
                    break
                names[index] = self._symbol_name(index, versions)
            if names[index] in wanted and len(slots.data) + len(slots.code) < MOST_SLOTS:
                is_data = kind == kinds.absolute and not any(start <= address < end for start, end in tables)
                (slots.data if is_data else slots.code)[address] = names[index]
        return slots

    def _offset_tables(self) -> list[tuple[int, int]]:
        names = (".got", ".got.plt", ".toc", ".plt")
        return [(each.address, each.address + each.size) for each in self.sections if each.name in names]

    def _relocated(self) -> Iterator[tuple[int, int, int]]:
        """Of each relocation of the dynamic segment: address, number of the symbol, kind."""
        rela = self.dynamic.get(_DT_PLTREL, _DT_RELA) == _DT_RELA
        for table, size, layout in (
            (_DT_RELA, _DT_RELASZ, self.layout.rela),
            (_DT_REL, _DT_RELSZ, self.layout.rel),
            (_DT_JMPREL, _DT_PLTRELSZ, self.layout.rela if rela else self.layout.rel),
        ):
            if table not in self.dynamic or size not in self.dynamic:
                continue
            records = self.mapped(self.dynamic[table], min(self.dynamic[size], _MOST_RELOCATIONS * layout.size))
            for address, info, *_ in _whole(layout, records):
                yield (address, info >> 32, info & 0xFFFFFFFF) if self.wide else (address, info >> 8, info & 0xFF)

    def _symbol_name(self, index: int, versions: Mapping[int, str]) -> str:
        """The name of a dynamic symbol with its version; empty for one that is defined here."""
        layout = self.layout.symbol
        record = self.mapped(self.dynamic.get(_DT_SYMTAB, 0) + index * layout.size, layout.size)
        if len(record) < layout.size:
            return ""
        symbol = self._symbol(layout.unpack(record))
        if symbol.section != 0:
            return ""
        text = text_at(self.mapped(self.dynamic.get(_DT_STRTAB, 0) + symbol.name), 0)
        versym = self.mapped(self.dynamic[_DT_VERSYM] + 2 * index, 2) if _DT_VERSYM in self.dynamic else b""
        version = versions.get(int.from_bytes(versym, self.order) & 0x7FFF)
        return f"{text}@{version}" if version else text

    def _read_versions(self) -> dict[int, str]:
        """The needed versions by their index. The chains only move forward."""
        found: dict[int, str] = {}
        if _DT_VERNEED not in self.dynamic:
            return found
        verneed, vernaux = self.layout.verneed, self.layout.vernaux
        strings = self.mapped(self.dynamic.get(_DT_STRTAB, 0))
        table = self.mapped(self.dynamic[_DT_VERNEED])
        at, steps = 0, _MOST_VERSIONS
        while at + verneed.size <= len(table) and steps > 0:
            _, count, _, aux, step = verneed.unpack_from(table, at)
            each = at + aux
            for _ in range(count):
                steps -= 1
                if each + vernaux.size > len(table) or steps < 0:
                    break
                _, _, index, name, forward = vernaux.unpack_from(table, each)
                found[index & 0x7FFF] = text_at(strings, name)
                if forward == 0:
                    break
                each += forward
            if step == 0:
                break
            at += step
        return found


def _whole(layout: Struct, body: memoryview) -> Iterator[tuple[int, ...]]:
    """The records of a table, as many as are whole."""
    return layout.iter_unpack(body[: len(body) // layout.size * layout.size])


def text_at(strings: memoryview, offset: int, most: int = 4096) -> str:
    """A string of a table, cut where it is longer than there is reason to be."""
    return bytes(strings[offset : offset + most]).partition(b"\0")[0].decode("utf-8", "replace")


__all__ = [
    "AARCH64",
    "ARM",
    "DT_PLTGOT",
    "I386",
    "MOST_SLOTS",
    "PPC64",
    "RISCV",
    "S390",
    "X86_64",
    "Image",
    "Load",
    "Section",
    "Slots",
    "Strange",
    "Symbol",
    "text_at",
]
