"""Containers of another architecture: what is built in them where there is an emulator, and what is said where not.

The image is made by ``tests/images/foreign_image.sh``, which runs nothing of it. Building in it is a long proof (a
minute), for which root registers the emulator: ``update-binfmts --enable qemu-aarch64``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from portable_backend import audit
from support.foreign import run_foreign
from support.images import foreign_image, manylinux_image
from support.projects import copy_sample, hook_environ

pytestmark = pytest.mark.integration
_COMMAND = [sys.executable, "-m", "portable_backend.cli", "build"]
_TARGET = "manylinux_2_36_aarch64"
_REGISTERED = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
_WISH = "TESTS_FOREIGN_CONTAINERS"
_MARKUPSAFE = "markupsafe==3.0.3"


def _emulates() -> bool:
    """Whether this machine, which is taken for the engine's, runs programs for aarch64."""
    try:
        return platform.machine() == "aarch64" or _REGISTERED.read_text().startswith("enabled")
    except OSError:
        return False


@pytest.fixture
def emulated() -> None:
    """Skip where there is no emulator; fail if somebody wished for these tests."""
    if not _emulates():
        reason = f"a long proof: needs qemu-aarch64 registered with binfmt_misc, and fails without it if {_WISH}=1"
        (pytest.fail if os.environ.get(_WISH) else pytest.skip)(reason)


@pytest.fixture
def not_emulated() -> None:
    """Skip where there is an emulator."""
    if _emulates():
        pytest.skip("this machine runs programs for aarch64")


def _build(*words: object, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*_COMMAND, "--strategy", "container", *map(str, words)]
    return subprocess.run(command, env=hook_environ(**environ), capture_output=True, text=True)


def _containers() -> str:
    command = ["docker", "ps", "-a", "-q", "--filter", f"ancestor={foreign_image()}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _images(*more: str) -> list[str]:
    pairs = (f"{_TARGET}={foreign_image()}", *more)
    return [word for pair in pairs for word in ("-C", f"portable-backend.container.images={pair}")]


def test_without_an_emulator_the_error_names_the_cure_before_anything_is_built(
    tmp_path: Path, not_emulated: None
) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    before = sorted(source.rglob("*"))
    done = _build(source, "--python", "3.11", "--target", _TARGET, *_images(), "-w", tmp_path / "out")
    assert done.returncode == 6, done.stderr
    assert f"the image {foreign_image()} is for arm64" in done.stderr
    assert "exec format error" in done.stderr
    assert "qemu-user-static" in done.stderr
    assert 'use the zig strategy (strategy = "zig")' in done.stderr
    assert "errors/StrategyBlocked/" in done.stderr
    assert "installing" not in done.stderr
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
    assert sorted(source.rglob("*")) == before
    assert _containers() == ""


def test_of_a_release_the_jobs_that_need_no_emulator_are_built(tmp_path: Path, not_emulated: None) -> None:
    source, own = copy_sample("setuptools_c", tmp_path), "manylinux_2_31_x86_64"
    targets = ("--target", own, "--target", _TARGET, *_images(f"{own}={manylinux_image()}"))
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = _build(source, "--python", "3.11", *targets, "--json", "-w", tmp_path / "out", **cache)
    data = json.loads(done.stdout)
    assert done.returncode == 6, done.stderr
    assert [job["status"] for job in data["jobs"]] == ["built", "failed"]
    assert data["jobs"][1]["error"]["kind"] == "StrategyBlocked"
    assert "is for arm64" in data["jobs"][1]["error"]["message"]
    assert "errors/StrategyBlocked/" in done.stderr
    assert [own in name for name in data["wheels"]] == [True]


def test_a_real_project_is_built_judged_and_tried_under_an_emulator(tmp_path: Path, emulated: None) -> None:
    words = ("--python", "3.11", "--target", _TARGET, *_images(), "--smoke", "-w", tmp_path / "out")
    done = _build(_MARKUPSAFE, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the image is for arm64, the engine's machine is" in done.stderr or platform.machine() == "aarch64"
    (wheel,) = (tmp_path / "out").iterdir()
    tags = "manylinux2014_aarch64.manylinux_2_17_aarch64.manylinux_2_36_aarch64"
    assert wheel.name == f"markupsafe-3.0.3-cp311-cp311-{tags}.whl"
    with zipfile.ZipFile(wheel) as archive:
        (module,) = (name for name in archive.namelist() if name.endswith(".so"))
        assert "aarch64" in module
        assert archive.read(module)[18:20] == b"\xb7\x00"  # e_machine: EM_AARCH64
    assert audit(wheel).compliant
    shown = subprocess.run([sys.executable, "-m", "auditwheel", "show", wheel], capture_output=True, text=True)
    assert '"manylinux_2_17_aarch64"' in shown.stdout, shown.stderr
    # By an interpreter that is not the image's: the root has no compiler, and another set of libraries.
    code = "import markupsafe._speedups as s; print(s._escape_inner('<&>'))"
    assert run_foreign("aarch64", wheel, code) == "&lt;&amp;&gt;"
    assert "test passed: 1 module imported" in done.stderr
    assert _containers() == ""


def test_an_image_is_asked_for_its_interpreters_under_an_emulator(tmp_path: Path, emulated: None) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    done = _build(source, "--python", "all", "--target", _TARGET, *_images(), "--list", "--json")
    assert [job["python"] for job in json.loads(done.stdout)["jobs"]] == ["3.11"], done.stderr
