"""``portable-backend build``: a frontend of our own, for projects that have never heard of us."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from . import pipeline
from .environments import IsolatedEnvironment, isolated_environment
from .inner import build_requires, read_pyproject
from .interpreters import find_python
from .settings import inner_settings
from .sources import opened_source


def build_source(
    text: str,
    directory: Path,
    config_settings: Mapping[str, Any],
    python: Optional[str] = None,
    isolated: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Build a compliant wheel of a directory, an sdist or a pinned requirement, and return its path.

    :raises PortableBackendError: whatever is wrong; then nothing is left in ``directory``.
    """
    interpreter = find_python(python)
    with opened_source(text, interpreter, progress) as source:
        # Bad settings and a strategy that cannot be had shall be told before anything is installed.
        build = replace(pipeline.read_build(source, config_settings, interpreter), said=text)
        pipeline.require_strategy(build)
        for reason in build.plan.reasons:
            progress(reason)
        if build.is_remote or not isolated:
            return directory / pipeline.build_wheel(build, directory, config_settings, None, progress)
        with isolated_environment(interpreter, progress) as environment, _activated(environment.activated(os.environ)):
            _install(environment, build_requires(read_pyproject(source)), progress)
            build = pipeline.read_build(source, config_settings, environment.python)
            more = pipeline.call_inner(
                build, "get_requires_for_build_wheel", config_settings=inner_settings(config_settings)
            )
            _install(environment, [*more, *pipeline.build_requirements(build)], progress)
            return directory / pipeline.build_wheel(build, directory, config_settings, None, progress)


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
