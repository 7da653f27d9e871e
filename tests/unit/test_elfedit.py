"""The ELF editor, in both implementations: what it writes is read, checked, loaded and run by those who do so for real.

The attacks first: names that share their ends with others; strings, entries and headers that have no room; zeroed
memory behind the last segment; files without section headers; files that another tool stripped or edited between two
edits; edits that contradict each other; and every one of them twice, since twice must be once.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from elf_builder import BASE, Elf, Image, Need, Symbol, build

from portable_backend import elf, elfedit
from portable_backend.elf import ElfEdits
from portable_backend.errors import EditRefused, ElfError, RepairError

Edit = Callable[[bytes, ElfEdits], bytes]
LONG = "$ORIGIN/../" + "a/rather/long/way/to/the/libraries/" * 3
MOVED = ElfEdits(soname="libmoved-0123abcd.so.7", replace_needed=(("libdep.so.1", "libdep-0123abcd.so.1"),), rpath=LONG)
TRICKLE = tuple(f"libextra{number}.so.0" for number in range(12))


@pytest.fixture(params=["native", "python"])
def edit(request: pytest.FixtureRequest) -> Edit:
    """One implementation of the editor, which is asked twice: editing again must change nothing."""
    raw = request.getfixturevalue("native_edit") if request.param == "native" else elfedit.edit

    def checked(data: bytes, edits: ElfEdits) -> bytes:
        result = raw(data, *edits.encode())
        assert raw(result, *edits.encode()) == result
        assert elf.scan(result) == edits.foretell(elf.scan(data))
        return result  # type: ignore[no-any-return]

    return checked


@pytest.fixture
def native_edit(native_scan: object) -> Callable[..., bytes]:
    from portable_backend import _native

    return _native.edit


def find(program: str) -> str:
    """A program of the system; without it, the test is skipped, or fails in CI."""
    found = shutil.which(program)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {program}")
    return found


def run(*command: object, **environ: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C", **environ}
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def answer(path: Path, **environ: str) -> str:
    """What ``answer()`` of a shared object returns to a process of its own."""
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).answer())"
    return run(sys.executable, "-c", code, path, **environ)


def complaints(path: Path) -> set[str]:
    """What two independent readers find wrong with a file, without the numbers in it, which may change."""
    lint = subprocess.run([find("eu-elflint"), "--gnu-ld", str(path)], capture_output=True, text=True)
    read = subprocess.run([find("readelf"), "-dlSVW", str(path)], capture_output=True, text=True)
    assert read.returncode == 0
    text = (lint.stdout + lint.stderr).replace("No errors\n", "") + read.stderr.replace(str(path), "")
    return set(re.sub(r"\d+", "#", text).splitlines())


DEP = "int one(void) { return 41; }"
DEP_MAP = "DEP_1 { global: one; local: *; };"
LIB = """
extern int one(void);
char zeroed[ZEROED];
__thread int own = 1;
int counter = 7;
int *where = &counter;
static void set(void) __attribute__((constructor));
static void set(void) { zeroed[sizeof zeroed - 1] = 1; }
int answer(void) { return one() + zeroed[sizeof zeroed - 1] + own - 1 + *where - counter; }
"""
MAIN = """
#include <stdio.h>
extern int one(void);
static char zeroed[ZEROED];
int main(int argc, char **argv)
{ zeroed[sizeof zeroed - argc] = 1; printf("%d\\n", one() + zeroed[sizeof zeroed - 1]); }
"""


class Workshop:
    """A directory with a library of a versioned symbol, and what is linked with it."""

    def __init__(self, root: Path, compiler: str = "cc") -> None:
        self.root = root
        self.compiler = find(compiler)
        for name, content in (("dep.c", DEP), ("dep.map", DEP_MAP), ("lib.c", LIB), ("main.c", MAIN)):
            (root / name).write_text(content)
        self.dep = self.link("libdep.so.1", "dep.c", "-shared", f"-Wl,--version-script={root / 'dep.map'}")
        (root / "libdep.so").symlink_to("libdep.so.1")

    def link(self, output: str, source: str, *options: str, zeroed: int = 64) -> Path:
        path = self.root / output
        soname = [f"-Wl,-soname,{output}"] if "-shared" in options else []
        command = [self.compiler, "-g", "-O1", "-fPIC", f"-DZEROED={zeroed}", *soname, "-o", path, self.root / source]
        run(*command, *options, *(["-L", self.root, "-ldep"] if source != "dep.c" else []))
        return path

    def library(self, *options: str, zeroed: int = 64) -> Path:
        return self.link("libown.so.3", "lib.c", "-shared", *options, zeroed=zeroed)

    def repair(self, edit: Edit, path: Path, edits: ElfEdits = MOVED) -> Path:
        """Edit a file as a repair would, and put the library that it then needs where its RPATH leads."""
        dep = ElfEdits(soname="libdep-0123abcd.so.1")
        home = path.parent / "repaired" / "here"
        libs = Path(os.path.normpath(str(home / LONG.replace("$ORIGIN/", ""))))
        for directory in (home, libs):
            directory.mkdir(parents=True, exist_ok=True)
        (libs / "libdep-0123abcd.so.1").write_bytes(edit(self.dep.read_bytes(), dep))
        result = home / path.name
        result.write_bytes(edit(path.read_bytes(), edits))
        result.chmod(0o755)
        return result


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


# Real files, loaded for real.

KINDS = {
    "default": (),
    "one segment for code and data": ("-Wl,-z,noseparate-code",),
    "no notes in front": ("-Wl,--build-id=none", "-Wl,-z,nognustack"),
    "old hash table": ("-Wl,--hash-style=sysv",),
    "both hash tables": ("-Wl,--hash-style=both",),
    "no spare entries": ("-Wl,-z,dynamic-undefined-weak", "-Wl,--spare-dynamic-tags=0"),
    "bound at once": ("-Wl,-z,now", "-Wl,-z,relro"),
    "small pages": ("-Wl,-z,max-page-size=4096",),
    "large pages": ("-Wl,-z,max-page-size=2097152",),
    "executable stack": ("-Wl,-z,execstack",),
    "a runpath to be replaced": ("-Wl,--enable-new-dtags", "-Wl,-rpath,/somewhere"),
    "stripped": ("-s",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_object_loads_after_edits(edit: Edit, workshop: Workshop, kind: str) -> None:
    try:
        path = workshop.library(*KINDS[kind])
    except AssertionError as error:  # a linker that does not know the option
        pytest.skip(str(error)[-200:])
    before = complaints(path)
    result = workshop.repair(edit, path)
    assert answer(result) == "42\n"
    assert complaints(result) <= before


@pytest.mark.parametrize("zeroed", [1, 4096, 70_000, 300_000_000])
def test_zeroed_memory_stays_zeroed_and_costs_nothing(edit: Edit, workshop: Workshop, zeroed: int) -> None:
    path = workshop.library(zeroed=zeroed)
    result = workshop.repair(edit, path)
    assert answer(result) == "42\n"
    assert result.stat().st_size < path.stat().st_size + 4096


def test_symbol_versions_stay_bound_to_the_renamed_library(edit: Edit, workshop: Workshop) -> None:
    result = workshop.repair(edit, workshop.library())
    trace = answer(result, LD_DEBUG="versions")
    line = next(line for line in trace.splitlines() if "`DEP_1'" in line)
    assert "libdep-0123abcd.so.1" in line
    assert line.endswith(f"required by file {result} [0]")


@pytest.mark.parametrize("more", [(), ("-no-pie",), ("-Wl,-z,noseparate-code",), ("-Wl,--spare-dynamic-tags=0",)])
@pytest.mark.parametrize("zeroed", [64, 9_000_000])
def test_an_executable_runs_after_edits(edit: Edit, workshop: Workshop, more: tuple[str, ...], zeroed: int) -> None:
    path = workshop.link("main", "main.c", *more, zeroed=zeroed)
    before = complaints(path)
    result = workshop.repair(edit, path, MOVED._replace(soname=None))
    assert run(result) == "42\n"
    assert complaints(result) <= before


def test_an_executable_tells_its_program_headers(edit: Edit, workshop: Workshop) -> None:
    """The kernel tells a program where its headers are; the loader computes everything from that."""
    result = workshop.repair(edit, workshop.link("main", "main.c"), MOVED._replace(soname=None))
    assert "PHDR" in run(find("readelf"), "-lW", result)
    told = run(result, LD_SHOW_AUXV="1")
    assert int(told.split("AT_PHDR:")[1].split()[0], 16) % 4096 == 64


@pytest.mark.parametrize("kind", ["default", "no spare entries", "old hash table"])
@pytest.mark.parametrize("edits", [MOVED, MOVED._replace(add_needed=TRICKLE)], ids=["strings", "entries"])
def test_strip_accepts_the_result(edit: Edit, workshop: Workshop, kind: str, edits: ElfEdits) -> None:
    result = workshop.repair(edit, workshop.library(*KINDS[kind]), edits)
    for name in edits.add_needed:
        shutil.copy(workshop.dep, Path(os.path.normpath(str(result.parent / LONG.replace("$ORIGIN/", "")))) / name)
    run(find("strip"), "--strip-unneeded", result)
    assert answer(result) == "42\n"
    again = MOVED._replace(soname="libnamed-once-more.so.7", add_needed=edits.add_needed)
    size = result.stat().st_size
    result.write_bytes(edit(result.read_bytes(), again))
    assert answer(result) == "42\n"
    assert result.stat().st_size - size <= 64


def test_entries_that_find_no_room_take_the_dynamic_segment_along(edit: Edit, workshop: Workshop) -> None:
    path = workshop.library()
    edits = ElfEdits(add_needed=TRICKLE)
    for name in TRICKLE:
        shutil.copy(workshop.dep, workshop.root / name)
    before = complaints(path)
    path.write_bytes(edit(path.read_bytes(), edits))
    assert complaints(path) <= before
    assert answer(path, LD_LIBRARY_PATH=str(workshop.root)) == "42\n"


def test_further_edits_stack_no_segments(edit: Edit, workshop: Workshop) -> None:
    data = workshop.library().read_bytes()
    once = edit(data, MOVED)
    headers = struct.unpack_from("<H", once, 56)
    for number in range(20):
        once = edit(once, MOVED._replace(soname=f"libmoved-again-{number:04}.so.7"))
    assert struct.unpack_from("<H", once, 56) == headers
    assert len(once) < len(edit(data, MOVED)) + 20 * 64


def test_a_file_edited_by_patchelf_is_edited_again(edit: Edit, workshop: Workshop) -> None:
    path = workshop.library()
    run(find("patchelf"), "--set-soname", "libbefore-with-a-long-name.so", "--force-rpath", "--set-rpath", LONG, path)
    result = workshop.repair(edit, path)
    assert answer(result) == "42\n"
    assert complaints(result) <= complaints(path)


def test_patchelf_edits_the_result(edit: Edit, workshop: Workshop) -> None:
    result = workshop.repair(edit, workshop.library())
    run(find("patchelf"), "--set-soname", "libafter-with-another-long-name.so.1.2.3", result)
    assert elf.scan(result.read_bytes()).soname == "libafter-with-another-long-name.so.1.2.3"
    assert answer(result) == "42\n"


def test_an_executable_stack_is_cleared(edit: Edit, workshop: Workshop) -> None:
    path = workshop.library("-Wl,-z,execstack")
    assert elf.scan(path.read_bytes()).executable_stack
    result = edit(path.read_bytes(), ElfEdits(clear_execstack=True))
    assert not elf.scan(result).executable_stack
    assert len(result) == path.stat().st_size


def test_a_stack_header_is_added_where_there_is_none(edit: Edit, workshop: Workshop) -> None:
    data = bytearray(workshop.library().read_bytes())
    table, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    places = [table + 56 * number for number in range(count)]
    stack = next(place for place in places if struct.unpack_from("<I", data, place)[0] == 0x6474E551)
    data[stack : places[-1] + 56] = data[stack + 56 : places[-1] + 56] + bytes(56)
    data[56:58] = struct.pack("<H", count - 1)
    assert elf.scan(data).executable_stack
    workshop.root.joinpath("libbare.so").write_bytes(edit(bytes(data), ElfEdits(clear_execstack=True)))
    assert answer(workshop.root / "libbare.so", LD_LIBRARY_PATH=str(workshop.root)) == "42\n"
    data[56:58] = struct.pack("<H", count)  # now the last header is empty, and taken
    assert len(edit(bytes(data), ElfEdits(clear_execstack=True))) == len(data)


def test_a_shared_object_without_section_headers_loads_after_edits(edit: Edit, workshop: Workshop) -> None:
    path = workshop.library()
    data = bytearray(path.read_bytes())
    data[40:48], data[60:64] = bytes(8), bytes(4)
    path.write_bytes(data)
    assert answer(workshop.repair(edit, path)) == "42\n"


@pytest.mark.parametrize("zeroed", [64, 90_000, 90_000_000])
def test_an_executable_without_section_headers(edit: Edit, workshop: Workshop, zeroed: int) -> None:
    """Its program headers must stay where they are, and nothing says what is behind them: so zeros go into the file."""
    path = workshop.link("main", "main.c", zeroed=zeroed)
    data = bytearray(path.read_bytes())
    data[40:48], data[60:64] = bytes(8), bytes(4)
    path.write_bytes(data)
    if zeroed > 2**20:
        with pytest.raises(EditRefused, match="no room for another program header"):
            workshop.repair(edit, path, MOVED._replace(soname=None))
    else:
        assert run(workshop.repair(edit, path, MOVED._replace(soname=None))) == "42\n"


def test_what_cannot_move_from_behind_the_program_headers_stays(edit: Edit, workshop: Workshop) -> None:
    """As where a linker puts code in front of everything else."""
    path = workshop.library(zeroed=5000)
    data = bytearray(path.read_bytes())
    table, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    for place in range(table, table + 56 * count, 56):
        if struct.unpack_from("<I", data, place)[0] in (4, 0x6474E553):
            struct.pack_into("<I", data, place, 0x6FFFFF00)  # unknown to everybody
    table, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    for place in range(table, table + 64 * count, 64):
        if struct.unpack_from("<I", data, place + 4)[0] == 7:
            struct.pack_into("<I", data, place + 4, 1)
    path.write_bytes(data)
    result = workshop.repair(edit, path)
    assert answer(result) == "42\n"
    assert result.stat().st_size > len(data) + 5000
    run(find("strip"), "--strip-unneeded", result)
    assert answer(result) == "42\n"


def test_musl_loads_the_result(edit: Edit, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, "musl-gcc")
    library = workshop.repair(edit, workshop.library())
    program = workshop.link("main", "main.c", "-Wl,--no-as-needed", str(library), "-Wl,--allow-shlib-undefined")
    result = workshop.repair(edit, program, MOVED._replace(soname=None))
    libs = Path(os.path.normpath(str(result.parent / LONG.replace("$ORIGIN/", ""))))
    shutil.copy(library, libs / "libmoved-0123abcd.so.7")
    assert run(result) == "42\n"
    assert "libdep-0123abcd.so.1" in run("/lib/ld-musl-x86_64.so.1", "--list", library)


# Other architectures, both classes, both byte orders.

TARGETS = {
    "x86_64-linux-gnu": 62,
    "x86-linux-gnu": 3,
    "aarch64-linux-gnu": 183,
    "arm-linux-gnueabihf": 40,
    "powerpc64le-linux-gnu": 21,
    "powerpc64-linux-musl": 21,
    "s390x-linux-gnu": 22,
    "riscv64-linux-gnu": 243,
    "loongarch64-linux-gnu": 258,
    "mips-linux-gnueabihf": 8,
    "mips64-linux-gnuabi64": 8,
    "x86_64-linux-musl": 62,
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    if importlib.util.find_spec("ziglang") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs ziglang")
    root = tmp_path_factory.mktemp("foreign")
    code = "extern int one(void); int counter; static int zeroed[99]; int answer(int n) { return one() + zeroed[n]++; }"
    (root / "lib.c").write_text(code)
    (root / "dep.c").write_text("int one(void) { return 1; }")

    def make(target: str) -> Path:
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-shared", "-fPIC", "-O1", "-nostdlib", "-g"]
        path = root / f"{target}.so"
        if not path.exists():
            dep = root / f"libdep-{target}.so"
            environ = {"ZIG_GLOBAL_CACHE_DIR": str(root / "zig"), "ZIG_LOCAL_CACHE_DIR": str(root / "zig")}
            run(*zig, root / "dep.c", "-Wl,-soname,libdep.so.1", "-o", dep, **environ)
            run(*zig, root / "lib.c", dep, "-Wl,-soname,libown.so", "-o", path, **environ)
        return path

    return make


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("edits", [MOVED, MOVED._replace(add_needed=TRICKLE, strip=True)], ids=["strings", "all"])
def test_files_of_other_architectures(
    edit: Edit, foreign: Callable[[str], Path], tmp_path: Path, target: str, edits: ElfEdits
) -> None:
    path = foreign(target)
    data = path.read_bytes()
    assert elf.scan(data).machine == TARGETS[target]
    result = tmp_path / "result.so"
    result.write_bytes(edit(data, edits))
    assert elf.scan(result.read_bytes()).needed[0] == "libdep-0123abcd.so.1"
    assert complaints(result) <= complaints(path)
    assert "libdep-0123abcd.so.1" in run(find("readelf"), "-dW", result)


# In place, where there is room.


@pytest.fixture(params=[(32, "<"), (32, ">"), (64, "<"), (64, ">")], ids=["32le", "32be", "64le", "64be"])
def make(request: pytest.FixtureRequest) -> Callable[..., Image]:
    bits, order = request.param
    return lambda **fields: build(Elf(**{"bits": bits, "order": order, **fields}))


NAMES = {"needed": ("libz.so.1", "libc.so.6"), "soname": "libown.so.1", "sysv_hash": True}


def test_a_shorter_path_takes_the_place_of_the_old_one(edit: Edit, make: Callable[..., Image]) -> None:
    image = make(runpath="/some/where/else", **NAMES)
    result = edit(image.bytes, ElfEdits(rpath="$ORIGIN"))
    assert len(result) == len(image.bytes)
    assert b"/where/else" not in result


def test_a_name_that_is_there_is_referred_to(edit: Edit, make: Callable[..., Image]) -> None:
    image = make(rpath="/x", **NAMES)
    result = edit(image.bytes, ElfEdits(soname="so.6", rpath="libown.so.1"))
    changed = [at for at, (old, new) in enumerate(zip(image.bytes, result)) if old != new]
    assert len(result) == len(image.bytes)
    assert all(image.at["dynamic"] <= at for at in changed)


@pytest.mark.parametrize("symbol", ["/some/where/else", "else", "e", "shared/some/where/else"])
def test_a_name_whose_bytes_are_in_use_is_not_overwritten(edit: Edit, make: Callable[..., Image], symbol: str) -> None:
    """A linker lets one name be the end of another; the builder does not, so it is done by hand."""
    image = make(rpath="shared/some/where/else", symbols=(Symbol("other"),), **NAMES)
    data = bytearray(image.bytes)
    name = data.index(b"shared/some/where/else") + len("shared/some/where/else") - len(symbol) - image.at["strings"]
    size = 24 if image.elf.bits == 64 else 16
    struct.pack_into(image.elf.order + "I", data, image.at["symbols"] + size, name)
    result = edit(bytes(data), ElfEdits(rpath="$ORIGIN"))
    assert elf.scan(result).imports[0].name == symbol
    assert len(result) > len(data)


def test_removed_entries_leave_no_gap(edit: Edit, make: Callable[..., Image]) -> None:
    image = make(rpath="/x", runpath="/y", **NAMES)
    result = edit(image.bytes, ElfEdits(rpath="", remove_needed=("libz.so.1",)))
    assert len(result) == len(image.bytes)
    assert elf.scan(result).needed == ("libc.so.6",)


def test_a_value_relative_to_its_entry_follows_it(edit: Edit, make: Callable[..., Image]) -> None:
    image = make(machine=8, rpath="/x", extra=((0x70000011, 1), (0x70000035, 0x1000)), **NAMES)
    code, size = image.elf.order + ("QQ" if image.elf.bits == 64 else "II"), image.elf.bits // 4

    def target(data: bytes) -> int:
        at = next(
            at
            for at in range(image.at["dynamic"], len(data), size)
            if struct.unpack_from(code, data, at)[0] == 0x70000035
        )
        return int(at + struct.unpack_from(code, data, at)[1])

    assert target(edit(image.bytes, ElfEdits(rpath=""))) == target(image.bytes)


def test_sections_behind_the_segment_move_on(edit: Edit, make: Callable[..., Image]) -> None:
    image = make(**NAMES)
    code, at = (image.elf.order + "Q", 40) if image.elf.bits == 64 else (image.elf.order + "I", 32)
    result = edit(image.bytes, ElfEdits(soname="libown-with-a-longer-name.so.1"))
    before, after = struct.unpack_from(code, image.bytes, at)[0], struct.unpack_from(code, result, at)[0]
    assert after > before
    assert (after - before) % 64 == 0


# Stripping.


def test_stripping_touches_nothing_that_is_loaded(edit: Edit, workshop: Workshop) -> None:
    path = workshop.library()
    data = path.read_bytes()
    result = edit(data, ElfEdits(strip=True))
    stripped = workshop.root / "libstripped.so"
    stripped.write_bytes(result)
    run(find("strip"), "--strip-unneeded", "-o", workshop.root / "libpeer.so", path)
    assert sections(stripped) == sections(workshop.root / "libpeer.so")
    assert len(result) <= (workshop.root / "libpeer.so").stat().st_size + 256
    last = max(load[0] + load[1] for load in loads(data))
    assert loads(data) == loads(result)
    assert result[64:last] == data[64:last]
    assert complaints(stripped) <= complaints(path)
    assert answer(stripped, LD_LIBRARY_PATH=str(workshop.root)) == "42\n"


def test_stripping_after_an_edit_and_with_one(edit: Edit, workshop: Workshop) -> None:
    result = workshop.repair(edit, workshop.library())
    result.write_bytes(edit(result.read_bytes(), ElfEdits(strip=True)))
    assert answer(result) == "42\n"
    assert not {".symtab", ".debug_info"} & sections(result)
    both = workshop.repair(edit, workshop.library(), MOVED._replace(strip=True))
    assert answer(both) == "42\n"
    assert not {".symtab", ".debug_info"} & sections(both)


def sections(path: Path) -> set[str]:
    lines = run(find("readelf"), "-SW", path).splitlines()
    return {line.split("]")[1].split()[0] for line in lines if line.strip().startswith("[") and "NULL" not in line} - {
        "Name"
    }


def loads(data: bytes) -> list[tuple[int, int]]:
    table, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    rows = [struct.unpack_from("<IIQQQQQQ", data, table + 56 * number) for number in range(count)]
    return [(row[2], row[5]) for row in rows if row[0] == 1]


def test_section_headers_that_are_cut_off_are_forgotten(edit: Edit, workshop: Workshop) -> None:
    """They would end in what is put behind them, and be read as headers again."""
    path = workshop.library()
    whole = path.read_bytes()
    for broken in (whole[:-8], whole[:46] + b"\xff\xff" + whole[48:]):
        path.write_bytes(broken)
        result = workshop.repair(edit, path, MOVED._replace(strip=True))
        assert answer(result) == "42\n"
        assert "There are no sections" in run(find("readelf"), "-SW", result)


def test_section_headers_that_overlap_with_a_section_are_rewritten_in_place(edit: Edit, workshop: Workshop) -> None:
    path = workshop.library()
    data = bytearray(path.read_bytes())
    (table,) = struct.unpack_from("<Q", data, 40)
    struct.pack_into("<Q", data, table + 3 * 64 + 24, table + 56)  # a loaded section claims to be there
    result = edit(bytes(data), ElfEdits(strip=True))
    assert len(result) == len(data)
    assert struct.unpack_from("<H", result, 60)[0] < struct.unpack_from("<H", data, 60)[0]


# What is refused.

CONTRADICTIONS = {
    "renamed twice": ElfEdits(replace_needed=(("a", "b"), ("a", "c"))),
    "a chain": ElfEdits(replace_needed=(("a", "b"), ("b", "c"))),
    "a swap": ElfEdits(replace_needed=(("a", "b"), ("b", "a"))),
    "renamed and removed": ElfEdits(replace_needed=(("a", "b"),), remove_needed=("a",)),
    "renamed to what is removed": ElfEdits(replace_needed=(("a", "b"),), remove_needed=("b",)),
    "added and removed": ElfEdits(add_needed=("a",), remove_needed=("a",)),
    "added and renamed": ElfEdits(add_needed=("a",), replace_needed=(("a", "b"),)),
    "two paths": ElfEdits(rpath="/a", runpath="/b"),
    "no soname": ElfEdits(soname=""),
    "no needed name": ElfEdits(replace_needed=(("a", ""),)),
    "no added name": ElfEdits(add_needed=("",)),
    "an end inside": ElfEdits(soname="a\0b"),
    "no text": ElfEdits(rpath="\ud800"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(EditRefused):
        elf.edit(b"not an ELF file", CONTRADICTIONS[name])


def test_no_edits_read_nothing() -> None:
    assert elf.edit(b"not an ELF file", ElfEdits()) == b"not an ELF file"


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_edits_that_change_nothing(make: Callable[..., Image], edit: Edit, wrap: Callable[[bytes], bytes]) -> None:
    image = make(rpath="/x", **NAMES)
    same = ElfEdits(soname="libown.so.1", rpath="/x", remove_needed=("libother.so",), clear_execstack=True, strip=True)
    assert edit(wrap(image.bytes), same) == image.bytes
    assert elf.edit(wrap(image.bytes), same) == image.bytes


def test_a_malformed_file_is_as_malformed_as_the_scanner_says(make: Callable[..., Image], edit: Edit) -> None:
    broken = make(**NAMES).poke_tag(5, 0x7FFFFFF0)
    with pytest.raises(ElfError) as scanned:
        elf.scan(broken)
    with pytest.raises(ElfError) as edited:
        edit(broken, ElfEdits(rpath="/x"))
    assert (edited.value.offset, edited.value.what) == (scanned.value.offset, scanned.value.what)


@pytest.mark.parametrize(
    ("fields", "edits", "reason"),
    [
        ({"dynamic": False}, ElfEdits(rpath="/x"), "no dynamic segment"),
        ({"type": 1}, ElfEdits(rpath="/x"), "neither an executable nor a shared object"),
        (
            {"needed": ("a",), "needs": (Need("a", (("A_1", 2),)),)},
            ElfEdits(remove_needed=("a",)),
            "symbol versions of a library",
        ),
    ],
)
def test_what_cannot_be_edited(
    make: Callable[..., Image], edit: Edit, fields: dict[str, object], edits: ElfEdits, reason: str
) -> None:
    with pytest.raises(EditRefused, match=reason):
        edit(make(**fields).bytes, edits)


def test_a_segment_that_is_larger_in_the_file_is_refused(make: Callable[..., Image], edit: Edit) -> None:
    image = make(**NAMES)
    memsz = image.at["segment 0x1"] + (40 if image.elf.bits == 64 else 20)
    with pytest.raises(EditRefused, match="larger in the file than in memory"):
        edit(image.poke_address(memsz, 0), ElfEdits(soname="libown-with-a-longer-name.so.1"))


def test_structures_that_overlap_are_refused(make: Callable[..., Image], edit: Edit) -> None:
    image = make(**NAMES)
    overlapping = image.poke_tag(5, BASE + image.at["dynamic"])
    with pytest.raises((EditRefused, ElfError)):
        edit(overlapping, ElfEdits(rpath="/x"))


@pytest.mark.parametrize("memsz", [0, 1])
def test_a_segment_with_more_in_the_file_than_in_memory_is_refused(
    make: Callable[..., Image], edit: Edit, memsz: int
) -> None:
    """Whether its addresses are taken is answered in two ways; a new segment could be laid over them."""
    image = make(**NAMES)
    broken = image.poke_address(image.at["segment 0x1"] + image.elf.bits // 8 * 5, memsz)
    with pytest.raises(EditRefused, match="larger in the file than in memory"):
        edit(broken, ElfEdits(rpath="/a/path/that/needs/a/new/place"))


def test_a_refusal_is_a_failed_repair_and_travels_between_processes() -> None:
    refusal = EditRefused("why")
    assert isinstance(refusal, RepairError)
    assert str(pickle.loads(pickle.dumps(refusal))) == str(refusal) == "the ELF file cannot be edited: why"


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("edits", [ElfEdits(soname="libother.so.1", rpath="/" + "x" * 300), ElfEdits()])
def test_patches_of_a_mapped_file_give_the_same_bytes(
    strip: bool, edits: ElfEdits, native_scan: object, tmp_path: Path
) -> None:
    from portable_backend._native import _scan

    data = Path(str(_scan.__file__)).read_bytes() + bytes(range(256)) * 8200  # which stripping drops
    (tmp_path / "file").write_bytes(data)
    wanted = edits._replace(strip=strip)
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for _ in range(3):  # pages that were let go are read again
            size, patches = elf.edit_mapped(mapped, file.fileno(), wanted)
            patched = bytearray(data[:size].ljust(size, b"?"))
            for offset, patch in patches:
                patched[offset : offset + len(patch)] = patch
            assert patched == elf.edit(data, wanted)
            ends = [offset + len(patch) for offset, patch in patches]
            assert all(end <= offset for end, (offset, _) in zip(ends, patches[1:]))
            if sys.platform == "linux" and not strip:
                assert sum(len(patch) for _, patch in patches) < len(data) - 10_240 if patches else not edits
        assert mapped[:] == data
    assert (tmp_path / "file").read_bytes() == data


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the result is whole")
def test_a_mapped_file_is_refused_as_another(native_scan: object, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x7fELF and no more")
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        with pytest.raises(ElfError, match="ELF"):
            elf.edit_mapped(mapped, file.fileno(), ElfEdits(soname="x"))
        with pytest.raises(EditRefused):
            elf.edit_mapped(mapped, file.fileno(), ElfEdits(soname=""))
