"""The zig strategy without a zig: when it is blocked, what it reads, writes and explains."""

from __future__ import annotations

import configparser
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest

from portable_backend.errors import StrategyBlocked
from portable_backend.machine import HostFacts
from portable_backend.plan import BuildPlan, InnerBackend
from portable_backend.strategies import zig_toolchain
from portable_backend.strategies.zig import ZigStrategy, zig_target
from portable_backend.strategies.zig_failures import explain_failure
from portable_backend.strategies.zig_toolchain import (
    Zig,
    cache_directory,
    distutils_config,
    parse_abilists,
    rust_triple,
)
from portable_backend.targets import Arch, parse_target

HOST = HostFacts(
    system="linux",
    machine="x86_64",
    libc="glibc",
    libc_version=(2, 36),
    policy_image=None,
    cibuildwheel=False,
    pip_build=False,
    source_is_sdist=False,
    zig_on_path=None,
)


def plan(target: Optional[str], kind: Optional[str] = "setuptools") -> BuildPlan:
    tag = None if target is None else parse_target(target, Arch.X86_64)
    return BuildPlan(tag, "zig", InnerBackend("x", kind=kind), "repair", {}, ())


@pytest.mark.parametrize(
    "target",
    [
        *("manylinux_2_17", "manylinux2014_x86_64", "musllinux_1_2"),
        *("manylinux_2_17_aarch64", "manylinux_2_17_i686", "manylinux_2_31_armv7l", "manylinux_2_19_ppc64le"),
        *("manylinux_2_17_s390x", "manylinux_2_31_riscv64", "musllinux_1_2_aarch64", "musllinux_1_2_s390x"),
    ],
)
@pytest.mark.parametrize("kind", ["setuptools", "meson-python", None])
@pytest.mark.parametrize("libc", ["glibc", "musl"])
def test_all_that_zig_has_a_c_library_for_can_be_built(target: str, kind: Optional[str], libc: str) -> None:
    assert ZigStrategy().blocked(plan(target, kind), replace(HOST, libc=libc)) is None


@pytest.mark.parametrize(
    ("asked", "host", "reason"),
    [
        (plan(None), {}, "target"),
        (plan("manylinux_2_17_ppc64le"), {}, "from 2.19 on; ask for manylinux_2_19_ppc64le"),
        (plan("manylinux_2_17_riscv64"), {}, "ask for manylinux_2_27_riscv64"),
        (plan("manylinux_2_17_ppc64"), {"machine": "ppc64"}, "ppc64"),
        (plan("manylinux_2_17"), {"system": "darwin"}, "darwin"),
        (plan("manylinux_2_17"), {"machine": "mips"}, "mips"),
        (plan("musllinux_1_1"), {}, "1.2"),
    ],
)
def test_what_stands_in_the_way_is_named(asked: BuildPlan, host: dict[str, Any], reason: str) -> None:
    assert reason in (ZigStrategy().blocked(asked, replace(HOST, **host)) or "")


def abilists(*versions: tuple[int, int, int]) -> bytes:
    return b"\x02m\0c\0" + bytes([len(versions)]) + b"".join(map(bytes, versions)) + b"\x01x86_64-linux-gnu\0"


def make_zig(directory: Path, data: bytes) -> Zig:
    path = directory / "libc" / "glibc" / "abilists"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return Zig(str(directory / "zig"), str(directory), "0.17.0")


def test_the_known_versions_of_glibc_are_read_from_zig() -> None:
    assert parse_abilists(abilists((2, 17, 0), (2, 2, 5), (2, 2, 6), (2, 44, 0))) == ((2, 2), (2, 17), (2, 44))


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01m\0", abilists((2, 17, 0), (2, 18, 0))[:10], abilists((7, 1, 0))])
def test_another_form_of_that_file_is_an_error(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(StrategyBlocked, match="abilists"):
        make_zig(tmp_path, data).glibc_versions()


def test_the_triple_names_the_version(tmp_path: Path) -> None:
    zig = make_zig(tmp_path, abilists((2, 17, 0), (2, 28, 0)))
    assert zig_target(parse_target("manylinux_2_17", Arch.X86_64), zig) == "x86_64-linux-gnu.2.17"
    assert zig_target(parse_target("musllinux_1_2", Arch.X86_64), zig) == "x86_64-linux-musl"
    with pytest.raises(StrategyBlocked, match=r"2\.29.*newest it knows is 2\.28"):
        zig_target(parse_target("manylinux_2_29", Arch.X86_64), zig)


@pytest.mark.parametrize(
    ("target", "triple"),
    [
        ("manylinux_2_17_x86_64", "x86_64-unknown-linux-gnu"),
        ("manylinux_2_31_armv7l", "armv7-unknown-linux-gnueabihf"),
        ("musllinux_1_2_aarch64", "aarch64-unknown-linux-musl"),
        ("manylinux_2_31_riscv64", "riscv64gc-unknown-linux-gnu"),
    ],
)
def test_rust_names_the_same_targets_in_its_own_way(target: str, triple: str) -> None:
    assert rust_triple(parse_target(target, Arch.X86_64)) == triple


def test_a_users_distutils_file_is_kept_but_for_the_build_directory(tmp_path: Path) -> None:
    users = "[build]\nbuild-base = elsewhere\nparallel = 2\n[build_ext]\ndefine = A%B\n"
    parser = configparser.RawConfigParser()
    parser.read_string(distutils_config(tmp_path / "own", users))
    assert dict(parser["build"]) == {"parallel": "2", "build_base": str(tmp_path / "own")}
    assert parser["build_ext"]["define"] == "A%B"


def test_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directory({"XDG_CACHE_HOME": str(tmp_path / "xdg")}) == tmp_path / "xdg" / "portable-backend"
    assert cache_directory({"HOME": str(tmp_path)}) == tmp_path / ".cache" / "portable-backend"


@pytest.mark.parametrize("cache", ["", "relative", "with blank", "file"])
def test_an_unusable_cache_gives_way_to_a_private_temporary_directory(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(zig_toolchain.tempfile, "tempdir", str(temporary))
    (tmp_path / "file").write_text("")
    named = {"": "", "relative": "relative"}.get(cache, str(tmp_path / cache))
    found = cache_directory({"XDG_CACHE_HOME": named})
    assert found.parent == temporary
    assert stat.S_IMODE(found.stat().st_mode) == 0o700


def test_a_temporary_directory_that_others_may_write_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zig_toolchain.tempfile, "tempdir", str(tmp_path))
    own = cache_directory({})
    own.chmod(0o777)
    with pytest.raises(StrategyBlocked, match="somebody else"):
        cache_directory({})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("src/x.c:5:10: fatal error: 'lz4.h' file not found", ["lz4.h", "container"]),
        ("error: unable to find dynamic system library \"hdf5\" using strategy paths_first.", ["hdf5", "container"]),
        ("ld.lld: error: undefined symbol: __kmpc_fork_call", ["OpenMP", "container"]),
        ("ld.lld: error: relocation R_X86_64_PC32 cannot be used against symbol '__cpu_model'", ["processor", "host"]),
        ("error: always_inline function 'f' requires target feature 'popcnt', but would", ["popcnt", "container"]),
        ("../meson.build:1:0: ERROR: Compiler cython cannot compile programs.", ["Cython", "host"]),
        ("curl: (6) Could not resolve host: example.invalid", ["network"]),
        ("CMake Error: Could NOT find HDF5 (missing: HDF5_LIBRARIES)", ["HDF5", "container"]),
        ("error: unsupported linker arg: --no-such", ["--no-such"]),
    ],
)  # fmt: skip
def test_a_failure_is_explained_with_what_lacked_and_what_cures_it(line: str, expected: list[str]) -> None:
    explanation = explain_failure(["gcc -c x.c", line, "error: command failed"]) or ""
    assert [word for word in expected if word not in explanation] == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("  The system library `openssl` required by crate `openssl-sys` was not found.", "openssl"),
        ("  Could not find directory of OpenSSL installation, and this `-sys` crate cannot proceed", "OpenSSL"),
    ],
)
def test_libraries_that_crates_miss_are_named(line: str, name: str) -> None:
    said = explain_failure([line])
    assert said is not None
    assert f"the package {name} was not found" in said


@pytest.mark.parametrize(
    "line",
    [
        "m.c:1:10: fatal error: 'Python.h' file not found",
        "src/a.c:6:10: fatal error: 'pyconfig.h' file not found",
        "Python.h:3:5: fatal error: 'x86_64-linux-gnu/python3.11/pyconfig.h' file not found",
        "Could NOT find Python3 (missing: Python3_INCLUDE_DIRS Development.Module)",
    ],
)
def test_missing_headers_of_the_interpreter_are_not_zig_s_fault(line: str) -> None:
    said = explain_failure([line])
    assert said is not None
    assert "headers of the interpreter" in said
    assert "python3-dev" in said


def test_an_error_of_the_project_itself_is_not_explained_away() -> None:
    assert explain_failure(["x.c:3:1: error: expected ';' after expression", "1 error generated."]) is None


def test_a_refusal_explains_a_failure_that_nothing_else_explains() -> None:
    assert "libz.so" in (explain_failure(["configure: error: cannot go on"], ["/usr/lib/libz.so: a library"]) or "")
