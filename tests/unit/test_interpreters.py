"""Finding interpreters and asking them for their facts."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from portable_backend.errors import UsageError
from portable_backend.interpreters import find_python, read_interpreter

_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_running_interpreter_s_facts() -> None:
    found = read_interpreter()
    assert found.executable == sys.executable
    assert found.version == sys.version_info[:3]
    assert found.short_version == _VERSION
    assert found.implementation == sys.implementation.name
    assert found.machine == platform.machine()
    assert found.bits in (32, 64)
    assert "SOABI" in found.variables or sys.platform == "win32"


def test_modules_in_the_working_directory_do_not_answer_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the standard library')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert read_interpreter().executable == sys.executable


@pytest.mark.parametrize("text", ["exit 3", "echo not json", "echo {}; exit 1"])
def test_what_is_no_python_is_refused(tmp_path: Path, text: str) -> None:
    program = _script(tmp_path / "python", text)
    with pytest.raises(UsageError, match="does not work as a Python interpreter"):
        read_interpreter(str(program))


def test_none_is_the_running_one_and_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_python(None) == sys.executable
    program = _script(tmp_path / "bin" / "mine", "")
    assert find_python(str(program)) == str(program)
    monkeypatch.chdir(tmp_path)
    assert find_python(os.path.join("bin", "mine")) == str(program)


@pytest.mark.parametrize("wanted", [_VERSION, f"python{_VERSION}", ".".join(map(str, sys.version_info[:3]))])
def test_a_version_is_found_and_checked(wanted: str) -> None:
    if sys.version_info.releaselevel == "final":
        assert read_interpreter(find_python(wanted)).short_version == _VERSION


def test_an_interpreter_on_the_path_that_lies_about_its_version_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyenv puts a shim on PATH for every version that is installed, active or not."""
    _script(tmp_path / f"python{_VERSION}", "exit 127")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert read_interpreter(find_python(_VERSION)).short_version == _VERSION


@pytest.mark.parametrize(
    "wanted", ["3.99", "3.99.1", "3.99t", "2", "banana", "", "3.", "3.x", "t", "3.1t.2", "python", "²"]
)
def test_what_is_not_there_or_no_version(wanted: str) -> None:
    with pytest.raises(UsageError, match="--python"):
        find_python(wanted)


def test_pyenv_and_uv_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = (
        '{"executable": "%s", "implementation": "cpython", "version": [3, 99, 1], "machine": "x86_64", "bits": 64,'
        ' "platform": "linux-x86_64", "base_prefix": "/", "include": [], "variables": {}}'
    )
    monkeypatch.setenv("PATH", "")
    for variable, directory in (("PYENV_ROOT", "versions/3.99.1"), ("UV_PYTHON_INSTALL_DIR", "cpython-3.99.1-linux")):
        root = tmp_path / variable
        program = _script(root / directory / "bin" / "python3.99", f"echo '{answer % 'there'}'")
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(root))
            assert find_python("3.99") == str(program)
            assert find_python("3.99.1") == str(program)
            with pytest.raises(UsageError):
                find_python("3.99.2")
            with pytest.raises(UsageError):
                find_python("3.99t")


def test_a_user_whom_nobody_knows_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert find_python(_VERSION)
