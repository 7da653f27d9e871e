"""Who calls for a symbol: found in real files of two architectures, and never an error or much time in hostile ones."""

from __future__ import annotations

import io
import os
import random
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from wheel_maker import MACHINE, needs_cc

from portable_backend.auditing.callers import Calls, find_callers, find_crate
from portable_backend.auditing.lines import DebugSections, find_lines
from portable_backend.auditing.linkmap import parse_map

SOURCE = """
extern int getpid(void), getppid(void), getuid(void);
static int inner(int x) { return x + getpid(); }
int direct(int x) { return inner(x) * 3 + getppid(); }
int tail(void) { return getpid(); }
int (*table[])(void) = {getuid, 0};
int (*taken(void))(void) { return getppid; }
"""
LINES = {"inner": 3, "direct": 4, "tail": 5, "taken": 7}


def compiled(directory: Path, *flags: str, compiler: Any = None) -> bytes:
    command = [*(compiler or [needs_cc()]), "-shared", "-fPIC", "-fno-inline", *flags, "part.c", "-o", "part.so"]
    (directory / "part.c").write_text(SOURCE)
    subprocess.run(command, check=True, cwd=directory, capture_output=True)
    return (directory / "part.so").read_bytes()


def versioned(found: dict[str, Calls]) -> dict[str, Calls]:
    return {symbol.partition("@")[0]: calls for symbol, calls in found.items()}


def look(image: bytes, version: str) -> dict[str, Calls]:
    return versioned(find_callers(image, [f"{name}@{version}" for name in ("getpid", "getppid", "getuid")]))


def functions(calls: Calls) -> set[tuple[str, Any]]:
    return {(each.how, each.function) for each in calls.callers}


@pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="compiles for x86-64")
@pytest.mark.parametrize(
    "flags",
    [
        ["-O1", "-g"],
        ["-O2", "-gdwarf-4"],
        ["-O2", "-gdwarf-5", "-gz"],
        ["-O1", "-g", "-fno-plt"],
        ["-O2", "-g", "-fcf-protection=full"],
        ["-O1", "-g", "-Wl,-z,now"],
        ["-O1", "-g", "-Wl,-z,lazy", "-fcf-protection=none"],
    ],
    ids=" ".join,
)
def test_calls_jumps_loads_and_tables_on_x86_64(flags: list[str], tmp_path: Path) -> None:
    found = look(compiled(tmp_path, *flags), "GLIBC_2.2.5")
    assert {function for _, function in functions(found["getpid"])} == {"inner", "tail"}
    assert {function for _, function in functions(found["getppid"])} == {"direct", "taken"}
    assert functions(found["getuid"]) == {("data", "table")}
    assert ("load", "taken") in functions(found["getppid"])
    for calls in found.values():
        assert calls.total == len(calls.callers)
        for caller in calls.callers:
            if caller.how != "data":
                assert str(caller.source).endswith(f"part.c:{LINES[str(caller.function)]}")


@pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="compiles for x86-64")
def test_what_a_stripped_file_does_not_tell_is_not_made_up(tmp_path: Path) -> None:
    image = compiled(tmp_path, "-O1", "-s", "-fvisibility=hidden")
    found = look(image, "GLIBC_2.2.5")
    assert found["getpid"].total == 2
    assert functions(found["getpid"]) <= {("call", None), ("jump", None)}
    assert {caller.source for caller in found["getpid"].callers} == {None}
    headless = bytearray(image)
    struct.pack_into("<Q", headless, 40, 0)
    struct.pack_into("<3H", headless, 58, 0, 0, 0)
    assert [calls.total for calls in look(bytes(headless), "GLIBC_2.2.5").values()] == [
        calls.total for calls in found.values()
    ]


@pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="compiles for x86-64")
def test_without_debugging_data_the_symbol_table_tells_the_file_of_what_is_local(tmp_path: Path) -> None:
    found = look(compiled(tmp_path, "-O1"), "GLIBC_2.2.5")
    units = {caller.function: (caller.unit, caller.source) for caller in found["getpid"].callers}
    assert units == {"inner": ("part.c", None), "tail": (None, None)}


# Of each machine: zig's target, the version that its first symbols have, and how `taken` is found, if it is.
MACHINES = {
    "x86_64": ("x86_64-linux-gnu.2.17", "2.2.5", "load"),
    "aarch64": ("aarch64-linux-gnu.2.17", "2.17", "load"),
    "i686": ("x86-linux-gnu.2.17", "2.0", "load"),
    "armv7l": ("arm-linux-gnueabihf.2.17", "2.4", None),
    "ppc64le": ("powerpc64le-linux-gnu.2.19", "2.17", "load"),
    "s390x": ("s390x-linux-gnu.2.17", "2.2", "load"),
    "riscv64": ("riscv64-linux-gnu.2.27", "2.27", "load"),
}


def cross_compiled(directory: Path, machine: str, *flags: str) -> bytes:
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", MACHINES[machine][0]]
    return compiled(directory, *flags, compiler=zig)


@pytest.mark.skipif(sys.platform != "linux", reason="the PyPI package ziglang, as it is for Linux")
@pytest.mark.parametrize("machine", MACHINES)
def test_calls_on_every_machine(machine: str, tmp_path: Path) -> None:
    _, version, taken = MACHINES[machine]
    found = look(cross_compiled(tmp_path, machine, "-O1", "-g"), f"GLIBC_{version}")
    assert {function for _, function in functions(found["getpid"])} == {"inner", "tail"}
    assert functions(found["getppid"]) == {("call", "direct"), *([(taken, "taken")] if taken else [])}
    assert functions(found["getuid"]) == {("data", "table")}
    for caller in (*found["getpid"].callers, *found["getppid"].callers):
        assert str(caller.source).endswith(f"/part.c:{LINES[str(caller.function)]}")
        assert caller.unit == str(tmp_path / "part.c")
        assert caller.language == "C"
        assert str(caller.compiler).startswith("clang ")


@pytest.mark.skipif(sys.platform != "linux", reason="the PyPI package ziglang, as it is for Linux")
@pytest.mark.parametrize("machine", MACHINES)
def test_calls_are_found_without_any_section(machine: str, tmp_path: Path) -> None:
    image = bytearray(cross_compiled(tmp_path, machine, "-O1", "-s"))
    before = look(bytes(image), f"GLIBC_{MACHINES[machine][1]}")
    order, wide = "<>"[image[5] - 1], image[4] == 2
    struct.pack_into(order + ("Q" if wide else "I"), image, 40 if wide else 32, 0)
    struct.pack_into(order + "3H", image, 58 if wide else 46, 0, 0, 0)
    after = look(bytes(image), f"GLIBC_{MACHINES[machine][1]}")
    assert before["getpid"].total == after["getpid"].total == 2
    assert all(caller.function is None for caller in after["getpid"].callers)


@pytest.mark.skipif(sys.platform != "linux", reason="the PyPI package ziglang, as it is for Linux")
def test_a_stub_for_a_function_of_the_file_itself_is_not_the_next_one(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    (tmp_path / "own.c").write_text(
        "extern int getpid(void); __attribute__((noinline)) int own(int x) { return x * 3; }\n"
        "int first(int x) { return own(x) + 1; } int second(int x) { return getpid() + x; }\n"
    )
    for arch, version in (("aarch64", "2.17"), ("x86_64", "2.2.5"), ("x86", "2.0"), ("s390x", "2.2")):
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{arch}-linux-gnu.2.17", "-shared", "-fPIC", "-O1"]
        subprocess.run([*zig, "own.c", "-o", "own.so"], check=True, cwd=tmp_path, capture_output=True)
        symbol = f"getpid@GLIBC_{version}"
        calls = find_callers((tmp_path / "own.so").read_bytes(), [symbol])[symbol]
        assert [(each.how, each.function) for each in calls.callers] == [("call", "second")], arch


@pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="compiles for x86-64")
def test_the_crate_of_a_caller_in_rust(tmp_path: Path) -> None:
    if shutil.which("rustc") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("rustc is not installed")
    (tmp_path / "acme.rs").write_text(
        'extern "C" { fn getppid() -> i32; }\n'
        "#[inline(never)] fn parent(x: i32) -> i32 { x * unsafe { getppid() } + 7 }\n"
        '#[no_mangle] pub extern "C" fn run() -> i32 { println!("{}", parent(1)); parent(2) }\n'
    )
    command = ["rustc", "--crate-type", "cdylib", "-g", "-O", "acme.rs", "-o", "acme.so"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    image = (tmp_path / "acme.so").read_bytes()
    found = find_callers(image, ["getppid@GLIBC_2.2.5", "write@GLIBC_2.2.5", "writev@GLIBC_2.2.5"])
    (caller,) = {(each.crate, str(each.source).rpartition("/")[2]) for each in found["getppid@GLIBC_2.2.5"].callers}
    assert caller == ("acme", "acme.rs:2")
    crates = {each.crate for symbol in found if symbol.startswith("write") for each in found[symbol].callers}
    assert "std" in crates


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "not looked through"),
        (b"\x7fELF\x01\x01\x01" + bytes(60), "not looked through"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 8) + bytes(60), "not looked through"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 62) + bytes(60), "no use of it"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 62), "contradict"),
    ],
)
def test_a_file_that_tells_nothing_says_so(image: bytes, reason: str) -> None:
    calls = find_callers(image, ["x"])["x"]
    assert calls.callers == ()
    assert reason in str(calls.unknown)


@pytest.mark.skipif(sys.platform != "linux", reason="the PyPI package ziglang, as it is for Linux")
@pytest.mark.parametrize("machine", MACHINES)
def test_damage_anywhere_is_no_error_and_takes_no_time(machine: str, tmp_path: Path) -> None:
    image = cross_compiled(tmp_path, machine, "-O1", "-g")[: 1 << 16]
    chance = random.Random(7)
    begin = time.monotonic()
    for _ in range(200):
        damaged = bytearray(image)
        for _ in range(chance.choice((1, 4, 40))):
            at = chance.randrange(len(damaged))
            damaged[at : at + 4] = chance.choice((b"\xff" * 4, b"\0" * 4, chance.randbytes(4)))[: len(damaged) - at]
        cut = chance.choice((len(damaged), chance.randrange(len(damaged))))
        look(bytes(damaged[:cut]), f"GLIBC_{MACHINES[machine][1]}")
    assert time.monotonic() - begin < 60


# --- line tables -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="compiles for x86-64")
@pytest.mark.parametrize("version", ["2", "3", "4", "5"])
def test_lines_are_those_that_pyelftools_reads(version: str, tmp_path: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile", reason="pyelftools is not installed")
    image = compiled(tmp_path, "-O2", f"-gdwarf-{version}")
    file = elffile.ELFFile(io.BytesIO(image))
    dwarf = file.get_dwarf_info()
    expected: dict[int, int] = {}
    for unit in dwarf.iter_CUs():
        before = None
        for entry in dwarf.line_program_for_CU(unit).get_entries():
            state = entry.state
            if state is None:
                continue
            if before is not None:
                for address in range(before.address, state.address):
                    expected[address] = before.line
            before = None if state.end_sequence else state
    names = (".debug_line", ".debug_line_str", ".debug_str")
    sections = DebugSections(*(each.data() if (each := file.get_section_by_name(name)) else b"" for name in names))
    found = find_lines(sections, sorted(expected))
    assert expected
    assert {address: int(line.rpartition(":")[2]) for address, line in found.items()} == expected
    assert {line.rpartition(":")[0].rpartition("/")[2] for line in found.values()} == {"part.c"}


def unit(program: bytes, *, tables: bytes = b"\0part.c\0\0\0\0\0", version: int = 4, line_range: int = 14) -> bytes:
    """A line table of one unit; by default of one file and no directory."""
    lengths = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))
    rest = b"\x01\x01\x01\xfb" + bytes((line_range, 13)) + lengths + tables
    head = struct.pack("<HI", version, len(rest)) + rest
    return struct.pack("<I", len(head) + len(program)) + head + program


AT_1000 = b"\0\x09\x02" + struct.pack("<Q", 0x1000)
END = b"\x02\x10\0\x01\x01"


def test_a_small_table() -> None:
    table = unit(AT_1000 + b"\x03\x04\x01" + END)
    assert find_lines(DebugSections(table), [0xFFF, 0x1000, 0x100F, 0x1010]) == {
        0x1000: "part.c:5",
        0x100F: "part.c:5",
    }


@pytest.mark.parametrize(
    "damage",
    [
        unit(b"", line_range=0),
        unit(b"", version=9),
        unit(AT_1000 + b"\x03"),
        unit(b"\x02" + b"\x80" * 4000),
        unit(b"\0\xff\xff\xff\xff\x7f\x02"),
        unit(b"\0\0" * 1000),
        struct.pack("<I", 0xFFFFFFFF) + b"\xff" * 8,
        b"\0" * 4096,
        # version 5: 2^63 files of which no format says a thing
        struct.pack("<IHBBIBBBBBB", 60, 5, 8, 0, 40, 1, 1, 1, 0xFB, 14, 1) + b"\0" + b"\xff" * 9 + b"\x01" + bytes(60),
        # no end of a name
        unit(b"", tables=b"x" * 100_000),
    ],
)
def test_a_broken_table_hides_no_other_and_takes_no_time(damage: bytes) -> None:
    begin = time.monotonic()
    good = unit(AT_1000 + b"\x03\x04\x01" + END)
    assert find_lines(DebugSections(good + damage), [0x1000]) == {0x1000: "part.c:5"}
    find_lines(DebugSections(damage * 100), [0x1000])
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("operation", [b"\x20", b"\x02\x01", b"\x0a", b"\0\x01\x01"])
def test_rows_without_end_come_to_an_end(operation: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a tenth of the steps that are allowed, which take a few seconds."""
    from portable_backend.auditing import lines

    monkeypatch.setattr(lines, "_MOST_STEPS", lines._MOST_STEPS // 10)
    begin = time.process_time()
    find_lines(DebugSections(unit(AT_1000 + operation * 30_000_000)), list(range(0x1000, 0x2000)))
    assert time.process_time() - begin < 10


def test_of_thousands_of_units_those_are_read_that_matter() -> None:
    """Their sequences may stand in any order, and several may start at one address: what was left out starts at 0."""
    starts = [0x1000 + 0x100 * (number * 7919 % 5000) for number in range(5000)]
    program = [b"\0\x09\x02" + struct.pack("<Q", start) + b"\x03\x04\x01" + END for start in starts]
    gone = unit(b"\0\x09\x02" + bytes(8) + b"\x03\x08\x01" + END)
    table = b"".join(unit(each) + gone for each in program)
    wanted = [0x1000, 0x1005, 0x1000 + 0x100 * 4321, 0x1000 + 0x100 * 4999 + 15]
    begin = time.process_time()
    assert find_lines(DebugSections(table), sorted(wanted)) == dict.fromkeys(wanted, "part.c:5")
    assert time.process_time() - begin < 5


def test_a_compressed_section_that_inflates_without_end_is_passed_over() -> None:
    from portable_backend.auditing.image import Image

    bomb = zlib.compress(bytes(200 << 20))
    header = struct.pack("<IIQQ", 1, 0, 200 << 20, 1)
    names = b"\0.debug_line\0"
    body = names + bytes(-len(names) % 8) + header + bomb
    table = 64 + len(body) + (-len(body) % 8)
    sections = [bytes(64)]
    sections.append(
        struct.pack("<IIQQQQIIQQ", 1, 1, 0x800, 0, 64 + len(names) + (-len(names) % 8), len(header + bomb), 0, 0, 1, 0)
    )
    sections.append(struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, 64, len(names), 0, 0, 1, 0))
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 56, 0, 64, 3, 2)
    image = head + body + bytes(table - 64 - len(body)) + b"".join(sections)
    file = Image(memoryview(image))
    assert [each.name for each in file.sections] == ["", ".debug_line", ""]
    assert file.content(".debug_line") == b""


# --- maps and crates ---------------------------------------------------------------------------------------------


def test_maps_of_both_linkers() -> None:
    gnu = """
LOAD /tmp/x.o
 .text          0x0000000000001139       0x5f build/ext.o
 .text.a_function_with_a_long_name
                0x0000000000001198       0x10 lib/libfoo.a(bar.o)
 .comment       0x0000000000000000       0x20 build/ext.o
OUTPUT(build/lib/ext.so elf64-x86-64)
"""
    made = parse_map(gnu.splitlines(keepends=True))
    assert made.output == "build/lib/ext.so"
    places = {0x1138: None, 0x1139: "ext.o", 0x1197: "ext.o", 0x1198: "libfoo.a(bar.o)", 0x11A8: None}
    assert {address: made.object_at(address) for address in places} == places
    lld = """
             VMA              LMA     Size Align Out     In      Symbol
            1139             1139       5f    16         build/ext.o:(.text)
            1198             1198       10    16         lib/libfoo.a(bar.o):(.text.x)
            1198             1198        0     1                 name
"""
    made = parse_map(lld.splitlines(keepends=True))
    assert {address: made.object_at(address) for address in places} == places
    assert parse_map(["nothing", "x" * 100_000, ""]).starts == ()


def lld() -> list[str]:
    """Flags that make the compiler link with lld: the system's, or the one that comes with Rust."""
    if shutil.which("ld.lld"):
        return ["-fuse-ld=lld"]
    if shutil.which("rustc"):
        asked = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True)
        for path in Path(asked.stdout.strip()).glob("lib/rustlib/*/bin/gcc-ld"):
            return ["-fuse-ld=lld", f"-B{path}"]
    if os.environ.get("CI"):
        pytest.fail("lld must be installed in CI")
    pytest.skip("lld is not installed, nor a Rust that brings it")


@pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="compiles for x86-64")
def test_a_map_that_lld_writes(tmp_path: Path) -> None:
    (tmp_path / "other.c").write_text("extern int getpid(void); int other(void) { return 5 * getpid(); }")
    subprocess.run(["cc", "-c", "-O1", "-fPIC", "other.c"], check=True, cwd=tmp_path)
    subprocess.run(["ar", "rcs", "libother.a", "other.o"], check=True, cwd=tmp_path)
    image = compiled(
        tmp_path, "-O1", *lld(), "-Wl,-Map=part.map", "-Wl,--whole-archive", "libother.a", "-Wl,--no-whole-archive"
    )
    made = parse_map((tmp_path / "part.map").read_text().splitlines())
    callers = {
        each.function: str(made.object_at(each.address)) for each in look(image, "GLIBC_2.2.5")["getpid"].callers
    }
    assert callers["other"] == "libother.a(other.o)"
    assert callers["inner"].endswith(".o")
    assert callers["inner"] == callers["tail"]


@pytest.mark.parametrize(
    ("function", "source", "crate"),
    [
        ("_ZN3std2io5stdio6_print17h0123456789abcdefE", None, "std"),
        ("_ZN55_$LT$std..path..Component$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE", None, "std"),
        ("_RNvCs1234_7mycrate3foo", None, "mycrate"),
        ("_RNvNtCs1234_3std2io5print", None, "std"),
        (None, "/home/x/.cargo/registry/src/index.crates.io-6f17d22bba15001f/ring-0.17.8/src/lib.rs:12", "ring 0.17.8"),
        (None, "/home/x/.cargo/git/checkouts/pyo3-0123456789abcdef/abc/src/lib.rs:1", "pyo3"),
        (None, "/rustc/0123456789abcdef/library/std/src/io/mod.rs:3", "std"),
        ("_ZN3foo3barEv", "src/foo.cpp:3", None),
        ("_RNvC99999999999999999999", None, None),
        ("_ZN99999999999999999999917h0123456789abcdefE", None, None),
        ("_R" + "C" * 100_000, None, None),
        ("main", None, None),
        (None, None, None),
    ],
)
def test_crates(function: Any, source: Any, crate: Any) -> None:
    assert find_crate(function, source) == crate
