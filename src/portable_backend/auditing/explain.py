"""Findings as sentences: the one place where errors, text reports and refusals take their words from. Pure."""

from __future__ import annotations

from ..errors import one_line
from ..targets import PlatformTag
from .verdict import Finding, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Optional

_SHOWN = 12


def describe_blockers(verdict: Verdict, target: Optional[PlatformTag]) -> str:
    """What keeps a wheel from a target (from any policy, when ``None``): one line a finding, cures below."""
    findings = verdict.blockers(target) if target else [each for each in verdict.findings if each.ceiling is None]
    return describe([finding for finding in findings if finding.limits])


def describe(findings: Sequence[Finding], shown: int = _SHOWN) -> str:
    """Findings as indented lines, the worst first, and each different cure once."""
    ordered = sorted(findings, key=_severity)
    lines = [f"  {line_of(finding)}" for finding in ordered[:shown]]
    if len(ordered) > shown:
        lines.append(f"  … and {len(ordered) - shown} more")
    lines += [f"  cure: {cure}" for cure in cures_of(ordered[:shown])]
    return "\n".join(lines)


def line_of(finding: Finding) -> str:
    """One finding in one line, fit for a terminal whatever the names in the wheel are."""
    line = one_line(f"{finding.member}: {finding.message}")
    if finding.warning:
        return line
    return f"{line} → {finding.ceiling.policy}" if finding.ceiling else line


def cures_of(findings: Iterable[Finding]) -> list[str]:
    """The different cures, in the order of the findings."""
    return list(dict.fromkeys(one_line(finding.cure) for finding in findings if finding.cure))


def _severity(finding: Finding) -> tuple[bool, tuple[int, int], str]:
    if finding.ceiling is None:
        return finding.warning, (0, 0), finding.member
    major, minor = finding.ceiling.version
    return finding.warning, (-major, -minor), finding.member
