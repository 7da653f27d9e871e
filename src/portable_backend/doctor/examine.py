"""The whole examination: what the default strategy is here, and a look at every part at the same time."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from .. import __version__
from ..errors import PortableBackendError
from ..machine import HostFacts, read_host_facts
from ..plan import ZIG_ARCHES, InnerBackend, Request, choose_strategy, choose_target
from ..settings import Settings
from ..targets import Libc, parse_arch
from . import engines, surroundings, tools
from .ask import Probe, together
from .check import Diagnosis, in_order
from .cures import parse_os_release

LIMIT = 10.0
"""Seconds for everything. What takes longer is reported as that."""


def examine(environ: Mapping[str, str] = os.environ) -> Diagnosis:
    """Look at this machine.

    Nothing is installed, downloaded or asked of the network; engines are asked on this machine, or wherever the user's
    variables say.
    """
    host = read_host_facts(Path.cwd(), environ)
    strategy, target, why = _default(host)
    distribution, machine = _distribution(), host.machine
    linux = host.system == "linux"
    probes: list[tuple[str, str, Probe]] = [
        ("package", "portable_backend", surroundings.package),
        *tools.python_probes(distribution, needed=linux and strategy in {"zig", "host"}),
        ("zig", "zig", lambda: tools.zig(_zig_wheels(machine), needed=strategy == "zig" and not _zig_wheels(machine))),
        ("compilers", "cc", lambda: tools.compilers(distribution, needed=linux and strategy == "host")),
        ("rust", "cargo", lambda: tools.rust(distribution)),
        ("containers", "docker", lambda: engines.engine("docker", distribution, machine)),
        ("containers", "podman", lambda: engines.engine("podman", distribution, machine)),
        ("disk", "cache", lambda: surroundings.disk(needed=strategy == "zig")),
        ("surroundings", "variables", lambda: surroundings.surroundings(environ)),
    ]
    if linux:
        probes.append(("emulation", "qemu", lambda: tools.emulation(distribution, machine)))
    libc = f", {host.libc}" if host.libc else ""
    version = f" {host.libc_version[0]}.{host.libc_version[1]}" if host.libc_version else ""
    said = f"{platform.system()} {machine}{libc}{version}"
    return Diagnosis(__version__, said, strategy, target, why, in_order(together(probes, LIMIT)))


def _default(host: HostFacts) -> tuple[Optional[str], Optional[str], str]:
    """Strategy and target of a project that says nothing of either."""
    try:
        arch = parse_arch("i686" if sys.maxsize < 2**32 and host.machine == "x86_64" else host.machine)
        request = Request(arch, Libc(host.libc or "glibc"), {})
        settings, inner = Settings(), InnerBackend("setuptools.build_meta", kind="setuptools")
        strategy, why = choose_strategy(request, settings, inner, host)
        target, _ = choose_target(request, settings, strategy, host)
    except PortableBackendError as error:
        return None, None, error.message
    return strategy, None if target is None else str(target), why


def _zig_wheels(machine: str) -> bool:
    try:
        return parse_arch(machine) in ZIG_ARCHES
    except PortableBackendError:
        return False


def _distribution() -> Optional[str]:
    try:
        return parse_os_release(Path("/etc/os-release").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
