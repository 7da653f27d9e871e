"""Judging: facts of a wheel in, findings and the most portable true policy out. Pure, and blind to the machine.

Everything that stands in the way of a policy is one :class:`Finding`. The verdict's policy follows from the findings'
ceilings alone, so text, JSON, errors and repair can never disagree about the reasons.
"""

from __future__ import annotations

from ..elf import ElfFacts
from ..policy.policy import Policy, get_policies, get_policy, newest_known_glibc
from ..records import NamedTuple
from ..targets import Arch, Libc, PlatformTag, find_platform_tag
from . import rules
from .facts import WheelFacts, arch_of
from .finding import KINDS, OF_THE_ABI_TAG, Finding
from .graph import Graph, plan_graph
from .musl import judge_musl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Optional

_OLDER_ARM = (Arch.ARMV7L, "linux_armv6l")

# What no tag excuses, not even linux_<arch>.
_BROKEN = ("record", "purelib", "malformed-elf", "architecture", *OF_THE_ABI_TAG)


class JudgeOptions(NamedTuple):
    """What a user may waive.

    :param exclude: patterns (as of a shell) of sonames that the environment will provide.
    :param isa_check: whether instruction-set requirements beyond the architecture's baseline count.
    :param musl: the oldest musl that a wheel without a claim is taken to be for. musl's symbols bear no versions, so
        nothing in a file says how old a musl it can do with; a claim, or the build's target, has to.
    :param abi3_check: whether a stable ABI tag that is not true counts.
    :param glibc: a version of glibc that is asked for: a policy as if it were published.
    """

    exclude: tuple[str, ...] = ()
    isa_check: bool = True
    musl: tuple[int, int] = (1, 2)
    abi3_check: bool = True
    glibc: Optional[tuple[int, int]] = None

    def excluded(self, soname: str) -> bool:
        """Whether the environment will provide this library."""
        if not self.exclude:
            return False
        from fnmatch import fnmatchcase

        return any(fnmatchcase(soname, pattern) for pattern in self.exclude)


class Verdict(NamedTuple):
    """What a wheel is.

    :param pure: it has no native code at all; then ``policy`` is ``None`` and nothing else matters.
    :param arch: the architecture that it was judged for; ``None`` for pure wheels.
    :param policy: the most portable tag that is true of it; ``None`` when none is.
    :param others: the same for other C libraries that the wheel claims (a static executable can serve several).
    :param findings: in a fixed order.
    :param external_libraries: sonames that neither the wheel nor the policy provides.
    :param claimed: the platform tags in the wheel's name.
    """

    pure: bool
    libc: Optional[Libc]
    arch: Optional[Arch]
    policy: Optional[PlatformTag]
    findings: tuple[Finding, ...]
    external_libraries: tuple[str, ...]
    claimed: tuple[str, ...]
    others: tuple[PlatformTag, ...] = ()

    @property
    def policy_name(self) -> str:
        """The tag that is true, ``linux_<arch>`` when no policy is, ``any`` for a pure wheel."""
        if self.policy is not None:
            return str(self.policy)
        return "any" if self.arch is None else f"linux_{self.arch_name}"

    @property
    def arch_name(self) -> str:
        """The architecture's name in tags, ``any`` for a pure wheel."""
        return "any" if self.arch is None else self.arch.value

    def satisfies(self, tag: PlatformTag) -> bool:
        """Whether a wheel with this verdict may bear ``tag``."""
        if self.pure:
            return True
        true = (self.policy, *self.others)
        # No machine promises another major version of the C library, so no tag of one can be true.
        return any(best and tag.covers(best) and tag.version[0] == best.version[0] for best in true)

    @property
    def false_claims(self) -> tuple[str, ...]:
        """The claimed platform tags that are not true."""
        return tuple(claim for claim in self.claimed if not self._is_true(claim))

    @property
    def compliant(self) -> bool:
        """Whether the wheel is what its tags claim."""
        broken = any(finding.kind in _BROKEN and not finding.warning for finding in self.findings)
        return not broken and not self.false_claims

    def _is_true(self, claim: str) -> bool:
        if claim == "any":
            return self.pure
        tag = find_platform_tag(claim)
        if tag is not None:
            return claim in tag.names and self.satisfies(tag)
        # Nothing that the loader reads tells ARMv6 from ARMv7, and there are no policies for the older one.
        return self.arch is None or claim == f"linux_{self.arch.value}" or (self.arch, claim) == _OLDER_ARM

    def blockers(self, tag: PlatformTag) -> tuple[Finding, ...]:
        """The findings because of which the wheel may not bear ``tag``."""
        return _blocking(self.findings, tag)


def _blocking(findings: Sequence[Finding], tag: PlatformTag) -> tuple[Finding, ...]:
    return tuple(
        finding
        for finding in findings
        if finding.limits and (finding.ceiling is None or not tag.covers(finding.ceiling))
    )


_USUAL = JudgeOptions()


class Known:
    """What was found out of files, not to be found out again: a repair judges the same ones three times.

    Whether they are the same is asked of all that was read of them.
    """

    def __init__(self) -> None:
        self._graphs: list[tuple[Mapping[str, ElfFacts], Libc, Graph]] = []
        self._findings: list[tuple[tuple[object, ...], Mapping[str, tuple[Finding, ...]]]] = []

    def graph(self, elves: Mapping[str, ElfFacts], libc: Libc) -> Graph:
        """See :func:`portable_backend.auditing.graph.plan_graph`."""
        for others, their_libc, graph in self._graphs:
            if their_libc is libc and others == elves:
                return graph
        made = plan_graph(elves, libc)
        self._graphs = [*self._graphs[-1:], (elves, libc, made)]
        return made

    def findings(self, scene: rules.Scene, options: JudgeOptions) -> tuple[Finding, ...]:
        """All findings of files."""
        tags = [policy.tag for policy in scene.policies]
        key = scene.libc, scene.arch, tags, options, scene.elves
        known = next((findings for other, findings in self._findings if other == key), None)
        if known is None:
            known = {member: tuple(_judge_file(scene, member)) for member in sorted(scene.elves)}
            self._findings = [*self._findings[-1:], (key, known)]
        return tuple(
            finding
            for member, findings in known.items()
            for finding in (*findings, *(raw.of(member) for raw in rules.judge_names(scene, member)))
        )


def judge(
    facts: WheelFacts,
    options: JudgeOptions = _USUAL,
    default_libc: Optional[Libc] = None,
    known: Optional[Known] = None,
) -> Verdict:
    """Judge a wheel.

    :param facts: what was read of it.
    :param known: what is known of its files, for several judgements.
    :param default_libc: the C library to judge by if neither the files nor the tag say one (glibc otherwise).
    """
    known = known or Known()
    claims = facts.name.platforms
    general = tuple(_general_findings(facts))
    if not facts.elves and not facts.malformed:
        verdict = Verdict(True, None, None, None, general, (), claims)
        return verdict._replace(findings=(*general, *_false_claims(verdict, facts, {})))
    tags = [tag for tag in map(find_platform_tag, claims) if tag is not None]
    arch = _choose_arch(facts, tags)
    libc = _choose_libc(facts.elves, tags, default_libc)
    if options.abi3_check and "abi3" in facts.name.abi:  # most wheels claim none: spare them the import
        from .stable_abi import judge_stable_abi

        general += tuple(
            raw.of(member) for member, raw in judge_stable_abi(facts, known.graph(facts.elves, libc), arch)
        )

    def judge_for(each: Libc) -> tuple[Optional[PlatformTag], tuple[Finding, ...]]:
        policies = _policies_for(each, arch, tags, options)
        graph = known.graph(facts.elves, each)
        scene = rules.Scene(
            facts.elves, graph, each, arch, policies, options.excluded, options.isa_check, facts.dlopen_names
        )
        findings = (*general, *_no_policy(facts, scene), *known.findings(scene, options))
        return _best_policy(policies, findings), findings

    policy, findings = judge_for(libc)
    others = {each: judge_for(each) for each in Libc if each is not libc and any(tag.libc is each for tag in tags)}
    external = {each.library for each in findings if each.kind == "external-library" and each.ceiling is None}
    verdict = Verdict(
        False,
        libc,
        arch,
        policy,
        findings,
        tuple(sorted(filter(None, external))),
        claims,
        tuple(sorted((best for best, _ in others.values() if best is not None), key=str)),
    )
    why = {each: found for each, (_, found) in others.items()}
    return verdict._replace(findings=(*findings, *_false_claims(verdict, facts, why)))


def _no_policy(facts: WheelFacts, scene: rules.Scene) -> Iterator[Finding]:
    if not scene.policies:
        message = f"there is no {scene.libc.family} policy for {scene.arch.value}"
        yield _finding("tag", f"{facts.dist_info}/WHEEL", message, "use another C library, or leave the tag linux")


def _false_claims(verdict: Verdict, facts: WheelFacts, others: Mapping[Libc, tuple[Finding, ...]]) -> Iterator[Finding]:
    """Why claimed tags are false, where the findings do not say so yet. The policy does not depend on claims: warnings.

    :param others: the findings by the other C libraries that the wheel claims.
    """
    file = min((*facts.elves, *facts.malformed), default="")
    tags_file = f"{facts.dist_info}/WHEEL"
    for claim in verdict.false_claims:
        tag = find_platform_tag(claim)
        if claim == "any":
            yield _claim(file, "is native code, in a wheel that claims to be for any platform")
        elif claim.startswith("linux_"):
            yield _claim(file, f"is judged as code for {verdict.arch_name}, in a wheel that claims {claim}")
        elif tag is None or claim not in tag.names or tag.version[0] not in (1, 2):
            yield _claim(tags_file, f"claims {claim}, which no machine accepts")
        elif tag.arch is not verdict.arch:
            yield _claim(file, f"is judged as code for {verdict.arch_name}, in a wheel that claims {claim}")
        elif tag.libc is not verdict.libc and _blocking(others[tag.libc], tag):
            first = _blocking(others[tag.libc], tag)[0]
            yield _claim(first.member, f"{first.message}; so the claim {claim} is false")
        elif not verdict.blockers(tag):
            yield _claim(tags_file, f"claims {claim}, which is older than the first policy for {verdict.arch_name}")


def _claim(member: str, message: str) -> Finding:
    return _finding("tag", member, message, "name the tags that are true, as repair does", warning=True)


def _policies_for(libc: Libc, arch: Arch, tags: Sequence[PlatformTag], options: JudgeOptions) -> Sequence[Policy]:
    """The policies that can come out: for musl none that is older than what was claimed or asked for.

    Every version of glibc is a tag (PEP 600), published as a policy or not: those that are claimed or asked for are
    judged as they stand.
    """
    policies = get_policies(libc, arch)
    if libc is not Libc.MUSL:
        if options.glibc is not None:
            tags = [*tags, PlatformTag(libc, options.glibc, arch)]
        known = {policy.tag: policy for policy in policies}
        known.update((tag, _unpublished(tag, policies[0])) for tag in _unpublished_tags(tags, libc, arch, policies))
        return sorted(known.values(), key=lambda policy: policy.tag.version)
    oldest = min((tag.version for tag in tags if tag.libc is libc), default=options.musl)
    return [policy for policy in policies if policy.tag.version >= oldest] or policies[-1:]


def _unpublished_tags(
    tags: Sequence[PlatformTag], libc: Libc, arch: Arch, policies: Sequence[Policy]
) -> Iterator[PlatformTag]:
    published = {policy.tag.version for policy in policies}
    newest = max(newest_known_glibc(), *published) if published else (0, 0)
    for tag in tags:
        ours = (tag.libc, tag.arch, tag.version[0]) == (libc, arch, newest[0])
        if ours and tag.version not in published and tag.version <= newest:
            yield tag


def _unpublished(tag: PlatformTag, first: Policy) -> Policy:
    """The policy of a tag between two published ones, or below all: then it promises glibc's own versions alone."""
    if tag.version > first.tag.version:
        return get_policy(tag)
    glibc = frozenset(each for each in first.versions["GLIBC"] if _numbers(each) <= tag.version)
    return first._replace(tag=tag, versions={**dict.fromkeys(first.versions, frozenset()), "GLIBC": glibc})


def _numbers(version: str) -> tuple[int, ...]:
    # A part that is no number, as in GLIBC_PRIVATE, belongs to no version.
    return tuple(int(part) if part.isdecimal() else 1 << 30 for part in version.split("."))


def _judge_file(scene: rules.Scene, member: str) -> Iterator[Finding]:
    for raw in (*rules.judge_file(scene, member), *judge_musl(scene, member)):
        yield raw.of(member)


def _general_findings(facts: WheelFacts) -> Iterator[Finding]:
    for lie in facts.record_lies:
        yield _finding("record", f"{facts.dist_info}/RECORD", lie, "build the wheel again")
    for member, reason in sorted(facts.malformed.items()):
        yield _finding("malformed-elf", member, reason, "build the file again; it may be truncated")
    for member in sorted(facts.symlinks):
        yield _symlink(member, facts.symlinks[member])
    tagged = facts.name.platforms != ("any",)  # then it only lands in the other one of two directories
    for member in sorted(facts.elves):
        if _lands_in_purelib(member, facts):
            message = "is native code among files that WHEEL calls pure Python (Root-Is-Purelib)"
            cure = "tell the inner backend that the project has native code, so that it tags the wheel by platform"
            yield _finding("purelib", member, message, cure, warning=tagged)


def _finding(kind: str, member: str, message: str, cure: str, warning: bool = False) -> Finding:
    """A finding that leaves no policy, or is a warning, about no library or symbol."""
    return Finding(kind, None, None, None, message, cure, warning, member)


def _symlink(member: str, target: Optional[str]) -> Finding:
    message = "is a symbolic link in the archive; installers write a small text file in its place"
    cure = "install a copy under one name only"
    if target is not None:
        cure = f"{cure}; repair puts a copy of {target} in its place"
    return _finding("symlink", member, message, cure, warning=True)


def _lands_in_purelib(member: str, facts: WheelFacts) -> bool:
    parts = member.split("/")
    if len(parts) > 2 and parts[0].endswith(".data"):
        return parts[1] == "purelib"
    return facts.root_is_purelib


def _choose_arch(facts: WheelFacts, tags: Sequence[PlatformTag]) -> Arch:
    """The claimed architecture; else that of most files."""
    if tags:
        return tags[0].arch
    for claim in facts.name.platforms:
        for arch in Arch:
            if claim == f"linux_{arch.value}":
                return arch
    counted = [arch for arch in map(arch_of, facts.elves.values()) if arch is not None]
    return max(sorted(set(counted), key=lambda each: each.value), key=counted.count) if counted else Arch.X86_64


def _choose_libc(elves: Mapping[str, ElfFacts], tags: Sequence[PlatformTag], default: Optional[Libc]) -> Libc:
    """The claimed C library; else the one that the files name; else the default."""
    if tags:
        return tags[0].libc
    named = [libc for libc in map(rules.libc_of, elves.values()) if libc is not None]
    if named:
        return max((Libc.GLIBC, Libc.MUSL), key=named.count)
    return default or Libc.GLIBC


def _best_policy(policies: Sequence[Policy], findings: Iterable[Finding]) -> Optional[PlatformTag]:
    if not policies:
        return None
    best = policies[0].tag
    for finding in findings:
        if not finding.limits:
            continue
        if finding.ceiling is None:
            return None
        best = max(best, finding.ceiling, key=lambda tag: tag.version)
    return best


__all__ = ["KINDS", "Finding", "Graph", "JudgeOptions", "Known", "Verdict", "judge"]
