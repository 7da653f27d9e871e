"""What ``init`` would change, as text and as data. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import printable

if TYPE_CHECKING:
    from ..adopting.init import Proposal


def init_text(proposal: Proposal) -> str:
    """The diff, what is kept, and what has to be said of cibuildwheel's options; ends with a newline."""
    lines = [printable(line) for line in proposal.diff.replace("\t", "    ").splitlines()]
    if not proposal.changes:
        lines.append(f"{proposal.path}: nothing to change")
    notes = [printable(note) for note in proposal.notes]
    if notes:
        lines += ["", *notes] if proposal.changes else notes
    translation = proposal.translation
    if translation is not None:
        if translation.notes:
            lines += ["", "Of cibuildwheel's options:", *(printable(f"  {note}") for note in translation.notes)]
        lines += ["", "What the selectors of cibuildwheel select is built by"]
        lines += [printable(f"  {command}") for command in translation.commands]
    return "\n".join(lines) + "\n"


def init_data(proposal: Proposal, written: bool) -> dict[str, Any]:
    """What JSON has of it."""
    inner, translation = proposal.inner, proposal.translation
    data: dict[str, Any] = {
        "version": 1,
        "path": str(proposal.path),
        "changed": proposal.changes,
        "written": written,
        "inner_backend": None if inner is None else inner.name,
        "inner_backend_path": [] if inner is None else list(inner.path),
        "diff": proposal.diff,
        "notes": list(proposal.notes),
    }
    if translation is not None:
        data["cibuildwheel"] = {
            "settings": dict(translation.settings),
            "commands": list(translation.commands),
            "notes": list(translation.notes),
        }
    return data
