"""The compiled ELF scanner, ELF editor and inflater. Importing this raises ImportError where they were not built."""

from __future__ import annotations

from ._scan import edit, inflate, inflate_whole, last_block, new_inflater, scan, scan_parts

__all__ = ["edit", "inflate", "inflate_whole", "last_block", "new_inflater", "scan", "scan_parts"]
