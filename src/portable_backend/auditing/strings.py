"""The names of libraries that a file may load by itself, read out of its bytes. Pure.

What is given to ``dlopen`` stands in no table of the dynamic segment; it is a string among the read-only data, or is
put together at run time. So this is a guess, good for a warning: every C string that is nothing but the name of a
shared library, with or without a path.
"""

from __future__ import annotations

from ..elf import has_name
from ..patterns import later

try:
    from .. import _native
except ImportError:
    _native = None  # type: ignore[assignment]  # a module, or nothing where it is not built

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..elf import Buffer, ImportedSymbol

#: Functions that load a library by its name: glibc's and musl's, GLib's, libtool's, SDL's.
OPENERS = frozenset({"dlopen", "dlmopen", "g_module_open", "lt_dlopen", "lt_dlopenext", "SDL_LoadObject"})
_OPENERS = tuple(sorted(OPENERS))
LONGEST = 255
MAX_NAMES = 64
# Enough for any file that was compiled; a file made of nothing else costs no more than this.
_MAX_TRIES = 1 << 16
_REACH = 2 * LONGEST
_PIECE = 1 << 20
_HEAD = 1 << 20
# One of these is in each of them; two quick searches instead of one for each.
_WORDS = (b"open", b"SDL_LoadObject")
_OPENER = later(b"|".join(name.encode("ascii") for name in sorted(OPENERS)))

# It begins with plain characters: so the search runs at a gigabyte a second, twice as fast as bytes.find does.
_END = later(rb"\.so(?:\.[0-9]{1,9}){0,6}\0")
_NAME = later(rb"(?:[!-~]*/)?lib[A-Za-z0-9_+.-]+")


def loads_by_name(imports: Sequence[ImportedSymbol]) -> bool:
    """Whether a file with these imported symbols can load a library by its name."""
    return has_name(imports, (), _OPENERS)


class NameFinder:
    """Finds names in a file that comes in pieces; where it is cut makes no difference."""

    def __init__(self) -> None:
        self._tail = b"\0"  # as if a string had ended before the first byte
        self._tries = _MAX_TRIES
        self._names: dict[str, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What was found so far, in the order of the file, each name once."""
        return tuple(self._names)

    def feed(self, data: Buffer) -> None:
        """Look through the next bytes of the file."""
        if _native is not None or isinstance(data, bytes):
            self._feed(data)
        else:  # to be searched they have to be copied, but not all at once
            for start in range(0, len(data), _PIECE):
                self._feed(bytes(data[start : start + _PIECE]))

    def _feed(self, data: Buffer) -> None:
        # The seam alone is searched twice: the end of what came before with the beginning of what comes now. Of both,
        # endings count whose zeros were not in reach before.
        seam = self._tail + data[:_REACH]
        self._look_through(seam, len(self._tail))
        self._look_through(data, _REACH)
        self._tail = seam[-_REACH:] if len(data) <= _REACH else bytes(data[-_REACH:])

    def _look_through(self, data: Buffer, first: int) -> None:
        for mark, end in _endings(data):
            if end < first:
                continue
            if self._tries == 0 or len(self._names) == MAX_NAMES:
                return
            self._tries -= 1
            start = max(0, mark - LONGEST)
            self._take(bytes(data[start:end]), mark - start)

    def _take(self, data: bytes, mark: int) -> None:
        """Take the string at the end of ``data``, if its beginning is there and it looks like a name up to ``mark``."""
        zero = data.rfind(b"\0", 0, mark)
        if zero >= 0 and len(data) - zero <= LONGEST and _NAME.fullmatch(data, zero + 1, mark):
            self._names.setdefault(data[zero + 1 :].decode("ascii"))


def _endings(data: Buffer) -> Iterator[tuple[int, int]]:
    """Where endings of names begin, and where the zeros behind them lie, in order."""
    if _native is None:
        yield from ((match.start(), match.end() - 1) for match in _END.finditer(data))
        return
    found = _native.find_ending(data, 0)
    while found is not None:
        yield found
        found = _native.find_ending(data, found[1])


class HopefulFinder:
    """Looks for names in a file that comes by before it is known whether it opens any library.

    The names of functions lie near the beginning of nearly every file. If none of :data:`OPENERS` does, what comes by
    is not looked through any more: should the file open libraries all the same, it has to come by again.
    """

    def __init__(self) -> None:
        self._finder = NameFinder()
        self._seen = 0
        self._hope = False
        self.gave_up = False

    @property
    def names(self) -> tuple[str, ...]:
        """What was found; nothing is missing unless ``gave_up``."""
        return self._finder.names

    def feed(self, data: Buffer) -> None:
        """Look through the next bytes of the file, if that is worth it."""
        if self.gave_up:
            return
        self._finder.feed(data)
        self._seen += len(data)
        if not self._hope:
            piece = bytes(data)
            self._hope = any(word in piece for word in _WORDS) and bool(_OPENER.search(piece))
        self.gave_up = self._seen >= _HEAD and not self._hope


def find_dlopen_names(data: Buffer) -> tuple[str, ...]:
    """The names of shared libraries among the strings of a file, at most :data:`MAX_NAMES`, each once.

    :param data: the whole file. A string counts if it is terminated, and nothing but a name (``libfoo.so.1``) or a path
        that ends in one.
    """
    finder = NameFinder()
    finder.feed(data)
    return finder.names
