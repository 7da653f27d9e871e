"""Our scan of every ELF file of a wheel of the corpus beside what pyelftools and readelf see."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elf_oracle import differences, oracle, readelf_differences

from portable_backend import elf, elfscan
from portable_backend.errors import ElfError

# The scanner in Python takes its time; larger files are left to the compiled one.
PURE_UP_TO = 2 << 20


@dataclass(frozen=True)
class ElfComparison:
    """What differs in one wheel.

    :param files: how many ELF files it has.
    :param size: their bytes.
    :param lines: (member, difference).
    """

    wheel: str
    files: int
    size: int
    lines: tuple[tuple[str, str], ...]


def elf_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The members of a wheel that start like ELF."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as stream:
                head = stream.read(4)
                if head == b"\x7fELF":
                    yield info.filename, head + stream.read()


def compare_elf(path: Path) -> ElfComparison:
    """Scan every ELF file of one wheel in all ways."""
    lines, files, size = [], 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "file")
        for member, data in elf_members(path):
            files += 1
            size += len(data)
            copy.write_bytes(data)
            lines += [(member, line) for line in _differences(data, copy)]
    return ElfComparison(path.name, files, size, tuple(lines))


def _differences(data: bytes, copy: Path) -> Iterator[str]:
    try:
        facts = elf.scan(data)
    except ElfError as error:
        yield f"refused: {error}"
        return
    if facts.type not in (elf.ET_EXEC, elf.ET_DYN):
        return
    try:
        yield from differences(facts, oracle(data))
    except Exception as error:  # pyelftools promises none in particular
        yield f"pyelftools failed: {type(error).__name__}: {error}"
    if facts.dynamic:
        yield from readelf_differences(facts, copy)
    if len(data) <= PURE_UP_TO and elf.make_facts(elfscan.scan(data)) != facts:
        yield "the scanner in Python sees other facts"


def be_nice() -> None:
    """For the workers of a pool."""
    os.nice(10)
