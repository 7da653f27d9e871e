"""The inner backend: which one it is, and how its hooks are called (through pyproject-hooks, a process each)."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Optional

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pyproject_hooks import BackendUnavailable, BuildBackendHookCaller, HookMissing

from .errors import BuildFailed, InnerBackendError, SettingsError
from .plan import LEGACY_BACKEND, InnerBackend
from .settings import Settings
from .signs import pass_on
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
_OUR_NAME = "portable-backend"
# What build-system.requires means where it is absent (PEP 518).
_DEFAULT_REQUIRES = ("setuptools>=40.8.0",)
_OUR_MODULE = "portable_backend"
_LAST_LINES = 400
_TOLD_LINES = 12
# Set for us where we are an in-tree backend ourselves, by pyproject-hooks and by its ancestor. Not the inner one's.
_FRONTEND_VARIABLES = frozenset({"_PYPROJECT_HOOKS_BACKEND_PATH_JSON", "PEP517_BACKEND_PATH"})
# An interrupted backend has this long, in seconds, to end its own children before it is ended without asking.
_PATIENCE = 5


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


def own_table(pyproject: Mapping[str, Any]) -> Mapping[str, Any]:
    """``[tool.portable-backend]``, empty if there is none.

    :raises SettingsError: if it is no table.
    """
    return _table(_table(pyproject, "tool", "[tool]"), "portable-backend", "[tool.portable-backend]")


def build_system(pyproject: Mapping[str, Any]) -> Mapping[str, Any]:
    """``[build-system]`` (PEP 518), empty if there is none; its values have the types that they should have.

    :raises SettingsError: if one has not.
    """
    table = _table(pyproject, "build-system", "[build-system]")
    for key in ("requires", "backend-path"):
        value = table.get(key, [])
        if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            raise SettingsError(f"{key} in [build-system] must be a list of strings, not {value!r}")
    if not isinstance(table.get("build-backend", ""), str):
        raise SettingsError(f"build-backend in [build-system] must be a string, not {table['build-backend']!r}")
    return table


def build_requires(pyproject: Mapping[str, Any]) -> list[str]:
    """What ``build-system.requires`` asks for beside ourselves: whoever reads this does our part already.

    :raises SettingsError: see :func:`build_system`.
    """
    return [text for text in build_system(pyproject).get("requires", _DEFAULT_REQUIRES) if not _is_us(text)]


def _is_us(requirement: str) -> bool:
    try:
        return canonicalize_name(Requirement(requirement).name) == _OUR_NAME
    except InvalidRequirement:
        return False


def _table(parent: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    table = parent.get(key, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{name} in pyproject.toml must be a table, not {table!r}")
    return table


def find_inner(pyproject: Mapping[str, Any], settings: Settings) -> InnerBackend:
    """The inner backend of a project: the one that it names, the one that it declares, or the only one it requires.

    :raises InnerBackendError: if that is none or several, with the line to add.
    """
    system = build_system(pyproject)
    if settings.inner_backend is not None:
        return _named(settings.inner_backend, settings.inner_backend_path)
    declared = system.get("build-backend")
    if declared is None and not _mentions_us(system):
        return InnerBackend(LEGACY_BACKEND, (), "setuptools")
    if declared is not None and declared.partition(":")[0] != _OUR_MODULE:
        path = _inside(system.get("backend-path", ()), "backend-path in [build-system]")
        return InnerBackend(declared, path, None if path else _kind_of(declared))
    return _only_required(system)


def _inside(path: Sequence[str], where: str) -> tuple[str, ...]:
    for directory in path:
        if os.path.isabs(directory) or os.path.normpath(directory).split(os.sep)[0] == os.pardir:
            raise SettingsError(f"{where} must lead to directories inside the project, not to {directory!r}")
    return tuple(path)


def _mentions_us(system: Mapping[str, Any]) -> bool:
    return _OUR_NAME in _required_names(system)


def _named(name: str, path: Sequence[str]) -> InnerBackend:
    if path:
        return InnerBackend(name, _inside(path, "inner-backend-path"), None)
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
        except InvalidRequirement:
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
# "python -c" puts the working directory on the path, where the project's own json.py may lie; PEP 517 forbids that too.
_PROBE = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import importlib, json
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
        raise _unavailable(inner, detail) from None


def _unavailable(inner: InnerBackend, detail: str) -> InnerBackendError:
    cure = "see that inner-backend-path holds it" if inner.path else "add its distribution to build-system.requires"
    return InnerBackendError(f"the inner backend {inner.name} cannot be imported: {detail}", cure)


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
            detail = (error.traceback or str(error)).strip().rpartition("\n")[2]
            raise _unavailable(self._inner, detail) from None
        except HookMissing as error:
            message = f"the inner backend {self._inner.name} has no hook {error.hook_name}"
            raise InnerBackendError(message, "use a backend that has it") from None
        except subprocess.CalledProcessError as error:
            raise BuildFailed(self._failure(hook, f"exit status {error.returncode}")) from None
        except (OSError, ValueError) as error:
            # It ended well and left no answer, or one that is no JSON: os._exit() in a backend does that.
            raise BuildFailed(self._failure(hook, f"no answer: {error}")) from None

    def _failure(self, hook: str, how: str) -> str:
        """What failed, and why: in the toolchain's words, or else in the last ones of the backend."""
        reason = self._environment.explain_failure(self._output.lines)
        message = f"the inner backend {self._inner.name} failed in {hook} ({how})"
        if reason:
            return f"{message}\n  {reason}"
        last = [f"    {line[:300]}" for line in _without_tracebacks(self._output.lines)][-_TOLD_LINES:]
        return "\n".join([message, "  the last lines that it printed:", *last]) if last else message


def _without_tracebacks(lines: Sequence[str]) -> list[str]:
    """What a backend printed up to the tracebacks that it ended with, and their last line, which names the error."""
    said = [line for line in lines if line.strip()]
    begin = next((number for number, line in enumerate(said) if line.startswith("Traceback (most")), None)
    return said if begin is None else [*said[:begin], said[-1]]


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
        hidden = _FRONTEND_VARIABLES.union(environment.unset)
        environ = {name: value for name, value in os.environ.items() if name not in hidden}
        environ.update(environment.environ)
        environ.update(extra_environ or {})
        path = [*environment.python_path, *filter(None, [environ.get("PYTHONPATH")])]
        if path:
            environ["PYTHONPATH"] = os.pathsep.join(path)
        status = run_shown(cmd, cwd, environ, output, _end)
        if status:
            raise subprocess.CalledProcessError(status, cmd)

    return run


def run_shown(
    command: Sequence[str],
    cwd: Optional[str],
    environ: Mapping[str, str],
    output: Output,
    end: Callable[[subprocess.Popen[str]], None],
    watched: Callable[[subprocess.Popen[str]], AbstractContextManager[object]] = contextlib.nullcontext,
) -> int:
    """Run a child, pass on what it prints as it comes, and remember its last lines.

    :param end: ends it when we are interrupted, so that it is not left behind.
    :param watched: what is done while it runs.
    :returns: its exit status.
    """
    with (
        subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
        watched(process),
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.add(line.rstrip("\n"))
                pass_on(line)
            process.wait()
        except BaseException:
            end(process)
            raise
    return process.returncode


def _end(process: subprocess.Popen[str]) -> None:
    """End a child: first as Ctrl-C would, which Python's :mod:`subprocess` passes on to its own children."""
    interrupt = functools.partial(process.send_signal, signal.SIGINT)
    steps: tuple[Callable[[], None], ...] = (interrupt, process.terminate, process.kill)
    for end in steps:
        with contextlib.suppress(ValueError):  # Windows has no SIGINT to send
            end()
        try:
            process.wait(_PATIENCE)
            return
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def writable_source(source: Path) -> Iterator[Path]:
    """The source itself, or, where it is read-only, a copy that backends may write their droppings into.

    The copy has the repository too: setuptools-scm and its like read the version from it.
    """
    if os.access(source, os.W_OK):
        yield source
        return
    import shutil

    with tempfile.TemporaryDirectory(prefix="portable-backend-source-") as scratch:
        copy = Path(scratch) / source.name
        shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns(".nox", ".tox", ".venv"))
        for directory, _, files in os.walk(copy):
            for name in (directory, *(os.path.join(directory, each) for each in files)):
                if not os.path.islink(name):
                    os.chmod(name, os.stat(name).st_mode | 0o200)
        yield copy
