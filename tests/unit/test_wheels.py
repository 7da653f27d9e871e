"""Names, RECORD and the writer of archives."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from wheel_maker import X86_NAME, environment, libc_extension, make_wheel, record_text

from portable_backend.errors import OutputError, WheelError
from portable_backend.targets import Arch
from portable_backend.wheels import arch_of_name, open_wheel, parse_wheel_name
from portable_backend.wheels.inflating import WholeInflater
from portable_backend.wheels.writing import NewMember, canonical_order, write_archive, writing


@pytest.mark.parametrize(
    ("filename", "platforms", "tags"),
    [
        ("demo-1.0-py3-none-any.whl", ("any",), ("py3-none-any",)),
        ("a_b-1.0+local.1-7x-cp311-abi3-linux_x86_64.whl", ("linux_x86_64",), ("cp311-abi3-linux_x86_64",)),
        ("demo-1!2.0.post1-py2.py3-none-a_1.b_2.whl", ("a_1", "b_2"),
         ("py2-none-a_1", "py2-none-b_2", "py3-none-a_1", "py3-none-b_2")),
        ("d\u00e9mo-1.0-py3-none-any.whl", ("any",), ("py3-none-any",)),
    ],
)  # fmt: skip
def test_names(filename: str, platforms: tuple[str, ...], tags: tuple[str, ...]) -> None:
    name = parse_wheel_name(filename)
    assert (str(name), name.platforms, name.tags) == (filename, platforms, tags)


def test_build_tag() -> None:
    name = parse_wheel_name("demo-1.0-12abc-cp311-cp311-linux_x86_64.whl")
    assert name.build == "12abc"
    assert str(name.with_platforms(["b", "a"])) == "demo-1.0-12abc-cp311-cp311-b.a.whl"


@pytest.mark.parametrize(
    "filename",
    ["", ".whl", "demo", "demo-1.0.whl", "demo-1.0-py3-none.whl", "demo-1.0-x1-py3-none-any.whl",
     "a/b-1.0-py3-none-any.whl",
     "demo-1.0-py3-none-any.WHL", "demo--py3-none-any.whl", "demo-1.0-py3-none-any.whl\n", "a\\b-1.0-py3-none-any.whl"],
)  # fmt: skip
def test_no_names(filename: str) -> None:
    with pytest.raises(WheelError):
        parse_wheel_name(filename)


@pytest.mark.parametrize(
    ("platforms", "arch"),
    [("linux_aarch64", Arch.AARCH64), ("manylinux2014_i686", Arch.I686), ("manylinux_2_17_ppc64", Arch.PPC64),
     ("manylinux_2_17_ppc64le", Arch.PPC64LE), ("musllinux_1_2_armv7l.linux_armv7l", Arch.ARMV7L)],
)  # fmt: skip
def test_arch_of_name(platforms: str, arch: Arch) -> None:
    assert arch_of_name(parse_wheel_name(f"demo-1.0-py3-none-{platforms}.whl")) is arch


def written(members: list[NewMember], timestamp: int = 0, level: int = 6) -> bytes:
    file = io.BytesIO()
    write_archive(file, members, timestamp, level)
    return file.getvalue()


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_archive_can_be_read(level: int) -> None:
    contents = {"a/b.txt": b"x" * 1000, "empty": b"", "\u6587/\u00e9 x": bytes(range(256)), "run": b"#!/bin/sh"}
    data = written([NewMember(name, content, name == "run") for name, content in contents.items()], level=level)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents
        modes = [info.external_attr >> 16 for info in archive.infolist()]
    assert modes == [stat.S_IFREG | (0o755 if name == "run" else 0o644) for name in contents]


def test_archive_can_be_read_by_another_program(tmp_path: Path) -> None:
    """Not just by the module that it is modelled on."""
    tool = subprocess.run(["which", "unzip"], capture_output=True, text=True, check=False).stdout.strip()
    if not tool:
        pytest.skip("unzip is not installed")
    path = tmp_path / "a.zip"
    path.write_bytes(written([NewMember("\u6587/x", b"y" * 100)]))
    assert subprocess.run([tool, "-tqq", str(path)], check=False).returncode == 0


def test_members_are_copied_compressed(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, {"demo/data": os.urandom(100) * 50})
    with open_wheel(path) as wheel:
        raw = wheel.raw("demo/data")
        data = written([NewMember("other/name", raw, digest="sha256=x")])
        compressed = b"".join(raw.chunks())
        content = wheel.read("demo/data")
    assert compressed in data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("other/name") == content


def test_large_member_gets_wide_fields() -> None:
    """More than 4 GiB in a member, without having them: the data are a hole (sparse) in a file."""
    from portable_backend.wheels import RawMember

    class Hole(io.RawIOBase):
        def seek(self, offset: int, whence: int = 0) -> int:
            return offset

        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    class Meter(io.RawIOBase):
        """Keeps what is not zeros by the megabyte."""

        def __init__(self) -> None:
            super().__init__()
            self.kept: list[bytes] = []

        def write(self, data: object) -> int:
            content = bytes(data)  # type: ignore[call-overload]
            if len(content) < 1 << 20:
                self.kept.append(content)
            return len(content)

    size = (4 << 30) + (1 << 20)
    meter = Meter()
    member = NewMember("big", RawMember(Hole(), 0, size, size, 0, zipfile.ZIP_STORED), digest="sha256=x")  # type: ignore[arg-type]
    write_archive(meter, [member, NewMember("next", b"x")], 0, 0)  # type: ignore[arg-type]
    local, directory = meter.kept[0], b"".join(meter.kept[1:])
    assert local[-20:] == (1).to_bytes(2, "little") + (16).to_bytes(2, "little") + size.to_bytes(8, "little") * 2
    assert b"PK\x06\x06" in directory
    assert (len(local) + size).to_bytes(8, "little") in directory  # where the next member lies


def test_record() -> None:
    members = [NewMember("b", b"two"), NewMember('a "quoted", name', b""), NewMember("\u6587", b"x")]
    contents = {member.name: member.content for member in members}
    file = io.BytesIO()
    write_archive(file, members, 0, record_in="d-1.dist-info")
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist()[-1] == "d-1.dist-info/RECORD"
        assert archive.read("d-1.dist-info/RECORD") == record_text(contents, "d-1.dist-info")  # type: ignore[arg-type]


def test_order_puts_metadata_last() -> None:
    names = ["d-1.dist-info/WHEEL", "z", "d-1.dist-info/A", "d-1.dist-info.py", "a/b", "a"]
    ordered = [member.name for member in canonical_order([NewMember(name, b"") for name in names], "d-1.dist-info")]
    assert ordered == ["a", "a/b", "d-1.dist-info.py", "z", "d-1.dist-info/A", "d-1.dist-info/WHEEL"]


def test_reading_a_member_checks_it(tmp_path: Path) -> None:
    data = libc_extension()
    path = make_wheel(tmp_path, {"demo/ext.so": data, "demo/text": b"hello"})
    with open_wheel(path) as wheel:
        assert wheel.size("demo/text") == 5
        runs = list(wheel.runs(["demo/text", "demo/ext.so"], 1 << 20))
        assert runs == [["demo/ext.so", "demo/text"]]  # as they lie in the archive
        found = {name: bytes(each) for name, each in wheel.read_run(runs[0], WholeInflater(1 << 20))}
        assert found == {"demo/ext.so": data, "demo/text": b"hello"} == {name: wheel.read(name) for name in runs[0]}
        assert list(wheel.runs(["demo/text", "demo/ext.so"], 1)) == [["demo/ext.so"], ["demo/text"]]


@pytest.mark.parametrize("text", [b"Root-Is-Purelib: true\n", b"Root-Is-Purelib: TRUE \n", b"Wheel-Version: 1.0\n"])
def test_purelib(text: bytes, tmp_path: Path) -> None:
    with open_wheel(make_wheel(tmp_path, {}, X86_NAME, wheel=text)) as wheel:
        assert wheel.root_is_purelib


def test_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "below" / "file"
    with writing(target) as file:
        file.write(b"content")
        assert not target.exists()
    assert target.read_bytes() == b"content"
    assert os.listdir(target.parent) == ["file"]


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), writing(target) as file:
        file.write(b"%d" % (1 // 0))
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_file_without_unnamed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that know no O_TMPFILE get a hidden name until the end."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    target = tmp_path / "file"
    with writing(target) as file:
        file.write(b"new")
        (scratch,) = os.listdir(tmp_path)
        assert scratch.startswith(".file.")
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(ZeroDivisionError), writing(target):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["file"]


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError), writing(tmp_path / "file" / "below"):
        pytest.fail("there is no such place")


def test_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"), writing(tmp_path / ("x" * 300)) as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_file_gets_its_name_in_a_fresh_interpreter(tmp_path: Path) -> None:
    """The name is given by linkat through /proc, which CPython does in its own way in each version."""
    code = (
        "import sys; from pathlib import Path; from portable_backend.wheels.writing import writing\n"
        "with writing(Path(sys.argv[1])) as file: file.write(b'x')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], env=environment(), check=False)
    assert done.returncode == 0
    assert (tmp_path / "f").read_bytes() == b"x"


def test_archive_with_a_comment(tmp_path: Path) -> None:
    """Early maturin's wheels, which the index has, bear the name of the crate that wrote them."""
    path = make_wheel(tmp_path, {"demo/ext.so": libc_extension()})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"zip-rs"
    with open_wheel(path) as wheel:
        assert "demo/ext.so" in wheel.members
    for after in (b"\0", b"PK"):
        path.write_bytes(path.read_bytes() + after)
        with pytest.raises(WheelError), open_wheel(path):
            pass


@pytest.mark.parametrize("odd", [b"", b'\r\n"quoted, name",,', b"\ralone,,"], ids=["plain", "quote", "return"])
def test_lines_of_record_end_in_both_ways(tmp_path: Path, odd: bytes) -> None:
    """Read with and without the csv module, to which the odd ones are left."""

    def windows(text: bytes) -> bytes:
        return text.replace(b"\n", b"\r\n") + b"\r\n" + odd

    files = {"demo.py": b"x", "demo/other.py": b""}
    with (
        open_wheel(make_wheel(tmp_path / "unix", files)) as unix,
        open_wheel(make_wheel(tmp_path / "windows", files, record=windows)) as other,
    ):
        expected = dict(unix.record)
        extra = {path: entry for path, entry in other.record.items() if path not in expected}
        assert {path: other.record[path] for path in expected} == expected
        assert list(extra) == [name for name in ("quoted, name", "alone") if name.encode() in odd]
