"""Signs of life: on a terminal before two seconds of silence are over, elsewhere now and then, and gone in the end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from portable_backend import signs

pty = pytest.importorskip("pty")

_SOURCE = Path(signs.__file__).parents[1]
_BEGIN = "import sys, time\nfrom portable_backend import signs\nfrom portable_backend.report.progress import tell\n"


def in_terminal(script: str, **environ: str) -> bytes:
    """What a terminal gets of a script; the test fails if the script does."""
    pid, terminal = pty.fork()
    if pid == 0:
        for name in ("CI", "GITHUB_ACTIONS", "NO_COLOR", "FORCE_COLOR"):
            os.environ.pop(name, None)
        os.environ.update({"TERM": "xterm", "PYTHONPATH": str(_SOURCE), **environ})
        os.execv(sys.executable, [sys.executable, "-c", script])
    seen = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            seen += piece
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.WIFEXITED(status), seen
    assert os.WEXITSTATUS(status) == 0, seen
    return seen


def test_a_terminal_sees_what_goes_on_and_then_nothing_of_it() -> None:
    seen = in_terminal(_BEGIN + "with signs.working('at it'): time.sleep(1.9)\nprint('done')")
    sign, _, rest = seen.partition(b" (1 s)")
    assert sign == b"\rportable-backend: at it"
    blank = b"\r" + b" " * len("portable-backend: at it (1 s)") + b"\r"
    assert rest == blank + b"done\r\n", "the line is empty again before the next begins"


def test_who_is_quick_or_quiet_gives_no_sign() -> None:
    assert in_terminal(_BEGIN + "with signs.working('x'): time.sleep(0.1)") == b""
    assert in_terminal(_BEGIN + "with signs.working('x', quiet=True): time.sleep(1.9)") == b""


def test_lines_and_signs_do_not_mix_and_a_line_says_what_goes_on() -> None:
    script = "with signs.working('x'):\n  time.sleep(1.5)\n  tell('downloading')\n  time.sleep(1.5)\n"
    seen = in_terminal(_BEGIN + script).decode()
    first, line, second = (
        seen.find(each) for each in ("x (1 s)", "portable-backend: downloading\r\n", "downloading (1 s)")
    )
    assert 0 < first < line < second
    assert seen[line - 1] == "\r", "the sign was taken away"


def test_a_line_that_is_not_ended_is_left_alone() -> None:
    seen = in_terminal(
        _BEGIN
        + "with signs.working('x'):\n  signs.pass_on('checking … ')\n  time.sleep(1.9)\n  signs.pass_on('yes\\n')"
    )
    assert seen.decode() == "checking … yes\r\n"


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_terminal_that_takes_no_line_back_gets_plain_lines(environ: dict[str, str]) -> None:
    script = "signs.LOG_SILENCE = 0.2\nwith signs.working('at it'): time.sleep(0.7)\n"
    lines = in_terminal(_BEGIN + script, **environ).decode().split("\r\n")
    assert lines[0] == "portable-backend: at it (0 s)"
    assert lines[-1] == ""
    assert not any("\r" in line for line in lines)


def test_a_log_gets_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs, "LOG_SILENCE", 0.1)
    with signs.working("judging x\n::error::\x1b[2J"), signs.working("the inner one changes nothing"):
        for _ in range(100):
            signs.threading.Event().wait(0.05)
            if said := capsys.readouterr().err:
                break
    assert said.startswith("portable-backend: judging x\\n::error::\\x1b[2J (0 s)\n"), "a name gives no orders"


def test_a_long_line_is_cut_at_the_edge() -> None:
    script = "import os\nos.get_terminal_size = lambda fd: os.terminal_size((40, 20))\n"
    seen = in_terminal(_BEGIN + script + "with signs.working('y' * 200): time.sleep(1.9)\n").decode()
    assert len(seen.split("\r")[1]) == 39
    assert "y… (1 s)" in seen


_SLOW = """
import sys, time
import portable_backend.{module} as module
before = module.{name}
def slow(*arguments, **named):
    time.sleep(1.9)
    return before(*arguments, **named)
module.{name} = slow
from portable_backend import cli
cli.main({arguments!r})
"""


@pytest.mark.parametrize(
    ("module", "name", "arguments", "said"),
    [
        ("auditing.read", "read_verdict", ["audit", "x-1-py3-none-any.whl"], "judging x-1-py3-none-any.whl"),
        ("auditing.closer", "open_wheel", ["audit", "--explain", "x-1-py3-none-any.whl"], "looking into x-1-py3-none"),
        ("auditing.closer", "open_wheel", ["audit", "--diff", "x-1-py3-none-any.whl", "y"], "looking into x-1-py3"),
        ("repairing.apply", "repair_wheel", ["repair", "x-1-py3-none-any.whl"], "repairing x-1-py3-none-any.whl"),
        ("doctor.examine", "examine", ["doctor"], "looking at this machine"),
        ("pipeline", "read_build", ["plan"], "planning"),
        ("frontend", "build_source", ["build", "x.tar.gz"], "building"),
        ("strategies.container.engine", "find_engine", ["cache", "info"], "looking for an engine"),
    ],
)
def test_no_command_is_silent_for_long(module: str, name: str, arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "x-1-py3-none-any.whl").touch()
    script = _SLOW.format(module=module, name=name, arguments=arguments)
    seen = in_terminal(f"import os\nos.chdir({str(tmp_path)!r})\n{script}").decode()
    assert f"\rportable-backend: {said}" in seen
    assert " (1 s)" in seen


def test_a_hook_that_is_silent_for_long_gives_signs(tmp_path: Path) -> None:
    (tmp_path / "backend.py").write_text(
        "import time\ndef build_sdist(directory, config_settings=None):\n    time.sleep(1.9)\n    return 'x-1.tar.gz'\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "portable_backend"\n[tool.portable-backend]\n'
        'inner-backend = "backend"\ninner-backend-path = ["."]\n'
    )
    script = f"import os\nos.chdir({str(tmp_path)!r})\nfrom portable_backend import hooks\nhooks.build_sdist('.')"
    assert "\rportable-backend: at work on build_sdist (1 s)" in in_terminal(script).decode()
