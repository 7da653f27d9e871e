"""The settings: three sources, their order, and what is said about mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import portable_backend
from portable_backend import settings as model
from portable_backend.errors import SettingsError
from portable_backend.settings import (
    ContainerSettings,
    Override,
    Settings,
    TrialSettings,
    inner_settings,
    parse_settings,
    settings_from_json,
    settings_to_json,
)
from portable_backend.settings_pages import make_document_schema, make_reference, make_schema

_REPOSITORY = Path(__file__).resolve().parents[2]
_IMAGE = "reg.example:5000/me/img:1@sha256:0f"
_EXAMPLES: dict[str, tuple[Any, str, Any]] = {
    # name: as TOML gives it, as text, the value
    "target": ("manylinux_2_28", "manylinux_2_28", "manylinux_2_28"),
    "strategy": ("host", "host", "host"),
    "mode": ("check", "check", "check"),
    "inner-backend": ("maturin", "maturin", "maturin"),
    "inner-backend-path": (["a", "b"], "a, b", ("a", "b")),
    "exclude": (["liba.so.*"], "liba.so.*", ("liba.so.*",)),
    "graft": (["libz.so.*"], "libz.so.*", ("libz.so.*",)),
    "strip": (True, "yes", True),
    "clear-execstack": (True, "1", True),
    "isa-check": (False, "off", False),
    "abi3-check": (False, "no", False),
    "only-target-tag": (True, "true", True),
    "libs-dir": ("_libs", "_libs", "_libs"),
    "ldpaths": (["/a", "/b"], "/a,/b", ("/a", "/b")),
    "compression-level": (9, "9", 9),
    "environment": ({"A": "1"}, "A=1", {"A": "1"}),
    "container.image": (_IMAGE, _IMAGE, _IMAGE),
    "container.images": (
        {"manylinux_2_28": "a:1", "musllinux_1_2_aarch64": "b"},
        "manylinux_2_28=a:1, musllinux_1_2_aarch64=b",
        {"manylinux_2_28": "a:1", "musllinux_1_2_aarch64": "b"},
    ),
    "container.engine": ("podman", "podman", "podman"),
    "container.pull": ("always", "always", "always"),
    "container.before-all": (["yum install -y a,b"], "yum install -y a,b", ("yum install -y a,b",)),
    "container.before-build": ("echo one, two", "echo one, two", ("echo one, two",)),
    "container.environment": ({"P": "/x:$PATH,y"}, "P=/x:$PATH,y", {"P": "/x:$PATH,y"}),
    "container.environment-pass": (["CI", "GIT_*"], "CI, GIT_*", ("CI", "GIT_*")),
    "container.network": (False, "no", False),
    "container.keep-container": ("on-failure", "on-failure", "on-failure"),
    "container.root": ("..", "..", ".."),
    "container.include": (["src/_version.py"], "src/_version.py", ("src/_version.py",)),
    "container.exclude": (["*.iso"], "*.iso", ("*.iso",)),
    "container.cache": (False, "0", False),
    "test.command": (["pytest -k a,b"], "pytest -k a,b", ("pytest -k a,b",)),
    "test.requires": (["pytest>=8,<10"], "pytest>=8,<10", ("pytest>=8,<10",)),
    "test.extras": (["a", "b"], "a, b", ("a", "b")),
    "test.groups": (["test"], "test", ("test",)),
    "test.sources": (["tests", "conftest.py"], "tests,conftest.py", ("tests", "conftest.py")),
    "test.environment": ({"A": "1,2"}, "A=1,2", {"A": "1,2"}),
    "test.timeout": (600, "600", 600),
}


def _variable(name: str) -> str:
    return "PORTABLE_BACKEND_" + name.upper().replace("-", "_").replace(".", "_")


def _table_name(name: str) -> str:
    group, dot, _ = name.partition(".")
    return f"[tool.portable-backend.{group}]" if dot else "[tool.portable-backend]"


def _table(name: str, value: Any) -> dict[str, Any]:
    """What TOML gives for one setting, in its own table."""
    group, dot, inner = name.partition(".")
    return {group: {inner: value}} if dot else {name: value}


def _value(settings: Settings, name: str) -> Any:
    found: Any = settings
    for attribute in name.replace("-", "_").split("."):
        found = getattr(found, attribute)
    return found


def _refused(*sources: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        parse_settings(*sources)
    return caught.value


def test_every_setting_has_an_example_here() -> None:
    names = {model.option_name(each.name) for each in model.model_fields()}
    groups = {"container": ContainerSettings, "test": TrialSettings}
    nested = {
        f"{group}.{model.option_name(each.name)}" for group, of in groups.items() for each in model.model_fields(of)
    }
    assert set(_EXAMPLES) == (names - set(groups)) | nested


@pytest.mark.parametrize("name", sorted(_EXAMPLES))
def test_a_value_is_the_same_from_each_source_and_tells_where_it_came_from(name: str) -> None:
    toml, text, value = _EXAMPLES[name]
    attribute = name.replace("-", "_")
    own_table = _table_name(name)
    sources: list[tuple[Any, str]] = [
        ((_table(name, toml), {}), own_table),
        (({}, {_variable(name): text}), f"the variable {_variable(name)}"),
        (({}, {}, {f"portable-backend.{name}": text}), f"the config setting portable-backend.{name}"),
    ]
    for arguments, origin in sources:
        settings = parse_settings(*arguments)
        assert _value(settings, name) == value
        assert settings.origin(attribute) == origin
    assert parse_settings({}, {}).origin(attribute) == "the default"


@pytest.mark.parametrize("where", ["/etc/passwd", "../x", "a/../../x", "a/..", "..", "C:x", "\\x", ""])
def test_sources_of_tests_lie_inside_the_project(where: str) -> None:
    assert "paths inside the project" in _refused({"test": {"sources": ["tests", where]}}, {}).message


@pytest.mark.parametrize("where", ["tests", "a/b..c", "..a/b", "x.."])
def test_names_with_dots_are_names(where: str) -> None:
    settings = parse_settings({"test": {"sources": [where]}}, {})
    assert settings.test is not None
    assert settings.test.sources == (where,)


@pytest.mark.parametrize("name", sorted(_EXAMPLES))
def test_a_value_of_another_type_is_refused_with_the_setting_s_name(name: str) -> None:
    for wrong in (object(), 3.5, None, ["a", 1], {"a": 1}):
        message = _refused(_table(name, wrong), {}).message
        assert name.rpartition(".")[2] in message
        assert _table_name(name) in message


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
def test_the_container_is_no_value_but_a_table_of_them(source: Any) -> None:
    cure = _refused(*source).cure
    assert cure is not None
    assert "PORTABLE_BACKEND_CONTAINER_IMAGE" in cure or "portable-backend.container.image" in cure


def test_the_container_is_there_once_anybody_mentions_it() -> None:
    assert parse_settings({}, {}).container is None
    assert parse_settings({"container": {}}, {}).container == ContainerSettings()
    assert parse_settings({}, {"PORTABLE_BACKEND_CONTAINER_PULL": "never"}).container == ContainerSettings(pull="never")
    assert parse_settings({}, {"PORTABLE_BACKEND_CONTAINER_PULL": ""}).container is None
    assert parse_settings({}, {}, {"portable-backend.container.cache": "no"}).container == ContainerSettings(
        cache=False
    )


def test_a_nested_setting_has_the_precedence_of_all_settings_and_its_own_origin() -> None:
    table, environ = (
        {"container": {"engine": "docker", "cache": False}},
        {"PORTABLE_BACKEND_CONTAINER_ENGINE": "podman"},
    )
    settings = parse_settings(table, environ)
    assert settings.container == ContainerSettings(engine="podman", cache=False)
    assert settings.origin("container") == "[tool.portable-backend.container]"
    assert settings.origin("container.cache") == "[tool.portable-backend.container]"
    assert settings.origin("container.engine") == "the variable PORTABLE_BACKEND_CONTAINER_ENGINE"
    assert settings.origin("container.pull") == "the default"
    settings = parse_settings({}, environ, {"portable-backend.container.engine": "docker"})
    assert settings.container == ContainerSettings(engine="docker")
    assert settings.origin("container") == "the variable PORTABLE_BACKEND_CONTAINER_ENGINE"
    assert settings.origin("container.engine") == "the config setting portable-backend.container.engine"


def test_a_command_is_one_text_and_several_are_a_list() -> None:
    commands = ["a, b", "c && d"]
    as_table = parse_settings({"container": {"before-all": commands}}, {}).container
    as_config = parse_settings({}, {}, {"portable-backend.container.before-all": commands}).container
    assert as_table == as_config == ContainerSettings(before_all=("a, b", "c && d"))
    assert parse_settings({"container": {"before-build": "x\ny,z\n"}}, {}).container == ContainerSettings(
        before_build=("x\ny,z\n",)
    )


@pytest.mark.parametrize(
    ("sources", "message", "cure"),
    [
        (({"container": {"iamge": "x"}}, {}), "'iamge' in [tool.portable-backend.container]", "did you mean image?"),
        (({"container": {"pull": "allways"}}, {}), "'allways'", "did you mean always?"),
        (({"container.image": "x"}, {}), "'container.image' in [tool", "did you mean container?"),
        (({"image": "x"}, {}), "'image' in [tool.portable-backend]", "did you mean container.image?"),
        (
            ({}, {"PORTABLE_BACKEND_CONTAINER_IMGAE": "x"}),
            "PORTABLE_BACKEND_CONTAINER_IMGAE",
            "did you mean PORTABLE_BACKEND_CONTAINER_IMAGE?",
        ),
        (
            ({}, {}, {"portable-backend.container.before_all": "x"}),
            "portable-backend.container.before_all",
            "did you mean portable-backend.container.before-all?",
        ),
    ],
)
def test_a_misspelt_nested_name_is_answered_with_the_right_one(sources: Any, message: str, cure: str) -> None:
    error = _refused(*sources)
    assert message in error.message
    assert error.cure == cure


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("image", "", "reference of an image"),
        ("image", "two words", "'two words'"),
        ("image", "--privileged", "reference of an image"),
        ("images", {"manylinux_2_28": ""}, "reference of an image"),
        ("images", {"debian": "x"}, "'debian'"),
        ("images", {"manylinux_3_1": "x"}, "'manylinux_3_1'"),
        ("images", {"manylinux_2_28_vax": "x"}, "'vax'"),
        ("images", {"manylinux2014": "x", "manylinux_2_17": "y"}, "mean the same"),
        ("root", "/src", "'/src'"),
        ("root", "C:\\src", "relative"),
        ("root", "", "relative"),
        ("environment", {"A-B": "1"}, "'A-B'"),
        ("environment", {"": "1"}, "names of variables"),
        ("before-all", [["x"]], "a string or a list of strings"),
    ],
)
def test_a_container_that_cannot_be_is_refused(name: str, wrong: Any, message: str) -> None:
    error = _refused({"container": {name: wrong}}, {})
    assert f"{name} in [tool.portable-backend.container]" in error.message
    assert message in error.message


@pytest.mark.parametrize(
    ("name", "text"),
    [("image", "two words"), ("images", "debian=x"), ("images", "x"), ("root", "/x"), ("environment", "1A=x")],
)
def test_text_that_makes_no_container_is_refused_with_its_source(name: str, text: str) -> None:
    assert _variable(f"container.{name}") in _refused({}, {_variable(f"container.{name}"): text}).message


def test_an_image_for_an_architecture_may_stand_beside_one_for_all() -> None:
    images = {"manylinux_2_28": "a", "manylinux_2_28_x86_64": "b"}
    assert _value(parse_settings({"container": {"images": images}}, {}), "container.images") == images


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


# --- settings on their way to another process --------------------------------------------------------------------


def _round_trip(settings: Settings) -> Settings:
    return settings_from_json(json.loads(json.dumps(settings_to_json(settings))))


@pytest.mark.parametrize("name", sorted(_EXAMPLES))
def test_every_setting_survives_the_way_with_its_origin(name: str) -> None:
    toml, text, value = _EXAMPLES[name]
    for settings in (parse_settings(_table(name, toml), {}), parse_settings({}, {_variable(name): text})):
        arrived = _round_trip(settings)
        assert arrived == settings
        assert _value(arrived, name) == value
        assert type(_value(arrived, name)) is type(_value(settings, name))
        assert arrived.origin(name.replace("-", "_")) != "the default"


_LISTS = st.lists(st.text(max_size=8), max_size=3).map(tuple)
_NAMED = st.dictionaries(st.from_regex(r"[A-Za-z_]\w{0,5}", fullmatch=True), st.text(max_size=8), max_size=3)
_CONTAINERS = st.builds(
    ContainerSettings,
    image=st.none() | st.just("img"),
    images=st.dictionaries(st.sampled_from(["manylinux_2_28", "musllinux_1_2"]), st.just("img")),
    before_all=_LISTS,
    environment=_NAMED,
    network=st.booleans(),
    exclude=_LISTS,
)
_OVERRIDES = st.builds(
    Override,
    conditions=st.dictionaries(st.sampled_from(["target", "arch", "python"]), _LISTS, min_size=1),
    values=st.fixed_dictionaries(
        {},
        optional={
            "strip": st.booleans(),
            "ldpaths": _LISTS,
            "container": st.just(True),
            "container.before_all": _LISTS,
        },
    ),
    origin=st.text(),
)


@given(
    st.builds(
        Settings,
        target=st.none() | st.text(),
        exclude=_LISTS,
        compression_level=st.integers(0, 9),
        environment=_NAMED,
        container=st.none() | _CONTAINERS,
        overrides=st.lists(_OVERRIDES, max_size=2).map(tuple),
        origins=st.dictionaries(st.sampled_from(["target", "container.image"]), st.text()),
    )
)
def test_settings_arrive_as_they_were_sent(settings: Settings) -> None:
    assert _round_trip(settings) == settings


# --- what is generated from the model ----------------------------------------------------------------------------


def test_the_committed_schema_is_the_model_s() -> None:
    committed = Path(portable_backend.__file__).with_name("settings.schema.json")
    assert committed.read_text(encoding="utf-8") == make_schema()
    published = _REPOSITORY / "docs" / "reference"
    assert (published / "settings.schema.json").read_text(encoding="utf-8") == make_schema()
    assert (published / "pyproject.schema.json").read_text(encoding="utf-8") == make_document_schema()


def test_the_committed_reference_is_the_model_s() -> None:
    committed = _REPOSITORY / "docs" / "reference" / "settings.md"
    assert committed.read_text(encoding="utf-8") == make_reference()


_FIXED = ("target", "inner-backend", "inner-backend-path")


def test_the_schema_says_what_the_parser_says() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(make_schema())
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    everything: dict[str, Any] = {}
    for name, (toml, _, _) in _EXAMPLES.items():
        for group, value in _table(name, toml).items():
            everything[group] = {**everything.get(group, {}), **value} if "." in name else value
    wrongs: tuple[Any, ...] = (3.5, None, ["a", 1], {"a": 1}, "\0", 11, {"": "x"}, "", " x", "/x", {"A-B": "x"})
    names = [*_EXAMPLES, "unknown", "container.unknown"]
    tables = [{}, everything, {"container": {}}, {"container": "x"}, {"container": {"before-all": "a"}}]
    tables += [_table(name, wrong) for name in names for wrong in wrongs]
    asked: dict[str, Any] = {"arch": "x86_64"}
    tables += [
        {"overrides": overrides}
        for overrides in (
            [],
            {},
            "x",
            [{}],
            [{"if": {}}],
            [{"if": "x"}],
            [{"if": asked}],
            [{"if": {"arch": []}}],
            [{"if": {"arch": " "}}],
            [{"if": {"arch": 1}}],
            [{"if": {"arch": ["*", 1]}}],
            [{"if": {"arch": ["*64"], "python": ">=3.12", "target": "musllinux_*"}}],
            [{"if": {"archs": "*"}}],
            [{"if": asked, **{name: everything[name] for name in everything if name not in _FIXED}}],
            [{"if": asked, "container": {"unknown": 1}}],
            [{"if": asked, "overrides": []}],
            *([{"if": asked, name: everything[name]}] for name in _FIXED),
        )
    ]
    for table in tables:
        try:
            parse_settings(table, {})
        except SettingsError:
            accepted = False
        else:
            accepted = True
        assert validator.is_valid(table) == accepted, table


@pytest.mark.parametrize(
    "name", ["libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "libc.musl-x86_64.so.1"]
)
def test_the_c_library_is_not_grafted(name: str) -> None:
    error = _refused({"graft": ["libz.so.1", name]}, {})
    assert name in error.message
    assert "C library" in error.message


def test_libraries_of_similar_names_are_grafted() -> None:
    names = ["libcurl.so.4", "libmpc.so.3", "libdlib.so", "*", "librtmp.so.1"]
    assert parse_settings({"graft": names}, {}).graft == tuple(names)
