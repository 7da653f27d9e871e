"""Whether to colour what is printed, and how. Pure: the stream and the environment are given."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "faint": "2"}


def wants_colour(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """``NO_COLOR`` says no, ``FORCE_COLOR`` yes, in this order (no-color.org, force-color.org); else terminals do."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, colour: str, wanted: bool) -> str:
    """``text`` between the codes of a colour (ECMA-48, select graphic rendition), or as it is."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if wanted else text


def paint_error(text: str, wanted: bool) -> str:
    """The lines of an error in the colours of what they are."""
    if not wanted:
        return text
    head, colon, rest = text.partition(" error:")
    text = f"{paint(f'{head}{colon}', 'red', True)}{rest}" if colon else text
    return "\n".join(_paint_start(line) for line in text.split("\n"))


def _paint_start(line: str) -> str:
    indent, word, rest = line.partition("cure:")
    if word and not indent.strip():
        return f"{indent}{paint(word, 'green', True)}{rest}"
    return paint(line, "faint", True) if line.startswith("  see: ") else line
