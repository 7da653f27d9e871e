"""The facts of an ELF file as pyelftools and readelf see them.

Both go by the section headers where our scanners go by the dynamic segment, so each way checks the other.
"""

from __future__ import annotations

import io
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection, GNUVerSymSection
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from portable_backend.elf import ElfFacts

NEEDED = "GNU_PROPERTY_X86_ISA_1_NEEDED"
IRELATIVE = {
    "EM_X86_64": 37,
    "EM_386": 42,
    "EM_AARCH64": 1032,
    "EM_ARM": 160,
    "EM_S390": 61,
    "EM_PPC64": 248,
    "EM_RISCV": 58,
    "EM_LOONGARCH": 12,
}


def differences(ours: ElfFacts, theirs: dict[str, Any]) -> Iterator[str]:
    for name, expected in theirs.items():
        found = getattr(ours, name)
        if found != expected:
            yield f"{name}: {_first_difference(found, expected)}"


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
    kind = IRELATIVE.get(elf.header.e_machine)
    for section in elf.iter_sections():
        if section.header.sh_type == "SHT_DYNSYM" and any(
            symbol.entry.st_info.type == "STT_LOOS" and symbol.entry.st_shndx != "SHN_UNDEF"
            for symbol in section.iter_symbols()
        ):
            return True
        loaded = isinstance(section, RelocationSection) and section.header.sh_flags & 2
        if loaded and kind is not None and kind in relocation_types(elf, section):
            return True
    return False


def relocation_types(elf: Any, section: Any) -> set[int]:
    """The types in a table of relocations: there are millions, too many to make an object of each."""
    order, wide = "<" if elf.little_endian else ">", elf.elfclass == 64
    code = order + ("QQ" if wide else "II") + ({True: "q", False: "i"}[wide] if section.is_RELA() else "")
    data = section.data()
    data = data[: len(data) - len(data) % struct.calcsize(code)]
    mask = 0xFFFFFFFF if wide else 0xFF
    return {fields[1] & mask for fields in struct.iter_unpack(code, data)}


def isa_needed(elf: Any) -> int:
    found = 0
    for segment in elf.iter_segments():
        if segment.header.p_type in ("PT_NOTE", "PT_GNU_PROPERTY") and elf.header.e_machine in ("EM_386", "EM_X86_64"):
            for note in segment.iter_notes() if hasattr(segment, "iter_notes") else ():
                if note.n_type == "NT_GNU_PROPERTY_TYPE_0":
                    found |= sum(entry.pr_data for entry in note.n_desc if entry.pr_type == NEEDED)
    return found


# ---- readelf ----

_ENTRY = re.compile(r" 0x[0-9a-f]+ \((NEEDED|SONAME|RPATH|RUNPATH)\) +[^\[]*\[(.*)\]$")
_WORD = r"(\w+|<OS specific>: \d+)"  # readelf names GNU's own types and bindings in files that say GNU only
_SYMBOL = re.compile(
    rf" *\d+: [0-9a-f]+ +(?:0x[0-9a-f]+|\d+) {_WORD} +{_WORD} +(\w+) +(?:\[.*?\] +)?(\w+) (\S+)(?: \(\d+\))?$"
)
_VERSION_NEED = re.compile(r"  (?:0x)?[0-9a-f]+: Version: \d+  File: (.*)  Cnt: \d+$")
_VERSION = re.compile(r"  (?:0x)?[0-9a-f]+:   Name: (.*)  Flags: .*Version: \d+$")


def readelf(path: Path) -> dict[str, Any]:
    """The facts that ``readelf -dVW --dyn-syms`` prints, of a file with a dynamic segment."""
    command = ["readelf", "-dVW", "--dyn-syms", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=False)
    entries: dict[str, list[str]] = {"NEEDED": [], "SONAME": [], "RPATH": [], "RUNPATH": []}
    needs: list[tuple[str, list[str]]] = []
    imports: list[tuple[str, Optional[str], bool]] = []
    exports: list[tuple[str, Optional[str], bool]] = []
    for line in done.stdout.split("\n"):
        if match := _ENTRY.match(line):
            entries[match[1]].append(match[2])
        elif match := _VERSION_NEED.match(line):
            needs.append((match[1], []))
        elif needs and (match := _VERSION.match(line)):
            needs[-1][1].append(match[1])
        elif match := _SYMBOL.match(line):
            _sort_symbol(match, imports, exports)
    return {
        "needed": tuple(entries["NEEDED"]),
        **{name.lower(): (entries[name] or [None])[-1] for name in ("SONAME", "RPATH", "RUNPATH")},
        "version_needs": tuple((library, tuple(names)) for library, names in needs),
        "imports": imports,
        "exports": exports,
    }


def _sort_symbol(match: re.Match[str], imports: list[Any], exports: list[Any]) -> None:
    _, binding, visibility, index, text = match.groups()
    name, default, version = text.partition("@@")
    if not default:
        name, _, version = text.partition("@")
    if not name or binding not in ("GLOBAL", "WEAK", "UNIQUE", "<OS specific>: 10"):
        return
    if index == "UND":
        imports.append((name, version or None, binding == "WEAK"))
    elif visibility in ("DEFAULT", "PROTECTED"):
        exports.append((name, version or None, bool(default) or not version))


def readelf_differences(ours: ElfFacts, path: Path) -> Iterator[str]:
    """What readelf sees otherwise.

    In three matters of print it is followed: it numbers no library to a symbol; the symbol that stands for a version
    (of the same name) it prints without; and a copy of a library's symbol in an executable bears the version that was
    needed, which it does not call a default one.
    """
    theirs = readelf(path)
    own = set(ours.version_definitions)
    mine = {
        **{name: getattr(ours, name) for name in ("needed", "soname", "rpath", "runpath")},
        "version_needs": tuple((need.library, need.versions) for need in ours.version_needs),
        "imports": [(symbol.name, symbol.version, symbol.weak) for symbol in ours.imports],
        "exports": [_as_printed(*symbol, own) for symbol in ours.exports],
    }
    for name, expected in theirs.items():
        if mine[name] != expected:
            yield f"readelf: {name}: {_first_difference(mine[name], expected)}"


def _as_printed(name: str, version: Optional[str], default: bool, own: set[str]) -> tuple[str, Optional[str], bool]:
    if name == version:
        return name, None, True
    return name, version, default and (version is None or version in own)


def _first_difference(ours: Any, theirs: Any) -> str:
    if isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)):
        for number, (one, other) in enumerate(zip(ours, theirs)):
            if one != other:
                return f"{len(ours)} and {len(theirs)}; at {number} {one!r} is not {other!r}"
        more = ours[len(theirs) :] or theirs[len(ours) :]
        return f"{len(ours)} and {len(theirs)}; then {more[0]!r}"
    return f"{ours!r:.200} is not {theirs!r:.200}"
