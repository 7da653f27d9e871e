"""A wheel for aarch64 on another machine: a cross build by zig beside a build of the same source that qemu emulates.

    python benchmarks/bench_cross.py [--project NAME==VERSION]… [--rounds 2] [--json]

Wall and processor time in seconds of whole processes, of an unpacked sdist, without an isolated environment:

``cold``      ``portable-backend build --strategy zig --target manylinux_2_17_aarch64`` with an empty cache: zig's
              headers are copied, the C library's stubs and libc++ are made
``warm``      the same again, alternating with ``emulated``
``emulated``  setuptools by Debian's CPython and gcc of aarch64 under qemu-user; the wheel is not judged, not repaired

The emulated system is made of Debian's packages by ``tests/images/foreign.sh``. Its programs start each other, which
the kernel has to know qemu for: that is said in a user namespace of its own (Linux 6.7), so nothing is registered on
the machine, and no root is needed. What the projects require must be installed beside the interpreter that runs this.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

TARGET, DEBIAN = "manylinux_2_17_aarch64", "arm64"
PACKAGES = ("g++", "libpython3.11-dev", "python3-distutils")
PURE = ("setuptools", "setuptools-scm", "cppy")
"""What the emulated builds require; wheels of it are for any machine."""

# The magic number of an ELF file for aarch64, as Debian's package of qemu has it. F: qemu is opened now, so that it is
# found after the root has changed.
_ENTER = r"""
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s' ":aarch64:M::$magic:$mask:$1:F" >/proc/sys/fs/binfmt_misc/register
mount --rbind /dev "$2/dev"
mount --rbind /proc "$2/proc"
mount --bind "$3" "$2/mnt"
root=$2
shift 3
chroot=$(PATH=$PATH:/usr/sbin:/sbin command -v chroot)
exec env -i PATH=/usr/bin HOME=/tmp LANG=C.UTF-8 PYTHONPATH=/mnt/packages "$chroot" "$root" "$@"
"""
_BUILD = "import os; os.chdir('/mnt/source'); from setuptools import build_meta as b; print(b.build_wheel('/mnt/out'))"


def run(command: list[str], environ: Mapping[str, str], cwd: Path = ROOT) -> tuple[float, float]:
    """Run a command; seconds of wall and of processor time."""
    before, began = os.times(), time.monotonic()
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return round(time.monotonic() - began, 1), round(cpu, 1)


def unpack(project: str, scratch: Path) -> Path:
    """The project's source."""
    words = ["download", "-q", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", str(scratch), project]
    run([sys.executable, "-m", "pip", *words], {})
    with tarfile.open(next(scratch.glob("*.tar.gz"))) as archive:
        archive.extractall(scratch / "sources", filter="data")
    return next((scratch / "sources").iterdir())


def cross(source: Path, scratch: Path, cache: Path) -> tuple[float, float]:
    """Build by zig, from a fresh copy of the source."""
    copy, out = scratch / "copy", scratch / "wheels"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(source, copy)
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(copy), "-w", str(out), "--no-isolation"]
    environ = {"PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(cache)}
    taken = run([*command, "--strategy", "zig", "--target", TARGET], environ)
    shutil.rmtree(copy)
    assert [path.name.endswith(f"{TARGET}.whl") for path in out.iterdir()] == [True]
    return taken


def emulated(source: Path, shared: Path, root: Path, qemu: str) -> tuple[float, float]:
    """Build in the emulated system, from a fresh copy of the source."""
    for name in ("source", "out"):
        shutil.rmtree(shared / name, ignore_errors=True)
    shutil.copytree(source, shared / "source")
    (shared / "out").mkdir()
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-euc",
        _ENTER,
        "sh",
        qemu,
        str(root),
        str(shared),
    ]
    taken = run([*command, "/usr/bin/python3", "-c", _BUILD], {})
    assert [path.name.endswith("-linux_aarch64.whl") for path in (shared / "out").iterdir()] == [True]
    return taken


def measure(project: str, rounds: int, root: Path, qemu: str) -> dict[str, list[tuple[float, float]]]:
    """Seconds of wall and of processor time of each way."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        source, cache, shared = unpack(project, scratch), scratch / "cache", scratch / "shared"
        words = ["install", "-q", "--target", str(shared / "packages"), "--only-binary", ":all:", "--platform", "any"]
        run([sys.executable, "-m", "pip", *words, *PURE], {})
        times: dict[str, list[tuple[float, float]]] = {
            "cold": [cross(source, scratch, cache)],
            "warm": [],
            "emulated": [],
        }
        for _ in range(rounds):
            times["warm"].append(cross(source, scratch, cache))
            times["emulated"].append(emulated(source, shared, root, qemu))
    return times


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", action="append", metavar="NAME==VERSION")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    qemu = shutil.which("qemu-aarch64-static")
    if qemu is None:
        sys.exit("no qemu-aarch64-static (package qemu-user-static)")
    recipe = ["bash", str(ROOT / "tests" / "images" / "foreign.sh"), DEBIAN, *PACKAGES]
    root = Path(subprocess.run(recipe, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    for name in ("dev", "proc", "mnt", "tmp"):
        (root / name).mkdir(exist_ok=True)
    measured = {}
    for project in options.project or ("msgpack==1.1.2", "kiwisolver==1.4.9"):
        measured[project] = measure(project, options.rounds, root, qemu)
        for way, times in measured[project].items():
            wall, cpu = (statistics.median(column) for column in zip(*times))
            if not options.json:
                print(f"{project:20} {way:9} {wall:7.1f} s wall {cpu:7.1f} s processor  {times}", flush=True)
    if options.json:
        json.dump(measured, sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
