"""Whatever happens to the bytes of an ELF file, both scanners say the same of them, and never anything unforeseen."""

from __future__ import annotations

import glob
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Union

import pytest
from elf_builder import Definition, Elf, Need, Symbol, build, isa_note, streamed_scan

from portable_backend import elfscan, elfstream
from portable_backend.elf import make_facts
from portable_backend.errors import ElfError

pytest.importorskip("hypothesis", reason="Hypothesis is not installed")
from hypothesis import given, settings
from hypothesis import strategies as st

if os.environ.get("CI"):
    from portable_backend import _native as native  # in CI, a missing scanner is a failure
else:
    native = pytest.importorskip("portable_backend._native", reason="the compiled scanner is not built")


def small_real_file() -> bytes:
    """The smallest extension module of this interpreter, or nothing where it has none of ELF."""
    names = glob.glob(os.path.join(sysconfig.get_path("platstdlib"), "lib-dynload", "*.so"))
    contents = sorted((Path(name).read_bytes() for name in names), key=len)
    return next((content for content in contents if content[:4] == b"\x7fELF"), b"")


def synthetic_file(bits: int, order: str) -> bytes:
    template = Elf(bits=bits, order=order)
    return build(
        Elf(
            bits=bits,
            order=order,
            interpreter="/lib/ld.so",
            needed=("liba.so.1", "libc.so.6"),
            soname="libb.so",
            runpath="$ORIGIN",
            symbols=(Symbol("f", version=2), Symbol("g", binding=2, version=3), Symbol("h", defined=True, version=5)),
            needs=(Need("libc.so.6", (("GLIBC_2.4", 2),)), Need("liba.so.1", (("A", 3), ("B", 4)))),
            definitions=(Definition("libb.so", 1, flags=1), Definition("B_1", 5)),
            sysv_hash=True,
            gnu_hash=True,
            relocations=((1, 6), (0, 8)),
            plt=((2, 7),),
            note=isa_note(template, 3),
        )
    ).bytes


SYNTHETIC = [synthetic_file(bits, order) for bits in (32, 64) for order in "<>"]
BASES = [*SYNTHETIC, small_real_file() or SYNTHETIC[0]]

#: What breaks parsers: the ends of the number ranges, and numbers about the size of a small file.
values = st.one_of(
    st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]),
    st.integers(0, 2**17),
)


@st.composite
def mutated_files(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 6))):
        # Half of the changes go to the headers, which decide where everything else is.
        end = 0x400 if draw(st.booleans()) else len(data) - 1
        offset = draw(st.integers(0, max(0, min(end, len(data) - 1))))
        width = draw(st.sampled_from([1, 2, 4, 8]))
        order = draw(st.sampled_from(["little", "big"]))
        value = draw(values) % 256**width
        data[offset : offset + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
    if draw(st.integers(0, 9)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


def outcome(scan: Callable[[bytes], tuple[object, ...]], data: bytes) -> Union[tuple[object, ...], ElfError]:
    """The facts, or the error in a form that can be compared; anything else that is raised fails the test."""
    try:
        return scan(data)
    except ElfError as error:
        return error


def check(data: bytes) -> None:
    expected, found = outcome(elfscan.scan, data), outcome(native.scan, data)
    if isinstance(expected, ElfError):
        assert isinstance(found, ElfError)
        assert (found.offset, found.what) == (expected.offset, expected.what)
        assert 0 <= expected.offset <= len(data)
    else:
        assert found == expected
        make_facts(expected)


@settings(max_examples=2000, deadline=None)
@given(mutated_files())
def test_mutated_files(data: bytes) -> None:
    check(data)


@settings(max_examples=1000, deadline=None)
@given(mutated_files(), st.integers(1, 5000), st.integers(1, 5000))
def test_files_that_come_by_in_pieces(data: bytes, head: int, length: int) -> None:
    """Whatever was kept of the file, and wherever it was cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elfstream, "HEAD", head)
        found = outcome(lambda each: streamed_scan(each, length), data)
    expected = outcome(lambda each: make_facts(elfscan.scan(each)), data)
    if isinstance(expected, ElfError):
        assert isinstance(found, ElfError)
        assert (found.offset, found.what) == (expected.offset, expected.what)
    else:
        assert found == expected


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SYNTHETIC), st.binary(max_size=400), st.integers(0, 120))
def test_noise_behind_a_good_start(base: bytes, noise: bytes, keep: int) -> None:
    check(base[:keep] + noise)
