"""``portable-backend audit`` against ``auditwheel show``, on real wheels, in one run.

    python benchmarks/bench_audit.py [--repeat N] [WHEEL-FILE | NAME==VERSION …]

Each is run as a user runs it, in a process of its own, alternately; the figures are the smallest wall and CPU times
(user and system) of the repeats, the largest peak of memory, and the ratios. Whether the verdicts are equal stands
beside them.
Compile the package first (``python -m compileall src``), as installers do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

WHEELS = (
    "lxml==6.1.3",
    "h5py==3.16.0",
    "pillow==13.0.0",
    "numpy==2.4.6",
    "scipy==1.17.1",
    "pyarrow==26.0.1",
    "opencv-python-headless==5.0.0.93",
)


class Cost(NamedTuple):
    """Wall and CPU seconds, peak memory in MiB."""

    wall: float
    cpu: float
    memory: float


def run(command: list[str]) -> tuple[Cost, str]:
    """What a command cost, its own children included, and what it printed."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), output


def least(costs: list[Cost]) -> Cost:
    """The best times and the worst peak."""
    return Cost(min(cost.wall for cost in costs), min(cost.cpu for cost in costs), max(cost.memory for cost in costs))


def fetch(requirement: str, directory: Path) -> Path:
    """Download a wheel by name and version (a path is taken as it is)."""
    if Path(requirement).is_file():
        return Path(requirement)
    before = set(directory.glob("*.whl"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-d",
        str(directory),
    ]
    subprocess.run([*command, requirement], check=True)
    return next(iter(set(directory.glob("*.whl")) - before))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("wheels", nargs="*", default=list(WHEELS))
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"{'wheel':26} {'size':>7}  {'ours: wall':>10} {'CPU':>6} {'MiB':>4}  ", end="")
    print(f"{'auditwheel':>10} {'CPU':>7} {'MiB':>4}  {'ratio':>6} {'CPU':>6}  policy")
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for requirement in options.wheels:
            path = fetch(requirement, Path(scratch))
            ours = [sys.executable, "-m", "portable_backend.cli", "audit", "--json", str(path)]
            peer = [sys.executable, "-m", "auditwheel", "show", "--json", str(path)]
            pairs = [(run(ours), run(peer)) for _ in range(options.repeat)]
            mine, theirs = (least([pair[side][0] for pair in pairs]) for side in (0, 1))
            verdict = json.loads(pairs[0][0][1])["policy"]
            judged = json.loads(pairs[0][1][1])["overall_tag"]
            same = verdict if verdict == judged else f"{verdict} (auditwheel: {judged})"
            ratios.append((theirs.wall / mine.wall, theirs.cpu / mine.cpu))
            name = "-".join(path.name.split("-")[:2])[:26]
            print(f"{name:26} {path.stat().st_size / 1e6:6.1f}M", end="  ")
            print(f"{mine.wall:9.2f}s {mine.cpu:5.2f}s {mine.memory:4.0f}", end="  ")
            print(f"{theirs.wall:9.2f}s {theirs.cpu:6.2f}s {theirs.memory:4.0f}", end="  ")
            print(f"{ratios[-1][0]:5.1f}x {ratios[-1][1]:5.1f}x  {same}", flush=True)
    wall, cpu = (statistics.median(column) for column in zip(*ratios))
    print(f"median: {wall:.1f}x wall, {cpu:.1f}x CPU")


if __name__ == "__main__":
    main()
