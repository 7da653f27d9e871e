"""Container engines: which one there is, and what a build asks of it.

Two kinds. :class:`SocketEngine` speaks to docker's API, and to podman's imitation of it, through the docker package;
this is the only module that imports that, and only when it is needed. :class:`.CommandEngine` runs ``podman`` or
``docker``, where there is no socket or no package.

Containers, images and volumes of ours carry labels, by which they are found again.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Optional
from urllib.parse import quote

from ...errors import StrategyBlocked
from . import dial
from .dial import Endpoint, HttpError, Tls
from .engine_base import (
    ABANDONED,
    CACHE_LABEL,
    CLIENT_LABEL,
    ENDED,
    IMAGE_LABELS,
    KEPT_NAME,
    NAME,
    PING,
    PING_REMOTE,
    PROGRESS_EVERY,
    REMOVAL,
    RUN_LABEL,
    VOLUME_LABELS,
    CacheItem,
    CannotRun,
    Connection,
    ContainerSpec,
    Engine,
    EngineError,
    Image,
    OutputLost,
    client_label,
    committed_labels,
    describe,
    is_abandoned,
    is_disconnected,
    label_instructions,
    networks_of,
    parse_image,
    parse_moment,
    unfinished_tag,
)
from .engine_command import CommandEngine
from .engine_failures import (
    ENGINE_LOST,
    Beginning,
    explain_failure,
    explain_lost,
    explain_pull,
    explain_unreachable,
    innermost,
)

__all__ = [
    "CACHE_LABEL",
    "CLIENT_LABEL",
    "IMAGE_LABELS",
    "RUN_LABEL",
    "VOLUME_LABELS",
    "CacheItem",
    "CannotRun",
    "CommandEngine",
    "Connection",
    "ContainerSpec",
    "Engine",
    "EngineError",
    "Image",
    "OutputLost",
    "SocketEngine",
    "client_label",
    "find_engine",
    "open_engine",
]

# Seconds for work that an engine does on disk.
_WORK = 300.0
# API versions between which nothing that is used here differs; the newest docker still speaks the upper one.
_OLDEST_API, _NEWEST_API = (1, 40), (1, 44)


class SocketEngine:
    """An engine that speaks docker's API.

    :param program: docker or podman.
    :param version: the engine's.
    :param api: version of the API to speak.
    """

    def __init__(self, endpoint: Endpoint, program: str, version: str, api: str, arch: str, command: str) -> None:
        self.description = f"{program} {version} at {endpoint.host}"
        self.command = command
        self.arch = arch
        self.address: dict[str, Any] = {
            "endpoint": endpoint.to_json(),
            "program": program,
            "version": version,
            "api": api,
            "arch": arch,
            "command": command,
        }
        self._endpoint = endpoint
        self._podman = program == "podman"
        self._api = api
        self._made: dict[Optional[float], Any] = {}

    def _client(self, timeout: Optional[float] = _WORK) -> Any:
        """The docker package's client."""
        if timeout not in self._made:
            docker = _import_docker()
            if docker is None:
                raise EngineError("the Python package docker is missing", "install docker 7 or newer")
            tls = self._endpoint.tls
            config = False
            if tls is not None:
                files = (tls.cert, tls.key) if tls.cert else None
                config = docker.tls.TLSConfig(client_cert=files, ca_cert=tls.ca, verify=tls.verify)
            client = docker.APIClient(
                base_url=self._endpoint.host, version=self._api, timeout=timeout, tls=config, use_ssh_client=True
            )
            client.trust_env = False  # a proxy, or another certificate store, is for the web and not for the engine
            self._made[timeout] = client
        return self._made[timeout]

    @contextmanager
    def _asked(self, action: str) -> Iterator[None]:
        """Turn whatever comes out of the docker package into one of our errors."""
        try:
            yield
        except StrategyBlocked:
            raise
        except HttpError as error:
            raise explain_failure(self.description, action, error.message) from None
        except Exception as error:
            said = getattr(error, "explanation", None)  # of docker.errors.APIError, which is an OSError, too
            if said is not None:
                raise explain_failure(self.description, action, _text(said)) from None
            if isinstance(error, (OSError, http.client.HTTPException)):
                raise OutputLost(f"{self.description} cannot {action}: {innermost(error)}", ENGINE_LOST) from None
            if type(error).__module__.partition(".")[0] in {"docker", "urllib3", "requests"}:
                raise explain_failure(self.description, action, str(error)) from None
            raise

    def find_image(self, reference: str) -> Optional[Image]:
        """A local image, ``None`` if there is none."""
        with self._asked(f"look for the image {reference}"):
            client = self._client()
            try:
                return parse_image(client.inspect_image(reference))
            except _import_docker().errors.NotFound:
                return None

    def pull(self, reference: str, platform: Optional[str], progress: Callable[[str], None]) -> Image:
        """Bring an image from its registry.

        :raises EngineError: if that fails.
        """
        shown = _PullProgress(reference, progress)
        try:
            for event in self._client(None).pull(reference, stream=True, decode=True, platform=platform):
                if event.get("error"):
                    raise explain_pull(self.command, reference, platform, str(event["error"]))
                shown.add(event)
        except StrategyBlocked:
            raise
        except Exception as error:
            text = getattr(error, "explanation", None) or innermost(error)
            raise explain_pull(self.command, reference, platform, _text(text)) from None
        image = self.find_image(reference)
        if image is None:
            raise explain_pull(self.command, reference, platform, "the engine says that it has it, and has not")
        return image

    def start(self, spec: ContainerSpec) -> Connection:
        """Start a container.

        :raises EngineError: if that fails.
        """
        name = f"{NAME}{uuid.uuid4().hex[:12]}"
        with contextlib.ExitStack() as undo, self._asked(f"start a container of {spec.image}"):
            client = self._client()
            for volume in spec.volumes:
                client.create_volume(volume, labels={**spec.volume_labels, **VOLUME_LABELS})
            # By name: an interrupt may come before the answer with the id.
            undo.callback(self._remove_one, name)
            made = client.create_container_from_config(_config(spec), name, platform=spec.platform)
            container = str(made["Id"])
            connection = SocketConnection(self, container, name, spec.keep)
            undo.callback(connection.close)
            client.start(container)
            undo.pop_all()
            return connection
        raise AssertionError("unreachable")  # for the type checker: ExitStack might swallow errors

    def attach(self, container: str) -> dial.Attachment:
        """Take over the streams of a container."""
        query = "stream=1&stdin=1&stdout=1&stderr=1"
        return dial.Attachment(self._endpoint, f"/v{self._api}/containers/{container}/attach?{query}", self._ping)

    def exit_status(self, container: str, removed: bool) -> dial.Answer:
        """The exit status of a container that is about to be started, once it has ended.

        :param removed: whether the engine will remove it: that is to be waited for.
        """
        # podman, if asked to wait for the removal, forgets the status.
        condition = "removed" if removed and not self._podman else "next-exit"
        path = f"/v{self._api}/containers/{container}/wait?condition={condition}"
        return dial.Answer(self._endpoint, path, self._ping)

    @property
    def _ping(self) -> float:
        return PING_REMOTE if self._endpoint.host.startswith("ssh://") else PING

    def commit(self, container: str, repository: str, tag: str, labels: Mapping[str, str]) -> str:
        """Make an image of a container's files; its id. Where the tag is taken by then, whoever took it keeps it."""
        with self._asked("make an image of the container"):
            wanted = committed_labels(labels)
            # podman does not look at the one, docker passes the other through a parser.
            how = {"changes": label_instructions(wanted, podman=True)} if self._podman else {"conf": {"Labels": wanted}}
            client, own = self._client(None), unfinished_tag(tag)
            made = str(client.commit(container, repository, own, **how)["Id"])
            # An image that loses its last name is removed, so the loser of a race leaves nothing.
            if self.find_image(f"{repository}:{tag}") is None:
                client.tag(made, repository, tag)
            client.remove_image(f"{repository}:{own}")
            return made

    def disconnect(self, container: str) -> None:
        """Take away every network of a running container.

        :raises EngineError: if this engine cannot.
        """
        action = "take the network from the container"
        with self._asked(action):
            client = self._client()
            for network in networks_of(client.inspect_container(container)):
                client.disconnect_container_from_network(container, network)
            left = client.inspect_container(container)
        if not is_disconnected(left):
            raise explain_failure(self.description, action, "the container still has one")

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        with self._asked("rename the container"):
            self._client().rename(container, name)

    def remove(self, labels: Mapping[str, str]) -> int:
        """Remove all containers that carry these labels; how many."""
        with self._asked("remove containers"):
            return sum(self._remove_one(each["Id"]) for each in self._list(labels))

    def sweep(self) -> int:
        """Remove what a crash left behind; how many."""
        old = time.time() - ABANDONED
        with self._asked("remove containers"):
            return sum(
                self._remove_one(each["Id"])
                for each in self._list({RUN_LABEL: None})
                if each.get("State", "").lower() in ENDED
                and float(each.get("Created") or old) < old
                and is_abandoned(each.get("Labels") or {}, each.get("Names") or [])
            )

    def _list(self, labels: Mapping[str, Optional[str]]) -> list[dict[str, Any]]:
        wanted = [name if value is None else f"{name}={value}" for name, value in labels.items()]
        filters = quote(json.dumps({"label": wanted}))
        path = f"/v{self._api}/containers/json?all=1&filters={filters}"
        return list(json.loads(dial.call(self._endpoint, "GET", path, _WORK)))

    def _remove_one(self, container: str) -> int:
        """Remove a container by id or name; 1, or 0 if there is none. Waits for a removal that goes on already."""
        path = f"/v{self._api}/containers/{container}?force=1&v=1"
        if self._podman:  # it would ask the process to end, and wait for ten seconds
            with contextlib.suppress(HttpError):
                dial.call(self._endpoint, "POST", f"/v{self._api}/containers/{container}/kill?signal=KILL", _WORK)
        until = time.monotonic() + REMOVAL
        while True:
            try:
                dial.call(self._endpoint, "DELETE", path, _WORK)
                return 1
            except HttpError as error:
                if error.status == 404:
                    return 0
                if error.status not in {409, 500} or time.monotonic() > until:
                    raise
            time.sleep(0.1)

    def discard(self, container: str) -> None:
        """Remove a container, if it can be had without an error."""
        with contextlib.suppress(OSError, http.client.HTTPException, HttpError):
            self._remove_one(container)

    def kept(self) -> list[CacheItem]:
        """Images and volumes that were kept for later builds."""
        with self._asked("list what it holds"):
            client = self._client(None)
            images = client.images(filters={"label": CACHE_LABEL})
            volumes = (client.volumes(filters={"label": CACHE_LABEL}) or {}).get("Volumes") or ()
            held = client.df()
        shared = {each["Id"]: each.get("SharedSize") or 0 for each in held.get("Images") or () if "Id" in each}
        used = {each["Name"]: (each.get("UsageData") or {}).get("Size") for each in held.get("Volumes") or ()}
        found = []
        for image in images:
            name = next(iter(image.get("RepoTags") or ()), image["Id"])
            alone = max(0, int(image.get("Size") or 0) - max(0, shared.get(image["Id"], 0)))
            created, detail = parse_moment(image.get("Created")), describe(image.get("Labels") or {})
            found.append(CacheItem("image", name, alone, created, detail))
        for volume in volumes:
            known = used.get(volume["Name"])
            size = None if known is None or known < 0 else int(known)
            created, detail = parse_moment(volume.get("CreatedAt")), describe(volume.get("Labels") or {})
            found.append(CacheItem("volume", volume["Name"], size, created, detail))
        return found

    def drop(self, item: CacheItem) -> None:
        """Remove one of :meth:`kept`."""
        with self._asked(f"remove the {item.kind} {item.name}"):
            client = self._client()
            try:
                if item.kind == "image":
                    client.remove_image(item.name, force=True)
                else:
                    client.remove_volume(item.name)
            except _import_docker().errors.NotFound:
                return


class SocketConnection:
    """A container of a :class:`SocketEngine`, attached to and watched; it is started by whoever makes this."""

    def __init__(self, engine: SocketEngine, container: str, name: str, keep: bool) -> None:
        self.container = container
        self._engine = engine
        self._name = name
        self._kept = False
        self._begin = Beginning(engine.description)
        self._attached = engine.attach(container)
        try:
            self._status = engine.exit_status(container, removed=not keep)
        except BaseException:
            self._attached.close()
            raise

    def __enter__(self) -> SocketConnection:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
        if not self._kept:
            self._engine.discard(self.container)

    def close(self) -> None:
        """Hang up."""
        self._attached.close()
        self._status.close()

    def send(self, data: bytes) -> None:
        """Write to its standard input."""
        try:
            self._attached.send(data)
        except (OSError, ValueError) as error:
            raise explain_lost(self._engine.description, error) from None

    def end_input(self) -> None:
        """Let it see the end of its standard input."""
        self._attached.end_input()

    def receive(self) -> Optional[tuple[int, bytes]]:
        """The next piece of its standard output (1) or error (2); ``None`` at the end."""
        try:
            return self._begin.watch(self._attached.receive())
        except (OSError, ValueError) as error:
            raise explain_lost(self._engine.description, error) from None

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        try:
            answer = json.loads(self._status.get())
            return int(answer["StatusCode"])
        except (OSError, HttpError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise explain_lost(self._engine.description, error) from None

    def keep(self) -> str:
        """Leave the container alone from now on; its name."""
        name = f"{KEPT_NAME}{self._name[len(NAME) :]}"
        self._engine.rename(self.container, name)
        self._kept = True
        return name


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _import_docker() -> Any:
    """The docker package, ``None`` where it is missing or too old (6 breaks with requests 2.32).

    A directory of that name in the working directory imports as well, and has nothing in it.
    """
    try:
        # It has no types, and need not be installed where types are checked.
        import docker  # type: ignore[import-untyped,import-not-found,unused-ignore]

        if int(docker.__version__.partition(".")[0]) < 7 or not hasattr(docker, "APIClient"):
            return None
    except (ImportError, AttributeError, ValueError):
        return None
    return docker


def _config(spec: ContainerSpec) -> dict[str, Any]:
    """A container as docker's API wants it.

    Mounts, and not "Volumes": those would become a part of an image that is made of the container.
    """
    mounts = [{"Type": "volume", "Source": name, "Target": target} for name, target in spec.volumes.items()]
    mounts += [{"Type": "volume", "Target": target} for target in spec.scratch]
    host: dict[str, Any] = {"AutoRemove": not spec.keep, "Mounts": mounts}
    if not spec.network:
        host["NetworkMode"] = "none"
    return {
        "Image": spec.image,
        "Cmd": list(spec.command),
        # Whatever the image is for otherwise: new volumes belong to root, and before-all installs packages.
        "User": "0:0",
        "Env": [f"{name}={value}" for name, value in spec.environ.items()],
        "Labels": {CLIENT_LABEL: client_label(), **spec.labels},
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "HostConfig": host,
    }


class _PullProgress:
    """Says now and then how much of an image has come."""

    def __init__(self, reference: str, progress: Callable[[str], None]) -> None:
        self._reference = reference
        self._progress = progress
        self._said = time.monotonic()
        self._layers: dict[str, tuple[int, int]] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take note of what the engine says about a layer."""
        layer, detail = str(event.get("id", "")), event.get("progressDetail") or {}
        if event.get("status") == "Downloading" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif event.get("status") in {"Download complete", "Pull complete", "Extracting"} and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
        if time.monotonic() - self._said >= PROGRESS_EVERY and self._layers:
            self._said = time.monotonic()
            come, total = (sum(each[index] for each in self._layers.values()) / 1e6 for index in (0, 1))
            self._progress(f"pulling {self._reference}: {come:.0f} MB of {total:.0f} MB")


@dataclass(frozen=True)
class _Candidate:
    """Where an engine may be.

    :param command: what a user types for it.
    :param given: whether the user named it: no other one will do.
    """

    endpoint: Endpoint
    program: str
    command: str
    given: bool = False


def find_engine(wanted: str = "auto", environ: Mapping[str, str] = os.environ) -> Engine:
    """The engine of this machine or user.

    What the user named (DOCKER_HOST, a docker context) comes first and alone; then docker's sockets, podman's, and the
    programs.

    :param wanted: ``auto``, or ``docker`` or ``podman`` for only this one.
    :raises EngineError: if there is none that can be used, with the reason that is most worth knowing.
    """
    failures: list[EngineError] = []
    for candidate in _candidates(wanted, environ):
        try:
            return _open_candidate(candidate, environ)
        except EngineError as error:
            if candidate.given:
                raise
            failures.append(error)
    for program in ("podman", "docker"):
        path = shutil.which(program, path=environ.get("PATH"))
        # docker's command needs the socket that was just looked for, unless only the package for that was missing.
        if path and wanted in {"auto", program}:
            try:
                return CommandEngine(path, (), environ)
            except EngineError as error:
                failures.append(error)
    if failures:
        raise failures[0]
    raise _nothing_found(wanted)


def _nothing_found(wanted: str) -> EngineError:
    if wanted == "auto":
        cure = "install Docker Engine (docs.docker.com/engine/install) or podman, or name one in DOCKER_HOST"
        return EngineError("no container engine is installed: neither docker nor podman was found", cure)
    return EngineError(f"{wanted} is not installed", "install it, or leave container.engine out if another one will do")


def _candidates(wanted: str, environ: Mapping[str, str]) -> Iterator[_Candidate]:
    if wanted in {"auto", "docker"}:
        given = _given_docker(environ)
        if given is not None:
            yield given
            return
    docker, podman = dial.default_sockets(environ)
    if wanted in {"auto", "docker"}:
        for path in filter(os.path.exists, docker):
            at_default = path == docker[0]
            yield _Candidate(
                Endpoint(f"unix://{path}"), "docker", "docker" if at_default else f"docker -H unix://{path}"
            )
    if wanted in {"auto", "podman"}:
        if environ.get("CONTAINER_HOST"):
            host = environ["CONTAINER_HOST"]
            yield _Candidate(Endpoint(host), "podman", f"podman --url {host}", given=True)
        for path in filter(os.path.exists, podman):
            yield _Candidate(Endpoint(f"unix://{path}"), "podman", "podman")


def _given_docker(environ: Mapping[str, str]) -> Optional[_Candidate]:
    """What the user's variables or the user's docker context name; docker's own order of precedence."""
    host = environ.get("DOCKER_HOST")
    if host:
        tls = _environ_tls(environ)
        command = f"docker -H {host}{' --tlsverify' if tls else ''}"
        return _Candidate(Endpoint(host, tls), "docker", command, given=True)
    config = Path(
        environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".docker")
    )
    name = environ.get("DOCKER_CONTEXT") or _read_json(config / "config.json").get("currentContext")
    if not name or name == "default":
        return None
    digest = sha256(str(name).encode()).hexdigest()
    meta = _read_json(config / "contexts" / "meta" / digest / "meta.json")
    docker = (meta.get("Endpoints") or {}).get("docker") or {}
    if not docker.get("Host"):
        raise EngineError(f"there is no docker context {name}", "docker context ls tells which ones there are")
    files = {kind: config / "contexts" / "tls" / digest / "docker" / f"{kind}.pem" for kind in ("ca", "cert", "key")}
    found = {kind: str(path) for kind, path in files.items() if path.exists()}
    tls = Tls(**found, verify=not docker.get("SkipTLSVerify")) if found or docker.get("SkipTLSVerify") else None
    return _Candidate(Endpoint(docker["Host"], tls), "docker", f"docker --context {name}", given=True)


def _environ_tls(environ: Mapping[str, str]) -> Optional[Tls]:
    verify, directory = bool(environ.get("DOCKER_TLS_VERIFY")), environ.get("DOCKER_CERT_PATH")
    if not verify and not directory:
        return None
    home = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".docker")
    ca, cert, key = (os.path.join(directory or home, f"{kind}.pem") for kind in ("ca", "cert", "key"))
    return Tls(ca, cert, key, verify)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _open_candidate(candidate: _Candidate, environ: Mapping[str, str]) -> Engine:
    """An engine that answers.

    :raises EngineError: if it does not.
    """
    endpoint = candidate.endpoint
    by_ssh = endpoint.host.startswith("ssh://")
    try:
        data = json.loads(dial.call(endpoint, "GET", "/version", PING_REMOTE if by_ssh else PING))
        api = _api_version(str(data["ApiVersion"]))
    except (OSError, HttpError, http.client.HTTPException) as error:
        raise explain_unreachable(candidate.program, endpoint, error) from None
    except (ValueError, KeyError, TypeError):
        raise EngineError(f"what answers at {endpoint.host} is no container engine", "check DOCKER_HOST") from None
    parts = {str(each.get("Name")): str(each.get("Version")) for each in data.get("Components") or ()}
    program = "podman" if "Podman Engine" in parts else "docker"
    version = parts.get("Podman Engine") or str(data.get("Version", ""))
    if _import_docker() is None or (by_ssh and importlib.util.find_spec("paramiko") is None):
        return _by_command(candidate, environ)
    command = candidate.command
    if program == "podman" and command.startswith("docker") and not shutil.which("docker", path=environ.get("PATH")):
        command = f"podman --url {endpoint.host}"
    return SocketEngine(endpoint, program, version, api, str(data.get("Arch") or ""), command)


def _by_command(candidate: _Candidate, environ: Mapping[str, str]) -> Engine:
    """The same engine through the program, where the docker package is missing, or cannot do it."""
    path = shutil.which(candidate.program, path=environ.get("PATH"))
    if path is None:
        extra = "docker[ssh]" if candidate.endpoint.host.startswith("ssh://") else "docker"
        raise EngineError(
            f"{candidate.program} answers at {candidate.endpoint.host}, but neither its command nor the Python package "
            f"{extra} is here to speak to it",
            f"pip install '{extra}>=7', or install the command {candidate.program}",
        )
    return CommandEngine(path, candidate.command.split()[1:], environ)


def _api_version(newest: str) -> str:
    numbers = tuple(int(each) for each in newest.split("."))
    if numbers < _OLDEST_API:
        oldest = ".".join(map(str, _OLDEST_API))
        raise EngineError(
            f"the engine is too old: it speaks API {newest}, and {oldest} is needed", "install a newer one"
        )
    return ".".join(map(str, min(numbers, _NEWEST_API)))


def open_engine(address: Mapping[str, Any]) -> Engine:
    """The engine that an :attr:`Engine.address` names. It is not asked whether it is there."""
    if "endpoint" in address:
        return SocketEngine(
            Endpoint.from_json(address["endpoint"]),
            *(str(address[each]) for each in ("program", "version", "api", "arch", "command")),
        )
    environ = {**os.environ, **address["environ"]}
    return CommandEngine(address["command"], address["options"], environ, address["version"])
