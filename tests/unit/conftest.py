"""The scanner under test, once for each of its implementations."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Optional

import pytest
from elf_builder import passed_scan, streamed_scan

from portable_backend import elf, elfscan, elfstream
from portable_backend.elf import ElfFacts
from portable_backend.errors import ElfError

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


@pytest.fixture(params=["native", "python", "streamed", "passed", "streamed by", "passed by"])
def scan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], ElfFacts]:
    """One implementation of the scanner, dressed as :func:`portable_backend.elf.scan` is.

    ``streamed`` is the compiled one, over a file that comes by in small pieces of which next to nothing is kept;
    ``passed`` as well, but somebody else copies what is wanted. ``by``: tables that may pass by are not kept.
    """
    if request.param not in ("native", "python"):
        request.getfixturevalue("native_scan")
        monkeypatch.setattr(elfstream, "HEAD", 100)
        come_by = streamed_scan if request.param.startswith("streamed") else passed_scan
        if request.param.endswith("by"):  # tables pass by, however small they are
            monkeypatch.setattr(elfstream, "NAMES", -1)
            monkeypatch.setattr(elfstream, "OTHERS", -1)
            return lambda data: whole_as_well(come_by, data)
        return lambda data: come_by(data, 61)
    raw: RawScan = request.getfixturevalue("native_scan") if request.param == "native" else elfscan.scan
    return lambda data: elf.make_facts(raw(data))


def whole_as_well(come_by: Callable[[bytes, int], ElfFacts], data: bytes) -> ElfFacts:
    """The facts of a file whose tables pass by: those of the whole file, since names of exports cannot be listed."""
    whole, fault = _facts_or_fault(lambda: elf.scan(data))
    found, found_fault = _facts_or_fault(lambda: come_by(data, 61))
    assert found == whole
    assert str(found_fault) == str(fault)
    if fault is not None:
        raise fault
    assert whole is not None
    return whole


def _facts_or_fault(scan: Callable[[], ElfFacts]) -> tuple[Optional[ElfFacts], Optional[ElfError]]:
    try:
        return scan(), None
    except ElfError as error:
        return None, error
