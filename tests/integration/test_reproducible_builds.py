"""Two builds of one source give the same bytes, wherever, whenever and by whomever they are made."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import pytest

from support.projects import copy_sample, hook_environ, write_fake_project, write_files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="zig wheels are for Linux"),
]
_SETUPTOOLS = '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
_HOSTILE = {
    "pyproject.toml": _SETUPTOOLS,
    "setup.py": (
        "from setuptools import Extension, setup\n"
        "module = Extension('hostile', ['sub/m.c'], include_dirs=['include'], undef_macros=['NDEBUG'])\n"
        "setup(name='hostile', version='1', py_modules=['pure'], ext_modules=[module])\n"
    ),
    "pure.py": "X = 1\n",
    "include/checks.h": (
        "#include <assert.h>\n"
        "static inline void check(int x) { assert(x); }\n"
        "static const char *header(void) { return __FILE__; }\n"
    ),
    "sub/m.c": (
        '#include <Python.h>\n#include "checks.h"\n'
        "static PyObject *when(PyObject *self, PyObject *none) { check(self != none);\n"
        '  return Py_BuildValue("sssss", __DATE__, __TIME__, __TIMESTAMP__, __FILE__, header()); }\n'
        'static PyMethodDef methods[] = {{"when", when, METH_NOARGS, ""}, {0}};\n'
        'static PyModuleDef module = {PyModuleDef_HEAD_INIT, "hostile", "", 0, methods};\n'
        "PyMODINIT_FUNC PyInit_hostile(void) { return PyModule_Create(&module); }\n"
    ),
}


def need(*modules: str, program: Optional[str] = None) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    missing += [program] if program is not None and shutil.which(program) is None else []
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {', '.join(missing)}")


def build(source: Path, out: Path, *more: str, umask: int = -1, **environ: str) -> Path:
    """Build with zig in a process of its own."""
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(source), "-w", str(out), *more]
    given = hook_environ(**environ)
    if "SOURCE_DATE_EPOCH" not in environ:
        given.pop("SOURCE_DATE_EPOCH", None)
    done = subprocess.run(
        [*command, "--strategy", "zig"], env=given, umask=umask, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = out.iterdir()
    return wheel


def build_twice(source: Path, tmp_path: Path, *more: str, **elsewhere: str) -> tuple[Path, Path]:
    """Build copies of ``source`` here, and in a place, at a time and by a user that have nothing in common with it."""
    here = Path(shutil.copytree(source, tmp_path / "a"))
    there = Path(shutil.copytree(source, tmp_path / "a much longer place, with blanks" / "below" / "b"))
    for number, path in enumerate([there, *there.rglob("*")]):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
    scratch = tmp_path / "another directory for temporary files"
    scratch.mkdir()
    environ = {"TMPDIR": str(scratch), "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7", **elsewhere}
    one = build(here, tmp_path / "one", *more, umask=0o022)
    return one, build(there, tmp_path / "two", *more, umask=0o077, **environ)


def differences(one: Path, other: Path) -> list[str]:
    """The members that differ, so that a failure says more than that there is one."""
    contents: list[Mapping[str, bytes]] = []
    for wheel in (one, other):
        with zipfile.ZipFile(wheel) as archive:
            contents.append({name: archive.read(name) for name in archive.namelist()})
    names = sorted({*contents[0], *contents[1]})
    return [name for name in names if contents[0].get(name) != contents[1].get(name)]


def assert_same(one: Path, other: Path) -> None:
    assert one.name == other.name
    assert differences(one, other) == []
    assert one.read_bytes() == other.read_bytes()


def leftovers(wheel: Path, *places: str) -> list[str]:
    """Members in which one of these paths of the machine is found."""
    with zipfile.ZipFile(wheel) as archive:
        return [
            name
            for name in archive.namelist()
            if any(place.encode() in archive.read(name) for place in places if len(place) > 1)
        ]


def said(wheel: Path, tmp_path: Path) -> list[str]:
    """What the module in the wheel says of time and place."""
    unpacked = tmp_path / f"unpacked-{wheel.parent.name}"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    code = "import hostile; print(*hostile.when(), sep='\\n')"
    environ = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_c_that_asks_for_time_and_place(tmp_path: Path) -> None:
    need("ziglang", "setuptools")
    one, other = build_twice(write_files(tmp_path / "source", _HOSTILE), tmp_path, "--no-isolation")
    assert_same(one, other)
    assert leftovers(one, str(tmp_path), os.path.expanduser("~"), sys.base_prefix) == []
    date, clock, stamp, file, header = said(one, tmp_path)
    assert (date, clock, stamp) == ("Jan  1 1980", "00:00:00", "Tue Jan  1 00:00:00 1980")
    assert (file, header) == ("sub/m.c", "include/checks.h")


def test_the_users_epoch_is_heeded_by_the_compiler_although_it_has_a_cache(tmp_path: Path) -> None:
    need("ziglang", "setuptools")
    source = write_files(tmp_path / "source", _HOSTILE)
    before = said(build(source, tmp_path / "one", "--no-isolation"), tmp_path)
    after = said(build(source, tmp_path / "two", "--no-isolation", SOURCE_DATE_EPOCH="1700000000"), tmp_path)
    assert before[0] == "Jan  1 1980"
    assert after[:2] == ["Nov 14 2023", "22:13:20"]


@pytest.mark.parametrize(
    ("users", "projects", "expected"),
    [(None, "", "315532800"), ("1700000000", "", "1700000000"), ("1700000000", "1600000000", "1600000000")],
)
def test_every_hook_is_told_the_same_time(tmp_path: Path, users: Optional[str], projects: str, expected: str) -> None:
    """Or metadata and wheel would have different versions, where the date is part of them."""
    settings = 'strategy = "host"' + (f'\nenvironment = {{SOURCE_DATE_EPOCH = "{projects}"}}' if projects else "")
    source = write_fake_project(tmp_path / "p", {"hooks": ["prepare_metadata_for_build_wheel"]}, settings)
    backend = source / "_build" / "fake_backend.py"
    epoch = "os.environ.get('SOURCE_DATE_EPOCH')"
    backend.write_text(backend.read_text().replace('_SAID.get("version", "1.0")', epoch))
    (source / "fake.json").write_text('{"hooks": ["prepare_metadata_for_build_wheel"]}')
    code = (
        "import portable_backend as b, os\nos.mkdir('m')\nos.mkdir('w')\n"
        "print(b.prepare_metadata_for_build_wheel('m'))\nprint(b.build_wheel('w'))\n"
    )
    environ = hook_environ(**({} if users is None else {"SOURCE_DATE_EPOCH": users}))
    if users is None:
        environ.pop("SOURCE_DATE_EPOCH", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert f"fake-{expected}.dist-info" in lines
    assert any(line.startswith("fake-") and line.endswith(".whl") for line in lines)
    with zipfile.ZipFile(next((source / "w").iterdir())) as archive:
        assert f"fake-{expected}.dist-info/METADATA" in archive.namelist()


@pytest.mark.slow
def test_cpp_in_environments_with_made_up_names(tmp_path: Path) -> None:
    """Isolated, so pybind11's headers lie elsewhere each time; scikit-build-core's build directory always does."""
    source = copy_sample("skbuild_pybind11", tmp_path / "source")
    text = (source / "CMakeLists.txt").read_text()
    (source / "CMakeLists.txt").write_text(
        text
        + "target_compile_options(sample_skbuild_pybind11 PRIVATE -UNDEBUG)\n"
        + 'file(WRITE "${CMAKE_BINARY_DIR}/generated.h" "inline const char *generated() { return __FILE__; }\\n")\n'
        + "target_include_directories(sample_skbuild_pybind11 PRIVATE ${CMAKE_BINARY_DIR})\n"
    )
    module = source / "module.cpp"
    module.write_text('#include "generated.h"\n' + module.read_text().replace("64);", "64) + generated();"))
    one, other = build_twice(source, tmp_path, CMAKE_BUILD_PARALLEL_LEVEL="1")
    assert_same(one, other)
    assert leftovers(one, str(tmp_path), os.path.expanduser("~"), sys.base_prefix) == []


@pytest.mark.slow
def test_rust_of_another_users_cargo(tmp_path: Path) -> None:
    need(program="cargo")
    source = copy_sample("maturin_pyo3", tmp_path / "source")
    # rustup's proxies look for toolchains in the usual home, which is not Cargo's.
    rustup = os.environ.get("RUSTUP_HOME") or os.path.expanduser("~/.rustup")
    more = {"RUSTUP_HOME": rustup} if os.path.isdir(rustup) else {}
    home = tmp_path / "cargo of another user"
    one, other = build_twice(source, tmp_path, CARGO_HOME=str(home), **more)
    assert_same(one, other)
    assert leftovers(one, str(tmp_path), os.path.expanduser("~"), sys.base_prefix) == []
    with zipfile.ZipFile(one) as archive:
        (module,) = (archive.read(name) for name in archive.namelist() if name.endswith(".so"))
    assert b"/cargo/registry/src/" in module, "there must be something that was mapped"


@pytest.mark.slow
def test_a_second_build_finds_what_the_first_compiled(tmp_path: Path) -> None:
    """Cargo must not take our wrapper for another compiler each time.

    (pyo3 itself looks at the interpreter's path, which is another one in each isolated environment.)
    """
    need(program="cargo")
    source = copy_sample("maturin_pyo3", tmp_path)
    first = build(source, tmp_path / "one")
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(source), "-w", str(tmp_path / "two")]
    done = subprocess.run(
        [*command, "--strategy", "zig"], env=hook_environ(), capture_output=True, text=True, check=True
    )
    assert "Compiling once_cell " not in done.stderr + done.stdout
    assert "Finished" in done.stderr + done.stdout
    assert_same(first, next((tmp_path / "two").iterdir()))
