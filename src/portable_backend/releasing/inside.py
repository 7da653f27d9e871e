"""Trying a wheel inside a container: run by the interpreter of the image, with nothing but the standard library.

It has :mod:`.elsewhere` to say what to do, in ``job.json`` beside this file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

# In the place of an exit status where the time was over; none is as high.
TOO_LONG = 1000


def run(command: list[str], cwd: str, environ: dict[str, str], timeout: float = 0) -> tuple[int, list[str]]:
    """Run a command; exit status and last lines. What it prints goes to standard error as it comes.

    One that takes longer than ``timeout`` seconds (0: no limit) is ended, with all in its group.
    """
    lines: list[str] = []
    expired = threading.Event()
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:

        def expire() -> None:
            expired.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, expire)
        if timeout:
            timer.start()
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace")
            sys.stderr.write(line)
            sys.stderr.flush()
            lines = [*lines[-100:], line.rstrip()]
        timer.cancel()
    status = TOO_LONG if expired.is_set() else process.returncode
    return status, [line for line in lines if line.strip()]


def tried(base: str) -> tuple[str, list[str]]:
    """What failed, if anything, and what there is to say about it."""
    with open(f"{base}/job.json", encoding="utf-8") as file:
        job = json.load(file)
    work, environment = f"{base}/work", f"{base}/env"
    python = f"{environment}/bin/python"
    environ = dict(os.environ)
    status, lines = run([sys.executable, "-I", "-m", "venv", "--without-pip", environment], base, environ)
    if not status:
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
        status, lines = run([*pip, "--no-warn-script-location", *job["requirements"]], base, environ)
    if status:
        return "install", lines
    environ.update({"VIRTUAL_ENV": environment, "PATH": f"{environment}/bin:{environ.get('PATH', os.defpath)}"})
    environ.update(job["environment"])
    failed, limit = [], job["timeout"]
    too_long = f"took longer than {limit} s (test.timeout)"
    for name, *files in job["modules"]:
        status, lines = run([python, "-I", "-c", job["import"], name, *files], work, environ, limit)
        if status == TOO_LONG:
            failed.append(f"{name}: {too_long}")
        elif status:
            reason = f"ended by signal {-status}" if status < 0 else lines[-1] if lines else f"exit status {status}"
            failed.append(f"{name}: {reason}")
    if failed:
        return "import", failed
    for command in job["commands"]:
        status, lines = run(["/bin/sh", "-c", command], work, environ, limit)
        if status == TOO_LONG:
            return f"{too_long}: {command}", lines
        if status:
            return f"exit status {status}: {command}", lines
    return "", []


def main() -> None:
    """Try, and say on standard output what came of it."""
    failed, lines = tried(os.path.dirname(os.path.abspath(__file__)))
    json.dump({"failed": failed, "lines": lines}, sys.stdout)


if __name__ == "__main__":
    main()
