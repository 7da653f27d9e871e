"""The settings: three sources, their order, and what is said about mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import portable_backend
from portable_backend import settings as model
from portable_backend.errors import SettingsError
from portable_backend.settings import Settings, inner_settings, parse_settings

_REPOSITORY = Path(__file__).resolve().parents[2]
_EXAMPLES: dict[str, tuple[Any, str, Any]] = {
    # name: as TOML gives it, as text, the value
    "target": ("manylinux_2_28", "manylinux_2_28", "manylinux_2_28"),
    "strategy": ("host", "host", "host"),
    "mode": ("check", "check", "check"),
    "inner-backend": ("maturin", "maturin", "maturin"),
    "inner-backend-path": (["a", "b"], "a, b", ("a", "b")),
    "exclude": (["liba.so.*"], "liba.so.*", ("liba.so.*",)),
    "strip": (True, "yes", True),
    "clear-execstack": (True, "1", True),
    "isa-check": (False, "off", False),
    "only-target-tag": (True, "true", True),
    "libs-dir": ("_libs", "_libs", "_libs"),
    "ldpaths": (["/a", "/b"], "/a,/b", ("/a", "/b")),
    "compression-level": (9, "9", 9),
    "environment": ({"A": "1"}, "A=1", {"A": "1"}),
}


def _variable(name: str) -> str:
    return "PORTABLE_BACKEND_" + name.upper().replace("-", "_")


def _refused(*sources: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        parse_settings(*sources)
    return caught.value


def test_every_setting_has_an_example_here() -> None:
    assert {*_EXAMPLES, "container"} == {model.option_name(each.name) for each in model.model_fields()}


@pytest.mark.parametrize("name", sorted(_EXAMPLES))
def test_a_value_is_the_same_from_each_source_and_tells_where_it_came_from(name: str) -> None:
    toml, text, value = _EXAMPLES[name]
    attribute = name.replace("-", "_")
    sources: list[tuple[Any, str]] = [
        (({name: toml}, {}), "[tool.portable-backend]"),
        (({}, {_variable(name): text}), f"the variable {_variable(name)}"),
        (({}, {}, {f"portable-backend.{name}": text}), f"the config setting portable-backend.{name}"),
    ]
    for arguments, origin in sources:
        settings = parse_settings(*arguments)
        assert getattr(settings, attribute) == value
        assert settings.origin(attribute) == origin
    assert parse_settings({}, {}).origin(attribute) == "the default"


@pytest.mark.parametrize("name", sorted(_EXAMPLES))
def test_a_value_of_another_type_is_refused_with_the_setting_s_name(name: str) -> None:
    for wrong in (object(), 3.5, None, ["a", 1], {"a": 1}):
        if name == "environment" and wrong == {}:
            continue
        assert name in _refused({name: wrong}, {}).message


def test_config_settings_over_environment_over_table_over_default() -> None:
    table, environ = {"target": "manylinux_2_17"}, {"PORTABLE_BACKEND_TARGET": "manylinux_2_24"}
    config = {"portable-backend.target": "manylinux_2_28"}
    assert parse_settings({}, {}).target is None
    assert parse_settings(table, {}).target == "manylinux_2_17"
    assert parse_settings(table, environ).target == "manylinux_2_24"
    assert parse_settings(table, environ, config).target == "manylinux_2_28"


def test_off_in_the_environment_wins_over_config_settings() -> None:
    settings = parse_settings({"mode": "repair"}, {"PORTABLE_BACKEND_MODE": "off"}, {"portable-backend.mode": "check"})
    assert (settings.mode, settings.origin("mode")) == ("off", "the variable PORTABLE_BACKEND_MODE")
    settings = parse_settings({}, {"PORTABLE_BACKEND_MODE": "check"}, {"portable-backend.mode": "off"})
    assert settings.mode == "off"


def test_an_empty_variable_says_nothing() -> None:
    environ = {"PORTABLE_BACKEND_TARGET": "", "PORTABLE_BACKEND_STRATEGY": "", "PORTABLE_BACKEND_STRIP": ""}
    settings = parse_settings({"strip": True}, environ)
    assert (settings.target, settings.strategy, settings.strip) == (None, "auto", True)


@pytest.mark.parametrize(
    ("sources", "message", "cure"),
    [
        (({"targt": "x"}, {}), "'targt' in [tool.portable-backend]", "did you mean target?"),
        (({"inner_backend": "x"}, {}), "'inner_backend'", "did you mean inner-backend?"),
        (({}, {"PORTABLE_BACKEND_TARGT": "x"}), "PORTABLE_BACKEND_TARGT", "did you mean PORTABLE_BACKEND_TARGET?"),
        (({}, {}, {"portable-backend.targt": "x"}), "portable-backend.targt", "did you mean portable-backend.target?"),
        (({"strategy": "zgi"}, {}), "'zgi'", "did you mean zig?"),
        (({}, {"PORTABLE_BACKEND_MODE": "of"}), "PORTABLE_BACKEND_MODE", "did you mean off?"),
    ],
)
def test_a_misspelt_name_or_value_is_answered_with_the_right_one(sources: Any, message: str, cure: str) -> None:
    error = _refused(*sources)
    assert message in error.message
    assert error.cure == cure


def test_an_unknown_name_like_no_other_is_answered_with_the_list() -> None:
    cure = _refused({"zzz": 1}, {}).cure
    assert cure is not None
    assert "inner-backend" in cure


@pytest.mark.parametrize(
    "source", [({}, {"PORTABLE_BACKEND_CONTAINER": "a=b"}), ({}, {}, {"portable-backend.container": "a=b"})]
)
def test_the_container_is_a_table_only(source: Any) -> None:
    assert "container" in str(_refused(*source)).lower()
    assert parse_settings({"container": {"image": "x"}}, {}).container == {"image": "x"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("strip", "maybe"),
        ("compression-level", "ten"),
        ("compression-level", "10"),
        ("compression-level", "-1"),
        ("compression-level", "²"),
        ("environment", "A"),
        ("environment", "=1"),
        ("libs-dir", "../x"),
        ("libs-dir", " "),
    ],
)
def test_text_that_makes_no_value_is_refused_with_its_source(name: str, text: str) -> None:
    assert _variable(name) in _refused({}, {_variable(name): text}).message
    assert f"portable-backend.{name}" in _refused({}, {}, {f"portable-backend.{name}": text}).message


def test_config_settings_may_be_lists_and_what_json_has() -> None:
    config = {
        "portable-backend.exclude": ["a.so", "b.so,c.so"],
        "portable-backend.target": ["manylinux_2_17", "manylinux_2_28"],
        "portable-backend.strip": True,
        "portable-backend.compression-level": 3,
        "portable-backend.environment": {"A": "1", "B": "x=y"},
    }
    settings = parse_settings({}, {}, config)
    assert settings.exclude == ("a.so", "b.so", "c.so")
    assert settings.target == "manylinux_2_28"
    assert settings.strip is True
    assert settings.compression_level == 3
    assert settings.environment == {"A": "1", "B": "x=y"}


def test_variables_that_steer_the_programme_are_no_settings() -> None:
    # The last one is what the zig strategy tells its tools; a build inside the build sees it, too.
    environ = {"PORTABLE_BACKEND_TRACEBACK": "1", "PORTABLE_BACKEND_ZIG_ROOTS": "/x"}
    assert parse_settings({}, environ) == Settings()


def test_the_inner_backend_s_config_settings_pass_untouched() -> None:
    theirs: dict[str, Any] = {"a": ["1", "2"], "portable-backend": "x", "portable_backend.y": "z"}
    assert inner_settings({**theirs, "portable-backend.target": "x"}) == theirs
    assert inner_settings(None) is None
    assert inner_settings({}) == {}


# --- what is generated from the model ----------------------------------------------------------------------------


def test_the_committed_schema_is_the_model_s() -> None:
    committed = Path(portable_backend.__file__).with_name("settings.schema.json")
    assert committed.read_text(encoding="utf-8") == model.make_schema()


def test_the_committed_reference_is_the_model_s() -> None:
    committed = _REPOSITORY / "docs" / "reference" / "settings.md"
    assert committed.read_text(encoding="utf-8") == model.make_reference()


def test_the_schema_says_what_the_parser_says() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(model.make_schema())
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    everything = {name: toml for name, (toml, _, _) in _EXAMPLES.items()}
    tables: list[dict[str, Any]] = [{}, everything, {"container": {"image": "x"}}]
    tables += [{name: wrong} for name in [*_EXAMPLES, "unknown"] for wrong in (3.5, None, ["a", 1], {"a": 1}, "\0", 11)]
    for table in tables:
        try:
            parse_settings(table, {})
        except SettingsError:
            accepted = False
        else:
            accepted = True
        assert validator.is_valid(table) == accepted, table
