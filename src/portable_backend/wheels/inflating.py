"""Deflated data in pieces: by the compiled inflater, or by zlib where that was not built. Both accept the same streams.

Source: RFC 1951.
"""

from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Optional, Union

    Piece = Union[bytes, memoryview]

try:
    from .. import _native
except ImportError:
    _native = None  # type: ignore[assignment]  # a module, or nothing where it is not built

#: What the compiled inflater writes at once, besides its window of 32 KiB. Small enough for a processor's own memory.
BUFFER = 288 << 10
_OUTPUT, _END, _DAMAGED = 1, 2, 3
BROKEN = "the compressed data are damaged"
WHOLE = "the compressed data are incomplete, or followed by others"
ANOTHER = "its data have another size or checksum than its headers say"
# What ends a call for many members: there are no more, the last one begins like an ELF file, or the next is not well.
_NO_MORE, _ELF = 0, 1
_REASONS = {2: BROKEN, 3: WHOLE, 4: ANOTHER}


def inflated(chunks: Iterable[bytes], buffer: Optional[bytearray] = None) -> Iterator[Piece]:
    """Inflate a raw deflate stream in pieces of limited size; each is valid until the next is asked for.

    :param buffer: of :data:`BUFFER` bytes, to use again; one at a time.
    :raises zlib.error: if the stream is damaged, incomplete, or followed by anything.
    """
    if _native is None:
        return _inflated_by_zlib(chunks)
    return _inflated(chunks, bytearray(BUFFER) if buffer is None else buffer)


def _inflated(chunks: Iterable[bytes], buffer: bytearray) -> Iterator[Piece]:
    state = _native.new_inflater()
    view = memoryview(buffer)
    outcome = 0
    for packed in chunks:
        if outcome == _END and packed:
            raise zlib.error(WHOLE)
        offset, outcome = 0, _OUTPUT
        while outcome == _OUTPUT:
            outcome, offset, start, end = _native.inflate(state, packed, offset, buffer)
            if start < end:
                yield view[start:end]
        if outcome == _DAMAGED:
            raise zlib.error(BROKEN)
        if offset != len(packed):
            raise zlib.error(WHOLE)
    if outcome != _END:
        raise zlib.error(WHOLE)


def hashes_fast() -> bool:
    """Whether the compiled code is there and hashes as fast as :mod:`hashlib`."""
    return _native is not None and _native.hashes_fast()


class WholeInflater:
    """Inflates streams that are at hand whole, one after the other, each over the bytes of the one before.

    :param most: bytes that one of them may inflate to.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._state = None if _native is None else _native.new_inflater()
        # What lies behind tells a stream that has more to say; the inflater wants room for its words.
        self._buffer = bytearray(most + _SLACK if _native is not None else 0)
        self._view = memoryview(self._buffer)

    def inflate(self, packed: bytes, offset: int, length: int) -> memoryview:
        """What a part of ``packed`` inflates to, valid until the next call; more than ``most`` bytes may be cut off.

        :raises zlib.error: if the stream is damaged, incomplete, or followed by anything.
        """
        if self._state is None:
            inflater = zlib.decompressobj(-15)
            content = inflater.decompress(memoryview(packed)[offset : offset + length], self._most + 1)
            if len(content) <= self._most and (not inflater.eof or inflater.unused_data):
                raise zlib.error(WHOLE)
            return memoryview(content)
        outcome, end = _native.inflate_whole(self._state, packed, offset, length, self._buffer)
        if outcome == _DAMAGED:
            raise zlib.error(BROKEN)
        if outcome not in (_END, _OUTPUT):
            raise zlib.error(WHOLE)
        return self._view[:end]

    @property
    def reads_many(self) -> bool:
        """Whether :meth:`read_many` is to be had, and hashes as fast as :mod:`hashlib`."""
        return hashes_fast()

    def read_many(self, packed: bytes, table: bytes) -> Iterator[tuple[Sequence[str], Optional[memoryview]]]:
        """Inflate, verify and hash members that are at hand together, with no more than a call for each ELF file.

        Yields the sha256 digests of the next members, as ``RECORD`` writes them, and the bytes of the last of these,
        valid until the next step, if it begins like an ELF file: after each that does.

        :param table: of each member where it begins in ``packed``, its compressed size, its size (at most ``most``),
            its CRC-32 and its method, each as a native number of 64 bits.
        :raises zlib.error: at a member that is not well, when the digests of all before it were yielded.
        """
        outcome, first = _ELF, 0
        while outcome == _ELF:
            outcome, digests, inflated, start, end = _native.read_members(
                self._state, packed, table, first, self._buffer
            )
            first += len(digests)
            content = self._view[start:end] if inflated else memoryview(packed)[start:end]
            yield digests, content if outcome == _ELF else None
        if outcome != _NO_MORE:
            raise zlib.error(_REASONS[outcome])


# INFLATE_WINDOW and twice INFLATE_SLACK, the least that inflate.h asks for.
_SLACK = (32 << 10) + 640


def _inflated_by_zlib(chunks: Iterable[bytes]) -> Iterator[Piece]:
    inflater = zlib.decompressobj(-15)
    for packed in chunks:
        if inflater.eof and packed:
            raise zlib.error(WHOLE)
        left, filled = packed, True
        # Behind the end, zlib's object would hand the same rest back for ever.
        while (left or filled) and not inflater.eof:
            chunk = inflater.decompress(left, BUFFER)
            left, filled = inflater.unconsumed_tail, len(chunk) == BUFFER
            if chunk:
                yield chunk
    if not inflater.eof or inflater.unused_data or inflater.unconsumed_tail:
        raise zlib.error(WHOLE)
