"""One pass over a wheel: what every ELF file in it says, and what the archive says of itself."""

from __future__ import annotations

import posixpath
from types import MappingProxyType

from .. import elf
from ..elfstream import HEAD, StreamedScan
from ..errors import ElfError, WheelError
from ..records import NamedTuple
from ..targets import Arch
from ..wheels import Wheel, WheelName, find_record_lies
from ..wheels.inflating import WholeInflater, hashes_fast
from ..wheels.layout import record_digest
from ..wheels.members import MAX_MEMBER_SIZE
from ..wheels.parallel import ahead, available_threads, map_threads
from ..wheels.reading import ELF_MAGIC
from ..wheels.streaming import RING, new_buffer
from .strings import HopefulFinder, NameFinder, find_dlopen_names, loads_by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Optional

    from ..wheels.inflating import Piece
    from ..wheels.streaming import Streamed

_LOADABLE = (elf.ET_EXEC, elf.ET_DYN)
# Linux's own limits on symbolic links (PATH_MAX, MAXSYMLINKS).
_LONGEST_LINK, _MOST_LINKS = 4096, 40


class WheelFacts(NamedTuple):
    """What judging and repairing need to know of a wheel.

    :param elves: the loadable ELF files by member name (executables and shared objects; object files are data).
    :param malformed: members that start like ELF but break the format, with the reason.
    :param digests: the sha256 digest of each member as ``RECORD`` writes it; where ``RECORD`` uses another hash, by
        that one.
    :param record_lies: see :func:`portable_backend.wheels.find_record_lies`.
    :param symlinks: members that the archive calls symbolic links; of each the regular member that it leads to, or
        ``None`` where it leads to none.
    :param dlopen_names: of each member that can load libraries by name, the names in its strings; see
        :mod:`portable_backend.auditing.strings`.
    """

    name: WheelName
    dist_info: str
    root_is_purelib: bool
    elves: Mapping[str, elf.ElfFacts]
    malformed: Mapping[str, str]
    digests: Mapping[str, str]
    record_lies: tuple[str, ...]
    symlinks: Mapping[str, Optional[str]]
    dlopen_names: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    @property
    def links_inside(self) -> Mapping[str, str]:
        """The symbolic links that lead to a member, which could as well be copies of it."""
        return {member: target for member, target in self.symlinks.items() if target is not None}

    def with_links_copied(self) -> WheelFacts:
        """The facts of a wheel that has copies in place of :attr:`links_inside`; the same object if there are none."""
        copies = self.links_inside
        if not copies:
            return self
        elves = {member: self.elves[target] for member, target in copies.items() if target in self.elves}
        left = {member: target for member, target in self.symlinks.items() if target is None}
        return self._replace(elves={**self.elves, **elves}, symlinks=left)


class _Found(NamedTuple):
    """What was found in one member."""

    digest: str
    facts: Optional[elf.ElfFacts] = None
    error: Optional[str] = None
    dlopen_names: Optional[tuple[str, ...]] = None


# Less compressed data than this is not worth the start of a thread.
_ALONE = 1 << 20
# Members up to this size are inflated whole, and many of them read at once.
_WHOLE, _RUN = 1 << 20, 512 << 10
# Less is not worth a thread of its own.
_HUGE = 8 << 20


def read_wheel_facts(
    wheel: Wheel,
    known: Optional[WheelFacts] = None,
    same: Collection[str] = frozenset(),
    threads: Optional[int] = None,
) -> WheelFacts:
    """Read each member: no large file is held whole, and none is written to disk.

    :param known: what was read of another wheel.
    :param same: members that are, byte for byte, those of the other wheel; they are not read again.
    :param threads: how many at once; what is found does not depend on it.
    :raises WheelError: if compressed data are damaged; of several members the first in the archive is named.
    """
    members = wheel.members
    unknown = [member for member in members if known is None or member not in same]
    if threads is None:
        threads = available_threads() if sum(map(wheel.compressed_size, unknown)) > _ALONE else 1
    found = {} if known is None else {member: _recall(known, member) for member in members if member in same}
    digests = {member: each.digest for member, each in found.items()}
    errors: dict[str, WheelError] = {}
    record = wheel.record  # read before there are threads
    # What is nearly as large as a thread's share may keep the others waiting.
    share = sum(map(wheel.size, unknown)) // (2 * threads) if threads > 1 else MAX_MEMBER_SIZE
    largest = max((size for size in map(wheel.size, unknown) if size <= _WHOLE), default=0)
    readers = [_Reader(wheel, max(share, _HUGE), largest) for _ in range(threads)]

    def read(run: Sequence[str]) -> None:
        reader = readers.pop()
        try:
            for member, each in reader.read(run):
                told = record.get(member)
                # Where RECORD is right, one object is enough; and of most members there is nothing else to keep.
                digests[member] = told.digest if told and told.digest == each.digest else each.digest
                if each.facts or each.error:
                    found[member] = each
        except _Unreadable as error:
            errors[error.member] = error.reason
        finally:
            readers.append(reader)

    large = [[member] for member in unknown if wheel.size(member) > _WHOLE]
    small = wheel.runs((member for member in unknown if wheel.size(member) <= _WHOLE), _RUN)
    # The largest first, lest one is begun when all others are done.
    runs = sorted([*large, *small], key=lambda run: sum(map(wheel.size, run)), reverse=True)
    map_threads(read, runs, threads)
    for member in members:
        if member in errors:
            raise errors[member]
    ordered = [(member, found[member]) for member in members if member in found]
    elves = {member: each.facts for member, each in ordered if each.facts and each.facts.type in _LOADABLE}
    malformed = {member: each.error for member, each in ordered if each.error}
    dlopen_names = {member: names for member in elves if (names := found[member].dlopen_names) is not None}
    return WheelFacts(
        name=wheel.name,
        dist_info=wheel.dist_info,
        root_is_purelib=wheel.root_is_purelib,
        elves=elves,
        malformed=malformed,
        digests={member: digests[member] for member in members},
        record_lies=tuple(find_record_lies(wheel, digests)),
        symlinks=read_symlinks(wheel),
        dlopen_names=dlopen_names,
    )


def read_symlinks(wheel: Wheel) -> dict[str, Optional[str]]:
    """The symbolic links of a wheel, each with the regular member that it leads to, if there is one."""
    links = wheel.symlinks
    if not links:
        return {}
    texts = {member: wheel.read(member) for member in links if wheel.size(member) <= _LONGEST_LINK}
    regular = frozenset(wheel.members).difference(links)
    return {member: _follow(member, texts, regular) for member in links}


def _follow(member: str, texts: Mapping[str, bytes], regular: Collection[str]) -> Optional[str]:
    """The end of a chain of links; ``None`` where it is absolute, leaves the wheel, dangles, or goes in a circle."""
    for _ in range(_MOST_LINKS):
        text = texts.get(member, b"").decode("utf-8", "surrogateescape")
        if not text or text.startswith("/"):
            return None
        member = posixpath.normpath(posixpath.join(posixpath.dirname(member), text))
        if member in regular:
            return member
    return None


def _recall(known: WheelFacts, member: str) -> _Found:
    return _Found(
        known.digests[member], known.elves.get(member), known.malformed.get(member), known.dlopen_names.get(member)
    )


class _Unreadable(Exception):
    """A member whose data are damaged."""

    def __init__(self, member: str, reason: WheelError) -> None:
        super().__init__(reason)
        self.member, self.reason = member, reason


class _Reader:
    """What one thread has to read members with.

    :param most: bytes; of a larger member two threads take care, one that inflates and one that looks at what it gives.
    :param largest: bytes of the largest member that is inflated whole.
    """

    def __init__(self, wheel: Wheel, most: int, largest: int) -> None:
        self._wheel = wheel
        self._most, self._largest = most, largest
        self._inflater: Optional[WholeInflater] = None
        self._buffer = bytearray()
        self._head = bytearray()

    def read(self, run: Sequence[str]) -> Iterator[tuple[str, _Found]]:
        """What is found in each of some members: in a large one, or in small ones that lie together.

        :raises _Unreadable: at the first that is damaged.
        """
        member = run[0]
        try:
            if self._wheel.size(member) > _WHOLE:
                yield member, self._read_large(member)
                return
            self._inflater = self._inflater or WholeInflater(self._largest)
            done = 0
            for digests, content in self._wheel.digest_run(run, self._inflater):
                for digest in digests if content is None else digests[:-1]:
                    yield run[done], _Found(digest)
                    done += 1
                if content is not None:
                    yield run[done], _read_elf(content, digests[-1])
                    done += 1
                member = run[min(done, len(run) - 1)]  # the next, for which to blame an error
        except WheelError as error:
            raise _Unreadable(member, error) from None

    def _read_large(self, member: str) -> _Found:
        wheel, huge = self._wheel, self._wheel.size(member) > self._most
        self._head = self._head or bytearray(HEAD)
        streams = wheel.streams and hashes_fast() and wheel.record_algorithm(member) == "sha256"
        if streams and huge:
            come_by = _stream_ahead(wheel, member, self._head)
        self._buffer = self._buffer or new_buffer()
        if streams and not huge:
            come_by = _stream(wheel, member, self._buffer, self._head)
        elif not streams:
            pieces = wheel.pieces(member, self._buffer)
            come_by = _look_at(wheel, member, ahead(pieces) if huge else pieces, self._head)
        return _conclude(wheel, member, come_by, self._buffer)


class _ComeBy(NamedTuple):
    """What is known of a large member that has come by once.

    :param scan: if it is an ELF file; what it wants of it besides, it has to come by again for.
    :param names: of libraries, if they were looked for to the end.
    """

    digest: str
    scan: Optional[StreamedScan]
    names: Optional[tuple[str, ...]]


def _read_elf(content: memoryview, digest: str) -> _Found:
    try:
        facts = elf.scan(content)
    except ElfError as error:
        return _Found(digest, None, str(error))
    return _Found(digest, facts, None, find_dlopen_names(content) if loads_by_name(facts.imports) else None)


def _look_at(wheel: Wheel, member: str, pieces: Iterable[Piece], room: bytearray) -> _ComeBy:
    hashed = wheel.hash_of(member)
    scan: Optional[StreamedScan] = None
    names = HopefulFinder()
    head: Optional[bytes] = b""
    for piece in pieces:
        hashed.update(piece)
        if head is not None:  # the first piece may be shorter than what is looked for
            piece = head + bytes(piece) if head else piece  # noqa: PLW2901  # what came before belongs to it
            if len(piece) < len(ELF_MAGIC):
                head = bytes(piece)
                continue
            head = None
            if piece[: len(ELF_MAGIC)] == ELF_MAGIC:
                scan = StreamedScan(wheel.size(member), room)
                scan.begin()
        if scan is not None:
            scan.feed(piece)
            names.feed(piece)
    return _ComeBy(record_digest(hashed.digest()), scan, None if names.gave_up else names.names)


def _stream_ahead(wheel: Wheel, member: str, room: bytearray) -> _ComeBy:
    """The same as :func:`_stream`; another thread inflates."""
    stream = wheel.streamed(member, new_buffer(RING), True, True, RING)
    with stream.filled():
        return _look_on(wheel, member, stream, room)


def _stream(wheel: Wheel, member: str, buffer: bytearray, room: bytearray) -> _ComeBy:
    return _look_on(wheel, member, wheel.streamed(member, buffer, True, True), room)


def _look_on(wheel: Wheel, member: str, stream: Streamed, room: bytearray) -> _ComeBy:
    """What :func:`_look_at` finds, where the compiled code does most of it."""
    piece: Piece = b""
    while stream.position < len(ELF_MAGIC) and not stream.ended:
        piece = stream.run(len(ELF_MAGIC))
    scan: Optional[StreamedScan] = None
    if piece[: len(ELF_MAGIC)] == ELF_MAGIC:
        scan = StreamedScan(wheel.size(member), room)
        scan.begin()
        scan.feed(piece)
        _let_by(scan, stream)
    stream.run_out()
    return _ComeBy(record_digest(stream.digest), scan, stream.names)


def _let_by(scan: StreamedScan, stream: Streamed) -> None:
    """Let a file come by until its scan wants no more of it."""
    while (stop := scan.asks_at) is not None and not stream.ended:
        piece = stream.run(stop, scan.missing, scan.passing)
        scan.passed(stream.position, piece)


def _conclude(wheel: Wheel, member: str, come_by: _ComeBy, buffer: bytearray) -> _Found:
    """What is found in a member; it comes by again if its scan wants that, or its names do."""
    digest, scan, names = come_by
    if scan is None:
        return _Found(digest)
    scan.end()
    _scan_again(scan, wheel, member, buffer)
    if scan.facts is None or not loads_by_name(scan.facts.imports):
        return _Found(digest, scan.facts, str(scan.error) if scan.error else None)
    return _Found(digest, scan.facts, None, _names_again(wheel, member, buffer) if names is None else names)


def _scan_again(scan: StreamedScan, wheel: Wheel, member: str, buffer: bytearray) -> None:
    """Let the file come by again, as often as its scan wants it."""
    while not scan.done:
        scan.begin()
        if wheel.streams:
            _let_by(scan, wheel.streamed(member, buffer))
        else:
            for piece in wheel.pieces(member, buffer):
                scan.feed(piece)
                if scan.satisfied:
                    break
        scan.end()


def _names_again(wheel: Wheel, member: str, buffer: bytearray) -> tuple[str, ...]:
    finder = NameFinder()
    for piece in wheel.pieces(member, buffer):
        finder.feed(piece)
    return finder.names


def installed_path(member: str) -> str:
    """Where a member lies relative to ``site-packages`` once it is installed (PEP 427, the ``.data`` directory).

    Schemes other than ``purelib`` and ``platlib`` have no fixed place relative to it. They get a root of their own:
    ``data`` and ``scripts`` share one (``scripts`` is the directory ``bin`` of ``data`` in every scheme of
    :mod:`sysconfig` for POSIX), others have one each. See :func:`root_of`.
    """
    parts = member.split("/")
    if len(parts) > 2 and parts[0].endswith(".data"):
        return _SCHEMES.get(parts[1], f"<{parts[1]}>/") + "/".join(parts[2:])
    return member


_SCHEMES = {"purelib": "", "platlib": "", "data": "<data>/", "scripts": "<data>/bin/"}


def root_of(installed: str) -> str:
    """The root of an installed path, from which nothing relative leads to another: ``""`` is ``site-packages``."""
    root, slash, _ = (installed + "/").partition(">/")
    return root + slash if slash and root.startswith("<") else ""


def is_script(member: str) -> bool:
    """Whether a member is installed among the scripts of the environment."""
    parts = member.split("/")
    return len(parts) == 3 and parts[0].endswith(".data") and parts[1] == "scripts"


def arch_of(facts: elf.ElfFacts) -> Optional[Arch]:
    """The architecture that a file is for; ``None`` if no platform tag exists for it."""
    for arch in Arch:
        if (arch.machine, arch.bits, arch.little) == (facts.machine, facts.bits, facts.little):
            return arch if arch is not Arch.ARMV7L or _is_armv7l(facts.flags) else None
    return None


def _is_armv7l(flags: int) -> bool:
    """EABI version 5 with the hard-float calling convention (ARM ELF, e_flags); the flag came with binutils 2.23."""
    return flags >> 24 == 5 and bool(flags & 0x400)


def basename(member: str) -> str:
    """The last component of a member's name."""
    return member.rpartition("/")[2]
