from collections.abc import Sequence
from mmap import mmap
from typing import Optional, Union

Buffer = Union[bytes, bytearray, memoryview, mmap]

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
    mapped: bool = False,
    /,
) -> bytes: ...
def scan(data: Buffer, /) -> tuple[object, ...]: ...
def scan_parts(
    size: int, parts: tuple[tuple[int, Buffer], ...], /
) -> Union[tuple[object, ...], Sequence[tuple[int, int]]]: ...
def find_ending(data: Buffer, start: int, /) -> Optional[tuple[int, int]]: ...
def new_inflater() -> object: ...
def inflate(state: object, packed: bytes, offset: int, out: bytearray, /) -> tuple[int, int, int, int]: ...
def inflate_whole(state: object, packed: bytes, offset: int, length: int, out: bytearray, /) -> tuple[int, int]: ...
def last_block(packed: bytes, /) -> tuple[int, int]: ...
