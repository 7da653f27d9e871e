"""Ends that are not ours: SIGTERM, and a frontend that is gone. Both end a build as Ctrl-C does, clearing up."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

TYPE_CHECKING = False
if not TYPE_CHECKING:
    try:
        import _signal as signal  # the same without an enumeration of all signals, which takes a millisecond to make
    except ImportError:
        import signal
else:
    import signal
    from collections.abc import Iterator
    from typing import Optional

# How often, in seconds, a hook looks whether the frontend that called it is still there.
_PERIOD = 0.5


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is how a CI system interrupts: children and temporary files are cleared away as with Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM an exception for a while. In another thread than the main one nothing changes."""

    def end(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ending_with_parent(parent: Optional[int] = None) -> Iterator[None]:
    """Interrupt this process when the one that started it ends, however it ends.

    A frontend that is killed takes no leave of its hook, which would build on for nobody. Not told by a signal
    (``PR_SET_PDEATHSIG`` goes by the thread that started us, and frontends have several) but by asking.

    :param parent: the number of that process, where it is known: it may be gone before this is called.
    """
    parent = os.getppid() if parent is None else parent
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_PERIOD):
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    if os.name != "posix":
        yield
        return
    threading.Thread(target=watch, name="portable-backend-parent", daemon=True).start()
    try:
        yield
    finally:
        done.set()
