"""The tar stream that the project travels in: written here, unpacked inside."""

from __future__ import annotations

import itertools
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ...errors import BuildFailed

if TYPE_CHECKING:
    from .repository import Extra
    from .source import Shipment


def tar_chunks(shipment: Shipment, chunk: int = 1 << 20) -> Iterator[bytes]:
    """The files and the repository as a tar (PAX, not compressed), in pieces of ``chunk`` bytes, the last one shorter.

    :raises BuildFailed: if a file cannot be read, or changes its size or vanishes meanwhile.
    """
    buffer = bytearray()
    for piece in itertools.chain(_tar_pieces(shipment, chunk), [bytes(2 * tarfile.BLOCKSIZE)]):
        buffer += piece
        while len(buffer) >= chunk:
            yield bytes(buffer[:chunk])
            del buffer[:chunk]
    if buffer:
        yield bytes(buffer)


def _tar_pieces(shipment: Shipment, chunk: int) -> Iterator[bytes]:
    for name in shipment.files:
        path = os.path.join(shipment.root, name)
        try:
            yield from _member(name, path, chunk)
        except FileNotFoundError:
            if name not in shipment.untracked:
                raise BuildFailed(f"{name} vanished while the project was sent to the container") from None
    for extra in shipment.extra:
        try:
            yield from _extra_member(extra, chunk)
        except FileNotFoundError:
            message = f"{extra.name} vanished while the project was sent to the container"
            raise BuildFailed(message, "build again when git has finished what it does there") from None


def _header(name: str, kind: bytes, mode: int, mtime: float, size: int = 0, target: str = "") -> bytes:
    info = tarfile.TarInfo(_portable(name))
    info.type, info.mode, info.mtime, info.size = kind, mode & 0o777, int(mtime), size
    info.linkname = _portable(target)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _portable(name: str) -> str:
    """A name in the form that it has where the encoding is UTF-8, as in the container."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _extra_member(extra: Extra, chunk: int) -> Iterator[bytes]:
    if extra.path is not None:
        yield from _member(extra.name, str(extra.path), chunk)
    elif extra.content is None:
        yield _header(extra.name, tarfile.DIRTYPE, 0o755, extra.mtime)
    else:
        yield _header(extra.name, tarfile.REGTYPE, 0o644, extra.mtime, len(extra.content))
        yield _padded(extra.content)


def _member(name: str, path: str, chunk: int) -> Iterator[bytes]:
    """One file, directory or symlink."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            yield _header(name, tarfile.SYMTYPE, 0o777, found.st_mtime, target=os.readlink(path))
        elif stat.S_ISDIR(found.st_mode):
            yield _header(name, tarfile.DIRTYPE, found.st_mode | stat.S_IRWXU, found.st_mtime)
        elif stat.S_ISREG(found.st_mode):
            yield from _file_member(name, path, chunk)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BuildFailed(f"{name} cannot be read: {error.strerror}") from None


def _file_member(name: str, path: str, chunk: int) -> Iterator[bytes]:
    # Not to follow a symlink, nor to wait for a pipe, that came in the file's place.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        yield _header(name, tarfile.REGTYPE, found.st_mode, found.st_mtime, found.st_size)
        left = found.st_size
        while left:
            piece = file.read(min(left, chunk))
            if not piece:
                raise BuildFailed(f"{name} became shorter while it was sent to the container")
            left -= len(piece)
            yield piece
        yield bytes(-found.st_size % tarfile.BLOCKSIZE)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def unpack(stream: BinaryIO, directory: Path) -> None:
    """Unpack what :func:`tar_chunks` made, into a directory that need not be there, for the user that runs this.

    The stream is read to its end.

    :raises BuildFailed: if it cannot be written, or ends in the middle of a file.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
            # It is the user's own tree: symlinks may lead anywhere, as they do there.
            archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            archive.extractall(directory)  # noqa: S202
        while stream.read(1 << 16):
            pass
    except (tarfile.TarError, OSError) as error:
        raise BuildFailed(f"the project cannot be unpacked in {directory}: {error}") from None
