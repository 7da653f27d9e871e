"""How far a release is: one live display with ``rich`` on a terminal, lines elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from typing import Any, Optional, Protocol

from ..errors import printable
from .progress import tell

# Seconds after which a release without a terminal says that it is still there.
_SILENCE = 60.0
_WIDTH = 100


class Display(Protocol):
    """Who is told how far a release is."""

    def __enter__(self) -> Display: ...

    def __exit__(self, *error: object) -> None: ...

    def expect(self, total: int) -> None:
        """So many jobs there will be."""

    def note(self, line: str) -> None:
        """Something worth a line of its own."""

    def started(self, label: str) -> None:
        """A job has begun."""

    def said(self, label: str, line: str) -> None:
        """A job is at something."""

    def ended(self, label: str, line: str) -> None:
        """A job has ended, and how."""

    def tick(self) -> None:
        """Time has passed."""


def open_display(quiet: bool) -> Display:
    """The display that fits where standard error goes."""
    if quiet:
        return _Silence()
    if sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
        return _Live()
    return _Lines()


class _Silence:
    def __enter__(self) -> Display:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def expect(self, total: int) -> None:
        self._total = total

    def note(self, line: str) -> None:
        pass

    def started(self, label: str) -> None:
        pass

    def said(self, label: str, line: str) -> None:
        pass

    def ended(self, label: str, line: str) -> None:
        pass

    def tick(self) -> None:
        pass


class _Lines(_Silence):
    """A line for each beginning and end."""

    def __init__(self) -> None:
        self._total = self._done = 0
        self._running: dict[str, float] = {}
        self._said = time.monotonic()

    def note(self, line: str) -> None:
        self._tell(line)

    def started(self, label: str) -> None:
        self._running[label] = time.monotonic()
        self._tell(f"{label}: begun")

    def ended(self, label: str, line: str) -> None:
        self._running.pop(label, None)
        self._done += 1
        self._tell(f"[{self._done}/{self._total}] {label}: {line}")

    def tick(self) -> None:
        if time.monotonic() - self._said > _SILENCE and self._running:
            now = time.monotonic()
            self._tell("at work: " + ", ".join(f"{each} ({now - at:.0f} s)" for each, at in self._running.items()))

    def _tell(self, line: str) -> None:
        self._said = time.monotonic()
        tell(line)


class _Live:
    """One line for each running job, what ended above them."""

    def __init__(self) -> None:
        self._total = self._done = 0
        self._running: dict[str, tuple[float, str]] = {}
        # By name, so that neither importing this nor checking its types needs rich.
        self._text: Any = importlib.import_module("rich.text").Text
        console = importlib.import_module("rich.console").Console(stderr=True, highlight=False)
        self._live: Any = importlib.import_module("rich.live").Live(
            console=console, transient=True, refresh_per_second=4, get_renderable=self._picture
        )

    def __enter__(self) -> Display:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(*error)

    def expect(self, total: int) -> None:
        self._total = total

    def note(self, line: str) -> None:
        self._print(line)

    def started(self, label: str) -> None:
        self._running[label] = (time.monotonic(), "begun")

    def said(self, label: str, line: str) -> None:
        if label in self._running:
            self._running[label] = (self._running[label][0], line)

    def ended(self, label: str, line: str) -> None:
        self._running.pop(label, None)
        self._done += 1
        self._print(f"{label}: {line}")

    def tick(self) -> None:
        pass

    def _print(self, line: str) -> None:
        self._live.console.print(self._text(printable(line)))

    def _picture(self) -> Any:
        now = time.monotonic()
        lines = [f"{self._done} of {self._total} done"]
        lines += [f"  {label}  {now - at:4.0f} s  {said[:_WIDTH]}" for label, (at, said) in self._snapshot()]
        return self._text(printable("\n".join(lines)), no_wrap=True, overflow="ellipsis")

    def _snapshot(self) -> list[tuple[str, tuple[float, str]]]:
        """The refreshing happens in a thread of rich's own."""
        return list(self._running.copy().items())


def first_line(text: str, limit: Optional[int] = 200) -> str:
    """The first line of a message, not too long."""
    return text.partition("\n")[0][:limit]
