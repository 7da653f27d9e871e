"""The repository that travels with a work tree: a plain one, whatever it is here, and how git is asked about it.

A linked worktree, a submodule, a clone that borrows objects: inside, each is a repository of its own that makes git
answer the same. What only matters here is not in it: hooks, remotes, and settings, some of which hold credentials.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ...errors import BuildFailed

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


def run_git(
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


def ask_git(directory: Path, *arguments: str) -> Optional[str]:
    """The line that git answers; ``None`` if it has no answer, or is not there."""
    done = run_git(directory, *arguments)
    return None if done is None or done.returncode else os.fsdecode(done.stdout.removesuffix(b"\n"))


def list_git(directory: Path, *arguments: str) -> list[bytes]:
    """The names that git lists.

    :raises BuildFailed: if it cannot.
    """
    done = run_git(directory, *arguments)
    if done is None or done.returncode:
        reason = "" if done is None else done.stderr.decode(errors="replace").strip()[-300:]
        raise BuildFailed(f"git cannot list the files of {directory}: {reason}")
    return [name for name in done.stdout.split(b"\0") if name]


# --- the repository --------------------------------------------------------------------------------------------------


def git_data(top: Path, prefix: str, excluded: Sequence[bytes]) -> list[Extra]:
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
    done = run_git(top, "config", "-z", "--list")
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
    answer = ask_git(top, "config", "--type=path", "--get", "core.excludesFile")
    if answer is None:
        answer = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "git", "ignore")
    content = _read(top / answer) if answer else b""
    return content if not content or content.endswith(b"\n") else content + b"\n"


def _convert_refs(data: _GitData, top: Path, settings: dict[str, str]) -> bool:
    """Write refs that are kept in a database as the plain ones that every git reads; that can only be done by git."""
    listed = run_git(top, "for-each-ref", "--format=%(objectname) %(refname)")
    if listed is None or listed.returncode:
        return False
    branch = run_git(top, "symbolic-ref", "-q", "HEAD")
    if branch is not None and branch.returncode == 0:
        data.add_content("HEAD", b"ref: " + branch.stdout)
    else:
        data.add_content("HEAD", os.fsencode(ask_git(top, "rev-parse", "HEAD") or "") + b"\n")
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
    done = run_git(top, *command, data=b"\0".join(excluded) + b"\0", index=str(index))
    return done is not None and done.returncode == 0


def _has_filters(top: Path) -> bool:
    """Whether programs change files on their way between the repository and the work tree, as git-lfs does."""
    configured = run_git(top, "config", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process)$")
    if configured is None or configured.returncode:
        return False
    filtered = run_git(top, "ls-files", "-z", "--", ":(top,exclude,attr:!filter)")
    return filtered is not None and filtered.stdout != b""


def _refresh(top: Path, index: Path, mtime: int) -> int:
    """Have git look again at files that are as young as the index: it does not trust it about them, and would ask a
    filter that is not there. Returns the time of the index from which on it is to be trusted.

    This runs the filters, so it is not done in a repository of somebody else's.
    """
    os.utime(index, ns=(mtime, mtime))
    command = ("-c", "core.splitIndex=false", "update-index", "-q", "--refresh", "--force-write-index")
    done = run_git(top, *command, index=str(index), trusting=False)
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
