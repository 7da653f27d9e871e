"""Wheels with one field or a few that lie: refused or judged, in bounded time, and what is accepted is one archive.

The fields are those of the format, not any bytes: local headers, the directory, end records, the lines of RECORD and
WHEEL, the tables of an ELF file. Whatever is accepted must be the same members with the same bytes to three readers:
ours; the standard library's, which goes by the directory; and one that never sees the directory, as installers that
read from a network are, which goes by the local headers from the first byte on.
"""

from __future__ import annotations

import io
import struct
import tempfile
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import IO, Optional, Union

import pytest

pytest.importorskip("hypothesis", reason="Hypothesis is not installed")

from hypothesis import event, given, settings
from hypothesis import strategies as st
from wheel_maker import METADATA, X86_NAME, libc_extension, record_text, wheel_text
from zip_maker import Archive, Part, descriptor

from portable_backend.auditing.facts import read_wheel_facts
from portable_backend.auditing.verdict import judge
from portable_backend.errors import PortableBackendError
from portable_backend.wheels import open_wheel

DIST_INFO = "demo-1.0.dist-info"
ELF = libc_extension("GLIBC_2.17")
#: Seconds of this process's own time that no small wheel may take.
LIMIT = 2.0

# --- a small wheel, and what a liar does to it -------------------------------------------------------------------

FILES = {
    "demo/__init__.py": b"",
    "demo/ext.so": ELF,
    "demo/\u00e9.py": b"x = 1\n" * 40,
    f"{DIST_INFO}/METADATA": METADATA,
    f"{DIST_INFO}/WHEEL": wheel_text(X86_NAME),
}

NAMES = st.sampled_from(
    [
        *(b"", b"/", b"/x", b"../x", b"demo", b"demo/", b"demo/__init__.py", b"demo/EXT.SO", b"demo/ext.so/x", b"C:x"),
        *(b"demo/./x", b"demo//x", b"demo/x/", b"x\0y", b"\xff", "e\u0301".encode(), "\u00e9".encode("cp437"), b"a\\b"),
        *(b"other-1.dist-info/WHEEL", b"demo-1.0.dist-info/RECORD", b"demo-1.0.data/purelib/../../x", b"n" * 70_000),
    ]
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 8, 30, 46, 0x7FFF, 0xFFFE, 0xFFFF, 1 << 16, 1 << 31, (1 << 32) - 2, (1 << 32) - 1]),
    st.integers(0, 400),
    st.integers(0, (1 << 32) - 1),
)
HALVES = NUMBERS.map(lambda value: value & 0xFFFF)


def _extra(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


EXTRAS = st.one_of(
    st.sampled_from([b"", b"\0", b"\x01\0\0\0", b"\x01\0\xff\xff", _extra(0x5455, b"\x03" + bytes(8))]),
    st.lists(NUMBERS, max_size=3).map(lambda wide: _extra(1, struct.pack(f"<{len(wide)}Q", *wide))),
    NAMES.map(lambda name: _extra(0x7075, b"\x01" + struct.pack("<I", zlib.crc32(name)) + name[:60_000])),
    st.binary(max_size=20),
)
BYTES = st.one_of(
    st.binary(max_size=24), st.just(descriptor(ELF, 3)), st.just(b"PK\x03\x04" + bytes(26)), st.just(bytes(22))
)
FIELDS: dict[str, st.SearchStrategy[object]] = {
    "name": NAMES,
    "data": st.binary(max_size=50),
    "method": st.sampled_from([0, 0, 8, 9, 12, 14, 93, 99]),
    "flags": st.sampled_from([0, 1, 8, 0x20, 0x40, 0x800, 0x808, 0x2000, 0x2808, 0xFFFF]),
    "attributes": st.sampled_from(
        [0, 0x10, 0o120777 << 16, 0o40755 << 16, 0o20666 << 16, 0o104755 << 16, (1 << 32) - 1]
    ),
    "local_name": NAMES,
    "local_flags": st.sampled_from([0, 1, 8, 0x800, 0x808]),
    "local_method": st.sampled_from([0, 8, 12]),
    "local_crc": NUMBERS,
    "local_packed": NUMBERS,
    "local_size": NUMBERS,
    "local_extra": EXTRAS,
    "central_crc": NUMBERS,
    "central_packed": NUMBERS,
    "central_size": NUMBERS,
    "central_offset": NUMBERS,
    "central_extra": EXTRAS,
    "packed": st.one_of(BYTES, st.just(zlib.compress(bytes(1 << 20), 9)[2:-4])),
    "behind": BYTES,
    "signature": st.sampled_from([b"PK\x01\x02", b"PK\x07\x08", b"PK\x05\x06", bytes(4)]),
}
Lie = Callable[[Archive], None]


@st.composite
def lying_parts(draw: st.DrawFn) -> Lie:
    """One field of one member."""
    which, name = draw(st.integers(0, 10)), draw(st.sampled_from(sorted(FIELDS)))
    value = draw(FIELDS[name])

    def lie(archive: Archive) -> None:
        if archive.parts:
            setattr(archive.parts[which % len(archive.parts)], name, value)

    return lie


@st.composite
def streamed_parts(draw: st.DrawFn) -> Lie:
    """A member whose sizes follow it, in one of the shapes that are in use; or not quite."""
    which, shape = draw(st.integers(0, 10)), draw(st.sampled_from(["<I2I", "<I2Q"]))
    signature, wrong = draw(st.sampled_from([b"PK\x07\x08", b""])), draw(st.sampled_from([0, 0, 0, 1]))
    method, told = draw(st.sampled_from([8, 8, 0])), draw(st.booleans())

    def lie(archive: Archive) -> None:
        part = archive.parts[which % len(archive.parts)]
        part.method, part.flags = method, part.flags | 8
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(part.data) + packer.flush() if method == 8 else part.data
        if part.packed is None:
            part.behind = signature + struct.pack(shape, zlib.crc32(part.data), len(packed), len(part.data) + wrong)
        if not told:
            part.local_crc = part.local_packed = part.local_size = 0

    return lie


@st.composite
def lying_archives(draw: st.DrawFn) -> Lie:
    """What stands around the members, or members that come twice, in another order, or not at all."""
    what = draw(st.sampled_from(["before", "between", "comment", "after", "count", "twice", "gone", "order", "shared"]))
    value, number, which = draw(BYTES), draw(HALVES), draw(st.integers(0, 10))

    def lie(archive: Archive) -> None:
        parts = list(archive.parts)
        chosen = which % len(parts) if parts else 0
        if what == "count":
            archive.count = number
        elif what in ("before", "between", "comment", "after"):
            setattr(archive, what, value)
        elif what == "order":
            archive.parts = parts[chosen:] + parts[:chosen]
        elif what == "gone":
            archive.parts = parts[:chosen] + parts[chosen + 1 :]
        elif parts:
            archive.parts = [*parts, replace(parts[chosen])]
            if what == "shared":
                archive.parts[-1].name, archive.parts[-1].central_offset = b"demo/twin", 0

    return lie


LINES = st.sampled_from(
    [
        *(b"", b",,", b",", b'"', b'"\n"', b"a,b,c,d", b"demo/ext.so,,", b"/etc/passwd,sha256=x,1", b"../x,sha256=x,1"),
        *(b"demo/ext.so,md5=x,1", b"demo/ext.so,sha256=x,99999999999999999999", b'"demo/""ext.so",sha256=,', b"\xff,,"),
        *(
            b"demo\\ext.so,sha256=x,1",
            b"\xef\xbb\xbfdemo/ext.so,sha256=x,1",
            b"demo/ext.so,sha512=" + b"A" * 500 + b",",
        ),
        *(b"Root-Is-Purelib: true", b"Tag: ", b"Tag: py3-none-any", b"Wheel-Version: 99.0", b"x" * 200_000, b'"' * 99),
    ]
)


@st.composite
def lying_texts(draw: st.DrawFn) -> Lie:
    """A line of RECORD, WHEEL or METADATA that is added, replaced, or gone; or other line ends."""
    name = draw(st.sampled_from(["RECORD", "RECORD", "WHEEL", "METADATA"]))
    line, place, keep = draw(LINES), draw(st.integers(0, 8)), draw(st.integers(0, 2))
    ends = draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\x0b"]))

    def lie(archive: Archive) -> None:
        for part in archive.parts:
            if part.name == f"{DIST_INFO}/{name}".encode():
                lines = part.data.split(b"\n")
                lines[place : place + keep] = [line] if keep < 2 else []
                part.data = ends.join(lines)

    return lie


@st.composite
def lying_elves(draw: st.DrawFn) -> Lie:
    """Fields of the ELF file's header, program headers, and whatever else has the width of a field."""
    pokes = draw(
        st.lists(
            st.tuples(
                st.one_of(st.integers(0, 60), st.integers(16, len(ELF) // 4 - 2)),
                st.sampled_from(["<H", "<I", "<Q"]),
                st.one_of(NUMBERS, st.integers(0, len(ELF)), st.sampled_from([(1 << 64) - 1, 1 << 63, 1 << 40])),
            ),
            min_size=1,
            max_size=3,
        )
    )

    def lie(archive: Archive) -> None:
        data = bytearray(ELF)
        for place, shape, value in pokes:
            struct.pack_into(shape, data, place * 4, value & ((1 << 8 * struct.calcsize(shape)) - 1))
        for part in archive.parts:
            if part.name == b"demo/ext.so":
                part.data = bytes(data)

    return lie


#: Fields of the finished archive as (signature, offset, shape): local header, directory, end records (ZIP64's, too).
PLACES = [
    *((b"PK\x03\x04", at, "<H") for at in (4, 6, 8, 26, 28)),
    *((b"PK\x03\x04", at, "<I") for at in (14, 18, 22)),
    *((b"PK\x01\x02", at, "<H") for at in (4, 6, 8, 10, 28, 30, 32, 34, 36)),
    *((b"PK\x01\x02", at, "<I") for at in (16, 20, 24, 38, 42)),
    *((b"PK\x05\x06", at, "<H") for at in (4, 6, 8, 10, 20)),
    *((b"PK\x05\x06", at, "<I") for at in (12, 16)),
    *((b"PK\x06\x06", at, "<Q") for at in (4, 24, 32, 40, 48)),
    *((b"PK\x06\x07", at, "<Q") for at in (8,)),
]
LATE_LIES = st.tuples(st.sampled_from(PLACES), st.integers(0, 6), st.one_of(NUMBERS, st.integers(-2, 2)))


def widen(data: bytes) -> bytes:
    """The same archive with the end records of ZIP64 (APPNOTE 4.3.14, 4.3.15) before its own."""
    end = data.rindex(b"PK\x05\x06")
    _, _, _, count, size, start, _ = struct.unpack_from("<4H2IH", data, end + 4)
    wide = b"PK\x06\x06" + struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, count, count, size, start)
    return data[:end] + wide + b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1) + data[end:]


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """A small wheel that lies at some places."""
    # Compiled code reads archives that are plain, as those are not that have other letters.
    files = {name: data for name, data in FILES.items() if name.isascii() or draw(st.booleans())}
    archive = Archive([Part(name.encode(), data) for name, data in files.items()])
    lies = draw(st.lists(st.one_of(lying_parts(), streamed_parts(), lying_archives(), lying_elves()), max_size=3))
    for lie in lies:
        lie(archive)
    told = {part.name.decode("utf-8", "replace"): part.data for part in archive.parts}
    record = Part(f"{DIST_INFO}/RECORD".encode(), record_text(told, DIST_INFO))
    archive.parts = [*archive.parts, record]
    for lie in draw(st.lists(lying_texts(), max_size=2)):
        lie(archive)
    try:
        data = archive.bytes()
    except struct.error:  # a name that is longer than its length can say
        archive.parts = [part for part in archive.parts if max(map(len, (part.name, part.local_name or b""))) < 1 << 16]
        data = archive.bytes()
    if draw(st.integers(0, 3)) == 0:
        data = widen(data)
    for (signature, at, shape), which, value in draw(st.lists(LATE_LIES, max_size=2)):
        data = poke_record(data, signature, which, at, shape, value)
    return data


def poke_record(data: bytes, signature: bytes, which: int, at: int, shape: str, value: int) -> bytes:
    """Set a field of one of the records with a signature; small values are a difference to what it says."""
    places = [place for place in range(len(data)) if data.startswith(signature, place)]
    if not places or places[which % len(places)] + at + struct.calcsize(shape) > len(data):
        return data
    place = places[which % len(places)] + at
    old = struct.unpack_from(shape, data, place)[0]
    new = (old + value if -2 <= value <= 2 else value) & ((1 << 8 * struct.calcsize(shape)) - 1)
    return data[:place] + struct.pack(shape, new) + data[place + struct.calcsize(shape) :]


# --- readers -----------------------------------------------------------------------------------------------------


def read_ours(data: bytes) -> Optional[dict[str, bytes]]:
    """The members as we see them, in a file and in memory; ``None`` if the wheel is refused."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        found = read_open(file)
        assert read_open(io.BytesIO(data)) == found
    return found if isinstance(found, dict) else None


def read_open(file: IO[bytes]) -> Union[dict[str, bytes], str]:
    """The members, or why the wheel is refused."""
    try:
        with open_wheel(Path(X86_NAME), file) as wheel:
            judge(read_wheel_facts(wheel))
            return {member: wheel.read(member) for member in wheel.members}
    except PortableBackendError as error:
        message = str(error)
    assert 0 < len(message) < 1000
    assert all(character.isprintable() for line in message.splitlines() for character in line)
    return message


def read_by_directory(data: bytes) -> dict[str, bytes]:
    """The members as the standard library sees them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        assert len({info.filename for info in infos}) == len(infos)
        return {info.filename: archive.read(info) for info in infos}


def read_by_headers(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members as one sees them who goes from local header to local header and never jumps."""
    position = 0
    while data[position : position + 4] == b"PK\x03\x04":
        _, flags, method, _, _, crc, packed, size, name_length, extra_length = struct.unpack_from(
            "<5H3I2H", data, position + 4
        )
        position += 30
        name = data[position : position + name_length].decode("utf-8" if flags & 0x800 else "cp437")
        extra = data[position + name_length : position + name_length + extra_length]
        position += name_length + extra_length
        if 0xFFFFFFFF in (packed, size):
            size, packed = _wide(extra, size, packed)
        if method == 8:
            inflater = zlib.decompressobj(-15)
            content = inflater.decompress(data[position:])
            assert inflater.eof
            used = len(data) - position - len(inflater.unused_data)
        else:
            assert method == 0
            # Without a size there is no telling where it ends.
            used, content = packed, data[position : position + packed]
        position += used
        if flags & 8:
            position += _after_descriptor(data[position:], zlib.crc32(content), used, len(content))
        else:
            assert (crc, packed, size) == (zlib.crc32(content), used, len(content))
        if not name.endswith("/"):
            yield name, content
    assert data[position : position + 4] in (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")


def _wide(extra: bytes, size: int, packed: int) -> tuple[int, int]:
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            values = list(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            size = values.pop(0) if size == 0xFFFFFFFF else size
            return size, values.pop(0) if packed == 0xFFFFFFFF else packed
        position += 4 + length
    return size, packed


def _after_descriptor(data: bytes, crc: int, packed: int, size: int) -> int:
    for shape in ("<3I", "<I2Q"):
        for signature in (b"PK\x07\x08", b""):
            wanted = signature + struct.pack(shape, crc, packed, size)
            if data.startswith(wanted):
                return len(wanted)
    raise AssertionError("no data descriptor")


# --- the property ------------------------------------------------------------------------------------------------


def check(data: bytes) -> bool:
    start = time.process_time()
    ours = read_ours(data)
    assert time.process_time() - start < LIMIT
    if ours is None:
        return False
    assert ours == read_by_directory(data)
    by_headers = list(read_by_headers(data))
    assert len(by_headers) == len(ours)
    assert dict(by_headers) == ours
    for name in ours:
        assert not name.startswith("/")
        assert not {"..", ".", ""} & set(name.split("/"))
        assert not any(unicodedata.category(character) == "Cc" for character in name)
    return True


@settings(max_examples=800, deadline=None)
@given(data=archives())
def test_refused_or_the_same_to_every_reader(data: bytes) -> None:
    event("accepted" if check(data) else "refused")


def test_the_truth_is_accepted() -> None:
    """The wheel that the lies are told about; else nothing would be accepted, and the property say nothing."""
    parts = [Part(name.encode(), data) for name, data in FILES.items()]
    parts.append(Part(f"{DIST_INFO}/RECORD".encode(), record_text(FILES, DIST_INFO)))
    data = Archive(parts).bytes()
    assert check(data)
    assert check(widen(data))
    assert {field.name for field in fields(Part)} == set(FIELDS)
