"""Work on many members at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Optional, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

#: More threads would wait for each other, and each needs memory of its own.
MOST_THREADS = 8


def available_threads() -> int:
    """How many threads are worth having on this machine."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    return min(os.cpu_count() or 1, MOST_THREADS)


def map_threads(work: Callable[[_Item], _Result], items: Sequence[_Item], threads: int) -> list[_Result]:
    """``list(map(work, items))``, several at once, begun in the order of ``items``.

    An error in one ends nothing else; of several the one of the earliest item is raised.
    """
    results: list[Optional[_Result]] = [None] * len(items)
    errors: dict[int, BaseException] = {}
    queue = iter(range(len(items)))  # next() on it is one step, whichever thread takes it
    stop = threading.Event()

    def run() -> None:
        for index in queue:
            if stop.is_set():
                return
            try:
                results[index] = work(items[index])
            except BaseException as error:
                errors[index] = error

    others = [threading.Thread(target=run, daemon=True) for _ in range(min(threads, len(items)) - 1)]
    try:
        for other in others:
            other.start()
        run()
    finally:
        stop.set()
        for other in others:
            other.join()
    if errors:
        raise errors[min(errors)]
    return results  # type: ignore[return-value]  # every place is filled by now
