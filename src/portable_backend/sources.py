"""What ``portable-backend build`` can be given: a directory, an sdist, or a requirement that pip downloads."""

from __future__ import annotations

import lzma
import os
import re
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BuildFailed, UsageError, WheelError

_ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*={2,3}\s*[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_MAX_SIZE = 8 << 30


@contextmanager
def opened_source(text: str, python: str, progress: Callable[[str], None]) -> Iterator[Path]:
    """The project's root, unpacked into a temporary directory where it is no directory already.

    :raises UsageError: if ``text`` is none of the three.
    """
    if os.path.isdir(text):  # without a directory that a killed build would leave behind
        yield Path(text).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="portable-backend-sdist-") as scratch:
        found = find_source(text, python, Path(scratch), progress)
        yield found if found.is_dir() else _unpack(found, Path(scratch) / "source")


def find_source(text: str, python: str, scratch: Path, progress: Callable[[str], None]) -> Path:
    """The directory or the sdist that ``text`` names; what has to be downloaded first is put below ``scratch``.

    :raises UsageError: if ``text`` is none of the three.
    """
    path = Path(text)
    if path.is_dir():
        return path.resolve()
    if path.is_file():
        return path
    pinned = _PINNED.fullmatch(text)
    if pinned is None:
        cure = "give a directory, an sdist, or name==version"
        raise UsageError(f"{text}: no such directory or file, and not a pinned requirement", cure)
    progress(f"downloading the sdist of {text}")
    return _download(text, pinned[1], python, scratch / "download")


def _download(requirement: str, name: str, python: str, directory: Path) -> Path:
    """The sdist that pip downloads: the archive, or the directory that pip unpacked it to.

    pip wants to know the metadata, too, and throws the archive away where they cannot be made on this machine. That is
    no matter to a build elsewhere, so pip is told to leave what it unpacked.
    """
    directory.mkdir()
    left = directory / "unpacked"
    left.mkdir()
    # Not ":all:": pip would hand that on to the build requirements, and compile CMake to learn a project's version.
    command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-clean", "--no-binary", name]
    done = subprocess.run(
        [*command, "-d", str(directory), requirement],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(left)},
    )
    found = [path for path in sorted(directory.iterdir()) if path.name.endswith(_ARCHIVES)]
    if not done.returncode and len(found) == 1:
        return found[0]
    stem = re.sub(r"[-_.]+", "[-_.]", name)
    unpacked = [path for path in left.glob("pip-download-*/*") if re.match(f"{stem}_", path.name, re.IGNORECASE)]
    if len(unpacked) == 1 and (unpacked[0] / "PKG-INFO").is_file():
        return unpacked[0]
    detail = _telling(done.stderr) or "pip downloaded no sdist"
    raise BuildFailed(f"{requirement}: {detail}", "download the sdist yourself and give its path")


def _telling(text: str) -> str:
    """The last line of what pip says that is no advice and no drawing."""
    lines = [line.strip() for line in text.splitlines()]
    # What pip draws to connect its lines is neither a letter nor a bracket.
    lines = [line for line in lines if line[:1].isalnum() and not line.startswith(("hint:", "note:"))]
    return lines[-1] if lines else ""


def _unpack(archive: Path, directory: Path) -> Path:
    directory.mkdir()
    if not archive.name.endswith(_ARCHIVES):
        raise UsageError(f"{archive}: not an sdist", f"an sdist ends in {' or '.join(_ARCHIVES)}")
    try:
        _unpack_tar(archive, directory)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise WheelError(f"{archive}: damaged archive: {error}") from None
    roots = list(directory.iterdir())
    if len(roots) != 1 or not roots[0].is_dir():
        raise WheelError(f"{archive}: an sdist has one top-level directory; this one has {len(roots)} entries")
    return roots[0]


def _unpack_tar(archive: Path, directory: Path) -> None:
    """Unpack with the limits of PEP 706's data filter, which older interpreters lack."""
    total = 0
    with tarfile.open(archive) as source:
        for member in source:
            total += member.size
            _check(archive, member.name, total)
            if hasattr(tarfile, "data_filter"):
                source.extract(member, directory, filter="data")
            else:
                _check_kind(archive, member)
                member.mode = (member.mode & 0o755) | 0o600
                source.extract(member, directory, set_attrs=member.isfile())
        # tarfile takes a damaged header for the end. The checksum of the compression comes after the last byte.
        while source.fileobj is not None and source.fileobj.read(1 << 20):
            pass


def _check_kind(archive: Path, member: tarfile.TarInfo) -> None:
    """Refuse devices, and links that could lead out of the archive.

    Whether one that goes up stays inside depends on the links on its way, so none may; the data filter knows better.
    """
    if member.issym() or member.islnk():
        if member.linkname.startswith("/") or ".." in member.linkname.split("/"):
            message = f"{archive}: the link {member.name!r} may leave the root of the archive"
            raise WheelError(message, "unpack it yourself, or use Python 3.12 or newer, which can tell")
    elif not (member.isfile() or member.isdir()):
        raise WheelError(f"{archive}: member {member.name!r} is neither a file nor a directory nor a link")


def _check(archive: Path, name: str, total: int) -> None:
    if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
        raise WheelError(f"{archive}: member {name!r} leaves the root of the archive")
    if total > _MAX_SIZE:
        raise WheelError(f"{archive}: unpacks to more than {_MAX_SIZE >> 30} GiB")
