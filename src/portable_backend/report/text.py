"""A verdict as text for people. Pure."""

from __future__ import annotations

from collections import defaultdict

from ..auditing.explain import cures_of, line_of
from ..auditing.verdict import Finding, Verdict
from ..errors import one_line
from .colour import paint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..strategies.container.engine import CacheItem

_FEW = 6


def verdict_text(wheel: str, verdict: Verdict, verbose: bool = False) -> str:
    """One wheel: what it is, what it claims, and what stands in the way of more.

    :param verbose: every finding, not just those that decide.
    """
    if verdict.pure:
        lines = [f"{one_line(wheel)}: pure Python; any machine can load it"]
        lines += [f"  {line_of(finding)}" for finding in verdict.findings]
        return "\n".join(lines)
    lines = [f"{wheel}: {verdict.policy_name}"]
    lines.append(_claim_line(verdict))
    lines = [one_line(line) for line in lines]
    lines += _untrue_of_the_abi(verdict, verbose)
    lines += _deciding(verdict, verbose)
    warnings = [finding for finding in verdict.findings if finding.warning]
    shown = warnings if verbose else warnings[:_FEW]
    lines += [f"  warning: {line_of(finding)}" for finding in shown]
    if len(shown) < len(warnings):
        lines.append(f"  … and {len(warnings) - len(shown)} more warnings (-v shows them)")
    return "\n".join(lines)


def _claim_line(verdict: Verdict) -> str:
    claims = ", ".join(verdict.claimed)
    if verdict.false_claims:
        return f"  claims {claims}: NOT TRUE of {', '.join(verdict.false_claims)}"
    return f"  claims {claims}: {'true' if verdict.compliant else 'but is broken'}"


def _deciding(verdict: Verdict, verbose: bool) -> list[str]:
    """The findings that keep the wheel from the next better policy, grouped by what they have in common."""
    errors = [finding for finding in verdict.findings if finding.limits]
    if not verbose:
        errors = [finding for finding in errors if finding.ceiling in (verdict.policy, None)]
    if not errors:
        return []
    better = "any policy" if verdict.policy is None else "a more portable tag"
    lines = [f"  what keeps it from {better}:" if not verbose else "  findings:"]
    return [*lines, *_listed(errors, verbose)]


def _untrue_of_the_abi(verdict: Verdict, verbose: bool) -> list[str]:
    """The findings that make the ABI tag untrue, whatever the platform tag is."""
    errors = [finding for finding in verdict.findings if not (finding.warning or finding.limits)]
    return ["  what makes its ABI tag untrue:", *_listed(errors, verbose)] if errors else []


def _listed(errors: Sequence[Finding], verbose: bool) -> list[str]:
    lines: list[str] = []
    for group in _groups(errors):
        lines += [f"    {line_of(finding)}" for finding in (group if verbose else group[:_FEW])]
        if not verbose and len(group) > _FEW:
            lines.append(f"    … and {len(group) - _FEW} more of the kind (-v shows them)")
    return [*lines, *(f"  cure: {cure}" for cure in cures_of(errors))]


def _groups(findings: Sequence[Finding]) -> list[list[Finding]]:
    groups: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.kind].append(finding)
    return list(groups.values())


def plan_text(lines: Sequence[str], colour: bool = False) -> str:
    """What would be done, and why: a line for each decision."""
    return "\n".join(_plan_line(one_line(line), colour) for line in lines)


def _plan_line(line: str, colour: bool) -> str:
    head, colon, reason = line.partition(": ")
    return f"{paint(head, 'red' if head == 'blocked' else 'bold', colour)}{colon}{reason}"


def cache_text(engine: str, items: Sequence[CacheItem]) -> str:
    """What the container strategy keeps, a line each, and the sum."""
    from ..strategies.container.images import kind_of

    if not items:
        return f"{engine}: nothing is kept"
    lines = [f"{engine}:"]
    for item in items:
        size = "     ? MB" if item.size is None else f"{item.size / 1e6:6.0f} MB"
        lines.append(one_line(f"  {size}  {kind_of(item):<10}  {item.name}  {item.detail}".rstrip()))
    known = [item.size for item in items if item.size is not None]
    return "\n".join([*lines, f"  {sum(known) / 1e6:6.0f} MB  in all"])
