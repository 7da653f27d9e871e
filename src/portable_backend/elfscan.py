"""Read one ELF file in pure Python: the readable truth that the compiled scanner mirrors, line by line.

The rule of the whole module: **believe what the dynamic loader believes.** It finds everything from the program
headers and the dynamic segment, so that is where this looks. Section headers may be missing or wrong; they can only
add symbols, never hide any::

    ELF header ──► program headers ──► PT_DYNAMIC ──► DT_STRTAB   every name
                     │ PT_LOAD: which address            DT_VERNEED, DT_VERDEF   versions by index
                     │ is which byte of the file         DT_SYMTAB + DT_VERSYM   imports and exports
                     ├ PT_INTERP, PT_GNU_STACK           DT_HASH, DT_GNU_HASH, DT_REL*   how many symbols
                     └ PT_NOTE, PT_GNU_PROPERTY          (nothing says it outright)

The bytes may be hostile. Every range is checked before it is read, nothing recurses, chains only move forward, and
every byte that is read is paid for out of a budget of some times the size of the file, so that a small file whose
structures overlap cannot ask for much time or memory.

An error carries the offset of the structure that makes the wrong claim, so the offset is always inside of the file
(or 0). What a loader shrugs off is no error here either; a comment says so at each such place.

Sources: System V gABI, chapters 4 and 5; LSB 5.0 core, "Symbol Versioning"; the x86-64 psABI (program properties);
glibc's ``elf.h`` for numbers; glibc's ``elf/dl-load.c`` and ``elf/dl-version.c`` for what the loader does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from struct import Struct
from typing import Optional, Union

from .errors import ElfError
from .records import NamedTuple

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
PT_GNU_STACK, PT_GNU_PROPERTY = 0x6474E551, 0x6474E553
# Where glibc gives a file without PT_GNU_STACK an executable stack (DEFAULT_STACK_PERMS in its stackinfo.h): i386,
# 32-bit PowerPC, S/390, ARM and x86-64. The younger ports do not.
EXECUTABLE_BY_DEFAULT = frozenset((3, 20, 22, 40, 62))
PF_X = 1
EM_386, EM_MIPS, EM_PPC, EM_PPC64, EM_S390, EM_ARM, EM_X86_64 = 3, 8, 20, 21, 22, 40, 62
EM_AARCH64, EM_RISCV, EM_LOONGARCH, EM_ALPHA = 183, 243, 258, 0x9026

DT_NULL, DT_NEEDED, DT_PLTRELSZ, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ = 0, 1, 2, 4, 5, 6, 7, 8
DT_RELAENT, DT_STRSZ, DT_SYMENT, DT_SONAME, DT_RPATH, DT_REL, DT_RELSZ, DT_RELENT = 9, 10, 11, 14, 15, 17, 18, 19
DT_PLTREL, DT_TEXTREL, DT_JMPREL, DT_RUNPATH, DT_FLAGS, DT_RELRSZ, DT_RELR = 20, 22, 23, 29, 30, 35, 36
DT_ANDROID_RELR, DT_ANDROID_RELRSZ, DT_GNU_HASH = 0x6FFFE000, 0x6FFFE001, 0x6FFFFEF5
DT_VERSYM, DT_VERDEF, DT_VERNEED, DT_MIPS_SYMTABNO = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE, 0x70000011
DF_TEXTREL = 4

SHT_DYNSYM = 11
SHN_UNDEF = 0
STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE = 1, 2, 10
STT_GNU_IFUNC = 10
STV_DEFAULT, STV_PROTECTED = 0, 3
VER_FLG_BASE = 1
VER_NDX_LOCAL, VER_NDX_GLOBAL = 0, 1
VERSYM_HIDDEN, VERSYM_VERSION = 0x8000, 0x7FFF
NT_GNU_PROPERTY_TYPE_0 = 5
GNU_PROPERTY_X86_ISA_1_NEEDED = 0xC0008002

#: ``e_machine`` to the relocation type that calls an indirect function.
IRELATIVE = {
    EM_386: 42,
    EM_PPC: 248,
    EM_PPC64: 248,
    EM_S390: 61,
    EM_ARM: 160,
    EM_X86_64: 37,
    EM_AARCH64: 1032,
    EM_RISCV: 58,
    EM_LOONGARCH: 12,
}

#: Bytes that may be read for each byte of the file. Thousands of real files stayed below 1; but names may share their
#: ends, and one relocation table may lie inside of another.
BUDGET = 4
#: ... and on top of that, so that tiny files are not judged by rounding.
ALLOWANCE = 65536

Import = tuple[str, Optional[str], Optional[str], bool]
Export = tuple[str, Optional[str], bool]
Need = tuple[str, tuple[str, ...]]
#: The library is ``None`` for a version that the file itself defines.
Version = tuple[str, Optional[str]]


class _Layout:
    """The records of one class and byte order, cut down to the fields that are used, in one order of fields."""

    def __init__(self, bits: int, order: str) -> None:
        wide = bits == 64
        self.bits = bits
        self.little = order == "<"
        self.half = Struct(order + "H")
        self.word = Struct(order + "I")
        self.pair = Struct(order + "II")
        self.xword = Struct(order + "Q")
        # type, machine, version, phoff, shoff, flags, phentsize, phnum, shentsize, shnum: from byte 16
        self.header = Struct(order + ("HHI8xQQI2xHHHH2x" if wide else "HHI4xIII2xHHHH2x"))
        # type, offset, vaddr, filesz, align; p_flags stands elsewhere in each class
        self.segment = Struct(order + ("I4xQQ8xQ8xQ" if wide else "III4xI8xI"))
        self.segment_flags = 4 if wide else 24
        # type, addr, size, entsize
        self.section = Struct(order + ("4xI8xQ8xQ16xQ" if wide else "4xI4xI4xI12xI"))
        self.dynamic = Struct(order + ("QQ" if wide else "II"))
        # name, info, other, shndx
        self.symbol = Struct(order + ("IBBH16x" if wide else "I8xBBH"))
        # info
        self.rel = Struct(order + ("8xQ" if wide else "4xI"))
        self.rela = Struct(order + ("8xQ8x" if wide else "4xI4x"))
        self.rel_symbol_shift = 32 if wide else 8
        self.gnu_hash = Struct(order + "III4x")  # buckets, first symbol, words of the Bloom filter
        self.verneed = Struct(order + "H2xIII")  # version, file, aux, next
        self.vernaux = Struct(order + "6xHII")  # other, name, next
        self.verdef = Struct(order + "HHH6xII")  # version, flags, index, aux, next
        self.verdaux = Struct(order + "I4x")  # name
        self.note = Struct(order + "III")  # namesz, descsz, type


#: EI_CLASS, EI_DATA.
_LAYOUTS = {(1, 1): _Layout(32, "<"), (1, 2): _Layout(32, ">"), (2, 1): _Layout(64, "<"), (2, 2): _Layout(64, ">")}
IDENT_SIZE = 16
HEADER_SIZE = {32: 52, 64: 64}


class _Header(NamedTuple):
    type: int
    machine: int
    version: int
    phoff: int
    shoff: int
    flags: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int


class _Segment(NamedTuple):
    type: int
    offset: int
    vaddr: int
    filesz: int
    align: int
    at: int
    """Where its program header is."""


class _Entry(NamedTuple):
    """One entry of the dynamic segment."""

    value: int
    at: int


class _Table(NamedTuple):
    """A range of the file that is known to exist."""

    start: int
    end: int


NO_TABLE = _Table(0, 0)


def scan(data: Union[bytes, bytearray, memoryview]) -> tuple[object, ...]:
    """Read the facts of one ELF file.

    :param data: the whole file, in any object with a buffer.
    :returns: plain nested tuples in the order of :class:`portable_backend.elf.ElfFacts`; symbols in the order of the
        dynamic symbol table.
    :raises ElfError: if the bytes break the format, with the offset of the structure at fault.
    """
    return _File(data if type(data) is bytes else bytes(memoryview(data))).facts()


def _read_header(image: bytes) -> tuple[_Layout, _Header]:
    """Read the ELF header (gABI, chapter 4, "ELF Header")."""
    if image[:4] != b"\x7fELF":
        raise ElfError(0, "not an ELF file")
    if len(image) < IDENT_SIZE:
        raise ElfError(0, "ELF header is cut off")
    if image[4] not in (1, 2):
        raise ElfError(4, "unknown ELF class")
    if image[5] not in (1, 2):
        raise ElfError(5, "unknown byte order")
    if image[6] != 1:
        raise ElfError(6, "unknown ELF version")
    layout = _LAYOUTS[image[4], image[5]]
    if len(image) < HEADER_SIZE[layout.bits]:
        raise ElfError(0, "ELF header is cut off")
    header = _Header._make(layout.header.unpack_from(image, IDENT_SIZE))
    if header.version != 1:
        raise ElfError(20, "unknown ELF version")
    return layout, header


class _File:
    """One file under the scanner: its bytes, its header, and what is left of the budget."""

    def __init__(self, image: bytes) -> None:
        self.image = image
        self.left = BUDGET * len(image) + ALLOWANCE
        self.layout, self.header = _read_header(image)
        self.loads: list[_Segment] = []
        self.dynamic: Optional[_Segment] = None
        self.interpreter: Optional[str] = None
        self.stack_flags: Optional[int] = None
        self.isa_needed = 0
        self.entries: dict[int, _Entry] = {}
        self.needed: list[_Entry] = []
        self.strings = NO_TABLE
        self.symbols = NO_TABLE
        self.versions: dict[int, Version] = {}
        self.last_version = 0
        self.ifunc = False

    def facts(self) -> tuple[object, ...]:
        header = self.header
        loadable = header.type in (ET_EXEC, ET_DYN)
        if loadable:
            # Of anything else (object files, core dumps) there is nothing that a loader would look at.
            self.read_segments()
        if self.dynamic is not None:
            self.read_dynamic(self.dynamic)
        head = (self.layout.bits, self.layout.little, header.machine, header.type, header.flags, self.interpreter)
        dynamic = (self.dynamic is not None, *self.dynamic_facts())
        unsaid = header.machine in EXECUTABLE_BY_DEFAULT
        stack = loadable and (unsaid if self.stack_flags is None else bool(self.stack_flags & PF_X))
        flags = self.entries.get(DT_FLAGS, _Entry(0, 0)).value
        textrel = DT_TEXTREL in self.entries or bool(flags & DF_TEXTREL)
        return (*head, *dynamic, stack, textrel, self.has_relr(), self.ifunc, self.isa_needed)

    def dynamic_facts(self) -> tuple[object, ...]:
        """From ``soname`` to ``exports``. The order of reading decides which error wins, so it is fixed."""
        needed = tuple(self.string(entry.value, entry.at, "needed library name") for entry in self.needed)
        soname = self.entry_string(DT_SONAME, "soname")
        rpath = self.entry_string(DT_RPATH, "rpath")
        runpath = self.entry_string(DT_RUNPATH, "runpath")
        needs = tuple(self.read_version_needs())
        definitions = tuple(self.read_version_definitions())
        self.last_version = max(self.versions, default=0)
        imports, exports = self.read_symbols(self.count_symbols())
        return soname, needed, rpath, runpath, needs, definitions, imports, exports

    # The means: paying, finding, naming.

    def spend(self, amount: int, at: int) -> None:
        """Pay for ``amount`` bytes that the structure at ``at`` makes us read."""
        self.left -= amount
        if self.left < 0:
            raise ElfError(at, "structures refer to the same bytes too often")

    def locate(self, address: int, at: int, what: str) -> _Table:
        """Find the bytes of the file from an address on, to the end of what its segment takes from the file."""
        for load in reversed(self.loads):  # the loader maps in order, so the last one wins
            if load.vaddr <= address and address - load.vaddr < load.filesz:
                return _Table(load.offset + address - load.vaddr, load.offset + load.filesz)
        raise ElfError(at, f"{what} is outside of the file")

    def locate_entry(self, entry: _Entry, size: int, what: str) -> _Table:
        """Find and pay for a table of known size that a dynamic entry points to."""
        start, end = self.locate(entry.value, entry.at, what)
        if size > end - start:
            raise ElfError(entry.at, f"{what} is outside of the file")
        self.spend(size, entry.at)
        return _Table(start, start + size)

    def string(self, offset: int, at: int, what: str) -> str:
        """Read a name of the dynamic string table that the structure at ``at`` refers to."""
        start, end = self.strings
        if offset >= end - start:
            raise ElfError(at, f"{what} is outside of the dynamic string table")
        stop = self.image.find(b"\0", start + offset, end)
        if stop < 0:
            raise ElfError(at, f"{what} has no end in the dynamic string table")
        self.spend(stop - start - offset + 1, at)
        return self.image[start + offset : stop].decode("utf-8", "surrogateescape")

    def entry_string(self, tag: int, what: str) -> Optional[str]:
        entry = self.entries.get(tag)
        return None if entry is None else self.string(entry.value, entry.at, what)

    # Program headers (gABI, chapter 5, "Program Header").

    def read_segments(self) -> None:
        header, layout = self.header, self.layout
        if header.phnum == 0:
            return
        if header.phentsize != layout.segment.size:
            raise ElfError(0, "program headers have the wrong size")
        if header.phoff + header.phnum * layout.segment.size > len(self.image):
            raise ElfError(0, "program header table is outside of the file")
        for index in range(header.phnum):
            at = header.phoff + index * layout.segment.size
            self.read_segment(_Segment._make((*layout.segment.unpack_from(self.image, at), at)))

    def read_segment(self, segment: _Segment) -> None:
        kind = segment.type
        if kind == PT_GNU_STACK:
            (self.stack_flags,) = self.layout.word.unpack_from(self.image, segment.at + self.layout.segment_flags)
        elif segment.filesz == 0:
            return  # nothing in the file: zeroed memory, or a file of debugging information that lost its content
        elif kind == PT_LOAD:
            self.check_segment(segment, "load segment")
            self.loads.append(segment)
        elif kind == PT_DYNAMIC:
            self.dynamic = segment
        elif kind == PT_INTERP and self.interpreter is None:  # the kernel takes the first
            self.check_segment(segment, "interpreter name")
            stop = self.image.find(b"\0", segment.offset, segment.offset + segment.filesz)
            if stop < 0:
                raise ElfError(segment.at, "interpreter name has no end")
            self.interpreter = self.image[segment.offset : stop].decode("utf-8", "surrogateescape")
        elif kind in (PT_NOTE, PT_GNU_PROPERTY) and self.header.machine in (EM_386, EM_X86_64):
            self.check_segment(segment, "note segment")
            self.read_notes(segment)

    def check_segment(self, segment: _Segment, what: str) -> None:
        if segment.offset + segment.filesz > len(self.image):
            raise ElfError(segment.at, f"{what} is outside of the file")

    def read_notes(self, segment: _Segment) -> None:
        """Walk the notes of a segment; like the loader, stop without complaint at one that does not fit.

        A note is ``namesz descsz type name desc``, name and desc padded to the alignment of the segment.
        """
        self.spend(segment.filesz, segment.at)
        align = 8 if segment.align == 8 else 4
        position, end = segment.offset, segment.offset + segment.filesz
        while end - position >= self.layout.note.size:
            namesz, descsz, kind = self.layout.note.unpack_from(self.image, position)
            desc = position + _pad(self.layout.note.size + namesz, align)
            if desc > end or descsz > end - desc:
                return
            name = self.image[position + 12 : position + 16]
            if kind == NT_GNU_PROPERTY_TYPE_0 and namesz == 4 and name == b"GNU\0":
                self.read_properties(desc, desc + descsz)
            position = desc + _pad(descsz, align)

    def read_properties(self, position: int, end: int) -> None:
        """Walk the program properties of a note: ``type size data``, padded to the word size of the class."""
        while end - position >= 8:
            kind, size = self.layout.pair.unpack_from(self.image, position)
            position += 8
            if size > end - position:
                return
            if kind == GNU_PROPERTY_X86_ISA_1_NEEDED and size == 4:
                self.isa_needed |= self.layout.word.unpack_from(self.image, position)[0]
            position += _pad(size, self.layout.bits // 8)

    # The dynamic segment (gABI, chapter 5, "Dynamic Section").

    def read_dynamic(self, segment: _Segment) -> None:
        """Collect the entries up to ``DT_NULL``.

        The loader goes by the address and does not look at the size of the segment; so neither can a size that lies
        hide an entry. The end of the mapped bytes ends the entries too: after it there are zeros, which are DT_NULL.
        """
        layout = self.layout.dynamic
        start, end = self.locate(segment.vaddr, segment.at, "dynamic segment")
        for at in range(start, end - layout.size + 1, layout.size):
            tag, value = layout.unpack_from(self.image, at)
            self.spend(layout.size, at)
            if tag == DT_NULL:
                break
            if tag == DT_NEEDED:
                self.needed.append(_Entry(value, at))
            else:
                self.entries[tag] = _Entry(value, at)  # the last one wins, as in the loader
        self.strings = self.find_strings()

    def find_strings(self) -> _Table:
        table, size = self.entries.get(DT_STRTAB), self.entries.get(DT_STRSZ)
        if table is None:
            return NO_TABLE
        if size is None:
            raise ElfError(table.at, "dynamic string table has no size")
        return self.locate_entry(table, size.value, "dynamic string table")

    def has_relr(self) -> bool:
        return any(
            table in self.entries and size in self.entries and self.entries[size].value > 0
            for table, size in ((DT_RELR, DT_RELRSZ), (DT_ANDROID_RELR, DT_ANDROID_RELRSZ))
        )

    # Versions (LSB 5.0 core, "Symbol Versioning"). The loader follows the chains and not the counts beside them.

    def read_version_needs(self) -> Iterator[Need]:
        entry = self.entries.get(DT_VERNEED)
        if entry is None:
            return
        layout = self.layout.verneed
        at, end = self.locate(entry.value, entry.at, "version need")
        free = at  # the first byte behind the last version: records never move backwards
        source = entry.at
        while True:
            if end - at < layout.size:
                raise ElfError(source, "version need is outside of the file")
            version, name, aux, step = layout.unpack_from(self.image, at)
            self.spend(layout.size, at)
            if version != 1:
                raise ElfError(at, "version need has an unknown format")
            library = self.string(name, at, "library name of a version need")
            if aux < layout.size or at + aux < free:
                raise ElfError(at, "version needs overlap")
            names, free = self.read_needed_versions(library, at, at + aux, end)
            yield library, tuple(names)
            if step == 0:
                return
            if step < layout.size:
                raise ElfError(at, "version needs overlap")
            source, at = at, at + step

    def read_needed_versions(self, library: str, source: int, at: int, end: int) -> tuple[list[str], int]:
        """Read the versions needed of one library, which ``source`` says are at ``at``.

        :returns: their names, and the first byte behind them.
        """
        layout = self.layout.vernaux
        names = []
        while True:
            if end - at < layout.size:
                raise ElfError(source, "needed version is outside of the file")
            index, name, step = layout.unpack_from(self.image, at)
            self.spend(layout.size, at)
            names.append(self.string(name, at, "name of a needed version"))
            self.versions[index & VERSYM_VERSION] = names[-1], library
            if step == 0:
                return names, at + layout.size
            if step < layout.size:
                raise ElfError(at, "needed versions overlap")
            source, at = at, at + step

    def read_version_definitions(self) -> Iterator[str]:
        entry = self.entries.get(DT_VERDEF)
        if entry is None:
            return
        layout, names = self.layout.verdef, self.layout.verdaux
        at, end = self.locate(entry.value, entry.at, "version definition")
        source = entry.at
        while True:
            if end - at < layout.size:
                raise ElfError(source, "version definition is outside of the file")
            version, flags, index, aux, step = layout.unpack_from(self.image, at)
            self.spend(layout.size + names.size, at)
            if version != 1:
                raise ElfError(at, "version definition has an unknown format")
            if end - at < names.size + aux:
                raise ElfError(at, "name of a version definition is outside of the file")
            # The first name is its own; the others are those of the versions that it follows.
            name = self.string(names.unpack_from(self.image, at + aux)[0], at, "name of a version definition")
            self.versions[index & VERSYM_VERSION] = name, None
            if not flags & VER_FLG_BASE:
                yield name
            if step == 0:
                return
            if step < layout.size:
                raise ElfError(at, "version definitions overlap")
            source, at = at, at + step

    # How many symbols? No structure says so; each of these can only tell that there are at least so many.

    def count_symbols(self) -> int:
        """Find the symbol table and the number of its entries, the reserved one at index 0 included."""
        counts = [self.count_by_hash(), self.count_by_gnu_hash()]
        if self.header.machine == EM_MIPS:
            # Its relocations have a layout of their own (and its GOT needs none); an entry tells the number instead.
            counts.append(self.entries.get(DT_MIPS_SYMTABNO, _Entry(0, 0)).value)
        else:
            counts += [self.count_by_relocations(*table) for table in self.relocation_tables()]
        entry, size = self.entries.get(DT_SYMTAB), self.entries.get(DT_SYMENT)
        if entry is None:
            if max(counts) > 1:
                raise ElfError(self.dynamic.at if self.dynamic else 0, "dynamic symbol table is missing")
            return 0
        if size is not None and size.value != self.layout.symbol.size:
            raise ElfError(size.at, "dynamic symbols have the wrong size")
        start, end = self.locate(entry.value, entry.at, "dynamic symbol table")
        counts.append(self.count_by_section(entry, (end - start) // self.layout.symbol.size))
        self.symbols = self.locate_entry(entry, max(counts) * self.layout.symbol.size, "dynamic symbol table")
        return max(counts)

    def count_by_hash(self) -> int:
        """``DT_HASH`` is ``buckets symbols bucket[buckets] chain[symbols]``."""
        entry = self.entries.get(DT_HASH)
        if entry is None:
            return 0
        start, end = self.locate(entry.value, entry.at, "symbol hash table")
        # Two ABIs made the words of this table as wide as their addresses.
        wide = self.layout.bits == 64 and self.header.machine in (EM_S390, EM_ALPHA)
        word = self.layout.xword if wide else self.layout.word
        room = (end - start) // word.size
        if room >= 2:
            (buckets,) = word.unpack_from(self.image, start)
            (symbols,) = word.unpack_from(self.image, start + word.size)
            if 2 + buckets + symbols <= room:
                return int(symbols)
        if wide and DT_GNU_HASH in self.entries:
            return 0  # lld writes words of 4 bytes there, too; glibc looks at the other table where both are there
        raise ElfError(entry.at, "symbol hash table is outside of the file")

    def count_by_gnu_hash(self) -> int:
        """``DT_GNU_HASH`` is ``buckets first words shift filter[words] bucket[buckets] chain[]``.

        A bucket holds the index of its first symbol (0: it is empty); the last symbol of a chain has the lowest bit
        set in its hash. So the chain of the highest bucket ends with the last symbol. Without exported symbols all
        buckets are empty; then ``first`` is the number of symbols if the linker was lld, gold or mold, but
        always 1 if it was GNU ld.
        """
        entry = self.entries.get(DT_GNU_HASH)
        if entry is None:
            return 0
        outside = ElfError(entry.at, "GNU hash table is outside of the file")
        start, end = self.locate(entry.value, entry.at, "GNU hash table")
        if end - start < 16:
            raise outside
        buckets, first, words = self.layout.gnu_hash.unpack_from(self.image, start)
        table = start + 16 + words * (self.layout.bits // 8)
        chains = table + 4 * buckets
        if chains > end:
            raise outside
        self.spend(chains - start, entry.at)
        highest = max(chain.from_iterable(self.layout.word.iter_unpack(self.image[table:chains])), default=0)
        if highest == 0:
            return int(first)
        if highest < first:
            raise ElfError(entry.at, "GNU hash table refers to a symbol that it does not cover")
        at = chains + 4 * (highest - first)
        while end - at >= 4:
            highest += 1
            if self.layout.word.unpack_from(self.image, at)[0] & 1:
                return int(highest)
            at += 4
        raise ElfError(entry.at, "GNU hash table has no end")

    def relocation_tables(self) -> Iterator[tuple[_Entry, int, Struct]]:
        """Where, how many bytes, and which kind of record."""
        kinds = {DT_REL: self.layout.rel, DT_RELA: self.layout.rela}
        for table, size, width in ((DT_REL, DT_RELSZ, DT_RELENT), (DT_RELA, DT_RELASZ, DT_RELAENT)):
            if table in self.entries and size in self.entries and self.entries[size].value > 0:
                entry = self.entries.get(width)
                if entry is not None and entry.value != kinds[table].size:
                    raise ElfError(entry.at, "relocations have the wrong size")
                yield self.entries[table], self.entries[size].value, kinds[table]
        if DT_JMPREL in self.entries and DT_PLTRELSZ in self.entries and self.entries[DT_PLTRELSZ].value > 0:
            entry = self.entries.get(DT_PLTREL, self.entries[DT_JMPREL])
            if DT_PLTREL not in self.entries or entry.value not in kinds:
                raise ElfError(entry.at, "relocations of the procedure linkage table are of no known kind")
            yield self.entries[DT_JMPREL], self.entries[DT_PLTRELSZ].value, kinds[entry.value]

    def count_by_relocations(self, entry: _Entry, size: int, record: Struct) -> int:
        """1 + the highest symbol that a relocation refers to; also notice calls of indirect functions."""
        start, end = self.locate_entry(entry, size, "relocation table")
        shift = self.layout.rel_symbol_shift
        end -= size % record.size
        # Most relocations of a table are relative and equal in this field: a set of them is small.
        infos = set(chain.from_iterable(record.iter_unpack(self.image[start:end])))
        irelative = IRELATIVE.get(self.header.machine)
        self.ifunc = self.ifunc or any(info & ((1 << shift) - 1) == irelative for info in infos)
        return 1 + (max(infos, default=0) >> shift)

    def count_by_section(self, table: _Entry, room: int) -> int:
        """The section header of the dynamic symbol table, if it is there and its claim is possible.

        No loader reads it, so a wrong one is no error; but an undefined symbol that nothing refers to is counted
        nowhere else when no symbol is exported.
        """
        header, record = self.header, self.layout.section
        if header.shentsize != record.size or header.shoff + header.shnum * record.size > len(self.image):
            return 0
        self.spend(header.shnum * record.size, 0)
        count = 0
        for index in range(header.shnum):
            kind, address, size, width = record.unpack_from(self.image, header.shoff + index * record.size)
            if kind == SHT_DYNSYM and address == table.value and width == self.layout.symbol.size:
                claim = size // width
                count = max(count, claim if claim <= room else 0)
        return count

    # Symbols (gABI, chapter 4, "Symbol Table").

    def read_symbols(self, count: int) -> tuple[tuple[Import, ...], tuple[Export, ...]]:
        imports: list[Import] = []
        exports: list[Export] = []
        indices = self.read_version_indices(count)
        record = self.layout.symbol
        # Index 0 is reserved.
        body = self.image[self.symbols.start + record.size : self.symbols.end]
        for index, (name, info, other, section) in enumerate(record.iter_unpack(body) if count > 1 else (), 1):
            if section != SHN_UNDEF and info & 0xF == STT_GNU_IFUNC:
                self.ifunc = True
            if name == 0 or info >> 4 not in (STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE):
                continue
            at = self.symbols.start + index * record.size
            text = self.string(name, at, "name of a dynamic symbol")
            versym = indices[index] if indices else VER_NDX_GLOBAL
            if not text:
                continue
            if section == SHN_UNDEF:
                imports.append((text, *self.version(versym, at), info >> 4 == STB_WEAK))
            elif other & 3 in (STV_DEFAULT, STV_PROTECTED) and versym & VERSYM_VERSION != VER_NDX_LOCAL:
                exports.append((text, self.version(versym, at)[0], not versym & VERSYM_HIDDEN))
        return tuple(imports), tuple(exports)

    def read_version_indices(self, count: int) -> tuple[int, ...]:
        """Read the version index of each symbol.

        Empty if the file has none, or none that matter: the loader looks at them only where there are versions.
        """
        entry = self.entries.get(DT_VERSYM)
        if entry is None or not self.versions or count <= 1:
            return ()
        start, end = self.locate_entry(entry, 2 * count, "symbol version table")
        return tuple(chain.from_iterable(self.layout.half.iter_unpack(self.image[start:end])))

    def version(self, versym: int, at: int) -> tuple[Optional[str], Optional[str]]:
        """Name and library of a version index; a gap in the indices means unversioned, as it does to the loader."""
        index = versym & VERSYM_VERSION
        if index in (VER_NDX_LOCAL, VER_NDX_GLOBAL):
            return None, None
        found = self.versions.get(index)
        if found is None:
            if index > self.last_version:
                raise ElfError(at, "dynamic symbol has an unknown version")
            return None, None
        return found


def _pad(size: int, align: int) -> int:
    return (size + align - 1) & -align
