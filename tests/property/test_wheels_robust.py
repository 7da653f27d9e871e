"""No archive, however damaged, makes the reader do anything but read it or refuse it."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("hypothesis", reason="Hypothesis is not installed")

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from wheel_maker import X86_NAME, libc_extension, make_wheel

from portable_backend.auditing.facts import read_wheel_facts
from portable_backend.auditing.verdict import judge
from portable_backend.errors import WheelError
from portable_backend.wheels import open_wheel, parse_wheel_name
from portable_backend.wheels.writing import NewMember, write_archive

Edits = list[tuple[int, bytes]]
PATH = Path(X86_NAME)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    files = {"demo/ext.so": libc_extension("GLIBC_2.17"), "demo/\u00e9.py": b"x = 1\n" * 20, "demo/empty": b""}
    return make_wheel(tmp_path_factory.mktemp("wheel"), files).read_bytes()


def read(data: bytes) -> None:
    """Open, read and judge; the only way out is :class:`WheelError`."""
    with suppress(WheelError), open_wheel(PATH, io.BytesIO(data)) as opened:
        judge(read_wheel_facts(opened))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)), max_size=6))
def test_overwritten_bytes(edits: Edits, wheel: bytes) -> None:
    data = bytearray(wheel)
    for offset, content in edits:
        start = offset % len(data)
        data[start : start + len(content)] = content
    read(bytes(data))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 1200), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
def test_overwritten_directory(edits: Edits, wheel: bytes) -> None:
    """The end of the file, where a byte says the most."""
    data = bytearray(wheel)
    for offset, content in edits:
        start = max(0, len(data) - 1 - offset)
        data[start : start + len(content)] = content
    read(bytes(data))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 1 << 16), length=st.integers(0, 1 << 12), filler=st.binary(max_size=40))
def test_cut_and_spliced(start: int, length: int, filler: bytes, wheel: bytes) -> None:
    start %= len(wheel)
    read(wheel[:start] + filler + wheel[start + length :])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, 1 << 16), bit=st.integers(0, 7))
def test_one_flipped_bit_never_changes_what_is_read(offset: int, bit: int, wheel: bytes) -> None:
    """Whatever is accepted has the contents that RECORD tells of, or the verdict says so."""
    data = bytearray(wheel)
    data[offset % len(data)] ^= 1 << bit
    try:
        with open_wheel(PATH, io.BytesIO(bytes(data))) as opened:
            facts = read_wheel_facts(opened)
    except WheelError:
        return
    with open_wheel(PATH, io.BytesIO(wheel)) as opened:
        original = read_wheel_facts(opened)
    assert facts.record_lies or facts.digests == original.digests


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=80))
@example("a-1-py3-none-any.whl")
def test_names(text: str) -> None:
    for filename in (text, f"{text}-1-py3-none-any.whl", f"demo-1-{text}.whl"):
        try:
            name = parse_wheel_name(filename)
        except WheelError:
            continue
        assert str(name) == filename


NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=20
).filter(lambda text: text not in (".", "..") and ":" not in text[:2])


@settings(max_examples=200, deadline=None)
@given(files=st.dictionaries(NAMES, st.binary(max_size=3000), max_size=8), level=st.integers(0, 9), when=st.integers())
def test_archives_survive_writing(files: dict[str, bytes], level: int, when: int) -> None:
    file = io.BytesIO()
    write_archive(file, [NewMember(name, data) for name, data in files.items()], when, level)
    with zipfile.ZipFile(file) as archive:
        assert {info.orig_filename: archive.read(info) for info in archive.infolist()} == files
