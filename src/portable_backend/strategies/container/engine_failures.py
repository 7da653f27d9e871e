"""Why an engine does not do as it is asked, in words, and what to do about it."""

from __future__ import annotations

import os
import re
import ssl
from typing import Optional

from .dial import STDERR, Endpoint, HttpError
from .engine_base import CannotRun, EngineError, OutputLost

ENGINE_LOST = "see whether the engine still runs, and build again"
_EXEC_FORMAT = "exec format error"
# Where the program itself is missing, runc says so in other words, and an emulator that is missing in these.
_EXEC_MISSING = re.compile(r"(^exec /\S+|exec user process caused): no such file or directory", re.I | re.M)


def explain_unreachable(program: str, endpoint: Endpoint, error: Exception) -> EngineError:
    """Why an engine does not answer, in words, and what to do about it."""
    where = f"{program} at {endpoint.host}"
    path = endpoint.socket_path
    if isinstance(error, PermissionError) or (isinstance(error, HttpError) and error.status in {401, 403}):
        return EngineError(
            f"{where} is there, but this user may not use it: {reason_of(error)}",
            f"join the group that owns {path or 'it'} (usermod -aG docker USER; then log in again), "
            "run a rootless engine, or install podman",
        )
    if isinstance(error, ssl.SSLError) or "HTTPS server" in str(error):
        return EngineError(
            f"{where} and this machine do not agree about TLS: {reason_of(error)}",
            "see that DOCKER_TLS_VERIFY is set if the engine wants TLS, and that DOCKER_CERT_PATH holds its ca.pem, "
            "and cert.pem and key.pem for this user",
        )
    if isinstance(error, FileNotFoundError) and error.filename:
        return EngineError(
            f"{where}: cannot read {error.filename}", "set DOCKER_CERT_PATH to where the certificates are"
        )
    if path is not None:
        return EngineError(f"{where} does not answer: {reason_of(error)}", _start_cure(program, path))
    if endpoint.host.startswith("ssh://"):
        cure = f"see that `ssh {endpoint.host[6:]} docker version` works without a question"
        return EngineError(f"{where} does not answer: {reason_of(error)}", cure)
    return EngineError(
        f"{where} does not answer: {reason_of(error)}",
        "see that the engine runs and listens there; for this machine's: unset DOCKER_HOST, docker context use default",
    )


def _start_cure(program: str, path: str) -> str:
    rootless = path.startswith(("/run/user/", "/home/")) or f"/{os.getuid()}/" in path
    unit = "podman.socket" if program == "podman" else "docker"
    cure = f"start it: systemctl {'--user ' if rootless else ''}start {unit}"
    return f"{cure}; or name another one in DOCKER_HOST"


def reason_of(error: Exception) -> str:
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return "it takes too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message or "its certificate is not trusted"
    if isinstance(error, HttpError):
        return str(error)
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error) or type(error).__name__


# What registries and engines say, in the order in which to look: a refusal often mentions "not found" too.
_PULL_FAILURES: tuple[tuple[str, str, str], ...] = (
    ("no space left", "the disk of the engine is full", "make room: {command} system prune"),
    (
        "toomanyrequests|rate limit",
        "its registry serves no more for now",
        "log in ({command} login), wait, or make the image local ({command} load)",
    ),
    (
        "no matching manifest|no image found in .*for architecture|does not match the specified platform|choos.* image",
        "its registry does not have it for {platform}",
        "name another one in container.image, or load one that was saved elsewhere ({command} load)",
    ),
    (
        "unauthorized|authentication required|denied|forbidden|invalid username|credential",
        "its registry does not let this user have it, or does not have it",
        "log in ({command} login), check the name, or name another one in container.image",
    ),
    (
        "manifest unknown|not found|name unknown|invalid reference|repository does not exist|no such image",
        "its registry does not have it",
        "check the name; container.image names another one; `{command} load` makes one local that was saved elsewhere",
    ),
    (
        "",
        "its registry cannot be reached",
        "check the network; or make the image local ({command} load), or name a local one in container.image",
    ),
)
# What can be wrong with a registry that is not there; any other text is told as it is.
_OUT_OF_REACH = (
    "no such host|dial tcp|timeout|timed out|connection refused|connection reset|unreachable|x509|certificate|eof|"
    "temporary failure|proxyconnect|tls|lookup|pinging container registry"
)


def explain_pull(command: str, reference: str, platform: Optional[str], text: str) -> EngineError:
    """Why an image cannot be had, from what the engine says."""
    text = _last_words(text)
    for pattern, what, cure in _PULL_FAILURES:
        found = re.search(pattern or _OUT_OF_REACH, text, re.IGNORECASE)
        # "lookup registry: no such host ... not found" is no statement about the image.
        unreachable = re.search("no such host|dial tcp|connection refused|i/o timeout", text, re.IGNORECASE)
        if found and (not pattern or not unreachable):
            why = what.format(platform=platform or "this machine")
            return EngineError(f"cannot pull {reference}: {why}: {text}", cure.format(command=command))
    cure = f"make the image local ({command} load), or name another one in container.image"
    return EngineError(f"cannot pull {reference}: {text}", cure)


def explain_failure(description: str, action: str, text: str) -> EngineError:
    """Why an engine refuses something else, from what it says."""
    text = _last_words(text)
    if (error := _cannot_run(description, text)) is not None:
        return error
    cure = None
    if re.search("no space left|disk quota", text, re.IGNORECASE):
        cure = "the disk of the engine is full: make room (docker system prune, portable-backend's own cache)"
    elif re.search("does not match the (specified|detected)|cannot be used on this platform", text, re.IGNORECASE):
        cure = "name an image for the target's architecture in container.image"
    return EngineError(f"{description} cannot {action}: {text}", cure)


def _cannot_run(description: str, text: str) -> Optional[CannotRun]:
    """Why the image's programs do not run, if that is what the text says."""
    if _EXEC_FORMAT in text.lower():
        cure = (
            "install an emulator and have the kernel use it (Debian, Ubuntu: the packages qemu-user-static and "
            "binfmt-support; or `docker run --privileged --rm tonistiigi/binfmt --install all`), or build on a machine "
            "of that architecture; `portable-backend doctor` tells which architectures the kernel emulates"
        )
        return CannotRun(f"{description} cannot run programs of the image's architecture: {text}", cure)
    if _EXEC_MISSING.search(text):
        cure = (
            "if the image is of another architecture: the kernel looks for the emulator inside the container, unless "
            "it is registered with the flag F, as Debian's package qemu-user-static does; if not: the image lacks that "
            "program, or its loader"
        )
        return CannotRun(f"{description} cannot start the image's programs: {text}", cure)
    return None


def _last_words(text: str) -> str:
    """The telling part of what a program printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("See '")]
    return " / ".join(lines[-3:])[-1000:] or "it does not say why"


class Beginning:
    """Watches for a main process that the kernel refuses: its output is one line of the engine's, on stream 2.

    ``text`` is what came on stream 2, as long as nothing came on stream 1.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self.text: Optional[bytes] = b""

    def watch(self, piece: Optional[tuple[int, bytes]]) -> Optional[tuple[int, bytes]]:
        """The piece.

        :raises EngineError: if it is the end of such a line.
        """
        if self.text is None:
            return piece
        if piece is None:
            text = self.text.decode("utf-8", "replace").strip()
            if (error := _cannot_run(self._description, text)) is not None:
                raise error
        elif piece[0] == STDERR and len(self.text) < 2000:
            self.text += piece[1]
        else:
            self.text = None
        return piece


def explain_lost(description: str, error: Exception) -> OutputLost:
    return OutputLost(f"the connection to the container is lost ({description}): {innermost(error)}", ENGINE_LOST)


def innermost(error: BaseException) -> str:
    """What was wrong at the bottom of an error that was wrapped and wrapped again."""
    seen = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        inner = inner or next((each for each in error.args if isinstance(each, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
