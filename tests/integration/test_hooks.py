"""The hooks of PEP 517 and PEP 660, called as build frontends call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pyproject_hooks import HookMissing

from support.projects import (
    OPTIONAL_HOOKS,
    Frontend,
    copy_sample,
    hook_environ,
    read_log,
    write_fake_project,
    write_files,
)
from support.trees import read_only

pytestmark = pytest.mark.integration
_FAKE_WHEEL = "fake-1.0-py3-none-any.whl"


def _present(source: Path) -> set[str]:
    probe = "import json, portable_backend as b, sys; print(json.dumps([h for h in sys.argv[1:] if hasattr(b, h)]))"
    command = [sys.executable, "-c", probe, "build_wheel", "build_sdist", "invented", *OPTIONAL_HOOKS]
    done = subprocess.run(command, cwd=source, env=hook_environ(), capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


# --- which hooks there are ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", OPTIONAL_HOOKS[1:])
def test_an_optional_hook_is_there_exactly_when_the_inner_backend_has_it(tmp_path: Path, hook: str) -> None:
    ours = {"build_wheel", "build_sdist", "get_requires_for_build_wheel"}
    assert _present(write_fake_project(tmp_path / "with", {"hooks": [hook]})) == {hook, *ours}
    others = [each for each in OPTIONAL_HOOKS if each != hook]
    assert _present(write_fake_project(tmp_path / "without", {"hooks": others})) == {*others, *ours}


def test_modules_of_the_project_do_not_shadow_the_standard_library_while_probing(tmp_path: Path) -> None:
    files = {"json.py": "raise SystemExit('imported from the project')", "importlib.py": "raise SystemExit('likewise')"}
    source = write_fake_project(tmp_path, {"hooks": ["build_editable"]}, files=files)
    frontend = Frontend(source)
    assert frontend.hooks._supported_features() == ["build_editable"], frontend.output


def test_probing_does_not_find_the_inner_backend_in_the_source_tree(tmp_path: Path) -> None:
    """PEP 517: the source directory is not on the path unless backend-path says so."""
    text = '[build-system]\nrequires = []\nbuild-backend = "portable_backend"\n[tool.portable-backend]\n'
    source = write_files(tmp_path, {"pyproject.toml": f'{text}inner-backend = "stray"', "stray.py": ""})
    frontend = Frontend(source)
    with pytest.raises(subprocess.CalledProcessError):
        frontend.hooks.get_requires_for_build_sdist()
    assert frontend.exit_code == 4
    assert "the inner backend stray cannot be imported" in frontend.output
    assert "Traceback" not in frontend.output


def test_an_inner_backend_that_is_missing_is_named(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path, files={"unused": ""})
    (source / "_build" / "fake_backend.py").unlink()
    frontend = Frontend(source)
    with pytest.raises(subprocess.CalledProcessError):
        frontend.hooks.get_requires_for_build_wheel()
    assert frontend.exit_code == 4
    error = frontend.output[frontend.output.index("portable-backend: error:") :]
    assert "fake_backend" in error.replace("the inner backend fake_backend", "", 1)


# --- each hook ---------------------------------------------------------------------------------------------------


def test_metadata_is_prepared_without_a_build_and_is_that_of_the_wheel(tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = write_fake_project(
        tmp_path / "p", {"hooks": ["prepare_metadata_for_build_wheel"], "log": str(log)}, 'strategy = "host"'
    )
    hooks = Frontend(source).hooks
    metadata = tmp_path / "metadata"
    metadata.mkdir()
    name = hooks.prepare_metadata_for_build_wheel(str(metadata), _allow_fallback=False)
    assert [call["hook"] for call in read_log(log)] == ["prepare_metadata_for_build_wheel"]
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = hooks.build_wheel(str(wheels), metadata_directory=str(metadata / name))
    with zipfile.ZipFile(wheels / wheel) as archive:
        assert archive.read(f"{name}/METADATA") == (metadata / name / "METADATA").read_bytes()
    assert read_log(log)[-1]["metadata_directory"] == str(metadata / name)


def test_metadata_is_never_had_by_a_build_of_ours(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "p", {"hooks": []})
    with pytest.raises(HookMissing):
        Frontend(source).hooks.prepare_metadata_for_build_wheel(str(tmp_path), _allow_fallback=False)


def test_the_metadata_of_a_repaired_wheel_is_what_was_prepared(tmp_path: Path) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    metadata, wheels = tmp_path / "metadata", tmp_path / "wheels"
    metadata.mkdir()
    wheels.mkdir()
    hooks = Frontend(source, PORTABLE_BACKEND_STRATEGY="host").hooks
    name = hooks.prepare_metadata_for_build_wheel(str(metadata), _allow_fallback=False)
    wheel = hooks.build_wheel(str(wheels), metadata_directory=str(metadata / name))
    assert os.listdir(wheels) == [wheel]
    assert "manylinux" in wheel
    with zipfile.ZipFile(wheels / wheel) as archive:
        assert archive.read(f"{name}/METADATA") == (metadata / name / "METADATA").read_bytes()


@pytest.mark.parametrize("mode", ["repair", "check", "off"])
def test_a_pure_wheel_is_returned_byte_for_byte(tmp_path: Path, mode: str) -> None:
    source = write_fake_project(tmp_path / "p", settings=f'strategy = "host"\nmode = "{mode}"')
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    hooks = Frontend(source, SOURCE_DATE_EPOCH="315532800").hooks
    assert hooks.build_wheel(str(wheels)) == _FAKE_WHEEL
    with zipfile.ZipFile(wheels / _FAKE_WHEEL) as archive:
        assert archive.getinfo("fake.py").date_time[0] > 1980, "the inner wheel carries the time of its making"
        assert archive.infolist()[-1].filename.endswith("RECORD")


def test_sdist_and_editable_go_straight_to_the_inner_backend(tmp_path: Path) -> None:
    log = tmp_path / "log"
    hooks_ = ["build_editable", "get_requires_for_build_editable", "prepare_metadata_for_build_editable"]
    said = {"hooks": [*hooks_, "get_requires_for_build_sdist"], "log": str(log), "requires": ["something"]}
    source = write_fake_project(tmp_path / "p", said, 'strategy = "container"')
    hooks = Frontend(source).hooks
    for directory in ("sdist", "editable", "metadata"):
        (tmp_path / directory).mkdir()
    assert hooks.get_requires_for_build_sdist() == ["something"]
    assert hooks.build_sdist(str(tmp_path / "sdist")) == "fake-1.0.tar.gz"
    assert hooks.get_requires_for_build_editable() == ["something"]
    assert hooks.prepare_metadata_for_build_editable(str(tmp_path / "metadata")) == "fake-1.0.dist-info"
    assert hooks.build_editable(str(tmp_path / "editable")) == "fake-1.0-0.editable-py3-none-any.whl"
    assert os.listdir(tmp_path / "editable") == ["fake-1.0-0.editable-py3-none-any.whl"]
    assert {call["cwd"] for call in read_log(log)} == {str(source)}


def test_requirements_are_those_of_the_inner_backend_and_of_the_plan(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path, {"hooks": ["get_requires_for_build_wheel"], "requires": ["something>1"]})
    asked = {
        strategy: Frontend(source, PORTABLE_BACKEND_STRATEGY=strategy).hooks.get_requires_for_build_wheel()
        for strategy in ("host", "zig")
    }
    assert all("something>1" in requires for requires in asked.values())
    assert not any("ziglang" in requirement for requirement in asked["host"])
    assert any("ziglang" in requirement for requirement in asked["zig"])
    assert Frontend(source, PORTABLE_BACKEND_MODE="off").hooks.get_requires_for_build_wheel() == ["something>1"]


def test_config_settings_of_ours_are_taken_and_the_rest_passes_untouched(tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = write_fake_project(tmp_path / "p", {"log": str(log)}, 'strategy = "container"')
    theirs: dict[str, Any] = {"--build-option": ["--a", "--b"], "key": "value", "portable-backend": "not ours", "": "x"}
    settings = {**theirs, "portable-backend.strategy": "host", "portable-backend.exclude": ["liba.so", "libb.so"]}
    Frontend(source).hooks.build_wheel(str(tmp_path), settings)
    Frontend(source).hooks.build_sdist(str(tmp_path), settings)
    assert [call["config_settings"] for call in read_log(log)] == [theirs, theirs]


def test_no_config_settings_stay_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = write_fake_project(tmp_path / "p", {"log": str(log)}, 'strategy = "host"')
    Frontend(source).hooks.build_sdist(str(tmp_path))
    assert read_log(log)[0]["config_settings"] is None


def test_hooks_read_no_standard_input_and_junk_on_standard_output_does_no_harm(tmp_path: Path) -> None:
    log = tmp_path / "log"
    junk = '{"return_val": "evil.whl"}\n\x1b[31mred\nfake-2.0-py3-none-any.whl'
    source = write_fake_project(tmp_path / "p", {"log": str(log), "junk": junk}, 'strategy = "host"')
    frontend = Frontend(source)
    assert frontend.hooks.build_wheel(str(tmp_path)) == _FAKE_WHEEL
    assert frontend.hooks._supported_features() == []
    assert "evil.whl" in frontend.output
    assert read_log(log)[0]["stdin"] == ""


def test_variables_of_the_project_reach_the_inner_backend_with_every_strategy(tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = write_fake_project(tmp_path / "p", {"log": str(log)}, 'environment = { FAKE_COLOUR = "blue" }')
    for strategy in ("host", "zig"):
        Frontend(source, PORTABLE_BACKEND_STRATEGY=strategy).hooks.build_wheel(str(tmp_path))
    Frontend(source, PORTABLE_BACKEND_MODE="off").hooks.build_wheel(str(tmp_path))
    assert [call["seen"] for call in read_log(log)] == [{"FAKE_COLOUR": "blue"}] * 3


def test_in_tree_backends_do_not_see_each_others_paths(tmp_path: Path) -> None:
    """We may be an in-tree backend ourselves; our ``backend-path`` is not the inner backend's."""
    source = copy_sample("setuptools_pure", tmp_path)
    # The frontend's own process must import us, so what it would set is set for the inner process only.
    probe = (
        "import os, portable_backend as b; os.environ['_PYPROJECT_HOOKS_BACKEND_PATH_JSON'] = '[\"nowhere\"]';"
        "print(b.get_requires_for_build_wheel())"
    )
    environ = hook_environ(PORTABLE_BACKEND_STRATEGY="host")
    done = subprocess.run([sys.executable, "-c", probe], cwd=source, env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_in_tree_inner_backend_is_called_by_its_object_reference(tmp_path: Path) -> None:
    source = copy_sample("intree_c", tmp_path)
    frontend = Frontend(source, PORTABLE_BACKEND_STRATEGY="host")
    assert frontend.hooks._supported_features() == []
    wheel = frontend.hooks.build_wheel(str(tmp_path))
    assert wheel.startswith("sample_intree_c-1.2.3-")
    assert "in-tree backend at work" in frontend.output
    assert frontend.hooks.build_sdist(str(tmp_path)) == "sample_intree_c-1.2.3.tar.gz"


# --- read-only sources -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["setuptools_c", "setuptools_pure"])
def test_a_read_only_source_is_built(tmp_path: Path, name: str) -> None:
    source = copy_sample(name, tmp_path)
    wheels, metadata = tmp_path / "wheels", tmp_path / "metadata"
    wheels.mkdir()
    metadata.mkdir()
    with read_only(source):
        frontend = Frontend(source, PORTABLE_BACKEND_STRATEGY="host")
        frontend.hooks.get_requires_for_build_wheel()
        info = frontend.hooks.prepare_metadata_for_build_wheel(str(metadata), _allow_fallback=False)
        wheel = frontend.hooks.build_wheel(str(wheels), metadata_directory=str(metadata / info))
        frontend.hooks.build_sdist(str(wheels))
    assert (wheels / wheel).is_file()
    assert not list(source.glob("*.egg-info")), "nothing was written beside the source"


def test_the_copy_of_a_read_only_source_still_tells_its_version(tmp_path: Path) -> None:
    """setuptools-scm and its like read the version from ``.git``."""
    source = write_fake_project(tmp_path / "p", settings='strategy = "host"', files={".git/HEAD": "ref: x"})
    with read_only(source):
        wheel = Frontend(source).hooks.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        assert b"Summary: git True" in archive.read("fake-1.0.dist-info/METADATA")


def test_an_editable_wheel_points_at_the_source_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = write_fake_project(tmp_path / "p", {"hooks": ["build_editable"], "log": str(log)})
    with read_only(source):
        Frontend(source).hooks.build_editable(str(tmp_path))
    assert read_log(log)[0]["cwd"] == str(source)


# --- inner backends that misbehave -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"leave": False},
        {"returns": None},
        {"returns": 7},
        {"returns": ""},
        {"returns": "other-1.0-py3-none-any.whl"},
        {"returns": f"../{_FAKE_WHEEL}"},
        {"returns": f"/{_FAKE_WHEEL}"},
        {"file_name": "fake.whl"},
        {"file_name": "fake-1.0.zip"},
        {"file_name": "other-1.0-py3-none-any.whl"},
        {"file_name": "fake-2.0-py3-none-any.whl"},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["repair", "check"])
def test_what_is_no_wheel_of_this_project_is_refused(tmp_path: Path, said: dict[str, Any], mode: str) -> None:
    source = write_fake_project(tmp_path / "p", said, 'strategy = "host"')
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    frontend = Frontend(source, PORTABLE_BACKEND_MODE=mode)
    with pytest.raises(subprocess.CalledProcessError):
        frontend.hooks.build_wheel(str(wheels))
    assert frontend.exit_code in (5, 7), frontend.output
    assert "portable-backend: error:" in frontend.output
    assert "Traceback" not in frontend.output
    assert os.listdir(wheels) == []


def test_a_build_that_fails_says_so_without_a_traceback_of_ours(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "p", {"fail": "error: no such thing"}, 'strategy = "host"')
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    frontend = Frontend(source)
    with pytest.raises(subprocess.CalledProcessError):
        frontend.hooks.build_wheel(str(wheels))
    assert frontend.exit_code == 5
    assert "error: no such thing" in frontend.output
    assert "portable_backend/" not in frontend.output
    assert os.listdir(wheels) == []


# --- what the surroundings mean ----------------------------------------------------------------------------------


def _strategy_of(source: Path, **environ: str) -> str:
    plan = [sys.executable, "-m", "portable_backend.cli", "plan", "--json", str(source)]
    done = subprocess.run(plan, env=hook_environ(**environ), capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["strategy"])


def test_a_published_sdist_that_pip_builds_is_built_for_this_machine(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path, files={"PKG-INFO": "Name: fake"})
    assert _strategy_of(source) == "zig"
    assert _strategy_of(source, PIP_BUILD_TRACKER=str(tmp_path)) == "host"
    (source / "PKG-INFO").unlink()
    assert _strategy_of(source, PIP_BUILD_TRACKER=str(tmp_path)) == "zig"


def test_under_cibuildwheel_the_environment_is_taken_as_it_is(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path)
    assert _strategy_of(source, CIBUILDWHEEL="1") == "host"
    assert _strategy_of(source, CIBUILDWHEEL="0") == "zig"


def test_mode_off_in_the_environment_wins_over_every_other_source(tmp_path: Path) -> None:
    said = {"file_name": "fake-1.0-cp39-cp39-linux_x86_64.whl"}
    source = write_fake_project(tmp_path / "p", said, 'mode = "repair"\nstrategy = "container"')
    frontend = Frontend(source, PORTABLE_BACKEND_MODE="off")
    settings = {"portable-backend.mode": "repair"}
    assert frontend.hooks.build_wheel(str(tmp_path), settings) == said["file_name"]
    assert (tmp_path / said["file_name"]).is_file()


def test_a_config_setting_can_name_the_inner_backend(tmp_path: Path) -> None:
    """Hooks are probed before config settings are known: what cannot be told yet is left to the hook."""
    text = '[build-system]\nrequires = ["portable-backend"]\nbuild-backend = "portable_backend"\n'
    text += '[tool.portable-backend]\nstrategy = "host"\n[project]\nname = "named"\nversion = "1"\n'
    source = write_files(tmp_path / "p", {"pyproject.toml": text, "named.py": ""})
    (tmp_path / "metadata").mkdir()
    settings = {"portable-backend.inner-backend": "setuptools"}
    hooks = Frontend(source).hooks
    assert hooks.prepare_metadata_for_build_wheel(str(tmp_path / "metadata"), settings, _allow_fallback=False)
    assert hooks.build_wheel(str(tmp_path), settings) == "named-1-py3-none-any.whl"


def test_an_inner_backend_that_cannot_be_told_is_an_error_with_the_line_to_add(tmp_path: Path) -> None:
    text = '[build-system]\nrequires = ["portable-backend"]\nbuild-backend = "portable_backend"\n'
    frontend = Frontend(write_files(tmp_path, {"pyproject.toml": text}))
    with pytest.raises(subprocess.CalledProcessError):
        frontend.hooks.prepare_metadata_for_build_wheel(str(tmp_path), _allow_fallback=False)
    assert frontend.exit_code == 4
    assert 'inner-backend = "' in frontend.output
