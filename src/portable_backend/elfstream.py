"""Scan an ELF file that comes by in pieces, without ever holding it whole.

What a loader reads of a file is a few tables, most of them near its beginning; but which ones is said by the dynamic
segment, near its end. So the beginning is kept as it comes by, and what the headers name; what the dynamic segment then
names and is gone by is collected when the file comes by once more, up to the last byte that is wanted::

    pass 1   ├── kept ──┤······· code ·······├ dynamic ┤·· data ··├ section headers ┤
                                             └ small segments are kept, too: editors move tables there
    pass 2   ··········├ rest of the tables ┤

Facts and errors are those of :func:`portable_backend.elf.scan` of the whole file. The bytes may be hostile: a file
whose structures are all over it is collected whole if it is small, and refused if not: memory and passes have bounds.

Of the largest tables little is asked. They are not collected: they pass by in the second pass (:func:`.elf.pass_by`),
and are collected only if that turns out not to be enough.
"""

from __future__ import annotations

import struct

from . import elf
from .errors import ElfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Optional, Union

    Piece = Union[bytes, bytearray, memoryview]
    Range = tuple[int, int]
    Wanted = tuple[int, int, int]

#: Kept of every file as it comes by: what nearly all of them have their tables in.
HEAD = 1 << 20
#: Kept besides of small segments that come later, of each file.
LATE, LATE_SEGMENTS = 2 << 20, 16
#: Files up to this size are collected whole, should their structures be all over them.
SMALL = 16 << 20
#: What is larger is no table: of thousands of real files all tables of one took 0.13 GB at most.
MOST = 512 << 20
#: Strings, and relocations or hashes, of more bytes are not collected.
NAMES, OTHERS = 4 << 20, 1 << 20
#: How often a file may come by before it is collected whole or refused; where linkers put its tables, it is twice.
PASSES = 4
#: How often a pass may find that it wants more: the headers lead to the dynamic segment, and that to the tables.
QUESTIONS = 16


class _Stretch:
    """A range of the file that is wanted whole, and what is there of it.

    :param lent: a buffer of that size that others use as well, though not at the same time.
    """

    __slots__ = ("buffer", "end", "have", "lent", "start")

    def __init__(self, start: int, end: int, lent: Optional[bytearray] = None) -> None:
        self.start, self.end = start, end
        self.lent = lent is not None and len(lent) == end - start
        self.buffer = lent if lent is not None and self.lent else bytearray(end - start)
        self.have: list[Range] = []

    def keep(self, offset: int, piece: Piece) -> None:
        """Copy what falls into the stretch out of a piece of the file."""
        first, last = max(offset, self.start), min(offset + len(piece), self.end)
        if first < last:
            self.buffer[first - self.start : last - self.start] = piece[first - offset : last - offset]
            self.note(first, last)

    def note(self, start: int, end: int) -> None:
        """What falls into the stretch of this range has been copied."""
        first, last = max(start, self.start), min(end, self.end)
        if first < last:
            self.have = _merged([*self.have, (first, last)])

    def widen(self, start: int, end: int) -> None:
        """Reach farther, without a second copy of what is there: that may be most of what memory holds."""
        if self.lent:
            self.buffer, self.lent = bytearray(self.buffer), False
        self.buffer[:0] = bytes(self.start - start)
        self.buffer += bytes(end - self.end)
        self.start, self.end = start, end

    def reduced(self, wanted: Iterable[Wanted]) -> list[_Stretch]:
        """What is left of it from the first to the last part that is wanted; all, if it is the file's beginning."""
        if self.start == 0:
            return [self]
        inside = [(start, end) for start, end, _ in wanted if start < self.end and self.start < end]
        first = max(self.start, min((start for start, _ in inside), default=self.end))
        return self._cut(first, min(self.end, max((end for _, end in inside), default=first)))

    def without(self, start: int, end: int) -> list[_Stretch]:
        """What is left of it without a part."""
        return [*self._cut(self.start, start), *self._cut(end, self.end)]

    def _cut(self, start: int, end: int) -> list[_Stretch]:
        if (start, end) == (self.start, self.end):
            return [self]
        if start >= end:
            return []
        part = _Stretch(start, end)
        for first, last in self.have:
            part.keep(first, memoryview(self.buffer)[first - self.start : last - self.start])
        return [part]

    @property
    def whole(self) -> bool:
        return self.have == [(self.start, self.end)]


class StreamedScan:
    """The scan of one file: let it come by, each time from its beginning, until the scan is ``done``.

    Each time is ``begin``, ``feed`` with piece after piece until ``satisfied`` or the end of the file, and ``end``. Who
    copies what is ``missing`` by himself says with ``passed`` how far the file has come by, and looks again then.

    :param size: of the file, in bytes.
    :param head: room of :data:`HEAD` bytes, for nobody else until the scan is ``done``; new memory costs time.
    :ivar facts: what was found; ``None`` until then.
    :ivar error: what is wrong with the file; ``None`` if nothing is.
    """

    def __init__(self, size: int, head: Optional[bytearray] = None) -> None:
        self.facts: Optional[elf.ElfFacts] = None
        self.error: Optional[ElfError] = None
        self._size = size
        self._position = 0
        self._passes = 0
        self._questions = 0
        self._ask_at: Optional[int] = 0
        self._guessed = False
        self._to_pass: Optional[list[Wanted]] = None if elf.IMPLEMENTATION == "native" else []
        self._passing: Optional[object] = None
        self._kept_strings: Optional[Range] = None
        self._folded = elf.FoldedNames([])
        self._stretches = [_Stretch(0, min(size, HEAD if elf.IMPLEMENTATION == "native" else size), head)]
        if size == 0:
            self._scan()

    @property
    def done(self) -> bool:
        """Whether facts or error are there."""
        return self.facts is not None or self.error is not None

    @property
    def satisfied(self) -> bool:
        """Whether nothing more of this pass is wanted."""
        return self.done or self._ask_at is None

    def begin(self) -> None:
        """The file comes by from its beginning."""
        self._position = 0
        self._passes += 1
        self._questions = 0
        if self._to_pass:
            self._passing = elf.pass_by(self._stretches[0].buffer, self._to_pass)
            self._fold_strings()
        self._ask_at = self._next_question() if self._passes > 1 else min(self._size, 1)

    def feed(self, piece: Piece) -> None:
        """The next bytes of the file."""
        start = self._position
        self._position += len(piece)
        if not self.satisfied:
            self._keep(start, piece)
            if self._passing is not None:
                elf.feed_pass(self._passing, start, piece)
            self._ask(piece)

    @property
    def asks_at(self) -> Optional[int]:
        """How far the file has to come by before anything can be asked; ``None`` if this pass is ``satisfied``."""
        return None if self.done else self._ask_at

    @property
    def missing(self) -> list[tuple[int, bytearray]]:
        """What is wanted of the bytes to come: where each stretch of them begins, and where it is to be copied to."""
        return [
            (stretch.start, stretch.buffer)
            for stretch in self._stretches
            if stretch.end > self._position and not stretch.whole
        ]

    @property
    def passing(self) -> Optional[object]:
        """What has to be given all that comes by (:func:`.elf.feed_pass`); ``None`` if nothing is."""
        return None if self.done else self._passing

    def passed(self, position: int, piece: Piece) -> None:
        """Instead of ``feed``: all bytes up to ``position`` have come by, have been given to what is ``passing``, and
        what was ``missing`` has been copied.

        :param piece: the last of them, as many as are at hand.
        """
        start, self._position = self._position, position
        if not self.satisfied:
            for stretch in self._stretches:
                stretch.note(start, position)
            self._ask(piece)

    def _ask(self, piece: Piece) -> None:
        """Scan what was kept, if it is time for it; and again, if that tells to keep more of the last piece."""
        start = self._position - len(piece)
        if not self._guessed:
            self._guess()
        while self._ask_at is not None and self._position >= self._ask_at:
            wanted = self._scan()
            self._questions += 1
            if self.done:
                return
            self._want(wanted)
            had = self._kept()
            self._keep(start, piece)  # what is wanted may be in the very piece
            self._ask_at = self._position if self._kept() > had else self._next_question()
            if self._questions >= QUESTIONS:
                self._ask_at = None

    def end(self) -> None:
        """The file has come by, as far as it was wanted."""
        if self.done or self._passes < PASSES:
            return
        if self._passes == PASSES and self._size <= SMALL:
            self._want([(0, self._size)])
        else:
            self._fail("its structures are scattered all over a large file")

    def _guess(self) -> None:
        """Keep what comes later and may hold tables, before anything asks for it."""
        self._guessed = True
        first = self._stretches[0]
        segments = _late_segments(memoryview(first.buffer)[: self._position], first.end, self._size)
        self._stretches += [_Stretch(*segment) for segment in segments]

    def _fail(self, what: str) -> None:
        self.error = ElfError(0, what)
        self._stretches = []

    def _keep(self, start: int, piece: Piece) -> None:
        for stretch in self._stretches:
            stretch.keep(start, piece)

    def _kept(self) -> int:
        return sum(last - first for stretch in self._stretches for first, last in stretch.have)

    def _next_question(self) -> Optional[int]:
        """Where the last of what is wanted, and still to come, ends."""
        ends = [stretch.end for stretch in self._stretches if not stretch.whole]
        if self._passing is not None and self._to_pass:
            ends += [end for start, end, _ in self._to_pass if (start, end) != self._kept_strings]
        return max((end for end in ends if end > self._position), default=None)

    def _scan(self) -> Iterable[Range]:
        if self._passing is not None:
            self._pass_strings(self._passing)
        parts = [
            (first, memoryview(stretch.buffer)[first - stretch.start : last - stretch.start])
            for stretch in self._stretches
            for first, last in stretch.have
        ]
        try:
            found = elf.scan_parts(self._size, parts, self._passing)
            if found is None:  # another try, as if nothing had passed by
                self._passing, self._to_pass = None, []
                self._passes -= 1
                found = elf.scan_parts(self._size, parts)
        except ElfError as error:
            self.error = error
        else:
            if not isinstance(found, elf.ElfFacts):
                return self._without_passing(found or [])
            self.facts = found
        self._stretches, self._passing = [], None
        return ()

    def _without_passing(self, wanted: Sequence[Wanted]) -> Iterable[Range]:
        """What is wanted besides what is to pass by, which is found out when the tables are known."""
        if self._to_pass is None and any(kind != elf.PLAIN for _, _, kind in wanted):
            self._to_pass = _choose(wanted)
            # Of what was kept on a guess, all is let go that is none of the tables.
            self._stretches = [left for each in self._stretches for left in each.reduced(wanted)]
            strings = [(start, end) for start, end, kind in self._to_pass if kind == elf.STRINGS]
            if strings and strings[0][0] >= self._position:  # an editor moved them, and it is a long way there
                self._kept_strings = strings[0]
        tables = [each for each in self._to_pass or () if each[:2] != self._kept_strings]
        return [
            (start, end)
            for start, end, _ in wanted
            if not any(first <= start and end <= last for first, last, _ in tables)
        ]

    def _fold_strings(self) -> None:
        """Compress strings that were kept, since they came by before the symbols did."""
        start, end = self._kept_strings or (0, 0)
        for stretch in self._stretches if end else ():
            if stretch.start <= start and end <= stretch.end and stretch.whole:
                self._folded = elf.fold_names(memoryview(stretch.buffer)[start - stretch.start : end - stretch.start])
                self._stretches.remove(stretch)
                self._stretches += stretch.without(start, end)
                return

    def _pass_strings(self, passing: object) -> None:
        """Let the strings pass by that were kept."""
        place, _ = self._kept_strings or (0, 0)
        for piece in self._folded:
            elf.feed_pass(passing, place, piece)
            place += len(piece)

    def _want(self, wanted: Iterable[Range]) -> None:
        """Lay out anew what is wanted: what touches is one stretch, for a table has to be in one part."""
        old = self._stretches
        ranges = _merged([*wanted, *((stretch.start, stretch.end) for stretch in old)])
        if sum(end - start for start, end in ranges) > MOST:
            self._fail(f"its tables take more than {MOST >> 20} MiB")
            return
        # Each old one lies in one of the ranges, the largest of those in a range becomes what is there of it.
        self._stretches = []
        old.sort(key=lambda stretch: stretch.start, reverse=True)
        for start, end in ranges:
            inside = []
            while old and old[-1].start < end:
                inside.append(old.pop())
            largest = max(inside, key=lambda stretch: stretch.end - stretch.start, default=None)
            if largest is None:
                self._stretches.append(_Stretch(start, end))
                continue
            if (largest.start, largest.end) != (start, end):
                largest.widen(start, end)
            for other in inside:
                for first, last in other.have if other is not largest else ():
                    largest.keep(first, memoryview(other.buffer)[first - other.start : last - other.start])
            self._stretches.append(largest)


def _choose(wanted: Sequence[Wanted]) -> list[Wanted]:
    """The tables that are to pass by: names if they are many and come by behind the symbols, and other large ones."""
    symbols = [each for each in wanted if each[2] == elf.SYMBOLS]
    strings = [each for each in wanted if each[2] == elf.STRINGS]
    named = len(symbols) == len(strings) == 1 and symbols[0][1] <= strings[0][0] and _length(strings[0]) > NAMES
    others = [each for each in wanted if each[2] > elf.STRINGS and _length(each) > OTHERS]
    return [*(symbols + strings if named else ()), *others]


def _length(wanted: Wanted) -> int:
    return wanted[1] - wanted[0]


def _late_segments(head: memoryview, start: int, size: int) -> list[Range]:
    """The small segments behind ``start``, as far as :data:`LATE` goes: editors put tables there that have grown.

    A guess, by program headers (gABI, chapter 5) that lie within ``head``; nothing depends on what it gives.

    :param size: of the file.
    """
    if len(head) < 64 or head[4] not in _HEADERS:
        return []
    header, segment, at = _HEADERS[head[4]]
    order = ">" if head[5] == 2 else "<"
    offset, step, count = struct.unpack_from(order + header, head, at)
    found: list[Range] = []
    left = LATE
    for place in range(offset, min(offset + step * count, len(head)) - struct.calcsize(order + segment) + 1, step or 1):
        kind, begin, length = struct.unpack_from(order + segment, head, place)
        if kind == _PT_LOAD and begin >= start and 0 < length <= min(left, size - begin) and len(found) < LATE_SEGMENTS:
            found.append((begin, begin + length))
            left -= length
    return _merged(found)


_PT_LOAD = 1
# By class: e_phoff, e_phentsize and e_phnum, and where the first lies; p_type, p_offset and p_filesz.
_HEADERS = {1: ("I10xHH", "II8xI", 28), 2: ("Q14xHH", "I4xQ16xQ", 32)}


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """The ranges in order, those that touch made one."""
    merged: list[Range] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
