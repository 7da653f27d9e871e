"""Which files of a project travel into the container, and the tar stream that they travel in.

Of a git work tree everything travels that git tracks or would offer to add, from the work tree's top, so that a project
in a subdirectory finds its neighbours. What is ignored stays, and is not even looked into. The repository travels too,
since versions are read from tags, as a plain one whatever it is here (linked worktree, submodule, clone that borrows
objects). What only matters here is not in it: hooks, remotes, and settings, some of which hold credentials.
"""

from __future__ import annotations

import glob
import itertools
import os
import posixpath
import re
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, Optional

from ...errors import BuildFailed, SettingsError

# What other programs put into a project for themselves, and make anew where it is missing.
_LEFT_NAMES = frozenset(
    {".tox", ".nox", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "node_modules"}
)
# What "**" in a pattern does not stand for: "**/*.so" is not meant to find those of a virtual environment.
_NOT_ANY = _LEFT_NAMES | {".git"}
_DISTRIBUTIONS = ("*.whl", "*.tar.gz")
_BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
# Variables of git's about the user's settings, and how far up to look; all others could lead to another repository.
_GIT_KEPT = frozenset(
    {
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_EXEC_PATH",
        "GIT_CEILING_DIRECTORIES",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    }
)
# Settings that change what git answers about a work tree, wherever they are made (the user's own included).
_GIT_SETTINGS = frozenset(
    {
        "core.repositoryformatversion",
        "core.filemode",
        "core.symlinks",
        "core.ignorecase",
        "core.precomposeunicode",
        "core.autocrlf",
        "core.eol",
        "core.safecrlf",
        "core.abbrev",
        "core.bigfilethreshold",
        "core.sparsecheckout",
        "core.sparsecheckoutcone",
        "core.usereplacerefs",
        "status.showuntrackedfiles",
        "diff.ignoresubmodules",
        "tar.umask",
    }
)
# Extensions about several work trees: the repository that travels has one.
_GIT_EXTENSIONS_LEFT = frozenset({"extensions.worktreeconfig", "extensions.relativeworktrees"})
# Of a file, inside, git can only know size and time again: told to look at nothing else, it takes an unchanged file for
# one without reading it. That matters where a filter made it (LFS), which is not at hand inside.
_GIT_OURS = {"core.bare": "false", "core.trustctime": "false", "core.checkstat": "minimal"}
_OWN_REFS = ("bisect", "rewritten", "worktree")
_MOST_ALTERNATES = 50
_GIT_MODULE = b"160000"

_NO, _BELOW, _WHOLE = range(3)


@dataclass(frozen=True)
class Extra:
    """A file of the repository that travels.

    :param name: where it goes, relative to the root.
    :param path: the file here; ``None`` for a directory, or where ``content`` is the file.
    :param content: the content of a file that is not here as such.
    :param mtime: the time of that file; git takes the one of its index for a bound, and 0 for none.
    """

    name: str
    path: Optional[Path] = None
    content: Optional[bytes] = None
    mtime: float = 1


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


# --- git -------------------------------------------------------------------------------------------------------------


def _git_environ(trusting: bool) -> dict[str, str]:
    """An environment in which git looks at the directory that it is run in, changes nothing, and runs nothing."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _GIT_KEPT}
    settings = {"core.hooksPath": os.devnull}
    if trusting:
        settings["safe.directory"] = "*"
    environ.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", LC_ALL="C", GIT_CONFIG_COUNT=str(len(settings)))
    for number, (name, value) in enumerate(settings.items()):
        environ[f"GIT_CONFIG_KEY_{number}"], environ[f"GIT_CONFIG_VALUE_{number}"] = name, value
    return environ


def _run_git(
    directory: Path, *arguments: str, data: bytes = b"", index: Optional[str] = None, trusting: bool = True
) -> Optional[subprocess.CompletedProcess[bytes]]:
    """Run git in a directory; ``None`` if there is no git."""
    environ = _git_environ(trusting)
    if index is not None:
        environ["GIT_INDEX_FILE"] = index
    command = ["git", "-c", "core.fsmonitor=", *arguments]
    try:
        return subprocess.run(command, cwd=directory, env=environ, input=data, capture_output=True, check=False)
    except OSError:
        return None


def _ask_git(directory: Path, *arguments: str) -> Optional[str]:
    """The line that git answers; ``None`` if it has no answer, or is not there."""
    done = _run_git(directory, *arguments)
    return None if done is None or done.returncode else os.fsdecode(done.stdout.removesuffix(b"\n"))


def _list_git(directory: Path, *arguments: str) -> list[bytes]:
    """The names that git lists.

    :raises BuildFailed: if it cannot.
    """
    done = _run_git(directory, *arguments)
    if done is None or done.returncode:
        reason = "" if done is None else done.stderr.decode(errors="replace").strip()[-300:]
        raise BuildFailed(f"git cannot list the files of {directory}: {reason}")
    return [name for name in done.stdout.split(b"\0") if name]


def _work_tree(directory: Path, project: Path) -> Optional[Path]:
    """The top of the work tree around a directory, if the project is part of it.

    It is not if the repository ignores it, as it does a source distribution unpacked in some build directory, or if
    it only sees what was added to it, as one around a whole home directory does.
    """
    answer = _ask_git(directory, "rev-parse", "--show-toplevel")
    top = Path(answer).resolve() if answer else None
    if top is None or not (top == directory or top in directory.parents) or not os.path.lexists(top / ".git"):
        return None
    file = next((project / name for name in _BUILD_FILES if (project / name).exists()), None)
    if top == project or file is None:
        return top
    name = f"./{file.relative_to(directory).as_posix()}"
    if _ask_git(directory, "check-ignore", "-q", "--", name) is not None:
        return None
    if _ask_git(directory, "config", "--get", "status.showUntrackedFiles") == "no":
        return top if _ask_git(directory, "ls-files", "-z", "--", name) else None
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
            self._extra += _git_data(self._project, "" if self._inside == "." else f"{self._inside}/", ())
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
        for line in _list_git(directory, "ls-files", "-z", "--cached", "--stage"):
            about, _, tracked = line.partition(b"\t")
            name = prefix + os.fsdecode(tracked)
            if about.startswith(_GIT_MODULE):
                self._add_submodule(name, about.split()[1].decode(), travels)
            elif self._add(name, untracked=False):
                excluded.append(tracked)
        for untracked in _list_git(directory, "ls-files", "-z", "--others", "--exclude-standard"):
            name = prefix + os.fsdecode(untracked)
            if name.endswith("/"):
                self._walk(name)
            else:
                self._add(name, untracked=True)
        ignored = ("--others", "--ignored", "--exclude-standard", "--directory")
        self._left += [prefix + os.fsdecode(each) for each in _list_git(directory, "ls-files", "-z", *ignored)]
        if travels:
            self._extra += _git_data(directory, prefix, excluded)

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
    if _ask_git(module, "rev-parse", "--verify", "HEAD") != commit:
        return True
    done = _run_git(module, "status", "--porcelain", trusting=False)
    return done is not None and done.returncode == 0 and done.stdout != b""


# --- the repository --------------------------------------------------------------------------------------------------


def _git_data(top: Path, prefix: str, excluded: Sequence[bytes]) -> list[Extra]:
    """A plain repository with what the one of a work tree has: none where that is not complete.

    :param top: the top of the work tree.
    :param prefix: where its files go, ``""`` or a directory with a ``/`` in the end.
    :param excluded: tracked files that do not travel, and are not to be taken for deleted.
    """
    found = _git_directories(top)
    if found is None:
        return []
    own, common = found
    data = _GitData(f"{prefix}.git/")
    settings = _git_settings(top, own, common)
    names = ["HEAD", *(path.name for path in own.glob("sharedindex.*"))]
    if settings.get("extensions.refstorage", "files") == "files" or not _convert_refs(data, top, settings):
        data.add_tree("reftable", common / "reftable")
        data.add_tree("refs", common / "refs", () if own == common else _OWN_REFS)
        data.add_tree("refs", own / "refs")
        data.add_file("packed-refs", common / "packed-refs")
    for name in names:
        data.add_file(name, own / name)
    _add_index(data, top, own, excluded)
    data.add_file("shallow", common / "shallow")
    data.add_content("info/exclude", _user_excludes(top) + _read(common / "info" / "exclude"))
    data.add_tree("info", own / "info")
    data.add_tree("info", common / "info", () if own == common else ("sparse-checkout",))
    _add_objects(data, common / "objects")
    data.add_content("config", _config_text(settings))
    for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        data.add_directory(name)
    return list(data.extra.values())


class _GitData:
    """Files of a repository; of two of the same name the first is it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.extra: dict[str, Extra] = {}

    def add_file(self, name: str, path: Path) -> None:
        """Add a file, if it is there; of a symlink to another repository's file, as some tools make, that file."""
        if path.is_symlink() and name != "HEAD":
            path = path.resolve()
        if os.path.lexists(path):
            self._add(Extra(self._prefix + name, path=path))

    def add_content(self, name: str, content: bytes, mtime: float = 1) -> None:
        """Add a file that is not there as such."""
        self._add(Extra(self._prefix + name, content=content, mtime=mtime))

    def add_directory(self, name: str) -> None:
        """Add a directory that must be there, empty or not."""
        self._add(Extra(self._prefix + name))

    def add_tree(self, name: str, directory: Path, left: Sequence[str] = ()) -> None:
        """Add the files below a directory, but not what is about to be written, nor the ``left`` entries of it."""
        for place, directories, files in os.walk(directory, onerror=_fail):
            here = Path(place)
            if here == directory:
                directories[:] = [each for each in directories if each not in left]
            for each in files:
                if here == directory and each in left:
                    continue
                if not each.endswith(".lock") and not (name == "objects" and each.startswith(("tmp_", ".tmp-"))):
                    self.add_file(f"{name}/{(here / each).relative_to(directory).as_posix()}", here / each)

    def _add(self, extra: Extra) -> None:
        self.extra.setdefault(extra.name, extra)


def _fail(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise BuildFailed(f"{error.filename} cannot be read: {error.strerror}")


def _git_directories(top: Path) -> Optional[tuple[Path, Path]]:
    """The repository's directory of this work tree, and the one that all its work trees share."""
    own = top / ".git"
    if own.is_file():
        own = top / os.fsdecode(_read(own).removeprefix(b"gitdir:").strip())
    shared = os.fsdecode(_read(own / "commondir").removesuffix(b"\n"))
    common = own / shared if shared else own
    complete = os.path.lexists(own / "HEAD") and (common / "objects").is_dir()
    return (own.resolve(), common.resolve()) if complete else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _git_settings(top: Path, own: Path, common: Path) -> dict[str, str]:
    """The settings that travel: what makes git answer the same inside, and nothing that concerns others."""
    # Read first without git, which may be missing, or too old to be told that somebody else's repository is all right.
    found = {**_parsed_config(_read(common / "config")), **_parsed_config(_read(own / "config.worktree"))}
    done = _run_git(top, "config", "-z", "--list")
    if done is not None and done.returncode == 0:
        for each in filter(None, done.stdout.split(b"\0")):
            key, given, value = each.partition(b"\n")
            found[os.fsdecode(key)] = os.fsdecode(value) if given else "true"
    kept = {
        key: value
        for key, value in found.items()
        if key in _GIT_SETTINGS or (key.startswith("extensions.") and key not in _GIT_EXTENSIONS_LEFT)
    }
    return {**kept, **_GIT_OURS}


def _parsed_config(content: bytes) -> dict[str, str]:
    """The plain settings of a configuration file."""
    found, section = {}, ""
    for line in os.fsdecode(content).splitlines():
        header = re.match(r"\s*\[\s*([\w.-]+)\s*(\".*\")?\s*\]", line)
        if header:
            section = "" if header[2] else header[1].lower()
        setting = re.match(r"\s*([A-Za-z][\w-]*)\s*(?:=\s*([^#;]*?))?\s*(?:[#;].*)?$", line)
        if setting and section:
            found[f"{section}.{setting[1].lower()}"] = "true" if setting[2] is None else setting[2].strip('"')
    return found


def _config_text(settings: dict[str, str]) -> bytes:
    lines = []
    for key, value in sorted(settings.items()):
        section, _, name = key.partition(".")
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'[{section}]\n\t{name} = "{quoted}"\n')
    return os.fsencode("".join(lines))


def _user_excludes(top: Path) -> bytes:
    """What the user has git ignore everywhere; it is ignored inside too if patterns have it travel."""
    answer = _ask_git(top, "config", "--type=path", "--get", "core.excludesFile")
    if answer is None:
        answer = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "git", "ignore")
    content = _read(top / answer) if answer else b""
    return content if not content or content.endswith(b"\n") else content + b"\n"


def _convert_refs(data: _GitData, top: Path, settings: dict[str, str]) -> bool:
    """Write refs that are kept in a database as the plain ones that every git reads; that can only be done by git."""
    listed = _run_git(top, "for-each-ref", "--format=%(objectname) %(refname)")
    if listed is None or listed.returncode:
        return False
    branch = _run_git(top, "symbolic-ref", "-q", "HEAD")
    if branch is not None and branch.returncode == 0:
        data.add_content("HEAD", b"ref: " + branch.stdout)
    else:
        data.add_content("HEAD", os.fsencode(_ask_git(top, "rev-parse", "HEAD") or "") + b"\n")
    data.add_content("packed-refs", listed.stdout)
    del settings["extensions.refstorage"]
    return True


def _add_index(data: _GitData, top: Path, own: Path, excluded: Sequence[bytes]) -> None:
    """Add the index: with a mark on what does not travel, and as fresh as it must be where filters are not at hand."""
    filtered = _has_filters(top)
    if (excluded or filtered) and (own / "index").exists():
        with tempfile.TemporaryDirectory(prefix="portable-backend-index-") as scratch:
            for path in (own / "index", *own.glob("sharedindex.*")):
                (Path(scratch) / path.name).write_bytes(_read(path))
            copy = Path(scratch) / "index"
            marked = not excluded or _mark_excluded(top, copy, excluded)
            mtime = (own / "index").stat().st_mtime_ns
            if filtered:
                mtime = _refresh(top, copy, mtime)
            if marked:
                data.add_content("index", copy.read_bytes(), mtime / 1e9)
    data.add_file("index", own / "index")


def _mark_excluded(top: Path, index: Path, excluded: Sequence[bytes]) -> bool:
    """Mark files in an index as not wanted in the work tree. Returns whether git could."""
    command = ("-c", "core.splitIndex=false", "update-index", "--skip-worktree", "-z", "--stdin")
    done = _run_git(top, *command, data=b"\0".join(excluded) + b"\0", index=str(index))
    return done is not None and done.returncode == 0


def _has_filters(top: Path) -> bool:
    """Whether programs change files on their way between the repository and the work tree, as git-lfs does."""
    configured = _run_git(top, "config", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process)$")
    if configured is None or configured.returncode:
        return False
    filtered = _run_git(top, "ls-files", "-z", "--", ":(top,exclude,attr:!filter)")
    return filtered is not None and filtered.stdout != b""


def _refresh(top: Path, index: Path, mtime: int) -> int:
    """Have git look again at files that are as young as the index: it does not trust it about them, and would ask a
    filter that is not there. Returns the time of the index from which on it is to be trusted.

    This runs the filters, so it is not done in a repository of somebody else's.
    """
    os.utime(index, ns=(mtime, mtime))
    command = ("-c", "core.splitIndex=false", "update-index", "-q", "--refresh", "--force-write-index")
    done = _run_git(top, *command, index=str(index), trusting=False)
    fresh = index.stat().st_mtime_ns
    return mtime if done is None or done.returncode not in (0, 1) or fresh == mtime else fresh + 10**9


def _add_objects(data: _GitData, objects: Path) -> None:
    """Add the objects, and those that are borrowed from other repositories."""
    borrowed = _alternates(objects)
    for directory in (objects, *borrowed):
        data.add_tree("objects", directory, ("info",))
    if not borrowed:
        # What speeds git up there may be made of layers, of which the lower ones are borrowed.
        data.add_tree("objects/info", objects / "info", ("alternates", "http-alternates"))


def _alternates(objects: Path) -> list[Path]:
    """The directories of objects that a repository borrows from, and those that these borrow from."""
    found: list[Path] = []
    waiting = [objects]
    while waiting and len(found) < _MOST_ALTERNATES:
        here = waiting.pop()
        for line in _read(here / "info" / "alternates").splitlines():
            if not line.strip() or line.startswith(b"#"):
                continue
            directory = (here / _unquoted(line)).resolve()
            if directory.is_dir() and directory != objects and directory not in found:
                found.append(directory)
                waiting.append(directory)
    return found


def _unquoted(line: bytes) -> str:
    """A name as git writes it into its files, in quotes where it has odd bytes."""
    if line.startswith(b'"') and line.endswith(b'"'):
        line = line[1:-1].decode("unicode_escape").encode("latin-1")
    return os.fsdecode(line)


# --- the stream ------------------------------------------------------------------------------------------------------


def tar_chunks(shipment: Shipment, chunk: int = 1 << 20) -> Iterator[bytes]:
    """The files and the repository as a tar (PAX, not compressed), in pieces of ``chunk`` bytes, the last one shorter.

    :raises BuildFailed: if a file cannot be read, or changes its size or vanishes meanwhile.
    """
    buffer = bytearray()
    for piece in itertools.chain(_tar_pieces(shipment, chunk), [bytes(2 * tarfile.BLOCKSIZE)]):
        buffer += piece
        while len(buffer) >= chunk:
            yield bytes(buffer[:chunk])
            del buffer[:chunk]
    if buffer:
        yield bytes(buffer)


def _tar_pieces(shipment: Shipment, chunk: int) -> Iterator[bytes]:
    for name in shipment.files:
        path = os.path.join(shipment.root, name)
        try:
            yield from _member(name, path, chunk)
        except FileNotFoundError:
            if name not in shipment.untracked:
                raise BuildFailed(f"{name} vanished while the project was sent to the container") from None
    for extra in shipment.extra:
        try:
            yield from _extra_member(extra, chunk)
        except FileNotFoundError:
            message = f"{extra.name} vanished while the project was sent to the container"
            raise BuildFailed(message, "build again when git has finished what it does there") from None


def _header(name: str, kind: bytes, mode: int, mtime: float, size: int = 0, target: str = "") -> bytes:
    info = tarfile.TarInfo(_portable(name))
    info.type, info.mode, info.mtime, info.size = kind, mode & 0o777, int(mtime), size
    info.linkname = _portable(target)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _portable(name: str) -> str:
    """A name in the form that it has where the encoding is UTF-8, as in the container."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _extra_member(extra: Extra, chunk: int) -> Iterator[bytes]:
    if extra.path is not None:
        yield from _member(extra.name, str(extra.path), chunk)
    elif extra.content is None:
        yield _header(extra.name, tarfile.DIRTYPE, 0o755, extra.mtime)
    else:
        yield _header(extra.name, tarfile.REGTYPE, 0o644, extra.mtime, len(extra.content))
        yield _padded(extra.content)


def _member(name: str, path: str, chunk: int) -> Iterator[bytes]:
    """One file, directory or symlink."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            yield _header(name, tarfile.SYMTYPE, 0o777, found.st_mtime, target=os.readlink(path))
        elif stat.S_ISDIR(found.st_mode):
            yield _header(name, tarfile.DIRTYPE, found.st_mode | stat.S_IRWXU, found.st_mtime)
        elif stat.S_ISREG(found.st_mode):
            yield from _file_member(name, path, chunk)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BuildFailed(f"{name} cannot be read: {error.strerror}") from None


def _file_member(name: str, path: str, chunk: int) -> Iterator[bytes]:
    # Not to follow a symlink, nor to wait for a pipe, that came in the file's place.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        yield _header(name, tarfile.REGTYPE, found.st_mode, found.st_mtime, found.st_size)
        left = found.st_size
        while left:
            piece = file.read(min(left, chunk))
            if not piece:
                raise BuildFailed(f"{name} became shorter while it was sent to the container")
            left -= len(piece)
            yield piece
        yield bytes(-found.st_size % tarfile.BLOCKSIZE)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def unpack(stream: BinaryIO, directory: Path) -> None:
    """Unpack what :func:`tar_chunks` made, into a directory that need not be there, for the user that runs this.

    The stream is read to its end.

    :raises BuildFailed: if it cannot be written, or ends in the middle of a file.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
            # It is the user's own tree: symlinks may lead anywhere, as they do there.
            archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            archive.extractall(directory)  # noqa: S202
        while stream.read(1 << 16):
            pass
    except (tarfile.TarError, OSError) as error:
        raise BuildFailed(f"the project cannot be unpacked in {directory}: {error}") from None
