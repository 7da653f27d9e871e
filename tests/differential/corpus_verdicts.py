"""Our verdict on a wheel of the corpus beside auditwheel's, and whether ours is explained.

auditwheel takes seconds to minutes for a wheel, so its answers are kept beside the wheels, by its version and the
wheel's hash. They depend on the machine that asked (it judges libraries of the machine too); ours must not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Optional

from corpus import Entry
from corpus_differences import DIFFERENCES, ELF_DIFFERENCES, UNTRUE
from corpus_elf import ElfComparison

from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.verdict import Finding, JudgeOptions, Verdict
from portable_backend.errors import PortableBackendError
from portable_backend.policy.policy import get_policies
from portable_backend.targets import find_platform_tag

TIME_LIMIT = 1800


@dataclass(frozen=True)
class Comparison:
    """Two verdicts on one wheel.

    :param ours: the policy, ``any`` for pure wheels, or ``error: …``.
    :param theirs: likewise, by auditwheel; ``error`` where it failed.
    :param untrue: the claimed tags that we say are not true.
    :param unexplained: what our verdict says without a finding that bears it out.
    """

    entry: Entry
    ours: str
    theirs: str
    compliant: bool
    untrue: tuple[str, ...]
    unexplained: tuple[str, ...]
    explained: bool
    seconds: float
    their_seconds: float
    verdict: Optional[Verdict]


def compare(entry: Entry, path: Path, cache: Path) -> Comparison:
    """Judge one wheel both ways."""
    answer = auditwheel_answer(entry, path, cache)
    begin = time.process_time()
    try:
        verdict = read_verdict(path, JudgeOptions())
    except PortableBackendError as error:
        ours = f"error: {error.message}"
        seconds = time.process_time() - begin
        return Comparison(
            entry, ours, theirs_of(answer), False, (), (ours,), False, seconds, answer["cpu_seconds"], None
        )
    seconds = time.process_time() - begin
    with zipfile.ZipFile(path) as archive:
        members = frozenset(archive.namelist())
    due = needs_explaining(verdict)
    return Comparison(
        entry=entry,
        ours=verdict.policy_name,
        theirs=theirs_of(answer),
        compliant=verdict.compliant,
        untrue=verdict.false_claims,
        unexplained=tuple(unexplained(verdict, members)) if due else (),
        explained=due,
        seconds=seconds,
        their_seconds=answer["cpu_seconds"],
        verdict=verdict,
    )


def needs_explaining(verdict: Verdict) -> bool:
    """Whether it is anything but the best there is: not the most portable policy known, or not what is claimed."""
    if verdict.pure:
        return not verdict.compliant
    assert verdict.libc is not None
    assert verdict.arch is not None
    policies = get_policies(verdict.libc, verdict.arch)
    return not verdict.compliant or not policies or verdict.policy != policies[0].tag


def unexplained(verdict: Verdict, members: frozenset[str]) -> Iterator[str]:
    """What a reader of the findings would still ask."""
    for finding in verdict.findings:
        if not finding.message or finding.member not in members:
            yield f"a {finding.kind} finding names {finding.member!r} and says {finding.message!r}"
    if verdict.pure:
        return
    errors = [finding for finding in verdict.findings if not finding.warning]
    if verdict.policy_name != floor_of(verdict) and not any(_decides(finding, verdict) for finding in errors):
        yield f"nothing says why it is {verdict.policy_name}"
    for claim in verdict.false_claims:
        tag = find_platform_tag(claim)
        if tag is not None and not verdict.blockers(tag) and tag.arch is verdict.arch:
            yield f"nothing says why {claim} is not true"


def floor_of(verdict: Verdict) -> str:
    """The policy that a wheel without a single finding would get."""
    assert verdict.libc is not None
    assert verdict.arch is not None
    policies = get_policies(verdict.libc, verdict.arch)
    claims = [tag for tag in map(find_platform_tag, verdict.claimed) if tag is not None and tag.libc is verdict.libc]
    if verdict.libc.family == "musllinux" and claims:  # unversioned symbols: no older than what it claims
        oldest = min(tag.version for tag in claims)
        policies = tuple(policy for policy in policies if policy.tag.version >= oldest) or policies[-1:]
    older = [tag for tag in claims if policies and tag.arch is verdict.arch and tag.version < policies[0].tag.version]
    if older and verdict.libc.family == "manylinux":  # PEP 600: a tag that no list has to name
        return str(min(older, key=lambda tag: tag.version))
    return str(policies[0].tag) if policies else f"linux_{verdict.arch.value}"


def _decides(finding: Finding, verdict: Verdict) -> bool:
    return finding.ceiling == verdict.policy


# ---- auditwheel ----


def auditwheel_answer(entry: Entry, path: Path, cache: Path) -> dict[str, Any]:
    """What the installed auditwheel says of a wheel, asked once."""
    version = metadata.version("auditwheel")
    kept = cache / "auditwheel" / version / f"{entry.sha256}.json"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(_ask_auditwheel(path, version), indent=1) + "\n", "utf-8")
    answer: dict[str, Any] = json.loads(kept.read_bytes())
    return answer


def _ask_auditwheel(path: Path, version: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "auditwheel", "show", "--json", "--allow-pure-python-wheel", str(path)]
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIME_LIMIT)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    return {
        "auditwheel": version,
        "wheel": path.name,
        "exit_code": done.returncode,
        "cpu_seconds": round(used, 2),
        "answer": answer,
        "said": "" if answer else done.stdout[-500:] + done.stderr[-1500:],
    }


def theirs_of(answer: dict[str, Any]) -> str:
    """The policy in an answer, ``any`` for pure wheels, ``error`` with its words where it gave none."""
    found = answer["answer"] or {}
    if "overall_tag" in found:
        return str(found["overall_tag"])
    if found.get("pure"):
        return "any"
    said = found.get("error") or answer["said"].strip().rpartition("\n")[2]
    return f"error: {said[:200]}"


# ---- what is listed, and what is not ----


def unlisted(comparison: Comparison) -> Iterator[str]:
    """What one comparison has that the lists do not, and the other way round."""
    file = comparison.entry.file
    listed = DIFFERENCES.get(file)
    theirs = comparison.theirs.partition(":")[0]
    if listed is None and comparison.ours != theirs:
        yield f"{file}: we say {comparison.ours}, auditwheel {comparison.theirs}"
    elif listed is not None and (comparison.ours, theirs) != (listed.ours, listed.theirs):
        yield f"{file}: listed as {listed.ours} and {listed.theirs}, found {comparison.ours} and {comparison.theirs}"
    if (file in UNTRUE) != bool(comparison.untrue or not comparison.compliant):
        found = f"untrue are {comparison.untrue}" if comparison.untrue else f"compliant: {comparison.compliant}"
        yield f"{file}: {'listed' if file in UNTRUE else 'not listed'} as untrue; {found}"
    for line in comparison.unexplained:
        yield f"{file}: not explained: {line}"


def unlisted_elf(comparison: ElfComparison) -> Iterator[str]:
    """The differences in one wheel's ELF files that are not listed."""
    for member, line in comparison.lines:
        if not any(
            (comparison.wheel, member) == (file, name) and line.startswith(start)
            for file, name, start in ELF_DIFFERENCES
        ):
            yield f"{comparison.wheel}: {member}: {line}"
