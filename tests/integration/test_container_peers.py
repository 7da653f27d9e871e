"""Beside cibuildwheel: inside its containers we start none and repair once; outside, both give the same wheel."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.images import manylinux_image, need
from support.projects import copy_sample, hook_environ

pytestmark = pytest.mark.integration

TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
TABLE = "\n[tool.portable-backend.container]\n"


def _members(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(name for name in archive.namelist() if not name.endswith("/"))


def _by_cibuildwheel(source: Path, out: Path, **settings: str) -> tuple[Path, str]:
    """The one wheel that cibuildwheel makes of a project, and what it printed."""
    environ = hook_environ(
        CIBW_BUILD=f"{TAG}-manylinux_x86_64",
        CIBW_MANYLINUX_X86_64_IMAGE=manylinux_image(),
        CIBW_ARCHS="x86_64",
        **settings,
    )
    command = [sys.executable, "-m", "cibuildwheel", "--platform", "linux", "--output-dir", str(out), "."]
    done = subprocess.run(command, cwd=source, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-3000:]
    (wheel,) = out.glob("*.whl")
    return wheel, done.stdout


def _by_us(source: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(source), "-q", "-w", str(out)]
    environ = hook_environ(PORTABLE_BACKEND_STRATEGY="container", PORTABLE_BACKEND_CONTAINER_IMAGE=manylinux_image())
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(autouse=True)
def _peer() -> None:
    need(importlib.util.find_spec("cibuildwheel"), "needs cibuildwheel (Python 3.11 or newer)")
    interpreters = subprocess.run(
        ["docker", "run", "--rm", manylinux_image(), "ls", "/opt/python"], capture_output=True, text=True, check=True
    ).stdout.split()
    need(f"{TAG}-{TAG}" in interpreters, f"the image has no {TAG}")


def test_under_cibuildwheel_there_is_one_repair_and_no_second_container(tmp_path: Path, own_wheels: Path) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    with (source / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(TABLE)
    shutil.copytree(own_wheels, source / "wheels")
    settings = {"CIBW_ENVIRONMENT": "PIP_FIND_LINKS=/project/wheels", "CIBW_BUILD_VERBOSITY": "1"}
    wheel, said = _by_cibuildwheel(source, tmp_path / "peer", **settings)
    assert "building with the host strategy" in said
    assert "container strategy" not in said
    ours = _by_us(source, tmp_path / "ours")
    assert wheel.name == ours.name
    # auditwheel, which cibuildwheel runs on it, found nothing to add.
    assert _members(wheel) == _members(ours)


def test_the_same_project_gets_the_same_tag_and_verdict(tmp_path: Path) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    text = (source / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace('"portable-backend", ', "").replace('"portable_backend"', '"setuptools.build_meta"')
    (source / "pyproject.toml").write_text(text, encoding="utf-8")
    peer, _ = _by_cibuildwheel(source, tmp_path / "peer")
    ours = _by_us(source, tmp_path / "ours")
    assert ours.name == peer.name
    policies = []
    for wheel in (ours, peer):
        command = [sys.executable, "-m", "portable_backend.cli", "audit", "--json", str(wheel)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **hook_environ()}, check=True)
        policies.append(json.loads(done.stdout)["policy"])
    assert policies[0] == policies[1]
