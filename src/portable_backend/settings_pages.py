"""What is generated from the settings' model: the JSON schema and the reference page."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from .errors import DOCUMENTATION
from .settings import CONDITIONS, FIXED, LEAVES, NAMES, PREFIX, kind_of, model_fields, option_name, variable_name

_DRAFT = "http://json-schema.org/draft-07/schema#"
_PLACE = f"{DOCUMENTATION}reference/"


def make_schema() -> str:
    """The JSON schema (draft 7) of ``[tool.portable-backend]``, as text."""
    return json.dumps(_schema(), indent=2) + "\n"


def make_document_schema() -> str:
    """The JSON schema of a whole ``pyproject.toml``, as text: what editors ask for. It knows our table and no other."""
    own = {key: value for key, value in _schema().items() if not key.startswith("$")}
    schema = {
        "$schema": _DRAFT,
        "$id": f"{_PLACE}pyproject.schema.json",
        "title": "pyproject.toml",
        "description": "A project that is built by portable_backend. Other tables are not looked at.",
        "type": "object",
        "properties": {"tool": {"type": "object", "properties": {"portable-backend": own}}},
    }
    # Within one document, since editors look no references up in another that they would have to fetch.
    text = json.dumps(schema, indent=2).replace(
        '"#/properties/', '"#/properties/tool/properties/portable-backend/properties/'
    )
    return text + "\n"


def _schema() -> dict[str, Any]:
    properties = {option_name(each.name): _schema_of(each) for each in model_fields()}
    return {
        "$schema": _DRAFT,
        "$id": f"{_PLACE}settings.schema.json",
        "title": "[tool.portable-backend]",
        "description": "Settings of the portable_backend build backend.",
        "type": "object",
        "additionalProperties": False,
        "properties": {**properties, "overrides": _schema_of_overrides()},
    }


def _schema_of_overrides() -> dict[str, Any]:
    one = {"type": "string", "pattern": "\\S"}
    several = {"type": "array", "items": one, "minItems": 1}
    conditions = {name: {"description": text, "anyOf": [one, several]} for name, text in CONDITIONS.items()}
    asked = {
        "description": "When the override applies; all conditions must hold.",
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": conditions,
    }
    values = {name: {"$ref": f"#/properties/{name}"} for name in NAMES if name not in FIXED}
    entry = {
        "type": "object",
        "additionalProperties": False,
        "required": ["if"],
        "properties": {"if": asked, **values},
    }
    text = "Settings for some builds only; later ones win over earlier ones, tables are merged."
    return {"description": text, "type": "array", "items": entry}


def _schema_of(of: dataclasses.Field[Any]) -> dict[str, Any]:
    rules, kind = of.metadata, kind_of(of)
    schema: dict[str, Any] = {"description": rules["help"]}
    if "group" in rules:
        properties = {option_name(each.name): _schema_of(each) for each in model_fields(rules["group"])}
        return {**schema, "type": "object", "additionalProperties": False, "properties": properties}
    strings = {"type": "string", **({"pattern": rules["pattern"]} if "pattern" in rules else {})}
    if kind == "list":
        schema.update(type="array", items=strings)
    elif kind == "commands":
        schema.update(anyOf=[strings, {"type": "array", "items": strings}])
    elif kind == "table":
        schema.update(type="object", propertyNames={"pattern": rules["keys"]}, additionalProperties=strings)
    else:
        schema.update(strings if kind == "string" else {"type": kind})
    if "choices" in rules:
        schema.update(enum=list(rules["choices"]))
    if "minimum" in rules:
        schema.update(minimum=rules["minimum"], maximum=rules["maximum"])
    if of.default is not dataclasses.MISSING and of.default not in (None, ()):
        schema.update(default=of.default)
    return schema


_REFERENCE_HEAD = """\
# Settings

Generated from the model in `settings.py`. Each setting can stand in `[tool.portable-backend]` of
`pyproject.toml`, in the environment, or on the command line of any frontend as a config setting;
the later wins:
"""
_REFERENCE_CONTAINER = """
## The container

These stand in the table `[tool.portable-backend.container]`. That the table is there, even empty, or that one of these
is set elsewhere, chooses the container strategy unless `strategy` names another. No container is started inside an
image or under cibuildwheel, nor when pip builds a published sdist, unless whoever runs pip sets `strategy` for it.
"""
_REFERENCE_TEST = """
## The test

These stand in the table `[tool.portable-backend.test]`. Only `portable-backend build` looks at them: it installs each
finished wheel into a fresh environment and runs the commands there, in an empty directory with copies of the `sources`.
In a command `{project}` stands for the root of the project and `{wheel}` for the wheel, each quoted for the shell
(`{package}` is another name of `{project}`). [More about releases](../how-to/release.md).
"""
_REFERENCE_VALUES = """
## Values

Lists take commas in the environment and in config settings, where a key may also be given several times;
`container.images` does so, too. Commands, and requirements of tests, are not taken apart at commas: in `pyproject.toml`
commands are a string or a list of strings, elsewhere each is a config setting of its own. Tables take `NAME=value`.
`PORTABLE_BACKEND_MODE=off` wins over every other source.

`PORTABLE_BACKEND_TRACEBACK=1`, which is no setting, shows a traceback with an error.
"""
_REFERENCE_OVERRIDES = """
## Overrides

Each `[[tool.portable-backend.overrides]]` holds settings for some builds only, and says in `if` for which:

```toml
[[tool.portable-backend.overrides]]
if = { target = "musllinux_*", python = [">=3.12", "pp*"] }
environment = { OPENSSL_STATIC = "1" }
container = { before-all = "apk add openssl-dev" }
```

| condition | meaning |
|---|---|
"""
_REFERENCE_RULES = """
All conditions of one override must hold; of several patterns for one condition, one must match. `target` is compared
with the platform tag in all its spellings (`manylinux2014_x86_64`, `manylinux_2_17`, …); a build without a target is
compared by the tag that this machine itself would have, except in a container, whose image alone knows. A specifier for
`python` compares feature releases (`3.12`), a shell pattern `3.12` and `cp312` (`3.13t` and `cp313t` without the global
interpreter lock, `pp310` for PyPy).

Values replace those in `[tool.portable-backend]`, except that the tables `environment`, `container`,
`container.environment`, `container.images`, `test` and `test.environment` are merged name by name. Later overrides win
over earlier ones, the environment and config settings over all of them. No override can set
"""


def make_reference() -> str:
    """The settings as a Markdown page, so that they are described in one place only."""
    plain = [_reference_row(option, of) for option, of in LEAVES.items() if "." not in option]
    nested = {
        group: [_reference_row(option, of) for option, of in LEAVES.items() if option.startswith(f"{group}.")]
        for group in ("container", "test")
    }
    conditions = "".join(f"| `{name}` | {text} |\n" for name, text in CONDITIONS.items())
    fixed = ", ".join(f"`{name}`" for name in FIXED)
    return (
        _reference_table(_REFERENCE_HEAD, plain)
        + _reference_table(_REFERENCE_CONTAINER, nested["container"])
        + _reference_table(_REFERENCE_TEST, nested["test"])
        + _REFERENCE_OVERRIDES
        + conditions
        + f"{_REFERENCE_RULES.rstrip()} {fixed}.\n"
        + _REFERENCE_VALUES
    )


def _reference_table(head: str, rows: list[str]) -> str:
    titles = "| `pyproject.toml` | environment | config setting | meaning | default |"
    return "\n".join([head, titles, "|---|---|---|---|---|", *rows, ""])


def _reference_row(option: str, of: dataclasses.Field[Any]) -> str:
    default = of.default if of.default not in (dataclasses.MISSING, None, ()) else ""
    words = [f"`{word}`" for word in of.metadata.get("choices", ())]
    choices = f" One of {', '.join(words)}." if words else ""
    shown = f"`{str(default).lower() if isinstance(default, bool) else default}`" if default != "" else ""
    names = f"| `{option.rpartition('.')[2]}` | `{variable_name(option)}` | `{PREFIX}{option}` "
    return f"{names}| {of.metadata['help']}{choices} | {shown} |"
