"""A release of one real project for five interpreters: jobs side by side beside one after the other.

    python benchmarks/bench_release.py [--project markupsafe==3.0.3] [--python 3.9-3.13] [--rounds 3] [--peer] [--json]

For each round, alternating, in seconds of wall and of processor time (our own processes and all that they waited for):

``jobs 1``  ``portable-backend build --jobs 1``, by zig, from a downloaded sdist, caches warm
``jobs 2``  the same with ``--jobs 2``
``ours``    with ``--peer``: the same interpreters by the container strategy in the stand-in image
``cibw``    with ``--peer``: cibuildwheel in the same image

Processor time inside of containers is the engine's and not counted; for ``ours`` and ``cibw`` compare wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

TARGET = "manylinux_2_17_x86_64"


def run(*command: str, cwd: Path = ROOT, **environ: str) -> tuple[float, float]:
    """Run a command; seconds of wall and of processor time."""
    before, began = os.times(), time.monotonic()
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environ}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, cpu


def download(project: str, directory: Path) -> Path:
    """The project's sdist."""
    name = project.partition("==")[0]
    words = ("download", "-q", "--no-deps", "--no-binary", name, "-d", str(directory), project)
    run(sys.executable, "-m", "pip", *words)
    return next(directory.glob("*.tar.gz"))


def ours(sdist: Path, pythons: str, out: Path, *more: str, **environ: str) -> tuple[float, float]:
    """A release by our command; it has to give a wheel for each interpreter."""
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(sdist), "--python", pythons, "-w", str(out)]
    taken = run(*command, "-q", *more, **environ)
    shutil.rmtree(out)
    return taken


def peer(sdist: Path, pythons: str, image: str, work: Path) -> tuple[float, float]:
    """The same interpreters by cibuildwheel, without the project's own settings for it."""
    shutil.unpack_archive(sdist, work, filter="data")
    source = next(path for path in work.iterdir() if path.is_dir())
    pyproject = source / "pyproject.toml"
    text = re.sub(r"(?ms)^\[+tool\.cibuildwheel.*?(?=^\[|\Z)", "", pyproject.read_text(encoding="utf-8"))
    pyproject.write_text(text, encoding="utf-8")
    first, _, last = pythons.partition("-")
    minors = range(int(first.split(".")[1]), int(last.split(".")[1]) + 1)
    settings = {
        "CIBW_BUILD": " ".join(f"cp3{minor}-manylinux_x86_64" for minor in minors),
        "CIBW_MANYLINUX_X86_64_IMAGE": image,
        "CIBW_ARCHS": "x86_64",
    }
    out = str(work / "out")
    command = [sys.executable, "-m", "cibuildwheel", "--platform", "linux", "--output-dir", out, "."]
    taken = run(*command, cwd=source, **settings)
    shutil.rmtree(work)
    return taken


def one_round(options: argparse.Namespace, sdist: Path, image: str, work: Path) -> dict[str, tuple[float, float]]:
    """Each way once."""
    by_zig = ("--strategy", "zig", "--target", TARGET)
    seen = {
        f"jobs {count}": ours(sdist, options.python, work / "out", *by_zig, "--jobs", str(count)) for count in (1, 2)
    }
    if options.peer:
        # The image has its interpreters, whichever of them this machine has.
        inside = (
            "--strategy",
            "container",
            "--target",
            "manylinux_2_31",
            "-C",
            f"portable-backend.container.image={image}",
        )
        seen["ours"] = ours(sdist, options.python, work / "out", *inside)
        (work / "peer").mkdir()
        seen["cibw"] = peer(sdist, options.python, image, work / "peer")
    return seen


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", default="markupsafe==3.0.3")
    parser.add_argument("--python", default="3.9-3.13")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="store_true", help="beside cibuildwheel; needs docker")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    image = ""
    if options.peer:
        from support.images import manylinux_image

        image = manylinux_image()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="bench-release-") as directory:
        work = Path(directory)
        (work / "sdist").mkdir()
        sdist = download(options.project, work / "sdist")
        ours(sdist, options.python, work / "out", "--strategy", "zig", "--target", TARGET)  # caches
        for number in range(options.rounds):
            rounds.append(one_round(options, sdist, image, work))
            print(f"round {number + 1}: {rounds[-1]}", file=sys.stderr, flush=True)
    medians = {
        way: {
            "wall": statistics.median(each[way][0] for each in rounds),
            "cpu": statistics.median(each[way][1] for each in rounds),
        }
        for way in rounds[0]
    }
    if options.json:
        print(json.dumps({"project": options.project, "python": options.python, "seconds": medians}))
        return
    print(f"{options.project}, {options.python}, median of {options.rounds}")
    for way, seconds in medians.items():
        print(f"{way:<8}{seconds['wall']:8.1f} s wall {seconds['cpu']:8.1f} s processor")


if __name__ == "__main__":
    main()
