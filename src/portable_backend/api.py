"""The Python interface: what ``portable-backend audit`` and ``portable-backend repair`` do, as two functions.

    from portable_backend import audit, repair

    verdict = audit("demo-1.0-cp311-cp311-linux_x86_64.whl")
    print(verdict.policy_name, [finding.message for finding in verdict.findings])
    print(repair("demo-1.0-cp311-cp311-linux_x86_64.whl", "wheelhouse").path)

Everything happens in this process; nothing is printed, no global state is touched, and both may be called from
several threads at once. What goes wrong is a :class:`~portable_backend.errors.PortableBackendError`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional, Union

from .auditing.read import read_verdict
from .auditing.verdict import Finding, JudgeOptions, Verdict
from .errors import PortableBackendError, UsageError
from .repairing.apply import RepairedWheel, repair_wheel
from .repairing.plan import RepairOptions
from .settings import check_libs_dir
from .targets import PlatformTag, parse_target
from .wheels import arch_of_name, parse_wheel_name

AnyPath = Union[str, "os.PathLike[str]"]


def audit(wheel: AnyPath, *, exclude: Sequence[str] = (), isa_check: bool = True, abi3_check: bool = True) -> Verdict:
    """Judge a wheel. Depends on its bytes and its file name alone, never on the machine.

    :param wheel: the file.
    :param exclude: patterns (as of a shell) of sonames that every user is sure to have.
    :param isa_check: whether instruction-set requirements beyond the architecture's baseline count.
    :param abi3_check: whether a stable ABI tag that is not true counts.
    :returns: the most portable policy that is true of it (``policy``), whether its tags are true (``compliant``), and
        why (``findings``).
    :raises WheelError: if it is malformed or cannot be read.
    :raises UsageError: if it is a wheel for another system than Linux.
    """
    return read_verdict(Path(wheel), JudgeOptions(_patterns("exclude", exclude), isa_check, abi3_check=abi3_check))


def repair(
    wheel: AnyPath,
    directory: AnyPath,
    *,
    target: Optional[str] = None,
    exclude: Sequence[str] = (),
    isa_check: bool = True,
    abi3_check: bool = True,
    only_target_tag: bool = False,
    update_tags: bool = True,
    libs_dir: str = ".libs",
    ldpaths: Sequence[str] = (),
    clear_execstack: bool = False,
    strip: bool = False,
    compression_level: int = 6,
    progress: Callable[[str], None] = lambda line: None,
) -> RepairedWheel:
    """Repair a wheel into ``directory``; the input is never modified.

    :param wheel: the file.
    :param directory: where the result goes, made if missing; it appears there whole or not at all.
    :param target: the platform tag to reach, such as ``manylinux_2_28_x86_64`` or ``musllinux_1_2`` (then for the
        wheel's own architecture); ``None`` takes the most portable one that can be reached.
    :param exclude: patterns (as of a shell) of sonames that every user is sure to have; they are not grafted.
    :param isa_check: whether instruction-set requirements beyond the architecture's baseline count.
    :param abi3_check: whether a stable ABI tag that is not true counts.
    :param only_target_tag: name no tag but the target.
    :param update_tags: whether the file name and ``WHEEL`` are given the tags that are true.
    :param libs_dir: appended to the distribution's name for the directory of grafted libraries.
    :param ldpaths: directories that are searched for libraries before the system's.
    :param clear_execstack: take the wish for an executable stack out of every file.
    :param strip: remove symbol tables and debugging data from every file.
    :param compression_level: deflate level of what is written anew, 0 to 9.
    :param progress: called with a line about each thing that is done.
    :returns: where the result is (``path``), the verdicts ``before`` and ``after``, and the ``plan``.
    :raises NotCompliant: if the target cannot be reached, with the reasons.
    :raises RepairError: if a library cannot be found or a file cannot be edited.
    :raises SettingsError: if the target is no platform tag, or ``libs_dir`` cannot be part of a directory's name.
    :raises WheelError: if the wheel is malformed, cannot be read, or its ``RECORD`` is not true of it.
    :raises OutputError: if the result cannot be written.
    :raises UsageError: if it is a wheel for another system than Linux, or an argument makes no sense.
    """
    path = Path(wheel)
    if isinstance(compression_level, bool) or compression_level not in range(10):
        raise UsageError(f"compression_level is {compression_level!r}; deflate's levels are 0 to 9")
    options = RepairOptions(
        target=_target(path, target),
        judge=JudgeOptions(_patterns("exclude", exclude), isa_check, abi3_check=abi3_check),
        only_target_tag=only_target_tag,
        update_tags=update_tags,
        libs_dir=check_libs_dir(libs_dir, "libs_dir"),
        ldpaths=_patterns("ldpaths", ldpaths),
        clear_execstack=clear_execstack,
        strip=strip,
        compression_level=compression_level,
    )
    return repair_wheel(path, Path(directory), options, progress)


def _patterns(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """Several strings; one string alone would be taken for its letters."""
    if isinstance(values, str):
        raise UsageError(f"{name} is one string", f"give a sequence of strings: {name}=[{values!r}]")
    return tuple(values)


def _target(path: Path, target: Optional[str]) -> Optional[PlatformTag]:
    return None if target is None else parse_target(target, arch_of_name(parse_wheel_name(path.name)))


__all__ = ["Finding", "PortableBackendError", "RepairedWheel", "Verdict", "audit", "repair"]
