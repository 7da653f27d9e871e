"""Engines behind a program: podman, or docker where the docker package is missing or cannot reach the engine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Optional

from .dial import STDERR, STDOUT
from .engine_base import (
    ABANDONED,
    CACHE_LABEL,
    CLIENT_LABEL,
    ENDED,
    KEPT_NAME,
    NAME,
    PING_REMOTE,
    PROGRESS_EVERY,
    REMOVAL,
    RUN_LABEL,
    VOLUME_LABELS,
    CacheItem,
    Connection,
    ContainerSpec,
    EngineError,
    Image,
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
from .engine_failures import Beginning, explain_failure, explain_lost, explain_pull, reason_of

_CHUNK = 1 << 16
# Variables that tell the programs which engine to use, and how.
_STEERING = re.compile("DOCKER_|CONTAINERS_|CONTAINER_(HOST|SSHKEY|CONNECTION)$")


class CommandEngine:
    """An engine behind a program: podman, or docker.

    :param program: path of the program.
    :param options: that come before any command of it.
    :param environ: variables for it.
    """

    def __init__(
        self, program: str, options: Sequence[str] = (), environ: Optional[Mapping[str, str]] = None, version: str = ""
    ) -> None:
        self._program = program
        self._options = tuple(options)
        self._environ = dict(os.environ if environ is None else environ)
        name = os.path.basename(program)
        self._podman = name.startswith("podman")
        self.command = " ".join([name, *options])
        known = json.loads(version) if version else self._ask_version()
        self.arch = known["arch"]
        self.description = f"{name} {known['version']} (the command {program})"
        passed = {each: value for each, value in self._environ.items() if _STEERING.match(each)}
        self.address: dict[str, Any] = {
            "command": program,
            "options": list(options),
            "environ": passed,
            "version": json.dumps(known),
        }

    def _ask_version(self) -> dict[str, str]:
        self.description = self.command
        if self._podman:
            # "podman info" would tell the architecture of a remote one, and takes long.
            text = self._run(
                "answer", "version", "--format", "{{.Client.Version}} {{.Client.OsArch}}", timeout=PING_REMOTE
            )
        else:
            form = "{{.Server.Version}} {{.Server.Os}}/{{.Server.Arch}}"
            text = self._run("answer", "version", "--format", form, timeout=PING_REMOTE)
        version, _, machine = text.strip().partition(" ")
        return {"version": version, "arch": machine.partition("/")[2]}

    def _run(self, action: str, *arguments: str, timeout: Optional[float] = None) -> str:
        """Run the program; what it prints.

        :raises EngineError: if it fails.
        """
        done = self._do(*arguments, timeout=timeout)
        if done.returncode:
            raise explain_failure(self.description, action, done.stderr)
        return done.stdout

    def _do(self, *arguments: str, timeout: Optional[float] = None) -> subprocess.CompletedProcess[str]:
        command = [self._program, *self._options, *arguments]
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=self._environ,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"{self.command} does not answer: it takes too long", "see whether it works") from None
        except OSError as error:
            raise EngineError(f"{self._program} cannot be run: {reason_of(error)}", "install it again") from None

    def find_image(self, reference: str) -> Optional[Image]:
        """A local image, ``None`` if there is none."""
        done = self._do("image", "inspect", reference)
        if done.returncode:
            if re.search("no such (image|object)|not known|unable to find", done.stderr, re.IGNORECASE):
                return None
            raise explain_failure(self.description, f"look for the image {reference}", done.stderr)
        return parse_image(json.loads(done.stdout)[0])

    def pull(self, reference: str, platform: Optional[str], progress: Callable[[str], None]) -> Image:
        """Bring an image from its registry. The programs do not say how many bytes there are to come.

        :raises EngineError: if that fails.
        """
        begin = said = time.monotonic()
        command = [self._program, *self._options, "pull", *(["--platform", platform] if platform else []), reference]
        last: list[str] = []
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._environ,
        ) as process:
            try:
                for line in process.stdout or ():
                    last = [*last[-5:], line]
                    if time.monotonic() - said >= PROGRESS_EVERY:
                        said = time.monotonic()
                        progress(f"pulling {reference}: {said - begin:.0f} s, {line.strip()[:100]}")
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise explain_pull(self.command, reference, platform, "".join(last))
        image = self.find_image(reference)
        if image is None:
            raise explain_pull(self.command, reference, platform, "the engine says that it has it, and has not")
        return image

    def start(self, spec: ContainerSpec) -> Connection:
        """Start a container.

        :raises EngineError: if that fails.
        """
        action = f"start a container of {spec.image}"
        for volume in spec.volumes:
            self._make_volume(volume, spec.volume_labels)
        name = f"{NAME}{uuid.uuid4().hex[:12]}"
        try:
            container = self._run(action, *_create_arguments(spec, name)).strip().rpartition("\n")[2]
            return CommandConnection(self, container, name, self._attach(container))
        except BaseException:
            self.discard(name)
            raise

    def _make_volume(self, name: str, more: Mapping[str, str]) -> None:
        if self._do("volume", "inspect", name).returncode:
            labels = [f"--label={label}={value}" for label, value in {**more, **VOLUME_LABELS}.items()]
            done = self._do("volume", "create", *labels, name)
            # Another build may have made it in the meantime.
            if done.returncode and self._do("volume", "inspect", name).returncode:
                raise explain_failure(self.description, f"make the volume {name}", done.stderr)

    def _attach(self, container: str) -> subprocess.Popen[bytes]:
        """Start a container that was created. In a session of its own: a Ctrl-C is for us, and is not passed on."""
        return subprocess.Popen(
            [self._program, *self._options, "start", "--attach", "--interactive", container],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=self._environ,
            start_new_session=True,
        )

    def commit(self, container: str, repository: str, tag: str, labels: Mapping[str, str]) -> str:
        """Make an image of a container's files; its id. Where the tag is taken by then, whoever took it keeps it."""
        changes = [f"--change={change}" for change in label_instructions(committed_labels(labels), self._podman)]
        form = ["--format=docker"] if self._podman else []
        action, own = "make an image of the container", f"{repository}:{unfinished_tag(tag)}"
        made = self._run(action, "commit", *form, *changes, container, own).strip().rpartition("\n")[2]
        # An image that loses its last name is removed, so the loser of a race leaves nothing.
        if self.find_image(f"{repository}:{tag}") is None:
            self._run(action, "tag", made, f"{repository}:{tag}")
        self._run(action, "image", "rm", own)
        return made

    def disconnect(self, container: str) -> None:
        """Take away every network of a running container.

        :raises EngineError: if this engine cannot.
        """
        action = "take the network from the container"
        for network in networks_of(self._inspect([container])[0]):
            self._run(action, "network", "disconnect", network, container)
        if not is_disconnected(self._inspect([container])[0]):
            raise explain_failure(self.description, action, "the container still has one")

    def _inspect(self, containers: Sequence[str]) -> list[dict[str, Any]]:
        """What is known of containers. Those that are gone in the meantime are left out."""
        done = self._do("container", "inspect", *containers)
        try:
            found = list(json.loads(done.stdout))
        except ValueError:
            found = []
        if not found and not re.search("no such container", done.stderr, re.IGNORECASE):
            raise explain_failure(self.description, "say how a container is", done.stderr)
        return found

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        self._run("rename the container", "rename", container, name)

    def remove(self, labels: Mapping[str, str]) -> int:
        """Remove all containers that carry these labels; how many."""
        return sum(self._remove_one(each) for each in self._list(labels))

    def _list(self, labels: Mapping[str, Optional[str]]) -> list[str]:
        wanted = [f"label={name}" if value is None else f"label={name}={value}" for name, value in labels.items()]
        filters = [f"--filter={each}" for each in wanted]
        return self._run("list containers", "ps", "--all", "--quiet", "--no-trunc", *filters).split()

    def sweep(self) -> int:
        """Remove what a crash left behind; how many."""
        old = time.time() - ABANDONED
        found = self._list({RUN_LABEL: None})
        return sum(
            self._remove_one(each["Id"])
            for each in (self._inspect(found) if found else ())
            if str((each.get("State") or {}).get("Status", "")).lower() in ENDED
            and (parse_moment(each.get("Created")) or old) < old
            and is_abandoned((each.get("Config") or {}).get("Labels") or {}, [str(each.get("Name", ""))])
        )

    def _remove_one(self, container: str) -> int:
        """Remove a container by id or name; 1, or 0 if there is none. Waits for a removal that goes on already."""
        until = time.monotonic() + REMOVAL
        while True:
            # podman would ask the process to end, and wait for ten seconds.
            hurry = ["--time=0"] if self._podman else []
            done = self._do("rm", "--force", "--volumes", *hurry, container)
            if re.search("no such container|no container with", done.stderr, re.IGNORECASE):
                return 0
            if done.returncode == 0:
                return 1
            if "in progress" not in done.stderr or time.monotonic() > until:
                raise explain_failure(self.description, "remove the container", done.stderr)
            time.sleep(0.1)

    def discard(self, container: str) -> None:
        """Remove a container, if it can be had without an error."""
        with contextlib.suppress(EngineError):
            self._remove_one(container)

    def kept(self) -> list[CacheItem]:
        """Images and volumes that were kept for later builds. How large a volume is, the programs do not say."""
        action = "list what it holds"
        found = []
        images = self._run(action, "images", "--quiet", "--no-trunc", f"--filter=label={CACHE_LABEL}").split()
        if images:
            for data in json.loads(self._run(action, "image", "inspect", *dict.fromkeys(images))):
                name = next(iter(data.get("RepoTags") or ()), data["Id"])
                item = CacheItem(
                    "image",
                    name,
                    data.get("Size"),
                    parse_moment(data.get("Created")),
                    describe(parse_image(data).labels),
                )
                found.append(item)
        volumes = self._run(action, "volume", "ls", "--quiet", f"--filter=label={CACHE_LABEL}").split()
        if volumes:
            for data in json.loads(self._run(action, "volume", "inspect", *volumes)):
                detail = describe(data.get("Labels") or {})
                found.append(CacheItem("volume", data["Name"], None, parse_moment(data.get("CreatedAt")), detail))
        return found

    def drop(self, item: CacheItem) -> None:
        """Remove one of :meth:`kept`."""
        arguments = ["image", "rm", "--force"] if item.kind == "image" else ["volume", "rm"]
        done = self._do(*arguments, item.name)
        if done.returncode and not re.search("no such|not known", done.stderr, re.IGNORECASE):
            raise explain_failure(self.description, f"remove the {item.kind} {item.name}", done.stderr)


def _create_arguments(spec: ContainerSpec, name: str) -> list[str]:
    arguments = ["create", "--interactive", "--pull=never", "--user=0:0", f"--name={name}"]
    arguments += [] if spec.keep else ["--rm"]
    arguments += [] if spec.network else ["--network=none"]
    arguments += [f"--platform={spec.platform}"] if spec.platform else []
    labels = {CLIENT_LABEL: client_label(), **spec.labels}
    arguments += [f"--label={label}={value}" for label, value in labels.items()]
    arguments += [f"--env={variable}={value}" for variable, value in spec.environ.items()]
    arguments += [f"--mount=type=volume,source={volume},target={target}" for volume, target in spec.volumes.items()]
    arguments += [f"--mount=type=volume,target={target}" for target in spec.scratch]
    return [*arguments, spec.image, *spec.command]


class CommandConnection:
    """A container that a program has started and is attached to. If we die, the program's input ends, and so does the
    container's."""

    def __init__(self, engine: CommandEngine, container: str, name: str, process: subprocess.Popen[bytes]) -> None:
        self.container = container
        self._engine = engine
        self._name = name
        self._kept = False
        self._begin = Beginning(engine.description)
        self._process = process
        self._poll = select.poll()
        self._open: dict[int, tuple[int, IO[bytes]]] = {}
        for stream, pipe in ((STDOUT, process.stdout), (STDERR, process.stderr)):
            assert pipe is not None
            self._open[pipe.fileno()] = (stream, pipe)
            self._poll.register(pipe, select.POLLIN)

    def __enter__(self) -> CommandConnection:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        # A thread that is in send() or receive() sees the end when the program ends; only then pipes may be closed.
        self._process.kill()
        self._process.wait()
        if not self._kept:
            self._engine.discard(self.container)

    def send(self, data: bytes) -> None:
        """Write to its standard input."""
        assert self._process.stdin is not None
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._process.stdin.fileno(), view[:_CHUNK]) :]
        except (OSError, ValueError) as error:
            raise explain_lost(self._engine.description, error) from None

    def end_input(self) -> None:
        """Let it see the end of its standard input."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def receive(self) -> Optional[tuple[int, bytes]]:
        """The next piece of its standard output (1) or error (2); ``None`` at the end."""
        while self._open:
            for number, _ in self._poll.poll():
                data = os.read(number, _CHUNK)
                if data:
                    return self._begin.watch((self._open[number][0], data))
                self._poll.unregister(number)
                del self._open[number]
        self._begin.watch(None)
        if self._begin.text is not None and self._process.wait():
            self._check_start(self._begin.text.decode("utf-8", "replace"))
        return None

    def _check_start(self, text: str) -> None:
        """Tell the program's own words from the container's, where there were no others.

        A warning about something else may come before them.
        """
        if re.search(r"^(Error response from daemon|Error|time=\S+ level=\w+ msg=\S+): ", text, re.IGNORECASE | re.M):
            raise explain_failure(self._engine.description, "start the container", text)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait()

    def keep(self) -> str:
        """Leave the container alone from now on; its name."""
        name = f"{KEPT_NAME}{self._name[len(NAME) :]}"
        self._engine.rename(self.container, name)
        self._kept = True
        return name
