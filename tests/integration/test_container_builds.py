"""Builds in containers as a user sees them: real frontends, a real engine, images as ``support.images`` has them."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional

import pytest

from portable_backend.interpreters import read_interpreter
from portable_backend.strategies.container.images import CACHES, interpreter_names, volume_name
from support.command_line import entries
from support.images import bare_image, manylinux_image, musllinux_image, need, run_in
from support.projects import (
    REPOSITORY,
    Frontend,
    copy_sample,
    find_pythons,
    hook_environ,
    printed_log,
    write_fake_project,
    write_files,
)

pytestmark = pytest.mark.integration
_COMMAND = [sys.executable, "-m", "portable_backend.cli"]
_C = "#include <string.h>\nunsigned long answer(const char *text) { return strlen(text); }\n"
_NATIVE = {"tag": "py3-none-linux_x86_64", "compile": ["mod.c"]}
_RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"

# A hook that has begun to write when it finds that something is missing, as it is outside of the image.
_NEEDY = """
import os, shutil
from fake_backend import _METADATA, build_sdist, build_wheel

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    for name in ("fake-1.0.dist-info", "stray"):
        os.mkdir(os.path.join(directory, name))
    if shutil.which("only-in-the-image") is None:
        raise SystemExit("only-in-the-image is missing")
    os.rmdir(os.path.join(directory, "stray"))
    with open(os.path.join(directory, "fake-1.0.dist-info", "METADATA"), "w") as file:
        file.write(_METADATA)
    return "fake-1.0.dist-info"
"""

_NOSY = """
import os
import fake_backend

def build_wheel(*arguments, **named):
    print("interfaces of the build:", *sorted(os.listdir("/sys/class/net")))
    return fake_backend.build_wheel(*arguments, **named)
"""


# --- images ------------------------------------------------------------------------------------------------------


def _docker(*arguments: str, words: Optional[str] = None) -> str:
    done = subprocess.run(["docker", *arguments], input=words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _changed(image: str, *command: str) -> str:
    """An image of our own, so that what is left of its containers is told from other people's."""
    name = f"portable-backend-test/builds-{uuid.uuid4().hex[:12]}:latest"
    container = _docker("create", image, *command)
    try:
        _docker("start", "-a", container)
        _docker("commit", "--change", f"LABEL portable-backend-test.builds={name}", container, name)
    finally:
        _docker("rm", "-f", "-v", container)
    return name


def _forget(image: str) -> None:
    """Remove an image of our own with all that the container strategy kept for it."""
    for item in _kept_of(image):
        _docker("rmi", "-f", item)
    arch = _docker("image", "inspect", "-f", "{{.Architecture}}", image)
    volumes = [volume_name(kind, image, arch) for kind in CACHES]
    subprocess.run(["docker", "volume", "rm", "-f", *volumes], capture_output=True, check=False)
    _docker("rmi", "-f", image)


def _kept_of(image: str) -> list[str]:
    """Ids of the results of ``before-all`` in an image."""
    wanted = [f"label=portable-backend.of={image}", "label=portable-backend.cache=before-all"]
    options = [word for each in wanted for word in ("--filter", each)]
    return sorted(set(_docker("images", "-q", "--no-trunc", *options).split()))


def _containers(image: str) -> list[str]:
    """Containers of an image and of what was made of it, running or not."""
    return _docker("ps", "-a", "-q", "--filter", f"ancestor={image}").split()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """A manylinux image that only these tests know."""
    name = _changed(manylinux_image(), "true")
    yield name
    _forget(name)


@functools.cache
def _platform(image: str) -> str:
    """The platform tag that an image says it is for."""
    environ = _docker("image", "inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", image).splitlines()
    return next(line.partition("=")[2] for line in environ if line.startswith("AUDITWHEEL_PLAT="))


@functools.cache
def _interpreters(image: str) -> list[str]:
    return _docker("run", "--rm", image, "ls", "/opt/python").split()


def _pythons(image: str) -> list[str]:
    """Versions of interpreters that both this machine and the image have, the running one first."""
    both = [each for each in find_pythons() if f"cp{each}-cp{each}".replace(".", "") in _interpreters(image)]
    return sorted(both, key=lambda each: each != _RUNNING)


def _inside(image: str, version: str) -> str:
    """An interpreter of the image."""
    return "/opt/python/cp{0}-cp{0}/bin/python".format(version.replace(".", ""))


def _need_running(image: str) -> None:
    """For frontends, which build for the interpreter that runs them."""
    has = interpreter_names(read_interpreter())[0] in _interpreters(image)
    need(has, "the image lacks the interpreter that runs the tests")


# --- projects and builds -----------------------------------------------------------------------------------------


def _table(image: str, *lines: str) -> str:
    return "\n".join(["[tool.portable-backend.container]", f'image = "{image}"', *lines, ""])


def _fake(
    directory: Path, table: str, said: Optional[Mapping[str, object]] = None, files: Optional[Mapping[str, str]] = None
) -> Path:
    return write_fake_project(directory, said, table, files)


def _sdist(directory: Path, said: Mapping[str, object]) -> Path:
    """An sdist of a fake project that knows nothing of containers."""
    source = _fake(directory / "fake-1.0", "", said, {"mod.c": _C})
    with tarfile.open(directory / "fake-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "fake-1.0")
    return directory / "fake-1.0.tar.gz"


def _with_backend(source: Path, name: str, code: str) -> Path:
    """Have another in-tree backend than the fake one, which stands beside it."""
    write_files(source, {f"_build/{name}.py": code})
    pyproject = source / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"fake_backend"', f'"{name}"'))
    return source


def _sample(directory: Path, table: str) -> Path:
    source = copy_sample("setuptools_c", directory)
    with (source / "pyproject.toml").open("a") as file:
        file.write(f"\n{table}")
    return source


def _version(image: str) -> tuple[str, ...]:
    """Options for an interpreter that the image has."""
    pythons = _pythons(image)
    need(pythons, "the image has no interpreter that this machine has")
    return ("--python", pythons[0])


def _run(image: str, *arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    version = () if "--python" in arguments else _version(image)
    command = [*_COMMAND, "build", *map(str, arguments), *version]
    return subprocess.run(command, env=hook_environ(**environ), capture_output=True, text=True, check=False)


def _build(image: str, source: Path, wheels: Path, *options: str, **environ: str) -> tuple[Path, str]:
    """Build; the wheel, and what was said."""
    done = _run(image, source, "-w", wheels, *options, **environ)
    assert done.returncode == 0, done.stderr[-6000:]
    return Path(done.stdout.strip()), done.stderr


def _refused(image: str, code: int, source: Path, wheels: Path, *options: str, **environ: str) -> str:
    """Build what cannot be built; the error. Nothing is left of it, neither here nor at the engine."""
    done = _run(image, source, "-w", wheels, *options, **environ)
    assert done.returncode == code, done.stderr[-6000:]
    assert "Traceback" not in done.stderr
    assert entries(wheels) == []
    return done.stderr[done.stderr.index("portable-backend: error:") :]


def _frontend(command: Sequence[str], environ: Mapping[str, str], cwd: Optional[Path] = None) -> str:
    done = subprocess.run(command, env=environ, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, said[-6000:]
    return said


def _tags(wheel: Path) -> list[str]:
    return wheel.name[: -len(".whl")].split("-")[-1].split(".")


def _metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")))


def _copy_in(image: str, wheel: Path, site: Path, version: str) -> str:
    """What the sample's one function answers in a container of the image."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = "import sample_setuptools_c; print(sample_setuptools_c.copy('hello'))"
    return run_in(image, site, code, _inside(image, version)).strip()


# --- frontends ---------------------------------------------------------------------------------------------------


def test_build_makes_a_wheel_with_the_policy_of_the_image(
    tmp_path: Path, image: str, frontend_environ: dict[str, str]
) -> None:
    """The table alone is all that it takes; the frontend itself installs what speaks to the engine."""
    _need_running(image)
    source, out = _sample(tmp_path, _table(image)), tmp_path / "out"
    before = entries(source)
    _frontend([sys.executable, "-m", "build", "--wheel", str(source), "-o", str(out)], frontend_environ)
    (wheel,) = out.iterdir()
    assert _platform(image) in _tags(wheel)
    assert not [tag for tag in _tags(wheel) if tag.startswith("linux_")]
    assert _copy_in(image, wheel, tmp_path / "site", _RUNNING) == "hello"
    assert entries(source) == before, "nothing was written into the source"
    assert _containers(image) == []


def test_pip_wheel_prepares_metadata_on_this_machine(
    tmp_path: Path, image: str, frontend_environ: dict[str, str]
) -> None:
    _need_running(image)
    source, out = _sample(tmp_path, _table(image)), tmp_path / "out"
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "-w", str(out), "."]
    said = _frontend(command, frontend_environ, source)
    (wheel,) = out.iterdir()
    assert _platform(image) in _tags(wheel)
    assert said.count(f"image {image}: ") == 1, "metadata need no container"


def test_the_command_prints_the_wheel_as_json(tmp_path: Path, image: str) -> None:
    source = _fake(tmp_path / "p", _table(image), _NATIVE, {"mod.c": _C})
    done = _run(image, source, "-w", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert entries(tmp_path / "out") == [data["wheel"]]
    assert data["path"] == str(tmp_path / "out" / data["wheel"])
    assert data["compliant"] is True
    assert _platform(image) in _tags(Path(data["path"]))


def test_an_sdist_is_built_in_a_container_when_that_is_asked_for(tmp_path: Path, image: str) -> None:
    sdist = _sdist(tmp_path, _NATIVE)
    environ = {"PORTABLE_BACKEND_CONTAINER_IMAGE": image}
    wheel, _ = _build(image, sdist, tmp_path / "out", "--strategy", "container", **environ)
    assert _platform(image) in _tags(wheel)


# --- metadata ----------------------------------------------------------------------------------------------------

_PREPARE = (
    "printf '#!/bin/sh\\necho 4.5.6\\n' >/usr/local/bin/only-in-the-image\nchmod +x /usr/local/bin/only-in-the-image\n"
)
_SETUP = """
import subprocess
from setuptools import setup
version = subprocess.run(["only-in-the-image"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
setup(name="needy", version=version, py_modules=["needy"])
"""


def test_pip_wheel_of_a_project_that_needs_the_image_for_its_metadata(
    tmp_path: Path, image: str, frontend_environ: dict[str, str]
) -> None:
    """The version comes out of a program that ``before-all`` installs, so that here there is none."""
    _need_running(image)
    text = '[build-system]\nrequires = ["portable-backend", "setuptools"]\nbuild-backend = "portable_backend"\n'
    text += _table(image, 'before-all = "sh prepare.sh"')
    files = {"pyproject.toml": text, "setup.py": _SETUP, "prepare.sh": _PREPARE, "needy.py": ""}
    source = write_files(tmp_path / "p", files)
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "-w", str(tmp_path / "out"), "."]
    said = _frontend(command, frontend_environ, source)
    assert entries(tmp_path / "out") == ["needy-4.5.6-py3-none-any.whl"]
    assert "the metadata are made by the container strategy instead" in said
    assert said.count("before-all: sh prepare.sh") == 1, "its result served the wheel, too"
    assert _containers(image) == []


def test_an_sdist_by_name_needs_nothing_of_the_image_here(tmp_path: Path, image: str) -> None:
    """pip, which downloads it, wants its metadata as well, and fails to make them on this machine."""
    text = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    information = "Metadata-Version: 2.1\nName: needy\nVersion: 4.5.6\n"
    files = {"pyproject.toml": text, "setup.py": _SETUP, "needy.py": "", "PKG-INFO": information}
    write_files(tmp_path / "needy-4.5.6", files)
    with tarfile.open(tmp_path / "needy-4.5.6.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "needy-4.5.6", "needy-4.5.6")
    environ = {
        "PORTABLE_BACKEND_CONTAINER_IMAGE": image,
        "PORTABLE_BACKEND_CONTAINER_BEFORE_ALL": _PREPARE,
        "PIP_FIND_LINKS": " ".join(filter(None, (os.environ.get("PIP_FIND_LINKS"), str(tmp_path)))),
    }
    done = _run(image, "needy==4.5.6", "-w", tmp_path / "out", "--strategy", "container", **environ)
    assert done.returncode == 0, done.stderr[-3000:]
    assert entries(tmp_path / "out") == ["needy-4.5.6-py3-none-any.whl"]


def test_metadata_from_this_machine_are_those_of_the_wheel(tmp_path: Path, image: str) -> None:
    """The project's repository travels, so what the inner backend makes of it is the same here and there."""
    _need_running(image)
    source = _fake(tmp_path / "p", _table(image), {"hooks": ["prepare_metadata_for_build_wheel"], "log": "-"})
    subprocess.run(["git", "init", "-q"], cwd=source, check=True)
    metadata, wheels = tmp_path / "metadata", tmp_path / "wheels"
    metadata.mkdir()
    wheels.mkdir()
    frontend = Frontend(source)
    name = frontend.hooks.prepare_metadata_for_build_wheel(str(metadata), _allow_fallback=False)
    assert "sending" not in frontend.output, "no container for that"
    wheel = frontend.hooks.build_wheel(str(wheels), metadata_directory=str(metadata / name))
    content = (metadata / name / "METADATA").read_bytes()
    assert b"Summary: git True" in content
    assert _metadata(wheels / wheel) == content
    assert printed_log(frontend.output)[-1]["metadata_directory"].endswith(f"/{name}")


def test_metadata_from_a_container_are_all_that_is_in_their_directory(tmp_path: Path, image: str) -> None:
    _need_running(image)
    table = _table(image, 'before-all = "sh prepare.sh"')
    source = _with_backend(_fake(tmp_path / "p", table, {"log": "-"}, {"prepare.sh": _PREPARE}), "needy", _NEEDY)
    metadata, wheels = tmp_path / "metadata", tmp_path / "wheels"
    metadata.mkdir()
    wheels.mkdir()
    frontend = Frontend(source)
    name = frontend.hooks.prepare_metadata_for_build_wheel(str(metadata), _allow_fallback=False)
    assert entries(metadata) == [name, f"{name}/METADATA"]
    wheel = frontend.hooks.build_wheel(str(wheels), metadata_directory=str(metadata / name))
    assert _metadata(wheels / wheel) == (metadata / name / "METADATA").read_bytes()
    told = printed_log(frontend.output)[-1]["metadata_directory"]
    assert told.endswith(f"/{name}"), "the inner backend is told of the metadata, inside"


# --- what is kept ------------------------------------------------------------------------------------------------


def _stamp(image: str, source: Path, *lines: str) -> str:
    """The time at which the ``before-all`` ran whose result a build of the project sees."""
    script = source / "prepare.sh"
    _fake(source, _table(image, 'before-build = "echo stamp: $(cat /stamp)"', *lines))
    assert script.exists()
    _, said = _build(image, source, source.parent / "out")
    (stamp,) = re.findall(r"^stamp: (\d+)$", said, re.MULTILINE)
    return str(stamp)


def test_the_result_of_before_all_is_kept_until_something_changes(tmp_path: Path, image: str) -> None:
    script, run = "date +%s%N >/stamp\n", 'before-all = "sh prepare.sh"'
    source = write_files(tmp_path / "p", {"prepare.sh": script})
    first = _stamp(image, source, run)
    assert _stamp(image, source, 'before-all = ["sh prepare.sh", "true"]') != first, "another command"
    assert _stamp(image, source, run, 'environment = { COLOUR = "blue" }') != first, "another variable"
    write_files(source, {"prepare.sh": f"{script}# changed\n"})
    assert _stamp(image, source, run) != first, "another script"
    write_files(source, {"prepare.sh": script})
    assert _stamp(image, source, run) == first, "what was kept is still there"


def test_a_script_beside_a_project_in_a_subdirectory_counts(tmp_path: Path, image: str) -> None:
    """``{project}`` is the root of what was sent, here and inside."""
    table = _table(image, 'before-all = "sh {project}/ci/prepare.sh"', 'before-build = "cat /stamp"')
    top = write_files(tmp_path / "mono", {"ci/prepare.sh": "echo first text >/stamp\n"})
    source = _fake(top / "python", table)
    subprocess.run(["git", "init", "-q"], cwd=top, check=True)
    assert "\nfirst text\n" in _build(image, source, tmp_path / "out")[1]
    write_files(top, {"ci/prepare.sh": "echo second text >/stamp\n"})
    assert "\nsecond text\n" in _build(image, source, tmp_path / "out")[1]


def test_what_before_all_writes_into_the_project_is_there_each_time(tmp_path: Path, image: str) -> None:
    """The project is no part of what is kept: such a result would lack the file in the next build."""
    lines = ('before-all = "echo generated > made.txt"', 'before-build = "cat made.txt"')
    source, before = _fake(tmp_path / "p", _table(image, *lines)), _kept_of(image)
    for _ in range(2):
        said = _build(image, source, tmp_path / "out")[1]
        assert "\ngenerated\n" in said
        assert "before-all changed the project (made.txt)" in said
    assert _kept_of(image) == before


def test_before_all_is_never_asked_a_question(tmp_path: Path, image: str) -> None:
    source = _fake(tmp_path / "p", _table(image, 'before-all = "echo debconf $DEBIAN_FRONTEND; head -c 1 | wc -c"'))
    assert "\ndebconf noninteractive\n0\n" in _build(image, source, tmp_path / "out")[1]


def test_without_the_cache_nothing_is_kept(tmp_path: Path, image: str) -> None:
    source = write_files(tmp_path / "p", {"prepare.sh": "date +%s%N >/stamp\n"})
    lines, before = ('before-all = "sh ./prepare.sh"', "cache = false"), _kept_of(image)
    assert _stamp(image, source, *lines) != _stamp(image, source, *lines)
    assert _kept_of(image) == before


def test_what_is_kept_is_listed_and_can_be_removed(tmp_path: Path, image: str) -> None:
    """Removed by what ``cache clear`` does, one thing at a time: other builds of this engine keep theirs."""
    from portable_backend.strategies.container.engine import find_engine

    source = _fake(tmp_path / "p", _table(image, 'before-all = "echo found in a list"'))
    _build(image, source, tmp_path / "out")
    listed = subprocess.run(
        [*_COMMAND, "cache", "info", "before-all", "--json"],
        env=hook_environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    items = [each for each in json.loads(listed.stdout)["items"] if image in each["detail"]]
    assert len(items) == len(_kept_of(image))
    (item,) = (each for each in items if "found in a list" in each["detail"])
    assert item["name"].startswith("portable-backend-before-all:")
    engine = find_engine("auto")
    engine.drop(next(each for each in engine.kept() if each.name == item["name"]))
    assert len(_kept_of(image)) == len(items) - 1
    _, said = _build(image, source, tmp_path / "out")
    assert "before-all: echo found in a list" in said, "it runs again"


# --- the environment ---------------------------------------------------------------------------------------------


def _printed_environ(said: str) -> dict[str, str]:
    """The variables that ``before-build = "env"`` printed."""
    lines = said.partition("before-build: env\n")[2].partition("portable-backend: ")[0].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_of_the_environment_only_what_was_named_enters(tmp_path: Path, image: str) -> None:
    table = '[tool.portable-backend.environment]\nFAKE_TOP = "$HOME as written"\n'
    table += _table(
        image,
        'before-build = "env"',
        'environment-pass = ["NAMED", "LIKE_*"]',
        "[tool.portable-backend.container.environment]",
        'PATH = "/opt/tool/bin:$PATH"',
        'FAKE_BRACED = "${HOME}/x$NOT_THERE"',
        'TAKEN = "$NAMED"',
    )
    source = _fake(tmp_path / "p", table, {"log": "-"})
    theirs = {"SECRET": "1", "NAMED": "a", "LIKE_THIS": "b", "UNLIKE_THIS": "c", "CFLAGS": "-nonsense"}
    _, said = _build(image, source, tmp_path / "out", SOURCE_DATE_EPOCH="1000000000", **theirs)
    inside = _printed_environ(said)
    assert {"SECRET", "UNLIKE_THIS", "CFLAGS", "PYTHONPATH"}.isdisjoint(inside)
    assert (inside["NAMED"], inside["LIKE_THIS"], inside["TAKEN"]) == ("a", "b", "a")
    assert inside["SOURCE_DATE_EPOCH"] == "1000000000"
    path = inside["PATH"].split(":")
    assert path.index("/opt/tool/bin") < path.index("/usr/bin"), "$PATH is the image's"
    assert printed_log(said)[-1]["seen"] == {"FAKE_TOP": "$HOME as written", "FAKE_BRACED": f"{inside['HOME']}/x"}


def test_commands_run_in_the_project_with_the_python_of_the_environment(tmp_path: Path, image: str) -> None:
    command = """before-build = ['pwd', 'echo "{package} of {project}"', 'python -c "import sys; print(sys.prefix)"']"""
    _, said = _build(image, _fake(tmp_path / "p", _table(image, command)), tmp_path / "out")
    here, places, prefix = (
        said.partition(f"before-build: {start}")[2].splitlines()[1] for start in ("pwd", "echo", "python -c")
    )
    assert places == f"{here} of {here}"
    assert prefix == "/portable-backend/environment"


def test_a_build_without_a_network(tmp_path: Path, image: str) -> None:
    """Requirements still come from the index, and commands still reach it: only the build proper has nothing."""
    table = _table(image, "network = false", 'before-build = "echo interfaces before: $(ls /sys/class/net)"')
    source = _with_backend(_fake(tmp_path / "p", table), "nosy", _NOSY)
    pyproject = source / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('["portable-backend"]', '["portable-backend", "flit-core"]'))
    _, said = _build(image, source, tmp_path / "out")
    assert "installing flit-core" in said
    (before,) = re.findall(r"^interfaces before: (.+)$", said, re.MULTILINE)
    assert set(before.split()) > {"lo"}
    assert "interfaces of the build: lo\n" in said


# --- what stands in the way --------------------------------------------------------------------------------------


def test_an_image_without_the_interpreter_says_which_it_has(tmp_path: Path, image: str) -> None:
    name = interpreter_names(read_interpreter())[0]
    others = [each for each in _interpreters(image) if each != name]
    without = _changed(image, "rm", "-rf", f"/opt/python/{name}")
    try:
        source = _fake(tmp_path / "p", _table(without, "cache = false"))
        error = _refused(image, 6, source, tmp_path / "out", "--python", sys.executable)
        assert name in error.splitlines()[0]
        assert all(each in error for each in others)
        assert "cure: " in error
        assert _containers(without) == []
    finally:
        _forget(without)


def test_an_image_that_must_not_be_pulled(tmp_path: Path, image: str) -> None:
    source = _fake(tmp_path / "p", _table("localhost/no/such:image", 'pull = "never"'))
    error = _refused(image, 6, source, tmp_path / "out")
    assert "localhost/no/such:image is not on this engine" in error
    assert "pull localhost/no/such:image" in error


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://localhost:1"])
def test_an_engine_that_is_not_there(tmp_path: Path, image: str, host: str) -> None:
    source = _fake(tmp_path / "p", _table(image))
    done = _run(image, source, "-w", tmp_path / "out", "-q", DOCKER_HOST=host)
    assert done.returncode == 6
    assert host in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("portable-backend: error:") == 1
    assert len(done.stderr.splitlines()) <= 6, done.stderr
    assert entries(tmp_path / "out") == []


def test_a_hook_says_the_same_of_an_engine_that_is_not_there(tmp_path: Path, image: str) -> None:
    frontend = Frontend(_fake(tmp_path / "p", _table(image)), DOCKER_HOST="unix:///nowhere/docker.sock")
    with pytest.raises(subprocess.CalledProcessError):
        frontend.hooks.build_wheel(str(tmp_path))
    assert frontend.exit_code == 6
    assert frontend.output.count("portable-backend: error:") == 1
    assert "Traceback" not in frontend.output


# --- failures ----------------------------------------------------------------------------------------------------


def _command_to_repeat(error: str) -> list[str]:
    (line,) = re.findall(r"as it failed: (.+)$", error, re.MULTILINE)
    return shlex.split(line)


def test_a_build_that_fails_can_be_looked_into(tmp_path: Path, image: str) -> None:
    """The error has a command that leaves the container, and that one's error has the command to enter it."""
    source = _fake(tmp_path / "my project", "", {"fail": "error: no such thing"})
    options = ("--strategy", "container", "-C", f"portable-backend.container.image={image}", "-C", "theirs=a b")
    error = _refused(image, 5, source, tmp_path / "out", *options)
    assert "error: no such thing" in error
    assert f"in a container of {image}, phase build" in error
    assert _containers(image) == []
    program, *words = _command_to_repeat(error)
    assert program == "portable-backend"
    again = subprocess.run([*_COMMAND, *words], cwd=tmp_path, env=hook_environ(), capture_output=True, text=True)
    assert again.returncode == 5, again.stderr
    (left,) = _containers(image)
    try:
        enter = shlex.split(re.findall(r"enter it: (.+)$", again.stderr, re.MULTILINE)[0])
        assert left.startswith(enter[3][:12]) or enter[3].startswith(left)
        typed = "pwd; cat fake.json; echo; python -c 'import sys; print(sys.prefix)'; exit\n"
        seen = _docker("exec", "-i", *enter[3:], words=typed).splitlines()
        assert "/portable-backend/project" in seen
        assert '{"fail": "error: no such thing"}' in seen
        assert "/portable-backend/environment" in seen
    finally:
        remove = shlex.split(re.findall(r"in the end: (.+)$", again.stderr, re.MULTILINE)[0])
        subprocess.run(remove, capture_output=True, check=True)
    assert _containers(image) == []
    assert entries(tmp_path / "dist") == []


def test_what_was_said_outside_of_the_project_is_in_the_command_to_repeat_a_build(tmp_path: Path, image: str) -> None:
    source = _fake(tmp_path / "p", "", {"fail": "it broke"})
    environ = {"PORTABLE_BACKEND_CONTAINER_IMAGE": image}
    option = ("-C", "portable-backend.container.environment=A=x y")
    command = _command_to_repeat(_refused(image, 5, source, tmp_path / "out", *option, **environ))
    assert f"portable-backend.container.image={image}" in command
    assert "portable-backend.container.environment=A=x y" in command
    assert command[:3] == ["portable-backend", "build", str(source)]


def test_the_command_to_repeat_the_build_of_an_sdist_names_the_sdist(tmp_path: Path, image: str) -> None:
    sdist = _sdist(tmp_path, {"fail": "it broke"})
    options = ("--strategy", "container", "-C", f"portable-backend.container.image={image}")
    assert _command_to_repeat(_refused(image, 5, sdist, tmp_path / "out", *options))[2] == str(sdist)


@pytest.mark.parametrize(
    ("line", "phase", "told"),
    [
        ('before-all = "echo preparing; echo oh dear >&2; exit 7"', "before-all", ("oh dear", "exit status 7")),
        ('before-build = ["true", "no-such-program --now"]', "before-build", ("no-such-program", "exit status 127")),
    ],
)
def test_a_command_that_fails(tmp_path: Path, image: str, line: str, phase: str, told: Sequence[str]) -> None:
    before = _kept_of(image)
    error = _refused(image, 5, _fake(tmp_path / "p", _table(image, line)), tmp_path / "out")
    assert f"phase {phase}" in error
    assert all(words in error for words in told)
    assert _kept_of(image) == before, "a failed before-all is not kept"
    assert _containers(image) == []


def test_the_command_to_repeat_a_build_tells_no_secret(tmp_path: Path, image: str) -> None:
    """A variable is still set for whoever repeats the build here."""
    source = _fake(tmp_path / "p", _table(image), {"fail": "it broke"})
    secret = {"PORTABLE_BACKEND_CONTAINER_ENVIRONMENT": "TOKEN=hunter2"}
    said = _refused(image, 5, source, tmp_path / "out", **secret)
    assert "keep-container=on-failure" in said
    assert "hunter2" not in said


def test_requirements_that_cannot_be_installed(tmp_path: Path, image: str) -> None:
    # The directory's name begins like those that pip unpacks sdists to; it is none of them.
    source = _fake(tmp_path / "pip-like" / "p", _table(image))
    pyproject = source / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('["portable-backend"]', '["flit-core==999"]'))
    error = _refused(image, 5, source, tmp_path / "out")
    assert "phase requirements" in error
    assert "the build requirements flit-core==999 cannot be installed" in error
    assert _command_to_repeat(error)[2] == str(source)
    assert _containers(image) == []


def test_a_wheel_that_cannot_be_made_compliant_stays_inside(tmp_path: Path, image: str) -> None:
    """Judged in there, with the exit code that it has everywhere: it is not the build that failed."""
    code = "extern int nowhere(void);\nint answer(void) { return nowhere(); }\n"
    source = _fake(tmp_path / "p", _table(image), _NATIVE, {"mod.c": code})
    error = _refused(image, 1, source, tmp_path / "out")
    assert "mod.so: refers to nowhere" in error
    assert _containers(image) == []


def test_output_comes_while_the_build_runs(tmp_path: Path, image: str) -> None:
    source = _fake(tmp_path / "p", _table(image), {"junk": "early word", "sleep": 3})
    command = [*_COMMAND, "build", str(source), "-w", str(tmp_path / "out"), *_version(image)]
    with subprocess.Popen(command, env=hook_environ(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = next(time.monotonic() for line in process.stderr if "early word" in line)
        process.stderr.read()
        process.wait()
        assert process.returncode == 0
        assert time.monotonic() - seen > 2.5


# --- several at once, other systems ------------------------------------------------------------------------------


def test_builds_of_one_project_at_the_same_time(tmp_path: Path, image: str) -> None:
    """Two for the same interpreter, and one for another where there is another."""
    command = "echo several builds at once >/stamp"
    source = _sample(tmp_path, _table(image, f'before-all = "{command}"'))
    before, pythons = _kept_of(image), _pythons(image)
    wishes = [pythons[0], pythons[0], pythons[-1]]
    done: dict[int, tuple[Path, str]] = {}

    def build(number: int, python: str) -> None:
        options = ("--python", python)
        done[number] = _build(image, source, tmp_path / str(number), *options, SOURCE_DATE_EPOCH="1700000000")

    threads = [threading.Thread(target=build, args=each) for each in enumerate(wishes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == len(wishes), "all of them succeeded"
    first, second, other = (done[number][0] for number in range(3))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert f"-cp{wishes[2].replace('.', '')}-" in other.name
    assert _containers(image) == []
    assert len(_kept_of(image)) == len(before) + 1, "one result of before-all is kept, whoever was first"


def test_a_wheel_for_musl_from_this_machine(tmp_path: Path, image: str) -> None:
    """The target chooses the image, and what an override says holds for that target alone."""
    musl = musllinux_image()
    python = next((each for each in _pythons(musl) if each in _pythons(image)), None)
    need(python, "the images and this machine have no interpreter in common")
    assert python is not None
    policy = _platform(image).rpartition("_x86_64")[0]
    table = f"""
[tool.portable-backend.container]
images = {{ musllinux_1_2 = "{musl}", {policy} = "{image}" }}
before-build = "echo flavour: $FLAVOUR"
environment = {{ FLAVOUR = "plain" }}
cache = false

[[tool.portable-backend.overrides]]
if = {{ target = "musllinux_*" }}
container.environment = {{ FLAVOUR = "musl" }}
"""
    source = _sample(tmp_path, table)
    wheel, said = _build(image, source, tmp_path / "musl", "--target", "musllinux_1_2", "--python", python)
    assert "musllinux_1_2_x86_64" in _tags(wheel)
    assert f"image {musl}: " in said
    assert "\nflavour: musl\n" in said
    assert _copy_in(musl, wheel, tmp_path / "site", python) == "hello"
    wheel, said = _build(image, source, tmp_path / "glibc", "--target", policy, "--python", python)
    assert _platform(image) in _tags(wheel)
    assert f"image {image}: " in said
    assert "\nflavour: plain\n" in said


@pytest.mark.slow
def test_the_example_brings_the_openblas_of_the_image(tmp_path: Path, image: str) -> None:
    """``before-all`` installs it, the wheel carries it with its Fortran libraries, and an old machine computes."""
    need("3.11" in _pythons(image), "needs CPython 3.11, here and in the image: the bare machine has no other")
    source = tmp_path / "ddot"
    shutil.copytree(REPOSITORY / "examples" / "ddot", source)
    told = []
    for number in range(2):
        environ = {"PORTABLE_BACKEND_CONTAINER_IMAGE": image}
        wheel, said = _build(image, source, tmp_path / str(number), "--python", "3.11", **environ)
        told.append("before-all: sh ci/install-openblas.sh" in said)
    assert told == [True, False], "the second build takes what the first has installed"
    assert _platform(image) in _tags(wheel)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    grafted = {each.name.partition("-")[0].partition(".")[0] for each in (tmp_path / "site" / "ddot.libs").iterdir()}
    assert {"libgfortran", "libquadmath"} <= grafted
    assert any(each.startswith("libopenblas") for each in grafted)
    code = """
import glob, ddot
assert not glob.glob("/usr/lib/**/libopenblas*", recursive=True) + glob.glob("/usr/lib/**/libgfortran*", recursive=True)
print(ddot.ddot([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]))
"""
    assert run_in(bare_image("bullseye"), tmp_path / "site", code) == "32.0\n"


# --- inside an image already -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inside(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A running container of the image with a wheel of the package under test, built in there; its interpreter."""
    scratch = tmp_path_factory.mktemp("inside")
    source = _sample(scratch, _table("localhost/no/such:image", 'pull = "never"'))
    reach = [
        name for name in os.environ if name.lower().endswith("_proxy") or name.startswith(("PIP_INDEX", "PIP_EXTRA"))
    ]
    options = [word for name in reach for word in ("-e", name)]
    container = _docker("run", "-d", *options, image, "sleep", "1200")
    try:
        for name in ("pyproject.toml", "README.md", "LICENSE", "src"):
            _docker("cp", str(REPOSITORY / name), f"{container}:/tmp/{name}")
        _docker(
            "exec", container, "sh", "-c", "mkdir /ours && cd /tmp && mv pyproject.toml README.md LICENSE src /ours"
        )
        _docker("cp", str(source), f"{container}:/project")
        python = _inside(image, _pythons(image)[0])
        _docker("exec", container, python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", "/wheels", "/ours")
        yield container, python
    finally:
        _docker("rm", "-f", "-v", container)


@pytest.mark.parametrize("variable", [(), ("-e", "CIBUILDWHEEL=1")], ids=["alone", "cibuildwheel"])
def test_inside_an_image_no_container_is_started(
    tmp_path: Path, image: str, inside: tuple[str, str], variable: Sequence[str]
) -> None:
    """The table is there, and names an image that nobody has; the wheel gets the policy of where it is built."""
    container, python = inside
    command = [python, "-m", "pip", "wheel", "-v", "--no-deps", "--find-links", "/wheels", "-w", "/out", "/project"]
    said = _docker(
        "exec", "-w", "/project", *variable, container, "sh", "-c", f"rm -rf /out; {shlex.join(command)} 2>&1"
    )
    assert "building with the host strategy" in said
    assert said.count("judged as written") == 1, "it was repaired once"
    _docker("cp", f"{container}:/out", str(tmp_path))
    (wheel,) = (tmp_path / "out").iterdir()
    assert _platform(image) in _tags(wheel)
    assert len(_tags(wheel)) == len(set(_tags(wheel)))
