"""What guards other repositories: the pre-commit hooks, by the real pre-commit, and the steps of the GitHub Action."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from wheel_maker import libc_extension, make_wheel

from support.projects import REPOSITORY

_GOOD = "good-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
_BAD = "bad-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"


def _git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """A repository of our own sources, as pre-commit clones it."""
    if shutil.which("git") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs git")
    directory = tmp_path / "hooks"
    directory.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        shutil.copy(REPOSITORY / name, directory)
    shutil.copytree(
        REPOSITORY / "src", directory / "src", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    )
    _git(directory, "init", "-q")
    _git(directory, "add", "-A")
    _git(directory, "commit", "-qm", "all")
    return directory


@pytest.mark.integration
def test_pre_commit_stops_a_wheel_that_is_not_what_it_claims(tmp_path: Path, hooks: Path) -> None:
    pytest.importorskip("pre_commit")
    project = tmp_path / "project"
    project.mkdir()
    _git(project, "init", "-q")
    make_wheel(project / "vendor", {"ext.so": libc_extension()}, _GOOD)
    (project / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\n')
    (project / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {hooks}\n  rev: {_git(hooks, 'rev-parse', 'HEAD').strip()}\n"
        "  hooks:\n  - id: portable-backend-audit\n  - id: portable-backend-plan\n"
    )
    _git(project, "add", "-A")
    strategy = {"PORTABLE_BACKEND_STRATEGY": "host"}  # to build ourselves for here
    environ = {**os.environ, **strategy, "PRE_COMMIT_HOME": str(tmp_path / "cache")}
    for name in ("PYTHONPATH", "GITHUB_ACTIONS"):
        environ.pop(name, None)

    def commit() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pre_commit", "run", "--color", "never"]
        return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True)

    done = commit()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Passed") == 2
    make_wheel(project / "vendor", {"ext.so": libc_extension("GLIBC_2.34")}, _BAD)
    (project / "pyproject.toml").write_text('[tool.portable-backend]\ntargt = "x"\n')
    _git(project, "add", "-A")
    done = commit()
    assert done.returncode == 1
    assert "malloc@GLIBC_2.34" in done.stdout
    assert _GOOD not in done.stdout, "of those that are good nothing is said"
    assert "did you mean" in done.stdout


# --- the action ---------------------------------------------------------------------------------------------------


def _step(number: int) -> str:
    """The script of a step, read without a YAML parser; another test uses a real one."""
    text = (REPOSITORY / "action.yml").read_text(encoding="utf-8")
    script = text.split("      run: |\n")[number + 1].split("\n    - ")[0]
    return "\n".join(line[8:] for line in script.splitlines())


def _act(directory: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The second step, with the environment that the first one makes."""
    place = directory / "temp" / "portable-backend" / "bin"
    place.mkdir(parents=True, exist_ok=True)
    start = f'#!/bin/sh\nPYTHONPATH={REPOSITORY / "src"} exec {sys.executable} -m portable_backend.cli "$@"\n'
    (place / "portable-backend").write_text(start)
    (place / "portable-backend").chmod(0o755)
    told = {
        f"INPUT_{name.upper()}": value for name, value in {"wheels": "dist/*.whl", "arguments": "", **inputs}.items()
    }
    environ = {**os.environ, "GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(directory / "temp"), **told}
    environ["GITHUB_STEP_SUMMARY"] = str(directory / "summary")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", _step(1)]  # as GitHub runs "shell: bash"
    return subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True)


def test_the_action_audits_annotates_and_fails(tmp_path: Path) -> None:
    make_wheel(tmp_path / "dist", {"ext.so": libc_extension()}, _GOOD)
    done = _act(tmp_path)
    assert done.returncode == 0, done.stderr
    assert _GOOD in done.stdout
    make_wheel(tmp_path / "dist" / "below", {"ext.so": libc_extension("GLIBC_2.34")}, _BAD)
    done = _act(tmp_path, wheels="dist/*.whl\ndist/**/bad*.whl")
    assert done.returncode == 1
    assert f"::error title={_BAD}::" in done.stderr
    assert (tmp_path / "summary").read_text().count("❌") == 1


def test_the_action_takes_options_and_refuses_an_empty_list(tmp_path: Path) -> None:
    make_wheel(tmp_path / "dist", {"ext.so": libc_extension(needed=["libcuda.so.1"])}, _GOOD)
    assert _act(tmp_path).returncode == 1
    assert _act(tmp_path, arguments="--exclude libcuda.so.*").returncode == 0
    done = _act(tmp_path, wheels="nowhere/*.whl")
    assert done.returncode == 2
    assert "::error" in done.stdout


def test_inputs_and_names_of_the_action_are_not_run(tmp_path: Path) -> None:
    make_wheel(tmp_path / "dist", {"ext.so": libc_extension()}, _GOOD)
    hostile = "$(touch ran) `touch ran` ; touch ran"
    _act(tmp_path, arguments=hostile, wheels=f"dist/*.whl {hostile}")
    (tmp_path / "dist" / "--json -x.whl").write_bytes(b"")
    done = _act(tmp_path)
    assert not (tmp_path / "ran").exists()
    assert "--json -x.whl" in done.stderr, "a file, not an option"


def test_the_definitions_are_well_formed() -> None:
    yaml = pytest.importorskip("yaml")
    action: dict[str, Any] = yaml.safe_load((REPOSITORY / "action.yml").read_text(encoding="utf-8"))
    assert action["runs"]["using"] == "composite"
    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "an input in a script is a script"
    assert action["runs"]["steps"][1]["run"].strip() == _step(1).strip()
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert {hook["id"] for hook in hooks} == {"portable-backend-audit", "portable-backend-plan"}
