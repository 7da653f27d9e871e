"""A workflow for GitHub Actions that builds, tests, judges and publishes; and the matrix that it runs over. Pure.

The workflow does not hold the matrix: its first job asks ``ci github --matrix`` with the options that made the file,
so that there is one place where the targets stand, and an update of the package updates runners, too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any, Optional

from .. import __version__
from ..errors import UsageError
from ..records import NamedTuple
from ..targets import Arch, PlatformTag

#: Interpreters that are built for where the project does not say.
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
_TOOL_PYTHON = "3.13"
# Runners that GitHub gives to everybody, by the architecture whose programs run on them as they are.
_RUNNERS = {Arch.X86_64: "ubuntu-24.04", Arch.I686: "ubuntu-24.04", Arch.AARCH64: "ubuntu-24.04-arm"}
_ELSEWHERE = "ubuntu-24.04"
# Actions by commit: a tag can be moved, a commit cannot.
ACTIONS = {
    "actions/checkout": ("de0fac2e4500dabe0009e67214ff5f5447ce83dd", "v6.0.2"),
    "actions/setup-python": ("a309ff8b426b58ec0e2a45f0f869d46889d02405", "v6.2.0"),
    "actions/cache": ("0057852bfaa89a56745cba8c7296529d2fc39830", "v4.3.0"),
    "actions/upload-artifact": ("b7c566a772e6b6bfb58ed0dc250532a479d7789f", "v6.0.0"),
    "actions/download-artifact": ("018cc2cf5baa6db3ef3c5f8a56943fffe632ef53", "v6.0.0"),
    "actions/attest-build-provenance": ("977bb373ede98d70efdf65b84cb5f73e068dcc2a", "v3.0.0"),
    "docker/setup-qemu-action": ("c7c53464625b32c7a7e944ae62b3e17d2b600130", "v3.7.0"),
    "pypa/gh-action-pypi-publish": ("ed0c53931b1dc9bd32cbe73a98c7f6766f8a527e", "v1.13.0"),
}
#: How a workflow of ours begins, by which it is known when it is made again.
MARK = "# Made by portable-backend"
MATRIX_MARK = '{"include": '
_PYTHON = re.compile(r"(?:cp)?3\.?(?P<minor>[0-9]{1,2})(?P<threads>t?)|(?:pp|pypy)3\.?(?P<pypy>[0-9]{1,2})")
_RANGE = re.compile(r"3\.([0-9]{1,2})-3\.([0-9]{1,2})")


class Request(NamedTuple):
    """What a workflow is to do.

    :param pythons: as ``3.12``, ``3.13t`` or ``pp311``, in order.
    :param container: whether builds run in containers, whose images have the interpreters.
    :param environment: GitHub's environment that may publish.
    :param given: the options that the command line had, without those of one run, to be repeated.
    """

    pythons: tuple[str, ...]
    targets: tuple[PlatformTag, ...]
    container: bool = False
    environment: str = "pypi"
    publish: bool = True
    given: tuple[str, ...] = ()


def parse_pythons(texts: Sequence[str]) -> tuple[str, ...]:
    """Interpreters from what the command line says: ``3.12``, ``3.9-3.13``, ``3.13t``, ``pp311``, or several by commas.

    :raises UsageError: if one names nothing.
    """
    found: set[tuple[int, int, int]] = set()
    for text in (part.strip() for each in texts for part in each.split(",")):
        span, one = _RANGE.fullmatch(text), _PYTHON.fullmatch(text)
        if span is not None and int(span[1]) <= int(span[2]):
            found.update((0, minor, 0) for minor in range(int(span[1]), int(span[2]) + 1))
        elif one is not None:
            minor = int(one["minor"] or one["pypy"])
            found.add((1 if one["pypy"] else 0, minor, 1 if one["threads"] else 0))
        else:
            raise UsageError(
                f"--python {text}: names no interpreter", "write, for example, 3.12, 3.9-3.13, 3.13t or pp311"
            )
    return tuple(
        f"pp3{minor}" if pypy else f"3.{minor}{'t' if threads else ''}" for pypy, minor, threads in sorted(found)
    )


def matrix(request: Request) -> dict[str, Any]:
    """The matrix of the job that builds wheels: one entry per target, in the order they were asked for."""
    return {"include": [_entry(target, request) for target in request.targets]}


def _entry(target: PlatformTag, request: Request) -> dict[str, Any]:
    # What runs in containers brings its interpreters along.
    installed = [_TOOL_PYTHON] if request.container else [*map(_setup_name, request.pythons)]
    if _TOOL_PYTHON in installed:  # the last one is the one that is called python
        installed = [*(each for each in installed if each != _TOOL_PYTHON), _TOOL_PYTHON]
    return {
        "target": str(target),
        "runner": _RUNNERS.get(target.arch, _ELSEWHERE),
        "how": _how(target, request),
        "emulated": target.arch not in _RUNNERS,
        "python": " ".join(spans(request.pythons)),
        "interpreters": "\n".join(installed),
    }


def _how(target: PlatformTag, request: Request) -> str:
    if target.arch in _RUNNERS:
        return "native"
    return "qemu" if request.container else "zig"


def _setup_name(python: str) -> str:
    return f"pypy3.{python[3:]}" if python.startswith("pp") else python


def spans(pythons: Sequence[str]) -> list[str]:
    """Interpreters as the command line takes them, those in a row as a range."""
    minors = [int(each[2:]) for each in pythons if re.fullmatch(r"3\.[0-9]+", each)]
    spans: list[list[int]] = []
    for minor in minors:
        if spans and minor == spans[-1][-1] + 1:
            spans[-1].append(minor)
        else:
            spans.append([minor])
    texts = [f"3.{span[0]}" if len(span) == 1 else f"3.{span[0]}-3.{span[-1]}" for span in spans]
    return texts + [each for each in pythons if not re.fullmatch(r"3\.[0-9]+", each)]


def command(request: Request, *more: str) -> str:
    """The command line that makes this workflow, or its matrix."""
    words = ["portable-backend", "ci", "github", *more]
    for python in spans(request.pythons):
        words += ["--python", python]
    for target in request.targets:
        words += ["--target", str(target)]
    return shlex.join([*words, *request.given])


def workflow(request: Request, output: Optional[str]) -> str:
    """The workflow as YAML.

    :param output: the file that it is for, for the line that says how to make it again.
    """
    jobs = [_sdist_job(request), _wheels_job(request)]
    if request.publish:
        jobs.append(_publish_job(request))
    return _head(request, output) + "\njobs:\n" + "\n".join(jobs)


def _uses(action: str) -> str:
    commit, version = ACTIONS[action]
    return f"{action}@{commit} # {version}"


def _head(request: Request, output: Optional[str]) -> str:
    again = command(request, "--output", output or ".github/workflows/wheels.yml")
    lines = [
        f"{MARK} {__version__}. To make it again, for other targets or interpreters, or of a newer version:",
        "#",
        f"#   {again}",
        "#",
        "# The job sdist asks portable-backend for the matrix of the job wheels; the targets stand there.",
        *(f"# {line}" for line in _notes(request)),
    ]
    if request.publish:
        lines += [
            "# Before the first release, name this file and the environment "
            f"{request.environment} to PyPI as a trusted publisher:",
            "# https://docs.pypi.org/trusted-publishers/. No token is stored anywhere.",
        ]
    return "\n".join(lines) + "\n" + _TOP


def _notes(request: Request) -> list[str]:
    """A line for each target that is not built where its programs run."""
    lines: list[str] = []
    for target in request.targets:
        how, runner = _how(target, request), _RUNNERS.get(target.arch, _ELSEWHERE)
        if how == "zig":
            lines.append(f"{target}: cross-compiled by zig on {runner}; its tests run under qemu.")
        elif how == "qemu":
            lines.append(f"{target}: built under qemu, in a container on {runner}; many times slower than elsewhere.")
    return lines


_TOP = """\
name: wheels

on:
  push:
    branches: [main, master]
    tags: ["v*"]
  pull_request:
  workflow_dispatch:

permissions:
  contents: read

concurrency:
  group: ${{ github.workflow }}-${{ github.ref }}
  cancel-in-progress: ${{ github.event_name == 'pull_request' }}

env:
  FORCE_COLOR: "1"
  PIP_DISABLE_PIP_VERSION_CHECK: "1"
"""


def _package(request: Request) -> str:
    return f"portable-backend{'[container]' if request.container else ''}~={__version__}"


def _sdist_job(request: Request) -> str:
    return f"""\
  sdist:
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    outputs:
      matrix: ${{{{ steps.matrix.outputs.matrix }}}}
    steps:
      - uses: {_uses("actions/checkout")}
        with:
          fetch-depth: 0 # versions may be read from tags
          persist-credentials: false
      - uses: {_uses("actions/setup-python")}
        with:
          python-version: "{_TOOL_PYTHON}"
      - name: Install
        run: python -m pip install build "{_package(request)}"
      - name: Build the sdist
        run: python -m build --sdist
      - name: Make the matrix
        id: matrix
        run: |
          matrix=$({command(request, "--matrix")})
          echo "matrix=$matrix" >> "$GITHUB_OUTPUT"
      - uses: {_uses("actions/upload-artifact")}
        with:
          name: sdist
          path: dist/*.tar.gz
          if-no-files-found: error
"""


def _wheels_job(request: Request) -> str:
    return f"""\
  wheels:
    name: ${{{{ matrix.target }}}} (${{{{ matrix.how }}}})
    needs: sdist
    runs-on: ${{{{ matrix.runner }}}}
    timeout-minutes: 180
    strategy:
      fail-fast: false
      matrix: ${{{{ fromJSON(needs.sdist.outputs.matrix) }}}}
    steps:
      - uses: {_uses("actions/download-artifact")}
        with:
          name: sdist
          path: sdist
      - uses: {_uses("actions/setup-python")}
        with:
          python-version: ${{{{ matrix.interpreters }}}}
          allow-prereleases: true
      - uses: {_uses("actions/cache")}
        with:
          path: |
            ~/.cache/pip
            ~/.cache/portable-backend
          key: portable-backend-{__version__}-${{{{ matrix.target }}}}
{_emulator(request)}      - name: Install
        run: python -m pip install "{_package(request)}"
      - name: Build the wheels from the sdist, and test them
        env:
          TARGET: ${{{{ matrix.target }}}}
          PYTHONS: ${{{{ matrix.python }}}}
        run: |
          read -r -a words <<< "$PYTHONS"
          portable-backend build sdist/*.tar.gz --wheel-dir wheelhouse --smoke \\
            --target "$TARGET" "${{words[@]/#/--python=}}"
      - name: Judge them once more
        run: portable-backend audit wheelhouse/*.whl
      - uses: {_uses("actions/upload-artifact")}
        with:
          name: wheels-${{{{ matrix.target }}}}
          path: wheelhouse/*.whl
          if-no-files-found: error
"""


def _emulator(request: Request) -> str:
    if all(target.arch in _RUNNERS for target in request.targets):
        return ""
    if request.container:
        return f"""\
      - name: Let the engine run other architectures
        if: matrix.emulated
        uses: {_uses("docker/setup-qemu-action")}
"""
    return """\
      - name: Install what runs the tests of other architectures
        if: matrix.emulated
        run: sudo apt-get update -qq && sudo apt-get install --yes --no-install-recommends qemu-user-static
"""


def _publish_job(request: Request) -> str:
    return f"""\
  publish:
    needs: [sdist, wheels]
    if: github.event_name == 'push' && startsWith(github.ref, 'refs/tags/v')
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    environment: "{request.environment}"
    permissions:
      id-token: write # who publishes, and what is attested, is signed for by GitHub
      attestations: write
    steps:
      - uses: {_uses("actions/download-artifact")}
        with:
          path: dist
          merge-multiple: true
      - uses: {_uses("actions/attest-build-provenance")}
        with:
          subject-path: dist/*
      - uses: {_uses("pypa/gh-action-pypi-publish")}
        with:
          attestations: true
"""
