"""Errors that cross processes."""

from __future__ import annotations

import pytest

from portable_backend import errors
from portable_backend.errors import ElfError, PortableBackendError, RepairError, WheelError, error_of_kind
from portable_backend.strategies.container.engine import EngineError


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("TrialFailed", errors.TrialFailed),
        ("ElfError", WheelError),  # it is made of an offset
        ("EditRefused", RepairError),
        ("PortableBackendError", PortableBackendError),
        ("Unheard", PortableBackendError),
        ("annotations", PortableBackendError),
        ("printable", PortableBackendError),
    ],
)
def test_an_error_of_another_process_is_of_its_class_or_of_what_that_refines(
    kind: str, expected: type[PortableBackendError]
) -> None:
    error = error_of_kind(kind, "what", "cure")
    assert (type(error), error.message, error.cure) == (expected, "what", "cure")


def test_a_class_of_another_module_goes_by_the_documented_one() -> None:
    assert EngineError("what").kind == "StrategyBlocked"
    assert ElfError(4, "what").kind == "ElfError"
    assert EngineError("what").address.endswith("/errors/StrategyBlocked/")
