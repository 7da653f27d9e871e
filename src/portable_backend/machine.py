"""What the machine that builds is: facts that a plan is made from, gathered once, in one place."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional


@dataclass(frozen=True)
class HostFacts:
    """The machine and the surroundings of this build. ``environ`` holds only what planning looks at."""

    system: str
    """``sys.platform``: ``linux``, ``darwin``, ``win32``."""
    machine: str
    """``platform.machine()``."""
    libc: Optional[str]
    """``glibc`` or ``musl`` on Linux."""
    libc_version: Optional[tuple[int, int]]
    policy_image: Optional[str]
    """The platform tag of the manylinux or musllinux image that this runs in (``AUDITWHEEL_PLAT``)."""
    cibuildwheel: bool
    pip_build: bool
    """pip builds this (its build tracker is in the environment)."""
    source_is_sdist: bool
    """``PKG-INFO`` stands beside ``pyproject.toml``: the source was published, it is no work tree."""
    zig_on_path: Optional[str]


def read_host_facts(source: Path, environ: Mapping[str, str] = os.environ) -> HostFacts:
    """Gather the facts for a build of ``source``."""
    libc, version = _libc()
    inside = environ.get("AUDITWHEEL_PLAT") if os.path.isdir("/opt/python") else None
    return HostFacts(
        system=sys.platform,
        machine=platform.machine(),
        libc=libc,
        libc_version=version,
        policy_image=inside or None,
        cibuildwheel=environ.get("CIBUILDWHEEL") == "1",
        pip_build="PIP_BUILD_TRACKER" in environ or "PIP_REQ_TRACKER" in environ,
        source_is_sdist=(source / "PKG-INFO").is_file(),
        zig_on_path=_which("zig", environ.get("PATH", "")),
    )


def _libc() -> tuple[Optional[str], Optional[tuple[int, int]]]:
    if sys.platform != "linux":
        return None, None
    name, text = platform.libc_ver()
    if name == "glibc":
        numbers = text.split(".")
        if len(numbers) >= 2 and numbers[0].isdigit() and numbers[1].isdigit():
            return "glibc", (int(numbers[0]), int(numbers[1]))
        return "glibc", None
    return "musl", None


def _which(name: str, path: str) -> Optional[str]:
    for directory in path.split(os.pathsep):
        candidate = os.path.join(directory, name)
        if directory and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None
