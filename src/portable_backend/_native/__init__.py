"""The compiled scanner, editor, inflater and search. Importing this raises ImportError where they were not built."""

from __future__ import annotations

from ._scan import (
    checksums,
    edit,
    find_ending,
    hashes_fast,
    inflate,
    inflate_whole,
    last_block,
    new_inflater,
    read_members,
    scan,
    scan_parts,
    spare_memory,
)

__all__ = [
    "checksums",
    "edit",
    "find_ending",
    "hashes_fast",
    "inflate",
    "inflate_whole",
    "last_block",
    "new_inflater",
    "read_members",
    "scan",
    "scan_parts",
    "spare_memory",
]
