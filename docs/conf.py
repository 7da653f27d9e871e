"""How the documentation is built: ``nox -s docs``.

Sphinx with MyST, because that reads CommonMark as GitHub does, so one text is right in both places, and because ``-W``
makes every link and anchor that leads nowhere an error.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Optional

_INIT = Path(__file__).resolve().parent.parent / "src" / "portable_backend" / "__init__.py"
_FOUND = re.search(r'__version__ = "([^"]+)"', _INIT.read_text(encoding="utf-8"))
assert _FOUND is not None

project = "portable_backend"
release = version = _FOUND[1]
copyright = "the authors of portable_backend"  # noqa: A001 - what Sphinx calls it
extensions = ["myst_parser"]
# Strict: headings are anchors, as on GitHub; a reference that is not found is a warning, and so an error.
myst_heading_anchors = 4
myst_enable_extensions = ["strikethrough"]
html_theme = "alabaster"
html_theme_options = {"description": "Wheels that are portable, from any build backend.", "page_width": "1100px"}
exclude_patterns = ["_build"]
# Languages of blocks that are nobody's to highlight.
highlight_language = "none"


def _publish_schemas(app: Any, error: Optional[Exception]) -> None:
    """Put the schemas at the addresses that they bear (``$id``), where editors ask for them."""
    if error is None:
        for schema in Path(app.srcdir, "reference").glob("*.schema.json"):
            shutil.copy(schema, Path(app.outdir, "reference"))


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", _publish_schemas)
