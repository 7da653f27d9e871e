"""Work on many members at once."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Optional, TypeVar, Union

    from .inflating import Piece

    _Item = TypeVar("_Item")
    _Result = TypeVar("_Result")

#: More threads would wait for each other, and each needs memory of its own.
MOST_THREADS = 8


def available_threads() -> int:
    """How many threads are worth having on this machine."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    return min(os.cpu_count() or 1, MOST_THREADS)


def ahead(pieces: Iterator[Piece], most: int = 4) -> Iterator[bytes]:
    """The same pieces, made by another thread while those before are used; a few wait to be used.

    :param most: how many.
    """
    import queue  # few have a use for it

    made: queue.SimpleQueue[Union[bytes, BaseException, None]] = queue.SimpleQueue()
    room = threading.Semaphore(most)
    over = threading.Event()

    def make() -> None:
        try:
            for piece in pieces:
                room.acquire()
                if over.is_set():
                    return
                made.put(bytes(piece))
            made.put(None)
        except BaseException as error:
            made.put(error)

    maker = threading.Thread(target=make, daemon=True)
    try:
        maker.start()
        while (piece := made.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            room.release()
    finally:
        over.set()
        room.release()
        join(maker)


def join(thread: threading.Thread) -> None:
    """Wait for the end of a thread that was told to end; of one whose start was interrupted, too."""
    with suppress(RuntimeError):  # it was not begun, or begins in this moment and finds that it has to end
        thread.join()


def map_threads(work: Callable[[_Item], _Result], items: Sequence[_Item], threads: int) -> list[_Result]:
    """``list(map(work, items))``, several at once: this thread begins with the last of them, others with the first.

    So if they are sorted by their weight, of those that are mostly bookkeeping, for which only one interpreter can be
    at work, one thread takes care, while others are busy with what is long and needs none.

    An error in one ends nothing else; of several the one of the earliest item is raised.
    """
    results: list[Optional[_Result]] = [None] * len(items)
    errors: dict[int, BaseException] = {}
    queue = deque(range(len(items)))  # to take an end of it is one step, whichever thread does
    stop = threading.Event()

    def run(take: Callable[[], int] = queue.popleft) -> None:
        while not stop.is_set():
            try:
                index = take()
            except IndexError:
                return
            try:
                results[index] = work(items[index])
            except BaseException as error:
                errors[index] = error

    others = [threading.Thread(target=run, daemon=True) for _ in range(min(threads, len(items)) - 1)]
    try:
        for other in others:
            other.start()
        run(queue.pop if others else queue.popleft)
    finally:
        stop.set()
        for other in others:
            join(other)
    if errors:
        raise errors[min(errors)]
    return results  # type: ignore[return-value]  # every place is filled by now
