"""The members of a wheel: what may be one is said here, and what nearly all archives are is read by compiled code.

The compiled code passes nothing that does not pass here, and to the same values; the rest is left to the code here and
in :mod:`.directory`, which alone refuse anything and say why.
"""

from __future__ import annotations

from itertools import islice

from ..errors import WheelError
from ..patterns import later
from ..records import NamedTuple
from .directory import find_data, find_directory, read_directory
from .layout import DEFLATED, ENCRYPTED, PATCHED, STORED

try:
    from .. import _native
except ImportError:
    _native = None  # type: ignore[assignment]  # a module, or nothing where it is not built

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Optional

    from .directory import Entry, Found, ReadAt

MAX_MEMBER_SIZE = 4 << 30
# Deflate cannot do better than 1032:1; native code that matters compresses 2:1 to 10:1, sparse tables 100:1.
BOMB_SIZE, BOMB_RATIO = 64 << 20, 200
# All members together: what is below would be read in a few seconds.
BOMB_TOTAL = 1 << 30


class Members(NamedTuple):
    """All members, in the order of the directory, in columns, since some wheels have thousands. Sizes in bytes."""

    names: list[str]
    offsets: Sequence[int]
    """Of the data."""
    compressed_sizes: Sequence[int]
    sizes: Sequence[int]
    crcs: Sequence[int]
    methods: Sequence[int]
    attributes: Sequence[int]
    """External attributes: a POSIX mode in the upper half."""


def read_members(read_at: ReadAt, file: Optional[int], size: int, wheel: str) -> Members:
    """Read what an archive of that size says of its members, and check it.

    :param file: its descriptor, if it has one.
    :param wheel: what errors call the archive.
    :raises WheelError: if it is no zip, is damaged, or has members that a careful reader refuses.
    """
    found = find_directory(read_at, size, wheel)
    plain = None if file is None else _read_plain(found, file)
    return _read_with_care(found, read_at, wheel) if plain is None else plain


def _read_plain(found: Found, file: int) -> Optional[Members]:
    if _native is None:
        return None
    read = _native.read_archive(file, found.data, found.start, found.said, BOMB_SIZE, BOMB_TOTAL, BOMB_RATIO)
    if read is None:
        return None
    names, table = read
    values = memoryview(table).cast("Q")
    return Members(names, *(values[column::6] for column in range(6)))


def _read_with_care(found: Found, read_at: ReadAt, wheel: str) -> Members:
    directory = read_directory(found, wheel)
    entries = directory.entries
    _check_members(wheel, entries)
    offsets = find_data(directory, read_at, wheel)
    return Members(
        names=[entry.name for entry in entries],
        offsets=offsets,
        compressed_sizes=[entry.compressed_size for entry in entries],
        sizes=[entry.size for entry in entries],
        crcs=[entry.crc for entry in entries],
        methods=[entry.method for entry in entries],
        attributes=[entry.attributes for entry in entries],
    )


def _check_members(wheel: str, entries: Sequence[Entry]) -> None:
    files: set[str] = set()
    size = packed = 0
    for entry in entries:
        name = entry.name
        fault = (None if _PLAIN_NAME.fullmatch(name) else _name_fault(name)) or _content_fault(entry)
        if fault is None and name in files:
            fault = "is in the archive twice"
        if fault is not None:
            raise WheelError(f"{wheel}: member {name!r} {fault}")
        files.add(name)
        size, packed = size + entry.size, packed + entry.compressed_size
    clash = _find_clash(files)
    if clash is not None:
        raise WheelError(f"{wheel}: member {clash!r} is a file and a directory")
    if size > BOMB_TOTAL and size > BOMB_RATIO * packed:
        raise WheelError(f"{wheel}: inflates {size // max(packed, 1)}-fold; refused")


def _find_clash(names: Collection[str]) -> Optional[str]:
    """The first name of a file that is a directory as well."""
    # With the least letter of all for the slash, what lies below a name comes right behind it. A set of all directories
    # would take memory with the square of a name's depth.
    keys = sorted([name.replace("/", "\0") for name in names])
    clashing = [one for one, other in zip(keys, islice(keys, 1, None)) if other.startswith(one + "\0")]
    return min([key.replace("\0", "/") for key in clashing], default=None)


def _content_fault(entry: Entry) -> Optional[str]:
    if entry.flags & ENCRYPTED:
        return "is encrypted"
    if entry.flags & PATCHED:
        return "has patched data, which no installer reads"
    if entry.method not in (STORED, DEFLATED):
        return f"is compressed by method {entry.method}; wheels use 0 (stored) or 8 (deflated)"
    if entry.size > MAX_MEMBER_SIZE:
        return f"is larger than {MAX_MEMBER_SIZE >> 30} GiB"
    if entry.size > BOMB_SIZE and entry.size > BOMB_RATIO * entry.compressed_size:
        return f"inflates {entry.size // max(entry.compressed_size, 1)}-fold; refused"
    return None


# Names in which nothing can be wrong: no component is empty or begins with a point, no letter but the most usual.
_PLAIN_NAME = later(r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*/)*[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def _name_fault(name: str) -> Optional[str]:
    parts = (name[:-1] if name.endswith("/") else name).split("/")
    if name.startswith("/") or (name[1:2] == ":" and name[0].isascii() and name[0].isalpha()):
        return "has an absolute name"
    if ".." in parts:
        return "leaves the root of the archive"
    if "" in parts or "." in parts:
        return "has a name that is not in normal form"
    if "\\" in name or "\x7f" in name or min(name) < " ":
        return "has a backslash or a control character in its name"
    return None


__all__ = ["BOMB_RATIO", "BOMB_SIZE", "BOMB_TOTAL", "MAX_MEMBER_SIZE", "Members", "read_members"]
