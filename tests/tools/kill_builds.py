"""Kill container builds at random moments, and count what they leave behind.

    python tests/tools/kill_builds.py [--kills 50] [--seed 1] [--image REFERENCE] [--json]

Each build is started through one of the ways in (our command, ``python -m build``, ``pip wheel``) and ended by one of
SIGKILL to that process alone, SIGKILL to its whole process group, SIGTERM, SIGINT. Then there is a little time to clear
up, and what is left is counted: containers of ours, files in a temporary directory of its own, wheels half written.
Exit status 1 if anything is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
SAMPLE = TESTS / "packages" / "setuptools_c"
LABEL = "portable-backend.run"
# How a build is ended: the signal, and whether the whole group gets it, as from a terminal or a CI system.
ENDS = {
    "kill": (signal.SIGKILL, False),
    "kill-group": (signal.SIGKILL, True),
    "term": (signal.SIGTERM, False),
    "interrupt-group": (signal.SIGINT, True),
}
# Seconds: what clearing up may take, and how long a build that nobody ends lasts at most.
GRACE = 15.0
LONGEST = 120.0


@dataclass(frozen=True)
class Ways:
    """The commands that start a build, by name."""

    source: Path
    out: Path

    def commands(self) -> dict[str, list[str]]:
        python, source, out = sys.executable, str(self.source), str(self.out)
        return {
            "portable-backend": [python, "-m", "portable_backend.cli", "build", source, "-w", out],
            "build": [python, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check", "-o", out, source],
            "pip": [python, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", out, source],
        }


def containers() -> list[str]:
    """Containers of ours, running or not."""
    command = ["docker", "ps", "-aq", "--no-trunc", "--filter", f"label={LABEL}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def start(command: Sequence[str], scratch: Path) -> subprocess.Popen[bytes]:
    """A build in a session of its own, with its own directory for temporary files."""
    environ = {**os.environ, "TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def duration(command: Sequence[str], scratch: Path) -> float:
    """How long an undisturbed build lasts; seconds."""
    began = time.monotonic()
    if start(command, scratch).wait(LONGEST):
        sys.exit(f"the build fails undisturbed: {' '.join(command)}")
    return time.monotonic() - began


def ours_in(scratch: Path) -> list[str]:
    """Files of ours; what pip itself leaves when it is killed is pip's."""
    return sorted(path.name for path in scratch.glob("portable-backend-*"))


def left_behind(before: set[str], scratch: Path, out: Path) -> list[str]:
    """What is still there when the time for clearing up is over."""
    until = time.monotonic() + GRACE
    while True:
        found = [f"container {each[:12]}" for each in containers() if each not in before]
        found += [f"file {name}" for name in ours_in(scratch)]
        found += [f"output {path.name}" for path in out.iterdir() if path.suffix != ".whl"]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.3)


def one_kill(command: Sequence[str], end: str, after: float, work: Path) -> tuple[bool, list[str]]:
    """End one build; whether it was still running, and what it left."""
    number, group = ENDS[end]
    scratch, out = work / "tmp", work / "out"
    for directory in (scratch, out):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
    before = set(containers())
    process = start(command, scratch)
    time.sleep(after)
    running = process.poll() is None
    if running:
        (os.killpg if group else os.kill)(process.pid, number)
    process.wait(LONGEST)
    return running, left_behind(before, scratch, out)


def kills(options: argparse.Namespace, work: Path) -> Iterator[dict[str, object]]:
    """Do the kills one by one."""
    source = Path(shutil.copytree(SAMPLE, work / "source"))
    (work / "out").mkdir()
    (work / "tmp").mkdir()
    commands = Ways(source, work / "out").commands()
    os.environ["PORTABLE_BACKEND_STRATEGY"] = "container"
    if options.image:
        os.environ["PORTABLE_BACKEND_CONTAINER_IMAGE"] = options.image
    chosen = random.Random(options.seed)
    lasts = {way: duration(command, work / "tmp") for way, command in commands.items()}
    for number in range(options.kills):
        way = list(commands)[number % len(commands)]
        end = list(ENDS)[(number // len(commands)) % len(ENDS)]
        after = chosen.uniform(0, lasts[way])
        running, found = one_kill(commands[way], end, after, work)
        yield {"way": way, "end": end, "after": round(after, 2), "running": running, "left": found}


def main() -> int:
    """Kill, report, and say by the exit status whether anything was left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--image", help="default: what the settings choose")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="kill-builds-") as work:
        for result in kills(options, Path(work)):
            results.append(result)
            print(json.dumps(result) if options.json else _line(len(results), result), flush=True)
    running = sum(bool(result["running"]) for result in results)
    left = sum(len(result["left"]) for result in results if isinstance(result["left"], list))
    if not options.json:
        print(f"{len(results)} kills, {running} of them while the build ran: {left} things left behind")
    return 1 if left else 0


def _line(number: int, result: dict[str, object]) -> str:
    when = f"{result['way']:<17} {result['end']:<16} after {result['after']:>5} s"
    return f"{number:3} {when}: {result['left'] or 'nothing'}"


if __name__ == "__main__":
    sys.exit(main())
