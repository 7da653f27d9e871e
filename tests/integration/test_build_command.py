"""``portable-backend build``: a frontend of our own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import pytest

from support.projects import copy_sample, find_pythons, hook_environ, read_log, write_fake_project, write_files

pytestmark = pytest.mark.integration
_COMMAND = [sys.executable, "-m", "portable_backend.cli"]
_WHEEL = "fake-1.0-py3-none-any.whl"
_NATIVE = {"tag": "py3-none-linux_x86_64", "compile": ["mod.c"]}
_C = "int answer(void) { return 42; }\n"


def _run(*arguments: str, cwd: Optional[Path] = None, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*_COMMAND, "build", *arguments]
    environ_ = hook_environ(**environ)
    return subprocess.run(command, cwd=cwd, env=environ_, capture_output=True, text=True, check=False)


def _build(*arguments: str, cwd: Optional[Path] = None, **environ: str) -> Path:
    done = _run(*arguments, cwd=cwd, **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "standard output has the wheel's path and nothing else"
    path = (cwd or Path.cwd()) / done.stdout.rstrip("\n")
    assert path.is_file()
    return path


def _tags(wheel: Path) -> set[str]:
    return set(wheel.name[: -len(".whl")].split("-")[-1].split("."))


# --- sources -----------------------------------------------------------------------------------------------------


def test_a_project_that_declares_another_backend(tmp_path: Path) -> None:
    text = '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
    text += '[project]\nname = "declared"\nversion = "1"\n'
    source = write_files(tmp_path / "p", {"pyproject.toml": text, "declared.py": ""})
    wheel = _build(str(source), "-w", str(tmp_path / "w"), "--strategy", "host")
    assert wheel.name == "declared-1-py3-none-any.whl"


@pytest.mark.parametrize("pyproject", [None, "", '[build-system]\nrequires = ["setuptools"]\n'])
def test_a_project_without_a_build_backend_key(tmp_path: Path, pyproject: Optional[str]) -> None:
    """PEP 517: such a project is built with setuptools' legacy backend, which lets setup.py import its neighbours."""
    setup = "import neighbour\nfrom setuptools import setup\nsetup(name='old', version='1', py_modules=['neighbour'])\n"
    files = {"setup.py": setup, "neighbour.py": "", **({} if pyproject is None else {"pyproject.toml": pyproject})}
    source = write_files(tmp_path / "p", files)
    wheel = _build(str(source), "-w", str(tmp_path / "w"), "--strategy", "host", "--no-isolation")
    assert wheel.name == "old-1-py3-none-any.whl"


def test_an_sdist(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "fake-1.0")
    archive = tmp_path / "fake-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(source, "fake-1.0")
    wheel = _build(str(archive), "-w", str(tmp_path / "w"), "--strategy", "host", "--no-isolation")
    assert wheel == tmp_path / "w" / _WHEEL


def test_the_working_directory_is_not_the_source(tmp_path: Path) -> None:
    """A relative -w is relative to where the command was typed, whatever the strategy does."""
    write_fake_project(tmp_path / "p", _NATIVE, files={"mod.c": _C})
    for strategy in ("host", "zig"):
        wheel = _build("p", "-w", strategy, "--strategy", strategy, "--no-isolation", cwd=tmp_path)
        assert wheel.parent == tmp_path / strategy
    assert sorted(os.listdir(tmp_path)) == ["host", "p", "zig"]


@pytest.mark.slow
def test_a_pinned_requirement(tmp_path: Path) -> None:
    """Its build requirements come as wheels: only the project itself is asked for as an sdist."""
    done = _run("markupsafe==3.0.2", "-w", str(tmp_path), "--strategy", "host", "-q")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("markupsafe-3.0.2-cp")
    assert "manylinux" in wheel.name


def test_a_requirement_that_does_not_exist(tmp_path: Path) -> None:
    done = _run("markupsafe==999.0", "-w", str(tmp_path / "w"))
    assert done.returncode == 5
    assert "markupsafe==999.0" in done.stderr
    assert "Traceback" not in done.stderr


def _archive(path: Path, members: Sequence[tuple[str, bytes, dict[str, Any]]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content, more in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return path


_PYPROJECT = ("x-1/pyproject.toml", b"", {})


@pytest.mark.parametrize(
    "members",
    [
        [_PYPROJECT, ("../escaped", b"x", {})],
        [_PYPROJECT, ("x-1/../../escaped", b"x", {})],
        [
            _PYPROJECT,
            ("x-1/link", b"", {"type": tarfile.SYMTYPE, "linkname": "../../.."}),
            ("x-1/link/escaped", b"", {}),
        ],
        [_PYPROJECT, ("x-1/hard", b"", {"type": tarfile.LNKTYPE, "linkname": "../../../etc/passwd"})],
        [_PYPROJECT, ("x-1/device", b"", {"type": tarfile.CHRTYPE})],
        [("a/pyproject.toml", b"", {}), ("b/pyproject.toml", b"", {})],
        [("pyproject.toml", b"", {})],
        [],
    ],
    ids=["parent", "through-root", "symlink", "hard-link", "device", "two-roots", "no-directory", "empty"],
)
def test_an_sdist_that_leaves_its_root_or_is_none(tmp_path: Path, members: list[Any]) -> None:
    archive = _archive(tmp_path / "x-1.tar.gz", members)
    (tmp_path / "tmp").mkdir()
    done = _run(str(archive), "-w", str(tmp_path / "w"), "--no-isolation", TMPDIR=str(tmp_path / "tmp"))
    assert done.returncode == 7, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("escaped"))
    assert os.listdir(tmp_path / "tmp") == []


@pytest.mark.parametrize("damage", ["truncated", "garbage", "no-tar", "flipped"])
def test_a_damaged_sdist(tmp_path: Path, damage: str) -> None:
    source = write_fake_project(tmp_path / "fake-1.0", files={"data": "0123456789" * 5000})
    archive = tmp_path / "fake-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(source, "fake-1.0")
    content = archive.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 40]) + content[middle + 40 :]
    contents = {
        "truncated": content[:middle],
        "garbage": b"\x1f\x8b" + b"x" * 100,
        "no-tar": b"text",
        "flipped": flipped,
    }
    archive.write_bytes(contents[damage])
    done = _run(str(archive), "-w", str(tmp_path / "w"), "--no-isolation")
    assert done.returncode == 7, done.stderr
    assert str(archive) in done.stderr
    assert "Traceback" not in done.stderr


# --- options -----------------------------------------------------------------------------------------------------


def test_the_json_output_is_one_object_about_the_wheel(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "p", {**_NATIVE, "junk": "{not json"}, files={"mod.c": _C})
    done = _run(str(source), "-w", str(tmp_path / "w"), "--strategy", "host", "--no-isolation", "--json")
    data = json.loads(done.stdout)
    assert data["path"] == str(tmp_path / "w" / data["wheel"])
    assert data["compliant"] is True
    assert "{not json" in done.stderr


def test_installing_requirements_says_nothing_on_standard_output(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "p")
    text = (source / "pyproject.toml").read_text().replace('["portable-backend"]', '["flit-core"]')
    (source / "pyproject.toml").write_text(text)
    wheels = str(tmp_path / "w")
    done = _run(str(source), "-w", wheels, "--strategy", "host", "--json", PIP_VERBOSE="2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["wheel"] == _WHEEL


def test_config_settings_reach_the_inner_backend(tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = write_fake_project(tmp_path / "p", {"log": str(log)})
    options = ("-C", "one=1", "-C", "many=a", "-C", "many=b=c", "-C", "portable-backend.strip=yes")
    _build(str(source), "-w", str(tmp_path / "w"), "--strategy", "host", "--no-isolation", *options)
    assert read_log(log)[-1]["config_settings"] == {"one": "1", "many": ["a", "b=c"]}


def test_an_isolated_build_for_another_interpreter(tmp_path: Path) -> None:
    other = next((each for each in find_pythons() if each != f"{sys.version_info[0]}.{sys.version_info[1]}"), None)
    if other is None:
        pytest.skip("there is one interpreter only")
    source = copy_sample("setuptools_c", tmp_path)
    wheel = _build(str(source), "-w", str(tmp_path / "w"), "--strategy", "host", "--python", other)
    assert f"-cp{other.replace('.', '')}-" in wheel.name
    assert not any(tag.startswith("linux_") for tag in _tags(wheel))


@pytest.mark.parametrize(
    ("python", "told"),
    [("3.99", "3.99"), ("banana", "banana"), ("/nowhere/python", "/nowhere/python"), ("/etc", "/etc")],
)
def test_an_interpreter_that_is_not_there(tmp_path: Path, python: str, told: str) -> None:
    done = _run(str(write_fake_project(tmp_path / "p")), "-w", str(tmp_path / "w"), "--python", python)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_blocked_strategy_names_the_next_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    source = write_fake_project(tmp_path / "p")
    done = _run(str(source), "-w", str(tmp_path / "w"), "--strategy", "container", "--no-isolation")
    assert done.returncode == 6
    assert "the container strategy is blocked" in done.stderr
    assert 'strategy = "zig"' in done.stderr
    assert not (tmp_path / "w").exists() or os.listdir(tmp_path / "w") == []


def test_a_blocked_strategy_is_told_before_anything_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    source = write_fake_project(tmp_path / "p")
    done = _run(str(source), "-w", str(tmp_path / "w"), "--strategy", "container")
    assert done.returncode == 6
    assert "installing" not in done.stderr


# --- failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["host", "zig"])
@pytest.mark.parametrize("quiet", [True, False])
def test_a_project_that_does_not_compile(tmp_path: Path, strategy: str, quiet: bool) -> None:
    source = write_fake_project(tmp_path / "p", _NATIVE, files={"mod.c": "int broken(void) { return nonsense; }\n"})
    wheels = tmp_path / "w"
    wheels.mkdir()
    more = ["-q"] if quiet else []
    done = _run(str(source), "-w", str(wheels), "--strategy", strategy, "--no-isolation", *more)
    assert done.returncode == 5
    error = done.stderr[done.stderr.index("portable-backend: error:") :]
    assert "nonsense" in (error if quiet else done.stderr)
    assert "portable_backend/" not in error
    assert os.listdir(wheels) == []


@pytest.mark.parametrize(
    "text", ["tool = 1", "[tool]\nportable-backend = 1", "build-system = 1", "[build-system]\nrequires = 'x'"]
)
def test_a_pyproject_of_wrong_types(tmp_path: Path, text: str) -> None:
    source = write_files(tmp_path / "p", {"pyproject.toml": text})
    done = _run(str(source), "-w", str(tmp_path / "w"))
    assert done.returncode == 3, done.stderr
    assert "pyproject.toml" in done.stderr or "[build-system]" in done.stderr


@pytest.mark.parametrize("path", ["../elsewhere", "/etc"])
def test_an_inner_backend_path_outside_the_project(tmp_path: Path, path: str) -> None:
    source = write_fake_project(tmp_path / "p")
    text = (source / "pyproject.toml").read_text().replace("_build", path)
    (source / "pyproject.toml").write_text(text)
    done = _run(str(source), "-w", str(tmp_path / "w"), "--strategy", "host", "--no-isolation")
    assert done.returncode == 3
    assert path in done.stderr


def test_a_backend_that_ends_without_an_answer(tmp_path: Path) -> None:
    source = write_fake_project(tmp_path / "p")
    (source / "_build" / "fake_backend.py").write_text("import os\nbuild_wheel = lambda *a, **n: os._exit(0)\n")
    done = _run(str(source), "-w", str(tmp_path / "w"), "--strategy", "host", "--no-isolation")
    assert done.returncode == 5
    assert "internal error" not in done.stderr


# --- hostile surroundings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["host", "zig"])
def test_paths_with_spaces_and_other_letters(tmp_path: Path, strategy: str) -> None:
    home = tmp_path / "tmp with spaces é"
    home.mkdir()
    source = copy_sample("setuptools_c", tmp_path).rename(tmp_path / "my prøject ' (1)")
    wheels = tmp_path / "räder hier"
    wheel = _build(str(source), "-w", str(wheels), "--strategy", strategy, "--no-isolation", TMPDIR=str(home))
    assert wheel.parent == wheels
    assert os.listdir(home) == []


@pytest.mark.parametrize("strategy", ["host", "zig"])
def test_output_that_the_terminal_cannot_show(tmp_path: Path, strategy: str) -> None:
    said = {**_NATIVE, "junk": "naïve → ünïcode"}
    source = write_fake_project(tmp_path / "p", said, files={"mod.c": _C})
    options = ("-w", str(tmp_path / "w"), "--strategy", strategy, "--no-isolation")
    _build(str(source), *options, PYTHONIOENCODING="ascii:strict")


@pytest.mark.parametrize("home", [None, "/proc/nowhere"])
def test_no_home_directory(tmp_path: Path, home: Optional[str]) -> None:
    source = write_fake_project(tmp_path / "p", _NATIVE, files={"mod.c": _C})
    environ = hook_environ()
    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "PYENV_ROOT"):
        environ.pop(variable, None)
    if home is not None:
        environ["HOME"] = home
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    command = [*_COMMAND, "build", str(source), "-w", str(tmp_path / "w"), "--no-isolation", "--strategy", "zig"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plan = [*_COMMAND, "plan", str(source), "--python", python]
    found = subprocess.run(plan, env=environ, capture_output=True, check=False)
    assert found.returncode == 0, found.stderr


def test_what_the_host_built_does_not_leak_into_a_zig_build(tmp_path: Path) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    subprocess.run([sys.executable, "-c", "from setuptools import setup; setup()", "build"], cwd=source, check=True)
    (stale,) = (source / "build").rglob("*.so")
    os.utime(stale)
    wheel = _build(str(source), "-w", str(tmp_path / "w"), "--strategy", "zig", "--no-isolation")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(".so"))
        assert archive.read(member) != stale.read_bytes()
    assert "manylinux_2_17_x86_64" in _tags(wheel) or "manylinux_2_5_x86_64" in _tags(wheel)


def test_two_builds_of_one_tree_at_the_same_time(tmp_path: Path) -> None:
    source = copy_sample("setuptools_c", tmp_path)
    commands = [
        [*_COMMAND, "build", str(source), "-w", str(tmp_path / str(number)), "--strategy", "zig", "--no-isolation"]
        for number in range(2)
    ]
    processes = [
        subprocess.Popen(command, env=hook_environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (next((tmp_path / str(number)).iterdir()) for number in range(2))
    assert first.read_bytes() == second.read_bytes()


# --- interruptions -----------------------------------------------------------------------------------------------


def _children(of: int) -> list[int]:
    done = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = {int(line.split()[0]): int(line.split()[1]) for line in done.stdout.splitlines()}
    found, grown = {of}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return sorted(found - {of})


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@contextmanager
def _sleeping(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A build in a process group of its own whose inner backend has a child that sleeps."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes are told apart by means of /proc")
    source = write_fake_project(tmp_path / "p", {"sleep": 300}, 'strategy = "host"')
    (tmp_path / "tmp").mkdir()
    command = [*_COMMAND, "build", str(source), "-w", str(tmp_path / "w"), "--no-isolation"]
    environ = hook_environ(TMPDIR=str(tmp_path / "tmp"))
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    children: list[int] = []
    while len(children) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
        children = _children(process.pid)
    time.sleep(0.5)
    children = _children(process.pid)
    try:
        assert len(children) == 2, "the inner backend and its own child"
        yield process, children
    finally:
        for pid in (process.pid, *children):
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("to", ["group", "process"])
@pytest.mark.parametrize(("what", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_ends_its_children_and_leaves_nothing(
    tmp_path: Path, to: str, what: signal.Signals, code: int
) -> None:
    with _sleeping(tmp_path) as (process, children):
        (os.killpg if to == "group" else os.kill)(process.pid, what)
        _, error = process.communicate(timeout=30)
        assert process.returncode == code
        assert not any(_alive(pid) for pid in children)
    assert "portable-backend: interrupted" in error
    assert not (tmp_path / "w").exists() or os.listdir(tmp_path / "w") == []
    assert os.listdir(tmp_path / "tmp") == []


def test_a_killed_build_leaves_no_wheel(tmp_path: Path) -> None:
    with _sleeping(tmp_path) as (process, _):
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    assert not (tmp_path / "w").exists() or os.listdir(tmp_path / "w") == []
