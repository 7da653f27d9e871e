"""Where the logs of a release go: to a directory that is named, or to one of its own in the user's cache."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from pathlib import Path
from typing import Optional

from ..errors import OutputError
from ..strategies.zig_toolchain import cache_directory

# So many releases are remembered.
_KEPT = 20
_NAME = re.compile(r"[A-Za-z0-9._-]+-[0-9]{8}-[0-9]{6}(-[0-9]+)?")


def log_directory(named: Optional[Path], project: str) -> Path:
    """The directory for the logs of a release that begins now.

    :raises OutputError: if it cannot be made.
    """
    try:
        if named is not None:
            named.mkdir(parents=True, exist_ok=True)
            return named.absolute()
        parent = cache_directory() / "logs"
        parent.mkdir(exist_ok=True)
        _forget(parent)
        stem = f"{re.sub('[^A-Za-z0-9._-]+', '_', project)[:60] or 'project'}-{time.strftime('%Y%m%d-%H%M%S')}"
        for number in range(1000):
            with contextlib.suppress(FileExistsError):
                directory = parent / (f"{stem}-{number}" if number else stem)
                directory.mkdir()
                return directory
    except OSError as error:
        raise OutputError(
            f"{named or 'the cache'}: no directory for logs: {error.strerror or error}", "name one: --log-dir"
        ) from None
    raise OutputError("no name is left for a directory for logs", "name one: --log-dir")


def _forget(parent: Path) -> None:
    """Remove the oldest logs."""
    found = [
        path for path in parent.iterdir() if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]
    for path in sorted(found, key=lambda path: path.stat().st_mtime)[: -_KEPT + 1]:
        shutil.rmtree(path, ignore_errors=True)
