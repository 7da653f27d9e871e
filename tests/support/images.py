"""Images for tests with containers: our own stand-ins (``tests/images``), the published ones, or ones that are named.

The variable ``TESTS_IMAGES`` says which: ``published``, or ``manylinux=REFERENCE,musllinux=REFERENCE``;
without it the stand-ins are made where they are missing or of an older recipe.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parent.parent / "images"
VARIABLE = "TESTS_IMAGES"
#: A recipe's exit status where this machine cannot make the image; the reason is on its standard output.
CANNOT = 77


def need(condition: object, reason: str) -> None:
    """Skip on a laptop, fail where nothing may be missing."""
    if not condition:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@functools.cache
def _engine_answers() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "version"], capture_output=True).returncode == 0


@functools.cache
def _recipe(name: str, *arguments: str) -> tuple[int, str]:
    command = ["bash", str(RECIPES / f"{name}.sh"), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout.strip()


def _made(name: str, *arguments: str) -> str:
    """The image that a recipe makes; the recipe itself looks whether it is there, and locks out other processes."""
    need(_engine_answers(), "no docker engine")
    status, said = _recipe(name, *arguments)
    need(status != CANNOT, said)
    assert status == 0, f"{name}.sh failed with status {status}"
    return said


def _chosen(family: str, policy: str) -> str:
    wish = os.environ.get(VARIABLE, "")
    if not wish:
        return _made(family)
    need(_engine_answers(), "no docker engine")
    if wish == "published":
        from portable_backend.strategies.container.images import published_image

        return published_image(policy, "x86_64")
    named = dict(pair.split("=", 1) for pair in wish.split(","))
    return named[family] if family in named else _made(family)


def manylinux_image() -> str:
    """An image to build manylinux wheels in, for x86_64."""
    return _chosen("manylinux", "manylinux_2_28")


def musllinux_image() -> str:
    """An image to build musllinux wheels in, for x86_64."""
    return _chosen("musllinux", "musllinux_1_2")


def bare_image(suite: str) -> str:
    """An image of a Debian's essential packages, libstdc++ and a CPython: a machine of that age without compilers."""
    return _made("bare", suite, f"portable-backend-test/bare:{suite}")


def foreign_image(debian: str = "arm64") -> str:
    """An image to build manylinux wheels in, for another architecture; only an emulator can run it."""
    return _made("foreign_image", debian)


def run_in(image: str, site: Path, code: str, python: str = "python3") -> str:
    """Run Python code in a container without a network that has the files under ``site`` to import, and nothing more.

    :returns: its standard output; the test fails if the code does.
    """
    # Copied in rather than mounted, so that a remote engine does as well.
    create = ["docker", "create", "--network", "none", "-e", "PYTHONPATH=/site", image, python, "-c", code]
    container = subprocess.run(create, capture_output=True, text=True, check=True).stdout.strip()
    try:
        subprocess.run(["docker", "cp", f"{site}/.", f"{container}:/site"], check=True, capture_output=True)
        done = subprocess.run(["docker", "start", "-a", container], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", container], check=True, capture_output=True)
