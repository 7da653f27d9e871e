"""The settings: one frozen model that TOML, environment, config settings, schema and documentation are made from.

Precedence: config settings (``-C portable-backend.<name>=…``) over environment (``PORTABLE_BACKEND_<NAME>``) over
``[tool.portable-backend]`` over the default; ``PORTABLE_BACKEND_MODE=off`` wins over everything, so that a
distributor need not patch any project. Each value knows where it came from. Unknown names are errors.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Optional

from .errors import SettingsError

PREFIX = "portable-backend."
_ENVIRONMENT_PREFIX = "PORTABLE_BACKEND_"
# Variables that steer the programme rather than one build; they are no settings of a project.
_NOT_SETTINGS = frozenset({"PORTABLE_BACKEND_TRACEBACK", "PORTABLE_BACKEND_USER_TOOLCHAIN"})
# Those that the zig strategy gives to its tools, in case one of these builds something else with us.
_TOOLCHAIN_PREFIX = "PORTABLE_BACKEND_ZIG"
LIBS_DIR = r"^[A-Za-z0-9._-]+$"
STRATEGIES = ("auto", "host", "zig", "container")
MODES = ("repair", "check", "off")
TABLE = "[tool.portable-backend]"


def _setting(default: Any, text: str, **more: Any) -> Any:
    """A field of the model: its default and one sentence that schema, documentation and help repeat."""
    metadata = {"help": text, **more}
    if isinstance(default, (list, dict)):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What a user may say. ``origins`` tells for each field that is not a default where its value came from."""

    target: Optional[str] = _setting(
        None,
        "The platform tag to reach, with or without architecture, as manylinux_2_17, manylinux2014 or musllinux_1_2.",
    )
    strategy: str = _setting("auto", "Where the inner backend runs.", choices=STRATEGIES)
    mode: str = _setting(
        "repair",
        "repair: make the wheel compliant or fail; check: fail unless it is; off: the inner wheel as it is.",
        choices=MODES,
    )
    inner_backend: Optional[str] = _setting(
        None,
        "The backend that builds: a known name (setuptools, maturin, …) or an object reference as PEP 517 writes it.",
    )
    inner_backend_path: tuple[str, ...] = _setting(
        (), "Directories, relative to the project, that hold an in-tree inner backend."
    )
    exclude: tuple[str, ...] = _setting(
        (), "Sonames (shell patterns) that every user is sure to have: neither grafted nor held against the wheel."
    )
    strip: bool = _setting(False, "Remove symbol tables and debugging data from the native files of the wheel.")
    clear_execstack: bool = _setting(False, "Take the wish for an executable stack out of native files.")
    isa_check: bool = _setting(
        True, "Hold instruction-set requirements beyond the architecture's baseline against the wheel."
    )
    only_target_tag: bool = _setting(False, "Name no platform tag but the target, even where an older one is true.")
    libs_dir: str = _setting(
        ".libs", "Appended to the distribution's name for the directory of grafted libraries.", pattern=LIBS_DIR
    )
    ldpaths: tuple[str, ...] = _setting((), "Directories that are searched for libraries before the system's.")
    compression_level: int = _setting(6, "Deflate level of members that are written anew.", minimum=0, maximum=9)
    environment: Mapping[str, str] = _setting({}, "Variables to set for the inner backend.")
    container: Mapping[str, Any] = _setting(
        {}, "Settings of the container strategy; the table being there chooses that strategy.", table_only=True
    )
    origins: Mapping[str, str] = field(default_factory=dict)

    def origin(self, name: str) -> str:
        """Where a field's value came from, in words."""
        return self.origins.get(name, "the default")


def model_fields() -> tuple[dataclasses.Field[Any], ...]:
    """The fields that are settings."""
    return tuple(each for each in fields(Settings) if each.name != "origins")


def option_name(name: str) -> str:
    """A field's name as TOML and config settings spell it."""
    return name.replace("_", "-")


_NAMES = {option_name(each.name): each for each in model_fields()}


def parse_settings(
    table: Mapping[str, Any],
    environ: Mapping[str, str],
    config_settings: Optional[Mapping[str, Any]] = None,
) -> Settings:
    """Make the settings of one build.

    :param table: ``[tool.portable-backend]`` as TOML gave it.
    :param config_settings: as a frontend passed them; those without our prefix are the inner backend's.
    :raises SettingsError: for a name or a value that makes no sense, with a suggestion.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(name: str, value: Any, origin: str) -> None:
        values[name], origins[name] = value, origin

    for key, value in table.items():
        field_ = _known(key, f"{key!r} in {TABLE}", lambda name: name, in_table=True)
        take(field_.name, _from_toml(field_, value), TABLE)
    for variable, text in sorted(environ.items()):
        # A variable that is set to nothing is how CI systems leave one out.
        if _is_setting(variable) and text:
            key = variable[len(_ENVIRONMENT_PREFIX) :].lower().replace("_", "-")
            field_ = _known(key, variable, _variable_name)
            take(field_.name, _from_text(field_, text, variable), f"the variable {variable}")
    for key, given in (config_settings or {}).items():
        if key.startswith(PREFIX):
            field_ = _known(key[len(PREFIX) :], f"config setting {key}", lambda name: PREFIX + name)
            take(field_.name, _from_text(field_, given, f"config setting {key}"), f"the config setting {key}")
    if environ.get("PORTABLE_BACKEND_MODE") == "off":
        take("mode", "off", "the variable PORTABLE_BACKEND_MODE")
    return Settings(**values, origins=origins)


def inner_settings(config_settings: Optional[Mapping[str, Any]]) -> Optional[dict[str, Any]]:
    """The config settings that belong to the inner backend, untouched; ``None`` stays ``None``."""
    if config_settings is None:
        return None
    return {key: value for key, value in config_settings.items() if not key.startswith(PREFIX)}


def _variable_name(name: str) -> str:
    return _ENVIRONMENT_PREFIX + name.upper().replace("-", "_")


def _is_setting(variable: str) -> bool:
    ours = variable.startswith(_ENVIRONMENT_PREFIX) and variable not in _NOT_SETTINGS
    return ours and not variable.startswith(_TOOLCHAIN_PREFIX)


def _known(key: str, where: str, spell: Callable[[str], str], in_table: bool = False) -> dataclasses.Field[Any]:
    """The field that ``key`` names; ``spell`` says how its source would spell another."""
    found = _NAMES.get(key)
    if found is not None and (in_table or not found.metadata.get("table_only")):
        return found
    if found is not None:
        raise SettingsError(f"unknown setting: {where}", f"{key} is a table, and can stand in {TABLE} only")
    close = difflib.get_close_matches(key.replace("_", "-"), _NAMES, 1, 0.6)
    cure = f"did you mean {spell(close[0])}?" if close else f"the settings are {', '.join(sorted(_NAMES))}"
    raise SettingsError(f"unknown setting: {where}", cure)


def _kind(of: dataclasses.Field[Any]) -> str:
    """``string``, ``boolean``, ``integer``, ``list`` or ``table``, from the default that the model gives."""
    default = of.default if of.default_factory is dataclasses.MISSING else of.default_factory()
    kinds = {bool: "boolean", int: "integer", tuple: "list", dict: "table"}
    return kinds.get(type(default), "string")


def _from_toml(of: dataclasses.Field[Any], value: Any) -> Any:
    kind, name = _kind(of), f"{option_name(of.name)} in {TABLE}"
    fits = {
        "string": lambda: isinstance(value, str),
        "boolean": lambda: isinstance(value, bool),
        "integer": lambda: isinstance(value, int) and not isinstance(value, bool),
        "list": lambda: isinstance(value, list) and all(isinstance(each, str) for each in value),
        "table": lambda: isinstance(value, dict),
    }
    if not fits[kind]():
        wanted = {"list": "a list of strings", "table": "a table"}.get(kind, f"a {kind}")
        raise SettingsError(f"{name} must be {wanted}, not {value!r}")
    if of.name == "environment" and not all(isinstance(each, str) for each in value.values()):
        raise SettingsError(f"{name} must map names to strings")
    return _checked(of, tuple(value) if kind == "list" else value, name)


def _texts(given: Any) -> list[str]:
    """What a frontend passes for one key: text, a list of texts where it came several times, or what JSON has."""
    if isinstance(given, bool):
        return [str(given).lower()]
    if isinstance(given, Mapping):
        return [f"{name}={value}" for name, value in given.items()]
    return list(map(str, given)) if isinstance(given, (list, tuple)) else [str(given)]


def _from_text(of: dataclasses.Field[Any], given: Any, where: str) -> Any:
    """A value from the command line or the environment."""
    kind, texts = _kind(of), _texts(given)
    if kind == "list":
        return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
    if kind == "table":
        return dict(_assignment(text, where) for text in texts)
    text = texts[-1] if texts else ""
    if kind == "boolean":
        return _boolean(text, where)
    if kind == "integer":
        if not (text.isascii() and text.isdigit()):
            raise SettingsError(f"{where} must be an integer, not {text!r}")
        return _checked(of, int(text), where)
    return _checked(of, text, where)


def _assignment(text: str, where: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"{where} must look like NAME=value, not {text!r}")
    return name, value


def _boolean(text: str, where: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise SettingsError(f"{where} must be true or false, not {text!r}")


def _checked(of: dataclasses.Field[Any], value: Any, where: str) -> Any:
    choices = of.metadata.get("choices")
    if choices is not None and value not in choices:
        close = difflib.get_close_matches(str(value), choices, 1)
        cure = f"did you mean {close[0]}?" if close else f"use one of {', '.join(choices)}"
        raise SettingsError(f"{where}: unknown {option_name(of.name)} {value!r}", cure)
    low, high = of.metadata.get("minimum"), of.metadata.get("maximum")
    if low is not None and not low <= value <= high:
        raise SettingsError(f"{where} must lie between {low} and {high}, not {value}")
    return check_libs_dir(value, where) if of.name == "libs_dir" else value


def check_libs_dir(value: str, where: str) -> str:
    """The suffix of the directory of grafted libraries, if it can be one.

    :raises SettingsError: if it is empty or leads elsewhere.
    """
    if not re.fullmatch(LIBS_DIR, value):
        raise SettingsError(f"{where} must be the end of a directory's name, not {value!r}")
    return value


def make_schema() -> str:
    """The JSON schema (draft 7) of ``[tool.portable-backend]``, as text."""
    properties = {option_name(each.name): _schema_of(each) for each in model_fields()}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "[tool.portable-backend]",
        "description": "Settings of the portable_backend build backend.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    return json.dumps(schema, indent=2) + "\n"


def _schema_of(of: dataclasses.Field[Any]) -> dict[str, Any]:
    kind = _kind(of)
    schema: dict[str, Any] = {"description": of.metadata["help"]}
    if kind == "list":
        schema.update(type="array", items={"type": "string"})
    elif kind == "table":
        schema.update(type="object")
        if of.name == "environment":
            schema.update(additionalProperties={"type": "string"})
    else:
        schema.update(type=kind)
    if "pattern" in of.metadata:
        schema.update(pattern=of.metadata["pattern"])
    if "choices" in of.metadata:
        schema.update(enum=list(of.metadata["choices"]))
    if "minimum" in of.metadata:
        schema.update(minimum=of.metadata["minimum"], maximum=of.metadata["maximum"])
    if of.default is not dataclasses.MISSING and of.default not in (None, ()):
        schema.update(default=of.default)
    return schema


def make_reference() -> str:
    """The settings as a Markdown page, so that they are described in one place only."""
    lines = [
        "# Settings",
        "",
        "Generated from the model in `settings.py`. Each setting can stand in `[tool.portable-backend]` of",
        "`pyproject.toml`, in the environment, or on the command line of any frontend as a config setting;",
        "the later wins:",
        "",
        "| `pyproject.toml` | environment | config setting | meaning | default |",
        "|---|---|---|---|---|",
    ]
    for each in model_fields():
        name, table_only = option_name(each.name), each.metadata.get("table_only")
        default = each.default if each.default not in (dataclasses.MISSING, None, ()) else ""
        words = [f"`{word}`" for word in each.metadata.get("choices", ())]
        choices = f" One of {', '.join(words)}." if words else ""
        variable = "" if table_only else f"`{_variable_name(name)}`"
        setting = "" if table_only else f"`{PREFIX}{name}`"
        shown = f"`{str(default).lower() if isinstance(default, bool) else default}`" if default != "" else ""
        lines.append(f"| `{name}` | {variable} | {setting} | {each.metadata['help']}{choices} | {shown} |")
    lines += [
        "",
        "Lists take commas in the environment and in config settings, where a key may also be given several times;",
        "`environment` takes `NAME=value`. `PORTABLE_BACKEND_MODE=off` wins over every other source.",
        "",
        "`PORTABLE_BACKEND_TRACEBACK=1`, which is no setting, shows a traceback with an error.",
        "",
    ]
    return "\n".join(lines)
