"""Reports on a terminal: colours, and lines broken between words. Plain text everywhere else.

``rich`` knows the terminal, where it is installed (the extra ``rich``) and somebody looks: standard output is a
terminal, or FORCE_COLOR asks. ``NO_COLOR`` takes the colours away, not the breaking. What is piped is never broken nor
coloured.

Sources: no-color.org and force-color.org for the variables: one that is set but empty counts as not set.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap

_INDENT = re.compile(r" *(?:cure: |warning: )?")
# The first that fits a line gives it its colour.
_STYLES = (
    (re.compile(r"\S.*: (?:manylinux|musllinux)_[0-9_]+\w*$"), "bold green"),
    (re.compile(r"\S.*: (?:linux_\w+|pure Python.*)$"), "bold"),
    (re.compile(r"  claims .*: (?:NOT TRUE|but is broken).*"), "bold red"),
    (re.compile(r"  claims .*: true"), "green"),
    (re.compile(r"    (?:manylinux|musllinux)_.*  true"), "green"),
    (re.compile(r"    (?:manylinux|musllinux)_.*  no.*"), "red"),
    (re.compile(r" *cure: .*"), "green"),
    (re.compile(r"      \$ .*"), "bold cyan"),
    (re.compile(r"  warning: .*"), "yellow"),
    (re.compile(r" {10}.*"), "dim"),
    (re.compile(r" {8}\S+@.*"), "magenta"),
    (re.compile(r"  \S.*:$"), "bold"),
    (re.compile(r"  \+ .*"), "green"),
    (re.compile(r"  - .*"), "red"),
)


def wants_style() -> bool:
    """Whether somebody looks at standard output, or asks to be shown colours all the same."""
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def print_report(text: str) -> None:
    """Print a report: as it is, or in style where that is wanted and can be had."""
    if wants_style():
        try:
            _print_styled(text)
        except ImportError:
            pass
        else:
            return
    print(text)


def style_of(line: str) -> str:
    """The style of a line of a report, as ``rich`` names it; empty for none."""
    return next((style for pattern, style in _STYLES if pattern.fullmatch(line)), "")


def _print_styled(text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    forced, silenced = bool(os.environ.get("FORCE_COLOR")), bool(os.environ.get("NO_COLOR"))
    # Where nobody looks at a terminal there is no width to keep to.
    console = Console(
        highlight=False,
        force_terminal=True if forced else None,
        no_color=silenced,
        width=None if sys.stdout.isatty() else 1 << 16,
    )
    for line in text.splitlines():
        style = style_of(line)
        for part in broken(line, console.width):
            console.print(Text(part, style), soft_wrap=True, crop=False, overflow="ignore")


def broken(line: str, width: int) -> list[str]:
    """A line in parts that fit, broken between words: a name, or a command, is there to be copied in one piece."""
    if len(line) <= width or line.lstrip().startswith("$ "):
        return [line]
    match = _INDENT.match(line)
    hang = " " * (min(len(match[0]) if match else 0, width // 3) + 2)
    return textwrap.wrap(
        line, width, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


__all__ = ["broken", "print_report", "style_of", "wants_style"]
