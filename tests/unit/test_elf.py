"""What the scanner says of small ELF files that are built field by field. Each test runs for both implementations."""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any

import pytest
from elf_builder import (
    AARCH64,
    BASE,
    HIDDEN,
    IFUNC,
    LOCAL,
    MIPS,
    PROTECTED,
    S390,
    UNIQUE,
    WEAK,
    Definition,
    Elf,
    Image,
    Need,
    Symbol,
    build,
    isa_note,
)

from portable_backend import elf, elfscan
from portable_backend.elf import ElfFacts
from portable_backend.errors import ElfError

Scan = Callable[[bytes], ElfFacts]

BASIC = {
    "needed": ("libfoo.so.1", "libc.so.6"),
    "soname": "libbar.so.2",
    "symbols": (
        Symbol("printf", version=2),
        Symbol("memcpy", version=3),
        Symbol("__gmon_start__", binding=WEAK, version=1),
        Symbol("foo", version=4),
        Symbol("bar", defined=True, version=6),
        Symbol("bar_old", defined=True, version=0x8005),
        Symbol("BAR_2", defined=True, version=1),
    ),
    "needs": (
        Need("libc.so.6", (("GLIBC_2.2.5", 2), ("GLIBC_2.14", 3))),
        Need("libfoo.so.1", (("FOO_1", 4),)),
    ),
    "definitions": (
        Definition("libbar.so.2", 1, flags=1),
        Definition("BAR_1", 5),
        Definition("BAR_2", 6, parents=("BAR_1",)),
    ),
    "sysv_hash": True,
    "gnu_hash": True,
}
BASIC_IMPORTS = (
    ("printf", "GLIBC_2.2.5", "libc.so.6", False),
    ("memcpy", "GLIBC_2.14", "libc.so.6", False),
    ("__gmon_start__", None, None, True),
    ("foo", "FOO_1", "libfoo.so.1", False),
)
BASIC_EXPORTS = (("bar", "BAR_2", True), ("bar_old", "BAR_1", False), ("BAR_2", None, True))


@pytest.fixture(params=[(32, "<"), (32, ">"), (64, "<"), (64, ">")], ids=["32le", "32be", "64le", "64be"])
def make(request: pytest.FixtureRequest) -> Callable[..., Image]:
    """Build an ELF file of one class and byte order from the fields of :class:`Elf`."""
    bits, order = request.param
    return lambda **fields: build(Elf(**{"bits": bits, "order": order, **fields}))


@pytest.fixture
def basic(make: Callable[..., Image]) -> Image:
    """A shared object with a bit of everything."""
    return make(**BASIC)


def fault(scan: Scan, data: bytes) -> tuple[int, str]:
    """Where and what the scanner complains about."""
    with pytest.raises(ElfError) as caught:
        scan(data)
    return caught.value.offset, caught.value.what


# What a good file says.


def test_identity(scan: Scan, basic: Image) -> None:
    facts = scan(basic.bytes)
    assert (facts.bits, facts.little) == (basic.elf.bits, basic.elf.order == "<")
    assert (facts.machine, facts.type, facts.flags, facts.dynamic) == (62, 3, 0, True)


def test_flags_and_machine(scan: Scan, make: Callable[..., Image]) -> None:
    facts = scan(make(machine=40, flags=0x05000400).bytes)
    assert (facts.machine, facts.flags) == (40, 0x05000400)


def test_names_of_libraries(scan: Scan, make: Callable[..., Image]) -> None:
    facts = scan(make(needed=("b.so", "a.so", "b.so"), soname="me.so", rpath="/x:$ORIGIN", runpath="$ORIGIN/y").bytes)
    assert facts.needed == ("b.so", "a.so", "b.so")
    assert (facts.soname, facts.rpath, facts.runpath) == ("me.so", "/x:$ORIGIN", "$ORIGIN/y")


def test_absent_names_are_none(scan: Scan, make: Callable[..., Image]) -> None:
    facts = scan(make().bytes)
    assert (facts.needed, facts.soname, facts.rpath, facts.runpath, facts.interpreter) == ((), None, None, None, None)


def test_an_empty_rpath_is_not_an_absent_one(scan: Scan, make: Callable[..., Image]) -> None:
    assert scan(make(rpath="").bytes).rpath == ""


def test_interpreter(scan: Scan, make: Callable[..., Image]) -> None:
    assert scan(make(interpreter="/lib64/ld-linux-x86-64.so.2").bytes).interpreter == "/lib64/ld-linux-x86-64.so.2"


def test_versions(scan: Scan, basic: Image) -> None:
    facts = scan(basic.bytes)
    assert facts.version_needs == (
        ("libc.so.6", ("GLIBC_2.2.5", "GLIBC_2.14")),
        ("libfoo.so.1", ("FOO_1",)),
    )
    assert facts.version_definitions == ("BAR_1", "BAR_2")


def test_imports_and_exports(scan: Scan, basic: Image) -> None:
    facts = scan(basic.bytes)
    assert facts.imports == BASIC_IMPORTS
    assert facts.exports == BASIC_EXPORTS


def test_version_needed_by_no_symbol_is_reported(scan: Scan, make: Callable[..., Image]) -> None:
    facts = scan(make(needs=(Need("libc.so.6", (("GLIBC_ABI_DT_RELR", 2),)),)).bytes)
    assert facts.version_needs == (("libc.so.6", ("GLIBC_ABI_DT_RELR",)),)


def test_what_is_not_visible_is_no_export(scan: Scan, make: Callable[..., Image]) -> None:
    symbols = (
        Symbol("local", defined=True, binding=LOCAL),
        Symbol("hidden", defined=True, visibility=HIDDEN),
        Symbol("protected", defined=True, visibility=PROTECTED),
        Symbol("unique", defined=True, binding=UNIQUE),
        Symbol("weak", defined=True, binding=WEAK),
        Symbol("made_local", defined=True, version=0),
        Symbol("", defined=True),
    )
    definitions = (Definition("V1", 2),)
    facts = scan(make(symbols=symbols, gnu_hash=True, definitions=definitions).bytes)
    assert [symbol.name for symbol in facts.exports] == ["protected", "unique", "weak"]


def test_what_is_local_or_nameless_is_no_import(scan: Scan, make: Callable[..., Image]) -> None:
    symbols = (Symbol("section", binding=LOCAL), Symbol(""), Symbol("used"))
    assert scan(make(symbols=symbols, sysv_hash=True).bytes).imports == (("used", None, None, False),)


def test_copied_variable_is_an_export_with_the_needed_version(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(
        type=2,
        symbols=(Symbol("stdout", defined=True, version=2),),
        needs=(Need("libc.so.6", (("GLIBC_2.2.5", 2),)),),
        gnu_hash=True,
    )
    assert scan(image.bytes).exports == (("stdout", "GLIBC_2.2.5", True),)


def test_version_table_without_versions_means_nothing(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(
        symbols=(Symbol("used", version=7), Symbol("made", defined=True, version=0x8009)),
        needs=(Need("libc.so.6", (("GLIBC_2.2.5", 2),)),),
        gnu_hash=True,
    )
    facts = scan(image.poke_address(image.tags[0x6FFFFFFE], 0x6FFFFFFF))
    assert facts.imports == (("used", None, None, False),)
    assert facts.exports == (("made", None, True),)


def test_gap_in_version_indices_is_unversioned(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(symbols=(Symbol("used", version=3),), needs=(Need("libc.so.6", (("V", 4),)),), sysv_hash=True)
    assert scan(image.bytes).imports == (("used", None, None, False),)


def test_names_that_are_not_utf8_survive(scan: Scan, make: Callable[..., Image]) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    facts = scan(make(needed=(name,), symbols=(Symbol("größe"),), sysv_hash=True).bytes)
    assert facts.needed[0].encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert facts.imports[0].name == "größe"


# How many symbols: each source of the number alone.


@pytest.mark.parametrize("tables", [{"sysv_hash": True, "gnu_hash": False}, {"sysv_hash": False, "gnu_hash": True}])
def test_one_hash_table_and_no_sections(scan: Scan, make: Callable[..., Image], tables: dict[str, bool]) -> None:
    facts = scan(make(**{**BASIC, **tables, "sections": False}).bytes)
    assert (facts.imports, facts.exports) == (BASIC_IMPORTS, BASIC_EXPORTS)


def test_no_sections_changes_nothing(scan: Scan, make: Callable[..., Image], basic: Image) -> None:
    assert scan(make(**BASIC, sections=False).bytes) == scan(basic.bytes)


def test_wide_hash_table_of_s390x(scan: Scan, make: Callable[..., Image]) -> None:
    facts = scan(make(machine=S390, symbols=(Symbol("a"), Symbol("b")), sysv_hash=True, sections=False).bytes)
    assert [symbol.name for symbol in facts.imports] == ["a", "b"]


@pytest.mark.parametrize("gnu_hash", [False, True], ids=["no hash table", "empty GNU hash table"])
@pytest.mark.parametrize("table", ["relocations", "plt"])
@pytest.mark.parametrize("plt_kind", [7, 17])
def test_relocations_alone_tell_the_number(
    scan: Scan, make: Callable[..., Image], gnu_hash: bool, table: str, plt_kind: int
) -> None:
    fields: dict[str, Any] = {table: [(0, 8), (3, 6), (1, 6)], "plt_kind": plt_kind, "gnu_hash": gnu_hash}
    image = make(symbols=[Symbol(name) for name in "abc"], sections=False, **fields)
    assert [symbol.name for symbol in scan(image.bytes).imports] == ["a", "b", "c"]


def test_section_header_adds_symbols_that_nothing_refers_to(scan: Scan, make: Callable[..., Image]) -> None:
    facts = scan(make(symbols=[Symbol(name) for name in "abc"], gnu_hash=True).bytes)
    assert [symbol.name for symbol in facts.imports] == ["a", "b", "c"]


def test_impossible_section_header_is_ignored(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(symbols=[Symbol("a")], sysv_hash=True)
    size = image.at["sections"] + (64 + 32 if image.elf.bits == 64 else 40 + 20)
    assert len(scan(image.poke_address(size, 0xFFFFFFF0)).imports) == 1


def test_section_header_of_another_table_is_ignored(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(symbols=[Symbol("a"), Symbol("b")], relocations=[(1, 6)])
    address = image.at["sections"] + (64 + 16 if image.elf.bits == 64 else 40 + 12)
    assert len(scan(image.poke_address(address, BASE)).imports) == 1


def test_neither_hash_table_nor_relocation_nor_section(scan: Scan, make: Callable[..., Image]) -> None:
    facts = scan(make(needed=("libc.so.6",), symbols=[Symbol("a")], sections=False).bytes)
    assert (facts.needed, facts.imports) == (("libc.so.6",), ())


def test_number_of_symbols_on_mips(scan: Scan, make: Callable[..., Image]) -> None:
    # Its relocations are laid out differently: read as all others, this one names a symbol far outside.
    image = make(
        machine=MIPS,
        symbols=[Symbol("a"), Symbol("b")],
        relocations=[(0x800000, 3)],
        extra=[(0x70000011, 3)],
        sections=False,
    )
    assert [symbol.name for symbol in scan(image.bytes).imports] == ["a", "b"]


# Single flags.


@pytest.mark.parametrize(("stack", "executable"), [(6, False), (7, True), (None, True)])
@pytest.mark.parametrize("type_", [2, 3])
def test_executable_stack(scan: Scan, make: Callable[..., Image], stack: object, executable: bool, type_: int) -> None:
    assert scan(make(stack=stack, type=type_).bytes).executable_stack is executable


@pytest.mark.parametrize(("machine", "executable"), [(3, True), (22, True), (40, True), (183, False), (243, False)])
def test_a_stack_of_which_nothing_is_said(
    scan: Scan, make: Callable[..., Image], machine: int, executable: bool
) -> None:
    assert scan(make(stack=None, machine=machine).bytes).executable_stack is executable
    assert scan(make(stack=7, machine=machine).bytes).executable_stack is True


@pytest.mark.parametrize(("extra", "expected"), [([(22, 0)], True), ([(30, 4)], True), ([(30, 8)], False), ([], False)])
def test_text_relocations(scan: Scan, make: Callable[..., Image], extra: list[tuple[int, int]], expected: bool) -> None:
    assert scan(make(extra=extra).bytes).text_relocations is expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ([(36, BASE), (35, 8), (37, 8)], True),
        ([(0x6FFFE000, BASE), (0x6FFFE001, 8)], True),
        ([(36, BASE), (35, 0)], False),
        ([(36, BASE)], False),
        ([(36, BASE), (0x6FFFE001, 8)], False),
    ],
)
def test_relr(scan: Scan, make: Callable[..., Image], extra: list[tuple[int, int]], expected: bool) -> None:
    assert scan(make(extra=extra).bytes).relr is expected


def test_ifunc_by_symbol(scan: Scan, make: Callable[..., Image]) -> None:
    assert scan(make(symbols=[Symbol("f", defined=True, kind=IFUNC)], gnu_hash=True).bytes).ifunc
    assert not scan(make(symbols=[Symbol("f", kind=IFUNC)], sysv_hash=True).bytes).ifunc


@pytest.mark.parametrize(("machine", "kind"), [(62, 37), (3, 42), (40, 160), (22, 61), (243, 58), (258, 12), (20, 248)])
def test_ifunc_by_relocation(scan: Scan, make: Callable[..., Image], machine: int, kind: int) -> None:
    assert scan(make(machine=machine, plt=[(0, kind)]).bytes).ifunc
    assert scan(make(machine=machine, relocations=[(0, 1), (0, kind)]).bytes).ifunc
    assert not scan(make(machine=machine, relocations=[(0, kind - 1)], plt=[(0, 0)]).bytes).ifunc
    assert not scan(make(machine=2, relocations=[(0, kind)]).bytes).ifunc


@pytest.mark.parametrize(("machine", "kind"), [(AARCH64, 1032), (21, 248)])
def test_ifunc_by_relocation_of_64_bit_machines(scan: Scan, machine: int, kind: int) -> None:
    assert scan(build(Elf(machine=machine, relocations=[(0, kind)])).bytes).ifunc


@pytest.mark.parametrize("segment", [4, 0x6474E553], ids=["PT_NOTE", "PT_GNU_PROPERTY"])
@pytest.mark.parametrize("others", [False, True])
def test_isa_needed(scan: Scan, make: Callable[..., Image], segment: int, others: bool) -> None:
    template = make().elf
    note = isa_note(template, 0b111, others=others)
    assert scan(make(note=note, note_segment=segment).bytes).isa_needed == 0b111


def test_isa_note_behind_another_note(scan: Scan, make: Callable[..., Image]) -> None:
    template = make().elf
    build_id = struct.pack(template.order + "III", 4, 20, 3) + b"GNU\0" + bytes(20)
    build_id += bytes(-len(build_id) % (template.bits // 8))
    assert scan(make(note=build_id + isa_note(template, 2)).bytes).isa_needed == 2


def test_isa_note_matters_on_x86_only(scan: Scan, make: Callable[..., Image]) -> None:
    assert scan(make(machine=AARCH64, note=isa_note(make().elf, 7)).bytes).isa_needed == 0


@pytest.mark.parametrize("offset", [0, 4, 20], ids=["name size", "content size", "property size"])
def test_broken_note_says_nothing(scan: Scan, make: Callable[..., Image], offset: int) -> None:
    image = make(note=isa_note(make().elf, 7, others=False))
    assert scan(image.poke(image.at["note"] + offset, "I", 0xFFFFFFF0)).isa_needed == 0


# Files that are not for a loader.


@pytest.mark.parametrize("type_", [0, 1, 4, 0xFE00])
def test_object_files_and_core_dumps(scan: Scan, make: Callable[..., Image], type_: int) -> None:
    facts = scan(make(**{**BASIC, "type": type_, "interpreter": "/lib/ld.so", "stack": None}).bytes)
    assert (facts.type, facts.dynamic, facts.needed, facts.imports) == (type_, False, (), ())
    assert (facts.interpreter, facts.executable_stack) == (None, False)


def test_static_executable(scan: Scan, make: Callable[..., Image]) -> None:
    facts = scan(make(type=2, dynamic=False).bytes)
    assert facts[6:15] == (False, None, (), None, None, (), (), (), ())


def test_debugging_file_whose_segments_lost_their_content(scan: Scan, basic: Image) -> None:
    data = bytearray(basic.bytes)
    for name in ("segment 0x1", "segment 0x2"):
        at = basic.at[name] + (32 if basic.elf.bits == 64 else 16)
        data[at : at + basic.elf.bits // 8] = bytes(basic.elf.bits // 8)
    assert not scan(bytes(data)).dynamic


# What the loader shrugs off.


def test_last_entry_wins_and_entries_may_end_without_a_mark(scan: Scan, make: Callable[..., Image]) -> None:
    facts = scan(make(needed=("a.so",), soname="abc", extra=[(14, 2)], terminated=False).bytes)
    assert (facts.needed, facts.soname) == (("a.so",), ".so")


def test_size_of_the_dynamic_segment_hides_nothing(scan: Scan, basic: Image) -> None:
    size = basic.at["segment 0x2"] + (32 if basic.elf.bits == 64 else 16)
    assert scan(basic.poke_address(size, 1)) == scan(basic.bytes)


def test_file_offset_of_the_dynamic_segment_misleads_nobody(scan: Scan, basic: Image) -> None:
    offset = basic.at["segment 0x2"] + (8 if basic.elf.bits == 64 else 4)
    assert scan(basic.poke_address(offset, 0)) == scan(basic.bytes)


def test_counts_of_versions_are_not_believed(scan: Scan, basic: Image) -> None:
    for tag in (0x6FFFFFFF, 0x6FFFFFFD):
        assert scan(basic.poke_tag(tag, 0xFFFFFFFF)) == scan(basic.bytes)
        assert scan(basic.poke_tag(tag, 0)) == scan(basic.bytes)


@pytest.mark.parametrize("wrap", [bytearray, memoryview, lambda data: memoryview(bytearray(data))])
def test_any_buffer_will_do(scan: Scan, basic: Image, wrap: Callable[[bytes], bytes]) -> None:
    assert scan(wrap(basic.bytes)) == scan(basic.bytes)


def test_what_is_no_buffer_is_a_type_error(scan: Scan) -> None:
    for wrong in ("text", 3, None, [127, 69]):
        with pytest.raises(TypeError):
            scan(wrong)  # type: ignore[arg-type]


# What the loader refuses.


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", (0, "not an ELF file")),
        (b"\x7fEL", (0, "not an ELF file")),
        (b"MZ" + bytes(200), (0, "not an ELF file")),
        (b"\x7fELF", (0, "ELF header is cut off")),
        (b"\x7fELF\x00\x01\x01" + bytes(200), (4, "unknown ELF class")),
        (b"\x7fELF\x02\x03\x01" + bytes(200), (5, "unknown byte order")),
        (b"\x7fELF\x02\x01\x00" + bytes(200), (6, "unknown ELF version")),
        (b"\x7fELF\x02\x01\x01" + bytes(200), (20, "unknown ELF version")),
        (b"\x7fELF\x02\x01\x01" + bytes(56), (0, "ELF header is cut off")),
    ],
)
def test_header(scan: Scan, data: bytes, expected: tuple[int, str]) -> None:
    assert fault(scan, data) == expected


def test_program_headers(scan: Scan, basic: Image) -> None:
    wide = basic.elf.bits == 64
    size, start = (54, 32) if wide else (42, 28)
    assert fault(scan, basic.poke(size, "H", 8)) == (0, "program headers have the wrong size")
    outside = basic.poke_address(start, len(basic.data) - 8)
    assert fault(scan, outside) == (0, "program header table is outside of the file")
    outside = basic.poke_address(start, 2**basic.elf.bits - 8)
    assert fault(scan, outside) == (0, "program header table is outside of the file")


def test_segments_outside_of_the_file(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(interpreter="/lib/ld.so", note=isa_note(make().elf, 1))
    offset = 8 if image.elf.bits == 64 else 4
    for name, what in ((1, "load segment"), (3, "interpreter name"), (0x6474E553, "note segment")):
        at = image.at[f"segment {name:#x}"]
        for value in (len(image.data), 2**image.elf.bits - 1):
            assert fault(scan, image.poke_address(at + offset, value)) == (at, f"{what} is outside of the file")


def test_interpreter_without_end(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(interpreter="/lib/ld.so")
    data = image.poke(image.at["interpreter"] + len("/lib/ld.so"), "B", 0x21)
    assert fault(scan, data) == (image.at["segment 0x3"], "interpreter name has no end")


def test_dynamic_segment_outside_of_what_is_loaded(scan: Scan, basic: Image) -> None:
    at = basic.at["segment 0x2"]
    address = at + (16 if basic.elf.bits == 64 else 8)
    expected = (at, "dynamic segment is outside of the file")
    assert fault(scan, basic.poke_address(address, BASE - 1)) == expected
    assert fault(scan, basic.poke_address(address, BASE + len(basic.data))) == expected


@pytest.mark.parametrize(
    ("tag", "value", "what"),
    [
        (5, 0, "dynamic string table is outside of the file"),
        (1, 0xFFFFFFFF, "needed library name is outside of the dynamic string table"),
        (14, 0xFFFFFFFF, "soname is outside of the dynamic string table"),
        (6, 0, "dynamic symbol table is outside of the file"),
        (11, 8, "dynamic symbols have the wrong size"),
        (4, 0, "symbol hash table is outside of the file"),
        (0x6FFFFEF5, 0, "GNU hash table is outside of the file"),
        (0x6FFFFFF0, 0, "symbol version table is outside of the file"),
        (0x6FFFFFFE, 0, "version need is outside of the file"),
        (0x6FFFFFFC, 0, "version definition is outside of the file"),
        (7, 0, "relocation table is outside of the file"),
        (9, 5, "relocations have the wrong size"),
        (23, 0, "relocation table is outside of the file"),
        (20, 5, "relocations of the procedure linkage table are of no known kind"),
    ],
)
def test_dynamic_entries(scan: Scan, make: Callable[..., Image], tag: int, value: int, what: str) -> None:
    image = make(**BASIC, relocations=[(1, 6)], plt=[(2, 7)])
    assert fault(scan, image.poke_tag(tag, value)) == (image.tags[tag], what)


def test_size_of_the_string_table(scan: Scan, basic: Image) -> None:
    expected = basic.tags[5], "dynamic string table is outside of the file"
    assert fault(scan, basic.poke_tag(10, 0xFFFFFFFF)) == expected


@pytest.mark.parametrize(
    ("tag", "at_tag", "what"),
    [
        (10, 5, "dynamic string table has no size"),
        (20, 23, "relocations of the procedure linkage table are of no known kind"),
        (5, 1, "needed library name is outside of the dynamic string table"),
    ],
)
def test_missing_entries(scan: Scan, make: Callable[..., Image], tag: int, at_tag: int, what: str) -> None:
    image = make(needed=("libc.so.6",), symbols=[Symbol("a")], plt=[(1, 7)])
    data = image.poke_address(image.tags[tag], 0x12345)
    assert fault(scan, data) == (image.tags[at_tag], what)


def test_symbols_without_their_table(scan: Scan, basic: Image) -> None:
    data = basic.poke_address(basic.tags[6], 0x12345)
    assert fault(scan, data) == (basic.at["segment 0x2"], "dynamic symbol table is missing")


def test_absurd_number_of_symbols(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(symbols=[Symbol("a")], sysv_hash=True)
    data = image.poke(image.at["hash"] + 4, "I", 0xFFFFFFFF)
    assert fault(scan, data) == (image.tags[4], "symbol hash table is outside of the file")
    image = make(symbols=[Symbol("a")], gnu_hash=True)
    data = image.poke(image.at["gnu hash"] + 4, "I", 0xFFFFFFFF)
    assert fault(scan, data) == (image.tags[6], "dynamic symbol table is outside of the file")
    image = make(symbols=[Symbol("a")], relocations=[(0xFFFFFF, 1)])
    assert fault(scan, image.bytes) == (image.tags[6], "dynamic symbol table is outside of the file")


@pytest.mark.parametrize("offset", [0, 8], ids=["buckets", "filter"])
def test_absurd_gnu_hash_table(scan: Scan, basic: Image, offset: int) -> None:
    data = basic.poke(basic.at["gnu hash"] + offset, "I", 0xFFFFFFFF)
    assert fault(scan, data) == (basic.tags[0x6FFFFEF5], "GNU hash table is outside of the file")


def test_gnu_hash_chain(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(symbols=[Symbol("a", defined=True), Symbol("b", defined=True)], gnu_hash=True)
    bucket = image.at["gnu hash"] + 16 + image.elf.bits // 8
    expected = image.tags[0x6FFFFEF5]
    assert fault(scan, image.poke(bucket, "I", 0xFFFFFFF0)) == (expected, "GNU hash table has no end")
    data = image.poke(image.at["gnu hash"] + 4, "I", 2)
    assert fault(scan, data) == (expected, "GNU hash table refers to a symbol that it does not cover")


def test_symbol_names(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(symbols=[Symbol("first"), Symbol("second")], sysv_hash=True)
    at = image.at["symbols"] + 2 * (24 if image.elf.bits == 64 else 16)
    outside = image.poke(at, "I", image.size["strings"])
    assert fault(scan, outside) == (at, "name of a dynamic symbol is outside of the dynamic string table")
    endless = image.poke(image.at["strings"] + image.size["strings"] - 1, "B", 0x21)
    assert fault(scan, endless) == (at, "name of a dynamic symbol has no end in the dynamic string table")


def test_unknown_version_of_a_symbol(scan: Scan, basic: Image) -> None:
    data = basic.poke(basic.at["versions"] + 2, "H", 7)
    at = basic.at["symbols"] + (24 if basic.elf.bits == 64 else 16)
    assert fault(scan, data) == (at, "dynamic symbol has an unknown version")


# Chains of versions: libc.so.6 with two versions at 16 and 32, libfoo.so.1 at 48 with one version at 64.


@pytest.mark.parametrize(
    ("offset", "code", "value", "at", "what"),
    [
        (0, "H", 2, 0, "version need has an unknown format"),
        (4, "I", 0xFFFF, 0, "library name of a version need is outside of the dynamic string table"),
        (8, "I", 0, 0, "version needs overlap"),
        (12, "I", 8, 0, "version needs overlap"),
        (12, "I", 0xFFFFFFF0, 0, "version need is outside of the file"),
        (8, "I", 0xFFFFFFF0, 0, "needed version is outside of the file"),
        (16 + 8, "I", 0xFFFF, 16, "name of a needed version is outside of the dynamic string table"),
        (16 + 12, "I", 1, 16, "needed versions overlap"),
        (16 + 12, "I", 0xFFFFFFF0, 16, "needed version is outside of the file"),
    ],
)
def test_version_needs(scan: Scan, basic: Image, offset: int, code: str, value: int, at: int, what: str) -> None:
    start = basic.at["needs"]
    assert fault(scan, basic.poke(start + offset, code, value)) == (start + at, what)


def test_cyclic_version_needs(scan: Scan, basic: Image) -> None:
    # Steps are unsigned: the step back to the start is a very long step forward.
    start = basic.at["needs"]
    data = basic.poke(start + 48 + 12, "I", 2**32 - 48)
    assert fault(scan, data) == (start + 48, "version need is outside of the file")


def test_shared_versions(scan: Scan, make: Callable[..., Image]) -> None:
    # The first need's versions run on into those of the second.
    image = make(**BASIC)
    start = image.at["needs"]
    data = image.poke(start + 32 + 12, "I", 32)
    assert fault(scan, data) == (start + 48, "version needs overlap")


@pytest.mark.parametrize(
    ("offset", "code", "value", "what"),
    [
        (0, "H", 2, "version definition has an unknown format"),
        (12, "I", 0xFFFFFFF0, "name of a version definition is outside of the file"),
        (16, "I", 4, "version definitions overlap"),
        (16, "I", 0xFFFFFFF0, "version definition is outside of the file"),
        (20, "I", 0xFFFF, "name of a version definition is outside of the dynamic string table"),
    ],
)
def test_version_definitions(scan: Scan, basic: Image, offset: int, code: str, value: int, what: str) -> None:
    start = basic.at["definitions"]
    assert fault(scan, basic.poke(start + offset, code, value)) == (start, what)


def test_names_that_share_their_bytes_cannot_blow_up(scan: Scan) -> None:
    # 20000 needed libraries, each named by the same 100 kB: 2 GB of names out of half a megabyte.
    image = build(Elf(soname="x" * 100_000, extra=[(1, 1)] * 20_000))
    assert fault(scan, image.bytes)[1] == "structures refer to the same bytes too often"


def test_name_of_a_library_is_kept_once(scan: Scan, make: Callable[..., Image]) -> None:
    # Else 30000 versions of one library with a long name, half a megabyte, would become gigabytes.
    needs = (Need("l" * 1000, (("V1", 2), ("V2", 3))),)
    facts = scan(make(symbols=(Symbol("a", version=2), Symbol("b", version=3)), needs=needs, sysv_hash=True).bytes)
    assert facts.imports[0].library is facts.imports[1].library is facts.version_needs[0].library


def test_notes_that_share_their_bytes_cannot_blow_up(scan: Scan) -> None:
    image = build(Elf(dynamic=False, note=bytes(4_000_000)))
    segment = bytes(image.data[image.at["segment 0x6474e553"] :][:56])
    table = len(image.data)
    data = bytearray(image.poke(32, "Q", table))
    struct.pack_into("<H", data, 56, 1000)
    assert fault(scan, bytes(data) + segment * 1000)[1] == "structures refer to the same bytes too often"


# Both together.


def _outcome(scan: Callable[[bytes], object], data: bytes) -> object:
    try:
        return scan(data)
    except ElfError as error:
        return error.offset, error.what


def test_every_truncation_is_an_error(scan: Scan, make: Callable[..., Image]) -> None:
    image = make(**BASIC, interpreter="/lib/ld.so", sections=False)
    for size in range(len(image.data)):
        offset, what = fault(scan, image.bytes[:size])
        assert 0 <= offset <= size, what


def test_implementations_agree_on_every_truncation_and_changed_byte(
    native_scan: Callable[[bytes], object], make: Callable[..., Image]
) -> None:
    note = isa_note(make().elf, 3)
    image = make(**BASIC, interpreter="/lib/ld.so", note=note, relocations=[(1, 6)], plt=[(2, 7)])
    for size in range(len(image.data)):
        for value in (0, 1, 0x7F, 0xFF):
            data = bytearray(image.data)
            data[size] = value
            assert _outcome(native_scan, bytes(data)) == _outcome(elfscan.scan, bytes(data)), (size, value)
        assert _outcome(native_scan, image.bytes[:size]) == _outcome(elfscan.scan, image.bytes[:size]), size


def test_errors_survive_pickling(scan: Scan) -> None:
    with pytest.raises(ElfError) as caught:
        scan(b"\x7fELF")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.offset, again.what) == (caught.value.offset, caught.value.what)
    assert type(caught.value.offset) is int


def test_facts_are_named(basic: Image) -> None:
    facts = elf.scan(basic.bytes)
    assert facts.imports[1].version == "GLIBC_2.14"
    assert facts.exports[1].default is False
    assert facts.version_needs[1].library == "libfoo.so.1"
    assert elf.is_elf(basic.bytes[:4])
    assert not elf.is_elf(b"MZ")


@pytest.mark.parametrize("with_deflate", [True, False])
def test_names_that_are_many_are_folded(
    with_deflate: bool, native_scan: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than are kept as they are; whichever compressor folds them, they read as a tuple of all would."""
    if not with_deflate:
        monkeypatch.setitem(sys.modules, "deflate", None)
    names = [f"{number:05}" + "x" * 997 for number in range(4999)] + ["PyInit_last"]
    image = build(Elf(symbols=[Symbol("taken"), *(Symbol(name, defined=True) for name in names)]))
    facts, plain = elf.scan(image.bytes), elf.make_facts(elfscan.scan(image.bytes))
    exports = facts.exports
    assert isinstance(exports, elf.PackedSymbols)
    assert len(pickle.dumps(exports)) < 1 << 20, "they are not kept as they are"
    assert facts == plain
    assert list(exports) == list(plain.exports)
    assert len(exports) == 5000
    assert list(elf.names_of(exports)) == names
    assert list(elf.names_where(exports, lambda symbol: symbol.default)) == names
    assert elf.names_among(exports, {names[0], names[1048], names[4998], "x", "taken"}) == {
        names[0], names[1048], names[4998],
    }  # fmt: skip
    for _ in range(2):
        assert elf.has_name(exports, ("PyInit_",))
        assert elf.has_name(exports, (), (names[2000],))
        assert not elf.has_name(exports, ("yInit",), ("PyInit_", names[0][1:], names[0] + "x"))
    assert pickle.loads(pickle.dumps(exports)) == exports
    assert elf.scan(image.bytes) == facts
