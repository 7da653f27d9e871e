"""The file names of wheels, and the lines of their ``RECORD``. Pure.

Source: PEP 427 and the binary distribution format of packaging.python.org.
"""

from __future__ import annotations

from ..errors import WheelError, one_line
from ..records import NamedTuple
from ..targets import Arch, parse_arch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Optional

_BARRED = frozenset(" /\\")
_DIGITS = frozenset("0123456789")


class WheelName(NamedTuple):
    """The parts of a wheel's file name, spelled as they stand in it."""

    name: str
    version: str
    build: Optional[str]
    python: str
    abi: str
    platform: str

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags of the compressed set."""
        return tuple(self.platform.split("."))

    @property
    def tags(self) -> tuple[str, ...]:
        """The expanded tags, as ``WHEEL`` lists them."""
        return tuple(
            f"{python}-{abi}-{platform}"
            for python in self.python.split(".")
            for abi in self.abi.split(".")
            for platform in self.platforms
        )

    def with_platforms(self, platforms: Sequence[str]) -> WheelName:
        """The name with another set of platform tags."""
        return WheelName(self.name, self.version, self.build, self.python, self.abi, ".".join(platforms))

    def __str__(self) -> str:
        parts = (self.name, self.version, self.build, self.python, self.abi, self.platform)
        return "-".join(part for part in parts if part is not None) + ".whl"


def parse_wheel_name(filename: str) -> WheelName:
    """Take a wheel's file name apart.

    :raises WheelError: if it does not follow the binary distribution format.
    """
    parts = filename[: -len(".whl")].split("-") if filename.endswith(".whl") else []
    build = parts.pop(2) if len(parts) == 6 else None
    # What is white space and prints is a space.
    well = len(parts) == 5 and all(parts) and filename.isprintable() and not _BARRED.intersection(filename)
    if not well or (build is not None and build[:1] not in _DIGITS):
        raise WheelError(
            f"{one_line(filename)}: not the file name of a wheel",
            "a wheel is named {distribution}-{version}(-{build})-{python tag}-{abi tag}-{platform tag}.whl",
        )
    name, version, python, abi, platform = parts
    return WheelName(name, version, build, python, abi, platform)


def project_of(stem: str) -> tuple[str, str]:
    """Name and version of ``name-version``, normalised: tools differ in how they escape them (PEP 491, PEP 625)."""
    from packaging.utils import canonicalize_name, canonicalize_version  # takes time, and most need none of it

    name, _, version = stem.partition("-")
    return canonicalize_name(name), canonicalize_version(version.replace("_", "-"), strip_trailing_zero=False)


def arch_of_name(name: WheelName) -> Arch:
    """The architecture that a wheel's name speaks of (this machine's where it speaks of none)."""
    for platform_tag in name.platforms:
        for arch in Arch:
            if platform_tag.endswith(f"_{arch.value}"):
                return arch
    import platform

    return parse_arch(platform.machine())


class RecordEntry(NamedTuple):
    """One line of ``RECORD``: algorithm and urlsafe-base64 digest without padding, size in bytes."""

    algorithm: str
    digest: str
    size: Optional[int]
