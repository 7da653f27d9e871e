"""Run the tests on a machine that has Python and pip: make an environment, build and install the package, test it.

    python tests/run.py [arguments for pytest]

The environment stays in ``.venv-tests`` for the next run; the package is built anew each time, by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-tests"


def run(*command: str) -> None:
    """Run a command; its failure is ours."""
    print("+", *command, file=sys.stderr, flush=True)
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        sys.exit(status)


def main(arguments: Sequence[str]) -> None:
    """Make the environment, install, test."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():  # without pip, because some distributions keep ensurepip in another package
        run(sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    with tempfile.TemporaryDirectory(prefix="portable-backend-tests-") as wheels:
        run(*pip, "wheel", "--quiet", "--no-deps", "-w", wheels, ".")
        wheel = next(Path(wheels).glob("*.whl"))
        install = (*pip, "--python", str(python), "install", "--quiet", "--no-warn-script-location")
        run(*install, "-r", "tests/requirements.txt")
        run(*install, "--force-reinstall", "--no-deps", str(wheel))
        run(*install, str(wheel))
    scripts = str(python.parent)
    os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", "pytest", *(arguments or ["tests"])])


if __name__ == "__main__":
    main(sys.argv[1:])
