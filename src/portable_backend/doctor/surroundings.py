"""This package with its optional parts, room on disk, and the variables that builds listen to."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from .. import __version__
from ..elf import IMPLEMENTATION
from ..errors import PortableBackendError
from ..strategies.zig_toolchain import cache_directory
from .check import BROKEN, MISSING, OK, Check

# What each optional package is for, and what installs it.
_PARTS = (
    ("deflate", "repaired wheels that have the same bytes on every machine, written faster", "pip install deflate"),
    ("docker", "the container strategy without the program docker", "pip install 'portable-backend[container]'"),
    ("build", "isolated build environments for `portable-backend build`", "pip install build"),
    ("tomlkit", "editing pyproject.toml with its comments kept", "pip install tomlkit"),
    ("rich", "tables and colours in reports", "pip install rich"),
)
# What every build needs.
_REQUIRED = ("packaging", "pyproject-hooks", *(("tomli",) if sys.version_info < (3, 11) else ()))
_LITTLE = 2 << 30  # zig is 413 MB when installed, its cache and a container's sources want room beside it
# Those that pip, cargo, curl and the engines listen to. Only the names are told: values hold passwords.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_AUTHORITIES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
)
_INDEXES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_FIND_LINKS",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_OFFLINE",
    "CARGO_NET_OFFLINE",
)
_BUILDS = ("AUDITWHEEL_PLAT", "CIBUILDWHEEL", "SOURCE_DATE_EPOCH", "DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST")


def package() -> Sequence[Check]:
    """This package: its version, its compiled part, its optional parts."""
    where = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    checks = [Check("package", "portable_backend", OK, f"{__version__} ({where})", data={"version": __version__})]
    compiled = IMPLEMENTATION == "native"
    checks.append(
        Check(
            "package",
            "compiled part",
            OK if compiled else MISSING,
            "in use" if compiled else "not built; the same verdicts are read in Python",
            None if compiled else "reading ELF files and archives many times as fast",
            None if compiled else "pip install --force-reinstall portable-backend",
            data={"implementation": IMPLEMENTATION},
        )
    )
    checks += [_requirement(name) for name in _REQUIRED]
    for name, enables, cure in _PARTS:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check("package", name, MISSING, "not installed", enables, cure))
        else:
            checks.append(Check("package", name, OK, version, data={"version": version}))
    return checks


def _requirement(name: str) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check("package", name, BROKEN, "required, and not installed", "any build", f"pip install {name}", True)
    return Check("package", name, OK, version, data={"version": version})


def disk(needed: bool) -> Sequence[Check]:
    """The cache and the temporary directory, and the room in them.

    :param needed: whether the default strategy keeps a cache.
    """
    checks = []
    try:
        checks.append(_room("cache", cache_directory(), needed))
    except PortableBackendError as error:
        checks.append(Check("disk", "cache", BROKEN, error.message, "the zig strategy", error.cure, needed))
    try:
        checks.append(_room("temporary files", Path(tempfile.gettempdir()), True))
    except OSError as error:
        cure = "set TMPDIR to a writable directory"
        checks.append(Check("disk", "temporary files", BROKEN, str(error), "any build", cure, True))
    return checks


def _room(name: str, directory: Path, needed: bool) -> Check:
    free = shutil.disk_usage(directory).free
    data = {"path": str(directory), "free": free}
    detail = f"{free / 1e9:.1f} GB free in {directory}"
    if free < _LITTLE:
        cure = f"make room, or set {'XDG_CACHE_HOME' if name == 'cache' else 'TMPDIR'} to a directory with more of it"
        # A small project may still fit: told, and held against nobody.
        return Check("disk", name, BROKEN, f"{detail}: little", "builds with zig", cure, data=data)
    flags = os.statvfs(directory).f_flag if hasattr(os, "statvfs") else 0
    if flags & getattr(os, "ST_NOEXEC", 0):
        cure = f"set {'XDG_CACHE_HOME' if name == 'cache' else 'TMPDIR'} to a directory of another file system"
        return Check("disk", name, BROKEN, f"{directory} is mounted noexec", "running compilers", cure, needed, data)
    return Check("disk", name, OK, detail, needed=needed, data=data)


def surroundings(environ: Mapping[str, str]) -> Sequence[Check]:
    """The variables that are set, by name, and whether certificates are where they are said to be."""
    checks = []
    for title, names in (
        ("proxies", [*_PROXIES, *map(str.lower, _PROXIES)]),
        ("certificates", _AUTHORITIES),
        ("package indexes", _INDEXES),
        ("builds", [*_BUILDS, *sorted(name for name in environ if name.startswith("PORTABLE_BACKEND_"))]),
    ):
        found = [name for name in names if environ.get(name)]
        checks.append(_gone(environ, found) if title == "certificates" else None)
        if found:
            checks.append(Check("surroundings", title, OK, f"set: {', '.join(found)}", data={"variables": found}))
        else:
            checks.append(Check("surroundings", title, OK, "no variable is set", data={"variables": []}))
    return [check for check in checks if check is not None]


def _gone(environ: Mapping[str, str], names: Sequence[str]) -> Optional[Check]:
    gone = [name for name in names if not os.path.exists(environ[name])]
    if not gone:
        return None
    enables = "whatever is fetched from an index"
    detail = f"{', '.join(gone)}: names a file that is not there"
    return Check("surroundings", "certificates", BROKEN, detail, enables, f"unset {' '.join(gone)}, or mend the path")
