"""Wheels as zip archives, read with suspicion.

A wheel is hostile input until it has been checked. Two zip readers can disagree about one file, so everything on
which they could is refused, here and in :mod:`.directory`: names that leave the root, duplicate names, members that
overlap, local headers that contradict the directory. Nothing is unpacked.

Source: PEP 427 and the binary distribution format of packaging.python.org.
"""

from __future__ import annotations

import functools
import io
import os
import stat
import struct
import threading
import zlib
from contextlib import ExitStack, contextmanager, suppress

from ..errors import WheelError, one_line
from ..records import NamedTuple
from .hashing import new_hash
from .inflating import ANOTHER, WholeInflater, inflated
from .layout import CHUNK, STORED, record_digest
from .members import Members, read_members
from .names import RecordEntry, WheelName, parse_wheel_name, project_of
from .streaming import STREAMS, Place, Streamed

try:
    from .. import _native
except ImportError:
    _native = None  # type: ignore[assignment]  # a module, or nothing where it is not built

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import IO, Optional, Union

    from .hashing import Hash
    from .inflating import Piece

crc32: Callable[[Piece, int], int] = zlib.crc32
with suppress(ImportError):
    from deflate import crc32  # the compressor's, many times faster

ELF_MAGIC = b"\x7fELF"
_ROW = struct.Struct("=5Q")  # see WholeInflater.read_many
# What WHEEL says takes a few hundred bytes; and RECORD, beside its lines about the members, should take none.
MAX_TEXT = 1 << 20
# A line of RECORD has less than this beside the member's name: a hash, a size, and what separates them.
_RECORD_LINE = 256

_SHA256 = "sha256"
_RECORD_HASHES = {name: name for name in (_SHA256, "sha384", "sha512")}
# The record of a tuple; some wheels have thousands.
_make_entry: Callable[[tuple[str, str, int]], RecordEntry] = functools.partial(tuple.__new__, RecordEntry)


# A gap that is not read along: more than a local header takes.
_FAR = 16 << 10


class Wheel:
    """A wheel that is open for reading. Made by :func:`open_wheel`, which closes it."""

    def __init__(self, filename: str, file: IO[bytes], members: Members) -> None:
        self.filename = filename
        self.name: WheelName = parse_wheel_name(filename)
        self._file = file
        self._names, self._offsets, self._packed, self._sizes, self._crcs, self._methods, self._attributes = members
        self._rows = dict(zip(self._names, range(len(self._names))))
        self.members: tuple[str, ...] = tuple([name for name in self._names if name[-1] != "/"])
        self.dist_info = self._find_dist_info()

    def _find_dist_info(self) -> str:
        found = sorted(
            {
                name.split("/", 1)[0]
                for name in self.members
                if ".dist-info/" in name and name.split("/", 1)[0].endswith(".dist-info")
            }
        )
        if len(found) != 1:
            raise WheelError(
                f"{self.filename}: a wheel has exactly one .dist-info directory; this one has {found or 'none'}"
            )
        for required in ("WHEEL", "METADATA", "RECORD"):
            if f"{found[0]}/{required}" not in self._rows:
                raise WheelError(f"{self.filename}: {found[0]}/{required} is missing")
        here, said = found[0][: -len(".dist-info")], f"{self.name.name}-{self.name.version}"
        if here != said and project_of(here) != project_of(said):
            raise WheelError(f"{self.filename}: {found[0]} is that of another wheel")
        return found[0]

    def __contains__(self, member: str) -> bool:
        return member in self._rows and member[-1] != "/"

    def size(self, member: str) -> int:
        """Uncompressed size in bytes."""
        return self._sizes[self._rows[member]]

    def compressed_size(self, member: str) -> int:
        """Compressed size in bytes."""
        return self._packed[self._rows[member]]

    def hash_of(self, member: str) -> Hash:
        """A fresh hash by which ``RECORD`` knows a member."""
        return new_hash(self.record_algorithm(member))

    def mode(self, member: str) -> int:
        """POSIX permission bits of a regular file, 0 where the archive says nothing."""
        mode = self._attributes[self._rows[member]] >> 16
        return mode & 0o7777 if stat.S_IFMT(mode) in (0, stat.S_IFREG) else 0

    @property
    def symlinks(self) -> list[str]:
        """Members that the archive calls symbolic links (installers write them as plain files)."""
        if max(self._attributes, default=0) >> 16 < stat.S_IFLNK:  # as in nearly all wheels
            return []
        modes = zip(self._names, self._attributes)
        return [name for name, mode in modes if stat.S_ISLNK(mode >> 16) and name[-1] != "/"]

    def read(self, member: str) -> bytes:
        """All bytes of a member, its checksum verified.

        :raises WheelError: if the compressed data are damaged or inflate beyond reason.
        """
        return b"".join(map(bytes, self.pieces(member)))

    def read_buffer(self, member: str) -> bytearray:
        """The same in a buffer that was made for it, of which there is no second one meanwhile."""
        content, at = bytearray(self.size(member)), 0
        for piece in self.pieces(member):
            content[at : at + len(piece)] = piece
            at += len(piece)
        return content

    def pieces(self, member: str, buffer: Optional[bytearray] = None) -> Iterator[Piece]:
        """The bytes of a member, piece by piece, each valid until the next; size and checksum are verified at the end.

        Several threads may read a wheel at once.

        :param buffer: see :func:`portable_backend.wheels.inflating.inflated`.
        :raises WheelError: if the compressed data are damaged or of another size than the headers say.
        """
        raw = self.raw(member)
        size = total = 0
        try:
            for chunk in raw.chunks() if raw.method == STORED else inflated(raw.chunks(), buffer):
                size, total = size + len(chunk), crc32(chunk, total)
                if size > raw.size:
                    break
                yield chunk
        except (zlib.error, OSError) as error:
            raise WheelError(f"{self.filename}: {member}: {error}") from None
        if (size, total) != (raw.size, raw.crc):
            raise WheelError(f"{self.filename}: {member}: {ANOTHER}")

    @property
    def streams(self) -> bool:
        """Whether :meth:`streamed` is to be had."""
        return STREAMS and has_descriptor(self._file)

    def streamed(
        self, member: str, buffer: bytearray, hashed: bool = False, finds: bool = False, slots: int = 1
    ) -> Streamed:
        """A member that the compiled code reads by itself, to come by once; for the parameters, see there."""
        raw = self.raw(member)
        size = raw.compressed_size, raw.method == STORED, raw.size, raw.crc
        place = Place(f"{self.filename}: {member}", self._file.fileno(), raw.offset, *size)
        return Streamed(place, buffer, hashed, finds, slots)

    def runs(self, members: Iterable[str], most: int) -> Iterator[list[str]]:
        """The members, in groups that lie together: read at once, none takes more than ``most`` bytes of the archive.

        A member that is larger than that is a group of its own.
        """
        run: list[str] = []
        begin = end = 0
        offsets, packed, names = self._offsets, self._packed, self._names
        for row in sorted(map(self._rows.__getitem__, members), key=offsets.__getitem__):
            offset = offsets[row]
            after = offset + packed[row]
            if run and (after - begin > most or offset - end > _FAR):
                yield run
                run = []
            if not run:
                begin = offset
            run.append(names[row])
            end = after
        if run:
            yield run

    def read_run(self, run: Sequence[str], inflater: WholeInflater) -> Iterator[tuple[str, memoryview]]:
        """The bytes of members that lie together, size and checksum verified, each valid until the next.

        :param run: one of :meth:`runs`.
        :param inflater: for members of that size.
        :raises WheelError: if the compressed data are damaged or of another size than the headers say.
        """
        begin, packed = self._packed_run(run)
        view = memoryview(packed)
        for member in run:
            raw = self.raw(member)
            offset = raw.offset - begin
            try:
                if raw.method == STORED:
                    content = view[offset : offset + raw.compressed_size]
                else:
                    content = inflater.inflate(packed, offset, raw.compressed_size)
            except zlib.error as error:
                raise WheelError(f"{self.filename}: {member}: {error}") from None
            if len(content) != raw.size or crc32(content, 0) != raw.crc:
                raise WheelError(f"{self.filename}: {member}: {ANOTHER}")
            yield member, content

    def _packed_run(self, run: Sequence[str]) -> tuple[int, bytes]:
        """Where members that lie together begin in the archive, and all bytes from there to their end."""
        first, last = self._rows[run[0]], self._rows[run[-1]]
        begin, end = self._offsets[first], self._offsets[last] + self._packed[last]
        packed = read_at(self._file, begin, end - begin)
        if len(packed) != end - begin:
            raise WheelError("the archive ends inside a member")
        return begin, packed

    def digest_run(
        self, run: Sequence[str], inflater: WholeInflater
    ) -> Iterator[tuple[Sequence[str], Optional[memoryview]]]:
        """The digests of members that lie together, verified as by :meth:`read_run`, in the order of the run.

        Those of the next members, each by the algorithm that :meth:`record_algorithm` names, as ``RECORD`` writes
        it, and with them the bytes of the last of these, if it is an ELF file: valid until the next step.

        :raises WheelError: as :meth:`read_run`; what was yielded before tells at which member.
        """
        record = self.record
        algorithms = {entry.algorithm for member in run if (entry := record.get(member)) is not None}
        if not algorithms <= {_SHA256} or not inflater.reads_many:
            for member, content in self.read_run(run, inflater):
                hashed = self.hash_of(member)
                hashed.update(content)
                yield (record_digest(hashed.digest()),), content if content[: len(ELF_MAGIC)] == ELF_MAGIC else None
            return
        begin, packed = self._packed_run(run)
        table = self._table(run, begin)
        done = 0
        try:
            for digests, elf in inflater.read_many(packed, table):
                done += len(digests)
                yield digests, elf
        except zlib.error as error:
            raise WheelError(f"{self.filename}: {run[done]}: {error}") from None

    def _table(self, run: Sequence[str], begin: int) -> bytes:
        offsets, packed, sizes, crcs, methods = self._offsets, self._packed, self._sizes, self._crcs, self._methods
        rows = map(self._rows.__getitem__, run)
        return b"".join(
            [_ROW.pack(offsets[row] - begin, packed[row], sizes[row], crcs[row], methods[row]) for row in rows]
        )

    def raw(self, member: str) -> RawMember:
        """The member as it lies in the archive, to be copied without inflating it."""
        row = self._rows[member]
        place = self._offsets[row], self._packed[row]
        return RawMember(self._file, *place, self._sizes[row], self._crcs[row], self._methods[row])

    @functools.cached_property
    def record(self) -> Mapping[str, Optional[RecordEntry]]:
        """``RECORD`` by path; ``None`` for a line without a hash.

        :raises WheelError: if a line is malformed or a path is listed twice.
        """
        text = self._read_metadata("RECORD")
        plain = None if _native is None else _native.read_record(text, self._rows, self._names, _SHA256, _make_entry)
        return self._read_record(self._decode("RECORD", text)) if plain is None else plain

    def _read_record(self, text: str) -> Mapping[str, Optional[RecordEntry]]:
        entries: dict[str, Optional[RecordEntry]] = {}
        for number, row in enumerate(self._record_rows(text), 1):
            if not row:
                continue
            try:
                path, entry = _parse_record_row(row)
                if path in self._rows:
                    path, entry = self._share(path, entry)
                if path in entries:
                    raise ValueError(f"lists {one_line(path)} again")
            except ValueError as error:
                raise WheelError(f"{self.filename}: line {number} of RECORD {error}") from None
            entries[path] = entry
        return entries

    def _share(self, path: str, entry: Optional[RecordEntry]) -> tuple[str, Optional[RecordEntry]]:
        """The same, with the name and the size that the directory has already: some wheels have thousands."""
        row = self._rows[path]
        if entry is not None and entry.size == self._sizes[row]:
            entry = RecordEntry(entry.algorithm, entry.digest, self._sizes[row])
        return self._names[row], entry

    def _record_rows(self, text: str) -> Iterator[list[str]]:
        plain = text.replace("\r\n", "\n")
        if '"' not in plain and "\r" not in plain and "\0" not in plain:  # as nearly all are: nothing is quoted
            for line in _lines(plain):
                yield line.split(",") if line else []
            return
        import csv

        try:
            yield from csv.reader(io.StringIO(text, newline=""))
        except csv.Error as error:
            raise WheelError(f"{self.filename}: RECORD is no table of comma-separated values: {error}") from None

    def record_algorithm(self, member: str) -> str:
        """The hash by which ``RECORD`` knows a member (sha256 where it does not)."""
        entry = self.record.get(member)
        return "sha256" if entry is None else entry.algorithm

    def read_text(self, name: str) -> str:
        """A file of the ``.dist-info`` directory as text.

        :raises WheelError: if it is not UTF-8, or larger than it has reason to be.
        """
        return self._decode(name, self._read_metadata(name))

    def _read_metadata(self, name: str) -> bytes:
        most = MAX_TEXT
        if name == "RECORD":  # a character has four bytes at most, or two where it is a quote that is doubled
            most += _RECORD_LINE * len(self.members) + 4 * sum(map(len, self.members))
        if self.size(f"{self.dist_info}/{name}") > most:
            raise WheelError(f"{self.filename}: {self.dist_info}/{name} is larger than such a file has reason to be")
        return self.read(f"{self.dist_info}/{name}")

    def _decode(self, name: str, content: bytes) -> str:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise WheelError(f"{self.filename}: {self.dist_info}/{name} is not UTF-8: {error}") from None

    @property
    def root_is_purelib(self) -> bool:
        """What ``WHEEL`` says of ``Root-Is-Purelib``."""
        for line in self.read_text("WHEEL").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() == "root-is-purelib":
                return value.strip().lower() == "true"
        return True


_SEEKING = threading.Lock()
_PREAD: Optional[Callable[[int, int, int], bytes]] = getattr(os, "pread", None)
_PREADV: Optional[Callable[[int, Sequence[memoryview], int], int]] = getattr(os, "preadv", None)


def has_descriptor(file: IO[bytes]) -> bool:
    """Whether what is at an offset of the file's descriptor is what is there in the file."""
    return isinstance(file, (io.BufferedReader, io.BufferedRandom))


def read_at(file: IO[bytes], offset: int, size: int) -> bytes:
    """Read at an offset, whatever other threads read meanwhile; of a file that is written, what was flushed."""
    if has_descriptor(file) and _PREAD is not None:
        data = _PREAD(file.fileno(), size, offset)
        while len(data) < size and (more := _PREAD(file.fileno(), size - len(data), offset + len(data))):
            data += more  # the kernel gives 2 GiB at once at the most
        return data
    with _SEEKING:
        file.seek(offset)
        return file.read(size)


def read_into(file: IO[bytes], offset: int, room: bytearray) -> None:
    """Fill ``room`` with what is at an offset, as far as the file goes, without a copy of it in between."""
    if _PREADV is None:
        found = read_at(file, offset, len(room))
        room[: len(found)] = found
        return
    with memoryview(room) as view:
        at = 0
        while at < len(room) and (got := _PREADV(file.fileno(), [view[at:]], offset + at)):
            at += got


class ReadAhead:
    """Reads that go forward through a file: the farther they have come without a leap, the more is read at once."""

    def __init__(self) -> None:
        self._file: Optional[IO[bytes]] = None
        self._data = b""
        self._start = 0
        self._step = 0

    def read(self, file: IO[bytes], offset: int, size: int) -> bytes:
        """Up to so many bytes at an offset, as :func:`read_at`."""
        at = offset - self._start
        if file is self._file and at >= 0 and at + size <= len(self._data):
            return self._data[at : at + size]
        forward = file is self._file and 0 <= at <= len(self._data) + _FAR
        self._step = min(2 * self._step + CHUNK // 8, 4 * CHUNK) if forward else 0
        self._file, self._start = file, offset
        self._data = read_at(file, offset, max(size, self._step))
        return self._data if len(self._data) <= size else self._data[:size]


class RawMember(NamedTuple):
    """Compressed bytes of a member where they lie. Sizes in bytes."""

    file: IO[bytes]
    offset: int
    compressed_size: int
    size: int
    crc: int
    method: int

    def chunks(self, ahead: Optional[ReadAhead] = None) -> Iterator[bytes]:
        """The compressed bytes, piece by piece; others may read the file between the pieces.

        :param ahead: reads, where members are asked for as they lie in the file.
        """
        read = read_at if ahead is None else ahead.read
        offset, end = self.offset, self.offset + self.compressed_size
        while offset < end:
            chunk = read(self.file, offset, min(end - offset, CHUNK))
            if not chunk:
                raise WheelError("the archive ends inside a member")
            offset += len(chunk)
            yield chunk

    def whole(self, ahead: ReadAhead) -> bytes:
        """All compressed bytes; for members that are small."""
        data = ahead.read(self.file, self.offset, self.compressed_size)
        if len(data) != self.compressed_size:
            raise WheelError("the archive ends inside a member")
        return data


_PAIR = struct.Struct("=3Q")  # see compare_files


def compare_members(pairs: Sequence[tuple[RawMember, RawMember]]) -> list[bool]:
    """Of each pair of a member of one file and one of another, whether they are the same, to the byte.

    :param pairs: as they lie in the files.
    """
    files = {(mine.file, yours.file) for mine, yours in pairs}
    if _native is None or _PREAD is None or len(files) != 1 or not all(map(has_descriptor, next(iter(files)))):
        ours, theirs = ReadAhead(), ReadAhead()
        return [_same_member(*pair, ours, theirs) for pair in pairs]
    [(one, other)] = files
    table = b"".join([_PAIR.pack(mine.offset, yours.offset, mine.compressed_size) for mine, yours in pairs])
    same = _native.compare_files(one.fileno(), other.fileno(), table)
    return [each == 1 and mine[2:] == yours[2:] for each, (mine, yours) in zip(same, pairs)]


def _same_member(one: RawMember, other: RawMember, ours: ReadAhead, theirs: ReadAhead) -> bool:
    if one[2:] != other[2:]:  # sizes, checksum and method
        return False
    with suppress(WheelError):  # one that is cut is found to be so when it is read
        if one.compressed_size <= CHUNK:
            return one.whole(ours) == other.whole(theirs)
        return all(mine == yours for mine, yours in zip(one.chunks(ours), other.chunks(theirs)))
    return False


@contextmanager
def open_wheel(path: Union[str, os.PathLike[str]], file: Optional[IO[bytes]] = None) -> Iterator[Wheel]:
    """Open a wheel for reading and check its structure.

    :param file: its bytes, where they have no name yet; left open.
    :raises WheelError: if it is no zip, is damaged, or has members that a careful reader refuses.
    """
    filename = os.path.basename(os.fspath(path))
    parse_wheel_name(filename)
    with ExitStack() as stack:
        try:
            source = stack.enter_context(open(path, "rb")) if file is None else file
            if source.writable():
                source.flush()
            size = source.seek(0, os.SEEK_END)
            number = source.fileno() if has_descriptor(source) else None
            wheel = Wheel(filename, source, read_members(functools.partial(read_at, source), number, size, filename))
        except OSError as error:
            raise WheelError(f"{path}: {error.strerror or error}") from None
        yield wheel


def find_record_lies(wheel: Wheel, digests: Mapping[str, str]) -> list[str]:
    """Every way in which ``RECORD`` is not true of the archive, one line each; empty if it is true.

    :param digests: of each member, by the algorithm that :meth:`Wheel.record_algorithm` names for it.
    """
    special = {f"{wheel.dist_info}/{name}" for name in ("RECORD", "RECORD.jws", "RECORD.p7s")}
    record = wheel.record
    lies = [
        f"lists {path}, which is not in the archive" for path in record if path not in wheel and path not in special
    ]
    for member in wheel.members:
        entry = record.get(member)
        if entry is not None and entry.digest == digests.get(member) and entry.size == wheel.size(member):
            continue  # as nearly all are
        if member in special:
            continue
        if entry is None:
            lies.append(f"has no hash of {member}" if member in record else f"does not list {member}")
        elif entry.size is not None and entry.size != wheel.size(member):
            lies.append(f"gives {member} {entry.size} bytes; it has {wheel.size(member)}")
        elif entry.digest != digests[member]:
            lies.append(f"gives {member} another {entry.algorithm} digest than its bytes have")
    return lies


def _parse_record_row(row: Sequence[str]) -> tuple[str, Optional[RecordEntry]]:
    """What a line says of a path. A :class:`ValueError` tells what is wrong with it."""
    if len(row) != 3:
        raise ValueError(f"has {len(row)} fields instead of 3")
    path, digest, size = row
    if not digest:
        return path, None
    algorithm, equals, value = digest.partition("=")
    if not equals or algorithm not in _RECORD_HASHES:
        raise ValueError(f"names no hash of the SHA-2 family: {digest[:60]}")
    if size and not (size.isascii() and size.isdigit() and len(size) < 20):
        raise ValueError(f"gives no size in bytes: {size[:60]}")
    return path, RecordEntry(_RECORD_HASHES[algorithm], value.rstrip("="), int(size) if size else None)


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, not all of them at once."""
    start = 0
    while (end := text.find("\n", start + CHUNK)) >= 0:
        yield from text[start:end].split("\n")
        start = end + 1
    yield from text[start:].split("\n")
