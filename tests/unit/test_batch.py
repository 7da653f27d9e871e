"""Reading many small members at once: held against zlib, hashlib and the reading of each by itself."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Optional

import pytest

from portable_backend.auditing import facts as reading_facts
from portable_backend.auditing.facts import read_wheel_facts
from portable_backend.errors import WheelError
from portable_backend.wheels import open_wheel
from portable_backend.wheels.hashing import new_hash, sha256
from portable_backend.wheels.inflating import WholeInflater
from support.wheel_maker import make_wheel

ROW = struct.Struct("=5Q")
SOURCES = Path(reading_facts.__file__).parent.parent / "_native"
MOST = 1 << 20


@pytest.fixture
def native(native_scan: object) -> ModuleType:
    from portable_backend import _native

    return _native


def record_digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@pytest.mark.parametrize("best", [False, True])
def test_checksums(native: ModuleType, best: bool) -> None:
    """Every size around the blocks of both, cut anywhere."""
    chance = random.Random(1)
    for size in (*range(280), 511, 512, 513, 4096, 100_003):
        data = chance.randbytes(size)
        for cut in {0, size // 3, size - size % 64, size}:
            assert native.checksums(data, cut, best) == (zlib.crc32(data), hashlib.sha256(data).digest())
    with pytest.raises(ValueError, match="cut outside"):
        native.checksums(b"abc", 4, best)


@pytest.mark.parametrize("best", [False, True])
def test_a_hash_that_is_fed_by_and_by(native: ModuleType, best: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and the standard library's, of whatever has bytes; a digest may be asked for in between."""
    monkeypatch.setattr(native, "hashes_fast", lambda: best)
    hashed, expected = sha256(b"abc"), hashlib.sha256(b"abc")
    assert (type(hashed) is type(expected)) is not best
    for part in (b"", bytearray(b"de"), memoryview(bytes(5000))[1:], memoryview(bytearray(64)), b"f" * 2048):
        hashed.update(part)
        expected.update(part)
        assert (hashed.digest(), hashed.hexdigest()) == (expected.digest(), expected.hexdigest())
    assert new_hash("sha512").digest() == hashlib.sha512().digest()
    for wrong in ("text", memoryview(b"abcd")[::2], 3):
        with pytest.raises((TypeError, BufferError)):
            hashed.update(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="PyCapsule"):
        native.add_sha256(native.new_inflater(), b"abc")


def test_digest_of_the_standard(native: ModuleType) -> None:
    """FIPS 180-2, appendix B.1 and B.3; RFC 1952's polynomial has this check value."""
    found = native.checksums(b"abc", 1, True)[1].hex()
    assert found == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    million = native.checksums(b"a" * 1_000_000, 0, True)[1].hex()
    assert million == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert native.checksums(b"123456789", 0, True)[0] == 0xCBF43926


def folding_constant(power: int) -> int:
    """x^power mod P, mirrored in 33 bits: what a mirrored factor of 64 bits is multiplied with."""
    remainder = 1
    for _ in range(power):
        remainder <<= 1
        if remainder >> 32:
            remainder ^= 0x104C11DB7
    return int(f"{remainder:032b}"[::-1], 2) << 1


def test_folding_constants() -> None:
    text = (SOURCES / "crc32.c").read_text("utf-8")
    found = {name: int(value, 16) for name, value in re.findall(r"#define FOLD_(\w+) 0x([0-9a-f]+)LL", text)}
    expected = {
        f"{d}_{name}": folding_constant(d + sign) for d in (512, 128) for name, sign in (("HIGH", 32), ("LOW", -32))
    }
    assert found == expected


class Member(NamedTuple):
    content: bytes
    method: int = 8
    size: Optional[int] = None
    crc: Optional[int] = None
    packed: Optional[bytes] = None


def lay_out(members: Sequence[Member], gap: bytes = b"local header") -> tuple[bytes, bytes]:
    """The bytes of a run, and its table."""
    data, rows = b"", []
    for member in members:
        packed = member.content
        if member.method:
            packer = zlib.compressobj(6, zlib.DEFLATED, -15)
            packed = packer.compress(member.content) + packer.flush()
        packed = packed if member.packed is None else member.packed
        data += gap
        size = len(member.content) if member.size is None else member.size
        crc = zlib.crc32(member.content) if member.crc is None else member.crc
        rows.append(ROW.pack(len(data), len(packed), size, crc, member.method))
        data += packed
    return data, b"".join(rows)


def read_many(members: Sequence[Member]) -> tuple[list[str], list[bytes]]:
    digests: list[str] = []
    elves: list[bytes] = []
    for some, content in WholeInflater(MOST).read_many(*lay_out(members)):
        digests += some
        if content is not None:
            elves.append(bytes(content))
    return digests, elves


ELF = b"\x7fELF and so on"


@pytest.mark.parametrize(
    "contents",
    [
        [],
        [b""],
        [ELF],
        [b"\x7fEL", b"\x7fELF", b"a", ELF, ELF],
        [b"", b"", ELF, b""],
        [bytes(MOST), ELF + bytes(MOST - len(ELF)), b"x" * MOST],
        [b"%d" % number * number for number in range(300)],
    ],
)
@pytest.mark.parametrize("methods", [(8,), (0,), (8, 0)])
def test_digests_and_elf_files(native: ModuleType, contents: list[bytes], methods: tuple[int, ...]) -> None:
    members = [Member(content, methods[index % len(methods)]) for index, content in enumerate(contents)]
    digests, elves = read_many(members)
    assert digests == [record_digest(content) for content in contents]
    assert elves == [content for content in contents if content[:4] == b"\x7fELF"]


@pytest.mark.parametrize("method", [0, 8])
def test_digests_of_neighbours(native: ModuleType, method: int) -> None:
    """Two are hashed at once, as far as both go: every pair of sizes around the blocks, and some that wait for long."""
    chance = random.Random(5)
    sizes = [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 1000]
    sizes = [size for one in sizes for other in sizes for size in (one, other)]
    sizes += [MOST // 2, 70, 0, 3000, MOST // 2, MOST // 3, MOST // 3, MOST // 3, MOST, 64, 64, MOST - 64, 128]
    members = [Member(chance.randbytes(size // 2) + bytes(size - size // 2), method) for size in sizes]
    assert read_many(members) == ([record_digest(member.content) for member in members], [])


def test_damage_behind_too_many_bytes(native: ModuleType) -> None:
    """It is told, whether or not a member that waits to be hashed leaves less room."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    damaged = packer.compress(random.Random(6).randbytes(200_000)) + packer.flush(zlib.Z_FULL_FLUSH) + b"\x07"
    bad = Member(b"abc", packed=damaged)
    before = Member(random.Random(7).randbytes(MOST - 100_000))
    for members in ([bad], [before, bad]):
        with pytest.raises(zlib.error, match="damaged"):
            read_many(members)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Member(b"abc", packed=b"\x07"), "damaged"),
        (Member(b"abc", packed=b""), "incomplete"),
        (Member(b"", packed=b"\x03\x00\x00"), "followed by others"),
        (Member(b"abc", crc=0), "another size or checksum"),
        (Member(b"abc", crc=zlib.crc32(b"abc") | 1 << 32), "another size or checksum"),
        (Member(b"abc", size=4), "another size or checksum"),
        (Member(b"abc", size=2**64 - 1), "another size or checksum"),
        (Member(bytes(2 * MOST)), "another size or checksum"),  # more than there is room for
        (Member(b"abc", 0, size=2), "another size or checksum"),
        (Member(b"abc", 0, crc=1), "another size or checksum"),
        (Member(ELF, 0, size=2), "another size or checksum"),
    ],
)
def test_what_is_wrong(native: ModuleType, bad: Member, message: str) -> None:
    """All before it are told, and nothing of it or behind it."""
    before = [Member(b"one"), Member(ELF), Member(b"two", 0)]
    found: list[str] = []
    steps = WholeInflater(MOST).read_many(*lay_out([*before, bad, Member(b"behind")]))
    with pytest.raises(zlib.error, match=message):
        found.extend(digest for digests, _ in steps for digest in digests)
    assert found == [record_digest(member.content) for member in before]


@pytest.mark.parametrize("row", [(3, 1), (4, 0), (0, 4), (2, 2), (2**64 - 1, 1), (1, 2**64 - 1), (2**63, 2**63)])
def test_outside_of_the_run(native: ModuleType, row: tuple[int, int]) -> None:
    table = ROW.pack(*row, 1, 0, 0)
    with pytest.raises(ValueError, match="outside"):
        list(WholeInflater(MOST).read_many(b"abc", table))


def test_arguments(native: ModuleType) -> None:
    state, room = native.new_inflater(), bytearray(1 << 17)
    table = ROW.pack(0, 3, 3, zlib.crc32(b"abc"), 0)
    assert native.read_members(state, b"abc", table, 0, room)[:2] == (0, [record_digest(b"abc")])
    assert native.read_members(state, b"abc", table, 1, room)[:2] == (0, [])
    for arguments in [
        (state, b"abc", table, 2, room),
        (state, b"abc", table, -1, room),
        (state, b"abc", table[:-1], 0, room),
        (state, b"abc", table, 0, bytearray(1000)),
        (object(), b"abc", table, 0, room),
    ]:
        with pytest.raises(ValueError, match=r"no table|PyCapsule"):
            native.read_members(*arguments)


def test_damage_anywhere_is_judged_alike(native: ModuleType) -> None:
    chance = random.Random(3)
    contents = [b"text %d " % number * chance.randrange(400) for number in range(12)] + [ELF * 9]
    data, table = lay_out([Member(content, 8 if content else 0) for content in contents])
    rows = [ROW.unpack_from(table, start) for start in range(0, len(table), ROW.size)]
    told = 0
    for _ in range(600):
        broken = bytearray(data)
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        digests: list[str] = []
        reason = None
        try:
            for some, _ in WholeInflater(MOST).read_many(bytes(broken), table):
                digests += some
        except zlib.error as error:
            reason = str(error)
            told += 1
        expected: list[str] = []
        expected_reason = None
        each = WholeInflater(MOST)
        try:
            for offset, packed, size, crc, method in rows:
                part = bytes(broken[offset : offset + packed])
                content = bytes(each.inflate(part, 0, packed)) if method else part
                if len(content) != size or zlib.crc32(content) != crc:
                    raise zlib.error("its data have another size or checksum than its headers say")
                expected.append(record_digest(content))
        except zlib.error as error:
            expected_reason = str(error)
        assert (digests, reason) == (expected, expected_reason)
    assert 100 < told < 600


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_facts_are_those_of_each_by_itself(
    native: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    contents = {f"demo/{number}.py": b"%d\n" % number * number for number in range(200)}
    contents.update({"demo/a.so": b"\x7fELF" + bytes(300), "demo/empty": b"", "demo/large": bytes(MOST)})
    path = make_wheel(tmp_path, contents, algorithm=algorithm)
    found = []
    for many in (True, False):
        monkeypatch.setattr(WholeInflater, "reads_many", many)
        for threads in (1, 2):
            with open_wheel(path) as wheel:
                found.append(read_wheel_facts(wheel, threads=threads))
    assert found[1:] == found[:-1]
    assert found[0].malformed.keys() == {"demo/a.so"}
    assert found[0].record_lies == ()


def test_the_first_that_is_damaged_is_named(
    native: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {f"demo/{number:02}.py": b"text %d" % number * 50 for number in range(40)}
    data = bytearray(make_wheel(tmp_path, contents).read_bytes())
    path = next(tmp_path.glob("*.whl"))
    for number in (30, 17):  # the later one first, so that both are damaged in the end
        name = b"demo/%02d.py" % number
        data[data.index(name) + len(name) + 12] ^= 0xFF
        path.write_bytes(data)
        messages = set()
        for many in (True, False):
            monkeypatch.setattr(WholeInflater, "reads_many", many)
            with open_wheel(path) as wheel, pytest.raises(WheelError) as caught:
                read_wheel_facts(wheel, threads=1)
            messages.add(str(caught.value))
        assert len(messages) == 1
        assert name.decode() in messages.pop()
