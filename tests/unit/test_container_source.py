"""Which files travel into the container, and that git says the same of them there."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import pytest

from portable_backend.errors import BuildFailed, SettingsError
from portable_backend.strategies.container.source import Shipment, plan_shipment
from portable_backend.strategies.container.stream import tar_chunks, unpack

_QUESTIONS = (
    ("describe", "--tags", "--long", "--dirty", "--always"),
    ("status", "--porcelain"),
    ("ls-files", "-s"),
    ("archive", "HEAD"),
    ("rev-parse", "HEAD"),
    ("rev-parse", "--abbrev-ref", "HEAD"),
    ("rev-parse", "--is-shallow-repository"),
    ("log", "--oneline", "--all"),
    ("for-each-ref",),
)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No git settings but these, no repository but those that the test makes."""
    if shutil.which("git") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs git")
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(
        '[user]\nname = A\nemail = a@example.org\n[init]\ndefaultBranch = main\n[protocol "file"]\nallow = always\n'
    )
    for name in list(os.environ):
        if name.startswith(("GIT_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(home.parent))


def _git(directory: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True).stdout


def _write(directory: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _commit(directory: Path, message: str = "more") -> None:
    _git(directory, "add", "-A")
    _git(directory, "commit", "-q", "-m", message)


def _repository(directory: Path, *options: str) -> Path:
    """A repository with two commits, a tag on the first, an ignored file and a script."""
    directory.mkdir(parents=True)
    _git(directory, "init", "-q", *options)
    _write(directory, {"pyproject.toml": "[project]\n", "a/b.c": "int b;\n", "run.sh": "#!/bin/sh\n"})
    _write(directory, {".gitignore": "build/\n*.log\n"})
    (directory / "run.sh").chmod(0o755)
    _commit(directory, "first")
    _git(directory, "tag", "-a", "v1.0", "-m", "one")
    _write(directory, {"a/c.c": "int c;\n"})
    _commit(directory, "second")
    _write(directory, {"build/x.o": "object", "noise.log": "noise"})
    return directory


def _plan(
    project: Path, root: Optional[str] = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Shipment:
    return plan_shipment(project, root, include, exclude)


def _sent(shipment: Shipment, directory: Path) -> Path:
    stream = io.BytesIO(b"".join(tar_chunks(shipment, 4096)))
    unpack(stream, directory)
    assert stream.read() == b""
    return directory


def _answers(directory: Path) -> dict[str, str]:
    """What git says in a directory, or how it refuses to."""
    found = {}
    for question in _QUESTIONS:
        done = subprocess.run(["git", *question], cwd=directory, capture_output=True)
        text = hashlib.sha256(done.stdout).hexdigest() if "archive" in question else done.stdout.decode()
        found[" ".join(question)] = f"{done.returncode} {text}"
    return found


def _assert_same(project: Path, directory: Path) -> Path:
    """Send a project, compare what git says, and return where it is inside."""
    before = _answers(project)
    shipment = _plan(project)
    inside = _sent(shipment, directory) / shipment.project
    assert _answers(inside) == before
    assert _answers(project) == before
    assert _git(inside, "fsck", "--no-dangling", "--no-progress") == b""
    return inside


# --- the repository travels ------------------------------------------------------------------------------------------


def test_a_clean_clone(tmp_path: Path) -> None:
    _repository(tmp_path / "origin")
    _git(tmp_path, "clone", "-q", "origin", "here")
    inside = _assert_same(tmp_path / "here", tmp_path / "inside")
    assert _git(inside, "describe", "--tags", "--long", "--dirty").startswith(b"v1.0-1-g")
    assert b"dirty" not in _git(inside, "describe", "--dirty")


def test_a_dirty_tree(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _write(here, {"a/b.c": "int changed;\n", "new file.c": "", "staged.c": "int s;\n", "moved/b.c": "int m;\n"})
    _git(here, "add", "staged.c")
    (here / "a" / "c.c").unlink()
    (here / "run.sh").chmod(0o644)
    inside = _assert_same(here, tmp_path / "inside")
    assert b"-dirty" in _git(inside, "describe", "--dirty")


def test_a_change_of_the_same_size_in_the_second_of_the_checkout(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    for number in range(5):
        _git(here, "checkout", "-q", ".")
        _write(here, {"a/b.c": "int x;\n"})
        inside = _sent(_plan(here), tmp_path / f"inside{number}")
        assert _git(inside, "status", "--porcelain") == b" M a/b.c\n"
        inside = _sent(_plan(here, exclude=["a/c.c"]), tmp_path / f"without{number}")
        assert _git(inside, "status", "--porcelain") == b" M a/b.c\n"


def test_a_linked_worktree(tmp_path: Path) -> None:
    main = _repository(tmp_path / "main")
    _git(main, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"), "v1.0")
    _git(main, "update-ref", "refs/worktree/own", "HEAD")
    _git(main, "update-ref", "refs/worktree/only-main", "HEAD")
    _git(tmp_path / "linked", "update-ref", "refs/worktree/own", "HEAD")
    _write(tmp_path / "linked", {"a/b.c": "int other;\n"})
    _git(tmp_path / "linked", "add", "-A")
    assert (tmp_path / "linked" / ".git").is_file()
    inside = _assert_same(tmp_path / "linked", tmp_path / "inside")
    assert _git(inside, "rev-parse", "--abbrev-ref", "HEAD") == b"other\n"
    assert (inside / ".git" / "HEAD").is_file()
    _assert_same(main, tmp_path / "inside main")


def test_a_linked_worktree_of_a_bare_repository(tmp_path: Path) -> None:
    _repository(tmp_path / "origin")
    _git(tmp_path, "clone", "-q", "--bare", "origin", "bare.git")
    _git(tmp_path / "bare.git", "worktree", "add", "-q", str(tmp_path / "linked"))
    _assert_same(tmp_path / "linked", tmp_path / "inside")


def test_a_sparse_linked_worktree(tmp_path: Path) -> None:
    main = _repository(tmp_path / "main")
    _write(main, {"big/data.txt": "much\n"})
    _commit(main)
    _git(main, "worktree", "add", "-q", str(tmp_path / "linked"))
    _git(tmp_path / "linked", "sparse-checkout", "set", "a")
    assert not (tmp_path / "linked" / "big").exists()
    _assert_same(tmp_path / "linked", tmp_path / "inside")
    _assert_same(main, tmp_path / "inside main")


def test_a_shallow_clone(tmp_path: Path) -> None:
    _repository(tmp_path / "origin")
    url = (tmp_path / "origin").as_uri()
    _git(tmp_path, "clone", "-q", "--depth", "1", url, "here")
    inside = _assert_same(tmp_path / "here", tmp_path / "inside")
    assert _git(inside, "rev-parse", "--is-shallow-repository") == b"true\n"


def test_a_clone_without_blobs(tmp_path: Path) -> None:
    origin = _repository(tmp_path / "origin")
    _git(origin, "config", "uploadpack.allowFilter", "true")
    _write(origin, {"a/b.c": "int third;\n"})
    _commit(origin)
    _git(tmp_path, "clone", "-q", "--filter=blob:none", origin.as_uri(), "here")
    before = _answers(tmp_path / "here")
    assert _answers(_sent(_plan(tmp_path / "here"), tmp_path / "inside")) == before


def test_a_detached_head(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _git(here, "checkout", "-q", "v1.0")
    inside = _assert_same(here, tmp_path / "inside")
    assert _git(inside, "describe", "--exact-match") == b"v1.0\n"


@pytest.mark.parametrize("way", ["shared", "reference", "twice"])
def test_borrowed_objects(tmp_path: Path, way: str) -> None:
    origin = _repository(tmp_path / "origin")
    _git(origin, "repack", "-q", "-a", "-d", "--write-midx")
    _git(origin, "commit-graph", "write", "--reachable")
    options = {"shared": ["--shared"], "reference": ["--reference", str(origin)], "twice": ["--shared"]}[way]
    _git(tmp_path, "clone", "-q", *options, "origin", "here")
    here = tmp_path / "here"
    if way == "twice":
        _git(tmp_path, "clone", "-q", "--shared", "here", "again")
        here = tmp_path / "again"
    _write(here, {"own.c": "int own;\n"})
    _commit(here)
    _git(here, "repack", "-q", "-d", "-l", "--write-midx")
    assert (here / ".git" / "objects" / "info" / "alternates").is_file()
    inside = _assert_same(here, tmp_path / "inside")
    assert not (inside / ".git" / "objects" / "info" / "alternates").exists()
    origin.rename(tmp_path / "gone")
    _git(inside, "log", "-p")


def test_a_repository_made_of_symlinks_to_another(tmp_path: Path) -> None:
    origin = _repository(tmp_path / "origin")
    _git(origin, "pack-refs", "--all")
    here = tmp_path / "here"
    shutil.copytree(origin, here)
    for name in ("objects", "refs", "packed-refs", "info"):
        path = here / ".git" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(origin / ".git" / name)
    _git(here, "checkout", "-q", "--detach")
    inside = _assert_same(here, tmp_path / "inside")
    assert not (inside / ".git" / "packed-refs").is_symlink()


def test_packed_refs_and_caches_over_packs(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _git(here, "pack-refs", "--all")
    _git(here, "branch", "tmp_/tmp_loose")
    _git(here, "repack", "-q", "-a", "-d", "--write-midx")
    _git(here, "commit-graph", "write", "--reachable")
    assert not list((here / ".git" / "refs" / "tags").iterdir())
    _assert_same(here, tmp_path / "inside")


@pytest.mark.parametrize("option", ["--object-format=sha256", "--ref-format=reftable"])
@pytest.mark.parametrize("linked", [False, True])
def test_other_formats(tmp_path: Path, option: str, linked: bool) -> None:
    if subprocess.run(["git", "init", "-q", option, "probe"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip(f"this git knows no {option}")
    here = _repository(tmp_path / "here", option)
    if linked:
        _git(here, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"), "v1.0")
        here = tmp_path / "linked"
    _assert_same(here, tmp_path / "inside")
    _git(here, "checkout", "-q", "--detach")
    _assert_same(here, tmp_path / "inside detached")


def test_a_split_index(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _git(here, "update-index", "--split-index")
    _write(here, {"d.c": "int d;\n"})
    _git(here, "add", "-A")
    assert list((here / ".git").glob("sharedindex.*"))
    _assert_same(here, tmp_path / "inside")
    inside = _sent(_plan(here, exclude=["a"]), tmp_path / "without")
    assert _answers(inside)["ls-files -s"] == _answers(here)["ls-files -s"]


def test_a_repository_without_commits(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    _git(here, "init", "-q")
    _write(here, {"setup.py": ""})
    before = _answers(here)
    assert _answers(_sent(_plan(here), tmp_path / "inside")) == before


def test_settings_of_the_user_that_decide_what_is_dirty(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _write(here, {"text.txt": "one\ntwo\n"})
    _commit(here)
    _git(here, "config", "--global", "core.autocrlf", "input")
    _git(here, "config", "--global", "core.abbrev", "11")
    (here / "text.txt").write_bytes(b"one\r\ntwo\r\n")
    _git(here, "add", "text.txt")
    ignore = Path(os.environ["HOME"]) / ".config" / "git" / "ignore"
    _write(ignore.parent, {"ignore": "*.secret"})
    _write(here, {"a.secret": "!", "b.secret": "!"})
    before = _answers(here)
    assert "dirty" not in before["describe --tags --long --dirty --always"]
    os.utime(here / "text.txt", (1, 1))  # git has to read it again
    shipment = _plan(here, include=["a.secret"])
    inside = _sent(shipment, tmp_path / "inside")
    (Path(os.environ["HOME"]) / ".gitconfig").unlink()
    ignore.unlink()
    assert _answers(inside) == before
    assert (inside / "a.secret").exists()
    assert not (inside / "b.secret").exists()


@pytest.mark.parametrize("changed", [False, True])
def test_what_a_filter_made_is_no_change_where_the_filter_is_not(tmp_path: Path, changed: bool) -> None:
    here = _repository(tmp_path / "here")
    for name, command in (("clean", "tr a-z A-Z"), ("smudge", "tr A-Z a-z")):
        _git(here, "config", f"filter.case.{name}", command)
    _write(here, {".gitattributes": "*.dat filter=case\n", "x.dat": "content that the filter changes\n"})
    _commit(here)
    (here / "x.dat").unlink()
    _git(here, "checkout", "-q", ".")
    if changed:
        # In the second of the checkout, and sent in a later one: git's index alone cannot tell.
        _write(here, {"x.dat": "contenT thaT The filTer changed\n"})
        time.sleep(1.1)
    inside = _sent(_plan(here), tmp_path / "inside")
    # An archive is not the same: the filter would have to make it.
    status = b" M x.dat\n" if changed else b""
    assert _git(inside, "status", "--porcelain") == status
    assert _git(here, "status", "--porcelain") == status
    assert _git(inside, "ls-files", "-s") == _git(here, "ls-files", "-s")
    assert b"filter" not in (inside / ".git" / "config").read_bytes()


def test_no_credentials_and_no_programs_travel(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    (here / "included").write_text("[http]\n\textraheader = AUTHORIZATION: basic SECRET4\n")
    _git(here, "add", "included")
    _git(here, "rm", "-q", "--cached", "included")
    for name, value in {
        "remote.origin.url": "https://user:SECRET1@example.org/x.git",
        "http.https://example.org/.extraheader": "AUTHORIZATION: basic SECRET2",
        "credential.helper": "!echo password=SECRET3",
        "include.path": "../included",
        "core.hooksPath": "/SECRET5",
        "core.fsmonitor": "/SECRET6",
        "core.sshCommand": "ssh -i /SECRET7",
        "branch.main.remote": "https://SECRET8@example.org",
    }.items():
        _git(here, "config", name, value)
    (here / ".git" / "hooks").mkdir(exist_ok=True)
    _write(here / ".git", {"hooks/pre-commit": "SECRET9", "FETCH_HEAD": "SECRET10", "logs/HEAD": "SECRET11"})
    (here / "included").rename(tmp_path / "included")
    assert b"SECRET" not in b"".join(tar_chunks(_plan(here)))


def test_the_programs_that_a_repository_names_are_not_run(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    _git(here, "config", "core.fsmonitor", str(program))
    _git(here, "config", "core.hooksPath", str(tmp_path / "hooks"))
    _write(tmp_path / "hooks", {"post-index-change": program.read_text()})
    (tmp_path / "hooks" / "post-index-change").chmod(0o755)
    _sent(_plan(here, exclude=["a"]), tmp_path / "inside")
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a file away")
def test_a_repository_of_another_user(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    expected = _answers(here)
    for path in (here, *here.rglob("*")):
        os.chown(path, 12345, 12345)
    refused = subprocess.run(["git", "status"], cwd=here, capture_output=True)
    assert b"dubious ownership" in refused.stderr
    shipment = _plan(here)
    assert "noise.log" not in shipment.files
    inside = _sent(shipment, tmp_path / "inside")
    assert _answers(inside) == expected
    assert {path.lstat().st_uid for path in inside.rglob("*")} == {os.geteuid()}


def test_variables_of_git_lead_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = _repository(tmp_path / "here")
    expected = _plan(here)
    other = _repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "nothing"))
    assert _plan(here) == expected


# --- submodules, neighbours, other repositories ----------------------------------------------------------------------


@pytest.fixture
def superproject(tmp_path: Path) -> Path:
    _repository(tmp_path / "library")
    here = _repository(tmp_path / "super")
    _git(here, "submodule", "--quiet", "add", "../library", "vendor/library")
    _git(here, "submodule", "--quiet", "add", "../library", "vendor/absent")
    _commit(here)
    _git(here, "submodule", "--quiet", "deinit", "-f", "vendor/absent")
    return here


def test_files_of_submodules_travel(superproject: Path, tmp_path: Path) -> None:
    _write(superproject / "vendor" / "library", {"build/y.o": ""})
    inside = _assert_same(superproject, tmp_path / "inside")
    assert (inside / "vendor" / "library" / "a" / "b.c").is_file()
    assert not (inside / "vendor" / "library" / "build").exists()
    assert not (inside / "vendor" / "library" / ".git").exists()
    assert (inside / "vendor" / "absent").is_dir()


@pytest.mark.parametrize("change", ["dirty", "untracked", "commit", "gone"])
def test_a_changed_submodule_makes_the_project_dirty_there_too(superproject: Path, tmp_path: Path, change: str) -> None:
    module = superproject / "vendor" / "library"
    if change == "dirty":
        _write(module, {"a/b.c": "int changed;\n"})
    elif change == "untracked":
        _write(module, {"new.c": "int n;\n"})
    elif change == "commit":
        _write(module, {"new.c": "int n;\n"})
        _commit(module)
    else:
        shutil.rmtree(module)
    assert _git(superproject, "status", "--porcelain") != b""
    _assert_same(superproject, tmp_path / "inside")


def test_a_project_that_is_a_submodule(superproject: Path, tmp_path: Path) -> None:
    module = superproject / "vendor" / "library"
    shipment = _plan(module)
    assert (shipment.root, shipment.project) == (module, ".")
    assert "noise.log" not in shipment.files
    _assert_same(module, tmp_path / "inside")


def test_a_submodule_with_its_superproject(superproject: Path, tmp_path: Path) -> None:
    module = superproject / "vendor" / "library"
    shipment = _plan(module, root="../..")
    assert (shipment.root, shipment.project) == (superproject, "vendor/library")
    inside = _sent(shipment, tmp_path / "inside")
    assert _answers(inside) == _answers(superproject)
    assert _answers(inside / "vendor" / "library") == _answers(module)


def test_a_subdirectory_of_a_monorepo(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _write(here, {"packages/one/pyproject.toml": "", "packages/common/x.c": "int x;\n"})
    _commit(here)
    shipment = _plan(here / "packages" / "one")
    assert (shipment.root, shipment.project) == (here, "packages/one")
    inside = _assert_same(here / "packages" / "one", tmp_path / "inside")
    assert (inside / ".." / "common" / "x.c").is_file()


def test_part_of_a_monorepo_has_no_repository(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _write(here, {"packages/one/pyproject.toml": "", "packages/common/x.c": "", "packages/one/x.log": ""})
    _commit(here)
    shipment = _plan(here / "packages" / "one", root="..")
    assert (shipment.root, shipment.project) == (here / "packages", "one")
    assert shipment.files == ("common/x.c", "one/pyproject.toml")
    assert shipment.extra == ()
    assert shipment.left == ("one/x.log",)


def test_a_repository_among_its_neighbours(tmp_path: Path) -> None:
    here = _repository(tmp_path / "all" / "one")
    _write(tmp_path / "all", {"common/x.c": "", "common/.venv/y": ""})
    shipment = _plan(here, root="..")
    assert "one/noise.log" not in shipment.files
    inside = _sent(shipment, tmp_path / "inside")
    assert _answers(inside / "one") == _answers(here)
    assert (inside / "common" / "x.c").is_file()
    assert not (inside / "common" / ".venv").exists()


def test_an_untracked_repository_inside_travels_without_its_own_data(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _repository(here / "other")
    inside = _assert_same(here, tmp_path / "inside")
    assert (inside / "other" / "build" / "x.o").is_file()
    assert not (inside / "other" / ".git").exists()


@pytest.mark.parametrize("root", [None, ".", ".."])
def test_a_repository_that_ignores_the_project_is_not_its_own(tmp_path: Path, root: Optional[str]) -> None:
    here = _repository(tmp_path / "here")
    _write(here, {"build/pkg-1.0/pyproject.toml": "", "build/pkg-1.0/noise.log": "", "build/z": ""})
    shipment = _plan(here / "build" / "pkg-1.0", root=root)
    prefix = "pkg-1.0/" if root == ".." else ""
    assert {f"{prefix}noise.log", f"{prefix}pyproject.toml"} <= set(shipment.files)
    assert shipment.extra == ()
    assert shipment.root == (here / "build" if root == ".." else here / "build" / "pkg-1.0")


def test_a_repository_around_the_home_directory_is_not_the_projects(tmp_path: Path) -> None:
    home = _repository(tmp_path / "home")
    _git(home, "config", "status.showUntrackedFiles", "no")
    _write(home, {"work/pkg/setup.py": "", "letters/private.txt": ""})
    shipment = _plan(home / "work" / "pkg")
    assert (shipment.root, shipment.files) == (home / "work" / "pkg", ("setup.py",))


def test_an_ignored_pyproject_of_the_repositorys_own_project_travels(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _git(here, "rm", "-q", "--cached", "pyproject.toml")
    _write(here, {".gitignore": "pyproject.toml\n*.log\n"})
    shipment = _plan(here)
    assert "pyproject.toml" in shipment.files
    assert "noise.log" not in shipment.files
    assert shipment.left == ("noise.log",)


# --- which files -----------------------------------------------------------------------------------------------------


def test_ignored_files_stay_and_cost_nothing(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    with (here / "build" / "huge").open("wb") as file:
        file.truncate(1 << 30)
    _write(here, {"untracked.c": "int u;\n", "logs/inner/x.log": "", "logs/kept": ""})
    shipment = _plan(here)
    assert shipment.files == (".gitignore", "a/b.c", "a/c.c", "logs/kept", "pyproject.toml", "run.sh", "untracked.c")
    assert shipment.left == ("build/", "logs/inner/", "noise.log")
    assert "logs/inner/x.log" in _plan(here, None, ["**/x.log"]).files
    assert shipment.size < 1 << 20
    assert sum(map(len, tar_chunks(shipment))) < 5 << 20


def test_include_brings_ignored_files_and_exclude_takes_any(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    files = ["gen/x.h", "gen/deep/y.h", "gen/deep/y.o", "gen/__pycache__/z.h", "lib/z.a", "lib/sub/__pycache__/q"]
    _write(here, {f"build/{name}": "" for name in files})
    tracked = set(_plan(here).files)

    def brought(*patterns: str, exclude: Sequence[str] = ()) -> set[str]:
        return {name for name in _plan(here, None, patterns, exclude).files if name not in tracked}

    assert brought("build/gen/*.h") == {"build/gen/x.h"}
    assert brought("build/**/*.h") == {"build/gen/x.h", "build/gen/deep/y.h"}
    assert brought("**/*.h") == {"build/gen/x.h", "build/gen/deep/y.h"}
    assert brought("build/lib") == brought("./build/lib/") == {"build/lib/z.a", "build/lib/sub/__pycache__/q"}
    assert brought("*/gen/deep", "noise.*") == {"build/gen/deep/y.h", "build/gen/deep/y.o", "noise.log"}
    assert brought("build", exclude=["build/gen", "**/*.a", "**/__pycache__"]) == {"build/x.o"}
    assert brought("../*") == brought("") == brought("x.o") == set()
    assert _plan(here, None, ["build"], []).left == ("noise.log",)
    without = _plan(here, None, (), ["a/*.c", "run.sh"])
    assert without.files == (".gitignore", "pyproject.toml")


def test_patterns_are_relative_to_the_project_too(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    _write(here, {"packages/[one]/pyproject.toml": "", "packages/[one]/generated.log": "", "packages/two/x.c": ""})
    _commit(here)
    shipment = _plan(here / "packages" / "[one]", None, ["generated.log"], ["../two", "a/**"])
    assert "packages/[one]/generated.log" in shipment.files
    assert "packages/two/x.c" not in shipment.files
    assert "a/b.c" not in shipment.files


def test_what_was_excluded_does_not_make_the_version_dirty(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    before = _answers(here)
    inside = _sent(_plan(here, exclude=["a", "run.sh"]), tmp_path / "inside")
    assert not (inside / "a").exists()
    assert _answers(inside) == before
    assert not (_sent(_plan(here, exclude=[".git"]), tmp_path / "bare") / ".git").exists()


def test_what_replaced_a_tracked_directory(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    (here / "a").rename(tmp_path / "elsewhere")
    (here / "a").symlink_to(tmp_path / "elsewhere")
    (here / "run.sh").unlink()
    _write(here, {"run.sh/now": ""})
    assert _plan(here).files == (".gitignore", "a", "pyproject.toml", "run.sh/now")
    inside = _assert_same(here, tmp_path / "inside")
    assert (inside / "a").is_symlink()
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["b.c", "c.c"]


def test_odd_names(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    odd = [b"new\nline", b"\xff\xfe.c", b"-n", "grüße".encode(), b'quo"te\\', b"x" * 200, b" space ", b"*"]
    for name in odd:
        (here / os.fsdecode(name)).write_bytes(name)
    (here / "link").symlink_to(os.fsdecode(b"\xff\xfe.c"))
    _commit(here)
    (here / os.fsdecode(b"untracked \xe9\n")).write_bytes(b"u")
    (here / os.fsdecode(b"ignored \xe9.log")).write_bytes(b"i")
    before = _answers(here)
    inside = _sent(_plan(here, include=["ignored*"]), tmp_path / "inside")
    assert _answers(inside) == before
    assert [(inside / os.fsdecode(name)).read_bytes() for name in odd] == odd
    assert {b"untracked \xe9\n", b"ignored \xe9.log"} <= set(os.listdir(os.fsencode(inside)))


def test_a_plain_project_without_what_no_build_needs(tmp_path: Path) -> None:
    here = tmp_path / "here"
    wanted = ["setup.py", "build/x.o", "dist/notes.txt", "a/dist/y.whl", ".hg/store", ".hidden", "a/b/c.c"]
    needless = [".tox/x", ".nox/x", ".venv/x", "env/pyvenv.cfg", "env/lib/x", "a/__pycache__/x", "a/.mypy_cache/x"]
    needless += [".ruff_cache/x", ".pytest_cache/x", "node_modules/x", "dist/x.whl", "dist/x.tar.gz", "sub/.git/x"]
    _write(here, dict.fromkeys([*wanted, *needless], ""))
    (here / "empty" / "inner").mkdir(parents=True)
    os.mkfifo(here / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(here / "socket"))
    shipment = _plan(here)
    assert sorted(shipment.files) == sorted([*wanted, "empty/inner"])
    assert {"env/", "dist/x.whl", "a/__pycache__/"} <= set(shipment.left)
    assert (_sent(shipment, tmp_path / "inside") / "empty" / "inner").is_dir()
    brought = set(_plan(here, None, ["dist/*.whl", "env/lib"], ["build"]).files) - set(shipment.files)
    assert brought == {"dist/x.whl", "env/lib/x"}


def test_symlinks_stay_symlinks_even_in_a_loop(tmp_path: Path) -> None:
    here = tmp_path / "here"
    _write(here, {"setup.py": "", "a/x": ""})
    links = {"loop": "loop", "a/up": "..", "outside": "/etc/passwd", "dangling": "nowhere", "dir": "a"}
    for name, target in links.items():
        (here / name).symlink_to(target)
    shipment = _plan(here)
    assert set(shipment.files) == {"setup.py", "a/x", *links}
    inside = _sent(shipment, tmp_path / "inside")
    assert {name: os.readlink(inside / name) for name in links} == links


def test_modes_times_and_hard_links(tmp_path: Path) -> None:
    here = tmp_path / "here"
    _write(here, {"setup.py": "", "run": "x", "closed": "c"})
    (here / "run").chmod(0o4755)
    (here / "closed").chmod(0o400)
    os.utime(here / "run", (1, 1_234_567_890.75))
    os.link(here / "run", here / "same")
    inside = _sent(_plan(here), tmp_path / "inside")
    assert stat.S_IMODE((inside / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((inside / "closed").stat().st_mode) == 0o400
    assert (inside / "run").stat().st_mtime == 1_234_567_890
    assert (inside / "same").read_text() == "x"
    assert (inside / "same").stat().st_nlink == 1
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_chunks(_plan(here))))) as archive:
        assert {(each.uid, each.gid, each.uname, each.gname) for each in archive} == {(0, 0, "", "")}


def test_the_stream_is_the_same_each_time(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    first, second = (b"".join(tar_chunks(_plan(here), size)) for size in (100, 1 << 20))
    assert first == second
    sizes = [len(chunk) for chunk in tar_chunks(_plan(here), 512)]
    assert set(sizes) == {512}
    assert [len(chunk) for chunk in tar_chunks(_plan(here), 500)] == [*[500] * (sum(sizes) // 500), sum(sizes) % 500]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A repository that nothing may be written to; root could, so the tests look at the times as well."""
    here = _repository(tmp_path / "here")
    _write(here, {"a/b.c": "int changed;\n"})
    paths = [here, *here.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & 0o555)
    yield here
    for path in paths:
        path.chmod(path.stat().st_mode | 0o700)


def test_a_read_only_tree(read_only: Path, tmp_path: Path) -> None:
    before = {path: path.lstat() for path in read_only.rglob("*")}
    inside = _sent(_plan(read_only, exclude=["run.sh"]), tmp_path / "inside")
    assert {path: path.lstat().st_mtime_ns for path in read_only.rglob("*")} == {
        path: found.st_mtime_ns for path, found in before.items()
    }
    assert _answers(inside) == _answers(read_only)
    (inside / "a" / "new").write_text("")


# --- without git -----------------------------------------------------------------------------------------------------


def test_without_git_the_repository_travels_nevertheless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = _repository(tmp_path / "here")
    _git(here, "config", "http.extraheader", "SECRET")
    _git(here, "config", "core.abbrev", "9")
    before = _answers(here)
    with monkeypatch.context() as hidden:
        hidden.setenv("PATH", str(tmp_path))
        shipment = _plan(here)
    assert "noise.log" in shipment.files
    assert b"SECRET" not in b"".join(tar_chunks(shipment))
    assert _answers(_sent(shipment, tmp_path / "inside")) == before


def test_what_only_looks_like_a_repository(tmp_path: Path) -> None:
    here = tmp_path / "here"
    _write(here, {"setup.py": "", ".git": "gitdir: /nowhere/at/all\n"})
    assert _plan(here).files == ("setup.py",)
    assert _plan(here).extra == ()


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["sub", "../other", "/", "../" * 50])
def test_a_root_that_cannot_be(tmp_path: Path, root: str) -> None:
    _write(tmp_path / "here", {"setup.py": "", "sub/x": ""})
    with pytest.raises(SettingsError, match=r"container\.root"):
        _plan(tmp_path / "here", root=root)


def test_files_that_change_while_they_are_sent(tmp_path: Path) -> None:
    here = _repository(tmp_path / "here")
    big = here / "zz"
    big.write_bytes(bytes(100_000))
    shipment = _plan(here)
    chunks = tar_chunks(shipment, 1000)
    next(chunks)
    big.unlink()
    for _ in chunks:
        pass
    (here / "a" / "b.c").unlink()
    with pytest.raises(BuildFailed, match=r"a/b\.c vanished"):
        list(tar_chunks(shipment))
    _git(here, "checkout", "-q", ".")
    big.write_bytes(bytes(100_000))
    with pytest.raises(BuildFailed, match="zz became shorter"):
        _shrink_while_sent(here)


def _shrink_while_sent(here: Path) -> None:
    (here / "zz").write_bytes(b"z" * 100_000)
    for chunk in tar_chunks(_plan(here), 1000):
        if chunk.endswith(b"zzz"):
            (here / "zz").write_bytes(b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    _write(tmp_path / "here", {"setup.py": "", "closed": ""})
    (tmp_path / "here" / "closed").chmod(0)
    with pytest.raises(BuildFailed, match=r"closed cannot be read: Permission denied"):
        list(tar_chunks(_plan(tmp_path / "here")))
    (tmp_path / "here" / "inner").mkdir(0)
    with pytest.raises(BuildFailed, match=r"inner/ cannot be read: Permission denied"):
        _plan(tmp_path / "here")


def test_a_stream_that_is_not_whole(tmp_path: Path) -> None:
    data = b"".join(tar_chunks(_plan(_repository(tmp_path / "here"))))
    with pytest.raises(BuildFailed, match="cannot be unpacked"):
        unpack(io.BytesIO(data[:700]), tmp_path / "inside")
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildFailed, match="cannot be unpacked"):
        unpack(io.BytesIO(data), tmp_path / "file")
