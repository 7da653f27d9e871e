"""A few threads that work on what is handed to them, started when there is something to do.

:mod:`concurrent.futures` would do, but its import alone (it imports :mod:`logging`) takes as long as a small repair.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading

from ..records import Generic
from .parallel import join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Optional, TypeVar

    T = TypeVar("T")

_MOST = 16


def available_threads() -> int:
    """How many threads can run at once here."""
    if hasattr(os, "sched_getaffinity"):
        return min(_MOST, max(1, len(os.sched_getaffinity(0))))
    return min(_MOST, os.cpu_count() or 1)


class Job(Generic["T"]):
    """Work that was handed over."""

    def __init__(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> None:
        self._work: Optional[tuple[Callable[..., T], tuple[Any, ...]]] = (function, arguments)
        self._done = threading.Event()
        self._results: list[T] = []
        self._error: Optional[BaseException] = None

    def run(self) -> None:
        """Do it, in whatever thread this is."""
        assert self._work is not None
        function, arguments = self._work
        try:
            self._results.append(function(*arguments))
        except BaseException as error:
            self._error = error
        finally:
            self._work = None  # let go of the arguments, which may be large
            del function, arguments
            self._done.set()

    def result(self) -> T:
        """Wait for what came out, which is handed out once; or raise what was raised."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._results.pop()


class Workers:
    """Threads for the length of a ``with`` block; what is not begun when it ends is never done."""

    def __init__(self, threads: int) -> None:
        self._most = threads
        self._threads: list[threading.Thread] = []
        # By rank, then in the order in which they were handed over.
        self._jobs: queue.PriorityQueue[tuple[int, int, Optional[Job[Any]]]] = queue.PriorityQueue()
        self._count = itertools.count()
        self._over = False

    def submit(self, function: Callable[..., T], *arguments: Any, first: bool = False) -> Job[T]:
        """Hand work over; it may hand over more, and must not wait for that.

        :param first: to be done before all that is not.
        """
        job = Job(function, arguments)
        self._jobs.put((1 - first, next(self._count), job))
        if len(self._threads) < self._most:
            # A daemon, so that a second interrupt need not wait for it.
            thread = threading.Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()
        return job

    def _work(self) -> None:
        while True:
            _, _, job = self._jobs.get()
            if job is None or self._over:
                return
            job.run()
            del job

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._over = True
        for _ in self._threads:
            self._jobs.put((-1, next(self._count), None))
        for thread in self._threads:
            join(thread)
