"""cibuildwheel's build identifiers and the patterns that select among them. Pure.

An identifier is ``cp312-manylinux_x86_64``: an interpreter and a platform without a version. Sources: cibuildwheel's
documentation of ``build``, ``skip``, ``enable`` and ``archs``; its list of identifiers, as of version 4.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Optional

from ..errors import SettingsError
from ..records import NamedTuple

_CPYTHON = [f"cp3{minor}" for minor in range(9, 16)]
_THREADED = ["cp313t", "cp314t", "cp315t"]
_PYPY = ["pp39", "pp310", "pp311", "pp312"]
PYTHONS = (*_CPYTHON, *_THREADED, *_PYPY)
ARCHES = ("x86_64", "i686", "aarch64", "ppc64le", "s390x", "armv7l", "riscv64")
LIBCS = ("manylinux", "musllinux")
# What has to be enabled; PyPy's versions that its makers no longer look after are a group of their own.
_GROUPS = {"pypy": ("pp311", "pp312"), "pypy-eol": ("pp39", "pp310"), "cpython-freethreading": ("cp313t",)}
# Groups that change nothing here: nothing of them is built for Linux, or its builds are not known to be any good.
OTHER_GROUPS = ("cpython-prerelease", "graalpy", "pyodide-eol", "pyodide-prerelease", "pyodide")
_MOST_PATTERNS = 1000


class Build(NamedTuple):
    """One build of cibuildwheel's."""

    python: str
    libc: str
    arch: str

    @property
    def identifier(self) -> str:
        """As patterns are compared with it."""
        return f"{self.python}-{self.libc}_{self.arch}"


# Those that there are no interpreters for are among them: whatever is said of them is true.
EVERY = tuple(Build(python, libc, arch) for python in PYTHONS for libc in LIBCS for arch in ARCHES)


def expand(pattern: str) -> list[str]:
    """A pattern without braces for each way to choose from its braces, as a shell does.

    :raises SettingsError: if that are too many.
    """
    done: list[str] = []
    waiting = [pattern]
    while waiting:
        text = waiting.pop()
        inner = re.search(r"\{([^{}]*,[^{}]*)\}", text)
        if inner is None:
            done.append(text)
        else:
            waiting += [text[: inner.start()] + each + text[inner.end() :] for each in reversed(inner[1].split(","))]
        if len(done) + len(waiting) > _MOST_PATTERNS:
            raise SettingsError(f"the selector {pattern[:60]!r} of cibuildwheel stands for too many patterns")
    return list(dict.fromkeys(done))


def matches(patterns: Iterable[str], build: Build) -> bool:
    """Whether one of the patterns selects the build; they have no braces any more."""
    return any(fnmatchcase(build.identifier, pattern) for pattern in patterns)


def expand_all(patterns: Sequence[str]) -> list[str]:
    """All patterns, without braces."""
    return [each for pattern in patterns for each in expand(pattern)]


def architectures(words: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The architectures that ``archs`` stands for, and whether they are those of the machine, whatever it is.

    :raises SettingsError: for a word that names none.
    """
    found: list[str] = []
    own = not words
    for word in words or ("auto",):
        if word in ("auto", "native", "auto64"):
            own = True
            found.append("x86_64")
        elif word == "auto32":
            found.append("i686")
        elif word == "all":
            found += ARCHES
        elif word in ARCHES:
            found.append(word)
        elif word not in ("universal2", "arm64", "AMD64", "x86", "ARM64", "wasm32", "arm64_v8a"):  # of other systems
            raise SettingsError(f"archs of cibuildwheel: unknown architecture {word!r}")
    unique = tuple(dict.fromkeys(found))
    return unique, own and unique == ("x86_64",)


def select(
    build: Sequence[str], skip: Sequence[str], enable: Sequence[str], arches: Sequence[str], requires: Optional[str]
) -> list[Build]:
    """The builds that are asked for.

    :param requires: ``requires-python`` of the project.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        allowed = SpecifierSet(requires or "")
    except InvalidSpecifier:
        raise SettingsError(f"requires-python in [project] is no version specifier: {requires!r}") from None
    hidden = {
        each for group, members in _GROUPS.items() if group not in enable and "all" not in enable for each in members
    }
    wanted, unwanted = expand_all(build or ["*"]), expand_all(skip)
    return [
        each
        for each in EVERY
        if each.arch in arches
        and _exists(each)
        and each.python not in hidden
        and allowed.contains(f"{_version(each.python)}.99")
        and matches(wanted, each)
        and not matches(unwanted, each)
    ]


def _exists(build: Build) -> bool:
    """Whether the published images have the interpreter: PyPy's are for glibc and three architectures."""
    return not build.python.startswith("pp") or (
        build.libc == "manylinux" and build.arch in ("x86_64", "i686", "aarch64")
    )


def _version(python: str) -> str:
    return f"3.{python[3:].rstrip('t')}"


def python_words(pythons: Iterable[str]) -> tuple[str, ...]:
    """Interpreters as our command line names them: ``3.12``, ``3.13t``, ``pp311``."""
    return tuple(each if each.startswith("pp") else f"3.{each[3:]}" for each in sorted(pythons, key=PYTHONS.index))


def conditions(builds: Iterable[Build], hints: Sequence[str]) -> list[dict[str, object]]:
    """What an override of ours has to ask to apply to these builds and no others; several where one cannot say it.

    :param hints: patterns that users wrote; one that says the same as a list of interpreters is kept.
    """
    platforms: dict[str, set[tuple[str, str]]] = {}
    for build in builds:
        platforms.setdefault(build.python, set()).add((build.libc, build.arch))
    groups: dict[frozenset[tuple[str, str]], list[str]] = {}
    for python in PYTHONS:
        if python in platforms:
            groups.setdefault(frozenset(platforms[python]), []).append(python)
    asked: list[dict[str, object]] = []
    for where, pythons in groups.items():
        for condition in _platform_conditions(where):
            words = _python_condition(pythons, hints)
            # A condition has to ask something; this one is always true.
            asked.append({**condition, **words} or {"python": "*"})
    return asked


def _platform_conditions(where: frozenset[tuple[str, str]]) -> list[dict[str, object]]:
    by_libc = {libc: [arch for arch in ARCHES if (libc, arch) in where] for libc in LIBCS}
    if by_libc["manylinux"] == by_libc["musllinux"]:
        return [_arch_condition(by_libc["manylinux"])]
    return [{"target": f"{libc}_*", **_arch_condition(arches)} for libc, arches in by_libc.items() if arches]


def _arch_condition(arches: list[str]) -> dict[str, object]:
    if len(arches) == len(ARCHES):
        return {}
    return {"arch": arches[0] if len(arches) == 1 else arches}


def _python_condition(pythons: list[str], hints: Sequence[str]) -> dict[str, object]:
    if len(pythons) == len(PYTHONS):
        return {}
    heads = dict.fromkeys(hint.partition("-")[0] for hint in hints if "-" in hint)
    for pattern in ("cp*", "pp*", *heads):
        if pythons == [each for each in PYTHONS if fnmatchcase(each, pattern)]:
            return {"python": pattern}
    return {"python": pythons[0] if len(pythons) == 1 else pythons}
