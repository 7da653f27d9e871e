"""``pyproject.toml`` edited so that a project uses us; comments, order, quotes and line ends stay as they are. Pure.

tomlkit edits what is there. Whole tables that are new are written at the end of the file, and keys that are new right
behind a line that is known, because "at the end of a table" is, to a reader, often the comment of the next one. What
came out is parsed again by another parser and compared with what it should say.
"""

from __future__ import annotations

import copy
import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..errors import SettingsError, StrategyBlocked
from ..records import NamedTuple
from .undoing import newline_of, split_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OUR_REQUIREMENT = "portable-backend"
OUR_BACKEND = "portable_backend"
_OUR_TABLE = "tool.portable-backend"
_WIDE = 100


class Changes(NamedTuple):
    """What shall become of a ``pyproject.toml``.

    :param requires: what is put into ``build-system.requires``; the whole of it where there is none yet.
    :param backend: whether ``build-backend`` shall name us.
    :param settings: for ``[tool.portable-backend]``, with those of nested tables in tables.
    :param force: names among them that replace what is there; others do not.
    :param remove: keys of ``[tool.cibuildwheel]`` to remove; an empty tuple removes the table, ``None`` nothing.
    :param comment: a line above what is new in ``[tool.portable-backend]``.
    """

    requires: tuple[str, ...]
    backend: bool
    settings: Mapping[str, Any]
    force: frozenset[str] = frozenset()
    remove: Optional[tuple[str, ...]] = None
    comment: Optional[str] = None


def parse_pyproject(text: str, where: str) -> dict[str, Any]:
    """The values of a ``pyproject.toml``.

    :raises SettingsError: if it is not TOML, with the line.
    """
    if text.startswith("\ufeff"):
        raise SettingsError(
            f"{where}: starts with a byte order mark, which pip and other frontends refuse", "save it without the mark"
        )
    try:
        return dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: {error}", "mend the file first") from None


def edit_pyproject(text: str, changes: Changes) -> str:
    """The text with the changes made; the same text where everything is so already.

    :raises SettingsError: if the file is written in a way that cannot be edited and leave the rest as it is.
    :raises StrategyBlocked: if tomlkit is missing.
    """
    uniform = newline_of(text) == "\r\n" and text.count("\n") == text.count("\r\n")
    old = dict(tomllib.loads(text))
    wanted = _expected(old, changes)
    if wanted == old:
        return text
    edited = _edited(text.replace("\r\n", "\n") if uniform else text, old, changes)
    edited = edited.replace("\n", "\r\n") if uniform else edited
    try:
        said = _ordered(dict(tomllib.loads(edited)), changes)
    except tomllib.TOMLDecodeError:
        said = {}
    if said != wanted:
        raise SettingsError(
            "pyproject.toml is written such that it cannot be edited without harm to the rest of it",
            f"edit it yourself; it should say\n{_by_hand(changes)}",
        )
    return edited


# --- what it should say ----------------------------------------------------------------------------------------------


def _expected(old: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    data = copy.deepcopy(dict(old))
    if changes.requires or changes.backend:
        system = data.setdefault("build-system", {})
        system["requires"] = [*changes.requires, *system.get("requires", [])]
        if changes.backend:
            system["build-backend"] = OUR_BACKEND
            system.pop("backend-path", None)
    settings = _missing(_ours(data), changes.settings, changes.force)
    if settings:
        _merge(data.setdefault("tool", {}).setdefault("portable-backend", {}), settings)
    if changes.remove is not None:
        _remove(data["tool"], changes.remove)
    return data


def _ordered(data: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """What was put into the requirements, wherever, in front of them: the order says nothing."""
    requires = data.get("build-system", {}).get("requires")
    if requires is not None:
        new = [each for each in changes.requires if each in requires]
        data["build-system"]["requires"] = [*new, *(each for each in requires if each not in new)]
    return data


def _remove(tool: Any, keys: Sequence[str]) -> None:
    for key in keys:
        tool["cibuildwheel"].pop(key, None)
    if not keys or not tool["cibuildwheel"]:
        del tool["cibuildwheel"]


def _ours(data: Mapping[str, Any]) -> Mapping[str, Any]:
    table: Mapping[str, Any] = data.get("tool", {}).get("portable-backend", {})
    return table


def _missing(table: Mapping[str, Any], settings: Mapping[str, Any], force: frozenset[str]) -> dict[str, Any]:
    """The settings that are not there yet; those that are forced also where another value is there."""
    missing: dict[str, Any] = {}
    for key, value in settings.items():
        there = table.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            inner = _missing(there, value, frozenset())
            if inner:
                missing[key] = inner
        elif key not in table or (key in force and there != value):
            missing[key] = value
    return missing


def _merge(table: dict[str, Any], settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, Mapping) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = copy.deepcopy(value)


# --- how it says it --------------------------------------------------------------------------------------------------


def _edited(text: str, old: Mapping[str, Any], changes: Changes) -> str:
    import_tomlkit()
    if changes.requires or changes.backend:
        text = _with_system(text, old, changes)
    settings = _missing(_ours(old), changes.settings, changes.force)
    if settings:
        text = _with_settings(text, _ours(old), settings, changes.comment)
    if changes.remove is not None:
        document = _parsed(text)
        _remove(document["tool"], changes.remove)
        text = document.as_string()
    return text


def import_tomlkit() -> Any:
    """The library that edits TOML.

    :raises StrategyBlocked: if it is not installed.
    """
    try:
        return importlib.import_module("tomlkit")
    except ImportError:
        raise StrategyBlocked(
            "editing pyproject.toml needs the library tomlkit, which is not installed",
            'pip install "portable-backend[init]"',
        ) from None


def _parsed(text: str) -> Any:
    document = import_tomlkit().parse(text)
    if document.as_string() != text:
        raise SettingsError("pyproject.toml is written in a way that tomlkit would change", "edit it yourself")
    return document


def _with_system(text: str, old: Mapping[str, Any], changes: Changes) -> str:
    if "build-system" not in old:
        requires = f"requires = {_value(list(changes.requires))}"
        return _appended(text, ["[build-system]", requires, f'build-backend = "{OUR_BACKEND}"'])
    document = _parsed(text)
    system: Any = document["build-system"]
    if "requires" not in system:
        system["requires"] = list(changes.requires)
    else:
        for requirement in changes.requires:
            _put(system["requires"], requirement)
    if changes.backend:
        if "build-backend" in system or _header_line(text, "build-system") is None:
            system["build-backend"] = OUR_BACKEND
        else:
            trivia = system["requires"].trivia
            trivia.trail = f'\n{trivia.indent}build-backend = "{OUR_BACKEND}"{trivia.trail}'
        if "backend-path" in system:
            del system["backend-path"]
    return str(document.as_string())


def _put(array: Any, requirement: str) -> None:
    """First where each has a line of its own, so that no comma is added to another's; last otherwise.

    tomlkit may put what is last behind a comment, and so into it: then it comes first as well.
    """
    own_lines = re.match(r"\[[ \t]*(#[^\n]*)?\r?\n", array.as_string()) and len(array)
    trial = copy.deepcopy(array)
    trial.append(requirement)
    try:
        fits = tomllib.loads(f"trial = {trial.as_string()}")["trial"] == [*array.unwrap(), requirement]
    except tomllib.TOMLDecodeError:
        fits = False
    if own_lines or not fits:
        array.insert(0, requirement)
    else:
        array.append(requirement)


def _header_line(text: str, name: str) -> Optional[int]:
    """The number of the line behind ``[name]``, if the table is written with one."""
    header = re.compile(rf"[ \t]*\[[ \t]*{re.escape(name)}[ \t]*\][ \t]*(#[^\n]*)?\r?\n?")
    return next((at + 1 for at, line in enumerate(split_lines(text)) if header.fullmatch(line)), None)


def _with_settings(text: str, table: Mapping[str, Any], settings: Mapping[str, Any], comment: Optional[str]) -> str:
    above = [] if comment is None else [f"# {comment}"]
    if not table and _header_line(text, _OUR_TABLE) is None:
        return _appended(text, [*above, *_table_lines(_OUR_TABLE, settings)])
    return _with_more(text, _OUR_TABLE, table, settings, above)


def _with_more(
    text: str, name: str, table: Mapping[str, Any], settings: Mapping[str, Any], above: Sequence[str]
) -> str:
    """More keys in a table that is there, and more tables in it."""
    plain = {key: value for key, value in settings.items() if not _is_table(key, value)}
    text = _with_replaced(text, name, {key: value for key, value in plain.items() if key in table})
    new = [line for key, value in plain.items() if key not in table for line in _assignment(key, value)]
    at = _header_line(text, name)
    if new and at is not None:
        end, lines = newline_of(text), split_lines(text)
        if not lines[at - 1].endswith("\n"):
            lines[at - 1] += end
        text = "".join([*lines[:at], *(line + end for line in [*above, *new]), *lines[at:]])
    elif new:  # there are only tables in it; where its keys are dotted, the check of the result refuses
        text = _appended(text, [*above, f"[{name}]", *new])
    for key, value in settings.items():
        if key in plain:
            continue
        if isinstance(value, Mapping) and key in table:
            text = _with_more(text, f"{name}.{key}", table[key], value, [])
        else:
            text = _appended(text, _table_lines(f"{name}.{key}", value))
    return text


def _with_replaced(text: str, name: str, values: Mapping[str, Any]) -> str:
    if not values:
        return text
    document = _parsed(text)
    place: Any = document
    for part in name.split("."):
        place = place[part]
    for key, value in values.items():
        place[key] = value
    return str(document.as_string())


def _appended(text: str, lines: Sequence[str]) -> str:
    """Lines at the end, behind an empty one."""
    end = newline_of(text)
    if text and not text.endswith("\n"):
        text += end
    if text and split_lines(text)[-1].strip():
        text += end
    return text + "".join(line + end for line in lines)


def _is_table(key: str, value: Any) -> bool:
    """Whether a value gets a header of its own; a few variables fit on a line."""
    return (isinstance(value, Mapping) and key != "environment") or _is_tables(value)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _table_lines(name: str, values: Any) -> list[str]:
    if _is_tables(values):
        return [line for each in values for line in ["", f"[[{name}]]", *_flat_lines(each)]][1:]
    plain = {key: value for key, value in values.items() if not _is_table(key, value)}
    lines = [f"[{name}]"] if plain or not values else []
    lines += [line for key, value in plain.items() for line in _assignment(key, value)]
    for key, value in values.items():
        if key not in plain:
            lines += ([""] if lines else []) + _table_lines(f"{name}.{_key(key)}", value)
    return lines


def _flat_lines(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """An override: its nested tables by dotted keys, so that it stays one piece."""
    lines: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and key not in ("if", "environment"):
            lines += _flat_lines(value, f"{prefix}{key}.")
        else:
            lines += _assignment(f"{prefix}{key}", value)
    return lines


def _assignment(key: str, value: Any) -> list[str]:
    return f"{key} = {_value(value)}".split("\n")


def _value(value: Any) -> str:
    """A value as TOML; a list on several lines where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    items = [_value(each) for each in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= _WIDE else "\n".join(["[", *(f"  {item}," for item in items), "]"])


def _string(text: str) -> str:
    # JSON's strings are TOML's but for DEL; a literal string spares backslashes to whoever reads a command.
    if ("\\" in text or '"' in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _by_hand(changes: Changes) -> str:
    lines: list[str] = []
    if changes.requires or changes.backend:
        lines += ["[build-system]", f"requires = {_value([*changes.requires, '…'])}"]
        lines += [f'build-backend = "{OUR_BACKEND}"'] if changes.backend else []
    if changes.settings:
        lines += _table_lines(_OUR_TABLE, changes.settings)
    return "\n".join(f"    {line}" for line in lines)
