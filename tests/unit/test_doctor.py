"""What ``doctor`` says of a machine, and that nothing on that machine can keep it from ending."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from portable_backend.doctor import ask, cures, engines, examine, surroundings, tools
from portable_backend.doctor.check import BROKEN, MISSING, OK, UNFIT, Check, Diagnosis
from portable_backend.report.colour import wants_colour
from portable_backend.report.doctor import doctor_data, doctor_text, is_well
from portable_backend.strategies.container import engine as container_engine

_SOURCE = str(Path(examine.__file__).parents[2])
_CONTAINER_VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST")


def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in _CONTAINER_VARIABLES}
    environ = {**kept, "PYTHONPATH": _SOURCE, **variables}
    command = [sys.executable, "-m", "portable_backend.cli", "doctor", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def _named(data: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(check for check in data["checks"] if check["name"] == name)
    return found


def test_this_machine_is_described_for_people_and_for_programs() -> None:
    done = _run("--json")
    data = json.loads(done.stdout)
    assert (data["version"], done.returncode) == (1, 0 if data["ok"] else 1)
    running = next(check for check in data["checks"] if check["data"].get("running"))
    assert running["data"]["version"].startswith(".".join(map(str, sys.version_info[:3])))
    assert {check["group"] for check in data["checks"]} >= {"package", "python", "zig", "containers", "disk"}
    text = _run()
    assert text.returncode == done.returncode
    assert "\x1b" not in text.stdout, "no terminal, no colour"
    lines = text.stdout.splitlines()
    assert all(any(check["name"] in line for line in lines) for check in data["checks"])


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the parts of a Linux machine")
def test_a_machine_with_nothing_is_told_what_each_part_would_enable_and_what_installs_it(tmp_path: Path) -> None:
    begin = time.monotonic()
    host = f"unix://{tmp_path}/none.sock"
    done = _run("--json", PATH=str(tmp_path), HOME=str(tmp_path), DOCKER_HOST=host, CONTAINER_HOST=host)
    took = time.monotonic() - begin
    data = json.loads(done.stdout)
    lacking = [check for check in data["checks"] if check["status"] == "missing"]
    assert {"cargo", "rustc", "cc", "c++"} <= {check["name"] for check in lacking}
    assert all(check["enables"] and check["cure"] for check in lacking)
    (docker,) = (check for check in data["checks"] if (check["group"], check["name"]) == ("containers", "docker"))
    assert (docker["status"], bool(docker["cure"])) == ("broken", True)
    assert took < 5, "nothing is there to be waited for"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("ID=debian\n", "debian"),
        ('ID=ubuntu\nID_LIKE="debian"\n', "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora"),
        ("ID=alpine", "alpine"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"', "suse"),
        ("ID=gentoo", None),
        ("", None),
        ("=\n==\nID", None),
    ],
)
def test_commands_are_those_of_the_distribution(text: str, family: Any) -> None:
    assert cures.parse_os_release(text) == family


def test_headers_come_from_whoever_the_interpreter_came_from() -> None:
    assert cures.headers("/usr/bin/python3", "3.11", "debian") == "apt-get install python3.11-dev"
    assert cures.headers("/usr/bin/python3", "3.11", "fedora") == "dnf install python3-devel"
    assert "apt-get" not in cures.headers("/home/me/.pyenv/versions/3.11.1/bin/python3", "3.11", "debian")
    assert cures.install("cc", None, "install gcc") == "install gcc"


def test_missing_headers_of_the_running_interpreter_are_held_against_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.python_probes("debian", needed=True)[0][2]()[0].needed
    monkeypatch.setattr(tools, "_has_headers", lambda interpreter: False)
    probes = tools.python_probes("debian", needed=True)
    check = probes[0][2]()[0]
    assert (check.status, check.needed) == (MISSING, True)
    assert check.cure
    assert not is_well(Diagnosis("1", "Linux", "zig", None, "the default", [check]))
    assert is_well(Diagnosis("1", "Linux", "zig", None, "the default", [check._replace(needed=False)]))


def test_an_exit_status_of_one_says_what_is_lacking(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from portable_backend import cli

    check = Check("python", "3.11.2", MISSING, "without headers", "builds", "apt-get install python3-dev", True)
    found = Diagnosis("1", "Linux x86_64", "zig", "manylinux_2_17_x86_64", "the default", [check])
    monkeypatch.setattr(examine, "examine", lambda: found)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "cure: apt-get install python3-dev" in said
    assert said.endswith("The zig strategy lacks: 3.11.2.\n")
    assert cli.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


# --- attacks ------------------------------------------------------------------------------------------------------


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")
def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    _script(tmp_path / "cc", f"sleep 300 & echo $! > {tmp_path}/child; wait")
    begin = time.monotonic()
    assert ask.ask([str(tmp_path / "cc")], seconds=1) is None
    assert time.monotonic() - begin < 5
    child = int((tmp_path / "child").read_text())
    for _ in range(50):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").exists() and " Z " in Path(f"/proc/{child}/stat").read_text():
            return  # ended; whoever adopted it has not looked yet
        time.sleep(0.1)
    pytest.fail("the child lives on")


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")
def test_interpreters_that_hang_or_talk_nonsense_are_told_apart_from_good_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyenv", "uv"):
        (tmp_path / name).mkdir()
    _script(tmp_path / "python3.12", "sleep 300")
    _script(tmp_path / "python3.13", "echo '{}'")
    _script(tmp_path / "python3.10", "printf 'bad\\033]0;title\\007' >&2; exit 1")
    _script(tmp_path / "python2", "touch ran")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    monkeypatch.setattr(tools, "SECONDS", 0.5)
    probes = [
        each for each in tools.python_probes(None, needed=True) if str(tmp_path) in each[1] or each[1] == sys.executable
    ]
    checks = ask.together(probes, 20)
    broken = [check.name for check in checks if check.status == BROKEN]
    assert sorted(map(os.path.basename, broken)) == ["python3.10", "python3.12", "python3.13"]
    assert checks[0].status == OK
    text = doctor_text(Diagnosis("1", "Linux", "zig", None, "the default", checks))
    assert "\x1b" not in text
    assert not (tmp_path / "ran").exists()


def test_a_look_that_never_ends_or_fails_hides_no_other() -> None:
    def broken() -> list[Check]:
        raise RuntimeError("no such luck")

    never = threading.Event()
    begin = time.monotonic()
    found = ask.together(
        [
            ("zig", "zig", lambda: [Check("zig", "zig", OK, "there")]),
            ("rust", "cargo", broken),
            ("containers", "docker", lambda: [] * never.wait(30)),
        ],
        0.5,
    )
    never.set()
    assert time.monotonic() - begin < 5
    assert [check.status for check in found] == [OK, BROKEN, BROKEN]
    assert "no such luck" in found[1].detail
    assert "does not answer" in found[2].detail


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")
def test_an_engine_that_listens_and_says_nothing_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_engine, "PING", 0.3)
    monkeypatch.chdir(tmp_path)  # the paths of Unix sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        listening.listen()
        monkeypatch.setattr(
            engines,
            "find_engine",
            lambda name: container_engine.find_engine(name, {"DOCKER_HOST": f"unix://{tmp_path}/s"}),
        )
        (check,) = engines.engine("docker", "debian", "x86_64")
    assert check.status == BROKEN
    assert "takes too long" in check.detail
    assert check.cure


def test_nothing_that_may_be_a_password_is_told(tmp_path: Path) -> None:
    secret = "hunter2hunter2"
    done = _run(
        "--json",
        HTTPS_PROXY=f"http://me:{secret}@proxy.invalid:3128",
        PIP_INDEX_URL=f"https://me:{secret}@index.invalid/simple",
        DOCKER_HOST=f"tcp://me:{secret}@127.0.0.1:9",
        SSL_CERT_FILE=str(tmp_path / secret),
        PORTABLE_BACKEND_ENVIRONMENT=f"TOKEN={secret}",
    )
    data = json.loads(done.stdout)
    assert secret not in done.stdout + done.stderr
    assert "HTTPS_PROXY" in _named(data, "proxies")["data"]["variables"]
    assert "PORTABLE_BACKEND_ENVIRONMENT" in _named(data, "builds")["data"]["variables"]
    gone = [check for check in data["checks"] if "SSL_CERT_FILE" in check["detail"] and check["status"] == "broken"]
    assert gone[0]["cure"].startswith("unset SSL_CERT_FILE")


def test_little_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Full:
        free = 100_000_000

    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda path: _Full)
    assert {check.status for check in surroundings.disk(needed=True)} == {BROKEN}


# --- how it looks -------------------------------------------------------------------------------------------------


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (io.StringIO(), {}, False),
        (_Terminal(), {}, True),
        (_Terminal(), {"TERM": "dumb"}, False),
        (_Terminal(), {"NO_COLOR": "1"}, False),
        (_Terminal(), {"NO_COLOR": ""}, True),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (io.StringIO(), {"FORCE_COLOR": ""}, False),
    ],
)
def test_colour_follows_the_conventions(stream: io.StringIO, environ: dict[str, str], coloured: bool) -> None:
    assert wants_colour(stream, environ) is coloured


def test_colours_change_nothing_but_colours() -> None:
    checks = [
        Check("zig", "zig", OK, "0.17.1"),
        Check("rust", "cargo", MISSING, "none", "Rust", "apt-get install cargo"),
        Check("python", "3.8.1", UNFIT, "too old", None, "take a newer one"),
        Check("disk", "evil\x1b[2J\nname", BROKEN, "\x1b]0;x\x07", "x", "y"),
    ]
    found = Diagnosis("1", "Linux", "zig", None, "the default", checks)
    plain, coloured = doctor_text(found), doctor_text(found, colour=True)
    assert "\x1b" not in plain
    for code in ("0", "1", "2", "31", "32", "33"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured.replace(" ", "") == plain.replace(" ", "")
    details = [line.index(check.detail) for check in checks[:3] for line in plain.splitlines() if check.detail in line]
    assert len(set(details)) == 1, "columns are aligned"
    assert [check["name"] for check in doctor_data(found)["checks"]] == [check.name for check in checks]


def test_requirements_of_ours_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "tomli":
            raise surroundings.importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(surroundings, "_REQUIRED", ("packaging", "tomli"))
    monkeypatch.setattr(surroundings.importlib.metadata, "version", version)
    found = {check.name: check for check in surroundings.package()}
    assert found["packaging"].status == OK
    assert (found["tomli"].status, found["tomli"].needed, found["tomli"].cure) == (BROKEN, True, "pip install tomli")


def test_doctor_runs_without_tomli() -> None:
    hidden = "import sys\nsys.modules['tomli'] = None\nsys.version_info = (3, 9, 0)\n"
    script = hidden + "from portable_backend.doctor.examine import examine\nprint(len(examine().checks))"
    environ = {**os.environ, "PYTHONPATH": _SOURCE}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True)
    assert int(done.stdout) > 5, done.stderr


def test_quiet_leaves_out_what_is_in_order() -> None:
    checks = [Check("package", "good", OK, "1"), Check("disk", "bad", BROKEN, "full", "builds", "make room")]
    text = doctor_text(Diagnosis("1", "Linux", "zig", None, "the default", checks), quiet=True)
    assert "good" not in text
    assert "This package" not in text
    assert "cure: make room" in text
