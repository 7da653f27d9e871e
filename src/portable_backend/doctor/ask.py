"""Asking programs and engines with a limit: nothing that is looked at can keep the command from ending."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

from .check import BROKEN, Check

SECONDS = 5.0
_MOST = 65536  # characters of an answer


def ask(command: Sequence[str], environ: Optional[Mapping[str, str]] = None, seconds: float = SECONDS) -> Optional[str]:
    """What a program prints, ``None`` if it fails or takes too long; then it and its children are gone."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
            start_new_session=True,  # a group of its own, to be ended as one
        )
    except OSError:
        return None
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        said = None
    finally:
        _end(process)
    return None if said is None or process.returncode else said.decode(errors="replace")[:_MOST]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


Probe = Callable[[], Sequence[Check]]


def together(probes: Sequence[tuple[str, str, Probe]], seconds: float) -> list[Check]:
    """Run probes at the same time, each as ``(group, name, probe)``.

    One that has not ended in time is reported as such and left behind; its thread does not keep the process alive.
    """
    results: list[Optional[Sequence[Check]]] = [None] * len(probes)

    def run(index: int) -> None:
        group, name, probe = probes[index]
        try:
            results[index] = probe()
        except Exception as error:  # what is not foreseen of one part must not hide the others
            results[index] = [Check(group, name, BROKEN, f"cannot be looked at: {type(error).__name__}: {error}")]

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(probes))]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    checks: list[Check] = []
    for (group, name, _), index, thread in zip(probes, range(len(probes)), threads):
        thread.join(max(0.0, until - time.monotonic()))
        late = [Check(group, name, BROKEN, f"does not answer within {seconds:.0f} seconds")]
        checks += results[index] or ([] if results[index] is not None else late)
    return checks
