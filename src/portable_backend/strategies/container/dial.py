"""Sockets to a container engine, and what is spoken over them: plain requests, and the attached streams.

This is beside the docker package because of what that cannot do: send and receive on one attached stream from two
threads, over TLS too; ask for the end of a container before it begins; and remove containers after the environment
that docker was installed into has been deleted, as the guardian must.

Everything here raises :class:`OSError` (``ssl.SSLError`` is one), :class:`HttpError` or
:class:`http.client.HTTPException`; :mod:`.engine` turns them into messages.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Optional, Union
from urllib.parse import urlsplit

STDOUT = 1
STDERR = 2
_CHUNK = 1 << 18
_HEADER_LIMIT = 1 << 16
_FRAME = struct.Struct(">BxxxI")
_SYSTEM_ERROR = 3
# Neither data that TLS has decrypted already nor the end that the other thread has seen wakes a poll(): they are looked
# for this often, in milliseconds.
_WAKE = 500


class HttpError(Exception):
    """The engine answered, and refused.

    :param status: HTTP status.
    :param message: what the engine says.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (HTTP status {status})")
        self.status = status
        self.message = message


class StreamError(OSError):
    """An attached stream that does not follow the protocol, or that the engine broke off with a message."""


@dataclass(frozen=True)
class Tls:
    """How a connection is secured. Paths, or ``None`` for the system's authorities and no certificate of our own.

    :param verify: whether the engine's certificate is checked.
    """

    ca: Optional[str] = None
    cert: Optional[str] = None
    key: Optional[str] = None
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """A context that secures so.

        :raises OSError: if a file is missing or is none of its kind.
        """
        for path in filter(None, (self.ca, self.cert, self.key)):
            with open(path, "rb"):  # ssl does not say which file it is that cannot be read
                pass
        context = ssl.create_default_context(cafile=self.ca)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert:
            context.load_cert_chain(self.cert, self.key)
        return context


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens.

    :param host: as in ``DOCKER_HOST``: ``unix:///run/docker.sock``, ``tcp://host:2376``, ``ssh://user@host``.
    """

    host: str
    tls: Optional[Tls] = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, for :meth:`from_json` in another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Endpoint:
        """What :meth:`to_json` made."""
        tls = data.get("tls")
        return cls(str(data["host"]), None if tls is None else Tls(**tls))

    @property
    def socket_path(self) -> Optional[str]:
        """The path of a Unix socket, ``None`` for an engine elsewhere."""
        scheme, _, rest = self.host.partition("://")
        return f"/{rest.lstrip('/')}" if scheme in {"unix", "http+unix"} else None


class _ChildSocket(socket.socket):
    """A socket whose other end is the standard input and output of a child."""

    child: Optional[subprocess.Popen[bytes]] = None

    def close(self) -> None:
        super().close()
        child, self.child = self.child, None
        if child is None:
            return
        try:
            child.wait(1)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def connect(endpoint: Endpoint, timeout: Optional[float]) -> socket.socket:
    """A connected socket, whatever the kind of address.

    :param timeout: seconds; for what is done with the socket, too.
    :raises OSError: if nobody is there.
    """
    path = endpoint.socket_path
    if path is not None:
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            plain.settimeout(timeout)
            plain.connect(path)
        except BaseException:
            plain.close()
            raise
        return plain
    if endpoint.host.startswith("ssh://"):
        return _connect_by_ssh(endpoint.host, timeout)
    return _connect_by_tcp(endpoint, timeout)


def _connect_by_tcp(endpoint: Endpoint, timeout: Optional[float]) -> socket.socket:
    plain, context, hostname = _dial_tcp(endpoint, timeout)
    try:
        return context.wrap_socket(plain, server_hostname=hostname) if context else plain
    except BaseException:
        plain.close()
        raise


def _attachable(endpoint: Endpoint, timeout: Optional[float]) -> Union[socket.socket, _Secured]:
    """A connection for an attachment, which ends its input while output comes."""
    if endpoint.socket_path is not None or endpoint.host.startswith("ssh://"):
        return connect(endpoint, timeout)
    plain, context, hostname = _dial_tcp(endpoint, timeout)
    try:
        return _Secured(plain, context, hostname) if context else plain
    except BaseException:
        plain.close()
        raise


def _dial_tcp(
    endpoint: Endpoint, timeout: Optional[float]
) -> tuple[socket.socket, Optional[ssl.SSLContext], Optional[str]]:
    """A connected socket, and what it is to be secured with."""
    url = urlsplit(endpoint.host if "://" in endpoint.host else f"tcp://{endpoint.host}")
    tls = endpoint.tls or (Tls() if url.scheme == "https" else None)
    try:
        port = url.port or (2376 if tls else 2375)
    except ValueError as error:
        raise OSError(f"not an address: {error}") from None
    context = tls.context() if tls else None
    plain = socket.create_connection((url.hostname or "localhost", port), timeout)
    try:
        # A build may be silent for longer than a router remembers a connection.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain, context, url.hostname
    except BaseException:
        plain.close()
        raise


def _connect_by_ssh(host: str, timeout: Optional[float]) -> socket.socket:
    url = urlsplit(host)
    ours, theirs = socket.socketpair()
    command = ["ssh", *(["-l", url.username] if url.username else []), *(["-p", str(url.port)] if url.port else [])]
    with theirs:
        try:
            child = subprocess.Popen(
                [*command, "--", url.hostname or "", "docker", "system", "dial-stdio"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
            )
        except BaseException:
            ours.close()
            raise
    connected = _ChildSocket(fileno=ours.detach())
    connected.child = child
    connected.settimeout(timeout)
    return connected


class _Http(http.client.HTTPConnection):
    """HTTP over any of the sockets."""

    def __init__(self, endpoint: Endpoint, timeout: Optional[float]) -> None:
        super().__init__("localhost", timeout=timeout)
        self._endpoint = endpoint

    def connect(self) -> None:
        self.sock = connect(self._endpoint, self.timeout)


def call(endpoint: Endpoint, method: str, path: str, timeout: Optional[float]) -> bytes:
    """The body of the answer to a request without a body.

    :raises OSError, http.client.HTTPException: if there is no answer.
    :raises HttpError: if it is a refusal.
    """
    with contextlib.closing(_Http(endpoint, timeout)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
    if response.status >= 400:
        raise HttpError(response.status, _message(body))
    return body


def _message(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    try:
        told = json.loads(text)
    except ValueError:
        return text[:500]
    return str(told.get("message", told))[:2000] if isinstance(told, dict) else text[:500]


class Answer:
    """An answer that comes later: the request has been sent, and the engine has begun to work on it.

    :raises OSError: if nobody is there.
    """

    def __init__(self, endpoint: Endpoint, path: str, timeout: float) -> None:
        self._connection = _Http(endpoint, timeout)
        self._connection.request("POST", path)
        self._socket: socket.socket = self._connection.sock
        # The engine sends the head of its answer as soon as it watches. One that does not loses us a little time.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.poll(timeout * 1000)
        self._socket.settimeout(None)

    def get(self) -> bytes:
        """Wait for the body.

        :raises OSError, http.client.HTTPException: if the engine went away.
        :raises HttpError: if it refuses.
        """
        response = self._connection.getresponse()
        body = response.read()
        if response.status >= 400:
            raise HttpError(response.status, _message(body))
        return body

    def close(self) -> None:
        """Do not wait any longer."""
        self._connection.close()
        self._socket.close()


class _Secured:
    """TLS over a socket, as much of it as an attachment needs, with the encrypted bytes passed on by hand.

    To say that no more will be sent, OpenSSL reads as well, and throws away what it gets: output of the process. So
    what has come is decrypted first, and nothing can come in between.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, hostname: Optional[str]) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._unsent = b""
        self._early = bytearray()
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(self._outgoing.read())
                self._take_in()
        plain.sendall(self._outgoing.read())

    def _take_in(self) -> None:
        data = self._plain.recv(_CHUNK)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def recv(self, size: int) -> bytes:
        """Some bytes, none at the end; as of a socket."""
        if self._early:
            data = bytes(self._early[:size])
            del self._early[:size]
            return data
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._take_in()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def sendall(self, data: bytes) -> None:
        """Send all of it, while the socket still waits."""
        self._tls.write(data)
        self._plain.sendall(self._outgoing.read())

    def send(self, data: memoryview) -> int:
        """Take some bytes, to be sent by this and later calls of :meth:`flush`.

        :raises BlockingIOError: if what was taken earlier could not be sent yet.
        """
        self.flush()
        return self._tls.write(data)

    def flush(self) -> None:
        """Send what was taken.

        :raises BlockingIOError: if not all of it could be sent yet.
        """
        self._unsent += self._outgoing.read()
        while self._unsent:
            self._unsent = self._unsent[self._plain.send(self._unsent) :]

    def end(self) -> None:
        """Say that no more will be sent; :meth:`flush` sends that, too."""
        with contextlib.suppress(ssl.SSLError):  # that there is nothing more
            while data := self._tls.read(_CHUNK):
                self._early += data
        with contextlib.suppress(ssl.SSLError):  # that the other side has not said the same
            self._tls.unwrap()

    def settimeout(self, seconds: Optional[float]) -> None:
        """As of a socket."""
        self._plain.settimeout(seconds)

    def fileno(self) -> int:
        """As of a socket."""
        return self._plain.fileno()

    def shutdown(self, how: int) -> None:
        """As of a socket."""
        self._plain.shutdown(how)

    def close(self) -> None:
        """As of a socket."""
        self._plain.close()


class Attachment:
    """The standard streams of a container's main process: one thread may receive while another one sends."""

    def __init__(self, endpoint: Endpoint, path: str, timeout: float) -> None:
        self._socket = _attachable(endpoint, timeout)
        # OpenSSL must not be entered by two threads at once, so nothing may block inside of it.
        self._lock = threading.Lock()
        self._ended = False  # the input, by us
        self._over = False  # the output, by the engine
        self._left = 0
        self._stream = STDOUT
        try:
            self._buffer = self._take_over(path)
            self._socket.settimeout(0)
        except BaseException:
            self._socket.close()
            raise
        self._at = 0

    def _take_over(self, path: str) -> bytes:
        """Turn the HTTP connection into the streams; what came already."""
        request = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        self._socket.sendall(f"{request}Content-Length: 0\r\n\r\n".encode("ascii"))
        data = b""
        while b"\r\n\r\n" not in data:
            more = self._socket.recv(4096)
            if not more or len(data) > _HEADER_LIMIT:
                raise StreamError("the engine does not answer to a request to attach")
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        words = head.split(None, 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        if status in {101, 200}:
            return rest
        length = next((each[15:] for each in head.lower().split(b"\r\n") if each.startswith(b"content-length:")), b"0")
        while len(rest) < min(int(length), _HEADER_LIMIT):
            more = self._socket.recv(4096)
            if not more:
                break
            rest += more
        raise HttpError(status, _message(rest))

    def send(self, data: bytes) -> None:
        """Send all of it.

        :raises OSError: if nobody reads any more.
        """
        view = memoryview(data)
        while view:
            with self._lock:
                if self._ended:
                    raise BrokenPipeError("the input was ended")
                if self._over:  # docker may leave its end of the input open for a minute, and not read it
                    raise BrokenPipeError("the process has ended")
                try:
                    count = self._socket.send(view[:_CHUNK])
                except BlockingIOError:
                    count = 0
            if count:
                view = view[count:]
            else:
                self._await(select.POLLOUT)
        self._flush()

    def _flush(self) -> None:
        """See that what TLS has taken is on its way."""
        while isinstance(self._socket, _Secured):
            with self._lock:
                try:
                    self._socket.flush()
                    break
                except BlockingIOError:
                    pass
            self._await(select.POLLOUT)

    def end_input(self) -> None:
        """Let the process see the end of its input; its output still comes."""
        with contextlib.suppress(OSError, ValueError):
            with self._lock:
                if self._ended:
                    return
                self._ended = True
                if isinstance(self._socket, _Secured):
                    self._socket.end()
                else:
                    self._socket.shutdown(socket.SHUT_WR)
            self._flush()

    def receive(self) -> Optional[tuple[int, bytes]]:
        """Some output, with its stream; ``None`` at the end.

        Docker's stream format: a byte that names the stream, three of padding, a length of four, the data. A length
        says nothing about what is kept in memory: data are passed on as they come.

        :raises OSError: if the connection breaks, or says something else.
        """
        while not self._left:
            header = self._exactly(_FRAME.size)
            if not header:
                return None
            self._stream, self._left = _FRAME.unpack(header)
            if self._stream > _SYSTEM_ERROR:
                raise StreamError(f"the engine sends a stream number {self._stream}, which there is not")
        if self._stream == _SYSTEM_ERROR:
            raise StreamError(self._exactly(min(self._left, _HEADER_LIMIT)).decode("utf-8", "replace").strip())
        data = self._some(self._left)
        if not data:
            raise StreamError("the engine broke off the stream")
        self._left -= len(data)
        return self._stream or STDOUT, data

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._some(size - len(data))
            if not more and data:
                raise StreamError("the engine broke off the stream")
            if not more:
                return b""
            data += more
        return data

    def _some(self, size: int) -> bytes:
        if self._at == len(self._buffer):
            self._buffer, self._at = self._recv(), 0
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        return data

    def _recv(self) -> bytes:
        while True:
            with self._lock:
                try:
                    data = self._socket.recv(_CHUNK)
                    self._over = not data
                    return data
                except BlockingIOError:
                    pass
            self._await(select.POLLIN)

    def _await(self, event: int) -> None:
        number = self._socket.fileno()
        if number < 0:
            raise OSError("the connection was closed")
        poll = select.poll()
        poll.register(number, event)
        poll.poll(_WAKE)

    def close(self) -> None:
        """Hang up. A thread that waits in :meth:`receive` sees the end."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def default_sockets(environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Paths where docker's and podman's sockets are wont to be, whether or not they are there."""
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    home = environ.get("HOME") or os.path.expanduser("~")
    docker = ["/var/run/docker.sock", f"{runtime}/docker.sock", f"{home}/.docker/run/docker.sock"]
    return [*docker, f"{home}/.docker/desktop/docker.sock"], [
        f"{runtime}/podman/podman.sock",
        "/run/podman/podman.sock",
    ]
