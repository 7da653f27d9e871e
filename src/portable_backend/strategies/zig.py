"""Build with zig as the compiler: any glibc that zig knows, on this machine, with nothing to install beforehand.

zig carries the headers and the symbol lists of every glibc, so a wheel for an old one can be made on a new machine. The
inner backend runs here, in the same interpreter; only its compilers change. ``docs/strategies/zig.md`` says how.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ..errors import SettingsError, StrategyBlocked
from ..targets import Arch, Libc, PlatformTag, parse_arch
from . import zig_rust, zigcc
from .base import BuildEnvironment
from .cross import CrossEnvironment, is_cross, write_cross
from .cross_facts import gnu_triple
from .zig_failures import explain_failure
from .zig_toolchain import (
    Surroundings,
    Toolchain,
    Zig,
    a_compiler_ran,
    cache_directory,
    cmake_roots,
    distutils_config,
    find_toolchain,
    find_triple,
    read_log,
    rust_triple,
    write_toolchain,
)

if TYPE_CHECKING:
    from ..interpreters import Interpreter
    from ..machine import HostFacts
    from ..plan import BuildPlan

REQUIREMENT = "ziglang>=0.15.2"
"""0.15.2 is the oldest that the argument filter and the change of libc++'s ``typeinfo`` were tried with. There is no
upper bound: whoever needs the same zig tomorrow pins it in ``build-system.requires``."""

_OLDEST = (0, 15, 2)
_ENV_LINE = re.compile(r'"?\.?(lib_dir|version)"?\s*[:=]\s*"([^"]*)"')

_MUSL_VERSION = (1, 2)
"""The musl series that zig carries (1.2.5); PEP 656 promises compatibility upwards only."""

# The oldest glibc that zig has for an architecture, where that is not older than any target.
_OLDEST_GLIBC = {Arch.AARCH64: (2, 17), Arch.PPC64LE: (2, 19), Arch.RISCV64: (2, 27), Arch.LOONGARCH64: (2, 36)}

# What users set for builds for this machine. The project's own settings may still set them.
_CROSS_CLEARED = ("PKG_CONFIG_PATH", "SETUPTOOLS_EXT_SUFFIX")

_PROBE = """
import importlib.util, json, os, sys, sysconfig
spec = importlib.util.find_spec("ziglang")
names = ("LIBDIR", "LIBPL", "LDLIBRARY", "MULTIARCH", "INCLUDEPY", "CONFINCLUDEPY", "CFLAGS")
json.dump({
    "zig": list(spec.submodule_search_locations or ()) if spec else [],
    "python": getattr(sys, "_base_executable", None) or sys.executable,
    "path": sys.path,
    "prefix": sys.base_prefix,
    "include": [sysconfig.get_path("include"), sysconfig.get_path("platinclude")],
    "variables": {name: sysconfig.get_config_var(name) or "" for name in names},
}, sys.stdout)
"""


class ZigStrategy:
    """See the module."""

    name = "zig"

    def blocked(self, plan: BuildPlan, host: HostFacts) -> Optional[str]:
        """Why zig cannot carry out ``plan`` on ``host``, or ``None``. Pure."""
        if host.system != "linux":
            return f"the zig strategy runs on Linux, and this machine on {host.system}"
        target = plan.target
        if target is None:
            return "the zig strategy needs a target, such as manylinux_2_17"
        if find_triple(target) is None:
            return f"zig has no C library for {target.arch.value}"
        try:
            parse_arch(host.machine)
        except SettingsError:
            return f"zig does not run on {host.machine}"
        return _libc_blocked(target)

    def requires(self, plan: BuildPlan) -> Sequence[str]:  # noqa: ARG002 - the protocol's signature
        """What the build environment needs for this strategy."""
        return (REQUIREMENT,)

    @contextlib.contextmanager
    def open(self, plan: BuildPlan, interpreter: Interpreter) -> Iterator[BuildEnvironment]:
        """The environment in which ``interpreter`` builds ``plan`` with zig. The current directory is the source's.

        :raises StrategyBlocked: if there is no zig, or none that knows the target's C library.
        """
        target = plan.target
        if target is None or find_triple(target) is None:
            raise StrategyBlocked("the zig strategy needs a target that zig knows", 'set target = "manylinux_2_17"')
        zig, around = _ask(interpreter.executable)
        triple = zig_target(target, zig)
        source, cache = Path.cwd(), cache_directory()
        with tempfile.TemporaryDirectory(prefix="portable-backend-zig-") as name:
            toolchain = find_toolchain(target, cache, Path(name).resolve())
            compilers = _compilers(toolchain)
            cross = None
            if is_cross(target, interpreter):
                _require_std(plan, source)
                cross = write_cross(target, interpreter, cache / "zig" / "pythons", _sysconfig_tools(compilers))
            write_toolchain(toolchain, triple, zig, around, cache, source, cross)
            environ = {
                **compilers,
                **_rust(toolchain, cross),
                **_rust_paths(toolchain, source, {**os.environ, **plan.environ}),
                **_build_tools(plan, toolchain, around, source),
                **_cross_variables(toolchain, cross),
            }
            yield BuildEnvironment(
                interpreter=interpreter,
                environ={**environ, **plan.environ},
                unset=(*zigcc.CLEARED_VARIABLES, *(() if cross is None else set(_CROSS_CLEARED).difference(environ))),
                inner_settings=_inner_settings(plan, toolchain, cross),
                explain_failure=lambda lines: explain_failure(lines, read_log(toolchain.log)[1]),
                notes=lambda: _notes(toolchain),
                compiled=lambda: a_compiler_ran(toolchain.log),
                python_path=() if cross is None else (str(cross.path),),
            )


def _libc_blocked(target: PlatformTag) -> Optional[str]:
    if target.libc is Libc.MUSL:
        if target.version == _MUSL_VERSION:
            return None
        return f"zig carries musl {_MUSL_VERSION[0]}.{_MUSL_VERSION[1]}, not {target.version[0]}.{target.version[1]}"
    oldest = _OLDEST_GLIBC.get(target.arch, (0, 0))
    if target.version < oldest:
        tag = target._replace(version=oldest)
        return f"zig has glibc for {target.arch.value} from {oldest[0]}.{oldest[1]} on; ask for {tag} or newer"
    return None


def zig_target(target: PlatformTag, zig: Zig) -> str:
    """zig's name of ``target``, as ``x86_64-linux-gnu.2.17`` or ``x86_64-linux-musl``.

    zig takes a version of glibc that it does not know for another one without a word, so it is compared with its list.

    :raises StrategyBlocked: if it does not know the version.
    """
    triple = find_triple(target)
    if triple is None:
        raise StrategyBlocked(f"zig has no C library for {target.arch.value}")
    if target.libc is Libc.MUSL:
        return triple
    known = zig.glibc_versions()
    if target.version not in known:
        wanted, newest = (f"{version[0]}.{version[1]}" for version in (target.version, known[-1]))
        raise StrategyBlocked(
            f"zig {zig.version} does not know glibc {wanted}; the newest it knows is {newest}",
            f"choose a target up to manylinux_{newest.replace('.', '_')}, or a newer ziglang",
        )
    return f"{triple}.{target.version[0]}.{target.version[1]}"


# --- finding things ---------------------------------------------------------------------------------------------------


def _ask(python: str) -> tuple[Zig, Surroundings]:
    """zig and the surroundings, as the interpreter that runs the build sees them (it may be another than this one)."""
    try:
        # Not isolated: pip makes an isolated environment by means of PYTHONPATH. Not here: json.py may lie here.
        done = subprocess.run(
            [python, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=True,
            cwd="/",
        )
        raw: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        raise StrategyBlocked(f"{python} cannot be asked where zig is: {detail.strip()[-500:]}") from None
    variables: dict[str, str] = raw["variables"]
    include = [path for path in (*raw["include"], variables["INCLUDEPY"], variables["CONFINCLUDEPY"]) if path]
    libdirs = (variables["LIBDIR"], variables["LIBPL"], f"{raw['prefix']}/lib")
    around = Surroundings(
        executable=python,
        python=os.path.realpath(raw["python"]),
        path=tuple(path for path in raw["path"] if os.path.isabs(path)),
        include=tuple(dict.fromkeys(path for path in include if os.path.isdir(path))),
        libdirs=tuple(dict.fromkeys(path for path in libdirs if os.path.isabs(path))),
        library=variables["LDLIBRARY"],
        prefix=raw["prefix"],
        multiarch=variables["MULTIARCH"],
        flags=tuple(variables["CFLAGS"].split()),
    )
    return _find_zig(raw["zig"]), around


def _find_zig(packages: Sequence[str]) -> Zig:
    """The zig of the ``ziglang`` package if there is one, else a ``zig`` on PATH.

    :raises StrategyBlocked: if there is neither.
    """
    for package in packages:
        executable = os.path.join(package, "zig")
        if os.access(executable, os.X_OK):
            return _read_zig(executable)
    on_path = shutil.which("zig")
    if on_path is not None:
        return _read_zig(os.path.realpath(on_path))
    raise StrategyBlocked(
        "there is no zig: neither the package ziglang in the build environment nor a zig on PATH",
        f"build with isolation (which installs {REQUIREMENT}), or install it: pip install '{REQUIREMENT}'",
    )


def _read_zig(executable: str) -> Zig:
    """Lib directory and version, from ``zig env``, which writes JSON up to 0.14 and zig's own notation since."""
    environ = {key: value for key, value in os.environ.items() if key != "ZIG_LIB_DIR"}
    # Without it, zig looks for a home directory, and does not even answer where there is none.
    environ["ZIG_GLOBAL_CACHE_DIR"] = str(cache_directory())
    try:
        done = subprocess.run([executable, "env"], capture_output=True, text=True, timeout=60, check=False, env=environ)
    except (OSError, subprocess.SubprocessError) as error:
        raise StrategyBlocked(f"{executable} does not run: {error}") from None
    said = dict(_ENV_LINE.findall(done.stdout))
    version = tuple(int(number) for number in said.get("version", "").partition("-")[0].split(".") if number.isdigit())
    if "lib_dir" not in said or not version:
        raise StrategyBlocked(f"{executable} does not work: zig env says {(done.stdout + done.stderr).strip()[:300]!r}")
    if version < _OLDEST:
        raise StrategyBlocked(f"{executable} is zig {said['version']}, which is too old", f"install {REQUIREMENT}")
    return Zig(executable, said["lib_dir"], said["version"])


def _require_std(plan: BuildPlan, source: Path) -> None:
    """See that Rust's standard library for the target is there, where Cargo is going to ask for it."""
    assert plan.target is not None
    triple = rust_triple(plan.target)
    environ = {**os.environ, **plan.environ}
    if zig_rust.needs_rust(plan.inner.kind, source) and zig_rust.lacks_std(triple, source, environ):
        raise StrategyBlocked(
            f"Rust's standard library for {triple} is not installed", f"install it: rustup target add {triple}"
        )


# --- variables --------------------------------------------------------------------------------------------------------


def _compilers(toolchain: Toolchain) -> dict[str, str]:
    """What make, autotools, setuptools and most others look at."""
    return {
        "CC": toolchain.command("cc"),
        "CXX": toolchain.command("c++"),
        "CPP": toolchain.command("cc") + " -E",
        "LDSHARED": toolchain.command("cc") + " -shared",
        "LDCXXSHARED": toolchain.command("c++") + " -shared",
        "AR": toolchain.command("ar"),
        "RANLIB": toolchain.command("ranlib"),
        "STRIP": toolchain.command("strip"),
        "LD": toolchain.command("ld"),
        zigcc.CONFIG_VARIABLE: toolchain.config,
    }


def _sysconfig_tools(compilers: Mapping[str, str]) -> dict[str, str]:
    """The same as an interpreter of the target would say that it was built with."""
    names = ("CC", "CXX", "LDSHARED", "LDCXXSHARED", "AR", "RANLIB")
    return {**{name: compilers[name] for name in names}, "BLDSHARED": compilers["LDSHARED"]}


def _cross_variables(toolchain: Toolchain, cross: Optional[CrossEnvironment]) -> dict[str, str]:
    """What makes build scripts and tools see the target where the interpreter is of another platform."""
    if cross is None:
        return {}
    return {
        **cross.environ,
        "PORTABLE_BACKEND_ZIG_CROSS": str(toolchain.scratch / "cross.cmake"),
        # autoconf's names of what --host and --build say; without them configure tries to run what it compiled.
        "host_alias": gnu_triple(toolchain.target),
        "build_alias": f"{platform.machine()}-pc-linux-gnu",
        # Programs that run during the build, as build scripts of crates do, are for this machine.
        **{f"HOST_{name}": tool for name, tool in (("CC", "cc"), ("CXX", "c++"), ("AR", "ar"))},
    }


def _inner_settings(plan: BuildPlan, toolchain: Toolchain, cross: Optional[CrossEnvironment]) -> dict[str, list[str]]:
    if plan.inner.kind != "meson-python":
        return {}
    file = f"--native-file={toolchain.directory / 'native.ini'}"
    return {"setup-args": [file if cross is None else f"--cross-file={toolchain.scratch / 'cross.ini'}"]}


def _rust(toolchain: Toolchain, cross: Optional[CrossEnvironment]) -> dict[str, str]:
    """What Cargo and the cc crate look at: the linker is chosen per triple, and it is a path, not a command line."""
    triple = rust_triple(toolchain.target)
    cargo, crate = f"CARGO_TARGET_{triple.upper().replace('-', '_')}", triple.replace("-", "_")
    variables = {
        f"{cargo}_LINKER": toolchain.tool("cc"),
        f"CC_{crate}": toolchain.tool("cc"),
        f"CXX_{crate}": toolchain.tool("c++"),
        f"AR_{crate}": toolchain.tool("ar"),
        f"RANLIB_{crate}": toolchain.tool("ranlib"),
    }
    if toolchain.target.libc is Libc.MUSL:
        # Rust links musl statically unless told; a module shares the C library of its process.
        variables[f"{cargo}_RUSTFLAGS"] = "-C target-feature=-crt-static"
    if cross is not None:
        variables["CARGO_BUILD_TARGET"] = triple
    return variables


def _rust_paths(toolchain: Toolchain, source: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The wrapper around rustc that keeps this machine's paths out, and what it has to know."""
    return {
        "RUSTC_WRAPPER": str(toolchain.directory / zig_rust.WRAPPER),
        zig_rust.MAPS_VARIABLE: "\n".join(zig_rust.path_maps(source, toolchain.scratch, environ)),
        zig_rust.CHAINED_VARIABLE: zig_rust.users_wrapper(source, environ),
    }


def _build_tools(plan: BuildPlan, toolchain: Toolchain, around: Surroundings, source: Path) -> dict[str, str]:
    """What CMake, setuptools and pkg-config look at."""
    variables = {
        "CMAKE_TOOLCHAIN_FILE": str(toolchain.directory / "toolchain.cmake"),
        "PORTABLE_BACKEND_ZIG_ROOTS": cmake_roots(around, toolchain, source),
        "DIST_EXTRA_CONFIG": _write_distutils_config(toolchain),
        # Nowhere: a library of this machine would be found, and it needs this machine's C library. The path is stable
        # because Cargo runs the build scripts that looked at the variable again when it changes.
        "PKG_CONFIG_LIBDIR": str(toolchain.directory / "pkgconfig"),
    }
    users = plan.environ.get("CMAKE_TOOLCHAIN_FILE") or os.environ.get("CMAKE_TOOLCHAIN_FILE")
    if users:
        variables["PORTABLE_BACKEND_USER_TOOLCHAIN"] = users
    if plan.inner.kind == "scikit-build-core":
        directory = _persistent_build_directory(source, {**os.environ, **plan.environ})
        if directory:
            # CMake keeps the compiler that a build directory was made with, whatever toolchain it is given later.
            variables["SKBUILD_BUILD_DIR"] = f"{directory.rstrip('/')}-{toolchain.target}"
    return variables


def _write_distutils_config(toolchain: Toolchain) -> str:
    """A build directory of its own for setuptools: ``build/`` may hold objects of another compiler that look fresh."""
    inherited = os.environ.get("DIST_EXTRA_CONFIG")
    text = None
    if inherited:
        try:
            text = Path(inherited).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"DIST_EXTRA_CONFIG names {inherited}, which cannot be read: {error}") from None
    path = toolchain.scratch / "distutils.cfg"
    try:
        path.write_text(distutils_config(toolchain.scratch / "build", text), encoding="utf-8")
    except configparser.Error as error:
        raise SettingsError(f"DIST_EXTRA_CONFIG names {inherited}, which cannot be read: {error}") from None
    return str(path)


def _persistent_build_directory(source: Path, environ: Mapping[str, str]) -> Optional[str]:
    """The build directory that scikit-build-core is told to keep, from its variable or its table."""
    if environ.get("SKBUILD_BUILD_DIR"):
        return environ["SKBUILD_BUILD_DIR"]
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with (source / "pyproject.toml").open("rb") as file:
            table = tomllib.load(file)["tool"]["scikit-build"]
        return str(table["build-dir"]) or None
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError):
        return None


def _notes(toolchain: Toolchain) -> Sequence[str]:
    dropped, refused = read_log(toolchain.log)
    return [*(f"zig: {line}" for line in dropped), *(f"zig: refused {line}" for line in refused)]
