"""Options of cibuildwheel become settings, overrides and command lines, or are named with a reason."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Optional

import pytest
import tomlkit

from portable_backend.adopting.cibuildwheel import KNOWN, REASONS, Translation, removable, translate
from portable_backend.adopting.selectors import EVERY, conditions, expand, matches
from portable_backend.errors import SettingsError
from portable_backend.interpreters import Interpreter
from portable_backend.overrides import Circumstances
from portable_backend.overrides import matches as applies
from portable_backend.settings import parse_settings
from portable_backend.targets import Arch, parse_target
from support.command_line import refuse, run
from support.projects import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# The names in the schema of cibuildwheel 4.3.5.
VERSION = "4.3.5"
OPTIONS = [
    "android",
    "archs",
    "audit-command",
    "audit-requires",
    "before-all",
    "before-build",
    "before-test",
    "build",
    "build-frontend",
    "build-verbosity",
    "config-settings",
    "container-engine",
    "dependency-versions",
    "enable",
    "environment",
    "environment-pass",
    "inherit",
    "ios",
    "linux",
    "macos",
    "manylinux-aarch64-image",
    "manylinux-armv7l-image",
    "manylinux-i686-image",
    "manylinux-ppc64le-image",
    "manylinux-pypy_aarch64-image",
    "manylinux-pypy_i686-image",
    "manylinux-pypy_x86_64-image",
    "manylinux-riscv64-image",
    "manylinux-s390x-image",
    "manylinux-x86_64-image",
    "musllinux-aarch64-image",
    "musllinux-armv7l-image",
    "musllinux-i686-image",
    "musllinux-ppc64le-image",
    "musllinux-riscv64-image",
    "musllinux-s390x-image",
    "musllinux-x86_64-image",
    "overrides",
    "pyodide",
    "pyodide-version",
    "repair-wheel-command",
    "skip",
    "test-command",
    "test-environment",
    "test-extras",
    "test-groups",
    "test-requires",
    "test-runtime",
    "test-skip",
    "test-sources",
    "windows",
    "xbuild-files",
    "xbuild-tools",
]


def of(text: str, requires: Optional[str] = None) -> Translation:
    table = tomllib.loads(text.replace("[cibw", "[tool.cibuildwheel"))["tool"]["cibuildwheel"]
    return translate(table, requires)


def settings_of(text: str) -> dict[str, Any]:
    return json.loads(json.dumps(of(text).settings))  # type: ignore[no-any-return]


def test_the_table_of_the_documentation_has_every_option() -> None:
    page = (REPOSITORY / "docs" / "how-to" / "from-cibuildwheel.md").read_text(encoding="utf-8")
    table = page.partition("## Each option")[2].partition("What is an option of its command line")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*?) ?\|$", table, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(OPTIONS)
    for name, ours, why in rows:
        assert ours != "none" or why, f"{name} has no counterpart and no reason"


def test_the_options_are_those_of_the_version_that_is_named() -> None:
    cibuildwheel = pytest.importorskip("cibuildwheel", reason="needs cibuildwheel, for Python 3.11 and newer")
    if cibuildwheel.__version__ != VERSION:
        pytest.skip(f"cibuildwheel {cibuildwheel.__version__} is not the version that the names are from")
    schema = Path(cibuildwheel.__file__).parent / "resources" / "cibuildwheel.schema.json"
    assert sorted(json.loads(schema.read_text())["properties"]) == OPTIONS


def test_no_option_is_dropped_in_silence() -> None:
    """Each option by itself, with a value that is not the default, leaves a trace in what is told or written."""
    values = {
        "audit-command": "abi3audit {abi3_wheel}", "archs": "aarch64", "build": "cp312-*", "build-verbosity": 1,
        "config-settings": {"a": "b"}, "container-engine": "podman", "dependency-versions": "latest",
        "enable": "pypy", "environment": {"A": "b"}, "inherit": {"environment": "append"}, "overrides": [
            {"select": "cp312-*", "before-all": "x"}], "skip": "cp39-*", "test-environment": {"A": "b"},
        "xbuild-files": {"numpy": ["x"]}, "repair-wheel-command": "auditwheel repair --strip {wheel}",
    }  # fmt: skip
    nothing = translate({}, None)
    for name in sorted(set(OPTIONS) - {"inherit"}):
        value = values.get(name, {"before-all": "x"} if name in ("linux",) else {} if "-" not in name else "word")
        table: dict[str, Any] = {name: value}
        if name.endswith("image"):
            table = {name: "registry.example/mine:1"}
        if name == "test-skip":
            table = {"test-skip": "cp312-*", "test-command": "pytest"}
        found = translate(table, None)
        assert found != nothing, name
        if name in REASONS:
            assert any(note.startswith(f"{name}: ") for note in found.notes), name


def test_the_reasons_and_the_known_names_are_options() -> None:
    assert set(OPTIONS) >= KNOWN >= set(REASONS)


def test_what_prepares_the_image_goes_into_the_container_table() -> None:
    assert settings_of("""
        [cibw]
        before-all = "yum install -y openblas-devel"
        environment-pass = "CI GITHUB_SHA"
        container-engine = "podman; create_args: --memory 4g; disable_host_mount: true"
        [cibw.linux]
        before-build = ["pip install x", "rm -rf build"]
        environment = { PATH = "$PATH:/opt/bin", LEVEL = 3 }
    """) == {
        "container": {
            "before-all": ["yum install -y openblas-devel"],
            "before-build": ["pip install x", "rm -rf build"],
            "environment": {"PATH": "$PATH:/opt/bin", "LEVEL": "3"},
            "environment-pass": ["CI", "GITHUB_SHA"],
            "engine": "podman",
        }
    }  # fmt: skip


def test_without_need_there_is_no_container() -> None:
    found = of("[cibw]\nenvironment = 'A=1 B=\"x y\"'\n")
    assert found.settings == {"environment": {"A": "1", "B": "x y"}}
    assert any("--container" in note for note in found.notes)
    assert of("[cibw]\nenvironment = 'CC=clang'\n").settings == {"container": {"environment": {"CC": "clang"}}}


def test_variables_that_run_commands_are_named() -> None:
    found = of("[cibw]\nbefore-all = 'x'\n[cibw.environment]\nA = '$(pwd)/x'\nB = '$HOME'\n")
    assert found.settings["container"]["environment"] == {"B": "$HOME"}
    assert any("A = '$(pwd)/x' runs a command" in note for note in found.notes)


def test_tests_become_the_test_table() -> None:
    found = of("""
        [cibw]
        before-test = "pip install x"
        test-command = ["pytest {project}/tests", " "]
        test-requires = "pytest 'numpy<3'"
        test-extras = "a, b"
        test-groups = "dev more"
        test-sources = ["tests", "my data"]
        test-environment = "LEVEL=3"
        test-skip = "pp* *-musllinux_aarch64"
    """)  # fmt: skip
    assert found.settings["test"] == {
        "command": ["pip install x", "pytest {project}/tests"],
        "requires": ["pytest", "numpy<3"],
        "extras": ["a", "b"],
        "groups": ["dev", "more"],
        "sources": ["tests", "my data"],
        "environment": {"LEVEL": "3"},
    }
    assert found.settings["overrides"] == [
        {"if": {"target": "musllinux_*", "arch": "aarch64", "python": "cp*"}, "test": {"command": []}},
        {"if": {"python": "pp*"}, "test": {"command": []}},
    ]


def test_a_path_is_no_requirement() -> None:
    found = of("[cibw]\ntest-requires = ['pytest>=6', '.', '{project}/x', './y']\n")
    assert found.settings["test"] == {"requires": ["pytest>=6"]}
    assert sum("is a path" in note for note in found.notes) == 3


def test_auditwheels_options_become_settings() -> None:
    found = of("""
        [cibw.linux]
        repair-wheel-command = [
            "LD_LIBRARY_PATH=/opt/lib:$LD_LIBRARY_PATH auditwheel -v repair --exclude a.so.1 --exclude=b* --strip",
        ]
    """)  # fmt: skip
    assert found.settings == {"ldpaths": ["/opt/lib"], "exclude": ["a.so.1", "b*"], "strip": True}
    found = of("""
        [cibw]
        repair-wheel-command = '''python -m auditwheel repair -w {dest_dir} --plat manylinux2014_x86_64 --only-plat \
--disable-isa-ext-check -L .mine -z 9 --ldpaths /a:/b --no-such-thing {wheel} && pipx run abi3audit {wheel}'''
    """)
    assert found.settings == {
        "only-target-tag": True,
        "isa-check": False,
        "libs-dir": ".mine",
        "compression-level": 9,
        "ldpaths": ["/a", "/b"],
    }
    assert found.commands[0].endswith("--target manylinux2014 --target musllinux_1_2")
    assert any("--no-such-thing" in note for note in found.notes)
    assert any("pipx run abi3audit {wheel}" in note for note in found.notes)


def test_no_repair_is_mode_off() -> None:
    found = of("[cibw.linux]\nrepair-wheel-command = ''\n")
    assert found.settings == {"mode": "off"}
    assert any("repair-wheel-command" in note for note in found.notes)


def test_images_are_targets_or_stand_in_the_table() -> None:
    found = of("""
        [cibw]
        archs = ["x86_64", "aarch64"]
        skip = "pp*"
        build = "cp312-*"
        manylinux-x86_64-image = "manylinux2014"
        manylinux-aarch64-image = "quay.io/me/manylinux_2_34_aarch64:1"
        musllinux-aarch64-image = "registry.example/mine@sha256:00"
    """)
    assert found.settings["container"]["images"] == {
        "manylinux_2_34_aarch64": "quay.io/me/manylinux_2_34_aarch64:1",
        "musllinux_1_2_aarch64": "registry.example/mine@sha256:00",
    }
    targets = ("manylinux2014_x86_64", "manylinux_2_34_aarch64", "musllinux_1_2_x86_64", "musllinux_1_2_aarch64")
    assert found.commands == (
        "portable-backend build . --python 3.12 " + " ".join(f"--target {target}" for target in targets),
    )
    assert [note for note in found.notes if "mine@sha256:00" in note]
    assert not [note for note in found.notes if "2_34" in note]


def test_pypys_images_are_for_pypy() -> None:
    found = of("""
        [cibw]
        enable = ["pypy"]
        build = "{cp312,pp311}-manylinux*"
        archs = "x86_64"
        manylinux-pypy_x86_64-image = "manylinux_2_34"
    """)
    assert found.commands == (
        "portable-backend build . --python 3.12 --target manylinux_2_28_x86_64",
        "portable-backend build . --python pp311 --target manylinux_2_34_x86_64",
    )


@pytest.mark.parametrize(
    ("text", "requires", "commands"),
    [
        ("", ">=3.15", ["--python 3.15 --python 3.15t --target manylinux_2_28 --target musllinux_1_2"]),
        ("build = 'cp31{0,2}-*'", None, ["--python 3.10 --python 3.12 --target manylinux_2_28 --target musllinux_1_2"]),
        ("build = 'cp312-*'\nskip = '*musl*'\narchs = 'auto32'", None, ["--python 3.12 --target manylinux_2_28_i686"]),
        ("build = 'cp312-many*'\narchs = 'armv7l'", None, ["--python 3.12 --target manylinux_2_31_armv7l"]),
        ("build = 'cp31[12]-manylinux* cp312-musllinux*'", None, [
            "--python 3.11-3.12 --target manylinux_2_28",
            "--python 3.12 --target musllinux_1_2",
        ]),
        ("build = 'pp*'", None, []),
        ("build = 'pp310-manylinux*'\nenable = 'all'", None, ["--python pp310 --target manylinux_2_28"]),
        ("build = 'cp312-many*'\nconfig-settings = 'a=1 a=2 b=\"x y\"'", None, [
            "--python 3.12 --target manylinux_2_28 -C a=1 -C a=2 -C 'b=x y'",
        ]),
        ("build = 'cp312-many*'\n[cibw.build-frontend]\nname = 'build'\nargs = ['--no-isolation', '--x']", None, [
            "--python 3.12 --target manylinux_2_28 --no-isolation",
        ]),
        ("build = '*-win_amd64'", None, []),
    ],
)  # fmt: skip
def test_selectors_become_command_lines(text: str, requires: Optional[str], commands: list[str]) -> None:
    found = of(f"[cibw]\n{text}\n", requires)
    assert list(found.commands) == [f"portable-backend build . {each}" for each in commands]
    assert bool(commands) != any("select nothing" in note for note in found.notes)


def test_overrides_append_prepend_and_replace() -> None:
    found = settings_of("""
        [cibw]
        before-all = "first"
        environment = { A = "1", B = "$A" }
        [[cibw.overrides]]
        select = "*-musllinux*"
        inherit = { before-all = "append", environment = "append" }
        before-all = "second"
        environment = { B = "2" }
        [[cibw.overrides]]
        select = "cp31{1,2}-*"
        inherit.before-all = "prepend"
        before-all = "zeroth"
    """)
    assert found["container"] == {"before-all": ["first"], "environment": {"A": "1", "B": "$A"}}
    assert found["overrides"] == [
        {
            "if": {"target": "musllinux_*", "python": ["cp39", "cp310", "cp313", "cp314", "cp315", "cp313t", "cp314t",
                                                       "cp315t", "pp39", "pp310", "pp311", "pp312"]},
            "container": {"before-all": ["first", "second"], "environment": {"B": "2"}},
        },
        {
            "if": {"target": "manylinux_*", "python": ["cp311", "cp312"]},
            "container": {"before-all": ["zeroth", "first"]},
        },
        {
            "if": {"target": "musllinux_*", "python": ["cp311", "cp312"]},
            "container": {"before-all": ["zeroth", "first", "second"], "environment": {"B": "2"}},
        },
    ]  # fmt: skip


OVERRIDES = """
[cibw]
before-all = "all"
[[cibw.overrides]]
select = ["*-musllinux_{aarch64,x86_64}", "cp39-*_i686"]
before-all = "some"
[[cibw.overrides]]
select = "pp*"
before-all = ""
[[cibw.overrides]]
select = "cp314t-manylinux_s390x *_riscv64"
repair-wheel-command = "auditwheel repair --strip {wheel}"
"""


@pytest.mark.parametrize("build", EVERY[:: max(1, len(EVERY) // 60)], ids=lambda build: build.identifier)
def test_for_each_build_our_settings_are_what_cibuildwheels_were(build: Any) -> None:
    """The overrides that apply to the build's own circumstances, by our own rules, give its options."""
    settings = parse_settings(dict(of(OVERRIDES).settings), {})
    tag = parse_target(f"{build.libc}_{'2_28' if build.libc == 'manylinux' else '1_2'}_{build.arch}", Arch.X86_64)
    threads = build.python.endswith("t")
    python = Interpreter(
        executable="python", implementation="pypy" if build.python.startswith("pp") else "cpython",
        version=(3, int(build.python[3:].rstrip("t")), 0), machine=build.arch, bits=64, platform="linux",
        base_prefix="/usr", include=(), variables={"Py_GIL_DISABLED": 1} if threads else {},
    )  # fmt: skip
    before_all: tuple[str, ...] = ("all",)
    strip = False
    for override in settings.overrides:
        if applies(override, Circumstances(tag, tag.arch, python)):
            before_all = override.values.get("container.before_all", before_all)
            strip = override.values.get("strip", strip)
    some = (build.libc == "musllinux" and build.arch in ("aarch64", "x86_64")) or (
        build.python == "cp39" and build.arch == "i686"
    )
    expected = () if build.python.startswith("pp") else ("some",) if some else ("all",)
    assert before_all == expected
    assert strip is (build.arch == "riscv64" or build.identifier == "cp314t-manylinux_s390x")


def test_conditions_say_exactly_which_builds() -> None:
    chosen = [build for build in EVERY if matches(["cp3{9,10}-*_x86_64", "*musl*"], build)]
    assert conditions(EVERY, []) == [{"python": "*"}]
    assert conditions(chosen, []) == [{"target": "musllinux_*"}]  # braces are not expanded by matching
    assert conditions([build for build in EVERY if build.python.startswith("cp31")], ["cp31?-*", "cp31*-*"]) == [
        {"python": "cp31*"}
    ]


def test_braces_are_expanded_and_bombs_refused() -> None:
    nested = expand("cp3{9,1{0,1}}-{a,b}")
    assert sorted(nested) == ["cp310-a", "cp310-b", "cp311-a", "cp311-b", "cp39-a", "cp39-b"]
    assert expand("cp39-{a}") == ["cp39-{a}"]
    with pytest.raises(SettingsError, match="too many patterns"):
        expand("{a,b}" * 40)


def test_other_systems_stay() -> None:
    found = of("""
        [cibw]
        test-command = "pytest"
        manylinux-x86_64-image = "manylinux_2_28"
        [cibw.macos]
        archs = ["arm64"]
        [cibw.windows]
        before-build = "choco install x"
        [[cibw.overrides]]
        select = "*-win32"
        test-command = ""
    """)
    assert found.settings == {"test": {"command": ["pytest"]}}
    for part in ("[tool.cibuildwheel.macos]", "[tool.cibuildwheel.windows]", "override number 1"):
        assert any(part in note and "stay" in note for note in found.notes), part


def test_an_option_that_nobody_knows_is_named() -> None:
    assert any("test-comand" in note for note in of("[cibw]\ntest-comand = 'x'\n").notes)


def test_places_of_cibuildwheels_containers_are_named() -> None:
    notes = of("[cibw]\nbefore-all = ['cd /project/x', 'cp /host/y .']\nbefore-build = 'ls {project}/projects'\n").notes
    assert sum("/project" in note for note in notes) == 1
    assert sum("/host" in note for note in notes) == 1


@pytest.mark.parametrize(
    "text",
    [
        "linux = 3",
        "before-all = 3",
        "environment = ['x']",
        "environment = 'A'",
        "environment = 'A=\"'",
        "environment = { A = {} }",
        "environment = { A = [] }",
        "test-requires = 'a \"b'",
        "archs = 'vax'",
        "overrides = 3",
        "overrides = [3]",
        "overrides = [{ before-all = 'x' }]",
        "overrides = [{ select = '', before-all = 'x' }]",
        "overrides = [{ select = 'cp*', inherit = 3 }]",
        "inherit = { before-all = 'sometimes' }",
        "inherit = 'before-all'",
        "repair-wheel-command = 'auditwheel \"'",
        "build = '{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}'",
    ],
)
def test_what_cibuildwheel_would_not_take_is_an_error(text: str) -> None:
    with pytest.raises(SettingsError):
        of(f"[cibw]\n{text}\n")


def test_what_can_be_removed() -> None:
    assert removable({"linux": {}, "build": "x"}) == ()
    table = {"macos": {}, "build": "x", "linux": {}, "manylinux-x86_64-image": "x", "container-engine": "docker"}
    assert removable(table) == ("linux", "manylinux-x86_64-image", "container-engine")
    assert removable({"windows": {}, "skip": "x"}) is None


# --- the command -----------------------------------------------------------------------------------------------------

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "x"
requires-python = ">=3.12"

# how we release
[tool.cibuildwheel]
build = "cp31*-manylinux*"
test-command = "pytest {project}"
build-verbosity = 1

[tool.cibuildwheel.linux]
before-all = "yum install -y zlib-devel"  # for us

[tool.ruff]
line-length = 99
"""


def table_of(directory: Path) -> dict[str, Any]:
    return tomlkit.parse((directory / "pyproject.toml").read_text()).unwrap()["tool"]  # type: ignore[no-any-return]


def test_the_translation_is_written_told_and_undone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    done = run(capsys, "init", tmp_path, "--from-cibuildwheel", "--yes", "--target", "manylinux_2_28")
    assert done.code == 0, done
    assert table_of(tmp_path)["portable-backend"] == {
        "target": "manylinux_2_28",
        "container": {"before-all": ["yum install -y zlib-devel"]},
        "test": {"command": ["pytest {project}"]},
    }
    assert "build-verbosity: " in done.out
    assert "  portable-backend build . --python 3.12-3.15 --python 3.14t" in done.out
    assert PROJECT[PROJECT.index("[project]") :] in (tmp_path / "pyproject.toml").read_text()  # its table stays
    again = run(capsys, "init", tmp_path, "--from-cibuildwheel", "--yes")
    assert (again.code, "nothing to change" in again.out) == (0, True)
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    assert (tmp_path / "pyproject.toml").read_text() == PROJECT


def test_the_table_is_removed_when_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    done = run(
        capsys, "init", tmp_path, "--from-cibuildwheel", "--remove-cibuildwheel", "--container", "--yes", "--json"
    )
    assert done.code == 0, done
    data = json.loads(done.out)["cibuildwheel"]
    assert data["settings"]["test"] == {"command": ["pytest {project}"]}
    assert data["commands"]
    assert data["notes"]
    assert set(table_of(tmp_path)) == {"portable-backend", "ruff"}
    assert table_of(tmp_path)["portable-backend"]["container"] == {"before-all": ["yum install -y zlib-devel"]}
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    assert (tmp_path / "pyproject.toml").read_text() == PROJECT


def test_other_systems_keep_their_part_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PROJECT + "\n[tool.cibuildwheel.macos]\narchs = ['arm64']\n"
    (tmp_path / "pyproject.toml").write_text(text)
    done = run(capsys, "init", tmp_path, "--from-cibuildwheel", "--remove-cibuildwheel", "--yes")
    assert done.code == 0, done
    kept = table_of(tmp_path)["cibuildwheel"]
    assert set(kept) == {"build", "test-command", "build-verbosity", "macos"}
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    assert (tmp_path / "pyproject.toml").read_text() == text


def test_the_file_beside_is_read_where_there_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT.replace("tool.cibuildwheel", "tool.other"))
    assert "cibuildwheel.toml" in refuse(capsys, 2, "init", tmp_path, "--from-cibuildwheel", "--yes")
    beside = "[tool.cibuildwheel]\nbefore-all = 'x'\n"
    (tmp_path / "cibuildwheel.toml").write_text(beside)
    assert run(capsys, "init", tmp_path, "--from-cibuildwheel", "--remove-cibuildwheel", "--yes").code == 0
    assert table_of(tmp_path)["portable-backend"] == {"container": {"before-all": ["x"]}}
    assert (tmp_path / "cibuildwheel.toml").read_text() == beside


def test_settings_that_are_there_stay_and_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = "\n[tool.portable-backend]\nstrip = false\ncontainer.before-all = 'mine'\n"
    (tmp_path / "pyproject.toml").write_text(PROJECT + ours)
    done = run(capsys, "init", tmp_path, "--from-cibuildwheel", "--yes")
    assert done.code == 0, done
    assert "container.before-all: [tool.portable-backend] has it already" in done.out
    assert table_of(tmp_path)["portable-backend"]["container"] == {"before-all": "mine"}


def test_a_bad_table_is_an_error_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PROJECT.replace('build = "cp31*-manylinux*"', "build = 3")
    (tmp_path / "pyproject.toml").write_text(text)
    assert "build in [tool.cibuildwheel]" in refuse(capsys, 3, "init", tmp_path, "--from-cibuildwheel", "--yes")
    assert (tmp_path / "pyproject.toml").read_text() == text
