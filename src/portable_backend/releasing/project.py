"""What a release has to know of the project before anything is built: its name, version, and requires-python."""

from __future__ import annotations

import configparser
import email.parser
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ..records import NamedTuple
from ..wheels.names import project_of


class Project(NamedTuple):
    """What the project says of itself without being run; ``None`` for what it does not."""

    name: Optional[str]
    version: Optional[str]
    requires: Optional[str]

    @property
    def key(self) -> Optional[tuple[str, str]]:
        """Name and version, normalised, where both are known."""
        return project_of(f"{self.name}-{self.version}") if self.name and self.version else None


def read_project(root: Path, pyproject: Mapping[str, Any]) -> Project:
    """From ``PKG-INFO`` if the source is an sdist, else from ``pyproject.toml``, else from ``setup.cfg``."""
    sdist = _read_metadata(root / "PKG-INFO")
    table = pyproject.get("project", {})
    stated = table if isinstance(table, dict) else {}
    old = _read_setup_cfg(root / "setup.cfg")
    # A work tree may have a stale PKG-INFO beside its pyproject.toml; what is stated there for good is as good in both.
    values = [
        _text(stated.get(key)) or _text(sdist.get(header)) or _text(old.get(option))
        for key, header, option in (
            ("name", "Name", ("metadata", "name")),
            ("version", "Version", ("metadata", "version")),
            ("requires-python", "Requires-Python", ("options", "python_requires")),
        )
    ]
    return Project(*values)


def _text(value: object) -> Optional[str]:
    # "attr: package.__version__" of setup.cfg says where to look, not what.
    return value.strip() if isinstance(value, str) and value.strip() and ":" not in value else None


def _read_metadata(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    message = email.parser.HeaderParser().parsestr(text)
    return {name: message[name] for name in ("Name", "Version", "Requires-Python") if message[name]}


def _read_setup_cfg(path: Path) -> dict[tuple[str, str], str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}
    return {(section, name): value for section in parser.sections() for name, value in parser.items(section)}
