"""The zig strategy with a real zig: what comes out runs, needs no newer glibc, and shares exceptions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional

import pytest
from packaging.version import Version

from portable_backend.elf import scan
from portable_backend.errors import StrategyBlocked
from portable_backend.interpreters import read_interpreter
from portable_backend.plan import BuildPlan, InnerBackend
from portable_backend.strategies.base import BuildEnvironment
from portable_backend.strategies.zig import ZigStrategy
from portable_backend.targets import parse_arch, parse_target

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="zig wheels are for Linux")]

PACKAGES = Path(__file__).parents[1] / "packages"


def need(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    has_setuptools = "setuptools" in modules and "setuptools" not in missing
    if has_setuptools and Version(importlib.metadata.version("setuptools")) < Version("70.1"):
        missing.append("setuptools>=70.1 (with bdist_wheel)")
    if not missing:
        return
    if os.environ.get("CI"):
        pytest.fail(f"must be installed in CI: {', '.join(missing)}")
    pytest.skip(f"not installed: {', '.join(missing)}")


def plan_for(target: str, kind: Optional[str] = None) -> BuildPlan:
    machine = parse_arch(os.uname().machine)
    return BuildPlan(parse_target(target, machine), "zig", InnerBackend("x", kind=kind), "repair", {}, ())


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BuildEnvironment]:
    """An open environment for manylinux_2_17, with an empty directory as the source."""
    need("ziglang")
    source = tmp_path / "source"
    source.mkdir()
    monkeypatch.chdir(source)
    with ZigStrategy().open(plan_for("manylinux_2_17"), read_interpreter()) as opened:
        yield opened


def run(environment: BuildEnvironment, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key not in environment.unset}
    environ.update(environment.environ)
    done = subprocess.run(["sh", "-c", *command], capture_output=True, text=True, env=environ, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def newest_glibc(path: Path) -> tuple[int, ...]:
    """The newest ``GLIBC_`` version in the file's bytes (strings of ``.dynstr``)."""
    found = re.findall(rb"GLIBC_(\d+(?:\.\d+)+)\0", path.read_bytes())
    return max((tuple(map(int, text.split(b"."))) for text in found), default=(0,))


def test_a_library_needs_no_glibc_newer_than_the_target(environment: BuildEnvironment) -> None:
    # On any machine with glibc 2.29 or newer, the host's own compiler would bind exp to GLIBC_2.29.
    Path("a.c").write_text(
        "#include <math.h>\n#include <pthread.h>\ndouble f(double x) { return exp(x) + pow(x, x); }\n"
        "int g(pthread_t t) { return pthread_join(t, 0); }\n"
    )
    run(environment, "$CC -O2 -fPIC -c a.c -o a.o && $LDSHARED a.o -lm -lpthread -o a.so")
    assert (2,) < newest_glibc(Path("a.so")) <= (2, 17)
    assert "libm.so.6" in scan(Path("a.so").read_bytes()).needed


def test_host_libraries_are_not_found_and_the_explanation_names_a_cure(environment: BuildEnvironment) -> None:
    Path("a.c").write_text("#include <curses_nowhere.h>\n")
    done = run(environment, "$CC -c a.c", check=False)
    assert done.returncode != 0
    explanation = environment.explain_failure(done.stderr.splitlines())
    assert explanation is not None
    assert "curses_nowhere.h" in explanation
    assert "container" in explanation
    done = run(environment, "echo 'int x;' > b.c; $CC -shared b.c -lz -L/usr/lib -o b.so", check=False)
    assert done.returncode != 0
    assert "library z " in (environment.explain_failure(done.stderr.splitlines()) or "")


def test_openmp_fails_at_once_instead_of_at_import(environment: BuildEnvironment) -> None:
    Path("a.c").write_text("void f(int *x) {\n#pragma omp parallel for\nfor (int i = 0; i < 9; i++) x[i] = i; }\n")
    done = run(environment, "$CC -fopenmp -shared -fPIC a.c -o a.so", check=False)
    assert done.returncode != 0
    assert "OpenMP" in (environment.explain_failure(done.stderr.splitlines()) or "")
    assert any("OpenMP" in note for note in environment.notes())


def test_what_is_dropped_with_a_change_of_meaning_is_told(environment: BuildEnvironment) -> None:
    run(environment, "echo 'int x;' > a.c; $CC -march=native -shared a.c -Wl,--exclude-libs,ALL -o a.so")
    text = "\n".join(environment.notes())
    assert "-march=native" in text
    assert "--exclude-libs" in text


def test_a_version_script_hides_symbols(environment: BuildEnvironment) -> None:
    Path("x.map").write_text("{ global: shown; local: *; };")
    Path("a.c").write_text("int concealed(void) { return 1; }\nint shown(void) { return concealed(); }\n")
    run(environment, "$CC -shared -fPIC a.c -Wl,--version-script=x.map -o a.so")
    data = Path("a.so").read_bytes()
    assert b"\0shown\0" in data
    assert b"\0concealed\0" not in data


def test_functions_for_sse42_compile(environment: BuildEnvironment) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("about x86-64")
    Path("a.c").write_text(
        '#include <nmmintrin.h>\n#ifdef __CRC32__\n#error "claims crc32 for every processor"\n#endif\n'
        '__attribute__((target("sse4.2"))) unsigned f(unsigned a) { return _mm_crc32_u32(a, 1); }\n'
    )
    run(environment, "$CC -c a.c -o a.o")


def test_an_archive_links_into_a_library(environment: BuildEnvironment) -> None:
    run(environment, "echo 'int x;' > a.c; $CC -fPIC -c a.c && $AR rcs liba.a a.o && $RANLIB liba.a")
    run(environment, "$CC -shared -o a.so -Wl,--whole-archive liba.a -Wl,--no-whole-archive && $STRIP -g a.so")
    assert b"\0x\0" in Path("a.so").read_bytes()


def test_undefined_behaviour_does_not_need_a_runtime(environment: BuildEnvironment) -> None:
    run(environment, "echo 'int f(int x) { return x << 40; }' > a.c; $CC -w -shared -fPIC a.c -o a.so")
    assert b"__ubsan" not in Path("a.so").read_bytes()


def test_the_wrappers_stay_at_their_path_and_the_scratch_files_go(
    environment: BuildEnvironment, tmp_path: Path
) -> None:
    configured = environment.environ["PORTABLE_BACKEND_ZIG"]
    assert Path(configured).is_file()
    with ZigStrategy().open(plan_for("manylinux_2_17"), read_interpreter()) as other:
        assert other.environ["CC"] == environment.environ["CC"]
        scratch = Path(other.environ["PORTABLE_BACKEND_ZIG"])
        assert str(scratch) != configured
    assert not scratch.exists()
    # A tool that cleans its environment still finds a configuration beside the wrapper.
    done = run(environment, "echo 'int x;' > a.c; env -u PORTABLE_BACKEND_ZIG $CC -c a.c -o cleaned.o")
    assert (done.returncode, Path("cleaned.o").is_file()) == (0, True)


def test_a_glibc_that_zig_does_not_know_is_an_error_that_names_the_newest() -> None:
    need("ziglang")
    with (
        pytest.raises(StrategyBlocked, match=r"glibc 2\.99.*newest it knows is 2\.\d+"),
        ZigStrategy().open(plan_for("manylinux_2_99"), read_interpreter()),
    ):
        pass


def test_stale_objects_of_another_compiler_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``build/`` of the source holds a module that any build would find up to date."""
    need("ziglang", "setuptools")
    source = write_c_project(tmp_path / "project")
    wheel(source, None, tmp_path)  # with the host's compiler
    assert list((source / "build").rglob("*.so")), "there must be something stale to find"
    name = wheel(source, "manylinux_2_17", tmp_path / "zig")
    assert newest_glibc(unpack(name, tmp_path / "unpacked")) <= (2, 17)


def write_c_project(source: Path) -> Path:
    source.mkdir(parents=True)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    (source / "setup.py").write_text(
        "from setuptools import Extension, setup\n"
        "setup(name='stale', version='1', ext_modules=[Extension('stale', ['m.c'], libraries=['m'])])\n"
    )
    (source / "m.c").write_text(
        "#include <Python.h>\n#include <math.h>\n"
        "static PyObject *power(PyObject *self, PyObject *x) { double d = PyFloat_AsDouble(x);\n"
        "  return PyFloat_FromDouble(pow(d, d)); }\n"
        'static PyMethodDef methods[] = {{"power", power, METH_O, ""}, {0}};\n'
        'static PyModuleDef module = {PyModuleDef_HEAD_INIT, "stale", "", 0, methods};\n'
        "PyMODINIT_FUNC PyInit_stale(void) { return PyModule_Create(&module); }\n"
    )
    return source


def wheel(source: Path, target: Optional[str], out: Path) -> Path:
    """Build with setuptools of this environment: with zig for ``target``, or with the host's compiler."""
    out.mkdir(exist_ok=True)
    code = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(out)]

    def build(extra: Mapping[str, str], unset: Sequence[str]) -> Path:
        environ = {key: value for key, value in os.environ.items() if key not in unset}
        environ.update(extra)
        done = subprocess.run(command, capture_output=True, text=True, cwd=source, env=environ, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return out / done.stdout.splitlines()[-1]

    if target is None:
        return build({}, ())
    before = Path.cwd()
    os.chdir(source)
    try:
        with ZigStrategy().open(plan_for(target, "setuptools"), read_interpreter()) as environment:
            return build(environment.environ, environment.unset)
    finally:
        os.chdir(before)


def unpack(path: Path, directory: Path) -> Path:
    """Unpack a wheel and return its one extension module."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(directory)
        (name,) = (name for name in archive.namelist() if name.endswith(".so"))
    return directory / name


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both modules built by zig in ``zig/``, and the thrower built by the host's compiler in ``host/``."""
    need("ziglang", "setuptools", "pybind11")
    root = tmp_path_factory.mktemp("exceptions")
    for name, target, place in (
        ("cpp_exceptions_registrar", "manylinux_2_17", "zig"),
        ("cpp_exceptions_thrower", "manylinux_2_17", "zig"),
        ("cpp_exceptions_thrower", None, "host"),
    ):
        if target is None and shutil.which("g++") is None:
            continue
        source = Path(shutil.copytree(PACKAGES / name, root / f"source-{place}-{name}"))
        unpack(wheel(source, target, root / f"wheels-{place}"), root / place)
    return root


def raised(directories: Sequence[Path], code: str) -> str:
    """Run ``code`` in a fresh interpreter; it prints the name of the exception that its last line raises."""
    *before, last = code.splitlines()
    lines = [*before, "try:", f"    {last}", "except BaseException as error:", "    print(type(error).__name__)"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, directories))}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, env=environ, check=False
    )
    return done.stdout.strip() or f"exit {done.returncode}: {done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cpp_exceptions_registrar", "cpp_exceptions_thrower"),
        ("cpp_exceptions_thrower", "cpp_exceptions_registrar"),
    ],
)
def test_standard_exceptions_cross_modules_in_either_order(modules: Path, first: str, second: str) -> None:
    code = f"import {first}, {second}\n{second}.throw_runtime_error()"
    assert raised([modules / "zig"], code) == "RuntimeError"


@pytest.mark.slow
def test_a_type_registered_by_one_module_is_known_to_another(modules: Path) -> None:
    code = "import cpp_exceptions_registrar, cpp_exceptions_thrower as thrower\nthrower.throw_oops()"
    assert raised([modules / "zig"], code) == "Oops"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a g++")
@pytest.mark.parametrize("order", ["zig first", "host first"])
def test_a_module_of_zig_and_one_of_gcc_live_in_one_process(modules: Path, order: str) -> None:
    names = ["cpp_exceptions_registrar", "cpp_exceptions_thrower"]
    imports = f"import {', '.join(names if order == 'zig first' else reversed(names))}"
    paths = [modules / "host", modules / "zig"]  # the thrower is the host's, the registrar zig's
    assert raised(paths, f"{imports}\ncpp_exceptions_thrower.throw_index_error()") == "IndexError"
    assert raised(paths, f"{imports}\ncpp_exceptions_registrar.throw_runtime_error()") == "RuntimeError"
    assert raised(paths, f"{imports}\ncpp_exceptions_registrar.throw_oops()") == "Oops"


@pytest.mark.slow
def test_cxx_modules_need_no_libstdcxx_and_no_newer_glibc(modules: Path) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    path = modules / "zig" / f"cpp_exceptions_thrower{suffix}"
    assert not [name for name in scan(path.read_bytes()).needed if "c++" in name or "gcc" in name]
    assert newest_glibc(path) <= (2, 17)
