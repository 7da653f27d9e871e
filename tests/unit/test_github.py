"""As a step of GitHub Actions: annotations, a job summary, and hostile wheels that must not command the runner."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import run
from wheel_maker import libc_extension, make_wheel

from portable_backend.errors import WheelError
from portable_backend.report.github import Row, annotation, error_annotation, harmless, summary

_GOOD = "good-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
_BAD = "bad-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
_EVIL = "x\n::add-mask::*\r\n##[add-matcher]/tmp/m.json"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_wheel(tmp_path, {"ext.so": libc_extension()}, _GOOD)
    make_wheel(tmp_path, {"ext.so": libc_extension("GLIBC_2.34")}, _BAD)
    (tmp_path / "no-1.0-py3-none-any.whl").write_bytes(b"no archive")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    return tmp_path


def _commands(text: str) -> list[str]:
    """Lines that the runner obeys: after blanks ``::``, or ``##[`` anywhere."""
    return [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line]


def test_a_bad_wheel_is_an_annotation_and_a_row(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, "audit", wheels / _GOOD, wheels / _BAD, wheels / "no-1.0-py3-none-any.whl")
    assert done.code == 7
    assert _commands(done.out) == [], "standard output may be captured; annotations go beside it"
    first, second = _commands(done.err)
    assert first.startswith("::error title=no-1.0-py3-none-any.whl%3A WheelError::")
    assert second.startswith(f"::error title={_BAD}::not true of manylinux_2_17_x86_64%0A")
    assert "malloc@GLIBC_2.34" in second
    assert "%0Acure: " in second
    rows = (wheels / "summary").read_text(encoding="utf-8").splitlines()
    assert [row[2] for row in rows if row.startswith(("| ✅", "| ❌"))] == ["✅", "❌", "❌"]


def test_the_summary_of_a_step_is_added_to(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (wheels / "summary").write_text("# Mine\n")
    run(capsys, "audit", wheels / _GOOD)
    run(capsys, "repair", wheels / _GOOD, "-w", wheels / "out")
    text = (wheels / "summary").read_text(encoding="utf-8")
    assert text.startswith("# Mine\n")
    assert text.count("| ✅ |") == 2


def test_what_programs_read_has_no_annotations(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, "audit", "--json", wheels / _BAD, wheels / "no-1.0-py3-none-any.whl")
    assert [json.loads(line)["version"] for line in done.out.splitlines()] == [1, 1]
    assert _commands(done.out + done.err) == []
    assert not (wheels / "summary").exists()


def test_elsewhere_there_is_neither(
    wheels: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    done = run(capsys, "audit", wheels / _BAD)
    assert (done.code, _commands(done.out + done.err)) == (1, [])
    assert not (wheels / "summary").exists()


def test_a_summary_that_cannot_be_written_spoils_no_verdict(
    wheels: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(wheels / "nowhere" / "summary"))
    done = run(capsys, "audit", wheels / _GOOD)
    assert done.code == 0
    assert "no job summary" in done.err


def test_a_wheel_commands_nobody(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of symbols and libraries are free to hold line ends and whatever a runner obeys."""
    evil = libc_extension(needed=[_EVIL, "##[error]lib"], undefined=["\n::stop-commands::x"])
    make_wheel(wheels, {"::error::x.so": evil, "y##[group]z.so": evil}, _BAD)
    for arguments in ([], ["-v"], ["--json"]):
        done = run(capsys, "audit", *arguments, wheels / _BAD)
        assert all(line.startswith(("::error title=", "::warning title=")) for line in _commands(done.err)), done.err
        assert not any("##[" in line for line in _commands(done.out)), done.out
        assert not any(line.lstrip().startswith("::") for line in done.out.splitlines()), done.out
    assert json.loads(run(capsys, "audit", "--json", wheels / _BAD).out)["external_libraries"]
    done = run(capsys, "repair", wheels / _BAD, "-w", wheels / "out")
    assert done.code
    assert all(line.startswith("::error title=") and "##[" not in line for line in _commands(done.err)), done.err


def test_text_stays_within_its_place() -> None:
    line = annotation("error", "a:b,c%d\n::x::", "100 %\nof it::\r")
    assert line == "::error title=a%3Ab%2Cc%25d%0A%3A%3Ax%3A%3A::100 %25%0Aof it::\\r"
    assert len(error_annotation(WheelError(_EVIL)).splitlines()) == 1
    assert harmless("a\n  ::set-env::b\nc ::d") == "a\n  : :set-env::b\nc ::d"
    hostile = "a | b </td><script>`x` [y](z) https://w.invalid @all _u_ *v* &amp;\n| c"
    text = summary("t", [Row(hostile, "p", "c", True, "o")])
    row = text.splitlines()[4]
    assert row.count("|") == 6
    assert not re.search(r"[<>`\[\]()@_*:]", row)
    assert "\n" not in row


def test_a_long_summary_is_cut() -> None:
    text = summary("t", [Row("w", "p", "c", True, "o")] * 600)
    assert text.count("✅") == 500
    assert "and 100 more" in text


def test_audit_imports_nothing_for_it_elsewhere(tmp_path: Path) -> None:
    import subprocess
    import sys

    from wheel_maker import environment

    make_wheel(tmp_path, {"ext.so": libc_extension("GLIBC_2.34")}, _BAD)
    code = f"import sys; from portable_backend.cli import main; main(['audit', {str(tmp_path / _BAD)!r}]); "
    code += "print('portable_backend.report.github' in sys.modules)"
    for told, imported in (("", "False"), ("true", "True")):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**environment(), "GITHUB_ACTIONS": told}, capture_output=True, text=True
        )
        assert done.stdout.splitlines()[-1] == imported, done.stderr


# --- quiet and verbose --------------------------------------------------------------------------------------------


def test_quiet_names_only_what_is_wrong(
    wheels: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert run(capsys, "audit", "-q", wheels / _GOOD).out == ""
    assert _BAD in run(capsys, "audit", "-q", wheels / _GOOD, wheels / _BAD).out
    done = run(capsys, "repair", "-q", wheels / _GOOD, "-w", wheels / "out")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("command", ["build", "plan", "audit", "repair"])
def test_every_command_that_tells_progress_can_be_quiet(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--quiet" in run(capsys, command, "--help").out
