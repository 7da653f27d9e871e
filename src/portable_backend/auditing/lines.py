"""From addresses to source lines: ``.debug_line`` of DWARF 2 to 5, as far as a line of a file is told. Pure.

The bytes may be hostile. A table may claim any number of entries and a program may go on as long as it likes, so each
step is counted, and what is found until the steps run out is what is told.

Source: the DWARF Debugging Information Format, versions 4 and 5, section 6.2.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress

from ..patterns import later
from ..records import NamedTuple

# Steps of all line programs together, some seconds; and as how many a step counts that is no plain row.
_MOST_STEPS, _SLOW = 4_000_000, 3
_MOST_FILES = 100_000
_LONGEST_PATH = 4096

_DW_FORM_BLOCK, _DW_FORM_DATA1, _DW_FORM_DATA2, _DW_FORM_DATA4, _DW_FORM_DATA8 = 0x09, 0x0B, 0x05, 0x06, 0x07
_DW_FORM_STRING, _DW_FORM_STRP, _DW_FORM_UDATA, _DW_FORM_DATA16, _DW_FORM_LINE_STRP = 0x08, 0x0E, 0x0F, 0x1E, 0x1F
_FIXED = {_DW_FORM_DATA1: 1, _DW_FORM_DATA2: 2, _DW_FORM_DATA4: 4, _DW_FORM_DATA8: 8, _DW_FORM_DATA16: 16}
_DW_LNCT_PATH, _DW_LNCT_DIRECTORY = 1, 2


class DebugSections(NamedTuple):
    """The sections that line tables are made of; empty where a file has none."""

    line: bytes
    line_str: bytes = b""
    str: bytes = b""


def find_lines(sections: DebugSections, addresses: Sequence[int]) -> dict[int, str]:
    """``path:line`` of each address that a line table knows.

    :param addresses: sorted.
    """
    found: dict[int, str] = {}
    steps = _Steps(_MOST_STEPS)
    units = list(_units(sections.line)) if addresses else []
    for place in _promising(sections.line, [start for start, *_ in units], addresses):
        _, at, end, wide = units[place]
        with suppress(_Broken):  # what is broken is this unit's; another may tell
            _Unit(_Reader(sections.line, at, end), wide, sections, steps).find(addresses, found)
        if steps.left <= 0:
            break
    return found


def _units(line: bytes) -> Iterator[tuple[int, int, int, bool]]:
    """Each unit: where it starts, where it goes on behind its length, where it ends, and whether it is of 64 bits."""
    at = 0
    while at + 12 <= len(line):
        length, wide = int.from_bytes(line[at : at + 4], "little"), False
        begin = at + 4
        if length == 0xFFFFFFFF:
            length, wide = int.from_bytes(line[at + 4 : at + 12], "little"), True
            begin = at + 12
        if length:  # else padding
            yield at, begin, min(begin + length, len(line)), wide
        at = begin + length


# An extended operation of 9 bytes that sets the address: every sequence of rows begins with it.
_SET_ADDRESS = later(rb"\0\x09\x02(.{8})", re.DOTALL)
# Sequences do not overlap, so an address is in the last that starts before it; two more for bytes that only look so.
_CANDIDATES = 3


def _promising(line: bytes, units: Sequence[int], addresses: Sequence[int]) -> list[int]:
    """The units, by their place, in which one of the addresses may be. A large file has thousands of others."""
    starts = sorted((int.from_bytes(match[1], "little"), match.start()) for match in _SET_ADDRESS.finditer(line))
    places: dict[int, None] = {}
    for address in addresses:
        last = bisect_right(starts, (address, len(line)))
        for _, position in starts[max(last - _CANDIDATES, 0) : last]:
            place = bisect_right(units, position) - 1
            if place >= 0:
                places[place] = None
    return list(places)


class _Broken(Exception):
    """A line table that cannot be read."""


class _Steps:
    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, count: int = 1) -> None:
        self.left -= count
        if self.left <= 0:
            raise _Broken


class _Reader:
    """Numbers and strings, one behind the other."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def number(self, size: int) -> int:
        at = self.at
        self.skip(size)
        return int.from_bytes(self.data[at : at + size], "little")

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > self.end:
            raise _Broken

    def unsigned(self) -> int:
        """An unsigned LEB128 number (section 7.6); none here has reason to take more than ten bytes."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _Broken

    def signed(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value - (1 << shift + 7) if byte & 0x40 else value
        raise _Broken

    def string(self) -> str:
        stop = self.data.find(b"\0", self.at, min(self.end, self.at + _LONGEST_PATH))
        if stop < 0:
            raise _Broken
        text, self.at = self.data[self.at : stop], stop + 1
        return text.decode("utf-8", "replace")


class _Row(NamedTuple):
    address: int
    file: int
    line: int


# What an operation makes of the registers: nothing, a row, or the row that ends a sequence.
_ROW, _LAST = "row", "last"


class _Unit:
    """One line number program: its header, its file names, its rows."""

    def __init__(self, reader: _Reader, wide: bool, sections: DebugSections, steps: _Steps) -> None:
        self.reader, self.wide, self.sections, self.steps = reader, wide, sections, steps
        self.directories: list[str] = []
        self.files: list[tuple[str, int]] = []

    def find(self, addresses: Sequence[int], found: dict[int, str]) -> None:
        """Add what this unit knows of the addresses."""
        reader = self.reader
        self.version = reader.number(2)
        if self.version not in (2, 3, 4, 5):
            raise _Broken
        if self.version == 5:
            reader.skip(2)  # size of addresses and of segment selectors
        header = reader.number(8 if self.wide else 4)
        program = reader.at + header
        self.minimum = reader.number(1)
        if self.version >= 4:
            reader.skip(1)  # operations per instruction: 1 but on VLIW machines
        reader.skip(1)  # is_stmt by default
        self.line_base = (reader.number(1) ^ 0x80) - 0x80
        self.line_range = reader.number(1)
        self.opcode_base = reader.number(1)
        self.lengths = [reader.number(1) for _ in range(1, self.opcode_base)]
        if self.version == 5:
            self.directories = [path for path, _ in self.read_entries()]
            self.files = self.read_entries()
        else:
            self.read_old_names()
        if program > reader.end or self.line_range == 0:
            raise _Broken
        self.run(_Reader(reader.data, program, reader.end), addresses, found)

    def read_old_names(self) -> None:
        """Directories and files of versions 2 to 4. The directory at 0 is the unit's own; files count from 1."""
        self.directories.append("")
        self.files.append(("", 0))
        while path := self.reader.string():
            self.steps.spend()
            self.directories.append(path)
        while path := self.reader.string():
            self.steps.spend()
            self.files.append((path, self.reader.unsigned()))
            self.reader.unsigned()  # time
            self.reader.unsigned()  # length

    def read_entries(self) -> list[tuple[str, int]]:
        """Directories or files of version 5, each as its format says: path and directory."""
        kinds = [(self.reader.unsigned(), self.reader.unsigned()) for _ in range(self.reader.number(1))]
        count = self.reader.unsigned()
        if count > _MOST_FILES or (count and not kinds):
            raise _Broken
        entries = []
        for _ in range(count):
            path, directory = "", 0
            for content, form in kinds:
                self.steps.spend()
                value = self.read_form(form)
                if content == _DW_LNCT_PATH and isinstance(value, str):
                    path = value
                elif content == _DW_LNCT_DIRECTORY and isinstance(value, int):
                    directory = value
            entries.append((path, directory))
        return entries

    def read_form(self, form: int) -> object:
        reader = self.reader
        if form == _DW_FORM_STRING:
            return reader.string()
        if form in (_DW_FORM_LINE_STRP, _DW_FORM_STRP):
            strings = self.sections.line_str if form == _DW_FORM_LINE_STRP else self.sections.str
            offset = reader.number(8 if self.wide else 4)
            return _Reader(strings, offset, len(strings)).string()
        if form == _DW_FORM_UDATA:
            return reader.unsigned()
        if form in _FIXED:
            return reader.number(_FIXED[form])
        if form == _DW_FORM_BLOCK:
            reader.skip(reader.unsigned())
            return None
        raise _Broken

    def run(self, code: _Reader, addresses: Sequence[int], found: dict[int, str]) -> None:
        """Run the program (section 6.2.5). A row holds from its address to that of the next one in its sequence."""
        base, lowest = self.opcode_base, self.line_base
        now, before = _Row(0, 1, 1), None
        while code.at < code.end:
            opcode = code.data[code.at]
            if opcode >= base:  # most are of this kind
                code.at += 1
                self.steps.spend()
                advance, forward = divmod(opcode - base, self.line_range)
                now, row = _Row(now[0] + advance * self.minimum, now[1], now[2] + lowest + forward), _ROW
            else:
                self.steps.spend(_SLOW)
                now, row = self.step(code, now)
                if not row:
                    continue
            if before is not None and now[0] > before[0]:
                self.tell(before, now[0], addresses, found)
            before = now
            if row is _LAST:
                now, before = _Row(0, 1, 1), None

    def step(self, code: _Reader, now: _Row) -> tuple[_Row, str]:
        """One operation: the registers after it, and whether they make a row, or the last one of a sequence."""
        address, file, line = now
        opcode = code.number(1)
        if opcode == 0:
            return self.extended(code, now)
        if opcode == 2:
            address += code.unsigned() * self.minimum
        elif opcode == 3:
            line += code.signed()
        elif opcode == 4:
            file = code.unsigned()
        elif opcode == 8:
            address += (255 - self.opcode_base) // self.line_range * self.minimum
        elif opcode == 9:
            address += code.number(2)
        elif opcode != 1:  # of no matter here: its arguments are as many as the header says
            for _ in range(self.lengths[opcode - 1]):
                code.unsigned()
        return _Row(address, file, line), _ROW if opcode == 1 else ""

    def extended(self, code: _Reader, now: _Row) -> tuple[_Row, str]:
        """An operation that says how long it is."""
        size = code.unsigned()
        after = code.at + size
        kind = code.number(1) if size else 0
        if kind == 2:  # set the address
            now = now._replace(address=code.number(min(size - 1, 8)))
        if after > code.end:
            raise _Broken
        code.at = after
        return now, _LAST if kind == 1 else ""

    def tell(self, row: _Row, end: int, addresses: Sequence[int], found: dict[int, str]) -> None:
        """Add the addresses that a row is about."""
        first = bisect_left(addresses, row.address)
        if first == len(addresses) or addresses[first] >= end:
            return
        after = bisect_left(addresses, end)
        name = self.path_of(row.file) if first < after and row.line > 0 else ""
        for place in range(first, after if name else first):
            self.steps.spend()
            found.setdefault(addresses[place], f"{name}:{row.line}")

    def path_of(self, number: int) -> str:
        """The path of a file, in its directory as far as the table tells it."""
        if number >= len(self.files):
            return ""
        name, directory = self.files[number]
        place = self.directories[directory] if directory < len(self.directories) else ""
        if name.startswith("/") or not place:
            return name
        return f"{place.rstrip('/')}/{name}"


__all__ = ["DebugSections", "find_lines"]
