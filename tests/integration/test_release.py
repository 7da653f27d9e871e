"""``portable-backend build`` for several interpreters and targets: planned, side by side, tested, resumed."""

from __future__ import annotations

import functools
import json
import os
import pty
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import pytest

from portable_backend.errors import TrialFailed
from portable_backend.interpreters import namesake
from portable_backend.pipeline import read_build
from portable_backend.releasing.trials import Wanted
from portable_backend.releasing.trying import try_wheel
from portable_backend.settings import TrialSettings
from support.images import musllinux_image, need
from support.projects import copy_sample, find_pythons, hook_environ, read_log, write_fake_project

pytestmark = pytest.mark.integration
_COMMAND = [sys.executable, "-m", "portable_backend.cli", "build"]
_EACH = {"tag": "{cp}-{cp}-linux_x86_64", "compile": ["mod.c"]}
# A module without Python.h, for any CPython with the global interpreter lock: the definition laid out by hand.
_GOOD = """
struct def {
    long refcnt; void *type, *init; long index; void *copy; const char *name, *doc; long size; void *more[5];
};
static struct def definition = {1, 0, 0, 0, 0, "mod", 0, -1, {0}};
extern void *PyModule_Create2(void *, int);
void *PyInit_mod(void) { return PyModule_Create2(&definition, 1013); }
"""
_BROKEN = """
extern void *PyExc_ImportError;
extern void PyErr_SetString(void *, const char *);
void *PyInit_mod(void) { PyErr_SetString(PyExc_ImportError, "never on a Friday"); return 0; }
"""


_found = functools.cache(find_pythons)


def _pythons(count: int) -> list[str]:
    found = _found()
    need(len(found) >= count, f"needs {count} interpreters")
    return found[-count:]


def _run(*arguments: object, cwd: Optional[Path] = None, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*_COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=hook_environ(**environ), capture_output=True, text=True, check=False)


def _release(
    source: Path, out: Path, pythons: Sequence[str], *more: object, code: int = 0, isolated: bool = False
) -> dict[str, Any]:
    """A release of a project by the host's tools; what ``--json`` prints of it."""
    words: list[object] = [source, "-w", out, "--strategy", "host", "--json", "--log-dir", out.with_name("logs"), *more]
    words += [] if isolated else ["--no-isolation"]
    done = _run(*words, *(word for each in pythons for word in ("--python", each)))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    assert not out.exists() or all(path.suffix in (".whl", ".gz") for path in out.iterdir())
    return data


def _statuses(data: dict[str, Any]) -> dict[str, str]:
    return {job["python"]: job["status"] for job in data["jobs"]}


def _builds(log: Path) -> list[str]:
    return [call["python"] for call in read_log(log) if call["hook"] == "build_wheel"]


def _tag(python: str) -> str:
    return f"cp{python.replace('.', '')}"


# --- what is built -----------------------------------------------------------------------------------------------


def test_a_pure_wheel_is_built_once_from_the_sdist(tmp_path: Path) -> None:
    pythons = _pythons(2)
    source = write_fake_project(tmp_path / "p", {"log": str(tmp_path / "log")})
    targets = ("--target", "manylinux_2_28", "--target", "manylinux_2_34")
    data = _release(source, tmp_path / "w", pythons, *targets)
    assert sorted(os.listdir(tmp_path / "w")) == ["fake-1.0-py3-none-any.whl", "fake-1.0.tar.gz"]
    assert sorted(job["status"] for job in data["jobs"]) == ["built", "shared", "shared", "shared"]
    (call,) = (call for call in read_log(tmp_path / "log") if call["hook"] == "build_wheel")
    assert call["cwd"] != str(source), "the wheel is made from the sdist"
    assert data["sdist"] == str(tmp_path / "w" / "fake-1.0.tar.gz")


def test_a_stable_abi_serves_later_interpreters(tmp_path: Path) -> None:
    pythons = _pythons(3)
    said = {**_EACH, "tag": f"{_tag(pythons[0])}-abi3-linux_x86_64", "log": str(tmp_path / "log")}
    source = write_fake_project(tmp_path / "p", said, files={"mod.c": _GOOD})
    data = _release(source, tmp_path / "w", pythons, "--jobs", 3, "-C", "portable-backend.abi3-check=no")
    assert list(_statuses(data).values()) == ["built", "shared", "shared"]
    assert _builds(tmp_path / "log") == [pythons[0]]
    assert {job["wheel"] for job in data["jobs"]} == {Path(data["wheels"][0]).name}


def test_a_broken_job_leaves_the_others_alone_and_the_list_says_what_is_built(tmp_path: Path) -> None:
    pythons = _pythons(3)
    source = write_fake_project(tmp_path / "p", {**_EACH, "fail_on": [pythons[1]]}, files={"mod.c": _GOOD})
    listed = _release(source, tmp_path / "w", [f"{pythons[0]}-{pythons[-1]}"], "--list")
    assert not (tmp_path / "w").exists()
    data = _release(source, tmp_path / "w", [f"{pythons[0]}-{pythons[-1]}"], code=5)
    assert [job["label"] for job in data["jobs"]] == [job["label"] for job in listed["jobs"]]
    assert list(_statuses(data).values()) == ["built", "failed", "built"]
    assert len(data["wheels"]) == 2
    broken = data["jobs"][1]
    assert f"no {pythons[1]} please" in broken["error"]["message"]
    assert f"no {pythons[1]} please" in Path(broken["log"]).read_text()
    assert not list((tmp_path / "w").glob(f"*-{_tag(pythons[1])}-*"))


def test_standard_output_has_paths_and_the_table_goes_to_people(tmp_path: Path) -> None:
    pythons = _pythons(2)
    source = write_fake_project(tmp_path / "p", _EACH, files={"mod.c": _GOOD})
    python = ",".join(pythons)
    words = (source, "-w", tmp_path / "w", "--strategy", "host", "--no-isolation", "--python", python)
    done = _run(*words, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_file() for line in done.stdout.splitlines())
    assert len(done.stdout.splitlines()) == 3
    assert f"{_tag(pythons[0])}" in done.stderr
    assert "2 of 2 good" in done.stderr
    (logs,) = (tmp_path / "cache" / "portable-backend" / "logs").iterdir()
    assert len(list(logs.glob("*.log"))) == 3


def test_an_interpreter_that_does_not_run_is_left_out_with_a_line(tmp_path: Path) -> None:
    """Nor is one chosen that is not what its name says."""
    first, second = _pythons(2)
    source = write_fake_project(tmp_path / "p")
    for name, text in ((f"python{first}", "exit 3"), ("python3.8", f'exec {sys.executable} "$@"')):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    done = _run(source, "--python", f"{first}-{second}", "--list", "--json", "--strategy", "host", PATH=path)
    assert done.returncode == 0, done.stderr
    assert [job["python"] for job in json.loads(done.stdout)["jobs"]] == [first, second]
    assert f"left out: {tmp_path}/bin/python{first} does not work" in done.stderr
    assert str(tmp_path) not in str([job["interpreter"] for job in json.loads(done.stdout)["jobs"]])
    alone = {"PATH": str(tmp_path / "bin"), "PYENV_ROOT": str(tmp_path), "UV_PYTHON_INSTALL_DIR": str(tmp_path)}
    lying = _run(source, "--python", "3.8,3.8-", "--list", "--strategy", "host", **alone)
    assert lying.returncode == 2
    assert "no such interpreter" in lying.stderr


def test_requires_python_is_honoured(tmp_path: Path) -> None:
    first, second = _pythons(2)
    project = f'[project]\nname = "fake"\nversion = "1.0"\nrequires-python = ">={second}"\n'
    source = write_fake_project(tmp_path / "p")
    with (source / "pyproject.toml").open("a") as file:
        file.write(project)
    data = _release(source, tmp_path / "w", [f"{first}-{second}"])
    assert _statuses(data) == {_tag(second): "built"}
    assert f"{first}: the project requires Python >={second}" in data["left_out"]
    done = _run(source, "-w", tmp_path / "v", "--python", first, "--python", second, "--list")
    assert done.returncode == 2
    assert "requires Python" in done.stderr


def test_what_only_the_sdist_says_of_its_interpreters_counts(tmp_path: Path) -> None:
    first, second = _pythons(2)
    said = {"pkg_info": f"Metadata-Version: 2.1\nName: fake\nVersion: 1.0\nRequires-Python: >={second}\n"}
    source = write_fake_project(tmp_path / "p", said)
    data = _release(source, tmp_path / "w", [first, second])
    assert _statuses(data) == {_tag(second): "built"}
    assert any(first.replace(".", "") in line for line in data["left_out"])


def test_a_target_that_cannot_be_built_here_fails_alone(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "p", _EACH, files={"mod.c": _GOOD})
    targets = ("--target", "manylinux_2_35", "--target", "musllinux_1_2")
    data = _release(source, tmp_path / "w", _pythons(1), *targets, code=3)
    assert [job["status"] for job in data["jobs"]] == ["built", "failed"]
    assert "musl" in data["jobs"][1]["error"]["message"]
    assert _run(source, "--target", "banana,manylinux_2_17", "-w", tmp_path / "w").returncode == 3


def test_what_lies_about_in_the_working_directory_is_not_imported(tmp_path: Path) -> None:
    """Jobs are started in the directory where the command was typed: the project's, as often as not."""
    source = write_fake_project(tmp_path / "p")
    for name in ("json.py", "packaging.py", "pyproject_hooks.py"):
        (source / name).write_text("raise SystemExit('not the one')")
    code = "import sys; from portable_backend.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["build", ".", "-w", str(tmp_path / "w"), "--strategy", "host", "--no-isolation", "--sdist"]
    environ = hook_environ(PYTHONSAFEPATH="1", XDG_CACHE_HOME=str(tmp_path / "cache"))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = [p for p in sys.path if p]\n{code}", *words],
        cwd=source,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_an_output_that_cannot_be_written_is_told_before_anything_is_built(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "p", {"log": str(tmp_path / "log")})
    (tmp_path / "file").write_text("")
    done = _run(source, "-w", tmp_path / "file", "--strategy", "host", "--no-isolation", "--sdist")
    assert done.returncode == 9, done.stderr
    assert read_log(tmp_path / "log") == []


def test_the_sdist_alone(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "p", {"log": str(tmp_path / "log")})
    words = ("--strategy", "host", "--no-isolation", "--sdist-only", "--log-dir", tmp_path / "logs")
    done = _run(source, "-w", tmp_path / "w", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/w/fake-1.0.tar.gz\n"
    assert _builds(tmp_path / "log") == []
    again = _run(tmp_path / "w" / "fake-1.0.tar.gz", "-w", tmp_path / "v", *words)
    assert again.returncode == 2
    assert "no directory" in again.stderr


# --- resuming ----------------------------------------------------------------------------------------------------


def test_what_exists_is_judged_and_not_built_again(tmp_path: Path) -> None:
    pythons = _pythons(2)
    said = {**_EACH, "log": str(tmp_path / "log")}
    source = write_fake_project(tmp_path / "p", said, files={"mod.c": _GOOD})
    first = _release(source, tmp_path / "w", pythons)
    damaged, whole = map(Path, first["wheels"])
    damaged.write_bytes(damaged.read_bytes()[:-50])
    before = whole.stat().st_mtime_ns
    whole.with_name(whole.name.replace("-1.0-", "-0.9-")).write_bytes(whole.read_bytes())
    data = _release(source, tmp_path / "w", pythons, "--skip-existing")
    assert list(_statuses(data).values()) == ["built", "existing"]
    assert whole.stat().st_mtime_ns == before
    assert _builds(tmp_path / "log") == [*pythons, pythons[0]]


def _alive(marker: str) -> list[str]:
    """Processes that have ``marker`` in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (path / "environ").read_bytes():
                found.append(path.name)
        except OSError:
            continue
    return found


def _begin(tmp_path: Path, pythons: Sequence[str]) -> tuple[subprocess.Popen[str], str]:
    """A release whose first wheel is in the output, and whose others sleep."""
    need(Path("/proc/self/stat").exists(), "processes are told apart by means of /proc")
    said = {**_EACH, "sleep": 300, "sleep_on": list(pythons[1:]), "log": str(tmp_path / "log")}
    source = write_fake_project(tmp_path / "p", said, files={"mod.c": _GOOD})
    (tmp_path / "tmp").mkdir()
    marker = f"RELEASE_MARKER={tmp_path}"
    words = [str(source), "-w", str(tmp_path / "w"), "--strategy", "host", "--no-isolation", "--jobs", "2"]
    words += ["--log-dir", str(tmp_path / "logs"), "--python", ",".join(pythons)]
    environ = hook_environ(TMPDIR=str(tmp_path / "tmp"), RELEASE_MARKER=str(tmp_path))
    process = subprocess.Popen(
        [*_COMMAND, *words], env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 120
    while len(_builds(tmp_path / "log")) < len(pythons) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.1)
    time.sleep(0.5)
    assert len(_alive(marker)) > len(pythons)
    return process, marker


def _gone(marker: str) -> list[str]:
    until = time.monotonic() + 20
    while (left := _alive(marker)) and time.monotonic() < until:
        time.sleep(0.2)
    return left


@pytest.mark.parametrize(("what", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_release_ends_its_jobs_and_keeps_what_is_whole(
    tmp_path: Path, what: signal.Signals, code: int
) -> None:
    process, marker = _begin(tmp_path, _pythons(3))
    process.send_signal(what)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert _gone(marker) == []
    assert sorted(path.suffix for path in (tmp_path / "w").iterdir()) == [".gz", ".whl"]
    assert os.listdir(tmp_path / "tmp") == []


def test_a_release_that_was_killed_is_resumed(tmp_path: Path) -> None:
    """The parent alone is killed: its jobs notice. What was whole is in the output, and is not built again."""
    pythons = _pythons(3)
    process, marker = _begin(tmp_path, pythons)
    process.kill()
    process.communicate(timeout=60)
    assert _gone(marker) == []
    assert sorted(path.suffix for path in (tmp_path / "w").iterdir()) == [".gz", ".whl"]
    said = json.loads((tmp_path / "p" / "fake.json").read_text())
    (tmp_path / "p" / "fake.json").write_text(json.dumps({**said, "sleep": 0}))
    (sdist,) = (tmp_path / "w").glob("*.tar.gz")
    sdist.unlink()  # its backend would sleep again
    data = _release(tmp_path / "p", tmp_path / "w", pythons, "--skip-existing")
    assert list(_statuses(data).values()) == ["existing", "built", "built"]
    assert sorted(_builds(tmp_path / "log")[3:]) == sorted(pythons[1:]), "side by side, in either order"


def test_a_job_that_is_killed_is_that_job_s_failure(tmp_path: Path) -> None:
    """What it had started goes with it."""
    process, marker = _begin(tmp_path, _pythons(3))
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if parent == str(process.pid):
            os.kill(int(path.parent.name), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 70
    assert said.count("the job ended by signal 9 and left no word") >= 2
    assert "1 of 3 good" in said
    assert _gone(marker) == []
    assert sorted(path.suffix for path in (tmp_path / "w").iterdir()) == [".gz", ".whl"]


def test_fail_fast_ends_what_runs(tmp_path: Path) -> None:
    pythons = _pythons(3)
    said = {**_EACH, "sleep": 300, "sleep_on": [pythons[1]], "fail_on": [pythons[2]]}
    source = write_fake_project(tmp_path / "p", said, files={"mod.c": _GOOD})
    began = time.monotonic()
    data = _release(source, tmp_path / "w", pythons, "--fail-fast", "--jobs", 2, code=5)
    assert list(_statuses(data).values()) == ["built", "ended", "failed"]
    assert time.monotonic() - began < 200


# --- trying ------------------------------------------------------------------------------------------------------


def test_a_module_that_cannot_be_imported_is_found_by_smoke(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "p", _EACH, files={"mod.c": _BROKEN})
    data = _release(source, tmp_path / "w", _pythons(1), "--smoke", "--sdist", code=10)
    (job,) = data["jobs"]
    assert "mod: ImportError: never on a Friday" in job["error"]["message"]
    assert job["test"]["status"] == "failed"
    assert not list((tmp_path / "w").glob("*.whl"))
    (kept,) = (tmp_path / "logs" / "refused").glob("*.whl")
    assert str(kept) in job["error"]["message"]
    alone = _run(source, "-w", tmp_path / "v", "--strategy", "host", "--no-isolation", "--smoke")
    assert alone.returncode == 10
    assert not (tmp_path / "v").exists() or os.listdir(tmp_path / "v") == []


_TESTS = """
import os, sys, fake
sys.exit(f"wrong place: {fake.__file__}, {os.getcwd()}" if "p" in os.getcwd().split("/") or "site-packages" not in
         fake.__file__ or os.listdir(".") != ["tests"] or os.environ["MODE"] != "a,b" else 0)
"""


def test_tests_run_against_the_wheel_outside_of_the_source_for_each_interpreter(tmp_path: Path) -> None:
    """A pure wheel is built once, and yet tried by every interpreter that it is for."""
    pythons = _pythons(2)
    table = '[tool.portable-backend.test]\nsources = ["tests"]\nenvironment = { MODE = "a,b" }\n'
    table += 'command = ["python tests/it.py", "python -c \'import sys; print(sys.version_info[:2])\'"]\n'
    source = write_fake_project(tmp_path / "p", {}, table, {"tests/it.py": _TESTS})
    data = _release(source, tmp_path / "w", pythons)
    assert [job["test"]["status"] for job in data["jobs"]] == ["passed", "passed"]
    assert list(_statuses(data).values()) == ["built", "shared"]
    for python, log in zip(pythons, (data["jobs"][0]["log"], data["jobs"][1]["log"])):
        assert f"({python.replace('.', ', ')})" in Path(log).read_text()
    alone = _run(source, "-w", tmp_path / "v", "--strategy", "host", "--no-isolation", "--json")
    assert json.loads(alone.stdout)["test"] == {"status": "passed", "detail": "2 commands passed"}


def test_a_shared_wheel_that_one_interpreter_cannot_use_reaches_nobody(tmp_path: Path) -> None:
    first, second = _pythons(2)
    wrong = f"python -c 'import sys; sys.exit(sys.version_info[:2] == ({second.replace('.', ', ')}))'"
    source = write_fake_project(tmp_path / "p", {}, f'test.command = "{wrong}"')
    data = _release(source, tmp_path / "w", [first, second], code=10)
    assert list(_statuses(data).values()) == ["withheld", "failed"]
    assert data["wheels"] == []
    assert os.listdir(tmp_path / "w") == ["fake-1.0.tar.gz"]
    assert "exit status 1" in data["jobs"][1]["error"]["message"]
    untried = _release(source, tmp_path / "w", [first, second], "--no-test")
    assert [job["test"]["status"] for job in untried["jobs"]] == ["none", "none"]


def test_hooks_do_not_test(tmp_path: Path) -> None:
    from support.projects import Frontend

    source = write_fake_project(tmp_path / "p", {}, 'test.command = "exit 1"\nstrategy = "host"')
    assert Frontend(source).hooks.build_wheel(str(tmp_path)) == "fake-1.0-py3-none-any.whl"


# --- people and machines -----------------------------------------------------------------------------------------


def test_a_terminal_gets_a_live_display(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    source = write_fake_project(tmp_path / "p", {"sleep": 1})
    words = [str(source), "-w", str(tmp_path / "w"), "--strategy", "host", "--no-isolation", "--sdist"]
    ours, theirs = pty.openpty()
    environ = hook_environ(TERM="xterm", XDG_CACHE_HOME=str(tmp_path / "cache"))
    process = subprocess.Popen([*_COMMAND, *words], env=environ, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 1 << 16):
            seen += piece
    except OSError:
        pass
    finally:
        os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert out.count("\n") == 2
    assert b"of 2 done" in seen
    assert b"\x1b[" in seen
    assert b"1 of 1 good" in seen


def test_real_interpreters_real_compilers_and_an_sdist_that_is_kept(tmp_path: Path) -> None:
    """Isolated, each wheel imported where it was installed."""
    pythons = _pythons(2)
    source = copy_sample("setuptools_c", tmp_path)
    with (source / "pyproject.toml").open("a") as file:
        test = "import sample_setuptools_c as s; assert s.copy('é') == 'é'"
        file.write(f'\n[tool.portable-backend.test]\ncommand = """python -c "{test}\\""""\n')
    words = (source, "-w", tmp_path / "w", "--strategy", "host", "--smoke", "--json")
    done = _run(*words, "--python", pythons[0], "--python", pythons[1], "--log-dir", tmp_path / "logs", "--jobs", 2)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    details = [job["test"]["detail"] for job in data["jobs"]]
    assert details == ["1 module imported, 1 command passed"] * 2
    assert [f"-{_tag(python)}-" in wheel for python, wheel in zip(pythons, data["wheels"])] == [True, True]
    with tarfile.open(data["sdist"]) as archive:
        assert "sample_setuptools_c-1.2.3/PKG-INFO" in archive.getnames()


# --- containers --------------------------------------------------------------------------------------------------


def test_a_wheel_for_another_c_library_is_tried_in_its_image_or_not_at_all(tmp_path: Path) -> None:
    """Interpreters are those of the image, and so is the loader that the wheel has to satisfy."""
    image = musllinux_image()
    source = copy_sample("setuptools_c", tmp_path)
    text = "import platform, sys, sample_setuptools_c as s; print(s.copy('good'), platform.libc_ver(), sys.version)"
    (source / "tests").mkdir()
    (source / "tests" / "it.py").write_text(text)
    with (source / "pyproject.toml").open("a") as file:
        file.write('\n[tool.portable-backend.test]\ncommand = "python tests/it.py"\nsources = ["tests"]\n')
    (source / "MANIFEST.in").write_text("include tests/*.py\n")
    words = (source, "-w", tmp_path / "w", "--target", "musllinux_1_2", "--strategy", "container", "--json")
    choose = ("-C", f"portable-backend.container.image={image}", "--log-dir", tmp_path / "logs")
    done = _run(*words, *choose, "--python", "3.12-", "--list")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)["jobs"]
    assert "cp312" in [job["python_tag"] for job in listed]
    done = _run(*words, *choose, "--python", "3.12", "--sdist", "--smoke")
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    assert job["test"] == {"status": "passed", "detail": f"1 module imported, 1 command passed in {image}"}
    assert "good" in Path(job["log"]).read_text()
    config = {"portable-backend.target": "musllinux_1_2", "portable-backend.container.image": image}
    build = read_build(source, config, namesake("cpython", (3, 12), False))
    wrong = Wanted(False, TrialSettings(command=("ls {project} && exit 3",)))
    with pytest.raises(TrialFailed, match=r"exit status 3[^$]*pyproject\.toml"):
        try_wheel(build, source, tmp_path / "w" / job["wheel"], wrong, lambda line: None)


def test_what_cannot_be_tried_is_not_called_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    source = write_fake_project(tmp_path / "p")
    data = _release(source, tmp_path / "w", _pythons(1), "--sdist")
    build = read_build(source, {"portable-backend.strategy": "host"}, namesake("cpython", (3, 99), False))
    said: list[str] = []
    tried = try_wheel(build, source, Path(data["wheels"][0]), Wanted(True, None), said.append)
    assert tried.status == "not run"
    assert "there is no interpreter 3.99 on this machine" in tried.detail
    assert said
