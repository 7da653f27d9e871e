"""zig builds for the interpreters that people have: each leaks other flags and keeps its headers elsewhere."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.projects import copy_sample

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="zig wheels are for Linux")]


def missing(reason: str) -> str:
    """Skip on a laptop, fail where nothing may be missing."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def running(scratch: Path) -> str:
    """The one that runs the tests (pyenv's on many machines)."""
    del scratch
    return sys.executable


def distribution(scratch: Path) -> str:
    """Debian's, whose pyconfig.h includes another one through a multiarch directory."""
    del scratch
    if not glob.glob("/usr/include/python3*/Python.h") or not os.access("/usr/bin/python3", os.X_OK):
        missing("needs the distribution's Python with its headers (python3-dev)")
    return "/usr/bin/python3"


def standalone(scratch: Path) -> str:
    """python-build-standalone's, which uv installs; this one travels in a wheel, its sysconfig as it was built."""
    download = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-d",
        str(scratch),
    ]
    download += ["--platform", "manylinux2014_x86_64", "backend.ai-krunner-static-gnu==4.1.1"]
    if os.uname().machine != "x86_64" or subprocess.run(download, check=False).returncode:
        missing("needs a CPython out of a wheel for x86-64 from the package index")
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".tar.xz") and "x86_64" in name)
        with wheel.open(name) as packed, tarfile.open(fileobj=packed, mode="r|xz") as archive:
            for member in archive:
                if member.name.startswith(("./bin/", "./lib/", "./include/", "bin/", "lib/", "include/")):
                    archive.extract(member, scratch / "python")
    return str(scratch / "python" / "bin" / "python3")


@pytest.mark.slow
@pytest.mark.parametrize("find", [running, distribution, standalone], ids=lambda find: find.__name__)
def test_zig_builds_for_it(find: Callable[[Path], str], tmp_path: Path) -> None:
    python = find(tmp_path)
    source = copy_sample("setuptools_c", tmp_path)
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(source), "-w", str(tmp_path / "w")]
    command += ["--strategy", "zig", "--python", python, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["compliant"]
    assert report["external_libraries"] == []
    assert not [finding for finding in report["findings"] if finding["kind"] == "rpath"]
    site = tmp_path / "site"
    shutil.unpack_archive(report["path"], site, "zip")
    loaded = subprocess.run(
        [python, "-c", "import sample_setuptools_c as m; print(m.__name__)"],
        env={"PYTHONPATH": str(site), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout == "sample_setuptools_c\n", loaded.stderr
