"""Both scanners against pyelftools, on the ELF files of this machine and on synthetic ones.

The oracle goes by the section headers where the scanners go by the dynamic segment, so that each way to the facts
checks the other. No difference is allowed.
"""

from __future__ import annotations

import glob
import io
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from elf_builder import Definition, Elf, Need, Symbol, build, isa_note

from portable_backend import elfscan
from portable_backend.elf import make_facts

pytest.importorskip("elftools", reason="pyelftools is not installed")

from elf_oracle import differences, oracle
from elftools.elf.dynamic import DynamicSection, DynamicSegment
from elftools.elf.elffile import ELFFile

LIMIT = 300
LARGEST = 8 * 1024 * 1024


def installed_files() -> list[Path]:
    """ELF files of the running interpreter and of the system, a sample spread over all of them."""
    places = [sysconfig.get_path("platstdlib") + "/lib-dynload/*.so", sysconfig.get_path("platlib") + "/**/*.so*"]
    places += ["/lib/*-linux-*/*.so*", "/lib64/*.so*", "/usr/lib/*.so*", "/lib/ld-musl-*", sys.executable, "/bin/*"]
    found = {os.path.realpath(name) for place in places for name in glob.glob(place, recursive=True)}
    files = [Path(name) for name in sorted(found) if _is_elf(name)]
    return files[:: 1 + len(files) // LIMIT]


def _is_elf(name: str) -> bool:
    if not os.path.isfile(name) or os.path.getsize(name) > LARGEST or not os.access(name, os.R_OK):
        return False
    with open(name, "rb") as file:
        return file.read(4) == b"\x7fELF"


FILES = installed_files()


@pytest.fixture(params=["native", "python"])
def implementation(request: pytest.FixtureRequest) -> Any:
    if request.param == "python":
        return elfscan.scan
    if os.environ.get("CI"):
        from portable_backend import _native  # in CI, a missing scanner is a failure

        return _native.scan
    return pytest.importorskip("portable_backend._native", reason="the compiled scanner is not built").scan


@pytest.mark.skipif(not FILES, reason="this machine has no ELF files where they are looked for")
def test_installed_files(implementation: Any) -> None:
    differing = []
    for path in FILES:
        data = path.read_bytes()
        ours, theirs = make_facts(implementation(data)), oracle(data)
        differing += [f"{path}: {line}" for line in differences(ours, theirs)]
    assert not differing, "\n".join(differing[:20])


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_synthetic_files(implementation: Any, bits: int, order: str) -> None:
    template = Elf(bits=bits, order=order)
    data = build(
        Elf(
            bits=bits,
            order=order,
            interpreter="/lib/ld.so",
            needed=("libc.so.6", "liba.so"),
            soname="me.so",
            rpath="/a",
            runpath="/b",
            symbols=(
                Symbol("puts", version=2),
                Symbol("maybe", binding=2, version=3),
                Symbol("old", defined=True, version=0x8005),
                Symbol("new", defined=True, version=6),
                Symbol("hidden", defined=True, visibility=2),
            ),
            needs=(Need("libc.so.6", (("GLIBC_2.4", 2), ("GLIBC_2.5", 3))), Need("liba.so", (("A", 4),))),
            definitions=(Definition("me.so", 1, flags=1), Definition("V1", 5), Definition("V2", 6, 0, ("V1",))),
            sysv_hash=True,
            gnu_hash=True,
            note=isa_note(template, 5),
            note_segment=4,
        )
    ).bytes
    theirs = oracle(data)
    assert list(differences(make_facts(implementation(data)), theirs)) == []
    assert len(theirs["imports"]) == len(theirs["exports"]) == 2


def test_dynamic_section_is_what_the_segment_says() -> None:
    """The oracle itself: where there are sections, both ways to the dynamic entries give the same."""
    for path in FILES[:20]:
        elf = ELFFile(io.BytesIO(path.read_bytes()))
        by_section = [len(list(part.iter_tags())) for part in elf.iter_sections() if isinstance(part, DynamicSection)]
        by_segment = [len(list(part.iter_tags())) for part in elf.iter_segments() if isinstance(part, DynamicSegment)]
        assert by_section == by_segment
