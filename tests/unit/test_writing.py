"""Writing archives: compressors, pieces, threads, memory, sizes beyond 32 bits, and what a failure leaves."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Union

import pytest
from wheel_maker import RAW_NAME, compile_extension, environment, make_wheel, needs_cc, wheel_text

from portable_backend import pipeline, worker
from portable_backend.errors import OutputError
from portable_backend.wheels import RawMember, open_wheel
from portable_backend.wheels import deflating as deflating_module
from portable_backend.wheels.deflating import PIECE, Compressor, find_compressor, open_ended
from portable_backend.wheels.writing import Deferred, NewMember, Patched, Written, make_record, write_archive

REPOSITORY = Path(__file__).resolve().parents[2]
ZLIB = Compressor("zlib", False, deflating_module._zlib_piece)


def text_like(size: int, seed: int = 1) -> bytes:
    """Bytes that compress about as native code does, the same on every machine."""
    source = random.Random(seed)
    words = [source.getrandbits(8 * n).to_bytes(n, "little") for n in range(1, 9) for _ in range(40)]
    parts: list[bytes] = []
    while size > 0:
        run = b"".join(source.choices(words, k=1000))[:size]
        parts.append(run)
        size -= len(run)
    return b"".join(parts)


def kinds() -> Iterator[tuple[str, bytes]]:
    """Contents on which a compressor chooses every type of block, alone and mixed."""
    noise = random.Random(2).randbytes
    yield "text", text_like(200_000)
    yield "zeros", bytes(400_000)
    yield "noise", noise(200_000)
    yield "mixed", noise(70_000) + bytes(90_000) + text_like(150_000) + noise(1) + b"ab" * 40_000
    yield "ends in noise", text_like(100_001) + noise(99_999)
    yield "short", b"abcabc"


def archive_of(
    members: list[NewMember], threads: int = 2, level: int = 6, compressor: Union[Compressor, None] = None
) -> bytes:
    file = io.BytesIO()
    write_archive(file, members, 0, level, threads=threads, compressor=compressor)
    return file.getvalue()


# --- deflate -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["libdeflate", "zlib"])
def compressor(request: pytest.FixtureRequest) -> Compressor:
    if request.param == "zlib":
        return ZLIB
    found = find_compressor()
    if found.name != "libdeflate":
        pytest.skip("deflate is not installed")
    return found


@pytest.mark.parametrize(("kind", "content"), list(kinds()), ids=[kind for kind, _ in kinds()])
@pytest.mark.parametrize("level", [1, 4, 6, 9])
def test_pieces_join_to_one_stream(kind: str, content: bytes, level: int, compressor: Compressor) -> None:
    for size in (7, 1000, 65_535, 65_536, 100_001):
        part = content[: 12 * size]
        starts = range(0, len(part), size)
        packed = b"".join(compressor.piece(part[at : at + size], level, at == starts[-1]) for at in starts)
        inflater = zlib.decompressobj(-15)
        assert inflater.decompress(packed) == part
        assert inflater.eof
        assert inflater.unused_data == b""


def test_many_small_pieces_join(compressor: Compressor) -> None:
    """Ends of blocks fall on every bit of a byte."""
    source = random.Random(3)
    for _ in range(300):
        alphabet = range(source.choice([2, 5, 60, 256]))
        pieces = [bytes(source.choices(alphabet, k=source.choice([1, 9, 80, 700]))) for _ in range(4)]
        level = source.randrange(1, 10)
        packed = b"".join(compressor.piece(piece, level, number == 3) for number, piece in enumerate(pieces))
        assert zlib.decompress(packed, -15) == b"".join(pieces)


def test_streams_of_another_deflate_can_be_opened() -> None:
    """Nothing is presumed of libdeflate but that it deflates."""
    for kind, content in kinds():
        for level in (1, 6, 9):
            packer = zlib.compressobj(level, zlib.DEFLATED, -15)
            packed = packer.compress(content) + packer.flush()
            assert zlib.decompress(open_ended(packed, memoryview(content)) + b"\x03\x00", -15) == content, kind


def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("portable_backend._native", raising=False)
    monkeypatch.setitem(sys.modules, "portable_backend._native", None)


@pytest.mark.parametrize("native", [True, False])
def test_part_of_a_stream_is_refused(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        without_native(monkeypatch)
    content = text_like(100_000)
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    with pytest.raises(ValueError, match="deflate stream"):
        open_ended(packed[: len(packed) // 2], memoryview(content))


def test_a_stream_is_opened_alike_without_the_compiled_inflater(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("portable_backend._native._scan", reason="the compiled inflater is not built")
    source = random.Random(5)
    packed = []
    for _ in range(200):
        content = bytes(source.choices(range(source.choice([2, 20, 256])), k=source.randrange(1, 9000)))
        packer = zlib.compressobj(source.randrange(0, 10), zlib.DEFLATED, -15, 8, source.randrange(5))
        packed.append((content, packer.compress(content) + packer.flush()))
    compiled = [open_ended(each, memoryview(content)) for content, each in packed]
    without_native(monkeypatch)
    assert [open_ended(each, memoryview(content)) for content, each in packed] == compiled


def test_bytes_are_those_of_every_machine(compressor: Compressor) -> None:
    """What libdeflate gives here is what it gave where this test was written: another version might not."""
    if compressor.name == "zlib":
        pytest.skip("zlib's bytes are not the same everywhere")
    content = text_like(300_000)
    assert hashlib.sha256(content).hexdigest()[:16] == "aba07944a838422b"
    found = {level: hashlib.sha256(compressor.piece(content, level, True)).hexdigest()[:16] for level in (1, 6, 9)}
    assert found == {1: "fd5580ca95ebaceb", 6: "7c8d82af1bdb43d9", 9: "522c34dd24a35106"}
    assert hashlib.sha256(compressor.piece(content, 6, False)).hexdigest()[:16] == "81f96d6fa905d73b"


def test_fallback_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deflate", None)
    found = find_compressor()
    assert (found.name, found.portable) == ("zlib", False)


def test_worker_borrows_the_compressor_of_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container it is installed where the build's requirements are, and used by the process that repairs."""
    package = tmp_path / "lib" / "python3.x" / "site-packages" / "deflate"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def deflate_compress(data, level): return b'borrowed'\n")
    monkeypatch.delitem(sys.modules, "deflate", raising=False)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not (Path(path) / "deflate").exists()])
    before = list(sys.path)
    worker._borrow_compressor(str(tmp_path))
    try:
        assert sys.path == before
        assert find_compressor().piece(b"x", 6, True) == b"borrowed"
    finally:
        sys.modules.pop("deflate", None)


def test_requirements_are_stated_alike() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    for line in pipeline.DEFLATE:
        assert text.count(f'"{line}"') == 2  # to build ourselves, and to run


def test_requirements_spare_machines_without_wheels() -> None:
    from packaging.markers import Environment, Marker
    from packaging.requirements import Requirement

    def wanted(implementation: str, system: str, machine: str, python: str = "3.12") -> list[str]:
        names: Environment = {  # type: ignore[typeddict-item]
            "implementation_name": implementation, "sys_platform": system, "platform_machine": machine,
            "python_version": python,
        }  # fmt: skip
        parsed = [Requirement(line) for line in pipeline.DEFLATE]
        markers = [(Marker(str(each.marker)), str(each.specifier)) for each in parsed]
        return [specifier for marker, specifier in markers if marker.evaluate(dict(names))]

    assert len(wanted("cpython", "linux", "x86_64")) == 1
    assert len(wanted("cpython", "linux", "aarch64", "3.9")) == 1
    assert len(wanted("cpython", "win32", "AMD64")) == 1
    assert len(wanted("cpython", "darwin", "arm64")) == 1
    assert wanted("cpython", "linux", "i686") == ["==0.8.1"]
    assert wanted("pypy", "linux", "x86_64", "3.10") == ["==0.8.1"]
    for machine in ("ppc64le", "s390x", "armv7l", "riscv64", "loongarch64"):
        assert wanted("cpython", "linux", machine) == []
    assert wanted("pypy", "linux", "x86_64", "3.12") == []
    assert wanted("cpython", "freebsd14", "amd64") == []


# --- threads -----------------------------------------------------------------------------------------------------


def test_number_of_threads_changes_nothing(compressor: Compressor) -> None:
    members = [NewMember(f"{n}", text_like(n * 3001, n)) for n in range(60)]
    members.append(NewMember("large", text_like(100_000) * (2 * PIECE // 100_000 + 1)))
    written = {threads: archive_of(members, threads, compressor=compressor) for threads in (1, 2, 7)}
    assert len(set(written.values())) == 1
    with zipfile.ZipFile(io.BytesIO(written[1])) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [member.name for member in members]
        assert archive.getinfo("large").file_size == len(members[-1].content)  # type: ignore[arg-type]


def test_deferred_contents_are_few_at_a_time() -> None:
    """A hundred members of 4 MiB: at no time are many of them made and not yet written."""
    size, made, most = 4 << 20, 0, 0
    written = io.BytesIO()

    def make() -> bytes:
        nonlocal made, most
        made += 1
        most = max(most, made - written.getbuffer().nbytes // (size + 30))
        return bytes(size)

    members = [NewMember(f"{n:03}", Deferred(make, size)) for n in range(40)]
    write_archive(written, members, 0, 0, threads=8)
    assert made == 40
    assert most <= 6


@pytest.mark.parametrize("level", [0, 6])
@pytest.mark.parametrize("size", [0, 5, 1 << 20, 2 * PIECE + 77])
def test_patched_file_is_written_as_its_bytes(size: int, level: int, tmp_path: Path) -> None:
    """Patches at the ends, across pieces, and behind the file's end."""
    content = bytearray(text_like(100_000) * (size // 100_000 + 1))[:size]
    on_disk = content[: size - 70] if size > 70 else bytearray()
    patches = [(len(on_disk), bytes(content[len(on_disk) :]))] if size else []
    for at in (0, PIECE - 3, size // 2):
        if at + 100 > size:
            continue
        patches.append((at, bytes(content[at : at + 9])))
        on_disk[at : at + 9] = bytes(9)
    (tmp_path / "file").write_bytes(on_disk)
    checked: list[bool] = []

    def make() -> Patched:
        file = (tmp_path / "file").open("rb")
        return Patched(file, size, sorted(patches), lambda: checked.append(file.closed))

    def members(content: Union[bytes, Deferred]) -> list[NewMember]:
        return [NewMember("a", b"x"), NewMember("b", content), NewMember("c", b"y")]

    patched = archive_of(members(Deferred(make, size)), level=level)
    assert patched == archive_of(members(bytes(content)), level=level)
    assert checked == [False]


def test_a_patched_file_that_changes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))

    def check() -> None:
        raise OutputError("changed")

    content = Deferred(lambda: Patched((tmp_path / "file").open("rb"), 100, [], check), 100)
    with pytest.raises(OutputError, match="changed"):
        archive_of([NewMember("a", content)])


def test_error_in_a_thread_is_ours_and_prompt() -> None:
    begun: list[int] = []

    def make(number: int) -> bytes:
        begun.append(number)
        if number == 3:
            raise OutputError("no")
        time.sleep(0.01)
        return b"x"

    members = [NewMember(f"{n}", Deferred(lambda n=n: make(n), 1)) for n in range(500)]  # type: ignore[misc]
    before = threading.active_count()
    with pytest.raises(OutputError):
        archive_of(members)
    assert threading.active_count() == before
    assert len(begun) < 100


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from portable_backend.wheels.writing import Deferred, NewMember, Written, make_record, write_archive, writing
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
def make():
    time.sleep(0.05)
    return os.urandom(1 << 20)
with writing(Path(sys.argv[1])) as file:
    write_archive(file, [NewMember(str(n), Deferred(make, 1 << 20)) for n in range(10**4)], 0)
"""


def test_interrupt_leaves_nothing_and_is_prompt(tmp_path: Path) -> None:
    begun = time.monotonic()
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "out" / "file")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert os.listdir(tmp_path / "out") == []
    assert time.monotonic() - begun < 30


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, resource, signal, sys; from pathlib import Path\n"
        "from portable_backend.wheels.writing import NewMember, write_archive, writing\n"
        "from portable_backend.errors import OutputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))\n"
        "try:\n"
        "    with writing(Path(sys.argv[1])) as file:\n"
        "        write_archive(file, [NewMember(str(n), os.urandom(1 << 20)) for n in range(8)], 0)\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out" / "file")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert "File too large" in done.stdout, done.stderr
    assert os.listdir(tmp_path / "out") == []


# --- sizes beyond 32 and 16 bits ---------------------------------------------------------------------------------


def sparse(path: Path, size: int) -> RawMember:
    """A stored member that takes no room on the disk: a hole, whose checksum is that of zeros."""
    with path.open("wb") as file:
        file.truncate(size)
    crc, left, zeros = 0, size, bytes(1 << 20)
    while left:
        crc = zlib.crc32(zeros[:left], crc)
        left -= min(left, len(zeros))
    return RawMember(path.open("rb"), 0, size, size, crc, zipfile.ZIP_STORED)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs sparse files")
@pytest.mark.parametrize("size", [(4 << 30) - 2, (4 << 30) - 1, 4 << 30, (4 << 30) + 70_000])
def test_member_and_offset_beyond_4_gib(size: int, tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 6 << 30:
        pytest.skip("needs 6 GiB of disk")
    raw = sparse(tmp_path / "hole", size)
    path = tmp_path / "a.zip"
    with raw.file, path.open("wb") as file:
        write_archive(file, [NewMember("big", raw, digest="sha256=x"), NewMember("behind", b"x" * 99)], 0)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert [(info.filename, info.file_size) for info in archive.infolist()] == [("big", size), ("behind", 99)]
    for tool in (["unzip", "-tqq"], ["zipinfo", "-v"], ["bsdtar", "-tf"], ["7z", "t"]):
        # unzip 6 takes a size of exactly 0xFFFFFFFF for "see the extra field" again after it has looked there.
        if shutil.which(tool[0]) and not (tool[0] in {"unzip", "zipinfo"} and size == 0xFFFFFFFF):
            done = subprocess.run([*tool, str(path)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
            assert "warning" not in done.stderr


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536, 70_000])
def test_more_members_than_16_bits_count(count: int, tmp_path: Path) -> None:
    name = "demo-1.0-py3-none-any.whl"
    empty = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    hole = RawMember(io.BytesIO(), 0, 0, 0, 0, zipfile.ZIP_STORED)
    below = "demo-1.0.dist-info"
    members = [NewMember(f"d/{n}", hole, digest=empty) for n in range(count - 3)]
    members.append(NewMember(f"{below}/METADATA", b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"))
    members.append(NewMember(f"{below}/WHEEL", wheel_text(name, True)))
    path = tmp_path / name
    with path.open("wb") as file:
        write_archive(file, members, 0, record_in=below)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == count
    with open_wheel(path) as wheel:
        assert len(wheel.members) == len(wheel.record) == count
    if shutil.which("zipinfo"):
        done = subprocess.run(["zipinfo", "-h", str(path)], capture_output=True, text=True, check=False)
        assert f"number of entries: {count}" in done.stdout


# --- memory ------------------------------------------------------------------------------------------------------

REPAIR = """
import re, sys
from portable_backend import repair
repair(sys.argv[1], sys.argv[2])
# Not ru_maxrss: that begins with what the parent had.
print(int(re.search(r"VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read())[1]) >> 10)
"""


def peak_of_repair(wheel: Path, out: Path) -> int:
    """The most memory, in MiB, that a repair takes in a process of its own."""
    command = [sys.executable, "-c", REPAIR, str(wheel), str(out)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def heavy_wheel(directory: Path, megabytes: int) -> Path:
    """A raw wheel with an extension module and so many megabytes of data in members of 64."""
    needs_cc()
    extension = compile_extension(directory / "ext.so").read_bytes()
    small = make_wheel(directory / "small", {"demo/ext.so": extension}, RAW_NAME)
    block = random.Random(5).randbytes(1 << 20)
    path = directory / RAW_NAME
    with zipfile.ZipFile(small) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        lines = source.read("demo-1.0.dist-info/RECORD").decode().splitlines(True)
        for number in range(megabytes // 64):
            name, hashed = f"demo/data{number}", hashlib.sha256()
            with target.open(name, "w", force_zip64=True) as member:
                for _ in range(64):
                    member.write(block)
                    hashed.update(block)
            digest = base64.urlsafe_b64encode(hashed.digest()).rstrip(b"=").decode()
            lines.insert(0, f"{name},sha256={digest},{64 << 20}\n")
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, "".join(lines) if name.endswith("/RECORD") else data, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="repairs are for Linux")
def test_memory_does_not_grow_with_the_wheel(tmp_path: Path) -> None:
    assert peak_of_repair(heavy_wheel(tmp_path, 256), tmp_path / "out") < 120


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="repairs are for Linux")
def test_wheel_of_3_gb(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 8 << 30:
        pytest.skip("needs 8 GiB of disk")
    assert peak_of_repair(heavy_wheel(tmp_path, 3072), tmp_path / "out") < 500


@pytest.mark.parametrize(
    "name", ["a", "a b", " a", "a,b", 'a"b', "a\nb", "a\rb", "a\r\nb", ",", "\n,,", "\u6587", "\udc80"]
)
def test_record_is_a_table_of_comma_separated_values(name: str) -> None:
    written = [Written("first", "sha256=x", 1), Written(name, "sha256=y", 22)]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([*written, ("d.dist-info/RECORD", "", "")])
    assert make_record(written, "d.dist-info").content == text.getvalue().encode("utf-8", "surrogateescape")
