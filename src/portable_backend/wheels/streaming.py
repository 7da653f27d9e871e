"""Large members, which the compiled code reads by itself as far as nobody wants to see what comes by.

Between the bytes of the archive and what is known of them at the end, the interpreter is not needed: they are
inflated, verified, hashed, looked through, and copied where they are wanted, each piece while it is in the processor's
own memory.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

from ..errors import WheelError
from ..records import NamedTuple
from .inflating import ANOTHER, BROKEN, BUFFER, WHOLE
from .parallel import join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn, Optional

    from .inflating import Piece

try:
    from .. import _native
except ImportError:
    _native = None  # type: ignore[assignment]  # a module, or nothing where it is not built

#: Whether members can be read so from files that have a descriptor, and whether they can be hashed so as well.
STREAMS = _native is not None and hasattr(os, "pread")
#: Behind the end of every member.
END = 1 << 62
#: Of how many buffers of :data:`BUFFER` bytes a ring is.
RING = 3
_MORE, _END, _CUT = 0, 1, 5
_REASONS = {2: BROKEN, 3: WHOLE, 4: ANOTHER}


class Place(NamedTuple):
    """Where the archive has a member, and what it says of it; sizes in bytes.

    :param name: for messages.
    """

    name: str
    file: int
    offset: int
    compressed_size: int
    stored: bool
    size: int
    crc: int


class Streamed:
    """A member that comes by once, for as long as :meth:`run` is called.

    :param buffer: of :data:`BUFFER` bytes for each of the ``slots``, for nobody else meanwhile.
    :param hashed: whether its digest is wanted.
    :param finds: whether names of libraries are wanted, if it is an ELF file; see
        :mod:`portable_backend.auditing.strings`.
    :param slots: more than one, where another thread inflates (:meth:`filled`).
    """

    def __init__(
        self, place: Place, buffer: bytearray, hashed: bool = False, finds: bool = False, slots: int = 1
    ) -> None:
        self.position = 0
        self.ended = False
        self._name = place.name
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._room = len(buffer) // slots
        self._state = _native.new_member(*place[1:], hashed, finds, slots)

    def run(self, stop: int, wanted: Sequence[tuple[int, bytearray]] = (), passing: Optional[object] = None) -> Piece:
        """Go on to ``stop``, somewhat farther, or not quite as far; ``ended`` says whether all has come by.

        Returns the last bytes that came by, as many as are at hand: all of the last piece, and of what came before it a
        window or all that there was. They are valid until the next call.

        :param wanted: stretches of the member, each by its beginning, to be filled with what comes by of them.
        :param passing: what is to be given all that comes by; see :func:`portable_backend.elf.feed_pass`.
        :raises WheelError: if the compressed data are damaged or of another size than the headers say.
        """
        try:
            told = _native.read_member(self._state, self._buffer, stop, tuple(wanted), passing)
            follows, self.position, slot, end = told
        except OSError as error:
            raise WheelError(f"{self._name}: {error}") from None
        self.ended = follows == _END
        if follows not in (_MORE, _END):
            self._refuse(follows)
        return self._view[slot * self._room : slot * self._room + end]

    def _refuse(self, follows: int) -> NoReturn:
        if follows == _CUT:
            raise WheelError("the archive ends inside a member")
        raise WheelError(f"{self._name}: {_REASONS[follows]}")

    def run_out(self) -> None:
        """Go on to the end. Raises as :meth:`run`."""
        while not self.ended:
            self.run(END)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what came by, if that is wanted."""
        return _native.end_member(self._state)[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of libraries in what came by, if they are wanted."""
        return tuple(_native.end_member(self._state)[1])

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Meanwhile another thread inflates."""
        filler = threading.Thread(target=_native.fill_member, args=(self._state, self._buffer), daemon=True)
        try:
            filler.start()
            yield
        finally:
            _native.stop_member(self._state)
            join(filler)


def new_buffer(slots: int = 1) -> bytearray:
    """A buffer for members that are read one after the other."""
    return bytearray(slots * BUFFER)
