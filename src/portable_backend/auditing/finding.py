"""What is said of a wheel: one thing that rules out a policy, or that deserves a word. Pure."""

from __future__ import annotations

from ..records import NamedTuple
from ..targets import PlatformTag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

KINDS = (
    "symbol-version",
    "external-library",
    "forbidden-symbol",
    "undefined-symbol",
    "architecture",
    "c-library",
    "instruction-set",
    "executable-stack",
    "text-relocations",
    "libpython",
    "rpath",
    "relr",
    "ifunc",
    "musl-soname",
    "malformed-elf",
    "purelib",
    "record",
    "symlink",
    "interpreter",
    "dlopen",
    "tag",
    "musl-symbol",
    "stable-abi",
    "extension-name",
)
# What is wrong with an ABI tag alone, and rules out no platform policy.
OF_THE_ABI_TAG = ("stable-abi", "extension-name")


class Finding(NamedTuple):
    """One thing that rules out a policy, or that deserves a word.

    :param kind: a stable word for scripts, one of :data:`KINDS`.
    :param library: the library concerned, by the name in the file's *needed* entry.
    :param symbol: the symbol concerned, as ``name@VERSION`` where it has a version.
    :param ceiling: the most portable policy that this leaves possible; ``None`` if it leaves none.
    :param message: what is wrong, in one sentence without the member's name.
    :param cure: what to do about it.
    :param warning: whether it rules out nothing (``ceiling`` means nothing then).
    :param member: the file of the wheel at fault; a rule leaves it to its caller to say.
    """

    kind: str
    library: Optional[str]
    symbol: Optional[str]
    ceiling: Optional[PlatformTag]
    message: str
    cure: Optional[str] = None
    warning: bool = False
    member: str = ""

    def of(self, member: str) -> Finding:
        """The same, of this file."""
        return Finding(*self[:-1], member)

    @property
    def limits(self) -> bool:
        """Whether it rules out a platform policy; what is wrong with an ABI tag alone does not (``None`` ceiling)."""
        return not self.warning and self.kind not in OF_THE_ABI_TAG
