"""What ``doctor`` found, as text for people and as plain data. Pure."""

from __future__ import annotations

from typing import Any

from ..doctor.check import BROKEN, MISSING, OK, UNFIT, Check, Diagnosis
from ..errors import printable
from .colour import paint

VERSION = 1
_TITLES = {
    "package": "This package",
    "python": "Interpreters",
    "zig": "zig",
    "compilers": "Compilers of this machine",
    "rust": "Rust",
    "containers": "Containers",
    "emulation": "Other architectures",
    "disk": "Disk",
    "surroundings": "Variables (names only)",
}
_COLOURS = {OK: "green", MISSING: "yellow", BROKEN: "red", UNFIT: "faint"}
_WIDEST = 18


def doctor_text(diagnosis: Diagnosis, colour: bool = False, quiet: bool = False) -> str:
    """Groups of aligned lines; under what is not in order, what it is for and what installs it.

    :param quiet: what is in order is left out.
    """
    lines = [f"portable_backend {diagnosis.version} on {diagnosis.machine}", _default_line(diagnosis)]
    width = min(_WIDEST, max((len(check.name) for check in diagnosis.checks), default=0))
    group = ""
    for check in diagnosis.checks:
        if quiet and check.status == OK:
            continue
        if check.group != group:
            group = check.group
            lines += ["", paint(_TITLES[group], "bold", colour)]
        lines += _check_lines(check, width, colour)
    return "\n".join([*lines, "", _sum(diagnosis, colour)])


def _default_line(diagnosis: Diagnosis) -> str:
    if diagnosis.strategy is None:
        return printable(f"A C extension cannot be built here: {diagnosis.why}")
    target = diagnosis.target or "the best policy that is true"
    return printable(
        f"A C extension would be built by the {diagnosis.strategy} strategy ({diagnosis.why}) for {target}"
    )


def _check_lines(check: Check, width: int, colour: bool) -> list[str]:
    status = paint(f"{check.status:<7}", _COLOURS[check.status], colour)
    lines = [f"  {status}  {printable(check.name):<{width}}  {printable(check.detail)}"]
    indent = " " * (width + 13)
    if check.status != OK:
        lines += [f"{indent}for: {printable(check.enables)}"] if check.enables else []
        lines += [f"{indent}cure: {printable(check.cure)}"] if check.cure else []
    return lines


def _sum(diagnosis: Diagnosis, colour: bool) -> str:
    lacking = diagnosis.lacking
    if diagnosis.strategy is None:
        return paint("Nothing can be built here.", "red", colour)
    if not lacking:
        return paint(f"The {diagnosis.strategy} strategy has what it needs.", "green", colour)
    names = ", ".join(printable(check.name) for check in lacking)
    return paint(f"The {diagnosis.strategy} strategy lacks: {names}.", "red", colour)


def doctor_data(diagnosis: Diagnosis) -> dict[str, Any]:
    """What ``doctor --json`` prints, version 1 of its shape."""
    return {
        "version": VERSION,
        "portable_backend": diagnosis.version,
        "machine": diagnosis.machine,
        "ok": is_well(diagnosis),
        "default": {"strategy": diagnosis.strategy, "target": diagnosis.target, "reason": diagnosis.why},
        "checks": [
            {
                "group": check.group,
                "name": check.name,
                "status": check.status,
                "needed": check.needed,
                "detail": check.detail,
                "enables": check.enables,
                "cure": check.cure,
                "data": check.data or {},
            }
            for check in diagnosis.checks
        ],
    }


def is_well(diagnosis: Diagnosis) -> bool:
    """Whether the default strategy has what it needs."""
    return diagnosis.strategy is not None and not diagnosis.lacking
