"""How fast can any engine be? The work that none can leave out, done in this process and timed.

    python benchmarks/floor.py WHEEL [REPAIRED]

For a wheel: read it, inflate each member once, and hash it. With the repaired wheel beside it: also compress once
what changed, and write the result. Each by zlib and, if it is installed, by libdeflate (``deflate``), by one thread
and by as many as there are processors; shared by these as no real threads share: none ever waits, but one stream is
inflated by one; and, to compare, the time to copy the file. Prints one line of JSON with seconds of wall time and of
CPU for each way. The start of an interpreter is not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

try:
    import deflate
except ImportError:
    deflate = None

LEVEL = 6


@dataclass(frozen=True)
class Codec:
    """A compressor's two directions, on raw deflate streams."""

    inflate: Callable[[bytes, int], bytes]
    compress: Callable[[bytes], bytes]


def zlib_compress(data: bytes) -> bytes:
    """A raw deflate stream by zlib."""
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


CODECS = {"zlib": Codec(lambda data, size: zlib.decompress(data, -15, max(size, 1)), zlib_compress)}
if deflate:
    CODECS["libdeflate"] = Codec(
        lambda data, size: deflate.deflate_decompress(data, size) if size else b"",
        lambda data: deflate.deflate_compress(data, LEVEL),
    )


@dataclass(frozen=True)
class Member:
    """A member of a wheel and where its compressed bytes are."""

    name: str
    crc: int
    size: int
    start: int
    stop: int
    stored: bool


def read_members(path: Path) -> list[Member]:
    """Where the members of a wheel are, the largest first: so threads end together."""
    members = []
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        for info in archive.infolist():
            # The local header's own name and extra field stand between it and the data.
            stream.seek(info.header_offset + 26)
            start = info.header_offset + 30 + sum(struct.unpack("<HH", stream.read(4)))
            stored = info.compress_type == zipfile.ZIP_STORED
            members.append(Member(info.filename, info.CRC, info.file_size, start, start + info.compress_size, stored))
    return sorted(members, key=lambda member: -member.size)


def inflate(data: memoryview, member: Member, codec: Codec) -> bytes:
    """A member's bytes."""
    packed = data[member.start : member.stop]
    return bytes(packed) if member.stored else codec.inflate(packed, member.size)


def inflate_and_hash(data: memoryview, members: Sequence[Member], codec: Codec, threads: int) -> None:
    """Inflate all members of a wheel, and hash them."""

    def one(member: Member) -> bytes:
        return hashlib.sha256(inflate(data, member, codec)).digest()

    for_each(one, members, threads)


def shared(
    path: Path, members: Sequence[Member], kept: Sequence[Member], changed: Sequence[bytes], codec: Codec, threads: int
) -> dict[str, float]:
    """Seconds that the same takes if threads share it so well that none of them ever waits for anything.

    Each step is timed alone. Hashing goes along with inflating, and compressing can be cut into pieces; but a deflate
    stream is inflated from its beginning by one thread, so that the longest of them is a bound, too.
    """
    used, wall = time.process_time(), time.perf_counter()
    data = memoryview(path.read_bytes())
    alone, total, longest = time.perf_counter() - wall, 0.0, 0.0
    for member in members:
        begun = time.perf_counter()
        content = inflate(data, member, codec)
        inflated = time.perf_counter()
        hashlib.sha256(content).digest()
        total, longest = total + time.perf_counter() - begun, max(longest, inflated - begun)
    if kept or changed:
        begun = time.perf_counter()
        packed = [codec.compress(each) for each in changed]
        total += time.perf_counter() - begun
        begun = time.perf_counter()
        write(data, kept, packed)
        alone += time.perf_counter() - begun
    return {"wall": alone + max(total / threads, longest), "cpu": time.process_time() - used}


def rewrite(data: memoryview, kept: Sequence[Member], changed: Sequence[bytes], codec: Codec, threads: int) -> None:
    """Write a wheel's size of bytes: kept members as they are compressed, changed ones compressed now."""
    write(data, kept, for_each(codec.compress, changed, threads))


def write(data: memoryview, kept: Sequence[Member], packed: Sequence[bytes]) -> None:
    """Write compressed members to the disk."""
    with tempfile.TemporaryFile() as target:
        for member in sorted(kept, key=lambda member: member.start):
            target.write(data[member.start : member.stop])
        for each in packed:
            target.write(each)
        target.flush()
        os.fsync(target.fileno())


def for_each(function: Callable, values: Sequence, threads: int) -> list:
    """Map, by one thread or several."""
    if threads == 1:
        return [function(value) for value in values]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, values))


def timed(function: Callable[[], None]) -> dict[str, float]:
    """Seconds of wall time and of CPU."""
    wall, used = time.perf_counter(), time.process_time()
    function()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - used}


def copy(path: Path, *, sync: bool) -> None:
    """Copy a file to where results are written, and to the disk if asked."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch, "copy")
        shutil.copyfile(path, target)
        if sync:
            with target.open("rb+") as stream:
                os.fsync(stream.fileno())


def measure(path: Path, repaired: Path | None) -> dict[str, dict[str, float]]:
    """All ways, by name."""
    members = read_members(path)
    kept: list[Member] = []
    changed: list[bytes] = []
    if repaired:
        # What the tool wrote that was not there before, byte for byte: grafts, edited files, RECORD, an SBOM.
        data = memoryview(repaired.read_bytes())
        before = {(member.name, member.crc, member.size): member for member in members}
        for member in read_members(repaired):
            if (member.name, member.crc, member.size) in before:
                kept.append(before[member.name, member.crc, member.size])
            else:
                changed.append(bytes(inflate(data, member, CODECS["zlib"])))
        data.release()
    times = {"copy": timed(lambda: copy(path, sync=False)), "copy, fsync": timed(lambda: copy(path, sync=True))}
    for name, codec in CODECS.items():
        for threads in sorted({1, os.cpu_count() or 1}):

            def work(codec: Codec = codec, threads: int = threads) -> None:
                data = memoryview(path.read_bytes())
                inflate_and_hash(data, members, codec, threads)
                if repaired:
                    rewrite(data, kept, changed, codec, threads)

            times[f"{name}, {threads} thread{'s' * (threads > 1)}"] = timed(work)
        best = os.cpu_count() or 1
        times[f"{name}, shared by {best} threads"] = shared(path, members, kept, changed, codec, best)
    return times


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)))
