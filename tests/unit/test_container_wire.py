"""Frames survive any cutting of the stream, and nothing else is taken for one."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_backend.strategies.container import wire

_KINDS = sorted(wire.KINDS)


@given(
    st.lists(st.tuples(st.sampled_from(_KINDS), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    frames: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = io.BytesIO(b"".join(wire.frame(kind, payload) for kind, payload in frames))
    sizes = iter(cuts * 10_000)
    reader = wire.Reader(lambda: stream.read(next(sizes)))
    seen = []
    while (frame := wire.read_frame(reader.read)) is not None:
        seen.append(frame)
    assert seen == frames


def test_json_goes_through() -> None:
    reader = io.BytesIO(wire.json_frame(wire.JOB, {"name": "\u00fc", "list": [1, None]}))
    frame = wire.read_frame(reader.read)
    assert frame is not None
    assert (frame[0], json.loads(frame[1])) == (wire.JOB, {"name": "\u00fc", "list": [1, None]})


@pytest.mark.parametrize(
    "stream",
    [
        b"no frame at all",
        b"O\xff\xff\xff\xff",
        b"O\0\0\0\x05four",
        b"O\0\0",
        b"\0\0\0\0\0",
    ],
)
def test_what_is_no_frame_is_refused(stream: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.read_frame(io.BytesIO(stream).read)


def test_the_rest_of_a_stream_that_is_not_ours_can_be_read() -> None:
    pieces = iter([b"no inter", b"preter cp399", b"\ncp311-cp311\n", b""])
    reader = wire.Reader(lambda: next(pieces, b""))
    assert reader.read(3) + reader.rest() == b"no interpreter cp399\ncp311-cp311\n"
