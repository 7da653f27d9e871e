"""Wheels that were built here, loaded by a real interpreter on a machine of the age that their tags claim.

The machine is a bare container: Debian's essential packages, libstdc++ (which every policy promises) and a CPython;
no compiler and no library more (``tests/images/bare.sh`` makes it, once a machine).
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.images import bare_image, need, run_in
from support.projects import REPOSITORY, copy_sample

pytestmark = pytest.mark.integration


@pytest.fixture(scope="session")
def glibc_2_31() -> str:
    """An image with glibc 2.31."""
    return bare_image("bullseye")


@pytest.fixture(scope="session")
def glibc_2_36() -> str:
    """An image with glibc 2.36."""
    return bare_image("bookworm")


def _build(source: Path, wheels: Path, *options: str) -> dict[str, object]:
    command = [
        sys.executable,
        "-m",
        "portable_backend.cli",
        "build",
        str(source),
        "-w",
        str(wheels),
        "--json",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, object] = json.loads(done.stdout)
    return report


def _unpacked(report: dict[str, object], site: Path) -> Path:
    with zipfile.ZipFile(str(report["path"])) as wheel:
        wheel.extractall(site)
    return site


def test_zig_built_c_extension_loads_on_glibc_2_31(tmp_path: Path, glibc_2_31: str) -> None:
    """Our own wheel, built by zig on whatever this machine is, scans an ELF file over there."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "wheels"), str(REPOSITORY)]
    subprocess.run(command, check=True)
    wheel = next((tmp_path / "wheels").glob("*.whl"))
    assert "manylinux_2_17" in wheel.name
    site = _unpacked({"path": str(wheel)}, tmp_path / "site")
    code = """
import portable_backend._native as native
print(native.scan(open("/bin/ls", "rb").read())[8])
"""
    assert "libc.so.6" in run_in(glibc_2_31, site, code)


def test_zig_built_cpp_extension_loads_on_glibc_2_31(tmp_path: Path, glibc_2_31: str) -> None:
    """A C++ module built with this machine's compilers would need a newer libstdc++ than that one has."""
    source = copy_sample("cpp_exceptions_thrower", tmp_path)
    report = _build(source, tmp_path / "wheels", "--strategy", "zig")
    site = _unpacked(report, tmp_path / "site")
    module = next(path.name.partition(".")[0] for path in site.glob("*.so"))
    assert run_in(glibc_2_31, site, f"import {module}; print('loaded')") == "loaded\n"


def test_ddot_computes_without_openblas(tmp_path: Path, glibc_2_36: str) -> None:
    """The example with this machine's own OpenBLAS, which travels in the wheel with libgfortran and libquadmath."""
    need(list(Path("/usr/lib").glob("*/libopenblas.so")), "needs OpenBLAS's development files (libopenblas-dev)")
    report = _build(REPOSITORY / "examples" / "ddot", tmp_path / "wheels", "--strategy", "host")
    assert report["compliant"] is True
    assert str(report["policy"]).startswith("manylinux_2_")
    site = _unpacked(report, tmp_path / "site")
    grafted = {path.name.partition("-")[0].partition(".")[0] for path in (site / "ddot.libs").iterdir()}
    assert {"libopenblasp", "libgfortran", "libquadmath"} <= grafted
    code = """
import glob, ddot
assert not glob.glob("/usr/lib/**/libopenblas*", recursive=True)
print(ddot.ddot([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]))
loaded = {line.split()[-1] for line in open("/proc/self/maps") if "openblas" in line}
print(sorted(loaded)[0].startswith("/site/ddot.libs/"))
"""
    assert run_in(glibc_2_36, site, code) == "32.0\nTrue\n"
