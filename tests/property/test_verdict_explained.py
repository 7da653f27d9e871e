"""Whatever a wheel holds: its verdict follows from its findings, and each false claim has a reason."""

from __future__ import annotations

from typing import Optional

from hypothesis import given, settings
from hypothesis import strategies as st

from portable_backend.auditing.explain import line_of
from portable_backend.auditing.facts import WheelFacts
from portable_backend.auditing.verdict import KINDS, JudgeOptions, Known, Verdict, judge
from portable_backend.elf import ElfFacts, ExportedSymbol, ImportedSymbol, VersionNeed
from portable_backend.policy.policy import get_policies, newest_known_glibc
from portable_backend.targets import Arch, Libc, PlatformTag, find_platform_tag
from portable_backend.wheels import parse_wheel_name

LIBRARIES = [
    "libc.so.6", "libm.so.6", "libz.so.1", "libstdc++.so.6", "libmvec.so.1", "libfoo.so.1", "libpython3.14t.so.1.0",
    "libc.so", "libc.musl-x86_64.so.1", "lib/libfoo.so.1", "",
]  # fmt: skip
VERSIONS = [
    "GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.34", "GLIBC_2.99", "GLIBC_PRIVATE", "GLIBC_ABI_DT_RELR", "GLIBCXX_3.4.30",
    "ZLIB_1.2.9", "UNHEARD_1", "",
]  # fmt: skip
SYMBOLS = ["malloc", "arc4random", "PyList_New", "PyInit_ext", "dlopen", "foo", "_ZSt4cout", "_dist_code", "PyFPE_jbuf"]
PATHS = [None, "", "$ORIGIN", "$ORIGIN/../..", "/opt", "$ORIGIN/$LIB"]
MEMBERS = ["demo/ext.so", "demo/libfoo.so.1", "demo/x.py", "demo-1.0.data/scripts/tool", "demo-1.0.data/purelib/a.so"]
CLAIMS = [
    "any", "linux_x86_64", "linux_aarch64", "manylinux_2_17_x86_64", "manylinux1_x86_64", "manylinux_2_4_x86_64",
    "manylinux_3_1_x86_64", "manylinux_2_17_aarch64", "manylinux_2_17_vax", "musllinux_1_1_x86_64",
    "musllinux_1_2_x86_64", "musllinux_1_0_x86_64", "musllinux_1_2_ppc64", "manylinux_2_28_ppc64", "linux_armv7l",
    "manylinux_02_17_x86_64", "linux_vax",
]  # fmt: skip

versioned = st.builds(
    ImportedSymbol, st.sampled_from(SYMBOLS), st.sampled_from(VERSIONS), st.sampled_from(LIBRARIES), st.booleans()
)
plain = st.builds(ImportedSymbol, st.sampled_from(SYMBOLS), st.none(), st.none(), st.booleans())
elves = st.builds(
    ElfFacts,
    bits=st.sampled_from([64, 64, 64, 32]),
    little=st.sampled_from([True, True, True, False]),
    machine=st.sampled_from([62, 62, 62, 183, 40, 21, 8]),
    type=st.sampled_from([2, 3, 3]),
    flags=st.sampled_from([0, 0x05000400]),
    interpreter=st.sampled_from([None, None, "/lib64/ld-linux-x86-64.so.2", "/nix/ld-linux-x86-64.so.2"]),
    dynamic=st.booleans(),
    soname=st.sampled_from([None, "libfoo.so.1"]),
    needed=st.lists(st.sampled_from(LIBRARIES), max_size=4, unique=True).map(tuple),
    rpath=st.sampled_from(PATHS),
    runpath=st.sampled_from(PATHS),
    version_needs=st.lists(
        st.builds(VersionNeed, st.sampled_from(LIBRARIES), st.lists(st.sampled_from(VERSIONS), max_size=3).map(tuple)),
        max_size=3,
    ).map(tuple),
    version_definitions=st.lists(st.sampled_from(VERSIONS), max_size=2).map(tuple),
    imports=st.lists(st.one_of(versioned, plain), max_size=4).map(tuple),
    exports=st.lists(
        st.builds(ExportedSymbol, st.sampled_from(SYMBOLS), st.none(), st.just(True)), max_size=3
    ).map(tuple),
    executable_stack=st.booleans(),
    text_relocations=st.booleans(),
    relr=st.booleans(),
    ifunc=st.booleans(),
    isa_needed=st.sampled_from([0, 0, 1, 2, 8, 16]),
)  # fmt: skip


@st.composite
def wheels(draw: st.DrawFn) -> WheelFacts:
    files = draw(st.dictionaries(st.sampled_from(MEMBERS), elves, max_size=3))
    claims = ".".join(draw(st.lists(st.sampled_from(CLAIMS), min_size=1, max_size=3, unique=True)))
    return WheelFacts(
        name=parse_wheel_name(f"demo-1.0-cp311-cp311-{claims}.whl"),
        dist_info="demo-1.0.dist-info",
        root_is_purelib=draw(st.booleans()),
        elves=files,
        malformed=draw(st.dictionaries(st.just("demo/broken.so"), st.just("is truncated"), max_size=1)),
        digests={},
        record_lies=draw(st.sampled_from([(), ("does not list demo/ext.so",)])),
        symlinks=draw(st.sampled_from([{}, {"demo/link": None}, {"demo/link": "demo/x.py"}])),
        dlopen_names=dict.fromkeys(files, ("libnowhere.so.1", "libm.so.6")),
    )


options = st.builds(JudgeOptions, st.sampled_from([(), ("libfoo*",), ("*",)]), st.booleans())


def worst(verdict: Verdict, policies: list[PlatformTag]) -> Optional[PlatformTag]:
    """The policy that is left when every finding has had its say."""
    ceilings = [finding.ceiling for finding in verdict.findings if not finding.warning]
    if None in ceilings or not policies:
        return None
    return max([policies[0], *filter(None, ceilings)], key=lambda tag: tag.version)


@settings(deadline=None, max_examples=300)
@given(wheels(), options)
def test_every_verdict_follows_from_its_findings(facts: WheelFacts, choices: JudgeOptions) -> None:
    verdict = judge(facts, choices)
    members = {*facts.elves, *facts.malformed, *facts.symlinks, "demo-1.0.dist-info/RECORD", "demo-1.0.dist-info/WHEEL"}
    for finding in verdict.findings:
        assert finding.kind in KINDS
        assert finding.member in members
        assert finding.message
        assert finding.cure, finding
        assert finding.member in line_of(finding)
    if verdict.pure:
        assert not facts.elves
        return
    assert verdict.libc is not None
    assert verdict.arch is not None
    claimed = [tag for tag in map(find_platform_tag, verdict.claimed) if tag and tag.libc is verdict.libc]
    floor = min((tag.version for tag in claimed), default=choices.musl) if verdict.libc is Libc.MUSL else (0, 0)
    published = {policy.tag for policy in get_policies(verdict.libc, verdict.arch)}
    # A claimed tag that no policy is named after is as good as any that PEP 600 gives a meaning.
    meant = {tag for tag in claimed if tag.arch is verdict.arch and (2,) < tag.version <= newest_known_glibc()}
    if verdict.libc is Libc.MUSL or not published:
        meant = set()
    known = sorted(published | meant, key=lambda tag: tag.version)
    assert verdict.policy == worst(verdict, [tag for tag in known if tag.version >= floor] or known[-1:])


@settings(deadline=None, max_examples=300)
@given(wheels(), options)
def test_every_false_claim_has_a_reason(facts: WheelFacts, choices: JudgeOptions) -> None:
    verdict = judge(facts, choices)
    for claim in verdict.false_claims:
        tag = find_platform_tag(claim)
        said = [each for each in verdict.findings if each.kind == "tag" and (claim in each.message or claim == "any")]
        same = tag is not None and (tag.libc, tag.arch) == (verdict.libc, verdict.arch)
        assert said or (same and verdict.blockers(tag)), (claim, verdict)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=100)
@given(wheels(), options)
def test_the_order_of_the_archive_changes_nothing(facts: WheelFacts, choices: JudgeOptions) -> None:
    backward = facts._replace(elves=dict(reversed(facts.elves.items())))
    assert judge(backward, choices) == judge(facts, choices)


def test_every_architecture_has_a_verdict() -> None:
    facts = ElfFacts(64, True, 62, 3, 0, None, True, None, (), None, None, (), (), (), (), *[False] * 4, 0)
    for arch in Arch:
        flags = 0x05000400 if arch is Arch.ARMV7L else 0
        own = facts._replace(machine=arch.machine, bits=arch.bits, little=arch.little, flags=flags)
        for family in ("manylinux_2_41", "musllinux_1_2"):
            name = parse_wheel_name(f"demo-1.0-cp311-cp311-{family}_{arch.value}.whl")
            verdict = judge(WheelFacts(name, "demo-1.0.dist-info", False, {"demo/a.so": own}, {}, {}, (), {}))
            assert verdict.compliant or verdict.findings, (family, arch)


@settings(deadline=None, max_examples=100)
@given(st.lists(wheels(), min_size=2, max_size=4), st.lists(options, min_size=2, max_size=2))
def test_what_is_known_changes_nothing(facts: list[WheelFacts], choices: list[JudgeOptions]) -> None:
    known = Known()
    for each in (*facts, *reversed(facts)):
        for choice in choices:
            assert judge(each, choice, known=known) == judge(each, choice)
