"""Make wheels, well-formed or broken in one place, and the small native files in them."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import platform
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import pytest
from elf_builder import Elf, Need, Symbol, build

SOURCE = Path(__file__).parents[2] / "src"
MACHINE = platform.machine()
PYTHON_TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
#: The file name of a raw wheel for the running interpreter and machine.
RAW_NAME = f"demo-1.0-{PYTHON_TAG}-{PYTHON_TAG}-linux_{MACHINE}.whl"
#: One for a machine that synthetic files are for, whatever this one is.
X86_NAME = "demo-1.0-cp311-cp311-linux_x86_64.whl"
METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nSummary: caf\xc3\xa9 \n\nText  with trailing blanks.  \n"

Content = Union[bytes, Path]


def needs_cc() -> str:
    """A C compiler; without one the test is skipped, and fails in CI."""
    return _needed_tool("cc", "gcc")


def _needed_tool(*names: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    if os.environ.get("CI"):
        pytest.fail(f"{names[0]} must be installed in CI")
    pytest.skip(f"{names[0]} is not installed")


def wheel_text(name: str, purelib: bool = False, end: str = "\n") -> bytes:
    """A ``WHEEL`` for a file name."""
    python, abi, platforms = name[: -len(".whl")].split("-")[-3:]
    lines = ["Wheel-Version: 1.0", "Generator: test (1.0)", f"Root-Is-Purelib: {str(purelib).lower()}"]
    lines += [f"Tag: {p}-{a}-{s}" for p in python.split(".") for a in abi.split(".") for s in platforms.split(".")]
    return (end.join(lines) + end).encode()


def digest(data: bytes, algorithm: str = "sha256") -> str:
    """A digest as ``RECORD`` writes it."""
    value = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).rstrip(b"=").decode()
    return f"{algorithm}={value}"


def record_text(files: Mapping[str, bytes], dist_info: str, algorithm: str = "sha256") -> bytes:
    """A true ``RECORD`` of these files."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for name, data in files.items():
        writer.writerow((name, digest(data, algorithm), len(data)))
    writer.writerow((f"{dist_info}/RECORD", "", ""))
    return text.getvalue().encode("utf-8")


def make_wheel(
    directory: Path,
    files: Mapping[str, Content],
    name: str = X86_NAME,
    *,
    purelib: bool = False,
    wheel: Optional[bytes] = None,
    record: Union[bytes, Callable[[bytes], bytes], None] = None,
    modes: Optional[Mapping[str, int]] = None,
    algorithm: str = "sha256",
    drop: Sequence[str] = (),
) -> Path:
    """A wheel of these files under ``directory``, with METADATA, WHEEL and a RECORD that is true unless told.

    :param record: the bytes of RECORD, or what to do to the true ones.
    :param modes: permission bits by member, 0644 for others.
    :param drop: files of the ``.dist-info`` directory to leave out.
    """
    dist_info = "-".join(name.split("-")[:2]) + ".dist-info"
    contents = {member: each.read_bytes() if isinstance(each, Path) else each for member, each in files.items()}
    contents[f"{dist_info}/METADATA"] = METADATA
    contents[f"{dist_info}/WHEEL"] = wheel_text(name, purelib) if wheel is None else wheel
    for each in drop:
        contents.pop(f"{dist_info}/{each}", None)
    text = record_text(contents, dist_info, algorithm)
    if record is not None:
        text = record(text) if callable(record) else record
    if "RECORD" not in drop:
        contents[f"{dist_info}/RECORD"] = text
    path = directory / name
    directory.mkdir(parents=True, exist_ok=True)
    write_zip(path, contents, modes or {})
    return path


def write_zip(path: Path, contents: Mapping[str, bytes], modes: Mapping[str, int]) -> None:
    """A zip archive as an inner backend might write it (with times of today)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in contents.items():
            info = zipfile.ZipInfo(member, (2024, 5, 6, 7, 8, 10))
            info.compress_type = zipfile.ZIP_DEFLATED
            mode = modes.get(member, 0o644)
            info.external_attr = (mode if mode > 0o7777 else 0o100000 | mode) << 16
            archive.writestr(info, data)


def read_members(path: Path) -> dict[str, bytes]:
    """All members of an archive, by name, in their order."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


def verify_record(path: Path) -> None:
    """Hold ``RECORD`` against the archive: every member once, in order, with its true digest and size."""
    members = read_members(path)
    record = next(name for name in members if name.endswith(".dist-info/RECORD"))
    rows = list(csv.reader(io.StringIO(members[record].decode("utf-8"), newline="")))
    assert [row[0] for row in rows] == list(members)
    for name, expected, size in rows:
        if name == record:
            assert (expected, size) == ("", "")
        else:
            algorithm = expected.partition("=")[0]
            assert (expected, int(size)) == (digest(members[name], algorithm), len(members[name])), name


# --- native files without a compiler -----------------------------------------------------------------------------


def shared(
    *,
    needed: Sequence[str] = (),
    versioned: Sequence[tuple[str, str, str]] = (),
    undefined: Sequence[str] = (),
    weak: Sequence[str] = (),
    exports: Sequence[str] = (),
    **other: Any,
) -> bytes:
    """The bytes of a shared object, x86-64 unless told.

    :param versioned: imported symbols as (name, version, library).
    :param undefined: imported symbols without a version.
    :param weak: the same, weak.
    """
    versions: dict[str, dict[str, int]] = {}
    count = 2
    symbols = []
    for name, version, library in versioned:
        known = versions.setdefault(library, {})
        if version not in known:
            known[version] = count
            count += 1
        symbols.append(Symbol(name, version=known[version]))
    symbols += [Symbol(name) for name in undefined]
    symbols += [Symbol(name, binding=2) for name in weak]
    symbols += [Symbol(name, defined=True) for name in exports]
    needs = [Need(library, tuple(each.items())) for library, each in versions.items()]
    elf = Elf(needed=needed, symbols=symbols, needs=needs, sysv_hash=True, **other)
    return build(elf).bytes


def extension(module: str = "ext", **parts: Any) -> bytes:
    """A shared object that Python can import under this name: it exports the entry point."""
    parts["exports"] = (f"PyInit_{module}", *parts.get("exports", ()))
    return shared(**parts)


LIBC = "libc.so.6"


def libc_extension(version: str = "GLIBC_2.2.5", module: str = "ext", **parts: Any) -> bytes:
    """An extension module that needs one symbol version of glibc."""
    parts["needed"] = (LIBC, *parts.get("needed", ()))
    parts["versioned"] = (("malloc", version, LIBC), *parts.get("versioned", ()))
    return extension(module, **parts)


# --- native files with the system's compiler ---------------------------------------------------------------------

EXTENSION_SOURCE = r"""
#include <stddef.h>
typedef struct _object PyObject;
struct method { const char *name; PyObject *(*call)(PyObject *, PyObject *); int flags; const char *doc; };
struct head { ptrdiff_t count; void *type; void *init; ptrdiff_t index; void *copy; };
struct module { struct head base; const char *name, *doc; ptrdiff_t size; struct method *methods;
                void *slots, *traverse, *clear, *free; };
extern PyObject *PyModule_Create2(struct module *, int);
extern PyObject *PyLong_FromLong(long);
%(declarations)s
static PyObject *answer(PyObject *self, PyObject *none) { (void)self; (void)none; return PyLong_FromLong(%(answer)s); }
static struct method methods[] = {{"answer", answer, 4, 0}, {0, 0, 0, 0}};
static struct module definition = {{1, 0, 0, 0, 0}, "%(module)s", 0, -1, methods, 0, 0, 0, 0};
PyObject *PyInit_%(module)s(void) { return PyModule_Create2(&definition, 1013); }
"""


def compile_c(output: Path, source: str, *flags: str) -> Path:
    """Compile one C source into ``output``."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [needs_cc(), "-x", "c", "-", "-x", "none", "-O1", "-w", "-o", str(output), *flags]
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return output


def compile_library(output: Path, source: str, *flags: str) -> Path:
    """Compile a shared library; its soname is its file name unless ``flags`` say otherwise."""
    soname = () if any("-soname" in flag for flag in flags) else (f"-Wl,-soname,{output.name}",)
    return compile_c(output, source, "-shared", "-fPIC", *soname, *flags)


def compile_extension(
    output: Path, *flags: str, module: str = "ext", answer: str = "42", declarations: str = ""
) -> Path:
    """Compile an extension module whose function ``answer()`` returns a C expression."""
    parts = {"module": module, "answer": answer, "declarations": declarations}
    return compile_c(output, EXTENSION_SOURCE % parts, "-shared", "-fPIC", *flags)


# --- running the command -----------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """The environment of a command under test: the sources importable, none of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUDITWHEEL_", "PORTABLE_"))}
    kept.pop("SOURCE_DATE_EPOCH", None)
    return {**kept, "PYTHONPATH": str(SOURCE), **more}


def command(*arguments: object) -> list[str]:
    """The command line of ``portable-backend``."""
    return [sys.executable, "-m", "portable_backend.cli", *map(str, arguments)]


def run_command(*arguments: object, cwd: Optional[Path] = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``portable-backend`` in a process of its own."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, cwd=cwd, env=environment(**environ)
    )


def poke(data: bytes, offset: int, code: str, *values: int) -> bytes:
    """A copy of some bytes with other values at an offset."""
    copy = bytearray(data)
    struct.pack_into(code, copy, offset, *values)
    return bytes(copy)
