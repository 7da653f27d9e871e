"""Stable ABI tags: what we hold against real wheels, and what abi3audit does. Each difference has its reason here.

The wheels are downloaded by name, version and hash and kept in the directory that ``TESTS_CACHE`` names.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NoReturn

import pytest

from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.verdict import JudgeOptions
from portable_backend.wheels import parse_wheel_name
from support.wheel_maker import MACHINE, compile_extension, make_wheel

pytestmark = pytest.mark.integration

Found = set[tuple[str, str]]

# File names with their sha256.
WHEELS = {
    "PyNaCl-1.5.0-cp36-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (
        "06b8f6fa7f5de8d5d2f7573fe8c863c051225a27b61e6860fd047b1775807858"
    ),
    "bcrypt-5.0.0-cp39-abi3-manylinux_2_28_x86_64.whl": (
        "f8429e1c410b4073944f03bd778a9e066e7fad723564a52ff91841d278dfc822"
    ),
    "cryptography-41.0.7-cp37-abi3-manylinux_2_28_x86_64.whl": (
        "43f2552a2378b44869fe8827aa19e69512e3245a219104438692385b0ee119d1"
    ),
    "cryptography-50.0.2-cp311-abi3-musllinux_1_2_x86_64.whl": (
        "85d0d9a31b9098e98534226d5686b47264b95e62ce459dc2e62fdfc809f9fe93"
    ),
    "deflate-0.9.0-cp311-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl": (
        "cfca14731727716ca0a112e26911a5a94998d31bb04eb5cc4bc268a5a308ba8a"
    ),
    "psutil-6.0.0-cp36-abi3-manylinux_2_12_x86_64.manylinux2010_x86_64"
    ".manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (
        "5fd9a97c8e94059b0ef54a7d4baf13b405011176c3b6ff257c247cae0d560ecd"
    ),
    "psutil-7.2.2-cp36-abi3-manylinux2010_x86_64.manylinux_2_12_x86_64.manylinux_2_28_x86_64.whl": (
        "076a2d2f923fd4821644f5ba89f059523da90dc9014e85f8e45a5774ca5bc6f9"
    ),
    "pycryptodome-3.15.0-cp35-abi3-manylinux2010_x86_64.whl": (
        "4b52cb18b0ad46087caeb37a15e08040f3b4c2d444d58371b6f5d786d95534c2"
    ),
    "pyzmq-27.3.0-cp312-abi3-manylinux_2_26_x86_64.manylinux_2_28_x86_64.whl": (
        "858fe25231e0fd8612da142efde019faa5ef63fa150a821a27870e791b38c798"
    ),
    "safetensors-0.8.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (
        "fd6f3f93c9a0a7cc2788ee63fb763353d4bd2e89b0751bc78fcf7dda00bea774"
    ),
    "shiboken2-5.15.2.1-5.15.2-cp35.cp36.cp37.cp38.cp39.cp310-abi3-manylinux1_x86_64.whl": (
        "63debfcc531b6a2b4985aa9b71433d2ad3bac542acffc729cc0ecaa3854390c0"
    ),
    "shiboken6-6.9.3-cp39-abi3-manylinux_2_28_x86_64.whl": (
        "f3f5337a3a8fc660ba1462265bd9a2bdda9588f8d90fbc3d5ac4ce3134c11e59"
    ),
    "tokenizers-0.23.3-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (
        "376851d22bcf9d650a5c3090bb83e6cf9e895fbf0595369fa4cd43c1f69b5f87"
    ),
    "tornado-6.6.1-cp311-abi3-manylinux1_x86_64.manylinux_2_28_x86_64.manylinux_2_5_x86_64.whl": (
        "1b6ff57cc69b339f8feb9e7b567b0e0eacb16bfaf234159496623ef7a67ba640"
    ),
    "uuid_utils-1.2.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (
        "0a1ed18b454295be2a8990bea89b3385238356ff6790e4fc256731986f413b87"
    ),
}
#: Where the two differ, and by which of the reasons below; all others are equal.
DIFFERENCES = {
    "psutil-6.0.0": "a function of its own",
    "shiboken2-5.15.2.1": "several Python tags",
}


def unavailable(reason: str) -> NoReturn:
    """Skip on a laptop, fail in CI, where everything has to be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module", autouse=True)
def _abi3audit() -> None:
    if importlib.util.find_spec("abi3audit") is None:
        unavailable("abi3audit is not installed")


def downloaded(filename: str) -> Path:
    """The wheel of that name, from the cache or from the package index."""
    cache = Path(os.environ.get("TESTS_CACHE") or Path.home() / ".cache" / "portable-backend-tests")
    path = cache / filename
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    name = parse_wheel_name(filename)
    requirement = cache / f"{filename}.txt"
    requirement.write_text(f"{name.name}=={name.version} --hash=sha256:{WHEELS[filename]}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--abi", "abi3"]
    command += ["--implementation", "cp", "--python-version", f"3.{name.python.rpartition('cp3')[2]}"]
    command += [*(part for tag in name.platforms for part in ("--platform", tag)), "-r", str(requirement)]
    done = subprocess.run([*command, "-d", str(cache)], capture_output=True, text=True, check=False)
    requirement.unlink()
    if not path.exists():
        unavailable(f"{filename} cannot be downloaded: {done.stderr[-300:]}")
    return path


def ours(path: Path) -> Found:
    """What we call an error: (base name of the file, symbol)."""
    findings = read_verdict(path, JudgeOptions()).findings
    return {
        (each.member.rpartition("/")[2], str(each.symbol))
        for each in findings
        if each.kind == "stable-abi" and not each.warning
    }


def theirs(path: Path, report: Path) -> Found:
    """The same of abi3audit."""
    command = [sys.executable, "-m", "abi3audit", "--report", "--output", str(report), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert report.exists(), done.stderr
    (spec,) = json.loads(report.read_text("utf-8"))["specs"].values()
    return {
        (extension["name"], symbol)
        for extension in spec["wheel"]
        for symbol in (*extension["result"]["non_abi3_symbols"], *extension["result"]["future_abi3_objects"])
    }


def own_names(path: Path) -> Found:
    """The names that the files of a wheel define themselves, in either symbol table."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    found: Found = set()
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            data = archive.read(member)
            if not data.startswith(b"\x7fELF"):
                continue
            for section in ELFFile(io.BytesIO(data)).iter_sections():
                if isinstance(section, SymbolTableSection):
                    base = member.rpartition("/")[2]
                    found |= {(base, each.name) for each in section.iter_symbols() if each["st_shndx"] != "SHN_UNDEF"}
    return found


@pytest.mark.parametrize("filename", WHEELS)
def test_real_wheels(filename: str, tmp_path: Path) -> None:
    path = downloaded(filename)
    we, they = ours(path), theirs(path, tmp_path / "report.json")
    name = parse_wheel_name(filename)
    reason = DIFFERENCES.get(f"{name.name}-{name.version}")
    if reason is None:
        assert we == they
    elif reason == "a function of its own":
        # A name that the file itself defines is nothing that it asks of the interpreter: they go by the name alone.
        assert they - we
        assert they - we <= own_names(path)
        assert we <= they
    else:
        # They take the newest of several Python tags for the promise; an installer accepts the oldest, too.
        assert reason == "several Python tags"
        assert they <= we
        assert we
        newest = name.python.rpartition(".")[2]
        alone = path.name.replace(f"-{name.python}-", f"-{newest}-")
        copy = tmp_path / alone
        copy.write_bytes(path.read_bytes())
        assert ours(copy) == they


_USES = "extern void {0}(void); void (*volatile pointer_{0})(void) = {0};"


def test_a_wheel_with_one_of_each(tmp_path: Path) -> None:
    names = ["PyUnicode_AsUTF8AndSize", "_PyLong_Sign", "PyFrame_GetBack", "PyType_GetName", "_Py_NoneStruct"]
    own = "void PyDemo_Own(void) {} static void *PyDemo_Local = 0; void *PyDemo_Use(void) { return PyDemo_Local; }"
    declarations = "\n".join((*(_USES.format(name) for name in names), own))
    file = compile_extension(tmp_path / "ext.abi3.so", "-Wl,-z,lazy", declarations=declarations)
    wheel = make_wheel(tmp_path, {"demo/ext.abi3.so": file}, f"demo-1.0-cp39-abi3-linux_{MACHINE}.whl")
    we, they = ours(wheel), theirs(wheel, tmp_path / "report.json")
    assert {symbol for _, symbol in we} == set(names) - {"_Py_NoneStruct"}
    assert they - we == {("ext.abi3.so", "PyDemo_Own"), ("ext.abi3.so", "PyDemo_Use")}
    assert we - they == set()
