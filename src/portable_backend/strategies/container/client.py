"""This end of a build in a container: sends code, job and sources, shows what comes, keeps the result."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, Optional, Protocol

from ...errors import BuildFailed, PortableBackendError, StrategyBlocked, WheelError
from ...signs import pass_on
from . import wire

_STDERR = 2
_ERRORS: Mapping[str, type[PortableBackendError]] = {
    **{kind.__name__: kind for kind in PortableBackendError.__subclasses__()},
    "ElfError": WheelError,  # its message has the place in it already
}
_WORDS_LIMIT = 1 << 14


class Connection(Protocol):
    """What is needed of a connection to the main process of a container."""

    def send(self, data: bytes) -> None:
        """Send to its standard input."""

    def receive(self) -> Optional[tuple[int, bytes]]:
        """The next piece of its standard output (1) or error (2); ``None`` at the end."""


class RemoteFailure(Exception):
    """The worker's own account of what went wrong.

    :param error: the error as it was inside.
    :param phase: what the worker was doing.
    :param kept: whether the container goes on, for whoever wants to look around in it.
    """

    def __init__(self, error: PortableBackendError, phase: str, kept: bool) -> None:
        super().__init__(error.message)
        self.error, self.phase, self.kept = error, phase, kept


def run_job(
    connection: Connection,
    luggage: bytes,
    job: Mapping[str, Any],
    sources: Iterable[bytes],
    result: IO[bytes],
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Have a worker do a job.

    :param luggage: the tar that it is started from.
    :param sources: pieces of the tar with the sources.
    :param result: what the wheel, or the tar with the metadata, is written to.
    :param answer: does what only this side can do.
    :raises RemoteFailure: if the worker says that it failed.
    :raises StrategyBlocked: if there is no worker, as where the image lacks the interpreter.
    :raises BuildFailed: if it went without a word.
    """
    sender = _Sender(connection, luggage, job, sources)
    sender.start()
    try:
        return _Listener(connection, result, answer, progress).run()
    except BuildFailed:
        if sender.error is not None:  # the true reason
            raise sender.error from None
        raise
    finally:
        # It ends by itself: the worker has read everything, or is gone.
        sender.join(0.2)


class _Sender(threading.Thread):
    """Sends while the other thread listens: each side may wait for the other to read."""

    def __init__(
        self, connection: Connection, luggage: bytes, job: Mapping[str, Any], sources: Iterable[bytes]
    ) -> None:
        super().__init__(name="portable-backend-sender", daemon=True)
        self._connection, self._luggage, self._job, self._sources = connection, luggage, job, sources
        self.error: Optional[Exception] = None

    def run(self) -> None:
        try:
            self._connection.send(len(self._luggage).to_bytes(8, "big") + self._luggage)
            self._connection.send(wire.json_frame(wire.JOB, self._job))
            for piece in self._sources:
                for begin in range(0, len(piece), wire.PIECE):
                    self._connection.send(wire.frame(wire.TAR, piece[begin : begin + wire.PIECE]))
            self._connection.send(wire.frame(wire.TAR, b""))
        except StrategyBlocked:
            pass  # the connection is gone, and whoever listens learns why
        except Exception as error:
            self.error = error
            # A frame that is none makes the worker, which waits for more, end.
            with contextlib.suppress(Exception):
                self._connection.send(b"\0" * 5)


class _Listener:
    """Reads what the worker says until it has a result."""

    def __init__(
        self,
        connection: Connection,
        result: IO[bytes],
        answer: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        progress: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._result = result
        self._answer = answer
        self._progress = progress
        self._said = bytearray()
        self._reader = wire.Reader(self._receive)

    def run(self) -> dict[str, Any]:
        begin = self._reader.read(len(wire.MAGIC))
        if begin != wire.MAGIC:
            raise _no_worker((begin + self._reader.rest()).decode(errors="replace"), self._words())
        while True:
            frame = self._next()
            if frame is None:
                raise BuildFailed(f"the container ended without a result{self._words()}", "is it out of memory?")
            kind, payload = frame
            if kind == wire.RESULT:
                return dict(json.loads(payload))
            if kind == wire.ERROR:
                raise _failure(json.loads(payload))
            self._take(kind, payload)

    def _next(self) -> Optional[tuple[bytes, bytes]]:
        try:
            return wire.read_frame(self._reader.read)
        except wire.WireError as error:
            raise BuildFailed(f"the container's answer breaks off: {error}{self._words()}") from None

    def _take(self, kind: bytes, payload: bytes) -> None:
        if kind == wire.OUTPUT:
            pass_on(payload.decode("utf-8", "replace"))
        elif kind == wire.PROGRESS:
            self._progress(payload.decode(errors="replace"))
        elif kind == wire.DATA:
            self._result.write(payload)
        elif kind == wire.QUESTION:
            said = self._answer(json.loads(payload))
            self._connection.send(wire.json_frame(wire.ANSWER, said))

    def _receive(self) -> bytes:
        """The next piece of standard output. Standard error is what a worker in trouble says on top of its frames."""
        while (piece := self._connection.receive()) is not None:
            stream, data = piece
            if stream != _STDERR:
                return data
            self._said = (self._said + data)[-_WORDS_LIMIT:]
            pass_on(data.decode("utf-8", "replace"))
        return b""

    def _words(self) -> str:
        words = self._said.decode(errors="replace").strip()
        return "".join(f"\n    {line[:300]}" for line in words.splitlines()[-12:])


def _no_worker(said: str, words: str) -> StrategyBlocked:
    first, _, rest = said.partition("\n")
    if first.startswith("no interpreter "):
        wanted = first.removeprefix("no interpreter ")
        has = ", ".join(rest.split()) or "none"
        return StrategyBlocked(
            f"the image has no interpreter {wanted}; it has {has}",
            "build with one of these versions, or name an image that has yours (container.image)",
        )
    return StrategyBlocked(f"no Python could be started in the container: {said.strip()[:500]}{words}")


def _failure(data: Mapping[str, Any]) -> RemoteFailure:
    kind = _ERRORS.get(str(data["class"]), PortableBackendError)
    error = kind(str(data["message"]), data["cure"])
    return RemoteFailure(error, str(data["phase"]), bool(data["kept"]))
