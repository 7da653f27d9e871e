"""The scanner under test, once for each of its implementations."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from elf_builder import passed_scan, streamed_scan

from portable_backend import elf, elfscan, elfstream
from portable_backend.elf import ElfFacts

RawScan = Callable[[bytes], tuple[object, ...]]


@pytest.fixture
def native_scan() -> RawScan:
    """The compiled scanner. Where it is not built, a test that needs it is skipped; in CI, it fails."""
    try:
        from portable_backend import _native
    except ImportError as error:
        if os.environ.get("CI"):
            pytest.fail(f"the compiled scanner must be built in CI: {error}")
        pytest.skip(f"the compiled scanner is not built: {error}")
    return _native.scan


@pytest.fixture(params=["native", "python", "streamed", "passed"])
def scan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], ElfFacts]:
    """One implementation of the scanner, dressed as :func:`portable_backend.elf.scan` is.

    ``streamed`` is the compiled one, over a file that comes by in small pieces of which next to nothing is kept;
    ``passed`` as well, but somebody else copies what is wanted.
    """
    if request.param in ("streamed", "passed"):
        request.getfixturevalue("native_scan")
        monkeypatch.setattr(elfstream, "HEAD", 100)
        come_by = streamed_scan if request.param == "streamed" else passed_scan
        return lambda data: come_by(data, 61)
    raw: RawScan = request.getfixturevalue("native_scan") if request.param == "native" else elfscan.scan
    return lambda data: elf.make_facts(raw(data))
