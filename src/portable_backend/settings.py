"""The settings: one frozen model that TOML, environment, config settings, schema and documentation are made from.

Precedence: config settings (``-C portable-backend.<name>=…``) over environment (``PORTABLE_BACKEND_<NAME>``) over
``[tool.portable-backend]`` over the default; ``PORTABLE_BACKEND_MODE=off`` wins over everything, so that a
distributor need not patch any project. Each value knows where it came from. Unknown names are errors.

A setting inside a nested table is called by both names, as ``container.keep-container``. Overrides are read here and
applied in :mod:`portable_backend.overrides`: whether one applies depends on what is planned.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Optional

from .errors import SettingsError
from .policy.policy import check_graft
from .targets import Arch, parse_arch, parse_target

PREFIX = "portable-backend."
_ENVIRONMENT_PREFIX = "PORTABLE_BACKEND_"
# Variables that steer the programme rather than one build; they are no settings of a project.
_NOT_SETTINGS = frozenset({"PORTABLE_BACKEND_TRACEBACK", "PORTABLE_BACKEND_USER_TOOLCHAIN"})
# Those that the zig strategy gives to its tools, in case one of these builds something else with us.
_TOOLCHAIN_PREFIX = "PORTABLE_BACKEND_ZIG"
LIBS_DIR = r"^[A-Za-z0-9._-]+$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
# Strict at the start only, where a reference could be taken for an option: engines know several transports.
_IMAGE = r"^[A-Za-z0-9\[][A-Za-z0-9_.:/@+\[\]-]*$"
_POLICY = r"^(manylinux_2_[0-9]{1,3}|musllinux_1_[0-9]{1,3}|manylinux1|manylinux2010|manylinux2014)(_[A-Za-z0-9_-]+)?$"
_RELATIVE = r"^(?![/\\])(?![A-Za-z]:).+$"
_INSIDE = r"^(?![/\\])(?![A-Za-z]:)(?!(.*[/\\])?\.\.([/\\]|$)).+$"
_SPECIFIER_SIGNS = ("<", ">", "=", "!", "~")
STRATEGIES = ("auto", "host", "zig", "container")
MODES = ("repair", "check", "off")
ENGINES = ("auto", "docker", "podman")
TABLE = "[tool.portable-backend]"
_OVERRIDES = "[[tool.portable-backend.overrides]]"
# What an override may ask, with the sentence that schema and documentation repeat.
CONDITIONS: Mapping[str, str] = {
    "target": "Shell pattern, or several, for the platform tag that is built for, with or without its architecture.",
    "arch": "Shell pattern, or several, for the architecture that is built for.",
    "python": "Version specifier as >=3.12, or shell pattern as cp312 or 3.13t, or several, for the interpreter.",
}
# Settings that no override may make, and why.
FIXED: Mapping[str, str] = {
    "target": "the target decides which overrides apply",
    "inner-backend": "the inner backend is asked for its requirements before overrides apply",
    "inner-backend-path": "the inner backend is asked for its requirements before overrides apply",
}


def _setting(default: Any, text: str, **more: Any) -> Any:
    """A field of the model: its default and one sentence that schema, documentation and help repeat.

    ``pattern`` restricts strings (those in a list, the values of a table) and ``shape`` says so in words; ``keys``
    restricts the names in a table; ``check`` is called with the value and its source for what no pattern can say;
    ``split`` says whether text is taken apart at commas; ``group`` is the model of a nested table.
    """
    metadata = {"help": text, **more}
    if isinstance(default, (list, dict)):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def _check_images(images: Mapping[str, str], where: str) -> None:
    """Names that mean the same image's place would make the choice depend on their order."""
    seen: dict[tuple[str, bool], str] = {}
    for name in images:
        try:
            # Two defaults give two tags only where the name itself has no architecture.
            tag, other = parse_target(name, Arch.X86_64), parse_target(name, Arch.AARCH64)
        except SettingsError as error:
            raise SettingsError(f"{where}: {error.message}", error.cure) from None
        first = seen.setdefault((str(tag), tag == other), name)
        if first != name:
            raise SettingsError(f"{where}: {first} and {name} mean the same", "leave one out")


@dataclass(frozen=True)
class ContainerSettings:
    """What a user may say about the container strategy, in ``[tool.portable-backend.container]``."""

    image: Optional[str] = _setting(
        None, "The image to build in, whatever the target.", pattern=_IMAGE, shape="the reference of an image"
    )
    images: Mapping[str, str] = _setting(
        {},
        "Images by policy or platform tag, as manylinux_2_28 or musllinux_1_2_aarch64.",
        pattern=_IMAGE,
        shape="the reference of an image",
        keys=_POLICY,
        keys_shape="policies or platform tags, as manylinux_2_28 or musllinux_1_2_x86_64",
        check=_check_images,
        split=True,
    )
    engine: str = _setting("auto", "The container engine.", choices=ENGINES)
    pull: str = _setting("missing", "When the image is fetched.", choices=("missing", "always", "never"))
    before_all: tuple[str, ...] = _setting(
        (), "Shell commands that prepare the image; the result is kept and used again.", commands=True
    )
    before_build: tuple[str, ...] = _setting(
        (), "Shell commands that run in the container before each build.", commands=True
    )
    environment: Mapping[str, str] = _setting(
        {},
        "Variables to set in the container only; $NAME and ${NAME} stand for the container's own.",
        keys=_VARIABLE,
        keys_shape="names of variables",
    )
    environment_pass: tuple[str, ...] = _setting(
        (), "Names (shell patterns) of variables that enter the container as they are outside."
    )
    network: bool = _setting(True, "Whether the build proper can reach the network.")
    keep_container: str = _setting(
        "never", "Whether the container is left for looking into it.", choices=("never", "on-failure")
    )
    root: Optional[str] = _setting(
        None,
        "The directory that is sent, relative to the project; the root of the git work tree, else the project.",
        pattern=_RELATIVE,
        shape="a path relative to the project",
    )
    include: tuple[str, ...] = _setting(
        (), "Files (shell patterns) that are sent although the version control system ignores them."
    )
    exclude: tuple[str, ...] = _setting((), "Files (shell patterns) that are not sent.")
    cache: bool = _setting(True, "Keep the caches of package managers and compilers, and the result of before-all.")


@dataclass(frozen=True)
class TrialSettings:
    """How a wheel is tried before it is handed out, in ``[tool.portable-backend.test]``. No hook looks at it."""

    command: tuple[str, ...] = _setting(
        (),
        "Shell commands that test the wheel, one after the other; the first that fails fails the build.",
        commands=True,
    )
    requires: tuple[str, ...] = _setting((), "Requirements of the tests, installed beside the wheel.", split=False)
    extras: tuple[str, ...] = _setting((), "Extras of the wheel to install for the tests.")
    groups: tuple[str, ...] = _setting((), "Dependency groups of pyproject.toml (PEP 735) to install for the tests.")
    sources: tuple[str, ...] = _setting(
        (),
        "Files and directories of the project that are copied to where the tests run.",
        pattern=_INSIDE,
        shape="paths inside the project",
    )
    environment: Mapping[str, str] = _setting(
        {}, "Variables to set for the tests.", keys=_VARIABLE, keys_shape="names of variables"
    )
    timeout: int = _setting(
        0,
        "Seconds that each command, and each import of `--smoke`, may take before it is ended and has failed; 0: any.",
        minimum=0,
        maximum=86400,
    )


@dataclass(frozen=True)
class Override:
    """Settings for some builds only.

    :param conditions: by name of a condition the patterns of which one must match; all conditions must hold.
    :param values: by name of a setting (``container.before_all``); a nested table's own name says that it is there.
    :param origin: where it stands and what it asks, in words.
    """

    conditions: Mapping[str, tuple[str, ...]]
    values: Mapping[str, Any]
    origin: str


@dataclass(frozen=True)
class Settings:
    """What a user may say. ``origins`` tells for each field that is not a default where its value came from.

    ``overrides`` are those not applied yet.
    """

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
    graft: tuple[str, ...] = _setting(
        (),
        "Sonames (shell patterns) to graft although the policy promises them; never those of the C library.",
        check=check_graft,
    )
    strip: bool = _setting(False, "Remove symbol tables and debugging data from the native files of the wheel.")
    clear_execstack: bool = _setting(False, "Take the wish for an executable stack out of native files.")
    isa_check: bool = _setting(
        True, "Hold instruction-set requirements beyond the architecture's baseline against the wheel."
    )
    abi3_check: bool = _setting(
        True, "Hold a stable ABI tag (abi3, abi3t) against the wheel that is not true of every extension module in it."
    )
    only_target_tag: bool = _setting(False, "Name no platform tag but the target, even where an older one is true.")
    libs_dir: str = _setting(
        ".libs",
        "Appended to the distribution's name for the directory of grafted libraries.",
        pattern=LIBS_DIR,
        shape="the end of a directory's name",
    )
    ldpaths: tuple[str, ...] = _setting((), "Directories that are searched for libraries before the system's.")
    compression_level: int = _setting(6, "Deflate level of members that are written anew.", minimum=0, maximum=9)
    environment: Mapping[str, str] = _setting(
        {}, "Variables to set for the inner backend.", keys=_VARIABLE, keys_shape="names of variables"
    )
    container: Optional[ContainerSettings] = field(
        default=None,
        metadata={
            "help": "Settings of the container strategy; any of them being there chooses that strategy.",
            "group": ContainerSettings,
        },
    )
    test: Optional[TrialSettings] = field(
        default=None,
        metadata={"help": "How the command tests a wheel before it hands it out.", "group": TrialSettings},
    )
    overrides: tuple[Override, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def origin(self, name: str) -> str:
        """Where a field's value came from, in words; ``name`` may be that of a nested one (``container.image``)."""
        return self.origins.get(name, "the default")

    def from_project(self, name: str) -> bool:
        """Whether the project itself gave the value, rather than whoever builds it, or nobody."""
        return self.origin(name).startswith(("[tool.", "[[tool."))


def model_fields(model: type[Any] = Settings) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a model that are settings."""
    return tuple(each for each in fields(model) if "help" in each.metadata)


def option_name(name: str) -> str:
    """A field's name as TOML and config settings spell it."""
    return name.replace("_", "-")


# Settings and nested tables, by their name in the table.
NAMES = {option_name(each.name): each for each in model_fields()}
_GROUPS = {name: each.metadata["group"] for name, each in NAMES.items() if "group" in each.metadata}
_IN_GROUPS = {name: {option_name(each.name): each for each in model_fields(model)} for name, model in _GROUPS.items()}
# All that hold a value, by the name that config settings give them.
LEAVES = {name: each for name, each in NAMES.items() if name not in _GROUPS}
LEAVES.update({f"{group}.{name}": each for group, names in _IN_GROUPS.items() for name, each in names.items()})
_BY_OPTION = {option: option for option in LEAVES}
_BY_VARIABLE = {option.replace(".", "-"): option for option in LEAVES}  # in variables, all marks are underscores


def _attribute(option: str) -> str:
    return option.replace("-", "_")


def variable_name(option: str) -> str:
    """An option's name as the environment spells it."""
    return _ENVIRONMENT_PREFIX + re.sub("[-.]", "_", option).upper()


class _Values:
    """Values by the (dotted) name of their field, each with its origin; what comes later replaces what was there."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def take(self, option: str, value: Any, origin: str) -> None:
        name = _attribute(option)
        self.values[name], self.origins[name] = value, origin
        group = name.partition(".")[0]
        if group != name and group not in self.values:
            self.values[group], self.origins[group] = True, origin


def parse_settings(
    table: Mapping[str, Any],
    environ: Mapping[str, str],
    config_settings: Optional[Mapping[str, Any]] = None,
) -> Settings:
    """Make the settings of one build.

    :param table: ``[tool.portable-backend]`` as TOML gave it. Its overrides are read and not applied: see
        :func:`portable_backend.overrides.resolve_overrides`.
    :param config_settings: as a frontend passed them; those without our prefix are the inner backend's.
    :raises SettingsError: for a name or a value that makes no sense, with a suggestion.
    """
    taken = _Values()
    for option, value in _read_table(table, TABLE, ("overrides",)):
        group = option.partition(".")[0]
        taken.take(option, value, f"[tool.portable-backend.{group}]" if group in _GROUPS else TABLE)
    for variable, text in sorted(environ.items()):
        # A variable that is set to nothing is how CI systems leave one out.
        if _is_setting(variable) and text:
            key = variable[len(_ENVIRONMENT_PREFIX) :].lower().replace("_", "-")
            option = _known(key, _BY_VARIABLE, variable, variable_name)
            taken.take(option, _from_text(option, text, variable), f"the variable {variable}")
    for key, given in (config_settings or {}).items():
        if key.startswith(PREFIX):
            option = _known(key[len(PREFIX) :], _BY_OPTION, f"config setting {key}", lambda name: PREFIX + name)
            taken.take(option, _from_text(option, given, f"config setting {key}"), f"the config setting {key}")
    if environ.get("PORTABLE_BACKEND_MODE") == "off":
        taken.take("mode", "off", "the variable PORTABLE_BACKEND_MODE")
    return make_settings(taken.values, taken.origins, _read_overrides(table.get("overrides", [])))


def make_settings(
    values: Mapping[str, Any], origins: Mapping[str, str], overrides: tuple[Override, ...] = ()
) -> Settings:
    """Settings from values by (dotted) name, as :func:`flat_values` gives them."""
    given = {name: value for name, value in values.items() if "." not in name}
    for group, model in _GROUPS.items():
        if group in given:
            inside = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{group}.")}
            given[group] = model(**inside)
    return Settings(**given, overrides=overrides, origins=dict(origins))


def flat_values(settings: Settings) -> dict[str, Any]:
    """All values by name, those of a nested table that is there by both names; the table itself is ``True``."""
    values = {each.name: getattr(settings, each.name) for each in model_fields()}
    for group, model in _GROUPS.items():
        nested = values.pop(group)
        if nested is not None:
            values[group] = True
            values.update({f"{group}.{each.name}": getattr(nested, each.name) for each in model_fields(model)})
    return values


def inner_settings(config_settings: Optional[Mapping[str, Any]]) -> Optional[dict[str, Any]]:
    """The config settings that belong to the inner backend, untouched; ``None`` stays ``None``."""
    if config_settings is None:
        return None
    return {key: value for key, value in config_settings.items() if not key.startswith(PREFIX)}


# --- names -----------------------------------------------------------------------------------------------------------


def _is_setting(variable: str) -> bool:
    ours = variable.startswith(_ENVIRONMENT_PREFIX) and variable not in _NOT_SETTINGS
    return ours and not variable.startswith(_TOOLCHAIN_PREFIX)


def _known(key: str, names: Mapping[str, str], where: str, spell: Callable[[str], str]) -> str:
    """The option that ``key`` is among ``names``; ``spell`` says how its source would spell another."""
    if key in names:
        return names[key]
    if key in _GROUPS:
        example = f"{key}.{next(iter(_IN_GROUPS[key]))}"
        raise SettingsError(f"unknown setting: {where}", f"{key} is a table; set what is in it, as {spell(example)}")
    close = difflib.get_close_matches(key.replace("_", "-"), names, 1, 0.6)
    meant = [names[each] for each in close] or [each for each in LEAVES if each.endswith(f".{key}")]
    cure = f"did you mean {spell(meant[0])}?" if meant else f"the settings are {', '.join(sorted(names.values()))}"
    raise SettingsError(f"unknown setting: {where}", cure)


# --- values ----------------------------------------------------------------------------------------------------------


def _read_table(table: Mapping[str, Any], where: str, leave: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The options in a TOML table and in those nested in it. A nested table comes before what is in it, as ``True``.

    :param leave: keys that are read elsewhere.
    """
    for key, value in table.items():
        if key in leave:
            continue
        _known(key, {each: each for each in NAMES}, f"{key!r} in {where}", str)
        if key not in _GROUPS:
            yield key, _from_toml(key, value, f"{key} in {where}")
            continue
        if not isinstance(value, dict):
            raise SettingsError(f"{key} in {where} must be a table, not {value!r}")
        yield key, True
        for inner, given in value.items():
            inside = f"{where[:-1]}.{key}]" if where == TABLE else f"{key} of {where}"
            _known(inner, {each: each for each in _IN_GROUPS[key]}, f"{inner!r} in {inside}", str)
            yield f"{key}.{inner}", _from_toml(f"{key}.{inner}", given, f"{inner} in {inside}")


def kind_of(of: dataclasses.Field[Any]) -> str:
    """``string``, ``boolean``, ``integer``, ``list``, ``commands`` or ``table``, from what the model gives."""
    default = of.default if of.default_factory is dataclasses.MISSING else of.default_factory()
    kinds = {bool: "boolean", int: "integer", tuple: "list", dict: "table"}
    return "commands" if of.metadata.get("commands") else kinds.get(type(default), "string")


def _from_toml(option: str, value: Any, where: str) -> Any:
    of = LEAVES[option]
    kind = kind_of(of)
    if kind == "commands" and isinstance(value, str):
        value = [value]
    fits = {
        "string": lambda: isinstance(value, str),
        "boolean": lambda: isinstance(value, bool),
        "integer": lambda: isinstance(value, int) and not isinstance(value, bool),
        "list": lambda: _are_strings(value),
        "commands": lambda: _are_strings(value),
        "table": lambda: isinstance(value, dict),
    }
    if not fits[kind]():
        words = {"list": "a list of strings", "commands": "a string or a list of strings", "table": "a table"}
        raise SettingsError(f"{where} must be {words.get(kind, f'a {kind}')}, not {value!r}")
    if kind == "table" and not _are_strings(list(value.values())):
        raise SettingsError(f"{where} must map names to strings")
    return _checked(of, tuple(value) if kind in ("list", "commands") else value, where)


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _texts(given: Any) -> list[str]:
    """What a frontend passes for one key: text, a list of texts where it came several times, or what JSON has."""
    if isinstance(given, bool):
        return [str(given).lower()]
    if isinstance(given, Mapping):
        return [f"{name}={value}" for name, value in given.items()]
    return list(map(str, given)) if isinstance(given, (list, tuple)) else [str(given)]


def _from_text(option: str, given: Any, where: str) -> Any:
    """A value from the command line or the environment."""
    of, texts = LEAVES[option], _texts(given)
    kind = kind_of(of)
    # A command, or the value of a variable, may hold commas of its own.
    if of.metadata.get("split", kind == "list"):
        texts = [part for text in texts for part in text.split(",") if part.strip()]
    if kind in ("list", "commands"):
        return _checked(of, tuple(text.strip() for text in texts if text.strip()), where)
    if kind == "table":
        return _checked(of, dict(_assignment(text, where) for text in texts), where)
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
    return name.strip(), value


def _boolean(text: str, where: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise SettingsError(f"{where} must be true or false, not {text!r}")


def _checked(of: dataclasses.Field[Any], value: Any, where: str) -> Any:
    rules = of.metadata
    choices = rules.get("choices")
    if choices is not None and value not in choices:
        close = difflib.get_close_matches(str(value), choices, 1)
        cure = f"did you mean {close[0]}?" if close else f"use one of {', '.join(choices)}"
        raise SettingsError(f"{where}: unknown {option_name(of.name)} {value!r}", cure)
    low, high = rules.get("minimum"), rules.get("maximum")
    if low is not None and not low <= value <= high:
        raise SettingsError(f"{where} must lie between {low} and {high}, not {value}")
    if "keys" in rules:
        _match(rules["keys"], value, f"the names in {where} must be {rules['keys_shape']}")
    if "pattern" in rules:
        texts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else [value]
        _match(rules["pattern"], texts, f"{where} must be {rules['shape']}")
    if "check" in rules:
        rules["check"](value, where)
    return value


def _match(pattern: str, texts: Iterable[str], message: str) -> None:
    for text in texts:
        if not re.fullmatch(pattern, text):
            raise SettingsError(f"{message}, not {text!r}")


def check_libs_dir(value: str, where: str) -> str:
    """The suffix of the directory of grafted libraries, if it can be one.

    :raises SettingsError: if it is empty or leads elsewhere.
    """
    return str(_checked(LEAVES["libs-dir"], value, where))


# --- overrides -------------------------------------------------------------------------------------------------------


def _read_overrides(entries: Any) -> tuple[Override, ...]:
    if not (isinstance(entries, list) and all(isinstance(each, dict) for each in entries)):
        raise SettingsError(f"overrides in {TABLE} must be an array of tables, not {entries!r}", f"write {_OVERRIDES}")
    return tuple(_read_override(entry, f"{_OVERRIDES} number {number}") for number, entry in enumerate(entries, 1))


def _read_override(entry: Mapping[str, Any], where: str) -> Override:
    for key in entry:
        if key in FIXED:
            raise SettingsError(f"{key} in {where} cannot be overridden: {FIXED[key]}", f"set it in {TABLE}")
    conditions = entry.get("if", {})
    if not isinstance(conditions, dict) or not conditions:
        example = 'if = { target = "musllinux_*" }'
        raise SettingsError(f"{where} must have a table of conditions, named if", f"write, for example, {example}")
    patterns: dict[str, tuple[str, ...]] = {}
    for name, given in conditions.items():
        _known(name, {each: each for each in CONDITIONS}, f"condition {name!r} in {where}", str)
        patterns[name] = _read_patterns(name, given, f"{name} in the conditions of {where}")
    values = {_attribute(option): value for option, value in _read_table(entry, where, ("if",))}
    asked = ", ".join(f"{name} = {json.dumps(given, ensure_ascii=False)}" for name, given in conditions.items())
    return Override(patterns, values, f"{where} (if {asked})")


def _read_patterns(name: str, given: Any, where: str) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if not (_are_strings(texts) and texts and all(text.strip() for text in texts)):
        raise SettingsError(f"{where} must be a string or a list of strings, not {given!r}")
    return tuple(_read_pattern(name, text.strip(), where) for text in texts)


def _read_pattern(name: str, text: str, where: str) -> str:
    """A pattern, checked for what could never match: a plain word that names nothing, a version that is none."""
    try:
        if name == "python" and is_specifier(text):
            _check_specifiers(text)
        elif not is_plain(text):
            return text
        elif name == "python" and not re.fullmatch(r"([cp]p[0-9]{2,3}|[0-9]+\.[0-9]+)t?", text):
            raise SettingsError(f"{text!r} names no interpreter", "write, for example, 3.12, cp312 or >=3.12")
        elif name == "arch":
            return parse_arch(text).value
        elif name == "target":
            parse_target(text, Arch.X86_64)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error.message}", error.cure) from None
    return text


def is_plain(pattern: str) -> bool:
    """Whether a shell pattern can match itself only."""
    return not re.search(r"[*?\[]", pattern)


def is_specifier(pattern: str) -> bool:
    """Whether a condition on the interpreter is a version specifier, rather than a shell pattern."""
    return pattern.startswith(_SPECIFIER_SIGNS)


def _check_specifiers(text: str) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        specifiers = SpecifierSet(text)
    except InvalidSpecifier:
        raise SettingsError(f"{text!r} is no version specifier", "write, for example, >=3.12") from None
    for each in specifiers:
        # The interpreter in a container, which builds, need not be of the same bug-fix release as the one here.
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?(\.\*)?", each.version):
            raise SettingsError(f"{text!r} asks for more than a feature release", "write two numbers, as >=3.12")


# --- settings on their way to another process ------------------------------------------------------------------------


def settings_to_json(settings: Settings) -> dict[str, Any]:
    """The settings with their origins as what JSON has; :func:`settings_from_json` reads it."""
    written: dict[str, Any] = _plain_data(settings)
    return written


def _plain_data(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {each.name: _plain_data(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain_data(inner) for key, inner in value.items()}
    return [_plain_data(each) for each in value] if isinstance(value, (list, tuple)) else value


def settings_from_json(data: Mapping[str, Any]) -> Settings:
    """The settings that :func:`settings_to_json` wrote, of this same version of the programme."""
    values = {name: value for name, value in data.items() if name not in ("overrides", "origins")}
    for group in _GROUPS:
        nested = values.pop(group)
        if nested is not None:
            values[group] = True
            values.update({f"{group}.{name}": value for name, value in nested.items()})
    overrides = tuple(
        Override(
            {name: tuple(patterns) for name, patterns in each["conditions"].items()},
            _with_tuples(each["values"]),
            each["origin"],
        )
        for each in data["overrides"]
    )
    return make_settings(_with_tuples(values), data["origins"], overrides)


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
