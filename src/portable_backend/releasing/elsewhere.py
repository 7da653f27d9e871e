"""Trying a wheel that this machine cannot load: in a container of its target's image.

The wheel, the files of the tests and :mod:`.inside` go in as one tar on standard input; what the tests print comes out
as standard error, and what came of them as JSON on standard output. Without an engine, or without the image, nothing is
tried, and nothing is said to have passed.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ..errors import PortableBackendError, StrategyBlocked, TrialFailed
from ..settings import ContainerSettings, TrialSettings
from ..signs import pass_on
from .trials import IMPORT, TOLD_LINES, Module, Tried, Wanted, copy_sources, done, filled

if TYPE_CHECKING:
    from ..pipeline import Build
    from ..strategies.container.engine import ContainerSpec, Engine

Progress = Callable[[str], None]

BASE = "/portable-backend-trial"
_INSIDE = Path(__file__).with_name("inside.py")
_START = """
python=/opt/python/$1/bin/python
[ -x "$python" ] || python=$(command -v "$2") || { echo "the image has no interpreter $1" >&2; exit 97; }
exec "$python" -u -B -c "$3" "$4"
"""
_BOOT = """
import io, runpy, sys, tarfile
stdin = sys.stdin.buffer
size = int.from_bytes(stdin.read(8), "big")
with tarfile.open(fileobj=io.BytesIO(stdin.read(size))) as archive:
    archive.extractall(sys.argv[1], **({"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}))
runpy.run_path(sys.argv[1] + "/inside.py", run_name="__main__")
"""


def try_in_container(
    build: Build,
    source: Path,
    wheel: Path,
    what: Wanted,
    requirements: Sequence[str],
    modules: Sequence[Module],
    reason: str,
    progress: Progress,
) -> Tried:
    """Try a wheel in a container, or say why that is not possible.

    :param reason: why it cannot be tried on this machine.
    :raises TrialFailed: if the wheel does not pass.
    """
    from ..strategies.container.engine import RUN_LABEL, find_engine
    from ..strategies.container.guard import guarded

    run = uuid.uuid4().hex
    try:
        engine = find_engine((build.settings.container or ContainerSettings()).engine)
        spec, reference = _spec(build, engine, {RUN_LABEL: run})
        progress(f"{reason}: trying {wheel.name} in a container of {reference}")
        with guarded(engine, run):
            answer, words = _run(engine, spec, _luggage(source, wheel, what, requirements, modules))
    except StrategyBlocked as error:
        why = error.message.splitlines()[0]
        progress(f"not tried: {reason}, and no container: {why}")
        return Tried("not run", f"{reason}; {why}")
    if answer is None:
        return Tried("not run", f"{reason}; {words[-1] if words else 'the container ended without a word'}")
    _require(answer, wheel, modules)
    return Tried("passed", f"{done(modules, what)} in {reference}")


def _spec(build: Build, engine: Engine, labels: Mapping[str, str]) -> tuple[ContainerSpec, str]:
    """What to start, and the image's name.

    :raises StrategyBlocked: if the image is not there, or is for another architecture.
    """
    from ..strategies.container.engine import ContainerSpec
    from ..strategies.container.images import choose_image, fits_arch, interpreter_names
    from ..strategies.container.luggage import read_carried

    target = build.plan.target
    try:
        reference, _ = choose_image(target, build.settings.container or ContainerSettings())
    except PortableBackendError as error:
        raise StrategyBlocked(error.message) from None
    image = engine.find_image(reference)
    if image is None:
        raise StrategyBlocked(f"the image {reference} is not on this engine", f"{engine.command} pull {reference}")
    if target is not None and not fits_arch(image.arch, target.arch):
        raise StrategyBlocked(f"the image {reference} is for {image.arch}")
    command = ("/bin/sh", "-c", _START, "portable-backend", *interpreter_names(build.interpreter), _BOOT, BASE)
    environ = read_carried(f"{BASE}/carried").environ
    return ContainerSpec(image=image.id, command=command, labels=labels, environ=environ, scratch=(BASE,)), reference


def _luggage(source: Path, wheel: Path, what: Wanted, requirements: Sequence[str], modules: Sequence[Module]) -> bytes:
    from ..strategies.container.luggage import read_carried

    settings = what.settings or TrialSettings()
    inside = f"{BASE}/wheel/{wheel.name}"
    job = {
        "wheel": inside,
        "requirements": [f"{requirements[0]} @ {Path(inside).as_uri()}", *requirements[1:]],
        "modules": [[module.name, *module.files] for module in modules],
        "import": IMPORT,
        "commands": [filled(command, f"{BASE}/project", inside) for command in settings.command],
        "environment": dict(settings.environment),
        "timeout": what.timeout,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive, tempfile.TemporaryDirectory() as scratch:
        for name, content in {"inside.py": _INSIDE.read_bytes(), "job.json": json.dumps(job).encode()}.items():
            _add(archive, name, content)
        for name, content in read_carried(f"{BASE}/carried").files.items():
            _add(archive, f"carried/{name}", content)
        archive.add(wheel, f"wheel/{wheel.name}")
        copy_sources(source, settings.sources, Path(scratch))
        archive.add(scratch, "work")
        if any(re.search(r"(?<!\$)\{(project|package)\}", command) for command in settings.command):
            archive.add(source, "project", filter=lambda each: None if each.name == "project/.git" else each)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _run(engine: Engine, spec: ContainerSpec, luggage: bytes) -> tuple[Optional[dict[str, Any]], list[str]]:
    """What came of it, ``None`` if the container did not say; and the last lines that were printed.

    :raises StrategyBlocked: if the container cannot be run.
    """
    out, words = b"", b""
    with engine.start(spec) as connection:
        with contextlib.suppress(StrategyBlocked):  # it ended already, and says why
            connection.send(len(luggage).to_bytes(8, "big") + luggage)
            connection.end_input()
        while (piece := connection.receive()) is not None:
            stream, data = piece
            if stream == 1:
                out += data
            else:
                words = (words + data)[-(1 << 16) :]
                pass_on(data.decode("utf-8", "replace"))
    lines = [line for line in words.decode("utf-8", "replace").splitlines() if line.strip()]
    try:
        answer = json.loads(out)
    except ValueError:
        return None, lines
    return (answer if isinstance(answer, dict) else None), lines


def _require(answer: Mapping[str, Any], wheel: Path, modules: Sequence[Module]) -> None:
    """See that all went well inside.

    :raises TrialFailed: if not.
    """
    lines = [f"    {line[:300]}" for line in answer["lines"][-TOLD_LINES:]]
    if answer["failed"] == "install":
        message = f"{wheel.name} cannot be installed with what its tests require:"
        raise TrialFailed("\n".join([message, *lines]), "see to its dependencies and test.requires")
    if answer["failed"] == "import":
        head = f"{len(lines)} of {len(modules)} extension modules cannot be imported"
        raise TrialFailed("\n".join([head, *lines]))
    if answer["failed"]:
        raise TrialFailed("\n".join([f"the test of {wheel.name} failed: {answer['failed']}", *lines]))
