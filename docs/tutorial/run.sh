#!/usr/bin/env bash
# The tutorial, run: three small projects from nothing to a wheel ready for upload. What it prints is transcript.txt.
#
#   docs/tutorial/run.sh [c] [cpp] [rust]      (all three by default)
#
# Needs Python >= 3.9 with its headers, venv and pip, and cargo for the project in Rust; no C compiler, no container.
# Everything happens in a temporary directory. It begins with the first command of the README, which makes the wheel of
# portable-backend; with PORTABLE_BACKEND_RELEASED=1 the package index is asked for it instead. container.sh runs all
# of this in a container that has nothing.
set -euo pipefail
python=${PYTHON:-python3}
repository=$(cd "$(dirname "$0")/../.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1 PIP_CACHE_DIR=${PIP_CACHE_DIR:-$place/cache}
export PIP_ROOT_USER_ACTION=ignore
unset PORTABLE_BACKEND_MODE PORTABLE_BACKEND_STRATEGY PORTABLE_BACKEND_TARGET PYTHONPATH

# Show a command, run it, show what it prints without the paths of this machine.
show() {
  printf '$ %s\n' "${*//$place//tmp/tutorial}"
  eval "$*" > "$place/said" 2>&1 || { cat "$place/said"; return 1; }
  sed -e "s#$place#/tmp/tutorial#g" "$place/said"
}
file() {
  mkdir -p "$(dirname "$1")"
  cat > "$1"
  printf '$ cat %s\n' "$1"
  cat "$1"
}
project() {
  mkdir "$place/$1"
  cd "$place/$1"
  printf '\n# %s\n\n' "$2"
}
finish() { # the wheel is judged, installed somewhere else, and imported
  show 'pip wheel . --no-deps -w dist'
  show 'ls dist'
  show 'portable-backend audit dist/*.whl'
  show "$python -m venv try"
  show 'try/bin/pip install --no-index dist/*.whl'
  show "try/bin/python -c \"$1\""
}

printf '# Install\n\n'
if [ -z "${PORTABLE_BACKEND_RELEASED:-}" ]; then # the tools of its own, as the README has it
  cd "$repository"
  show "$python -m pip wheel . --no-deps -w $place/dist"
  show "export PIP_FIND_LINKS=$place/dist"
fi
cd "$place"
show "$python -m venv tools"
show '. tools/bin/activate'
show 'pip install portable-backend'
show 'portable-backend --version'

c() {
  project fast-c "A C extension"
  file fast.c <<'END'
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>

static PyObject *root(PyObject *self, PyObject *number) {
    (void)self;
    double value = PyFloat_AsDouble(number);
    return PyErr_Occurred() ? NULL : PyFloat_FromDouble(pow(value, 0.5));
}
static PyMethodDef methods[] = {{"root", root, METH_O, "The square root."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "fast", NULL, 0, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_fast(void) { return PyModule_Create(&module); }
END
  file pyproject.toml <<'END'
[build-system]
requires = ["portable-backend", "setuptools>=77"]
build-backend = "portable_backend"

[project]
name = "fast-c"
version = "1.0"

[tool.setuptools]
packages = []

[[tool.setuptools.ext-modules]]
name = "fast"
sources = ["fast.c"]
END
  show 'portable-backend plan'
  finish 'import fast; print(fast.root(9))'
}

cpp() {
  project fast-cpp "C++ with CMake and pybind11"
  file fast.cpp <<'END'
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <algorithm>
#include <vector>

std::vector<long> sorted(std::vector<long> numbers) {
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}
PYBIND11_MODULE(fast, module) { module.def("sorted", &sorted); }
END
  file CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.15...3.30)
project(fast LANGUAGES CXX)
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 CONFIG REQUIRED)
pybind11_add_module(fast fast.cpp)
install(TARGETS fast DESTINATION .)
END
  file pyproject.toml <<'END'
[build-system]
requires = ["portable-backend", "scikit-build-core>=0.10", "pybind11"]
build-backend = "portable_backend"

[project]
name = "fast-cpp"
version = "1.0"

[tool.portable-backend]
inner-backend = "scikit-build-core"
target = "manylinux_2_17"
END
  finish 'import fast; print(fast.sorted([3, 1, 2]))'
}

rust() {
  project fast-rust "Rust with PyO3 and maturin"
  file src/lib.rs <<'END'
use pyo3::prelude::*;

#[pyfunction]
fn twice(number: i64) -> i64 {
    2 * number
}

#[pymodule]
fn fast(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(twice, module)?)
}
END
  file Cargo.toml <<'END'
[package]
name = "fast"
version = "1.0.0"
edition = "2021"

[lib]
crate-type = ["cdylib"]

[dependencies]
pyo3 = { version = ">=0.25, <0.26", features = ["abi3-py39"] }
END
  file pyproject.toml <<'END'
[build-system]
requires = ["portable-backend", "maturin>=1.5"]
build-backend = "portable_backend"

[project]
name = "fast-rust"
version = "1.0"
requires-python = ">=3.9"

[tool.maturin]
module-name = "fast"
features = ["pyo3/extension-module"]
END
  finish 'import fast; print(fast.twice(21))'
}

for each in "${@:-c cpp rust}"; do for one in $each; do "$one"; done; done
