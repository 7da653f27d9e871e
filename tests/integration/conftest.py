"""Environments for builds with real frontends and real inner backends. Made once per session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.projects import REPOSITORY


@pytest.fixture(scope="session")
def own_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel of the package under test, built from a copy of the repository."""
    scratch = tmp_path_factory.mktemp("own")
    source = scratch / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(scratch / "wheels"), str(source)]
    subprocess.run(command, check=True, env={**os.environ, "PORTABLE_BACKEND_STRATEGY": "host"})
    return scratch / "wheels"


@pytest.fixture
def frontend_environ(own_wheels: Path) -> dict[str, str]:
    """Variables for frontends that isolate builds: they find the package under test, and nothing steers it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PORTABLE_BACKEND_")}
    environ.pop("PYTHONPATH", None)
    for variable, separator in (("PIP_FIND_LINKS", " "), ("UV_FIND_LINKS", ",")):
        environ[variable] = separator.join(filter(None, (environ.get(variable), str(own_wheels))))
    return environ
