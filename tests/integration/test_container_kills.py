"""Builds that are killed at random moments leave nothing behind: no container, no temporary file, no half wheel."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support.images import manylinux_image
from support.projects import TESTS, hook_environ

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KILLS = 12


def test_killed_builds_leave_nothing_behind() -> None:
    """Three ways in and four ends, each once; ``tests/tools/kill_builds.py`` does many more."""
    command = [sys.executable, str(TESTS / "tools" / "kill_builds.py"), "--kills", str(KILLS), "--seed", "4", "--json"]
    done = subprocess.run(
        [*command, "--image", manylinux_image()], env=hook_environ(), capture_output=True, text=True, check=False
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == KILLS, done.stderr[-3000:]
    assert [result for result in results if result["left"]] == []
    assert sum(result["running"] for result in results) >= KILLS // 2
    assert done.returncode == 0
