"""One job of a release, in a process of its own: an sdist, a wheel, or the trial of a wheel that was built already.

The job comes as JSON on standard input. What the release wants to know goes back through a pipe of its own, a line of
JSON each; all that anybody prints goes to the log. When the release ends, however it ends, so does the job.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Optional

from ..errors import OutputError, PortableBackendError, TrialFailed
from ..frontend import Trial, build_sdist, build_source
from ..interrupts import ending_with_parent, terminable
from ..pipeline import Build, read_build
from ..report.progress import tell
from ..sources import opened_source
from .plan import PythonName
from .trials import Tried, Wanted, wanted
from .trying import try_wheel

_TERMINATED = 143
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAKE_ROOM = "make room where logs and temporary files are"


def main() -> NoReturn:
    """Do the job, and exit with the status of its error."""
    gc.set_threshold(100_000)
    job = json.load(sys.stdin)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.set_inheritable(job["channel"], False)
    channel = os.fdopen(job["channel"], "w", encoding="utf-8", buffering=1)

    def send(**data: Any) -> None:
        with suppress(BrokenPipeError):
            channel.write(json.dumps(data) + "\n")

    try:
        with terminable(), ending_with_parent(job["parent"]):
            send(result=_Work(job, send).run())
            status = 0
    except KeyboardInterrupt:
        status = _TERMINATED
    except PortableBackendError as error:
        told = _told_in_log(error)
        status = told.exit_code
        send(error=error_data(told))
    except BaseException as error:
        import traceback

        unforeseen = _unforeseen(error)
        status = unforeseen.exit_code
        send(error=error_data(unforeseen))
        with suppress(OSError):
            traceback.print_exc()
    sys.exit(status)


def _told_in_log(error: PortableBackendError) -> PortableBackendError:
    """The error, once the log has it; or that the log has no room, of which the inner backend may have failed."""
    try:
        print(f"portable-backend: error: {error}", file=sys.stderr, flush=True)
    except OSError as fault:
        if fault.errno in _FULL:
            return OutputError(f"a disk is full: {fault}; before that: {error.message}", _MAKE_ROOM)
    return error


def _unforeseen(error: BaseException) -> PortableBackendError:
    if isinstance(error, OSError) and error.errno in _FULL:
        return OutputError(f"a disk is full: {error}", _MAKE_ROOM)
    return PortableBackendError(f"internal error: {type(error).__name__}: {error}", "the log has more; report it")


def error_data(error: PortableBackendError) -> dict[str, Any]:
    """An error for another process, and for ``--json``."""
    return {"kind": error.kind, "message": error.message, "cure": error.cure, "exit_code": error.exit_code}


class _Work:
    """What there is to do."""

    def __init__(self, job: dict[str, Any], send: Callable[..., None]) -> None:
        self._job, self._send = job, send
        self._tried = Tried("none", "")

    def run(self) -> dict[str, Any]:
        """Do it; what the release is told."""
        work = {"sdist": self._sdist, "wheel": self._wheel, "try": self._try}[self._job["op"]]
        return work()

    def _progress(self, line: str) -> None:
        tell(line)
        self._send(line=line)

    def _sdist(self) -> dict[str, Any]:
        job = self._job
        path = build_sdist(
            Path(job["source"]),
            Path(job["directory"]),
            job["config_settings"],
            job["python"],
            job["isolated"],
            self._progress,
        )
        return {"sdist": str(path)}

    def _wheel(self) -> dict[str, Any]:
        job = self._job
        path = build_source(
            job["source"],
            Path(job["directory"]),
            job["config_settings"],
            job["python"],
            job["isolated"],
            self._progress,
            self._make_trial,
        )
        return {"wheel": str(path), "test": self._tried._asdict()}

    def _try(self) -> dict[str, Any]:
        """Try a wheel that another interpreter's job built."""
        job, wheel = self._job, Path(self._job["wheel"])
        with opened_source(job["source"], job["python"] or sys.executable, self._progress) as source:
            build = read_build(source, job["config_settings"], find_interpreter(job))
            what = self._wanted(build)
            self._tried = try_wheel(build, source, wheel, what, self._progress)
        return {"wheel": str(wheel), "test": self._tried._asdict()}

    def _wanted(self, build: Build) -> Wanted:
        return wanted(build.settings.test, self._job["smoke"], self._job["tests"])

    def _make_trial(self, build: Build) -> Optional[Trial]:
        what = self._wanted(build)
        if what.nothing:
            return None

        def trial(build: Build, source: Path, wheel: Path) -> None:
            self._send(built=wheel.name)
            try:
                self._tried = try_wheel(build, source, wheel, what, self._progress)
            except TrialFailed as error:
                raise self._refused(error, wheel) from None

        return trial

    def _refused(self, error: TrialFailed, wheel: Path) -> TrialFailed:
        """The error, with where the wheel can be looked at."""
        if self._job["refused"] is None:
            return error
        place = Path(self._job["refused"])
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy2(wheel, place)
        return TrialFailed(f"{error.message}\n  the wheel is kept as {place / wheel.name}", error.cure)


def find_interpreter(job: dict[str, Any]) -> Any:
    """The interpreter of a job: its executable, or what is known of one in an image."""
    from ..interpreters import namesake

    if os.sep in (job["python"] or ""):
        return job["python"]
    name = PythonName(job["name"][0], (job["name"][1][0], job["name"][1][1]), job["name"][2])
    return namesake(*name)
