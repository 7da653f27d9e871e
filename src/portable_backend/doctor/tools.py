"""Interpreters, compilers, zig, Rust and emulators: which there are, and of which version."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Optional

from ..errors import PortableBackendError
from ..interpreters import Interpreter, list_pythons, read_interpreter
from ..strategies.zig import REQUIREMENT
from . import cures
from .ask import SECONDS, Probe, ask
from .check import BROKEN, MISSING, OK, UNFIT, Check

_OLDEST_PYTHON = (3, 9)
_OLDEST_ZIG = (0, 15, 2)
_MOST_PYTHONS = 40
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_BUILDS_FOR = "builds for this interpreter with the zig and host strategies"


def python_probes(distribution: Optional[str], needed: bool) -> list[tuple[str, str, Probe]]:
    """One for each interpreter; they take turns at nothing.

    :param needed: whether the default strategy builds with the running interpreter's headers.
    """
    pythons = list_pythons()[:_MOST_PYTHONS]
    return [
        ("python", path, partial(_python_checks, path, distribution, needed and path is pythons[0], path is pythons[0]))
        for path in pythons
    ]


def _python_checks(path: str, distribution: Optional[str], needed: bool, running: bool) -> Sequence[Check]:
    return [_python(path, distribution, needed, running)]


def _python(path: str, distribution: Optional[str], needed: bool, running: bool) -> Check:
    try:
        found = read_interpreter(path, timeout=SECONDS)
    except PortableBackendError as error:
        said = error.message.splitlines()
        return Check("python", path, BROKEN, said[-1] if said else "", _BUILDS_FOR, "remove it from PATH, or mend it")
    version = ".".join(map(str, found.version)) + ("t" if found.free_threaded else "")
    data = {"path": path, "implementation": found.implementation, "version": version, "running": running}
    name = f"{'PyPy ' if found.implementation == 'pypy' else ''}{version}"
    if found.version[:2] < _OLDEST_PYTHON:
        cure = "take a newer one; the container strategy has others in its images"
        return Check("python", name, UNFIT, f"{path}: too old for portable_backend", None, cure, data=data)
    header = _has_headers(found)
    detail = f"{path}: {'with' if header else 'without'} headers{'; it runs this' if running else ''}"
    data["headers"] = header
    if header:
        return Check("python", name, OK, detail, needed=needed, data=data)
    cure = cures.headers(found.executable, found.short_version, distribution)
    return Check("python", name, MISSING, detail, _BUILDS_FOR, cure, needed, data)


def _has_headers(interpreter: Interpreter) -> bool:
    return any(os.path.isfile(os.path.join(directory, "Python.h")) for directory in interpreter.include)


def zig(wheels: bool, needed: bool) -> Sequence[Check]:
    """The package ``ziglang`` of this environment, else a zig on PATH.

    :param wheels: whether ziglang has wheels for this machine.
    :param needed: whether the default strategy is zig's and no build environment could fetch it.
    """
    spec = importlib.util.find_spec("ziglang")
    inside = [os.path.join(place, "zig") for place in (spec and spec.submodule_search_locations) or ()]
    package = next((path for path in inside if os.access(path, os.X_OK)), None)
    path = package or shutil.which("zig")
    enables = "the zig strategy (the default): wheels for an old glibc or musl, without a container"
    cure = f"pip install '{REQUIREMENT}'" if wheels else "install zig from your distribution or from ziglang.org"
    if path is None:
        fetched = "not installed; a build with isolation fetches it by itself" if wheels else "not installed"
        return [Check("zig", "zig", MISSING, fetched, enables, cure, needed)]
    said = ask([path, "version"])
    where = "package ziglang" if package else path
    data = {"path": path, "package": package is not None, "version": said and said.strip()}
    if not said:
        return [Check("zig", "zig", BROKEN, f"{path} does not run", enables, cure, needed, data)]
    version = said.strip()
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < _OLDEST_ZIG:
        return [Check("zig", "zig", BROKEN, f"{version}, too old ({where})", enables, cure, needed, data)]
    return [Check("zig", "zig", OK, f"{version} ({where})", data=data)]


def compilers(distribution: Optional[str], needed: bool) -> Sequence[Check]:
    """The machine's own C and C++ compilers.

    :param needed: whether the default strategy is the host's.
    """
    found = []
    for name, variable in (("cc", "CC"), ("c++", "CXX")):
        program = (os.environ.get(variable) or name).split()[0]
        path = shutil.which(program)
        said = path and ask([path, "--version"])
        enables = f"the host strategy for projects in {'C' if name == 'cc' else 'C++'}"
        cure = cures.install(name, distribution, "install gcc or clang")
        if not said:
            status, detail = (BROKEN, f"{path} does not run") if path else (MISSING, f"there is no {program} on PATH")
            found.append(Check("compilers", name, status, detail, enables, cure, needed and name == "cc"))
        else:
            data = {"path": path, "version": said.splitlines()[0]}
            found.append(Check("compilers", name, OK, f"{said.splitlines()[0]} ({path})", data=data))
    return found


def rust(distribution: Optional[str]) -> Sequence[Check]:
    """cargo, rustc, and the targets whose standard library is installed."""
    enables = "projects in Rust (maturin, setuptools-rust) with the zig and host strategies"
    rustup = shutil.which("rustup")
    cure = "rustup default stable" if rustup else cures.install("rust", distribution, "see rustup.rs")
    checks = []
    for name in ("cargo", "rustc"):
        path = shutil.which(name)
        said = path and ask([path, "--version"])
        if said:
            version = next(iter(said.split()[1:]), "")
            checks.append(Check("rust", name, OK, said.strip(), data={"path": path, "version": version}))
        else:
            status, detail = (BROKEN, f"{path} does not run") if path else (MISSING, f"there is no {name} on PATH")
            checks.append(Check("rust", name, status, detail, enables, cure))
    if all(check.status == OK for check in checks):
        root = ask(["rustc", "--print", "sysroot"])
        targets = sorted(path.parent.name for path in Path((root or "").strip()).glob("lib/rustlib/*/lib"))
        detail = ", ".join(targets) or "none"
        checks.append(Check("rust", "targets", OK if targets else BROKEN, detail, data={"targets": targets}))
    return checks


def emulation(distribution: Optional[str], machine: str) -> Sequence[Check]:
    """Which other architectures the kernel hands to an emulator (``binfmt_misc``)."""
    try:
        names = sorted(path.name for path in _BINFMT.iterdir() if path.name.startswith("qemu-"))
        enabled = [name[5:] for name in names if (_BINFMT / name).read_text(errors="replace").startswith("enabled")]
    except OSError:
        enabled = []
    if enabled:
        return [Check("emulation", "qemu", OK, ", ".join(enabled), data={"architectures": enabled})]
    enables = f"containers, and so builds and tests, of other architectures than {machine}"
    cure = cures.install("qemu", distribution, "install qemu-user-static with its binfmt registrations")
    detail = "no emulator is registered with the kernel (binfmt_misc)"
    return [Check("emulation", "qemu", MISSING, detail, enables, cure, data={"architectures": []})]
