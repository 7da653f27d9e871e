"""What reading any part of DWARF takes: its sections, numbers, strings, and a limit to how long it goes on. Pure.

Source: the DWARF Debugging Information Format, versions 4 and 5, section 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..records import NamedTuple

if TYPE_CHECKING:
    from typing import Literal

    Order = Literal["little", "big"]

_LONGEST_PATH = 4096


class DebugSections(NamedTuple):
    """The sections of debugging data; empty where a file has none.

    :param order: of bytes.
    :param address_size: in bytes.
    """

    line: bytes
    line_str: bytes = b""
    str: bytes = b""
    info: bytes = b""
    abbrev: bytes = b""
    str_offsets: bytes = b""
    order: Order = "little"
    address_size: int = 8


class Broken(Exception):
    """A table that cannot be read."""


class Steps:
    """So many steps may be taken, by all that is read together."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, count: int = 1) -> None:
        """Take some.

        :raises Broken: when none are left.
        """
        self.left -= count
        if self.left <= 0:
            raise Broken


class Reader:
    """Numbers and strings, one behind the other."""

    def __init__(self, data: bytes, at: int, end: int, order: Order) -> None:
        self.data, self.at, self.end, self.order = data, at, min(end, len(data)), order

    def number(self, size: int) -> int:
        """An unsigned number of so many bytes."""
        at = self.at
        self.skip(size)
        return int.from_bytes(self.data[at : at + size], self.order)

    def skip(self, size: int) -> None:
        """Pass over so many bytes.

        :raises Broken: where there are not as many.
        """
        self.at += size
        if self.at > self.end:
            raise Broken

    def unsigned(self) -> int:
        """An unsigned LEB128 number (section 7.6); none here has reason to take more than ten bytes."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise Broken

    def signed(self) -> int:
        """The same, signed."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value - (1 << shift + 7) if byte & 0x40 else value
        raise Broken

    def string(self) -> str:
        """A string that ends in a zero."""
        stop = self.data.find(b"\0", self.at, min(self.end, self.at + _LONGEST_PATH))
        if stop < 0:
            raise Broken
        text, self.at = self.data[self.at : stop], stop + 1
        return text.decode("utf-8", "replace")


def units_of(section: bytes, order: Order) -> Iterator[tuple[int, int, int, bool]]:
    """Each unit of a section: where it starts, where it goes on behind its length, where it ends, and whether its
    offsets have 64 bits.
    """
    at = 0
    while at + 12 <= len(section):
        length, wide = int.from_bytes(section[at : at + 4], order), False
        begin = at + 4
        if length == 0xFFFFFFFF:
            length, wide = int.from_bytes(section[at + 4 : at + 12], order), True
            begin = at + 12
        if length:  # else padding
            yield at, begin, min(begin + length, len(section)), wide
        at = begin + length


__all__ = ["Broken", "DebugSections", "Reader", "Steps", "units_of"]
