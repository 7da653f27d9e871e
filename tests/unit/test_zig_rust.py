"""What Cargo is told: the wrapper around rustc composes with whatever wrapper and flags there are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from portable_backend.strategies import zig_rust
from portable_backend.strategies.zig_rust import path_maps, users_wrapper


def run_wrapper(tmp_path: Path, *words: str, maps: str = "", chained: str = "", **more: str) -> list[str]:
    wrapper = tmp_path / zig_rust.WRAPPER
    wrapper.write_text(zig_rust.WRAPPER_TEXT)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", **more}
    if maps:
        environ[zig_rust.MAPS_VARIABLE] = maps
    if chained:
        environ[zig_rust.CHAINED_VARIABLE] = chained
    done = subprocess.run(
        ["/bin/sh", str(wrapper), *words], env=environ, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    return done.stdout.splitlines()


def script(path: Path, name: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_words_come_through_with_the_maps_behind_them(tmp_path: Path) -> None:
    rustc = script(tmp_path / "my rustc", "rustc")
    given = ["--crate-name", "a b", "*", "--cfg", 'feature="x"', ""]
    said = run_wrapper(tmp_path, rustc, *given, maps="/home/a b/*=.\n/c=/cargo")
    assert said == ["rustc", *given, "--remap-path-prefix=/home/a b/*=.", "--remap-path-prefix=/c=/cargo"]


def test_outside_of_a_build_it_does_nothing(tmp_path: Path) -> None:
    assert run_wrapper(tmp_path, script(tmp_path / "rustc", "rustc"), "-vV") == ["rustc", "-vV"]


def test_the_users_wrapper_is_run_around_rustc(tmp_path: Path) -> None:
    script(tmp_path / "sccache", "sccache")
    said = run_wrapper(tmp_path, "/bin/rustc", "-vV", maps="/a=.", chained="sccache")
    assert said == ["sccache", "/bin/rustc", "-vV", "--remap-path-prefix=/a=."]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ""),
        ({"RUSTC_WRAPPER": "sccache"}, "sccache"),
        ({"CARGO_BUILD_RUSTC_WRAPPER": "sccache"}, "sccache"),
        ({"RUSTC_WRAPPER": "", "CARGO_BUILD_RUSTC_WRAPPER": "sccache"}, ""),
        ({"RUSTC_WRAPPER": "/cache/portable-backend-rustc", zig_rust.CHAINED_VARIABLE: "sccache"}, "sccache"),
        ({"RUSTC_WRAPPER": "/cache/portable-backend-rustc"}, ""),
    ],
)
def test_the_users_wrapper_in_the_environment(tmp_path: Path, environ: dict[str, str], expected: str) -> None:
    assert users_wrapper(tmp_path, environ) == expected


def test_the_users_wrapper_in_a_configuration(tmp_path: Path) -> None:
    source, home = tmp_path / "work" / "project", tmp_path / "home"
    for place, text in (
        (home, 'rustc-wrapper = "of-home"'),
        (tmp_path / "work" / ".cargo", 'rustc-wrapper = "tools/near"'),
        (source / ".cargo", 'rustflags = ["-Dwarnings"]'),
    ):
        place.mkdir(parents=True)
        (place / "config.toml").write_text(f"[build]\n{text}\n")
    environ = {"CARGO_HOME": str(home)}
    assert users_wrapper(source, environ) == str(tmp_path / "work" / "tools" / "near")
    (tmp_path / "work" / ".cargo" / "config.toml").write_text("[build\n")
    assert users_wrapper(source, environ) == "of-home"
    assert users_wrapper(source, {**environ, "RUSTC_WRAPPER": "first"}) == "first"


def test_what_is_mapped_to_does_not_depend_on_the_machine(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    maps = path_maps(Path("/s"), Path("/tmp/x"), {"CARGO_HOME": str(tmp_path / "link"), "CARGO_TARGET_DIR": "../t"})
    assert {each.rpartition("=")[2] for each in maps} == {"/build", ".", "./target", "/cargo"}
    assert {f"{tmp_path}/link=/cargo", f"{os.path.realpath(tmp_path)}/real=/cargo"} <= set(maps)


def test_cargos_home_counts_inside_the_source_too() -> None:
    """rustc takes the last map that fits."""
    maps = path_maps(Path("/s"), Path("/tmp/x"), {"CARGO_HOME": ".cargo"})
    assert maps.index("/s=.") < maps.index("/s/.cargo=/cargo")


@pytest.mark.parametrize(
    ("kind", "requires", "needed"),
    [
        ("maturin", "[]", True),
        ("setuptools", '["setuptools", "setuptools-rust>=1.5"]', True),
        ("setuptools", '["Setuptools_Rust"]', True),
        ("setuptools", '["setuptools", "setuptools-rustlike"]', False),
        ("setuptools", '["setuptools"]', False),
        ("meson-python", '["setuptools-rust"]', False),
    ],
)
def test_who_needs_rust(tmp_path: Path, kind: str, requires: str, needed: bool) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[build-system]\nrequires = {requires}\n")
    assert zig_rust.needs_rust(kind, tmp_path) is needed


def _rustc(tmp_path: Path, library: str) -> dict[str, str]:
    """A rustc that says where its standard library is, and what is there."""
    libdir = tmp_path / "lib[dir"  # a name that means something to whoever matches patterns
    libdir.mkdir()
    (libdir / library).touch()
    rustc = tmp_path / "rustc"
    rustc.write_text(f"#!/bin/sh\n[ \"$*\" = '--print target-libdir --target x-y' ] && echo '{libdir}'\n")
    rustc.chmod(0o755)
    return {"RUSTC": str(rustc), "PATH": "/usr/bin:/bin"}


def test_a_standard_library_that_is_there_is_seen(tmp_path: Path) -> None:
    assert not zig_rust.lacks_std("x-y", tmp_path, _rustc(tmp_path, "libstd-0123.rlib"))


def test_one_that_is_not_is_missed_and_no_rustc_at_all_is_another_matter(tmp_path: Path) -> None:
    assert zig_rust.lacks_std("x-y", tmp_path, _rustc(tmp_path, "libcore-0123.rlib"))
    assert not zig_rust.lacks_std("x-y", tmp_path, {"RUSTC": str(tmp_path / "none")})
    assert not zig_rust.lacks_std("of-no-such-target", tmp_path, {"RUSTC": str(tmp_path / "rustc")})
