"""What client and worker say to each other over the container's standard input and output.

The worker begins with :data:`MAGIC`, so that the client can tell it from the words of a shell that found no Python.
From then on both sides send frames::

    +------+-----------------+------------------------+
    | kind | length (4 bytes,| payload                |
    | 1 b  |  big-endian)    | (length bytes)         |
    +------+-----------------+------------------------+

====  =========  ==========================================================
kind  direction  payload
====  =========  ==========================================================
J     → worker   the job, JSON
T     → worker   a piece of the tar with the sources; empty: that was all
C     → worker   the answer to a question, JSON
O     → client   output of the build, bytes
P     → client   a line of progress, UTF-8
Q     → client   a question, JSON: ``{"ask": "commit"}``, …
D     → client   a piece of the result: of the wheel, or of a tar with metadata
R     → client   the result, JSON: it worked
X     → client   the error, JSON: it did not
====  =========  ==========================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Optional

MAGIC = b"portable-backend worker 1\n"
JOB, TAR, ANSWER = b"J", b"T", b"C"
OUTPUT, PROGRESS, QUESTION, DATA, RESULT, ERROR = b"O", b"P", b"Q", b"D", b"R", b"X"
KINDS = frozenset((JOB, TAR, ANSWER, OUTPUT, PROGRESS, QUESTION, DATA, RESULT, ERROR))
PIECE = 1 << 18
# What the main process is started with: a tar with our own code follows on standard input, its length in eight bytes
# first. It is unpacked to the directory that is the only argument.
BOOT = """
import io, os, sys, tarfile
stdin = sys.stdin.buffer
size = int.from_bytes(stdin.read(8), "big")
with tarfile.open(fileobj=io.BytesIO(stdin.read(size))) as archive:
    archive.extractall(sys.argv[1], **({"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}))
sys.path.insert(0, sys.argv[1] + "/own")
from portable_backend.worker import main
main(sys.argv[1])
"""
_LIMIT = 1 << 26


class WireError(Exception):
    """The other side sent something that is no frame."""


def frame(kind: bytes, payload: bytes) -> bytes:
    """One frame, ready to send."""
    return kind + len(payload).to_bytes(4, "big") + payload


def json_frame(kind: bytes, value: Any) -> bytes:
    """One frame with a JSON payload."""
    return frame(kind, json.dumps(value).encode())


def read_frame(read: Callable[[int], bytes]) -> Optional[tuple[bytes, bytes]]:
    """The next frame as kind and payload, or ``None`` where the stream ends.

    :param read: returns exactly as many bytes as asked for, fewer only at the end.
    :raises WireError: if what comes is no frame, or ends in the middle of one.
    """
    head = read(5)
    if not head:
        return None
    kind, size = head[:1], int.from_bytes(head[1:], "big")
    if len(head) < 5 or kind not in KINDS or size > _LIMIT:
        raise WireError(f"no frame begins with {head!r}")
    payload = read(size)
    if len(payload) < size:
        raise WireError(f"a frame of {size} bytes ended after {len(payload)}")
    return kind, payload


class Reader:
    """Frames out of pieces of any size."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        """:param receive: the next piece; nothing at the end."""
        self._receive = receive
        self._rest = bytearray()

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end of the stream."""
        while len(self._rest) < size:
            piece = self._receive()
            if not piece:
                break
            self._rest += piece
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

    def rest(self) -> bytes:
        """All that is still to come: what is left of a stream that is not ours."""
        while piece := self._receive():
            self._rest += piece
        return bytes(self._rest)
