"""``portable-backend ci github``: what the project says, and where the workflow is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ..errors import OutputError, SettingsError, UsageError
from ..inner import own_table, read_pyproject
from ..settings import Settings, parse_settings
from ..targets import Arch, PlatformTag, parse_target
from .github import MARK, MATRIX_MARK, PYTHONS, Request, parse_pythons
from .init import known_settings, write_file

_ARCHES = (Arch.X86_64, Arch.AARCH64)


def read_request(
    directory: Path,
    pythons: Optional[Sequence[str]],
    targets: Optional[Sequence[str]],
    environment: str,
    publish: bool,
) -> Request:
    """What a workflow of this project is to do: what is asked for, else what the project says, else the usual.

    :raises UsageError: if an option makes no sense.
    :raises SettingsError: if the project's settings do not.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such directory")
    # A name of GitHub's may have more letters; these need no quotes in YAML, in shells or in expressions.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", environment):
        raise UsageError(f"--environment {environment}: use letters, digits, dots, dashes and underscores")
    data = read_pyproject(directory)
    settings = parse_settings(known_settings(own_table(data)), {})
    container = settings.strategy == "container" or (settings.strategy == "auto" and settings.container is not None)
    given = [] if environment == "pypi" else ["--environment", environment]
    given += [] if publish else ["--no-publish"]
    return Request(
        pythons=parse_pythons(pythons) if pythons else _pythons_of(data),
        targets=_targets(targets, settings, container),
        container=container,
        environment=environment,
        publish=publish,
        given=tuple(given),
    )


def _targets(texts: Optional[Sequence[str]], settings: Settings, container: bool) -> tuple[PlatformTag, ...]:
    if texts:
        names = [name.strip() for text in texts for name in text.split(",")]
        return tuple(dict.fromkeys(parse_target(name, Arch.X86_64) for name in names))
    usual = "manylinux_2_28" if container else "manylinux_2_17"
    return tuple(dict.fromkeys(parse_target(settings.target or usual, arch) for arch in _ARCHES))


def _pythons_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of the usual interpreters that the project is for."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    project = data.get("project", {})
    text = project.get("requires-python", "") if isinstance(project, dict) else ""
    try:
        allowed = SpecifierSet(text)
    except (InvalidSpecifier, TypeError, AttributeError):
        raise SettingsError(f"requires-python in [project] is no version specifier: {text!r}") from None
    found = tuple(each for each in PYTHONS if allowed.contains(f"{each}.99"))
    if not found:
        raise UsageError(f"requires-python = {text!r} allows none of {', '.join(PYTHONS)}", "say which with --python")
    return found


def write_workflow(path: Path, text: str, force: bool) -> Path:
    """Write the file whole or not at all; its directories are made.

    :param force: replace also what this command did not make.
    :raises OutputError: if there is another's file, or it cannot be written.
    """
    try:
        if path.exists() and not force and not path.read_bytes().startswith((MARK.encode(), MATRIX_MARK.encode())):
            raise OutputError(f"{path} is there and was not made by this command", "--force replaces it")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text.encode("utf-8"))
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None
    return path
