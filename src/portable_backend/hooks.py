"""The hooks of PEP 517 and PEP 660. The only place that turns errors into exits.

Frontends run each hook in a process of its own, with the project's root as working directory. An error of ours ends
that process with its documented exit code and a message of a few lines; anything else keeps its traceback.
"""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional, TypeVar

from . import _MIRRORED
from .errors import InnerBackendError, PortableBackendError, missing_requirement
from .interrupts import Terminated, ending_with_parent, terminable
from .report.printing import complain
from .signs import working

ConfigSettings = Optional[Mapping[str, Any]]
_TERMINATED = 143
_Hook = TypeVar("_Hook", bound=Callable[..., Any])


def has_hook(name: str) -> bool:
    """Whether the inner backend of the project in the working directory has this hook."""
    return name in _mirrored_hooks(str(Path.cwd()))


@functools.cache
def _mirrored_hooks(source: str) -> frozenset[str]:
    from .inner import find_hooks, find_inner, own_table, read_pyproject
    from .settings import parse_settings

    with _exits():
        pyproject = read_pyproject(Path(source))
        settings = parse_settings(own_table(pyproject), os.environ)
        try:
            inner = find_inner(pyproject, settings)
        except InnerBackendError:
            # A config setting may name it yet, and those come with the call: the hook itself will know.
            return frozenset(_MIRRORED)
        return find_hooks(inner, Path(source), _MIRRORED)


def _hook(function: _Hook) -> _Hook:
    """Run a hook so that our errors become exits."""

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        with _exits(), working(f"at work on {function.__name__}"):
            return function(*arguments, **named)

    # functools.wraps keeps the signature at run time; the type checker cannot follow it.
    return run  # type: ignore[return-value]


@contextmanager
def _exits() -> Iterator[None]:
    try:
        yield
    except PortableBackendError as error:
        if os.environ.get("PORTABLE_BACKEND_TRACEBACK") == "1":
            traceback.print_exc()
        complain(error)
        raise SystemExit(error.exit_code) from None
    except ModuleNotFoundError as error:
        blocked = missing_requirement(error)
        if blocked is None:
            raise
        complain(blocked)
        raise SystemExit(blocked.exit_code) from None
    except Terminated:
        raise SystemExit(_TERMINATED) from None


@_hook
def build_wheel(
    wheel_directory: str, config_settings: ConfigSettings = None, metadata_directory: Optional[str] = None
) -> str:
    """Build a compliant wheel and return its file name (PEP 517)."""
    from . import pipeline
    from .report.progress import tell

    with terminable(), ending_with_parent():
        build = pipeline.read_build(Path.cwd(), config_settings)
        return pipeline.build_wheel(build, Path(wheel_directory), config_settings, metadata_directory, tell)


@_hook
def get_requires_for_build_wheel(config_settings: ConfigSettings = None) -> list[str]:
    """What the inner backend requires, and what the plan needs beside it (PEP 517)."""
    from . import pipeline

    build = pipeline.read_build(Path.cwd(), config_settings)
    # Where the inner backend runs elsewhere it is asked there: here it may lack what it looks for.
    inner = [] if build.is_remote else _call(build, "get_requires_for_build_wheel", config_settings)
    return [*inner, *pipeline.build_requirements(build)]


@_hook
def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: ConfigSettings = None) -> str:
    """The inner backend's metadata. Never a build: where it has no such hook, neither have we (PEP 517)."""
    from . import pipeline
    from .report.progress import tell
    from .settings import inner_settings

    build = pipeline.read_build(Path.cwd(), config_settings)
    return pipeline.prepare_metadata(build, Path(metadata_directory), inner_settings(config_settings), tell)


@_hook
def build_sdist(sdist_directory: str, config_settings: ConfigSettings = None) -> str:
    """The inner backend's sdist (PEP 517)."""
    return str(_through("build_sdist", config_settings, sdist_directory))


@_hook
def get_requires_for_build_sdist(config_settings: ConfigSettings = None) -> list[str]:
    """What the inner backend requires for an sdist (PEP 517)."""
    return list(_through("get_requires_for_build_sdist", config_settings))


@_hook
def build_editable(
    wheel_directory: str, config_settings: ConfigSettings = None, metadata_directory: Optional[str] = None
) -> str:
    """The inner backend's editable wheel, built with the machine's own tools: it never leaves it (PEP 660)."""
    return str(_through("build_editable", config_settings, wheel_directory, metadata_directory=metadata_directory))


@_hook
def get_requires_for_build_editable(config_settings: ConfigSettings = None) -> list[str]:
    """What the inner backend requires for an editable wheel (PEP 660)."""
    return list(_through("get_requires_for_build_editable", config_settings))


@_hook
def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: ConfigSettings = None) -> str:
    """The inner backend's metadata of an editable wheel (PEP 660)."""
    return str(
        _through("prepare_metadata_for_build_editable", config_settings, metadata_directory, _allow_fallback=False)
    )


def __getattr__(name: str) -> Any:
    """``UnsupportedOperation``: what the inner backend's is turned into, and what frontends look for (PEP 517)."""
    if name == "UnsupportedOperation":
        from pyproject_hooks import UnsupportedOperation

        return UnsupportedOperation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _through(hook: str, config_settings: ConfigSettings, *arguments: Any, **named: Any) -> Any:
    from . import pipeline

    return _call(pipeline.read_build(Path.cwd(), config_settings), hook, config_settings, *arguments, **named)


def _call(build: Any, hook: str, config_settings: ConfigSettings, *arguments: Any, **named: Any) -> Any:
    from . import pipeline
    from .settings import inner_settings

    return pipeline.call_inner(build, hook, *arguments, config_settings=inner_settings(config_settings), **named)
