"""The command line: what it takes, what it says, how it exits."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from portable_backend import __version__, cli
from portable_backend.cli.parsing import CommandParser
from portable_backend.describing import Command

_PYPROJECT = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("CIBUILDWHEEL", "AUDITWHEEL_PLAT", "PIP_BUILD_TRACKER"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "pyproject.toml").write_text(_PYPROJECT)
    return tmp_path


def _plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main(["plan", "--json", *arguments]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


@pytest.mark.parametrize(
    "arguments", [["--help"], ["build", "--help"], ["plan", "--help"], ["audit", "--help"], ["repair", "-h"]]
)
def test_help_is_there_for_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 0
    assert "usage: portable-backend" in capsys.readouterr().out


@pytest.mark.parametrize("command", cli.described().walk(), ids=lambda command: " ".join(command.path))
def test_help_fits_a_screen_and_knows_every_option(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 lines of 80 columns, of which the prompt wants one."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([*command.path[1:], "--help"])
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 79
    assert all(flag in text for option in command.options for flag in option.flags if not option.group)
    assert all(option.help for option in command.options)
    assert command.help in text


def test_a_group_of_rarer_options_is_named_and_explained_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    def fill(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--common", help="explained at once")
        parser.add_argument_group("releases").add_argument("--jobs", metavar="N", help="explained when asked")

    def parser() -> CommandParser:
        made = CommandParser(prog="portable-backend build")
        made.fill = fill
        return made

    for flag, explained in (("--help", False), ("--help-all", True)):
        with pytest.raises(SystemExit) as caught:
            parser().parse_args([flag])
        text = capsys.readouterr().out
        assert caught.value.code == 0
        assert "--jobs" in text
        assert "explained at once" in text
        assert ("explained when asked" in text) is explained


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.split() == ["portable-backend", __version__]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["biuld"],
        ["build"],
        ["build", ".", "--nonsense"],
        ["build", ".", "--strategy", "zgi"],
        ["plan", "--mode", "x"],
        ["audit"],
    ],
)
def test_a_command_line_that_makes_no_sense_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere-at-all"], 2, "nowhere-at-all"),
        (["-C", "novalue"], 2, "novalue"),
        (["-C", "=x"], 2, "=x"),
        (["--python", "3.99"], 2, "3.99"),
        (["-C", "portable-backend.targt=x"], 3, "did you mean portable-backend.target?"),
        (["--target", "manylinux_9"], 3, "manylinux_9"),
        (["-C", "portable-backend.inner-backend=portable_backend"], 4, "its own"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "build"])
def test_exit_codes_say_who_must_act(
    source: Path, command: str, arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if arguments[0].startswith("nowhere") else [str(source)]
    assert cli.main([command, *where, *arguments]) == code
    said = capsys.readouterr()
    assert "portable-backend: error:" in said.err
    assert told in said.err
    assert said.out == ""


def test_the_plan_as_json_and_as_text_agree(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _plan(capsys, str(source), "--strategy", "host", "--target", "manylinux_2_28_x86_64")
    assert (data["strategy"], data["target"], data["mode"]) == ("host", "manylinux_2_28_x86_64", "repair")
    assert data["inner_backend"] == "setuptools.build_meta"
    assert cli.main(["plan", str(source), "--strategy", "host", "--target", "manylinux_2_28_x86_64"]) == 0
    text = capsys.readouterr().out
    assert all(reason in text for reason in data["reasons"])


def test_the_plan_is_of_the_working_directory_unless_told(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(source)
    assert _plan(capsys)["inner_backend"] == "setuptools.build_meta"


def test_options_win_over_the_environment(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORTABLE_BACKEND_STRATEGY", "container")
    assert _plan(capsys, str(source))["strategy"] == "container"
    assert _plan(capsys, str(source), "--strategy", "host")["strategy"] == "host"
    assert _plan(capsys, str(source), "-C", "portable-backend.strategy=host")["strategy"] == "host"


def test_inside_a_policy_image_the_machine_is_taken_as_it_is(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images say their policy in ``AUDITWHEEL_PLAT`` and have their interpreters under ``/opt/python``."""
    from portable_backend import machine

    real = machine.os.path.isdir
    monkeypatch.setenv("AUDITWHEEL_PLAT", "manylinux_2_28_x86_64")
    monkeypatch.setattr(machine.os.path, "isdir", lambda path: False if path == "/opt/python" else real(path))
    assert _plan(capsys, str(source))["strategy"] != "host", "the variable alone says nothing"
    monkeypatch.setattr(machine.os.path, "isdir", lambda path: path == "/opt/python" or real(path))
    data = _plan(capsys, str(source))
    assert data["strategy"] == "host"
    import platform

    if platform.machine() == "x86_64":
        assert data["target"] == "manylinux_2_28_x86_64"


def test_an_interruption_exits_with_130(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("portable_backend.interpreters.find_python", interrupted)
    assert cli.main(["plan", str(source)]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_error_of_ours_is_a_line_unless_a_traceback_is_asked_for(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("portable_backend.interpreters.find_python", broken)
    assert cli.main(["plan", str(source)]) == 70
    said = capsys.readouterr().err
    assert "internal error: RuntimeError: broken" in said
    assert "Traceback" not in said
    monkeypatch.setenv("PORTABLE_BACKEND_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        cli.main(["plan", str(source)])


# --- colours, and an installation that is not whole --------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, False),
    ],
)
def test_errors_and_plans_are_coloured_where_that_is_asked_for(
    environ: dict[str, str],
    coloured: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\n')
    assert cli.main(["plan", str(tmp_path)]) == 0
    assert ("\x1b[1mmode repair\x1b[0m: the default" in capsys.readouterr().out) is coloured
    (tmp_path / "pyproject.toml").write_text('[tool.portable-backend]\ntargt = "x"\n')
    assert cli.main(["plan", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert said.startswith("\x1b[31mportable-backend: error:\x1b[0m" if coloured else "portable-backend: error:")
    assert ("\x1b" in said) is coloured


def test_a_requirement_that_is_missing_is_no_internal_error(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['packaging'] = None\nfrom portable_backend import cli\n"
        f"sys.exit(cli.main(['plan', {str(tmp_path)!r}]))"
    )
    source = Path(cli.__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": str(source), "GITHUB_ACTIONS": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True)
    assert done.returncode == 6, done.stderr
    assert "the package packaging, which portable-backend requires, is missing" in done.stderr
    assert "cure: pip install packaging" in done.stderr


_WORDS = [
    *("a.whl", "b.whl", "-", "--", "", "-x", "x y", "-v", "--verbose", "--json", "-q", "-vq", "--exclude", "--excl"),
    *("--exclude=x", "--explain", "--html", "--diff", "--map", "--plat", "--target", "-w", "-wout", "--strip", "-z"),
    *("9", "10", "-1", "--only-plat", "-h", "--help-all", "--version", "manylinux2014"),
]


def test_a_plain_line_is_read_as_the_parser_reads_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By chance, of words of which most lines make no sense; and it must be a plain one often enough to be of use."""
    chance = random.Random(7)
    plain = 0
    for _ in range(1500):
        words = [chance.choice(["audit", "show", "repair"]), *chance.choices(_WORDS, k=chance.randrange(5))]
        monkeypatch.setenv("AUDITWHEEL_ZIP_COMPRESSION_LEVEL", chance.choice(["1", "1", "1", "eleven"]))
        line = cli.read_plain(words)
        try:
            parsed = vars(cli._parser().parse_args(words))
        except SystemExit:
            parsed = None
        if line is not None:
            plain += 1
            assert vars(line) == parsed, words
    capsys.readouterr()
    assert plain > 100


@pytest.mark.parametrize(
    "line",
    [
        "audit a.whl",
        "show -v a.whl b.whl",
        "audit --exclude x --exclude y --json a.whl -q",
        "repair a.whl -w out --plat manylinux2014_x86_64 --strip -z 9 --ldpaths /x:/y -L .libs",
    ],
)
def test_usual_lines_are_plain(line: str) -> None:
    read = cli.read_plain(line.split())
    assert read is not None
    assert vars(read) == vars(cli._parser().parse_args(line.split()))


def test_the_package_is_the_command() -> None:
    for arguments in (["--version"], ["audit", "--help"], ["audit", "none-1-py3-none-any.whl"], []):
        runs = [
            subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True)
            for module in ("portable_backend", "portable_backend.cli")
        ]
        assert (runs[0].returncode, runs[0].stdout, runs[0].stderr) == (
            runs[1].returncode,
            runs[1].stdout,
            runs[1].stderr,
        )
