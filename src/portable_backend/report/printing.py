"""What commands print, on which of the two outputs, and in which form: text, JSON, or what GitHub Actions reads."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from ..errors import PortableBackendError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Union

    from ..auditing.verdict import Verdict

    #: What became of a wheel, with its path.
    Outcome = tuple[str, Union[Verdict, PortableBackendError]]


def print_json(data: Any) -> None:
    """Print a value as one line of JSON."""
    import json

    # GitHub Actions takes "##[" for a command wherever it stands; in JSON it can be written otherwise.
    print(json.dumps(data).replace("##[", "#\\u0023["))


def complain(error: PortableBackendError, annotate: bool = False, subject: str = "portable-backend") -> None:
    """Report an error on standard error.

    :param annotate: whether it becomes an annotation, too, where GitHub Actions runs this.
    :param subject: what the annotation is about.
    """
    from .colour import paint_error, wants_colour

    text = error.report()
    if in_github():
        from .github import error_annotation, harmless

        text = harmless(text)
    print(paint_error(text, wants_colour(sys.stderr, os.environ)), file=sys.stderr, flush=True)
    if annotate and in_github():
        print(error_annotation(error, subject), file=sys.stderr)


def in_github() -> bool:
    """Whether this is a step of GitHub Actions: it reads the output, and shows annotations and a summary."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def progress_of(options: argparse.Namespace) -> Callable[[str], None]:
    """Where lines of progress go: standard error, or nowhere with ``--quiet``."""
    from .progress import tell

    return (lambda line: None) if options.quiet else tell


def print_report(text: str) -> None:
    """What may quote a hostile file; GitHub obeys some lines of what is printed."""
    if in_github():
        from .github import harmless

        text = harmless(text)
    if sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):  # only where somebody looks is anything imported for it
        from .terminal import print_report

        print_report(text)
    else:
        print(text)


def tell_github(title: str, outcomes: Sequence[Outcome], options: argparse.Namespace) -> None:
    """Annotations and the job summary, where this runs as a step of GitHub Actions and people read what it prints."""
    if options.json or not in_github():
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
        progress_of(options)(f"no job summary: {error.strerror or error}")


def report_error(path: str, error: PortableBackendError, as_json: bool) -> None:
    """Report that one of several wheels failed."""
    if as_json:
        from .data import error_data

        print_json(error_data(os.path.basename(path), error))
    complain(error, annotate=not as_json, subject=os.path.basename(path))


@contextmanager
def output_to_stderr(silent: bool) -> Iterator[None]:
    """Keep standard output for the result: what the inner backend prints goes to standard error, or nowhere."""
    import warnings

    original = sys.stdout
    with open(os.devnull, "w", encoding="utf-8") as nowhere, warnings.catch_warnings():
        if silent:
            warnings.simplefilter("ignore")  # pyproject-hooks hands the backend's own warnings on to us
        sys.stdout = nowhere if silent else sys.stderr
        try:
            yield
        finally:
            sys.stdout = original
