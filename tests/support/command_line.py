"""Run the command in this process and see what a user would see."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from portable_backend.cli import main

#: More lines than this are no message but a dump.
LONGEST_MESSAGE = 20


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code and what it printed."""

    code: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Run ``portable-backend`` with these arguments."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    seen = capsys.readouterr()
    return Outcome(code, seen.out, seen.err)


def refuse(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """Run a command that has to fail with ``code`` and a message of a few lines; return the message."""
    outcome = run(capsys, *arguments)
    assert outcome.code == code, outcome
    assert "Traceback" not in outcome.err
    assert "internal error" not in outcome.err
    assert 1 <= len(outcome.err.splitlines()) <= LONGEST_MESSAGE, outcome.err
    return outcome.err


def entries(directory: Path) -> list[str]:
    """Everything under a directory, relative to it; nothing if there is no such directory."""
    return sorted(
        os.path.relpath(os.path.join(top, name), directory)
        for top, directories, files in os.walk(directory)
        for name in (*directories, *files)
    )
