"""The compiled scanner, editor, inflater and search. Importing this raises ImportError where they were not built."""

from __future__ import annotations

import sys

from ._scan import (
    add_sha256,
    checksums,
    compare_files,
    digest_names,
    edit,
    end_member,
    end_sha256,
    feed_pass,
    fill_member,
    find_ending,
    hashes_fast,
    inflate,
    inflate_whole,
    last_block,
    look_up,
    names_in_groups,
    names_of_starts,
    new_inflater,
    new_member,
    new_pass,
    new_sha256,
    read_archive,
    read_member,
    read_members,
    read_record,
    scan,
    scan_parts,
    spare_memory,
    stop_member,
)

#: Whether files can be edited in a private mapping, of which pages are let go.
MAPS = sys.platform == "linux"

__all__ = [
    "MAPS",
    "add_sha256",
    "checksums",
    "compare_files",
    "digest_names",
    "edit",
    "end_member",
    "end_sha256",
    "feed_pass",
    "fill_member",
    "find_ending",
    "hashes_fast",
    "inflate",
    "inflate_whole",
    "last_block",
    "look_up",
    "names_in_groups",
    "names_of_starts",
    "new_inflater",
    "new_member",
    "new_pass",
    "new_sha256",
    "read_archive",
    "read_member",
    "read_members",
    "read_record",
    "scan",
    "scan_parts",
    "spare_memory",
    "stop_member",
]
