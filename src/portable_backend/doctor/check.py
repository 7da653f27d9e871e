"""What a look at one part of the machine found. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from ..records import NamedTuple

OK = "ok"
MISSING = "missing"
"""It is not here; what it would enable says whether that matters to you."""
BROKEN = "broken"
"""It is here and does not work, or not for long."""
UNFIT = "unfit"
"""It is here, works, and is of no use."""
GROUPS = ("package", "python", "zig", "compilers", "rust", "containers", "emulation", "disk", "surroundings")


class Check(NamedTuple):
    """One line of the report.

    :param group: one of :data:`GROUPS`.
    :param detail: what was found, in words.
    :param enables: what this part is for; told where it is not in order.
    :param cure: a command, or a sentence, that puts it in order.
    :param needed: whether the default strategy does not work without it.
    :param data: the same for programs.
    """

    group: str
    name: str
    status: str
    detail: str
    enables: Optional[str] = None
    cure: Optional[str] = None
    needed: bool = False
    data: Optional[dict[str, Any]] = None


class Diagnosis(NamedTuple):
    """All of them.

    :param machine: the machine in a few words.
    :param strategy: what a build of a C extension would use here, or ``None`` where nobody can say.
    :param why: the reason for that.
    """

    version: str
    machine: str
    strategy: Optional[str]
    target: Optional[str]
    why: str
    checks: Sequence[Check]

    @property
    def lacking(self) -> list[Check]:
        """What the default strategy needs, and has not."""
        return [check for check in self.checks if check.needed and check.status != OK]


def in_order(checks: Sequence[Check]) -> list[Check]:
    """By group; within a group as they come."""
    return sorted(checks, key=lambda check: GROUPS.index(check.group))
