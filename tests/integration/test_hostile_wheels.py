"""Wheels made to mislead: each is refused with the documented exit code, in a few lines, and nothing is left behind."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import pytest
from command_line import entries, refuse, run
from wheel_maker import (
    METADATA,
    X86_NAME,
    command,
    environment,
    extension,
    libc_extension,
    make_wheel,
    poke,
    read_members,
    record_text,
    shared,
    wheel_text,
)
from zip_maker import Archive, Part, descriptor

from portable_backend.repairing.apply import repair_wheel
from portable_backend.repairing.plan import RepairOptions

Capture = pytest.CaptureFixture[str]
DIST_INFO = "demo-1.0.dist-info"
SUCCESS, NOT_COMPLIANT, USAGE, SETTINGS, WHEEL, REPAIR, OUTPUT, INTERRUPTED = 0, 1, 2, 3, 7, 8, 9, 130


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of its own for temporary files, which has to be empty again at the end."""
    path = tmp_path / "scratch"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield path
    assert entries(path) == []


def plain_parts() -> list[Part]:
    """The members of a small true wheel with native code."""
    files = {
        "demo/__init__.py": b"",
        "demo/ext.so": libc_extension(),
        f"{DIST_INFO}/METADATA": METADATA,
        f"{DIST_INFO}/WHEEL": wheel_text(X86_NAME),
    }
    files[f"{DIST_INFO}/RECORD"] = record_text(files, DIST_INFO)
    return [Part(name.encode(), data) for name, data in files.items()]


def refuse_both(capsys: Capture, tmp_path: Path, wheel: Path, code: int = WHEEL) -> str:
    """Both commands refuse the wheel alike, leave it as it is, and write nothing."""
    before = wheel.read_bytes() if wheel.is_file() else None
    message = refuse(capsys, code, "audit", wheel)
    assert refuse(capsys, code, "repair", wheel, "-w", tmp_path / "out") != ""
    assert entries(tmp_path / "out") == []
    assert before is None or wheel.read_bytes() == before
    return message


def refuse_archive(capsys: Capture, tmp_path: Path, data: bytes) -> str:
    path = tmp_path / X86_NAME
    path.write_bytes(data)
    return refuse_both(capsys, tmp_path, path)


# --- no zip at all -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x7fELF", b"PK\x05\x06", bytes(5000)])
def test_no_zip(content: bytes, tmp_path: Path, capsys: Capture) -> None:
    assert "zip" in refuse_archive(capsys, tmp_path, content)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(share: float, tmp_path: Path, capsys: Capture) -> None:
    whole = Archive(plain_parts()).bytes()
    refuse_archive(capsys, tmp_path, whole[: int(len(whole) * share)])


def test_missing_file(tmp_path: Path, capsys: Capture) -> None:
    assert "No such file" in refuse_both(capsys, tmp_path, tmp_path / X86_NAME)


def test_pattern_that_the_shell_left_alone(tmp_path: Path, capsys: Capture) -> None:
    said = refuse_both(capsys, tmp_path, tmp_path / "dist" / "*.whl")
    assert "No such file" in said
    assert "no file matches this pattern" in said
    assert "no file matches" not in refuse_both(capsys, tmp_path, tmp_path / "no-wheel")


def test_directory(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / X86_NAME).mkdir()
    assert "directory" in refuse_both(capsys, tmp_path, tmp_path / X86_NAME)


@pytest.mark.parametrize(
    "name",
    [
        "demo.whl",
        "demo-1.0.whl",
        "demo-1.0-cp311-cp311.whl",
        "demo-1.0-cp311-cp311-linux_x86_64.zip",
        "demo-1.0-x-cp311-cp311-linux_x86_64.whl",
        "demo-1.0-1-cp311-cp311-linux_x86_64-x.whl",
        "demo 1-1.0-cp311-cp311-linux_x86_64.whl",
        "-1.0-cp311-cp311-linux_x86_64.whl",
        "demo-1.0-cp311-cp311-linux_x86_64.whl.part",
    ],
)
def test_no_wheel_name(name: str, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()}).rename(tmp_path / name)
    assert "not the file name of a wheel" in refuse_both(capsys, tmp_path, wheel)


def test_endless_name_is_parsed_at_once(tmp_path: Path, capsys: Capture) -> None:
    start = time.monotonic()
    refuse(capsys, WHEEL, "audit", "-".join(["0" * 40] * 4000) + "!")
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("platform_tag", ["win_amd64", "macosx_11_0_arm64", "manylinux1_x86_64.win32"])
def test_other_systems(platform_tag: str, tmp_path: Path, capsys: Capture) -> None:
    name = f"demo-1.0-cp311-cp311-{platform_tag}.whl"
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()}, name)
    assert "only wheels for Linux" in refuse_both(capsys, tmp_path, wheel, USAGE)


# --- names of members --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"../evil.py", "leaves the root"),
        (b"demo/../../evil.py", "leaves the root"),
        (b"demo/..", "leaves the root"),
        (b"/etc/evil", "absolute"),
        (b"//etc/evil", "absolute"),
        (b"C:/evil.py", "absolute"),
        (b"c:evil.py", "absolute"),
        (b"demo\\evil.py", "backslash"),
        (b"..\\evil.py", "backslash"),
        (b"demo/ev\0il.py", "control character"),
        (b"demo/evil.py\0.txt", "control character"),
        (b"demo/ev\nil.py", "control character"),
        (b"demo/\x1b[2Jevil.py", "control character"),
        (b"demo//evil.py", "normal form"),
        (b"./evil.py", "normal form"),
        (b"demo/./evil.py", "normal form"),
        (b"", "normal form"),
        (b"/", "absolute"),
        (b"../", "leaves the root"),
    ],
)
def test_member_names(name: bytes, reason: str, tmp_path: Path, capsys: Capture) -> None:
    message = refuse_archive(capsys, tmp_path, Archive([Part(name, b"x = 1\n"), *plain_parts()]).bytes())
    assert reason in message
    assert "\x1b" not in message


def test_name_that_is_not_utf8(tmp_path: Path, capsys: Capture) -> None:
    refuse_archive(capsys, tmp_path, Archive([Part(b"demo/\xff.py"), *plain_parts()]).bytes())


def test_second_name_in_an_extra_field(tmp_path: Path, capsys: Capture) -> None:
    """The Unicode path field (0x7075): some readers go by it, others by the name in the header."""
    name = b"demo/innocent.py"
    extra = b"\x01" + struct.pack("<I", zlib.crc32(name)) + b"../evil.py"
    extra = struct.pack("<HH", 0x7075, len(extra)) + extra
    parts = [Part(name, b"x = 1\n", local_extra=extra, central_extra=extra), *plain_parts()]
    assert "name" in refuse_archive(capsys, tmp_path, Archive(parts).bytes())


@pytest.mark.parametrize("again", [b"demo/__init__.py", b"demo/ext.so", f"{DIST_INFO}/RECORD".encode()])
def test_duplicate_names(again: bytes, tmp_path: Path, capsys: Capture) -> None:
    message = refuse_archive(capsys, tmp_path, Archive([*plain_parts(), Part(again, b"other")]).bytes())
    assert "twice" in message


def test_file_that_is_a_directory_too(tmp_path: Path, capsys: Capture) -> None:
    parts = [Part(b"demo/__init__.py/evil.py", b"x = 1\n"), *plain_parts()]
    assert "directory" in refuse_archive(capsys, tmp_path, Archive(parts).bytes())


# --- two readers, two archives -----------------------------------------------------------------------------------

Tamper = Callable[[Part], None]


MAX32 = 0xFFFFFFFF
#: Both sizes of the native file as ZIP64 has them (APPNOTE 4.5.3): true as long as it is stored.
WIDE = struct.pack("<2H2Q", 1, 16, len(libc_extension()), len(libc_extension()))


def _set(**values: object) -> Tamper:
    def tamper(part: Part) -> None:
        for name, value in values.items():
            setattr(part, name, value)

    return tamper


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (_set(local_name=b"demo/__main__.py"), "contradicts"),
        (_set(local_method=0), "contradicts"),
        (_set(local_crc=1), "contradicts"),
        (_set(local_size=3), "contradicts"),
        (_set(local_packed=1), "contradicts"),
        (_set(local_packed=0xFFFFFFFF), "contradicts"),
        (_set(local_size=0xFFFFFFFF), "contradicts"),
        (_set(local_flags=0x801), "contradicts"),
        (_set(local_flags=0), "contradicts"),
        (_set(local_flags=0x808), "contradicts"),
        (_set(signature=b"PK\x01\x02"), "local header"),
        (_set(flags=0x801), "encrypted"),
        (_set(flags=0x840), "encrypted"),
        (_set(flags=0x2800), "encrypted"),
        (_set(flags=0x820), "patched data"),
        (_set(method=12), "method 12"),
        (_set(method=99), "method 99"),
        (_set(central_crc=1, local_crc=1), "demo/ext.so"),
        (_set(central_offset=1 << 30), "no member"),
        (_set(behind=b"hidden"), "belong to no member"),
        (_set(local_extra=WIDE * 2, local_size=MAX32, local_packed=MAX32, method=0), "two extra fields"),
        (_set(local_extra=WIDE + b"\x01\0\0\0"), "two extra fields"),
        (_set(central_extra=WIDE * 2), "two extra fields"),
        (_set(central_extra=b"\x01\0\xff\xff"), "an extra field of a member is longer"),
        (_set(central_extra=WIDE + b"\xfe\xca\x01\0"), "an extra field of a member is longer"),
        (_set(local_extra=WIDE[:-9], local_size=MAX32, local_packed=MAX32), "contradicts"),
        (_set(central_extra=WIDE[:4], central_size=MAX32), "not a zip archive"),
        (_set(central_extra=WIDE, central_size=MAX32, central_packed=MAX32, central_offset=MAX32), "not a zip archive"),
        (_set(flags=0x808, local_crc=0, local_size=0, local_packed=0), "descriptor"),
        (_set(flags=0x808, behind=descriptor(b"other", 3)), "descriptor"),
    ],
)
def test_headers_that_disagree(tamper: Tamper, reason: str, tmp_path: Path, capsys: Capture) -> None:
    parts = plain_parts()
    tamper(parts[1])
    assert reason in refuse_archive(capsys, tmp_path, Archive(parts).bytes())


def test_streamed_members_are_fine(tmp_path: Path, capsys: Capture) -> None:
    """Archives written to a pipe have their sizes behind the data; that is no disagreement."""
    raw, stream = io.BytesIO(), io.BytesIO()

    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            return raw.write(data)  # type: ignore[arg-type]

    del stream
    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for part in plain_parts():
            archive.writestr(part.name.decode(), part.data)
    path = tmp_path / X86_NAME
    path.write_bytes(raw.getvalue())
    assert run(capsys, "audit", path).code == SUCCESS


@pytest.mark.parametrize("inner", [b"x = 1\n", b"x" * 9 + descriptor(b"x", 1) + b"PK\x03\x04" + bytes(26)])
def test_streamed_member_that_is_stored(inner: bytes, tmp_path: Path, capsys: Capture) -> None:
    """Who reads from a pipe cannot tell where its bytes end, and may take some of them for other members."""
    stored = Part(b"demo/data", inner, method=0, flags=0x808, behind=descriptor(inner, len(inner)))
    told = Archive([stored, *plain_parts()]).bytes()
    stored.local_crc = stored.local_size = stored.local_packed = 0
    message = refuse_archive(capsys, tmp_path, Archive([stored, *plain_parts()]).bytes())
    assert "demo/data: only the directory says where its bytes end" in message
    (tmp_path / X86_NAME).write_bytes(told)
    assert "not list demo/data" in run(capsys, "audit", tmp_path / X86_NAME).out  # read, with sizes in its header


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (Archive([], before=b"#!/bin/sh\n"), "no member"),
        (Archive([], between=b"hidden"), "no member"),
        (Archive([], comment=b"a comment with PK in it"), "end of the archive"),
        (Archive([], after=b"trailing"), "archive"),
        (Archive([], count=3), "end of the archive"),
    ],
)
def test_bytes_of_no_member(archive: Archive, reason: str, tmp_path: Path, capsys: Capture) -> None:
    archive.parts = plain_parts()
    assert reason in refuse_archive(capsys, tmp_path, archive.bytes())


def test_second_directory_in_the_comment(tmp_path: Path, capsys: Capture) -> None:
    inner = Archive(plain_parts()).bytes()
    refuse_archive(capsys, tmp_path, Archive(plain_parts(), comment=inner).bytes())


def test_overlapping_members(tmp_path: Path, capsys: Capture) -> None:
    parts = plain_parts()
    whole = Archive(parts).bytes()
    kernel = Part(b"demo/bomb", parts[1].data, central_offset=whole.index(b"PK\x03\x04", 10))
    refuse_archive(capsys, tmp_path, Archive([*parts, kernel]).bytes())


def test_two_names_for_the_same_bytes(tmp_path: Path, capsys: Capture) -> None:
    parts = plain_parts()
    archive = Archive(parts)
    archive.bytes()
    twin = Part(b"demo/twin.so", parts[1].data, central_offset=archive.offsets[b"demo/ext.so"])
    assert "overlap" in refuse_archive(capsys, tmp_path, Archive([*parts, twin]).bytes())


@pytest.mark.parametrize("declared", [10, 100_000])
def test_data_of_another_size_than_declared(declared: int, tmp_path: Path, capsys: Capture) -> None:
    """The data inflate to more or less than both headers say, and the checksum is that of the shorter."""
    parts = plain_parts()
    data = bytes(range(256)) * 8
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    crc = zlib.crc32(data[:declared])
    lying = Part(b"demo/data", data, packed=packed, central_size=declared, local_size=declared)
    lying.central_crc = lying.local_crc = crc
    assert "demo/data" in refuse_archive(capsys, tmp_path, Archive([lying, *parts]).bytes())


def test_data_behind_the_end_of_the_stream(tmp_path: Path, capsys: Capture) -> None:
    data = b"x = 1\n" * 100
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush() + b"hidden"
    assert "demo/data" in refuse_archive(
        capsys, tmp_path, Archive([Part(b"demo/data", data, packed=packed), *plain_parts()]).bytes()
    )


def test_damaged_deflate_stream(tmp_path: Path, capsys: Capture) -> None:
    part = Part(b"demo/data", b"x" * 100, packed=b"\xff" * 40)
    assert "demo/data" in refuse_archive(capsys, tmp_path, Archive([part, *plain_parts()]).bytes())


def test_zip_bomb(tmp_path: Path, capsys: Capture) -> None:
    start = time.monotonic()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(1 << 20)
    size = 256 << 20
    packed = b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()
    crc = 0
    part = Part(b"demo/bomb", b"", packed=packed, central_size=size, local_size=size, central_crc=crc, local_crc=crc)
    message = refuse_archive(capsys, tmp_path, Archive([part, *plain_parts()]).bytes())
    assert "inflates" in message
    assert time.monotonic() - start < 10


def test_bomb_of_many_members(tmp_path: Path, capsys: Capture) -> None:
    """Each member is small enough by itself."""
    parts = plain_parts()
    size = 48 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(size)) + packer.flush()
    bombs = [Part(b"demo/%d" % n, packed=packed, central_size=size, local_size=size) for n in range(100)]
    start = time.monotonic()
    message = refuse_archive(capsys, tmp_path, Archive([*bombs, *parts]).bytes())
    assert "inflate" in message
    assert time.monotonic() - start < 5


# --- dist-info ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["WHEEL", "METADATA", "RECORD"])
def test_missing_metadata(missing: str, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()}, drop=[missing])
    assert f"{DIST_INFO}/{missing} is missing" in refuse_both(capsys, tmp_path, wheel)


def test_no_dist_info(tmp_path: Path, capsys: Capture) -> None:
    assert ".dist-info" in refuse_archive(capsys, tmp_path, Archive([Part(b"demo/__init__.py")]).bytes())


def test_empty_archive(tmp_path: Path, capsys: Capture) -> None:
    assert ".dist-info" in refuse_archive(capsys, tmp_path, Archive([]).bytes())


def test_two_dist_infos(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension(), "other-1.dist-info/METADATA": b""})
    assert "exactly one" in refuse_both(capsys, tmp_path, wheel)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (lambda text: text.replace(b"sha256=", b"sha256=A", 1), "digest"),
        (lambda text: text.replace(b",", b",md5=", 1).replace(b"md5=sha256=", b"md5="), "SHA-2"),
        (lambda text: text.replace(b"demo/ext.so", b"demo/gone.so"), "demo/gone.so, which is not in the archive"),
        (lambda text: text[text.index(b"\n") + 1 :], "does not list demo/ext.so"),
        (lambda text: text + text[: text.index(b"\n") + 1], "again"),
        (lambda text: text + b"a,b\n", "2 fields"),
        (lambda text: text + b"a,sha256=b,c,d\n", "4 fields"),
        (lambda text: text + b"a,sha256=b,-1\n", "size"),
        (lambda text: text + b"a,sha256=b,1e3\n", "size"),
        (lambda text: text + b"a,sha256,3\n", "SHA-2"),
        (lambda text: text + b"\xff,sha256=b,3\n", "UTF-8"),
        (lambda text: text + b'"' + b"a" * 200_000 + b'",sha256=b,3\n', "RECORD"),
        (lambda text: text + b"a\0b,sha256=b,3\n", "RECORD"),
        (lambda text: text + b'"unbalanced,sha256=b,3\n', "RECORD"),
        (lambda text: text + b"../../evil,sha256=b,3\n", "not in the archive"),
        (lambda text: b"", "does not list"),
    ],
)
def test_record_that_lies(record: Callable[[bytes], bytes], reason: str, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()}, record=record)
    outcome = run(capsys, "audit", wheel)
    assert outcome.code in (NOT_COMPLIANT, WHEEL)
    assert reason in outcome.out + outcome.err
    assert reason in refuse(capsys, WHEEL, "repair", wheel, "-w", tmp_path / "out")
    assert entries(tmp_path / "out") == []


def test_size_in_record_that_lies(tmp_path: Path, capsys: Capture) -> None:
    data = libc_extension()
    change = lambda text: text.replace(b",%d\n" % len(data), b",%d\n" % (len(data) + 1))  # noqa: E731
    wheel = make_wheel(tmp_path, {"demo/ext.so": data}, record=change)
    assert f"has {len(data)}" in refuse(capsys, WHEEL, "repair", wheel, "-w", tmp_path / "out")


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"", b"Wheel-Version: 1.0\n", b"\n\n\n", b"Root-Is-Purelib: caf\xc3\xa9\n"]
)
def test_wheel_file_without_sense(text: bytes, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()}, wheel=text)
    refuse(capsys, WHEEL, "repair", wheel, "-w", tmp_path / "out")
    assert entries(tmp_path / "out") == []


def test_symlink_members_are_reported_and_never_followed(tmp_path: Path, capsys: Capture) -> None:
    files = {"demo/ext.so": libc_extension(), "demo/link.py": b"/etc/passwd"}
    wheel = make_wheel(tmp_path, files, modes={"demo/link.py": 0o120777})
    assert "demo/link.py: is a symbolic link" in run(capsys, "audit", wheel).out
    assert run(capsys, "repair", wheel, "-w", tmp_path / "out").code == SUCCESS
    (result,) = (tmp_path / "out").iterdir()
    assert read_members(result)["demo/link.py"] == b"/etc/passwd"
    with zipfile.ZipFile(result) as archive:
        assert archive.getinfo("demo/link.py").external_attr >> 16 == 0o100644


# --- native files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF",
        b"\x7fELF" + bytes(60),
        libc_extension()[:100],
        libc_extension()[:-600],
        poke(libc_extension(), 32, "<Q", 1 << 40),
        poke(libc_extension(), 56, "<H", 60000),
    ],
    ids=["magic", "zeros", "headers", "end", "far headers", "many headers"],
)
@pytest.mark.parametrize("name", ["demo/ext.so", "demo/data.bin", "demo/module.py"])
def test_malformed_elf(data: bytes, name: str, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {name: data, "demo/good.so": libc_extension(module="good")})
    outcome = run(capsys, "audit", wheel)
    assert outcome.code == NOT_COMPLIANT
    assert f"{name}: malformed ELF at byte" in outcome.out
    assert f"{name}: malformed ELF at byte" in refuse(capsys, WHEEL, "repair", wheel, "-w", tmp_path / "out")
    assert entries(tmp_path / "out") == []


def test_library_nowhere_to_be_found(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension(needed=["libnowhere.so.7"])})
    message = refuse(capsys, REPAIR, "repair", wheel, "-w", tmp_path / "out")
    assert "demo/ext.so needs libnowhere.so.7" in message
    assert "--ldpaths" in message
    assert entries(tmp_path / "out") == []


def test_damaged_library_on_the_machine(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libbad.so.1").write_bytes(shared()[:200])
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension(needed=["libbad.so.1"])})
    arguments = "repair", wheel, "-w", tmp_path / "out", "--ldpaths", tmp_path / "lib"
    assert "libbad.so.1: cannot be grafted" in refuse(capsys, REPAIR, *arguments)
    assert entries(tmp_path / "out") == []


def test_names_in_elf_files_reach_no_terminal(tmp_path: Path, capsys: Capture) -> None:
    needed = ["lib\x1b[2J\x1b]0;evil\x07.so", "lib\udcff.so"]
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension(needed=needed)})
    outcome = run(capsys, "audit", wheel)
    assert outcome.code == SUCCESS
    assert "\x1b" not in outcome.out
    assert "\x07" not in outcome.out
    assert "[2J" in outcome.out
    assert "\x1b" not in refuse(capsys, REPAIR, "repair", wheel, "-w", tmp_path / "out")


_FORGED = "lib\n  claims manylinux_2_17_x86_64: true\n::error::x##[error]y\r\x1b[2J\u202e\x9b31m.so"


@pytest.mark.parametrize("more", [(), ("-v",), ("--explain",), ("--diff",), ("--json",)])
@pytest.mark.parametrize("github", [False, True])
def test_names_in_elf_files_begin_no_line(
    more: tuple[str, ...], github: bool, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if github:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    else:
        monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    module = libc_extension(f"GLIBC_2.34{_FORGED}", needed=[_FORGED], runpath=_FORGED)
    wheel = make_wheel(tmp_path, {"demo/ext.so": module})
    wheels = [wheel, make_wheel(tmp_path / "other", {"demo/ext.so": libc_extension()})] if "--diff" in more else [wheel]
    outcome = run(capsys, "audit", *more, *wheels)
    said = outcome.out + outcome.err
    assert "[2J" in said
    assert all(line.isprintable() for line in said.split("\n"))
    assert not any(line.startswith(("  claims manylinux", "::error::x")) for line in said.split("\n"))
    assert not github or "##[" not in said
    if github and not more:
        assert "claims manylinux_2_17" not in (tmp_path / "summary").read_text()


def test_names_in_elf_files_begin_no_line_of_an_error(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension(needed=[_FORGED])})
    said = refuse(capsys, REPAIR, "repair", wheel, "-w", tmp_path / "out")
    assert "\\n  claims" in said
    assert not any(line.startswith(("  claims", "::")) for line in said.splitlines())


@pytest.mark.parametrize("part", ["\x1b[2J", "\u202e", "\x9b", "\udcff"])
def test_a_wheel_whose_name_gives_orders_is_refused(part: str, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()})
    named = wheel.rename(tmp_path / f"demo-1.0+{part}-cp311-cp311-linux_x86_64.whl")
    said = refuse(capsys, WHEEL, "audit", named)
    assert said.replace("\n", "").isprintable()
    assert "not the file name of a wheel" in said


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_terminal_can_show_a_verdict(encoding: str, tmp_path: Path) -> None:
    files = {"d\u00e9mo/ext.so": libc_extension("GLIBC_2.28", needed=["lib\udcff\u4e00.so"])}
    wheel = make_wheel(tmp_path, files)
    done = subprocess.run(
        command("audit", "-v", wheel), capture_output=True, check=False, env=environment(PYTHONIOENCODING=encoding)
    )
    assert done.returncode == SUCCESS, done.stderr
    assert b"GLIBC_2.28" in done.stdout


# --- what cannot be had ------------------------------------------------------------------------------------------


def test_symbol_too_recent_for_the_target(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension("GLIBC_2.28")})
    message = refuse(capsys, NOT_COMPLIANT, "repair", wheel, "--plat", "manylinux_2_17", "-w", tmp_path / "out")
    assert "demo/ext.so: needs malloc@GLIBC_2.28 of libc.so.6" in message
    assert "cure:" in message
    assert entries(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("manylinux_9_9", SETTINGS),
        ("manylinux2015", SETTINGS),
        ("manylinux_2_17_vax", SETTINGS),
        ("manylinux_2_4", SETTINGS),
        ("linux_x86_64", SETTINGS),
        ("", SETTINGS),
        ("manylinux_2_17_x86_64; rm -rf", SETTINGS),
        ("musllinux_1_2", NOT_COMPLIANT),
        ("manylinux_2_17_aarch64", NOT_COMPLIANT),
    ],
)
def test_target_out_of_reach(target: str, code: int, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()})
    refuse(capsys, code, "repair", wheel, "--plat", target, "-w", tmp_path / "out")
    assert entries(tmp_path / "out") == []


@pytest.mark.parametrize("suffix", ["", "/../evil", "a/b", "x y", "\0"])
def test_suffix_that_leads_elsewhere(suffix: str, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()})
    refuse(capsys, SETTINGS, "repair", wheel, "-L", suffix, "-w", tmp_path / "out")


@pytest.mark.parametrize("level", ["10", "-1", "x"])
def test_level_of_compression_in_the_environment(level: str, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()})
    done = subprocess.run(
        command("repair", wheel, "-w", tmp_path / "out"),
        capture_output=True,
        text=True,
        check=False,
        env={**environment(), "AUDITWHEEL_ZIP_COMPRESSION_LEVEL": level},
    )
    assert done.returncode == USAGE, done.stderr
    assert entries(tmp_path / "out") == []


# --- where the result goes ---------------------------------------------------------------------------------------


def test_file_in_place_of_the_output_directory(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()})
    (tmp_path / "out").write_text("a file")
    assert "cannot be written" in refuse(capsys, OUTPUT, "repair", wheel, "-w", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "a file"


def test_directory_in_place_of_the_result(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()})
    result = tmp_path / "out" / "demo-1.0-cp311-cp311-manylinux1_x86_64.manylinux_2_5_x86_64.whl"
    result.mkdir(parents=True)
    refuse(capsys, OUTPUT, "repair", wheel, "-w", tmp_path / "out")
    assert entries(tmp_path / "out") == [result.name]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of its own kind over a directory, where that is allowed."""
    done: list[Path] = []

    def mount(options: str) -> Path:
        target = tmp_path / "mounted"
        target.mkdir()
        command_line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)]
        try:
            result = subprocess.run(command_line, capture_output=True, check=False)
        except OSError:
            pytest.skip("mount is not installed")
        if result.returncode:
            pytest.skip("mounting is not allowed here")
        done.append(target)
        return target

    yield mount
    for target in done:
        subprocess.run(["umount", str(target)], check=False)


def test_read_only_output_directory(mounted: Callable[[str], Path], tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()})
    target = mounted("ro")
    assert "Read-only" in refuse(capsys, OUTPUT, "repair", wheel, "-w", target)
    assert "Read-only" in refuse(capsys, OUTPUT, "repair", wheel, "-w", target / "below")


def test_full_disk(mounted: Callable[[str], Path], tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension(), "demo/data": os.urandom(2 << 20)})
    target = mounted("size=1m")
    assert "No space left" in refuse(capsys, OUTPUT, "repair", wheel, "-w", target)
    assert entries(target) == []


def test_full_disk_of_a_pure_wheel(mounted: Callable[[str], Path], tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/data": os.urandom(2 << 20)}, "demo-1.0-py3-none-any.whl", purelib=True)
    target = mounted("size=1m")
    assert "No space left" in refuse(capsys, OUTPUT, "repair", wheel, "-w", target)
    assert entries(target) == []


def test_full_temporary_directory(
    mounted: Callable[[str], Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = libc_extension(runpath="/opt/lib") + bytes(2 << 20)
    wheel = make_wheel(tmp_path, {"demo/ext.so": data})
    target = mounted("size=1m")
    monkeypatch.setattr(tempfile, "tempdir", str(target))
    outcome = run(capsys, "repair", wheel, "-w", tmp_path / "out")
    assert outcome.code in (SUCCESS, OUTPUT), outcome  # an editor that needs no temporary file may well succeed
    assert outcome.code == SUCCESS or entries(tmp_path / "out") == []
    assert entries(target) == []


def test_input_is_never_replaced(tmp_path: Path, capsys: Capture) -> None:
    """A wheel that keeps its name is not written over itself unless that changes no byte."""
    name = "demo-1.0-cp311-cp311-manylinux1_x86_64.manylinux_2_5_x86_64.whl"
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension()}, name)
    before = wheel.read_bytes()
    assert "its own input" in refuse(capsys, OUTPUT, "repair", wheel, "-w", tmp_path)
    assert wheel.read_bytes() == before
    assert run(capsys, "repair", wheel, "-w", tmp_path / "out").code == SUCCESS
    result = tmp_path / "out" / name
    before = result.read_bytes()
    assert run(capsys, "repair", result, "-w", tmp_path / "out").code == SUCCESS
    assert result.read_bytes() == before
    assert entries(tmp_path / "out") == [name]


def test_raw_wheel_beside_its_result(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path / "dist", {"demo/ext.so": libc_extension()})
    before = wheel.read_bytes()
    assert run(capsys, "repair", wheel, "-w", tmp_path / "dist").code == SUCCESS
    assert wheel.read_bytes() == before
    assert len(entries(tmp_path / "dist")) == 2


def _writing(process: subprocess.Popen[str], directory: Path) -> bool:
    """Whether a process has a file open below a directory."""
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith(f"{directory}/"):
            return True
    return False


def _stop_while_writing(wheel: Path, out: Path, number: signal.Signals) -> Optional[subprocess.CompletedProcess[str]]:
    """Send a signal to a repair as soon as it has opened its result; ``None`` if it was faster than we."""
    process = subprocess.Popen(
        command("repair", wheel, "-w", out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if out.is_dir() and _writing(process, out):
                process.send_signal(number)
                break
        except FileNotFoundError:
            break
    stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess([], process.returncode, stdout, stderr) if process.returncode else None


def _tells_its_file_system(name: str, out: Path) -> bool:
    """Whether a file had to have a name while it was written; then it is hidden, and the next run removes it."""
    try:
        os.close(os.open(out, os.O_TMPFILE | os.O_RDWR))
    except OSError:
        return name.startswith(".") and name.endswith(".part")
    return False


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems without O_TMPFILE, as NFS."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    wheel, out = make_wheel(tmp_path, {"demo/ext.so": libc_extension()}), tmp_path / "out"
    out.mkdir()
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    stale = out / f".{wheel.name}.{int(ended.stdout)}-0123abcd.part"
    mine = out / f".{wheel.name}.{os.getpid()}-0123abcd.part"
    other = out / ".notes.part"
    for path in (stale, mine, other):
        path.touch()
    repair_wheel(wheel, out, RepairOptions())
    assert (stale.exists(), mine.exists(), other.exists()) == (False, True, True)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_while_writing(number: signal.Signals, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension(), "demo/data": os.urandom(24 << 20)})
    for attempt in range(10):
        out = tmp_path / f"out{attempt}"
        done = _stop_while_writing(wheel, out, number)
        if done is None:  # too late: the result is there and whole
            continue
        left = [name for name in entries(out) if not _tells_its_file_system(name, out)]
        assert left == []
        assert "Traceback" not in done.stderr
        if number == signal.SIGINT:
            assert done.returncode == INTERRUPTED
            assert "interrupted" in done.stderr
        return
    pytest.skip("this machine is too fast to be interrupted")


def test_python_extension_elsewhere(tmp_path: Path, capsys: Capture) -> None:
    """ELF files are known by their first bytes, whatever their names."""
    files = {"demo/a.txt": extension("a", needed=["libnowhere.so"]), "demo/b.so": libc_extension(module="b")}
    outcome = run(capsys, "audit", make_wheel(tmp_path, files))
    assert "demo/a.txt: needs libnowhere.so" in outcome.out
