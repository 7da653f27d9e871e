"""Which wheels a release consists of, and which of them may be built now. Pure.

Words of ``--python`` become wishes, wishes and the interpreters that there are become a selection, a selection and the
targets become jobs. What is built when is for :class:`Schedule` to say, who is told only what wheels are called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from ..errors import SettingsError, UsageError
from ..records import NamedTuple
from ..wheels.names import WheelName

_VERSION = re.compile(r"(?:(?:python|cpython|cp)-?)?3(?:\.([0-9]{1,2})(?:\.([0-9]{1,3}))?|([0-9]{1,2}))(t?)")
_PYPY = re.compile(r"(?:pypy|pp)-?(?:3\.?([0-9]{1,2}))?")
_CURE = "write versions as 3.12, 3.13t, cp312 or pypy3.10, ranges as 3.9-3.13 or 3.11-, all, or a path with a /"


class PythonName(NamedTuple):
    """What an interpreter is, as far as wheels are concerned."""

    implementation: str
    version: tuple[int, int]
    free_threaded: bool = False

    @property
    def tag(self) -> str:
        """As ``cp312``, ``cp313t`` or ``pp310``."""
        short = {"cpython": "cp", "pypy": "pp"}.get(self.implementation, self.implementation)
        return f"{short}{self.version[0]}{self.version[1]}{'t' if self.free_threaded else ''}"

    @property
    def spoken(self) -> str:
        """As ``3.12``, ``3.13t`` or ``pypy3.10``: what ``--python`` takes."""
        short = "" if self.implementation == "cpython" else self.implementation
        return f"{short}{self.version[0]}.{self.version[1]}{'t' if self.free_threaded else ''}"

    @property
    def rank(self) -> tuple[bool, bool, tuple[int, int], str]:
        """The order of a release: CPython by version, then without the lock, then others."""
        return self.implementation != "cpython", self.free_threaded, self.version, self.implementation


class Python(NamedTuple):
    """An interpreter that can be built for.

    :param version: as many numbers as are known, two or three.
    :param executable: its path on this machine; ``None`` for one that only an image has.
    """

    name: PythonName
    version: tuple[int, ...]
    executable: Optional[str] = None


class Wish(NamedTuple):
    """One word of ``--python``.

    :param low, high: the same where one version is asked for; ``None`` where a range is open.
    :param path: of an executable, if that is what the word is; then nothing else counts.
    """

    text: str
    implementation: str = "cpython"
    low: Optional[tuple[int, ...]] = None
    high: Optional[tuple[int, ...]] = None
    free_threaded: bool = False
    path: Optional[str] = None

    @property
    def single(self) -> bool:
        """Whether one interpreter is asked for, which then has to be there and to fit."""
        return self.path is not None or (self.low is not None and self.low == self.high)

    @property
    def names(self) -> Optional[list[PythonName]]:
        """What is asked for by name; ``None`` where it depends on what there is."""
        if self.low is None or self.high is None:
            return None
        minors = range(self.low[1], self.high[1] + 1)
        return [PythonName(self.implementation, (3, minor), self.free_threaded) for minor in minors]

    def takes(self, python: Python) -> bool:
        """Whether an interpreter is one of those asked for."""
        if self.path is not None:
            return python.executable == self.path
        if (self.implementation, self.free_threaded) != (python.name.implementation, python.name.free_threaded):
            return False
        low, high, version = self.low, self.high, python.version
        if low is not None and low == high and len(low) == 3:
            return version == low
        return (low is None or low[:2] <= version[:2]) and (high is None or version[:2] <= high[:2])


def parse_wishes(texts: Iterable[str]) -> tuple[Wish, ...]:
    """The wishes in the values of ``--python``, which may hold several each.

    :raises UsageError: for a word that is no version, range or path.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    wishes = tuple(_parse_wish(word) for word in words if word)
    if not wishes:
        raise UsageError("--python names nothing", _CURE)
    return wishes


def _parse_wish(word: str) -> Wish:
    if "/" in word:
        return Wish(word, path=word)
    if word == "all":
        return Wish(word)
    pypy = _PYPY.fullmatch(word)
    if pypy is not None:
        version = None if pypy[1] is None else (3, int(pypy[1]))
        return Wish(word, "pypy", version, version)
    one = _parse_version(word)
    if one is not None:
        return Wish(word, "cpython", one[0], one[0], one[1])
    first, dash, last = word.rpartition("-")
    low, high = _parse_version(first), _parse_version(last)
    if not dash or low is None or (last and high is None) or (high is not None and low[1] != high[1]):
        raise UsageError(f"--python {word}: no version, range or path of an interpreter", _CURE)
    if high is not None and high[0][:2] < low[0][:2]:
        raise UsageError(f"--python {word}: the range ends before it begins", f"write {last}-{first}")
    return Wish(word, "cpython", low[0][:2], None if high is None else high[0][:2], low[1])


def _parse_version(text: str) -> Optional[tuple[tuple[int, ...], bool]]:
    match = _VERSION.fullmatch(text)
    if match is None or (match[3] and not text.startswith("cp")):
        return None
    version = (3, int(match[1] or match[3])) + ((int(match[2]),) if match[2] else ())
    return version, bool(match[4])


class Selection(NamedTuple):
    """The interpreters that are built for, and a line for each that is not although it was asked for."""

    pythons: tuple[Python, ...]
    left_out: tuple[str, ...]


def choose(wishes: Sequence[Wish], found: Sequence[Python], requires: Optional[str], where: str) -> Selection:
    """Choose interpreters. Of equal ones the first that was found counts.

    :param requires: the project's ``requires-python``, ``None`` where it is not known.
    :param where: where interpreters were looked for, in words.
    :raises UsageError: if one that was asked for by name is missing, or a single one does not fit the project.
    """
    admits = _admission(requires)
    chosen: dict[PythonName, Python] = {}
    left: dict[str, None] = {}
    for wish in wishes:
        matching = [python for python in found if wish.takes(python)]
        if wish.single:
            matching = [_only(wish, matching, where)]
            if not admits(matching[0].version):
                message = f"--python {wish.text}: the project requires Python {requires}"
                raise UsageError(message, "leave it out, or change requires-python")
        _require_range(wish, matching, admits, where)
        for name in wish.names or ():
            if not admits(name.version):
                left[f"{name.spoken}: the project requires Python {requires}"] = None
        for python in matching:
            if admits(python.version):
                chosen.setdefault(python.name, python)
            elif not any(line.startswith(f"{python.name.spoken}:") for line in left):
                left[f"{python.name.spoken}: the project requires Python {requires}"] = None
    if not chosen:
        asked = ", ".join(wish.text for wish in wishes)
        wanted = f" that the project admits ({requires})" if left else ""
        raise UsageError(f"--python {asked}: no interpreter{wanted} {where}", "install one, or name another")
    return Selection(tuple(sorted(chosen.values(), key=lambda each: each.name.rank)), tuple(left))


def _only(wish: Wish, matching: Sequence[Python], where: str) -> Python:
    if not matching:
        raise UsageError(f"--python {wish.text}: no such interpreter {where}", "install it, or give its path")
    return matching[0]


def _require_range(wish: Wish, matching: Sequence[Python], admits: _Admission, where: str) -> None:
    """A range with two ends names interpreters, too: a release that lacks one without a word would be no help."""
    have = {python.name for python in matching}
    missing = [name.spoken for name in wish.names or () if name not in have and admits(name.version)]
    if missing:
        message = f"--python {wish.text}: no interpreter {', '.join(missing)} {where}"
        start = "" if wish.low is None else f"{wish.low[0]}.{wish.low[1]}-"
        raise UsageError(message, f"install it, or take those that there are: --python {start or 'all'}")


class _Admission:
    """Whether ``requires-python`` admits a version. One whose last number is not known is given the benefit."""

    def __init__(self, requires: Optional[str]) -> None:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            self._specifiers = SpecifierSet(requires or "")
        except InvalidSpecifier:
            message = f"requires-python is {requires!r}, which is no version specifier"
            raise SettingsError(message, 'write, for example, requires-python = ">=3.9"') from None

    def __call__(self, version: tuple[int, ...]) -> bool:
        texts = [".".join(map(str, version))]
        if len(version) == 2:
            texts = [f"{texts[0]}.{last}" for last in (0, 999)]
        return any(self._specifiers.contains(text, prereleases=True) for text in texts)


def _admission(requires: Optional[str]) -> _Admission:
    return _Admission(requires)


# --- jobs --------------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """One wheel of the release.

    :param asked: the target as it is handed to the build; ``None`` where the project or the default decides.
    :param target: the platform tag that comes of it; ``None`` for the best that is true.
    :param strategy: ``host``, ``zig`` or ``container``.
    :param tested: whether there is something to test the wheel with.
    :param obstacle: why it cannot be built, as data of the error, where that is known already.
    """

    python: Python
    asked: Optional[str]
    target: Optional[str]
    strategy: str
    tested: bool = False
    obstacle: Optional[Mapping[str, Any]] = None

    @property
    def label(self) -> str:
        """As ``cp311-manylinux_2_17_x86_64``; names the log."""
        return f"{self.python.name.tag}-{self.target or self.asked or 'best'}"


def distinct(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """The jobs without those that would build the same wheel again under another spelling of the target."""
    seen: dict[str, Job] = {}
    for job in jobs:
        seen.setdefault(job.label, job)
    return tuple(seen.values())


def is_pure(name: WheelName) -> bool:
    """Whether the wheel is for every platform."""
    return name.platform == "any"


def serves(name: WheelName, python: PythonName) -> bool:
    """Whether an interpreter can load a wheel, going by the tags of Python and ABI."""
    return any(_tag_serves(tag, abi, python) for tag in name.python.split(".") for abi in name.abi.split("."))


def _tag_serves(tag: str, abi: str, python: PythonName) -> bool:
    match = re.fullmatch(r"(py|cp|pp)3([0-9]{0,2})", tag)
    if match is None:
        return False
    minor = int(match[2]) if match[2] else 0
    own = {"cpython": "cp", "pypy": "pp"}.get(python.implementation)
    if abi == "none" and match[1] == "py":
        return minor <= python.version[1]
    if abi in ("abi3", "abi3t"):
        fits = python.free_threaded == (abi == "abi3t")
        return match[1] == "cp" == own and fits and minor <= python.version[1]
    if match[1] != own or minor != python.version[1]:
        return False
    return abi == "none" or own == "pp" or abi in (python.tag, f"{python.tag}d", f"{python.tag}m")


def covers(name: WheelName, target: Optional[str], job: Job) -> bool:
    """Whether a wheel that was built for ``target`` is the one that a job would build, or better."""
    return serves(name, job.python.name) and (is_pure(name) or target == job.target)


def is_shared(name: WheelName) -> bool:
    """Whether a wheel is for more than one interpreter, so that others of the release may need none of their own."""
    return "abi3" in name.abi or name.python.startswith("py")


class Schedule:
    """Which jobs may begin.

    Whether a project's wheel serves other interpreters (stable ABI) or all machines (pure Python) is known when the
    first is there, so the first job of a release runs alone. If its wheel is for that interpreter only, all others may
    begin. If it is shared, each further target begins with one job of its own, whose wheel then serves the rest.
    What this costs is at most the time of one job, in which the compiler has the machine to itself; what it saves is
    every build that would have been thrown away.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = list(jobs)
        self._running: list[Job] = []
        self._known: list[tuple[WheelName, Job]] = []

    @property
    def finished(self) -> bool:
        """Whether nothing waits or runs."""
        return not (self._waiting or self._running)

    def know(self, name: WheelName, job: Job) -> list[Job]:
        """Take note of a wheel, and give the waiting jobs that it makes needless."""
        self._known.append((name, job))
        covered = [each for each in self._waiting if covers(name, job.target, each)]
        self._waiting = [each for each in self._waiting if each not in covered]
        return covered

    def begin(self) -> Optional[Job]:
        """The next job that may begin, which it then does; ``None`` if there is none at the moment."""
        for job in self._waiting:
            if self._may_begin(job):
                self._waiting.remove(job)
                self._running.append(job)
                return job
        return None

    def end(self, job: Job) -> None:
        """A job has ended, well or not."""
        self._running.remove(job)

    def drop(self) -> list[Job]:
        """Begin nothing more; what was still to come."""
        left, self._waiting = self._waiting, []
        return left

    def _may_begin(self, job: Job) -> bool:
        if not self._known:
            return not self._running
        if not any(is_shared(name) for name, _ in self._known):
            return True
        same = [each for _, each in self._known if each.target == job.target]
        return bool(same) or not any(each.target == job.target for each in self._running)
