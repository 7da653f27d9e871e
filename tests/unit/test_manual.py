"""The manual page: it says what the parser says, and the formatter has nothing to complain of."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from portable_backend import __version__
from portable_backend.cli import described
from portable_backend.describing import Argument, Command
from portable_backend.manual import make_manual

_PAGE = Path(__file__).parents[2] / "docs" / "man" / "portable-backend.1"


def _groff() -> str:
    path = shutil.which("groff")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs groff")
    return path


def test_the_committed_pages_are_the_parser_s() -> None:
    page = make_manual(described(), __version__)
    assert _PAGE.read_text(encoding="ascii") == page, "run tests/tools/update_manual.py"
    assert (_PAGE.parents[2] / "src" / "portable_backend" / "portable-backend.1").read_text(encoding="ascii") == page


def test_the_page_is_formatted_without_a_warning_and_names_everything() -> None:
    done = subprocess.run([_groff(), "-man", "-Tutf8", "-ww", "-P-cbou", str(_PAGE)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout.replace("\u2010", "-").replace("\u2212", "-")
    for command in described().walk():
        assert all(flag in text for option in command.options for flag in option.flags)
        assert all(word in text for word in command.path)


def test_text_is_never_taken_for_a_request() -> None:
    hostile = Argument(("--x",), ".so", (), ".so /etc/passwd\\*(x 'y' -- \x1b", False, False, "")
    page = make_manual(Command(("p",), (), "", (), (), (Command(("p", "q"), (), "'x", (hostile,), (), ()),)), "1")
    requests = {line.partition(" ")[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".br"}
    done = subprocess.run([_groff(), "-man", "-Tutf8", "-ww", "-P-cbou"], input=page, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\*(x" in done.stdout
