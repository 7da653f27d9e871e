"""The inner backend: which one it is, and how its hooks are called (through pyproject-hooks, a process each)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pyproject_hooks import BackendUnavailable, BuildBackendHookCaller, HookMissing

from .errors import BuildFailed, InnerBackendError, SettingsError
from .plan import InnerBackend
from .settings import Settings
from .strategies.base import BuildEnvironment, Runner

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Distribution → the object that its documentation tells users to write as build-backend.
KNOWN_BACKENDS = {
    "setuptools": "setuptools.build_meta",
    "scikit-build-core": "scikit_build_core.build",
    "maturin": "maturin",
    "hatchling": "hatchling.build",
    "meson-python": "mesonpy",
    "flit-core": "flit_core.buildapi",
    "poetry-core": "poetry.core.masonry.api",
    "pdm-backend": "pdm.backend",
    "uv-build": "uv_build",
}
# PEP 517: what a project without a build-backend key is built with.
LEGACY_BACKEND = "setuptools.build_meta:__legacy__"
_OUR_NAME = "portable-backend"
_OUR_MODULE = "portable_backend"
_LAST_LINES = 400


def read_pyproject(source: Path) -> dict[str, Any]:
    """``pyproject.toml`` of a project, empty if there is none.

    :raises SettingsError: if it is not TOML.
    """
    path = source / "pyproject.toml"
    try:
        with path.open("rb") as file:
            return dict(tomllib.load(file))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from None


def find_inner(pyproject: Mapping[str, Any], settings: Settings) -> InnerBackend:
    """The inner backend of a project: the one that it names, the one that it declares, or the only one it requires.

    :raises InnerBackendError: if that is none or several, with the line to add.
    """
    system = pyproject.get("build-system", {})
    if settings.inner_backend is not None:
        return _named(settings.inner_backend, settings.inner_backend_path)
    declared = system.get("build-backend")
    if declared is None and not _mentions_us(system):
        return InnerBackend(LEGACY_BACKEND, (), "setuptools")
    if declared is not None and declared.partition(":")[0] != _OUR_MODULE:
        return InnerBackend(declared, tuple(system.get("backend-path", ())), _kind_of(declared))
    return _only_required(system)


def _mentions_us(system: Mapping[str, Any]) -> bool:
    return _OUR_NAME in _required_names(system)


def _named(name: str, path: Sequence[str]) -> InnerBackend:
    if path:
        return InnerBackend(name, tuple(path), None)
    known = KNOWN_BACKENDS.get(canonicalize_name(name))
    if known is not None:
        return InnerBackend(known, (), canonicalize_name(name))
    if name.partition(":")[0] == _OUR_MODULE:
        raise InnerBackendError("portable_backend cannot be its own inner backend", "name the backend that builds")
    return InnerBackend(name, (), _kind_of(name))


def _kind_of(reference: str) -> Optional[str]:
    module = reference.partition(":")[0]
    for kind, known in KNOWN_BACKENDS.items():
        if module == known or module.startswith(f"{known.partition('.')[0]}."):
            return kind
    return None


def _required_names(system: Mapping[str, Any]) -> list[str]:
    names: list[str] = []
    for text in system.get("requires", ()):
        try:
            names.append(str(canonicalize_name(Requirement(text).name)))
        except (InvalidRequirement, TypeError):
            raise InnerBackendError(f"build-system.requires has {text!r}, which is no requirement (PEP 508)") from None
    return names


def _only_required(system: Mapping[str, Any]) -> InnerBackend:
    found = [name for name in dict.fromkeys(_required_names(system)) if name in KNOWN_BACKENDS]
    # A project that requires scikit-build-core or maturin often lists setuptools for others' sake: still ambiguous.
    if len(found) == 1:
        return InnerBackend(KNOWN_BACKENDS[found[0]], (), found[0])
    example = found[0] if found else "setuptools"
    if found:
        message = f"build-system.requires names several backends: {', '.join(found)}"
    else:
        message = "build-system.requires names no backend that could do the building"
    add = f"add to pyproject.toml:\n    [tool.portable-backend]\n    inner-backend = {json.dumps(example)}"
    raise InnerBackendError(message, add if found else f"{add}\n  and {json.dumps(example)} to build-system.requires")


# Asks for hooks by attribute, as frontends do, in a process where importing the backend harms nobody.
_PROBE = """
import importlib, json, os, sys
name, path, asked = json.loads(sys.argv[1])
sys.path[:0] = path
module, _, attributes = name.partition(":")
target = importlib.import_module(module)
for attribute in filter(None, attributes.split(".")):
    target = getattr(target, attribute)
print("\\n" + json.dumps([hook for hook in asked if hasattr(target, hook)]))
"""


def find_hooks(inner: InnerBackend, source: Path, asked: Sequence[str], python: str = sys.executable) -> frozenset[str]:
    """Which of the ``asked`` hooks the inner backend has.

    :raises InnerBackendError: if it cannot be imported.
    """
    path = [str(source / directory) for directory in inner.path]
    command = [python, "-c", _PROBE, json.dumps([inner.name, path, list(asked)])]
    try:
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True)
        return frozenset(json.loads(done.stdout.rstrip().rpartition("\n")[2]))
    except (subprocess.CalledProcessError, ValueError) as error:
        detail = (getattr(error, "stderr", "") or str(error)).strip().rpartition("\n")[2]
        raise InnerBackendError(
            f"the inner backend {inner.name} cannot be imported: {detail}",
            "add its distribution to build-system.requires",
        ) from None


class Inner:
    """The inner backend of one build, in one environment.

    :param source: the project's root; hooks run in it.
    :param verbose: pass the backend's output through as it comes.
    """

    def __init__(self, inner: InnerBackend, source: Path, environment: BuildEnvironment) -> None:
        self._inner = inner
        self._source = source
        self._environment = environment
        self._output = Output()
        self._caller = BuildBackendHookCaller(
            str(source),
            inner.name,
            backend_path=[_relative(each) for each in inner.path] or None,
            runner=_runner(environment, self._output),
            python_executable=environment.interpreter.executable,
        )

    def call(self, hook: str, *arguments: Any, **named: Any) -> Any:
        """Call a hook.

        :raises InnerBackendError: if the backend is missing or lacks the hook.
        :raises BuildFailed: if the hook fails; with what the toolchain can say about it.
        """
        try:
            return getattr(self._caller, hook)(*arguments, **named)
        except BackendUnavailable as error:
            detail = error.traceback.strip().rpartition("\n")[2]
            cure = "add its distribution to build-system.requires"
            raise InnerBackendError(
                f"the inner backend {self._inner.name} cannot be imported: {detail}", cure
            ) from None
        except HookMissing as error:
            message = f"the inner backend {self._inner.name} has no hook {error.hook_name}"
            raise InnerBackendError(message, "use a backend that has it") from None
        except subprocess.CalledProcessError as error:
            reason = self._environment.explain_failure(self._output.lines)
            message = f"the inner backend {self._inner.name} failed in {hook} (exit status {error.returncode})"
            raise BuildFailed(f"{message}\n  {reason}" if reason else message) from None


def _relative(directory: str) -> str:
    return directory.rstrip("/") or "."


class Output:
    """The last lines that the inner backend printed."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Remember a line, and forget the oldest of too many."""
        self.lines.append(line)
        if len(self.lines) > 2 * _LAST_LINES:
            del self.lines[:_LAST_LINES]


def _runner(environment: BuildEnvironment, output: Output) -> Runner:
    def run(cmd: Sequence[str], cwd: Optional[str] = None, extra_environ: Optional[Mapping[str, str]] = None) -> None:
        environ = {name: value for name, value in os.environ.items() if name not in environment.unset}
        environ.update(environment.environ)
        environ.update(extra_environ or {})
        with _running(cmd, cwd, environ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                output.add(line.rstrip("\n"))
                sys.stdout.write(line)
                sys.stdout.flush()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, cmd)

    return run


@contextmanager
def _running(command: Sequence[str], cwd: Optional[str], environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A child whose output is read as it comes; it is not left behind when we are interrupted."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        with process:
            yield process
    except BaseException:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


@contextmanager
def writable_source(source: Path) -> Iterator[Path]:
    """The source itself, or, where it is read-only, a copy that backends may write their droppings into."""
    if os.access(source, os.W_OK):
        yield source
        return
    import shutil

    with tempfile.TemporaryDirectory(prefix="portable-backend-source-") as scratch:
        copy = Path(scratch) / source.name
        shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", ".nox", ".tox", ".venv"))
        for directory, _, files in os.walk(copy):
            for name in (directory, *(os.path.join(directory, each) for each in files)):
                if not os.path.islink(name):
                    os.chmod(name, os.stat(name).st_mode | 0o200)
        yield copy
