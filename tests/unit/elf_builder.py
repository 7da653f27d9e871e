"""Build small ELF files in either class and byte order, field by field, for the tests of the scanner.

One load segment maps the whole file at ``BASE``, so that no address is an offset by accident. ``build`` returns the
bytes and where each part is, so that a test can break one field of one part.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from portable_backend.elf import ElfFacts, feed_pass
from portable_backend.elfstream import StreamedScan

BASE = 0x10000

GLOBAL, WEAK, UNIQUE, LOCAL = 1, 2, 10, 0
DEFAULT, HIDDEN, PROTECTED = 0, 2, 3
FUNC, IFUNC = 2, 10
X86_64, S390, AARCH64, MIPS = 62, 22, 183, 8
#: What a shared object usually says about its stack: read and write.
STACK = 6


class Symbol(NamedTuple):
    name: str
    defined: bool = False
    binding: int = GLOBAL
    version: int = 1
    """The raw entry of the version table: an index, plus 0x8000 where hidden."""
    visibility: int = DEFAULT
    kind: int = FUNC


class Need(NamedTuple):
    library: str
    versions: tuple[tuple[str, int], ...]
    """Name and index."""


class Definition(NamedTuple):
    name: str
    number: int
    flags: int = 0
    parents: tuple[str, ...] = ()


@dataclass
class Elf:
    """What to build. Tables that are empty are left out, as a linker would."""

    bits: int = 64
    order: str = "<"
    machine: int = X86_64
    type: int = 3
    flags: int = 0
    dynamic: bool = True
    interpreter: Optional[str] = None
    stack: Optional[int] = STACK
    needed: Sequence[str] = ()
    soname: Optional[str] = None
    rpath: Optional[str] = None
    runpath: Optional[str] = None
    symbols: Sequence[Symbol] = ()
    """Undefined ones first, as ``DT_GNU_HASH`` wants it."""
    needs: Sequence[Need] = ()
    definitions: Sequence[Definition] = ()
    sysv_hash: bool = False
    gnu_hash: bool = False
    """Without defined symbols: the empty table that GNU ld writes, which names 1 as the first symbol."""
    relocations: Sequence[tuple[int, int]] = ()
    """Symbol index and type, in ``DT_RELA``."""
    plt: Sequence[tuple[int, int]] = ()
    """The same, in ``DT_JMPREL``."""
    plt_kind: int = 17
    note: bytes = b""
    note_segment: int = 0x6474E553
    extra: Sequence[tuple[int, int]] = ()
    """More dynamic entries, after the others."""
    terminated: bool = True
    sections: bool = True


@dataclass
class Image:
    """A file that was built: its bytes, and the offset of each part by its name."""

    elf: Elf
    data: bytearray = field(default_factory=bytearray)
    at: dict[str, int] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)
    tags: dict[int, int] = field(default_factory=dict)
    """Offset of the dynamic entry of each tag."""

    def put(self, name: str, content: bytes) -> int:
        """Append a part, aligned to 8 bytes, and return its address."""
        self.data += bytes(-len(self.data) % 8)
        self.at[name], self.size[name] = len(self.data), len(content)
        self.data += content
        return BASE + self.at[name]

    def poke(self, offset: int, code: str, *values: int) -> bytes:
        """A copy of the bytes with other values at an offset; ``code`` is one of :mod:`struct`."""
        copy = bytearray(self.data)
        struct.pack_into(self.elf.order + code, copy, offset, *values)
        return bytes(copy)

    def poke_address(self, offset: int, value: int) -> bytes:
        """A copy of the bytes with another value in a field that is as wide as the addresses of the class."""
        return self.poke(offset, "Q" if self.elf.bits == 64 else "I", value)

    def poke_tag(self, tag: int, value: int) -> bytes:
        """A copy of the bytes in which a dynamic entry has another value."""
        return self.poke_address(self.tags[tag] + self.elf.bits // 8, value)

    @property
    def bytes(self) -> bytes:
        return bytes(self.data)


class _Strings:
    def __init__(self) -> None:
        self.content = bytearray(b"\0")

    def add(self, text: str) -> int:
        self.content += text.encode("utf-8", "surrogateescape") + b"\0"
        return len(self.content) - len(text.encode("utf-8", "surrogateescape")) - 1


def build(elf: Elf) -> Image:
    image = Image(elf)
    segments = 1 + elf.dynamic + (elf.interpreter is not None) + (elf.stack is not None) + bool(elf.note)
    header, segment = (64, 56) if elf.bits == 64 else (52, 32)
    image.put("header", bytes(header))
    image.put("segments", bytes(segments * segment))
    headers = []
    if elf.interpreter is not None:
        content = elf.interpreter.encode() + b"\0"
        image.put("interpreter", content)
        headers.append((3, 4, image.at["interpreter"], len(content), 1))
    if elf.note:
        image.put("note", elf.note)
        headers.append((elf.note_segment, 4, image.at["note"], len(elf.note), elf.bits // 8))
    if elf.dynamic:
        _put_tables(image)
        headers.append((2, 6, image.at["dynamic"], len(image.data) - image.at["dynamic"], elf.bits // 8))
    if elf.stack is not None:
        headers.append((0x6474E551, elf.stack, 0, 0, 16))
    size = len(image.data)
    headers.insert(0, (1, 5, 0, size, 0x1000))
    _fill_headers(image, headers, _put_sections(image) if elf.sections and elf.dynamic else 0)
    return image


def _fill_headers(image: Image, headers: list[tuple[int, int, int, int, int]], sections: int) -> None:
    elf = image.elf
    wide = elf.bits == 64
    header_size, segment_size, section_size = (64, 56, 64) if wide else (52, 32, 40)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if elf.order == "<" else 2, 1]) + bytes(9)
    header = struct.pack(
        elf.order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        elf.type,
        elf.machine,
        1,
        0,
        image.at["segments"],
        image.at.get("sections", 0),
        elf.flags,
        header_size,
        segment_size,
        len(headers),
        section_size,
        sections,
        0,
    )
    image.data[: len(ident + header)] = ident + header
    for index, (kind, flags, offset, size, align) in enumerate(headers):
        place = BASE + offset, BASE + offset, size, size
        values = (kind, flags, offset, *place, align) if wide else (kind, offset, *place, flags, align)
        at = image.at["segments"] + index * segment_size
        image.at[f"segment {kind:#x}"] = at
        struct.pack_into(elf.order + ("IIQQQQQQ" if wide else "IIIIIIII"), image.data, at, *values)


def _put_sections(image: Image) -> int:
    """The section headers that a reader of sections needs: of symbols, names and versions."""
    elf = image.elf
    wide = elf.bits == 64
    symbol_size = 24 if wide else 16
    strings, symbols = image.at["strings"], image.at["symbols"]
    rows = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (0, 11, 2, BASE + symbols, symbols, (1 + len(elf.symbols)) * symbol_size, 2, 1, 8, symbol_size),
        (0, 3, 2, BASE + strings, strings, image.size["strings"], 0, 0, 1, 0),
    ]
    for name, kind, link, info in (
        ("versions", 0x6FFFFFFF, 1, 0),
        ("needs", 0x6FFFFFFE, 2, len(elf.needs)),
        ("definitions", 0x6FFFFFFD, 2, len(elf.definitions)),
    ):
        if name in image.at:
            start = image.at[name]
            rows.append((0, kind, 2, BASE + start, start, image.size[name], link, info, 8, 2 if link == 1 else 0))
    code = elf.order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII")
    image.put("sections", b"".join(struct.pack(code, *row) for row in rows))
    return len(rows)


def _put_tables(image: Image) -> None:
    """Everything that the dynamic segment points to, then the dynamic segment itself."""
    elf, strings = image.elf, _Strings()
    entries = [(1, strings.add(name)) for name in elf.needed]
    for tag, text in ((14, elf.soname), (15, elf.rpath), (29, elf.runpath)):
        if text is not None:
            entries.append((tag, strings.add(text)))
    entries += [
        (6, image.put("symbols", _symbols(elf, strings.add))),
        (11, 24 if elf.bits == 64 else 16),
    ]
    if elf.needs or elf.definitions:
        versions = [0, *(symbol.version for symbol in elf.symbols)]
        entries.append((0x6FFFFFF0, image.put("versions", struct.pack(f"{elf.order}{len(versions)}H", *versions))))
    if elf.needs:
        entries.append((0x6FFFFFFE, image.put("needs", _needs(elf, strings.add))))
        entries.append((0x6FFFFFFF, len(elf.needs)))
    if elf.definitions:
        entries.append((0x6FFFFFFC, image.put("definitions", _definitions(elf, strings.add))))
        entries.append((0x6FFFFFFD, len(elf.definitions)))
    entries += _put_hashes(image)
    entries += _put_relocations(image)
    entries.append((5, image.put("strings", bytes(strings.content))))
    entries.append((10, len(strings.content)))
    entries += elf.extra
    if elf.terminated:
        entries.append((0, 0))
    _put_dynamic(image, entries)


def _put_dynamic(image: Image, entries: list[tuple[int, int]]) -> None:
    code = image.elf.order + ("QQ" if image.elf.bits == 64 else "II")
    image.put("dynamic", b"".join(struct.pack(code, *entry) for entry in entries))
    for index, (tag, _) in enumerate(entries):
        image.tags[tag] = image.at["dynamic"] + index * struct.calcsize(code)


def _symbols(elf: Elf, add: Callable[[str], int]) -> bytes:
    content = bytes(24 if elf.bits == 64 else 16)
    for symbol in elf.symbols:
        name = add(symbol.name)
        info, section, value = symbol.binding << 4 | symbol.kind, int(symbol.defined), 0x100 * symbol.defined
        if elf.bits == 64:
            content += struct.pack(elf.order + "IBBHQQ", name, info, symbol.visibility, section, value, 0)
        else:
            content += struct.pack(elf.order + "IIIBBH", name, value, 0, info, symbol.visibility, section)
    return content


def _needs(elf: Elf, add: Callable[[str], int]) -> bytes:
    content = b""
    for number, (library, versions) in enumerate(elf.needs, 1):
        step = 16 + 16 * len(versions) if number < len(elf.needs) else 0
        content += struct.pack(elf.order + "HHIII", 1, len(versions), add(library), 16, step)
        for count, (name, index) in enumerate(versions, 1):
            following = 16 if count < len(versions) else 0
            content += struct.pack(elf.order + "IHHII", _sysv_hash(name), 0, index, add(name), following)
    return content


def _definitions(elf: Elf, add: Callable[[str], int]) -> bytes:
    content = b""
    for number, definition in enumerate(elf.definitions, 1):
        names = (definition.name, *definition.parents)
        step = 20 + 8 * len(names) if number < len(elf.definitions) else 0
        head = 1, definition.flags, definition.number, len(names), _sysv_hash(definition.name), 20, step
        content += struct.pack(elf.order + "HHHHIII", *head)
        for count, name in enumerate(names, 1):
            content += struct.pack(elf.order + "II", add(name), 8 if count < len(names) else 0)
    return content


def _put_hashes(image: Image) -> list[tuple[int, int]]:
    """Hash tables with a single bucket: it holds all symbols, in their order."""
    elf = image.elf
    entries = []
    if elf.sysv_hash:
        wide = elf.bits == 64 and elf.machine == S390
        last = len(elf.symbols)
        words = [1, last + 1, last, 0, *range(last)]
        entries.append((4, image.put("hash", struct.pack(f"{elf.order}{len(words)}{'Q' if wide else 'I'}", *words))))
    if elf.gnu_hash:
        defined = [symbol for symbol in elf.symbols if symbol.defined]
        first = 1 + len(elf.symbols) - len(defined) if defined else 1
        hashes = [_gnu_hash(symbol.name) & ~1 for symbol in defined]
        if hashes:
            hashes[-1] |= 1
        content = struct.pack(elf.order + "IIII", 1, first, 1, 6)
        content += struct.pack(elf.order + ("Q" if elf.bits == 64 else "I"), 2**elf.bits - 1)
        content += struct.pack(elf.order + "I", first if defined else 0)
        content += struct.pack(f"{elf.order}{len(hashes)}I", *hashes)
        entries.append((0x6FFFFEF5, image.put("gnu hash", content)))
    return entries


def _put_relocations(image: Image) -> list[tuple[int, int]]:
    elf = image.elf
    wide = elf.bits == 64
    shift, code = (32, "QQq") if wide else (8, "IIi")
    entries = []
    if elf.relocations:
        rows = [struct.pack(elf.order + code, BASE, symbol << shift | kind, 0) for symbol, kind in elf.relocations]
        entries += [(7, image.put("rela", b"".join(rows))), (8, len(rows) * len(rows[0])), (9, len(rows[0]))]
    if elf.plt:
        code = code[:2] if elf.plt_kind == 17 else code
        addend = () if elf.plt_kind == 17 else (0,)
        rows = [struct.pack(elf.order + code, BASE, symbol << shift | kind, *addend) for symbol, kind in elf.plt]
        entries += [(23, image.put("plt", b"".join(rows))), (2, len(rows) * len(rows[0])), (20, elf.plt_kind)]
    return entries


def isa_note(elf: Elf, isa: int, *, others: bool = True) -> bytes:
    """A ``.note.gnu.property`` with ``GNU_PROPERTY_X86_ISA_1_NEEDED``, optionally between other properties."""
    pad = bytes(4) if elf.bits == 64 else b""
    rows = [(0xC0008002, isa)]
    if others:
        rows = [(0xC0000002, 3), *rows, (0xC0010002, 0x7F)]
    content = b"".join(struct.pack(elf.order + "III", kind, 4, value) + pad for kind, value in rows)
    return struct.pack(elf.order + "III", 4, len(content), 5) + b"GNU\0" + content


def _sysv_hash(name: str) -> int:
    value = 0
    for byte in name.encode("utf-8", "surrogateescape"):
        value = (value << 4) + byte
        value = (value ^ (value & 0xF0000000) >> 24) & 0x0FFFFFFF
    return value


def _gnu_hash(name: str) -> int:
    value = 5381
    for byte in name.encode("utf-8", "surrogateescape"):
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def streamed_scan(data: bytes, length: int) -> ElfFacts:
    """Scan a file that comes by in pieces of this length, as often as it takes."""
    data = bytes(memoryview(data))
    scan = StreamedScan(len(data))
    while not scan.done:
        scan.begin()
        for start in range(0, len(data), length):
            scan.feed(data[start : start + length])
            if scan.satisfied:
                break
        scan.end()
    if scan.error is not None:
        raise scan.error
    assert scan.facts is not None
    return scan.facts


def passed_scan(data: bytes, length: int) -> ElfFacts:
    """The same, where somebody else copies what is missing, and tells of it now and then."""
    data = bytes(memoryview(data))
    scan = StreamedScan(len(data))
    while not scan.done:
        scan.begin()
        position = 0
        while (stop := scan.asks_at) is not None and position < len(data):
            end = min(len(data), -(-max(stop, position + 1) // length) * length)
            for start, buffer in scan.missing:
                first, last = max(start, position), min(start + len(buffer), end)
                if first < last:
                    buffer[first - start : last - start] = data[first:last]
            if scan.passing is not None:
                feed_pass(scan.passing, position, data[position:end])
            position = end
            scan.passed(position, data[max(0, position - 2 * length) : position])
        scan.end()
    if scan.error is not None:
        raise scan.error
    assert scan.facts is not None
    return scan.facts
