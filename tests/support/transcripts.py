"""Console transcripts in the documentation, run again: what a page shows is what the command says.

A fenced block of the language ``console`` holds commands behind ``$`` (continued behind ``>``, as the shell does) and
what they print, standard output and error as they come. A line ``…`` stands for any lines, ``…`` in a line for any
text. ``<!-- setup: NAME -->`` anywhere above says what has to be in the directory; ``<!-- not run: REASON -->`` right
above a block says why it is only read.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"(?P<before>(?:^<!--[^\n]*-->\n)*)^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_SETUP = re.compile(r"^<!-- setup: (?P<name>[a-z-]+) -->$", re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->")
ANY = "…"


class Step(NamedTuple):
    """A command and the lines that it prints."""

    command: str
    expected: tuple[str, ...]


class Transcript(NamedTuple):
    """One block."""

    steps: tuple[Step, ...]
    not_run: str
    """The reason, or nothing."""


def read_page(page: Path) -> tuple[list[str], list[Transcript]]:
    """The names of the setups of a page, and its transcripts."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in _BLOCK.finditer(text):
        reason = _NOT_RUN.search(block["before"])
        found.append(Transcript(tuple(_steps(block["text"])), reason["reason"] if reason else ""))
    return _SETUP.findall(text), found


def _steps(text: str) -> list[Step]:
    steps: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append(([line[2:]], []))
        elif line.startswith("> ") and steps and not steps[-1][1]:
            steps[-1][0].append(line[2:])
        else:
            steps[-1][1].append(line)
    return [Step("\n".join(command), tuple(expected)) for command, expected in steps]


def environment(directory: Path) -> dict[str, str]:
    """Variables for the commands of a page, with ``portable-backend`` in front of PATH; made in ``directory``."""
    programs = directory / "programs"
    programs.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parents[2] / "src"
    start = f"{sys.executable} -c 'import sys; from portable_backend.cli import main; sys.exit(main())'"
    script = programs / "portable-backend"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={source} exec {start} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    steering = ("AUDITWHEEL_", "PORTABLE_", "GITHUB_", "DOCKER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return {**kept, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80", "LC_ALL": "C.UTF-8"}


def run(transcript: Transcript, directory: Path, environ: dict[str, str]) -> list[str]:
    """Run the steps in a directory; what differs from the page, in words."""
    wrong, status = [], 0
    bash = shutil.which("bash") or "sh"
    for step in transcript.steps:
        command = [bash, "-c", f"(exit {status})\n{step.command}"]
        done = subprocess.run(
            command, cwd=directory, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600
        )
        status = done.returncode
        said = done.stdout.decode("utf-8", "replace").splitlines()
        if not matches(step.expected, said):
            shown = "\n".join(said)
            wrong.append(f"$ {step.command}\nprints\n{shown}\nand the page says\n" + "\n".join(step.expected))
    return wrong


def matches(expected: tuple[str, ...], said: list[str]) -> bool:
    """Whether lines are those that a page shows."""
    parts = []
    for line in expected:
        pattern = ".*".join(map(re.escape, line.rstrip().split(ANY)))
        parts.append(r"(?:.*\n)*?" if line.strip() == ANY else rf"{pattern}[ \t]*\n")
    return re.fullmatch("".join(parts), "".join(f"{line}\n" for line in said)) is not None
