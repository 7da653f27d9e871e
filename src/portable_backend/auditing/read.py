"""From a path to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from ..errors import UsageError
from ..targets import Libc
from ..wheels import open_wheel, parse_wheel_name
from .facts import read_wheel_facts
from .verdict import JudgeOptions, Verdict, judge


def read_verdict(path: Path, options: JudgeOptions, default_libc: Optional[Libc] = None) -> Verdict:
    """Judge the wheel at ``path``.

    :raises UsageError: if it is a wheel for another system than Linux.
    :raises WheelError: if it is malformed.
    """
    require_linux(path)
    with open_wheel(path) as wheel:
        return judge(read_wheel_facts(wheel), options, default_libc)


def require_linux(path: Path) -> None:
    """Refuse wheels that say that they are for another system.

    :raises UsageError: if it is one.
    """
    platforms = parse_wheel_name(path.name).platforms
    foreign = [
        name for name in platforms if name != "any" and not name.startswith(("linux_", "manylinux", "musllinux"))
    ]
    if foreign:
        raise UsageError(f"{path.name}: a wheel for {foreign[0]}; only wheels for Linux can be judged")
