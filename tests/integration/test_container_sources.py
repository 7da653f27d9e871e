"""What of a project is found again in the container: versions, neighbours, what git ignores, what nobody may write."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portable_backend.strategies.container.images import CACHES, volume_name
from support.command_line import entries
from support.images import manylinux_image, need
from support.projects import find_pythons, hook_environ, write_fake_project, write_files
from support.trees import read_only

pytestmark = pytest.mark.integration
_COMMAND = [sys.executable, "-m", "portable_backend.cli"]
_RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
_NATIVE = {"tag": "py3-none-linux_x86_64", "compile": ["mod.c"]}
_LIST = """before-build = 'find . -path ./.git -prune -o -type f -exec echo inside: {} ";"'"""
_SCM = """\
[build-system]
requires = ["portable-backend", "setuptools>=64", "setuptools-scm>=8"]
build-backend = "portable_backend"
[project]
name = "versioned"
dynamic = ["version"]
[tool.setuptools]
py-modules = ["versioned"]
[tool.setuptools_scm]
[tool.portable-backend]
inner-backend = "setuptools"
"""
_SPARSE = 1 << 30


# --- images and builds -------------------------------------------------------------------------------------------


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """A manylinux image by a name of our own: what is cached for it goes with it."""
    name = f"portable-backend-test/sources-{uuid.uuid4().hex[:12]}:latest"
    _docker("tag", manylinux_image(), name)
    yield name
    arch = _docker("image", "inspect", "-f", "{{.Architecture}}", name)
    volumes = [volume_name(kind, name, arch) for kind in CACHES]
    subprocess.run(["docker", "volume", "rm", "-f", *volumes], capture_output=True, check=False)
    _docker("rmi", name)


@pytest.fixture(scope="module")
def python(image: str) -> str:
    """The version of an interpreter that the image has, and this machine."""
    inside = _docker("run", "--rm", image, "ls", "/opt/python").split()
    both = [each for each in find_pythons() if f"cp{each}-cp{each}".replace(".", "") in inside]
    need(both, "the image has no interpreter that this machine has")
    return min(both, key=lambda each: each != _RUNNING)


Build = Callable[[Path], tuple[Path, str]]


@pytest.fixture
def build(tmp_path: Path, image: str, python: str) -> Build:
    """Builds a project in a container: the wheel, and what was said."""

    def _build(source: Path) -> tuple[Path, str]:
        options = ["-w", str(tmp_path / "wheels"), "--strategy", "container", "--python", python]
        environ = hook_environ(PORTABLE_BACKEND_CONTAINER_IMAGE=image)
        command = [*_COMMAND, "build", str(source), *options]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-6000:]
        return Path(done.stdout.strip()), done.stderr

    return _build


# --- projects ----------------------------------------------------------------------------------------------------


def _git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _committed(directory: Path, message: str = "first") -> Path:
    if not (directory / ".git").exists():
        _git(directory, "init", "-q", "-b", "main")
    _git(directory, "add", "-A")
    _git(directory, "commit", "-q", "-m", message)
    return directory


def _seen(said: str) -> set[str]:
    """The project's files as they were found inside."""
    return set(re.findall(r"^inside: \./(.+)$", said, re.MULTILINE))


# --- versions that are read from tags ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """What setuptools-scm says of a tree on this machine."""
    site = tmp_path_factory.mktemp("scm")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), "setuptools-scm>=8"]
    subprocess.run(install, check=True)

    def version(source: Path) -> str:
        code = "import setuptools_scm; print(setuptools_scm.get_version('.'))"
        environ = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run([sys.executable, "-c", code], cwd=source, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return version


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """A work tree whose version is read from a tag, two commits ago."""
    source = write_files(tmp_path / "versioned", {"pyproject.toml": _SCM, "versioned.py": "A = 1\n"})
    _committed(source)
    _git(source, "tag", "v1.2.0")
    for number in range(2):
        write_files(source, {"versioned.py": f"A = {number + 2}\n"})
        _committed(source, "another")
    return source


def _built_version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


def test_the_version_of_a_clean_work_tree(build: Build, scm: Callable[[Path], str], tagged: Path) -> None:
    version = scm(tagged)
    assert re.fullmatch(r"1\.2\.1\.dev2\+g[0-9a-f]+", version), "the node is there, and nothing about changes"
    wheel, _ = build(tagged)
    assert _built_version(wheel) == version


def test_the_version_of_a_dirty_work_tree(
    build: Build, scm: Callable[[Path], str], tagged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the day of the build; and builds have a day of their own, unless they are told another."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "315532800")
    write_files(tagged, {"versioned.py": "A = 'changed'\n"})
    version = scm(tagged)
    assert version.endswith(".d19800101")
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    wheel, _ = build(tagged)
    assert _built_version(wheel) == version


def test_the_version_of_a_linked_work_tree(
    tmp_path: Path, build: Build, scm: Callable[[Path], str], tagged: Path
) -> None:
    """Its ``.git`` is a file that names a directory outside of the tree."""
    _git(tagged, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"), "HEAD~1")
    version = scm(tmp_path / "linked")
    assert version.startswith("1.2.1.dev1+g")
    wheel, _ = build(tmp_path / "linked")
    assert _built_version(wheel) == version


def test_the_version_of_a_shallow_clone(tmp_path: Path, build: Build, scm: Callable[[Path], str], tagged: Path) -> None:
    _git(tagged, "tag", "v1.3.0", "HEAD~1")
    _git(tmp_path, "clone", "-q", "--depth", "2", f"file://{tagged}", "shallow")
    shallow = tmp_path / "shallow"
    assert (shallow / ".git" / "shallow").exists()
    version = scm(shallow)
    assert version.startswith("1.3.1.dev1+g")
    wheel, _ = build(shallow)
    assert _built_version(wheel) == version


def test_the_version_in_a_repository_of_another_user(build: Build, scm: Callable[[Path], str], tagged: Path) -> None:
    """git mistrusts it, here and inside, where it would silently make another version of it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    version = scm(tagged)
    for path in (tagged, *tagged.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    wheel, _ = build(tagged)
    assert _built_version(wheel) == version


# --- what travels ------------------------------------------------------------------------------------------------


def test_a_project_in_a_subdirectory_finds_its_neighbours(tmp_path: Path, build: Build) -> None:
    code = '#include "../common/common.h"\nint answer(void) { return ANSWER; }\n'
    top = write_files(tmp_path / "mono", {"common/common.h": "#define ANSWER 42\n"})
    write_fake_project(top / "python", _NATIVE, files={"mod.c": code})
    build(_committed(top) / "python")


def test_a_root_brings_the_neighbours_where_there_is_no_repository(tmp_path: Path, build: Build) -> None:
    code = '#include "../common/common.h"\nint answer(void) { return ANSWER; }\n'
    top = write_files(tmp_path / "mono", {"common/common.h": "#define ANSWER 42\n"})
    table = '[tool.portable-backend.container]\nroot = ".."'
    build(write_fake_project(top / "python", _NATIVE, table, {"mod.c": code}))


def test_a_read_only_tree_is_built_as_it_is(tmp_path: Path, build: Build) -> None:
    source = write_fake_project(tmp_path / "p", _NATIVE, files={"mod.c": "int answer(void) { return 42; }\n"})
    before = entries(_committed(source))
    with read_only(source):
        build(source)
    assert entries(source) == before


def test_what_git_ignores_stays_however_large(tmp_path: Path, build: Build) -> None:
    """A gigabyte of ignored data costs nothing, and is not looked into; changes that are not committed travel."""
    files = {".gitignore": "data/\n*.log\n", "kept.txt": "", "removed.txt": ""}
    table = f"[tool.portable-backend.container]\n{_LIST}"
    source = _committed(write_fake_project(tmp_path / "p", settings=table, files=files))
    (source / "removed.txt").unlink()
    write_files(source, {"new.txt": "", "noise.log": "", "data/small.bin": ""})
    with (source / "data" / "large.bin").open("wb") as file:
        file.truncate(_SPARSE)
    began = time.monotonic()
    _, said = build(source)
    assert time.monotonic() - began < 30
    (line,) = re.findall(r"sending (\d+) files, ([\d.]+) MB(.*)", said)
    assert float(line[1]) < 1
    assert "data/" in line[2]
    seen = _seen(said)
    assert {"kept.txt", "new.txt", "pyproject.toml"} <= seen
    assert seen.isdisjoint({"removed.txt", "noise.log", "data/small.bin", "data/large.bin"})


def _listed(build: Build, source: Path, lines: str, commit: bool = True) -> set[str]:
    table = f"[tool.portable-backend.container]\n{_LIST}\n{lines}"
    files = {"made/of_a.c": "", "made/of_a.o": "", "other/b.c": "", ".gitignore": "made/\n"}
    write_fake_project(source, settings=table, files=files)
    _, said = build(_committed(source) if commit else source)
    return _seen(said)


def test_an_ignored_file_is_sent_when_it_is_included(tmp_path: Path, build: Build) -> None:
    seen = _listed(build, tmp_path / "p", 'include = ["made/*.c"]\nexclude = ["other"]')
    assert "made/of_a.c" in seen
    assert seen.isdisjoint({"made/of_a.o", "other/b.c"})


def test_without_git_everything_travels_but_environments_and_caches(tmp_path: Path, build: Build) -> None:
    source = write_files(tmp_path / "p", {".venv/pyvenv.cfg": "home = /nowhere\n", "__pycache__/a.pyc": ""})
    seen = _listed(build, source, "", commit=False)
    assert {"made/of_a.c", "made/of_a.o", "other/b.c"} <= seen
    assert seen.isdisjoint({".venv/pyvenv.cfg", "__pycache__/a.pyc"})
