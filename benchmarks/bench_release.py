"""A release of one real project for several interpreters and targets: ours, side by side and one after the other, and
cibuildwheel's in the same images.

    python benchmarks/bench_release.py [--project markupsafe==3.0.3] [--python 3.9-3.13] [--rounds 2] [--only WAY,…]
        [--cibuildwheel PYTHON] [--append FILE]
    python benchmarks/bench_release.py --report FILE

Each way makes a wheel of a downloaded sdist for each interpreter and for both of manylinux x86_64 and musllinux x86_64:

``zig-1``, ``zig-2``              ``portable-backend build --strategy zig --jobs 1`` (or 2), zig's own cache empty
``container-1``, ``container-2``  the same by the container strategy in the stand-in images, its caches empty
``warm-1``, ``warm-2``            the same once more, with the caches of the run before
``cibw``, ``cibw-uv``             cibuildwheel in the same images, with the build frontend ``build`` and ``build[uv]``

Seconds of wall and of processor time; the latter is that of our processes, of all that they waited for, and of all
containers of the engine meanwhile, so nothing else may use the engine. pip's cache of downloads on this machine is
warm; an image has none but those that the container strategy keeps. What is in an image is what there is: for the ways
in containers name interpreters that both images have. cibuildwheel may stand in an environment of its own.
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
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Optional

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

WAYS = ("zig-1", "zig-2", "container-1", "warm-1", "container-2", "warm-2", "cibw", "cibw-uv")
#: cibuildwheel's own scripts in an image are run by this interpreter, which all published images have.
PEER_PYTHON = "/opt/python/cp39-cp39"
#: Processor time of all containers, those that are gone included, in nanoseconds.
CONTAINERS_CPU = Path("/sys/fs/cgroup/cpuacct/docker/cpuacct.usage")


class Taken(NamedTuple):
    """What one way took, in seconds; ``None`` where the engine does not tell."""

    wall: float
    cpu: float
    container_cpu: Optional[float]


class Images(NamedTuple):
    """References of the images of both targets."""

    manylinux: str
    musllinux: str


def docker(*words: str) -> str:
    """A command of docker; its output."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def run(*command: str, cwd: Path = ROOT, **environ: str) -> Taken:
    """Run a command that has to succeed."""
    inside = _containers_cpu()
    before, began = os.times(), time.monotonic()
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environ}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    after, wall = os.times(), time.monotonic() - began
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Taken(wall, cpu, None if inside is None else (_containers_cpu() or 0.0) - inside)


def _containers_cpu() -> Optional[float]:
    try:
        return int(CONTAINERS_CPU.read_text()) / 1e9
    except (OSError, ValueError):
        return None


def ours(sdist: Path, pythons: str, work: Path, *more: str, **environ: str) -> tuple[Taken, int]:
    """A release by our command; how many wheels it made."""
    out = work / "out"
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(sdist), "--python", pythons, "-w", str(out)]
    taken = run(*command, "-q", "--log-dir", str(work / "logs"), *more, **environ)
    made = len(list(out.glob("*.whl")))
    shutil.rmtree(out)
    shutil.rmtree(work / "logs", ignore_errors=True)
    return taken, made


@contextmanager
def fresh_images() -> Iterator[Images]:
    """The stand-in images under names that no cache knows; caches go in the end."""
    from portable_backend.strategies.container.images import CACHES, volume_name
    from support.images import manylinux_image, musllinux_image

    run_id = uuid.uuid4().hex[:10]
    names = Images(f"bench-release-{run_id}/manylinux", f"bench-release-{run_id}/musllinux")
    try:
        for source, name in zip((manylinux_image(), musllinux_image()), names):
            # Where it is missing, as in the image for musl, a newer one does as well.
            script = f"[ -e {PEER_PYTHON} ] || ln -s cp312-cp312 {PEER_PYTHON}"
            container = docker("create", source, "sh", "-c", script)
            docker("start", "-a", container)
            docker("commit", container, name)
            docker("rm", container)
        yield names
    finally:
        volumes = [volume_name(kind, name, "amd64") for name in names for kind in CACHES]
        subprocess.run(["docker", "volume", "rm", "-f", *volumes], capture_output=True, check=False)
        subprocess.run(["docker", "rmi", *names], capture_output=True, check=False)


def by_zig(sdist: Path, pythons: str, work: Path, jobs: str) -> tuple[Taken, int]:
    """By zig, whose cache is empty."""
    with tempfile.TemporaryDirectory(dir=work) as cache:
        targets = ("--target", "manylinux_2_17_x86_64", "--target", "musllinux_1_2_x86_64")
        return ours(sdist, pythons, work, "--strategy", "zig", *targets, "--jobs", jobs, XDG_CACHE_HOME=cache)


def by_containers(
    sdist: Path, pythons: str, work: Path, jobs: str, images: Images, policies: Sequence[str]
) -> tuple[Taken, int]:
    """By the container strategy."""
    words = ["--strategy", "container", "--jobs", jobs]
    for policy, image in zip(policies, images):
        words += ["--target", f"{policy}_x86_64", "-C", f"portable-backend.container.images={policy}_x86_64={image}"]
    return ours(sdist, pythons, work, *words)


def by_peer(sdist: Path, pythons: str, work: Path, images: Images, python: str, frontend: str) -> tuple[Taken, int]:
    """By cibuildwheel, without the project's own settings for it."""
    work = work / "peer"
    work.mkdir()
    shutil.unpack_archive(sdist, work)
    source = next(path for path in work.iterdir() if path.is_dir())
    pyproject = source / "pyproject.toml"
    if pyproject.exists():
        text = re.sub(r"(?ms)^\[+tool\.cibuildwheel.*?(?=^\[(?!\[?tool\.cibuildwheel)|\Z)", "", pyproject.read_text())
        pyproject.write_text(text, encoding="utf-8")
    wanted = [f"cp3{minor}-{family}_x86_64" for minor in minors(pythons) for family in ("manylinux", "musllinux")]
    settings = {
        "CIBW_BUILD": " ".join(wanted),
        "CIBW_MANYLINUX_X86_64_IMAGE": images.manylinux,
        "CIBW_MUSLLINUX_X86_64_IMAGE": images.musllinux,
        "CIBW_ARCHS": "x86_64",
        "CIBW_BUILD_FRONTEND": frontend,
    }
    command = (python, "-m", "cibuildwheel", "--platform", "linux", "--output-dir", str(work / "out"), ".")
    taken = run(*command, cwd=source, **settings)
    made = len(list((work / "out").glob("*.whl")))
    shutil.rmtree(work)
    return taken, made


def minors(pythons: str) -> range:
    """``3.9-3.13`` as the numbers behind the point."""
    first, _, last = pythons.partition("-")
    return range(int(first.split(".")[1]), int((last or first).split(".")[1]) + 1)


def measure(options: argparse.Namespace, sdist: Path, work: Path) -> Iterator[dict[str, Any]]:
    """Each way once."""
    policies = ("manylinux_2_31", "musllinux_1_2")
    needs_images = any(not way.startswith("zig") for way in options.only)
    with fresh_images() if needs_images else _none() as images:
        for way in options.only:
            kind, _, jobs = way.partition("-")
            if kind == "zig":
                taken, made = by_zig(sdist, options.python, work, jobs)
            elif kind == "cibw":
                frontend = "build[uv]" if jobs else "build"
                taken, made = by_peer(sdist, options.python, work, images, options.cibuildwheel, frontend)
            else:
                if kind == "container":
                    _forget_caches(images)
                taken, made = by_containers(sdist, options.python, work, jobs, images, policies)
            yield {"project": options.project, "python": options.python, "way": way, "wheels": made, **taken._asdict()}


@contextmanager
def _none() -> Iterator[Images]:
    yield Images("", "")


def _forget_caches(images: Images) -> None:
    from portable_backend.strategies.container.images import CACHES, volume_name

    volumes = [volume_name(kind, name, "amd64") for name in images for kind in CACHES]
    subprocess.run(["docker", "volume", "rm", "-f", *volumes], capture_output=True, check=True)


def report(rows: Sequence[dict[str, Any]]) -> None:
    """A table of medians, in the order of :data:`WAYS`."""
    groups = sorted({(row["project"], row["python"]) for row in rows})
    for project, python in groups:
        print(f"\n{project}, {python}\n\n| way | wheels | wall | processor | wall, all rounds |\n|---|---|---|---|---|")
        for way in WAYS:
            mine = [row for row in rows if (row["project"], row["python"], row["way"]) == (project, python, way)]
            if not mine:
                continue
            walls = [row["wall"] for row in mine]
            cpus = [row["cpu"] + (row["container_cpu"] or 0.0) for row in mine]
            counts = "/".join(sorted({str(row["wheels"]) for row in mine}))
            every = ", ".join(f"{wall:.0f}" for wall in walls)
            print(
                f"| {way} | {counts} | {statistics.median(walls):.0f} s | {statistics.median(cpus):.0f} s | {every} |"
            )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", default="markupsafe==3.0.3")
    parser.add_argument("--python", default="3.9-3.13")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", type=lambda text: text.split(","), default=["zig-1", "zig-2"], metavar="WAY,…")
    parser.add_argument("--cibuildwheel", default=sys.executable, metavar="PYTHON", help="the one that has it")
    parser.add_argument("--append", type=Path, metavar="FILE", help="lines of JSON, beside what is printed")
    parser.add_argument("--report", type=Path, metavar="FILE", help="a table of such lines, and measure nothing")
    options = parser.parse_args()
    if options.report:
        report([json.loads(line) for line in options.report.read_text(encoding="utf-8").splitlines()])
        return
    if unknown := set(options.only) - set(WAYS):
        parser.error(f"no such way: {', '.join(unknown)}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-release-") as directory:
        work = Path(directory)
        (work / "sdist").mkdir()
        name = options.project.partition("==")[0]
        words = ("download", "-q", "--no-deps", "--no-binary", name, "-d", str(work / "sdist"), options.project)
        run(sys.executable, "-m", "pip", *words)
        sdist = next((work / "sdist").iterdir())
        for _ in range(options.rounds):
            for row in measure(options, sdist, work):
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
                if options.append:
                    with options.append.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
    report(rows)


if __name__ == "__main__":
    main()
