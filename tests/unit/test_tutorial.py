"""The tutorial's transcript belongs to its script: the same commands, the same files, in the same order.

Programs that do nothing stand in for the real ones, so that the script says in a second what it would do; an
integration test runs it for real.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial"
# What each does so that the script can go on: environments have programs, wheels are there to be listed.
_PYTHON = """\
#!/bin/sh
[ "$2" = venv ] || exit 0
mkdir -p "$3/bin"
cp "$0" "$3/bin/pip"
cp "$0" "$3/bin/python"
: > "$3/bin/activate"
"""
_PIP = """\
#!/bin/sh
mkdir -p dist
: > dist/nothing.whl
"""


def _written(text: str) -> list[str]:
    """What is no output of a command: headings, commands, and the files behind ``cat``."""
    kept: list[str] = []
    shown = False
    for line in text.splitlines():
        if line.startswith("$ "):
            shown = line.startswith("$ cat ")
            kept.append(line)
        elif shown or re.match(r"# [A-Z]", line):
            kept.append(line)
    return kept


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("bash") is None, reason="the tutorial is for Linux")
def test_the_transcript_has_the_commands_and_files_of_the_script(tmp_path: Path) -> None:
    for name, text in (("python3", _PYTHON), ("pip", _PIP), ("portable-backend", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(tmp_path), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", str(_TUTORIAL / "run.sh")], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    transcript = (_TUTORIAL / "transcript.txt").read_text(encoding="utf-8")
    assert _written(transcript) == _written(done.stdout), "docs/tutorial/container.sh makes it anew"


_FENCED = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_shows_what_the_transcript_shows() -> None:
    page = (_TUTORIAL / "index.md").read_text(encoding="utf-8")
    transcript = (_TUTORIAL / "transcript.txt").read_text(encoding="utf-8")
    shown = list(_FENCED.finditer(page))
    assert {each["language"] for each in shown} == {"sh", "c", "toml", "text"}
    for each in shown:
        if each["language"] == "sh":
            commands = [line.split("   #")[0].rstrip() for line in each["text"].splitlines()]
            assert [line for line in commands if f"\n$ {line}\n" not in transcript] == []
        else:
            assert f"\n{each['text']}" in transcript


def test_wheels_of_the_tutorial_claim_what_is_true() -> None:
    transcript = (_TUTORIAL / "transcript.txt").read_text(encoding="utf-8")
    verdicts = re.findall(
        r"^\$ portable-backend audit.*\n(\S+\.whl): (\w+)\n  claims .*: true$", transcript, re.MULTILINE
    )
    assert [name.partition("-")[0] for name, _ in verdicts] == ["fast_c", "fast_cpp", "fast_rust"]
    assert all(policy.startswith("manylinux_2_") for _, policy in verdicts)
    assert re.findall(r'^\$ try/bin/python -c "import fast; .*\n(.*)', transcript, re.MULTILINE) == [
        "3.0",
        "[1, 2, 3]",
        "42",
    ]
