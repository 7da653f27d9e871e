"""What the *zig* strategy puts on disk: compiler wrappers at a stable path, and the files that make build tools use it.

Two places. The *toolchain* lies in the user's cache, at a path that depends on the target and on this package's own
code only: Cargo and CMake remember the compiler by its path, and zig itself comes with each isolated build environment
at another one. The *scratch* directory lives as long as one build and holds what differs between builds::

    <cache>/zig/toolchains/<target>-<digest>/    <scratch>/
        bin/cc  c++  ar  ranlib  strip  ld           config         what the wrappers read
        zigcc.py  portable-backend-rustc             log            what they had to drop or refuse
        toolchain.cmake  native.ini                  distutils.cfg  build/  cross.cmake  cross.ini
        root/       stand-ins for libpython          include/       one header directory of Debian's
        pkgconfig/  empty                            tmp/           response files
        config      of the latest build
    <cache>/zig/lib/<version>-<digest>/          zig's lib directory, one header changed
    <cache>/zig/cache/                           zig's own cache: libc++ and other objects
    <cache>/zig/pythons/                         what this machine's interpreters pretend to be (see the module cross)
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import io
import os
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import StrategyBlocked
from ..targets import Arch, Libc, PlatformTag
from . import cross_facts, zig_rust, zigcc
from .cross import CrossEnvironment
from .cross_packages import compiled_packages, place_of

# zig's names of architecture and ABI: (glibc, musl). https://ziglang.org/download/ lists the targets.
_TRIPLES = {
    Arch.X86_64: ("x86_64-linux-gnu", "x86_64-linux-musl"),
    Arch.I686: ("x86-linux-gnu", "x86-linux-musl"),
    Arch.AARCH64: ("aarch64-linux-gnu", "aarch64-linux-musl"),
    Arch.ARMV7L: ("arm-linux-gnueabihf", "arm-linux-musleabihf"),
    Arch.PPC64LE: ("powerpc64le-linux-gnu", "powerpc64le-linux-musl"),
    Arch.S390X: ("s390x-linux-gnu", "s390x-linux-musl"),
    Arch.RISCV64: ("riscv64-linux-gnu", "riscv64-linux-musl"),
    Arch.LOONGARCH64: ("loongarch64-linux-gnu", "loongarch64-linux-musl"),
}

# Rust's names of the same (the rustc book, "Platform Support").
_RUST_ARCHES = {
    Arch.I686: "i686",
    Arch.ARMV7L: "armv7",
    Arch.PPC64LE: "powerpc64le",
    Arch.RISCV64: "riscv64gc",
}


def find_triple(target: PlatformTag) -> Optional[str]:
    """zig's triple for ``target``, without the version of its C library; ``None`` if zig has none."""
    names = _TRIPLES.get(target.arch)
    return None if names is None else names[0 if target.libc is Libc.GLIBC else 1]


def rust_triple(target: PlatformTag) -> str:
    """Rust's triple for ``target``, as ``x86_64-unknown-linux-gnu``."""
    libc = "gnu" if target.libc is Libc.GLIBC else "musl"
    suffix = "eabihf" if target.arch is Arch.ARMV7L else ""
    return f"{_RUST_ARCHES.get(target.arch, target.arch.value)}-unknown-linux-{libc}{suffix}"


@dataclass(frozen=True)
class Zig:
    """A zig on this machine.

    :param executable: its path.
    :param lib: its lib directory: headers and sources of the C libraries, of libc++ and of its runtime.
    :param version: as ``0.17.0``.
    """

    executable: str
    lib: str
    version: str

    def glibc_versions(self) -> tuple[tuple[int, int], ...]:
        """The versions of glibc that it can build for, ascending.

        Read from ``lib/libc/glibc/abilists``: a count and that many names of libraries, each ended by a NUL; a count
        and that many versions of three bytes (major, minor, patch); targets and symbols follow.

        :raises StrategyBlocked: if the file is missing or of another form.
        """
        path = os.path.join(self.lib, "libc", "glibc", "abilists")
        try:
            return parse_abilists(Path(path).read_bytes())
        except (OSError, ValueError, IndexError) as error:
            raise StrategyBlocked(
                f"cannot read which versions of glibc {self.executable} knows: {path}: {error}",
                "install a released zig (pip install ziglang)",
            ) from None


def parse_abilists(data: bytes) -> tuple[tuple[int, int], ...]:
    """The versions in the head of zig's ``abilists``, as (major, minor), ascending and without patch releases.

    :raises ValueError, IndexError: if the bytes do not have that form.
    """
    offset = 1
    for _ in range(data[0]):
        offset = data.index(b"\0", offset) + 1
    count, offset = data[offset], offset + 1
    versions = data[offset : offset + 3 * count]
    if len(versions) < 3 * count or count == 0 or any(major != 2 for major in versions[::3]):
        raise ValueError("it does not start with libraries and versions")
    return tuple(sorted({(versions[at], versions[at + 1]) for at in range(0, 3 * count, 3)}))


@dataclass(frozen=True)
class Surroundings:
    """What a build has around it, as the interpreter that runs it says.

    :param executable: the interpreter itself, as the build runs it.
    :param python: an executable that outlives the build's own environment, to run the wrappers with.
    :param path: its ``sys.path``: packages that the build requires are found there.
    :param include: directories of ``Python.h`` and ``pyconfig.h``.
    :param libdirs: where its own library would be (``LIBDIR``, ``LIBPL``).
    :param library: file name of its own library, as ``libpython3.11.so``, or empty.
    :param prefix: its installation.
    :param multiarch: Debian's triple in ``pyconfig.h``'s place, or empty.
    :param flags: the flags that it was compiled with (``CFLAGS``), which setuptools passes on.
    """

    executable: str
    python: str
    path: tuple[str, ...]
    include: tuple[str, ...]
    libdirs: tuple[str, ...]
    library: str
    prefix: str
    multiarch: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Toolchain:
    """The files of one build. All paths are absolute.

    :param bin: directory of the wrapper scripts.
    :param scratch: directory of this build.
    """

    target: PlatformTag
    directory: Path
    scratch: Path

    def tool(self, name: str) -> str:
        """The path of the wrapper of that name."""
        return str(self.directory / "bin" / name)

    def command(self, name: str) -> str:
        """The same, quoted for variables that hold a command line."""
        return shlex.quote(self.tool(name))

    @property
    def config(self) -> str:
        """The file that the wrappers of this build read."""
        return str(self.scratch / "config")

    @property
    def log(self) -> Path:
        """The file that they append to."""
        return self.scratch / "log"


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """A directory of the user's that survives builds: below ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Where that is not writable, or has a blank in its path (``./configure`` splits ``$CC`` at blanks), it is a directory
    of the user's own below the temporary directory.

    :raises StrategyBlocked: if there is no place at all.
    """
    home = environ.get("HOME", "")
    wanted = environ.get("XDG_CACHE_HOME") or (os.path.join(home, ".cache") if home else "")
    candidates = [wanted] if os.path.isabs(wanted) and not any(map(str.isspace, wanted)) else []
    for parent in candidates:
        directory = Path(parent) / "portable-backend"
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):
                return directory
    own = Path(tempfile.gettempdir()).resolve() / f"portable-backend-{_user()}"
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        status = own.lstat()
    except OSError as error:
        raise StrategyBlocked(f"no place for a cache: {error}", "set XDG_CACHE_HOME to a writable directory") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != _user() or status.st_mode & 0o022:
        raise StrategyBlocked(f"{own} belongs to somebody else", "set XDG_CACHE_HOME to a writable directory")
    return own


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def find_toolchain(target: PlatformTag, cache: Path, scratch: Path) -> Toolchain:
    """Where the files of a build will be."""
    return Toolchain(target, cache / "zig" / "toolchains" / f"{target}-{_own_digest()}", scratch)


def write_toolchain(
    toolchain: Toolchain,
    triple: str,
    zig: Zig,
    around: Surroundings,
    cache: Path,
    source: Path,
    cross: Optional[CrossEnvironment] = None,
) -> None:
    """Write all files for a build of ``source``; running builds of the same target keep working.

    :param cross: what the interpreter pretends to be, where it is not of the target's platform.
    """
    directory, scratch = toolchain.directory, toolchain.scratch
    for path in (directory / "bin", directory / "pkgconfig", scratch / "include", scratch / "tmp"):
        path.mkdir(parents=True, exist_ok=True)
    _write(directory / "zigcc.py", Path(zigcc.__file__).read_text(encoding="utf-8"))
    for tool in zigcc.TOOLS:
        _write(directory / "bin" / tool, _wrapper(tool, around.python, directory), executable=True)
    _write(directory / zig_rust.WRAPPER, zig_rust.WRAPPER_TEXT, executable=True)
    _write(directory / "toolchain.cmake", _cmake_toolchain(toolchain))
    _write(directory / "native.ini", _meson_native_file(toolchain))
    _write_stand_ins(directory / "root", around)
    _write(directory / RUNNER, _RUNNER_TEXT, executable=True)
    if cross is None:
        _write_debian_include(scratch / "include", around)
    else:
        _write(scratch / "cross.cmake", _cmake_cross(toolchain, cross))
        (scratch / "modules").mkdir(exist_ok=True)
        for name in ("FindPython", "FindPython3"):
            _write(scratch / "modules" / f"{name}.cmake", _FIND_PYTHON.format(name=name))
        _write(scratch / "cross.ini", _meson_cross_file(toolchain, around))
    config = _config(toolchain, triple, zig, around, cache, source, cross)
    _write(Path(toolchain.config), config)
    _write(directory / zigcc.CONFIG_NAME, config)


def _own_digest() -> str:
    """Names the code that writes a toolchain, so that no version of it uses the files of another one."""
    digest = hashlib.sha256()
    for path in (zigcc.__file__, zig_rust.__file__, cross_facts.__file__, __file__):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:12]


def _write(path: Path, text: str, executable: bool = False) -> None:
    """Write a file as a whole or not at all, and leave it alone if it says the same already (times stay, too)."""
    data = text.encode("utf-8", "surrogateescape")
    with contextlib.suppress(OSError):
        if path.read_bytes() == data and (not executable or os.access(path, os.X_OK)):
            return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).chmod(0o755 if executable else 0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _wrapper(tool: str, python: str, directory: Path) -> str:
    # The code runs as a module, not as a script, because only a module's compiled form is kept. /bin/sh takes any path
    # and any length, which a "#!" line with the interpreter's path does not.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import zigcc; zigcc.main(sys.argv[2], sys.argv[3:], sys.argv[1])"
    )
    command = [python, "-I", "-S", "-c", code, str(directory), tool]
    return f'#!/bin/sh\nexec {" ".join(map(shlex.quote, command))} "$@"\n'


def _config(
    toolchain: Toolchain,
    triple: str,
    zig: Zig,
    around: Surroundings,
    cache: Path,
    source: Path,
    cross: Optional[CrossEnvironment],
) -> str:
    scratch, packages = toolchain.scratch, cache / "zig" / "packages"
    values = {
        "target": triple,
        "arch": toolchain.target.arch.value,
        "zig": zig.executable,
        "bin": str(toolchain.directory / "bin"),
        "log": str(toolchain.log),
        "scratch": str(scratch / "tmp"),
        "ZIG_LIB_DIR": str(changed_lib(zig, cache)),
        "ZIG_GLOBAL_CACHE_DIR": str(cache / "zig" / "cache"),
        "ZIG_LOCAL_CACHE_DIR": str(cache / "zig" / "cache"),
    }
    lists: dict[str, Sequence[str]] = {
        "deny": [*around.libdirs, f"{around.prefix}/include", f"{around.prefix}/lib"],
        "keep": [*around.include, *_packages(around), str(source), tempfile.gettempdir(), str(toolchain.directory)],
        "map": [
            *_path_maps(values["ZIG_LIB_DIR"], around, scratch, source),
            *([f"{cross.include}=/python", f"{packages}=/packages"] if cross else []),
        ],
        "temporary": tuple(dict.fromkeys((tempfile.gettempdir(), os.path.realpath(tempfile.gettempdir())))),
        "include": [str(scratch / "include")] if around.multiarch and cross is None else [],
        "python-flag": around.flags,
    }
    if cross is not None:
        values["fetch-path"] = os.pathsep.join(path for path in sys.path if os.path.isabs(path))
        values["fetch-python"] = around.python
        lists["instead"] = [f"{directory}={cross.include}" for directory in around.include]
        lists["package"] = [
            f"{package.top}={place_of(package, packages, toolchain.target, cross.python)}={package.inside}"
            f"={package.requirement}"
            for package in compiled_packages(around.path)
        ]
        python = f"{cross.python[0]}.{cross.python[1]}"
        lists["fetch"] = [sys.executable, "-m", f"{__package__}.cross_packages", str(toolchain.target), python]
    return zigcc.format_config(values, lists)


def _path_maps(lib: str, around: Surroundings, scratch: Path, source: Path) -> list[str]:
    """Stable names for the directories whose paths get into a module, as by ``assert`` in a header."""
    olds = {lib: "/zig", **dict.fromkeys(_packages(around), "/packages")}
    olds.update((path, "/python") for path in around.include)
    home = zig_rust.cargo_home(os.environ, source)
    if home:
        olds[home] = "/cargo"
    olds.update({str(source): ".", str(scratch): "/build"})
    return [f"{old}={new}" for old, new in olds.items()]


def _packages(around: Surroundings) -> list[str]:
    """The directories of ``sys.path`` that hold packages, archives left out."""
    return [path for path in around.path if path and os.path.isdir(path)]


# --- files for build tools --------------------------------------------------------------------------------------------


def cmake_roots(around: Surroundings, toolchain: Toolchain, source: Path) -> str:
    """Where CMake may find headers, libraries and packages, as a CMake list.

    CMake puts each root before the directories it would search, except where one already lies below a root: that
    makes the build's own packages, its source and Python's headers visible, and nothing else of the machine.
    """
    roots = [str(toolchain.directory / "root"), *around.include, *_packages(around), str(source)]
    # pip's isolated environments are prefixes: their CMake packages may lie in <prefix>/lib/cmake or <prefix>/share.
    for path in _packages(around):
        prefix = Path(path).parents[2] if len(Path(path).parents) > 2 else None
        if Path(path).name == "site-packages" and prefix is not None and str(prefix) != around.prefix:
            roots.append(str(prefix))
    return ";".join(
        dict.fromkeys(root for root in roots if ";" not in root and root not in ("/", "/usr", "/usr/local"))
    )


def _cmake_toolchain(toolchain: Toolchain) -> str:
    lines = [
        "if(DEFINED ENV{PORTABLE_BACKEND_USER_TOOLCHAIN})",
        '  include("$ENV{PORTABLE_BACKEND_USER_TOOLCHAIN}")',
        "endif()",
    ]
    for variable, tool in (
        ("C_COMPILER", "cc"), ("CXX_COMPILER", "c++"), ("ASM_COMPILER", "cc"), ("AR", "ar"), ("RANLIB", "ranlib"),
        ("STRIP", "strip"), ("C_COMPILER_AR", "ar"), ("CXX_COMPILER_AR", "ar"), ("C_COMPILER_RANLIB", "ranlib"),
        ("CXX_COMPILER_RANLIB", "ranlib"),
    ):  # fmt: skip
        lines.append(f'set(CMAKE_{variable} "{toolchain.tool(tool)}" CACHE FILEPATH "" FORCE)')
    lines += [
        "if(DEFINED ENV{PORTABLE_BACKEND_ZIG_CROSS})",
        '  include("$ENV{PORTABLE_BACKEND_ZIG_CROSS}")',
        "endif()",
        "# Otherwise CMake writes a placeholder, and edits it at installation.",
        "set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)",
        "list(APPEND CMAKE_FIND_ROOT_PATH $ENV{PORTABLE_BACKEND_ZIG_ROOTS}",
        '  "${CMAKE_SOURCE_DIR}" "${CMAKE_BINARY_DIR}" "${CMAKE_INSTALL_PREFIX}")',
        "set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)",
        "set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)",
        "set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)",
        "set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)",
        "set(CMAKE_FIND_USE_PACKAGE_REGISTRY FALSE)",
        "set(CMAKE_FIND_USE_SYSTEM_PACKAGE_REGISTRY FALSE)",
    ]
    return "\n".join(lines) + "\n"


def _meson_native_file(toolchain: Toolchain) -> str:
    tools = {"c": "cc", "cpp": "c++", "ar": "ar", "ranlib": "ranlib", "strip": "strip"}
    lines = [f"{name} = '{toolchain.tool(tool)}'" for name, tool in tools.items()]
    return "\n".join(["[binaries]", *lines, ""])


RUNNER = "portable-backend-run"
"""File name of what CMake runs programs of the target by, among the toolchain's."""

_RUNNER_TEXT = """#!/bin/sh
# CMake runs programs of the target by this, and the interpreter, which is this machine's and pretends to be another.
case ${1##*/} in
  python*) exec "$@" ;;
esac
echo "note\ta program of the target was to be run when CMake configured (${1##*/}); it was told that it fails" \
  >>"${PORTABLE_BACKEND_ZIG%config}log"
exit 126
"""


def _cmake_cross(toolchain: Toolchain, cross: CrossEnvironment) -> str:
    """What CMake's toolchain file says in addition where the interpreter is of another platform.

    FindPython does not ask an interpreter when CMake builds for another platform, or only by way of an emulator
    (CMP0190); it believes its ``python-config`` instead, which knows nothing of targets. So modules of that name come
    first for which nothing is cross. pybind11 asks if there is an emulator.
    """
    lines = [
        "set(CMAKE_SYSTEM_NAME Linux)",
        f"set(CMAKE_SYSTEM_PROCESSOR {toolchain.target.arch.value})",
        f'set(CMAKE_CROSSCOMPILING_EMULATOR "{toolchain.directory / RUNNER}")',
        f'list(APPEND CMAKE_FIND_ROOT_PATH "{cross.library.parent}")',
        f'list(INSERT CMAKE_MODULE_PATH 0 "{toolchain.scratch / "modules"}")',
    ]
    return "\n".join(lines) + "\n"


_FIND_PYTHON = """\
set(_portable_backend_cross ${{CMAKE_CROSSCOMPILING}})
set(CMAKE_CROSSCOMPILING FALSE)
list(REMOVE_ITEM CMAKE_MODULE_PATH "${{CMAKE_CURRENT_LIST_DIR}}")
include({name})
list(INSERT CMAKE_MODULE_PATH 0 "${{CMAKE_CURRENT_LIST_DIR}}")
set(CMAKE_CROSSCOMPILING ${{_portable_backend_cross}})
"""


def _meson_cross_file(toolchain: Toolchain, around: Surroundings) -> str:
    tools = {"c": "cc", "cpp": "c++", "ar": "ar", "ranlib": "ranlib", "strip": "strip"}
    arch = toolchain.target.arch
    family = {Arch.I686: "x86", Arch.ARMV7L: "arm", Arch.PPC64LE: "ppc64"}.get(arch, arch.value)
    return "\n".join(
        [
            "[binaries]",
            *(f"{name} = '{toolchain.tool(tool)}'" for name, tool in tools.items()),
            f"python = '{around.executable}'",
            "[host_machine]",
            "system = 'linux'",
            f"cpu_family = '{family}'",
            f"cpu = '{arch.value}'",
            f"endian = '{'little' if arch.little else 'big'}'",
            "[properties]",
            "needs_exe_wrapper = true",
            "",
        ]
    )


def distutils_config(build_base: Path, inherited: Optional[str]) -> str:
    """A configuration for setuptools with a build directory of its own, and with what the user's own file says.

    :param inherited: the text of the file that ``DIST_EXTRA_CONFIG`` named before, if it named one.
    :raises configparser.Error: if that text is not of the form.
    """
    parser = configparser.RawConfigParser()
    # The documented way to keep the case of option names; typeshed declares a method.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    if inherited is not None:
        parser.read_string(inherited)
    if not parser.has_section("build"):
        parser.add_section("build")
    for option in ("build-base", "build_base", "build-temp", "build_temp", "build-lib", "build_lib"):
        parser.remove_option("build", option)
    parser.set("build", "build_base", str(build_base))
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _write_stand_ins(root: Path, around: Surroundings) -> None:
    """Empty files where CMake looks for the interpreter's library: it wants the path, and the linker drops it."""
    if not around.library:
        return
    for directory in around.libdirs:
        path = root / directory.lstrip("/") / around.library
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write(path, "")


def _write_debian_include(include: Path, around: Surroundings) -> None:
    """Debian's ``pyconfig.h`` includes ``<multiarch/python3.x/pyconfig.h>``: offer that, not all of /usr/include."""
    if not around.multiarch:
        return
    for directory in around.include:
        real = Path(directory).parent / around.multiarch / Path(directory).name
        if real.is_dir():
            (include / around.multiarch).mkdir(exist_ok=True)
            (include / around.multiarch / real.name).symlink_to(real)
            return


# --- changes of zig's own headers -------------------------------------------------------------------------------------

_UNIQUE = "define _LIBCPP_TYPEINFO_COMPARISON_IMPLEMENTATION 1"
_NON_UNIQUE = "define _LIBCPP_TYPEINFO_COMPARISON_IMPLEMENTATION 2"
_TYPEINFO = Path("libcxx") / "include" / "typeinfo"

_LONG_DOUBLE = Path("libc") / "include" / "powerpc-linux-gnu" / "bits" / "long-double.h"
_ALWAYS_IEEE = "__LDOUBLE_REDIRECTS_TO_FLOAT128_ABI (__LDBL_MANT_DIG__ == 113)"
_IEEE_WHERE_KNOWN = "__LDOUBLE_REDIRECTS_TO_FLOAT128_ABI (__LDBL_MANT_DIG__ == 113 && __GLIBC_MINOR__ >= 32)"

# Parts of zig's lib directory for other systems than Linux: three fifths of it.
_OTHER_SYSTEMS = ("darwin", "freebsd", "netbsd", "openbsd", "windows", "mingw", "wasi")
_NOT_NEEDED = frozenset(("docs", "libtsan", "fuzzer", "init", "build-web"))


def changed_lib(zig: Zig, cache: Path) -> Path:
    """A copy of zig's lib directory, in the cache, whose libc++ compares types by name.

    libc++ is linked into each module, and by default it takes two types for the same only if their names lie at the
    same address. An exception that one module throws would be unknown in all others. libc++ has the other comparison,
    too, but chooses it for Windows only, and a macro on the command line does not reach the library itself.

    It is a copy and not a tree of links, because zig remembers which files it built libc++ from by their real paths,
    and it comes with each isolated build environment at another one: libc++ would be compiled anew for every build.

    :raises StrategyBlocked: if the header is not of the known form, or the copy cannot be made.
    """
    try:
        typeinfo = (Path(zig.lib) / _TYPEINFO).read_text(encoding="utf-8")
        known = (Path(zig.lib) / "libc" / "glibc" / "abilists").read_bytes()
        changed = {_TYPEINFO: typeinfo.replace(_UNIQUE, _NON_UNIQUE), **_long_double(zig)}
    except (OSError, UnicodeDecodeError) as error:
        raise StrategyBlocked(f"zig's lib directory {zig.lib} is not complete: {error}") from None
    if typeinfo.count(_UNIQUE) != 1:
        raise StrategyBlocked(
            f"{Path(zig.lib) / _TYPEINFO} is not of the form known to this version of portable-backend",
            "use a ziglang release that it was tested with (0.15.2 to 0.17.0)",
        )
    texts = (text.encode() for text in changed.values())
    digest = hashlib.sha256(b"\0".join((zig.version.encode(), *texts, known))).hexdigest()[:12]
    copy = cache / "zig" / "lib" / f"{zig.version}-{digest}"
    if not copy.is_dir():
        try:
            _copy_lib(Path(zig.lib), copy, changed)
        except OSError as error:
            raise StrategyBlocked(f"cannot copy zig's lib directory to {copy}: {error}") from None
    return copy


def _long_double(zig: Zig) -> dict[Path, str]:
    """For ppc64le: zig compiles its libc++ and libunwind with functions that glibc has since 2.32, as ``printf``'s.

    They call them for other types than ``long double``, too, so libraries for an older glibc are better off without.
    (What a build itself compiles has another ``long double`` there, see :mod:`zigcc`.) An unknown form of the header
    is left alone: only ppc64le needs the change, and what it lacks is noticed when the wheel is judged.
    """
    path = Path(zig.lib) / _LONG_DOUBLE
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    return {_LONG_DOUBLE: text.replace(_ALWAYS_IEEE, _IEEE_WHERE_KNOWN)}


def _copy_lib(lib: Path, copy: Path, changed: Mapping[Path, str]) -> None:
    """Copy what Linux needs, change headers, and only then give the copy its name (another build may be faster)."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".copy-") as name:
        fresh = Path(name) / "lib"
        shutil.copytree(lib, fresh, ignore=_ignored, copy_function=shutil.copyfile)
        for path, text in changed.items():
            (fresh / path).write_text(text, encoding="utf-8")
        try:
            fresh.rename(copy)
        except OSError:
            if not copy.is_dir():
                raise


def _ignored(directory: str, names: list[str]) -> set[str]:
    if Path(directory).name == "libc" or Path(directory).parts[-2:] == ("libc", "include"):
        return {name for name in names if any(system in name for system in _OTHER_SYSTEMS)}
    return {name for name in names if name in _NOT_NEEDED} if "libcxx" in names else set()


def read_log(log: Path) -> tuple[Sequence[str], Sequence[str]]:
    """What the wrappers said, each line once: (dropped with a change of meaning, refused)."""
    said = _read_log(log)
    return said["note"], said["refused"]


def a_compiler_ran(log: Path) -> bool:
    """Whether the wrappers were asked for anything but their version."""
    return bool(_read_log(log).get("ran"))


def _read_log(log: Path) -> Mapping[str, Sequence[str]]:
    said: dict[str, list[str]] = {"note": [], "refused": []}
    with contextlib.suppress(OSError):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            kind, _, text = line.partition("\t")
            if text and text not in said.setdefault(kind, []):
                said[kind].append(text)
    return said
