"""The container strategy: this backend, re-executed inside the manylinux or musllinux image that fits the target.

One container per build. Its main process is :mod:`portable_backend.worker`, and everything goes to it and comes from it
over one connection: there are no bind mounts, so that a remote engine does as well, and when this process ends, however
it ends, the connection does, the worker with it, and the container with the worker.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import shlex
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Optional

from ...errors import BuildFailed, PortableBackendError, StrategyBlocked
from ...settings import PREFIX, ContainerSettings, flat_values, option_name, settings_to_json
from ..base import Order
from . import images, wire

if TYPE_CHECKING:
    from ...machine import HostFacts
    from ...plan import BuildPlan
    from .client import RemoteFailure
    from .engine import Connection, ContainerSpec, Engine, Image
    from .source import Shipment

Progress = Callable[[str], None]

BASE = "/portable-backend"
CACHES = "/portable-backend-cache"
# Finds the interpreter in the image; without one it says which there are, in words that the client knows.
_START = """
python=/opt/python/$1/bin/python
if [ ! -x "$python" ]; then
  if [ -d /opt/python ]; then echo "no interpreter $1"; ls /opt/python; exit 1; fi
  python=$(command -v "$2") || { echo "no interpreter $2"; exit 1; }
fi
[ -z "$5" ] || exec "$python" -u -X "pycache_prefix=$5" -c "$3" "$4"
exec "$python" -u -B -c "$3" "$4"
"""


class ContainerStrategy:
    """Builds in a container. A remote strategy: what a repair grafts can only be found inside."""

    name = "container"

    def blocked(self, plan: BuildPlan, host: HostFacts) -> Optional[str]:
        """Only what can be known without asking an engine, which would be no pure question."""
        del plan
        if host.policy_image is not None:
            return f"this is an image for {host.policy_image} already"
        return "cibuildwheel has chosen the environment" if host.cibuildwheel else None

    def requires(self, plan: BuildPlan) -> Sequence[str]:
        """What speaks to the engine here, and what makes isolated environments there."""
        del plan
        return ("docker>=7.0", "build>=1.2")

    @contextmanager
    def built_wheel(self, order: Order, progress: Progress) -> Iterator[Path]:
        """Build, repair and judge inside; the wheel comes back as a stream, into a place of its own."""
        with _Run(order, "wheel", progress).carried_out() as (file, result):
            wheel = file.with_name(os.path.basename(str(result["name"])))
            file.rename(wheel)
            yield wheel

    def prepare_metadata(self, order: Order, directory: Path, progress: Progress) -> str:
        """Have the inner backend's metadata made inside."""
        with _Run(order, "metadata", progress).carried_out() as (file, result):
            _unpack_metadata(file, directory)
        return os.path.basename(str(result["name"]))


@dataclass(frozen=True)
class _Start:
    """Which image a container is started from.

    :param image: the reference as settings or the table have it.
    :param base: that image.
    :param start: the id of the image to start: the base, or the base with the result of ``before-all``.
    :param tag: of the result of ``before-all``; ``None`` where it is not kept.
    :param run_before_all: whether it has to be run.
    """

    image: str
    base: Image
    start: str
    tag: Optional[str]
    run_before_all: bool


class _Run:
    """One job in one container."""

    def __init__(self, order: Order, op: str, progress: Progress) -> None:
        self._order, self._op, self._progress = order, op, progress
        self._container = order.settings.container or ContainerSettings()
        self._id = uuid.uuid4().hex

    @contextmanager
    def carried_out(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Do the job; gives the file with what came back, and what the worker said of it.

        :raises PortableBackendError: what went wrong, there or here.
        """
        from .engine import find_engine
        from .guard import guarded

        engine = find_engine(self._container.engine)
        with contextlib.suppress(StrategyBlocked):
            engine.sweep()
        # The guardian knows of it before it is there, so that no moment is left to be killed in.
        scratch = Path(tempfile.gettempdir()).resolve() / f"portable-backend-{self._id}"
        with guarded(engine, self._id, [scratch]):
            scratch.mkdir(0o700)
            try:
                with (scratch / "result").open("wb") as stream:
                    result = self._carry_out(engine, stream)
                yield scratch / "result", result
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def _carry_out(self, engine: Engine, stream: IO[bytes]) -> dict[str, Any]:
        from .client import RemoteFailure, run_job
        from .engine import CannotRun
        from .luggage import pack, read_carried
        from .source import plan_shipment
        from .stream import tar_chunks

        settings = self._container
        passed = self._passed()
        shipment = plan_shipment(self._order.source, settings.root, settings.include, settings.exclude)
        start = self._choose_start(engine, passed, shipment)
        self._tell_shipment(shipment)
        carried = read_carried(f"{BASE}/carried")
        for note in carried.notes:
            self._progress(note)
        files = {f"carried/{name}": content for name, content in carried.files.items()}
        files.update(_metadata_files(self._order.metadata_directory))
        luggage = pack(files, self._order.interpreter.version[:2])
        job = self._job(shipment, {**carried.environ, **passed}, start)
        with engine.start(self._spec(start)) as connection:

            def answer(question: Mapping[str, Any]) -> Mapping[str, Any]:
                return self._answer(engine, connection, start, question)

            try:
                return run_job(connection, luggage, job, tar_chunks(shipment), stream, answer, self._progress)
            except RemoteFailure as failure:
                if failure.kept:
                    connection.keep()
                raise self._explained(failure, engine, connection, start) from None
            except CannotRun as error:
                raise CannotRun(
                    f"the image {start.image} is for {start.base.arch}: {error.message}", error.cure
                ) from None

    # --- before --------------------------------------------------------------------------------------------------

    def _passed(self) -> dict[str, str]:
        patterns = self._container.environment_pass
        return {
            name: value
            for name, value in os.environ.items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        }

    def _choose_start(self, engine: Engine, passed: Mapping[str, str], shipment: Shipment) -> _Start:
        settings, target = self._container, self._order.plan.target
        reference, why = images.choose_image(target, settings)
        self._progress(f"image {reference}: {why}; {engine.description}")
        base = self._get_image(engine, reference)
        if target is not None and not images.fits_arch(base.arch, target.arch):
            message = f"the image {reference} is for {base.arch}, the target {target} is not"
            raise StrategyBlocked(message, "name an image of the target's architecture (container.image)")
        if images.is_emulated(base.arch, engine.arch):
            self._progress(
                f"the image is for {base.arch}, the engine's machine is {engine.arch}: an emulator runs it, slowly"
            )
        if not settings.before_all:
            return _Start(reference, base, base.id, None, False)
        if not settings.cache:
            return _Start(reference, base, base.id, None, True)
        environ = {**settings.environment, **passed}
        files = _digests(settings.before_all, self._order.source, shipment.root)
        tag = images.before_all_tag(base.id, settings.before_all, environ, files)
        kept = engine.find_image(f"{images.BEFORE_ALL_REPOSITORY}:{tag}")
        if kept is not None:
            self._progress("before-all: its result is kept from an earlier build")
            return _Start(reference, base, kept.id, tag, False)
        return _Start(reference, base, base.id, tag, True)

    def _get_image(self, engine: Engine, reference: str) -> Image:
        pull, target = self._container.pull, self._order.plan.target
        found = None if pull == "always" else engine.find_image(reference)
        if found is not None:
            return found
        if pull == "never":
            message = f"the image {reference} is not on this engine, and container.pull is never"
            raise StrategyBlocked(message, f"{engine.command} pull {reference}")
        self._progress(f"pulling {reference}")
        platform = None if target is None else images.engine_platform(target.arch)
        return engine.pull(reference, platform, self._progress)

    def _tell_shipment(self, shipment: Shipment) -> None:
        left = list(shipment.left[:3])
        more = f" and {len(shipment.left) - 3} more" if len(shipment.left) > 3 else ""
        stays = f"; {', '.join(left)}{more} stay here (ignored; container.include sends them)" if left else ""
        self._progress(f"sending {len(shipment.files)} files, {shipment.size / 1e6:.1f} MB{stays}")

    def _spec(self, start: _Start) -> ContainerSpec:
        from .engine import RUN_LABEL, ContainerSpec

        arch = start.base.arch
        volumes = {}
        if self._container.cache:
            volumes = {images.volume_name(kind, start.image, arch): f"{CACHES}/{kind}" for kind in images.CACHES}
        names = images.interpreter_names(self._order.interpreter)
        return ContainerSpec(
            image=start.start,
            command=("/bin/sh", "-c", _START, "portable-backend", *names, wire.BOOT, BASE, self._bytecode(start)),
            labels={RUN_LABEL: self._id},
            volumes=volumes,
            volume_labels={"portable-backend.of": start.image},
            scratch=(BASE,),
            keep=self._container.keep_container == "on-failure",
        )

    def _bytecode(self, start: _Start) -> str:
        """Where compiled Python is kept; by image, because equal times and sizes in two images may not be one file."""
        return f"{CACHES}/pycache/{start.base.id.rpartition(':')[2][:12]}" if self._container.cache else ""

    def _job(self, shipment: Shipment, environ: Mapping[str, str], start: _Start) -> dict[str, Any]:
        order, settings = self._order, self._container
        return {
            "op": self._op,
            "settings": settings_to_json(order.settings),
            "target": None if order.plan.target is None else str(order.plan.target),
            "project": shipment.project,
            "config_settings": None if order.config_settings is None else dict(order.config_settings),
            "environ": dict(environ),
            "environment": dict(settings.environment),
            "before_all": {
                "commands": list(settings.before_all),
                "run": start.run_before_all,
                "commit": start.tag is not None,
            },
            "before_build": list(settings.before_build),
            "network": settings.network,
            "caches": settings.cache,
            "bytecode": self._bytecode(start),
            "keep": settings.keep_container == "on-failure",
        }

    # --- during --------------------------------------------------------------------------------------------------

    def _answer(
        self, engine: Engine, connection: Connection, start: _Start, question: Mapping[str, Any]
    ) -> dict[str, Any]:
        if question["ask"] == "commit" and start.tag is not None:
            from .engine import CACHE_LABEL

            labels = {CACHE_LABEL: "before-all", "portable-backend.of": start.image}
            labels["portable-backend.commands"] = " && ".join(self._container.before_all)[:500]
            try:
                engine.commit(connection.container, images.BEFORE_ALL_REPOSITORY, start.tag, labels)
            except StrategyBlocked as error:  # only the next build would have gained by it
                self._progress(f"the result of before-all is not kept: {error.message}")
        elif question["ask"] == "network-off":
            try:
                engine.disconnect(connection.container)
            except StrategyBlocked as error:
                cure = "use docker, or podman as root with a network of its own; or build with container.network = true"
                raise StrategyBlocked(f"network = false: {error.message}", cure) from None
        return {}

    # --- after ---------------------------------------------------------------------------------------------------

    def _explained(
        self, failure: RemoteFailure, engine: Engine, connection: Connection, start: _Start
    ) -> PortableBackendError:
        """The worker's error, with where it happened and how to look at it."""
        error = failure.error
        lines = [error.message, f"in a container of {start.image}, phase {failure.phase}"]
        if failure.kept:
            name = connection.container[:12]
            lines.append(f"the container goes on; enter it: {engine.command} exec -it {name} {BASE}/enter")
            lines.append(f"and remove it in the end: {engine.command} rm -f -v {name}")
        else:
            lines.append(f"to look around in the container as it failed: {self._command()}")
        return type(error)("\n  ".join(lines), error.cure)

    def _command(self) -> str:
        """The command that repeats this build, and leaves the container when it fails."""
        order = self._order
        words = ["portable-backend", "build", order.said or _place(order.source), "--strategy", "container"]
        words += ["--python", order.interpreter.short_version + ("t" if order.interpreter.free_threaded else "")]
        if order.plan.target is not None:
            words += ["--target", str(order.plan.target)]
        for name, values in (order.config_settings or {}).items():
            for value in [values] if isinstance(values, str) else values:
                words += ["-C", f"{name}={value}"]
        for name, value in flat_values(order.settings).items():
            origin = order.settings.origins.get(name)
            if origin is None or name in _SAID or order.settings.from_project(name):
                continue
            # Variables in a variable are still there for the next build, and may be secrets.
            if not (isinstance(value, Mapping) and origin.startswith("the variable")):
                words += [word for text in _texts(value) for word in ("-C", f"{PREFIX}{option_name(name)}={text}")]
        words += ["-C", f"{PREFIX}container.keep-container=on-failure"]
        return shlex.join(words)


# Settings that the command to repeat a build says anyhow.
_SAID = frozenset({"target", "strategy", "container", "container.keep_container"})
# Directories that frontends unpack an sdist to, below the one for temporary files, and remove.
_UNPACKED = ("build-via-sdist-", "pip-")


def _texts(value: object) -> list[str]:
    """A setting's value as config settings spell it."""
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, Mapping):
        return [f"{name}={text}" for name, text in value.items()]
    return [str(each) for each in value] if isinstance(value, (tuple, list)) else [str(value)]


def _place(source: Path) -> str:
    """Where the project is, for a command; a copy that will be gone is called by what it is a copy of."""
    place, temporary = source.resolve(), Path(tempfile.gettempdir()).resolve()
    gone = temporary in place.parents and place.relative_to(temporary).parts[0].startswith(_UNPACKED)
    return "." if gone else str(source)


def _digests(commands: Sequence[str], *directories: Path) -> dict[str, str]:
    """Digests of the project's files that commands name: a changed script is another ``before-all``."""
    found = {}
    for name in images.mentioned_files(commands):
        for directory in directories:
            if (directory / name).is_file():
                found[f"{directory.name}/{name}"] = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    return found


def _metadata_files(directory: Optional[str]) -> dict[str, bytes]:
    """The metadata that were prepared, for the inner backend that will be told of them."""
    if directory is None:
        return {}
    root = Path(directory)
    return {
        f"metadata/{root.name}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _unpack_metadata(file: Path, directory: Path) -> None:
    """Write the files of a tar with metadata below ``directory``; it comes from the build, so it is not trusted."""
    with tarfile.open(file) as archive:
        for member in archive:
            parts = member.name.split("/")
            if member.isdir() and ".." not in parts and not member.name.startswith("/"):
                (directory / member.name).mkdir(parents=True, exist_ok=True)
            elif member.isfile() and ".." not in parts and not member.name.startswith("/"):
                content = archive.extractfile(member)
                assert content is not None
                (directory / member.name).parent.mkdir(parents=True, exist_ok=True)
                (directory / member.name).write_bytes(content.read())
            else:
                raise BuildFailed(f"the metadata from the container hold {member.name!r}, which is no plain file")
