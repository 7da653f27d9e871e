"""Settings for some builds only: which overrides apply to what is planned, and what the settings are with them. Pure.

An override asks for the target, and an override may choose the strategy, which the default target depends on. So the
plan is made without overrides, those that match are applied, and the plan that follows has to match the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Optional

from .errors import SettingsError
from .plan import InnerBackend, Request, choose_strategy, choose_target
from .settings import Override, Settings, flat_values, is_plain, is_specifier, make_settings
from .targets import Arch, Libc, PlatformTag, parse_target

if TYPE_CHECKING:
    from .interpreters import Interpreter
    from .machine import HostFacts

# musl does not tell its version without being run; this is the policy of everything that is still maintained.
_MUSL_VERSION = (1, 2)


@dataclass(frozen=True)
class Circumstances:
    """What conditions are compared with.

    :param target: the platform tag that is built for; ``None`` where only the container's image knows.
    """

    target: Optional[PlatformTag]
    arch: Arch
    python: Interpreter


def resolve_overrides(
    settings: Settings, request: Request, inner: InnerBackend, host: HostFacts, python: Interpreter
) -> Settings:
    """The settings with all overrides applied that match the build; none are left to apply.

    :raises SettingsError: if the overrides that match change the plan so that others match.
    """
    before = _circumstances(settings, request, inner, host, python)
    matching = matching_overrides(settings.overrides, before)
    applied = apply_overrides(settings, matching)
    after = _circumstances(applied, request, inner, host, python)
    changed = [each for each in settings.overrides if (each in matching) != matches(each, after)]
    if changed:
        raise SettingsError(
            f"the overrides contradict each other: with those that apply, the target is {_spoken(after)} instead of"
            f" {_spoken(before)}, and then {changed[0].origin}"
            f" {'applies no longer' if changed[0] in matching else 'applies, too'}",
            "set target or strategy outside the overrides, or ask for arch or python instead of target",
        )
    return applied


def _spoken(circumstances: Circumstances) -> str:
    return "unknown" if circumstances.target is None else str(circumstances.target)


def matching_overrides(overrides: Sequence[Override], circumstances: Circumstances) -> tuple[Override, ...]:
    """Those that apply, in their order."""
    return tuple(each for each in overrides if matches(each, circumstances))


def matches(override: Override, circumstances: Circumstances) -> bool:
    """Whether all conditions hold."""
    hold = {
        "target": lambda pattern: _target_matches(pattern, circumstances.target),
        "arch": lambda pattern: fnmatchcase(circumstances.arch.value, pattern),
        "python": lambda pattern: _python_matches(pattern, circumstances.python),
    }
    return all(any(map(hold[name], patterns)) for name, patterns in override.conditions.items())


def apply_overrides(settings: Settings, overrides: Sequence[Override]) -> Settings:
    """The settings with overrides that match; what environment or config settings say stays as it is."""
    values, origins = flat_values(settings), dict(settings.origins)
    for override in overrides:
        for name, value in override.values.items():
            if name in settings.origins and not settings.from_project(name):
                continue
            values[name] = _merged(values.get(name), value)
            if name != "container" or "container" not in origins:  # a table is from where it was first mentioned
                origins[name] = override.origin
    return make_settings(values, origins)


def _merged(value: Any, new: Any) -> Any:
    return {**(value or {}), **new} if isinstance(new, Mapping) else new


def _circumstances(
    settings: Settings, request: Request, inner: InnerBackend, host: HostFacts, python: Interpreter
) -> Circumstances:
    strategy, _ = choose_strategy(request, settings, inner, host)
    target, _ = choose_target(request, settings, strategy, host)
    if target is None and strategy != "container":
        target = _own_tag(request, host)
    return Circumstances(target, request.arch if target is None else target.arch, python)


def _own_tag(request: Request, host: HostFacts) -> Optional[PlatformTag]:
    """The tag of what this machine builds without further ado."""
    if request.libc is Libc.MUSL:
        return PlatformTag(Libc.MUSL, _MUSL_VERSION, request.arch)
    return None if host.libc_version is None else PlatformTag(Libc.GLIBC, host.libc_version, request.arch)


def _target_matches(pattern: str, target: Optional[PlatformTag]) -> bool:
    if target is None:
        return False
    if is_plain(pattern):
        return parse_target(pattern, target.arch) == target
    bare = [name[: -len(target.arch.value) - 1] for name in target.names]
    return any(fnmatchcase(name, pattern) for name in (*target.names, *bare))


def _python_matches(pattern: str, python: Interpreter) -> bool:
    if is_specifier(pattern):
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(pattern).contains(python.short_version)
    threads = "t" if python.free_threaded else ""
    names = [python.short_version + threads]
    short = {"cpython": "cp", "pypy": "pp"}.get(python.implementation)
    if short is not None:
        names.append(f"{short}{python.version[0]}{python.version[1]}{threads}")
    return any(fnmatchcase(name, pattern) for name in names)
