"""A release: jobs in processes of their own, as many at a time as the machine can do, and what came of each.

A job writes into a directory of ours; what is good is moved to the output, whole, by this process. So whatever ends a
release, and however, the output holds finished wheels only, and ``--skip-existing`` goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ..errors import OutputError, PortableBackendError, UsageError
from ..inner import read_pyproject
from ..records import NamedTuple
from ..repairing.apply import copy_wheel
from ..report.live import Display, first_line
from ..settings import PREFIX
from ..sources import find_source, opened_source
from ..wheels.names import parse_wheel_name
from .capacity import default_parallel
from .job import error_data
from .logs import log_directory
from .plan import Job, Schedule, choose, is_pure, parse_wishes
from .prepare import Options, ReleasePlan, find_existing, find_sdist, sdist_key
from .project import read_project

if TYPE_CHECKING:
    from .plan import Wish

# The path of this process rather than what -c would put there: the working directory may hold a json.py.
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop())
from portable_backend.releasing.job import main
main()
"""
# Seconds: a job that is told to end clears up and ends by itself; a display wants to be asked now and then.
_PATIENCE = 20.0
_TICK = 1.0
_INTERRUPTED_JOB = "ended because another job failed"
NO_TEST: Mapping[str, str] = {"status": "none", "detail": ""}


class Row(NamedTuple):
    """What became of one job.

    :param status: ``built``, ``shared`` (the wheel of another job serves), ``existing``, ``failed``, ``withheld``
        (built, but the wheel failed elsewhere), ``ended`` or ``not begun``.
    :param wheel: file name of the wheel in the output.
    :param shared_with: label of the job that built it.
    """

    label: str
    python: str
    target: Optional[str]
    status: str
    wheel: Optional[str] = None
    shared_with: Optional[str] = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    test: Mapping[str, str] = NO_TEST
    error: Optional[Mapping[str, Any]] = None
    log: Optional[str] = None


class Summary(NamedTuple):
    """What became of a release."""

    rows: tuple[Row, ...]
    sdist: Optional[str]
    wheels: tuple[str, ...]
    left_out: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    log_dir: Optional[str]
    exit_code: int


class _Task:
    """Something that runs in a process: a job, the sdist, or a trial."""

    def __init__(self, label: str, op: str, job: Optional[Job], process: subprocess.Popen[bytes], log: Path) -> None:
        self.label, self.op, self.job, self.process, self.log = label, op, job, process, log
        self.channel = -1
        self.began = time.monotonic()
        self.seconds = self.cpu_seconds = 0.0
        self.rest = b""
        self.result: Optional[dict[str, Any]] = None
        self.error: Optional[dict[str, Any]] = None
        self.wheel: Optional[_Wheel] = None


class _Wheel:
    """A wheel that is finished and not in the output yet: all who will get it have to have tried it."""

    def __init__(self, path: Path, owner: Job) -> None:
        self.path, self.owner = path, owner
        self.jobs = [owner]
        self.pending = 0
        self.refused: Optional[dict[str, Any]] = None


@contextmanager
def opened_project(options: Options, display: Display) -> Iterator[tuple[Options, Path]]:
    """The options with a source that each job can open for itself, and a directory to read the project from."""
    with tempfile.TemporaryDirectory(prefix="portable-backend-release-") as scratch:
        found = find_source(options.source, sys.executable, Path(scratch), display.note)
        with opened_source(str(found), sys.executable, display.note) as root:
            yield options._replace(source=str(found.absolute()), said=options.source), root


def run_release(options: Options, plan: ReleasePlan, root: Path, display: Display, said: Sequence[str]) -> Summary:
    """Carry a plan out.

    :param said: the words of the command that are the same for all jobs, for the logs.
    :raises PortableBackendError: if the sdist that everything is made from cannot be built.
    """
    _require_output(options.directory)
    logs = log_directory(options.log_dir, plan.project.name or root.name)
    with tempfile.TemporaryDirectory(prefix="portable-backend-release-") as scratch:
        return _Release(options, plan, root, display, logs, Path(scratch), said).run()


def _require_output(directory: Path) -> None:
    """See that wheels can be put there, before anything is built for it.

    :raises OutputError: if they cannot.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        message = f"{directory}: cannot be written: {error.strerror or error}"
        raise OutputError(message, "name another output directory, or make room") from None


class _Release:
    def __init__(
        self,
        options: Options,
        plan: ReleasePlan,
        root: Path,
        display: Display,
        logs: Path,
        scratch: Path,
        said: Sequence[str],
    ) -> None:
        self._options, self._plan, self._root, self._display = options, plan, root, display
        self._logs, self._scratch, self._said = logs, scratch, said
        self._source = options.source
        self._sdist: Optional[str] = None
        self._jobs = list(plan.jobs)
        self._left_out = list(plan.left_out)
        self._rows: dict[str, Row] = {}
        self._running: list[_Task] = []
        self._trials: deque[tuple[Job, _Wheel]] = deque()
        self._wheels: dict[str, _Wheel] = {}
        self._schedule = Schedule(())
        self._selector = selectors.DefaultSelector()
        self._failed = False
        self._final: set[str] = set()
        self._codes = [0]

    def run(self) -> Summary:
        """The sdist, then the wheels."""
        began, before = time.monotonic(), _children_seconds()
        try:
            if self._plan.sdist is not None:
                self._make_sdist()
            self._settle_existing()
            if self._failed and self._options.fail_fast:
                self._give_up()
            parallel = self._parallel()
            while self._begin(parallel) or self._running:
                for key, _ in self._selector.select(_TICK):
                    if key.data in self._running:  # another one's failure may have ended it just now
                        self._read(key.data)
                self._display.tick()
        finally:
            self._end_all()
            self._selector.close()
        rows = tuple(self._rows[job.label] for job in self._jobs)
        names = dict.fromkeys(row.wheel for row in rows if row.wheel is not None)
        paths = tuple(str(self._options.directory / name) for name in names)
        seconds, cpu = time.monotonic() - began, _children_seconds() - before
        left = tuple(self._left_out)
        return Summary(rows, self._sdist, paths, left, seconds, cpu, str(self._logs), max(self._codes))

    # --- before the wheels ---------------------------------------------------------------------------------------

    def _make_sdist(self) -> None:
        """Build the sdist, or take the one that is there, and go by what it says from now on."""
        found = find_sdist(self._options.directory, self._plan.project) if self._plan.sdist == "existing" else None
        if found is None:
            found = self._built_sdist()
        self._sdist, self._source = str(found), str(found.absolute())
        if not self._jobs:
            return
        with opened_source(self._source, sys.executable, self._display.note) as root:
            project = read_project(root, read_pyproject(root))
            jobs = self._admitted(project.requires)
            existing = dict(self._plan.existing)
            if self._options.skip_existing and self._plan.project.key is None:
                key = project.key or sdist_key(found)
                existing = find_existing(self._options.directory, key, jobs, self._plan.builds, self._display.note)
        self._jobs = jobs
        self._plan = self._plan._replace(project=project, existing=existing)

    def _built_sdist(self) -> Path:
        task = self._start(
            "sdist",
            "sdist",
            None,
            {
                "source": str(self._root),
                "python": sys.executable,
                "config_settings": dict(self._options.config_settings),
            },
        )
        while task in self._running:
            for _ in self._selector.select(_TICK):
                self._read(task)
            self._display.tick()
        if task.error is not None:
            self._display.ended("sdist", f"FAILED: {first_line(task.error['message'])}")
            raise _as_error(task.error)
        assert task.result is not None
        path = copy_wheel(Path(task.result["sdist"]), self._options.directory)
        self._display.ended("sdist", f"{path.name}, {task.seconds:.1f} s")
        return path

    def _admitted(self, requires: Optional[str]) -> list[Job]:
        """The jobs that the sdist's own ``Requires-Python`` admits, where nothing was known of it before."""
        if self._plan.project.requires is not None or requires is None:
            return list(self._jobs)
        wishes: tuple[Wish, ...] = parse_wishes(["all", "pypy"])
        kept = []
        for job in self._jobs:
            wish = wishes[0]._replace(
                implementation=job.python.name.implementation, free_threaded=job.python.name.free_threaded
            )
            try:
                choose([wish], [job.python], requires, "")
            except UsageError:
                self._left_out.append(f"{job.label}: the sdist requires Python {requires}")
                self._display.note(f"left out: {self._left_out[-1]}")
            else:
                kept.append(job)
        if not kept:
            raise UsageError(f"the sdist requires Python {requires}, which leaves no interpreter", "name another")
        return kept

    def _settle_existing(self) -> None:
        """Jobs that need not, or cannot, be begun."""
        todo = []
        for job in self._jobs:
            existing = self._plan.existing.get(job.label)
            if existing is not None:
                detail = "it was there already" if job.tested else ""
                test = {"status": "not run" if job.tested else "none", "detail": detail}
                self._put(job, Row(job.label, job.python.name.tag, job.target, "existing", existing, test=test))
            elif job.obstacle is not None:
                self._put(job, Row(job.label, job.python.name.tag, job.target, "failed", error=job.obstacle))
            else:
                todo.append(job)
        self._schedule = Schedule(todo)
        for job in self._jobs:
            name = self._plan.existing.get(job.label)
            if name is not None:
                self._schedule.know(parse_wheel_name(name), job)

    def _parallel(self) -> int:
        wanted = default_parallel() if self._options.parallel is None else self._options.parallel
        local = any(job.strategy != "container" for job in self._jobs)
        if wanted > 1 and len(self._jobs) > 1 and local and os.path.isdir(self._source):
            self._display.note(
                "one job at a time: builds in one source tree would meet there; --sdist keeps them apart"
            )
            return 1
        return wanted

    # --- beginning -----------------------------------------------------------------------------------------------

    def _begin(self, parallel: int) -> bool:
        """Begin what may be begun; whether anything was."""
        begun = False
        while len(self._running) < parallel and not (self._failed and self._options.fail_fast):
            if self._trials:
                job, wheel = self._trials.popleft()
                self._start_trial(job, wheel)
            else:
                next_job = self._schedule.begin()
                if next_job is None:
                    break
                self._start_job(next_job)
            begun = True
        return begun

    def _start_job(self, job: Job) -> None:
        self._start(job.label, "wheel", job, self._job_data(job))

    def _start_trial(self, job: Job, wheel: _Wheel) -> None:
        task = self._start(job.label, "try", job, {**self._job_data(job), "wheel": str(wheel.path)})
        task.wheel = wheel

    def _job_data(self, job: Job) -> dict[str, Any]:
        config = dict(self._options.config_settings)
        if job.asked is not None:
            config[f"{PREFIX}target"] = job.asked
        python = job.python.executable or job.python.name.spoken
        return {"source": self._source, "python": python, "name": job.python.name, "config_settings": config}

    def _start(self, label: str, op: str, job: Optional[Job], data: dict[str, Any]) -> _Task:
        """Start a process for a job. It is told by standard input what to do, and tells by a pipe what comes of it."""
        place = self._scratch / f"{op}-{label}"
        place.mkdir()
        reading, writing = os.pipe()
        log = self._logs / f"{label}{'-test' if op == 'try' else ''}.log"
        said = {
            **data,
            "op": op,
            "directory": str(place),
            "isolated": self._options.isolated,
            "smoke": self._options.smoke,
            "tests": self._options.tests,
            "refused": str(self._logs / "refused"),
            "channel": writing,
            "parent": os.getpid(),
        }
        with log.open("wb") as output:
            output.write(f"$ {self._command(op, data)}\n".encode(errors="backslashreplace"))
            output.flush()
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(_path())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                start_new_session=True,  # Ctrl-C is for us, who then see to our jobs one by one
            )
        os.close(writing)
        task = _Task(label, op, job, process, log)
        task.channel = reading
        self._running.append(task)
        self._selector.register(reading, selectors.EVENT_READ, task)
        assert process.stdin is not None
        with contextlib.suppress(OSError), process.stdin as stdin:
            stdin.write(json.dumps(said).encode())
        self._display.started(label)
        return task

    def _command(self, op: str, data: Mapping[str, Any]) -> str:
        """The command that does this one job."""
        source = self._sdist or self._options.said or str(data["source"])
        words = ["portable-backend", "build", source, "--python", str(data["python"]), *self._said]
        target = data["config_settings"].get(f"{PREFIX}target")
        words += ["--sdist-only"] if op == "sdist" else ["--target", target] if target else []
        return shlex.join(words)

    # --- ending --------------------------------------------------------------------------------------------------

    def _read(self, task: _Task) -> None:
        data = os.read(task.channel, 1 << 16)
        if not data:
            self._ended(task)
            return
        *lines, task.rest = (task.rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            task.result = message.get("result", task.result)
            task.error = message.get("error", task.error)
            if "line" in message:
                self._display.said(task.label, message["line"])

    def _ended(self, task: _Task) -> None:
        self._reap(task)
        if task.error is None and task.result is None:
            task.error = error_data(PortableBackendError(_silent_end(task), f"see {task.log}"))
        if task.op == "sdist":
            return
        (self._wheel_ended if task.op == "wheel" else self._trial_ended)(task)
        if self._failed and self._options.fail_fast:
            self._give_up()

    def _reap(self, task: _Task) -> None:
        """Take leave of a process, and of whatever it may have left in its group."""
        self._selector.unregister(task.channel)
        os.close(task.channel)
        self._running.remove(task)
        pid = task.process.pid
        with contextlib.suppress(OSError):
            if hasattr(os, "waitid"):  # its number stays taken until it is waited for
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            os.killpg(pid, signal.SIGKILL)
        try:
            _, status, usage = os.wait4(pid, 0)
            task.process.returncode = os.waitstatus_to_exitcode(status)
            task.cpu_seconds = usage.ru_utime + usage.ru_stime
        except ChildProcessError:
            task.process.returncode = 0
        task.seconds = time.monotonic() - task.began

    def _wheel_ended(self, task: _Task) -> None:
        assert task.job is not None
        job = task.job
        if task.error is not None:
            self._schedule.end(job)
            self._fail(job, task)
            return
        assert task.result is not None
        path = Path(task.result["wheel"])
        name = parse_wheel_name(path.name)
        row = self._row(task, "built", test=task.result["test"])
        known = self._wheels.get(path.name)
        if known is not None and known.refused is None:  # two jobs that ran at once made the same wheel
            self._schedule.end(job)
            self._rows[job.label] = row._replace(status="shared", shared_with=known.owner.label, wheel=path.name)
            known.jobs.append(job)
            self._publish(known)
            return
        wheel = self._wheels[path.name] = _Wheel(path, job)
        self._rows[job.label] = row
        covered = self._schedule.know(name, job)
        self._schedule.end(job)
        for other in covered:
            wheel.jobs.append(other)
            self._rows[other.label] = Row(
                other.label, other.python.name.tag, other.target, "shared", shared_with=job.label
            )
            if other.tested and self._needs_trial(wheel, other):
                wheel.pending += 1
                self._trials.append((other, wheel))
        self._publish(wheel)

    def _needs_trial(self, wheel: _Wheel, job: Job) -> bool:
        """A pure wheel for another target is no other wheel to the same interpreter."""
        earlier = [each for each in wheel.jobs if each is not job and each.python.name == job.python.name]
        return not (earlier and is_pure(parse_wheel_name(wheel.path.name)))

    def _trial_ended(self, task: _Task) -> None:
        assert task.job is not None
        assert task.wheel is not None
        wheel = task.wheel
        wheel.pending -= 1
        shared = self._rows[task.job.label].shared_with
        if task.error is not None:
            wheel.refused = {**task.error, "message": f"with {task.label}: {task.error['message']}"}
            self._fail(task.job, task)
        else:
            assert task.result is not None
            row = self._row(task, "shared", test=task.result["test"])
            self._rows[task.job.label] = row._replace(shared_with=shared)
        self._publish(wheel)

    def _publish(self, wheel: _Wheel) -> None:
        """Move a wheel to the output once nobody has still to try it; or do not, where somebody could not use it."""
        if wheel.pending:
            return
        if wheel.refused is not None:
            refused = self._logs / "refused"
            refused.mkdir(exist_ok=True)
            shutil.copy2(wheel.path, refused)
        else:
            try:
                copy_wheel(wheel.path, self._options.directory)
            except PortableBackendError as error:
                wheel.refused = error_data(error)
        for job in wheel.jobs:
            row = self._rows[job.label]
            if job.label in self._final:
                continue
            if wheel.refused is None:
                self._put(job, row._replace(wheel=wheel.path.name, test=self._test_of(row, job, wheel)))
            else:
                self._put(job, row._replace(status="withheld", wheel=None, error=wheel.refused))

    def _test_of(self, row: Row, job: Job, wheel: _Wheel) -> Mapping[str, str]:
        """A pure wheel that the same interpreter tried for another target is tried."""
        if row.test["status"] != "none" or not job.tested:
            return row.test
        others = [self._rows[each.label] for each in wheel.jobs if each.python.name == job.python.name]
        return next((each.test for each in others if each.test["status"] != "none"), row.test)

    def _row(self, task: _Task, status: str, **more: Any) -> Row:
        assert task.job is not None
        job = task.job
        row = Row(job.label, job.python.name.tag, job.target, status, **more)
        return row._replace(seconds=task.seconds, cpu_seconds=task.cpu_seconds, log=str(task.log))

    def _fail(self, job: Job, task: _Task) -> None:
        test = {"status": "failed", "detail": ""} if (task.error or {}).get("kind") == "TrialFailed" else NO_TEST
        self._put(job, self._row(task, "failed", error=task.error, test=test))

    def _put(self, job: Job, row: Row) -> None:
        """The last word on a job."""
        self._final.add(job.label)
        self._rows[job.label] = row
        if row.error is not None:
            self._failed = self._failed or row.status in ("failed", "withheld")
            self._codes.append(int(row.error["exit_code"]))
            self._display.ended(row.label, f"{row.status.upper()}: {first_line(row.error['message'])}")
        else:
            shared = f" (built by {row.shared_with})" if row.shared_with else ""
            tested = f", test {row.test['status']}" if row.test["status"] != "none" else ""
            self._display.ended(row.label, f"{row.status} {row.wheel}{shared}{tested}, {row.seconds:.1f} s")

    # --- ending early --------------------------------------------------------------------------------------------

    def _give_up(self) -> None:
        """Begin nothing more, and end what runs."""
        ended = {task.job.label: task for task in self._running if task.job is not None}
        self._end_all()
        for job in (*self._schedule.drop(), *(job for job, _ in self._trials)):
            self._drop(job, "not begun")
        self._trials.clear()
        for task in ended.values():
            assert task.job is not None
            if task.op == "wheel":
                self._schedule.end(task.job)
            self._drop(task.job, "ended")
        for wheel in self._wheels.values():
            for job in wheel.jobs:
                if job.label not in self._final:
                    self._drop(job, "withheld")

    def _drop(self, job: Job, status: str) -> None:
        row = self._rows.get(job.label) or Row(job.label, job.python.name.tag, job.target, status)
        error = error_data(PortableBackendError(_INTERRUPTED_JOB))
        error["exit_code"] = 0  # the code is that of the job that failed
        self._put(job, row._replace(status=status, error=error))

    def _end_all(self) -> None:
        """End all jobs: they are asked to, get time to clear up, and are then ended without being asked."""
        try:
            for task in self._running:
                with contextlib.suppress(OSError):
                    task.process.terminate()
            until = time.monotonic() + _PATIENCE
            for task in list(self._running):
                while time.monotonic() < until and not _has_ended(task.process.pid):
                    time.sleep(0.05)
        finally:  # by a second Ctrl-C, too
            for task in list(self._running):
                with contextlib.suppress(OSError):
                    os.killpg(task.process.pid, signal.SIGKILL)
                self._reap(task)


def _has_ended(pid: int) -> bool:
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except OSError:
        return True


def _silent_end(task: _Task) -> str:
    code = task.process.returncode
    how = f"by signal {-code}" if code and code < 0 else f"with exit status {code}"
    hint = "; is the machine out of memory?" if code == -signal.SIGKILL else ""
    return f"the job ended {how} and left no word{hint}"


def _as_error(data: Mapping[str, Any]) -> PortableBackendError:
    """An error of a job, here."""
    kinds = {kind.__name__: kind for kind in PortableBackendError.__subclasses__()}
    return kinds.get(str(data["kind"]), PortableBackendError)(str(data["message"]), data["cure"])


def _path() -> list[str]:
    """The import path of this process but for the working directory, which is the project's as often as not."""
    package = str(Path(__file__).resolve().parents[2])
    here = os.getcwd()
    own = [os.path.abspath(entry) for entry in sys.path if entry and os.path.abspath(entry) != here]
    return list(dict.fromkeys([package, *own])) if package not in own else own


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system
