"""``portable-backend build``: a frontend of our own, for projects that have never heard of us."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from . import pipeline
from .environments import IsolatedEnvironment, isolated_environment
from .errors import BuildFailed, UsageError
from .inner import build_requires, read_pyproject
from .interpreters import Interpreter, find_python, namesake, read_interpreter
from .settings import inner_settings
from .sources import opened_source

# What is done with a finished wheel before anybody gets it: given the build, its source and the wheel, it raises if the
# wheel is not good enough. ``None`` comes of a build that has nothing to be tried with.
Trial = Callable[[pipeline.Build, Path, Path], None]
MakeTrial = Callable[[pipeline.Build], Optional[Trial]]


def build_source(
    text: str,
    directory: Path,
    config_settings: Mapping[str, Any],
    python: Optional[str] = None,
    isolated: bool = True,
    progress: Callable[[str], None] = lambda line: None,
    make_trial: MakeTrial = lambda build: None,
) -> Path:
    """Build a compliant wheel of a directory, an sdist or a pinned requirement, and return its path.

    :param make_trial: what a wheel has to pass before it appears in ``directory``.
    :raises PortableBackendError: whatever is wrong; then nothing is left in ``directory``.
    """
    interpreter, missing = _find_interpreter(python)
    with opened_source(text, interpreter.executable or sys.executable, progress) as source:
        # Bad settings and a strategy that cannot be had shall be told before anything is installed.
        build = replace(pipeline.read_build(source, config_settings, interpreter), said=text)
        if missing is not None and not build.is_remote:
            raise missing
        pipeline.require_strategy(build)
        for reason in build.plan.reasons:
            progress(reason)
        trial = make_trial(build)
        if trial is None:
            return directory / _built(build, directory, config_settings, isolated, progress)
        from .repairing.apply import copy_wheel

        with tempfile.TemporaryDirectory(prefix="portable-backend-untried-") as scratch:
            name = _built(build, Path(scratch), config_settings, isolated, progress)
            trial(build, source, Path(scratch) / name)
            return copy_wheel(Path(scratch) / name, directory)


def build_sdist(
    source: Path,
    directory: Path,
    config_settings: Mapping[str, Any],
    python: Optional[str] = None,
    isolated: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Build the sdist of a directory by its inner backend, and return its path.

    :raises PortableBackendError: whatever is wrong; then nothing is left in ``directory``.
    """
    from .repairing.apply import copy_wheel

    interpreter = find_python(python)
    with tempfile.TemporaryDirectory(prefix="portable-backend-sdist-") as scratch:
        if not isolated:
            build = pipeline.read_build(source, config_settings, interpreter)
            name = _call(build, "build_sdist", config_settings, scratch)
        else:
            with (
                isolated_environment(interpreter, progress) as environment,
                _activated(environment.activated(os.environ)),
            ):
                _install(environment, build_requires(read_pyproject(source)), progress)
                build = pipeline.read_build(source, config_settings, environment.python)
                _install(environment, _call(build, "get_requires_for_build_sdist", config_settings), progress)
                name = _call(build, "build_sdist", config_settings, scratch)
        if not isinstance(name, str) or os.sep in name or not (Path(scratch) / name).is_file():
            raise BuildFailed(f"the inner backend {build.plan.inner.name} returned {name!r} and left no such sdist")
        return copy_wheel(Path(scratch) / name, directory)


def _call(build: pipeline.Build, hook: str, config_settings: Mapping[str, Any], *arguments: str) -> Any:
    return pipeline.call_inner(build, hook, *arguments, config_settings=inner_settings(config_settings))


def _find_interpreter(python: Optional[str]) -> tuple[Interpreter, Optional[UsageError]]:
    """The interpreter that is asked for; where this machine has none of that version, what an image would call so."""
    try:
        return read_interpreter(find_python(python)), None
    except UsageError as error:
        match = re.fullmatch(r"(pypy|pp|cp)?3\.?([0-9]{1,2})(t?)", python or "")
        if match is None:
            raise
        implementation = "pypy" if match[1] in ("pypy", "pp") else "cpython"
        return namesake(implementation, (3, int(match[2])), bool(match[3])), error


def _built(
    build: pipeline.Build,
    directory: Path,
    config_settings: Mapping[str, Any],
    isolated: bool,
    progress: Callable[[str], None],
) -> str:
    if build.is_remote or not isolated:
        return pipeline.build_wheel(build, directory, config_settings, None, progress)
    source, interpreter = build.source, build.interpreter.executable
    with isolated_environment(interpreter, progress) as environment, _activated(environment.activated(os.environ)):
        _install(environment, build_requires(read_pyproject(source)), progress)
        build = pipeline.read_build(source, config_settings, environment.python)
        more = _call(build, "get_requires_for_build_wheel", config_settings)
        _install(environment, [*more, *pipeline.build_requirements(build)], progress)
        return pipeline.build_wheel(build, directory, config_settings, None, progress)


def _install(environment: IsolatedEnvironment, requirements: Sequence[str], progress: Callable[[str], None]) -> None:
    if requirements:
        progress(f"installing {', '.join(requirements)}")
        environment.install(requirements)


@contextmanager
def _activated(variables: Mapping[str, Optional[str]]) -> Iterator[None]:
    """Set variables of this process, which all that it starts inherits, for a while."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, Optional[str]]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
