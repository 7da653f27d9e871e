"""Edit one ELF file in pure Python: the readable truth that the compiled editor mirrors, function by function.

Everything is read first, then decided, then checked, then written: no byte changes before it is known that all can.
``docs/explanation/elf-editor.md`` draws the bytes and says why each step is the one that loaders, the kernel and
binutils survive. In short, what is tried for new content, from the smallest to the largest change::

    1  a name that is in the string table already (also as the end of another) is referred to
    2  it is written over names that nothing refers to any longer
    3  the string table, copied behind everything else, grows there. Its new home is
         a  the end of the last load segment, where no zeroed memory follows it; else
         b  a new load segment at the end of the file, whose header needs a place:
              i    that of a PT_NULL
              ii   the bytes behind the table of program headers; what stands there (notes, hash tables, the
                   interpreter's name) moves to the new segment
              iii  the end of the file, table and all: of a shared object without section headers only
         c  the end of the last load segment, with its zeroed memory put into the file

The bytes may be hostile. The scanner reads the file before the editor and again after it, so what it has checked is
not checked here again; a file that it could not read afterwards is never returned.

Sources: System V gABI, chapters 4 and 5; glibc's ``elf/dl-load.c`` and ``elf/dl-version.c``, musl's
``ldso/dynlink.c``, Linux's ``fs/binfmt_elf.c`` for what is done with each header; binutils' ``bfd/elf.c`` for what
``strip`` expects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from struct import Struct
from typing import Optional, Union

from .elfscan import scan
from .errors import EditRefused, ElfError

ET_EXEC, ET_DYN = 2, 3
PT_NULL, PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR = 0, 1, 2, 3, 4, 6
PT_GNU_STACK, PT_GNU_PROPERTY = 0x6474E551, 0x6474E553
PT_MIPS_REGINFO, PT_MIPS_OPTIONS, PT_MIPS_ABIFLAGS = 0x70000000, 0x70000002, 0x70000003
PF_X, PF_W, PF_R = 1, 2, 4

DT_NULL, DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SONAME = 0, 1, 4, 5, 6, 10, 14
DT_RPATH, DT_RUNPATH, DT_GNU_HASH, DT_VERSYM = 15, 29, 0x6FFFFEF5, 0x6FFFFFF0
DT_FLAGS_1, DT_VERDEF, DT_VERNEED, DT_MIPS_OPTIONS, DT_MIPS_RLD_MAP_REL = (
    0x6FFFFFFB,
    0x6FFFFFFC,
    0x6FFFFFFE,
    0x70000029,
    0x70000035,
)
DF_1_PIE = 0x08000000

SHT_PROGBITS = 1
SHT_NULL, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_HASH, SHT_DYNAMIC, SHT_NOTE, SHT_NOBITS = 0, 2, 3, 4, 5, 6, 7, 8
SHT_REL, SHT_DYNSYM, SHT_GROUP, SHT_SYMTAB_SHNDX = 9, 11, 17, 18
SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM = 0x6FFFFFF6, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
SHF_ALLOC, SHF_INFO_LINK, SHF_TLS = 2, 0x40, 0x400

EM_MIPS, EM_MIPS_RS3_LE = 8, 10
EXECUTABLE_BY_DEFAULT = frozenset((3, 20, 22, 40, 62))  # as in the scanner

#: What may move away from behind the program headers: found through a dynamic entry or a program header and nothing
#: else, and without addresses in it that are relative to its own.
MOVABLE_SECTIONS = frozenset(
    (SHT_STRTAB, SHT_HASH, SHT_NOTE, SHT_DYNSYM, SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM)
)
MOVABLE_SEGMENTS = frozenset((PT_INTERP, PT_NOTE, PT_GNU_PROPERTY, PT_MIPS_REGINFO, PT_MIPS_OPTIONS, PT_MIPS_ABIFLAGS))
MOVABLE_TAGS = frozenset(
    (DT_HASH, DT_STRTAB, DT_SYMTAB, DT_GNU_HASH, DT_VERSYM, DT_VERDEF, DT_VERNEED, DT_MIPS_OPTIONS)
)
#: Whose tables end the symbol table at the latest.
TABLE_TAGS = frozenset((4, 5, 7, 17, 23, 36, DT_GNU_HASH, DT_VERSYM, DT_VERDEF, DT_VERNEED))

#: What ``strip`` takes for debugging data (binutils, ``_bfd_elf_make_section_from_shdr``).
DEBUGGING = (b".debug", b".gnu.debuglto_.debug_", b".gnu.linkonce.wi.", b".zdebug", b".line", b".stab", b".gdb_index")

#: Free entries in a dynamic segment that had to move, for the next edit.
SPARE_ENTRIES = 4
#: Names of which the room is considered for others.
MOST_RUNS = 16
#: Program headers of a file that is edited at all; linkers write a dozen or two.
MOST_SEGMENTS = 256
#: Zeroed memory that may go into a file at most, where the file is smaller than this.
MOST_ZEROED = 1 << 20
#: What stands where nothing does: zeros, and what patchelf writes over the old places of what it moved.
FILLERS = b"\0X"
#: Alignment that a move keeps.
ALIGN = 64
NO_ROOM = "there is no room for another program header"
CANNOT_MOVE = "what follows its program headers cannot move"
SMALLEST_PAGE, LARGEST_PAGE = 0x1000, 0x10000


def edit(
    data: Union[bytes, bytearray, memoryview],
    soname: Optional[bytes],
    renamed: tuple[tuple[bytes, bytes], ...],
    removed: tuple[bytes, ...],
    added: tuple[bytes, ...],
    path_tag: int,
    path: Optional[bytes],
    clear_stack: bool,
    strip: bool,
) -> bytes:
    """Edit one ELF file. The edits are those of :class:`portable_backend.elf.ElfEdits`, checked and encoded there.

    :param path_tag: ``DT_RPATH`` or ``DT_RUNPATH``, for ``path``; the other one is removed.
    :param path: ``None`` keeps both, empty removes both.
    :raises ElfError: if the bytes break the format.
    :raises EditRefused: if the layout of the file does not allow the edit.
    """
    image = data if type(data) is bytes else bytes(memoryview(data))
    scan(image)
    if strip:
        image = _strip(image)
    edited = _Editor(image, soname, dict(renamed), removed, added, path_tag, path, clear_stack).edit()
    if edited is not data:
        try:
            scan(edited)
        except ElfError:
            raise EditRefused("its structures depend on each other in a way that the edit would break") from None
    return edited


class _Layout:
    """The fixed-size records of one class and byte order (gABI, figures 4-3, 4-8, 5-1, 5-9)."""

    def __init__(self, bits: int, order: str) -> None:
        wide = bits == 64
        self.bits = bits
        self.half = Struct(order + "H")
        self.word = Struct(order + "I")
        self.address = Struct(order + ("Q" if wide else "I"))
        # type, machine, phoff, shoff, phentsize, phnum, shentsize, shnum, shstrndx: from byte 16
        self.header = Struct(order + ("HH12xQQ6xHHHHH" if wide else "HH8xII6xHHHHH"))
        self.phoff, self.shoff, self.phnum, self.shnum = (32, 40, 56, 60) if wide else (28, 32, 44, 48)
        self.header_size = 64 if wide else 52
        self.segment = Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
        self.section = Struct(order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
        self.entry = Struct(order + ("QQ" if wide else "II"))
        # name, value, section
        self.symbol_size = 24 if wide else 16
        self.symbol_value, self.symbol_section = (8, 6) if wide else (4, 14)


_LAYOUTS = {(1, 1): _Layout(32, "<"), (1, 2): _Layout(32, ">"), (2, 1): _Layout(64, "<"), (2, 2): _Layout(64, ">")}


@dataclass
class _Segment:
    kind: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int

    @property
    def end(self) -> int:
        """The first byte of the file behind it."""
        return self.offset + self.filesz

    @property
    def bias(self) -> int:
        """What to add to a place in the file for its address."""
        return self.vaddr - self.offset


@dataclass
class _Section:
    name: int
    kind: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int

    @property
    def filesz(self) -> int:
        return 0 if self.kind in (SHT_NULL, SHT_NOBITS) else self.size

    @property
    def end(self) -> int:
        """The first byte of the file behind it."""
        return self.offset + self.filesz


@dataclass
class _Entry:
    """A dynamic entry. ``text`` is the name that it is to have, where that is to change; ``origin`` where it was."""

    tag: int
    value: int
    text: Optional[bytes] = None
    origin: int = -1


class _File:
    """The headers of a file that the scanner could read."""

    def __init__(self, image: bytes) -> None:
        self.image = image
        self.layout = _LAYOUTS[image[4], image[5]]
        header: tuple[int, ...] = self.layout.header.unpack_from(image, 16)
        self.type, self.machine, self.phoff, self.shoff, _, self.phnum, shentsize, shnum, self.shstrndx = header
        if self.type not in (ET_EXEC, ET_DYN):
            raise EditRefused("it is neither an executable nor a shared object")
        if self.phnum > MOST_SEGMENTS:
            raise EditRefused("it has too many program headers")
        self.segments = [self.read_segment(self.phoff + i * self.layout.segment.size) for i in range(self.phnum)]
        self.sections = self.read_sections(shentsize, shnum)
        self.phend = self.phoff + self.phnum * self.layout.segment.size
        self.shend = self.shoff + len(self.sections) * self.layout.section.size

    def read_segment(self, at: int) -> _Segment:
        values = self.layout.segment.unpack_from(self.image, at)
        if self.layout.bits == 32:  # p_flags stands elsewhere
            values = (values[0], values[6], *values[1:6], values[7])
        return _Segment(*values)

    def read_sections(self, width: int, count: int) -> list[_Section]:
        """The section headers; none where they are not what they have to be, since no loader reads them."""
        record = self.layout.section
        room = (len(self.image) - self.shoff) // record.size
        if self.shoff == 0 or width != record.size or room < 1:
            return []
        if count == 0:  # more than the header can say
            count = _Section(*record.unpack_from(self.image, self.shoff)).size
        if count > room:
            return []
        end = self.shoff + count * record.size
        return [_Section(*values) for values in record.iter_unpack(self.image[self.shoff : end])]

    def pack_segment(self, segment: _Segment) -> bytes:
        kind, flags, *places, align = astuple(segment)
        if self.layout.bits == 32:
            return self.layout.segment.pack(kind, *places, flags, align)
        return self.layout.segment.pack(kind, flags, *places, align)

    def pack_section(self, section: _Section) -> bytes:
        return self.layout.section.pack(*astuple(section))


class _Editor(_File):
    """One edit of one file."""

    def __init__(
        self,
        image: bytes,
        soname: Optional[bytes],
        renamed: dict[bytes, bytes],
        removed: tuple[bytes, ...],
        added: tuple[bytes, ...],
        path_tag: int,
        path: Optional[bytes],
        clear_stack: bool,
    ) -> None:
        super().__init__(image)
        self.soname, self.renamed, self.removed, self.added = soname, renamed, removed, added
        self.path_tag, self.path, self.clear_stack = path_tag, path, clear_stack
        self.dynamic: Optional[_Segment] = None
        self.dynamic_at = 0
        self.capacity = 0  # entries of the dynamic segment, free ones included
        self.old: list[_Entry] = []
        self.new: list[_Entry] = []
        self.strings_at = self.strings_end = 0
        self.table = b""
        self.needs: list[tuple[int, bytes]] = []  # where a version need names its library, and the new name
        self.needs_at = self.needs_end = 0
        self.freed: list[int] = []  # offsets of names that were referred to
        self.names: dict[bytes, int] = {}  # new names and their offsets
        self.fresh: list[bytes] = []  # those that the table has to grow for
        self.addition = b""  # what it grows by
        self.overwritten: list[tuple[int, bytes]] = []
        self.stack_flags = False
        self.stack_header = False

    def edit(self) -> bytes:
        self.plan_stack()
        named = self.soname is not None or bool(self.renamed or self.removed or self.added) or self.path is not None
        if named or self.stack_header:
            self.plan_dynamic(named)
        if not (self.stack_flags or self.stack_header or self.needs or self.new != self.old):
            return self.image
        self.check_segments()
        self.check_regions()
        self.place_names()
        return _Writer(self).write()

    # Deciding: the stack.

    def plan_stack(self) -> None:
        """See what has to change for a stack that is not executable, unless a loader assumes that already."""
        if not self.clear_stack:
            return
        stacks = [segment for segment in self.segments if segment.kind == PT_GNU_STACK]
        self.stack_flags = any(segment.flags & PF_X for segment in stacks)
        self.stack_header = not stacks and self.machine in EXECUTABLE_BY_DEFAULT

    # Deciding: the dynamic segment and the version needs.

    def plan_dynamic(self, necessary: bool) -> None:
        found = [segment for segment in self.segments if segment.kind == PT_DYNAMIC and segment.filesz > 0]
        if not found and necessary:
            raise EditRefused("it has no dynamic segment")
        if not found:
            return
        self.dynamic = found[-1]
        self.read_dynamic(self.dynamic)
        self.plan_entries()
        self.plan_needs()

    def locate(self, address: int) -> tuple[int, int]:
        """The place in the file of an address that the scanner has located before, and the end of its segment."""
        for load in reversed(self.segments):
            if load.kind == PT_LOAD and load.filesz and load.vaddr <= address < load.vaddr + load.filesz:
                return address - load.bias, load.end
        raise EditRefused("its dynamic segment refers to nothing")

    def read_dynamic(self, segment: _Segment) -> None:
        at, end = self.locate(segment.vaddr)
        record = self.layout.entry
        values = [record.unpack_from(self.image, place) for place in self.entry_places(at, end)]
        self.old = [_Entry(tag, value, None, index) for index, (tag, value) in enumerate(values)]
        self.capacity = len(values)
        # Free entries: as far as the segment goes.
        end = min(end, at + segment.filesz)
        place = at + len(values) * record.size
        while end - place >= record.size and record.unpack_from(self.image, place)[0] == DT_NULL:
            self.capacity += 1
            place += record.size
        self.dynamic_at = at
        if at != segment.offset:
            raise EditRefused("its dynamic segment is not where its address says")
        table, size = self.last(DT_STRTAB), self.last(DT_STRSZ)
        if table is None or size is None:
            raise EditRefused("it has no dynamic string table")
        self.strings_at, _ = self.locate(table)
        self.strings_end = self.strings_at + size
        self.table = self.image[self.strings_at : self.strings_end]

    def entry_places(self, at: int, end: int) -> Iterator[int]:
        width = self.layout.entry.size
        while end - at >= width and self.layout.entry.unpack_from(self.image, at)[0] != DT_NULL:
            yield at
            at += width

    def last(self, tag: int) -> Optional[int]:
        """The value of the last entry with a tag: the one that counts."""
        return next((entry.value for entry in reversed(self.old) if entry.tag == tag), None)

    def string(self, offset: int) -> bytes:
        """A name that the scanner has read before."""
        return self.table[offset : self.table.find(b"\0", offset)]

    def plan_entries(self) -> None:
        """Make the new list of entries: those that go leave no gap, those that come stand at the end."""
        present = set()
        path_placed = self.path is None
        for entry in self.old:
            if entry.tag == DT_NEEDED:
                name = self.string(entry.value)
                if name in self.removed:
                    self.freed.append(entry.value)
                    continue
                present.add(self.renamed.get(name, name))
                self.keep(entry, DT_NEEDED, self.renamed.get(name, name))
            elif entry.tag == DT_SONAME and self.soname is not None:
                self.keep(entry, DT_SONAME, self.soname)
            elif entry.tag in (DT_RPATH, DT_RUNPATH) and self.path is not None:
                if path_placed or not self.path:
                    self.freed.append(entry.value)
                    continue
                path_placed = True
                self.keep(entry, self.path_tag, self.path)
            else:
                self.new.append(entry)
        self.new += [_Entry(DT_NEEDED, 0, name) for name in self.added if name not in present]
        if self.soname is not None and self.last(DT_SONAME) is None:
            self.new.append(_Entry(DT_SONAME, 0, self.soname))
        if self.path and not path_placed:
            self.new.append(_Entry(self.path_tag, 0, self.path))

    def keep(self, entry: _Entry, tag: int, text: bytes) -> None:
        """Keep an entry, with another tag or name if it has to change."""
        if self.read_name(entry.value) == text:
            self.new.append(_Entry(tag, entry.value, None, entry.origin))
        else:
            self.freed.append(entry.value)
            self.new.append(_Entry(tag, 0, text, entry.origin))

    def read_name(self, offset: int) -> Optional[bytes]:
        """A name that the scanner may have passed over: that of an entry that a later one overrules."""
        end = self.table.find(b"\0", offset)
        return None if end < 0 else self.table[offset:end]

    def plan_needs(self) -> None:
        """Follow the version needs, as the scanner did, for the names of libraries."""
        table = self.last(DT_VERNEED)
        if table is None:
            return
        at, _ = self.locate(table)
        self.needs_at = at
        while True:
            name, aux, step = (self.layout.word.unpack_from(self.image, at + place)[0] for place in (4, 8, 12))
            library = self.string(name)
            if library in self.removed:
                # glibc asserts that a library of which it checks versions is there.
                raise EditRefused("it needs symbol versions of a library that is to be removed")
            if self.renamed.get(library, library) != library:
                self.freed.append(name)
                self.needs.append((at + 4, self.renamed[library]))
            self.needs_end = max(self.needs_end, self.end_of_versions(at + aux))
            if step == 0:
                return
            at += step

    def end_of_versions(self, at: int) -> int:
        while True:
            (step,) = self.layout.word.unpack_from(self.image, at + 12)
            if step == 0:
                return at + 16
            at += step

    # Checking: whether the layout is one of which it is known what belongs to whom.

    def check_segments(self) -> None:
        """Load segments must be in order and apart, as the gABI asks and as no loader checks."""
        top, limit = 0, (1 << self.layout.bits) - 1
        for load in self.segments:
            if load.kind != PT_LOAD or load.memsz == load.filesz == 0:
                continue
            if load.vaddr < top:
                raise EditRefused("its load segments overlap or are out of order")
            if load.filesz > load.memsz or load.vaddr + load.memsz > limit:
                raise EditRefused("a load segment is larger in the file than in memory, or than the address space")
            if load.align & (load.align - 1) or load.bias & (max(load.align, 1) - 1):
                raise EditRefused("a load segment is not aligned as it says")
            top = load.vaddr + load.memsz

    def regions(self) -> Iterator[tuple[int, int]]:
        """What is written or relied upon, as ranges of the file."""
        yield 0, self.layout.header_size
        yield self.phoff, self.phend
        if self.sections:
            yield self.shoff, self.shend
        if self.dynamic is not None:
            yield self.dynamic_at, self.dynamic_at + self.capacity * self.layout.entry.size
            yield self.strings_at, self.strings_end
            yield self.needs_at, self.needs_end

    def check_regions(self) -> None:
        """Nothing may be in two structures, or mapped twice: a change to one would be a change to the other."""
        end = 0
        for start, stop in sorted(region for region in self.regions() if region[0] < region[1]):
            if start < end:
                raise EditRefused("its structures overlap")
            end = stop
        if self.dynamic is None:
            return
        loads = [load for load in self.segments if load.kind == PT_LOAD and load.filesz]
        for start, stop in list(self.regions())[-3:]:
            if start < stop and sum(load.offset < stop and start < load.end for load in loads) != 1:
                raise EditRefused("its structures are mapped more than once")

    # Deciding: where new names go.

    def place_names(self) -> None:
        wanted = [entry.text for entry in self.new if entry.text is not None] + [name for _, name in self.needs]
        for name in dict.fromkeys(wanted):
            at = self.table.find(name + b"\0")
            if at >= 0:
                self.names[name] = at
            else:
                self.fresh.append(name)
        if not self.fresh or self.reuse():
            return
        if not self.table.endswith(b"\0"):
            self.addition = b"\0"
        for name in self.fresh:
            self.names[name] = len(self.table) + len(self.addition)
            self.addition += name + b"\0"
        if len(self.table) + len(self.addition) > 0xFFFFFFFF:
            raise EditRefused("its dynamic string table would be too large")

    def reuse(self) -> bool:
        """Place the new names over those that nothing refers to any longer, all of them or none."""
        runs: list[tuple[int, int, int]] = []  # of what was referred to: first byte of the string, of the name, end
        for offset in sorted(self.freed)[:MOST_RUNS]:
            end = self.table.find(b"\0", offset)
            if end >= 0 and not (runs and runs[-1][2] == end):
                runs.append((self.table.rfind(b"\0", 0, offset) + 1, offset, end))
        if self.fit(runs) is None:
            return False
        used = [False] * len(runs)
        for reference in self.references():
            for index, (start, _, end) in enumerate(runs):
                if start <= reference <= end:
                    used[index] = True
        places = self.fit([run for run, taken in zip(runs, used) if not taken])
        if places is None:
            return False
        for name, at, room in places:
            self.names[name] = at
            self.overwritten.append((self.strings_at + at, name + bytes(room - len(name))))
        return True

    def fit(self, runs: list[tuple[int, int, int]]) -> Optional[list[tuple[bytes, int, int]]]:
        """Where each new name goes, and how many bytes are free there; ``None`` if one finds no place."""
        left = [(offset, end) for _, offset, end in runs]
        places = []
        for name in self.fresh:
            for index, (offset, end) in enumerate(left):
                if len(name) <= end - offset:
                    places.append((name, offset, end - offset))
                    left[index] = offset + len(name) + 1, end
                    break
            else:
                return None
        return places

    def references(self) -> Iterator[int]:
        """Every offset into the string table that stays in use, and some that are none: too many do no harm."""
        yield from self.names.values()
        yield from (entry.value for entry in self.new if entry.text is None)
        yield from self.version_references()
        symbols = self.last(DT_SYMTAB)
        if symbols is None:
            return
        at, end = self.locate(symbols)
        # How many symbols there are, nothing says; there are none behind the beginning of another table.
        for entry in self.old:
            if entry.tag in TABLE_TAGS and entry.value > symbols:
                end = min(end, at + entry.value - symbols)
        for place in range(at, end - self.layout.symbol_size + 1, self.layout.symbol_size):
            yield self.layout.word.unpack_from(self.image, place)[0]

    def version_references(self) -> Iterator[int]:
        """Names in the version needs and definitions."""
        changed = {place for place, _ in self.needs}
        word = self.layout.word
        at = self.needs_at
        while self.needs_end:
            if at + 4 not in changed:
                yield word.unpack_from(self.image, at + 4)[0]
            aux = at + word.unpack_from(self.image, at + 8)[0]
            while True:
                name, step = (word.unpack_from(self.image, aux + place)[0] for place in (8, 12))
                yield name
                if step == 0:
                    break
                aux += step
            (step,) = word.unpack_from(self.image, at + 12)
            if step == 0:
                break
            at += step
        yield from self.definition_references()

    def definition_references(self) -> Iterator[int]:
        table = self.last(DT_VERDEF)
        if table is None:
            return
        word = self.layout.word
        at, end = self.locate(table)
        left = len(self.image) // 8
        while True:
            aux, step = (word.unpack_from(self.image, at + place)[0] for place in (12, 16))
            names = at + aux
            for _ in range(self.layout.half.unpack_from(self.image, at + 6)[0]):
                left -= 1
                if left < 0:
                    raise EditRefused("its structures overlap")
                if end - names < 8:
                    break
                name, following = (word.unpack_from(self.image, names + place)[0] for place in (0, 4))
                yield name
                if following < 8:
                    break
                names += following
            if step == 0:
                return
            at += step


class _Writer:
    """What was decided, given its place and written."""

    def __init__(self, editor: _Editor) -> None:
        self.editor = editor
        self.image = editor.image
        self.layout = editor.layout
        self.segments = editor.segments
        self.sections = editor.sections
        self.loads = [segment for segment in self.segments if segment.kind == PT_LOAD and segment.memsz]
        entries = len(editor.new)
        # One entry more, which ends the list, unless there was none before.
        self.moves_dynamic = entries > len(editor.old) and entries + 1 > editor.capacity
        self.grows = bool(editor.addition) or self.moves_dynamic
        # Loaders write into the dynamic segment, except where it never was writable.
        holders = [load for load in self.loads if load.offset <= editor.dynamic_at < load.end]
        self.extra_flags = PF_W & holders[0].flags if self.moves_dynamic and holders else 0
        self.block = (0, 0)  # what has to make way for program headers
        self.moves_headers = False
        self.more = 0  # program headers more than there are
        self.slots = 0  # program headers to be filled
        self.home: Optional[_Segment] = None  # the segment that grows; None: a new one
        self.start = self.end = len(self.image)  # of new content
        self.bias = 0  # of its addresses
        self.page = 0
        self.filled = 0  # zeroed memory that goes into the file
        self.shift = 0  # of what followed the segment that grows
        self.delta = 0  # of the block, in the file
        self.block_bias = 0
        self.headers_at = editor.phoff
        self.dynamic_at = editor.dynamic_at
        self.strings_at: Optional[int] = None  # of the new table

    def write(self) -> bytes:
        self.choose_home()
        self.choose_slots()
        out = bytearray(self.image)
        for place, content in self.editor.overwritten:
            out[place : place + len(content)] = content
        for place, name in self.editor.needs:
            self.layout.word.pack_into(out, place, self.editor.names[name])
        if self.grows:
            out = self.append(out)
        self.write_dynamic(out)
        self.write_sections(out)
        self.write_segments(out)
        return bytes(out)

    # Where: the segment.

    def choose_home(self) -> None:
        """Take the last segment where it can grow, else plan a new one behind it.

        It can grow where no zeroed memory follows it and nothing behind it in the file is loaded: what is there (if
        the file was stripped after an edit, section headers) can move on by some bytes.
        """
        if not self.loads:
            raise EditRefused("it has no load segment")
        last = self.loads[-1]
        if last.filesz == last.memsz and self.can_grow(last):
            self.home = last
            self.start = last.end
            self.bias = last.bias
            return
        self.start = _pad(len(self.image), 16)
        aligns = [load.align for load in self.loads]
        self.page = min(max(SMALLEST_PAGE, *aligns), LARGEST_PAGE)
        self.bias = _pad(last.vaddr + last.memsz, self.page) + self.start % self.page - self.start

    def can_grow(self, last: _Segment) -> bool:
        end = last.end
        editor = self.editor
        return (
            last.align >= ALIGN
            and (last.flags & self.extra_flags == self.extra_flags or last.flags == PF_R)
            and editor.phend <= end
            and (not self.sections or editor.shend <= end or editor.shoff >= end)
            and all(segment.end <= end for segment in self.segments if segment.filesz)
            and all(
                section.end <= end or (section.offset >= end and not section.flags & SHF_ALLOC)
                for section in self.sections
                if section.filesz
            )
        )

    # Where: the program headers.

    def choose_slots(self) -> None:
        """Find a place for each new program header.

        What makes way for them needs a segment to go to, which may need a header of its own: so look twice.
        """
        free = sum(segment.kind == PT_NULL for segment in self.segments)
        for _ in range(2):
            self.slots = int(self.editor.stack_header) + int(self.grows and self.home is None)
            self.more = max(0, self.slots - free)
            if self.more == 0:
                return
            reason = self.make_way(self.more * self.layout.segment.size)
            if reason is not None and self.fill_zeroed():
                return
            if reason is not None:
                raise EditRefused(reason)
            if self.grows:
                return
            self.grows = self.moves_headers or self.block[0] < self.block[1]

    def fill_zeroed(self) -> bool:
        """Let the last segment grow over its zeroed memory, which then is in the file. It needs no header."""
        last, most = self.loads[-1], max(MOST_ZEROED, len(self.image))
        size = last.memsz - last.filesz
        if self.home is not None or self.editor.stack_header or last.filesz == 0 or size > most:
            return False
        if not last.flags & PF_W or not self.can_grow(last):
            return False
        self.home, self.grows = last, True
        self.moves_headers, self.block = False, (0, 0)
        self.slots = self.more = 0
        self.start, self.bias, self.filled = last.end, last.bias, size
        return True

    def make_way(self, size: int) -> Optional[str]:
        """Find what stands where the table of program headers has to grow by ``size`` bytes.

        :returns: the reason why it cannot make way; ``None`` if it can.
        """
        editor = self.editor
        start, stop = editor.phend, editor.phend + size
        if not self.sections:
            flags = editor.last(DT_FLAGS_1) or 0
            interpreted = any(segment.kind == PT_INTERP for segment in self.segments)
            if editor.type == ET_EXEC or interpreted or flags & DF_1_PIE:
                # Kernels before 5.18 tell a program that its headers are in its first segment, wherever they are.
                return NO_ROOM
            self.moves_headers = True
            return None
        load = next((load for load in self.loads if load.offset <= editor.phoff and start <= load.end), None)
        if load is None:
            return "its program headers are not loaded"
        reason = self.block_behind(start, stop)
        if reason is not None:
            return reason
        lowest, highest = self.block
        if highest > load.end:
            return NO_ROOM
        if self.image[start : min(lowest, stop)].strip(FILLERS):
            return "what follows its program headers belongs to no section"
        self.block = (lowest, highest) if lowest < highest else (0, 0)
        self.block_bias = load.bias
        return self.check_block(load)

    def block_behind(self, start: int, stop: int) -> Optional[str]:
        """Find the whole of all sections and segments that are, even in part, in a range behind the headers."""
        lowest = highest = stop
        self.block = (0, 0)
        if start < self.editor.shend and self.editor.shoff < stop:
            return "its section headers follow its program headers"
        for _ in range(MOST_RUNS):
            before = lowest, highest
            parts: list[Union[_Section, _Segment]] = [*self.sections, *self.segments]
            for part in parts:
                fixed = isinstance(part, _Segment) and part.kind in (PT_NULL, PT_LOAD, PT_PHDR)
                if fixed or not part.filesz or not (part.offset < highest and start < part.end):
                    continue
                if not self.may_move(part) or part.offset < start:
                    return CANNOT_MOVE
                lowest, highest = min(lowest, part.offset), max(highest, part.end)
            if (lowest, highest) == before:
                self.block = before
                return None
        return CANNOT_MOVE

    def may_move(self, part: Union[_Section, _Segment]) -> bool:
        if isinstance(part, _Segment):
            return part.kind in MOVABLE_SEGMENTS
        inside = any(
            segment.kind in MOVABLE_SEGMENTS and segment.offset <= part.offset and part.end <= segment.end
            for segment in self.segments
        )
        return bool(part.flags & SHF_ALLOC) and part.align <= ALIGN and (part.kind in MOVABLE_SECTIONS or inside)

    def check_block(self, load: _Segment) -> Optional[str]:
        """Whatever a dynamic entry says is in the block must be a section there, or its end is not known."""
        lowest, highest = self.editor.phend, max(self.block[1], self.editor.phend + self.layout.segment.size)
        starts = {section.addr for section in self.sections if lowest <= section.offset < highest}
        for entry in self.editor.old:
            if entry.tag in MOVABLE_TAGS and lowest <= entry.value - load.bias < highest and entry.value not in starts:
                return "its section headers and its dynamic segment disagree"
        for section in self.sections:
            inside = section.filesz and lowest <= section.offset < highest
            if inside and section.addr - section.offset != load.bias:
                return "its section headers and its program headers disagree"
        return None

    # Writing: the content.

    def append(self, out: bytearray) -> bytearray:
        """Put all that needs a new place at the end of the segment: the strings last, so that they can grow again."""
        editor, content = self.editor, bytearray(self.filled)
        if self.block[0] < self.block[1]:
            content += bytes((self.block[0] - self.start) % ALIGN)
            self.delta = self.start + len(content) - self.block[0]
            content += out[self.block[0] : self.block[1]]
        if self.moves_headers:
            self.headers_at = self.align(content)
            content += bytes((editor.phnum + self.more) * self.layout.segment.size)
        if self.moves_dynamic:
            self.dynamic_at = self.align(content)
            content += bytes((len(editor.new) + 1 + SPARE_ENTRIES) * self.layout.entry.size)
        if editor.addition and (content or self.home is None or editor.strings_end != self.start):
            self.strings_at = self.start + len(content)
            content += editor.table
        content += editor.addition
        self.end = self.start + len(content)
        limit = (1 << self.layout.bits) - 1
        if max(self.loads[-1].vaddr + self.loads[-1].memsz, self.end) + 2 * LARGEST_PAGE + len(content) > limit:
            raise EditRefused("it would be larger than its addresses can be")
        return self.join(out, content)

    def align(self, content: bytearray) -> int:
        content += bytes(-(self.start + len(content)) % 16)
        return self.start + len(content)

    def join(self, out: bytearray, content: bytearray) -> bytearray:
        """Put the content in at ``start``. What follows keeps its alignment."""
        tail = out[self.start :]
        used = (self.sections and self.editor.shoff >= self.start) or any(
            section.offset >= self.start for section in self.sections if section.filesz
        )
        if not used and not any(tail):  # room that another editor left
            tail = bytearray()
        del out[self.start :]
        out += bytes(self.start - len(out)) + content
        if tail:
            self.shift = _pad(len(content), ALIGN)
            out += bytes(self.shift - len(content)) + tail
        return out

    # Writing: the dynamic segment.

    def write_dynamic(self, out: bytearray) -> None:
        editor, record = self.editor, self.layout.entry
        if editor.dynamic is None:
            return
        for index, entry in enumerate(editor.new):
            value = self.value(index, entry) % (1 << self.layout.bits)
            record.pack_into(out, self.dynamic_at + index * record.size, entry.tag, value)
        if not self.moves_dynamic:
            end = self.dynamic_at + len(editor.old) * record.size
            at = min(end, self.dynamic_at + len(editor.new) * record.size)
            out[at:end] = bytes(end - at)

    def in_block(self, offset: int) -> bool:
        return self.block[0] <= offset < self.block[1]

    def value(self, index: int, entry: _Entry) -> int:
        editor = self.editor
        if entry.text is not None:
            return editor.names[entry.text]
        if entry.tag == DT_STRTAB and self.strings_at is not None:
            return self.strings_at + self.bias
        if entry.tag == DT_STRSZ:
            return entry.value + len(editor.addition)
        if entry.tag in MOVABLE_TAGS and self.in_block(entry.value - self.block_bias):
            return entry.value + self.delta + self.bias - self.block_bias
        if entry.tag == DT_MIPS_RLD_MAP_REL and editor.machine in (EM_MIPS, EM_MIPS_RS3_LE):
            # Relative to the address of the entry itself.
            moved = self.dynamic_bias + self.dynamic_at - editor.dynamic_at
            return entry.value - moved - (index - entry.origin) * self.layout.entry.size
        return entry.value

    @property
    def dynamic_bias(self) -> int:
        """How much more than its place in the file the address of the dynamic segment changes."""
        assert self.editor.dynamic is not None
        return self.bias - self.editor.dynamic.bias if self.moves_dynamic else 0

    # Writing: the section headers, and symbols of sections that moved.

    def write_sections(self, out: bytearray) -> None:
        editor, record = self.editor, self.layout.section
        moved: dict[int, tuple[int, int, int]] = {}  # by index: old start and end, and by how much
        for index, section in enumerate(self.sections):
            start, end = section.addr, section.addr + section.size
            self.move_section(section)
            if section.addr != start:
                moved[index] = start, end, section.addr - start
        if moved:
            self.write_symbols(out, moved)
        at = self.sections_at
        for section in self.sections:
            out[at : at + record.size] = editor.pack_section(section)
            at += record.size

    @property
    def sections_at(self) -> int:
        return self.editor.shoff + (self.shift if self.editor.shoff >= self.start else 0)

    def move_section(self, section: _Section) -> None:
        editor = self.editor
        if not section.flags & SHF_ALLOC:
            if section.kind != SHT_NULL and section.offset >= self.start:
                section.offset = (section.offset + self.shift) % (1 << self.layout.bits)
        elif editor.dynamic is not None and editor.addition and self.is_strings(section):
            if self.strings_at is not None:
                section.offset, section.addr = self.strings_at, self.strings_at + self.bias
            section.size = len(editor.table) + len(editor.addition)
        elif editor.dynamic is not None and self.moves_dynamic and section.kind == SHT_DYNAMIC:
            if section.addr == editor.dynamic.vaddr:
                section.offset, section.addr = self.dynamic_at, self.dynamic_at + self.bias
                section.size = (len(editor.new) + 1 + SPARE_ENTRIES) * self.layout.entry.size
        elif section.filesz and self.in_block(section.offset):
            section.offset += self.delta
            section.addr += self.delta + self.bias - self.block_bias
        elif self.is_filled(section):
            section.kind, section.offset = SHT_PROGBITS, section.addr - self.bias

    def is_filled(self, section: _Section) -> bool:
        """Whether a section of zeroed memory is in the file now."""
        start = self.start + self.bias
        if section.kind != SHT_NOBITS or not section.size or section.flags & SHF_TLS or not self.filled:
            return False
        return start <= section.addr and section.addr + section.size <= start + self.filled

    def is_strings(self, section: _Section) -> bool:
        return section.kind == SHT_STRTAB and section.addr == self.editor.last(DT_STRTAB)

    def write_symbols(self, out: bytearray, moved: dict[int, tuple[int, int, int]]) -> None:
        """Symbols follow their sections, as ``_DYNAMIC`` does; only debuggers and the like read this table."""
        editor, layout = self.editor, self.layout
        found = next((section for section in self.sections if section.kind == SHT_SYMTAB), None)
        if found is None or found.end > len(out):
            return
        others = [(load.offset, load.end) for load in self.loads]
        others += [(0, layout.header_size), (editor.phoff, editor.phend), (self.start, self.end)]
        others.append((self.sections_at, self.sections_at + len(self.sections) * layout.section.size))
        if any(found.offset < end and start < found.end for start, end in others):
            return
        mask = (1 << layout.bits) - 1
        for at in range(found.offset, found.end - layout.symbol_size + 1, layout.symbol_size):
            section = layout.half.unpack_from(out, at + layout.symbol_section)[0]
            if section in moved:
                start, end, delta = moved[section]
                (value,) = layout.address.unpack_from(out, at + layout.symbol_value)
                if start <= value <= end:
                    layout.address.pack_into(out, at + layout.symbol_value, value + delta & mask)

    # Writing: the program headers and the ELF header.

    def write_segments(self, out: bytearray) -> None:
        editor, layout = self.editor, self.layout
        for segment in self.segments:
            self.move_segment(segment)
        headers = self.all_segments()
        at = self.headers_at
        for segment in headers:
            out[at : at + layout.segment.size] = editor.pack_segment(segment)
            at += layout.segment.size
        layout.address.pack_into(out, layout.phoff, self.headers_at)
        layout.half.pack_into(out, layout.phnum, len(headers))
        if editor.shoff >= self.start and self.shift:
            layout.address.pack_into(out, layout.shoff, self.sections_at)
        if not self.sections:  # or a table that was cut off would end in what comes behind
            layout.address.pack_into(out, layout.shoff, 0)
            out[layout.shnum : layout.shnum + 4] = bytes(4)

    def move_segment(self, segment: _Segment) -> None:
        editor = self.editor
        size = (editor.phnum + self.more) * self.layout.segment.size
        if segment is self.home and self.grows:
            segment.filesz = segment.memsz = self.end - segment.offset
            segment.flags |= self.extra_flags
        elif segment.kind == PT_GNU_STACK and editor.clear_stack:
            segment.flags &= ~PF_X
        elif segment.kind == PT_PHDR and self.more:
            segment.filesz = segment.memsz = size
            if self.moves_headers:
                self.place(segment, self.headers_at)
        elif segment is editor.dynamic and self.moves_dynamic:
            segment.filesz = segment.memsz = (len(editor.new) + 1 + SPARE_ENTRIES) * self.layout.entry.size
            self.place(segment, self.dynamic_at)
        elif segment.kind in MOVABLE_SEGMENTS and segment.filesz and self.in_block(segment.offset):
            self.place(segment, segment.offset + self.delta)

    def place(self, segment: _Segment, offset: int) -> None:
        segment.offset = offset
        segment.vaddr = segment.paddr = offset + self.bias

    def all_segments(self) -> list[_Segment]:
        """The headers that there are and the new ones, which take the place of empty ones first."""
        segments: list[_Segment] = []
        empty = self.slots
        for segment in self.segments:
            if segment.kind == PT_NULL and empty > 0:
                empty -= 1
                continue
            segments.append(segment)
            if segment is self.loads[-1] and self.grows and self.home is None:
                flags = PF_R | self.extra_flags
                address, size = self.start + self.bias, self.end - self.start
                segments.append(_Segment(PT_LOAD, flags, self.start, address, address, size, size, self.page))
        if self.editor.stack_header:
            segments.append(_Segment(PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 0, 16))
        return segments


def _strip(image: bytes) -> bytes:
    return _Stripper(image).strip()


class _Stripper(_File):
    """Takes out what ``strip --strip-unneeded`` takes out, without touching a byte that is loaded."""

    def strip(self) -> bytes:
        count = self.layout.half.unpack_from(self.image, self.layout.shnum)[0]
        if not self.sections or count == 0 or self.shstrndx >= len(self.sections):
            return self.image
        drop = self.find_unneeded()
        if not any(drop):
            return self.image
        fixed = [(0, self.layout.header_size), (self.phoff, self.phend)]
        fixed += [(load.offset, load.end) for load in self.segments if load.kind == PT_LOAD]
        if any(self.shoff < end and start < self.shend for start, end in fixed):
            raise EditRefused("its section headers overlap with what is loaded")
        self.renumber(drop)
        packed = self.pack(self.end_of_loaded())
        return self.write_headers(bytearray(self.image) if packed is None else packed)

    def find_unneeded(self) -> list[bool]:
        """Which sections to drop: symbols, debugging data, relocations of either, and the names of the symbols."""
        names = self.sections[self.shstrndx]
        table = self.image[names.offset : names.end]
        drop = [not section.flags & SHF_ALLOC and self.unneeded(section, table) for section in self.sections]
        links = {section.link for section, gone in zip(self.sections, drop) if gone}
        links -= {section.link for section, gone in zip(self.sections, drop) if not gone}
        for index, section in enumerate(self.sections):
            if section.kind == SHT_STRTAB and not section.flags & SHF_ALLOC and index in links:
                drop[index] = index != self.shstrndx
        return drop

    def unneeded(self, section: _Section, names: bytes) -> bool:
        if section.kind in (SHT_NULL, SHT_STRTAB):
            return False
        if section.kind in (SHT_SYMTAB, SHT_SYMTAB_SHNDX, SHT_REL, SHT_RELA, SHT_GROUP):
            return True
        return section.name < len(names) and names.startswith(DEBUGGING, section.name)

    def renumber(self, drop: list[bool]) -> None:
        """Take the dropped headers out. Before the last loaded section an empty one stays in the place of each.

        For dynamic symbols, which are loaded, refer to loaded sections by index.
        """
        loaded = [index for index, section in enumerate(self.sections) if section.flags & SHF_ALLOC]
        last = loaded[-1] if loaded else 0
        kept: list[_Section] = []
        index_of = [0] * len(self.sections)
        for index, section in enumerate(self.sections):
            if not drop[index]:
                index_of[index] = len(kept)
                kept.append(section)
            elif index < last:
                kept.append(_Section(0, SHT_NULL, 0, 0, 0, 0, 0, 0, 0, 0))
        for section in kept:
            section.link = index_of[section.link] if section.link < len(drop) else section.link
            if section.flags & SHF_INFO_LINK and section.info < len(drop):
                section.info = index_of[section.info]
        self.shstrndx = index_of[self.shstrndx]
        self.sections = kept

    def end_of_loaded(self) -> int:
        """The first byte of the file that is neither loaded nor a header nor between such bytes."""
        end = max(self.layout.header_size, self.phend)
        end = max([end, *(segment.end for segment in self.segments)])
        return max([end, *(section.end for section in self.sections if section.flags & SHF_ALLOC)])

    def pack(self, loaded: int) -> Optional[bytearray]:
        """Put what stays close together behind the loaded bytes; ``None`` where it does not get smaller thereby."""
        stays = [section for section in self.sections if section.filesz and not section.flags & SHF_ALLOC]
        stays = [section for section in stays if section.end > loaded]
        stays.sort(key=lambda each: each.offset)
        cursor, offsets = loaded, []
        for section in stays:
            if section.offset < loaded or section.end > len(self.image):  # they overlap, or lie
                return None
            if 1 < section.align <= LARGEST_PAGE and not section.align & (section.align - 1):
                cursor = _pad(cursor, section.align)
            offsets.append(cursor)
            cursor += section.filesz
            if cursor > len(self.image):
                return None
        shoff = self.shoff
        if shoff >= loaded:
            shoff = _pad(cursor, 8)
            cursor = shoff + len(self.sections) * self.layout.section.size
        elif self.shend > loaded:
            return None
        if cursor > len(self.image):
            return None
        out = bytearray(self.image[:loaded]) + bytes(cursor - loaded)
        for section, offset in zip(stays, offsets):
            out[offset : offset + section.filesz] = self.image[section.offset : section.end]
            section.offset = offset
        self.shoff = shoff
        return out

    def write_headers(self, out: bytearray) -> bytes:
        table = b"".join(map(self.pack_section, self.sections))
        out[self.shoff : self.shoff + len(table)] = table
        self.layout.address.pack_into(out, self.layout.shoff, self.shoff)
        self.layout.half.pack_into(out, self.layout.shnum, len(self.sections))
        self.layout.half.pack_into(out, self.layout.shnum + 2, self.shstrndx)
        return bytes(out)


def _pad(size: int, align: int) -> int:
    return (size + align - 1) & -align
