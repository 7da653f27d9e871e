"""Bills of materials that inner backends write (PEP 770), without what differs between two builds of one source.

Only CycloneDX in JSON, and only of builds made here: whoever repairs another's wheel has no business in its documents.
Everything but a random serial number, the time and paths of the source stays as it was, byte for byte.
"""

from __future__ import annotations

import json
import posixpath
import re
import time
import uuid
from urllib.parse import quote, unquote

from ..records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional

_NAMESPACE = uuid.UUID("6f2c9a52-3c0b-5b0e-8d5e-1d0c7a5c9f11")
_LARGEST = 64 << 20
# Cargo's identifiers of packages on this machine: path+file:///home/me/project/core#name@1.0
_CARGO_PATH = re.compile(r"path\+file://(/[^\s\"#?\\]*)")
# What a path begins behind: not a part of another path or of a host's name.
_BEGIN = r"(?:(?<=file://)|(?<![\w.~%/-]))"
# What goes on behind the path of a directory without leaving it: anything but more of a name.
_END = r"(?![^/\s\"#?\\:@])"
_DERIVED = frozenset((3, 5, 8))  # versions of UUIDs that are no one's dice nor clock (RFC 9562)


class Source(NamedTuple):
    """Where and when a wheel was built.

    :param directories: the source's absolute path, or several for the same directory.
    :param epoch: ``SOURCE_DATE_EPOCH`` of the build.
    """

    directories: tuple[str, ...]
    epoch: int


def is_bill(member: str, dist_info: str) -> bool:
    """Whether a member's name is that of a bill of materials in JSON."""
    return posixpath.dirname(member) == f"{dist_info}/sboms" and member.endswith(".json")


def normalise(content: bytes, source: Source) -> bytes:
    """The document with a serial number made of its content, the build's time, and paths relative to the source.

    What is not CycloneDX in JSON is returned as it is.
    """
    document = _parse(content)
    if document is None:
        return content
    text = content.decode("utf-8")
    text = _with_time(text, document, source.epoch)
    for directory in source.directories:
        text = _with_paths(text, directory)
    serial = _random_serial(document)
    if serial is not None:
        # Everywhere: links between documents (urn:cdx:…) have the same number.
        text = text.replace(serial, str(uuid.uuid5(_NAMESPACE, text.replace(serial, ""))))
    return text.encode("utf-8")


def _parse(content: bytes) -> Optional[dict[str, Any]]:
    if len(content) > _LARGEST:
        return None
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("bomFormat") == "CycloneDX" else None


def _random_serial(document: dict[str, Any]) -> Optional[str]:
    """The number in ``urn:uuid:…`` as it is written, unless it was derived from something."""
    serial = document.get("serialNumber")
    if not isinstance(serial, str) or not serial.startswith("urn:uuid:"):
        return None
    number = serial[len("urn:uuid:") :]
    try:
        parsed = uuid.UUID(number)
    except ValueError:
        return None
    return None if parsed.version in _DERIVED else number


def _with_time(text: str, document: dict[str, Any], epoch: int) -> str:
    """The time of the document, under that key: other times in it may be those of something else."""
    metadata = document.get("metadata")
    written = metadata.get("timestamp") if isinstance(metadata, dict) else None
    if not isinstance(written, str):
        return text
    fixed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    return re.sub(rf'("timestamp"\s*:\s*"){re.escape(written)}"', rf'\g<1>{fixed}"', text)


def _with_paths(text: str, directory: str) -> str:
    directory = directory.rstrip("/")
    if not posixpath.isabs(directory):
        return text
    text = _CARGO_PATH.sub(_relative_to(directory), text)
    written = {
        directory,
        quote(directory),
        json.dumps(directory)[1:-1],
        json.dumps(directory, ensure_ascii=False)[1:-1],
    }
    for form in sorted(written, key=len, reverse=True):
        text = re.sub(rf"{_BEGIN}{re.escape(form)}{_END}", ".", text)
    return text


def _relative_to(directory: str) -> Callable[[re.Match[str]], str]:
    def relative(match: re.Match[str]) -> str:
        path = unquote(match[1])
        if posixpath.commonpath((posixpath.normpath(path), directory)) == "/":
            return match[0]  # somewhere else altogether, wherever the source lies
        return f"path+file://{quote(posixpath.relpath(path, directory))}"

    return relative
