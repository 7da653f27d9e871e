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
from ..patterns import later
from ..records import NamedTuple
from .directory import Directory, Entry, find_data, read_directory
from .hashing import new_hash
from .inflating import ANOTHER, WholeInflater, inflated
from .layout import CHUNK, DEFLATED, ENCRYPTED, PATCHED, STORED, record_digest
from .names import RecordEntry, WheelName, parse_wheel_name, project_of
from .streaming import STREAMS, Place, Streamed

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
MAX_MEMBER_SIZE = 4 << 30
# Deflate cannot do better than 1032:1; native code that matters compresses 2:1 to 10:1, sparse tables 100:1.
BOMB_SIZE, BOMB_RATIO = 64 << 20, 200
# All members together: what is below would be read in a few seconds.
BOMB_TOTAL = 1 << 30
# What WHEEL says takes a few hundred bytes; and RECORD, beside its lines about the members, should take none.
MAX_TEXT = 1 << 20
# A line of RECORD has less than this beside the member's name: a hash, a size, and what separates them.
_RECORD_LINE = 256

_RECORD_HASHES = {name: name for name in ("sha256", "sha384", "sha512")}


# A gap that is not read along: more than a local header takes.
_FAR = 16 << 10


class Wheel:
    """A wheel that is open for reading. Made by :func:`open_wheel`, which closes it."""

    def __init__(self, filename: str, file: IO[bytes], directory: Directory) -> None:
        self.filename = filename
        self.name: WheelName = parse_wheel_name(filename)
        self._file = file
        _check_members(filename, directory.entries)
        self._data_offsets = find_data(directory, functools.partial(read_at, file), filename)
        self._entries = {entry.name: entry for entry in directory.entries}
        self.members: tuple[str, ...] = tuple(name for name in self._entries if not name.endswith("/"))
        self.dist_info = self._find_dist_info()

    def _find_dist_info(self) -> str:
        found = sorted(
            {
                name.split("/", 1)[0]
                for name in self.members
                if "/" in name and name.split("/", 1)[0].endswith(".dist-info")
            }
        )
        if len(found) != 1:
            raise WheelError(
                f"{self.filename}: a wheel has exactly one .dist-info directory; this one has {found or 'none'}"
            )
        for required in ("WHEEL", "METADATA", "RECORD"):
            if f"{found[0]}/{required}" not in self._entries:
                raise WheelError(f"{self.filename}: {found[0]}/{required} is missing")
        here, said = found[0][: -len(".dist-info")], f"{self.name.name}-{self.name.version}"
        if here != said and project_of(here) != project_of(said):
            raise WheelError(f"{self.filename}: {found[0]} is that of another wheel")
        return found[0]

    def size(self, member: str) -> int:
        """Uncompressed size in bytes."""
        return self._entries[member].size

    def compressed_size(self, member: str) -> int:
        """Compressed size in bytes."""
        return self._entries[member].compressed_size

    def hash_of(self, member: str) -> Hash:
        """A fresh hash by which ``RECORD`` knows a member."""
        return new_hash(self.record_algorithm(member))

    def mode(self, member: str) -> int:
        """POSIX permission bits of a regular file, 0 where the archive says nothing."""
        mode = self._entries[member].attributes >> 16
        return mode & 0o7777 if stat.S_IFMT(mode) in (0, stat.S_IFREG) else 0

    def is_symlink(self, member: str) -> bool:
        """Whether the archive calls the member a symbolic link (installers write it as a plain file)."""
        return stat.S_ISLNK(self._entries[member].attributes >> 16)

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
        return STREAMS and isinstance(self._file, (io.BufferedReader, io.BufferedRandom))

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
        for member in sorted(members, key=self._data_offsets.__getitem__):
            offset = self._data_offsets[member]
            after = offset + self._entries[member].compressed_size
            if run and (after - begin > most or offset - end > _FAR):
                yield run
                run = []
            if not run:
                begin = offset
            run.append(member)
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
            entry, offset = self._entries[member], self._data_offsets[member] - begin
            try:
                if entry.method == STORED:
                    content = view[offset : offset + entry.compressed_size]
                else:
                    content = inflater.inflate(packed, offset, entry.compressed_size)
            except zlib.error as error:
                raise WheelError(f"{self.filename}: {member}: {error}") from None
            if len(content) != entry.size or crc32(content, 0) != entry.crc:
                raise WheelError(f"{self.filename}: {member}: {ANOTHER}")
            yield member, content

    def _packed_run(self, run: Sequence[str]) -> tuple[int, bytes]:
        """Where members that lie together begin in the archive, and all bytes from there to their end."""
        begin = self._data_offsets[run[0]]
        end = self._data_offsets[run[-1]] + self._entries[run[-1]].compressed_size
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
        algorithms = set(map(self.record_algorithm, run))
        if algorithms != {"sha256"} or not inflater.reads_many:
            for member, content in self.read_run(run, inflater):
                hashed = self.hash_of(member)
                hashed.update(content)
                yield (record_digest(hashed.digest()),), content if content[: len(ELF_MAGIC)] == ELF_MAGIC else None
            return
        begin, packed = self._packed_run(run)
        table = b"".join(self._row(member, begin) for member in run)
        done = 0
        try:
            for digests, elf in inflater.read_many(packed, table):
                done += len(digests)
                yield digests, elf
        except zlib.error as error:
            raise WheelError(f"{self.filename}: {run[done]}: {error}") from None

    def _row(self, member: str, begin: int) -> bytes:
        entry = self._entries[member]
        offset = self._data_offsets[member] - begin
        return _ROW.pack(offset, entry.compressed_size, entry.size, entry.crc, entry.method)

    def raw(self, member: str) -> RawMember:
        """The member as it lies in the archive, to be copied without inflating it."""
        entry = self._entries[member]
        place = self._data_offsets[member], entry.compressed_size
        return RawMember(self._file, *place, entry.size, entry.crc, entry.method)

    @functools.cached_property
    def record(self) -> Mapping[str, Optional[RecordEntry]]:
        """``RECORD`` by path; ``None`` for a line without a hash.

        :raises WheelError: if a line is malformed or a path is listed twice.
        """
        entries: dict[str, Optional[RecordEntry]] = {}
        for number, row in enumerate(self._record_rows(), 1):
            if not row:
                continue
            try:
                path, entry = _parse_record_row(row)
                if path in self._entries:
                    path, entry = self._share(path, entry)
                if path in entries:
                    raise ValueError(f"lists {one_line(path)} again")
            except ValueError as error:
                raise WheelError(f"{self.filename}: line {number} of RECORD {error}") from None
            entries[path] = entry
        return entries

    def _share(self, path: str, entry: Optional[RecordEntry]) -> tuple[str, Optional[RecordEntry]]:
        """The same, with the name and the size that the directory has already: some wheels have thousands."""
        member = self._entries[path]
        if entry is not None and entry.size == member.size:
            entry = RecordEntry(entry.algorithm, entry.digest, member.size)
        return member.name, entry

    def _record_rows(self) -> Iterator[list[str]]:
        text = self.read_text("RECORD")
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
        most = MAX_TEXT
        if name == "RECORD":  # a character has four bytes at most, or two where it is a quote that is doubled
            most += sum(_RECORD_LINE + 4 * len(member) for member in self.members)
        if self.size(f"{self.dist_info}/{name}") > most:
            raise WheelError(f"{self.filename}: {self.dist_info}/{name} is larger than such a file has reason to be")
        try:
            return self.read(f"{self.dist_info}/{name}").decode("utf-8")
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


def read_at(file: IO[bytes], offset: int, size: int) -> bytes:
    """Read at an offset, whatever other threads read meanwhile; of a file that is written, what was flushed."""
    if isinstance(file, (io.BufferedReader, io.BufferedRandom)) and _PREAD is not None:
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
            directory = read_directory(functools.partial(read_at, source), size, filename)
            wheel = Wheel(filename, source, directory)
            del directory  # its bytes are of no more use
        except OSError as error:
            raise WheelError(f"{path}: {error.strerror or error}") from None
        yield wheel


def find_record_lies(wheel: Wheel, digests: Mapping[str, str]) -> list[str]:
    """Every way in which ``RECORD`` is not true of the archive, one line each; empty if it is true.

    :param digests: of each member, by the algorithm that :meth:`Wheel.record_algorithm` names for it.
    """
    special = {f"{wheel.dist_info}/{name}" for name in ("RECORD", "RECORD.jws", "RECORD.p7s")}
    known = special.union(wheel.members)
    lies = [f"lists {path}, which is not in the archive" for path in wheel.record if path not in known]
    for member in wheel.members:
        entry = wheel.record.get(member)
        if member in special:
            continue
        if entry is None:
            lies.append(f"has no hash of {member}" if member in wheel.record else f"does not list {member}")
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


def _check_members(wheel: str, entries: Sequence[Entry]) -> None:
    files: set[str] = set()
    directories: set[str] = set()
    size = packed = 0
    for entry in entries:
        name = entry.name
        fault = (None if _PLAIN_NAME.fullmatch(name) else _name_fault(name)) or _content_fault(entry)
        if fault is None and name in files:
            fault = "is in the archive twice"
        if fault is not None:
            raise WheelError(f"{wheel}: member {name!r} {fault}")
        files.add(name)
        above = name.rpartition("/")[0]
        while above and above not in directories:
            directories.add(above)
            above = above.rpartition("/")[0]
        size, packed = size + entry.size, packed + entry.compressed_size
    for name in sorted(files & directories):
        raise WheelError(f"{wheel}: member {name!r} is a file and a directory")
    if size > BOMB_TOTAL and size > BOMB_RATIO * packed:
        raise WheelError(f"{wheel}: inflates {size // max(packed, 1)}-fold; refused")


def _content_fault(entry: Entry) -> Optional[str]:
    if entry.flags & ENCRYPTED:
        return "is encrypted"
    if entry.flags & PATCHED:
        return "has patched data, which no installer reads"
    if entry.method not in (STORED, DEFLATED):
        return f"is compressed by method {entry.method}; wheels use 0 (stored) or 8 (deflated)"
    if entry.size > MAX_MEMBER_SIZE:
        return f"is larger than {MAX_MEMBER_SIZE >> 30} GiB"
    if entry.size > BOMB_SIZE and entry.size > BOMB_RATIO * entry.compressed_size:
        return f"inflates {entry.size // max(entry.compressed_size, 1)}-fold; refused"
    return None


# Names in which nothing can be wrong: no component is empty or begins with a point, no letter but the most usual.
_PLAIN_NAME = later(r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*/)*[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def _name_fault(name: str) -> Optional[str]:
    parts = (name[:-1] if name.endswith("/") else name).split("/")
    if name.startswith("/") or (name[1:2] == ":" and name[0].isascii() and name[0].isalpha()):
        return "has an absolute name"
    if ".." in parts:
        return "leaves the root of the archive"
    if "" in parts or "." in parts:
        return "has a name that is not in normal form"
    if "\\" in name or "\x7f" in name or min(name) < " ":
        return "has a backslash or a control character in its name"
    return None
