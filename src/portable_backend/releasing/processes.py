"""Children that are not left behind, with all that they started."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..inner import Output, run_shown

# Seconds: an interrupted command has this long to end by itself.
_PATIENCE = 5.0


class TookTooLong(Exception):
    """A command was ended because its time was over."""


def run_with_its_own(
    command: Sequence[str], cwd: Path, environ: Mapping[str, str], timeout: float = 0
) -> tuple[int, list[str]]:
    """Run a command, pass on what it prints as it comes; exit status and last lines.

    Interrupted, it ends the command and whatever that started.

    :param timeout: in seconds; 0 for none.
    :raises TookTooLong: if it did not end in that time.
    """
    output = Output()
    expired = threading.Event()
    limited = functools.partial(_limited, timeout=timeout, expired=expired)
    status = run_shown(command, str(cwd), environ, output, end_tree, limited)
    if expired.is_set():
        raise TookTooLong
    return status, [line for line in output.lines if line.strip()]


@contextlib.contextmanager
def _limited(process: subprocess.Popen[str], timeout: float, expired: threading.Event) -> Iterator[None]:
    """End a process that is not done in time; the event says that this was so."""

    def expire() -> None:
        if process.poll() is None:
            expired.set()
            end_tree(process)

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    if timeout:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_tree(process: subprocess.Popen[str]) -> None:
    """End a child and its descendants: first politely, then not."""
    pids = descendants(process.pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            process.send_signal(number)
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)


def descendants(of: int) -> list[int]:
    """The processes that come of one, by ``/proc``; none where there is no such thing."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                status = Path(f"/proc/{name}/stat").read_text(encoding="ascii", errors="replace")
                parents[int(name)] = int(status.rpartition(")")[2].split()[1])
    found = {of}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {of})
