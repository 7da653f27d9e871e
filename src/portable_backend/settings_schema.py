"""The JSON schema of the settings for programs that ask for it: the plug-in of validate-pyproject."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_schema(tool_name: str = "portable-backend") -> dict[str, Any]:
    """The JSON schema (draft 7) of ``[tool.portable-backend]``; generated from the settings' model, and shipped.

    :param tool_name: the table that is asked for; validate-pyproject names the entry point.
    :raises ValueError: for any other.
    """
    if tool_name != "portable-backend":
        raise ValueError(f"this is the schema of portable-backend, not of {tool_name}")
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("settings.schema.json").read_text(encoding="utf-8"))
    return schema
