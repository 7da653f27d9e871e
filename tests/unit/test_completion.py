"""Tab completion as the shells do it: real ones, that are sent what a user types."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from command_line import run

_CASES = [
    ("portable-backend bu", ["build"]),
    ("portable-backend sh", ["show"]),
    ("portable-backend plan --strat", ["--strategy"]),
    ("portable-backend build --strategy z", ["zig"]),
    ("portable-backend build --strategy=c", ["container"]),
    ("portable-backend build --target musllinux_1_", ["musllinux_1_1", "musllinux_1_2"]),
    ("portable-backend cache ", ["clear", "info"]),
    ("portable-backend cache info --engine p", ["podman"]),
    ("portable-backend repair --plat manylinux_2_3", ["manylinux_2_31", "manylinux_2_34", "manylinux_2_35"]),
    ("portable-backend completion ", ["bash", "fish", "zsh"]),
    ("portable-backend audit de", ["demo.whl"]),
    ("portable-backend audit a", ["a b.whl"]),
    ("portable-backend repair -w pl", ["place"]),
    ("portable-backend build pla", ["place"]),
    ("portable-backend audit --nonsense", []),
    ("portable-backend build --strategy build --mo", ["--mode"]),
]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with something to complete, and names that a careless script would evaluate."""
    for name in ("demo.whl", "demo.txt", "a b.whl", "$(touch evaluated).whl", "`touch evaluated`.whl", "*"):
        (tmp_path / name).touch()
    (tmp_path / "place").mkdir()
    return tmp_path


@pytest.fixture
def scripts(tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> Path:
    directory = tmp_path_factory.mktemp("scripts")
    for shell in ("bash", "zsh", "fish"):
        done = run(capsys, "completion", shell)
        assert done.code == 0
        (directory / shell).write_text(done.out, encoding="utf-8")
    return directory


def _shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {name}")
    return path


def _bash(script: Path, line: str, here: Path) -> list[str]:
    """As readline does: words broken at ``COMP_WORDBREAKS``, of which ``=`` is one."""
    words = line.replace("=", " = ").split(" ")
    listed = " ".join(f"'{word}'" for word in words)
    code = f"source {script}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _portable_backend; "
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run([_shell("bash"), "--norc", "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return sorted(filter(None, done.stdout.splitlines()))


def _fish(script: Path, line: str, here: Path) -> list[str]:
    code = f"source {script}; complete -C '{line}'"
    environ = {**os.environ, "HOME": str(here.parent), "XDG_CONFIG_HOME": str(here.parent / "config")}
    done = subprocess.run([_shell("fish"), "-N", "-c", code], cwd=here, env=environ, capture_output=True, text=True)
    assert done.stderr == ""
    return sorted(word.partition("\t")[0] for word in done.stdout.splitlines())


def _same(found: list[str], wanted: list[str], line: str) -> None:
    ends = [word.rstrip("/").rpartition("=")[2].replace("\\", "") for word in found]
    if "2_3" in line:
        assert set(wanted) <= set(ends)
        assert all(word.startswith("manylinux_2_3") for word in ends)
    else:
        assert ends == wanted


@pytest.mark.parametrize(("line", "wanted"), _CASES)
def test_bash(line: str, wanted: list[str], here: Path, scripts: Path) -> None:
    _same(_bash(scripts / "bash", line, here), wanted, line)


@pytest.mark.parametrize(("line", "wanted"), _CASES)
def test_fish(line: str, wanted: list[str], here: Path, scripts: Path) -> None:
    found = _fish(scripts / "fish", line, here)
    # fish's own function for endings offers other files, too, behind those.
    _same([word for word in found if not (word.endswith(".txt") and "audit" in line)], wanted, line)


@pytest.mark.parametrize("shell", [_bash, _fish])
def test_names_of_files_are_not_evaluated(shell: object, here: Path, scripts: Path) -> None:
    assert callable(shell)
    found = shell(scripts / shell.__name__[1:], "portable-backend audit ", here)
    assert not (here / "evaluated").exists()
    assert any("touch evaluated" in word for word in found)


class _Zsh:
    """An interactive zsh on a terminal of its own; ``^X`` writes down what stands on the line."""

    def __init__(self, script: Path, here: Path) -> None:
        self.seen = here.parent / "line"
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(here)
            os.execve(_shell("zsh"), ["zsh", "-f", "-i"], {**os.environ, "TERM": "dumb", "HOME": str(here.parent)})
        self.pid = pid
        self.send(
            "PS1='READY''> '; unsetopt beep; autoload -U compinit; "
            f"compinit -u -d {here.parent}/dump; source {script}; "
            f"show() {{ print -r -- $BUFFER > {self.seen} }}; zle -N show; bindkey '^X' show\n"
        )
        self.expect("READY> ")

    def send(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def expect(self, text: str) -> None:
        said, until = "", time.monotonic() + 30
        while text not in said:
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, until - time.monotonic()))
            assert ready, said
            said += os.read(self.terminal, 4096).decode("utf-8", "replace")

    def completed(self, line: str) -> str:
        """What the line is after a tab."""
        self.seen.unlink(missing_ok=True)
        self.send(f"\x15{line}\t\x18")
        until = time.monotonic() + 30
        while not self.seen.exists() or not self.seen.read_text().endswith("\n"):
            assert time.monotonic() < until
            time.sleep(0.02)
        return self.seen.read_text()[:-1]

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


def test_zsh(here: Path, scripts: Path) -> None:
    _shell("zsh")
    zsh = _Zsh(scripts / "zsh", here)
    try:
        for line, wanted in _CASES:
            found = zsh.completed(line)
            if len(wanted) == 1:
                ending = wanted[0].replace(" ", "\\ ")
                assert found.rstrip(" /=").endswith(ending), (line, found)
            else:
                assert found.startswith(line.rstrip()), (line, found)
        assert not (here / "evaluated").exists()
    finally:
        zsh.close()


def test_an_unknown_shell_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, "completion", "tcsh")
    assert done.code == 2
    assert "bash" in done.err
