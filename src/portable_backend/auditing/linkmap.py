"""Linker maps (``-Wl,-Map=FILE``): which object file, or which member of an archive, an address came from. Pure.

Two forms are read: that of GNU ld and that of lld. Other lines are passed over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Optional

from ..patterns import later
from ..records import NamedTuple

# Maps are long; a line with a C++ name in it, too.
_LONGEST_LINE, _MOST_RANGES = 8192, 4_000_000

# " .text.name  0x1139  0x5f  libfoo.a(bar.o)"; a long section name has a line of its own before the rest.
_GNU = later(r" (?:\.\S+)?\s+0x([0-9a-f]{1,16})\s+0x([0-9a-f]{1,16}) (\S.*)")
# "  1139  1139  5f  16         libfoo.a(bar.o):(.text.name)"
_LLD = later(r"\s*([0-9a-f]{1,16})\s+[0-9a-f]{1,16}\s+([0-9a-f]{1,16})\s+[0-9]{1,8} {9}(\S.*):\([^)]*\)")
_OUTPUT = later(r"OUTPUT\((\S+)")


class LinkMap(NamedTuple):
    """What a map tells: for which file it is, and the parts of it, by address.

    :param output: the file that the linker wrote, where the map says so.
    """

    output: Optional[str]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    objects: tuple[str, ...]

    def object_at(self, address: int) -> Optional[str]:
        """The object file or ``archive.a(member.o)`` that an address came from."""
        place = bisect_right(self.starts, address) - 1
        if place < 0 or address >= self.ends[place]:
            return None
        return self.objects[place].rpartition("/")[2]


def parse_map(lines: Iterable[str]) -> LinkMap:
    """Read a map; what is no map gives one that tells nothing."""
    output = None
    ranges: list[tuple[int, int, str]] = []
    known: dict[str, str] = {}
    for line in lines:
        if len(line) > _LONGEST_LINE:
            continue
        text = line.rstrip("\r\n")
        match = _GNU.fullmatch(text) or _LLD.fullmatch(text)
        if match is not None:
            start, size = int(match[1], 16), int(match[2], 16)
            if start and size and len(ranges) < _MOST_RANGES:
                ranges.append((start, start + size, known.setdefault(match[3], match[3])))
        elif output is None and (said := _OUTPUT.match(text)):
            output = said[1]
    ranges.sort()
    starts, ends, objects = zip(*ranges) if ranges else ((), (), ())
    return LinkMap(output, starts, ends, objects)


__all__ = ["LinkMap", "parse_map"]
