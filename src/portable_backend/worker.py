"""The other end of the container strategy: the main process of the container.

It is started with nothing but an interpreter of the image; this package and its pure-Python dependencies come in on
standard input, then the job, then the sources. It does what a frontend would (isolated environment, build requirements)
and then what this backend does everywhere: build with the host strategy, judge, repair, judge again. When the client's
connection ends, standard input does, and with it this process and everything that it started.
"""

from __future__ import annotations

import importlib
import io
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Optional

from . import pipeline
from .errors import BuildFailed, PortableBackendError, StrategyBlocked
from .inner import build_requires, read_pyproject
from .settings import settings_from_json
from .strategies.container import wire

_TOLD_LINES = 20
_QUEUED = 64
_CACHES = Path("/portable-backend-cache")
_COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++")
# Where the build proper must have no network, only this interface may be left.
_LOOPBACK = {"lo"}
_ENTER = """#!/bin/sh
# Continue where the build stopped: its environment, in its directory.
{exports}
cd {directory}
command -v bash >/dev/null && exec bash -i
exec sh -i
"""


def main(base: str) -> NoReturn:
    """Do one job and exit: 0 if a result was sent, 1 if an error was.

    :param base: the directory that our own code was unpacked to, and that everything else goes to.
    """
    sending = os.dup(1)
    os.dup2(2, 1)  # whatever else writes to standard output must not get between the frames
    if os.getpid() != 1:
        os.setsid()
    link = _Link(sys.stdin.buffer, os.fdopen(sending, "wb", buffering=0))
    sys.stdout = io.TextIOWrapper(_Output(link), encoding="utf-8", errors="backslashreplace", line_buffering=True)
    job = link.job()
    work = _Work(job, link, Path(base))
    try:
        result = work.run()
    except PortableBackendError as error:
        status = _report(link, work, type(error).__name__, error.message, error.cure)
    except BaseException as error:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        status = _report(link, work, "PortableBackendError", f"inside the container: {text}", "please report it")
    else:
        link.send_json(wire.RESULT, result)
        status = 0
    sys.stdout.flush()
    # Not sys.exit(): the thread that reads would have to end first.
    os._exit(status)


def _report(link: _Link, work: _Work, kind: str, message: str, cure: Optional[str]) -> int:
    """Send an error; where the container shall be kept, stay in it."""
    sys.stdout.flush()
    stays = bool(work.job["keep"])
    if stays:
        work.write_enter()
        link.stay()
    data = {"class": kind, "message": message, "cure": cure, "phase": work.phase, "kept": stays}
    link.send_json(wire.ERROR, data)
    while stays:
        signal.pause()
    return 1


class _Link:
    """The connection to the client."""

    def __init__(self, reading: BinaryIO, writing: io.RawIOBase) -> None:
        self._reading, self._writing = reading, writing
        self._lock = threading.Lock()
        self._stays = False
        self._frames: queue.Queue[tuple[bytes, bytes]] = queue.Queue(_QUEUED)
        self._write(wire.MAGIC)
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, kind: bytes, payload: bytes) -> None:
        """Send one frame."""
        self._write(wire.frame(kind, payload))

    def send_json(self, kind: bytes, value: Any) -> None:
        """Send one frame of JSON."""
        self._write(wire.json_frame(kind, value))

    def job(self) -> dict[str, Any]:
        """The job, which is what comes first."""
        import json

        kind, payload = self._frames.get()
        if kind != wire.JOB:
            raise wire.WireError(f"the first frame is {kind!r}, no job")
        return dict(json.loads(payload))

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Have the client do what can only be done from outside, and wait until it has."""
        import json

        self.send_json(wire.QUESTION, question)
        kind, payload = self._frames.get()
        if kind != wire.ANSWER:
            raise wire.WireError(f"a frame {kind!r} came instead of an answer")
        return dict(json.loads(payload))

    def tar_pieces(self) -> Iterator[bytes]:
        """The pieces of the tar with the sources."""
        while True:
            kind, payload = self._frames.get()
            if kind != wire.TAR:
                raise wire.WireError(f"a frame {kind!r} came among the sources")
            if not payload:
                return
            yield payload

    def stay(self) -> None:
        """From now on the end of the connection does not end this process."""
        self._stays = True

    def _listen(self) -> None:
        try:
            while True:
                frame = wire.read_frame(self._reading.read)
                if frame is None:
                    break
                self._frames.put(frame)
        finally:
            if not self._stays:
                _end_everything()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with self._lock:
            try:
                while view:
                    view = view[self._writing.write(view) or 0 :]
            except OSError:
                _end_everything()


def _end_everything() -> NoReturn:
    """End this process and what it started; as the first process of a container, the container."""
    if os.getpid() != 1:
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


class _Output(io.RawIOBase):
    """Standard output, for Python code in this process: it goes to the client as frames."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._link.send(wire.OUTPUT, bytes(data))
        return len(data)


class _Work:
    """One job."""

    def __init__(self, job: dict[str, Any], link: _Link, base: Path) -> None:
        self.job = job
        self.phase = "sources"
        self._link = link
        self._base = base
        self._root = base / "project"
        self._project = self._root / job["project"]

    def run(self) -> dict[str, Any]:
        """Do the job and return what is sent as the result."""
        self._set_environ()
        self._unpack_sources()
        os.chdir(self._project)
        self._before_all()
        with self._environment() as environment:
            python = str(environment.python_executable)
            os.environ.update(environment.make_extra_environ())
            os.environ.pop("PYTHONPATH", None)
            os.environ["VIRTUAL_ENV"] = str(environment.path)
            build = self._requirements(environment, python)
            if self.job["before_build"]:
                self._enter("before-build")
                self._shell(self.job["before_build"])
            self._network_off()
            return self._metadata(build) if self.job["op"] == "metadata" else self._wheel(build)

    # --- phases --------------------------------------------------------------------------------------------------

    def _enter(self, phase: str) -> None:
        self.phase = phase

    def _tell(self, line: str) -> None:
        self._link.send(wire.PROGRESS, line.encode())

    def _set_environ(self) -> None:
        os.environ.update(self.job["environ"])
        os.environ.update(_git_trust(os.environ))
        for name, value in self.job["environment"].items():
            os.environ[name] = _expanded(value, os.environ)

    def _unpack_sources(self) -> None:
        from .strategies.container.stream import unpack

        unpack(io.BufferedReader(_Pieces(self._link.tar_pieces()), wire.PIECE), self._root)

    def _before_all(self) -> None:
        order = self.job["before_all"]
        if not order["run"]:
            return
        self._enter("before-all")
        before = _snapshot(self._root) if order["commit"] else {}
        self._shell(order["commands"])
        if not order["commit"]:
            return
        changed = sorted(name for name, seen in _snapshot(self._root).items() if before.get(name) != seen)
        if changed:  # the project is no part of what is kept, and the next build would miss this
            self._tell(
                f"before-all changed the project ({changed[0]}): its result is not kept; before-build is for that"
            )
        else:
            self._tell("keeping the result of before-all for the next build")
            self._link.ask({"ask": "commit"})

    @contextmanager
    def _environment(self) -> Iterator[Any]:
        """An isolated environment, made by the library ``build``, with uv where the image has it."""
        from build import BuildException
        from build.env import DefaultIsolatedEnv

        self._enter("requirements")
        if self.job["caches"]:
            self._use_caches()
        installer: Any = "uv" if shutil.which("uv") else "pip"
        try:
            # Always the same place, so that compilers' caches see the same paths again.
            isolated = DefaultIsolatedEnv(installer=installer, path=str(self._base / "environment"))
        except TypeError:  # build < 1.5
            isolated = DefaultIsolatedEnv(installer=installer)
        try:
            environment = isolated.__enter__()
        except (BuildException, OSError) as error:
            raise BuildFailed(f"no isolated environment could be made: {error}") from None
        # Not left again: it ends with the container, or stays for whoever enters that.
        yield environment

    def _requirements(self, environment: Any, python: str) -> pipeline.Build:
        self._install(environment, build_requires(read_pyproject(self._project)))
        settings = replace(
            settings_from_json(self.job["settings"]), strategy="host", container=None, target=self.job["target"]
        )
        build = pipeline.read_build_with(self._project, settings, python)
        inner = pipeline.call_inner(build, "get_requires_for_build_wheel", config_settings=self.job["config_settings"])
        ours = [] if self.job["op"] == "metadata" else pipeline.build_requirements(build)
        self._install(environment, [*inner, *ours])
        _borrow_compressor(environment.path)
        return build

    def _install(self, environment: Any, requirements: Sequence[str]) -> None:
        if not requirements:
            return
        self._tell(f"installing {', '.join(requirements)}")
        try:
            environment.install(requirements)
            if self.job["bytecode"]:
                _stamp_sources(environment.path)
        except subprocess.CalledProcessError as error:
            said = b"\n".join(filter(None, (error.stdout, error.stderr))).decode(errors="replace")
            raise BuildFailed(
                f"the build requirements {', '.join(requirements)} cannot be installed in the container:\n{_last(said)}"
            ) from None

    def _network_off(self) -> None:
        if self.job["network"]:
            return
        self._link.ask({"ask": "network-off"})
        left = set(os.listdir("/sys/class/net")) - _LOOPBACK if os.path.isdir("/sys/class/net") else set()
        if left:
            message = f"network = false, but the container still has {', '.join(sorted(left))}"
            raise StrategyBlocked(message, "use an engine that can disconnect a container, as docker does")

    def _wheel(self, build: pipeline.Build) -> dict[str, Any]:
        self._enter("build")
        out = self._base / "out"
        metadata = self._base / "metadata"
        prepared = next(iter(metadata.iterdir()), None) if metadata.is_dir() else None
        name = pipeline.build_wheel(
            build,
            out,
            self.job["config_settings"],
            str(prepared) if prepared is not None else None,
            self._tell,
        )
        with (out / name).open("rb") as file:
            while piece := file.read(wire.PIECE):
                self._link.send(wire.DATA, piece)
        return {"name": name}

    def _metadata(self, build: pipeline.Build) -> dict[str, Any]:
        self._enter("metadata")
        out = self._base / "out"
        out.mkdir()
        hook = "prepare_metadata_for_build_wheel"
        name = pipeline.call_inner(
            build, hook, str(out), config_settings=self.job["config_settings"], _allow_fallback=False
        )
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(out / name, name)
        self._link.send(wire.DATA, buffer.getvalue())
        return {"name": name}

    # --- means ---------------------------------------------------------------------------------------------------

    def _shell(self, commands: Sequence[str]) -> None:
        """Run the project's commands, each in a shell, in the project's directory.

        :raises BuildFailed: if one fails.
        """
        for command in commands:
            text = command.replace("{project}", str(self._root)).replace("{package}", str(self._project))
            self._tell(f"{self.phase}: {text}")
            status, last = self._run(["/bin/sh", "-ec", text])
            if status:
                raise BuildFailed(f"{self.phase} failed (exit status {status}): {command}\n{_last(last)}")

    def _run(self, command: Sequence[str]) -> tuple[int, str]:
        """Run a command; its output goes to the client as it comes. Returns its exit status and its last output."""
        last = b""
        # Nobody is there to answer; Debian's packages ask on a terminal of their own otherwise.
        environ = {"DEBIAN_FRONTEND": "noninteractive", **os.environ}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ
        ) as process:
            assert process.stdout is not None
            while piece := os.read(process.stdout.fileno(), wire.PIECE):
                self._link.send(wire.OUTPUT, piece)
                last = (last + piece)[-(1 << 16) :]
        return process.returncode, last.decode(errors="replace")

    def _use_caches(self) -> None:
        """Point the tools that are there at the volumes; what the project says of them counts more."""
        made = {"PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv", "CARGO_HOME": "cargo", "CCACHE_DIR": "ccache"}
        made["SCCACHE_DIR"] = "sccache"
        home = Path(os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo"))
        if any((home / name).exists() for name in ("config", "config.toml", "credentials.toml")):
            del made["CARGO_HOME"]  # the image's own cargo is set up in there
        elif (home / "bin").is_dir():
            os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{home / 'bin'}"
        if self.job["bytecode"]:
            os.environ.setdefault("PYTHONPYCACHEPREFIX", self.job["bytecode"])
        for name, directory in made.items():
            if (_CACHES / directory).is_dir():
                os.environ.setdefault(name, str(_CACHES / directory))
        # Another file system than the environment's, so there is nothing to link.
        os.environ.setdefault("UV_LINK_MODE", "copy")
        if shutil.which("sccache"):
            os.environ.setdefault("RUSTC_WRAPPER", "sccache")
        ccache = shutil.which("ccache")
        if ccache is not None:
            self._put_before_compilers(ccache)

    def _put_before_compilers(self, ccache: str) -> None:
        """Links by the compilers' names, which is how ccache is put before them for every build system alike."""
        links = self._base / "compilers"
        links.mkdir()
        for name in _COMPILERS:
            if shutil.which(name):
                (links / name).symlink_to(ccache)
        os.environ["PATH"] = f"{links}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

    def write_enter(self) -> None:
        """Write the script that leads whoever enters the kept container to where the build stopped."""
        names = (name for name in sorted(os.environ) if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name))
        exports = "\n".join(f"export {name}={shlex.quote(os.environ[name])}" for name in names)
        directory = self._project if self._project.is_dir() else self._base
        script = self._base / "enter"
        script.write_text(_ENTER.format(exports=exports, directory=shlex.quote(str(directory))), encoding="utf-8")
        script.chmod(0o755)


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file to read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of all files below a directory, by path."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            found[os.path.relpath(path, root)] = (status.st_size, status.st_mtime_ns)
    return found


def _stamp_sources(environment: str) -> None:
    """Give the Python files of a new environment times by their contents: what was compiled for the last one fits."""
    from .strategies.container.luggage import content_time

    for directory, _, names in os.walk(os.path.join(environment, "lib")):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    seconds = content_time(file.read())
                os.utime(path, (seconds, seconds))


def _borrow_compressor(environment: str) -> None:
    """Import ``deflate``, which our writer looks for, from the environment of the build: it has this interpreter."""
    found = sorted(Path(environment).glob("lib*/python*/site-packages/deflate/__init__.py"))
    if not found:
        return
    site = str(found[0].parent.parent)
    sys.path.append(site)
    try:
        with suppress(ImportError):
            importlib.import_module("deflate")
    finally:
        sys.path.remove(site)


def _git_trust(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that make git work in a repository whoever owns it: this one came with the sources.

    Where git mistrusts a directory it answers nothing, and a version read from tags is silently a wrong one.
    """
    number = environ.get("GIT_CONFIG_COUNT", "0")
    count = int(number) if number.isdigit() else 0
    return {
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": "safe.directory",
        f"GIT_CONFIG_VALUE_{count}": "*",
    }


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    """``$NAME`` and ``${NAME}`` replaced by what the variables are inside; unknown ones by nothing, as a shell does."""
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda match: environ.get(match[1] or match[2], ""), text)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(f"    {line[:300]}" for line in lines[-_TOLD_LINES:])


__all__: Sequence[str] = ("main",)
