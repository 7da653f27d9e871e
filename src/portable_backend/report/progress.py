"""Progress, as lines on standard error."""

from __future__ import annotations

import os
import sys

from .. import signs
from ..errors import printable


def tell(line: str) -> None:
    """One line of progress; frontends show it when they are asked to be verbose. What follows is what it says."""
    text = f"portable-backend: {printable(line)}"
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from .github import harmless

        text = harmless(text)
    with signs.unsigned():
        print(text, file=sys.stderr, flush=True)
    if signs.at_work():
        signs.now(line)
