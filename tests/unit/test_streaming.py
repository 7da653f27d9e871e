"""Members are read in pieces, by several threads: what is found is what reading them whole finds."""

from __future__ import annotations

import os
import random
import struct
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import pytest
from elf_builder import Elf, Need, Symbol, build, streamed_scan
from wheel_maker import X86_NAME, environment, libc_extension, make_wheel, record_text
from zip_maker import Archive, Part

from portable_backend import elf, elfstream
from portable_backend.auditing import facts as facts_module
from portable_backend.auditing.facts import read_wheel_facts
from portable_backend.errors import ElfError, WheelError
from portable_backend.wheels import Wheel, open_wheel, parallel, streaming, working
from portable_backend.wheels.reading import ReadAhead

DIST_INFO = "demo-1.0.dist-info"
#: Smaller than what is inflated at once, and larger than that and than what is kept of a file.
SIZES = pytest.mark.parametrize("size", [2_000, 3_000_000])


def native_file(size: int) -> bytes:
    """A shared object that is followed by that much of something that compresses like code."""
    chance = random.Random(size)
    words = [chance.randbytes(6) for _ in range(1000)]
    return libc_extension() + b"".join(chance.choices(words, k=size // 6))


def archive(part: Part, path: Path) -> Path:
    files = {part.name.decode(): part.data, f"{DIST_INFO}/METADATA": b"Name: demo\n", f"{DIST_INFO}/WHEEL": b"x: y\n"}
    files[f"{DIST_INFO}/RECORD"] = record_text(files, DIST_INFO)
    parts = [part, *(Part(name.encode(), data) for name, data in files.items() if name != part.name.decode())]
    path = path / X86_NAME
    path.write_bytes(Archive(parts).bytes())
    return path


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


@SIZES
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_true_member(size: int, method: int, tmp_path: Path) -> None:
    data = native_file(size)
    path = archive(Part(b"demo/ext.so", data, method=method), tmp_path)
    with open_wheel(path) as wheel:
        facts = read_wheel_facts(wheel)
    assert facts.elves["demo/ext.so"] == elf.scan(data)
    assert facts.record_lies == ()


@SIZES
@pytest.mark.parametrize(
    "tamper",
    [
        lambda data: {"packed": deflated(data)[:-1]},
        lambda data: {"packed": deflated(data) + b"\0"},
        lambda data: {"packed": deflated(data) + zlib.crc32(data).to_bytes(4, "little")},
        lambda data: {"packed": deflated(data + b"more")},
        lambda data: {"packed": deflated(data[:-1])},
        lambda data: {"central_size": len(data) + 1, "local_size": len(data) + 1},
        lambda data: {"central_size": len(data) - 1, "local_size": len(data) - 1},
        lambda data: {"central_crc": zlib.crc32(data) ^ 1, "local_crc": zlib.crc32(data) ^ 1},
        lambda data: {"packed": deflated(data[:100] + bytes([data[100] ^ 1]) + data[101:])},
    ],
    ids=["cut off", "zero behind", "checksum behind", "longer", "shorter", "says more", "says less", "crc", "other"],
)
def test_member_that_lies(size: int, tamper: Callable[[bytes], dict[str, object]], tmp_path: Path) -> None:
    data = native_file(size)
    path = archive(Part(b"demo/ext.so", data, **tamper(data)), tmp_path)  # type: ignore[arg-type]
    for threads in (1, 3):
        with open_wheel(path) as wheel, pytest.raises(WheelError, match=r"demo/ext\.so"):
            read_wheel_facts(wheel, threads=threads)


def test_threads_find_the_same(tmp_path: Path) -> None:
    files = {f"demo/m{number}.so": native_file(number * 40_000) for number in range(12)}
    files |= {f"demo/{number}.txt": os.urandom(number) for number in range(40)}
    files["demo/broken.so"] = b"\x7fELF and no more"
    with open_wheel(make_wheel(tmp_path, files)) as wheel:
        alone, together = read_wheel_facts(wheel, threads=1), read_wheel_facts(wheel, threads=5)
    assert alone == together
    assert list(alone.elves) == list(together.elves) == [name for name in files if name[-1] == "o" and "m" in name[5:]]
    assert list(alone.malformed) == ["demo/broken.so"]


def test_of_several_damaged_members_the_first_is_named(tmp_path: Path) -> None:
    """Whichever thread meets its own first; here the second is the larger, and so is begun before."""
    parts = [Part(b"demo/%d" % size, b"x" * size, packed=b"\xff" * 40) for size in (10, 500_000, 20)]
    path = tmp_path / X86_NAME
    files = {f"{DIST_INFO}/METADATA": b"", f"{DIST_INFO}/WHEEL": b""}
    files[f"{DIST_INFO}/RECORD"] = record_text(files, DIST_INFO)
    path.write_bytes(Archive([*parts, *(Part(name.encode(), data) for name, data in files.items())]).bytes())
    for threads in (1, 2, 4):
        with open_wheel(path) as wheel, pytest.raises(WheelError, match="demo/10:"):
            read_wheel_facts(wheel, threads=threads)


@pytest.mark.parametrize("damage", [None, b"\xff" * 40])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_large_member_is_inflated_by_a_thread_of_its_own(
    compiled: bool, damage: Optional[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled and not (streaming.STREAMS and facts_module.hashes_fast()):
        pytest.skip("nothing is compiled, or no pread, or no instructions for SHA-256")
    monkeypatch.setattr(facts_module, "_HUGE", 1 << 20)
    monkeypatch.setattr(Wheel, "streams", compiled)
    begun: list[object] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: begun.append(thread) or start(thread))
    data = native_file(3_000_000)
    path = archive(Part(b"demo/ext.so", data, packed=damage), tmp_path)
    threads = threading.active_count()
    with open_wheel(path) as wheel:
        if damage is None:
            assert read_wheel_facts(wheel, threads=1) == read_wheel_facts(wheel, threads=2)
        else:
            with pytest.raises(WheelError, match=r"demo/ext\.so"):
                read_wheel_facts(wheel, threads=2)
    assert len(begun) == 2  # one for several members at once, one for this
    assert threading.active_count() == threads


@pytest.mark.parametrize("began", [True, False])
def test_an_interrupt_while_a_thread_is_started_is_an_interrupt(began: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if began:
            start(thread)
        raise KeyboardInterrupt

    threads = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parallel.map_threads(abs, range(1000), 4)
    with pytest.raises(KeyboardInterrupt):
        next(parallel.ahead(iter([b"a", b"b"])))
    with pytest.raises(KeyboardInterrupt), working.Workers(2) as workers:
        workers.submit(abs, 1)
    assert threading.active_count() == threads


def test_pieces_made_ahead() -> None:
    pieces = [bytes([number]) * number for number in range(50)]
    assert list(parallel.ahead(iter(pieces), 3)) == pieces
    some = parallel.ahead(iter(pieces), 3)  # nobody wants the rest
    assert next(some) == pieces[0]
    before = threading.active_count()
    some.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before - 1

    def broken() -> Iterator[bytes]:
        yield b"one"
        raise KeyError("two")

    found = parallel.ahead(broken())
    assert next(found) == b"one"
    with pytest.raises(KeyError, match="two"):
        next(found)


def test_reading_ahead_reads_the_same(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(3 << 20)
    path = tmp_path / "file"
    path.write_bytes(data)
    chance = random.Random(4)
    with path.open("rb") as file, path.open("rb") as other:
        ahead, at = ReadAhead(), 0
        for _ in range(2000):
            size = chance.choice([0, 1, 100, 5_000, 300_000])
            at = chance.choice([at, at, at, at + 40, at + 20_000, chance.randrange(len(data)), max(0, at - 50)])
            assert ahead.read(chance.choice([file, file, file, other]), at, size) == data[at : at + size]
            at = (at + size) % len(data)


# --- files that come by in pieces --------------------------------------------------------------------------------


def passes_of(data: bytes, length: int = 1 << 16) -> int:
    scan = elfstream.StreamedScan(len(data))
    passes = 0
    while not scan.done:
        passes += 1
        scan.begin()
        for start in range(0, len(data), length):
            scan.feed(data[start : start + length])
            if scan.satisfied:
                break
        scan.end()
    return passes


def test_real_libraries(native_scan: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever linkers put their tables, few passes are enough, and mostly two."""
    monkeypatch.setattr(elfstream, "HEAD", 4096)
    folders = [Path("/lib/x86_64-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib"), Path("/lib/aarch64-linux-gnu")]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.so*")) if path.is_file()]
    contents = [data for path in files[:80] if (data := path.read_bytes())[:4] == b"\x7fELF"]
    if not contents:
        pytest.skip("this system has no libraries of ELF where they are looked for")
    for data in contents:
        assert streamed_scan(data, 50_000) == elf.scan(data)
    passes = [passes_of(data) for data in contents]
    assert max(passes) <= 3
    assert sum(passes) <= 2 * len(passes)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", "<>")
def test_tables_in_a_small_segment_behind_the_code(
    native_scan: object, monkeypatch: pytest.MonkeyPatch, bits: int, order: str
) -> None:
    """Editors move tables that have grown there; they are kept as they come by, so that nothing is inflated twice."""
    monkeypatch.setattr(elfstream, "HEAD", 4096)
    data = moved_segment(bits, order, 3 << 20)
    assert streamed_scan(data, 1 << 16) == elf.scan(data)
    assert elf.scan(data).needed == ("libc.so.6",)
    assert passes_of(data, 4096) == 1
    monkeypatch.setattr(elfstream, "LATE", 0)
    assert passes_of(data, 4096) == 2


def moved_segment(bits: int, order: str, gap: int) -> bytes:
    """A file whose only segment lies far behind its program headers."""
    image = build(Elf(bits=bits, order=order, needed=("libc.so.6",), symbols=(Symbol("f"),) * 2000, sections=False))
    front = bytearray(image.data[: image.at["segments"] + image.size["segments"]])
    for kind in (1, 2):
        at = image.at[f"segment {kind:#x}"] + (8 if bits == 64 else 4)
        code = order + ("Q" if bits == 64 else "I")
        struct.pack_into(code, front, at, struct.unpack_from(code, front, at)[0] + gap)
    return bytes(front) + bytes(gap - len(front)) + image.bytes


def test_headers_that_promise_many_segments() -> None:
    """What is kept on a guess is little, whatever the headers say."""
    front = bytearray(build(Elf(sections=False)).data[:64])
    struct.pack_into("<HH", front, 54, 1, 65535)
    data = bytes(front) + struct.pack("<II4Q", 1, 0, 1 << 21, 0, 0, 1) * 5000 + bytes(4 << 20)
    start = time.monotonic()
    with pytest.raises(ElfError):
        streamed_scan(data, 1 << 12)
    assert time.monotonic() - start < 5


def scattered_file(links: int, gap: int) -> bytes:
    """A chain of version needs that leads through the whole file."""
    image = build(Elf(needs=(Need("liba.so", (("A", 2),)),)))
    data, start = bytearray(image.data), image.at["needs"]
    record = data[start : start + 32]
    data += bytes(start + links * gap - len(data))
    for link in range(links):
        data[start + link * gap : start + link * gap + 32] = record
        struct.pack_into("<I", data, start + link * gap + 12, gap if link < links - 1 else 0)
    struct.pack_into("<Q", data, image.at["segment 0x1"] + 32, len(data))
    return bytes(data)


def test_tables_all_over_a_file(native_scan: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one is collected whole; of a large one, that is not worth the memory, nor the time."""
    few, many = scattered_file(10, 1 << 18), scattered_file(200, 1 << 17)
    assert len(streamed_scan(few, 1 << 16).version_needs) == 10
    assert len(elf.scan(many).version_needs) == 200
    start = time.monotonic()
    with pytest.raises(ElfError, match="scattered"):
        streamed_scan(many, 1 << 16)
    assert time.monotonic() - start < 5
    monkeypatch.setattr(elfstream, "SMALL", 64 << 20)
    assert streamed_scan(many, 1 << 16) == elf.scan(many)


def test_mapped_file(tmp_path: Path) -> None:
    (tmp_path / "lib.so").write_bytes(libc_extension())
    (tmp_path / "empty").write_bytes(b"")
    assert elf.scan_file(str(tmp_path / "lib.so")) == elf.scan(libc_extension())
    with pytest.raises(ElfError, match="not an ELF file"):
        elf.scan_file(str(tmp_path / "empty"))


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs wait4")
def test_huge_member_takes_little_memory(native_scan: object, tmp_path: Path) -> None:
    """A library of 300 MB, 270 MB more than the process may need."""
    block = os.urandom(16 << 10) + bytes((1 << 20) - (16 << 10))
    small, large = libc_extension(), libc_extension() + block * 300
    peaks = []
    for data in (small, large):
        path = make_wheel(tmp_path / str(len(data)), {"demo/ext.so": data})
        arguments = [sys.executable, "-m", "portable_backend.cli", "audit", str(path)]
        pid = os.posix_spawn(sys.executable, arguments, environment())
        _, status, usage = os.wait4(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        peaks.append(usage.ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20))
    assert peaks[1] - peaks[0] < 30
