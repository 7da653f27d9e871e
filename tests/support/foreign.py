"""Interpreters of other architectures, which qemu runs here.

For glibc they are Debian's CPythons, unpacked by ``tests/images/foreign.sh``; for musl, ones that
``tests/images/musl_python.sh`` compiles.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from support.images import CANNOT, RECIPES, need

VERSION = "3.11"
"""Of the interpreters (riscv64's is a newer one): wheels without abi3 have to be built for it."""

#: Architecture as platform tags name it → as Debian does, and as qemu does.
ARCHES = {
    "x86_64": ("amd64", "x86_64"),
    "i686": ("i386", "i386"),
    "aarch64": ("arm64", "aarch64"),
    "armv7l": ("armhf", "arm"),
    "ppc64le": ("ppc64el", "ppc64le"),
    "s390x": ("s390x", "s390x"),
    "riscv64": ("riscv64", "riscv64"),
}
#: Those of which Debian 12 has no Rust.
WITHOUT_RUST = frozenset(("riscv64",))


def version_of(arch: str, musl: bool = False) -> str:
    """Which Python the interpreter of an architecture is: Debian has riscv64 since its release 13 only."""
    return "3.13" if arch == "riscv64" and not musl else VERSION


def _recipe(name: str, *arguments: str) -> tuple[int, str]:
    command = ["bash", str(RECIPES / f"{name}.sh"), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHON": sys.executable})
    return done.returncode, done.stdout.strip()


@functools.cache
def foreign_python(arch: str, musl: bool = False) -> tuple[str, ...]:
    """The command that runs the interpreter of an architecture; the test skips (in CI: fails) where there is none."""
    recipe = "musl_python" if musl else "foreign"
    debian, qemu = ARCHES[arch]
    emulator = shutil.which(f"qemu-{qemu}-static") or shutil.which(f"qemu-{qemu}")
    need(emulator, f"no qemu-user for {arch} (package qemu-user-static)")
    status, said = _recipe(recipe, debian)
    need(status != CANNOT, said)
    assert status == 0, f"{recipe}.sh failed with status {status}"
    return (str(emulator), "-L", said, f"{said}/usr/bin/python3")


@functools.cache
def foreign_rustc(*arches: str) -> str:
    """A rustc that has the standard libraries of these architectures."""
    status, said = _recipe("rust", *(ARCHES[arch][0] for arch in arches))
    need(status != CANNOT, said)
    assert status == 0, f"rust.sh failed with status {status}"
    return f"{said}/rustc"


def run_foreign(arch: str, wheel: Path, code: str, musl: bool = False) -> str:
    """Run Python code in a real interpreter of that architecture that has a wheel to import, and nothing more.

    :returns: its standard output; fails if the code does.
    """
    command = foreign_python(arch, musl)
    with tempfile.TemporaryDirectory() as site:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": site, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([*command, "-c", code], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
