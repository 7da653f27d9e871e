"""Members that the compiled code reads by itself: what it finds is what is found piece by piece."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest
from elf_builder import Elf, Need, Symbol, build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wheel_maker import X86_NAME, libc_extension, make_wheel, record_text
from zip_maker import Archive, Part

from portable_backend import elfstream
from portable_backend.auditing import facts as facts_module
from portable_backend.auditing import strings
from portable_backend.auditing.facts import WheelFacts, read_wheel_facts
from portable_backend.auditing.strings import NameFinder
from portable_backend.errors import WheelError
from portable_backend.wheels import Wheel, open_wheel, streaming
from portable_backend.wheels.streaming import END, Place, Streamed

pytestmark = [
    pytest.mark.usefixtures("native_scan"),
    pytest.mark.skipif(not streaming.STREAMS and not os.environ.get("CI"), reason="nothing is compiled, or no pread"),
]
#: The least that a buffer may have: what is inflated at once is next to nothing.
LEAST = (32 << 10) + 640
DIST_INFO = "demo-1.0.dist-info"


def deflated(data: bytes, flush_every: int = 1 << 30) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    parts = [data[start : start + flush_every] for start in range(0, len(data), flush_every)]
    return b"".join(packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH) for part in parts) + packer.flush()


def come_by(
    packed: bytes,
    place: Place,
    stops: Iterator[int],
    wanted: tuple[tuple[int, int], ...] = (),
    slots: int = 1,
    room: int = LEAST,
) -> tuple[Streamed, list[bytearray], list[tuple[int, bytes]]]:
    """Let a member come by: of that, the wanted ranges, and at each stop the position and what was at hand."""
    buffers = [bytearray(end - start) for start, end in wanted]
    ranges = [(start, buffer) for (start, _), buffer in zip(wanted, buffers)]
    seen: list[tuple[int, bytes]] = []
    with tempfile.TemporaryFile() as file:
        file.write(bytes(place.offset) + packed)
        file.flush()
        stream = Streamed(place._replace(file=file.fileno()), bytearray(slots * room), True, True, slots)

        def run() -> None:
            while not stream.ended:
                at_hand = bytes(stream.run(next(stops), ranges))
                seen.append((stream.position, at_hand))

        if slots == 1:
            run()
        else:
            with stream.filled():
                run()
    return stream, buffers, seen


_WORD = st.sampled_from(
    [
        b"\0",
        b"lib",
        b"libx.so",
        b".so.1",
        b"\0libm.so.6\0",
        b"/",
        b"dlopen",
        b"SDL_LoadObject",
        b"open",
        b"y" * 200,
        b" ",
    ]
)
_CHUNK = st.one_of(_WORD, st.builds(lambda size, seed: random.Random(seed).randbytes(size), st.integers(0, 70_000), st.integers(0, 9)))  # fmt: skip # noqa: E501


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    parts=st.lists(_CHUNK, max_size=12),
    elf=st.booleans(),
    stored=st.booleans(),
    slots=st.integers(1, 4),
    flush=st.sampled_from([1 << 30, 5000, 33_000]),
)
def test_what_comes_by(
    data: st.DataObject, parts: list[bytes], elf: bool, stored: bool, slots: int, flush: int
) -> None:
    """Digest, names, copies and what is at hand, wherever one stops, and whoever inflates."""
    content = (b"\x7fELF" if elf else b"") + b"".join(parts)
    packed = content if stored else deflated(content, flush)
    positions = st.integers(0, len(content) + 5)
    wanted = tuple((min(pair), max(pair)) for pair in data.draw(st.lists(st.tuples(positions, positions), max_size=5)))
    steps = data.draw(st.lists(st.integers(1, len(content) + 5), max_size=4))
    stops = iter([*sorted(steps), *[END] * 100_000])
    place = Place("x", -1, data.draw(st.integers(0, 9)), len(packed), stored, len(content), zlib.crc32(content))
    stream, buffers, seen = come_by(packed, place, stops, wanted, slots=slots)
    assert stream.digest == hashlib.sha256(content).digest()
    for (start, end), buffer in zip(wanted, buffers):
        assert buffer == content[start:end].ljust(end - start, b"\0")
    for position, at_hand in seen:
        assert content[position - len(at_hand) : position] == at_hand
        assert len(at_hand) >= min(position, 1)
    positions_seen = [position for position, _ in seen]
    assert positions_seen == sorted(positions_seen)
    assert positions_seen[-1] == len(content)
    finder = NameFinder()
    if elf:
        for start in range(0, len(content), 1000):
            finder.feed(content[start : start + 1000])
    assert stream.names == finder.names


_NAME_PART = st.sampled_from(
    [b"lib", b"a", b"_+.-", b".so", b".1", b".123456789", b".1234567890", b"\0", b"/", b"!~", b" ", b"\x80", b"x" * 60]
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.sampled_from([0, 1, LEAST - 20, 3 * LEAST]), parts=st.lists(_NAME_PART, max_size=40))
def test_names(before: int, parts: list[bytes]) -> None:
    """Compiled and plain agree on what is a name, at the beginning of a file, at the seam of two pieces, and behind."""
    content = b"\x7fELF" + b"z" * before + b"".join(parts) + b"\0"
    place = Place("x", -1, 0, len(content), True, len(content), zlib.crc32(content))
    stream, _, _ = come_by(content, place, iter([END] * 100))
    for step in (1 << 30, 7, 400):
        finder = NameFinder()
        for start in range(0, len(content), step):
            finder.feed(content[start : start + step])
        assert stream.names == finder.names


def test_limits_of_names() -> None:
    """As many names as are told, and as many endings as are looked at, wherever pieces end."""
    many = b"\x7fELF\0" + b"".join(b"lib%d.so\0" % number for number in range(2 * strings.MAX_NAMES))
    endings = b"\x7fELF\0" + b".so\0" * (strings._MAX_TRIES - 1) + b"libz.so\0liby.so\0"
    for content, last in ((many, f"lib{strings.MAX_NAMES - 1}.so"), (endings, "libz.so")):
        place = Place("x", -1, 0, len(content), True, len(content), zlib.crc32(content))
        stream, _, _ = come_by(content, place, iter([END] * 100))
        assert stream.names is not None
        assert stream.names[-1] == last
        for step in (1 << 30, 3, 1000):
            finder = NameFinder()
            for start in range(0, len(content), step):
                finder.feed(content[start : start + step])
            assert stream.names == finder.names


# --- whole members -------------------------------------------------------------------------------------------------


@pytest.fixture
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "_WHOLE", 0)


def facts_of(path: Path, streams: bool, huge: bool = False) -> tuple[Optional[WheelFacts], str]:
    """What is found, or why nothing is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wheel, "streams", streams)
        patch.setattr(facts_module, "hashes_fast", lambda: streams)
        if huge:
            patch.setattr(facts_module, "_HUGE", 1)
            patch.setattr(facts_module, "MAX_MEMBER_SIZE", 1)
        try:
            with open_wheel(path) as wheel:
                return read_wheel_facts(wheel, threads=1), ""
        except WheelError as error:
            return None, str(error)


def lay_down(part: Part, folder: Path) -> Path:
    files = {f"{DIST_INFO}/METADATA": b"Name: demo\n", f"{DIST_INFO}/WHEEL": b"x: y\n"}
    files[f"{DIST_INFO}/RECORD"] = record_text({part.name.decode(): part.data, **files}, DIST_INFO)
    path = folder / X86_NAME
    path.write_bytes(Archive([part, *(Part(name.encode(), data) for name, data in files.items())]).bytes())
    return path


def far_tables(gap: int) -> bytes:
    """A chain of version needs that leads through a file, so that it comes by several times."""
    image = build(Elf(needs=(Need("liba.so", (("A", 2),)),), symbols=(Symbol("dlopen"),)))
    data, start = bytearray(image.data), image.at["needs"]
    record = data[start : start + 32]
    data += bytes(start + 4 * gap - len(data))
    for link in range(4):
        data[start + link * gap : start + link * gap + 32] = record
        following = gap if link < 3 else 0
        data[start + link * gap + 12 : start + link * gap + 16] = following.to_bytes(4, "little")
    at = image.at["segment 0x1"] + 32
    data[at : at + 8] = len(data).to_bytes(8, "little")
    return bytes(data) + b"\0libfoo.so\0"


def contents() -> dict[str, bytes]:
    chance = random.Random(5)
    noise = chance.randbytes(90_000)
    return {
        "text": noise * 4,
        "short": b"\x7fE",
        "one": b"\x7f",
        "library": libc_extension() + noise * 20 + b"\0libfoo.so\0",
        "opens": build(Elf(symbols=(Symbol("dlopen"),))).bytes + noise * 3 + b"\0libfoo.so\0",
        "opens late": build(Elf(symbols=(Symbol("g_module_open"),))).bytes + bytes(1 << 20) + b"\0libfoo.so\0",
        "passes": far_tables(300_000),
        "broken": b"\x7fELF" + noise,
        "cut off": libc_extension()[:80],
    }


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("name", contents())
@pytest.mark.parametrize("head", [elfstream.HEAD, 200])
def test_facts(name: str, head: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of which the tables are all over come by several times."""
    monkeypatch.setattr(elfstream, "HEAD", head)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = lay_down(Part(b"demo/a.so", contents()[name], method=method), tmp_path)
        found = [facts_of(path, streams, huge) for streams in (False, True) for huge in (False, True)]
        assert found[1:] == found[:-1]
        facts, message = found[0]
        assert facts is not None, message
        assert facts.record_lies == ()
        if name in ("opens", "opens late", "passes"):
            assert facts.dlopen_names["demo/a.so"][-1] == "libfoo.so"
        assert (name in ("broken", "cut off")) == bool(facts.malformed)


@pytest.mark.usefixtures("all_are_large")
def test_a_name_that_hope_was_lost_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that opens libraries is named behind a megabyte of others: the file comes by once more."""
    words = [Symbol(f"{'x' * 200}{number}") for number in range(6000)]
    data = build(Elf(symbols=(*words, Symbol("dlopen")))).bytes + b"\0libfoo.so\0"
    assert data.index(b"\0dlopen\0") > strings._HEAD
    path = lay_down(Part(b"demo/a.so", data), tmp_path)
    again: list[str] = []
    whole = facts_module._names_again
    monkeypatch.setattr(facts_module, "_names_again", lambda *told: again.append(told[1]) or whole(*told))
    found = [facts_of(path, streams, huge) for streams in (False, True) for huge in (False, True)]
    assert found[1:] == found[:-1]
    assert found[0][0] is not None
    assert found[0][0].dlopen_names["demo/a.so"][-1] == "libfoo.so"
    assert again == ["demo/a.so"] * 2  # the compiled code looks for names to the end at once


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_is_judged_alike(method: int, tmp_path: Path) -> None:
    """A bit of the stream, what follows it, its end, its size, its checksum."""
    chance = random.Random(7)
    words = [chance.randbytes(6) for _ in range(1000)]
    content = libc_extension() + b"".join(chance.choices(words, k=50_000))
    packed = content if method == zipfile.ZIP_STORED else deflated(content, 50_000)
    messages = set()
    for round_ in range(60):
        part = Part(b"demo/a.so", content, method=method, packed=packed)
        kind = round_ % 6
        if kind == 0:
            part.packed = packed[:-1] if method else packed[:-1] + b"\0"
        elif kind == 1 and method:
            part.packed = packed + chance.choice([b"\0", bytes(4), packed])
        elif kind == 2:
            part.central_size = part.local_size = len(content) + chance.choice([-1, 1, -300_000, 300_000])
        elif kind == 3:
            part.central_crc = part.local_crc = zlib.crc32(content) ^ 1 << chance.randrange(32)
        else:
            broken = bytearray(packed)
            at = chance.randrange(len(broken))
            if kind == 4 and method:  # a kind of block that there is not, where one begins
                at = broken.index(b"\0\0\xff\xff", at // 2) + 4
            broken[at] = broken[at] | 6 if kind == 4 and method else broken[at] ^ 1 << chance.randrange(8)
            part.packed = bytes(broken)
        path = lay_down(part, tmp_path)
        found = [facts_of(path, streams, huge) for streams in (False, True) for huge in (False, True)]
        assert found[1:] == found[:-1]
        messages.add(found[0][1].rpartition(": ")[2])
    assert len(messages - {""}) >= (3 if method else 1)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    place = Place("demo.whl: a.so", -1, 0, 100, True, 100, 0)
    with pytest.raises(WheelError, match=rf"demo\.whl: a\.so: .*{os.strerror(errno.EBADF)}"):
        Streamed(place, bytearray(LEAST)).run(END)
    for stored in (True, False):
        (tmp_path / "short").write_bytes(b"\0" * 10)
        with (tmp_path / "short").open("rb") as file:
            stream = Streamed(
                place._replace(file=file.fileno(), stored=stored, offset=20), bytearray(LEAST), True, None
            )
            with pytest.raises(WheelError, match="the archive ends inside a member"):
                stream.run(END)
            with pytest.raises(WheelError, match="the archive ends inside a member"):
                stream.run(END)  # and it stays so


def test_a_file_without_a_descriptor_is_read_all_the_same(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"demo/a.so": contents()["library"]})
    with open_wheel(path) as wheel:
        assert wheel.streams
        expected = read_wheel_facts(wheel)
    with open_wheel(path, io.BytesIO(path.read_bytes())) as wheel:
        assert not wheel.streams
        assert read_wheel_facts(wheel) == expected


def test_other_hashes(tmp_path: Path) -> None:
    files = {"demo/a.so": contents()["library"]}
    path = make_wheel(tmp_path, files, algorithm="sha512")
    with open_wheel(path) as wheel:
        assert read_wheel_facts(wheel).record_lies == ()


@pytest.mark.parametrize("after", [0, 1, 40])
def test_one_that_gives_up(after: int) -> None:
    """The thread that inflates ends, whether it waits for room or has not even begun."""
    content = random.Random(2).randbytes(100_000) * 40
    packed = deflated(content)
    before = threading.active_count()
    with tempfile.TemporaryFile() as file:
        file.write(packed)
        file.flush()
        place = Place("x", file.fileno(), 0, len(packed), False, len(content), zlib.crc32(content))
        stream = Streamed(place, bytearray(3 * LEAST), True, slots=3)

        def give_up() -> None:
            with stream.filled():
                for _ in range(after):
                    stream.run(stream.position + 1)
                raise KeyError("enough")

        with pytest.raises(KeyError, match="enough"):
            give_up()
    assert threading.active_count() == before


def test_long_members_are_not_read_in_one_call() -> None:
    """So that an interrupt is noticed."""
    content = bytes(40 << 20)
    packed = deflated(content)
    place = Place("x", -1, 0, len(packed), False, len(content), zlib.crc32(content))
    _, _, seen = come_by(packed, place, iter([END] * 1000), room=1 << 18)
    assert 2 <= len(seen) <= 4


def test_arguments() -> None:
    from portable_backend import _native

    member = (0, 0, 1, True, 1, 0, True, True)
    for slots in (0, 9):
        with pytest.raises(ValueError, match="buffers"):
            _native.new_member(*member, slots)
    one, two = (_native.new_member(*member, slots) for slots in (1, 2))
    for state, room in ((one, LEAST - 1), (two, 2 * LEAST - 1)):
        with pytest.raises(ValueError, match="too little room"):
            _native.read_member(state, bytearray(room), 1, ())
    with pytest.raises(ValueError, match="one thread"):
        _native.fill_member(one, bytearray(LEAST))
    with pytest.raises(ValueError, match="behind the end"):
        _native.read_member(one, bytearray(LEAST), 1, ((2**64 - 1, bytearray(1)),))
    with pytest.raises(TypeError):
        _native.read_member(one, bytearray(LEAST), 1, (5,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="PyCapsule"):
        _native.read_member(_native.new_inflater(), bytearray(LEAST), 1, ())
