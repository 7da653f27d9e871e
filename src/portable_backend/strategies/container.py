"""The container strategy's place: the same build, re-executed inside a manylinux or musllinux image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Optional

from ..errors import StrategyBlocked
from .base import BuildEnvironment

if TYPE_CHECKING:
    from ..interpreters import Interpreter
    from ..machine import HostFacts
    from ..plan import BuildPlan

_REASON = "this version of portable_backend does not start containers itself"


class ContainerStrategy:
    """Refuses, and says what can be done today: run the build inside the image, where it is recognised."""

    name = "container"

    def blocked(self, plan: BuildPlan, host: HostFacts) -> Optional[str]:
        """Always, for now."""
        del plan, host
        return f"{_REASON}; run the same build inside the image, where it takes the host strategy"

    def requires(self, plan: BuildPlan) -> Sequence[str]:
        """Nothing is added to the build environment."""
        del plan
        return ()

    @contextmanager
    def open(self, plan: BuildPlan, interpreter: Interpreter) -> Iterator[BuildEnvironment]:
        """Never opens."""
        del plan
        raise StrategyBlocked(_REASON)
        yield BuildEnvironment(interpreter)
