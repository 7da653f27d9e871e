"""Lay down zip archives field by field, so that a test can make one field lie (APPNOTE 4.3.7, 4.3.12, 4.3.16)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional


@dataclass
class Part:
    """One member. What is ``None`` is what the data say; the ``local_`` and ``central_`` fields may lie."""

    name: bytes
    data: bytes = b""
    method: int = 8
    flags: int = 0x800
    attributes: int = 0o100644 << 16
    local_name: Optional[bytes] = None
    local_flags: Optional[int] = None
    local_method: Optional[int] = None
    local_crc: Optional[int] = None
    local_packed: Optional[int] = None
    local_size: Optional[int] = None
    local_extra: bytes = b""
    central_crc: Optional[int] = None
    central_packed: Optional[int] = None
    central_size: Optional[int] = None
    central_offset: Optional[int] = None
    central_extra: bytes = b""
    packed: Optional[bytes] = None
    """The compressed bytes, where they shall not be those of ``data``."""
    behind: bytes = b""
    """What follows the compressed bytes: a data descriptor, or what has no business there."""
    signature: bytes = b"PK\x03\x04"


@dataclass
class Archive:
    """A whole archive."""

    parts: Sequence[Part]
    before: bytes = b""
    between: bytes = b""
    """Bytes between the last member and the directory."""
    comment: bytes = b""
    after: bytes = b""
    count: Optional[int] = None
    offsets: dict[bytes, int] = field(default_factory=dict)

    def bytes(self) -> bytes:
        """The archive."""
        data, directory = bytearray(self.before), bytearray()
        for part in self.parts:
            packed = _pack(part) if part.packed is None else part.packed
            crc = zlib.crc32(part.data)
            offset = self.offsets.setdefault(part.name, len(data))
            name = _first(part.local_name, part.name)
            data += part.signature + struct.pack(
                "<5H3I2H",
                20,
                _first(part.local_flags, part.flags),
                _first(part.local_method, part.method),
                0,
                33,
                _first(part.local_crc, crc),
                _first(part.local_packed, len(packed)),
                _first(part.local_size, len(part.data)),
                len(name),
                len(part.local_extra),
            )
            data += name + part.local_extra + packed + part.behind
            directory += b"PK\x01\x02" + struct.pack(
                "<6H3I5H2I",
                3 << 8 | 20,
                20,
                part.flags,
                part.method,
                0,
                33,
                _first(part.central_crc, crc),
                _first(part.central_packed, len(packed)),
                _first(part.central_size, len(part.data)),
                len(part.name),
                len(part.central_extra),
                0,
                0,
                0,
                part.attributes,
                _first(part.central_offset, offset),
            )
            directory += part.name + part.central_extra
        data += self.between
        count = len(self.parts) if self.count is None else self.count
        end = struct.pack("<4H2IH", 0, 0, count, count, len(directory), len(data), len(self.comment))
        return bytes(data + directory + b"PK\x05\x06" + end + self.comment + self.after)


def _first(value: Optional[object], default: object) -> object:
    return default if value is None else value


def _pack(part: Part) -> bytes:
    if part.method != 8:
        return part.data
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(part.data) + packer.flush()


def descriptor(part_data: bytes, packed_size: int, *, crc: Optional[int] = None) -> bytes:
    """The data descriptor that follows a streamed member (APPNOTE 4.3.9), with its signature."""
    return b"PK\x07\x08" + struct.pack(
        "<3I", zlib.crc32(part_data) if crc is None else crc, packed_size, len(part_data)
    )
