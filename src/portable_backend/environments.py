"""Isolated environments for builds from the command line, for any interpreter of the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .errors import BuildFailed, StrategyBlocked

_TOLD_LINES = 12


@dataclass(frozen=True)
class IsolatedEnvironment:
    """A fresh virtual environment that build requirements are installed into.

    :param python: its interpreter.
    :param scripts: the directory of its scripts.
    """

    python: str
    scripts: str
    installer: tuple[str, ...]

    def install(self, requirements: Sequence[str]) -> None:
        """Install requirements (PEP 508) into the environment.

        :raises BuildFailed: if pip cannot.
        """
        command = [*self.installer, "install", "--quiet", "--no-warn-script-location", "--disable-pip-version-check"]
        with tempfile.NamedTemporaryFile("w", prefix="requirements-", suffix=".txt", encoding="utf-8") as file:
            file.write("\n".join(requirements) + "\n")
            file.flush()
            # Both streams are kept: standard output belongs to the result of the command.
            done = subprocess.run(
                [*command, "-r", file.name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
                env=_pip_environ(),
            )
        if done.returncode:
            last = "\n".join(f"    {line[:300]}" for line in done.stdout.splitlines()[-_TOLD_LINES:])
            raise BuildFailed(f"pip could not install the build requirements {', '.join(requirements)}:\n{last}")

    def activated(self, environ: Mapping[str, str]) -> dict[str, Optional[str]]:
        """Variables that make programs find the environment's scripts first, and no packages from outside.

        ``None`` says that a variable must not be set.
        """
        path = os.pathsep.join(filter(None, (self.scripts, environ.get("PATH"))))
        return {"PATH": path, "VIRTUAL_ENV": str(Path(self.scripts).parent), "PYTHONPATH": None}


@contextmanager
def isolated_environment(python: str, progress: Callable[[str], None]) -> Iterator[IsolatedEnvironment]:
    """Make an environment for ``python``, and remove it in the end.

    :raises StrategyBlocked: if that interpreter cannot make one, or no pip is at hand.
    """
    with tempfile.TemporaryDirectory(prefix="portable-backend-env-") as directory:
        progress(f"making an isolated environment for {python}")
        command = [python, "-I", "-m", "venv", "--without-pip", directory]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            message = f"{python} cannot make a virtual environment: {done.stderr.strip()[-300:]}"
            raise StrategyBlocked(message, "install its venv module, or build with --no-isolation")
        scripts = os.path.join(directory, "bin")
        inside = os.path.join(scripts, "python")
        yield IsolatedEnvironment(inside, scripts, _find_pip(python, inside))


def _pip_environ() -> dict[str, str]:
    """Without PYTHONPATH: what it leads to, a pip perhaps, is for the interpreter that runs us, not for any other."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _find_pip(python: str, inside: str) -> tuple[str, ...]:
    """The pip of any interpreter at hand, told to install elsewhere (pip 22.3 and newer can).

    The base interpreters and the one on PATH are for environments that were made without pip, as by uv or pipx.
    """
    bases = (os.path.realpath(python), getattr(sys, "_base_executable", None), shutil.which("python3"))
    for candidate in dict.fromkeys(filter(None, (python, sys.executable, *bases))):
        command = (candidate, "-m", "pip", "--python", inside)
        done = subprocess.run(
            [*command, "--version"], capture_output=True, stdin=subprocess.DEVNULL, check=False, env=_pip_environ()
        )
        if done.returncode == 0:
            return command
    message = f"neither {python} nor {sys.executable} has pip 22.3 or newer"
    raise StrategyBlocked(message, "install pip, or build with --no-isolation")
