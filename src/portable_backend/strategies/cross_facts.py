"""What an interpreter of another platform would say of itself, made of what this machine's says. Pure.

The headers and variables of one CPython differ between platforms in few things: names of files, sizes of types, byte
order, and what its own build was told of compilers and directories. The former are tables here, and tests compare them
with zig's compiler and with real interpreters; the latter are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

from ..targets import Arch, Libc, PlatformTag

# CPython's PLATFORM_TRIPLET (its configure script), which extension modules bear in their names.
_TRIPLET_ARCHES = {Arch.I686: "i386", Arch.ARMV7L: "arm", Arch.PPC64LE: "powerpc64le", Arch.PPC64: "powerpc64"}
# What the GNU triple of the build says instead (config.sub).
_GNU_ARCHES = {Arch.ARMV7L: "armv7l", Arch.PPC64LE: "powerpc64le", Arch.PPC64: "powerpc64"}

_LONG_DOUBLE = {Arch.I686: 12, Arch.ARMV7L: 8}
_VA_LIST_IS_ARRAY = frozenset({Arch.X86_64, Arch.S390X})

Definitions = Mapping[str, Optional[int]]
"""Macros of ``pyconfig.h`` by name; ``None`` where the target does not define one."""


def platform_triplet(target: PlatformTag) -> str:
    """CPython's name of the target, as ``aarch64-linux-gnu`` in ``mod.cpython-311-aarch64-linux-gnu.so``."""
    libc = "gnu" if target.libc is Libc.GLIBC else "musl"
    return f"{_TRIPLET_ARCHES.get(target.arch, target.arch.value)}-linux-{libc}{_float_abi(target)}"


def gnu_triple(target: PlatformTag) -> str:
    """The name that ``./configure --host`` knows."""
    libc = "gnu" if target.libc is Libc.GLIBC else "musl"
    return f"{_GNU_ARCHES.get(target.arch, target.arch.value)}-unknown-linux-{libc}{_float_abi(target)}"


def _float_abi(target: PlatformTag) -> str:
    return "eabihf" if target.arch is Arch.ARMV7L else ""


def platform_name(target: PlatformTag) -> str:
    """``sysconfig.get_platform()`` there. Not the tag itself: backends make wheels for ``linux_…``, or for nothing."""
    return f"linux-{target.arch.value}"


def definitions(target: PlatformTag) -> Definitions:
    """The macros of ``pyconfig.h`` that depend on word size, byte order, processor and C library."""
    arch, musl = target.arch, target.libc is Libc.MUSL
    word, long = arch.bits // 8, arch.bits == 64
    words = ("SIZEOF_LONG", "SIZEOF_SIZE_T", "SIZEOF_VOID_P", "SIZEOF_UINTPTR_T", "SIZEOF_PTHREAD_T")
    x86 = arch in (Arch.X86_64, Arch.I686)
    long_double = 8 if musl and arch in (Arch.PPC64, Arch.PPC64LE) else _LONG_DOUBLE.get(arch, 16)
    # Of the compiler that builds: gcc aligns for __float128 on i686, too.
    most = 8 if arch is Arch.S390X or long_double < 16 else 16
    return {
        **dict.fromkeys((*words, "ALIGNOF_LONG", "ALIGNOF_SIZE_T"), word),
        "ALIGNOF_MAX_ALIGN_T": most,
        "SIZEOF_LONG_DOUBLE": long_double,
        "SIZEOF_TIME_T": 8 if musl else word,
        "SIZEOF_OFF_T": 8,
        "SIZEOF_FPOS_T": 16,
        "HAVE_LARGEFILE_SUPPORT": None if long else 1,
        "HAVE_GCC_UINT128_T": 1 if long else None,
        "HAVE___UINT128_T": 1 if long else None,
        "HAVE_GCC_ASM_FOR_X64": 1 if arch is Arch.X86_64 else None,
        "HAVE_GCC_ASM_FOR_X87": 1 if x86 else None,
        "HAVE_GCC_ASM_FOR_MC68881": None,
        "X87_DOUBLE_ROUNDING": 1 if arch is Arch.I686 else None,
        "VA_LIST_IS_ARRAY": 1 if arch in _VA_LIST_IS_ARRAY else None,
        "WORDS_BIGENDIAN": None if arch.little else 1,
        "FLOAT_WORDS_BIGENDIAN": None if arch.little else 1,
        "DOUBLE_IS_LITTLE_ENDIAN_IEEE754": 1 if arch.little else None,
        "DOUBLE_IS_BIG_ENDIAN_IEEE754": None if arch.little else 1,
        "DOUBLE_IS_ARM_MIXED_ENDIAN_IEEE754": None,
        "_FILE_OFFSET_BITS": 64,
        "_LARGEFILE_SOURCE": 1,
    }


def rewrite_pyconfig(text: str, target: PlatformTag) -> str:
    """``pyconfig.h`` of this machine's interpreter with the target's definitions, which are all put at its end.

    Only names that the file mentions are touched, since each version of CPython knows others. Byte order stands in it
    behind a condition for universal builds of macOS; definitions at the end overrule whatever was chosen before.
    """
    lines = []
    for name, value in definitions(target).items():
        if re.search(rf"\b{name}\b", text):
            lines.append(f"#undef {name}\n" + ("" if value is None else f"#define {name} {value}\n"))
    head = f"/* For {target}; what stands above is from the interpreter that runs the build. */"
    return f"{text.rstrip()}\n\n{head}\n{''.join(lines)}"


# Variables of sysconfig that builds use, and that name tools of the machine on which the interpreter was built.
_EMPTY = (
    "BASECPPFLAGS", "BASECFLAGS", "BLDLIBRARY", "BUILDEXE", "CONFIGURE_CFLAGS", "CONFIGURE_CFLAGS_NODIST",
    "CONFIGURE_CPPFLAGS", "CONFIGURE_LDFLAGS", "CONFIGURE_LDFLAGS_NODIST", "CONFIG_ARGS", "CPPFLAGS", "EXTRA_CFLAGS",
    "LDFLAGS", "LDFLAGS_NODIST", "LIBFFI_INCLUDEDIR", "MULTIARCH_CPPFLAGS", "PGO_PROF_GEN_FLAG", "PGO_PROF_USE_FLAG",
    "PY_CFLAGS_NODIST", "PY_CPPFLAGS", "PY_LDFLAGS_NODIST", "PY_CORE_LDFLAGS", "OPENSSL_INCLUDES", "OPENSSL_LDFLAGS",
    "OPENSSL_RPATH", "TCLTK_INCLUDES", "TCLTK_LIBS", "LLVM_PROF_FILE", "DTRACE", "LIBPC",
)  # fmt: skip
_OPT = "-DNDEBUG -O3 -Wall"
_CFLAGS = f"-fno-strict-overflow -Wsign-compare {_OPT}"
# Values that lead into the interpreter's own installation, and are true of the interpreter that runs the build.
_OWN_PLACES = frozenset(
    """
    prefix exec_prefix base platbase installed_base installed_platbase projectbase userbase BINDIR BINLIBDEST DESTDIRS
    DESTLIB DESTSHARED INCLDIRSTOMAKE INCLUDEDIR INCLUDEPY CONFINCLUDEDIR CONFINCLUDEPY LIBDEST LIBDIR LIBP MACHDESTLIB
    SCRIPTDIR datarootdir host_prefix host_exec_prefix TZPATH WHEEL_PKG_DIR
    """.split()  # noqa: SIM905 - a table
)


def sysconfig_variables(
    own: Mapping[str, Any], target: PlatformTag, tools: Mapping[str, str], include: str, libdir: str, suffix: str
) -> dict[str, Any]:
    """The variables of the target's interpreter.

    :param own: ``build_time_vars`` of the interpreter that runs the build.
    :param tools: commands by name (``CC``, ``CXX``, ``AR``, ``LDSHARED``, …).
    :param include: directory of the target's ``pyconfig.h``.
    :param libdir: a directory for libraries that has none.
    :param suffix: what names of extension modules end with.
    """
    triplet = platform_triplet(target)
    # Of paths and flags only those stay that say where the interpreter itself lies; the rest is not the target's.
    said = {name: "" if _is_of_machine(name, value) else value for name, value in own.items()}
    said.update({name: "" for name in _EMPTY if name in own})
    said.update({name: value or 0 for name, value in definitions(target).items() if name in own})
    said.update(tools)
    said.update(
        CFLAGS=_CFLAGS,
        PY_CFLAGS=_CFLAGS,
        OPT=_OPT,
        CCSHARED="-fPIC",
        ARFLAGS="rcs",
        LINKFORSHARED="",
        SHLIB_SUFFIX=".so",
        EXT_SUFFIX=suffix,
        # CMake puts it into names where the suffix has no such part.
        SOABI="" if suffix == ".so" else soabi(str(own.get("SOABI", "")), target),
        MULTIARCH=triplet,
        HOST_GNU_TYPE=gnu_triple(target),
        BUILD_GNU_TYPE=own.get("HOST_GNU_TYPE", ""),
        MACHDEP="linux",
        INCLUDEPY=include,
        CONFINCLUDEPY=include,
        LIBDIR=libdir,
        LIBPL=libdir,
        Py_ENABLE_SHARED=0,
    )
    if "SO" in own:
        said["SO"] = suffix
    return said


def _is_of_machine(name: str, value: Any) -> bool:
    return isinstance(value, str) and name not in _OWN_PLACES and ("/" in value or "-" in value)


def soabi(own: str, target: PlatformTag) -> str:
    """``cpython-311-aarch64-linux-gnu`` for this machine's ``cpython-311-x86_64-linux-gnu``."""
    return "-".join([*own.split("-")[:2], platform_triplet(target)])


def extension_suffix(own: str, target: PlatformTag, own_libc: Libc) -> str:
    """What names of extension modules end with there.

    CPythons for musl call themselves ``-gnu`` or ``-musl``, by their version and by who built them, and import what
    ends with ``.so`` alone in any case: that is the name where this machine's interpreter cannot show which it is.
    Free-threaded ones (3.13 and later) all say ``-musl``, and setuptools reads ``cp313t`` from that name alone.
    """
    if target.libc is Libc.MUSL and own_libc is not Libc.MUSL:
        return f".{soabi(own, target)}.so" if own.partition("-")[2].partition("-")[0].endswith("t") else ".so"
    name = soabi(own, target)
    if target.libc is Libc.MUSL and "-gnu" in own:
        name = name.replace("-musl", "-gnu")
    return f".{name}.so"


_SPOKEN_TRIPLET = re.compile(r"[a-z0-9_]+-linux-[a-z0-9]+")


def build_details(own: Mapping[str, Any], target: PlatformTag, suffix: str, include: str) -> dict[str, Any]:
    """``build-details.json`` (PEP 739) of the target, from that of this machine's interpreter.

    What it says of libraries and of pkg-config leads to files of this machine, and is left out.
    """

    def translated(name: str) -> str:
        return suffix if name.startswith(".cpython-") else _SPOKEN_TRIPLET.sub(platform_triplet(target), name)

    said = {name: value for name, value in own.items() if name not in ("arbitrary_data", "libpython")}
    said["platform"] = platform_name(target)
    implementation = dict(own.get("implementation", {}))
    if "_multiarch" in implementation:
        implementation["_multiarch"] = platform_triplet(target)
    abi = dict(own.get("abi", {}))
    for name in ("extension_suffix", "stable_abi_suffix"):
        if name in abi:
            abi[name] = translated(abi[name])
    suffixes = dict(own.get("suffixes", {}))
    if "extensions" in suffixes:
        suffixes["extensions"] = list(dict.fromkeys(map(translated, suffixes["extensions"])))
    parts = {"implementation": implementation, "abi": abi, "suffixes": suffixes, "c_api": {"headers": include}}
    said.update((name, part) for name, part in parts.items() if name in own)
    return said
