"""Source trees in unusual states."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only(source: Path) -> Iterator[None]:
    """A source tree that nobody can write to, not even root: a read-only bind mount, else permissions."""
    if os.geteuid() == 0:
        mounted = subprocess.run(["mount", "--bind", str(source), str(source)], capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip("read-only trees need a bind mount where root runs the tests")
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(source)], check=True, capture_output=True)
            yield
        finally:
            subprocess.run(["umount", str(source)], check=True)
        return
    directories = [source, *(path for path in source.rglob("*") if path.is_dir())]
    for path in directories:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path in directories:
            path.chmod(0o755)
