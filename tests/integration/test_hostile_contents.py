"""What is inside of a wheel may be made to mislead, too: names for other systems, links, texts, and native files.

Both commands give a verdict or refuse with a documented exit code; they take little time and memory, write nothing
outside of the output directory, and leave nothing in it when they fail.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Optional

import pytest
from command_line import entries, refuse, run
from elf_builder import Definition, Elf, Image, Need, Symbol, build
from wheel_maker import (
    X86_NAME,
    command,
    environment,
    libc_extension,
    make_wheel,
    poke,
    read_members,
    record_text,
    verify_record,
    wheel_text,
)
from zip_maker import Archive, Part

import portable_backend
from portable_backend import elf

Capture = pytest.CaptureFixture[str]
DIST_INFO = "demo-1.0.dist-info"
SUCCESS, NOT_COMPLIANT, WHEEL, REPAIR = 0, 1, 7, 8
#: Seconds of this process's own time that both commands may take for a small wheel.
LIMIT = 3.0


def judge_both(capsys: Capture, tmp_path: Path, wheel: Path) -> tuple[int, str]:
    """Audit and repair: each in little time, with an exit code that is documented and without an internal error."""
    outside, start = entries(tmp_path), time.process_time()
    audited = run(capsys, "audit", wheel)
    repaired = run(capsys, "repair", wheel, "-w", tmp_path / "out")
    assert time.process_time() - start < LIMIT
    for outcome in (audited, repaired):
        assert outcome.code in (SUCCESS, NOT_COMPLIANT, WHEEL, REPAIR), outcome
        assert "Traceback" not in outcome.err
        assert "internal error" not in outcome.err
        assert len(outcome.err.splitlines()) <= 20
    results = entries(tmp_path / "out")
    assert len(results) == (repaired.code == SUCCESS)
    assert [name for name in entries(tmp_path) if name.split("/")[0] != "out"] == outside
    for name in results:
        verify_record(tmp_path / "out" / name)
    return repaired.code, audited.out + audited.err + repaired.err


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["demo/CON", "demo/nul", "demo/aux.py", "demo/COM1.txt", "NUL"],
        ["demo/trailing.", "demo/trailing ", "demo/...", " ", "demo/-rf", "~/x", "demo/$HOME"],
        ["demo/x.py:stream", "demo/a*?b", 'demo/"<|>'],
        ["demo/Case.py", "demo/case.py", "DEMO/case.py"],
        ["demo/\u00e9.py", "demo/e\u0301.py", "demo/\ufb01.py", "demo/fi.py"],
        ["dev/null", "etc/passwd", "demo-1.0.data/data/etc/x", "demo-1.0.data/nonsense/x"],
        ["demo/" + "d/" * 200 + "x", "n" * 255, "demo/\u202egnp.py", "demo/\x85\u2028.py"],
    ],
)
def test_names_that_are_no_danger_here(names: list[str], tmp_path: Path, capsys: Capture) -> None:
    """What only other systems or some file systems stumble over is left to them: the wheels here are Linux's.

    On Linux each of them is a name like any other, and two that differ by case are two names.
    """
    files = {name: name.encode() for name in names}
    wheel = make_wheel(tmp_path, {**files, "demo/ext.so": libc_extension()})
    code, said = judge_both(capsys, tmp_path, wheel)
    assert code == SUCCESS, said
    (result,) = (tmp_path / "out").iterdir()
    members = read_members(result)
    assert {name: members[name] for name in names} == files


@pytest.mark.parametrize("name", ["demo/\x85x.so", "demo/\x9b2Jx.so", "demo/\u2028x.so", "demo/\u202egnp.so"])
def test_names_that_a_terminal_would_obey(name: str, tmp_path: Path, capsys: Capture) -> None:
    """Also of members of which something is said."""
    wheel = make_wheel(tmp_path, {name: libc_extension()[:90], "demo/ext.so": libc_extension()})
    code, said = judge_both(capsys, tmp_path, wheel)
    assert code == WHEEL
    assert "malformed ELF" in said
    assert all(character.isprintable() for character in said.replace("\n", ""))


# --- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "links",
    [
        {"demo/a.so": "a.so"},
        {"demo/a.so": "b.so", "demo/b.so": "a.so"},
        {f"demo/{n}.so": f"{n + 1}.so" for n in range(100)},
        {"demo/a.so": "../../../../etc/passwd", "demo/b.so": "/etc/passwd", "demo/c.so": "/dev/zero"},
        {"demo/a.so": "../demo", "demo/b.so": ".", "demo/c.so": "..", "demo/d.so": "/"},
        {"demo/a.so": "", "demo/b.so": "\0", "demo/c.so": "x" * 5000, "demo/d.so": "../" * 3000},
        {"demo/a.so": "nowhere.so", "nowhere": "demo/nowhere/x"},
    ],
    ids=["itself", "circle", "long chain", "outside", "directories", "no path", "dangling"],
)
def test_links_that_lead_nowhere(links: dict[str, str], tmp_path: Path, capsys: Capture) -> None:
    """They are reported and stay what installers make of them: files with the text that they had."""
    texts = {name: target.encode() for name, target in links.items()}
    wheel = make_wheel(tmp_path, {**texts, "demo/ext.so": libc_extension()}, modes=dict.fromkeys(links, 0o120777))
    code, said = judge_both(capsys, tmp_path, wheel)
    assert code == SUCCESS, said
    assert f"{next(iter(links))}: is a symbolic link" in said
    (result,) = (tmp_path / "out").iterdir()
    members = read_members(result)
    assert {name: members[name] for name in links} == texts


@pytest.mark.parametrize("member", ["RECORD", "WHEEL", "METADATA"])
def test_metadata_that_is_a_link(member: str, tmp_path: Path, capsys: Capture) -> None:
    """Nothing is read through it."""
    files = {"demo/ext.so": libc_extension()}
    wheel = make_wheel(tmp_path, files, modes={f"{DIST_INFO}/{member}": 0o120777})
    judge_both(capsys, tmp_path, wheel)
    assert f"{DIST_INFO}/{member}: is a symbolic link" in run(capsys, "audit", wheel).out


# --- texts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (lambda text: text + b"\n" * (60 << 20), "larger than such a file has reason to be"),
        (lambda text: text + b"".join(b"a%d,,\n" % n for n in range(200_000)), "larger than such a file"),
        (lambda text: text + b"".join(b"a%d,,\n" % n for n in range(100_000)), "not in the archive"),
        (lambda text: text + b"," * (1 << 20), "fields instead of 3"),
        (lambda text: text + b'"\n",' * (1 << 17), "fields instead of 3"),
        (lambda text: text.replace(b"demo/ext.so", b"/demo/ext.so"), "does not list demo/ext.so"),
        (lambda text: text.replace(b"demo/ext.so", b"demo//ext.so"), "does not list demo/ext.so"),
        (lambda text: text.replace(b"demo/ext.so", b"./demo/ext.so"), "does not list demo/ext.so"),
        (lambda text: text.replace(b"demo/ext.so", b"demo\\ext.so"), "does not list demo/ext.so"),
        (lambda text: text.replace(b"demo/ext.so", b'"demo/""ext.so"'), "does not list demo/ext.so"),
        (lambda text: text + text.replace(b"demo/ext.so", b'"demo/ext.so"').splitlines(True)[0], "again"),
        (lambda text: text.replace(b"demo/ext.so,sha256=", b"demo/ext.so,,sha256="), "4 fields"),
        (lambda text: text.replace(b"demo/ext.so,sha256", b"demo/ext.so,SHA256"), "SHA-2"),
        (lambda text: b"\xef\xbb\xbf" + text, "does not list demo/ext.so"),
        (lambda text: text.replace(b"demo/ext.so,sha256=", b"demo/ext.so,sha512="), "digest"),
    ],
)
def test_record_that_lies(record: Callable[[bytes], bytes], reason: str, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()}, record=record)
    code, said = judge_both(capsys, tmp_path, wheel)
    assert (code, reason in said) == (WHEEL, True), said[:2000]


def test_long_names_have_their_place_in_record(tmp_path: Path, capsys: Capture) -> None:
    """As large as a true RECORD can be, it is read: with quotes to double, and four bytes a character."""
    names = ["demo/" + '"' * 9_000 + str(n) for n in range(40)] + [
        "demo/" + "\U0001f40d" * 9_000 + str(n) for n in range(40)
    ]
    wheel = make_wheel(tmp_path, {**dict.fromkeys(names, b""), "demo/ext.so": libc_extension()}, algorithm="sha512")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.getinfo(f"{DIST_INFO}/RECORD").file_size > 2 << 20
    assert judge_both(capsys, tmp_path, wheel)[0] == SUCCESS


@pytest.mark.parametrize("more", [b"\n" * (60 << 20), b"Tag: x-y-z\n" * (1 << 20)])
def test_wheel_file_that_is_huge(more: bytes, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()}, wheel=wheel_text(X86_NAME) + more)
    code, said = judge_both(capsys, tmp_path, wheel)
    assert code == WHEEL
    assert f"{DIST_INFO}/WHEEL is larger than such a file has reason to be" in said


# --- archives ----------------------------------------------------------------------------------------------------


def _stored_block(data: bytes) -> bytes:
    return b"\0" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data


def test_bomb_of_members_that_quote_each_other(tmp_path: Path, capsys: Capture) -> None:
    """Each member's stream is the header of the next one, as a stored block, and then the stream of that."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream, content = packer.compress(bytes(100_000)) + packer.flush(), bytes(100_000)
    members: list[tuple[Part, int]] = []
    data = b""
    for number in range(300):
        name = b"demo/%d" % number
        sizes = zlib.crc32(content), len(stream), len(content)
        header = b"PK\x03\x04" + struct.pack("<5H3I2H", 20, 0x800, 8, 0, 33, *sizes, len(name), 0) + name
        data = header + stream
        members.append((Part(name, content, packed=stream), len(data)))
        stream, content = _stored_block(header) + stream, header + content
    for part, length in members:
        part.central_offset = len(data) - length
    whole = Archive([part for part, _ in reversed(members)]).bytes()
    # The members lie in one another: of what was laid down one after the other the directory alone is kept.
    end = bytearray(whole[whole.index(b"PK\x01\x02") :])
    struct.pack_into("<I", end, len(end) - 6, len(data))
    path = tmp_path / X86_NAME
    path.write_bytes(data + end)
    with zipfile.ZipFile(path) as archive:
        assert sum(info.file_size for info in archive.infolist()) > 200 * path.stat().st_size
    message = refuse(capsys, WHEEL, "audit", path)
    assert "overlap" in message
    assert refuse(capsys, WHEEL, "repair", path, "-w", tmp_path / "out") == message
    assert entries(tmp_path / "out") == []


# --- native files ------------------------------------------------------------------------------------------------


def full_elf(bits: int, order: str) -> Image:
    """A shared object with every table that a scanner follows."""
    return build(
        Elf(
            bits=bits,
            order=order,
            needed=("libc.so.6",),
            soname="libb.so",
            symbols=(Symbol("printf", version=2), Symbol("PyInit_ext", defined=True)),
            needs=(Need("libc.so.6", (("GLIBC_2.4", 2), ("GLIBC_2.5", 3))), Need("liba.so.1", (("A", 4),))),
            definitions=(Definition("libb.so", 5, flags=1), Definition("B", 6), Definition("C", 7, 0, ("B",))),
            sysv_hash=True,
            gnu_hash=True,
            sections=True,
        )
    )


Lie = Callable[[Image], bytes]


def _header(wide_at: int, narrow_at: int, code: str, value: int) -> Lie:
    """Set a field of the ELF header; ``A`` is as wide as an address."""

    def lie(image: Image) -> bytes:
        wide = image.elf.bits == 64
        shape = image.elf.order + code.replace("A", "Q" if wide else "I")
        limit = (1 << 8 * struct.calcsize(shape)) - 1
        return poke(image.bytes, wide_at if wide else narrow_at, shape, value & limit)

    return lie


def _all(*lies: Lie) -> Lie:
    def lie(image: Image) -> bytes:
        original, data = image.bytes, bytearray(image.bytes)
        for each in lies:
            for at, (old, new) in enumerate(zip(original, each(image))):
                if old != new:
                    data[at] = new
        return bytes(data)

    return lie


def _table(name: str, offset: int, value: int) -> Lie:
    return lambda image: image.poke(image.at[name] + offset, "I", value)


@pytest.mark.parametrize(
    "lie",
    [
        _all(_header(60, 48, "H", 0), lambda image: _first_section_size(image, 1 << 32)),
        _all(_header(60, 48, "H", 0), lambda image: _first_section_size(image, (1 << 64) - 1)),
        _header(60, 48, "H", 0xFFFF),
        _header(62, 50, "H", 0xFFFF),
        _header(40, 32, "A", (1 << 64) - 1),
        _header(40, 32, "A", 0),
        _header(56, 44, "H", 0xFFFF),
        _header(56, 44, "H", 0),
        _header(32, 28, "A", 0),
        _header(32, 28, "A", (1 << 64) - 8),
        _table("needs", 12, 0),
        _table("needs", 8, 0),
        _table("needs", 48 + 12, (1 << 32) - 48),
        _table("needs", 16 + 12, (1 << 32) - 16),
        _table("definitions", 16, (1 << 32) - 20),
        _table("definitions", 12, (1 << 32) - 20),
        _table("gnu hash", 0, 0xFFFFFFFF),
        _table("gnu hash", 4, 0xFFFFFFFF),
        _table("gnu hash", 8, 0xFFFFFFFF),
        _table("gnu hash", 16, 0xFFFFFFFF),
        lambda image: image.poke_tag(5, 0x10000),
        lambda image: image.poke_tag(6, 0x10000 + image.at["dynamic"]),
        lambda image: image.poke_tag(10, 0xFFFFFFFF),
        lambda image: image.bytes[:100],
    ],
)
@pytest.mark.parametrize(("bits", "order"), [(64, "<"), (32, ">")])
def test_tables_that_lie(lie: Lie, bits: int, order: str, tmp_path: Path, capsys: Capture) -> None:
    """2^32 sections, extended numbering, chains in circles, hash tables without end, tables over one another."""
    wheel = make_wheel(tmp_path, {"demo/broken.so": lie(full_elf(bits, order)), "demo/ext.so": libc_extension()})
    code, said = judge_both(capsys, tmp_path, wheel)
    assert code == SUCCESS or "demo/broken.so" in said


def _first_section_size(image: Image, size: int) -> bytes:
    """``sh_size`` of the first section header: how many there are, where the header says none (gABI, chapter 4)."""
    wide = image.elf.bits == 64
    start = struct.unpack_from(image.elf.order + ("Q" if wide else "I"), image.bytes, 40 if wide else 32)[0]
    limit = (1 << image.elf.bits) - 1
    return poke(image.bytes, start + (32 if wide else 20), image.elf.order + ("Q" if wide else "I"), min(size, limit))


def measured(*arguments: object) -> tuple[int, int, str]:
    """Exit code, peak memory in MiB, and what is said, of a process of its own."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True, text=True);"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10);"
        "print(done.stdout, done.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command(*arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(PYTHONPATH=str(Path(portable_backend.__file__).parents[1])),  # with what is compiled
    )
    first, _, said = done.stdout.partition("\n")
    exit_code, peak = first.split()
    return int(exit_code), int(peak), said


HOLE = 300 << 20


def sparse_wheel(tmp_path: Path, content: bytes, tail: Optional[bytes] = None) -> Path:
    """A wheel with a native file that is ``content``, then a hole of zeros, then ``tail``: stored, and sparse."""
    tail = b"" if tail is None else tail
    name = "demo/ext.so"
    zeros, crc = bytes(1 << 20), zlib.crc32(content)
    for _ in range(HOLE >> 20):
        crc = zlib.crc32(zeros, crc)
    crc, size = zlib.crc32(tail, crc), len(content) + HOLE + len(tail)
    files = {f"{DIST_INFO}/METADATA": b"x\n", f"{DIST_INFO}/WHEEL": wheel_text(X86_NAME)}
    record = record_text(files, DIST_INFO) + f"{name},,\n".encode()
    big = Part(name.encode(), b"", 0, packed=content, local_size=size, local_packed=size, local_crc=crc)
    big.central_size, big.central_packed, big.central_crc = size, size, crc
    rest = [Part(each.encode(), data) for each, data in {**files, f"{DIST_INFO}/RECORD": record}.items()]
    path = tmp_path / X86_NAME
    grown = HOLE + len(tail)
    front = 30 + len(name) + len(content)
    for part, offset in zip(rest, _offsets([big, *rest])[1:]):
        part.central_offset = offset + grown
    whole = bytearray(Archive([big, *rest]).bytes())
    struct.pack_into("<I", whole, len(whole) - 6, struct.unpack_from("<I", whole, len(whole) - 6)[0] + grown)
    with path.open("wb") as file:
        file.write(whole[:front])
        file.seek(HOLE, os.SEEK_CUR)
        file.write(tail + whole[front:])
    return path


def _offsets(parts: list[Part]) -> list[int]:
    archive = Archive(parts)
    archive.bytes()
    return [archive.offsets[part.name] for part in parts]


@pytest.mark.skipif(elf.IMPLEMENTATION != "native", reason="the compiled scanner is not built")
@pytest.mark.parametrize("kind", ["tables at the beginning", "tables at the end", "string table of all of it"])
def test_native_file_that_is_mostly_zeros(kind: str, tmp_path: Path) -> None:
    """Hundreds of megabytes of which a few pages say something: they are not kept."""
    image = full_elf(64, "<")
    content, tail = image.bytes, None
    if kind == "tables at the end":
        # All but the headers moves behind the hole; the load segment then begins there.
        at, tail = image.at["segments"], image.bytes
        moved = bytearray(image.bytes)
        for index in range(struct.unpack_from("<H", moved, 56)[0]):
            offset = struct.unpack_from("<Q", moved, at + 56 * index + 8)[0]
            struct.pack_into("<Q", moved, at + 56 * index + 8, offset + len(moved) + HOLE)
        content = bytes(moved)
    elif kind == "string table of all of it":
        load = image.at["segment 0x1"]
        content = poke(image.poke_tag(10, HOLE - (1 << 20)), load + 32, "<QQ", HOLE, HOLE)
    wheel = sparse_wheel(tmp_path, content, tail)
    code, peak, said = measured("audit", wheel)
    assert code == NOT_COMPLIANT  # its RECORD has no hash of the file, lest the test take longer
    assert "malformed ELF" not in said
    assert "has no hash of demo/ext.so" in said
    # A table is kept whole, be it zeros; the rest of the file is not.
    assert peak < (150 if kind != "string table of all of it" else 150 + (HOLE >> 20)), peak
