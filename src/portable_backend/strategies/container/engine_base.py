"""What a build asks of a container engine, and what engines have in common."""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Protocol

from ...errors import StrategyBlocked

# The build that a container belongs to, the process that runs the build, and what kind of thing outlives builds.
RUN_LABEL = "portable-backend.run"
CLIENT_LABEL = "portable-backend.client"
CACHE_LABEL = "portable-backend.cache"
VOLUME_LABELS: Mapping[str, str] = {CACHE_LABEL: "volume"}
IMAGE_LABELS: Mapping[str, str] = {CACHE_LABEL: "image"}

# Names of containers, and of those that are left for somebody to look into.
NAME = "portable-backend-"
KEPT_NAME = "portable-backend-kept-"
# Words of docker and podman for containers that do not run.
ENDED = ("created", "exited", "dead", "configured", "initialized", "stopped")
# Seconds: for an answer of an engine that works, the same through ssh, for a removal that somebody else began, until
# nobody can want a container any more that has ended; and between lines about progress.
PING = 5.0
PING_REMOTE = 20.0
REMOVAL = 30.0
ABANDONED = 3600.0
PROGRESS_EVERY = 2.0
_SPECIAL, _ESCAPED = r'(["$\\])', r"\\\1"


class EngineError(StrategyBlocked):
    """The engine is missing, out of reach, or cannot do what was asked of it."""


class CannotRun(EngineError):
    """The engine's machine cannot run the image's programs."""


class OutputLost(EngineError):
    """The container's process is gone, or its streams are."""


@dataclass(frozen=True)
class Image:
    """A local image.

    :param digests: as ``quay.io/pypa/manylinux_2_28_x86_64@sha256:...``; empty for one that no registry knows.
    :param environ: variables that its containers begin with.
    :param arch: the engine's word: amd64, 386, arm64, arm, ppc64le, s390x, riscv64, loong64.
    """

    id: str
    digests: tuple[str, ...]
    environ: Mapping[str, str]
    arch: str
    labels: Mapping[str, str]
    os: str


@dataclass(frozen=True)
class ContainerSpec:
    """What to start.

    :param image: a local image, by reference or id.
    :param command: what the image's entrypoint is given; the images for 32-bit systems need theirs.
    :param environ: on top of the image's. Stays in what :meth:`Engine.commit` makes of the container.
    :param volumes: mount points by names of volumes; missing ones are made.
    :param volume_labels: for those that are made, beside :data:`VOLUME_LABELS`.
    :param scratch: mount points of nameless volumes, which go with the container.
    :param platform: as ``linux/arm64``; ``None`` for the image's own.
    :param keep: do not remove the container when its process ends, but when the connection is closed without
        :meth:`Connection.keep`.
    """

    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    environ: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    volume_labels: Mapping[str, str] = field(default_factory=dict)
    scratch: tuple[str, ...] = ()
    platform: Optional[str] = None
    network: bool = True
    keep: bool = False


@dataclass(frozen=True)
class CacheItem:
    """An image or a volume of ours.

    :param kind: ``image`` or ``volume``.
    :param name: its reference or name; an image without one is called by its id.
    :param size: bytes that nobody else uses, where the engine tells.
    :param created: seconds since 1970, where the engine tells.
    :param detail: what its labels say about it.
    """

    kind: str
    name: str
    size: Optional[int]
    created: Optional[float]
    detail: str


class Connection(Protocol):
    """A running container and the streams of its main process. One thread may receive while another one sends.

    To be used as a context manager: in the end the container is gone.
    """

    container: str

    def __enter__(self) -> Connection: ...

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None: ...

    def send(self, data: bytes) -> None:
        """Write to its standard input, all of it.

        :raises OutputLost: if it is gone.
        """

    def end_input(self) -> None:
        """Let it see the end of its standard input."""

    def receive(self) -> Optional[tuple[int, bytes]]:
        """The next piece of its standard output (1) or error (2); ``None`` at the end.

        :raises OutputLost: if the connection breaks.
        :raises EngineError: if the machine cannot run programs of this kind.
        """

    def wait(self) -> int:
        """Its exit status, once it has ended."""

    def keep(self) -> str:
        """Leave the container alone from now on; the name that it has been given."""


class Engine(Protocol):
    """A container engine.

    :param description: name, version and place of it.
    :param command: what a user types to reach it, as ``docker -H tcp://host:2375``.
    :param arch: the engine's word for its machine's architecture, as ``amd64``.
    :param address: what :func:`open_engine` takes, in this process or another.
    """

    description: str
    command: str
    arch: str
    address: dict[str, Any]

    def find_image(self, reference: str) -> Optional[Image]:
        """A local image, ``None`` if there is none."""

    def pull(self, reference: str, platform: Optional[str], progress: Callable[[str], None]) -> Image:
        """Bring an image from its registry; says now and then how far that is.

        :raises EngineError: if that fails.
        """

    def start(self, spec: ContainerSpec) -> Connection:
        """Start a container; nothing of what it says is lost.

        :raises EngineError: if that fails; nothing is left behind then.
        """

    def commit(self, container: str, repository: str, tag: str, labels: Mapping[str, str]) -> str:
        """Make an image of a container's files, volumes excepted; its id.

        Where the tag is taken by then, whoever took it keeps it, and nothing is left of the other image.
        """

    def disconnect(self, container: str) -> None:
        """Take away every network of a running container.

        :raises EngineError: if this engine cannot.
        """

    def remove(self, labels: Mapping[str, str]) -> int:
        """Remove all containers that carry these labels, running or not, and their nameless volumes; how many."""

    def sweep(self) -> int:
        """Remove containers of ours that a crash left behind: ended, or never started, and an hour old; how many."""

    def kept(self) -> list[CacheItem]:
        """Images and volumes that were kept for later builds."""

    def drop(self, item: CacheItem) -> None:
        """Remove one of :meth:`kept`."""


def client_label() -> str:
    """This process, in a form that no other one has: machine, number, and the tick that it was started at."""
    try:
        started = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = "0"
    return f"{socket.gethostname()}:{os.getpid()}:{started}"


def parse_image(data: Mapping[str, Any]) -> Image:
    config = data.get("Config") or {}
    environ = dict(each.partition("=")[::2] for each in config.get("Env") or ())
    return Image(
        id=str(data["Id"]),
        digests=tuple(data.get("RepoDigests") or ()),
        environ=environ,
        arch=str(data.get("Architecture") or ""),
        labels=dict(config.get("Labels") or data.get("Labels") or {}),
        os=str(data.get("Os") or ""),
    )


def committed_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels of an image. It inherits those of the container, which say to which build that belongs; this has ended."""
    return {RUN_LABEL: "", CLIENT_LABEL: "", **IMAGE_LABELS, **labels}


def label_instructions(labels: Mapping[str, str], podman: bool) -> list[str]:
    """The same as instructions of a Dockerfile, which end with the line.

    docker's know variables and escapes. podman's take everything as it is, quotes at the ends excepted.
    """
    lines = {name: " ".join(value.splitlines()) for name, value in labels.items()}
    if podman:
        return [f"LABEL {name}={value}" for name, value in lines.items()]
    return [f'LABEL {name}="{re.sub(_SPECIAL, _ESCAPED, value)}"' for name, value in lines.items()]


def unfinished_tag(tag: str) -> str:
    """Another tag for an image that has yet to get this one; a tag is 128 characters at most."""
    return f"{tag[:80]}-{uuid.uuid4().hex[:8]}"


def networks_of(container: Mapping[str, Any]) -> list[str]:
    return [name for name in (container.get("NetworkSettings") or {}).get("Networks") or {} if name != "none"]


def is_disconnected(container: Mapping[str, Any]) -> bool:
    """Whether nothing connects a container: neither a network of the engine's, nor a mode that is none of those."""
    mode = str((container.get("HostConfig") or {}).get("NetworkMode") or "")
    return not networks_of(container) and not mode.startswith(("host", "container", "slirp4netns", "pasta", "ns:"))


def is_abandoned(labels: Mapping[str, str], names: Sequence[str]) -> bool:
    """Whether nobody wants a container of ours that has ended. Images pass empty labels on to others' containers."""
    return bool(labels.get(RUN_LABEL)) and not any(name.lstrip("/").startswith(KEPT_NAME) for name in names)


def parse_moment(value: object) -> Optional[float]:
    """A time of the engine's: seconds, or RFC 3339 with up to nine digits of them."""
    if isinstance(value, (int, float)):
        return float(value)
    found = re.match(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d+)?\s?(Z|[+-]\d\d:?\d\d)?", str(value or ""))
    if found is None:
        return None
    zone = "+00:00" if found[3] in {None, "Z"} else f"{found[3][:3]}:{found[3][-2:]}"
    return datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}").timestamp()


def describe(labels: Mapping[str, str]) -> str:
    """What labels of ours say, those apart that are on everything."""
    prefix = CACHE_LABEL.partition(".")[0] + "."
    general = {RUN_LABEL, CLIENT_LABEL, CACHE_LABEL}
    told = {name[len(prefix) :]: value for name, value in labels.items() if name.startswith(prefix)}
    return ", ".join(
        f"{name}: {told[name]}" for name in sorted(told) if f"{prefix}{name}" not in general and told[name]
    )
