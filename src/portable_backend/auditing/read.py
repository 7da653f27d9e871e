"""From a path to a verdict."""

from __future__ import annotations

import os

from ..errors import UsageError
from ..targets import Libc
from ..wheels import open_wheel, parse_wheel_name
from .facts import read_wheel_facts
from .verdict import JudgeOptions, Verdict, judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Union


def read_verdict(
    path: Union[str, os.PathLike[str]], options: JudgeOptions, default_libc: Optional[Libc] = None
) -> Verdict:
    """Judge the wheel at ``path``.

    :raises UsageError: if it is a wheel for another system than Linux.
    :raises WheelError: if it is malformed.
    """
    require_linux(os.path.basename(os.fspath(path)))
    with open_wheel(path) as wheel:
        return judge(read_wheel_facts(wheel), options, default_libc)


def require_linux(filename: str) -> None:
    """Refuse wheels whose names say that they are for another system.

    :raises UsageError: if it is one.
    """
    platforms = parse_wheel_name(filename).platforms
    foreign = [
        name for name in platforms if name != "any" and not name.startswith(("linux_", "manylinux", "musllinux"))
    ]
    if foreign:
        raise UsageError(f"{filename}: a wheel for {foreign[0]}; only wheels for Linux can be judged")
