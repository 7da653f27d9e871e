"""Signs of life: while nothing is printed for a while, standard error says what is going on and for how long.

On a terminal the sign is one line that is rewritten and goes away before anything else is printed. Elsewhere, and in
CI, it is a plain line now and then: a log is read later.

Whoever prints while work goes on does so inside :func:`unsigned` or by :func:`pass_on`, so that a sign and other lines
do not mix.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from contextlib import contextmanager

from .errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds: a terminal shows a sign before two of silence are over, and keeps it up to date; a log has one at times.
TERMINAL_SILENCE, TERMINAL_STEP, LOG_SILENCE = 1.2, 1.0, 60.0

_lock = threading.RLock()


class _State:
    what = ""
    """What is being done, in a few words; empty where nothing is."""
    began = 0.0
    """Since when."""
    spoken = 0.0
    """When something was last printed."""
    width = 0
    """Columns of the sign that stands on the terminal; 0 for none."""
    midst = False
    """Whether the last thing that was passed on did not end its line."""


_state = _State()


def on_terminal() -> bool:
    """Whether somebody looks at standard error, on a terminal that can take a line back."""
    if os.environ.get("TERM") == "dumb" or os.environ.get("CI"):
        return False
    try:
        return sys.stderr.isatty()
    except ValueError:  # it is closed
        return False


@contextmanager
def working(what: str, quiet: bool = False) -> Iterator[None]:
    """Give signs while the body is at work.

    :param what: what is being done; :func:`now` says so anew. Inside another body this is all that happens.
    :param quiet: give none.
    """
    if quiet or _state.what:
        yield
        return
    over = threading.Event()
    now(what)
    # Neither its beginning nor its end is waited for, as threading.Thread would: each wait is for a turn of the
    # interpreter's lock, and most work is over in less time than that.
    _thread.start_new_thread(_give, (over,))
    try:
        yield
    finally:
        with unsigned():
            over.set()
            _state.what = ""


def at_work() -> bool:
    """Whether signs are given."""
    return bool(_state.what)


def now(what: str) -> None:
    """Something else is being done from now on."""
    with _lock:
        _state.what, _state.began = what, time.monotonic()
        _state.spoken = _state.began


@contextmanager
def unsigned() -> Iterator[None]:
    """Print inside of this: a sign is taken away before, and none comes in between."""
    with _lock:
        _erase()
        try:
            yield
        finally:
            _state.spoken = time.monotonic()


def pass_on(text: str) -> None:
    """Write what another program said to standard output as it comes, whatever the encoding of that cannot say."""
    encoding = sys.stdout.encoding or "utf-8"
    with unsigned():
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
        _state.midst = not text.endswith("\n")


def _give(over: threading.Event) -> None:
    terminal = on_terminal()
    silence = TERMINAL_SILENCE if terminal else LOG_SILENCE
    wait = silence
    while not over.wait(wait):
        with _lock:
            if over.is_set():
                return
            left = _state.spoken + silence - time.monotonic()
            if left > 0:
                wait = left
            elif _state.midst:
                wait = TERMINAL_STEP
            else:
                _show(terminal)
                wait = TERMINAL_STEP if terminal else LOG_SILENCE


def _show(terminal: bool) -> None:
    seconds = f" ({time.monotonic() - _state.began:.0f} s)"
    what = one_line(f"portable-backend: {_state.what}")
    try:
        if terminal:
            room = _columns() - len(seconds) - 1
            line = (what if len(what) <= room else f"{what[: room - 1]}…") + seconds
            sys.stderr.write(f"\r{line.ljust(_state.width)}")
            _state.width = len(line)
        else:
            sys.stderr.write(f"{what}{seconds}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody is there any more: no reason to end what is being done
        pass


def _erase() -> None:
    if _state.width:
        width, _state.width = _state.width, 0
        try:
            sys.stderr.write(f"\r{' ' * width}\r")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
