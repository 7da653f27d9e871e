"""The compiled scanner, editor, inflater and search. Importing this raises ImportError where they were not built."""

from __future__ import annotations

from ._scan import edit, find_ending, inflate, inflate_whole, last_block, new_inflater, scan, scan_parts

__all__ = ["edit", "find_ending", "inflate", "inflate_whole", "last_block", "new_inflater", "scan", "scan_parts"]
