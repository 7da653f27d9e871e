"""The published schema in the programs that it is published for: validate-pyproject, and Taplo, which editors run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from portable_backend.settings_schema import read_schema

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ROOT = Path(__file__).parents[2]
_GOOD = """
[build-system]
requires = ["portable-backend", "setuptools"]
build-backend = "portable_backend"

[tool.portable-backend]
target = "manylinux_2_28"
exclude = ["libcuda.so.*"]

[tool.portable-backend.container]
before-all = "dnf install -y openblas-devel"

[[tool.portable-backend.overrides]]
if = { target = "musllinux_*" }
container.before-all = "apk add openblas-dev"
"""
_WRONG = {
    "an unknown key": ('target = "manylinux_2_28"', 'targt = "manylinux_2_28"', "targt"),
    "a wrong value": ('target = "manylinux_2_28"', 'mode = "repare"', "mode"),
    "an unknown key of an override": ("container.before-all", "container.before-al", "before-al"),
}


@pytest.fixture
def plugins(tmp_path: Path) -> dict[str, str]:
    """Variables for a process that finds the package under test as an installed one, with its entry points."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = tmp_path / "installed" / f"portable_backend-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: portable-backend\nVersion: {project['version']}\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points))
    path = os.pathsep.join([str(info.parent), str(_ROOT / "src")])
    return {**os.environ, "PYTHONPATH": path, "VALIDATE_PYPROJECT_NO_NETWORK": "1", "NO_NETWORK": "1"}


def _validate(text: str, directory: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (directory / "pyproject.toml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "validate_pyproject", str(directory / "pyproject.toml")]
    return subprocess.run(command, env=environ, capture_output=True, text=True)


def test_validate_pyproject_takes_good_settings(tmp_path: Path, plugins: dict[str, str]) -> None:
    pytest.importorskip("validate_pyproject")
    done = _validate(_GOOD, tmp_path, plugins)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("wrong", _WRONG)
def test_validate_pyproject_reports_wrong_settings(wrong: str, tmp_path: Path, plugins: dict[str, str]) -> None:
    pytest.importorskip("validate_pyproject")
    old, new, named = _WRONG[wrong]
    done = _validate(_GOOD.replace(old, new), tmp_path, plugins)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "tool.portable-backend" in said
    assert named in said


@pytest.mark.parametrize("wrong", [None, *_WRONG])
def test_editors_report_wrong_settings(wrong: str, tmp_path: Path) -> None:
    """Even Better TOML runs Taplo, which is asked here as it asks itself: by the first line of the file."""
    taplo = shutil.which("taplo", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if taplo is None:
        pytest.skip("taplo is not installed")
    shutil.copy(_ROOT / "docs" / "reference" / "pyproject.schema.json", tmp_path)
    old, new, named = _WRONG[wrong] if wrong else ("", "", "")
    text = f"#:schema {(tmp_path / 'pyproject.schema.json').as_uri()}\n{_GOOD.replace(old, new)}"
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    done = subprocess.run([taplo, "lint", "pyproject.toml"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == (1 if wrong else 0), done.stderr
    assert named in done.stderr


def test_no_other_table_is_asked_for() -> None:
    assert "target" in read_schema("portable-backend")["properties"]
    with pytest.raises(ValueError, match="setuptools"):
        read_schema("setuptools")
