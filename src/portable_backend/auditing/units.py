"""Compile units: of which source file, by which compiler, a part of a file was made (``.debug_info``). Pure.

Of each unit the first entry alone is read. Which unit an address belongs to is told by its line table: the unit names
it (``DW_AT_stmt_list``), so no table of address ranges is needed, which clang and rustc leave out.

The bytes may be hostile: each step is counted, and offsets lead nowhere but into their section.

Source: the DWARF Debugging Information Format, versions 4 and 5, sections 3.1.1, 7.5 and 7.26.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Optional, Union

from ..records import NamedTuple
from .dwarf import Broken, DebugSections, Reader, Steps, units_of

# Steps of all units together, some seconds.
_MOST_STEPS = 3_000_000
_MOST_ABBREVIATIONS = 100_000

_DW_TAG_COMPILE_UNIT = 0x11
_DW_UT_COMPILE = 1
_NAME, _LINES, _LANGUAGE, _DIRECTORY, _PRODUCER, _STRINGS_BASE = 0x03, 0x10, 0x13, 0x1B, 0x25, 0x72
_WANTED = (_NAME, _LINES, _LANGUAGE, _DIRECTORY, _PRODUCER, _STRINGS_BASE)

_FIXED = {0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x1C: 4, 0x1E: 16}
_FIXED |= {0x20: 8, 0x24: 8, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4}
_STRX = {0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4}
_UNSIGNED = (0x0F, 0x15, 0x1B, 0x22, 0x23, 0x1F01)
_OFFSETS = (0x10, 0x17, 0x1D, 0x1F20, 0x1F21)
_BLOCKS = {0x03: 2, 0x04: 4, 0x0A: 1}
_ADDRESS, _STRING, _BLOCK, _SDATA, _STRP, _INDIRECT, _EXPRLOC = 0x01, 0x08, 0x09, 0x0D, 0x0E, 0x16, 0x18
_PRESENT, _STRX_UNSIGNED, _LINE_STRP, _IMPLICIT, _GNU_STR_INDEX = 0x19, 0x1A, 0x1F, 0x21, 0x1F02

_LANGUAGES = {
    "C": (0x01, 0x02, 0x0C, 0x1D, 0x2C),
    "C++": (0x04, 0x19, 0x1A, 0x21, 0x2A, 0x2B),
    "Fortran": (0x07, 0x08, 0x0E, 0x22, 0x23, 0x2D),
    "Rust": (0x1C,),
    "D": (0x13,),
    "Go": (0x16,),
    "Zig": (0x27,),
    "assembler": (0x8001,),
}
_LANGUAGE_OF = {number: name for name, numbers in _LANGUAGES.items() for number in numbers}


class Unit(NamedTuple):
    """A compile unit, as far as it is told.

    :param path: of its source file, in its directory as far as that is told.
    :param directory: in which the compiler ran.
    :param language: as ``C++``.
    :param producer: what the compiler says of itself, with its options.
    """

    path: Optional[str] = None
    directory: Optional[str] = None
    language: Optional[str] = None
    producer: Optional[str] = None

    @property
    def compiler(self) -> Optional[str]:
        """The compiler and its version, without options and revisions."""
        if not self.producer:
            return None
        rust = re.search(r"rustc version [^\s()]{1,40}", self.producer[:1000])
        if rust:
            return rust[0].replace(" version", "")
        return re.split(r" -| \(", self.producer[:1000])[0].replace(" version", "").strip()[:80] or None


def find_units(sections: DebugSections, tables: Collection[int]) -> dict[int, Unit]:
    """The units that some line tables belong to.

    :param tables: where in ``.debug_line`` they are.
    :returns: by table; a table of which none is told is left out.
    """
    found: dict[int, Unit] = {}
    reading = _Reading(sections)
    for _, at, end, wide in units_of(sections.info, sections.order) if tables else ():
        with suppress(Broken):  # of this unit nothing is told; of another, perhaps
            table, unit = reading.unit(Reader(sections.info, at, end, sections.order), wide)
            if table is not None and table in tables:
                found.setdefault(table, unit)
        if reading.steps.left <= 0 or len(found) == len(tables):
            break
    return found


class _Text(NamedTuple):
    """A string that is somewhere else: in which section, and where, or the how-manieth of the table of offsets."""

    section: bytes
    place: int
    indexed: bool = False


_Value = Union[int, str, _Text, None]
_Abbreviation = tuple[int, list[tuple[int, int, int]]]


class _Reading:
    def __init__(self, sections: DebugSections) -> None:
        self.sections = sections
        self.steps = Steps(_MOST_STEPS)
        self.abbreviations: dict[tuple[int, int], _Abbreviation] = {}

    def unit(self, reader: Reader, wide: bool) -> tuple[Optional[int], Unit]:
        """Of one unit: where its line table is, and what it tells."""
        self.steps.spend(10)
        version = reader.number(2)
        offset = 8 if wide else 4
        if version == 5:
            kind, address = reader.number(1), reader.number(1)
            abbreviations = reader.number(offset)
            if kind != _DW_UT_COMPILE:
                raise Broken
        elif version in (2, 3, 4):
            abbreviations, address = reader.number(offset), reader.number(1)
        else:
            raise Broken
        tag, attributes = self.abbreviation(abbreviations, reader.unsigned())
        if tag != _DW_TAG_COMPILE_UNIT:
            raise Broken
        values: dict[int, _Value] = {}
        for attribute, form, constant in attributes:
            self.steps.spend()
            value = self.value(reader, form, constant, offset, address)
            if attribute in _WANTED:
                values.setdefault(attribute, value)
        table = values.get(_LINES)
        return table if isinstance(table, int) else None, self.told(values, offset)

    def abbreviation(self, at: int, code: int) -> _Abbreviation:
        """The tag and the attributes with their forms that a code stands for (section 7.5.3)."""
        known = self.abbreviations.get((at, code))
        if known is not None:
            return known
        reader = Reader(self.sections.abbrev, at, len(self.sections.abbrev), self.sections.order)
        while True:
            self.steps.spend(4)
            each = reader.unsigned()
            if each == 0:
                raise Broken
            tag = reader.unsigned()
            reader.skip(1)  # whether it has children
            attributes = list(self.specifications(reader))
            if each == code:
                if len(self.abbreviations) < _MOST_ABBREVIATIONS:
                    self.abbreviations[at, code] = tag, attributes
                return tag, attributes

    def specifications(self, reader: Reader) -> Iterator[tuple[int, int, int]]:
        """Attributes, their forms, and the values of those that stand in the abbreviation itself."""
        while True:
            self.steps.spend(2)
            attribute, form = reader.unsigned(), reader.unsigned()
            constant = reader.signed() if form == _IMPLICIT else 0
            if attribute == form == 0:
                return
            yield attribute, form, constant

    def value(self, reader: Reader, form: int, constant: int, offset: int, address: int) -> _Value:
        """Read a value (section 7.5.6); what is of no use here is passed over.

        :param offset: the size of offsets.
        :param address: that of addresses.
        """
        if form == _INDIRECT:
            form = reader.unsigned()
            if form == _INDIRECT:
                raise Broken
        found: _Value = None
        if form in _FIXED:
            found = reader.number(_FIXED[form])
        elif form in _OFFSETS:
            found = reader.number(offset)
        elif form in (_STRP, _LINE_STRP):
            section = self.sections.str if form == _STRP else self.sections.line_str
            found = _Text(section, reader.number(offset))
        elif form in _STRX:
            found = _Text(self.sections.str, reader.number(_STRX[form]), indexed=True)
        elif form in (_STRX_UNSIGNED, _GNU_STR_INDEX):
            found = _Text(self.sections.str, reader.unsigned(), indexed=True)
        elif form in _UNSIGNED:
            found = reader.unsigned()
        elif form == _STRING:
            found = reader.string()
        elif form == _IMPLICIT:
            found = constant
        else:
            self.pass_over(reader, form, address)
        return found

    def pass_over(self, reader: Reader, form: int, address: int) -> None:
        """Skip a value of a form that no attribute of interest has."""
        if form in _BLOCKS:
            reader.skip(reader.number(_BLOCKS[form]))
        elif form in (_BLOCK, _EXPRLOC):
            reader.skip(reader.unsigned())
        elif form == _ADDRESS:
            reader.skip(address)
        elif form == _SDATA:
            reader.signed()
        elif form != _PRESENT:
            raise Broken

    def told(self, values: dict[int, _Value], offset: int) -> Unit:
        """What the values say, once all of them are there: strings may be counted from one that comes last."""
        base = values.get(_STRINGS_BASE)
        start = base if isinstance(base, int) else 2 * offset  # behind a header

        def text(attribute: int) -> Optional[str]:
            value = values.get(attribute)
            if isinstance(value, _Text):
                with suppress(Broken):
                    return self.string(value, start, offset) or None
                return None
            return value or None if isinstance(value, str) else None

        name, directory, language = text(_NAME), text(_DIRECTORY), values.get(_LANGUAGE)
        path = _source_of(name, directory)
        known = _LANGUAGE_OF.get(language) if isinstance(language, int) else None
        return Unit(path, directory, known, text(_PRODUCER))

    def string(self, text: _Text, start: int, offset: int) -> str:
        """The string that is somewhere else."""
        self.steps.spend()
        place, sections = text.place, self.sections
        if text.indexed:
            at = start + place * offset
            place = Reader(sections.str_offsets, at, len(sections.str_offsets), sections.order).number(offset)
        return Reader(text.section, place, len(text.section), sections.order).string()


def _source_of(name: Optional[str], directory: Optional[str]) -> Optional[str]:
    """The path of a unit. Of Rust's names, ``src/lib.rs/@/crate.hash-cgu.0``, the file; none of ``<artificial>``."""
    path = (name or "").partition("/@/")[0]
    if not path or path.startswith("<"):
        return None
    return join(directory or "", path)


def join(directory: str, path: str) -> str:
    """A path in a directory, unless it is absolute already."""
    if path.startswith("/") or not directory:
        return path
    return f"{directory.rstrip('/')}/{path.removeprefix('./')}"


__all__ = ["Unit", "find_units", "join"]
