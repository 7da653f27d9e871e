"""Names of libraries among the strings of a file."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portable_backend.auditing import strings
from portable_backend.auditing.strings import LONGEST, MAX_NAMES, HopefulFinder, NameFinder, find_dlopen_names


@pytest.mark.parametrize(
    "text",
    ["libfoo.so", "libfoo.so.1", "libfoo.so.1.2.3", "libfoo-2.0.so.0", "libstdc++.so.6", "/opt/x/libfoo.so",
     "%s/libfoo.so", "lib_a+b.so", "$ORIGIN/libfoo.so.1", "libfoo.so.1.so", "/lib" * 50 + "/libfoo.so"],
)  # fmt: skip
def test_name(text: str) -> None:
    assert find_dlopen_names(b"\x7fELF\0other\0" + text.encode() + b"\0more\0") == (text,)


@given(
    st.lists(st.sampled_from([b".so", b".so.", b".", b"s", b"so", b"\0", b"1", b"123456789", b".1", b"x", b"y" * 17]))
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_compiled_and_plain_search_find_the_same(native_scan: object, pieces: list[bytes]) -> None:
    from portable_backend import _native

    data = b"".join(pieces)
    expected = [(match.start(), match.end() - 1) for match in strings._END.finditer(data)]
    assert list(strings._endings(data)) == expected
    assert _native.find_ending(memoryview(data), len(data)) is None
    for start in (-1, len(data) + 1):
        with pytest.raises(ValueError, match="outside"):
            _native.find_ending(data, start)


@pytest.mark.parametrize("compiled", [True, False])
def test_names_without_the_compiled_part(monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    if not compiled:
        monkeypatch.setattr(strings, "_native", None)
    data = b"\0libb.so.1\0" + b"z" * 3_000_000 + b"\0liba.so\0/x/libc.so\0"
    assert find_dlopen_names(memoryview(data)) == ("libb.so.1", "liba.so", "/x/libc.so")


@pytest.mark.parametrize(
    "text",
    ["foo.so", "libfoo.so.x", "libfoo.so.1 ", " libfoo.so", "cannot load libfoo.so", "libfoo.so\n", "libfoo.sock",
     "lib.so", "libfoo.dylib", "libf\xf6\xf6.so", "lib%s.so", "libfoo.so.", "/lib" * 70 + "/libfoo.so", ".so", ""],
)  # fmt: skip
def test_no_name(text: str) -> None:
    assert find_dlopen_names(b"\0" + text.encode("latin-1") + b"\0") == ()


def test_string_without_an_end() -> None:
    assert find_dlopen_names(b"\0libfoo.so") == ()
    assert find_dlopen_names(b"\0libfoo.so.1") == ()


def test_each_name_once_in_the_order_of_the_file() -> None:
    assert find_dlopen_names(b"\0libb.so\0liba.so\0libb.so\0") == ("libb.so", "liba.so")


def test_names_are_limited() -> None:
    data = b"\0" + b"".join(b"lib%d.so\0" % number for number in range(1000))
    assert len(find_dlopen_names(data)) == MAX_NAMES


PIECES = [
    b"\0",
    b"libfoo.so",
    b"libbar.so.1",
    b"x",
    b"/usr/lib/",
    b"l" * 200,
    b"\0" * 600,
    b"y" * 700,
    b".so",
    b".1",
    b"lib",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), st.data())
def test_cuts_make_no_difference(data: bytes, draw: st.DataObject) -> None:
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=8).map(sorted))
    finder = NameFinder()
    for start, end in zip([0, *cuts], [*cuts, len(data)]):
        finder.feed(data[start:end])
    assert sorted(finder.names) == sorted(find_dlopen_names(data))
    one_by_one = NameFinder()
    for number in range(len(data)):
        one_by_one.feed(data[number : number + 1])
    assert sorted(one_by_one.names) == sorted(find_dlopen_names(data))


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_any_buffer_will_do(data: bytes) -> None:
    assert find_dlopen_names(memoryview(data)) == find_dlopen_names(bytearray(data)) == find_dlopen_names(data)


def test_large_views_are_read_piece_by_piece() -> None:
    name = b"\0libacross.so.1\0"
    for offset in (-8, -1, 0, 1):
        data = b"x" * ((1 << 20) + offset - 4) + name + b"y" * (1 << 20)
        assert find_dlopen_names(memoryview(data)) == ("libacross.so.1",)


@pytest.mark.parametrize(
    "unit",
    [b".so", b".so\0", b"\0lib.so.1.1.1.1", b"\0" + b"l" * LONGEST + b".so\0", b"\0" + b"lib/" * 60 + b".so\0"],
)
def test_no_file_takes_long(unit: bytes) -> None:
    """Three MB in the time of thirty of an ordinary file, at the very most."""
    data = unit * ((3 << 20) // len(unit))
    start = time.perf_counter()
    find_dlopen_names(data)
    assert time.perf_counter() - start < 3


def test_a_finder_without_hope_says_that_it_gave_up() -> None:
    """Only a file whose beginning names no function that opens libraries has to come by again."""
    finder = HopefulFinder()
    for _ in range(5):
        finder.feed(bytes(1 << 18))
    finder.feed(b"\0libfoo.so.1\0")
    assert finder.gave_up
    hopeful = HopefulFinder()
    hopeful.feed(b"\0dlopen\0" + bytes(2 << 20))
    hopeful.feed(b"\0libfoo.so.1\0")
    assert (hopeful.gave_up, hopeful.names) == (False, ("libfoo.so.1",))
    small = HopefulFinder()
    small.feed(b"\0libfoo.so.1\0")
    assert (small.gave_up, small.names) == (False, ("libfoo.so.1",))
