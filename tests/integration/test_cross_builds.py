"""Wheels for other architectures, by a real zig and real inner backends, loaded by real interpreters under qemu."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import pytest

from portable_backend.elf import scan
from portable_backend.errors import StrategyBlocked
from portable_backend.interpreters import read_interpreter
from portable_backend.plan import BuildPlan, InnerBackend
from portable_backend.strategies.cross import write_cross
from portable_backend.strategies.cross_facts import definitions
from portable_backend.strategies.cross_packages import compiled_packages, fetch
from portable_backend.strategies.zig import ZigStrategy
from portable_backend.targets import Arch, parse_target
from support.command_line import run
from support.foreign import VERSION, foreign_python, foreign_rustc, run_foreign
from support.images import need
from support.projects import Frontend, copy_sample, hook_environ, write_files

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="zig wheels are for Linux")]

# What takes minutes, and what wants more of the index than the tests otherwise do.
_LONG = pytest.mark.skipif(not os.environ.get("TESTS_CROSS"), reason="a long proof: TESTS_CROSS=1, or nox -s cross")

AARCH64, S390X = "manylinux_2_17_aarch64", "manylinux_2_17_s390x"
TARGETS = [
    *("manylinux_2_17_x86_64", "manylinux_2_17_i686", AARCH64, "manylinux_2_17_armv7l", "manylinux_2_19_ppc64le"),
    *(S390X, "manylinux_2_31_riscv64"),
    *(f"musllinux_1_2_{arch}" for arch in ("x86_64", "i686", "aarch64", "armv7l", "ppc64le", "s390x", "riscv64")),
]
_BACKEND = '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'


def _same_version() -> None:
    need("{}.{}".format(*sys.version_info) == VERSION, f"the foreign interpreters are of Python {VERSION}")


def _run(command: Sequence[str], environ: dict[str, str], cwd: Optional[Path] = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, said[-6000:]
    return said


def _build(source: Path, target: str, out: Path, **environ: str) -> tuple[Path, str]:
    """The wheel by our own command, with what is installed here; and all that was printed."""
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(source), "-w", str(out), "--target", target]
    said = _run([*command, "--no-isolation"], hook_environ(**environ))
    (wheel,) = out.glob("*.whl")
    return wheel, said


def _modules(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.endswith(".so")}


# --- frontends and backends, executed ---------------------------------------------------------------------------------


def test_build_makes_a_wheel_for_aarch64_that_runs_there(tmp_path: Path, frontend_environ: dict[str, str]) -> None:
    """The user's command, isolated: the sdist first, and the wheel from it."""
    _same_version()
    foreign_python("aarch64")
    source = copy_sample("setuptools_c", tmp_path)
    command = [sys.executable, "-m", "build", str(source), "-o", str(tmp_path / "out")]
    _run([*command, "-C", f"portable-backend.target={AARCH64}"], frontend_environ)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    assert wheel.name.endswith("manylinux_2_17_aarch64.whl")
    assert run_foreign("aarch64", wheel, "import sample_setuptools_c as s; print(s.copy('hello'))") == "hello"


def test_pip_wheel_makes_one_for_s390x_whose_byte_order_is_known(
    tmp_path: Path, frontend_environ: dict[str, str]
) -> None:
    """pip isolates by a sitecustomize of its own, which ours has to leave alive."""
    _same_version()
    foreign_python("s390x")
    source = copy_sample("skbuild_c", tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path / "out"), str(source)]
    _run([*command, "-C", f"portable-backend.target={S390X}"], frontend_environ)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    said = run_foreign("s390x", wheel, "import sample_skbuild_c as s; print(*s.describe())")
    assert said == "s390x 8 8 big"
    assert list(_modules(wheel)) == ["sample_skbuild_c.cpython-{}{}-s390x-linux-gnu.so".format(*sys.version_info)]


@pytest.mark.parametrize("sample", ["setuptools_c", "meson_c"])
def test_other_backends_do_as_well(tmp_path: Path, sample: str) -> None:
    _same_version()
    need(shutil.which("meson") or sample != "meson_c", "meson-python is not installed")
    arch, target = ("s390x", S390X) if sample == "setuptools_c" else ("aarch64", AARCH64)
    foreign_python(arch)
    wheel, _ = _build(copy_sample(sample, tmp_path), target, tmp_path / "out")
    assert run_foreign(arch, wheel, f"import sample_{sample} as s; print(s.copy('hello'))") == "hello"


def test_a_module_that_needs_no_c_library_is_for_the_one_that_was_built_for(tmp_path: Path) -> None:
    """On a machine with glibc nothing in the file says musl; and CMake asked an interpreter that says it."""
    wheel, _ = _build(copy_sample("skbuild_c", tmp_path), "musllinux_1_2_aarch64", tmp_path / "out")
    assert wheel.name.endswith("-musllinux_1_2_aarch64.whl")
    assert list(_modules(wheel)) == ["sample_skbuild_c.so"]


@_LONG
@pytest.mark.parametrize("arch", ["aarch64", "armv7l", "s390x"])
def test_a_wheel_for_musl_is_loaded_by_a_cpython_of_it(tmp_path: Path, arch: str) -> None:
    _same_version()
    foreign_python(arch, musl=True)
    wheel, _ = _build(copy_sample("skbuild_c", tmp_path), f"musllinux_1_2_{arch}", tmp_path / "out")
    words = "4 4 little" if arch == "armv7l" else f"8 8 {'big' if arch == 's390x' else 'little'}"
    said = run_foreign(arch, wheel, "import sample_skbuild_c as s; print(*s.describe())", musl=True)
    assert said == f"{arch} {words}"


@_LONG
@pytest.mark.parametrize("arch", ["armv7l", "i686", "ppc64le"])
def test_cmake_knows_the_word_size(tmp_path: Path, arch: str) -> None:
    _same_version()
    foreign_python(arch)
    wheel, _ = _build(copy_sample("skbuild_c", tmp_path), f"manylinux_2_19_{arch}", tmp_path / "out")
    bits = 8 if arch == "ppc64le" else 4
    said = run_foreign(arch, wheel, "import sample_skbuild_c as s; print(*s.describe())")
    assert said == f"{arch} {bits} {bits} little"


@_LONG
def test_a_c_plus_plus_module_throws_there(tmp_path: Path) -> None:
    _same_version()
    foreign_python("aarch64")
    wheel, _ = _build(copy_sample("skbuild_pybind11", tmp_path), AARCH64, tmp_path / "out")
    code = "import sample_skbuild_pybind11 as s\ntry: s.copy('')\nexcept ValueError as error: print(error)"
    assert run_foreign("aarch64", wheel, code) == "nothing to copy"


_PRINTING = """
#include <Python.h>
#include <cmath>
#include <cstdio>
#include <string>
static PyObject *said(PyObject *, PyObject *) {
    char text[80];
    volatile long double two = 2.0L;
    std::snprintf(text, sizeof text, "%d %.3Lf %.3f ", 7, std::sqrt(two), 1.5);
    return PyUnicode_FromString((text + std::to_string(0.25)).c_str());
}
static PyMethodDef methods[] = {{"said", said, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "printing", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_printing(void) { return PyModule_Create(&module); }
"""


@_LONG
@pytest.mark.parametrize("arch", ["ppc64le", "s390x"])
def test_what_is_printed_is_what_was_reckoned(tmp_path: Path, arch: str) -> None:
    """ppc64le's ``long double`` became another one with glibc 2.32, and so did the names of ``printf`` and its like."""
    _same_version()
    foreign_python(arch)
    setup = "from setuptools import Extension, setup\n"
    setup += "setup(name='printing', version='1', ext_modules=[Extension('printing', ['printing.cpp'])])\n"
    files = {"pyproject.toml": _BACKEND, "setup.py": setup, "printing.cpp": _PRINTING}
    target = f"manylinux_2_19_{arch}"
    wheel, _ = _build(write_files(tmp_path / "p", files), target, tmp_path / "out")
    assert f"{target}.whl" in wheel.name
    assert run_foreign(arch, wheel, "import printing; print(printing.said())") == "7 1.414 1.500 0.250000"


@_LONG
def test_rust_with_the_target_s_standard_library(tmp_path: Path) -> None:
    foreign_python("s390x")
    source = copy_sample("maturin_pyo3", tmp_path)
    environ = {"RUSTC": foreign_rustc("aarch64", "s390x")}
    wheel, _ = _build(source, S390X, tmp_path / "out", **environ)
    assert run_foreign("s390x", wheel, "import sample_maturin_pyo3 as s; print(s.copy('hello'))") == "hello"


def test_rust_without_it_is_told_before_anything_is_built(tmp_path: Path) -> None:
    need(shutil.which("rustc"), "no rustc")
    source = copy_sample("maturin_pyo3", tmp_path)
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(source), "--no-isolation"]
    done = subprocess.run(
        [*command, "--target", S390X, "-w", str(tmp_path / "out")],
        env=hook_environ(RUSTC="rustc", PORTABLE_BACKEND_STRATEGY="zig"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 or "rustup target add" not in done.stderr:
        need(False, f"this rustc has a standard library for s390x, or cannot be asked: {done.stderr[-300:]}")
    assert done.returncode == StrategyBlocked.exit_code
    assert "cure: install it: rustup target add s390x-unknown-linux-gnu" in done.stderr
    assert not (source / "target").exists()


# --- facts ------------------------------------------------------------------------------------------------------------


_CHECKS = """
#include <Python.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>
#define SAME(name, value) _Static_assert(name == (value), #name);
SAME(SIZEOF_LONG, sizeof(long)) SAME(SIZEOF_SIZE_T, sizeof(size_t)) SAME(SIZEOF_VOID_P, sizeof(void *))
SAME(SIZEOF_LONG_DOUBLE, sizeof(long double)) SAME(SIZEOF_TIME_T, sizeof(time_t)) SAME(SIZEOF_FPOS_T, sizeof(fpos_t))
SAME(SIZEOF_OFF_T, sizeof(off_t)) SAME(SIZEOF_PTHREAD_T, sizeof(pthread_t)) SAME(SIZEOF_WCHAR_T, sizeof(wchar_t))
SAME(SIZEOF_INT, sizeof(int)) SAME(SIZEOF_LONG_LONG, sizeof(long long)) SAME(SIZEOF_UINTPTR_T, sizeof(uintptr_t))
SAME(ALIGNOF_LONG, _Alignof(long)) SAME(ALIGNOF_SIZE_T, _Alignof(size_t))
#ifdef ALIGNOF_MAX_ALIGN_T
SAME(ALIGNOF_MAX_ALIGN_T, _Alignof(max_align_t))
#endif
#if defined(WORDS_BIGENDIAN) != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
#error byte order
#endif
#if defined(HAVE_GCC_UINT128_T) != defined(__SIZEOF_INT128__)
#error 128 bits
#endif
#if defined(HAVE_GCC_ASM_FOR_X64) != defined(__x86_64__)
#error assembler
#endif
PyMODINIT_FUNC PyInit_checks(void) { return PyLong_FromLong(sizeof(void *)); }
"""


# A target that nothing was linked for takes zig seconds: those that no test below executes stand for all.
_LINKED = {"manylinux_2_19_ppc64le", "manylinux_2_31_riscv64", "musllinux_1_2_armv7l"}


@pytest.mark.parametrize("target", [pytest.param(each, marks=() if each in _LINKED else _LONG) for each in TARGETS])
def test_pyconfig_agrees_with_the_compiler_and_a_module_is_the_target_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """``Python.h`` refuses sizes that contradict each other; what is linked is for the target."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checks.c").write_text(_CHECKS)
    interpreter = read_interpreter()
    plan = BuildPlan(parse_target(target, Arch.X86_64), "zig", InnerBackend("x", kind="setuptools"), "repair", {}, ())
    with ZigStrategy().open(plan, interpreter) as environment:
        environ = {**os.environ, **environment.environ}
        # The directory of this machine's headers, as setuptools says it: the compiler takes the target's instead.
        include = f"-I{interpreter.include[0]}"
        _run(["sh", "-c", f"$CC {include} -fPIC -c checks.c -o checks.o && $LDSHARED checks.o -o checks.so"], environ)
    facts = scan((tmp_path / "checks.so").read_bytes())
    assert plan.target is not None
    arch = plan.target.arch
    assert (facts.machine, facts.bits, facts.little) == (arch.machine, arch.bits, arch.little)


_LONGER = [pytest.param(arch, marks=_LONG) for arch in ("armv7l", "i686", "ppc64le")]


@pytest.mark.parametrize("arch", ["aarch64", "s390x", *_LONGER])
def test_what_the_interpreter_says_is_what_one_of_the_target_says(tmp_path: Path, arch: str) -> None:
    """Compared with a real interpreter of the same version, name by name."""
    _same_version()
    target = parse_target(f"manylinux_2_19_{arch}", Arch.X86_64)
    cross = write_cross(target, read_interpreter(), tmp_path)
    names = [*definitions(target), "EXT_SUFFIX", "SOABI", "MULTIARCH"]
    code = (
        "import json, os, platform, sys, sysconfig\n"
        f"said = {{name: sysconfig.get_config_var(name) for name in {names!r}}}\n"
        "said.update(platform=sysconfig.get_platform(), uname=os.uname().machine, machine=platform.machine())\n"
        "said['multiarch'] = sys.implementation._multiarch\nprint(json.dumps(said))"
    )
    environ = {**os.environ, **cross.environ, "PYTHONPATH": str(cross.path)}
    ours = json.loads(_run([sys.executable, "-c", code], environ))
    theirs = json.loads(
        subprocess.run([*foreign_python(arch), "-c", code], capture_output=True, text=True, check=True).stdout
    )
    different = {name: (ours[name], theirs[name]) for name in ours if (ours[name] or 0) != (theirs[name] or 0)}
    assert different == {}


# --- attacks ----------------------------------------------------------------------------------------------------------

_NOSY = """
import _ctypes  # an extension module of the interpreter that runs this
import json, os, platform, subprocess, sys, sysconfig
from setuptools import Extension, setup

def told(*command):
    code = ("import json, os, platform, sysconfig; print(json.dumps([platform.machine(), os.uname().machine,"
            " sysconfig.get_platform(), sysconfig.get_config_var('SIZEOF_LONG')]))")
    return json.loads(subprocess.run([*command, "-c", code], capture_output=True, text=True, check=True).stdout)

other = os.environ.get("OTHER_PYTHON")
print("SAID", json.dumps({
    "here": [platform.machine(), os.uname().machine, sysconfig.get_platform(), sysconfig.get_config_var("SIZEOF_LONG")],
    "child": told(sys.executable),
    "other": told(other) if other else None,
    "installs": subprocess.run(
        [sys.executable, "-m", "pip", "debug", "--verbose"], capture_output=True, text=True, check=True).stdout,
    "flags": [sysconfig.get_config_var(name) for name in ("CFLAGS", "LDFLAGS", "LDSHARED", "LIBS", "INCLUDEPY")],
}))
setup(
    name="nosy", version="1", install_requires=["only-on-" + platform.machine().replace("_", "-")],
    ext_modules=[Extension(
        "nosy", ["nosy.c"], include_dirs=["/usr/include"],
        library_dirs=["/usr/lib", sysconfig.get_config_var("LIBDIR")],
        extra_compile_args=["-march=native", "-mtune=native"],
    )],
)
"""
_NOSY_C = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "nosy", NULL, -1, NULL, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_nosy(void) { return PyModule_Create(&module); }
"""


_NUMPY_SETUP = """
import numpy
from setuptools import Extension, setup

assert numpy.arange(4).sum() == 6, "this machine's numpy works"
setup(name="summed", version="1", ext_modules=[Extension("summed", ["summed.c"], include_dirs=[numpy.get_include()])])
"""
_NUMPY_C = """
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
static PyObject *total(PyObject *self, PyObject *argument) {
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_OTF(argument, NPY_DOUBLE, NPY_ARRAY_IN_ARRAY);
    double sum = 0;
    npy_intp at;
    if (array == NULL)
        return NULL;
    for (at = 0; at < PyArray_SIZE(array); at++)
        sum += ((double *)PyArray_DATA(array))[at];
    Py_DECREF(array);
    return PyFloat_FromDouble(sum);
}
static PyMethodDef methods[] = {{"total", total, METH_O, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "summed", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_summed(void) { import_array(); return PyModule_Create(&module); }
"""


def _other_python() -> Optional[str]:
    from portable_backend.errors import UsageError
    from portable_backend.interpreters import find_python

    for version in ("3.9", "3.10", "3.11", "3.12", "3.13"):
        if version != "{}.{}".format(*sys.version_info):
            try:
                return find_python(version)
            except UsageError:
                continue
    return None


def test_a_nosy_setup_script_sees_the_target_and_nothing_of_the_machine(tmp_path: Path) -> None:
    """As pip does, which asks for metadata first: they have to agree with those of the wheel."""
    other = _other_python()
    pyproject = _BACKEND.replace("setuptools.build_meta", "portable_backend")
    source = write_files(tmp_path / "nosy", {"pyproject.toml": pyproject, "setup.py": _NOSY, "nosy.c": _NOSY_C})
    target = "manylinux_2_17_armv7l"
    frontend = Frontend(source, PORTABLE_BACKEND_TARGET=target, **({"OTHER_PYTHON": other} if other else {}))
    out, metadata = tmp_path / "out", tmp_path / "metadata"
    out.mkdir()
    metadata.mkdir()
    info = metadata / frontend.hooks.prepare_metadata_for_build_wheel(str(metadata), _allow_fallback=False)
    wheel = out / frontend.hooks.build_wheel(str(out), metadata_directory=str(info))
    sayings = [json.loads(line.partition("SAID ")[2]) for line in frontend.output.splitlines() if "SAID " in line]
    assert len(sayings) == 2, "once for the metadata, once for the wheel"
    for said in sayings:
        assert said["here"] == ["armv7l", "armv7l", "linux-armv7l", 4]
        assert said["child"] == said["here"]
        if other:
            assert said["other"][0] == os.uname().machine
            assert said["other"][3] == 8, "another interpreter is what it is"
        assert f"linux_{os.uname().machine}" in said["installs"], "what is installed for the build is for here"
        assert "armv7l" not in said["installs"]
        assert not [flag for flag in said["flags"][:4] if sys.base_prefix in flag or "-L" in flag]
    assert wheel.name.endswith(f"{target}.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        assert archive.read(name) == (info / "METADATA").read_bytes()
    assert "Requires-Dist: only-on-armv7l" in (info / "METADATA").read_text()
    (module,) = _modules(wheel)
    assert module == "nosy.cpython-{}{}-arm-linux-gnueabihf.so".format(*sys.version_info)


def test_a_build_that_gives_up_on_native_code_is_told(tmp_path: Path) -> None:
    setup = (
        "from setuptools import Extension, setup\n"
        "setup(name='optional', version='1', ext_modules=[Extension('optional', ['broken.c'], optional=True)])\n"
    )
    files = {"pyproject.toml": _BACKEND, "setup.py": setup, "broken.c": '#error "not on this machine"\n'}
    try:
        wheel, said = _build(write_files(tmp_path / "p", files), AARCH64, tmp_path / "out")
    except AssertionError as error:  # setuptools calls it a platform wheel, native or not
        said, wheel = str(error), Path("optional-1.whl")
    assert "not on this machine" in said
    assert "although a compiler ran" in said or "no native code" in said, wheel.name


def test_what_cmake_cannot_run_is_told(tmp_path: Path) -> None:
    """It goes on as if the program had failed, which is a guess."""
    source = copy_sample("skbuild_c", tmp_path)
    with (source / "CMakeLists.txt").open("a") as file:
        file.write('include(CheckCSourceRuns)\ncheck_c_source_runs("int main(void) { return 0; }" RUNS)\n')
        file.write('message(STATUS "cross ${CMAKE_CROSSCOMPILING}, runs ${RUNS}")\n')
    _, said = _build(source, AARCH64, tmp_path / "out")
    assert "cross TRUE, runs" in said
    assert "runs 1" not in said
    assert "a program of the target was to be run when CMake configured" in said


@_LONG
def test_a_module_with_numpy_s_headers_runs_with_numpy_there(tmp_path: Path) -> None:
    """numpy is imported here by the build script, and there by the module."""
    _same_version()
    need(importlib.util.find_spec("numpy"), "numpy is not installed")
    import numpy

    source = write_files(tmp_path / "p", {"pyproject.toml": _BACKEND, "setup.py": _NUMPY_SETUP, "summed.c": _NUMPY_C})
    wheel, _ = _build(source, AARCH64, tmp_path / "out")
    options = ["--no-deps", "--only-binary", ":all:", "--python-version", VERSION, "-d", str(tmp_path)]
    for policy in ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28"):
        options += ["--platform", f"{policy}_aarch64"]
    _run([sys.executable, "-m", "pip", "download", *options, f"numpy=={numpy.__version__}"], dict(os.environ))
    (theirs,) = tmp_path.glob("numpy-*.whl")
    with zipfile.ZipFile(wheel, "a") as both, zipfile.ZipFile(theirs) as archive:
        for name in archive.namelist():
            both.writestr(name, archive.read(name))
    assert run_foreign("aarch64", wheel, "import numpy, summed; print(summed.total(numpy.arange(10)))") == "45.0"


@pytest.mark.parametrize(("target", "word"), [(AARCH64, "-m32"), ("manylinux_2_17_i686", "-m64")])
def test_another_word_size_is_refused(tmp_path: Path, target: str, word: str) -> None:
    setup = (
        "from setuptools import Extension, setup\nsetup(name='sized', version='1', "
        f"ext_modules=[Extension('nosy', ['nosy.c'], extra_compile_args=['{word}'])])\n"
    )
    files = {"pyproject.toml": _BACKEND, "setup.py": setup, "nosy.c": _NOSY_C}
    with pytest.raises(AssertionError, match=f"{word}: the wheel is for"):
        _build(write_files(tmp_path / "p", files), target, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


# --- packages that are compiled per platform --------------------------------------------------------------------------


def _site_with(tmp_path: Path, name: str, version: str, tag: str, **files: str) -> Path:
    """A package as it installs itself, as far as that matters."""
    site, info = tmp_path / "site-packages", f"{name}-{version}.dist-info"
    write_files(
        site / name,
        {path if "." in path else path.replace("__", "/").replace("_h", ".h"): text for path, text in files.items()},
    )
    names = [path.relative_to(site).as_posix() for path in sorted((site / name).glob("**/*")) if path.is_file()]
    write_files(site / info, {"WHEEL": f"Wheel-Version: 1.0\nTag: cp311-cp311-{tag}\n"})
    write_files(site / info, {"RECORD": "".join(f"{each},,\n" for each in [*names, f"{info}/WHEEL"])})
    return site


_NUMPY_FILES = {"__init__.py": "", "_core__include__numpy___numpyconfig_h": "#error this machine's\n"}


def _compile(site: Path, target: str, include: str, text: str, cwd: Path) -> tuple[int, str, str]:
    """Compile a file with a package's directory; status, messages, and what the strategy makes of them."""
    (cwd / "a.c").write_text(text)
    plan = BuildPlan(parse_target(target, Arch.X86_64), "zig", InnerBackend("x"), "repair", {}, ())
    with ZigStrategy().open(plan, read_interpreter()) as environment:
        environ = {**os.environ, **environment.environ}
        command = ["sh", "-c", f"$CC -I{site / include} -c a.c -o a.o"]
        done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)
        said = environment.explain_failure(done.stderr.splitlines()) or ""
    return done.returncode, done.stderr, said


@pytest.mark.parametrize("tag", ["any", "manylinux_2_17_x86_64"])
def test_what_has_files_for_compilers_and_is_for_one_platform(tmp_path: Path, tag: str) -> None:
    files = {"__init__.py": "", "include__a_h": "", "more__include__b_h": ""}
    site = _site_with(tmp_path, "package", "1", tag, **files)
    _site_with(tmp_path, "space", "2", tag, own__include__a_h="", own__b_h="")
    found = list(compiled_packages([str(site), str(tmp_path / "absent")]))
    said = [(each.requirement, each.inside) for each in found]
    assert said == ([] if tag == "any" else [("package==1", "package"), ("space==2", "space/own")])


def test_headers_are_those_of_the_wheel_for_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy's say how large types are. The wheel is fetched when it is used, and once."""
    site = _site_with(tmp_path, "numpy", "2.2.6", "manylinux_2_17_x86_64", **_NUMPY_FILES)
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.chdir(tmp_path)
    include = "numpy/_core/include"
    asks = "#include <numpy/_numpyconfig.h>\n#if NPY_SIZEOF_LONG != 8\n#error size\n#endif\n"
    status, said, _ = _compile(site, AARCH64, include, asks, tmp_path)
    assert status == 0, said


def test_where_there_is_no_wheel_for_the_target_its_headers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only they: a build that does not ask for them goes on."""
    site = _site_with(tmp_path, "numpy", "2.2.6", "manylinux_2_17_x86_64", **_NUMPY_FILES)
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.chdir(tmp_path)
    assert _compile(site, S390X, "nowhere", "int x;\n", tmp_path)[0] == 0
    status, said, cure = _compile(site, S390X, "numpy/_core/include", "int x;\n", tmp_path)
    assert status != 0
    assert "numpy 2.2.6: pip finds no wheel of it for s390x" in said
    assert "container" in cure


def test_a_wheel_is_fetched_once_and_whole(tmp_path: Path) -> None:
    target, place = parse_target(AARCH64, Arch.X86_64), tmp_path / "cache" / "markupsafe"
    assert fetch("markupsafe==3.0.2", place, target, "3.11", [sys.executable]) is None
    assert (place / "markupsafe" / "_speedups.c").is_file()
    assert not list(place.glob("**/*.so")), "extension modules are for no compiler"
    assert not list(place.glob("**/*.py"))
    # What is there already is not downloaded again: without any pip it is still found.
    assert fetch("markupsafe==3.0.2", place, target, "3.11", []) is None


# --- telling ----------------------------------------------------------------------------------------------------------


def test_the_plan_says_what_would_be_done_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    outcome = run(capsys, "plan", source, "--target", AARCH64)
    assert outcome.code == 0
    assert f"target {AARCH64}" in outcome.out
    assert "the inner backend is told that it runs on aarch64 (glibc)" in outcome.out


def test_an_older_glibc_than_the_architecture_has_names_the_one_to_ask_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    planned = run(capsys, "plan", source, "--target", "manylinux_2_17_ppc64le")
    assert (planned.code, "blocked: " in planned.out) == (0, True)
    outcome = run(capsys, "build", source, "--target", "manylinux_2_17_ppc64le", "-w", tmp_path / "out")
    assert outcome.code == StrategyBlocked.exit_code
    assert "ask for manylinux_2_19_ppc64le or newer" in outcome.err


def test_an_interpreter_that_cannot_pretend_is_refused(tmp_path: Path) -> None:
    import dataclasses

    pypy = dataclasses.replace(read_interpreter(), implementation="pypy")
    with pytest.raises(StrategyBlocked, match="needs a CPython"):
        write_cross(parse_target(AARCH64, Arch.X86_64), pypy, tmp_path)
    assert list(tmp_path.iterdir()) == []
