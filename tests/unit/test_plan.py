"""What is planned from settings and facts of the machine, and why."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from portable_backend.errors import SettingsError
from portable_backend.machine import HostFacts
from portable_backend.plan import BuildPlan, InnerBackend, Request, plan_build
from portable_backend.policy.policy import get_policy
from portable_backend.settings import parse_settings
from portable_backend.targets import Arch, Libc

_HOST = HostFacts("linux", "x86_64", "glibc", (2, 36), None, False, False, False, None)


def _plan(
    settings: Any = None,
    arch: Arch = Arch.X86_64,
    libc: Libc = Libc.GLIBC,
    kind: str = "setuptools",
    environ: Any = None,
    **host: Any,
) -> BuildPlan:
    inner = InnerBackend("some.backend", (), kind)
    facts = dataclasses.replace(_HOST, **host)
    return plan_build(Request(arch, libc, {}), parse_settings(settings or {}, environ or {}), inner, facts)


@pytest.mark.parametrize(
    ("host", "settings", "strategy", "why"),
    [
        ({}, {}, "zig", "the default"),
        ({"system": "darwin"}, {}, "host", "darwin"),
        ({"policy_image": "manylinux_2_28_x86_64"}, {}, "host", "manylinux_2_28_x86_64"),
        ({"cibuildwheel": True}, {}, "host", "cibuildwheel"),
        ({"pip_build": True, "source_is_sdist": True}, {}, "host", "pip builds a published sdist"),
        ({"pip_build": True}, {}, "zig", "the default"),
        ({"source_is_sdist": True}, {}, "zig", "the default"),
        ({}, {"container": {"image": "x"}}, "container", "[tool.portable-backend.container]"),
        ({}, {"mode": "off"}, "host", "as it is"),
        ({}, {"mode": "off", "strategy": "container"}, "host", "as it is"),
        ({"cibuildwheel": True}, {"strategy": "zig"}, "zig", "[tool.portable-backend]"),
        ({"policy_image": "manylinux_2_28_x86_64"}, {"container": {"image": "x"}}, "host", "no container inside it"),
        ({"policy_image": "manylinux_2_28_x86_64"}, {"strategy": "container"}, "host", "no container inside it"),
        ({"cibuildwheel": True}, {"strategy": "container"}, "host", "cibuildwheel has chosen the environment"),
        ({"cibuildwheel": True}, {"container": {}}, "host", "cibuildwheel has chosen the environment"),
        ({}, {"container": {}}, "container", "[tool.portable-backend.container] is there"),
        ({}, {"container": {}, "strategy": "zig"}, "zig", "[tool.portable-backend]"),
        ({"pip_build": True}, {"container": {}}, "container", "[tool.portable-backend.container]"),
        ({"source_is_sdist": True}, {"container": {}}, "container", "[tool.portable-backend.container]"),
        ({"pip_build": True, "source_is_sdist": True}, {"container": {}}, "host", "pip builds a published sdist"),
        ({"pip_build": True, "source_is_sdist": True}, {"strategy": "container"}, "host", "pip builds a published"),
        ({"pip_build": True, "source_is_sdist": True}, {"strategy": "zig"}, "zig", "[tool.portable-backend]"),
    ],
)
def test_the_strategy_and_the_reason_for_it(host: Any, settings: Any, strategy: str, why: str) -> None:
    plan = _plan(settings, **host)
    assert plan.strategy == strategy
    (reason,) = (each for each in plan.reasons if each.startswith("strategy "))
    assert reason.startswith(f"strategy {strategy}: ")
    assert why in reason


def test_who_installs_a_published_sdist_and_asks_for_a_container_gets_it() -> None:
    installing: dict[str, Any] = {"pip_build": True, "source_is_sdist": True}
    environ = {"PORTABLE_BACKEND_STRATEGY": "container"}
    assert _plan(environ=environ, **installing).strategy == "container"
    assert _plan({"strategy": "container", "container": {}}, environ=environ, **installing).strategy == "container"
    engine = {"PORTABLE_BACKEND_CONTAINER_ENGINE": "podman"}
    assert _plan(environ=engine, **installing).strategy == "host", "an engine to use is no wish for a container"
    assert _plan(environ=engine).strategy == "container"


@pytest.mark.parametrize(
    ("arch", "libc", "target"),
    [
        (Arch.X86_64, Libc.GLIBC, "manylinux_2_28_x86_64"),
        (Arch.ARMV7L, Libc.GLIBC, "manylinux_2_31_armv7l"),
        (Arch.RISCV64, Libc.GLIBC, "manylinux_2_39_riscv64"),
        (Arch.LOONGARCH64, Libc.GLIBC, "manylinux_2_38_loongarch64"),
        (Arch.AARCH64, Libc.MUSL, "musllinux_1_2_aarch64"),
    ],
)
def test_the_default_target_of_a_container(arch: Arch, libc: Libc, target: str) -> None:
    assert str(_plan({"container": {}}, arch, libc).target) == target
    assert str(_plan({"strategy": "container"}, arch, libc).target) == target


@pytest.mark.parametrize("arch", Arch)
def test_every_architecture_has_a_policy_for_its_default_container(arch: Arch) -> None:
    plan = _plan({"container": {}}, arch)
    assert plan.target is not None
    get_policy(plan.target)


def test_an_image_speaks_for_itself_unless_a_target_is_named() -> None:
    plan = _plan({"container": {"image": "x"}})
    assert plan.target is None
    assert "the policy of the image" in plan.reasons[2]
    assert str(_plan({"container": {"image": "x"}, "target": "manylinux_2_34"}).target) == "manylinux_2_34_x86_64"


@pytest.mark.parametrize(
    ("images", "target"),
    [
        (["manylinux_2_34"], "manylinux_2_34_x86_64"),
        (["manylinux2014"], "manylinux_2_17_x86_64"),
        (["musllinux_1_2"], "musllinux_1_2_x86_64"),
        (["manylinux_2_34_x86_64", "manylinux_2_31_aarch64"], "manylinux_2_34_x86_64"),
        (["manylinux_2_34", "manylinux_2_34_x86_64"], "manylinux_2_34_x86_64"),
        (["manylinux_2_34", "musllinux_1_2"], "manylinux_2_34_x86_64"),
        (["manylinux_2_31_aarch64"], "manylinux_2_28_x86_64"),
        (["manylinux_2_31", "manylinux_2_34"], "manylinux_2_28_x86_64"),
    ],
)
def test_the_only_policy_that_has_an_image_is_the_default_target(images: list[str], target: str) -> None:
    assert str(_plan({"container": {"images": dict.fromkeys(images, "x")}}).target) == target


@pytest.mark.parametrize("target", ["musllinux_1_2", "manylinux_2_28_aarch64", "musllinux_1_2_s390x"])
def test_a_container_may_be_for_another_c_library_or_architecture(target: str) -> None:
    plan = _plan({"container": {}, "target": target})
    assert str(plan.target).startswith(target)
    assert "[tool.portable-backend]" in plan.reasons[2]


def test_a_container_reaches_no_target_that_does_not_exist() -> None:
    with pytest.raises(SettingsError, match="there is no policy musllinux_1_9_x86_64"):
        _plan({"container": {}, "target": "musllinux_1_9"})


@pytest.mark.parametrize("kind", ["flit-core", "uv-build"])
def test_no_toolchain_is_fetched_for_backends_that_build_pure_python_only(kind: str) -> None:
    assert _plan(kind=kind).strategy == "host"
    assert _plan({"strategy": "zig"}, kind=kind).strategy == "zig"


def test_a_machine_that_zig_has_no_wheel_for_takes_itself_as_it_is() -> None:
    plan = _plan(arch=Arch.S390X)
    assert (plan.strategy, plan.target) == ("host", None)
    assert _plan(arch=Arch.S390X, zig_on_path="/usr/bin/zig").strategy == "zig"


@pytest.mark.parametrize(
    ("arch", "libc", "target"),
    [
        (Arch.X86_64, Libc.GLIBC, "manylinux_2_17_x86_64"),
        (Arch.AARCH64, Libc.GLIBC, "manylinux_2_17_aarch64"),
        (Arch.PPC64LE, Libc.GLIBC, "manylinux_2_19_ppc64le"),
        (Arch.RISCV64, Libc.GLIBC, "manylinux_2_31_riscv64"),
        (Arch.X86_64, Libc.MUSL, "musllinux_1_2_x86_64"),
    ],
)
def test_the_default_target_of_a_toolchain(arch: Arch, libc: Libc, target: str) -> None:
    assert str(_plan({"strategy": "zig"}, arch, libc).target) == target


def test_a_target_without_architecture_is_for_the_interpreter_s() -> None:
    assert str(_plan({"target": "manylinux2014"}, Arch.AARCH64).target) == "manylinux_2_17_aarch64"


def test_the_host_strategy_lets_the_result_speak_unless_a_target_is_named() -> None:
    assert _plan({"strategy": "host"}).target is None
    assert str(_plan({"strategy": "host", "target": "manylinux_2_28"}).target) == "manylinux_2_28_x86_64"


def test_inside_an_image_its_policy_is_the_target() -> None:
    assert str(_plan(policy_image="manylinux_2_28_x86_64").target) == "manylinux_2_28_x86_64"
    assert _plan(policy_image="manylinux_2_28_aarch64").target is None, "the image of another architecture says nothing"
    assert (
        str(_plan({"target": "manylinux_2_34"}, policy_image="manylinux_2_28_x86_64").target) == "manylinux_2_34_x86_64"
    )


@pytest.mark.parametrize("target", ["musllinux_1_2", "manylinux_2_17_aarch64", "musllinux_1_2_s390x"])
def test_another_platform_is_zig_s_to_reach_and_the_plan_says_how(target: str) -> None:
    plan = _plan({"target": target})
    assert plan.strategy == "zig"
    (said,) = (reason for reason in plan.reasons if reason.startswith("cross build: "))
    assert "this interpreter is for x86_64 (glibc)" in said


@pytest.mark.parametrize("target", ["musllinux_1_2", "manylinux_2_17_aarch64"])
def test_another_platform_is_refused_where_the_machine_is_taken_as_it_is(target: str) -> None:
    with pytest.raises(SettingsError, match="host strategy") as caught:
        _plan({"strategy": "host", "target": target})
    assert 'strategy = "zig"' in str(caught.value.cure)
    assert _plan({"target": target}, kind="flit-core").strategy == "host", "pure Python is for all"


def test_whoever_names_another_platform_does_not_build_an_sdist_for_here() -> None:
    sdist = {"pip_build": True, "source_is_sdist": True}
    variable = {"PORTABLE_BACKEND_TARGET": "manylinux_2_17_aarch64"}
    assert _plan(environ=variable, **sdist).strategy == "zig"
    assert _plan(environ={"PORTABLE_BACKEND_TARGET": "manylinux_2_17"}, **sdist).strategy == "host"


def test_off_asks_for_nothing_that_could_fail() -> None:
    """Distributors set it where the project's target means nothing."""
    assert _plan({"target": "musllinux_1_2", "mode": "off"}).target is None


def test_a_plan_has_a_reason_for_each_decision() -> None:
    reasons = _plan({"mode": "check", "target": "manylinux_2_28"}).reasons
    assert [reason.split()[0] for reason in reasons] == ["mode", "strategy", "target", "inner"]
