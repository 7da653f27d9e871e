"""Which engine a user means, what engines say in words, and the format of attached streams."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from portable_backend.errors import StrategyBlocked
from portable_backend.strategies.container import dial, engine, guard
from portable_backend.strategies.container.engine import EngineError, find_engine
from portable_backend.strategies.container.engine_base import parse_moment
from portable_backend.strategies.container.engine_failures import explain_failure, explain_pull


@contextlib.contextmanager
def _server(path: Path, *answers: bytes, hold: bool = False) -> Iterator[list[bytes]]:
    """Something at a socket that gives these answers, one to a connection, whatever it is asked."""
    asked: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    done = threading.Event()

    def serve() -> None:
        for answer in answers:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                asked.append(connection.recv(65536))
                for at in range(0, len(answer), 7):  # nothing arrives in one piece
                    connection.sendall(answer[at : at + 7])
                if hold:
                    done.wait(30)
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        done.set()
        listener.close()


def _http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _version(**more: Any) -> bytes:
    return _http(json.dumps({"Version": "1.2.3", "ApiVersion": "1.99", "Arch": "arm64", **more}).encode())


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables of a user on a machine without any engine at the usual places."""
    places = ([str(tmp_path / "docker.sock"), str(tmp_path / "other.sock")], [str(tmp_path / "podman.sock")])
    monkeypatch.setattr(dial, "default_sockets", lambda environ: places)
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}


# --- which one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["auto", "docker", "podman"])
def test_no_engine_is_one_message_with_a_cure(nothing: dict[str, str], wanted: str) -> None:
    with pytest.raises(
        StrategyBlocked, match=r"neither docker nor podman was found" if wanted == "auto" else wanted
    ) as caught:
        find_engine(wanted, nothing)
    assert "install" in str(caught.value.cure)
    assert caught.value.exit_code == 6


def test_docker_comes_before_podman_unless_podman_is_wanted(nothing: dict[str, str], tmp_path: Path) -> None:
    podman = _version(Components=[{"Name": "Podman Engine", "Version": "9.8"}])
    with _server(tmp_path / "docker.sock", _version()), _server(tmp_path / "podman.sock", podman):
        first, second = find_engine("auto", nothing), find_engine("podman", nothing)
    assert first.description == f"docker 1.2.3 at unix://{tmp_path}/docker.sock"
    assert second.description == f"podman 9.8 at unix://{tmp_path}/podman.sock"
    assert (first.command, second.command, first.arch) == ("docker", "podman", "arm64")


def test_a_dead_socket_is_passed_over_for_one_that_answers(nothing: dict[str, str], tmp_path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(tmp_path / "docker.sock"))
    with _server(tmp_path / "other.sock", _version()):
        assert find_engine("auto", nothing).command == f"docker -H unix://{tmp_path}/other.sock"
    with pytest.raises(EngineError, match=r"docker.sock does not answer: connection refused") as caught:
        find_engine("auto", nothing)
    assert "systemctl start docker" in str(caught.value.cure)


def test_what_the_user_names_is_not_replaced(nothing: dict[str, str], tmp_path: Path) -> None:
    with _server(tmp_path / "docker.sock", _version()), pytest.raises(EngineError, match="/elsewhere does not answer"):
        find_engine("auto", {**nothing, "DOCKER_HOST": "unix:///elsewhere"})


def _context(directory: Path, name: str, host: str) -> None:
    meta = directory / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    endpoints = {"docker": {"Host": host, "SkipTLSVerify": False}}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoints}))


def test_docker_contexts_are_followed(nothing: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / ".docker"
    for name in ("mine", "other"):
        _context(config, name, f"unix://{tmp_path}/{name}.sock")
    (config / "config.json").write_text('{"currentContext": "mine"}')
    with _server(tmp_path / "mine.sock", _version()), _server(tmp_path / "other.sock", _version(), _version()):
        assert find_engine("auto", nothing).command == "docker --context mine"
        other = find_engine("auto", {**nothing, "DOCKER_CONTEXT": "other"})
        assert other.description.endswith("other.sock")
        host = {"DOCKER_HOST": f"unix://{tmp_path}/other.sock", "DOCKER_CONTEXT": "mine"}
        assert find_engine("auto", {**nothing, **host}).description.endswith("other.sock")
    with pytest.raises(EngineError, match="no docker context gone"):
        find_engine("auto", {**nothing, "DOCKER_CONTEXT": "gone"})


def test_an_address_survives_as_json(nothing: dict[str, str], tmp_path: Path) -> None:
    tls = dial.Tls("/ca", "/cert", "/key", False)
    endpoint = dial.Endpoint("tcp://there:1", tls)
    made = engine.SocketEngine(endpoint, "docker", "1", "1.41", "amd64", "docker -H there")
    again = engine.open_engine(json.loads(json.dumps(made.address)))
    assert again.address == made.address
    assert dial.Endpoint.from_json(endpoint.to_json()) == endpoint


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_http(b"<html>hello</html>"), "is no container engine"),
        (_http(b"{}"), "is no container engine"),
        (_http(b'{"ApiVersion": "1.12"}'), "too old"),
        (_http(b'{"message": "not for you"}', "403 Forbidden"), "may not use it: not for you"),
        (_http(b"Client sent an HTTP request to an HTTPS server.", "400 Bad Request"), "do not agree about TLS"),
        (b"", "does not answer"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer"),
    ],
)
def test_whatever_answers_is_judged(nothing: dict[str, str], tmp_path: Path, answer: bytes, message: str) -> None:
    with _server(tmp_path / "x.sock", answer), pytest.raises(EngineError, match=message):
        find_engine("auto", {**nothing, "DOCKER_HOST": f"unix://{tmp_path}/x.sock"})


def test_one_that_never_answers_is_not_waited_for(
    nothing: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PING", 0.2)
    with _server(tmp_path / "x.sock", b"", hold=True), pytest.raises(EngineError, match="it takes too long"):
        find_engine("auto", {**nothing, "DOCKER_HOST": f"unix://{tmp_path}/x.sock"})


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "what", "cure"),
    [
        (
            'Get "https://quay.io/v2/": dial tcp: lookup quay.io on 10.0.0.1:53: no such host',
            "its registry cannot be reached",
            "container.image",
        ),
        ("Get https://x/v2/: x509: certificate signed by unknown authority", "cannot be reached", "load"),
        ("manifest for quay.io/pypa/x:1 not found: manifest unknown: manifest unknown", "does not have it", "check"),
        ("unauthorized: access to the requested resource is not authorized", "does not let this user", "login"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login': denied",
            "does not let this user have it, or does not have it",
            "login",
        ),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "for linux/arm64", "container.image"),
        ("toomanyrequests: You have reached your pull rate limit.", "no more for now", "login"),
        ("failed to register layer: write /opt/x: no space left on device", "disk of the engine is full", "prune"),
        ("something that nobody has seen before", "something that nobody has seen before", "load"),
    ],
)
def test_why_an_image_cannot_be_had(text: str, what: str, cure: str) -> None:
    error = explain_pull("docker", "quay.io/pypa/x:1", "linux/arm64", text)
    assert error.message.startswith("cannot pull quay.io/pypa/x:1: ")
    assert what in error.message
    assert cure in str(error.cure)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("write /x: no space left on device", "make room"),
        ("standard_init_linux.go:228: exec user process caused: exec format error", "qemu-user-static"),
        ("exec /bin/sh: no such file or directory", "flag F"),
        ("standard_init_linux.go:228: exec user process caused: no such file or directory", "flag F"),
        ("image with reference x was found but does not match the specified platform", "container.image"),
    ],
)
def test_other_refusals_have_cures_where_one_is_known(text: str, cure: str) -> None:
    assert cure in str(explain_failure("docker", "start a container", text).cure)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (1700000000, 1700000000.0),
        ("2023-11-14T22:13:20Z", 1700000000.0),
        ("2023-11-14T22:13:20.123456789Z", 1700000000.0),
        ("2023-11-14T23:13:20.1+01:00", 1700000000.0),
        ("2023-11-14 22:13:20 +0000 UTC", 1700000000.0),
        ("yesterday", None),
        (None, None),
    ],
)
def test_times_in_every_form_of_the_engines(text: object, seconds: Optional[float]) -> None:
    assert parse_moment(text) == seconds


# --- streams ----------------------------------------------------------------------------------------------------------

_UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def _frame(stream: int, data: bytes, length: Optional[int] = None) -> bytes:
    return struct.pack(">BxxxI", stream, len(data) if length is None else length) + data


def _attached(tmp_path: Path, stream: bytes) -> list[tuple[int, bytes]]:
    with _server(tmp_path / "s", _UPGRADED + stream):
        attachment = dial.Attachment(dial.Endpoint(f"unix://{tmp_path}/s"), "/attach", 5)
        got: list[tuple[int, bytes]] = []
        try:
            while (piece := attachment.receive()) is not None:
                got.append(piece)
        finally:
            attachment.close()
        return got


def test_frames_are_told_apart_however_they_arrive(tmp_path: Path) -> None:
    got = _attached(tmp_path, _frame(1, b"out" * 100) + _frame(2, b"") + _frame(2, b"err") + _frame(1, b"more"))
    assert b"".join(data for stream, data in got if stream == 1) == b"out" * 100 + b"more"
    assert b"".join(data for stream, data in got if stream == 2) == b"err"


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (_frame(77, b"x"), "stream number 77"),
        (b"plain text from a terminal", "stream number 112"),
        (_frame(1, b"short", 0xFFFFFFFF), "broke off"),
        (_frame(1, b"good") + b"\x01\0\0", "broke off"),
        (_frame(3, b"the daemon is unwell"), "the daemon is unwell"),
    ],
)
def test_broken_streams_are_errors_and_no_ends(tmp_path: Path, stream: bytes, message: str) -> None:
    with pytest.raises(OSError, match=message):
        _attached(tmp_path, stream)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_http(b'{"message": "No such container: x"}', "404 Not Found"), "No such container: x"),
        (b"HTTP/1.1 200", "does not answer to a request to attach"),
    ],
)
def test_a_refusal_to_attach_is_told(tmp_path: Path, answer: bytes, message: str) -> None:
    endpoint = dial.Endpoint(f"unix://{tmp_path}/s")
    with _server(tmp_path / "s", answer), pytest.raises((OSError, dial.HttpError), match=message):
        dial.Attachment(endpoint, "/attach", 5)


def test_a_sender_whose_reader_is_gone_does_not_hang(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    kept: list[socket.socket] = []

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(_UPGRADED)
        connection.shutdown(socket.SHUT_WR)  # the process has ended; nobody reads, and nobody hangs up
        kept.append(connection)

    threading.Thread(target=serve, daemon=True).start()
    attachment = dial.Attachment(dial.Endpoint(f"unix://{tmp_path}/s"), "/attach", 5)
    threading.Thread(target=attachment.receive, daemon=True).start()
    begin = time.monotonic()
    with pytest.raises(OSError, match="the process has ended"):
        attachment.send(bytes(1 << 24))
    assert time.monotonic() - begin < 10
    attachment.close()


# --- the guardian -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", b'{"address": {"endpo', b'{"address": {}, "run": "r", "scratch": []}\ndone\n'])
def test_the_guardian_does_nothing_for_one_that_is_done_or_has_not_begun(said: bytes) -> None:
    read, write = os.pipe()
    os.write(write, said)
    os.close(write)
    with open(read, "rb") as stdin:
        assert guard.watch(stdin) is False


def test_scratch_is_removed_by_name_and_not_through_links(tmp_path: Path) -> None:
    for name in ("precious", "portable-backend-x"):
        (tmp_path / name / "inside").mkdir(parents=True)
    (tmp_path / "portable-backend-link").symlink_to(tmp_path / "precious")
    (tmp_path / "portable-backend-file").touch()
    for name in ("precious", "portable-backend-x", "portable-backend-link", "portable-backend-file", "missing"):
        guard.remove_scratch(str(tmp_path / name))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"precious", "portable-backend-link", "portable-backend-file"}
    assert (tmp_path / "precious" / "inside").is_dir()
