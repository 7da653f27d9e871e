"""Children that are not left behind, with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..inner import Output
from ..signs import pass_on

# Seconds: an interrupted command has this long to end by itself.
_PATIENCE = 5.0


def run_shown(command: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> tuple[int, list[str]]:
    """Run a command, pass on what it prints as it comes; exit status and last lines.

    Interrupted, it ends the command and whatever that started.
    """
    output = Output()
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.add(line.rstrip("\n"))
                pass_on(line)
        except BaseException:
            end_tree(process)
            raise
    return process.returncode, [line for line in output.lines if line.strip()]


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
