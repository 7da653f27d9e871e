"""The compiled ELF scanner and inflater. Importing this raises ImportError where it was not built."""

from __future__ import annotations

from ._scan import inflate, new_inflater, scan, scan_parts

__all__ = ["inflate", "new_inflater", "scan", "scan_parts"]
