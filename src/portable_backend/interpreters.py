"""What a Python interpreter says of itself, read by asking it: in this process or in one of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .errors import UsageError

_TAG = re.compile(r"cp3([0-9]{1,2})(t?)")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,2}t?")
_PROGRAM = re.compile(r"(python|pypy)3(\.[0-9]+t?)?")

# Runs in any CPython or PyPy >= 3.8, without our package on its path.
_PROBE = """
import json, os, platform, sys, sysconfig
keep = ("SOABI", "EXT_SUFFIX", "MULTIARCH", "LIBDIR", "LIBPL", "prefix", "Py_ENABLE_SHARED", "Py_GIL_DISABLED")
values = sysconfig.get_config_vars()
json.dump({
    "executable": sys.executable,
    "implementation": sys.implementation.name,
    "version": list(sys.version_info[:3]),
    "machine": platform.machine(),
    "bits": 64 if sys.maxsize > 2**32 else 32,
    "platform": sysconfig.get_platform(),
    "base_prefix": sys.base_prefix,
    "include": [sysconfig.get_path("include"), sysconfig.get_path("platinclude")],
    "variables": {key: values[key] for key in keep if values.get(key) is not None},
    "libc": None if sys.platform != "linux" else "glibc" if platform.libc_ver()[0] == "glibc" else "musl",
}, sys.stdout)
"""


@dataclass(frozen=True)
class Interpreter:
    """An interpreter, as the builds that run in it see it."""

    executable: str
    implementation: str
    """``cpython`` or ``pypy``."""
    version: tuple[int, int, int]
    machine: str
    """``platform.machine()`` of the machine, or of the personality that it runs under."""
    bits: int
    platform: str
    """``sysconfig.get_platform()``, as ``linux-x86_64``."""
    base_prefix: str
    include: tuple[str, ...]
    """Directories of ``Python.h`` and ``pyconfig.h``."""
    variables: dict[str, Any]
    """The few ``sysconfig`` variables that builds depend on; absent ones are left out."""
    libc: Optional[str] = None
    """``glibc`` or ``musl`` on Linux: what its executable was linked with."""

    @property
    def short_version(self) -> str:
        """As ``3.11``."""
        return f"{self.version[0]}.{self.version[1]}"

    @property
    def free_threaded(self) -> bool:
        """Whether this is a build without the global interpreter lock (PEP 703)."""
        return bool(self.variables.get("Py_GIL_DISABLED"))


def read_interpreter(python: Optional[str] = None, timeout: float = 60) -> Interpreter:
    """Ask an interpreter for its facts.

    :param python: path of its executable; the running one when ``None``.
    :param timeout: seconds that it may take.
    :raises UsageError: if it cannot be run, or is no Python.
    """
    command = [python or sys.executable, "-I", "-c", _PROBE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=True
        )
        raw = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        raise UsageError(f"{command[0]} does not work as a Python interpreter: {detail.strip()[-500:]}") from None
    return Interpreter(
        executable=raw["executable"] or command[0],
        implementation=raw["implementation"],
        version=(raw["version"][0], raw["version"][1], raw["version"][2]),
        machine=raw["machine"],
        bits=raw["bits"],
        platform=raw["platform"],
        base_prefix=raw["base_prefix"],
        include=tuple(dict.fromkeys(path for path in raw["include"] if path)),
        variables=raw["variables"],
        libc=raw.get("libc"),
    )


def namesake(implementation: str, version: tuple[int, int], free_threaded: bool) -> Interpreter:
    """What is known, without asking it, of an interpreter that is elsewhere: in an image for this kind of machine."""
    import dataclasses

    variables: dict[str, Any] = {"Py_GIL_DISABLED": 1} if free_threaded else {}
    if implementation == "pypy":
        variables["SOABI"] = f"pypy{version[0]}{version[1]}-pp73"
    own = read_interpreter()
    return dataclasses.replace(
        own, executable="", implementation=implementation, version=(*version, 0), include=(), variables=variables
    )


def applicable(requirements: Sequence[str], interpreter: Interpreter) -> list[str]:
    """Those whose marker (PEP 508) is true of an interpreter of this machine, without the marker."""
    from packaging.requirements import Requirement

    names = {"cpython": "CPython", "pypy": "PyPy"}
    version = ".".join(map(str, interpreter.version))
    known = {
        "implementation_name": interpreter.implementation,
        "platform_python_implementation": names.get(interpreter.implementation, interpreter.implementation),
        "python_version": interpreter.short_version,
        "python_full_version": version,
    }
    found = []
    for text in requirements:
        parsed = Requirement(text)
        if parsed.marker is None or parsed.marker.evaluate(known):
            parsed.marker = None
            found.append(str(parsed))
    return found


def find_python(wanted: Optional[str]) -> str:
    """The executable that ``--python`` names: a path, or a version such as ``3.12`` looked up on this machine.

    Versions are looked for on PATH, then among the interpreters of pyenv and uv.

    :raises UsageError: if there is none, with what was found instead.
    """
    if wanted is None:
        return sys.executable
    if os.sep in wanted or Path(wanted).is_file():
        if not os.access(wanted, os.X_OK):
            raise UsageError(f"--python {wanted}: there is no executable file of that name")
        return os.path.abspath(wanted)
    tagged = _TAG.fullmatch(wanted)
    version = f"3.{tagged[1]}{tagged[2]}" if tagged else wanted[6:] if wanted.startswith("python") else wanted
    if not _VERSION.fullmatch(version):
        raise UsageError(f"--python {wanted}: write a version such as 3.12, or the path of an interpreter")
    for candidate in _candidates(version):
        if _answers_to(candidate, version):
            return candidate
    raise UsageError(
        f"--python {wanted}: no such interpreter on PATH, under pyenv or under uv",
        "install it, or give the path of an interpreter",
    )


def _candidates(version: str) -> list[str]:
    short = ".".join(version.rstrip("t").split(".")[:2]) + ("t" if version.endswith("t") else "")
    found = [
        os.path.join(directory, f"python{short}")
        for directory in os.environ.get("PATH", "").split(os.pathsep)
        if directory
    ]
    found.append(sys.executable)
    pyenv, uv = _pyenv() / "versions", _uv()
    # pyenv calls a free-threaded 3.13.1 "3.13.1t": only the end of its name says so.
    number = version.rstrip("t")
    found += [str(path) for path in sorted(pyenv.glob(f"{number}*/bin/python{short}"), reverse=True)]
    found += [str(path) for path in sorted(uv.glob(f"cpython-{number}*/bin/python{short}"), reverse=True)]
    return [path for path in dict.fromkeys(found) if os.access(path, os.X_OK)]


def _pyenv() -> Path:
    # Not Path.home(): it raises where nobody knows the user.
    return Path(os.environ.get("PYENV_ROOT", Path(os.path.expanduser("~")) / ".pyenv"))


def _uv() -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME", Path(os.path.expanduser("~")) / ".local" / "share"))
    return Path(os.environ.get("UV_PYTHON_INSTALL_DIR", data / "uv" / "python"))


def list_pythons() -> list[str]:
    """What looks like an interpreter on PATH, under pyenv, uv and ``/opt/python``: each once, the running one first."""
    found = [sys.executable]
    for directory in filter(None, os.environ.get("PATH", "").split(os.pathsep)):
        if os.path.realpath(directory) == os.path.realpath(_pyenv() / "shims"):
            continue  # each leads to one of those below
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        found += [os.path.join(directory, name) for name in names if _PROGRAM.fullmatch(name)]
    places = (_pyenv() / "versions", _uv(), Path("/opt/python"))
    found += [str(path) for place in places for path in sorted(place.glob("*/bin/python3"))]
    unlike = {os.path.realpath(path): path for path in reversed(found) if os.access(path, os.X_OK)}
    return [path for path in dict.fromkeys(found) if unlike.get(os.path.realpath(path)) == path]


def _answers_to(python: str, version: str) -> bool:
    """Whether it runs and is of that version (a pyenv shim exists for versions that are not active)."""
    try:
        actual = read_interpreter(python)
    except UsageError:
        return False
    numbers = tuple(int(part) for part in version.rstrip("t").split("."))
    return actual.version[: len(numbers)] == numbers and actual.free_threaded == version.endswith("t")
