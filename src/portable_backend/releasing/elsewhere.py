"""Trying a wheel that this machine cannot load: in a container of its target's image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .trials import Module, Tried, Wanted

if TYPE_CHECKING:
    from ..pipeline import Build

Progress = Callable[[str], None]


def try_in_container(
    build: Build,
    source: Path,
    wheel: Path,
    what: Wanted,
    requirements: Sequence[str],
    modules: Sequence[Module],
    reason: str,
    progress: Progress,
) -> Tried:
    """Try a wheel in a container, or say why that is not possible: then it is not tried, and not called good.

    :param reason: why it cannot be tried on this machine.
    :raises TrialFailed: if the wheel does not pass.
    """
    del build, source, wheel, what, requirements, modules
    progress(f"not tried: {reason}")
    return Tried("not run", reason)
