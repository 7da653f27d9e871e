"""Wheels as zip archives, read with suspicion. The only user of :mod:`zipfile`.

A wheel is hostile input until it has been checked. Two zip readers can disagree about one file, so everything on
which they could is refused here: names that leave the root, duplicate names, members that overlap, local headers
that contradict the directory. Nothing is unpacked.

Sources: PEP 427 and the binary distribution format of packaging.python.org; the .ZIP file format specification
(APPNOTE) 4.3.7 (local header), 4.3.12 (central directory), 4.5.3 (ZIP64).
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Optional

from ..errors import WheelError
from .inflating import Piece, inflated
from .layout import CHUNK, DEFLATED, ENCRYPTED, LOCAL_HEADER, MAX32, STORED, STREAMED, UTF8_NAME, record_digest
from .names import RecordEntry, WheelName, parse_wheel_name, project_of

MAX_MEMBERS = 500_000
MAX_MEMBER_SIZE = 4 << 30
# Deflate cannot do better than 1032:1; native code that matters compresses 2:1 to 10:1, sparse tables 100:1.
BOMB_SIZE, BOMB_RATIO = 64 << 20, 200
# All members together: what is below would be read in a few seconds.
BOMB_TOTAL = 1 << 30
# What WHEEL says takes a few hundred bytes; and RECORD, beside its lines about the members, should take none.
MAX_TEXT = 1 << 20
# A line of RECORD has less than this beside the member's name: a hash, a size, and what separates them.
_RECORD_LINE = 256

_WIDE, _UNICODE_PATH = 0x0001, 0x7075
_UNREADABLE = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, OverflowError)
_RECORD_HASHES = {"sha256", "sha384", "sha512"}


class Wheel:
    """A wheel that is open for reading. Made by :func:`open_wheel`, which closes it."""

    def __init__(self, path: Path, file: IO[bytes], archive: zipfile.ZipFile, name: WheelName) -> None:
        self.path = path
        self.name = name
        self._file = file
        self._archive = archive
        self._data_offsets: dict[str, int] = {}
        infos = archive.infolist()
        _check_members(path.name, infos)
        self._check_layout(infos)
        self.members: tuple[str, ...] = tuple(info.filename for info in infos if not info.is_dir())
        self._infos = {info.filename: info for info in infos}
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
                f"{self.path.name}: a wheel has exactly one .dist-info directory; this one has {found or 'none'}"
            )
        for required in ("WHEEL", "METADATA", "RECORD"):
            if f"{found[0]}/{required}" not in self._infos:
                raise WheelError(f"{self.path.name}: {found[0]}/{required} is missing")
        here, said = found[0][: -len(".dist-info")], f"{self.name.name}-{self.name.version}"
        if here != said and project_of(here) != project_of(said):
            raise WheelError(f"{self.path.name}: {found[0]} is that of another wheel")
        return found[0]

    def _check_layout(self, infos: Sequence[zipfile.ZipInfo]) -> None:
        """Compare each local header with the directory, and see that every byte belongs to just one member."""
        end = 0
        for info in sorted(infos, key=lambda each: each.header_offset):
            if info.header_offset < end:
                raise WheelError(f"{self.path.name}: {info.filename}: its bytes overlap those of another member")
            if info.header_offset > end:
                raise WheelError(f"{self.path.name}: {info.filename}: the bytes before it belong to no member")
            self._data_offsets[info.filename] = start = self._check_local_header(info)
            end = start + info.compress_size
            end += self._check_descriptor(info, end) if info.flag_bits & STREAMED else 0
        if end != self._archive.start_dir:
            raise WheelError(f"{self.path.name}: the bytes before the central directory belong to no member")
        self._check_end(infos)

    def _check_local_header(self, info: zipfile.ZipInfo) -> int:
        self._file.seek(info.header_offset)
        raw = self._file.read(LOCAL_HEADER.size)
        if len(raw) != LOCAL_HEADER.size or raw[:4] != b"PK\x03\x04":
            raise WheelError(f"{self.path.name}: {info.filename}: no local header where the directory says")
        _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = LOCAL_HEADER.unpack(raw)
        name, extra = self._file.read(name_length), self._file.read(extra_length)
        found = (crc, *_wide_sizes(packed, size, extra))
        told = (info.CRC, info.compress_size, info.file_size)
        # Sizes and checksum of a streamed member follow its data; the header may leave them out.
        unsaid = (0, MAX32) if flags & STREAMED else ()
        agree = all(one in (other, *unsaid) for one, other in zip(found, told))
        agree = agree and name == _raw_name(info) and method == info.compress_type
        agree = agree and not (flags ^ info.flag_bits) & (ENCRYPTED | STREAMED | UTF8_NAME)
        if not agree:
            raise WheelError(f"{self.path.name}: {info.filename}: its local header contradicts the directory")
        if flags & STREAMED and method == STORED and found[1] != info.compress_size:
            raise WheelError(f"{self.path.name}: {info.filename}: only the directory says where its bytes end")
        if _has_other_name(info, extra):
            raise WheelError(f"{self.path.name}: {info.filename}: has another name in an extra field")
        if any([kind for kind, _ in _extra_fields(each)].count(_WIDE) > 1 for each in (info.extra, extra)):
            raise WheelError(f"{self.path.name}: {info.filename}: gives its sizes in two extra fields")
        return int(info.header_offset + LOCAL_HEADER.size + name_length + extra_length)

    def _check_descriptor(self, info: zipfile.ZipInfo, offset: int) -> int:
        """The length of the data descriptor behind a streamed member (APPNOTE 4.3.9: four shapes are in use)."""
        self._file.seek(offset)
        raw = self._file.read(24)
        values = info.CRC, info.compress_size, info.file_size
        for shape in ("<I2I", "<I2Q"):
            with suppress(struct.error):  # sizes of more than 32 bits
                wanted = struct.pack(shape, *values)
                for descriptor in (b"PK\x07\x08" + wanted, wanted):
                    if raw.startswith(descriptor):
                        return len(descriptor)
        raise WheelError(f"{self.path.name}: {info.filename}: its data descriptor contradicts the directory")

    def _check_end(self, infos: Sequence[zipfile.ZipInfo]) -> None:
        """See that nothing but the end record follows the directory, and that it says of it what is true.

        It may bear a comment (early maturin's reads ``zip-rs``), as long as that cannot pass for another end record.
        """
        start = self._archive.start_dir
        size = sum(46 + len(_raw_name(info)) + len(info.extra) + len(info.comment) for info in infos)
        self._file.seek(start + size)
        tail = self._file.read(4096)
        comment = self._archive.comment
        if comment and b"PK" not in comment and tail.endswith(struct.pack("<H", len(comment)) + comment):
            tail = tail[: -len(comment) - 2] + b"\0\0"
        wanted = [len(infos), len(infos), size, start]
        wide = tail[:4] == b"PK\x06\x06" and len(tail) == 56 + 20 + 22
        agree = len(tail) == (98 if wide else 22) and tail[-22:-18] == b"PK\x05\x06"
        if agree and wide:
            agree = list(struct.unpack_from("<4Q", tail, 24)) == wanted
            agree = agree and struct.unpack_from("<4sIQ", tail, 56) == (b"PK\x06\x07", 0, start + size)
        if agree:
            fields = struct.unpack_from("<2H2I", tail, len(tail) - 14)
            limits = (0xFFFF, 0xFFFF, MAX32, MAX32)
            agree = all(one == other or (wide and one == limit) for one, other, limit in zip(fields, wanted, limits))
        if not agree:
            raise WheelError(f"{self.path.name}: the end of the archive contradicts the directory, or is not its end")

    def size(self, member: str) -> int:
        """Uncompressed size in bytes."""
        return self._infos[member].file_size

    def compressed_size(self, member: str) -> int:
        """Compressed size in bytes."""
        return self._infos[member].compress_size

    def hash_of(self, member: str) -> hashlib._Hash:
        """A fresh hash by which ``RECORD`` knows a member."""
        return hashlib.new(self.record_algorithm(member))

    def mode(self, member: str) -> int:
        """POSIX permission bits of a regular file, 0 where the archive says nothing."""
        mode = self._infos[member].external_attr >> 16
        return mode & 0o7777 if stat.S_IFMT(mode) in (0, stat.S_IFREG) else 0

    def is_symlink(self, member: str) -> bool:
        """Whether the archive calls the member a symbolic link (installers write it as a plain file)."""
        return stat.S_ISLNK(self._infos[member].external_attr >> 16)

    def read(self, member: str) -> bytes:
        """All bytes of a member, its checksum verified.

        :raises WheelError: if the compressed data are damaged or inflate beyond reason.
        """
        return b"".join(map(bytes, self.pieces(member)))

    def examine(self, member: str, wanted: bytes, algorithm: str = "sha256") -> tuple[str, Optional[bytes]]:
        """Read a member once: its digest as ``RECORD`` writes it, and its bytes if they start with ``wanted``.

        What is not wanted is never held in memory whole.

        :raises WheelError: if the compressed data are damaged or inflate beyond reason.
        """
        state = hashlib.new(algorithm)
        kept: Optional[list[bytes]] = []
        head = b""
        for chunk in self.pieces(member):
            state.update(chunk)
            if kept is not None:
                kept.append(bytes(chunk))
                head = (head + kept[-1])[: len(wanted)]  # the first chunk may be shorter than what is looked for
                kept = kept if wanted.startswith(head) else None
        return record_digest(state.digest()), None if kept is None or head != wanted else b"".join(kept)

    def pieces(self, member: str, buffer: Optional[bytearray] = None) -> Iterator[Piece]:
        """The bytes of a member, piece by piece, each valid until the next; size and checksum are verified at the end.

        Several threads may read a wheel at once.

        :param buffer: see :func:`portable_backend.wheels.inflating.inflated`.
        :raises WheelError: if the compressed data are damaged or of another size than the headers say.
        """
        raw = self.raw(member)
        size = crc = 0
        try:
            for chunk in raw.chunks() if raw.method == STORED else inflated(raw.chunks(), buffer):
                size, crc = size + len(chunk), zlib.crc32(chunk, crc)
                if size > raw.size:
                    break
                yield chunk
        except (zlib.error, OSError) as error:
            raise WheelError(f"{self.path.name}: {member}: {error}") from None
        if (size, crc) != (raw.size, raw.crc):
            raise WheelError(f"{self.path.name}: {member}: its data have another size or checksum than its headers say")

    def raw(self, member: str) -> RawMember:
        """The member as it lies in the archive, to be copied without inflating it."""
        info = self._infos[member]
        return RawMember(
            self._file, self._data_offsets[member], info.compress_size, info.file_size, info.CRC, info.compress_type
        )

    @cached_property
    def record(self) -> Mapping[str, Optional[RecordEntry]]:
        """``RECORD`` by path; ``None`` for a line without a hash.

        :raises WheelError: if a line is malformed or a path is listed twice.
        """
        entries: dict[str, Optional[RecordEntry]] = {}
        for number, row in enumerate(self._record_rows(), 1):
            if not row:
                continue
            path, entry = _parse_record_row(row, f"{self.path.name}: line {number} of RECORD")
            if path in entries:
                raise WheelError(f"{self.path.name}: line {number} of RECORD lists {path} again")
            entries[path] = entry
        return entries

    def _record_rows(self) -> list[list[str]]:
        try:
            return list(csv.reader(io.StringIO(self.read_text("RECORD"), newline="")))
        except csv.Error as error:
            raise WheelError(f"{self.path.name}: RECORD is no table of comma-separated values: {error}") from None

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
            raise WheelError(f"{self.path.name}: {self.dist_info}/{name} is larger than such a file has reason to be")
        try:
            return self.read(f"{self.dist_info}/{name}").decode("utf-8")
        except UnicodeDecodeError as error:
            raise WheelError(f"{self.path.name}: {self.dist_info}/{name} is not UTF-8: {error}") from None

    @property
    def root_is_purelib(self) -> bool:
        """What ``WHEEL`` says of ``Root-Is-Purelib``."""
        for line in self.read_text("WHEEL").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() == "root-is-purelib":
                return value.strip().lower() == "true"
        return True


_SEEKING = threading.Lock()


def read_at(file: IO[bytes], offset: int, size: int) -> bytes:
    """Read at an offset, whatever other threads read meanwhile."""
    if type(file) is io.BufferedReader and hasattr(os, "pread"):
        return os.pread(file.fileno(), size, offset)
    with _SEEKING:
        file.seek(offset)
        return file.read(size)


@dataclass(frozen=True)
class RawMember:
    """Compressed bytes of a member where they lie. Sizes in bytes."""

    file: IO[bytes]
    offset: int
    compressed_size: int
    size: int
    crc: int
    method: int

    def chunks(self) -> Iterator[bytes]:
        """The compressed bytes, piece by piece; others may read the file between the pieces."""
        offset, end = self.offset, self.offset + self.compressed_size
        while offset < end:
            chunk = read_at(self.file, offset, min(end - offset, CHUNK))
            if not chunk:
                raise WheelError("the archive ends inside a member")
            offset += len(chunk)
            yield chunk


@contextmanager
def open_wheel(path: Path, file: Optional[IO[bytes]] = None) -> Iterator[Wheel]:
    """Open a wheel for reading and check its structure.

    :param file: its bytes, where they have no name yet; left open.
    :raises WheelError: if it is no zip, is damaged, or has members that a careful reader refuses.
    """
    name = parse_wheel_name(path.name)
    with ExitStack() as stack:
        try:
            source = stack.enter_context(path.open("rb")) if file is None else file
            archive = stack.enter_context(zipfile.ZipFile(source))
        except _UNREADABLE as error:
            reason = getattr(error, "strerror", None) or f"not a zip archive: {error}"
            raise WheelError(f"{path}: {reason}") from None
        yield Wheel(path, source, archive, name)


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


def _parse_record_row(row: Sequence[str], where: str) -> tuple[str, Optional[RecordEntry]]:
    if len(row) != 3:
        raise WheelError(f"{where} has {len(row)} fields instead of 3")
    path, digest, size = row
    if not digest:
        return path, None
    algorithm, equals, value = digest.partition("=")
    if not equals or algorithm not in _RECORD_HASHES:
        raise WheelError(f"{where} names no hash of the SHA-2 family: {digest[:60]}")
    if size and not (size.isascii() and size.isdigit() and len(size) < 20):
        raise WheelError(f"{where} gives no size in bytes: {size[:60]}")
    return path, RecordEntry(algorithm, value.rstrip("="), int(size) if size else None)


def _check_members(wheel: str, infos: Sequence[zipfile.ZipInfo]) -> None:
    if len(infos) > MAX_MEMBERS:
        raise WheelError(f"{wheel}: {len(infos)} members are more than {MAX_MEMBERS}")
    files: set[str] = set()
    for info in infos:
        name = info.orig_filename
        fault = _name_fault(name) or _content_fault(info)
        if fault is None and info.filename != name:
            fault = "has another name in an extra field"
        if fault is None and name in files:
            fault = "is in the archive twice"
        if fault is not None:
            raise WheelError(f"{wheel}: member {name!r} {fault}")
        files.add(name)
    split = [name.split("/") for name in files]
    directories = {"/".join(parts[:length]) for parts in split for length in range(1, len(parts))}
    for name in sorted(files & directories):
        raise WheelError(f"{wheel}: member {name!r} is a file and a directory")
    size, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    if size > BOMB_TOTAL and size > BOMB_RATIO * packed:
        raise WheelError(f"{wheel}: inflates {size // max(packed, 1)}-fold; refused")


def _content_fault(info: zipfile.ZipInfo) -> Optional[str]:
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in (STORED, DEFLATED):
        return f"is compressed by method {info.compress_type}; wheels use 0 (stored) or 8 (deflated)"
    if info.file_size > MAX_MEMBER_SIZE:
        return f"is larger than {MAX_MEMBER_SIZE >> 30} GiB"
    if info.file_size > BOMB_SIZE and info.file_size > BOMB_RATIO * info.compress_size:
        return f"inflates {info.file_size // max(info.compress_size, 1)}-fold; refused"
    return None


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    """The name's bytes as they stand in the directory."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF8_NAME else "cp437", "surrogateescape")


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each extra field (APPNOTE 4.5.1); what is no whole field is padding."""
    offset = 0
    while offset + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, offset)
        yield kind, extra[offset + 4 : offset + 4 + length]
        offset += 4 + length


def _has_other_name(info: zipfile.ZipInfo, local_extra: bytes) -> bool:
    """Whether a Unicode path field (APPNOTE 4.6.9), which not every reader heeds, gives another name."""
    return any(
        content[5:] != info.orig_filename.encode("utf-8", "surrogateescape")
        for extra in (info.extra, local_extra)
        for kind, content in _extra_fields(extra)
        if kind == _UNICODE_PATH
    )


def _wide_sizes(packed: int, size: int, extra: bytes) -> tuple[int, int]:
    """Compressed and uncompressed size of a local header, out of its ZIP64 field where they stand there."""
    field = next((content for kind, content in _extra_fields(extra) if kind == _WIDE), b"")
    values = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
    size = next(values, size) if size == MAX32 else size
    return next(values, packed) if packed == MAX32 else packed, size


_UNPRINTABLE = re.compile(r"[\\\x00-\x1f\x7f]")


def _name_fault(name: str) -> Optional[str]:
    parts = (name[:-1] if name.endswith("/") else name).split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute name"
    if ".." in parts:
        return "leaves the root of the archive"
    if "" in parts or "." in parts:
        return "has a name that is not in normal form"
    if _UNPRINTABLE.search(name):
        return "has a backslash or a control character in its name"
    return None
