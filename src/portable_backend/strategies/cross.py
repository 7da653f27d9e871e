"""Let the inner backend believe that it runs on the target, while it runs in this machine's interpreter.

A build backend asks its own interpreter what it builds for: :mod:`sysconfig`, :func:`platform.machine`, ``pyconfig.h``.
So that interpreter is given other answers, in its process and in those that it starts, by what CPython itself has for
cross builds (``_PYTHON_HOST_PLATFORM``, ``_PYTHON_SYSCONFIGDATA_NAME``), and by a ``sitecustomize`` module that comes
first on its path. Nothing else of it changes: it imports this machine's extension modules, and it cannot be another
size or byte order than it is (``struct.calcsize("P")``, ``sys.maxsize``, ``sys.byteorder``).

The files lie in a directory whose name says what they are made of, since compilers remember paths::

    <name>/site/sitecustomize.py  _sysconfigdata_….py  build-details.json   what comes first on PYTHONPATH
           include/python3.11/                          the interpreter's headers with the target's pyconfig.h
           lib/libpython3.11.so                         empty: where CMake looks for it; no extension links it
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ..errors import StrategyBlocked
from ..targets import Libc, PlatformTag
from . import cross_facts

if TYPE_CHECKING:
    from ..interpreters import Interpreter

_PROBE = """
import importlib, json, os, sys, sysconfig
header = sysconfig.get_config_h_filename()
multiarch = sysconfig.get_config_var("MULTIARCH") or ""
inner = os.path.join(os.path.dirname(os.path.dirname(header)), multiarch, os.path.basename(os.path.dirname(header)))
# Debian's pyconfig.h includes the one of the architecture.
headers = [os.path.join(inner, "pyconfig.h")] if multiarch and os.path.isdir(inner) else []
# Debian, which has one for each architecture in one directory, puts ABI and architecture into the name.
names = ("build-details.json", f"build-details.{getattr(sys, 'abiflags', '')}.{multiarch}.json")
details = [os.path.join(sysconfig.get_path("stdlib"), name) for name in names]
details = [path for path in details if os.path.isfile(path)]
json.dump({
    "data": sysconfig._get_sysconfigdata_name(),
    "variables": importlib.import_module(sysconfig._get_sysconfigdata_name()).build_time_vars,
    "pyconfig": [path for path in [*headers, header] if os.path.isfile(path)][:1],
    "version": sys.version_info[:3],
    "prefix": os.path.realpath(sys.base_prefix),
    "abiflags": getattr(sys, "abiflags", ""),
    "details": json.load(open(details[0], encoding="utf-8")) if details else None,
}, sys.stdout)
"""

# Programs in Python that ask what the machine is which they run on. They find the target in files of their own, and
# what they start asks the interpreter.
_TOOLS = ("meson", "meson.py", "mesonbuild.mesonmain")
# Programs that install for the interpreter that runs them, as for setup_requires: nothing in them is for the target.
_INSTALLERS = ("pip", "pip3", "venv", "ensurepip", "virtualenv", "uv")

_SITE = '''\
"""Of portable-backend, for one build: the interpreter that runs it takes itself for one of {target}."""

import os
import sys


HERE = os.path.dirname(os.path.abspath(__file__))


def _program():
    words = getattr(sys, "orig_argv", None)  # sys.argv is not there yet, and this is since 3.10
    if words is None:
        try:
            with open("/proc/self/cmdline", encoding="utf-8", errors="surrogateescape") as file:
                words = file.read().split(chr(0))
        except OSError:
            words = []
    words = words[2:] if words[1:2] == ["-m"] else words[1:]
    return os.path.basename(words[0]) if words else ""


def _uname(real):
    def uname():
        said = real()
        return os.uname_result((said[0], said[1], said[2], said[3], {machine!r}))

    return uname


def _pretend():
    names, program = {names!r}, _program()
    if tuple(sys.version_info[:3]) != {version!r} or os.path.realpath(sys.base_prefix) != {prefix!r}:
        for name in names:  # some tool's own interpreter, which has sizes and names of its own
            os.environ.pop(name, None)
        return
    if program in {installers!r}:
        for name in names:
            os.environ.pop(name, None)
        path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(each for each in path if os.path.abspath(each) != HERE)
        return
    os.environ.update(names)
    if program in {tools!r}:
        return
    os.uname = _uname(os.uname)
    sys.implementation._multiarch = {multiarch!r}


def _chain():
    """Run the sitecustomize that would have been found without this one; pip's isolation is one."""
    if sys.version_info < (3, 5):  # a tool's
        return
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path) != HERE])
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_pretend()
_chain()
'''


@dataclass(frozen=True)
class CrossEnvironment:
    """The files of one target and interpreter, and what makes processes use them.

    :param path: comes first on ``PYTHONPATH``.
    :param include: the interpreter's headers, and the target's ``pyconfig.h``.
    :param library: a directory with a stand-in for the interpreter's library.
    :param suffix: what names of extension modules end with, as ``.cpython-311-aarch64-linux-gnu.so``.
    :param python: version of the interpreter.
    """

    path: Path
    include: Path
    library: Path
    suffix: str
    python: tuple[int, int] = (0, 0)
    environ: Mapping[str, str] = field(default_factory=dict)


def is_cross(target: Optional[PlatformTag], interpreter: Interpreter) -> bool:
    """Whether the interpreter would name files for another platform than the target."""
    if target is None:
        return False
    return target.arch.value != _arch_of(interpreter) or target.libc is not _libc_of(interpreter)


def _arch_of(interpreter: Interpreter) -> str:
    from ..errors import SettingsError
    from ..targets import Arch, parse_arch

    try:
        arch = parse_arch(interpreter.platform.partition("-")[2] or interpreter.machine)
    except SettingsError:
        return interpreter.machine
    return (Arch.I686 if (arch, interpreter.bits) == (Arch.X86_64, 32) else arch).value


def _libc_of(interpreter: Interpreter) -> Libc:
    # CPythons for musl call themselves -gnu up to some version; only the platform module looks, at the executable.
    return Libc.MUSL if interpreter.libc == Libc.MUSL.value else Libc.GLIBC


def write_cross(
    target: PlatformTag, interpreter: Interpreter, parent: Path, tools: Optional[Mapping[str, str]] = None
) -> CrossEnvironment:
    """Write the files for ``target`` below ``parent``; those that are there already are used again.

    :param tools: the target's compilers and the like by the names of their variables (``CC``, ``LDSHARED``, …).
    :raises StrategyBlocked: if the interpreter cannot be asked, or is none that can pretend.
    """
    if interpreter.implementation != "cpython":
        raise StrategyBlocked(
            f"a build for {target} needs a CPython to run in, and this is {interpreter.implementation}",
            "build with a CPython, or with an interpreter of the target (the container strategy does that)",
        )
    said = _ask(interpreter)
    if not said["pyconfig"]:
        raise StrategyBlocked(
            "the headers of the interpreter that builds are not installed (pyconfig.h was looked for)",
            "install them (Debian's python3-dev, Fedora's python3-devel), or use an interpreter that comes with them",
        )
    header = Path(said["pyconfig"][0])
    digest = _digest(interpreter, said, tools or {}, header)
    triplet = cross_facts.platform_triplet(target)
    place = parent / f"{triplet}-{'.'.join(map(str, said['version']))}{said['abiflags']}-{digest}"
    own = said["variables"]
    suffix = cross_facts.extension_suffix(str(own.get("SOABI", "")), target, _libc_of(interpreter))
    data = f"_sysconfigdata_{said['abiflags']}_linux_{triplet}"
    names = {"_PYTHON_HOST_PLATFORM": cross_facts.platform_name(target), "_PYTHON_SYSCONFIGDATA_NAME": data}
    include = place / "include" / f"python{interpreter.short_version}{said['abiflags']}"
    if not place.is_dir():
        with _fresh(place) as fresh:
            _write_headers(interpreter, header, fresh / include.relative_to(place), target)
            _write_library(fresh / "lib", own)
            site = fresh / "site"
            site.mkdir()
            variables = cross_facts.sysconfig_variables(
                own, target, tools or {}, str(include), str(place / "lib"), suffix
            )
            _write(site / f"{data}.py", f"build_time_vars = {variables!r}\n")
            _write(site / "sitecustomize.py", _site(said, target, names))
            if said["details"] is not None:
                details = cross_facts.build_details(said["details"], target, suffix, str(include))
                _write(site / "build-details.json", json.dumps(details, indent=2))
    environ = {**names, "PYO3_CROSS_LIB_DIR": str(place / "site")}
    if target.libc is Libc.MUSL and suffix == ".so":
        environ["SETUPTOOLS_EXT_SUFFIX"] = suffix
    return CrossEnvironment(place / "site", include, place / "lib", suffix, interpreter.version[:2], environ)


def _ask(interpreter: Interpreter) -> dict[str, Any]:
    command = [interpreter.executable, "-I", "-c", _PROBE]
    # Whatever a user pretends to already would be taken for the truth.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("_PYTHON_")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=True, env=environ
        )
        said: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        raise StrategyBlocked(f"{command[0]} cannot be asked how it was built: {detail.strip()[-500:]}") from None
    return said


def _digest(interpreter: Interpreter, said: Mapping[str, Any], tools: Mapping[str, str], header: Path) -> str:
    """Names all that the files are made of: distributions and git change headers without changing the version."""
    headers = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for directory in interpreter.include
        for path in sorted(Path(directory).glob("**/*.h"))
    ]
    digest = hashlib.sha256(json.dumps([said, dict(tools), headers], sort_keys=True).encode())
    for path in (__file__, cross_facts.__file__, str(header)):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:12]


def _write_headers(interpreter: Interpreter, header: Path, include: Path, target: PlatformTag) -> None:
    """Copies: ``Python.h`` takes the ``pyconfig.h`` that lies beside it, whatever directories a compiler is given."""
    for directory in interpreter.include:
        if (Path(directory) / "Python.h").is_file():
            shutil.copytree(directory, include, dirs_exist_ok=True, copy_function=shutil.copyfile)
    include.mkdir(parents=True, exist_ok=True)
    text = header.read_text(encoding="utf-8", errors="surrogateescape")
    _write(include / "pyconfig.h", cross_facts.rewrite_pyconfig(text, target))


def _write_library(directory: Path, own: Mapping[str, Any]) -> None:
    directory.mkdir()
    name = str(own.get("LDLIBRARY") or "")
    if name and os.sep not in name:
        _write(directory / name, "")


def _site(said: Mapping[str, Any], target: PlatformTag, names: Mapping[str, str]) -> str:
    return _SITE.format(
        target=target,
        machine=target.arch.value,
        names=dict(names),
        version=tuple(said["version"]),
        prefix=said["prefix"],
        tools=_TOOLS,
        installers=_INSTALLERS,
        multiarch=cross_facts.platform_triplet(target),
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


@contextlib.contextmanager
def _fresh(place: Path) -> Iterator[Path]:
    """A directory that gets its name once it is whole (another build may be faster)."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".cross-") as name:
        fresh = Path(name) / "new"
        fresh.mkdir()
        yield fresh
        try:
            fresh.rename(place)
        except OSError:
            if not place.is_dir():
                raise
