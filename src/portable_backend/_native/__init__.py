"""The compiled scanner, editor, inflater and search. Importing this raises ImportError where they were not built."""

from __future__ import annotations

from ._scan import (
    add_sha256,
    checksums,
    edit,
    end_sha256,
    find_ending,
    hashes_fast,
    inflate,
    inflate_whole,
    last_block,
    new_inflater,
    new_sha256,
    read_members,
    scan,
    scan_parts,
)

__all__ = [
    "add_sha256",
    "checksums",
    "edit",
    "end_sha256",
    "find_ending",
    "hashes_fast",
    "inflate",
    "inflate_whole",
    "last_block",
    "new_inflater",
    "new_sha256",
    "read_members",
    "scan",
    "scan_parts",
]
