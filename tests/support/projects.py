"""Projects for tests: the samples under ``tests/packages``, and ones that are written for a single test."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from pyproject_hooks import BuildBackendHookCaller

import portable_backend

TESTS = Path(__file__).resolve().parent.parent
REPOSITORY = TESTS.parent
PACKAGES = TESTS / "packages"
SOURCE_PATH = str(Path(portable_backend.__file__).parent.parent)
OPTIONAL_HOOKS = (
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_wheel",
    "get_requires_for_build_sdist",
    "build_editable",
    "get_requires_for_build_editable",
    "prepare_metadata_for_build_editable",
)

_FAKE_PYPROJECT = """\
[build-system]
requires = ["portable-backend"]
build-backend = "portable_backend"

[tool.portable-backend]
inner-backend = "fake_backend"
inner-backend-path = ["_build"]
"""


def copy_sample(name: str, directory: Path) -> Path:
    """A fresh copy of a sample project, as ``directory/name``."""
    ignored = shutil.ignore_patterns("build", "*.egg-info", "target", "__pycache__")
    return Path(shutil.copytree(PACKAGES / name, directory / name, ignore=ignored))


def write_files(directory: Path, files: Mapping[str, str]) -> Path:
    """Write text files below ``directory``, which is made where it is not there."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def write_fake_project(
    directory: Path,
    said: Optional[Mapping[str, Any]] = None,
    settings: str = "",
    files: Optional[Mapping[str, str]] = None,
) -> Path:
    """A project whose in-tree inner backend is ``support/fake_backend.py``, told what to do by ``said``.

    :param settings: lines to add to ``[tool.portable-backend]``.
    """
    write_files(directory, {"pyproject.toml": f"{_FAKE_PYPROJECT}{settings}\n", "fake.json": json.dumps(said or {})})
    write_files(directory, files or {})
    (directory / "_build").mkdir(exist_ok=True)
    shutil.copy(TESTS / "support" / "fake_backend.py", directory / "_build")
    return directory


def hook_environ(**more: str) -> dict[str, str]:
    """Variables for a process that shall import the package under test, and nothing of ours set otherwise."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PORTABLE_BACKEND_")}
    path = os.pathsep.join(filter(None, (SOURCE_PATH, os.environ.get("PYTHONPATH"))))
    return {**mine, "PYTHONPATH": path, **more}


class Frontend:
    """Calls hooks as build frontends do: in a process of their own, at the project's root.

    :param output: all that hooks printed.
    """

    def __init__(self, source: Path, python: str = sys.executable, **environ: str) -> None:
        self._environ = hook_environ(**environ)
        self.output = ""
        self.exit_code = 0
        self.hooks = BuildBackendHookCaller(str(source), "portable_backend", runner=self._run, python_executable=python)

    def _run(
        self, cmd: Sequence[str], cwd: Optional[str] = None, extra_environ: Optional[Mapping[str, str]] = None
    ) -> None:
        import subprocess

        environ = {**self._environ, **(extra_environ or {})}
        done = subprocess.run(
            cmd,
            cwd=cwd,
            env=environ,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            input="never read",
        )
        self.output += done.stdout
        self.exit_code = done.returncode
        done.check_returncode()


def read_log(path: Path) -> list[dict[str, Any]]:
    """What a fake inner backend was asked, call by call."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def printed_log(output: str) -> list[dict[str, Any]]:
    """What a fake inner backend was asked, call by call, out of what it printed (``"log": "-"``)."""
    return [json.loads(line[4:]) for line in output.splitlines() if line.startswith("LOG ")]


def find_pythons() -> list[str]:
    """Versions, as ``3.12``, of the interpreters that ``--python`` would find on this machine."""
    from portable_backend.errors import UsageError
    from portable_backend.interpreters import find_python

    found = []
    for minor in range(9, 15):
        try:
            find_python(f"3.{minor}")
        except UsageError:
            continue
        found.append(f"3.{minor}")
    return found
