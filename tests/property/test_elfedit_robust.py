"""Whatever is edited in whatever file, both editors do the same, and twice is once."""

from __future__ import annotations

import glob
import os
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Union

import pytest

pytest.importorskip("hypothesis", reason="Hypothesis is not installed")
from hypothesis import given, settings
from hypothesis import strategies as st
from test_elf_robust import BASES, mutated_files, native

from portable_backend import elf, elfedit
from portable_backend.elf import ElfEdits
from portable_backend.errors import EditRefused, ElfError

#: Names that are in the files of the other module, their ends, and names that are not.
names = st.one_of(
    st.sampled_from(["liba.so.1", "libc.so.6", "libb.so", "libm.so.6", "so.6", "a", "$ORIGIN", "GLIBC_2.4", "n" * 90]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
)


@st.composite
def edits(draw: st.DrawFn) -> ElfEdits:
    return ElfEdits(
        soname=draw(st.none() | names),
        replace_needed=tuple(draw(st.lists(st.tuples(names, names), max_size=2))),
        remove_needed=tuple(draw(st.lists(names, max_size=1))),
        rpath=draw(st.none() | st.just("") | names),
        clear_execstack=draw(st.booleans()),
        runpath=draw(st.none() | st.just("") | names),
        add_needed=tuple(draw(st.lists(names, max_size=3))),
        strip=draw(st.booleans()),
    )


Outcome = Union[bytes, tuple[object, ...]]


def outcome(edit: Callable[..., bytes], data: bytes, encoded: tuple[object, ...]) -> Outcome:
    """The result, or the error in a form that can be compared; anything else that is raised fails the test."""
    try:
        return edit(data, *encoded)
    except ElfError as error:
        return "malformed", error.offset, error.what, 0 <= error.offset <= len(data)
    except EditRefused as error:
        return "refused", error.what


def check(data: bytes, edit: ElfEdits) -> Outcome:
    try:
        encoded = edit.encode()
    except EditRefused:
        return data
    expected = outcome(elfedit.edit, data, encoded)
    assert outcome(native.edit, data, encoded) == expected
    if expected[0] == "malformed":
        assert expected[3] is True
    if isinstance(expected, bytes):
        assert outcome(native.edit, expected, encoded) == expected
    return expected


def real_files() -> Sequence[bytes]:
    """Some extension modules of this interpreter, small and not so small."""
    paths = glob.glob(os.path.join(sysconfig.get_path("platstdlib"), "lib-dynload", "*.so"))
    contents = sorted((Path(path).read_bytes() for path in paths), key=len)
    return [content for content in contents[::8] if content[:4] == b"\x7fELF"] or BASES


REAL = real_files()


@settings(max_examples=1500, deadline=None)
@given(mutated_files(), edits())
def test_broken_files(data: bytes, edit: ElfEdits) -> None:
    check(data, edit)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*REAL, *BASES]), st.lists(edits(), max_size=5))
def test_sequences_of_edits(data: bytes, sequence: list[ElfEdits]) -> None:
    for edit in sequence:
        result = check(data, edit)
        if isinstance(result, bytes):
            foretold = edit.foretell(elf.scan(data)) if result is not data else elf.scan(data)
            assert elf.scan(result) == foretold
            data = result


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*REAL, *BASES]), edits(), st.data())
def test_files_broken_after_an_edit(base: bytes, edit: ElfEdits, draw: st.DataObject) -> None:
    """Files that the editor itself wrote have what others have not: a segment at their end that can grow."""
    result = check(base, edit)
    broken = bytearray(result if isinstance(result, bytes) else base)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.one_of(st.integers(0, 0x300), st.integers(0, len(broken) - 1)))
        broken[at : at + 2] = draw.draw(st.binary(min_size=2, max_size=2))[: len(broken) - at]
    check(bytes(broken), draw.draw(edits()))
