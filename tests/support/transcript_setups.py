"""What a page's transcripts begin with: files in the directory that they run in. Native files are synthetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wheel_maker import libc_extension, make_wheel, poke, shared

_NAME = "demo-1.0-cp311-cp311-{}.whl"
_BROKEN_BACKEND = """\
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    raise SystemExit("demo.c:3:1: error: unknown type name 'imt'")
"""

# A wheel in a few lines, so that nothing has to be installed for it.
_PURE_BACKEND = """\
import base64, hashlib, zipfile
def line(file, text):
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
    return f"{file},sha256={digest},{len(text)}\\n"
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "demo-1.0-py3-none-any.whl"
    files = {
        "demo.py": "def answer():\\n    return 41\\n",
        "demo-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\n",
        "demo-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = "demo-1.0.dist-info/RECORD"
    files[record] = "".join(line(*each) for each in files.items()) + record + ",,\\n"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return name
"""
_TESTED = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[tool.portable-backend.test]
command = 'python -c "import demo; assert demo.answer() == 42, demo.answer()"'
"""


def _wheel(directory: Path, platform: str, code: bytes) -> None:
    make_wheel(directory, {"demo.so": code}, _NAME.format(platform))


def too_new(directory: Path) -> None:
    """A wheel whose module needs a glibc that its tag does not promise."""
    _wheel(directory, "manylinux_2_17_x86_64", libc_extension("GLIBC_2.34", "demo"))


def library_missing(directory: Path) -> None:
    """A raw wheel whose module needs a library that is not on this machine."""
    _wheel(directory, "linux_x86_64", libc_extension(module="demo", needed=["libtensors.so.3"]))


def not_editable(directory: Path) -> None:
    """A raw wheel whose module has a load segment larger in the file than in memory; the library that it needs."""
    library = shared(soname="libtensors.so.3", needed=["libc.so.6"], exports=["t"])
    (directory / "lib").mkdir()
    (directory / "lib" / "libtensors.so.3").write_bytes(library)
    code = libc_extension(module="demo", needed=["libtensors.so.3"])
    first_segment = 64
    _wheel(directory, "linux_x86_64", poke(code, first_segment + 48, "<Q", 3))


def cut_off(directory: Path) -> None:
    """A raw wheel whose module lacks its end."""
    _wheel(directory, "linux_x86_64", libc_extension(module="demo")[:300])


def cuda(directory: Path) -> None:
    """A raw wheel whose module needs libraries of CUDA."""
    needed = ["libcuda.so.1", "libcudart.so.12"]
    _wheel(directory, "linux_x86_64", libc_extension("GLIBC_2.14", "demo", needed=needed))


def raw_wheel(directory: Path) -> None:
    """A raw wheel that any machine can load."""
    _wheel(directory, "linux_x86_64", libc_extension(module="demo"))


def no_archive(directory: Path) -> None:
    """A file that is called a wheel and is none."""
    (directory / _NAME.format("linux_x86_64")).write_bytes(b"<html>404</html>\n")


def project(directory: Path) -> None:
    """A project in C that names no inner backend."""
    (directory / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n', encoding="utf-8"
    )


def several_backends(directory: Path) -> None:
    """A project that requires two backends."""
    (directory / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["portable-backend", "setuptools", "meson-python"]\n'
        'build-backend = "portable_backend"\n',
        encoding="utf-8",
    )


def broken_project(directory: Path) -> None:
    """A project whose inner backend fails as a compiler does."""
    (directory / "backend.py").write_text(_BROKEN_BACKEND, encoding="utf-8")
    (directory / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n', encoding="utf-8"
    )


def tested_project(directory: Path) -> None:
    """A project whose test fails."""
    (directory / "backend.py").write_text(_PURE_BACKEND, encoding="utf-8")
    (directory / "pyproject.toml").write_text(_TESTED, encoding="utf-8")


SETUPS: dict[str, Callable[[Path], None]] = {
    "too-new": too_new,
    "library-missing": library_missing,
    "not-editable": not_editable,
    "cut-off": cut_off,
    "cuda": cuda,
    "raw-wheel": raw_wheel,
    "no-archive": no_archive,
    "project": project,
    "several-backends": several_backends,
    "broken-project": broken_project,
    "tested-project": tested_project,
}
