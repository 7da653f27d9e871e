"""Both scanners against pyelftools, on the ELF files of this machine and on synthetic ones.

The oracle goes by the section headers where the scanners go by the dynamic segment, so that each way to the facts
checks the other. No difference is allowed.
"""

from __future__ import annotations

import glob
import io
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from elf_builder import Definition, Elf, Need, Symbol, build, isa_note

from portable_backend import elfscan
from portable_backend.elf import ElfFacts, make_facts

pytest.importorskip("elftools", reason="pyelftools is not installed")

from elftools.elf.dynamic import DynamicSection, DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection, GNUVerSymSection
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

LIMIT = 300
NEEDED = "GNU_PROPERTY_X86_ISA_1_NEEDED"
LARGEST = 8 * 1024 * 1024


def installed_files() -> list[Path]:
    """ELF files of the running interpreter and of the system, a sample spread over all of them."""
    places = [sysconfig.get_path("platstdlib") + "/lib-dynload/*.so", sysconfig.get_path("platlib") + "/**/*.so*"]
    places += ["/lib/*-linux-*/*.so*", "/lib64/*.so*", "/usr/lib/*.so*", "/lib/ld-musl-*", sys.executable, "/bin/*"]
    found = {os.path.realpath(name) for place in places for name in glob.glob(place, recursive=True)}
    files = [Path(name) for name in sorted(found) if _is_elf(name)]
    return files[:: 1 + len(files) // LIMIT]


def _is_elf(name: str) -> bool:
    if not os.path.isfile(name) or os.path.getsize(name) > LARGEST or not os.access(name, os.R_OK):
        return False
    with open(name, "rb") as file:
        return file.read(4) == b"\x7fELF"


FILES = installed_files()


@pytest.fixture(params=["native", "python"])
def implementation(request: pytest.FixtureRequest) -> Any:
    if request.param == "python":
        return elfscan.scan
    if os.environ.get("CI"):
        from portable_backend import _native  # in CI, a missing scanner is a failure

        return _native.scan
    return pytest.importorskip("portable_backend._native", reason="the compiled scanner is not built").scan


@pytest.mark.skipif(not FILES, reason="this machine has no ELF files where they are looked for")
def test_installed_files(implementation: Any) -> None:
    differing = []
    for path in FILES:
        data = path.read_bytes()
        ours, theirs = make_facts(implementation(data)), oracle(data)
        differing += [f"{path}: {line}" for line in differences(ours, theirs)]
    assert not differing, "\n".join(differing[:20])


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_synthetic_files(implementation: Any, bits: int, order: str) -> None:
    template = Elf(bits=bits, order=order)
    data = build(
        Elf(
            bits=bits,
            order=order,
            interpreter="/lib/ld.so",
            needed=("libc.so.6", "liba.so"),
            soname="me.so",
            rpath="/a",
            runpath="/b",
            symbols=(
                Symbol("puts", version=2),
                Symbol("maybe", binding=2, version=3),
                Symbol("old", defined=True, version=0x8005),
                Symbol("new", defined=True, version=6),
                Symbol("hidden", defined=True, visibility=2),
            ),
            needs=(Need("libc.so.6", (("GLIBC_2.4", 2), ("GLIBC_2.5", 3))), Need("liba.so", (("A", 4),))),
            definitions=(Definition("me.so", 1, flags=1), Definition("V1", 5), Definition("V2", 6, 0, ("V1",))),
            sysv_hash=True,
            gnu_hash=True,
            note=isa_note(template, 5),
            note_segment=4,
        )
    ).bytes
    theirs = oracle(data)
    assert list(differences(make_facts(implementation(data)), theirs)) == []
    assert len(theirs["imports"]) == len(theirs["exports"]) == 2


def differences(ours: ElfFacts, theirs: dict[str, Any]) -> Iterator[str]:
    for name, expected in theirs.items():
        found = getattr(ours, name)
        if found != expected:
            yield f"{name}: {found!r:.200} is not {expected!r:.200}"


# glibc's DEFAULT_STACK_PERMS, for files that say nothing.
_EXECUTABLE_BY_DEFAULT = ("EM_386", "EM_PPC", "EM_S390", "EM_ARM", "EM_X86_64")


def oracle(data: bytes) -> dict[str, Any]:
    """The facts as pyelftools sees them."""
    elf: Any = ELFFile(io.BytesIO(data))
    segment = next((part for part in elf.iter_segments() if isinstance(part, DynamicSegment)), None)
    if elf.header.e_type not in ("ET_EXEC", "ET_DYN"):
        segment = None
    stacks = [part.header.p_flags for part in elf.iter_segments() if part.header.p_type == "PT_GNU_STACK"]
    facts = {
        "bits": elf.elfclass,
        "little": elf.little_endian,
        "flags": elf.header.e_flags,
        "interpreter": next((p.get_interp_name() for p in elf.iter_segments() if p.header.p_type == "PT_INTERP"), None),
        "dynamic": segment is not None,
        "executable_stack": bool(stacks[-1] & 1) if stacks else elf["e_machine"] in _EXECUTABLE_BY_DEFAULT,
        "isa_needed": isa_needed(elf),
    }
    if segment is not None:
        facts.update(dynamic_facts(segment))
        facts.update(symbol_facts(elf))
        facts["ifunc"] = ifunc(elf)
    return facts


def dynamic_facts(segment: Any) -> dict[str, Any]:
    tags: list[Any] = list(segment.iter_tags())

    def last(name: str, attribute: str) -> Optional[Any]:
        found = [getattr(tag, attribute) for tag in tags if tag.entry.d_tag == name]
        return found[-1] if found else None

    return {
        "needed": tuple(tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"),
        "soname": last("DT_SONAME", "soname"),
        "rpath": last("DT_RPATH", "rpath"),
        "runpath": last("DT_RUNPATH", "runpath"),
        "text_relocations": any(tag.entry.d_tag == "DT_TEXTREL" for tag in tags)
        or any(tag.entry.d_tag == "DT_FLAGS" and tag.entry.d_val & 4 for tag in tags),
        "relr": any(tag.entry.d_tag == "DT_RELRSZ" and tag.entry.d_val for tag in tags),
    }


def symbol_facts(elf: Any) -> dict[str, Any]:
    sections = list(elf.iter_sections())
    table = next((part for part in sections if part.header.sh_type == "SHT_DYNSYM"), None)
    indices = next((part for part in sections if isinstance(part, GNUVerSymSection)), None)
    needs, definitions, versions = version_facts(sections)
    imports, exports = [], []
    for number, symbol in enumerate(table.iter_symbols() if isinstance(table, SymbolTableSection) else ()):
        binding = symbol.entry.st_info.bind
        if not symbol.name or binding not in ("STB_GLOBAL", "STB_WEAK", "STB_LOOS"):
            continue
        index = 1
        if indices is not None and versions:
            entry = indices.get_symbol(number).entry.ndx
            index = {"VER_NDX_LOCAL": 0, "VER_NDX_GLOBAL": 1}.get(entry, entry)
        version, library = versions.get(index & 0x7FFF, (None, None)) if index & 0x7FFF > 1 else (None, None)
        if symbol.entry.st_shndx == "SHN_UNDEF":
            imports.append((symbol.name, version, library, binding == "STB_WEAK"))
        elif symbol.entry.st_other.visibility in ("STV_DEFAULT", "STV_PROTECTED") and index & 0x7FFF:
            exports.append((symbol.name, version, not index & 0x8000))
    return {
        "version_needs": needs,
        "version_definitions": definitions,
        "imports": tuple(imports),
        "exports": tuple(exports),
    }


def version_facts(sections: list[Any]) -> tuple[Any, Any, dict[int, tuple[str, Optional[str]]]]:
    needs, definitions = [], []
    versions: dict[int, tuple[str, Optional[str]]] = {}
    for section in sections:
        if isinstance(section, GNUVerNeedSection):
            for need, auxiliaries in section.iter_versions():
                found = [(aux.name, aux.entry.vna_other & 0x7FFF) for aux in auxiliaries]
                needs.append((need.name, tuple(name for name, _ in found)))
                versions.update((index, (name, need.name)) for name, index in found)
        elif isinstance(section, GNUVerDefSection):
            for definition, auxiliaries in section.iter_versions():
                name = next(iter(auxiliaries)).name
                versions[definition.entry.vd_ndx & 0x7FFF] = name, None
                if not definition.entry.vd_flags & 1:
                    definitions.append(name)
    return tuple(needs), tuple(definitions), versions


def ifunc(elf: Any) -> bool:
    irelative = {"EM_X86_64": 37, "EM_386": 42, "EM_AARCH64": 1032, "EM_ARM": 160, "EM_S390": 61, "EM_PPC64": 248}
    kind = irelative.get(elf.header.e_machine)
    for section in elf.iter_sections():
        if section.header.sh_type == "SHT_DYNSYM" and any(
            symbol.entry.st_info.type == "STT_LOOS" and symbol.entry.st_shndx != "SHN_UNDEF"
            for symbol in section.iter_symbols()
        ):
            return True
        loaded = isinstance(section, RelocationSection) and section.header.sh_flags & 2
        if loaded and any(relocation.entry.r_info_type == kind for relocation in section.iter_relocations()):
            return True
    return False


def isa_needed(elf: Any) -> int:
    found = 0
    for segment in elf.iter_segments():
        if segment.header.p_type in ("PT_NOTE", "PT_GNU_PROPERTY") and elf.header.e_machine in ("EM_386", "EM_X86_64"):
            for note in segment.iter_notes() if hasattr(segment, "iter_notes") else ():
                if note.n_type == "NT_GNU_PROPERTY_TYPE_0":
                    found |= sum(entry.pr_data for entry in note.n_desc if entry.pr_type == NEEDED)
    return found


def test_dynamic_section_is_what_the_segment_says() -> None:
    """The oracle itself: where there are sections, both ways to the dynamic entries give the same."""
    for path in FILES[:20]:
        elf = ELFFile(io.BytesIO(path.read_bytes()))
        by_section = [len(list(part.iter_tags())) for part in elf.iter_sections() if isinstance(part, DynamicSection)]
        by_segment = [len(list(part.iter_tags())) for part in elf.iter_segments() if isinstance(part, DynamicSegment)]
        assert by_section == by_segment
