"""The central directory of a zip archive, read strictly: what two readers could take for different things is refused.

The archive ends with its end record, right in front of which its directory lies, and the directory accounts for every
byte in front of *that*: members lie one behind the other, each behind a local header that says what the directory says.
So there is one way to read an archive that is accepted here, and most of :mod:`zipfile` would be spent on the others.

Source: the .ZIP file format specification (APPNOTE) 4.3.7 (local header), 4.3.9 (data descriptor), 4.3.12 (central
directory), 4.3.14 to 4.3.16 (end records), 4.5.3 (ZIP64), 4.6.9 (Unicode path).
"""

from __future__ import annotations

import struct

from ..errors import WheelError
from ..records import NamedTuple
from .layout import ENCRYPTED, LOCAL_HEADER, MAX32, STORED, STREAMED, UTF8_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    #: Reads up to so many bytes at an offset; fewer where the file ends.
    ReadAt = Callable[[int, int], bytes]

MAX_MEMBERS = 500_000
# Half a kilobyte for each of that many members.
_MAX_DIRECTORY = 256 << 20

_DIRECTORY_HEADER = struct.Struct("<4s4H2H3I5H2I")
_END, _WIDE_END, _LOCATOR = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_LONGEST_COMMENT = 0xFFFF
# Version 6.3 of the format; what newer ones may have, readers refuse.
_NEWEST = 63
_WIDE, _UNICODE_PATH = 0x0001, 0x7075


class Entry(NamedTuple):
    """A member as the directory describes it. Sizes and offsets in bytes."""

    name: str
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    offset: int
    """Of the local header."""
    attributes: int
    """External attributes: a POSIX mode in the upper half."""
    extra: bytes


class Found(NamedTuple):
    """A directory as it lies in an archive: its bytes, where it begins, and how many members it is said to have."""

    data: bytes
    start: int
    said: int


class Directory(NamedTuple):
    """All members, in the order of the directory; where in it the header of each is, its bytes, and where it begins."""

    entries: Sequence[Entry]
    places: Sequence[int]
    data: bytes
    start: int


def find_directory(read_at: ReadAt, size: int, wheel: str) -> Found:
    """Find the directory of an archive of that size.

    :param wheel: what errors call the archive.
    :raises WheelError: if it is no archive, or one of which the end says what is not true.
    """
    first = max(0, size - _END.size - _LONGEST_COMMENT)
    tail = read_at(first, size - first)
    at = _find_end(tail, wheel)
    _, disk, its_disk, here, count, length, start, _ = _END.unpack_from(tail, at)
    end = first + at
    wide_at = at - _LOCATOR.size - _WIDE_END.size
    if at >= _LOCATOR.size and tail.startswith(b"PK\x06\x07", at - _LOCATOR.size):
        narrow = (disk, its_disk, here, count, length, start)
        if wide_at < 0:
            raise _contradiction(wheel)
        end = first + wide_at
        count, length, start = _read_wide(tail, wide_at, end, narrow, wheel)
    elif (disk, its_disk, here) != (0, 0, count):
        raise _contradiction(wheel)
    if start + length != end:
        raise _contradiction(wheel)
    if count > MAX_MEMBERS or length > _MAX_DIRECTORY:
        raise WheelError(
            f"{wheel}: {count} members in {length} bytes of directory are more than a wheel has reason for"
        )
    data = tail[start - first : start - first + length] if start >= first else read_at(start, length)
    if len(data) != length:
        raise _contradiction(wheel)
    return Found(data, start, count)


def read_directory(found: Found, wheel: str) -> Directory:
    """Read a directory.

    :raises WheelError: if the end of the archive says what is not true of it, or no reader is to be trusted with it.
    """
    entries, places = _parse_entries(found.data, wheel)
    if len(entries) != found.said:
        raise _contradiction(wheel)
    return Directory(entries, places, found.data, found.start)


def _no_archive(wheel: str, why: str) -> WheelError:
    return WheelError(f"{wheel}: not a zip archive: {why}")


def _contradiction(wheel: str) -> WheelError:
    return WheelError(f"{wheel}: the end of the archive contradicts the directory, or is not its end")


def _find_end(tail: bytes, wheel: str) -> int:
    """Where the end record begins: at the very end, but for a comment (early maturin's reads ``zip-rs``).

    The comment must not be able to pass for another end record.
    """
    at = len(tail) - _END.size
    if at >= 0 and tail.startswith(b"PK\x05\x06", at) and tail.endswith(b"\0\0"):
        return at
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise _no_archive(wheel, "there is no end record")
    comment = tail[at + _END.size :]
    if len(comment) != _END.unpack_from(tail, at)[-1] or b"PK" in comment:
        raise _contradiction(wheel)
    return at


def _read_wide(
    tail: bytes, at: int, offset: int, narrow: tuple[int, int, int, int, int, int], wheel: str
) -> tuple[int, int, int]:
    """Number of entries, length and start of the directory, out of the end record of ZIP64 (APPNOTE 4.3.14)."""
    found = _WIDE_END.unpack_from(tail, at)
    locator = _LOCATOR.unpack_from(tail, at + _WIDE_END.size)
    size, disks, (here, count, length, start) = found[1], found[4:6], found[6:]
    agree = found[0] == b"PK\x06\x06" and size == _WIDE_END.size - 12 and disks == (0, 0) and here == count
    agree = agree and locator[1] == 0 and locator[2] == offset and locator[3] <= 1
    # The narrow record says the same, or that it cannot.
    limits = (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, MAX32, MAX32)
    agree = agree and all(
        one in (other, limit) for one, other, limit in zip(narrow, (0, 0, count, count, length, start), limits)
    )
    if not agree:
        raise _contradiction(wheel)
    return count, length, start


def _parse_entries(data: bytes, wheel: str) -> tuple[list[Entry], list[int]]:
    entries, places = [], []
    offset, end = 0, len(data)
    unpack, fixed, make = _DIRECTORY_HEADER.unpack_from, _DIRECTORY_HEADER.size, Entry._make
    shared: dict[int, int] = {}  # there are few different attributes, and one object is enough for each
    while offset < end:
        if end - offset < fixed:
            raise _contradiction(wheel)
        (
            magic, _, version, flags, method, _, _, crc, packed, size, name_length, extra_length, comment_length,
            disk, _, attributes, local,
        ) = unpack(data, offset)  # fmt: skip
        at = offset + fixed
        raw_name = data[at : at + name_length]
        extra = data[at + name_length : at + name_length + extra_length] if extra_length else b""
        after = at + name_length + extra_length + comment_length
        if magic != b"PK\x01\x02" or after > end or disk:
            raise _contradiction(wheel)
        if version > _NEWEST:
            raise _no_archive(wheel, f"a member needs version {version // 10}.{version % 10} of the format")
        if extra and sum(4 + length for length in _field_lengths(extra)) > len(extra):
            raise _no_archive(wheel, "an extra field of a member is longer than all of them")  # zipfile refuses it, too
        if MAX32 in (packed, size, local):
            size, packed, local = _widened(size, packed, local, extra, wheel)
        name = raw_name.decode("ascii") if raw_name.isascii() else _decode(raw_name, flags, wheel)
        attributes = shared.setdefault(attributes, attributes)
        entries.append(make((name, flags, method, crc, packed, size, local, attributes, extra)))
        places.append(offset)
        offset = after
    return entries, places


def _decode(raw_name: bytes, flags: int, wheel: str) -> str:
    try:
        return raw_name.decode("utf-8" if flags & UTF8_NAME else "cp437")
    except UnicodeDecodeError as error:
        raise _no_archive(wheel, f"a name is not UTF-8: {error}") from None


def extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each extra field (APPNOTE 4.5.1); what is no whole field is padding."""
    offset = 0
    while offset + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, offset)
        yield kind, extra[offset + 4 : offset + 4 + length]
        offset += 4 + length


def _field_lengths(extra: bytes) -> Iterator[int]:
    """How long each extra field says that it is."""
    offset = 0
    while offset + 4 <= len(extra):
        (length,) = struct.unpack_from("<H", extra, offset + 2)
        yield length
        offset += 4 + length


def _widened(size: int, packed: int, local: int, extra: bytes, wheel: str) -> tuple[int, int, int]:
    """Sizes and offset, those that are 0xFFFFFFFF out of the ZIP64 field, in which just they stand, in this order."""
    field = next((content for kind, content in extra_fields(extra) if kind == _WIDE), None)
    if field is None:
        return size, packed, local
    wide = [*struct.unpack_from(f"<{len(field) // 8}Q", field)]
    if len(wide) < (size, packed, local).count(MAX32):
        raise _no_archive(wheel, "a ZIP64 field is too short for what it has to say")
    size = wide.pop(0) if size == MAX32 else size
    packed = wide.pop(0) if packed == MAX32 else packed
    return size, packed, wide.pop(0) if local == MAX32 else local


def find_data(directory: Directory, read_at: ReadAt, wheel: str) -> list[int]:
    """Where the data of each member begin, in the order of the directory.

    :raises WheelError: if a local header contradicts the directory, or if a byte belongs to two members, or to none.
    """
    end = 0
    entries, places, data, fixed = directory.entries, directory.places, directory.data, _DIRECTORY_HEADER.size
    offsets = [entry.offset for entry in entries]
    found = [0] * len(entries)
    for index in sorted(range(len(entries)), key=offsets.__getitem__):
        entry, place = entries[index], places[index]
        if entry.offset != end:
            what = "its bytes overlap those of another member" if entry.offset < end else _NOBODY
            raise WheelError(f"{wheel}: {entry.name}: {what}")
        said = data[place + 8 : place + 30]  # flags to length of the name, as they stand in the local header, too
        name_start = place + fixed
        raw_name = data[name_start : name_start + said[20] + (said[21] << 8)]
        found[index] = start = _check_local(entry, said, raw_name, read_at, wheel)
        end = start + entry.compressed_size
        if entry.flags & STREAMED:
            end += _check_descriptor(entry, read_at(end, 24), wheel)
    if end != directory.start:
        raise WheelError(f"{wheel}: the bytes before the central directory belong to no member")
    return found


_NOBODY = "the bytes before it belong to no member"


def _check_local(entry: Entry, said: bytes, raw_name: bytes, read_at: ReadAt, wheel: str) -> int:
    """Where the member's data begin, behind a local header that agrees."""
    length = LOCAL_HEADER.size + len(raw_name)
    raw = read_at(entry.offset, length)
    # Nearly all are the same to the byte, without an extra field, and without sizes that follow the data.
    if (
        raw.startswith(b"PK\x03\x04")
        and raw.endswith(b"\0\0" + raw_name)
        and len(raw) == length
        and raw[6:28] == said
        and not entry.extra
        and not entry.flags & STREAMED
    ):
        return entry.offset + length
    return _check_local_with_care(entry, raw_name, read_at, wheel)


def _check_local_with_care(entry: Entry, raw_name: bytes, read_at: ReadAt, wheel: str) -> int:
    raw = read_at(entry.offset, LOCAL_HEADER.size)
    if len(raw) != LOCAL_HEADER.size or raw[:4] != b"PK\x03\x04":
        raise WheelError(f"{wheel}: {entry.name}: no local header where the directory says")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = LOCAL_HEADER.unpack(raw)
    behind = read_at(entry.offset + LOCAL_HEADER.size, name_length + extra_length)
    name, extra = behind[:name_length], behind[name_length:]
    found = (crc, *_wide_sizes(packed, size, extra))
    told = (entry.crc, entry.compressed_size, entry.size)
    # Sizes and checksum of a streamed member follow its data; the header may leave them out.
    unsaid = (0, MAX32) if flags & STREAMED else ()
    agree = all(one in (other, *unsaid) for one, other in zip(found, told))
    agree = agree and name == raw_name and method == entry.method
    agree = agree and not (flags ^ entry.flags) & (ENCRYPTED | STREAMED | UTF8_NAME)
    if not agree:
        raise WheelError(f"{wheel}: {entry.name}: its local header contradicts the directory")
    if flags & STREAMED and method == STORED and found[1] != entry.compressed_size:
        raise WheelError(f"{wheel}: {entry.name}: only the directory says where its bytes end")
    if _has_other_name(entry, extra):
        raise WheelError(f"{wheel}: {entry.name}: has another name in an extra field")
    if any([kind for kind, _ in extra_fields(each)].count(_WIDE) > 1 for each in (entry.extra, extra)):
        raise WheelError(f"{wheel}: {entry.name}: gives its sizes in two extra fields")
    return int(entry.offset + LOCAL_HEADER.size + name_length + extra_length)


def _check_descriptor(entry: Entry, raw: bytes, wheel: str) -> int:
    """The length of the data descriptor behind a streamed member (APPNOTE 4.3.9: four shapes are in use)."""
    values = entry.crc, entry.compressed_size, entry.size
    shapes = ("<I2I", "<I2Q") if max(values) <= MAX32 else ("<I2Q",)
    for shape in shapes:
        wanted = struct.pack(shape, *values)
        for descriptor in (b"PK\x07\x08" + wanted, wanted):
            if raw.startswith(descriptor):
                return len(descriptor)
    raise WheelError(f"{wheel}: {entry.name}: its data descriptor contradicts the directory")


def _has_other_name(entry: Entry, local_extra: bytes) -> bool:
    """Whether a Unicode path field (APPNOTE 4.6.9), which not every reader heeds, gives another name."""
    return any(
        content[5:] != entry.name.encode("utf-8", "surrogateescape")
        for extra in (entry.extra, local_extra)
        for kind, content in extra_fields(extra)
        if kind == _UNICODE_PATH
    )


def _wide_sizes(packed: int, size: int, extra: bytes) -> tuple[int, int]:
    """Compressed and uncompressed size of a local header, out of its ZIP64 field where they stand there."""
    field = next((content for kind, content in extra_fields(extra) if kind == _WIDE), b"")
    values = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
    size = next(values, size) if size == MAX32 else size
    return next(values, packed) if packed == MAX32 else packed, size


__all__ = [
    "MAX_MEMBERS",
    "Directory",
    "Entry",
    "Found",
    "extra_fields",
    "find_data",
    "find_directory",
    "read_directory",
]
