"""Finding libraries on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from elf_builder import Elf, build

from portable_backend.auditing.libraries import LibraryFinder
from portable_backend.targets import Arch, Libc

AARCH64 = 183


def put(directory: Path, name: str, machine: int = 62) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_bytes(build(Elf(machine=machine)).bytes)
    return path


def test_the_order_is_the_loader_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {name: put(tmp_path / name, "libdemo.so.1") for name in ("rpath", "ldpaths", "variable", "runpath")}
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{tmp_path / 'variable'}")
    finder = LibraryFinder(Arch.X86_64, Libc.GLIBC, [str(tmp_path / "ldpaths")])
    rpath, runpath = [str(tmp_path / "rpath")], [str(tmp_path / "runpath")]
    assert finder.find("libdemo.so.1", rpath) == places["rpath"]
    assert finder.find("libdemo.so.1", rpath, runpath) == places["ldpaths"]  # a RUNPATH disables the RPATH
    places["ldpaths"].unlink()
    assert finder.find("libdemo.so.1", [], runpath) == places["variable"]
    places["variable"].unlink()
    assert finder.find("libdemo.so.1", [], runpath) == places["runpath"]
    assert finder.find("libdemo.so.1") is None


def test_libraries_of_other_machines_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "first", "libdemo.so.1", AARCH64)
    right = put(tmp_path / "second", "libdemo.so.1")
    finder = LibraryFinder(Arch.X86_64, Libc.GLIBC, [str(tmp_path / "first"), str(tmp_path / "second")])
    assert finder.find("libdemo.so.1") == right


def test_a_linker_script_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "libdemo.so").write_text("INPUT(libdemo.so.1)")
    assert LibraryFinder(Arch.X86_64, Libc.GLIBC, [str(tmp_path)]).find("libdemo.so") is None
