"""What a repair would do, from facts alone: nothing of this machine is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import pytest
from elf_builder import Elf, isa_note
from wheel_maker import extension, libc_extension, shared

from portable_backend import elf
from portable_backend.auditing.facts import WheelFacts
from portable_backend.auditing.libraries import Closure, HostLibrary
from portable_backend.auditing.verdict import JudgeOptions, judge
from portable_backend.errors import NotCompliant, RepairError
from portable_backend.repairing.plan import RepairOptions, RepairPlan, plan_repair
from portable_backend.targets import Arch, parse_target
from portable_backend.wheels import parse_wheel_name

NAME = "demo-1.0-cp311-cp311-linux_x86_64.whl"


def host_library(path: str, data: bytes, digest: Optional[str] = None) -> HostLibrary:
    return HostLibrary(Path(path), elf.scan(data), digest or f"{abs(hash(path)):064x}"[-64:])


def planned(
    files: Mapping[str, bytes],
    libraries: Mapping[str, HostLibrary] = {},
    links: Mapping[tuple[str, str], str] = {},
    name: str = NAME,
    target: Optional[str] = None,
    **options: Any,
) -> RepairPlan:
    """The plan for these members and libraries; ``links`` say who finds what where."""
    facts = WheelFacts(
        name=parse_wheel_name(name),
        dist_info="demo-1.0.dist-info",
        root_is_purelib=False,
        elves={member: elf.scan(data) for member, data in files.items()},
        malformed={},
        digests={},
        record_lies=(),
        symlinks={},
    )
    closure = Closure(
        dict(libraries),
        dict(links),
    )
    tag = None if target is None else parse_target(target, Arch.X86_64)
    chosen = RepairOptions(target=tag, **options)
    return plan_repair(facts, judge(facts, chosen.judge), closure, chosen)


def plan_name(plan: RepairPlan, path: str) -> str:
    """The new name of the library that comes from a path."""
    (graft,) = [graft for graft in plan.grafts if str(graft.library.path) == path]
    assert graft.edits.soname is not None
    return graft.edits.soname


def foo(needed: tuple[str, ...] = (), **more: Any) -> bytes:
    return shared(needed=["libc.so.6", *needed], soname="libfoo.so.1", **more)


def test_nothing_to_do() -> None:
    plan = planned({"demo/ext.so": libc_extension()})
    assert (plan.grafts, plan.edits, plan.moved, plan.changes_files) == ((), {}, {}, False)
    assert plan.platforms == ("manylinux1_x86_64", "manylinux_2_5_x86_64")


def test_graft() -> None:
    files = {"demo/ext.so": libc_extension(needed=["libfoo.so.1"])}
    library = host_library("/opt/libfoo.so.1.2", foo(), "ab12cd34" + "0" * 56)
    plan = planned(files, {"/opt/libfoo.so.1.2": library}, {("demo/ext.so", "libfoo.so.1"): "/opt/libfoo.so.1.2"})
    (graft,) = plan.grafts
    new = "libfoo-ab12cd34.so.1.2"
    assert (graft.member, graft.edits.soname, graft.edits.rpath) == (f"demo.libs/{new}", new, "")
    assert plan.edits["demo/ext.so"].replace_needed == (("libfoo.so.1", new),)
    assert plan.edits["demo/ext.so"].rpath == "$ORIGIN/../demo.libs"
    assert plan.verdict.policy_name == "manylinux_2_5_x86_64"


def test_library_that_has_been_grafted_before_keeps_its_name() -> None:
    files = {"demo/ext.so": libc_extension(needed=["libfoo.so.1"])}
    path = "/site/other.libs/libfoo-ab12cd34.so.1"
    library = host_library(path, foo(), "ab12cd34" + "0" * 56)
    (graft,) = planned(files, {path: library}, {("demo/ext.so", "libfoo.so.1"): path}).grafts
    assert graft.member == "demo.libs/libfoo-ab12cd34.so.1"


def test_missing_library_names_who_needs_it() -> None:
    with pytest.raises(RepairError, match=r"demo/ext\.so needs libfoo\.so\.1"):
        planned({"demo/ext.so": libc_extension(needed=["libfoo.so.1"])})


def test_graft_can_cost_portability() -> None:
    """The verdict is that of the wheel with its grafts, not of its own files alone."""
    files = {"demo/ext.so": libc_extension(needed=["libfoo.so.1"])}
    library = host_library("/opt/libfoo.so.1", foo(versioned=[("f", "GLIBC_2.34", "libc.so.6")]))
    links = {("demo/ext.so", "libfoo.so.1"): "/opt/libfoo.so.1"}
    plan = planned(files, {"/opt/libfoo.so.1": library}, links)
    assert plan.platforms == ("manylinux_2_34_x86_64",)
    with pytest.raises(NotCompliant, match=r"demo\.libs/libfoo-[0-9a-f]{8}\.so\.1: needs f@GLIBC_2\.34"):
        planned(files, {"/opt/libfoo.so.1": library}, links, target="manylinux_2_17")


def test_promised_library_is_not_grafted_where_the_target_has_it() -> None:
    """libmvec is promised since manylinux_2_24: older targets need a copy, and there is none here."""
    files = {"demo/ext.so": libc_extension(needed=["libmvec.so.1"])}
    plan = planned(files, target="manylinux_2_28")
    assert plan.grafts == ()
    with pytest.raises(RepairError, match=r"libmvec\.so\.1"):
        planned(files, target="manylinux_2_17")
    assert planned(files).platforms == ("manylinux_2_24_x86_64",)


def test_same_library_in_two_places() -> None:
    files = {f"demo/{name}.so": libc_extension(module=name, needed=["libfoo.so.1"]) for name in "ab"}
    libraries = {path: host_library(path, foo(), "0" * 64) for path in ("/one/libfoo.so.1", "/two/libfoo.so.1")}
    links = {("demo/a.so", "libfoo.so.1"): "/one/libfoo.so.1", ("demo/b.so", "libfoo.so.1"): "/two/libfoo.so.1"}
    plan = planned(files, libraries, links)
    assert len(plan.grafts) == 1
    assert plan.edits["demo/a.so"] == plan.edits["demo/b.so"]


def test_same_library_that_finds_different_ones() -> None:
    files = {f"demo/{name}.so": libc_extension(module=name, needed=["libfoo.so.1"]) for name in "ab"}
    libraries = {}
    links = {}
    for name, place in (("a", "/one"), ("b", "/two")):
        libraries[f"{place}/libfoo.so.1"] = host_library(f"{place}/libfoo.so.1", foo(needed=("libbar.so",)), "0" * 64)
        libraries[f"{place}/libbar.so"] = host_library(f"{place}/libbar.so", shared(soname="libbar.so"), place[1:] * 20)
        links[f"demo/{name}.so", "libfoo.so.1"] = f"{place}/libfoo.so.1"
        links[f"{place}/libfoo.so.1", "libbar.so"] = f"{place}/libbar.so"
    plan = planned(files, libraries, links)
    wired = {graft.edits.soname: graft.edits.replace_needed[0][1] for graft in plan.grafts if graft.edits.rpath}
    assert len(plan.grafts) == 4
    assert len(wired) == len(set(wired.values())) == 2
    first, second = (plan.edits[f"demo/{name}.so"].replace_needed[0][1] for name in "ab")
    bars = [plan_name(plan, f"/{place}/libbar.so") for place in ("one", "two")]
    assert [wired[first], wired[second]] == bars


def test_entries_of_the_old_path() -> None:
    path = "/opt:$ORIGIN:$ORIGIN/../../..:$ORIGIN/lib:$LIB:$ORIGIN"
    plan = planned({"demo/ext.so": libc_extension(runpath=path)})
    assert plan.edits["demo/ext.so"].rpath == "$ORIGIN:$ORIGIN/lib"
    assert planned({"demo/ext.so": libc_extension(runpath="$ORIGIN/lib")}).edits == {}
    assert planned({"demo/ext.so": libc_extension(rpath="/opt")}).edits["demo/ext.so"].rpath == ""


def test_libpython_goes_from_modules_and_stays_with_executables() -> None:
    plan = planned({"demo/ext.so": libc_extension(needed=["libpython3.14t.so.1.0"])})
    assert plan.edits["demo/ext.so"].remove_needed == ("libpython3.14t.so.1.0",)
    tool = shared(needed=["libc.so.6", "libpython3.11.so.1.0"], interpreter="/lib64/ld-linux-x86-64.so.2")
    with pytest.raises(NotCompliant, match=r"libpython3\.11"):
        planned({"demo/tool": tool})


def test_script_moves_only_for_libraries_beside_the_package() -> None:
    parts: dict[str, Any] = {"interpreter": "/lib64/ld-linux-x86-64.so.2"}
    tool = shared(needed=["libc.so.6", "libfoo.so.1"], **parts)
    script = "demo-1.0.data/scripts/tool"
    inside = planned({script: tool, "demo/libfoo.so.1": foo()})
    assert inside.moved == {script: "demo.scripts/tool"}
    assert inside.edits[script].rpath == "$ORIGIN/../demo"
    beside = planned({script: tool, "demo-1.0.data/data/lib/libfoo.so.1": foo()})
    assert beside.moved == {}
    assert beside.edits[script].rpath == "$ORIGIN/../lib"


def test_extension_cannot_reach_a_library_of_the_environment() -> None:
    """``lib`` of the environment is not at a fixed place relative to site-packages: the copy there is of no use."""
    files = {"demo/ext.so": libc_extension(needed=["libfoo.so.1"]), "demo-1.0.data/data/lib/libfoo.so.1": foo()}
    with pytest.raises(RepairError, match=r"libfoo\.so\.1"):
        planned(files)


def test_files_for_other_machines_are_left_alone() -> None:
    files = {"demo/ext.so": libc_extension(), "demo/arm": shared(machine=183, needed=["libx.so"], rpath="/opt")}
    plan = planned(files)
    assert (plan.edits, plan.grafts) == ({}, ())


def test_true_claims_are_kept_and_false_ones_dropped() -> None:
    name = "demo-1.0-cp311-cp311-manylinux_2_12_x86_64.manylinux_2_28_x86_64.whl"
    plan = planned({"demo/ext.so": libc_extension("GLIBC_2.14")}, name=name)
    assert plan.platforms == ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")


def test_only_the_tag_asked_for() -> None:
    plan = planned({"demo/ext.so": libc_extension()}, target="manylinux_2_28", only_target_tag=True)
    assert plan.platforms == ("manylinux_2_28_x86_64",)


@pytest.mark.parametrize(
    ("version", "platform"), [("GLIBC_2.2.5", "manylinux_2_5_x86_64"), ("GLIBC_2.36", "manylinux_2_36_x86_64")]
)
def test_best_policy_without_a_target(version: str, platform: str) -> None:
    assert platform in planned({"demo/ext.so": libc_extension(version)}).platforms


def test_excluded_library_needs_no_graft() -> None:
    files = {"demo/ext.so": libc_extension(needed=["libcuda.so.1"])}
    plan = planned(files, judge=JudgeOptions(exclude=("libcuda.so.*",)))
    assert (plan.edits, plan.grafts) == ({}, ())


def test_what_no_repair_can_cure() -> None:
    with pytest.raises(NotCompliant, match="nobody_has_this"):
        planned({"demo/ext.so": libc_extension(undefined=["nobody_has_this"])})
    with pytest.raises(NotCompliant, match="x86-64-v2"):
        planned({"demo/ext.so": extension(note=isa_note(Elf(), 3))})


def test_plan_foretells_what_will_be_written() -> None:
    """The same judge, on facts that the edits foretell."""
    files = {"demo/ext.so": libc_extension(needed=["libfoo.so.1"], stack=7)}
    library = host_library("/opt/libfoo.so.1", foo(stack=7))
    links = {("demo/ext.so", "libfoo.so.1"): "/opt/libfoo.so.1"}
    plan = planned(files, {"/opt/libfoo.so.1": library}, links, clear_execstack=True)
    assert plan.verdict.findings == ()
    assert plan.grafts[0].edits.clear_execstack
    assert plan.edits["demo/ext.so"].clear_execstack
