"""Real build frontends on projects that have the two lines in their ``pyproject.toml``, and real inner backends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import pytest

from support.projects import copy_sample, hook_environ

pytestmark = pytest.mark.integration


def _run(command: Sequence[str], environ: dict[str, str], cwd: Optional[Path] = None) -> None:
    done = subprocess.run(command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-6000:]


def _only_wheel(directory: Path) -> Path:
    (wheel,) = directory.glob("*.whl")
    return wheel


def _is_portable(wheel: Path) -> bool:
    return all(tag.startswith(("manylinux", "musllinux")) for tag in wheel.name[:-4].split("-")[-1].split("."))


def _installed_copy(wheel: Path, tmp_path: Path, module: str) -> str:
    """Install the wheel and call its one function."""
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    code = f"import {module}; print({module}.copy('hello'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("uv must be there in CI")
        pytest.skip("uv is not installed")
    return found


def test_build_makes_an_sdist_and_a_wheel_of_it(tmp_path: Path, frontend_environ: dict[str, str]) -> None:
    """The default: isolated, the sdist first, the wheel from it, with zig."""
    source = copy_sample("setuptools_c", tmp_path)
    _run([sys.executable, "-m", "build", str(source), "-o", str(tmp_path / "out")], frontend_environ)
    wheel = _only_wheel(tmp_path / "out")
    assert "manylinux_2_17_x86_64" in wheel.name or "manylinux_2_5_x86_64" in wheel.name
    assert _installed_copy(wheel, tmp_path, "sample_setuptools_c") == "hello"
    assert (tmp_path / "out" / "sample_setuptools_c-1.2.3.tar.gz").is_file()


def test_build_without_isolation(tmp_path: Path) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    # The requirement on us is not installed here but on the path, which is what --skip-dependency-check is for.
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--skip-dependency-check",
        str(source),
        "-o",
        str(tmp_path / "out"),
    ]
    _run(command, hook_environ(PORTABLE_BACKEND_STRATEGY="host"))
    assert _is_portable(_only_wheel(tmp_path / "out"))


def test_pip_wheel_and_its_config_settings(tmp_path: Path, frontend_environ: dict[str, str]) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path / "out"), str(source)]
    _run([*command, "-C", "portable-backend.strategy=host"], frontend_environ)
    assert _is_portable(_only_wheel(tmp_path / "out"))


def test_pip_install_of_a_directory_is_accepted_by_the_machine(
    tmp_path: Path, frontend_environ: dict[str, str]
) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    environ = {**frontend_environ, "PORTABLE_BACKEND_STRATEGY": "host"}
    site = tmp_path / "site"
    _run([sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(site), str(source)], environ)
    assert list(site.glob("sample_setuptools_c*.so"))
    (wheel_file,) = site.glob("*.dist-info/WHEEL")
    assert "manylinux" in wheel_file.read_text()


def test_pip_install_of_an_sdist_takes_the_machine_as_it_is(tmp_path: Path, frontend_environ: dict[str, str]) -> None:
    """Whoever installs a published sdist wants no toolchain to be downloaded."""
    source = copy_sample("setuptools_c", tmp_path)
    environ = hook_environ(PORTABLE_BACKEND_STRATEGY="host")
    build = [
        sys.executable,
        "-m",
        "build",
        "--sdist",
        "--no-isolation",
        "--skip-dependency-check",
        str(source),
        "-o",
        str(tmp_path),
    ]
    _run(build, environ)
    with tarfile.open(tmp_path / "sample_setuptools_c-1.2.3.tar.gz") as archive:
        assert "sample_setuptools_c-1.2.3/PKG-INFO" in archive.getnames()
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-v", "--no-deps", "--target", str(site)]
    done = subprocess.run(
        [*command, str(tmp_path / "sample_setuptools_c-1.2.3.tar.gz")],
        env=frontend_environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(site.glob("sample_setuptools_c*.so"))
    assert "building with the host strategy" in done.stdout + done.stderr
    assert "ziglang" not in done.stdout + done.stderr


def test_pip_editable_install(tmp_path: Path, frontend_environ: dict[str, str]) -> None:
    source = copy_sample("setuptools_pure", tmp_path)
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "-e", str(source)]
    _run(command, frontend_environ)
    code = "import sample_setuptools_pure as module; print(module.__file__)"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == str(source / "sample_setuptools_pure.py")


def test_uv_build(tmp_path: Path, frontend_environ: dict[str, str]) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    environ = {**frontend_environ, "PORTABLE_BACKEND_STRATEGY": "host", "UV_PYTHON": sys.executable}
    _run([_uv(), "build", str(source), "-o", str(tmp_path / "out")], environ)
    assert _is_portable(_only_wheel(tmp_path / "out"))


def test_uv_build_without_isolation(tmp_path: Path) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    environ = hook_environ(PORTABLE_BACKEND_STRATEGY="host", UV_PYTHON=sys.executable)
    _run([_uv(), "build", "--wheel", "--no-build-isolation", str(source), "-o", str(tmp_path / "out")], environ)
    assert _is_portable(_only_wheel(tmp_path / "out"))


@pytest.mark.parametrize(
    "name", ["hatchling_pure", "flit_pure", "poetry_pure", "pdm_pure", "uv_build_pure", "setuptools_pure"]
)
def test_pure_python_of_every_backend(tmp_path: Path, frontend_environ: dict[str, str], name: str) -> None:
    """Through pip, which prepares metadata first; then as sdist and wheel of it, as ``python -m build`` does."""
    source = copy_sample(name, tmp_path)
    environ = {**frontend_environ, "PORTABLE_BACKEND_STRATEGY": "host"}
    _run([sys.executable, "-m", "build", str(source), "-o", str(tmp_path / "out")], environ)
    wheel = _only_wheel(tmp_path / "out")
    assert wheel.name == f"sample_{name}-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        assert any(member.startswith(f"sample_{name}") and member.endswith(".py") for member in archive.namelist())


@pytest.mark.parametrize("name", ["meson_c", "intree_c"])
def test_native_code_of_other_backends(tmp_path: Path, frontend_environ: dict[str, str], name: str) -> None:
    source = copy_sample(name, tmp_path)
    environ = {**frontend_environ, "PORTABLE_BACKEND_STRATEGY": "host"}
    if name == "meson_c":
        _run(["git", "init", "-q"], environ, source)
    _run([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path / "out"), str(source)], environ)
    wheel = _only_wheel(tmp_path / "out")
    assert _is_portable(wheel)
    assert _installed_copy(wheel, tmp_path, f"sample_{name}") == "hello"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skbuild_pybind11", "meson_c", "maturin_pyo3"])
def test_native_code_with_zig(tmp_path: Path, frontend_environ: dict[str, str], name: str) -> None:
    if name.startswith("maturin") and shutil.which("cargo") is None:
        pytest.skip("there is no Rust on this machine")
    source = copy_sample(name, tmp_path)
    _run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path / "out"), str(source)], frontend_environ
    )
    wheel = _only_wheel(tmp_path / "out")
    assert any(f"manylinux_2_{minor}_" in wheel.name for minor in range(5, 18))
    assert _installed_copy(wheel, tmp_path, f"sample_{name}") == "hello"
