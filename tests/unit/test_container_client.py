"""This end of the connection, against workers that answer, fail, lie or fall silent."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

import pytest

from portable_backend.errors import BuildFailed, NotCompliant, PortableBackendError, StrategyBlocked, WheelError
from portable_backend.strategies.container import wire
from portable_backend.strategies.container.client import RemoteFailure, run_job

_STDOUT, _STDERR = 1, 2


class _Worker:
    """Says what it was told to say, in small pieces, and remembers what it is sent."""

    def __init__(self, *said: bytes, words: bytes = b"", after: int = 0) -> None:
        self.sent = bytearray()
        self._enough = threading.Event()
        self._after = after
        pieces = [(_STDERR, words)] if words else []
        stream = b"".join(said)
        pieces += [(_STDOUT, stream[begin : begin + 7]) for begin in range(0, len(stream), 7)]
        self._pieces = iter(pieces)

    def send(self, data: bytes) -> None:
        self.sent += data
        if len(self.sent) >= self._after:
            self._enough.set()

    def receive(self) -> Optional[tuple[int, bytes]]:
        self._enough.wait(5)
        return next(self._pieces, None)


def _run(worker: _Worker, sources: Iterable[bytes] = (), **more: Any) -> tuple[dict[str, Any], bytes, list[str]]:
    result, told = io.BytesIO(), list[str]()
    asked = more.pop("answer", lambda question: {})
    said = run_job(worker, b"luggage", {"op": "wheel"}, sources, result, asked, told.append)
    return said, result.getvalue(), told


def test_a_job_goes_out_and_the_result_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Mapping[str, Any]] = []

    def answer(question: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(question)
        return {"done": True}

    worker = _Worker(
        wire.MAGIC,
        wire.frame(wire.PROGRESS, b"a line"),
        wire.frame(wire.OUTPUT, "gcc \u00fc\n".encode()),
        wire.json_frame(wire.QUESTION, {"ask": "commit"}),
        wire.frame(wire.DATA, b"whe"),
        wire.frame(wire.DATA, b"el"),
        wire.json_frame(wire.RESULT, {"name": "x.whl"}),
        after=60,
    )
    said, data, told = _run(worker, iter([b"tar" * 100]), answer=answer)
    assert (said, data, told) == ({"name": "x.whl"}, b"wheel", ["a line"])
    assert capsys.readouterr().out == "gcc \u00fc\n"
    assert asked == [{"ask": "commit"}]
    head = b"\0\0\0\0\0\0\0\x07luggage" + wire.json_frame(wire.JOB, {"op": "wheel"})
    assert worker.sent.startswith(head)
    assert wire.frame(wire.TAR, b"tar" * 100) + wire.frame(wire.TAR, b"") in worker.sent
    assert wire.json_frame(wire.ANSWER, {"done": True}) in worker.sent


@pytest.mark.parametrize("name", ["NotCompliant", "BuildFailed", "StrategyBlocked", "ElfError", "Invented", "OSError"])
def test_an_error_comes_back_as_what_it_was(name: str) -> None:
    data = {"class": name, "message": "what", "cure": "how", "phase": "build", "kept": False}
    with pytest.raises(RemoteFailure) as caught:
        _run(_Worker(wire.MAGIC, wire.json_frame(wire.ERROR, data)))
    expected = {
        "NotCompliant": NotCompliant,
        "BuildFailed": BuildFailed,
        "StrategyBlocked": StrategyBlocked,
        "ElfError": WheelError,
    }.get(name, PortableBackendError)
    assert type(caught.value.error) is expected
    assert str(caught.value.error) == "what\n  cure: how"
    assert (caught.value.phase, caught.value.kept) == ("build", False)


def test_an_image_without_the_interpreter_says_which_it_has() -> None:
    with pytest.raises(StrategyBlocked, match="no interpreter cp399-cp399; it has cp311-cp311, cp312-cp312"):
        _run(_Worker(b"no interpreter cp399-cp399\ncp311-cp311\ncp312-cp312\n"))


def test_an_image_that_cannot_start_python_is_quoted() -> None:
    with pytest.raises(StrategyBlocked, match="Illegal instruction"):
        _run(_Worker(b"", words=b"Illegal instruction\n"))


def test_a_worker_that_ends_without_a_word_is_an_error_with_its_last_ones() -> None:
    with pytest.raises(BuildFailed, match=r"ended without a result[\s\S]*MemoryError"):
        _run(_Worker(wire.MAGIC, words=b"Traceback\nMemoryError\n"))


@pytest.mark.parametrize("rest", [b"\xff\xff\xff\xff\xff", b"O\xff\xff\xff\xff", b"D\0\0\0\x09half"])
def test_what_is_no_frame_is_an_error(rest: bytes) -> None:
    with pytest.raises(BuildFailed, match="breaks off"):
        _run(_Worker(wire.MAGIC, rest))


def test_a_source_that_cannot_be_read_is_the_error_that_counts() -> None:
    def sources() -> Iterator[bytes]:
        yield b"begin"
        raise BuildFailed("src/a.c has changed while it was sent")

    with pytest.raises(BuildFailed, match=r"src/a\.c has changed"):
        _run(_Worker(wire.MAGIC, after=45), sources())
