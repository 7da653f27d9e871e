"""The host strategy: the machine's own compilers, as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Optional

from .base import BuildEnvironment

if TYPE_CHECKING:
    from ..interpreters import Interpreter
    from ..machine import HostFacts
    from ..plan import BuildPlan


_INSTALL = "\n  cure: install the package that has it; in a container that is before-all's task"


class HostStrategy:
    """Builds with what the machine has. What comes out is judged like everything else."""

    name = "host"

    def blocked(self, plan: BuildPlan, host: HostFacts) -> Optional[str]:
        """Nothing stands in the way of taking the machine as it is."""
        del plan, host
        return None

    def requires(self, plan: BuildPlan) -> Sequence[str]:
        """Nothing is added to the build environment."""
        del plan
        return ()

    @contextmanager
    def open(self, plan: BuildPlan, interpreter: Interpreter) -> Iterator[BuildEnvironment]:
        """The environment that the frontend runs in, with the project's own variables."""
        yield BuildEnvironment(interpreter, dict(plan.environ), explain_failure=_explain)


def _explain(lines: Sequence[str]) -> Optional[str]:
    for line in reversed(lines):
        if "fatal error: Python.h: No such file" in line:
            return "the headers of the interpreter that builds are not installed\n  cure: install them, as python3-dev"
        if "fatal error:" in line and "No such file" in line:
            return f"a header is missing here: {line.strip()[:200]}{_INSTALL}"
        if "cannot find -l" in line:
            return f"a library is missing here: {line.strip()[:200]}{_INSTALL}"
    return None
