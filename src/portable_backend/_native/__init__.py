"""The compiled ELF scanner. Importing this raises ImportError where it was not built; see ``elfscan`` for that case."""

from __future__ import annotations

from ._scan import scan

__all__ = ["scan"]
