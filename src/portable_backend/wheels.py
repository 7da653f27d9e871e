"""Wheels as zip archives: read with suspicion, written canonically. The only user of :mod:`zipfile`.

A wheel is hostile input until it has been checked. Two zip readers can disagree about one file, so everything on
which they could is refused here: names that leave the root, duplicate names, members that overlap, local headers
that contradict the directory. Members that do not change are copied compressed as they are; nothing is unpacked.

Sources: PEP 427 and the binary distribution format of packaging.python.org; the .ZIP file format specification
(APPNOTE) 4.3.7 (local header), 4.3.12 (central directory), 4.5.3 (ZIP64).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import platform
import re
import secrets
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Optional, Union

from packaging.utils import canonicalize_name, canonicalize_version

from .errors import OutputError, WheelError
from .targets import Arch, parse_arch

MAX_MEMBERS = 500_000
MAX_MEMBER_SIZE = 4 << 30
# Deflate cannot do better than 1032:1; native code that matters compresses 2:1 to 10:1, sparse tables 100:1.
BOMB_SIZE, BOMB_RATIO = 64 << 20, 200
# All members together: what is below would be read in a few seconds.
BOMB_TOTAL = 1 << 30

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
# Flags that change how a member is read: encrypted, streamed, strongly encrypted, name in UTF-8 (APPNOTE 4.4.4).
_ENCRYPTED, _STREAMED, _UTF8_NAME = 0x1 | 0x40, 0x8, 0x800
_UNICODE_PATH = 0x7075
_CHUNK = 1 << 20
_MAX32 = 0xFFFFFFFF
_UNREADABLE = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, OverflowError)
_RECORD_HASHES = {"sha256", "sha384", "sha512"}
_FILENAME = re.compile(
    r"(?P<name>[^\s/\\-]+)-(?P<version>[^\s/\\-]+)(?:-(?P<build>[0-9][^\s/\\-]*))?"
    r"-(?P<python>[^\s/\\-]+)-(?P<abi>[^\s/\\-]+)-(?P<platform>[^\s/\\-]+)\.whl"
)


@dataclass(frozen=True)
class WheelName:
    """The parts of a wheel's file name, spelled as they stand in it."""

    name: str
    version: str
    build: Optional[str]
    python: str
    abi: str
    platform: str

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags of the compressed set."""
        return tuple(self.platform.split("."))

    @property
    def tags(self) -> tuple[str, ...]:
        """The expanded tags, as ``WHEEL`` lists them."""
        return tuple(
            f"{python}-{abi}-{platform}"
            for python in self.python.split(".")
            for abi in self.abi.split(".")
            for platform in self.platforms
        )

    def with_platforms(self, platforms: Sequence[str]) -> WheelName:
        """The name with another set of platform tags."""
        return WheelName(self.name, self.version, self.build, self.python, self.abi, ".".join(platforms))

    def __str__(self) -> str:
        parts = (self.name, self.version, self.build, self.python, self.abi, self.platform)
        return "-".join(part for part in parts if part is not None) + ".whl"


def parse_wheel_name(filename: str) -> WheelName:
    """Take a wheel's file name apart.

    :raises WheelError: if it does not follow the binary distribution format.
    """
    match = _FILENAME.fullmatch(filename)
    if match is None:
        raise WheelError(
            f"{filename}: not the file name of a wheel",
            "a wheel is named {distribution}-{version}(-{build})-{python tag}-{abi tag}-{platform tag}.whl",
        )
    return WheelName(*match.group("name", "version", "build", "python", "abi", "platform"))


def _project_of(stem: str) -> tuple[str, str]:
    """Name and version of ``name-version``, normalised: tools differ in how they escape them (PEP 491, PEP 625)."""
    name, _, version = stem.partition("-")
    return canonicalize_name(name), canonicalize_version(version.replace("_", "-"), strip_trailing_zero=False)


def arch_of_name(name: WheelName) -> Arch:
    """The architecture that a wheel's name speaks of (this machine's where it speaks of none)."""
    for platform_tag in name.platforms:
        for arch in Arch:
            if platform_tag.endswith(f"_{arch.value}"):
                return arch
    return parse_arch(platform.machine())


@dataclass(frozen=True)
class RecordEntry:
    """One line of ``RECORD``: algorithm and urlsafe-base64 digest without padding, size in bytes."""

    algorithm: str
    digest: str
    size: Optional[int]


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
        if _project_of(found[0][: -len(".dist-info")]) != _project_of(f"{self.name.name}-{self.name.version}"):
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
            end += self._check_descriptor(info, end) if info.flag_bits & _STREAMED else 0
        if end != self._archive.start_dir:
            raise WheelError(f"{self.path.name}: the bytes before the central directory belong to no member")
        self._check_end(infos)

    def _check_local_header(self, info: zipfile.ZipInfo) -> int:
        self._file.seek(info.header_offset)
        raw = self._file.read(_LOCAL_HEADER.size)
        if len(raw) != _LOCAL_HEADER.size or raw[:4] != b"PK\x03\x04":
            raise WheelError(f"{self.path.name}: {info.filename}: no local header where the directory says")
        _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL_HEADER.unpack(raw)
        name, extra = self._file.read(name_length), self._file.read(extra_length)
        found = (crc, *_wide_sizes(packed, size, extra))
        told = (info.CRC, info.compress_size, info.file_size)
        # Sizes and checksum of a streamed member follow its data; the header may leave them out.
        unsaid = (0, _MAX32) if flags & _STREAMED else ()
        agree = all(one in (other, *unsaid) for one, other in zip(found, told))
        agree = agree and name == _raw_name(info) and method == info.compress_type
        agree = agree and not (flags ^ info.flag_bits) & (_ENCRYPTED | _STREAMED | _UTF8_NAME)
        if not agree:
            raise WheelError(f"{self.path.name}: {info.filename}: its local header contradicts the directory")
        if _has_other_name(info, extra):
            raise WheelError(f"{self.path.name}: {info.filename}: has another name in an extra field")
        return int(info.header_offset + _LOCAL_HEADER.size + name_length + extra_length)

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
        """See that nothing but the end record follows the directory, and that it says of it what is true."""
        start = self._archive.start_dir
        size = sum(46 + len(_raw_name(info)) + len(info.extra) + len(info.comment) for info in infos)
        self._file.seek(start + size)
        tail = self._file.read(4096)
        wanted = [len(infos), len(infos), size, start]
        wide = tail[:4] == b"PK\x06\x06" and len(tail) == 56 + 20 + 22
        agree = len(tail) == (98 if wide else 22) and tail[-22:-18] == b"PK\x05\x06"
        if agree and wide:
            agree = list(struct.unpack_from("<4Q", tail, 24)) == wanted
            agree = agree and struct.unpack_from("<4sIQ", tail, 56) == (b"PK\x06\x07", 0, start + size)
        if agree:
            fields = struct.unpack_from("<2H2I", tail, len(tail) - 14)
            limits = (0xFFFF, 0xFFFF, _MAX32, _MAX32)
            agree = all(one == other or (wide and one == limit) for one, other, limit in zip(fields, wanted, limits))
        if not agree:
            raise WheelError(f"{self.path.name}: the end of the archive contradicts the directory, or is not its end")

    def size(self, member: str) -> int:
        """Uncompressed size in bytes."""
        return self._infos[member].file_size

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
        return b"".join(self._chunks(member))

    def examine(self, member: str, wanted: bytes, algorithm: str = "sha256") -> tuple[str, Optional[bytes]]:
        """Read a member once: its digest as ``RECORD`` writes it, and its bytes if they start with ``wanted``.

        What is not wanted is never held in memory whole.

        :raises WheelError: if the compressed data are damaged or inflate beyond reason.
        """
        state = hashlib.new(algorithm)
        kept: Optional[list[bytes]] = []
        head = b""
        for chunk in self._chunks(member):
            state.update(chunk)
            if kept is not None:
                kept.append(chunk)
                head = (head + chunk)[: len(wanted)]  # the first chunk may be shorter than what is looked for
                kept = kept if wanted.startswith(head) else None
        return _record_digest(state.digest()), None if kept is None or head != wanted else b"".join(kept)

    def _chunks(self, member: str) -> Iterator[bytes]:
        """The bytes of a member, piece by piece; its size and checksum are verified at the end.

        :mod:`zipfile` would cut what inflates to more than the headers say, and other readers would not.
        """
        raw = self.raw(member)
        size = crc = 0
        try:
            for chunk in raw.chunks() if raw.method == zipfile.ZIP_STORED else _inflate(raw.chunks()):
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

        :raises WheelError: if it is not UTF-8.
        """
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
            self.file.seek(offset)
            chunk = self.file.read(min(end - offset, _CHUNK))
            if not chunk:
                raise WheelError("the archive ends inside a member")
            offset += len(chunk)
            yield chunk


def _inflate(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Inflate a raw deflate stream (RFC 1951) in pieces of limited size.

    :raises zlib.error: if it is damaged, incomplete, or followed by anything.
    """
    inflater = zlib.decompressobj(-15)
    for packed in chunks:
        left, filled = packed, True
        while left or filled:
            chunk = inflater.decompress(left, _CHUNK)
            left, filled = inflater.unconsumed_tail, len(chunk) == _CHUNK
            if chunk:
                yield chunk
    if not inflater.eof or inflater.unused_data:
        raise zlib.error("the compressed data are incomplete, or followed by others")


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


def _record_digest(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


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
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {info.compress_type}; wheels use 0 (stored) or 8 (deflated)"
    if info.file_size > MAX_MEMBER_SIZE:
        return f"is larger than {MAX_MEMBER_SIZE >> 30} GiB"
    if info.file_size > BOMB_SIZE and info.file_size > BOMB_RATIO * info.compress_size:
        return f"inflates {info.file_size // max(info.compress_size, 1)}-fold; refused"
    return None


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    """The name's bytes as they stand in the directory."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8_NAME else "cp437", "surrogateescape")


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
    field = next((content for kind, content in _extra_fields(extra) if kind == 1), b"")
    values = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
    size = next(values, size) if size == _MAX32 else size
    return next(values, packed) if packed == _MAX32 else packed, size


def _name_fault(name: str) -> Optional[str]:
    parts = (name[:-1] if name.endswith("/") else name).split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute name"
    if ".." in parts:
        return "leaves the root of the archive"
    if "" in parts or "." in parts:
        return "has a name that is not in normal form"
    if "\\" in name or any(ord(character) < 32 or character == "\x7f" for character in name):
        return "has a backslash or a control character in its name"
    return None


# --- writing ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewMember:
    """A member of a wheel to be written: new bytes, or those of another archive copied compressed.

    ``digest`` is what ``RECORD`` says of it, as ``sha256=…``; of bytes it is computed.
    """

    name: str
    content: Union[bytes, RawMember]
    executable: bool = False
    digest: Optional[str] = None

    @property
    def size(self) -> int:
        """Uncompressed size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size


def digest_of(data: bytes) -> str:
    """The sha256 digest of bytes as ``RECORD`` writes it, with the name of the algorithm."""
    return "sha256=" + _record_digest(hashlib.sha256(data).digest())


def canonical_order(members: Sequence[NewMember], dist_info: str) -> list[NewMember]:
    """Members sorted by name, the ``.dist-info`` directory behind all others (PEP 427 recommends that)."""
    return sorted(
        members,
        key=lambda member: (member.name.startswith(dist_info + "/"), member.name.encode("utf-8", "surrogateescape")),
    )


def make_record(members: Sequence[NewMember], dist_info: str) -> NewMember:
    """The ``RECORD`` of these members, in their order, itself last and without a hash."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for member in members:
        digest = digest_of(member.content) if isinstance(member.content, bytes) else member.digest
        writer.writerow((member.name, digest, member.size))
    writer.writerow((f"{dist_info}/RECORD", "", ""))
    return NewMember(f"{dist_info}/RECORD", text.getvalue().encode("utf-8", "surrogateescape"))


def write_archive(file: IO[bytes], members: Sequence[NewMember], timestamp: int, level: int = 6) -> None:
    """Write members as a zip archive whose bytes depend on nothing but the arguments.

    :param file: where to write, at its beginning.
    :param members: in the order in which they shall lie in the archive.
    :param timestamp: seconds since 1970 UTC, for all members (the format cannot say less than 1980, or odd seconds).
    :param level: deflate level of members that are given as bytes, 0 (stored) to 9.
    """
    when = _dos_time(timestamp)
    directory = io.BytesIO()
    offset = 0
    for member in members:
        entry = _compress(member, level)
        header = _local_header(entry, when)
        file.write(header)
        for chunk in entry.chunks():
            file.write(chunk)
        directory.write(_directory_header(entry, when, offset))
        offset += len(header) + entry.compressed_size
    file.write(directory.getvalue())
    file.write(_end_of_directory(len(members), len(directory.getvalue()), offset))


@dataclass(frozen=True)
class _Entry:
    """A member that is ready to be laid down: compressed, measured, its checksum known."""

    name: bytes
    executable: bool
    method: int
    crc: int
    size: int
    compressed_size: int
    data: Union[bytes, RawMember]

    def chunks(self) -> Iterator[bytes]:
        return iter((self.data,)) if isinstance(self.data, bytes) else self.data.chunks()


def _compress(member: NewMember, level: int) -> _Entry:
    name, content = member.name.encode("utf-8", "surrogateescape"), member.content
    if isinstance(content, RawMember):
        return _Entry(
            name, member.executable, content.method, content.crc, content.size, content.compressed_size, content
        )
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush() if level else content
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    return _Entry(name, member.executable, method, zlib.crc32(content), len(content), len(packed), packed)


# Version 2.0 of the format for deflate, 4.5 for ZIP64; 3 << 8 says that the attributes are UNIX modes.
_ZIP20, _ZIP45, _UNIX = 20, 45, 3 << 8


def _zip64(entry: _Entry) -> bool:
    return max(entry.size, entry.compressed_size) >= _MAX32


def _flags(entry: _Entry) -> int:
    return 0 if entry.name.isascii() else _UTF8_NAME


def _local_header(entry: _Entry, when: tuple[int, int]) -> bytes:
    large = _zip64(entry)
    extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.compressed_size) if large else b""
    sizes = (_MAX32, _MAX32) if large else (entry.compressed_size, entry.size)
    version = _ZIP45 if large else _ZIP20
    fixed = (version, _flags(entry), entry.method, *when, entry.crc, *sizes, len(entry.name), len(extra))
    return _LOCAL_HEADER.pack(b"PK\x03\x04", *fixed) + entry.name + extra


def _directory_header(entry: _Entry, when: tuple[int, int], offset: int) -> bytes:
    # A ZIP64 field holds, in this order, just those values that do not fit their 32 bits.
    wide = [value for value in (entry.size, entry.compressed_size) if _zip64(entry)] + [offset] * (offset >= _MAX32)
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    sizes = (_MAX32, _MAX32) if _zip64(entry) else (entry.compressed_size, entry.size)
    version = _ZIP45 if wide else _ZIP20
    mode = stat.S_IFREG | (0o755 if entry.executable else 0o644)
    return (
        struct.pack(
            "<4s6H3I5H2I",
            b"PK\x01\x02", _UNIX | version, version, _flags(entry), entry.method, *when, entry.crc, *sizes,
            len(entry.name), len(extra), 0, 0, 0, mode << 16, min(offset, _MAX32),
        )
        + entry.name
        + extra
    )  # fmt: skip


def _end_of_directory(count: int, size: int, offset: int) -> bytes:
    end = b""
    if count >= 0xFFFF or size >= _MAX32 or offset >= _MAX32:
        end = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, _UNIX | _ZIP45, _ZIP45, 0, 0, count, count, size, offset)
        end += struct.pack("<4sIQI", b"PK\x06\x07", 0, offset + size, 1)
    count, size, offset = min(count, 0xFFFF), min(size, _MAX32), min(offset, _MAX32)
    return end + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, size, offset, 0)


def _dos_time(timestamp: int) -> tuple[int, int]:
    """Time and date words of the format (APPNOTE 4.4.6), in UTC, clamped to the years that it can express."""
    year, month, day, hour, minute, second = time.gmtime(min(max(timestamp, 315532800), 4354819198))[:6]
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day


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
        scratch = directory / f".{destination.name}.{os.getpid()}-{secrets.token_hex(4)}.part"
        handle, nameless = _open_scratch(directory, scratch)
        try:
            with os.fdopen(handle, "w+b") as file:
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


_SCRATCH = re.compile(r"\..+\.([0-9]+)-[0-9a-f]{8}\.part")


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
