"""cibuildwheel's options in our words: settings, command lines, and a reason for each that has no counterpart. Pure.

cibuildwheel resolves an option for each build: the global table, then that of Linux, then the overrides that select the
build, each of which may replace, append or prepend. So does this: the options are resolved and translated for every
build that cibuildwheel knows; what holds for most becomes the settings, what differs becomes overrides of ours, whose
conditions are those builds. What selects builds becomes command lines, for selecting is the command's matter.

Source: cibuildwheel's documentation and the schema of its options, version 4.3.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from ..errors import SettingsError
from ..records import NamedTuple
from . import selectors
from .selectors import EVERY, Build

PLATFORMS = ("linux", "macos", "windows", "android", "ios", "pyodide")
_COMMANDS = ("before-all", "before-build", "before-test", "test-command", "repair-wheel-command", "audit-command")
_WORDS = ("build", "skip", "test-skip", "enable", "archs", "environment-pass", "test-groups")
_QUOTED = ("test-requires", "test-sources", "audit-requires", "xbuild-tools")
_VARIABLES = ("environment", "test-environment")
_TABLES = ("container-engine", "build-frontend", "dependency-versions", "test-runtime", "xbuild-files")
_IMAGE = re.compile(r"(manylinux|musllinux)-(?:pypy_)?([a-z0-9_]+)-image")
_POLICY = re.compile(r"(manylinux_2_[0-9]+|musllinux_1_[0-9]+|manylinux(?:1|2010|2014))(?![0-9])")
# What cibuildwheel builds in where nothing is said.
_DEFAULT_POLICIES = {"armv7l": "manylinux_2_31", "riscv64": "manylinux_2_39"}
# What has no counterpart wherever it stands, and why.
REASONS: Mapping[str, str] = {
    "audit-command": "extension modules with a stable ABI tag are judged by every build (abi3-check); another command"
    " can run on the finished wheels",
    "audit-requires": "see audit-command",
    "build-verbosity": "what the inner backend prints is shown; --quiet hides it",
    "dependency-versions": "portable-backend pins no tools; the versions of build requirements are the project's",
    "pyodide-version": "Pyodide's wheels stay with cibuildwheel",
    "test-runtime": "it is for Android's and iOS's simulators; those wheels stay with cibuildwheel",
    "xbuild-files": "it is for cross builds of Android and iOS; those wheels stay with cibuildwheel",
    "xbuild-tools": "it is for cross builds of Android and iOS; those wheels stay with cibuildwheel",
}
# Options of which something is said only where their value asks for something special.
_SELECTING = ("build", "skip", "enable", "archs")
KNOWN = frozenset((*_COMMANDS, *_WORDS, *_QUOTED, *_VARIABLES, *_TABLES, *REASONS, "test-extras", "config-settings"))
_TOOLS = frozenset({"CC", "CXX", "FC", "LD", "AR", "NM", "RANLIB"})
# What an override has to say to take back a setting that holds for the others.
_UNSET: Mapping[str, Any] = {
    "mode": "repair",
    "strip": False,
    "only-target-tag": False,
    "isa-check": True,
    "libs-dir": ".libs",
    "compression-level": 6,
    "container.engine": "auto",
}


class Translation(NamedTuple):
    """What became of the options.

    :param settings: for ``[tool.portable-backend]``.
    :param commands: command lines that build what the selectors select.
    :param notes: what has no counterpart, and why, a line each.
    """

    settings: Mapping[str, Any]
    commands: tuple[str, ...]
    notes: tuple[str, ...]


class _Ours(NamedTuple):
    """The options of one build in our words.

    :param flat: settings by dotted names.
    :param policy: what it is built for, as ``manylinux_2_28``.
    :param arguments: for the command line.
    """

    flat: dict[str, Any]
    policy: str
    arguments: tuple[str, ...]


def translate(table: Mapping[str, Any], requires_python: Optional[str]) -> Translation:
    """The options of a table ``[tool.cibuildwheel]``.

    :param requires_python: that of the project.
    :raises SettingsError: if an option has a value that cibuildwheel would not take either.
    """
    options = _Options(table)
    notes = _Notes()
    ours = {build: _translated(options.resolve(build), build, notes) for build in EVERY}
    if any(_needs_container(each.flat) for each in ours.values()):
        ours = {build: each._replace(flat=_in_container(each.flat, notes)) for build, each in ours.items()}
    else:
        notes.add(
            "nothing in it needs a container, so zig builds; `portable-backend init --container` builds in images"
        )
    for each in ours.values():
        _warn_of_places(each.flat, notes)
    settings = _settings(ours, options, notes)
    commands = _commands(ours, options, requires_python, notes)
    _tell_the_rest(options, notes)
    return Translation(settings, commands, tuple(notes.lines))


def removable(table: Mapping[str, Any]) -> Optional[tuple[str, ...]]:
    """What of the table nothing but Linux builds need: an empty tuple for all of it, ``None`` for nothing.

    Where there are tables of other systems, those need what is said for all.
    """
    if not any(name in table for name in PLATFORMS if name != "linux"):
        return ()
    only = ("linux", "environment-pass", "container-engine")
    return tuple(key for key in table if key in only or _IMAGE.fullmatch(key)) or None


class _Notes:
    """What has to be said, each thing once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        if line not in self.lines:
            self.lines.append(line)


# --- cibuildwheel's options, resolved --------------------------------------------------------------------------------


class _Level(NamedTuple):
    """Options that stand together: how they join those before them, and the builds that they are for."""

    values: Mapping[str, Any]
    inherit: Mapping[str, str]
    select: Optional[list[str]]


class _Options:
    """The table, with values in one form each: lists, or tables of strings."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.table = table
        self.levels = [_level(table, "[tool.cibuildwheel]", None)]
        linux = table.get("linux", {})
        self.levels.append(_level(as_table(linux, "[tool.cibuildwheel.linux]"), "[tool.cibuildwheel.linux]", None))
        overrides = table.get("overrides", [])
        if not (isinstance(overrides, list) and all(isinstance(each, dict) for each in overrides)):
            raise SettingsError("overrides in [tool.cibuildwheel] must be an array of tables")
        for number, each in enumerate(overrides, 1):
            where = f"[[tool.cibuildwheel.overrides]] number {number}"
            patterns = _strings(each.get("select", ""), f"select in {where}", str.split)
            if not patterns:
                raise SettingsError(f"{where} must say in select which builds it is for")
            self.levels.append(_level(each, where, selectors.expand_all(patterns)))

    def names(self) -> list[str]:
        """The options that are set anywhere, in the order in which they come."""
        return list(dict.fromkeys(name for level in self.levels for name in level.values))

    def resolve(self, build: Optional[Build]) -> dict[str, Any]:
        """The values for one build, or before overrides."""
        values: dict[str, Any] = {}
        for level in self.levels:
            if level.select is not None and (build is None or not selectors.matches(level.select, build)):
                continue
            for name, value in level.values.items():
                values[name] = _joined(values.get(name), value, level.inherit.get(name, "none"))
        return values

    def hints(self) -> list[str]:
        """All patterns of overrides, and of builds that are not tested."""
        patterns = [pattern for level in self.levels for pattern in level.select or ()]
        return patterns + selectors.expand_all(self.resolve(None).get("test-skip", []))


def as_table(value: Any, where: str = "[tool.cibuildwheel]") -> Mapping[str, Any]:
    """A value that has to be a table.

    :raises SettingsError: if it is none.
    """
    if not isinstance(value, dict):
        raise SettingsError(f"{where} must be a table, not {value!r}")
    return value


def _level(table: Mapping[str, Any], where: str, select: Optional[list[str]]) -> _Level:
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in (*PLATFORMS, "overrides", "select", "inherit"):
            values[name] = _normal(name, value, f"{name} in {where}")
    inherit = table.get("inherit", {})
    if isinstance(inherit, str):
        pairs = (each.partition(":") for each in inherit.split(";") if each.strip())
        inherit = {name.strip(): rule.strip() for name, _, rule in pairs}
    for name, rule in as_table(inherit, f"inherit in {where}").items():
        if rule not in ("none", "append", "prepend"):
            raise SettingsError(f"inherit in {where}: {name} must be none, append or prepend, not {rule!r}")
    return _Level(values, inherit, select)


def _normal(name: str, value: Any, where: str) -> Any:
    if name in _COMMANDS:
        return [each.strip() for each in _strings(value, where, lambda text: [text]) if each.strip()]
    if name in _WORDS:
        return _strings(value, where, str.split)
    if name in _QUOTED:
        return _strings(value, where, lambda text: _split(text, where))
    if name == "test-extras":
        return [each.strip() for each in _strings(value, where, lambda text: text.split(",")) if each.strip()]
    if name in _VARIABLES:
        return {key: each[-1] if isinstance(each, list) else each for key, each in _pairs(value, where).items()}
    if name == "config-settings":
        return _pairs(value, where)
    if name in _TABLES and isinstance(value, str):
        return _keyed(value)
    return value


def _strings(value: Any, where: str, split: Any) -> list[str]:
    if isinstance(value, str):
        return list(split(value))
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return list(value)
    raise SettingsError(f"{where} must be a string or a list of strings, not {value!r}")


def _split(text: str, where: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}: {text!r}") from None


def _pairs(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        words = [word.partition("=") for word in _split(value, where)]
        if not all(name and equals for name, equals, _ in words):
            raise SettingsError(f"{where} must look like NAME=value, not {value!r}")
        found: dict[str, Any] = {}
        for name, _, text in words:  # a name may come several times; of variables, the last one wins
            found[name] = [*found[name], text] if name in found else [text]
        return {name: texts[0] if len(texts) == 1 else texts for name, texts in found.items()}
    for name, each in as_table(value, where).items():
        if not isinstance(each, (str, int, float)) and not (isinstance(each, list) and each):
            raise SettingsError(f"{name} in {where} must be a string, not {each!r}")
    return {
        name: [_text(part) for part in each] if isinstance(each, list) else _text(each) for name, each in value.items()
    }


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _keyed(text: str) -> dict[str, Any]:
    """``docker; create_args: --x --y`` as the table that it stands for."""
    first, *more = text.split(";")
    table: dict[str, Any] = {"name": first.strip()}
    for each in more:
        key, _, value = each.partition(":")
        table[key.strip().replace("_", "-")] = value.split()
    return table


def _joined(before: Any, after: Any, rule: str) -> Any:
    if rule == "none" or before is None:
        return after
    one, two = (before, after) if rule == "append" else (after, before)
    if isinstance(before, list) and isinstance(after, list):
        return [*one, *two]
    return {**one, **two} if isinstance(before, dict) and isinstance(after, dict) else after


# --- one build in our words ------------------------------------------------------------------------------------------


def _translated(options: Mapping[str, Any], build: Build, notes: _Notes) -> _Ours:
    flat: dict[str, Any] = {}
    policy, reference = _image(options, build)
    asked = _repair(options, flat, notes)
    if asked is not None and asked.startswith(build.libc):
        policy = asked
    if reference is not None:
        flat["container.images"] = {f"{policy}_{build.arch}": reference}
        if not _POLICY.search(reference):
            notes.add(
                f"the image {reference} does not say what it promises: taken for {policy}; mend its key if it is more"
            )
    for option, ours in (
        ("before-all", "container.before-all"),
        ("before-build", "container.before-build"),
        ("environment", "environment"),
        ("environment-pass", "container.environment-pass"),
    ):
        if options.get(option):
            flat[ours] = options[option]
    _test(options, build, flat, notes)
    engine = options.get("container-engine")
    if isinstance(engine, Mapping) and engine.get("name"):
        flat["container.engine"] = engine["name"]
        for key in engine:
            if key.replace("_", "-") == "create-args":
                notes.add(
                    "container-engine: create-args has no counterpart: containers are made the same way everywhere"
                )
    return _Ours(flat, policy, _arguments(options, notes))


def _image(options: Mapping[str, Any], build: Build) -> tuple[str, Optional[str]]:
    """The policy that a build's image stands for, and the image's name where it is not one of the published."""
    name = f"{build.libc}-{build.arch}-image"
    if build.python.startswith("pp"):
        name = f"{build.libc}-pypy_{build.arch}-image" if f"{build.libc}-pypy_{build.arch}-image" in options else name
    usual = "musllinux_1_2" if build.libc == "musllinux" else _DEFAULT_POLICIES.get(build.arch, "manylinux_2_28")
    value = options.get(name)
    if not isinstance(value, str) or not value:
        return usual, None
    found = _POLICY.search(value)
    return (found[1] if found else usual), (None if found and found[0] == value else value)


def _test(options: Mapping[str, Any], build: Build, flat: dict[str, Any], notes: _Notes) -> None:
    commands = [*options.get("before-test", []), *options.get("test-command", [])]
    if options.get("before-test"):
        notes.add("before-test: runs first in test.command, when the wheel is installed already")
    if commands and not selectors.matches(selectors.expand_all(options.get("test-skip", [])), build):
        flat["test.command"] = commands
    for option in ("test-requires", "test-extras", "test-groups", "test-sources", "test-environment"):
        if options.get(option):
            flat[option.replace("test-", "test.")] = options[option]
    paths = [each for each in flat.get("test.requires", ()) if re.match(r"[./{]", each)]
    if paths:
        flat["test.requires"] = [each for each in flat["test.requires"] if each not in paths]
        if not flat["test.requires"]:
            del flat["test.requires"]
        for each in paths:
            notes.add(f"test-requires: {each!r} is a path; a command can install it, as `pip install {{project}}/…`")


def _arguments(options: Mapping[str, Any], notes: _Notes) -> tuple[str, ...]:
    words: list[str] = []
    for name, value in options.get("config-settings", {}).items():
        for each in value if isinstance(value, list) else [value]:
            words += ["-C", f"{name}={each}"]
    frontend = options.get("build-frontend")
    if isinstance(frontend, Mapping):
        for each in frontend.get("args", ()):
            if each == "--no-isolation":
                words.append(each)
            else:
                notes.add(f"build-frontend: its argument {each} has no counterpart")
    return tuple(words)


def _repair(options: Mapping[str, Any], flat: dict[str, Any], notes: _Notes) -> Optional[str]:
    """What ``repair-wheel-command`` asks auditwheel for; the policy of its ``--plat`` is returned."""
    commands = options.get("repair-wheel-command")
    if commands is None:
        return None
    if not commands:
        flat["mode"] = "off"
        notes.add('repair-wheel-command: it is empty, which is mode = "off"; take that out to get portable wheels')
        return None
    policy: Optional[str] = None
    for command in (part.strip() for each in commands for part in each.split("&&")):
        words = _split(command, "repair-wheel-command")
        at = next((number for number, word in enumerate(words) if word == "repair" and number), None)
        if at is None or "auditwheel" not in words[:at]:
            notes.add(f"repair-wheel-command: `{command}` has no counterpart: wheels are repaired by the build itself")
            continue
        for word in words[:at]:
            if word.startswith("LD_LIBRARY_PATH="):
                flat["ldpaths"] = [each for each in word.partition("=")[2].split(":") if each and "$" not in each]
        policy = _auditwheel(words[at + 1 :], flat, notes) or policy
    return policy


# auditwheel's flags by ours; and those that take a value.
_FLAGS: Mapping[str, tuple[str, Any]] = {
    "--strip": ("strip", True),
    "--only-plat": ("only-target-tag", True),
    "--disable-isa-ext-check": ("isa-check", False),
}
_NEEDLESS = ("-v", "--verbose", "--allow-pure-python-wheel")


def _auditwheel(words: Sequence[str], flat: dict[str, Any], notes: _Notes) -> Optional[str]:
    policy: Optional[str] = None
    for option, value in _options_of(words):
        if option in _FLAGS:
            ours, said = _FLAGS[option]
            flat[ours] = said
        elif option == "--exclude":
            flat["exclude"] = [*flat.get("exclude", []), value]
        elif option in ("-L", "--lib-sdir"):
            flat["libs-dir"] = value
        elif option == "--ldpaths":
            flat["ldpaths"] = [each for each in value.split(":") if each]
        elif option in ("-z", "--zip-compression-level", "--zip-level") and value.isdecimal():
            flat["compression-level"] = int(value)
        elif option == "--plat":
            found = _POLICY.match(value)
            policy = found[1] if found else None
        elif option not in ("-w", "--wheel-dir", *_NEEDLESS):
            notes.add(f"repair-wheel-command: auditwheel's {option} has no counterpart")
    return policy


def _options_of(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with their values; what is no option, as ``{wheel}``, is left out."""
    single = (*_FLAGS, *_NEEDLESS, "--no-update-tags", "--no-copy-site-libs")
    left = list(words)
    while left:
        word = left.pop(0)
        option, equals, value = word.partition("=")
        if not word.startswith("-"):
            continue
        if word.startswith("--") and equals:
            yield option, value
        elif re.match(r"-[wLz].", word):
            yield word[:2], word[2:]
        elif word in single:
            yield word, ""
        else:
            yield word, left.pop(0) if left else ""


def _needs_container(flat: Mapping[str, Any]) -> bool:
    """Whether something of it is only in an image: a command's result, a value of its own, a toolchain by its name."""
    variables = flat.get("environment", {})
    named = any("$" in value for value in variables.values()) or not _TOOLS.isdisjoint(variables)
    return named or any(name.startswith("container.") for name in flat)


def _in_container(flat: Mapping[str, Any], notes: _Notes) -> dict[str, Any]:
    """The same where a container is: the variables are its own, in which ``$NAME`` means something."""
    moved = {("container.environment" if name == "environment" else name): value for name, value in flat.items()}
    variables = moved.get("container.environment", {})
    kept = {name: value for name, value in variables.items() if not re.search(r"\$\(|`", value)}
    for name in variables.keys() - kept.keys():
        notes.add(
            f"environment: {name} = {variables[name]!r} runs a command, which values do not; a command can set it"
        )
    if kept:
        moved["container.environment"] = kept
    else:
        moved.pop("container.environment", None)
    return moved


def _warn_of_places(flat: Mapping[str, Any], notes: _Notes) -> None:
    """cibuildwheel puts the project into ``/project`` and this machine into ``/host``."""
    for name, value in flat.items():
        texts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        for place, instead in (("/project", "commands may say {project}"), ("/host", "nothing is mounted")):
            if any(re.search(rf"(?<![\w./}}]){place}(?![\w.-])", str(text)) for text in texts):
                notes.add(f"{name}: names {place}, which is a place in cibuildwheel's containers: {instead}")


# --- all builds together ---------------------------------------------------------------------------------------------


def _settings(ours: Mapping[Build, _Ours], options: _Options, notes: _Notes) -> dict[str, Any]:
    """Settings for all, and overrides for builds that differ."""
    base = _base(ours, options)
    differing: dict[str, tuple[dict[str, Any], list[Build]]] = {}
    for build, each in ours.items():
        delta = _delta(base, each.flat, notes)
        if delta:
            differing.setdefault(repr(sorted(delta.items())), (delta, []))[1].append(build)
    settings = _nested(base)
    if any(_needs_container(each.flat) for each in ours.values()):
        settings.setdefault("container", {})
    overrides = [
        {"if": condition, **_nested(delta)}
        for delta, builds in differing.values()
        for condition in selectors.conditions(builds, options.hints())
    ]
    if overrides:
        settings["overrides"] = overrides
    return settings


def _base(ours: Mapping[Build, _Ours], options: _Options) -> dict[str, Any]:
    """What holds before overrides; of the images, all, for each has a name of its own in the table."""
    notes, before = _Notes(), options.resolve(None)
    skipped = {key: value for key, value in before.items() if key != "test-skip"}
    base = _translated(skipped, EVERY[0], notes).flat
    images: dict[str, str] = {}
    for build in EVERY:
        flat = _translated(skipped, build, notes).flat
        for name, reference in flat.get("container.images", {}).items():
            images.setdefault(name, reference)
    base.pop("container.images", None)
    if any(_needs_container(each.flat) for each in ours.values()):
        base = _in_container(base, notes)
    return {**base, "container.images": images} if images else base


def _delta(base: Mapping[str, Any], flat: Mapping[str, Any], notes: _Notes) -> dict[str, Any]:
    delta: dict[str, Any] = {}
    for name in dict.fromkeys((*base, *flat)):
        old, new = base.get(name), flat.get(name)
        if name.endswith("environment") or name == "container.images":  # these are merged name by name
            changed = {key: value for key, value in (new or {}).items() if (old or {}).get(key) != value}
            if changed:
                delta[name] = changed
            for key in set(old or {}) - set(new or {}) if name != "container.images" else ():
                notes.add(f"{name}: {key} is set for all builds; an override of ours cannot take a variable away")
        elif old != new:
            delta[name] = new if new is not None else _UNSET.get(name, [])
    return delta


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in flat.items():
        table, dot, inner = name.partition(".")
        if dot:
            settings.setdefault(table, {})[inner] = value
        else:
            settings[name] = value
    return settings


def _commands(
    ours: Mapping[Build, _Ours], options: _Options, requires: Optional[str], notes: _Notes
) -> tuple[str, ...]:
    said = options.resolve(None)
    arches, own = selectors.architectures(said.get("archs", []))
    enable = said.get("enable", [])
    chosen = selectors.select(said.get("build", []), said.get("skip", []), enable, arches, requires)
    for group in enable:
        if group in ("graalpy", "all"):
            notes.add("enable: GraalPy's wheels are not built")
        if group in ("cpython-prerelease", "all"):
            notes.add("enable: an interpreter that is not released yet is built for when --python names it")
    by_target: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for build in chosen:
        each = ours[build]
        target = each.policy if own else f"{each.policy}_{build.arch}"
        by_target.setdefault((target, each.arguments), []).append(build.python)
    together: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (target, arguments), pythons in by_target.items():
        together.setdefault((selectors.python_words(pythons), arguments), []).append(target)
    if not chosen:
        notes.add("build, skip: they select nothing for Linux")
    return tuple(_command(pythons, targets, arguments) for (pythons, arguments), targets in together.items())


def _command(pythons: Sequence[str], targets: Sequence[str], arguments: Sequence[str]) -> str:
    from .github import spans

    words = ["portable-backend", "build", "."]
    for python in spans(pythons):
        words += ["--python", python]
    for target in targets:
        words += ["--target", target]
    return shlex.join([*words, *arguments])


def _tell_the_rest(options: _Options, notes: _Notes) -> None:
    """What has not been spoken of: options that have no counterpart, tables of other systems, words unknown to us."""
    for name in options.names():
        if name in REASONS:
            notes.add(f"{name}: {REASONS[name]}")
        elif name == "build-frontend":
            notes.add("build-frontend: `portable-backend build` is one; any other does as well")
        elif name not in KNOWN and not _IMAGE.fullmatch(name):
            notes.add(f"{name}: cibuildwheel 4.3 has no such option")
    for number, level in enumerate(options.levels[2:], 1):
        if not any(selectors.matches(level.select or (), build) for build in EVERY):
            notes.add(f"override number {number}: selects no build for Linux; it stays with cibuildwheel")
    for name in PLATFORMS:
        if name != "linux" and name in options.table:
            notes.add(
                f"[tool.cibuildwheel.{name}]: those wheels stay with cibuildwheel, which reads the table as before"
            )
    for level in options.levels[2:]:
        for name in _SELECTING:
            if name in level.values:
                notes.add(f"{name} in an override: cibuildwheel ignores it there")
