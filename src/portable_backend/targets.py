"""Architectures, C libraries and platform tags as values: they parse, print and compare.

Sources: PEP 513, 571, 599 and 600 (manylinux), PEP 656 (musllinux), the ELF gABI for machine numbers.
"""

from __future__ import annotations

import enum

from .errors import SettingsError
from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


class Libc(enum.Enum):
    """The C library that a platform tag promises."""

    GLIBC = "glibc"
    MUSL = "musl"

    @property
    def family(self) -> str:
        """The word that platform tags of this C library start with."""
        return "manylinux" if self is Libc.GLIBC else "musllinux"


class Arch(enum.Enum):
    """An architecture by the name that platform tags give it.

    ``machine`` is ELF's ``e_machine``, ``bits`` the word size, ``little`` the byte order, ``loaders`` the file
    names of glibc's and musl's dynamic loader (a *needed* entry may name them).
    """

    X86_64 = "x86_64"
    I686 = "i686"
    AARCH64 = "aarch64"
    ARMV7L = "armv7l"
    PPC64 = "ppc64"
    PPC64LE = "ppc64le"
    S390X = "s390x"
    RISCV64 = "riscv64"
    LOONGARCH64 = "loongarch64"

    @property
    def machine(self) -> int:
        """ELF's ``e_machine``."""
        return _ARCHES[self][0]

    @property
    def bits(self) -> int:
        """Word size: 32 or 64."""
        return _ARCHES[self][1]

    @property
    def little(self) -> bool:
        """Whether the byte order is little-endian."""
        return _ARCHES[self][2]

    @property
    def glibc_loader(self) -> str:
        """File name of glibc's dynamic loader."""
        return _ARCHES[self][3]

    @property
    def musl_name(self) -> str:
        """musl's name of the architecture, as in ``ld-musl-<name>.so.1``."""
        return _ARCHES[self][4]


# machine, bits, little-endian, glibc's loader, musl's name
_ARCHES: dict[Arch, tuple[int, int, bool, str, str]] = {
    Arch.X86_64: (62, 64, True, "ld-linux-x86-64.so.2", "x86_64"),
    Arch.I686: (3, 32, True, "ld-linux.so.2", "i386"),
    Arch.AARCH64: (183, 64, True, "ld-linux-aarch64.so.1", "aarch64"),
    Arch.ARMV7L: (40, 32, True, "ld-linux-armhf.so.3", "armhf"),
    Arch.PPC64: (21, 64, False, "ld64.so.1", "powerpc64"),
    Arch.PPC64LE: (21, 64, True, "ld64.so.2", "powerpc64le"),
    Arch.S390X: (22, 64, False, "ld64.so.1", "s390x"),
    Arch.RISCV64: (243, 64, True, "ld-linux-riscv64-lp64d.so.1", "riscv64"),
    Arch.LOONGARCH64: (258, 64, True, "ld-linux-loongarch-lp64d.so.1", "loongarch64"),
}

# What ``platform.machine()`` and users say, where it is not the tag's own word.
_ARCH_ALIASES = {
    "amd64": "x86_64",
    "x86-64": "x86_64",
    "i386": "i686",
    "i486": "i686",
    "i586": "i686",
    "x86": "i686",
    "arm64": "aarch64",
    "armv8l": "armv7l",
    "armhf": "armv7l",
}

# PEP 513, 571 and 599 came before PEP 600's scheme; their names stay valid as aliases.
LEGACY_MANYLINUX = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_LEGACY_BY_VERSION = {version: name for name, version in LEGACY_MANYLINUX.items()}

_FAMILIES = {libc.family: libc for libc in Libc}
_ARCH_BY_NAME = {arch.value: arch for arch in Arch}


def parse_arch(text: str) -> Arch:
    """The architecture that ``text`` names, by tag word or by a common alias.

    :raises SettingsError: if the word is unknown.
    """
    word = text.strip().lower()
    try:
        return Arch(_ARCH_ALIASES.get(word, word))
    except ValueError:
        known = ", ".join(arch.value for arch in Arch)
        raise SettingsError(f"unknown architecture {text!r}", f"use one of {known}") from None


class PlatformTag(NamedTuple):
    """A manylinux or musllinux platform tag: a C library, its oldest version, an architecture.

    Tags of one C library and architecture are ordered by version: the lower, the more machines can load it.
    """

    libc: Libc
    version: tuple[int, int]
    arch: Arch

    @property
    def policy(self) -> str:
        """The tag without its architecture, as ``manylinux_2_17``."""
        return f"{self.libc.family}_{self.version[0]}_{self.version[1]}"

    @property
    def legacy(self) -> Optional[str]:
        """The name from before PEP 600, as ``manylinux2014_x86_64``, where there is one."""
        name = _LEGACY_BY_VERSION.get(self.version) if self.libc is Libc.GLIBC else None
        return None if name is None else f"{name}_{self.arch.value}"

    @property
    def names(self) -> tuple[str, ...]:
        """All spellings of the tag, sorted, as they stand in a wheel's file name."""
        return tuple(sorted(name for name in (str(self), self.legacy) if name is not None))

    def covers(self, other: PlatformTag) -> bool:
        """Whether a machine that accepts this tag accepts ``other`` too (same kind, older or equal)."""
        return (self.libc, self.arch) == (other.libc, other.arch) and other.version <= self.version

    def __str__(self) -> str:
        return f"{self.policy}_{self.arch.value}"


def find_platform_tag(text: str) -> Optional[PlatformTag]:
    """The tag that ``text`` spells in full (with its architecture), or ``None`` for any other text."""
    libc, version, name = _take_apart(text)
    arch = _ARCH_BY_NAME.get(name or "")
    return None if libc is None or arch is None else PlatformTag(libc, version, arch)


def parse_target(text: str, default_arch: Arch) -> PlatformTag:
    """The tag that a user names as a target: with or without architecture, new or legacy spelling.

    :raises SettingsError: if it is no manylinux or musllinux name.
    """
    libc, version, name = _take_apart(text.strip())
    if libc is None or not (name is None or (name.isascii() and name.replace("_", "a").replace("-", "a").isalnum())):
        raise SettingsError(
            f"unknown target {text!r}",
            "write a policy such as manylinux_2_17, manylinux2014 or musllinux_1_2, optionally with an architecture"
            " (manylinux_2_17_x86_64)",
        )
    tag = PlatformTag(libc, version, default_arch if name is None else parse_arch(name))
    expected = 2 if tag.libc is Libc.GLIBC else 1
    if tag.version[0] != expected:
        raise SettingsError(
            f"unknown target {text!r}: there is no {tag.libc.value} {tag.version[0]}.x",
            f"write {tag.libc.family}_{expected}_<minor>",
        )
    return tag


def _take_apart(text: str) -> tuple[Optional[Libc], tuple[int, int], Optional[str]]:
    """C library, version and the word behind them (``None`` where nothing is); no library where it is no tag."""
    family, behind, rest = text.partition("_")
    if family in LEGACY_MANYLINUX:
        return Libc.GLIBC, LEGACY_MANYLINUX[family], rest if behind else None
    major, _, rest = rest.partition("_")
    minor, behind, arch = rest.partition("_")
    numbers = all(each.isascii() and each.isdigit() and len(each) <= 3 for each in (major, minor))
    if family not in _FAMILIES or not numbers:
        return None, (0, 0), None
    return _FAMILIES[family], (int(major), int(minor)), arch if behind else None
