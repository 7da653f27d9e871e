"""Compile units: what pyelftools reads of them in files of several compilers, and no error in hostile ones."""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wheel_maker import MACHINE, needs_cc

from portable_backend.auditing.callers import find_callers
from portable_backend.auditing.dwarf import DebugSections
from portable_backend.auditing.units import Unit, find_units

HEADER = "extern int getpid(void); static inline int in_header(int x) { return x * getpid(); }\n"
PART = '#include "sub/part.h"\nint here(int x) { return in_header(x) + 1; }\n'
OTHER = "extern int getppid(void); int other(void) { return 3 * getppid(); }\n"


def compiled(
    directory: Path, *flags: str, compiler: Any = None, sources: tuple[str, ...] = ("part.c", "other.c")
) -> bytes:
    (directory / "sub").mkdir(exist_ok=True)
    (directory / "sub" / "part.h").write_text(HEADER)
    (directory / "part.c").write_text(PART)
    (directory / "other.c").write_text(OTHER)
    command = [*(compiler or [needs_cc()]), "-shared", "-fPIC", *flags, "part.c", "other.c", "-o", "part.so"]
    subprocess.run(command, check=True, cwd=directory, capture_output=True)
    return (directory / "part.so").read_bytes()


def zig(target: str) -> list[str]:
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    return [sys.executable, "-m", "ziglang", "cc", "-target", target]


def sections_of(image: bytes) -> DebugSections:
    from elftools.elf.elffile import ELFFile

    file = ELFFile(io.BytesIO(image))
    names = ("line", "line_str", "str", "info", "abbrev", "str_offsets")
    found = [each.data() if (each := file.get_section_by_name(f".debug_{name}")) else b"" for name in names]
    return DebugSections(*found, "little" if file.little_endian else "big", file.elfclass // 8)


def told_by_pyelftools(image: bytes) -> dict[int, tuple[Optional[str], ...]]:
    """By table: name, directory, producer."""
    from elftools.elf.elffile import ELFFile

    found = {}
    for unit in ELFFile(io.BytesIO(image)).get_dwarf_info().iter_CUs():
        values = unit.get_top_DIE().attributes
        names = ("DW_AT_name", "DW_AT_comp_dir", "DW_AT_producer")
        texts = [values[name].value.decode() if name in values else None for name in names]
        if "DW_AT_stmt_list" in values:
            found[values["DW_AT_stmt_list"].value] = tuple(texts)
    return found


def check(image: bytes, least: int) -> dict[int, Unit]:
    expected = told_by_pyelftools(image)
    assert len(expected) >= least
    found = find_units(sections_of(image), set(expected))
    for table, (name, directory, producer) in expected.items():
        told = found[table]
        assert (told.directory, told.producer) == (directory, producer)
        if name is None or name.startswith("<"):
            assert told.path is None
        else:
            assert str(told.path).endswith(name.partition("/@/")[0].removeprefix("./"))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="compiles for Linux")
@pytest.mark.parametrize(
    "flags",
    [
        ["-g", "-gdwarf-2"],
        ["-gdwarf-3"],
        ["-gdwarf-4"],
        ["-gdwarf-5"],
        ["-gdwarf-5", "-gz"],
        ["-gdwarf-5", "-gdwarf64"],
        ["-g1"],
        ["-g", "-flto"],
    ],
    ids=" ".join,
)
def test_units_of_gcc_are_those_that_pyelftools_reads(flags: list[str], tmp_path: Path) -> None:
    pytest.importorskip("elftools", reason="pyelftools is not installed")
    units = check(compiled(tmp_path, "-O1", *flags), 1)
    assert {unit.language for unit in units.values()} == {"C"}
    assert all(str(unit.compiler).startswith("GNU ") for unit in units.values())
    assert all(" -" not in str(unit.compiler) for unit in units.values())


@pytest.mark.skipif(sys.platform != "linux", reason="the PyPI package ziglang, as it is for Linux")
@pytest.mark.parametrize("target", ["x86_64-linux-gnu.2.17", "s390x-linux-gnu.2.17", "arm-linux-gnueabihf.2.17"])
@pytest.mark.parametrize("flags", [["-gdwarf-4"], ["-gdwarf-5"], ["-gdwarf-5", "-gdwarf64"]], ids=" ".join)
def test_units_of_clang_are_those_that_pyelftools_reads(flags: list[str], target: str, tmp_path: Path) -> None:
    pytest.importorskip("elftools", reason="pyelftools is not installed")
    if "-gdwarf64" in flags and target.startswith("arm"):
        flags = ["-gdwarf-5"]
    check(compiled(tmp_path, "-O1", *flags, compiler=zig(target)), 2)


@pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="compiles for x86-64")
@pytest.mark.skipif(shutil.which("rustc") is None, reason="rustc is not installed")
def test_units_of_rust(tmp_path: Path) -> None:
    pytest.importorskip("elftools", reason="pyelftools is not installed")
    (tmp_path / "acme.rs").write_text('#[no_mangle] pub extern "C" fn run() -> usize { std::env::args().count() }\n')
    command = ["rustc", "--crate-type", "cdylib", "-g", "acme.rs", "-o", "acme.so"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    units = check((tmp_path / "acme.so").read_bytes(), 2)
    ours = [unit for unit in units.values() if unit.path == str(tmp_path / "acme.rs")]
    assert ours
    assert {unit.language for unit in ours} == {"Rust"}
    assert all(str(unit.compiler).startswith("rustc 1.") for unit in ours)


@pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="compiles for x86-64")
@pytest.mark.parametrize("flags", [["-gdwarf-4"], ["-gdwarf-5"], ["-gdwarf-5", "-gz"]], ids=" ".join)
def test_a_call_from_a_header_tells_both_files(flags: list[str], tmp_path: Path) -> None:
    found = find_callers(compiled(tmp_path, "-O2", *flags), ["getpid@GLIBC_2.2.5", "getppid@GLIBC_2.2.5"])
    (caller,) = found["getpid@GLIBC_2.2.5"].callers
    assert caller.source == str(tmp_path / "sub" / "part.h:1")
    assert caller.unit == str(tmp_path / "part.c")
    (caller,) = found["getppid@GLIBC_2.2.5"].callers
    assert (caller.source, caller.unit) == (str(tmp_path / "other.c:1"), str(tmp_path / "other.c"))


# --- made by hand ------------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    """LEB128."""
    parts = []
    while True:
        parts.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(parts)


def made(attributes: list[tuple[int, int, bytes]], *, version: int = 4, before: bytes = b"") -> DebugSections:
    """One unit with such attributes, forms and values."""
    abbreviation = before + b"\x01\x11\x01" + b"".join(number(each) + number(form) for each, form, _ in attributes)
    body = b"\x01" + b"".join(value for *_, value in attributes)
    head = struct.pack("<HIB", version, 0, 8) if version < 5 else struct.pack("<HBBI", version, 1, 8, 0)
    info = struct.pack("<I", len(head + body)) + head + body
    strings = b"\0part.c\0/src\0rust\0"
    offsets = bytes(8) + struct.pack("<4I", 0, 1, 8, 13)
    return DebugSections(b"", strings, strings, info, abbreviation + b"\0\0\0", offsets)


NAME, LINES, DIRECTORY = (0x03, 0x08, b"part.c\0"), (0x10, 0x17, struct.pack("<I", 77)), (0x1B, 0x08, b"/src\0")


@pytest.mark.parametrize(
    "name",
    [
        (0x03, 0x0E, struct.pack("<I", 1)),
        (0x03, 0x1F, struct.pack("<I", 1)),
        (0x03, 0x25, b"\x01"),
        (0x03, 0x26, b"\x01\0"),
        (0x03, 0x27, b"\x01\0\0"),
        (0x03, 0x28, b"\x01\0\0\0"),
        (0x03, 0x1A, b"\x01"),
        (0x03, 0x16, b"\x08part.c\0"),
    ],
    ids=lambda each: f"form {each[1]:#x}",
)
def test_every_form_of_a_string(name: tuple[int, int, bytes]) -> None:
    base = (0x72, 0x17, struct.pack("<I", 8))
    for attributes in ([name, LINES, DIRECTORY, base], [LINES, DIRECTORY, name]):
        assert find_units(made(attributes, version=5), {77})[77].path == "/src/part.c"


@pytest.mark.parametrize(
    "other",
    [
        (0x11, 0x01, bytes(8)),
        (0x12, 0x0A, b"\x03abc"),
        (0x12, 0x09, b"\x03abc"),
        (0x12, 0x18, b"\x03abc"),
        (0x12, 0x03, b"\x03\0abc"),
        (0x12, 0x0D, b"\xff\x7f"),
        (0x12, 0x19, b""),
        (0x12, 0x1E, bytes(16)),
        (0x12, 0x22, b"\x85\x01"),
        (0x12, 0x2B, bytes(3)),
    ],
    ids=lambda each: f"form {each[1]:#x}",
)
def test_attributes_of_other_forms_are_passed_over(other: tuple[int, int, bytes]) -> None:
    assert find_units(made([other, NAME, LINES, other, DIRECTORY], version=5), {77})[77].path == "/src/part.c"


@pytest.mark.parametrize(
    "broken",
    [
        made([NAME, LINES, (0x12, 0x7F, b"")]),
        made([NAME, LINES, (0x12, 0x16, b"\x16\x16\x16")]),
        made([(0x03, 0x08, b"x" * 100_000), LINES]),
        made([NAME, LINES], version=9),
        made([NAME, LINES])._replace(abbrev=b""),
        made([NAME, LINES])._replace(abbrev=b"\x02\x11\x01" + b"\x03\x08" * 3_000_000),
        made([NAME, LINES])._replace(abbrev=b"\x02\x11\x01\0\0" * 3_000_000),
        made([NAME, LINES, (0x12, 0x09, b"\xff" * 9 + b"\x01")]),
        DebugSections(b"", info=b"\xff" * 4096, abbrev=b"\x01" * 4096),
        DebugSections(
            b"", info=(struct.pack("<IHIB", 8, 4, 0, 8) + b"\x01") * 300_000, abbrev=b"\x02\x11\0\0\0" * 100_000
        ),
    ],
    ids=range(10),
)
def test_what_is_broken_tells_nothing_in_little_time(broken: DebugSections) -> None:
    begin = time.process_time()
    assert find_units(broken, {77}) == {}
    assert time.process_time() - begin < 10


def test_a_broken_unit_hides_no_other() -> None:
    good = made([NAME, LINES, DIRECTORY])
    bad = struct.pack("<IHIB", 8, 4, 0xFFFFFF, 8) + b"\x01"
    assert find_units(good._replace(info=bad + good.info), {77})[77].path == "/src/part.c"


def test_a_string_that_is_nowhere_hides_nothing_else() -> None:
    found = find_units(made([(0x03, 0x0E, b"\xff\xff\xff\x7f"), LINES, DIRECTORY]), {77})[77]
    assert (found.path, found.directory) == (None, "/src")


@given(st.binary(max_size=400), st.binary(max_size=100), st.binary(max_size=60))
def test_no_bytes_are_an_error(info: bytes, abbreviations: bytes, strings: bytes) -> None:
    find_units(DebugSections(b"", strings, strings, info, abbreviations, strings), {0, 77})


def test_no_damage_is_an_error() -> None:
    whole = made([NAME, LINES, DIRECTORY, (0x25, 0x0E, struct.pack("<I", 13)), (0x11, 0x01, bytes(8))], version=5)
    chance = random.Random(11)
    for _ in range(3000):
        info, abbreviations = bytearray(whole.info), bytearray(whole.abbrev)
        for data in (info, abbreviations):
            data[chance.randrange(len(data))] = chance.randrange(256)
        find_units(whole._replace(info=bytes(info), abbrev=bytes(abbreviations)), {77})


@pytest.mark.parametrize(
    ("producer", "compiler"),
    [
        ("GNU C17 12.2.0 -mtune=generic -march=x86-64 -g -O2", "GNU C17 12.2.0"),
        ("GNU Fortran2008 12.2.0 -g", "GNU Fortran2008 12.2.0"),
        ("clang version 17.0.6 (https://example.org/llvm 6009708b)", "clang 17.0.6"),
        ("clang LLVM (rustc version 1.83.0 (90b35a623 2024-11-26))", "rustc 1.83.0"),
        ("", None),
        (None, None),
        ("x" * 10_000, "x" * 80),
    ],
)
def test_the_compiler_in_short(producer: Optional[str], compiler: Optional[str]) -> None:
    assert Unit(producer=producer).compiler == compiler
