"""What an interpreter of another platform would say of itself, made of this machine's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portable_backend.strategies.cross_facts import (
    build_details,
    definitions,
    extension_suffix,
    gnu_triple,
    platform_name,
    platform_triplet,
    rewrite_pyconfig,
    sysconfig_variables,
)
from portable_backend.targets import Arch, Libc, PlatformTag, parse_target


def tag(text: str) -> PlatformTag:
    return parse_target(text, Arch.X86_64)


ARMV7L, S390X, MUSL = tag("manylinux_2_31_armv7l"), tag("manylinux_2_17_s390x"), tag("musllinux_1_2_aarch64")
OWN = {
    "SOABI": "cpython-311-x86_64-linux-gnu",
    "EXT_SUFFIX": ".cpython-311-x86_64-linux-gnu.so",
    "MULTIARCH": "x86_64-linux-gnu",
    "HOST_GNU_TYPE": "x86_64-pc-linux-gnu",
    "SIZEOF_LONG": 8,
    "SIZEOF_INT": 4,
    "HAVE_GCC_ASM_FOR_X64": 1,
    "CC": "gcc -pthread",
    "CFLAGS": "-march=x86-64-v3 -I/opt/host/include -O3",
    "LDSHARED": "gcc -shared -L/opt/host/lib -Wl,-rpath,/opt/host/lib",
    "LDFLAGS": "-L/opt/host/lib",
    "LIBS": "-lpthread -ldl",
    "CONFIG_ARGS": "'--prefix=/opt/host'",
    "LIBDIR": "/opt/host/lib",
    "MODULE__SSL_LDFLAGS": "-L/opt/host/openssl/lib -lssl",
    "RUNSHARED": "LD_LIBRARY_PATH=/tmp/build",
    "VERSION": "3.11",
    "TZPATH": "/usr/share/zoneinfo",
    "prefix": "/opt/host",
}


@pytest.mark.parametrize(
    ("target", "triplet", "triple"),
    [
        ("manylinux_2_17_i686", "i386-linux-gnu", "i686-unknown-linux-gnu"),
        ("manylinux_2_31_armv7l", "arm-linux-gnueabihf", "armv7l-unknown-linux-gnueabihf"),
        ("manylinux_2_19_ppc64le", "powerpc64le-linux-gnu", "powerpc64le-unknown-linux-gnu"),
        ("musllinux_1_2_armv7l", "arm-linux-musleabihf", "armv7l-unknown-linux-musleabihf"),
        ("musllinux_1_2_riscv64", "riscv64-linux-musl", "riscv64-unknown-linux-musl"),
    ],
)
def test_platforms_have_a_name_in_files_and_one_for_configure(target: str, triplet: str, triple: str) -> None:
    assert (platform_triplet(tag(target)), gnu_triple(tag(target))) == (triplet, triple)


def test_the_platform_is_no_manylinux_tag() -> None:
    """scikit-build-core makes a wheel without an ABI tag where it is."""
    assert platform_name(ARMV7L) == "linux-armv7l"


def test_pyconfig_says_what_is_true_of_the_target_and_keeps_the_rest() -> None:
    text = (
        "#ifndef GUARD\n#define GUARD\n#define SIZEOF_LONG 8\n#define HAVE_GCC_UINT128_T 1\n#define HAVE_FORK 1\n"
        "/* #undef HAVE_LARGEFILE_SUPPORT */\n# ifndef WORDS_BIGENDIAN\n# endif\n#endif\n"
    )
    small = rewrite_pyconfig(text, ARMV7L)
    assert small.startswith(text.rstrip())
    assert "#undef SIZEOF_LONG\n#define SIZEOF_LONG 4\n" in small
    assert "#define HAVE_LARGEFILE_SUPPORT 1" in small
    assert small.endswith("#undef WORDS_BIGENDIAN\n")
    assert "#undef HAVE_GCC_UINT128_T\n#undef" in small
    assert "ALIGNOF_LONG" not in small, "this version of CPython does not know the name"
    assert "#define WORDS_BIGENDIAN 1" in rewrite_pyconfig(text, S390X)


def variables(target: PlatformTag, own: dict[str, Any] = OWN) -> dict[str, Any]:
    return sysconfig_variables(own, target, {"CC": "/z/cc", "LDSHARED": "/z/cc -shared"}, "/inc", "/lib", ".x.so")


@pytest.mark.parametrize("target", [ARMV7L, S390X, MUSL])
def test_no_directory_or_flag_of_the_machine_is_left(target: PlatformTag) -> None:
    said = variables(target)
    places = {name: value for name, value in said.items() if "host" in str(value) or "/tmp" in str(value)}
    assert places == {"prefix": "/opt/host"}, "where the interpreter that runs the build lies"
    assert not [name for name, value in said.items() if "x86" in str(value) and name != "BUILD_GNU_TYPE"]
    assert (said["CC"], said["LDSHARED"], said["LDFLAGS"], said["LIBS"]) == ("/z/cc", "/z/cc -shared", "", "")
    assert said["TZPATH"] == "/usr/share/zoneinfo"


def test_the_variables_are_the_target_s() -> None:
    said = variables(ARMV7L)
    assert (said["SIZEOF_LONG"], said["SIZEOF_INT"], said["HAVE_GCC_ASM_FOR_X64"]) == (4, 4, 0)
    assert (said["SOABI"], said["EXT_SUFFIX"]) == ("cpython-311-arm-linux-gnueabihf", ".x.so")
    assert said["MULTIARCH"] == "arm-linux-gnueabihf"
    assert "-I" not in said["CFLAGS"]


@pytest.mark.parametrize(
    ("own", "libc", "target", "suffix"),
    [
        ("cpython-311-x86_64-linux-gnu", Libc.GLIBC, S390X, ".cpython-311-s390x-linux-gnu.so"),
        ("cpython-313t-x86_64-linux-gnu", Libc.GLIBC, ARMV7L, ".cpython-313t-arm-linux-gnueabihf.so"),
        # Of a CPython for musl it is not known from here what it calls itself; all import this.
        ("cpython-311-x86_64-linux-gnu", Libc.GLIBC, MUSL, ".so"),
        ("cpython-312-x86_64-linux-musl", Libc.MUSL, MUSL, ".cpython-312-aarch64-linux-musl.so"),
        ("cpython-313t-x86_64-linux-gnu", Libc.GLIBC, MUSL, ".cpython-313t-aarch64-linux-musl.so"),
        ("cpython-313t-x86_64-linux-gnu", Libc.GLIBC, S390X, ".cpython-313t-s390x-linux-gnu.so"),
        ("cpython-39-x86_64-linux-gnu", Libc.MUSL, MUSL, ".cpython-39-aarch64-linux-gnu.so"),
        ("cpython-312-x86_64-linux-musl", Libc.MUSL, S390X, ".cpython-312-s390x-linux-gnu.so"),
    ],
)
def test_what_names_of_modules_end_with(own: str, libc: Libc, target: PlatformTag, suffix: str) -> None:
    assert extension_suffix(own, target, libc) == suffix


def test_build_details_speak_of_the_target() -> None:
    """The example of PEP 739, shortened."""
    own = {
        "schema_version": "1.0",
        "base_prefix": "/usr",
        "platform": "linux-x86_64",
        "language": {"version": "3.14"},
        "implementation": {"name": "cpython", "_multiarch": "x86_64-linux-gnu"},
        "abi": {"flags": [], "extension_suffix": ".cpython-314-x86_64-linux-gnu.so", "stable_abi_suffix": ".abi3.so"},
        "suffixes": {"extensions": [".cpython-314-x86_64-linux-gnu.so", ".abi3.so", ".so"]},
        "libpython": {"dynamic": "/usr/lib/libpython3.14.so"},
        "c_api": {"headers": "/usr/include/python3.14", "pkgconfig_path": "/usr/lib/pkgconfig"},
        "arbitrary_data": {"x": "/home/builder"},
    }
    said = build_details(own, S390X, ".cpython-314-s390x-linux-gnu.so", "/inc")
    assert "x86_64" not in json.dumps(said)
    assert (said["platform"], said["language"]) == ("linux-s390x", {"version": "3.14"})
    assert said["c_api"] == {"headers": "/inc"}
    assert said["suffixes"]["extensions"][0] == said["abi"]["extension_suffix"]
    assert said["abi"]["stable_abi_suffix"] == ".abi3.so"


def _details(triplet: str, platform: str, **more: object) -> dict[str, object]:
    """In the form of Debian's CPython 3.14.10, whose names of modules are the only ones that say what they are for."""
    extensions = [f".cpython-314-{triplet}.so", ".abi3.so", f".abi3-{triplet}.so", ".so"]
    return {
        "schema_version": "1.0",
        "platform": platform,
        "implementation": {"name": "cpython", "_multiarch": triplet},
        "abi": {"flags": []},
        "suffixes": {"source": [".py"], "bytecode": [".pyc"], "extensions": extensions},
        "c_api": {"headers": "/inc"},
        **more,
    }


def test_build_details_are_those_that_the_target_s_interpreter_has() -> None:
    """No part more, none less; but what leads to libraries of this machine is left out."""
    library = {"static": "/usr/lib/x86_64-linux-gnu/libpython3.14.a"}
    own = _details("x86_64-linux-gnu", "linux-x86_64", libpython=library)
    theirs = _details("s390x-linux-gnu", "linux-s390x")
    assert build_details(own, S390X, ".cpython-314-s390x-linux-gnu.so", "/inc") == theirs


def test_byte_order_is_said_once() -> None:
    for target in (ARMV7L, S390X, MUSL):
        said = definitions(target)
        orders = (said["DOUBLE_IS_LITTLE_ENDIAN_IEEE754"], said["DOUBLE_IS_BIG_ENDIAN_IEEE754"])
        assert orders == ((1, None) if target.arch.little else (None, 1))
