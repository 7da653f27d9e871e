"""Build real sdists with the container strategy, twice each, use each wheel where nothing was built, print a table.

    python tests/tools/build_in_images.py [--python 3.11]… [--only NAME]… [--json FILE]
    python tests/tools/build_in_images.py NAME==VERSION --image REFERENCE [--before-all COMMAND] [--use CODE]…

Every pair of project and interpreter gets an image of its own (the same files under another name), so that the first
build finds neither caches nor a kept before-all, and the second finds those of the first alone. Whatever this leaves on
the engine is removed. Times are those of the whole command, download of the sdist included.

Exit status 1 if any project did not build, is not confirmed by auditwheel, or cannot be used.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Optional

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.images import bare_image, manylinux_image, musllinux_image, run_in

_APT = "apt-get update && apt-get install -y --no-install-recommends "
_XSLT = """
from lxml import etree
sheet = etree.XML('''<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:output method="text"/>
<xsl:template match="/">hello <xsl:value-of select="a/b"/></xsl:template></xsl:stylesheet>''')
assert str(etree.XSLT(sheet)(etree.fromstring("<a><b>world</b></a>"))) == "hello world"
"""
_H5PY = """
import h5py, numpy
with h5py.File("/tmp/some.h5", "w") as file:
    file.create_dataset("numbers", data=numpy.arange(1000.0), compression="gzip")
with h5py.File("/tmp/some.h5", "r") as file:
    assert file["numbers"][...].sum() == 499500
"""
_ZMQ = """
import zmq
context = zmq.Context()
one, other = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
one.bind("inproc://here"), other.connect("inproc://here")
one.send(b"hello")
assert other.recv() == b"hello"
context.destroy()
"""
_MARKUPSAFE = "import markupsafe, markupsafe._speedups; assert markupsafe.escape('<b>') == '&lt;b&gt;'"
_MSGPACK = (
    "import msgpack, msgpack._cmsgpack; assert msgpack.unpackb(msgpack.packb([1, {'a': b'b'}])) == [1, {'a': b'b'}]"
)
_KIWISOLVER = """
import kiwisolver
x, solver = kiwisolver.Variable("x"), kiwisolver.Solver()
solver.addConstraint(x + 2 == 5), solver.updateVariables()
assert x.value() == 3
"""


@dataclass(frozen=True)
class Project:
    """What to build and how to see that the result works.

    :param family: ``manylinux`` or ``musllinux``: the image to build in.
    :param use: Python code that fails if the wheel does not work.
    :param before_all: the command that installs libraries in the image.
    :param needs: what the wheel needs at run time, installed as wheels of the package index.
    """

    requirement: str
    family: str
    use: str
    before_all: str = ""
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The project's name without the version."""
        return self.requirement.partition("==")[0]

    @property
    def target(self) -> Optional[str]:
        """What to ask for: an interpreter of this machine says nothing of musl."""
        return "musllinux_1_2" if self.family == "musllinux" else None


PROJECTS = (
    Project(
        "psycopg2==2.9.10",
        "manylinux",
        "import psycopg2.extensions; assert psycopg2.extensions.libpq_version() > 90000",
        _APT + "libpq-dev",
    ),
    Project("lxml==6.0.2", "manylinux", _XSLT, _APT + "libxml2-dev libxslt1-dev zlib1g-dev"),
    Project("h5py==3.14.0", "manylinux", _H5PY, _APT + "libhdf5-dev", ("numpy",)),
    Project("pyzmq==27.1.0", "manylinux", _ZMQ, _APT + "libzmq3-dev libsodium-dev"),
    Project("markupsafe==3.0.3", "manylinux", _MARKUPSAFE),
    Project("markupsafe==3.0.3", "musllinux", _MARKUPSAFE),
    Project("msgpack==1.1.2", "musllinux", _MSGPACK),
    Project("kiwisolver==1.4.9", "musllinux", _KIWISOLVER),
)
PYTHONS = ("3.11", "3.13")


@dataclass
class Row:
    """One line of the table.

    :param first: seconds of a build without any cache.
    :param second: seconds of the same build with the caches and the ``before-all`` of the first.
    :param auditwheel: the policy that auditwheel finds.
    :param works: ``ok``, ``failed`` or ``-``.
    """

    project: str
    family: str
    python: str
    first: float = 0.0
    second: float = 0.0
    policy: str = "-"
    grafted: list[str] = field(default_factory=list)
    auditwheel: str = "-"
    works: str = "-"
    wheel: str = ""
    detail: str = ""

    @property
    def good(self) -> bool:
        """Built twice, confirmed and used."""
        return self.works == "ok" and self.policy != "-" and self.policy == self.auditwheel


class BuildError(Exception):
    """A build that failed, with the last that it said."""


def examine(project: Project, python: str, image: Optional[str], wheels: Path) -> Row:
    """Build one project twice for one interpreter and try the wheel."""
    row = Row(project.requirement, project.family, python)
    plain = image or (musllinux_image() if project.family == "musllinux" else manylinux_image())
    try:
        with own_image(plain) as name:
            row.first, _ = build(project, python, name, wheels / "first")
            row.second, report = build(project, python, name, wheels / "second")
    except BuildError as error:
        row.detail = str(error)
        return row
    wheel = Path(report["path"])
    row.wheel, row.policy, row.grafted = wheel.name, report["policy"], grafted_libraries(wheel)
    row.auditwheel = auditwheel_policy(wheel)
    row.works, row.detail = try_wheel(wheel, project, python, plain, named=image is not None)
    return row


@contextmanager
def own_image(plain: str) -> Iterator[str]:
    """The same image under a name and an identity of its own, and in the end nothing of it or made from it."""
    from portable_backend.strategies.container.images import CACHES, volume_name

    identity = uuid.uuid4().hex[:12]
    name = f"portable-backend-test/real-{identity}"
    container = docker("create", plain, "true")
    docker("commit", "--change", f"LABEL portable-backend-test.real={identity}", container, name)
    docker("rm", "-v", container)
    arch = docker("image", "inspect", "-f", "{{.Architecture}}", name)
    try:
        yield name
    finally:
        kept = docker("image", "ls", "-q", "--no-trunc", "--filter", f"label=portable-backend.of={name}").split()
        for image in (*dict.fromkeys(kept), name):
            docker("image", "rm", "-f", image)
        drop_volumes({volume_name(kind, name, arch) for kind in CACHES})


def drop_volumes(names: set[str]) -> None:
    """Remove those that there are; a build that was interrupted may let go of them a moment later."""
    for _ in range(20):
        left = names.intersection(docker("volume", "ls", "-q").split())
        if not left:
            return
        subprocess.run(["docker", "volume", "rm", *left], capture_output=True, check=False)
        time.sleep(0.5)
    print(f"these volumes are still in use: {' '.join(sorted(left))}", file=sys.stderr)


def docker(*arguments: str) -> str:
    """Run a command of the engine's and return what it prints."""
    done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def build(project: Project, python: str, image: str, directory: Path) -> tuple[float, dict[str, str]]:
    """Build into a directory; the seconds it took, and the verdict on the wheel."""
    command = [sys.executable, "-m", "portable_backend.cli", "build", project.requirement, "-w", str(directory)]
    command += ["--strategy", "container", "--python", python, "--json"]
    command += ["-C", f"portable-backend.container.image={image}"]
    if project.before_all:
        command += ["-C", f"portable-backend.container.before-all={project.before_all}"]
    if project.target:
        command += ["--target", project.target]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = round(time.perf_counter() - begin, 1)
    if done.returncode:
        raise BuildError(f"exit status {done.returncode}\n{done.stderr.strip()[-2000:]}")
    return seconds, json.loads(done.stdout)


def grafted_libraries(wheel: Path) -> list[str]:
    """The libraries that a repair put into the wheel, without the digests in their names."""
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if re.match(r"[^/]+\.libs/.+", name)]
    return sorted(re.sub(r"-[0-9a-f]{8}(?=\.)", "", name.rpartition("/")[2]) for name in members)


def auditwheel_policy(wheel: Path) -> str:
    """What auditwheel says the wheel is."""
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return str(json.loads(done.stdout)["overall_tag"]) if done.returncode == 0 else "-"


def try_wheel(wheel: Path, project: Project, python: str, plain: str, named: bool) -> tuple[str, str]:
    """Use the wheel in a container that has none of the libraries it was built with.

    :param plain: the image it was built in, as it was before ``before-all``.
    :param named: whether that is an image of the user's, whose age is not known.
    :returns: ``ok``, or ``failed`` with the reason.
    """
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch, "site")
        # pip holds tags against wheels for other machines, too: one that none of these accept is not installed.
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), "--only-binary", ":all:"]
        command += ["--implementation", "cp", "--python-version", python, str(wheel), *project.needs]
        for platform in platforms(project.family):
            command += ["--platform", platform]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return "failed", done.stderr.strip()[-2000:]
        where, executable = plain, f"/opt/python/cp{python.replace('.', '')}-cp{python.replace('.', '')}/bin/python"
        if (project.family, python, named) == ("manylinux", "3.11", False):
            where, executable = bare_image("bullseye"), "python3"
        try:
            run_in(where, site, project.use, executable)
        except AssertionError as error:
            return "failed", str(error).strip()[-2000:]
    return "ok", ""


def platforms(family: str) -> list[str]:
    """Platform tags that such an image installs, the newest first."""
    if family == "musllinux":
        return ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"]
    return [*(f"manylinux_2_{minor}_x86_64" for minor in range(31, 16, -1)), "manylinux2014_x86_64"]


def chosen_projects(options: argparse.Namespace) -> list[Project]:
    """What the command line asks for: of the table, or one that is not in it."""
    if options.project is None:
        return [each for each in PROJECTS if not options.only or each.name in options.only]
    name = options.project.partition("==")[0]
    use = options.use or f"import {name.replace('-', '_')}"
    return [Project(options.project, options.family, use, options.before_all, tuple(options.needs))]


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("project", metavar="NAME==VERSION", nargs="?", help="one that is not in the table")
    parser.add_argument("--only", metavar="NAME", action="append", default=[], help="of the table; repeatable")
    parser.add_argument("--python", metavar="X.Y", action="append", help=f"default: {' and '.join(PYTHONS)}")
    parser.add_argument("--image", metavar="REFERENCE", help="to build and try in (default: made here)")
    parser.add_argument("--family", choices=("manylinux", "musllinux"), default="manylinux")
    parser.add_argument("--before-all", metavar="COMMAND", default="", help="what a project beside the table needs")
    parser.add_argument("--needs", metavar="REQUIREMENT", action="append", default=[], help="at run time; repeatable")
    parser.add_argument("--use", metavar="CODE", help="Python code to try the wheel with (default: import it)")
    parser.add_argument("--wheels", metavar="DIR", type=Path, help="leave the wheels here")
    parser.add_argument("--json", metavar="FILE", type=Path)
    return parser.parse_args()


def print_row(row: Row) -> None:
    """One line, and what goes with it below."""
    agrees = "yes" if row.auditwheel == row.policy != "-" else row.auditwheel
    numbers = f"{row.first:6.1f} {row.second:6.1f}  {row.policy:22} {len(row.grafted):7}"
    print(f"{row.project:20} {row.family:10} {row.python:6} {numbers}  {agrees:10} {row.works}", flush=True)
    for text in filter(None, (" ".join(row.grafted), row.detail)):
        print("    " + text.replace("\n", "\n    "), flush=True)


def main() -> int:
    """Parse, build, print."""
    options = parse_options()
    rows = []
    columns = f"{'first':>6} {'second':>6}  {'policy':22} {'grafted':>7}  {'auditwheel':10} works"
    print(f"{'project':20} {'image':10} {'python':6} {columns}")
    with tempfile.TemporaryDirectory() as scratch:
        for project in chosen_projects(options):
            for python in options.python or PYTHONS:
                try:
                    row = examine(project, python, options.image, options.wheels or Path(scratch))
                except (pytest.skip.Exception, pytest.fail.Exception) as missing:
                    print(f"no image: {missing}", file=sys.stderr)
                    return 1
                rows.append(row)
                print_row(row)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    good = sum(row.good for row in rows)
    print(f"{good} of {len(rows)} built twice, confirmed and used")
    return 0 if rows and good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
