from collections.abc import Callable, Sequence
from mmap import mmap
from typing import Optional, Union, overload

Buffer = Union[bytes, bytearray, memoryview, mmap]

@overload
def edit(
    data: Buffer,
    soname: Optional[bytes],
    renamed: tuple[tuple[bytes, bytes], ...],
    removed: tuple[bytes, ...],
    added: tuple[bytes, ...],
    path_tag: int,
    path: Optional[bytes],
    clear_stack: bool,
    strip: bool,
    /,
) -> bytes: ...
@overload
def edit(
    data: mmap,
    soname: Optional[bytes],
    renamed: tuple[tuple[bytes, bytes], ...],
    removed: tuple[bytes, ...],
    added: tuple[bytes, ...],
    path_tag: int,
    path: Optional[bytes],
    clear_stack: bool,
    strip: bool,
    file: int,
    /,
) -> tuple[int, list[tuple[int, bytes]]]: ...
def scan(data: Buffer, /) -> tuple[object, ...]: ...
def scan_parts(
    size: int, parts: tuple[tuple[int, Buffer], ...], fold: Callable[[bytes], object], /
) -> Union[tuple[object, ...], Sequence[tuple[int, int]]]: ...
def find_ending(data: Buffer, start: int, /) -> Optional[tuple[int, int]]: ...
def new_inflater() -> object: ...
def inflate(state: object, packed: bytes, offset: int, out: bytearray, /) -> tuple[int, int, int, int]: ...
def inflate_whole(state: object, packed: bytes, offset: int, length: int, out: bytearray, /) -> tuple[int, int]: ...
def last_block(packed: Union[bytes, bytearray], /) -> tuple[int, int]: ...
def read_members(
    state: object, packed: bytes, table: bytes, first: int, out: bytearray, /
) -> tuple[int, list[str], bool, int, int]: ...
def hashes_fast() -> bool: ...
def checksums(data: bytes, cut: int, best: bool, /) -> tuple[int, bytes]: ...
def spare_memory() -> None: ...
