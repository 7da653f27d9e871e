"""Policy by policy, and what to type: of verdicts that are made up, with no file at all."""

from __future__ import annotations

import shlex
from typing import Optional

import pytest

from portable_backend.auditing.finding import Finding
from portable_backend.auditing.steps import find_remedy, next_better, plan_remedies, plan_steps
from portable_backend.auditing.verdict import Verdict
from portable_backend.settings import parse_settings
from portable_backend.targets import Arch, Libc, PlatformTag

try:
    import tomllib
except ImportError:
    import tomli as tomllib  # type: ignore[no-redef]


def tag(minor: int, libc: Libc = Libc.GLIBC) -> PlatformTag:
    return PlatformTag(libc, (2 if libc is Libc.GLIBC else 1, minor), Arch.X86_64)


def finding(
    ceiling: Optional[PlatformTag], kind: str = "symbol-version", library: Optional[str] = "libc.so.6", **more: str
) -> Finding:
    symbol = f"f@GLIBC_{ceiling.version[1]}" if ceiling else None
    return Finding(
        kind, library, symbol, ceiling, more.get("message", "needs it"), more.get("cure", "do it"), False, "demo/x.so"
    )


def verdict(
    policy: Optional[PlatformTag], *findings: Finding, claimed: str = "linux_x86_64", libc: Libc = Libc.GLIBC
) -> Verdict:
    return Verdict(False, libc, Arch.X86_64, policy, findings, (), (claimed,))


def test_each_finding_is_told_once_at_the_newest_policy_that_it_rules_out() -> None:
    some = [finding(tag(34)), finding(tag(28)), finding(None, "external-library", "libfoo.so.1")]
    steps = plan_steps(verdict(None, *some))
    assert [each for step in steps for each in step.own] == [some[2], some[0], some[1]]
    assert {step.tag.version[1]: step.own for step in steps if step.own} == {
        41: (some[2],),
        31: (some[0],),
        27: (some[1],),
    }
    assert all(set(step.own) <= set(step.blockers) for step in steps)
    assert [len(step.blockers) for step in steps] == sorted(len(step.blockers) for step in steps)
    assert not any(step.true for step in steps)


def test_one_step_better_is_the_next_and_reaches_as_far_as_nothing_else_is_in_the_way() -> None:
    some = [finding(tag(34)), finding(tag(28))]
    true = verdict(tag(34), *some)
    better = next_better(true, plan_steps(true))
    assert better is not None
    assert (better.tag, better.reaches, better.blockers) == (tag(31), tag(28), (some[0],))
    alone = verdict(tag(34), some[0])
    better = next_better(alone, plan_steps(alone))
    assert better is not None
    assert (better.reaches, better.target) == (tag(5), tag(17))
    best = verdict(tag(5))
    assert next_better(best, plan_steps(best)) is None


def test_a_claim_between_policies_is_a_step_and_an_older_musl_is_not_known() -> None:
    between = verdict(tag(34), finding(tag(34)), claimed="manylinux_2_29_x86_64")
    assert tag(29) in {step.tag for step in plan_steps(between)}
    musl = verdict(tag(2, Libc.MUSL), claimed="musllinux_1_2_x86_64", libc=Libc.MUSL)
    assert {str(step.tag): step.true for step in plan_steps(musl)} == {
        "musllinux_1_2_x86_64": True,
        "musllinux_1_1_x86_64": None,
    }
    assert next_better(musl, plan_steps(musl)) is None


@pytest.mark.parametrize("target", [None, tag(36), tag(17), tag(5)])
@pytest.mark.parametrize("ceiling", [tag(36), tag(17), tag(12)])
def test_what_is_built_as_told_is_older_than_what_was_in_the_way(
    ceiling: PlatformTag, target: Optional[PlatformTag]
) -> None:
    remedy = find_remedy(finding(ceiling), "x.whl", target)
    (line,) = [line for line in remedy.setting if line.startswith("target")]
    assert int(line.rpartition("_")[2].strip('"')) < ceiling.version[1]


@pytest.mark.parametrize(
    "each",
    [
        finding(tag(28)),
        finding(None, "external-library", 'lib"x\\y\n.so'),
        finding(None, "external-library", "libx.so.1"),
        finding(tag(28), "external-library", "libX11.so.6"),
        finding(tag(28), "forbidden-symbol", "libX11.so.6"),
        finding(None, "instruction-set", None),
        finding(None, "executable-stack", None),
    ],
)
def test_what_is_told_to_be_written_is_taken(each: Finding) -> None:
    """The lines are TOML, and settings that we know; the command is one that we have."""
    remedy = find_remedy(each, "a dir/x.whl", tag(17))
    table = tomllib.loads("\n".join(remedy.setting))
    assert table
    parse_settings({"tool": {"portable-backend": table}}["tool"]["portable-backend"], {}, None)
    assert shlex.split(str(remedy.command))[0] == "portable-backend"


def test_no_graft_of_the_c_library_is_advised() -> None:
    for kind in ("external-library", "forbidden-symbol"):
        assert find_remedy(finding(tag(28), kind, "libc.so.6"), "x.whl").setting == ()


def test_the_same_cure_is_told_once() -> None:
    some = [finding(tag(28)), finding(tag(34))]
    assert len(plan_remedies(some, "x.whl", tag(17))) == 1
