"""Deflate that gives the same bytes on every machine, in pieces that several threads can work on.

zlib's bytes are not the same everywhere: its replacements (zlib-ng, those of some distributions) compress otherwise.
So libdeflate comes along, in the package ``deflate``, where that has wheels; zlib is the fallback.

libdeflate has no streams: a stretch of bytes goes in, a complete stream comes out. What is longer than a piece is
compressed piece by piece, and the streams are joined: the last block of each but the last is told not to be the last,
and an empty stored block behind it leads to the next byte (what zlib calls a sync flush). docs/explanation/writing.md
tells how the last block is found.

Source: RFC 1951, 3.2.3 (block header), 3.2.4 (stored blocks), 3.2.6 (fixed codes).
"""

from __future__ import annotations

import zlib

from ..records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]
    Packed = Union[bytes, bytearray]

# The bytes depend on it, so it is a constant. Two or three are in memory for each thread.
PIECE = 8 << 20
_WINDOW = 32 << 10
# One look at so much shows the whole of most blocks, which hold up to 300,000 bytes.
_BLOCK = 48 << 10
# The headers of a block with its own codes (3.2.7) and of a few hundred symbols behind it fit in here.
_HEAD, _PROBE = 1 << 10, 128
# A last block with fixed codes and nothing in it: ten bits.
_EMPTY_LAST = 0b0000000_01_1


class Compressor(NamedTuple):
    """A way to deflate.

    :param name: ``libdeflate`` or ``zlib``.
    :param portable: whether its bytes are the same on every machine.
    :param piece: deflates a piece at a level of 1 to 9; what is not the last piece of its stream ends between bytes.
    """

    name: str
    portable: bool
    piece: Callable[[Buffer, int, bool], Packed]


def find_compressor() -> Compressor:
    """libdeflate where it is installed, else zlib."""
    try:
        import deflate
    except ImportError:
        return Compressor("zlib", False, _zlib_piece)
    whole: Callable[[Buffer, int], Packed] = deflate.deflate_compress

    def piece(data: Buffer, level: int, last: bool) -> Packed:
        packed = whole(data, level)
        return packed if last else open_ended(packed, memoryview(data))

    return Compressor("libdeflate", True, piece)


def _zlib_piece(data: Buffer, level: int, last: bool) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


def open_ended(packed: Packed, content: memoryview) -> bytearray:
    """A complete stream turned into the beginning of a longer one, which continues at the next byte.

    :param packed: a deflate stream; where it can be changed, it becomes the result, since it may be large.
    :param content: what it inflates to.
    :raises ValueError: if it does not.
    """
    start, end = _find_last_block(packed, content)
    # Three zero bits begin a stored block, and the rest of their byte is skipped; do they fit behind the last code?
    fits = 8 * len(packed) - end >= 3
    result = packed if isinstance(packed, bytearray) else bytearray(packed)
    result[start >> 3] &= ~(1 << (start & 7)) & 0xFF
    result += b"\x00\x00\xff\xff" if fits else b"\x00\x00\x00\xff\xff"
    return result


def _find_last_block(packed: Packed, content: memoryview) -> tuple[int, int]:
    """Where the last block begins, and where its last code ends, in bits. The compiled inflater passes by both."""
    try:
        from .. import _native
    except ImportError:
        return _search_last_block(packed, content)
    return _native.last_block(packed)


def _search_last_block(packed: Packed, content: memoryview) -> tuple[int, int]:
    start = done = 0
    while not _bits(packed, start, 1):
        start, done = _next_block(packed, start, content, done)
    # The last byte is filled up with zeros, its highest bits; which of them are a code's?
    padding = min(7, 8 - packed[-1].bit_length())
    ends = [8 * len(packed) - unused for unused in range(padding + 1)]
    return start, _end_among(ends, packed, start, content[done:], _history(content, done))


def _bits(packed: Packed, start: int, count: int) -> int:
    """Up to nine bits from a position on, the first the least."""
    return int.from_bytes(packed[start >> 3 : (start >> 3) + 2], "little") >> (start & 7) & (1 << count) - 1


def _shifted(packed: Packed, start: int, size: int) -> int:
    """So many bytes of the stream from a bit on, as a number whose lowest bit is that one."""
    first = start >> 3
    return int.from_bytes(packed[first : first + size], "little") >> (start & 7)


def _history(content: memoryview, done: int) -> bytes:
    """What a block may refer back to."""
    return bytes(content[max(0, done - _WINDOW) : done])


def _next_block(packed: Packed, start: int, content: memoryview, done: int) -> tuple[int, int]:
    """Where the block behind the one at ``start`` begins, and how much is inflated by then."""
    if _bits(packed, start, 3) >> 1 == 0:
        at = (start + 3 + 7) >> 3
        size = int.from_bytes(packed[at : at + 2], "little")
        return 8 * (at + 4 + size), done + size
    size = _BLOCK
    while True:
        # Alone and called the last, the block ends its stream, and the inflater tells in which byte.
        block = (_shifted(packed, start, size) | 1).to_bytes(size, "little")
        inflater = zlib.decompressobj(-15, zdict=_history(content, done))
        inflated = inflater.decompress(block)
        if inflater.eof:
            break
        if size >= len(packed):
            raise ValueError("a deflate stream ends inside a block")
        size *= 4
    if inflated != content[done : done + len(inflated)]:
        raise ValueError("a deflate stream inflates to something else")
    after = done + len(inflated)
    latest = start + 8 * (size - len(inflater.unused_data))
    ends = [end for end in range(latest - 7, latest + 1) if _begins_block(packed, end, content, after)]
    if len(ends) == 1:
        return ends[0], after
    # Before a stored block there are bits of no meaning, so that it seems to begin at several.
    return _end_among(ends, packed, start, content[done:after], _history(content, done)), after


def _begins_block(packed: Packed, start: int, content: memoryview, done: int) -> bool:
    """Whether a block that gives the next bytes of the content begins at a bit."""
    if _bits(packed, start, 3) >> 1 == 0:
        at = (start + 3 + 7) >> 3
        size = int.from_bytes(packed[at : at + 2], "little")
        straight = size ^ int.from_bytes(packed[at + 2 : at + 4], "little") == 0xFFFF
        return straight and memoryview(packed)[at + 4 : at + 4 + size] == content[done : done + size]
    if _bits(packed, start, 3) >> 1 == 3:
        return False
    block = (_shifted(packed, start, _HEAD) | 1).to_bytes(_HEAD, "little")
    inflater = zlib.decompressobj(-15, zdict=_history(content, done))
    try:
        probe = inflater.decompress(block, _PROBE)
    except zlib.error:
        return False
    whole = inflater.eof or len(probe) == min(_PROBE, len(content) - done)
    return whole and probe == content[done : done + len(probe)]


def _end_among(ends: list[int], packed: Packed, start: int, content: memoryview, history: bytes) -> int:
    """The bit behind a block: the one at which an empty last block can be put without a change of what it gives."""
    if _bits(packed, start, 3) >> 1 == 0:
        return max(ends)
    size = (max(ends) - start) // 8 + 4
    bits = _shifted(packed, start, size) & ~1
    for end in ends:
        low = bits & (1 << (end - start)) - 1
        inflater = zlib.decompressobj(-15, zdict=history)
        try:
            inflated = inflater.decompress((low | _EMPTY_LAST << (end - start)).to_bytes(size, "little"))
        except zlib.error:
            continue
        if inflater.eof and inflated == content:
            return end
    raise ValueError("a deflate stream has no end where it should be")
