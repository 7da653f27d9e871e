"""Hashes. SHA-256 is our own where the processor has instructions for it, and :mod:`hashlib`'s elsewhere.

Both are as fast, but loading OpenSSL takes longer than hashing what most commands have to. So everything that an audit
or a repair hashes is hashed by these.
"""

from __future__ import annotations

try:
    from .. import _native
except ImportError:
    _native = None  # type: ignore[assignment]  # a module, or nothing where it is not built

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap
    from typing import Protocol, Union

    Buffer = Union[bytes, bytearray, memoryview, mmap]

    class Hash(Protocol):
        """What :mod:`hashlib` makes, as far as it is used. One thread at a time may use it."""

        def update(self, data: Buffer, /) -> None: ...
        def digest(self) -> bytes: ...
        def hexdigest(self) -> str: ...


class _Sha256:
    def __init__(self) -> None:
        self._state = _native.new_sha256()

    def update(self, data: Buffer, /) -> None:
        _native.add_sha256(self._state, data)

    def digest(self) -> bytes:
        return _native.end_sha256(self._state)

    def hexdigest(self) -> str:
        return self.digest().hex()


def new_hash(algorithm: str) -> Hash:
    """A hash of the SHA-2 family that has seen nothing yet."""
    if algorithm == "sha256" and _native is not None and _native.hashes_fast():
        return _Sha256()
    import hashlib

    return hashlib.new(algorithm)


def sha256(data: Buffer = b"") -> Hash:
    """A SHA-256 that has seen these bytes."""
    hashed = new_hash("sha256")
    hashed.update(data)
    return hashed


__all__ = ["new_hash", "sha256"]
