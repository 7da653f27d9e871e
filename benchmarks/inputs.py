"""The inputs of ``bench_engine``: wheels from the package index, wheels built on this host, and raw twins of wheels.

    python benchmarks/inputs.py --cache DIR [--large] [--only audit|graft|retag]

Everything lands in DIR and is made once: ``wheels`` (as downloaded), ``raw`` (built here from sdists against the
distribution's libraries, so that a repair has to graft) and ``twins`` (downloaded wheels that have lost their
manylinux tag, so that a repair has only tags to write). Versions are fixed, so that figures can be compared.

The wheels of ``raw`` need the -dev packages named in DEBIAN_PACKAGES, as Debian 12 has them. What cannot be made is
left out with a line that says why, and the command exits with status 1.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DEBIAN_PACKAGES = (
    "libpq-dev libjpeg-dev zlib1g-dev libtiff-dev libfreetype-dev libwebp-dev liblcms2-dev libopenjp2-7-dev "
    "libxml2-dev libxslt1-dev libhdf5-dev libgdal-dev libavformat-dev libavcodec-dev libavdevice-dev libavutil-dev "
    "libavfilter-dev libswscale-dev libswresample-dev pkg-config"
)

# Wheels for CPython 3.11 on x86_64 with glibc, whatever interpreter downloads them.
PYTHON = "3.11"
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(35, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]

AUDITED = (
    "markupsafe==3.0.4",
    "psutil==7.2.2",
    "pydantic-core==2.50.4",
    "shapely==2.2.0",
    "psycopg2-binary==2.9.13",
    "cryptography==50.0.2",
    "h5py==3.16.0",
    "lxml==6.1.3",
    "pillow==13.0.0",
    "grpcio==1.85.1",
    "scikit-learn==1.9.1",
    "matplotlib==3.11.2",
    "pandas==3.1.1",
    "numpy==2.4.6",
    "duckdb==2.0.0",
    "scipy==1.17.1",
    "av==18.1.0",
    "rasterio==1.4.4",
    "polars-runtime-32==2.1.0",
    "pyarrow==26.0.1",
    "opencv-python-headless==5.0.0.93",
)
LARGE = ("pyside6-essentials==6.12.0", "vtk==9.7.2", "tensorflow-cpu==2.21.0", "torch==2.15.0")
TWINS = ("numpy==2.4.6", "scipy==1.17.1", "pyarrow==26.0.1")


@dataclass(frozen=True)
class Sdist:
    """What is built here.

    :param constraints: for its build requirements, where later ones than its own time do not build it.
    """

    requirement: str
    constraints: tuple[str, ...] = ()


BUILT = (
    Sdist("psycopg2==2.9.13"),
    Sdist("pillow==13.0.0"),
    Sdist("lxml==6.1.3"),
    Sdist("h5py==3.14.0"),
    Sdist("rasterio==1.3.11", ("cython<3.1", "setuptools<80")),  # the last that knows GDAL 3.6
    Sdist("av==12.3.0", ("cython<3.1", "setuptools<80")),  # the last that knows FFmpeg 5.1
)


class CannotMake(Exception):
    """An input that this machine cannot have."""


def main() -> int:
    """Make what is missing; 1 if something could not be made."""
    parser = argparse.ArgumentParser(description="Make the inputs of the benchmarks.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--large", action="store_true", help="the wheels that take auditwheel minutes, too (2 GB)")
    parser.add_argument("--only", choices=("audit", "graft", "retag"), action="append")
    options = parser.parse_args()
    only = options.only or ["audit", "graft", "retag"]
    failed = False
    for path in make_inputs(options.cache, only, large=options.large):
        if isinstance(path, Path):
            print(f"{path.stat().st_size / 1e6:8.1f} MB  {path.name}")
        else:
            print(f"{'missing':>11}  {path}", file=sys.stderr)
            failed = True
    return int(failed)


def make_inputs(
    cache: Path, only: Sequence[str], *, large: bool, prefixes: tuple[str, ...] = ("",)
) -> Iterator[Path | CannotMake]:
    """Each input of the groups, as its path or as the reason why there is none.

    :param prefixes: what a name has to begin with, one of them.
    """
    makers = {
        "audit": [(download, each) for each in [*AUDITED, *(LARGE if large else ())]],
        "graft": [(build, each) for each in BUILT],
        "retag": [(make_twin, each) for each in TWINS],
    }
    for group in only:
        for make, what in makers[group]:
            if not (what.requirement if isinstance(what, Sdist) else what).startswith(prefixes):
                continue
            try:
                yield make(what, cache)
            except CannotMake as error:
                yield error


def find_wheel(directory: Path, requirement: str) -> Path | None:
    """The wheel of a ``name==version`` in a directory."""
    name, version = requirement.split("==")
    escaped = re.sub(r"[-_.]+", "_", name).lower()
    found = [path for path in directory.glob("*.whl") if path.name.lower().startswith(f"{escaped}-{version}-")]
    return found[0] if found else None


def run_pip(*arguments: str, **environ: str) -> None:
    """Run this interpreter's pip; its last lines are the reason if it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "rror:" in line]
        raise CannotMake(f"pip {' '.join(arguments[:1])} {arguments[-1]}: {' / '.join(lines[-3:])}")


def download(requirement: str, cache: Path) -> Path:
    """A wheel from the package index."""
    directory = cache / "wheels"
    directory.mkdir(parents=True, exist_ok=True)
    found = find_wheel(directory, requirement)
    if not found:
        kind = ["--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp"]
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        run_pip("download", "-q", "--no-deps", *kind, *platforms, "-d", str(directory), requirement)
        found = find_wheel(directory, requirement)
    assert found, requirement
    return found


def build(sdist: Sdist, cache: Path) -> Path:
    """A raw wheel, tagged ``linux_x86_64``, that needs libraries of this host."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != PYTHON:
        raise CannotMake(f"{sdist.requirement}: raw wheels are built by CPython {PYTHON}")
    directory = cache / "raw"
    directory.mkdir(parents=True, exist_ok=True)
    found = find_wheel(directory, sdist.requirement)
    if not found:
        name = sdist.requirement.partition("==")[0]
        with tempfile.TemporaryDirectory() as scratch:
            constraints = Path(scratch, "constraints.txt")
            constraints.write_text("".join(f"{line}\n" for line in sdist.constraints), encoding="utf-8")
            options = ["-q", "--no-deps", "--no-cache-dir", "--no-binary", name, "-w", str(directory)]
            # pip 25.3 and newer have a variable of its own for what builds need.
            bounds = str(constraints)
            run_pip("wheel", *options, sdist.requirement, PIP_CONSTRAINT=bounds, PIP_BUILD_CONSTRAINT=bounds)
        found = find_wheel(directory, sdist.requirement)
    assert found, sdist
    return found


def make_twin(requirement: str, cache: Path) -> Path:
    """The same wheel as if nobody had repaired it yet: same members, tagged ``linux_x86_64``."""
    original = download(requirement, cache)
    directory = cache / "twins"
    directory.mkdir(parents=True, exist_ok=True)
    stem, _, _ = original.stem.rpartition("-")
    twin = directory / f"{stem}-linux_x86_64.whl"
    if not twin.exists():
        retag(original, twin, "linux_x86_64")
    return twin


def retag(original: Path, twin: Path, platform: str) -> None:
    """Write a wheel again with another platform tag in WHEEL, and RECORD in accord with that."""
    _, python, abi, _ = twin.stem.rsplit("-", 3)
    partial = twin.with_suffix(".partial")
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(partial, "w") as target:
        changed: dict[str, bytes] = {}
        for info in sorted(source.infolist(), key=lambda info: info.filename.endswith(".dist-info/RECORD")):
            data = source.read(info)
            if info.filename.endswith(".dist-info/WHEEL"):
                lines = [line for line in data.decode().splitlines() if line and not line.startswith("Tag:")]
                data = "\n".join([*lines, f"Tag: {python}-{abi}-{platform}", ""]).encode()
                changed[info.filename] = data
            elif info.filename.endswith(".dist-info/RECORD"):
                data = "".join(f"{record_line(line, changed)}\n" for line in data.decode().splitlines()).encode()
            target.writestr(info, data, info.compress_type, 6)
    partial.replace(twin)


def record_line(line: str, changed: dict[str, bytes]) -> str:
    """A line of RECORD, anew if its file has changed."""
    name = line.split(",", maxsplit=1)[0]
    if name not in changed:
        return line
    digest = base64.urlsafe_b64encode(hashlib.sha256(changed[name]).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(changed[name])}"


if __name__ == "__main__":
    sys.exit(main())
