"""What a strategy is: where, and with which toolchain, the inner backend runs, and nothing else.

A strategy never judges, repairs or chooses. It says whether something stands in its way (``blocked``, pure). One that
builds on this machine opens a :class:`BuildEnvironment` (``open``, a context manager that cleans up after itself).
One that builds elsewhere (:class:`RemoteStrategy`) is given a whole :class:`Order`, because what a repair grafts can
only be found where the build was; what it hands back is judged here again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Protocol, Union, runtime_checkable

if TYPE_CHECKING:
    from ..interpreters import Interpreter
    from ..machine import HostFacts
    from ..plan import BuildPlan
    from ..settings import Settings


class Runner(Protocol):
    """The one injected callable of pyproject-hooks: runs a command, raises CalledProcessError when it fails."""

    def __call__(
        self, cmd: Sequence[str], cwd: Optional[str] = None, extra_environ: Optional[Mapping[str, str]] = None
    ) -> None: ...


# PEP 517's config settings: frontends pass a string, or a list where a key was given more than once.
ConfigSettings = Mapping[str, Union[str, list[str]]]


EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
DEFAULT_EPOCH = 315532800
"""1980-01-01, the first time that a zip archive can express: that of every build that is told no other."""


@dataclass(frozen=True)
class BuildEnvironment:
    """Where the inner backend runs.

    :param interpreter: the interpreter that runs it, and that the wheel is for.
    :param environ: variables to set for it.
    :param unset: variables of the frontend that must not reach it (applied before ``environ``).
    :param inner_settings: config settings to add for the inner backend (a user's own come first).
    :param explain_failure: called with the last output lines of a failed build; returns what this toolchain
        lacked and what would cure it, or ``None`` when it sees nothing of the kind.
    :param notes: called after a build; lines worth telling (an argument that had to be dropped, …).
    :param compiled: called after a build; whether a compiler ran, as far as this toolchain can tell.
    :param python_path: directories that come first on its ``PYTHONPATH``, whoever else sets that variable.
    """

    interpreter: Interpreter
    environ: Mapping[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    inner_settings: Mapping[str, list[str]] = field(default_factory=dict)
    explain_failure: Callable[[Sequence[str]], Optional[str]] = lambda lines: None
    notes: Callable[[], Sequence[str]] = lambda: ()
    compiled: Callable[[], bool] = lambda: False
    python_path: tuple[str, ...] = ()


class Strategy(Protocol):
    """One way to build. Strategies know nothing of each other."""

    name: str

    def blocked(self, plan: BuildPlan, host: HostFacts) -> Optional[str]:
        """Why this strategy cannot carry out ``plan`` on ``host``, or ``None``. Pure."""

    def requires(self, plan: BuildPlan) -> Sequence[str]:
        """Requirements (PEP 508) that this strategy adds to the build environment."""

    def open(self, plan: BuildPlan, interpreter: Interpreter) -> AbstractContextManager[BuildEnvironment]:
        """The environment to build in, for as long as the context is open.

        :raises StrategyBlocked: if something turns out to be missing after all.
        """


@dataclass(frozen=True)
class Order:
    """One build, as a strategy that carries it out elsewhere has to know it.

    :param source: the project's root on this machine.
    :param interpreter: the one that a wheel is asked for; elsewhere its namesake builds.
    :param config_settings: those of the inner backend.
    :param metadata_directory: the ``.dist-info`` directory that ``prepare_metadata_for_build_wheel`` gave (PEP 517).
    :param said: what the user called the project by, where that is not its directory.
    """

    source: Path
    plan: BuildPlan
    settings: Settings
    interpreter: Interpreter
    config_settings: Optional[ConfigSettings] = None
    metadata_directory: Optional[str] = None
    said: Optional[str] = None


@runtime_checkable
class RemoteStrategy(Protocol):
    """A strategy that runs the whole of this backend elsewhere, repair and all."""

    name: str

    def blocked(self, plan: BuildPlan, host: HostFacts) -> Optional[str]:
        """Why this strategy cannot carry out ``plan`` on ``host``, or ``None``. Pure."""

    def requires(self, plan: BuildPlan) -> Sequence[str]:
        """Requirements (PEP 508) that this strategy adds to the build environment on this machine."""

    def built_wheel(self, order: Order, progress: Callable[[str], None]) -> AbstractContextManager[Path]:
        """The finished wheel, for as long as the context is open.

        :raises PortableBackendError: what went wrong elsewhere, as if it had happened here.
        """

    def prepare_metadata(self, order: Order, directory: Path, progress: Callable[[str], None]) -> str:
        """Leave the ``.dist-info`` directory of the wheel-to-be in ``directory`` and return its name (PEP 517).

        :raises PortableBackendError: what went wrong elsewhere, as if it had happened here.
        """


AnyStrategy = Union[Strategy, RemoteStrategy]


def merged_settings(
    user: Optional[ConfigSettings], extra: Mapping[str, list[str]]
) -> Optional[dict[str, Union[str, list[str]]]]:
    """A user's config settings with those of a strategy appended key by key; ``None`` if both are empty."""
    merged: dict[str, Union[str, list[str]]] = dict(user or {})
    for key, values in extra.items():
        given = merged.get(key, [])
        merged[key] = [*([given] if isinstance(given, str) else given), *values]
    return merged or None


__all__ = [
    "DEFAULT_EPOCH",
    "EPOCH_VARIABLE",
    "AnyStrategy",
    "BuildEnvironment",
    "ConfigSettings",
    "Order",
    "RemoteStrategy",
    "Runner",
    "Strategy",
    "merged_settings",
]
