"""The trial of a wheel that is built alone, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from ..frontend import Trial
    from ..pipeline import Build
    from .trials import Tried


class SingleTrial:
    """What the wheel has to pass, and what came of it."""

    def __init__(self, smoke: bool, tests: bool, progress: Callable[[str], None]) -> None:
        self._smoke, self._tests, self._progress = smoke, tests, progress
        self._tried: Optional[Tried] = None

    def make(self, build: Build) -> Optional[Trial]:
        """The trial for a build, ``None`` if nothing is to be tried."""
        if not self._smoke and build.settings.test is None:
            return None
        from .trials import wanted
        from .trying import try_wheel

        what = wanted(build.settings.test, self._smoke, self._tests)
        if what.nothing:
            return None

        def trial(build: Build, source: Path, wheel: Path) -> None:
            self._tried = try_wheel(build, source, wheel, what, self._progress)
            self._progress(f"test {self._tried.status}: {self._tried.detail}")

        return trial

    def data(self) -> dict[str, Any]:
        """For ``--json``; nothing where nothing was tried."""
        return {} if self._tried is None else {"test": self._tried._asdict()}
