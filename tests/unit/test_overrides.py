"""Overrides: which apply to a build, what they change, and what is said about mistakes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from portable_backend import pipeline
from portable_backend.errors import SettingsError
from portable_backend.interpreters import Interpreter
from portable_backend.machine import HostFacts
from portable_backend.overrides import resolve_overrides
from portable_backend.plan import BuildPlan, InnerBackend, Request, plan_build
from portable_backend.settings import ContainerSettings, Settings, parse_settings, settings_from_json, settings_to_json
from portable_backend.targets import Arch, Libc

_HOST = HostFacts("linux", "x86_64", "glibc", (2, 36), None, False, False, False, None)
_PYTHON = Interpreter("/python", "cpython", (3, 12, 4), "x86_64", 64, "linux-x86_64", "/", (), {})
_INNER = InnerBackend("some.backend", (), "setuptools")
_NUMBER = "[[tool.portable-backend.overrides]] number"


def _resolve(
    table: Any,
    environ: Any = None,
    config: Any = None,
    arch: Arch = Arch.X86_64,
    libc: Libc = Libc.GLIBC,
    python: Interpreter = _PYTHON,
    **host: Any,
) -> tuple[Settings, BuildPlan]:
    facts, request = dataclasses.replace(_HOST, **host), Request(arch, libc, {})
    settings = resolve_overrides(parse_settings(table, environ or {}, config), request, _INNER, facts, python)
    return settings, plan_build(request, settings, _INNER, facts)


def _applies(conditions: Any, table: Any = None, **more: Any) -> bool:
    settings, _ = _resolve({**(table or {}), "overrides": [{"if": conditions, "strip": True}]}, **more)
    assert settings.overrides == (), "what has been applied is not to be applied again"
    return settings.strip


def _refused(*overrides: Any, **table: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        parse_settings({**table, "overrides": list(overrides)}, {})
    return caught.value


# --- conditions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "applies"),
    [
        ("manylinux*", True),
        ("manylinux_2_17", True),
        ("manylinux_2_17_x86_64", True),
        ("manylinux2014", True),
        ("manylinux2014_x86_64", True),
        ("manylinux2014*", True),
        ("manylinux_2_1?", True),
        ("*_x86_64", True),
        ("manylinux_2_17_amd64", True),
        ("manylinux_2_28", False),
        ("manylinux_2_17_aarch64", False),
        ("musllinux_*", False),
        (["musllinux_*", "manylinux_2_17"], True),
        (["musllinux_*", "manylinux_2_28"], False),
    ],
)
def test_a_target_is_compared_in_all_its_spellings(pattern: Any, applies: bool) -> None:
    assert _applies({"target": pattern}, {"target": "manylinux2014"}) is applies
    assert _applies({"target": pattern}) is applies, "the default target is the same"


@pytest.mark.parametrize(
    ("pattern", "arch", "applies"),
    [
        ("aarch64", Arch.AARCH64, True),
        ("arm64", Arch.AARCH64, True),
        ("a*64", Arch.AARCH64, True),
        ("aarch64", Arch.X86_64, False),
        (["i?86", "amd64"], Arch.X86_64, True),
        (["i?86", "amd64"], Arch.I686, True),
    ],
)
def test_an_architecture_is_that_of_the_build(pattern: Any, arch: Arch, applies: bool) -> None:
    assert _applies({"arch": pattern}, arch=arch) is applies
    elsewhere = {"strategy": "container", "target": f"manylinux_2_28_{arch.value}"}
    assert _applies({"arch": pattern}, elsewhere) is applies, "the target's counts, not the machine's"


@pytest.mark.parametrize(
    ("pattern", "implementation", "version", "free_threaded", "applies"),
    [
        (">=3.12", "cpython", (3, 12, 0), False, True),
        (">=3.12", "cpython", (3, 11, 9), False, False),
        ("<=3.12", "cpython", (3, 12, 4), False, True),
        ("==3.12", "cpython", (3, 12, 4), False, True),
        ("==3.*", "cpython", (3, 12, 4), False, True),
        (">=3.9,<3.12,!=3.10", "cpython", (3, 11, 0), False, True),
        (">=3.9,<3.12,!=3.10", "cpython", (3, 10, 0), False, False),
        (">=3.13", "cpython", (3, 13, 1), True, True),
        ("3.12", "cpython", (3, 12, 4), False, True),
        ("3.1?", "cpython", (3, 12, 4), False, True),
        ("cp312", "cpython", (3, 12, 4), False, True),
        ("cp3*", "pypy", (3, 10, 14), False, False),
        ("pp310", "pypy", (3, 10, 14), False, True),
        ("3.10", "pypy", (3, 10, 14), False, True),
        ("cp313", "cpython", (3, 13, 1), True, False),
        ("cp313t", "cpython", (3, 13, 1), True, True),
        ("cp3*t", "cpython", (3, 13, 1), False, False),
        (["pp*", ">=3.13"], "cpython", (3, 13, 1), False, True),
    ],
)
def test_an_interpreter_is_compared_by_its_feature_release(
    pattern: Any, implementation: str, version: tuple[int, int, int], free_threaded: bool, applies: bool
) -> None:
    variables = {"Py_GIL_DISABLED": 1} if free_threaded else {}
    python = dataclasses.replace(_PYTHON, implementation=implementation, version=version, variables=variables)
    assert _applies({"python": pattern}, python=python) is applies


def test_all_conditions_must_hold() -> None:
    assert _applies({"target": "manylinux*", "arch": "x86_64", "python": ">=3.12"})
    assert not _applies({"target": "manylinux*", "arch": "aarch64", "python": ">=3.12"})
    assert not _applies({"target": "manylinux*", "arch": "x86_64", "python": "<3.12"})


def test_a_build_without_target_is_compared_by_the_machine_s_own_tag() -> None:
    host = {"strategy": "host"}
    assert _applies({"target": "manylinux_2_36"}, host)
    assert not _applies({"target": "manylinux_2_17"}, host)
    assert _applies({"target": "musllinux_1_2_x86_64"}, host, libc=Libc.MUSL, libc_version=None)
    assert not _applies({"target": "*"}, host, libc_version=None), "nothing is known of the machine's C library"
    assert not _applies({"target": "*"}, system="darwin", libc=Libc.GLIBC, libc_version=None)


def test_a_container_s_image_is_not_taken_for_the_machine() -> None:
    assert not _applies({"target": "manylinux*"}, {"container": {"image": "x"}})
    assert _applies({"target": "manylinux_2_28"}, {"container": {}})


# --- values --------------------------------------------------------------------------------------------------------


def test_later_overrides_win_and_lists_are_replaced() -> None:
    always = {"arch": "*"}
    table = {
        "exclude": ["a"],
        "ldpaths": ["/a"],
        "overrides": [
            {"if": {"target": "manylinux*", "arch": "x86_64"}, "exclude": ["b"], "compression-level": 1},
            {"if": {"arch": "s390x"}, "exclude": ["c"]},
            {"if": always, "compression-level": 2},
        ],
    }
    settings, _ = _resolve(table)
    assert (settings.exclude, settings.ldpaths, settings.compression_level) == (("b",), ("/a",), 2)
    assert settings.origin("exclude") == f'{_NUMBER} 1 (if target = "manylinux*", arch = "x86_64")'
    assert settings.origin("compression_level") == f'{_NUMBER} 3 (if arch = "*")'
    assert settings.origin("ldpaths") == "[tool.portable-backend]"


def test_tables_are_merged_name_by_name() -> None:
    table = {
        "environment": {"A": "1", "B": "1"},
        "container": {
            "environment": {"X": "1"},
            "images": {"manylinux_2_28": "a"},
            "before-all": "one",
            "cache": False,
        },
        "overrides": [
            {"if": {"arch": "*"}, "environment": {"B": "2", "C": "2"}, "container": {"before-all": ["two", "three"]}},
            {"if": {"arch": "*"}, "container": {"environment": {"Y": "2"}, "images": {"musllinux_1_2": "b"}}},
        ],
    }
    settings, plan = _resolve(table)
    assert plan.environ == {"A": "1", "B": "2", "C": "2"}
    assert settings.container == ContainerSettings(
        images={"manylinux_2_28": "a", "musllinux_1_2": "b"},
        before_all=("two", "three"),
        environment={"X": "1", "Y": "2"},
        cache=False,
    )
    assert settings.origin("container") == "[tool.portable-backend.container]"
    assert settings.origin("container.before_all") == f'{_NUMBER} 1 (if arch = "*")'


def test_the_environment_and_config_settings_win_over_overrides() -> None:
    override = {
        "if": {"arch": "*"},
        "strip": True,
        "compression-level": 1,
        "environment": {"A": "override"},
        "container": {"engine": "docker", "pull": "never"},
    }
    environ = {"PORTABLE_BACKEND_STRIP": "no", "PORTABLE_BACKEND_CONTAINER_ENGINE": "podman"}
    config = {"portable-backend.compression-level": "9", "portable-backend.environment": "B=config"}
    settings, _ = _resolve({"overrides": [override]}, environ, config)
    assert (settings.strip, settings.compression_level, settings.environment) == (False, 9, {"B": "config"})
    assert settings.container == ContainerSettings(engine="podman", pull="never")
    assert settings.origin("container.engine") == "the variable PORTABLE_BACKEND_CONTAINER_ENGINE"


def test_off_in_the_environment_wins_over_an_override_and_never_fails() -> None:
    overrides = [{"if": {"target": "*"}, "mode": "repair", "strategy": "container"}]
    settings, plan = _resolve({"overrides": overrides}, {"PORTABLE_BACKEND_MODE": "off"})
    assert (settings.mode, plan.mode, plan.strategy) == ("off", "off", "host")


def test_an_override_may_choose_a_container_and_the_reason_names_it() -> None:
    overrides = [{"if": {"target": "musllinux_*"}, "container": {}}, {"if": {"arch": "s390x"}, "strategy": "container"}]
    _, plan = _resolve({"overrides": overrides})
    assert plan.strategy == "zig"
    _, plan = _resolve({"overrides": overrides}, {"PORTABLE_BACKEND_TARGET": "musllinux_1_2"})
    assert (plan.strategy, str(plan.target)) == ("container", "musllinux_1_2_x86_64")
    assert f'{_NUMBER} 1 (if target = "musllinux_*") is there' in plan.reasons[1]
    _, plan = _resolve({"overrides": overrides}, arch=Arch.S390X)
    assert (plan.strategy, str(plan.target)) == ("container", "manylinux_2_28_s390x")


def test_a_container_that_an_override_of_a_published_sdist_asks_for_is_not_started() -> None:
    table = {"overrides": [{"if": {"arch": "*"}, "strategy": "container"}]}
    assert _resolve(table)[1].strategy == "container"
    assert _resolve(table, pip_build=True, source_is_sdist=True)[1].strategy == "host"


def test_overrides_that_change_which_of_them_apply_are_an_error() -> None:
    first = {"if": {"target": "manylinux_2_17"}, "strategy": "container"}
    with pytest.raises(SettingsError, match="contradict") as caught:
        _resolve({"overrides": [first]})
    message = caught.value.message
    assert "manylinux_2_28_x86_64 instead of manylinux_2_17_x86_64" in message
    assert f"{_NUMBER} 1" in message
    assert "applies no longer" in message
    other = {"if": {"target": "manylinux_2_28"}, "strip": True}
    with pytest.raises(SettingsError, match=r"number 2 .* applies, too"):
        _resolve({"overrides": [{"if": {"arch": "*"}, "strategy": "container"}, other]})
    named = {"target": "manylinux_2_28", "overrides": [{"if": {"arch": "*"}, "strategy": "container"}, other]}
    assert _resolve(named)[0].strip is True


def test_settings_without_overrides_stay_as_they_are() -> None:
    settings = parse_settings({"strip": True, "container": {"cache": False}}, {"PORTABLE_BACKEND_MODE": "check"})
    assert resolve_overrides(settings, Request(Arch.X86_64, Libc.GLIBC, {}), _INNER, _HOST, _PYTHON) == settings


def test_overrides_survive_the_way_to_another_process() -> None:
    container = {"before-all": "x", "environment": {"A": "1"}}
    override = {"if": {"arch": ["arm64", "b*"]}, "ldpaths": ["/x"], "container": container}
    settings = parse_settings({"overrides": [override]}, {})
    assert len(settings.overrides) == 1
    assert settings_from_json(settings_to_json(settings)) == settings


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["target", "inner-backend", "inner-backend-path"])
def test_what_decides_about_overrides_cannot_be_overridden(name: str) -> None:
    error = _refused({"if": {"arch": "*"}, name: ["x"] if name.endswith("path") else "x"})
    assert f"{name} in {_NUMBER} 1 cannot be overridden" in error.message
    assert error.cure == "set it in [tool.portable-backend]"


@pytest.mark.parametrize(
    ("override", "message", "cure"),
    [
        ({"strip": True}, "table of conditions", "if = {"),
        ({"if": {}, "strip": True}, "table of conditions", "if = {"),
        ({"if": "x"}, "table of conditions", "if = {"),
        ({"if": {"targt": "x"}}, "'targt'", "did you mean target?"),
        ({"if": {"arch": "*"}, "stirp": True}, "'stirp' in [[tool", "did you mean strip?"),
        ({"if": {"arch": "*"}, "container": {"imgae": "x"}}, "'imgae' in container of [[tool", "did you mean image?"),
        ({"if": {"arch": "*"}, "overrides": []}, "'overrides'", "the settings are"),
        ({"if": {"arch": []}}, "a string or a list of strings", ""),
        ({"if": {"arch": " "}}, "a string or a list of strings", ""),
        ({"if": {"arch": "arm46"}}, "'arm46'", "aarch64"),
        ({"if": {"target": "manylinux-2-28"}}, "'manylinux-2-28'", "manylinux_2_17"),
        ({"if": {"python": ">=3.x"}}, "no version specifier", ">=3.12"),
        ({"if": {"python": ">=3.12.1"}}, "feature release", ">=3.12"),
        ({"if": {"python": "python3.12"}}, "names no interpreter", "cp312"),
        ({"if": {"arch": "*"}, "strip": "yes"}, "strip in [[tool.portable-backend.overrides]] number 2", ""),
    ],
)
def test_a_mistake_is_told_with_the_number_of_the_override(override: Any, message: str, cure: str) -> None:
    error = _refused({"if": {"arch": "*"}}, override)
    assert "number 2" in error.message
    assert message in error.message
    assert cure in (error.cure or "")


def test_overrides_are_an_array_of_tables() -> None:
    for wrong in ({"if": {"arch": "*"}}, "x", ["x"]):
        with pytest.raises(SettingsError, match="array of tables"):
            parse_settings({"overrides": wrong}, {})


# --- the whole -----------------------------------------------------------------------------------------------------


def test_a_project_s_overrides_reach_its_plan(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        """
[build-system]
requires = ["setuptools", "portable-backend"]
build-backend = "portable_backend"

[[tool.portable-backend.overrides]]
if = { python = ">=3.0" }
mode = "check"
environment = { SEEN = "1" }

[[tool.portable-backend.overrides]]
if = { python = "<3.0" }
mode = "off"
""",
        encoding="utf-8",
    )
    build = pipeline.read_build(tmp_path, environ={})
    assert (build.plan.mode, build.plan.environ, build.settings.mode) == ("check", {"SEEN": "1"}, "check")
    assert build.plan.reasons[0] == f'mode check: {_NUMBER} 1 (if python = ">=3.0")'


def test_an_override_that_ends_mode_off_is_for_the_architecture_that_it_asks_for(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        """
[tool.portable-backend]
mode = "off"

[[tool.portable-backend.overrides]]
if = { arch = "x86_64" }
mode = "check"
""",
        encoding="utf-8",
    )
    build = pipeline.read_build(tmp_path, environ={})
    expected = "check" if build.interpreter.platform == "linux-x86_64" else "off"
    assert build.plan.mode == expected
