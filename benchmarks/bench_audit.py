"""``portable-backend audit`` against ``auditwheel show``, on real wheels, in one run.

    python benchmarks/bench_audit.py [--repeat N] [WHEEL-FILE | NAME==VERSION …]

Each is run as a user runs it, in a process of its own, alternately; the figures are the smallest CPU times (user and
system) of the repeats, and their ratio. Whether the verdicts are equal stands beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

WHEELS = ("markupsafe==3.0.3", "numpy==2.3.4", "scipy==1.16.3", "pyarrow==22.0.0", "psycopg2-binary==2.9.11")


def cpu_seconds(command: list[str]) -> tuple[float, str]:
    """CPU seconds that a command and its children used, and what it printed."""
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, done.stdout


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
    print(f"{'wheel':28} {'size':>8} {'ours':>8} {'auditwheel':>10} {'ratio':>7}  policy")
    with tempfile.TemporaryDirectory() as scratch:
        for requirement in options.wheels:
            path = fetch(requirement, Path(scratch))
            ours = [sys.executable, "-m", "portable_backend.cli", "audit", "--json", str(path)]
            peer = [sys.executable, "-m", "auditwheel", "show", "--json", str(path)]
            times: dict[str, list[float]] = {"ours": [], "peer": []}
            for _ in range(options.repeat):
                for name, command in (("ours", ours), ("peer", peer)):
                    used, output = cpu_seconds(command)
                    times[name].append(used)
                    if name == "ours":
                        verdict = json.loads(output)["policy"]
                    else:
                        judged = json.loads(output)["overall_tag"]
            mine, theirs = min(times["ours"]), min(times["peer"])
            same = verdict if verdict == judged else f"{verdict} (auditwheel: {judged})"
            size = f"{path.stat().st_size / 1e6:.1f}M"
            name = "-".join(path.name.split("-")[:2])
            print(f"{name:28} {size:>8} {mine:7.2f}s {theirs:9.2f}s {theirs / mine:6.1f}x  {same}", flush=True)


if __name__ == "__main__":
    main()
