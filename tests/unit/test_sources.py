"""Sdists, as an interpreter without PEP 706's data filter unpacks them."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path
from typing import Optional

import pytest

from portable_backend.errors import WheelError
from portable_backend.sources import opened_source


@pytest.fixture(autouse=True)
def old_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)


def archive(directory: Path, *members: tuple[str, bytes, Optional[str]]) -> str:
    """An sdist of files, and of links where the kind is given with the target as ``symbolic:…`` or ``hard:…``."""
    path = directory / "x-1.tar.gz"
    with tarfile.open(path, "w:gz") as target:
        for name, content, link in (("x-1/pyproject.toml", b"", None), *members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if link is not None:
                kind, _, info.linkname = link.partition(":")
                info.type = {"symbolic": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}[kind]
            target.addfile(info, io.BytesIO(content))
    return str(path)


def test_files_and_links_inside_are_kept(tmp_path: Path) -> None:
    text = archive(
        tmp_path, ("x-1/a.c", b"int a;", None), ("x-1/b.c", b"", "symbolic:a.c"), ("x-1/c.c", b"", "hard:x-1/a.c")
    )
    with opened_source(text, sys.executable, lambda line: None) as source:
        assert [(source / name).read_text() for name in ("a.c", "b.c", "c.c")] == ["int a;"] * 3


@pytest.mark.parametrize(
    "members",
    [
        [("x-1/l", b"", "symbolic:/etc")],
        [("x-1/l", b"", "symbolic:../..")],
        [("x-1/l", b"", "hard:../../etc/passwd")],
        [("x-1/d", b"", "device:")],
        # By its text the second stays inside; through the first it does not.
        [("x-1/d/up", b"", "symbolic:.."), ("x-1/d/out", b"", "symbolic:up/../../y")],
    ],
)
def test_what_could_lead_out_is_refused(tmp_path: Path, members: list[tuple[str, bytes, Optional[str]]]) -> None:
    with pytest.raises(WheelError), opened_source(archive(tmp_path, *members), sys.executable, lambda line: None):
        pass
