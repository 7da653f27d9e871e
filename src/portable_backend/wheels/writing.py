"""Wheels written canonically: the same members give the same bytes, and a file appears whole or not at all.

Members that do not change are copied compressed as they are; others are compressed by several threads, with a bound on
what is held in memory, and written in order. See docs/explanation/writing.md.

Sources: PEP 427; the .ZIP file format specification (APPNOTE) 4.3.7, 4.3.12, 4.3.14 to 4.3.16, 4.5.3.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import time
from bisect import bisect_left, bisect_right
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from ..patterns import later
from ..records import NamedTuple
from .deflating import PIECE, Compressor, find_compressor
from .hashing import sha256
from .layout import CHUNK, DEFLATED, LOCAL_HEADER, MAX32, STORED, UTF8_NAME, record_digest
from .reading import RawMember, ReadAhead, crc32, read_into
from .working import Job, Workers, available_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import IO, Optional, Union

    _Begun = tuple["NewMember", int, Union["_Ready", Job["_Ready"]]]


class Patched:
    """A file with other bytes in some places, which are put there as it is read, so that it is never in memory whole.

    :param file: open for reading; it is closed when this is.
    :param size: of the content, in bytes.
    :param patches: offset and bytes of each place, in order, none over another; what lies behind the end of the file is
        among them.
    :param check: raises if the file was changed meanwhile; it is called at the end.
    """

    def __init__(
        self, file: IO[bytes], size: int, patches: Sequence[tuple[int, bytes]], check: Callable[[], None]
    ) -> None:
        self._file, self._patches, self._check = file, patches, check
        self._starts = [offset for offset, _ in patches]
        self.size = size

    def read(self, start: int, end: int) -> bytearray:
        """The bytes from one place to another; several threads may read at once."""
        end = min(end, self.size)
        piece = bytearray(end - start)
        read_into(self._file, start, piece)
        before = max(bisect_right(self._starts, start) - 1, 0)
        for offset, patch in self._patches[before : bisect_left(self._starts, end)]:
            first, last = max(start, offset), min(end, offset + len(patch))
            if first < last:
                piece[first - start : last - start] = memoryview(patch)[first - offset : last - offset]
        return piece

    def close(self) -> None:
        """All was read.

        :raises RepairError: if it was not the same file all the time.
        """
        self._check()
        self._file.close()

    def __del__(self) -> None:
        self._file.close()


class Deferred(NamedTuple):
    """Bytes that are made when their turn comes, in another thread, so that few are in memory at once.

    :param make: makes them; called once.
    :param size: about how many they are, to judge how much can be under way.
    """

    make: Callable[[], Union[bytes, Patched]]
    size: int


class NewMember(NamedTuple):
    """A member of a wheel to be written: new bytes, or those of another archive copied compressed.

    ``digest`` is what ``RECORD`` says of a copied one, as ``sha256=…``; of new bytes it is computed.
    """

    name: str
    content: Union[bytes, Deferred, RawMember]
    executable: bool = False
    digest: Optional[str] = None


class Written(NamedTuple):
    """What ``RECORD`` says of a member that was written. The size is that of its content, in bytes."""

    name: str
    digest: str
    size: int


def digest_of(data: bytes) -> str:
    """The sha256 digest of bytes as ``RECORD`` writes it, with the name of the algorithm."""
    return "sha256=" + record_digest(sha256(data).digest())


def canonical_order(members: Sequence[NewMember], dist_info: str) -> list[NewMember]:
    """Members sorted by name, the ``.dist-info`` directory behind all others (PEP 427 recommends that)."""
    return sorted(
        members,
        key=lambda member: (member.name.startswith(dist_info + "/"), member.name.encode("utf-8", "surrogateescape")),
    )


def make_record(lines: Sequence[Written], dist_info: str) -> NewMember:
    """The ``RECORD`` of these members, in their order, itself last and without a hash."""
    own = f"{dist_info}/RECORD"
    rows = [(line.name, line.digest, str(line.size)) for line in lines] + [(own, "", "")]
    text = "\n".join(map(",".join, rows)) + "\n"
    if '"' in text or "\r" in text or (text.count("\n"), text.count(",")) != (len(rows), 2 * len(rows)):
        text = _quoted(rows)  # as next to none is
    return NewMember(own, text.encode("utf-8", "surrogateescape"))


def _quoted(rows: Sequence[tuple[str, str, str]]) -> str:
    import csv

    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_archive(
    file: IO[bytes],
    members: Iterable[NewMember],
    timestamp: int,
    level: int = 6,
    *,
    record_in: Optional[str] = None,
    threads: Optional[int] = None,
    compressor: Optional[Compressor] = None,
) -> None:
    """Write members as a zip archive whose bytes depend on nothing but the arguments, the number of threads left out.

    :param file: where to write, at its beginning.
    :param members: in the order in which they shall lie in the archive.
    :param timestamp: seconds since 1970 UTC, for all members (the format cannot say less than 1980, or odd seconds).
    :param level: deflate level of members that are given as bytes, 0 (stored) to 9.
    :param record_in: the ``.dist-info`` directory that is given a ``RECORD`` of all members, as the last of them.
    :param threads: how many compress at once; as many as can run where that is ``None``.
    :param compressor: deflates; the one that :func:`find_compressor` finds where that is ``None``.
    """
    archive = _Archive(file, _dos_time(timestamp))
    with Workers(available_threads() if threads is None else threads) as workers:
        press = _Press(workers, compressor or find_compressor(), level)
        waiting: deque[_Begun] = deque()
        heavy = 0
        for member in members:
            weight = _weight(member)
            # One at least goes ahead, however large.
            while waiting and heavy + weight > _UNDER_WAY:
                heavy -= waiting[0][1]
                archive.add(waiting.popleft())
            heavy += weight
            waiting.append((member, weight, press.begin(member)))
        while waiting:
            archive.add(waiting.popleft())
        if record_in is not None:
            record = make_record(archive.written, record_in)
            archive.add((record, 0, press.begin(record)))
    archive.finish()


# Bytes of content that are compressed, or wait for their turn to be written, at the same time; all in all about three
# times as many are held: what an edit began with, what it gave, and what that was compressed to.
_UNDER_WAY = 16 << 20


def _weight(member: NewMember) -> int:
    content = member.content
    if isinstance(content, RawMember):
        return _RAW_WEIGHT
    return max(_RAW_WEIGHT, len(content) if isinstance(content, bytes) else content.size)


# What the bookkeeping of one member takes; it bounds how many are under way.
_RAW_WEIGHT = 4 << 10


class _Ready(NamedTuple):
    """A member's content, measured; its compressed pieces are on their way."""

    crc: int
    size: int
    digest: str
    method: int
    pieces: Sequence[Job[Union[bytes, bytearray]]] = ()
    stored: bytes = b""
    patched: Optional[Patched] = None


class _Press:
    """Makes, measures and compresses contents in other threads."""

    def __init__(self, workers: Workers, compressor: Compressor, level: int) -> None:
        self._workers, self._compressor, self._level = workers, compressor, level

    def begin(self, member: NewMember) -> Union[_Ready, Job[_Ready]]:
        content = member.content
        if isinstance(content, RawMember):
            return _Ready(content.crc, content.size, member.digest or "", content.method)
        return self._workers.submit(self._measure, content)

    def _measure(self, content: Union[bytes, Deferred]) -> _Ready:
        data = content if isinstance(content, bytes) else content.make()
        if isinstance(data, Patched):
            return self._measure_patched(data)
        view = memoryview(data)
        # In steps that stay in the processor's cache for the second reader.
        crc, digest = _sums(view[start : start + CHUNK] for start in range(0, len(view), CHUNK))
        if not self._level:
            return _Ready(crc, len(data), digest, STORED, stored=data)
        starts = range(0, len(view), PIECE) or range(1)
        pieces = []
        for start in starts:  # before other members are begun, so that this one can be written and let go
            piece, last = view[start : start + PIECE], start == starts[-1]
            pieces.append(self._workers.submit(self._compressor.piece, piece, self._level, last, first=True))
        return _Ready(crc, len(data), digest, DEFLATED, pieces)

    def _measure_patched(self, data: Patched) -> _Ready:
        """The same of what is read once to be measured, and once more, piece by piece, to be compressed."""
        crc, digest = _sums(memoryview(data.read(start, start + CHUNK)) for start in range(0, data.size, CHUNK))
        if not self._level:
            return _Ready(crc, data.size, digest, STORED, patched=data)
        starts = range(0, data.size, PIECE) or range(1)
        pieces = [
            self._workers.submit(self._press_patched, data, start, start == starts[-1], first=True) for start in starts
        ]
        return _Ready(crc, data.size, digest, DEFLATED, pieces, patched=data)

    def _press_patched(self, data: Patched, start: int, last: bool) -> Union[bytes, bytearray]:
        return self._compressor.piece(data.read(start, start + PIECE), self._level, last)


def _sums(chunks: Iterable[memoryview]) -> tuple[int, str]:
    """Checksum and digest of bytes that come by, as the archive and ``RECORD`` have them."""
    hashed, crc = sha256(), 0
    for chunk in chunks:
        hashed.update(chunk)
        crc = crc32(chunk, crc)
    return crc, "sha256=" + record_digest(hashed.digest())


# Whatever content of this size is compressed to, the archive's narrow fields can tell its size.
_NARROW = MAX32 - (64 << 20)


class _Archive:
    """Lays members down, one behind the other."""

    def __init__(self, file: IO[bytes], when: tuple[int, int]) -> None:
        self._file, self._when = file, when
        self._directory = io.BytesIO()
        self._ahead = ReadAhead()
        self._offset = 0
        self.written: list[Written] = []

    def add(self, begun: _Begun) -> None:
        """Write a member as soon as it is compressed."""
        member, _, job = begun
        ready = job if isinstance(job, _Ready) else job.result()
        name, content = member.name.encode("utf-8", "surrogateescape"), member.content
        packed = content.compressed_size if isinstance(content, RawMember) else ready.size
        entry = _Entry(name, member.executable, ready.method, ready.crc, ready.size, packed)
        header = _local_header(entry, self._when)
        if isinstance(content, RawMember):
            self._copy(header, content)
        elif len(ready.pieces) > 1 and ready.size < _NARROW:
            entry = entry._replace(compressed_size=self._write_by_and_by(entry, ready.pieces))
        elif ready.method == STORED and ready.patched is not None:
            self._file.write(header)
            for start in range(0, ready.size, CHUNK):
                self._file.write(ready.patched.read(start, start + CHUNK))
        else:
            pieces = [piece.result() for piece in ready.pieces] or [ready.stored]
            entry = entry._replace(compressed_size=sum(map(len, pieces)))
            header = _local_header(entry, self._when)
            self._file.writelines([header, *pieces])
        if ready.patched is not None:
            ready.patched.close()
        self._directory.write(_directory_header(entry, self._when, self._offset))
        self._offset += len(header) + entry.compressed_size
        self.written.append(Written(member.name, ready.digest, ready.size))

    def _copy(self, header: bytes, raw: RawMember) -> None:
        if raw.compressed_size <= CHUNK:  # as nearly all are
            self._file.write(header + raw.whole(self._ahead))
            return
        self._file.write(header)
        for chunk in raw.chunks(self._ahead):
            self._file.write(chunk)

    def _write_by_and_by(self, entry: _Entry, pieces: Sequence[Job[Union[bytes, bytearray]]]) -> int:
        """Write each piece as soon as it is compressed, and then the header in front of them, which has their size."""
        size = 0
        self._file.write(_local_header(entry, self._when))
        for piece in pieces:
            size += self._file.write(piece.result())
        end = self._file.tell()
        self._file.seek(self._offset)
        self._file.write(_local_header(entry._replace(compressed_size=size), self._when))
        self._file.seek(end)
        return size

    def finish(self) -> None:
        """Write the directory and the end of the archive."""
        directory = self._directory.getvalue()
        self._file.write(directory)
        self._file.write(_end_of_directory(len(self.written), len(directory), self._offset))


class _Entry(NamedTuple):
    """What headers say of a member. Sizes in bytes."""

    name: bytes
    executable: bool
    method: int
    crc: int
    size: int
    compressed_size: int


# Version 2.0 of the format for deflate, 4.5 for ZIP64; 3 << 8 says that the attributes are UNIX modes.
_ZIP20, _ZIP45, _UNIX = 20, 45, 3 << 8


def _zip64(entry: _Entry) -> bool:
    return entry.size >= MAX32 or entry.compressed_size >= MAX32


def _flags(entry: _Entry) -> int:
    return 0 if entry.name.isascii() else UTF8_NAME


def _local_header(entry: _Entry, when: tuple[int, int]) -> bytes:
    large = _zip64(entry)
    extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.compressed_size) if large else b""
    sizes = (MAX32, MAX32) if large else (entry.compressed_size, entry.size)
    version = _ZIP45 if large else _ZIP20
    fixed = (version, _flags(entry), entry.method, *when, entry.crc, *sizes, len(entry.name), len(extra))
    return LOCAL_HEADER.pack(b"PK\x03\x04", *fixed) + entry.name + extra


def _directory_header(entry: _Entry, when: tuple[int, int], offset: int) -> bytes:
    # A ZIP64 field holds, in this order, just those values that do not fit their 32 bits.
    wide = [value for value in (entry.size, entry.compressed_size) if _zip64(entry)] + [offset] * (offset >= MAX32)
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    sizes = (MAX32, MAX32) if _zip64(entry) else (entry.compressed_size, entry.size)
    version = _ZIP45 if wide else _ZIP20
    mode = stat.S_IFREG | (0o755 if entry.executable else 0o644)
    return (
        struct.pack(
            "<4s6H3I5H2I",
            b"PK\x01\x02", _UNIX | version, version, _flags(entry), entry.method, *when, entry.crc, *sizes,
            len(entry.name), len(extra), 0, 0, 0, mode << 16, min(offset, MAX32),
        )
        + entry.name
        + extra
    )  # fmt: skip


def _end_of_directory(count: int, size: int, offset: int) -> bytes:
    end = b""
    if count >= 0xFFFF or size >= MAX32 or offset >= MAX32:
        end = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, _UNIX | _ZIP45, _ZIP45, 0, 0, count, count, size, offset)
        end += struct.pack("<4sIQI", b"PK\x06\x07", 0, offset + size, 1)
    count, size, offset = min(count, 0xFFFF), min(size, MAX32), min(offset, MAX32)
    return end + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, size, offset, 0)


def _dos_time(timestamp: int) -> tuple[int, int]:
    """Time and date words of the format (APPNOTE 4.4.6), in UTC, clamped to the years that it can express."""
    year, month, day, hour, minute, second = time.gmtime(min(max(timestamp, 315532800), 4354819198))[:6]
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day


# Small members are written many at once.
_BUFFER = 256 << 10


@contextmanager
def writing(destination: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears whole or not at all.

    Yields the open file, which can be read too. When the block ends well the data are on disk and the file stands
    at ``destination``, replacing what was there; when it does not, nothing is left. Where the file system allows
    it the file has no name until then, so that even SIGKILL leaves nothing behind.

    :raises OutputError: if the directory cannot be written or is full.
    """
    directory = destination.parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
        scratch = directory / f".{destination.name}.{os.getpid()}-{os.urandom(4).hex()}.part"
        handle, nameless = _open_scratch(directory, scratch)
        try:
            with os.fdopen(handle, "w+b", _BUFFER) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if nameless:  # a name at last; linkat cannot replace a file, so by way of the scratch name
                    # A directory descriptor, unused beside an absolute path, makes CPython call linkat, which follows.
                    os.link(f"/proc/self/fd/{file.fileno()}", scratch, src_dir_fd=file.fileno(), follow_symlinks=True)
            os.replace(scratch, destination)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        _sync_directory(directory)
    except OSError as error:
        where = f"{destination}: cannot be written: {error.strerror or error}"
        raise OutputError(where, "name another output directory, or make room") from None


def _open_scratch(directory: Path, scratch: Path) -> tuple[int, bool]:
    """A new file in the directory: without a name where the system can do that, else under ``scratch``."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):  # NFS, overlays and old kernels do not know O_TMPFILE
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666), True
    _sweep(directory)
    return os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o666), False


_SCRATCH = later(r"\..+\.([0-9]+)-[0-9a-f]{8}\.part")


def _sweep(directory: Path) -> None:
    """Remove what processes that were killed have left here; needed only where a file cannot do without a name."""
    for path in directory.glob(".*.part"):
        match = _SCRATCH.fullmatch(path.name)
        if match is None:
            continue
        try:
            os.kill(int(match[1]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (OSError, OverflowError):
            continue


def _sync_directory(directory: Path) -> None:
    with suppress(OSError):  # some file systems refuse to sync a directory; the rename stands all the same
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
