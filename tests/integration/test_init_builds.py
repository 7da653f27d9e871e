"""A project with a backend in its own tree: pip builds it before ``init``, after it, and after it was undone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.command_line import run
from support.projects import copy_sample

pytestmark = pytest.mark.integration

SYSTEM = """\
[build-system]
requires = [
  "setuptools>=77",  # what our backend wraps
]
build-backend = "our_backend:Backend.hooks"
backend-path = ["_build"]

"""


def _wheel(source: Path, directory: Path, environ: dict[str, str]) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(directory), str(source)]
    done = subprocess.run(command, env={**environ, "PORTABLE_BACKEND_STRATEGY": "host"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (wheel,) = directory.glob("*.whl")
    return wheel


def test_pip_builds_before_and_after_and_when_undone(
    tmp_path: Path, frontend_environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    source = copy_sample("intree_c", tmp_path)
    path = source / "pyproject.toml"
    project = path.read_text().partition("\n\n")[2].partition("\n[tool.portable-backend]")[0]
    path.write_text(SYSTEM + project)
    plain = _wheel(source, tmp_path / "before", frontend_environ)
    assert "-linux_" in plain.name
    assert run(capsys, "init", source, "--yes").code == 0
    portable = _wheel(source, tmp_path / "after", frontend_environ)
    assert "manylinux" in portable.name
    assert _members(portable) == _members(plain)
    assert run(capsys, "init", source, "--undo", "--yes").code == 0
    assert path.read_text() == SYSTEM + project
    assert _wheel(source, tmp_path / "undone", frontend_environ).name == plain.name


def _members(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())
