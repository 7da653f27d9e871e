"""How commands print: reports, JSON, errors, and what GitHub Actions obeys or shows. Imports what is asked for only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Union

from ..errors import PortableBackendError

if TYPE_CHECKING:
    from ..auditing.verdict import Verdict

Outcome = tuple[str, Union["Verdict", PortableBackendError]]
"""A path, and what became of it."""


def in_github() -> bool:
    """Whether this is a step of GitHub Actions: it reads the output, and shows annotations and a summary."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def print_json(data: Any) -> None:
    """One line of JSON."""
    import json

    # GitHub Actions takes "##[" for a command wherever it stands; in JSON it can be written otherwise.
    print(json.dumps(data).replace("##[", "#\\u0023["))


def print_report(text: str) -> None:
    """What may quote a hostile file: GitHub obeys some lines of what is printed. In colours where somebody looks."""
    if in_github():
        from .github import harmless

        text = harmless(text)
    if sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):  # only where somebody looks is anything imported for it
        from .terminal import print_report

        print_report(text)
    else:
        print(text)


def complain(error: PortableBackendError, annotate: bool = False, subject: str = "portable-backend") -> None:
    """An error on standard error, for people; in a step of GitHub Actions as an annotation, too.

    :param subject: what it is about.
    """
    from .colour import paint_error, wants_colour

    text = error.report()
    if in_github():
        from .github import error_annotation, harmless

        text = harmless(text)
    print(paint_error(text, wants_colour(sys.stderr, os.environ)), file=sys.stderr, flush=True)
    if annotate and in_github():
        print(error_annotation(error, subject), file=sys.stderr)


def report_error(path: str, error: PortableBackendError, as_json: bool) -> None:
    """An error that one of several wheels came to."""
    if as_json:
        from .data import error_data

        print_json(error_data(os.path.basename(path), error))
    complain(error, annotate=not as_json, subject=os.path.basename(path))


def tell_github(title: str, outcomes: Sequence[Outcome], as_json: bool, progress: Callable[[str], None]) -> None:
    """Annotations and the job summary, where this runs as a step of GitHub Actions and people read what it prints."""
    if as_json or not in_github():
        return
    from . import github

    rows = []
    for path, outcome in outcomes:
        name = os.path.basename(path)
        if isinstance(outcome, PortableBackendError):
            rows.append(github.error_row(name, outcome))
            continue
        rows.append(github.verdict_row(name, outcome))
        for line in github.verdict_annotations(name, outcome):
            print(line, file=sys.stderr)
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    try:
        with open(place, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(github.summary(f"portable-backend {title}", rows))
    except OSError as error:  # the verdict is told, whatever becomes of its summary
        progress(f"no job summary: {error.strerror or error}")
