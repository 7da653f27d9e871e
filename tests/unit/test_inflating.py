"""Deflated data in pieces: both inflaters give the same bytes, and refuse the same streams."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Callable, Iterable, Iterator

import pytest

from portable_backend.wheels import inflating
from portable_backend.wheels.inflating import WholeInflater

Inflate = Callable[[Iterable[bytes]], bytes]


@pytest.fixture(params=["native", "zlib"])
def inflate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Inflate:
    """One inflater, over chunks as they come from a file."""
    if request.param == "native":
        request.getfixturevalue("native_scan")
    else:
        monkeypatch.setattr(inflating, "_native", None)
    return lambda chunks: b"".join(map(bytes, inflating.inflated(chunks)))


def packed(data: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY, window: int = 15) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -window, 9, strategy)
    return packer.compress(data) + packer.flush()


def cut(data: bytes, length: int) -> Iterator[bytes]:
    return (data[start : start + length] for start in range(0, len(data), length))


def sample(size: int) -> bytes:
    """Text, runs and noise: short and long distances, literals and stored blocks."""
    chance = random.Random(size)
    words = [chance.randbytes(chance.randint(1, 12)) for _ in range(300)]
    parts = [b"".join(chance.choices(words, k=500)), bytes(3000), chance.randbytes(2000), b"ab" * 700]
    data = bytearray()
    while len(data) < size:
        data += chance.choice(parts)
    return bytes(data[:size])


@pytest.mark.parametrize("size", [0, 1, 300, 70_000, 1_000_000])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize("length", [1 << 20, 4093, 7])
def test_round_trip(inflate: Inflate, size: int, level: int, length: int) -> None:
    if size > 70_000 and length < 100:
        size = 70_000
    data = sample(size)
    assert inflate(cut(packed(data, level), length)) == data


@pytest.mark.parametrize("strategy", [zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED])
@pytest.mark.parametrize("window", [9, 12, 15])
def test_ways_to_compress(inflate: Inflate, strategy: int, window: int) -> None:
    data = sample(200_000)
    assert inflate(cut(packed(data, 6, strategy, window), 1000)) == data


def test_pieces_are_small(inflate: Inflate) -> None:
    """However much a chunk inflates to."""
    sizes = [len(piece) for piece in inflating.inflated([packed(bytes(10 << 20), 9)])]
    assert sum(sizes) == 10 << 20
    assert max(sizes) <= inflating.BUFFER


@pytest.mark.parametrize("size", [100, 3_000_000])
@pytest.mark.parametrize("length", [1 << 20, 1000])
def test_stream_that_ends_early(inflate: Inflate, size: int, length: int) -> None:
    whole = packed(sample(size))
    for missing in (1, 2, len(whole) // 2, len(whole)):
        with pytest.raises(zlib.error):
            inflate(cut(whole[:-missing], length))


@pytest.mark.parametrize("size", [100, 3_000_000])
@pytest.mark.parametrize("behind", [b"\0", b"\0\0\0\0\0\0\0\0", b"PK\x03\x04", packed(b"more")])
def test_stream_that_is_followed_by_something(inflate: Inflate, size: int, behind: bytes) -> None:
    whole = packed(sample(size))
    for chunks in ([whole + behind], [whole, behind], cut(whole + behind, 100)):
        with pytest.raises(zlib.error):
            inflate(chunks)


@pytest.mark.parametrize(
    "stream",
    [
        b"\x07",  # a block of the reserved kind
        b"\x01\x01\x00\x00\x00x",  # a stored block whose sizes disagree
        b"\x03\x02",  # fixed codes: the first thing is a distance into nothing
        b"\x1b\x00\x00",  # fixed codes: length 286
        b"\xfd\xff" + bytes(40),  # dynamic codes: too many
        b"\x05\xe0" + b"\xff" * 40,  # dynamic codes: lengths of lengths that make no code
        b"",
    ],
)
def test_damaged_streams(inflate: Inflate, stream: bytes) -> None:
    with pytest.raises(zlib.error):
        zlib.decompress(stream, -15)
    with pytest.raises(zlib.error):
        inflate([stream])


def test_distance_beyond_the_beginning(inflate: Inflate) -> None:
    """What came before the stream is nobody's business: not the buffer's old content, either."""
    data = os.urandom(30_000)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=data)
    with pytest.raises(zlib.error):
        inflate([packer.compress(data) + packer.flush()])


def whole_inflater(
    implementation: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> WholeInflater:
    if implementation == "native":
        request.getfixturevalue("native_scan")
    else:
        monkeypatch.setattr(inflating, "_native", None)
    return WholeInflater(100_000)


@pytest.mark.parametrize("implementation", ["native", "zlib"])
def test_whole_streams(implementation: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other with one inflater, whatever came before: dynamic codes, fixed ones, damage."""
    inflater = whole_inflater(implementation, request, monkeypatch)
    kinds = [(6, 0), (9, zlib.Z_FIXED), (0, 0), (6, zlib.Z_HUFFMAN_ONLY), (9, zlib.Z_FIXED), (9, zlib.Z_FIXED)]
    for level, strategy in kinds:
        for size in (0, 1, 5_000, 100_000):
            data = sample(size)
            stream = packed(data, level, strategy)
            assert inflater.inflate(b"before" + stream + b"behind", 6, len(stream)) == data
            for offset, length in ((0, len(stream) - 1), (0, len(stream) + 1), (0, 0)):
                with pytest.raises(zlib.error):
                    inflater.inflate(stream + b"x", offset, length)
    assert len(inflater.inflate(packed(bytes(3_000_000)), 0, len(packed(bytes(3_000_000))))) > 100_000


def outcome(inflate: Inflate, chunks: Iterable[bytes]) -> object:
    try:
        return inflate(chunks)
    except zlib.error:
        return "refused"


def test_mutated_streams_are_judged_alike(native_scan: object, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    data = sample(40_000)
    streams = [packed(data, level, strategy) for level in (1, 9) for strategy in (0, zlib.Z_FIXED)]
    accepted = 0
    inflater = WholeInflater(1 << 20)
    for _ in range(2000):
        stream = bytearray(chance.choice(streams))
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(min(len(stream), 300) if chance.random() < 0.7 else len(stream))
            stream[place] ^= 1 << chance.randrange(8)
        length = chance.choice([1 << 20, 997, 13])
        chunks = list(cut(bytes(stream), length))
        found = outcome(lambda each: b"".join(map(bytes, inflating.inflated(each))), chunks)
        with monkeypatch.context() as patch:
            patch.setattr(inflating, "_native", None)
            expected = outcome(lambda each: b"".join(map(bytes, inflating.inflated(each))), chunks)
        assert found == expected
        whole = bytes(stream)
        assert outcome(lambda _: bytes(inflater.inflate(whole, 0, len(whole))), chunks) == expected  # noqa: B023
        accepted += found != "refused"
    assert 0 < accepted < 2000
