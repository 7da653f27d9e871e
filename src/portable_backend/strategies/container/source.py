"""Which files of a project travel into the container.

Of a git work tree everything travels that git tracks or would offer to add, from the work tree's top, so that a project
in a subdirectory finds its neighbours. What is ignored stays, and is not even looked into. The repository travels too,
since versions are read from tags: see :mod:`portable_backend.strategies.container.repository`.
"""

from __future__ import annotations

import glob
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Optional

from ...errors import BuildFailed, SettingsError
from .repository import Extra, ask_git, git_data, list_git, run_git

# What other programs put into a project for themselves, and make anew where it is missing.
_LEFT_NAMES = frozenset(
    {".tox", ".nox", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "node_modules"}
)
# What "**" in a pattern does not stand for: "**/*.so" is not meant to find those of a virtual environment.
_NOT_ANY = _LEFT_NAMES | {".git"}
_DISTRIBUTIONS = ("*.whl", "*.tar.gz")
_BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
_GIT_MODULE = b"160000"

_NO, _BELOW, _WHOLE = range(3)


@dataclass(frozen=True)
class Shipment:
    """What travels.

    :param root: the directory on this machine whose files travel: the work tree's top, or the project.
    :param project: the project's directory relative to ``root``, ``"."`` if they are the same.
    :param files: what travels of the tree, relative to ``root``, sorted; directories among them are empty ones.
    :param extra: the repository that travels with it.
    :param left: what stays because it is ignored or no build needs it; directories end in ``/``.
    :param size: bytes of the files and of the repository.
    :param untracked: those of ``files`` that git does not know, and that may vanish before they are sent.
    """

    root: Path
    project: str
    files: tuple[str, ...]
    extra: tuple[Extra, ...]
    left: tuple[str, ...]
    size: int
    untracked: frozenset[str] = field(repr=False, default=frozenset())


def plan_shipment(project: Path, root: Optional[str], include: Sequence[str], exclude: Sequence[str]) -> Shipment:
    """Decide which files travel.

    Where ``root`` names a directory below the work tree's top, no repository travels: git would take everything
    that stays for deleted.

    :param project: the project's directory.
    :param root: the directory to send, relative to the project; ``None`` for the work tree's top or else the project.
    :param include: shell patterns, relative to the root or to the project, of files that travel although ignored.
    :param exclude: shell patterns of files that do not travel.
    :raises SettingsError: if ``root`` does not contain the project.
    :raises BuildFailed: if the files cannot be listed.
    """
    project = project.resolve()
    top = _work_tree(project, project)
    base = _chosen_root(project, root) if root is not None else (top or project)
    if top is not None and (base == top or top in base.parents):
        around: Optional[Path] = top
    else:
        around = _work_tree(base, project)
    planner = _Planner(base, project, top, include, exclude)
    planner.plan(around)
    return planner.shipment()


def _chosen_root(project: Path, root: str) -> Path:
    base = (project / root).resolve()
    if base != project and base not in project.parents:
        raise SettingsError(
            f"container.root is {root!r}, and the project is not inside it", 'use ".", ".." or a longer way up'
        )
    if base == Path(base.anchor):
        raise SettingsError(f"container.root is {root!r}, which is the root of the file system")
    return base


def _work_tree(directory: Path, project: Path) -> Optional[Path]:
    """The top of the work tree around a directory, if the project is part of it.

    It is not if the repository ignores it, as it does a source distribution unpacked in some build directory, or if
    it only sees what was added to it, as one around a whole home directory does.
    """
    answer = ask_git(directory, "rev-parse", "--show-toplevel")
    top = Path(answer).resolve() if answer else None
    if top is None or not (top == directory or top in directory.parents) or not os.path.lexists(top / ".git"):
        return None
    file = next((project / name for name in _BUILD_FILES if (project / name).exists()), None)
    if top == project or file is None:
        return top
    name = f"./{file.relative_to(directory).as_posix()}"
    if ask_git(directory, "check-ignore", "-q", "--", name) is not None:
        return None
    if ask_git(directory, "config", "--get", "status.showUntrackedFiles") == "no":
        return top if ask_git(directory, "ls-files", "-z", "--", name) else None
    return top


# --- patterns --------------------------------------------------------------------------------------------------------


class _Patterns:
    """Shell patterns, relative to the root or to the project; ``**`` stands for any directories."""

    def __init__(self, patterns: Iterable[str], project: str) -> None:
        self._patterns: list[tuple[str, ...]] = []
        for pattern in filter(None, patterns):
            for place in dict.fromkeys((".", project)):
                whole = posixpath.normpath(posixpath.join(glob.escape(place), pattern.lstrip("/")))
                parts = tuple(part for part in whole.split("/") if part != ".")
                if ".." not in parts:
                    self._patterns.append(parts)

    def reach(self, name: str) -> int:
        """Whether the patterns take this file or directory whole, or could take something below it."""
        parts = name.rstrip("/").split("/")
        return max((_reach(pattern, parts) for pattern in self._patterns), default=_NO)


def _reach(pattern: Sequence[str], parts: Sequence[str]) -> int:
    places = _skipped(pattern, {0})
    for part in parts:
        if len(pattern) in places:
            return _WHOLE
        following = set()
        for place in places:
            if pattern[place] == "**" and part not in _NOT_ANY:
                following.add(place)
            elif pattern[place] != "**" and fnmatchcase(part, pattern[place]):
                following.add(place + 1)
        places = _skipped(pattern, following)
    if len(pattern) in places:
        return _WHOLE
    return _BELOW if places else _NO


def _skipped(pattern: Sequence[str], places: set[int]) -> set[int]:
    """The places in a pattern, and those behind a ``**`` there, which may stand for nothing."""
    found = set(places)
    for place in range(len(pattern)):
        if place in found and pattern[place] == "**":
            found.add(place + 1)
    return found


# --- files -----------------------------------------------------------------------------------------------------------


class _Planner:
    """Collects what travels.

    :param base: the root.
    :param top: the top of the project's work tree, if it has one.
    """

    def __init__(
        self, base: Path, project: Path, top: Optional[Path], include: Sequence[str], exclude: Sequence[str]
    ) -> None:
        self._base, self._project, self._top = base, project, top
        self._inside = project.relative_to(base).as_posix()
        self._include, self._exclude = _Patterns(include, self._inside), _Patterns(exclude, self._inside)
        self._sizes: dict[str, int] = {}
        self._untracked: set[str] = set()
        self._left: list[str] = []
        self._extra: list[Extra] = []
        self._real: dict[str, bool] = {"": True}

    def plan(self, around: Optional[Path]) -> None:
        """List everything; ``around`` is the top of the work tree that the root is in."""
        if around is not None:
            self._add_repository(self._base, "", travels=around == self._base)
        else:
            self._walk("")
        if self._top is None and os.path.lexists(self._project / ".git"):
            self._extra += git_data(self._project, "" if self._inside == "." else f"{self._inside}/", ())
        for name in _BUILD_FILES:
            # A project whose own pyproject.toml is generated, and ignored, needs it nevertheless.
            self._add(posixpath.normpath(f"{self._inside}/{name}"), untracked=True)
        self._left = [name for name in self._left if name not in self._sizes and not self._is_included(name)]

    def shipment(self) -> Shipment:
        """What was collected."""
        extra = [] if self._exclude.reach(".git") == _WHOLE else self._extra
        sizes = (_size(each.path) if each.path else len(each.content or b"") for each in extra)
        return Shipment(
            root=self._base,
            project=self._inside,
            files=tuple(sorted(self._sizes)),
            extra=tuple(sorted(extra, key=lambda each: each.name)),
            left=tuple(_outermost(self._left)),
            size=sum(self._sizes.values()) + sum(sizes),
            untracked=frozenset(self._untracked),
        )

    def _add(self, name: str, untracked: bool, directory: bool = False) -> bool:
        """Add a file if it is there, is one, and is not excluded. Returns whether it is excluded."""
        if self._exclude.reach(name) == _WHOLE:
            return True
        if name in self._sizes or not self._is_real(posixpath.dirname(name)):
            return False
        try:
            found = os.lstat(self._base / name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        mode = found.st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode) or (directory and stat.S_ISDIR(mode)):
            self._sizes[name] = found.st_size if stat.S_ISREG(mode) else 0
            if untracked:
                self._untracked.add(name)
        return False

    def _is_real(self, directory: str) -> bool:
        """Whether the way to a directory has no symlink: git takes what is behind one for deleted."""
        if directory not in self._real:
            above = self._is_real(posixpath.dirname(directory))
            self._real[directory] = above and not os.path.islink(self._base / directory)
        return self._real[directory]

    def _add_repository(self, directory: Path, prefix: str, travels: bool) -> None:
        """Add the files of a work tree, or of the part of it that begins at a directory."""
        excluded = []
        for line in list_git(directory, "ls-files", "-z", "--cached", "--stage"):
            about, _, tracked = line.partition(b"\t")
            name = prefix + os.fsdecode(tracked)
            if about.startswith(_GIT_MODULE):
                self._add_submodule(name, about.split()[1].decode(), travels)
            elif self._add(name, untracked=False):
                excluded.append(tracked)
        for untracked in list_git(directory, "ls-files", "-z", "--others", "--exclude-standard"):
            name = prefix + os.fsdecode(untracked)
            if name.endswith("/"):
                self._walk(name)
            else:
                self._add(name, untracked=True)
        ignored = ("--others", "--ignored", "--exclude-standard", "--directory")
        self._left += [prefix + os.fsdecode(each) for each in list_git(directory, "ls-files", "-z", *ignored)]
        if travels:
            self._extra += git_data(directory, prefix, excluded)

    def _add_submodule(self, name: str, commit: str, travels: bool) -> None:
        directory = self._base / name
        # An empty directory is what a submodule that was not fetched is; without it, it would be a deleted one.
        self._add(name, untracked=False, directory=True)
        if name not in self._sizes or not os.path.lexists(directory / ".git"):
            return
        changed = travels and _is_changed(directory, commit)
        self._add_repository(directory, f"{name}/", travels=changed or directory == self._top)

    def _walk(self, name: str, whole: bool = False) -> None:
        """Add everything below a directory of no repository.

        :param name: the directory, with a ``/`` in the end; ``""`` for the root.
        :param whole: even what no build needs.
        """
        waiting = [name]
        while waiting:
            here = waiting.pop()
            if here and self._base / here == self._top:
                self._add_repository(self._top, here, travels=True)
                continue
            entries = self._entries(here)
            if here and not entries:
                self._add(here.rstrip("/"), untracked=True, directory=True)
            for entry in entries:
                inner = f"{here}{entry.name}/" if entry.is_dir(follow_symlinks=False) else f"{here}{entry.name}"
                if entry.name == ".git" or self._exclude.reach(inner) == _WHOLE:
                    continue
                if not whole and self._is_needless(inner, entry):
                    self._left.append(inner)
                    continue
                if inner.endswith("/"):
                    waiting.append(inner)
                else:
                    self._add(inner, untracked=True)

    def _entries(self, name: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._base / name) as entries:
                return list(entries)
        except OSError as error:
            raise BuildFailed(f"{name or self._base} cannot be read: {error.strerror}") from None

    def _is_needless(self, name: str, entry: os.DirEntry[str]) -> bool:
        if name.endswith("/"):
            return entry.name in _LEFT_NAMES or os.path.lexists(os.path.join(entry.path, "pyvenv.cfg"))
        made = posixpath.normpath(f"{self._inside}/dist")
        return posixpath.dirname(name) == made and any(fnmatchcase(entry.name, each) for each in _DISTRIBUTIONS)

    def _is_included(self, name: str) -> bool:
        """Whether patterns want what would stay; what they want of it, or in it, is added."""
        reach = self._include.reach(name)
        if reach == _WHOLE:
            if name.endswith("/"):
                self._walk(name, whole=True)
            else:
                self._add(name, untracked=True)
        elif reach == _BELOW and name.endswith("/"):
            for entry in self._entries(name):
                below = f"{name}{entry.name}"
                self._is_included(f"{below}/" if entry.is_dir(follow_symlinks=False) else below)
        return reach == _WHOLE


def _outermost(names: Iterable[str]) -> Iterator[str]:
    """Names in order, without those in directories that are among them."""
    last = "/"
    for name in sorted(names):
        if not (last.endswith("/") and name.startswith(last)):
            last = name
            yield name


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # which is an error later, if it is still so
        return 0


def _is_changed(module: Path, commit: str) -> bool:
    """Whether git calls a submodule changed; only then it has to have a repository inside, to be called so again.

    A repository of somebody else's is not asked: its settings may name programs that git would run for that.
    """
    if ask_git(module, "rev-parse", "--verify", "HEAD") != commit:
        return True
    done = run_git(module, "status", "--porcelain", trusting=False)
    return done is not None and done.returncode == 0 and done.stdout != b""
