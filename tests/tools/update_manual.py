"""Write the manual page, which is generated from the command line's parser."""

from __future__ import annotations

import os
from pathlib import Path

from portable_backend import __version__
from portable_backend.cli import described
from portable_backend.manual import make_manual

ROOT = Path(__file__).resolve().parents[2]
# For readers of the repository, and for the wheel, which is also built from copies of src alone.
PAGES = (ROOT / "docs" / "man" / "portable-backend.1", ROOT / "src" / "portable_backend" / "portable-backend.1")


def main() -> None:
    """Write it."""
    os.environ.pop("AUDITWHEEL_PLAT", None)
    for page in PAGES:
        page.parent.mkdir(exist_ok=True)
        page.write_text(make_manual(described(), __version__), encoding="ascii")


if __name__ == "__main__":
    main()
