"""What GitHub Actions shows beside a log: annotations, and the rows of a job summary. Pure.

Everything here may quote a hostile file. Workflow commands are lines that begin with ``::``, and an older kind begins
anywhere with ``##[``; a summary is Markdown with HTML in it. Source: "Workflow commands for GitHub Actions" in the
documentation of GitHub; ``ActionCommand.cs`` of github.com/actions/runner, for what it takes for a command.
"""

from __future__ import annotations

from ..auditing.explain import cures_of, line_of
from ..auditing.verdict import Verdict
from ..errors import PortableBackendError, printable
from ..records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Optional

_FEW = 5
_MOST_ROWS = 500


class Row(NamedTuple):
    """A wheel in the job summary.

    :param good: whether it is what it claims to be.
    """

    wheel: str
    policy: str
    claims: str
    good: bool
    outcome: str


def annotation(level: str, title: str, message: str) -> str:
    """A workflow command that annotates the run.

    :param level: ``error``, ``warning`` or ``notice``.
    """
    return f"::{level} title={_property(title)}::{_data(printable(message))}"


def _data(text: str) -> str:
    return text.replace("##[", "# #[").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")


def harmless(text: str) -> str:
    """Lines for the log, changed where one could be taken for a workflow command."""
    lines = [line.replace("##[", "# #[") for line in text.split("\n")]
    return "\n".join(line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line for line in lines)


def error_annotation(error: PortableBackendError, subject: str = "portable-backend") -> str:
    """An error, with its cure and the address of its page."""
    return annotation("error", f"{subject}: {type(error).__name__}", f"{error}\nsee: {error.address}")


def verdict_annotations(wheel: str, verdict: Verdict) -> list[str]:
    """At most one error and one warning for a wheel: GitHub shows ten of each for a step."""
    told = []
    if not verdict.compliant:
        untrue = ", ".join(verdict.false_claims)
        head = f"not true of {untrue}" if untrue else "it is broken, or its ABI tag is not true"
        errors = [finding for finding in verdict.findings if not finding.warning]
        lines = [line_of(finding) for finding in errors]
        told.append(annotation("error", wheel, "\n".join([head, *_some(lines), *_cures(cures_of(errors))])))
    warnings = [line_of(finding) for finding in verdict.findings if finding.warning]
    if warnings:
        told.append(annotation("warning", wheel, "\n".join(_some(warnings))))
    return told


def _some(lines: Sequence[str]) -> list[str]:
    more = [f"… and {len(lines) - _FEW} more"] if len(lines) > _FEW else []
    return [*lines[:_FEW], *more]


def _cures(cures: Sequence[str]) -> list[str]:
    return [f"cure: {cure}" for cure in cures[:_FEW]]


def verdict_row(wheel: str, verdict: Verdict) -> Row:
    """The row of a wheel that was judged."""
    claims = ", ".join(verdict.claimed) or "any"
    untrue = ", ".join(verdict.false_claims)
    outcome = "true" if verdict.compliant else f"not true of {untrue}" if untrue else "broken"
    return Row(wheel, verdict.policy_name, claims, verdict.compliant, outcome)


def error_row(wheel: str, error: PortableBackendError) -> Row:
    """The row of a wheel that could not be judged or repaired."""
    return Row(wheel, "", "", False, f"{type(error).__name__}: {error.message}")


def summary(title: str, rows: Sequence[Row], more: Optional[int] = None) -> str:
    """A table in Markdown."""
    left = len(rows) - _MOST_ROWS if more is None else more
    lines = [f"### {title}", "", "| | wheel | most portable tag | claims | verdict |", "|---|---|---|---|---|"]
    lines += [
        f"| {'✅' if row.good else '❌'} | {' | '.join(map(_cell, (row.wheel, row.policy, row.claims, row.outcome)))} |"
        for row in rows[:_MOST_ROWS]
    ]
    return "\n".join([*lines, *([f"\n… and {left} more"] if left > 0 else []), ""])


def _cell(text: str) -> str:
    """Text in a cell, every sign of which stands for itself: a character reference begins no Markdown, and no HTML."""
    plain = printable(text).replace("\n", " ")
    return "".join(each if each.isalnum() or each in " -" else f"&#{ord(each)};" for each in plain)
