"""Policy by policy: what stands in the way of each, what the next better one would take, and the cures to type. Pure.

A finding rules out every policy that is more portable than its ceiling. So policies are gone through from the newest
to the oldest, and each finding is told once: at the first policy that it rules out.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Optional

from ..policy.policy import C_LIBRARY, get_policies
from ..records import NamedTuple
from ..targets import Libc, PlatformTag, find_platform_tag
from .finding import Finding
from .verdict import Verdict


class Step(NamedTuple):
    """One policy.

    :param true: whether the wheel may bear its tag; ``None`` where its files cannot tell (an older musl than was
        claimed: its symbols bear no versions).
    :param blockers: all findings that stand in its way.
    :param own: those of them that do not stand in the way of the next newer policy.
    """

    tag: PlatformTag
    true: Optional[bool]
    blockers: tuple[Finding, ...]
    own: tuple[Finding, ...]


class Better(NamedTuple):
    """The next more portable policy.

    :param tag: its tag.
    :param reaches: the tag that the wheel would then bear: nothing else stands in the way of it.
    :param blockers: the findings that have to go.
    """

    tag: PlatformTag
    reaches: PlatformTag
    blockers: tuple[Finding, ...]

    @property
    def target(self) -> PlatformTag:
        """What to build for: as far as is reached, but no older than is of use today, unless that is all there is."""
        if self.tag.libc is Libc.MUSL or self.tag.version <= _OLDEST_OF_USE or self.reaches.version >= _OLDEST_OF_USE:
            return self.reaches if self.tag.version > _OLDEST_OF_USE else self.tag
        return self.reaches._replace(version=_OLDEST_OF_USE)


# manylinux2014: toolchains of today, Rust's among them, build for no older glibc.
_OLDEST_OF_USE = (2, 17)


class Remedy(NamedTuple):
    """What to do, as it is typed. Any part may be missing.

    :param cure: in words, as the finding has it.
    :param command: a command line.
    :param setting: lines for the table ``[tool.portable-backend]`` of ``pyproject.toml``.
    :param condition: when ``setting`` is the right thing.
    """

    cure: Optional[str] = None
    command: Optional[str] = None
    setting: tuple[str, ...] = ()
    condition: Optional[str] = None


def plan_steps(verdict: Verdict) -> tuple[Step, ...]:
    """Every policy of the wheel's C library and architecture, the newest first; none for a pure wheel."""
    if verdict.libc is None or verdict.arch is None:
        return ()
    tags = {policy.tag for policy in get_policies(verdict.libc, verdict.arch)}
    claimed = (find_platform_tag(claim) for claim in verdict.claimed)
    known = (*claimed, verdict.policy, *(finding.ceiling for finding in verdict.findings))
    majors = {tag.version[0] for tag in tags}
    tags |= {
        tag
        for tag in known
        if tag and (tag.libc, tag.arch) == (verdict.libc, verdict.arch) and tag.version[0] in majors
    }
    steps: list[Step] = []
    before: tuple[Finding, ...] = ()
    for tag in sorted(tags, key=lambda each: each.version, reverse=True):
        blockers = verdict.blockers(tag)
        seen = set(map(id, before))
        own = tuple(finding for finding in blockers if id(finding) not in seen)
        true: Optional[bool] = verdict.satisfies(tag)
        if not true and not blockers:  # older than any policy, or than the musl that it was judged for
            true = None if verdict.libc is Libc.MUSL else False
        steps.append(Step(tag, true, blockers, own))
        before = blockers
    return tuple(steps)


def next_better(verdict: Verdict, steps: Sequence[Step]) -> Optional[Better]:
    """What it would take to be one step more portable; ``None`` for the best, and where a claim alone tells."""
    older = [step for step in steps if step.blockers and not step.true]
    if not older:
        return None
    step = older[0]
    # What stands in the way of this policy alone may be all that stands in the way of others.
    reaches = [each for each in older if len(each.blockers) == len(step.blockers)][-1]
    nearest = reaches if verdict.policy is None else step
    return Better(nearest.tag, reaches.tag, step.blockers)


def plan_remedies(findings: Iterable[Finding], wheel: str, target: Optional[PlatformTag]) -> tuple[Remedy, ...]:
    """What cures findings, each different remedy once, in the order of the findings.

    :param wheel: the path of the wheel, as it was given.
    :param target: the policy that is to be reached.
    """
    return tuple(dict.fromkeys(find_remedy(finding, wheel, target) for finding in findings))


def find_remedy(finding: Finding, wheel: str, target: Optional[PlatformTag] = None) -> Remedy:
    """What cures one finding."""
    repair = f"portable-backend repair {shlex.quote(wheel)}"
    kind, library = finding.kind, finding.library
    remedy = Remedy(finding.cure)
    if kind in ("symbol-version", "undefined-symbol", "relr") and finding.ceiling is not None:
        policy = _cured_at(finding.ceiling, target).policy
        command = f"portable-backend build . --strategy zig --target {policy}"
        remedy = Remedy(finding.cure, command, ('strategy = "zig"', f'target = "{policy}"'))
    elif kind == "external-library" and library is not None:
        remedy = _of_library(finding, library, repair)
    elif kind == "forbidden-symbol" and library and not C_LIBRARY.fullmatch(library):
        remedy = Remedy(finding.cure, f"{repair} --graft {shlex.quote(library)}", (f"graft = [{_quoted(library)}]",))
    elif kind == "instruction-set":
        condition = "where the code asks the processor first"
        command = f"portable-backend audit --disable-isa-ext-check {shlex.quote(wheel)}"
        remedy = Remedy(finding.cure, command, ("isa-check = false",), condition)
    elif kind == "executable-stack":
        condition = "where no code on the stack is really run"
        remedy = Remedy(finding.cure, f"{repair} --clear-execstack", ("clear-execstack = true",), condition)
    elif _is_repaired(finding):
        remedy = Remedy(finding.cure, repair)
    return remedy


def _cured_at(ceiling: PlatformTag, target: Optional[PlatformTag]) -> PlatformTag:
    """What to build for, that a symbol may not be used any more: the target, if it is older than the ceiling."""
    if target is not None and target.version < ceiling.version:
        return target
    older = [version for version in ((2, 5), (2, 12), _OLDEST_OF_USE) if version < ceiling.version]
    return ceiling._replace(version=max(older)) if older and ceiling.libc is Libc.GLIBC else ceiling


def _of_library(finding: Finding, library: str, repair: str) -> Remedy:
    if finding.ceiling is not None:  # a newer policy promises it
        if C_LIBRARY.fullmatch(library):
            return Remedy(finding.cure)
        return Remedy(finding.cure, f"{repair} --graft {shlex.quote(library)}", (f"graft = [{_quoted(library)}]",))
    if "which is in the wheel" in finding.message:
        return Remedy(finding.cure, repair)
    return Remedy(finding.cure, repair, (f"exclude = [{_quoted(library)}]",), f"where every user has {library}")


def _is_repaired(finding: Finding) -> bool:
    """Whether ``repair`` sees to it by itself; the finding's own words say so."""
    return "repair" in (finding.cure or "") and finding.kind != "dlopen"


def _quoted(text: str) -> str:
    """A TOML basic string."""
    inner = "".join(
        f"\\{each}" if each in '"\\' else each if each.isprintable() else f"\\U{ord(each):08x}" for each in text
    )
    return f'"{inner}"'


__all__ = ["Better", "Remedy", "Step", "find_remedy", "next_better", "plan_remedies", "plan_steps"]
