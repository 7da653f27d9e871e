"""A whole build through podman's command: the same strategy, another engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.images import manylinux_image, need
from support.projects import copy_sample, hook_environ

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CONFIGURATION = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
"""


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for podman where there is no systemd; the image is handed over from docker."""
    if not shutil.which("podman"):
        need(os.environ.get("TESTS_WITH_PODMAN") != "1", "no podman")
        pytest.skip("no podman")
    file = tmp_path_factory.mktemp("podman") / "containers.conf"
    file.write_text(CONFIGURATION, encoding="utf-8")
    environ = {"CONTAINERS_CONF": str(file)}
    image = manylinux_image()
    everything = {**os.environ, **environ}
    wanted = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Id}}", image], capture_output=True, text=True, check=True
    ).stdout.strip()
    there = subprocess.run(
        ["podman", "image", "inspect", "--format", "{{.Id}}", image], capture_output=True, text=True, env=everything
    ).stdout.strip()
    if not there or there not in wanted:
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            subprocess.run(["podman", "load", "--quiet"], stdin=saving.stdout, env=everything, check=True)
    return environ


def _containers(environ: dict[str, str]) -> str:
    command = ["podman", "ps", "-aq", "--filter", "label=portable-backend.run"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environ}, check=True).stdout


@pytest.mark.parametrize("network", ["true", "false"])
def test_podman_builds_prepares_and_leaves_nothing(tmp_path: Path, podman: dict[str, str], network: str) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    environ = hook_environ(
        **podman,
        PORTABLE_BACKEND_STRATEGY="container",
        PORTABLE_BACKEND_CONTAINER_ENGINE="podman",
        PORTABLE_BACKEND_CONTAINER_IMAGE=manylinux_image(),
        PORTABLE_BACKEND_CONTAINER_NETWORK=network,
        PORTABLE_BACKEND_CONTAINER_BEFORE_ALL="date +%s.%N > /stamp",
        PORTABLE_BACKEND_CONTAINER_BEFORE_BUILD="echo stamp $(cat /stamp)",
        PORTABLE_BACKEND_CONTAINER_ENVIRONMENT=f"FRESH={tmp_path.name}",
    )
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(source), "-w", str(tmp_path / "out")]
    stamps = []
    for _ in range(2):
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        stamps += [line for line in done.stderr.splitlines() if line.startswith("stamp ")]
    assert len(stamps) == 2
    assert stamps[0] == stamps[1]  # before-all ran once
    assert len(list((tmp_path / "out").glob("*manylinux*.whl"))) == 1
    assert _containers(podman) == ""
