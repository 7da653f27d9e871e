"""What an ELF file says about itself: one frozen value, from the compiled scanner or from the pure one.

``scan`` reads what the dynamic loader reads (program headers and the dynamic segment), never the section
headers alone, so a file that was stripped of its section headers is judged like any other. Both scanners give
equal values and raise equal errors; the tests hold them to it.

Sources: System V gABI, chapters 4 and 5; the GNU symbol-versioning and ``DT_GNU_HASH`` extensions; the x86-64
psABI for ``GNU_PROPERTY_X86_ISA_1_NEEDED``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Optional, Union

Buffer = Union[bytes, bytearray, memoryview]

ET_EXEC = 2
ET_DYN = 3


class ImportedSymbol(NamedTuple):
    """A symbol that the file expects from somewhere else (``st_shndx == SHN_UNDEF``).

    ``version`` and ``library`` are those of its version requirement, both ``None`` for an unversioned symbol;
    ``weak`` symbols may stay undefined.
    """

    name: str
    version: Optional[str]
    library: Optional[str]
    weak: bool


class ExportedSymbol(NamedTuple):
    """A symbol that the file defines and others can bind to.

    ``version`` is ``None`` where the file defines no version for it; ``default`` is false for versions that only
    a versioned reference can reach (``name@VERSION`` rather than ``name@@VERSION``).
    """

    name: str
    version: Optional[str]
    default: bool


class VersionNeed(NamedTuple):
    """The symbol versions that the file needs of one library (``.gnu.version_r``), whoever refers to them."""

    library: str
    versions: tuple[str, ...]


class ElfFacts(NamedTuple):
    """All that judging and repairing need to know of one ELF file. Strings are UTF-8 with surrogateescape."""

    bits: int
    """Word size: 32 or 64."""
    little: bool
    """Whether the byte order is little-endian."""
    machine: int
    """``e_machine``."""
    type: int
    """``e_type``: 2 executable, 3 shared object (or position-independent executable)."""
    flags: int
    """``e_flags``."""
    interpreter: Optional[str]
    """The dynamic loader that an executable asks for (``PT_INTERP``)."""
    dynamic: bool
    """Whether there is a dynamic segment; without one the file is static (or an object file)."""
    soname: Optional[str]
    needed: tuple[str, ...]
    rpath: Optional[str]
    runpath: Optional[str]
    version_needs: tuple[VersionNeed, ...]
    version_definitions: tuple[str, ...]
    """Versions that the file defines, without the base one (``VER_FLG_BASE``)."""
    imports: tuple[ImportedSymbol, ...]
    exports: tuple[ExportedSymbol, ...]
    executable_stack: bool
    """``PT_GNU_STACK`` asks for an executable stack, or is missing where glibc then assumes one."""
    text_relocations: bool
    """``DT_TEXTREL`` or ``DF_TEXTREL``."""
    relr: bool
    """Relative relocations in the packed form of ``DT_RELR``, which only glibc 2.36 and newer apply."""
    ifunc: bool
    """An indirect function: a ``STT_GNU_IFUNC`` dynamic symbol or an ``IRELATIVE`` relocation."""
    isa_needed: int
    """``GNU_PROPERTY_X86_ISA_1_NEEDED`` bits: 1 baseline, 2 v2, 4 v3, 8 v4; 0 where nothing is said."""


class ElfEdits(NamedTuple):
    """Changes to one ELF file, collected first and applied at once.

    :param soname: the new soname; ``None`` keeps what there is.
    :param replace_needed: pairs of old and new *needed* names.
    :param remove_needed: *needed* names to drop.
    :param rpath: the new RPATH, ``""`` to have none; ``None`` keeps what there is.
    :param clear_execstack: say in ``PT_GNU_STACK`` that no executable stack is needed.
    """

    soname: Optional[str] = None
    replace_needed: tuple[tuple[str, str], ...] = ()
    remove_needed: tuple[str, ...] = ()
    rpath: Optional[str] = None
    clear_execstack: bool = False

    def __bool__(self) -> bool:
        return self != ElfEdits()

    def foretell(self, facts: ElfFacts) -> ElfFacts:
        """The facts of a file after these edits. Pure."""
        renamed = dict(self.replace_needed)
        return facts._replace(
            soname=facts.soname if self.soname is None else self.soname,
            needed=tuple(renamed.get(name, name) for name in facts.needed if name not in self.remove_needed),
            rpath=facts.rpath if self.rpath is None else self.rpath or None,
            runpath=facts.runpath if self.rpath is None else None,
            version_needs=tuple(
                need._replace(library=renamed.get(need.library, need.library)) for need in facts.version_needs
            ),
            imports=tuple(
                symbol._replace(library=renamed.get(symbol.library, symbol.library)) if symbol.library else symbol
                for symbol in facts.imports
            ),
            executable_stack=facts.executable_stack and not self.clear_execstack,
        )


def _scanner() -> tuple[str, Callable[[Buffer], tuple[object, ...]]]:
    try:
        from . import _native
    except ImportError:
        from . import elfscan

        return "python", elfscan.scan
    return "native", _native.scan


IMPLEMENTATION, _scan = _scanner()


def scan(data: Buffer) -> ElfFacts:
    """Read the facts of one ELF file out of its bytes.

    :param data: the whole file.
    :raises ElfError: if the bytes break the format, with the offset of the structure at fault.
    """
    return make_facts(_scan(data))


def make_facts(raw: tuple[object, ...]) -> ElfFacts:
    """Dress the plain tuples that a scanner returns in their names."""
    facts = ElfFacts._make(raw)
    return facts._replace(
        version_needs=tuple(map(VersionNeed._make, facts.version_needs)),
        imports=tuple(map(ImportedSymbol._make, facts.imports)),
        exports=tuple(map(ExportedSymbol._make, facts.exports)),
    )


def is_elf(head: Buffer) -> bool:
    """Whether a file that starts with these bytes claims to be ELF."""
    return bytes(head[:4]) == b"\x7fELF"
