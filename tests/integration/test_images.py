"""The images that other tests build in are what they say: each interpreter compiles and imports, libc is of its age."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.images import bare_image, manylinux_image, musllinux_image, run_in

pytestmark = pytest.mark.integration

EXTENSION = r"""
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(sizeof(void *) * 8); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "trivial", 0, -1, methods};
PyMODINIT_FUNC PyInit_trivial(void) { return PyModule_Create(&module); }
"""

# Compiles as setuptools would: with the commands that the interpreter's own sysconfig names.
COMPILE = """
import importlib.util, json, shlex, subprocess, sys, sysconfig, tempfile
variable = sysconfig.get_config_var
with tempfile.TemporaryDirectory() as scratch:
    path = f"{scratch}/trivial" + variable("EXT_SUFFIX")
    compiler = [*shlex.split(variable("CC")), *shlex.split(variable("CFLAGS")), *shlex.split(variable("CCSHARED"))]
    include = "-I" + sysconfig.get_path("include")
    subprocess.run([*compiler, include, "-c", "/site/trivial.c", "-o", f"{scratch}/trivial.o"], check=True)
    subprocess.run([*shlex.split(variable("LDSHARED")), f"{scratch}/trivial.o", "-o", path], check=True)
    spec = importlib.util.spec_from_file_location("trivial", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    print(json.dumps([module.answer(), path.rpartition("/")[2].split(".")[1]]))
"""

# Runs in one container a family: what is inside, as JSON.
SURVEY = """
import glob, json, os, subprocess
def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
pythons = glob.glob("/opt/python/*/bin/python")
compiled = {}
for python in pythons:
    done = run(python, "/site/compile.py")
    compiled[python.split("/")[3]] = json.loads(done.stdout) if done.returncode == 0 else done.stdout
print(json.dumps({
    "compiled": compiled,
    "platform": os.environ["AUDITWHEEL_PLAT"],
    "libc": run("ldd", "--version").stdout,
    "builds": {python: run(python, "-m", "build", "--version").returncode for python in pythons},
    "tools": {name: run(name, "--version").returncode for name in TOOLS},
}))
"""

TOOLS = ("auditwheel", "bash", "cmake", "gcc", "g++", "patchelf", "uv")


def _survey(image: str, site: Path, tools: tuple[str, ...]) -> dict[str, Any]:
    """What is inside an image, after a look that leaves out nothing tests rely on in both families."""
    site.joinpath("trivial.c").write_text(EXTENSION, encoding="utf-8")
    site.joinpath("compile.py").write_text(COMPILE, encoding="utf-8")
    code = f"TOOLS = {tools!r}\n{SURVEY}"
    seen: dict[str, Any] = json.loads(run_in(image, site, code, "/opt/python/cp311-cp311/bin/python"))
    assert set(seen["tools"].values()) == {0}, seen["tools"]
    assert set(seen["builds"].values()) == {0}, seen["builds"]
    for name, outcome in seen["compiled"].items():
        short = name.partition("-")[0].replace("cp", "cpython-")
        assert outcome[:1] == [64], (name, outcome)
        assert outcome[1].startswith(f"{short}-x86_64-linux-"), (name, outcome)
    return seen


def test_manylinux_image_compiles_for_each_interpreter(tmp_path: Path) -> None:
    seen = _survey(manylinux_image(), tmp_path, (*TOOLS, "gfortran", "git", "make", "pkg-config"))
    assert {"cp39-cp39", "cp311-cp311", "cp312-cp312", "cp313-cp313"} <= set(seen["compiled"])
    version = seen["platform"].removeprefix("manylinux_").removesuffix("_x86_64")
    assert seen["libc"].splitlines()[0].endswith(f" {version.replace('_', '.')}")


def test_musllinux_image_compiles_for_each_interpreter(tmp_path: Path) -> None:
    seen = _survey(musllinux_image(), tmp_path, TOOLS)
    assert {"cp311-cp311", "cp312-cp312", "cp313-cp313"} <= set(seen["compiled"])
    assert seen["platform"] == "musllinux_1_2_x86_64"
    assert "musl libc" in seen["libc"]
    assert "Version 1.2." in seen["libc"]


def test_bare_image_has_no_compiler(tmp_path: Path) -> None:
    code = "import platform, shutil; print(platform.libc_ver()[1], shutil.which('cc'), shutil.which('gcc'))"
    assert run_in(bare_image("bullseye"), tmp_path, code) == "2.31 None None\n"
