"""What compiled code reads of plain archives is what the strict code reads; others are read or refused alike."""

from __future__ import annotations

import functools
import io
import os
import random
import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional, Union

import pytest
from wheel_maker import METADATA, X86_NAME, make_wheel, record_text, wheel_text
from zip_maker import Archive, Part, descriptor

from portable_backend.errors import WheelError
from portable_backend.wheels import open_wheel
from portable_backend.wheels import reading as reading_module
from portable_backend.wheels.directory import find_directory
from portable_backend.wheels.members import BOMB_RATIO, BOMB_SIZE, BOMB_TOTAL, read_members
from portable_backend.wheels.reading import RawMember, compare_members, read_at

DIST_INFO = "demo-1.0.dist-info"
FILES = {
    "demo/__init__.py": b"",
    "demo/a b@2x.txt": b"stored",
    "demo/.hidden/x": b"text" * 99,
    f"{DIST_INFO}/METADATA": METADATA,
    f"{DIST_INFO}/WHEEL": wheel_text(X86_NAME),
}


def parts(**more: bytes) -> list[Part]:
    """The members of a small wheel, with a directory among them, and a stored one."""
    made = [Part(name.encode(), data) for name, data in [*FILES.items(), *more.items()]]
    made[1].method = 0
    record = Part(f"{DIST_INFO}/RECORD".encode(), record_text({**FILES, **more}, DIST_INFO))
    return [Part(b"demo/", method=0, flags=0, attributes=0o40755 << 16 | 16), *made, record]


def outcome(data: bytes, descriptor_too: bool) -> Union[list[list[Any]], str]:
    """What is read of an archive, or why it is refused."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        number = file.fileno() if descriptor_too else None
        try:
            return [
                list(column) for column in read_members(functools.partial(read_at, file), number, len(data), "x.whl")
            ]
        except WheelError as error:
            return str(error)


def is_plain(data: bytes) -> bool:
    """Whether the compiled code has read the archive."""
    from portable_backend import _native

    found = find_directory(lambda offset, size: data[offset : offset + size], len(data), "x.whl")
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        limits = BOMB_SIZE, BOMB_TOTAL, BOMB_RATIO
        return _native.read_archive(file.fileno(), found.data, found.start, found.said, *limits) is not None


def check(data: bytes) -> Union[list[list[Any]], str]:
    """What is read, the same by either code."""
    found = outcome(data, True)
    assert found == outcome(data, False)
    return found


def test_a_plain_archive(native_scan: object) -> None:
    data = Archive(parts()).bytes()
    assert is_plain(data)
    names, offsets, packed, sizes, _, methods, attributes = check(data)
    assert names == ["demo/", *FILES, f"{DIST_INFO}/RECORD"]
    assert data[offsets[2] : offsets[2] + packed[2]] == b"stored"
    assert (sizes[3], methods[2], methods[3], attributes[0]) == (396, 0, 8, 0o40755 << 16 | 16)


def test_an_archive_that_is_read_in_steps(native_scan: object) -> None:
    """Headers that lie close and far, more of them than are read at once; each is looked at."""
    chance = random.Random(4)
    names = [f"demo/{number}{'n' * chance.choice([1, 200, 40_000])}" for number in range(40)]
    sizes = [chance.choice([0, 9, 4000, 5000, 120_000]) for _ in names]
    made = [Part(name.encode(), bytes(size), method=0) for name, size in zip(names, sizes)]
    archive = Archive([*parts()[:-1], *made])
    data = archive.bytes()
    assert is_plain(data)
    assert isinstance(check(data), list)
    for offset in archive.offsets.values():
        length = struct.unpack_from("<H", data, offset + 26)[0]
        wrong = bytearray(data)
        wrong[offset + 30 + length - 1] ^= 1
        assert not is_plain(bytes(wrong))
    assert "contradicts the directory" in str(check(bytes(wrong)))


def lie(which: int = 2, **fields: Any) -> bytes:
    """The archive with a member of which something is otherwise."""
    made = parts()
    for name, value in fields.items():
        setattr(made[which], name, value)
    return Archive(made).bytes()


NAMES = (
    *(b"/x", b"demo", b"demo/__init__.py", b"demo/__init__.py/x", b"demo//x", b"demo/./x", b"demo/../x", b"..", b"."),
    *(b"./x", b"x/.", b"x/..", b"C:x", b"c:/x", b"1:x", b"a\\b", b"a\x7f", b"a\nb", b"a\0", b"\xc3\xa9", b"\xff", b""),
    *(b"//", b"x//", b"x/", b"x/../", b"...", b"x/.../y", b"demo/.hidden", b"demo/.hidden/", b"demo/.hidden/x/", b"/"),
    *(b"a/" * 30_000, b"n" * 0xFFFF, b"~"),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flags", [0, 0x800])
def test_names(name: bytes, flags: int) -> None:
    check(lie(name=name, flags=flags))
    check(lie(name=name, flags=flags, local_name=b"demo/other"))
    check(Archive([Part(name, flags=flags), *parts()]).bytes())


@pytest.mark.parametrize(
    "data",
    [
        *(lie(flags=flags) for flags in (1, 2, 6, 8, 0x20, 0x40, 0x2000, 0x1000)),
        *(lie(method=method) for method in (9, 12, 256, 0xFFFF)),
        *(lie(local_flags=0), lie(local_method=8), lie(local_crc=1), lie(local_size=1), lie(local_packed=1)),
        *(lie(central_crc=1), lie(central_size=7), lie(central_packed=5), lie(central_packed=7), lie(central_offset=3)),
        *(lie(central_size=0xFFFFFFFF), lie(central_packed=0xFFFFFFFF), lie(central_offset=0xFFFFFFFF)),
        *(lie(local_extra=b"UT\1\0x"), lie(central_extra=b"UT\1\0x"), lie(central_extra=b"UT\1\0x", local_extra=b"\0")),
        lie(flags=0x808, local_crc=0, local_size=0, local_packed=0, behind=descriptor(b"stored", 6)),
        lie(3, flags=0x808, local_crc=0, local_size=0, local_packed=0, behind=descriptor(b"text" * 99, 12)),
        *(lie(behind=b"x"), lie(signature=b"PK\1\2"), lie(attributes=0xFFFFFFFF), lie(packed=b"stored!")),
        lie(central_size=BOMB_SIZE + 1, local_size=BOMB_SIZE + 1),
        *(lie(central_size=1 << 31, local_size=1 << 31), Archive([]).bytes(), Archive(parts(), before=b"#!").bytes()),
        *(Archive(parts(), between=b"x").bytes(), Archive(parts(), comment=b"x").bytes()),
        *(Archive(parts(), count=count).bytes() for count in (0, 6, 8, 0xFFFF)),
        *(Archive(parts(), after=b"\0").bytes(), Archive(parts()[::-1]).bytes(), Archive(parts() * 2).bytes()),
        Archive([*parts(), *(Part(b"big%d" % number, method=0, data=bytes(9)) for number in range(3000))]).bytes(),
    ],
)
def test_what_is_not_plain_is_read_or_refused_alike(data: bytes) -> None:
    check(data)


def test_many_members_that_are_a_bomb_together(native_scan: object) -> None:
    size = BOMB_SIZE
    made = [Part(b"x%d" % number, central_size=size, local_size=size) for number in range(BOMB_TOTAL // size)]
    assert not is_plain(Archive([*made, Part(b"y", b"z")]).bytes())
    assert "-fold; refused" in str(check(Archive([*made, Part(b"y", b"z")]).bytes()))


def test_the_directory_may_have_another_order(native_scan: object) -> None:
    made = parts()
    archive = Archive(made)
    archive.bytes()
    archive.parts = made[::-1]
    offsets = {part.name: archive.offsets[part.name] for part in made}
    told, local = Archive(made), Archive(made[::-1], offsets=dict(offsets))
    data, other = told.bytes(), local.bytes()
    start, end = struct.unpack_from("<I", data, len(data) - 6)[0], len(data) - 22
    turned = data[:start] + other[start:end] + data[end:]
    assert not is_plain(turned)
    assert check(turned)[0] == check(data)[0][::-1]


def test_any_byte_may_lie() -> None:
    """Each byte but those of contents, with a bit of it turned, and with all."""
    data = Archive(parts()).bytes()
    for place in range(len(data)):
        for change in (1, 0xFF):
            changed = bytearray(data)
            changed[place] ^= change
            check(bytes(changed))


def test_any_two_numbers_may_lie() -> None:
    """In a header of the directory and the local one alike, so that they agree."""
    data = Archive(parts()).bytes()
    chance = random.Random(46)
    places = [place for place in range(len(data)) if data.startswith(b"PK\1\2", place)]
    for _ in range(3000):
        changed = bytearray(data)
        place = chance.choice(places)
        local = struct.unpack_from("<I", data, place + 42)[0]
        field = chance.randrange(0, 24, 2)
        value = struct.pack("<H", chance.choice([0, 1, 2, 8, 9, 0x800, 0x808, 0xFFFF, chance.randrange(1 << 16)]))
        changed[place + 6 + field : place + 8 + field] = value
        changed[local + 4 + field : local + 6 + field] = value
        check(bytes(changed))


def test_an_archive_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"demo/x.py": b"x = 1\n"})
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(len(data) // 2)
        # What the compiled code misses there, the strict code asks for.
        found = read_members(lambda offset, size: data[offset : offset + size], file.fileno(), len(data), path.name)
    assert [list(column) for column in found] == check(data)


RECORDS: dict[str, Callable[[bytes], bytes]] = {
    "true": lambda text: text,
    "lines that end as elsewhere": lambda text: text.replace(b"\n", b"\r\n"),
    "some of them": lambda text: text.replace(b"\n", b"\r\n", 1),
    "returns": lambda text: text.replace(b"\n", b"\r\r\n", 1),
    "a return for a line's end": lambda text: text.replace(b"\n", b"\r", 1),
    "a return at the end": lambda text: text[:-1] + b"\r",
    "no last end": lambda text: text[:-1],
    "empty lines": lambda text: b"\n" + text.replace(b"\n", b"\n\n"),
    "empty": lambda text: b"",
    "only an end": lambda text: b"\n",
    "twice": lambda text: text + text[: text.index(b"\n") + 1],
    "not a member": lambda text: b"demo/gone.py,sha256=abc,5\n" + text,
    "no path": lambda text: b",sha256=abc,5\n" + text,
    "no digest": lambda text: b"demo/gone.py,sha256=,5\n" + text,
    "a digest of another kind": lambda text: b"demo/gone.py,sha512=abc,5\n" + text,
    "a digest of no kind": lambda text: b"demo/gone.py,md5=abc,5\n" + text,
    "a digest that is padded": lambda text: b"demo/gone.py,sha256=abc=,5\n" + text,
    "a digest that is none": lambda text: b"demo/gone.py,sha256=a+/!c,5\n" + text,
    "a size without a digest": lambda text: b"demo/gone.py,,5\n" + text,
    "no size": lambda text: b"demo/gone.py,sha256=abc,\n" + text,
    "a size with zeros": lambda text: b"demo/gone.py,sha256=abc,0007\n" + text,
    "the largest size": lambda text: b"demo/gone.py,sha256=abc,9999999999999999999\n" + text,
    "a size that is too large": lambda text: b"demo/gone.py,sha256=abc,99999999999999999999\n" + text,
    "a size that is none": lambda text: b"demo/gone.py,sha256=abc,5x\n" + text,
    "a size below zero": lambda text: b"demo/gone.py,sha256=abc,-5\n" + text,
    "two fields": lambda text: b"demo/gone.py,sha256=abc\n" + text,
    "four fields": lambda text: b"demo/gone.py,sha256=abc,5,\n" + text,
    "one field": lambda text: text + b"demo/gone.py",
    "quotes": lambda text: b'"demo/go,ne.py",sha256=abc,5\n' + text,
    "letters": lambda text: "demo/\u00e9.py,sha256=abc,5\n".encode() + text,
    "no text": lambda text: text + b"\xff,,\n",
    "a zero": lambda text: text + b"\0,,\n",
    "a mark": lambda text: b"\xef\xbb\xbf" + text,
    "backslashes": lambda text: b"demo\\gone.py,sha256=abc,5\n" + text,
    "cut in a path": lambda text: text + b"demo",
    "cut in a digest": lambda text: text + b"demo/x,sha25",
    "cut behind a digest": lambda text: text + b"demo/x,sha256=abc",
    "cut in a size": lambda text: text + b"demo/x,sha256=abc,",
    "cut behind a path": lambda text: text + b"demo/x,",
    "cut behind no digest": lambda text: text + b"demo/x,,",
}


def read_record(path: Path) -> Union[dict[str, Any], str]:
    try:
        with open_wheel(path) as wheel:
            return dict(wheel.record)
    except WheelError as error:
        return str(error)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_is_read_alike(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_wheel(tmp_path, {"demo/x.py": b"x = 1\n", "demo/y.py": b""}, record=RECORDS[kind])
    found = read_record(path)
    monkeypatch.setattr(reading_module, "_native", None)
    assert found == read_record(path)


def test_a_record_that_lies_anywhere_is_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = record_text(FILES, DIST_INFO)
    chance = random.Random(376)
    for number in range(600):
        changed = bytearray(text)
        place = chance.randrange(len(changed))
        instead = chance.choice([b"", b",", b"\n", b"\r", b'"', b"\xc3", b"=", b"1", b" "])
        changed[place : place + chance.randint(0, 2)] = instead
        path = make_wheel(tmp_path / str(number), {"demo/x.py": b""}, record=bytes(changed))
        with monkeypatch.context() as patch:
            found = read_record(path)
            patch.setattr(reading_module, "_native", None)
            assert found == read_record(path)


def test_names_of_record_are_those_of_the_directory(tmp_path: Path) -> None:
    """Some wheels have thousands of members; one object for each name is enough."""
    path = make_wheel(tmp_path, {"demo/x.py": b"x = 1\n"})
    with open_wheel(path) as wheel:
        names = {name: name for name in wheel.members}
        assert all(names[name] is name for name in wheel.record)


def test_a_wheel_without_a_descriptor_is_read_alike(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"demo/x.py": b"x = 1\n", "demo/y.py": b"y" * 5000})

    def facts(file: Optional[io.BytesIO]) -> list[object]:
        with open_wheel(path, file) as wheel:
            about = [
                (wheel.size(each), wheel.mode(each), wheel.raw(each)[1:], wheel.read(each)) for each in wheel.members
            ]
            return [wheel.members, dict(wheel.record), *about, list(wheel.runs(wheel.members, 4000))]

    assert facts(None) == facts(io.BytesIO(path.read_bytes()))


def test_a_name_of_many_directories_takes_no_room() -> None:
    """What little an archive says of itself is read in little memory."""
    data = Archive([Part(b"a/" * 0x7FFF)]).bytes()
    tracemalloc.start()
    try:
        outcome(data, False)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(data)
    finally:
        tracemalloc.stop()


def test_members_of_two_files_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones and large ones, close to each other and far, the same and not, and some that are cut."""
    chance = random.Random(8)
    content = chance.randbytes(1 << 20)
    changed = bytearray(content)
    for _ in range(20):
        changed[chance.randrange(len(changed))] ^= 1
    (tmp_path / "one").write_bytes(content)
    (tmp_path / "other").write_bytes(b"x" * 1000 + changed)
    with (tmp_path / "one").open("rb") as one, (tmp_path / "other").open("rb") as other:
        pairs, at = [], 0
        while at < len(content):
            size = min(chance.choice([0, 1, 50, 3000, 200_000]), len(content) - at)
            lie = chance.choice([0] * 20 + [1])
            mine, yours = (one, at, size, size, 1, 8), (other, at + 1000, size, size, 1 + lie, 8)
            pairs.append((RawMember(*mine), RawMember(*yours)))
            at += size + chance.choice([0, 40, 40, 40, 9000])
        found = compare_members(pairs)
        assert set(found) == {True, False}
        assert found == [
            mine.crc == yours.crc and content[mine.offset :][: mine.size] == changed[mine.offset :][: mine.size]
            for mine, yours in pairs
        ]
        assert compare_members([]) == []
        os.truncate(tmp_path / "other", 900)
        assert not any(each for each, (mine, _) in zip(compare_members(pairs), pairs) if mine.size)
        monkeypatch.setattr(reading_module, "_native", None)
        assert not any(each for each, (mine, _) in zip(compare_members(pairs), pairs) if mine.size)
        (tmp_path / "other").write_bytes(b"x" * 1000 + changed)
        assert compare_members(pairs) == found
