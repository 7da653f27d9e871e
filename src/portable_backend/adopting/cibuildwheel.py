"""cibuildwheel's options, in our words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from ..errors import UsageError


class Translation(NamedTuple):
    """What became of the options.

    :param settings: for ``[tool.portable-backend]``.
    :param commands: command lines that build what the selectors select.
    :param notes: what has no counterpart, and why, a line each.
    """

    settings: Mapping[str, Any]
    commands: tuple[str, ...]
    notes: tuple[str, ...]


def translate(table: Mapping[str, Any], requires_python: Optional[str]) -> Translation:
    """Nothing yet."""
    raise UsageError(f"{len(table)} options of cibuildwheel cannot be translated yet (for Python {requires_python})")


def removable(table: Mapping[str, Any]) -> tuple[str, ...]:
    """All of it."""
    return tuple(table)[:0]
