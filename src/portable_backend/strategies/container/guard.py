"""The guardian: a process beside a build that removes the build's containers if the build is killed.

A container ends when the connection to its standard input does, so this is for what is left: one that was made and not
yet started, one whose process does not care, and files in the temporary directory. The guardian waits at a pipe that
only the build holds the other end of; the kernel closes that, however the build ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from .engine import RUN_LABEL, Engine, EngineError, open_engine

_DONE = b"done"
_SCRATCH_NAME = re.compile(r"portable-backend-.")
# Seconds: a request to make a container may still be on its way when its sender dies; an engine may be restarting.
_QUIET = 3.0
_PATIENCE = 60.0
_PAUSE = 0.3


@contextmanager
def guarded(engine: Engine, run: str, scratch: Sequence[os.PathLike[str] | str] = ()) -> Iterator[None]:
    """Have a guardian wait beside us; it does nothing if the context is left, be it by an error.

    It cleans up if we are killed, and if we are interrupted: a request to make a container may be on its way then, and
    whoever interrupted does not want to wait until that has been seen to.

    :param run: the value of ``RUN_LABEL`` of the containers that are to go if we are killed.
    :param scratch: directories that go as well, and that need not exist yet. Only those are removed whose names begin
        with "portable-backend-".
    """
    task = {"address": engine.address, "run": run, "scratch": [os.path.abspath(each) for each in scratch]}
    process = _start()
    assert process.stdin is not None
    # Neither a guardian that could not start nor one that somebody killed is a reason to fail: it only cleans up.
    with contextlib.suppress(OSError):
        process.stdin.write(json.dumps(task).encode() + b"\n")
    interrupted = False
    try:
        yield
    except Exception:
        raise
    except BaseException:
        interrupted = True
        raise
    finally:
        if not interrupted:
            with contextlib.suppress(OSError):
                process.stdin.write(_DONE + b"\n")
        process.stdin.close()
        if not interrupted:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a guardian that was told that all is done."""
    try:
        process.wait(_QUIET)
    except subprocess.TimeoutExpired:  # it was told, and is stuck
        process.kill()
        process.wait()


def _start() -> subprocess.Popen[bytes]:
    """A guardian, with a pipe to it. In a session of its own, where no Ctrl-C comes."""
    path = os.pathsep.join(dict.fromkeys(os.path.abspath(each) for each in sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd="/",
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )


def watch(stdin: IO[bytes]) -> bool:
    """Wait for the end of a build, and clean up after one that did not say that it was done.

    :param stdin: a line of JSON, and "done" in another line if all is well; its end is the end of the build.
    :returns: whether there was something to clean up after.
    """
    first, _, rest = stdin.read().partition(b"\n")
    try:
        task = json.loads(first)
    except ValueError:
        return False  # killed before it had said anything, and so before it did anything
    if rest.strip() == _DONE:
        return False
    for path in task["scratch"]:
        remove_scratch(path)
    _remove_containers(task["address"], str(task["run"]))
    for path in task["scratch"]:  # a child of the build's may have written on for a moment
        remove_scratch(path)
    return True


def _remove_containers(address: dict[str, Any], run: str) -> None:
    begin = quiet = time.monotonic()
    while time.monotonic() - quiet < _QUIET and time.monotonic() - begin < _PATIENCE:
        try:
            if open_engine(address).remove({RUN_LABEL: run}):
                quiet = time.monotonic()
        except EngineError:
            quiet = time.monotonic()
        time.sleep(_PAUSE)


def remove_scratch(path: str) -> None:
    """Remove a directory of ours. Not a link, which may lead anywhere, and nothing of another name."""
    if not _SCRATCH_NAME.match(os.path.basename(path)):
        return
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path, ignore_errors=True)  # it does not follow links either


def main() -> None:
    """Be the guardian."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    watch(sys.stdin.buffer)


if __name__ == "__main__":
    main()
