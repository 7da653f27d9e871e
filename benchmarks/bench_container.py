"""One wheel by the container strategy, beside the inner build alone and beside cibuildwheel: one image, one Python.

    python benchmarks/bench_container.py [--rounds 3] [--only NAME] [--json]

For each project and round, alternating, in seconds of wall time:

``inner``       ``pip wheel`` with build isolation inside a container that is there already: the build itself
``inner uv``    ``build`` with uv in there, the second time, when uv has the requirements: what ours 2nd does inside
``ours 1st``    ``portable-backend build`` with empty caches and no kept result of ``before-all``
``ours 2nd``    the same command again
``cibw 1st``    ``cibuildwheel`` for the one interpreter
``cibw 2nd``    the same command again

Needs docker and cibuildwheel (from the package index). Medians are compared as ratios; tags and verdicts are shown.
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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

# Only now: the path that leads to it had to be set first.
from support.images import manylinux_image  # noqa: E402

TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
OPENBLAS = "apt-get update -qq && apt-get install -y -qq --no-install-recommends libopenblas-dev"


@dataclass(frozen=True)
class Project:
    """What is built.

    :param inner: the line that makes a project of ours one of its inner backend alone, for those who know no other.
    """

    name: str
    before_all: str = ""
    sdist: str = ""
    sample: str = ""
    inner: str = ""


PROJECTS = (
    Project("one C file", sample="tests/packages/setuptools_c", inner="setuptools.build_meta"),
    Project("markupsafe 3.0.3", sdist="markupsafe==3.0.3"),
    Project("ddot, OpenBLAS", OPENBLAS, sample="examples/ddot", inner="scikit_build_core.build"),
)


def run(*command: str, cwd: Path = ROOT, **environ: str) -> float:
    """Run a command; its seconds."""
    began = time.monotonic()
    environ = {**os.environ, **environ}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return time.monotonic() - began


def prepare(project: Project, directory: Path) -> Path:
    """The project with its inner backend alone, so that everybody builds the same."""
    if project.sdist:
        name = project.sdist.partition("==")[0]
        run(
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            name,
            "-d",
            str(directory),
            project.sdist,
        )
        archive = next(directory.glob("*.tar.gz"))
        shutil.unpack_archive(archive, directory, filter="data")
        source = next(path for path in directory.iterdir() if path.is_dir())
        return without_peer_settings(source)
    source = Path(shutil.copytree(ROOT / project.sample, directory / "project"))
    lines = (source / "pyproject.toml").read_text(encoding="utf-8").replace('"portable-backend", ', "").split("\n")
    lines = [f'build-backend = "{project.inner}"' if line.startswith("build-backend") else line for line in lines]
    text = "\n".join(lines)
    begin = text.find("[tool.portable-backend")
    (source / "pyproject.toml").write_text(text if begin < 0 else text[:begin], encoding="utf-8")
    return source


def without_peer_settings(source: Path) -> Path:
    """The project without its own settings for cibuildwheel: tests and other targets are not measured here."""
    pyproject = source / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    pyproject.write_text(re.sub(r"(?ms)^\[+tool\.cibuildwheel.*?(?=^\[|\Z)", "", text), encoding="utf-8")
    return source


@contextmanager
def fresh_name(image: str) -> Iterator[str]:
    """Another name of the image: its caches are its own, and go in the end."""
    name = f"portable-backend-bench/{uuid.uuid4().hex[:8]}"
    subprocess.run(["docker", "tag", image, name], check=True)
    try:
        yield name
    finally:
        from portable_backend.strategies.container.engine import find_engine
        from portable_backend.strategies.container.images import CACHES, volume_name

        engine = find_engine()
        found = engine.find_image(name)
        volumes = {volume_name(kind, name, found.arch if found else "amd64") for kind in CACHES}
        for item in engine.kept():
            if item.name in volumes or name in item.detail:
                engine.drop(item)
        subprocess.run(["docker", "rmi", name], check=True, capture_output=True)


def ours(project: Project, source: Path, image: str, out: Path) -> list[float]:
    """First and second build by the container strategy."""
    settings = {"PORTABLE_BACKEND_STRATEGY": "container", "PORTABLE_BACKEND_CONTAINER_IMAGE": image}
    # The result of before-all is kept by image and environment: another variable, another result.
    settings["PORTABLE_BACKEND_CONTAINER_ENVIRONMENT"] = f"BENCH={image}"
    if project.before_all:
        settings["PORTABLE_BACKEND_CONTAINER_BEFORE_ALL"] = project.before_all
    command = [sys.executable, "-m", "portable_backend.cli", "build", str(source), "-q", "-w", str(out)]
    settings["PYTHONPATH"] = str(ROOT / "src")
    return [run(*command, **settings) for _ in range(2)]


def cibuildwheel(project: Project, source: Path, image: str, out: Path) -> list[float]:
    """First and second build by cibuildwheel."""
    settings = {
        "CIBW_BUILD": f"{TAG}-manylinux_x86_64",
        "CIBW_MANYLINUX_X86_64_IMAGE": image,
        "CIBW_ARCHS": "x86_64",
        "CIBW_BEFORE_ALL": project.before_all,
    }
    command = [sys.executable, "-m", "cibuildwheel", "--platform", "linux", "--output-dir", str(out), "."]
    return [run(*command, cwd=source, **settings) for _ in range(2)]


def inner(project: Project, source: Path, image: str) -> tuple[float, float]:
    """The build itself, in a container that is there already and has what before-all installs: by pip, by uv."""
    container = subprocess.run(
        ["docker", "run", "-d", "--rm", image, "sleep", "600"], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        if project.before_all:
            run("docker", "exec", container, "sh", "-c", project.before_all)
        run("docker", "cp", f"{source}/.", f"{container}:/project")
        python = f"/opt/python/{TAG}-{TAG}/bin/python"
        inside = ("docker", "exec", container, python, "-m")
        by_pip = run(*inside, "pip", "wheel", "-q", "--no-deps", "-w", "/out", "/project")
        by_uv = [
            run(*inside, "build", "-q", "--wheel", "--installer", "uv", "-o", "/out", "/project") for _ in range(2)
        ]
        return by_pip, by_uv[1]
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", container], check=True, capture_output=True)


def verdict(out: Path) -> tuple[str, str]:
    """Platform tags and policy of the wheel in a directory."""
    (wheel,) = out.glob("*.whl")
    command = [sys.executable, "-m", "portable_backend.cli", "audit", "--json", str(wheel)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    return wheel.name.rpartition("-")[2].removesuffix(".whl"), str(json.loads(done.stdout)["policy"])


def one_round(project: Project, image: str) -> tuple[dict[str, float], set[tuple[str, str]]]:
    """All of it once, and the verdicts on the two wheels."""
    with tempfile.TemporaryDirectory() as directory, fresh_name(image) as name:
        work = Path(directory)
        (work / "source").mkdir()
        source = prepare(project, work / "source")
        first, second = ours(project, source, name, work / "ours")
        peer_first, peer_second = cibuildwheel(project, source, image, work / "peer")
        by_pip, by_uv = inner(project, source, image)
        seconds = {"inner": by_pip, "inner uv": by_uv, "ours 1st": first, "ours 2nd": second}
        seconds.update({"cibw 1st": peer_first, "cibw 2nd": peer_second})
        return seconds, {verdict(work / "ours"), verdict(work / "peer")}


def measure(projects: Sequence[Project], image: str, rounds: int) -> Iterator[dict[str, object]]:
    """The medians of each project."""
    for project in projects:
        seen: list[dict[str, float]] = []
        for number in range(rounds):
            seconds, verdicts = one_round(project, image)
            print(f"{project.name}, round {number + 1}: {seconds} {sorted(verdicts)}", file=sys.stderr)
            seen.append(seconds)
        median = {name: statistics.median(each[name] for each in seen) for name in seen[0]}
        yield {"project": project.name, "seconds": median, "wheels": sorted(verdicts)}


def main() -> None:
    """Measure and print a table of medians with the ratios that count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="a project's name, or its beginning")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    projects = [each for each in PROJECTS if each.name.startswith(options.only or "")]
    results = list(measure(projects, manylinux_image(), options.rounds))
    if options.json:
        print(json.dumps(results))
        return
    names = ("inner", "inner uv", "ours 1st", "ours 2nd", "cibw 1st", "cibw 2nd")
    print(f"{'project':<20}" + "".join(f"{name:>10}" for name in names) + "   ours/cibw 1st  2nd")
    for result in results:
        seconds = result["seconds"]
        assert isinstance(seconds, dict)
        row = "".join(f"{seconds[name]:10.1f}" for name in names)
        ratios = [seconds[f"ours {which}"] / seconds[f"cibw {which}"] for which in ("1st", "2nd")]
        print(f"{result['project']:<20}{row}   {ratios[0]:13.2f} {ratios[1]:4.2f}   {result['wheels']}")


if __name__ == "__main__":
    main()
