"""Container engines as they are: docker and podman, each through its socket and its command, docker through TLS too."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest

from portable_backend.strategies.container.engine import (
    CACHE_LABEL,
    RUN_LABEL,
    CommandEngine,
    ContainerSpec,
    Engine,
    EngineError,
    OutputLost,
    find_engine,
    open_engine,
)
from portable_backend.strategies.container.guard import guarded

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE = "portable-backend-test/box:{}"
_MEGA = 1 << 20

# The only program of the image that the containers are made of.
_BOX = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;
static char buffer[65536];

static void put(int to, const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(to, data, size);
        if (done < 0) exit(3);
        data += done;
        size -= done;
    }
}
static void drain(int from, int to, int also) {
    ssize_t size;
    while ((size = read(from, buffer, sizeof buffer)) > 0) {
        put(to, buffer, size);
        if (also) put(also, buffer, size);
    }
}
int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    if (!strcmp(what, "cat")) drain(0, 1, 0);
    if (!strcmp(what, "twice")) drain(0, 1, 2);
    if (!strcmp(what, "deaf")) { put(1, "ready\n", 6); for (;;) pause(); }
    if (!strcmp(what, "environ")) for (char **each = environ; *each; ++each) puts(*each);
    if (!strcmp(what, "show")) { int file = open(words[2], O_RDONLY); if (file < 0) return 4; drain(file, 1, 0); }
    if (!strcmp(what, "write")) {
        for (int each = 2; each < count; ++each) put(open(words[each], O_CREAT | O_WRONLY, 0644), "written", 7);
        put(1, "ready\n", 6);
        drain(0, 1, 0);
    }
    if (!strcmp(what, "network")) {
        do { int file = open("/proc/net/dev", O_RDONLY); drain(file, 1, 0); put(1, ".\n", 2); close(file); }
        while (read(0, buffer, 1) > 0);
    }
    if (!strcmp(what, "exit")) { put(1, "out", 3); put(2, "err", 3); return atoi(words[2]); }
    fflush(stdout);
    return 0;
}
"""


def _need(condition: object, reason: str) -> None:
    """Skip on a laptop, fail where nothing may be missing."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _need_podman(condition: object, reason: str) -> None:
    """Not every machine that tests has podman; those that are said to have it must."""
    if not condition and os.environ.get("TESTS_WITH_PODMAN") == "1":
        pytest.fail(reason)
    if not condition:
        pytest.skip(reason)


def _wait(condition: Callable[[], object], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.1)
    return bool(condition())


@dataclass(frozen=True)
class Lab:
    """An engine under test, and another way to look at it.

    :param client: the command that shows what the engine really holds.
    """

    engine: Engine
    client: tuple[str, ...]
    image: str
    environ: Mapping[str, str]

    def ask(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run([*self.client, *arguments], capture_output=True, text=True, env=self.environ, check=check)
        return done.stdout.strip()

    def containers(self, run: str, *options: str) -> list[str]:
        return self.ask("ps", "-a", "-q", "--no-trunc", "--filter", f"label={RUN_LABEL}={run}", *options).split()

    def spec(self, run: str, *command: str, **more: Any) -> ContainerSpec:
        return ContainerSpec(self.image, ("/box", *command), {RUN_LABEL: run, **more.pop("labels", {})}, **more)


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A static program."""
    _need(shutil.which("cc"), "needs cc")
    directory = tmp_path_factory.mktemp("box")
    (directory / "box.c").write_text(_BOX)
    subprocess.run(["cc", "-static", "-Os", "-o", "box", "box.c"], cwd=directory, check=True)
    return (directory / "box").read_bytes()


def _import_image(
    client: tuple[str, ...], environ: Mapping[str, str], files: Mapping[str, bytes], *changes: str
) -> str:
    reference = IMAGE.format(uuid.uuid4().hex[:12])
    options = [word for change in changes for word in ("--change", change)]
    command = [*client, "import", *options, "-", reference]
    subprocess.run(command, input=_tar(files), capture_output=True, check=True, env=environ)
    return reference


@contextlib.contextmanager
def _image(client: tuple[str, ...], environ: Mapping[str, str], program: bytes) -> Iterator[str]:
    reference = _import_image(client, environ, {"box": program}, "ENV FROM_IMAGE=yes", "LABEL the.label=there")
    yield reference
    subprocess.run([*client, "rmi", "-f", reference], capture_output=True, env=environ, check=False)


@pytest.fixture(scope="session")
def docker_image(box: bytes) -> Iterator[str]:
    docker = shutil.which("docker")
    _need(docker and subprocess.run(["docker", "version"], capture_output=True).returncode == 0, "no docker engine")
    with _image(("docker",), os.environ, box) as reference:
        yield reference


@pytest.fixture(scope="session")
def podman_environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """podman, with what it needs in places where there is no systemd."""
    _need_podman(shutil.which("podman"), "no podman")
    file = tmp_path_factory.mktemp("podman") / "containers.conf"
    ulimits = 'default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]'
    runtime = "runc" if shutil.which("runc") else "crun"
    file.write_text(f'[containers]\n{ulimits}\n[engine]\nruntime = "{runtime}"\ncgroup_manager = "cgroupfs"\n')
    return {**os.environ, "CONTAINERS_CONF": str(file)}


@pytest.fixture(scope="session")
def podman_image(podman_environ: dict[str, str], box: bytes) -> Iterator[str]:
    with _image(("podman",), podman_environ, box) as reference:
        yield reference


@pytest.fixture(scope="session")
def podman_socket(podman_environ: dict[str, str]) -> Iterator[str]:
    """podman's imitation of docker's API."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "podman.sock")
        command = ["podman", "system", "service", "--time=0", f"unix://{path}"]
        with subprocess.Popen(
            command, env=podman_environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as service:
            _need_podman(_wait(lambda: os.path.exists(path)), "podman has no service")
            yield path
            service.terminate()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as DOCKER_CERT_PATH wants it; the engine uses the same certificate."""
    _need(shutil.which("openssl"), "needs openssl")
    directory = tmp_path_factory.mktemp("certificates")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    extension = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *extension], cwd=directory, check=True, capture_output=True)
    shutil.copy(directory / "cert.pem", directory / "ca.pem")
    return directory


@pytest.fixture(scope="session")
def tls_port(certificates: Path) -> Iterator[int]:
    """A port where docker's socket is reached through TLS, by who has a certificate.

    What decrypts is a process of its own for each connection: OpenSSL's objects are not for two threads.
    """
    command = [sys.executable, "-c", _TLS_SERVER, str(certificates)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.terminate()


_TLS_SERVER = """
import os, select, signal, socket, ssl, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{sys.argv[1]}/cert.pem", f"{sys.argv[1]}/key.pem")
context.load_verify_locations(f"{sys.argv[1]}/ca.pem")
context.verify_mode = ssl.CERT_REQUIRED
listener = socket.create_server(("localhost", 0))
print(listener.getsockname()[1], flush=True)

def serve(outer):
    outer = context.wrap_socket(outer, server_side=True)
    inner = socket.socket(socket.AF_UNIX)
    inner.connect("/var/run/docker.sock")
    outer.setblocking(False)
    inner.setblocking(False)
    queues, ended, shut = {inner: b"", outer: b""}, set(), set()
    while len(shut) < 2:
        for source, sink in ((outer, inner), (inner, outer)):
            if source not in ended and len(queues[sink]) < 1 << 18:
                try:
                    data = source.recv(1 << 16)
                    queues[sink] += data
                    if not data:
                        ended.add(source)
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
            try:
                if queues[sink]:
                    queues[sink] = queues[sink][sink.send(queues[sink][: 1 << 16]) :]
                elif source in ended and sink not in shut:
                    shut.add(sink)
                    if sink is outer:
                        sys.exit()
                    sink.shutdown(socket.SHUT_WR)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
        readers = [each for each in (inner, outer) if each not in ended]
        writers = [each for each in (inner, outer) if queues[each]]
        select.select(readers, writers, [], 0.02)

while True:
    connection, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        try:
            serve(connection)
        finally:
            os._exit(0)
    connection.close()
"""

ENGINES = ("docker-socket", "docker-tls", "docker-command", "docker-ssh", "podman-socket", "podman-command")


@pytest.fixture(params=ENGINES)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """Every way to every engine."""
    program, _, way = request.param.partition("-")
    if program == "podman":
        environ = request.getfixturevalue("podman_environ")
        image = request.getfixturevalue("podman_image")
        path = shutil.which("podman")
        assert path is not None
        if way == "command":
            return Lab(CommandEngine(path, (), environ), ("podman",), image, environ)
        host = f"unix://{request.getfixturevalue('podman_socket')}"
        return Lab(find_engine("podman", {**environ, "CONTAINER_HOST": host}), ("podman",), image, environ)
    image = request.getfixturevalue("docker_image")
    environ = dict(os.environ)
    if way == "command":
        path = shutil.which("docker")
        assert path is not None
        return Lab(CommandEngine(path, (), environ), ("docker",), image, environ)
    reached = environ
    if way == "tls":
        port = request.getfixturevalue("tls_port")
        certificates = str(request.getfixturevalue("certificates"))
        reached = {"DOCKER_HOST": f"tcp://localhost:{port}", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": certificates}
    if way == "ssh":
        reached = _with_ssh(request, tmp_path)
    return Lab(find_engine("docker", {**environ, **reached}), ("docker",), image, environ)


def _with_ssh(request: pytest.FixtureRequest, directory: Path) -> dict[str, str]:
    """An ``ssh`` that leads to this machine: what it is asked to run there, it runs here."""
    script = directory / "ssh"
    script.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nexec env -u DOCKER_HOST sh -c "$*"\n')
    script.chmod(0o755)
    path = f"{directory}{os.pathsep}{os.environ['PATH']}"
    request.getfixturevalue("monkeypatch").setenv("PATH", path)
    return {"DOCKER_HOST": "ssh://user@elsewhere", "PATH": path}


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a run; its containers are removed in the end, if there is an engine."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    if "lab" in request.fixturenames:
        lab = request.getfixturevalue("lab")
        for container in lab.containers(name):
            lab.ask("kill", container, check=False)
            lab.ask("rm", "-f", "-v", container, check=False)


def _all(connection: Any) -> dict[int, bytes]:
    streams: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    while (piece := connection.receive()) is not None:
        streams[piece[0]] += piece[1]
    return {number: bytes(data) for number, data in streams.items()}


def _until(connection: Any, text: bytes) -> bytes:
    got = b""
    while text not in got:
        piece = connection.receive()
        assert piece is not None, got
        got += piece[1]
    return got


def _run_box(lab: Lab, run: str, *command: str, **more: Any) -> tuple[int, dict[int, bytes]]:
    with lab.engine.start(lab.spec(run, *command, **more)) as connection:
        output = _all(connection)
        return connection.wait(), output


# --- running ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["cat", "twice"])
def test_large_data_pass_both_ways_at_once_and_intact(lab: Lab, run: str, mode: str) -> None:
    data = os.urandom(_MEGA) * (50 if mode == "cat" else 10) + b"end"
    with lab.engine.start(lab.spec(run, mode)) as connection:

        def send() -> None:
            connection.send(data)
            connection.end_input()

        sender = threading.Thread(target=send)
        sender.start()
        output = _all(connection)
        sender.join()
        assert connection.wait() == 0
    digest = hashlib.sha256(data).hexdigest()
    assert hashlib.sha256(output[1]).hexdigest() == digest
    assert output[2] == b"" if mode == "cat" else hashlib.sha256(output[2]).hexdigest() == digest


@pytest.mark.parametrize("keep", [False, True])
def test_streams_and_status_of_one_that_ends_at_once(lab: Lab, run: str, keep: bool) -> None:
    assert _run_box(lab, run, "exit", "7", keep=keep) == (7, {1: b"out", 2: b"err"})
    assert lab.containers(run) == []


def test_what_is_asked_for_is_there(lab: Lab, run: str) -> None:
    spec = lab.spec(run, "deaf", environ={"GIVEN": "a b\nc=d $HOME"}, labels={"other": "a=b c"})
    with lab.engine.start(spec) as connection:
        _until(connection, b"ready")
        [data] = json.loads(lab.ask("inspect", connection.container))
        assert data["Config"]["Labels"][RUN_LABEL] == run
        assert data["Config"]["Labels"]["other"] == "a=b c"
        assert socket.gethostname() in data["Config"]["Labels"]["portable-backend.client"]
    _, output = _run_box(lab, run, "environ", environ={"GIVEN": "a b\nc=d $HOME"})
    assert b"GIVEN=a b\nc=d $HOME\n" in output[1]
    assert b"FROM_IMAGE=yes\n" in output[1]


def test_leaving_removes_a_container_that_will_not_end(lab: Lab, run: str) -> None:
    with lab.engine.start(lab.spec(run, "deaf", keep=True)) as connection:
        _until(connection, b"ready")
        listener = threading.Thread(target=_quietly, args=(connection,))
        listener.start()
    listener.join(10)
    assert not listener.is_alive(), "whoever waits for output must see the end"
    assert lab.containers(run) == []
    with pytest.raises(OutputLost):
        connection.send(b"x" * _MEGA)


def _quietly(connection: Any) -> None:
    with contextlib.suppress(EngineError):
        _all(connection)


def test_a_kept_container_stays_and_is_told_apart(lab: Lab, run: str) -> None:
    with lab.engine.start(lab.spec(run, "deaf", keep=True)) as connection:
        _until(connection, b"ready")
        name = connection.keep()
    assert lab.ask("inspect", "--format", "{{.State.Running}}", name) == "true"
    assert lab.engine.sweep() == 0
    assert lab.engine.remove({RUN_LABEL: run}) == 1
    assert lab.containers(run) == []


def test_sending_to_one_that_has_ended_is_an_error(lab: Lab, run: str) -> None:
    with lab.engine.start(lab.spec(run, "exit", "0")) as connection:
        _all(connection)
        connection.wait()
        with pytest.raises(OutputLost):
            connection.send(b"x" * 100 * _MEGA)


def test_a_container_that_is_killed_has_the_status_of_that(lab: Lab, run: str) -> None:
    with lab.engine.start(lab.spec(run, "deaf")) as connection:
        _until(connection, b"ready")
        lab.ask("kill", connection.container)
        _all(connection)
        assert connection.wait() == 128 + signal.SIGKILL
    assert _wait(lambda: lab.containers(run) == [])


def test_missing_images_and_programs_leave_nothing_behind(lab: Lab, run: str) -> None:
    assert lab.engine.find_image("portable-backend-test/no-such-image:1") is None
    with pytest.raises(EngineError, match="no-such-image"):
        lab.engine.start(ContainerSpec("portable-backend-test/no-such-image:1", ("x",), {RUN_LABEL: run}))
    # A command says so only on its standard error.
    with pytest.raises(EngineError, match="/no-such-program") as caught:
        _run_only(lab, run, lab.image, "/no-such-program")
    assert not isinstance(caught.value, OutputLost)
    assert _wait(lambda: lab.containers(run) == [], 5)


def test_an_image_says_what_it_is(lab: Lab) -> None:
    image = lab.engine.find_image(lab.image)
    assert image is not None
    assert image.environ["FROM_IMAGE"] == "yes"
    assert image.labels == {"the.label": "there"}
    assert (image.os, image.arch) == ("linux", lab.engine.arch)
    assert lab.engine.find_image(image.id) == image


def test_a_foreign_program_is_explained(lab: Lab, run: str, box: bytes) -> None:
    foreign = box[:18] + struct.pack("<H", 0x1234) + box[20:]  # e_machine of nothing that exists
    reference = _import_image(lab.client, lab.environ, {"box": foreign})
    try:
        with pytest.raises(EngineError, match="cannot run programs of the image's architecture") as caught:
            _run_only(lab, run, reference, "/box")
        assert "qemu-user-static" in str(caught.value)
        assert _wait(lambda: lab.containers(run) == [], 5)
    finally:
        lab.ask("rmi", "-f", reference, check=False)


def _run_only(lab: Lab, run: str, reference: str, program: str) -> None:
    with lab.engine.start(ContainerSpec(reference, (program, "exit", "0"), {RUN_LABEL: run})) as connection:
        _all(connection)


# --- what lasts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def volume(lab: Lab) -> Iterator[str]:
    name = f"portable-backend-test-{uuid.uuid4().hex[:12]}"
    yield name
    lab.ask("volume", "rm", "-f", name, check=False)


def test_a_commit_holds_files_but_neither_volumes_nor_the_run(lab: Lab, run: str, volume: str) -> None:
    repository, tag = "portable-backend-test/commit", uuid.uuid4().hex[:12]
    spec = lab.spec(
        run, "write", "/file", "/scratch/file", "/cache/file", scratch=("/scratch",), volumes={volume: "/cache"}
    )
    with lab.engine.start(spec) as connection:
        _until(connection, b"ready")
        [data] = json.loads(lab.ask("inspect", connection.container))
        names = {mount["Destination"]: mount["Name"] for mount in data["Mounts"]}
        assert names["/cache"] == volume
        labels = {CACHE_LABEL: "of a test", "mine": 'a "b" $c \\ é', "portable-backend.of": "a test"}
        identity = lab.engine.commit(connection.container, repository, tag, labels)
    image = lab.engine.find_image(f"{repository}:{tag}")
    try:
        assert image is not None
        assert image.id.split(":")[-1] == identity.split(":")[-1]
        assert (image.labels["mine"], image.labels[CACHE_LABEL]) == ('a "b" $c \\ é', "of a test")
        assert image.labels[RUN_LABEL] == ""
        assert _show(lab, run, image.id, "/file") == b"written"
        assert _show(lab, run, image.id, "/scratch/file") is None
        assert _show(lab, run, image.id, "/cache/file") is None
        assert _show(lab, run, image.id, "/cache/file", volumes={volume: "/cache"}) == b"written"
        assert names["/scratch"] not in lab.ask("volume", "ls", "-q").split()
        _check_kept(lab, f"{repository}:{tag}", volume)
    finally:
        lab.ask("rmi", "-f", f"{repository}:{tag}", check=False)


def test_of_two_commits_with_one_tag_the_first_is_kept_and_nothing_else(lab: Lab, run: str) -> None:
    """As when two builds of one project prepare the image at the same time."""
    repository, tag = "portable-backend-test/commit", uuid.uuid4().hex[:12]
    try:
        for path in ("/first", "/second"):
            with lab.engine.start(lab.spec(run, "write", path)) as connection:
                _until(connection, b"ready")
                lab.engine.commit(connection.container, repository, tag, {"portable-backend.of": tag})
        assert _show(lab, run, f"{repository}:{tag}", "/first") == b"written"
        assert _show(lab, run, f"{repository}:{tag}", "/second") is None
        assert len([item for item in lab.engine.kept() if item.detail == f"of: {tag}"]) == 1
    finally:
        lab.ask("rmi", "-f", f"{repository}:{tag}", check=False)


def _show(lab: Lab, run: str, image: str, path: str, **more: Any) -> Optional[bytes]:
    with lab.engine.start(ContainerSpec(image, ("/box", "show", path), {RUN_LABEL: run}, **more)) as connection:
        output = _all(connection)
        return output[1] if connection.wait() == 0 else None


def _check_kept(lab: Lab, reference: str, volume: str) -> None:
    """What was kept is listed, and can be dropped."""
    # podman puts a registry's name before it.
    items = {(item.kind, re.sub("^(localhost|docker.io)/", "", item.name)): item for item in lab.engine.kept()}
    image, kept_volume = items["image", reference], items["volume", volume]
    assert image.size is not None
    assert image.created is not None
    assert abs(image.created - time.time()) < 300
    assert image.detail == "of: a test"
    for item in (image, kept_volume):
        lab.engine.drop(item)
        lab.engine.drop(item)  # nothing to do any more
    left = {item.name for item in lab.engine.kept()}
    assert not left.intersection({image.name, volume})


# --- networks ---------------------------------------------------------------------------------------------------------


def _interfaces(text: bytes) -> set[str]:
    return {line.partition(":")[0].strip() for line in text.decode().splitlines() if ":" in line}


def test_no_network_is_none(lab: Lab, run: str) -> None:
    with lab.engine.start(lab.spec(run, "network", network=False)) as connection:
        assert _interfaces(_until(connection, b"\n.\n")) <= {"lo", "sit0", "tunl0", "ip6tnl0"}


def test_the_network_can_be_taken_away(lab: Lab, run: str) -> None:
    with lab.engine.start(lab.spec(run, "network")) as connection:
        assert "eth0" in _interfaces(_until(connection, b"\n.\n"))
        lab.engine.disconnect(connection.container)
        connection.send(b".")
        assert "eth0" not in _interfaces(_until(connection, b"\n.\n"))


# --- removal ----------------------------------------------------------------------------------------------------------


def test_removal_is_by_all_labels_and_of_all_states(lab: Lab, run: str) -> None:
    label = ["--label", f"{RUN_LABEL}={run}"]
    lab.ask("create", *label, lab.image, "/box", "deaf")
    lab.ask("run", "-d", *label, lab.image, "/box", "deaf")
    other = lab.ask("create", *label, "--label", "spare=me", lab.image, "/box", "deaf")
    assert lab.engine.remove({RUN_LABEL: run, "spare": "me"}) == 1
    assert other not in lab.containers(run)
    assert lab.engine.remove({RUN_LABEL: run}) == 2
    assert lab.engine.remove({RUN_LABEL: run}) == 0


def test_a_sweep_spares_what_is_new(lab: Lab, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    label = ["--label", f"{RUN_LABEL}={run}"]
    created = lab.ask("create", *label, lab.image, "/box", "deaf")
    running = lab.ask("run", "-d", *label, lab.image, "/box", "deaf")
    lab.engine.sweep()
    assert set(lab.containers(run)) == {created, running}
    # An hour cannot be waited for: the clock is put forward. Others' runs on this machine are not of an hour ago.
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3660)
    others = set(lab.ask("ps", "-a", "-q", "--filter", "status=created", "--filter", f"label={RUN_LABEL}").split())
    if len(others) == 1:
        assert lab.engine.sweep() >= 1
        assert lab.containers(run) == [running]


# --- being killed -----------------------------------------------------------------------------------------------------

_CLIENT = """
import json, os, sys, time
from portable_backend.strategies.container.engine import RUN_LABEL, ContainerSpec, open_engine
from portable_backend.strategies.container.guard import guarded

task = json.loads(sys.argv[1])
engine = open_engine(task["address"])
spec = ContainerSpec(task["image"], ("/box", task["mode"]), {RUN_LABEL: task["run"]})

def work():
    with engine.start(spec) as connection:
        if task["mode"] == "deaf":
            connection.receive()
        print("started", *open("/proc/self/task/%d/children" % os.getpid()).read().split(), flush=True)
        time.sleep(600)

if task["guarded"]:
    with guarded(engine, task["run"], task["scratch"]):
        os.mkdir(task["scratch"][0])
        work()
work()
"""


@contextlib.contextmanager
def _client(lab: Lab, run: str, mode: str, scratch: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """A process with a container."""
    task = {"address": lab.engine.address, "image": lab.image, "run": run, "mode": mode}
    task.update(guarded=bool(scratch), scratch=scratch)
    environ = {**lab.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", _CLIENT, json.dumps(task)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        yield process
        process.kill()


def test_a_container_ends_with_a_client_that_is_killed(lab: Lab, run: str) -> None:
    with _client(lab, run, "cat") as client:
        assert client.stdout is not None
        assert client.stdout.readline().startswith("started")
        assert len(lab.containers(run)) == 1
        client.kill()
        assert _wait(lambda: lab.containers(run) == [])


def test_the_guardian_cleans_up_after_a_client_that_is_killed(lab: Lab, run: str, tmp_path: Path) -> None:
    scratch = tmp_path / "portable-backend-scratch"
    precious = tmp_path / "precious"
    precious.mkdir()
    link = tmp_path / "portable-backend-link"
    link.symlink_to(precious)
    with _client(lab, run, "deaf", (str(scratch), str(precious), str(link))) as client:
        assert client.stdout is not None
        words = client.stdout.readline().split()
        assert words[0] == "started"
        guardians = [number for number in words[1:] if _is_guardian(number)]
        assert len(guardians) == 1
        (scratch / "file").touch()
        (scratch / "way-out").symlink_to(precious)
        (precious / "file").touch()
        # As when a request to make one is still on its way.
        lab.ask("create", "--label", f"{RUN_LABEL}={run}", lab.image, "/box", "deaf")
        client.kill()
        assert client.stdout.read() == "", "nobody else holds the pipe"
        assert _is_guardian(guardians[0]), "and the guardian was still at work by then"
        assert _wait(lambda: lab.containers(run) == [])
        assert _wait(lambda: not _is_guardian(guardians[0]))
    assert not scratch.exists()
    assert (precious / "file").exists()
    assert link.is_symlink()


def _is_guardian(number: str) -> bool:
    try:
        return b"container.guard" in Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("failing", [False, True])
def test_the_guardian_leaves_everything_alone_when_told(lab: Lab, run: str, tmp_path: Path, failing: bool) -> None:
    scratch = tmp_path / "portable-backend-scratch"
    scratch.mkdir()
    container = lab.ask("create", "--label", f"{RUN_LABEL}={run}", lab.image, "/box", "deaf")
    with contextlib.suppress(ZeroDivisionError), guarded(lab.engine, run, [scratch]):
        [guardian] = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()[-1:]
        assert _wait(lambda: _is_guardian(guardian))
        if failing:
            raise ZeroDivisionError
    assert not _is_guardian(guardian)
    assert lab.containers(run) == [container]
    assert scratch.is_dir()


def test_an_engine_is_found_again_by_its_address(lab: Lab) -> None:
    again = open_engine(json.loads(json.dumps(lab.engine.address)))
    assert type(again) is type(lab.engine)
    assert (again.description, again.command, again.arch) == (
        lab.engine.description,
        lab.engine.command,
        lab.engine.arch,
    )
    assert again.find_image(lab.image) == lab.engine.find_image(lab.image)


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_registry_out_of_reach_is_explained(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        EngineError, match=f"cannot pull localhost:{port}/x:1: its registry cannot be reached"
    ) as caught:
        lab.engine.pull(f"localhost:{port}/x:1", None, lambda line: None)
    assert "container.image" in str(caught.value)
    assert "Traceback" not in str(caught.value)


# Prints what find_engine() says, as a user that has no rights.
_ASK = """
import json, os, sys
from portable_backend.strategies.container.engine import EngineError, find_engine
environ = json.loads(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    print(find_engine("docker", environ).description)
except EngineError as error:
    print(error)
"""


def test_a_socket_that_one_may_not_use_is_explained() -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        os.chmod(directory, 0o755)
        path = f"{directory}/docker.sock"
        server.bind(path)
        os.chmod(path, 0o000)
        server.listen()
        environ = {"DOCKER_HOST": f"unix://{path}", "PATH": "/nowhere", "HOME": directory}
        command = [sys.executable, "-c", _ASK, json.dumps(environ)]
        path_variable = os.pathsep.join(filter(None, sys.path))
        done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": path_variable})
    assert f"docker at unix://{path} is there, but this user may not use it: permission denied" in done.stdout, (
        done.stderr
    )
    assert "usermod -aG docker" in done.stdout


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("unix:///nonexistent/docker.sock", "docker at unix:///nonexistent/docker.sock does not answer: no such file"),
        ("tcp://127.0.0.1:{port}", "docker at tcp://127.0.0.1:{port} does not answer: connection refused"),
        ("tcp://no-such-host.invalid:2375", "docker at tcp://no-such-host.invalid:2375 does not answer: "),
        ("tcp://127.0.0.1:notaport", "does not answer: not an address"),
    ],
)
def test_an_engine_that_the_user_named_and_that_is_not_there_is_explained(host: str, message: str) -> None:
    port = _closed_port()
    with pytest.raises(EngineError) as caught:
        find_engine(environ={**os.environ, "DOCKER_HOST": host.format(port=port)})
    assert message.format(port=port) in str(caught.value)
    assert caught.value.cure
    assert caught.value.exit_code == 6


def test_tls_that_does_not_fit_is_explained(tls_port: int, certificates: Path, tmp_path: Path) -> None:
    host = {"DOCKER_HOST": f"tcp://localhost:{tls_port}", "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with pytest.raises(EngineError, match=f"cannot read {tmp_path}/ca.pem"):
        find_engine(environ={**host, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)})
    other = tmp_path / "other"
    other.mkdir()
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=other, check=True, capture_output=True)
    shutil.copy(other / "cert.pem", other / "ca.pem")
    with pytest.raises(EngineError, match=r"do not agree about TLS: .*self.signed certificate"):
        find_engine(environ={**host, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(other)})
    with pytest.raises(EngineError, match=f"docker at tcp://localhost:{tls_port} "):
        find_engine(environ=host)
