"""What ``init`` changed, written into the file itself as a comment, and put back from it. Pure.

A file beside ``pyproject.toml`` would have to be committed, ignored or lost; the comment travels with the file through
clones, renames and reviews, and shows a reader what stood there before. It holds the lines that were replaced, and of
those that replaced them only a digest, by which they are found again wherever they have moved to. So the rest of the
file may change between ``init`` and ``init --undo``, and is kept::

    # portable-backend init changed lines of this file; `portable-backend init --undo` puts these back. (…)
    # 2 lines with the digest 0f2d1c3b4a596877 stand for:
    #-requires = ["setuptools>=77", "cython"]
    #-build-backend = "setuptools.build_meta"

Behind ``#`` is ``-`` before a line that ends as the comment's own lines do, ``~`` before one that ends the other way
(LF, CR LF), and ``_`` before one that ends with the file.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from typing import Optional

from ..errors import SettingsError
from ..records import NamedTuple

_CHANGED = "# portable-backend init changed lines of this file;"
_MADE = "# portable-backend init made this file;"
_HEADER = " `portable-backend init --undo` puts these back. Delete this comment to keep the change."
_HUNK = re.compile(r"# ([0-9]{1,7}) lines with the digest ([0-9a-f]{16}) (?:stand for:|were added\.)")


class _Hunk(NamedTuple):
    """Lines ``[start, end)`` of one text that lines ``[new_start, new_end)`` of another replaced."""

    start: int
    end: int
    new_start: int
    new_end: int


def split_lines(text: str) -> list[str]:
    """Lines as TOML knows them, each with its end."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def newline_of(text: str) -> str:
    """How the first line of a text ends."""
    return "\r\n" if re.match(r"[^\n]*\r\n", text) else "\n"


def with_memory(original: Optional[str], edited: str) -> str:
    """The edited text with the comment at its end that remembers the original; ``None`` where there was no file."""
    end = newline_of(edited)
    if not edited.endswith("\n"):
        edited += end
    new, old = split_lines(edited), split_lines(original or "")
    lines = ["", (_CHANGED if original is not None else _MADE) + _HEADER]
    for hunk in _hunks(old, new):
        replaced = old[hunk.start : hunk.end]
        what = "stand for:" if replaced else "were added."
        count, digest = hunk.new_end - hunk.new_start, _digest(new[hunk.new_start : hunk.new_end])
        lines.append(f"# {count} lines with the digest {digest} {what}")
        lines += [_remembered(line, end) for line in replaced]
    return edited + "".join(line + end for line in lines)


def without_memory(text: str) -> str:
    """The text without the comment, and without the empty line before it."""
    lines = split_lines(text)
    place = _find_block(lines)
    return text if place is None else "".join(lines[: place[0]] + lines[place[1] :])


def remembers(text: str) -> bool:
    """Whether the comment is there."""
    return _find_block(split_lines(text)) is not None


def undo(text: str) -> Optional[str]:
    """The text as it was before ``init``, other changes kept; ``None`` if there was no file and nothing is left of it.

    :raises SettingsError: if there is no comment that remembers, or the lines it speaks of have changed since.
    """
    lines = split_lines(text)
    place = _find_block(lines)
    if place is None:
        raise SettingsError(
            "pyproject.toml does not remember an init: its comment is not there",
            "take the file from the version control system, or edit it: build-backend names the backend again",
        )
    block = lines[place[0] : place[1]]
    rest = lines[: place[0]] + lines[place[1] :]
    made = any(line.startswith(_MADE) for line in block)
    changes = sorted((_located(rest, *hunk) for hunk in _read_block(block)), reverse=True)
    limit = len(rest)
    for start, end, replaced in changes:
        if end > limit:
            raise SettingsError("the comment of init in pyproject.toml contradicts itself", "edit the file yourself")
        rest[start:end] = replaced
        limit = start
    undone = "".join(rest)
    return None if made and not undone.strip() else undone


def _hunks(old: Sequence[str], new: Sequence[str]) -> list[_Hunk]:
    """What changed, in pieces that occur once in the new text, lest others be taken for them later."""
    hunks: list[_Hunk] = []
    for kind, start, end, new_start, new_end in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        if kind == "equal":
            continue
        hunks.append(_Hunk(start, end, new_start, new_end))
    while True:
        at = next((number for number, hunk in enumerate(hunks) if not _is_alone(new, hunk)), None)
        if at is None:
            return hunks
        hunks[at] = _grown(hunks[at], len(old), len(new))
        for one, two in ((at - 1, at), (at, at + 1)):
            if one >= 0 and two < len(hunks) and hunks[one].new_end >= hunks[two].new_start:
                hunks[one : two + 1] = [_joined(hunks[one], hunks[two])]
                break


def _joined(one: _Hunk, two: _Hunk) -> _Hunk:
    return _Hunk(one.start, two.end, one.new_start, two.new_end)


def _grown(hunk: _Hunk, old: int, new: int) -> _Hunk:
    """With a line more before it and behind it; both texts have the same ones there."""
    before = 1 if hunk.start and hunk.new_start else 0
    behind = 1 if hunk.end < old and hunk.new_end < new else 0
    return _Hunk(hunk.start - before, hunk.end + behind, hunk.new_start - before, hunk.new_end + behind)


def _is_alone(lines: Sequence[str], hunk: _Hunk) -> bool:
    piece = lines[hunk.new_start : hunk.new_end]
    if len(piece) == len(lines):
        return True
    return bool(piece) and len(_find(lines, len(piece), _digest(piece))) == 1


def _find(lines: Sequence[str], count: int, digest: str) -> list[int]:
    return [at for at in range(len(lines) - count + 1) if _digest(lines[at : at + count]) == digest]


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()[:16]


def _remembered(line: str, end: str) -> str:
    if not line.endswith("\n"):
        return f"#_{line}"
    own = "\r\n" if line.endswith("\r\n") else "\n"
    return f"#{'-' if own == end else '~'}{line[: -len(own)]}"


def _recalled(line: str) -> str:
    end = "\r\n" if line.endswith("\r\n") else "\n"
    other = "\n" if end == "\r\n" else "\r\n"
    text = line[2:].rstrip("\n").removesuffix("\r") if end == "\r\n" else line[2:].rstrip("\n")
    return text + {"-": end, "~": other, "_": ""}[line[1]]


def _find_block(lines: Sequence[str]) -> Optional[tuple[int, int]]:
    """Where the comment is: from the empty line before it up to the line behind it."""
    start = next((at for at, line in enumerate(lines) if line.startswith((_CHANGED, _MADE))), None)
    if start is None:
        return None
    end = start + 1
    while end < len(lines) and (_HUNK.fullmatch(lines[end].rstrip("\r\n")) or re.match(r"#[-~_]", lines[end])):
        end += 1
    return (start - 1 if start and not lines[start - 1].strip() else start), end


def _read_block(block: Sequence[str]) -> list[tuple[int, str, list[str]]]:
    hunks: list[tuple[int, str, list[str]]] = []
    for line in block:
        match = _HUNK.fullmatch(line.rstrip("\r\n"))
        if match:
            hunks.append((int(match[1]), match[2], []))
        elif hunks and re.match(r"#[-~_]", line):
            hunks[-1][2].append(_recalled(line))
    return hunks


def _located(lines: Sequence[str], count: int, digest: str, replaced: list[str]) -> tuple[int, int, list[str]]:
    found = [0] if count == 0 and not lines else _find(lines, count, digest) if count else []
    if len(found) == 1:
        return found[0], found[0] + count, replaced
    what = "are there no longer as it wrote them" if not found else f"are there {len(found)} times"
    before = "".join(f"\n    {line.rstrip()}" for line in replaced[:12]) or " nothing"
    raise SettingsError(
        f"{count} of the lines that init wrote into pyproject.toml {what}; before it, there was{before}",
        "nothing was changed; put that back yourself and delete the comment of init",
    )
