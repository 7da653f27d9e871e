"""Releases in places that are full, shared or oddly named, and tests that never end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portable_backend.releasing import inside
from support.images import need
from support.projects import find_pythons, hook_environ, write_fake_project
from support.wheel_maker import make_wheel

pytestmark = pytest.mark.integration
_COMMAND = [sys.executable, "-m", "portable_backend.cli", "build"]
_WORDS = ("--strategy", "host", "--no-isolation", "--json")
_PAGE = 4096


def _pythons() -> str:
    found = find_pythons()
    need(len(found) >= 2, "needs two interpreters")
    return ",".join(found[-2:])


def _project(directory: Path, **said: Any) -> Path:
    return write_fake_project(directory, {"tag": "{cp}-none-any", **said})


def _begin(source: Path, output: object, *more: object, **environ: str) -> subprocess.Popen[str]:
    words = [str(source), "-w", str(output), "--python", _pythons(), *_WORDS, *map(str, more)]
    environ["PYTHONDONTWRITEBYTECODE"] = "1"  # what the project's own backend leaves beside it gets into the sdist
    return subprocess.Popen(
        [*_COMMAND, *words], env=hook_environ(**environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _end(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    out, error = process.communicate(timeout=120)
    return process.returncode, json.loads(out) if out else {}, error


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of a megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False).returncode
    ):
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", place], check=True)


def _fill(place: Path, pages: int) -> Path:
    """Fill a file system but for some pages."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * _PAGE)
        except OSError:
            file.truncate(file.tell() // _PAGE * _PAGE - pages * _PAGE)
    return filler


def test_an_output_that_gets_full_is_told_and_the_release_can_be_resumed(tmp_path: Path, small: Path) -> None:
    source, out = _project(tmp_path / "p"), small / "w"
    out.mkdir()
    filler = _fill(small, 2)  # for the sdist and one wheel
    code, data, said = _end(_begin(source, out, "-q", "--jobs", "1", XDG_CACHE_HOME=str(tmp_path / "cache")))
    assert code == 9, said
    assert [job["status"] for job in data["jobs"]] == ["built", "failed"]
    assert data["jobs"][1]["error"]["kind"] == "OutputError"
    assert "No space left on device" in said, "it is told when nothing else is"
    assert "make room" in said
    (wheel,) = out.glob("*.whl")
    assert zipfile.ZipFile(wheel).testzip() is None
    assert sorted(path.name for path in out.iterdir()) == sorted([wheel.name, "fake-1.0.tar.gz"])
    filler.unlink()
    code, data, said = _end(_begin(source, out, "--skip-existing", XDG_CACHE_HOME=str(tmp_path / "cache")))
    assert [job["status"] for job in data["jobs"]] == ["existing", "built"], said


def test_logs_that_cannot_be_written_are_no_internal_error(tmp_path: Path, small: Path) -> None:
    _fill(small, 0)
    code, _, said = _end(_begin(_project(tmp_path / "p"), tmp_path / "w", "--log-dir", small / "logs"))
    assert code == 9, said
    assert "--log-dir" in said
    assert "internal" not in said


def test_logs_that_get_full_fail_jobs_with_the_reason(tmp_path: Path, small: Path) -> None:
    """What the inner backend prints does not fit; its job says so, by the pipe and not by its log."""
    logs = small / "logs"
    logs.mkdir()
    _fill(small, 3)
    source = _project(tmp_path / "p", junk="x" * 100_000)
    code, _, said = _end(_begin(source, tmp_path / "w", "--log-dir", logs, "--no-sdist"))
    assert code == 9, said
    assert "FAILED: a disk is full" in said
    assert "--log-dir" in said, "the next job's log cannot even be begun"
    assert "internal" not in said
    assert list((tmp_path / "w").iterdir()) == []


def test_two_releases_into_one_directory_at_once(tmp_path: Path) -> None:
    source = _project(tmp_path / "p", sleep=1)
    ends = [_end(each) for each in [_begin(source, tmp_path / "w", "--jobs", "2") for _ in range(2)]]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert sorted(path.suffix for path in (tmp_path / "w").iterdir()) == [".gz", ".whl", ".whl"]
    for wheel in (tmp_path / "w").glob("*.whl"):
        assert zipfile.ZipFile(wheel).testzip() is None


def test_names_with_blanks_quotes_and_other_alphabets(tmp_path: Path) -> None:
    odd = tmp_path / "a 'b' \"ü\" 日本"
    odd.mkdir()
    code, data, said = _end(_begin(_project(odd / "p $x"), odd / "w;w", TMPDIR=str(odd), XDG_CACHE_HOME=str(odd / "c")))
    assert code == 0, said
    assert [Path(name).parent for name in data["wheels"]] == [odd / "w;w"] * 2


@pytest.mark.parametrize("home", ["none", "not there", "read-only"])
def test_without_a_home(tmp_path: Path, small: Path, home: str) -> None:
    source = _project(tmp_path / "p")
    where = {"none": "", "not there": str(tmp_path / "h" / "h"), "read-only": str(small)}[home]
    if home == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    environ = {name: value for name, value in hook_environ(TMPDIR=str(tmp_path)).items() if name != "XDG_CACHE_HOME"}
    environ.update(HOME=where)
    if home == "none":
        del environ["HOME"]
    words = [str(source), "-w", str(tmp_path / "w"), "--python", _pythons(), *_WORDS]
    done = subprocess.run([*_COMMAND, *words], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["wheels"]) == 2


# --- tests that never end ----------------------------------------------------------------------------------------


def test_a_test_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    source = write_fake_project(
        tmp_path / "p",
        {"tag": "{cp}-none-any"},
        settings=f"""
            [tool.portable-backend.test]
            command = "echo $$ > {tmp_path}/shell; sleep 4321 & echo $! > {tmp_path}/child; wait; true"
            timeout = 1
        """,
    )
    code, data, said = _end(_begin(source, tmp_path / "w", XDG_CACHE_HOME=str(tmp_path / "cache")))
    assert code == 10, said
    assert {job["status"] for job in data["jobs"]} == {"failed"}
    assert "took longer than 1 s (test.timeout): echo" in data["jobs"][0]["error"]["message"]
    assert data["jobs"][0]["test"]["status"] == "failed"
    assert [path.suffix for path in (tmp_path / "w").iterdir()] == [".gz"]
    assert [_runs((tmp_path / name).read_text().strip()) for name in ("shell", "child")] == [False, False]


def _runs(pid: str) -> bool:
    """Whether a process is there, and more than a name that nobody has asked for yet."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_in_a_container_too(tmp_path: Path) -> None:
    """What runs there is standard Python, and runs here as well."""
    environ = dict(os.environ)
    assert inside.run(["/bin/sh", "-c", "exit 124"], str(tmp_path), environ, 10) == (124, [])
    status, lines = inside.run(["/bin/sh", "-c", "echo here; sleep 4322 & sleep 4322"], str(tmp_path), environ, 1)
    assert (status, lines) == (inside.TOO_LONG, ["here"])
    (tmp_path / "work").mkdir()
    wheel = make_wheel(tmp_path, {"x.py": b""}, "demo-1.0-py3-none-any.whl")
    job = {
        "requirements": [str(wheel)],
        "environment": {},
        "modules": [["hangs"]],
        "import": "import time; time.sleep(4323)",
        "commands": [],
        "timeout": 1,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert inside.tried(str(tmp_path)) == ("import", ["hangs: took longer than 1 s (test.timeout)"])
    job.update(modules=[], commands=["true", "sleep 4324"])
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert inside.tried(str(tmp_path))[0] == "took longer than 1 s (test.timeout): sleep 4324"
