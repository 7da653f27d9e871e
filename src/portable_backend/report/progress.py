"""Progress, as lines on standard error."""

from __future__ import annotations

import sys

from ..errors import printable


def tell(line: str) -> None:
    """One line of progress; frontends show it when they are asked to be verbose."""
    print(f"portable-backend: {printable(line)}", file=sys.stderr, flush=True)
