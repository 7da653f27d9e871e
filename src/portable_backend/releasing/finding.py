"""Which interpreters there are: on this machine, or in an image."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Optional

from ..errors import UsageError
from ..interpreters import Interpreter, read_interpreter
from .plan import Python, PythonName, Wish

_PROGRAM = re.compile(r"(?:python3\.([0-9]+)(t?)|(pypy)3\.([0-9]+))")
_IN_IMAGE = re.compile(r"(?:cp3([0-9]+)-cp3[0-9]+(t?)|(pp)3([0-9]+)-pypy3[0-9]+_pp[0-9]+)")
HERE = "on PATH, under pyenv or under uv"
Progress = Callable[[str], None]


def name_of(interpreter: Interpreter) -> PythonName:
    """What an interpreter is."""
    return PythonName(interpreter.implementation, interpreter.version[:2], interpreter.free_threaded)


def find_here(wishes: Sequence[Wish], progress: Progress) -> dict[Python, Interpreter]:
    """The interpreters of this machine that wishes ask for, one of each kind, best known place first.

    Those of paths come first; then what is on PATH, the one that runs us, and those of pyenv and uv, each asked what it
    is. One that does not answer is left out, with a line that says so.

    :raises UsageError: for a path that is no interpreter.
    """
    found: dict[Python, Interpreter] = {}
    for wish in wishes:
        if wish.path is not None:
            interpreter = _at(wish)
            found[Python(name_of(interpreter), interpreter.version, wish.path)] = interpreter
    names = {python.name for python in found}
    for path, guess in _candidates():
        if guess in names or not any(_may_take(wish, guess) for wish in wishes):
            continue
        try:
            interpreter = read_interpreter(path)
        except UsageError as error:
            if not _is_shim(path):  # which is there for versions that are not active, too
                progress(f"left out: {error.message.splitlines()[0][:300]}")
            continue
        if name_of(interpreter) == guess and interpreter.implementation in ("cpython", "pypy"):
            # A shim is another interpreter in another directory.
            python = Python(guess, interpreter.version, interpreter.executable if _is_shim(path) else path)
            if _patch_fits(wishes, python):
                names.add(guess)
            found[python] = interpreter
    return found


def _is_shim(path: str) -> bool:
    """Whether it is one of pyenv's scripts that choose an interpreter when they run."""
    return os.path.basename(os.path.dirname(path)) == "shims"


def _at(wish: Wish) -> Interpreter:
    path = os.path.abspath(str(wish.path))
    if not os.access(path, os.X_OK) or not os.path.isfile(path):
        raise UsageError(f"--python {wish.text}: there is no executable file of that name")
    return read_interpreter(path)


def _patch_fits(wishes: Sequence[Wish], python: Python) -> bool:
    """Whether no other one of this name need be looked for: 3.11.4 may be behind a 3.11.7."""
    exact = [wish for wish in wishes if wish.low is not None and len(wish.low) == 3 and wish.low[:2] == python.name[1]]
    return not exact or any(wish.takes(python) for wish in exact)


def _may_take(wish: Wish, name: PythonName) -> bool:
    if wish.path is not None:
        return False
    names = wish.names
    return name in names if names is not None else wish.takes(Python(name, name.version))


def _candidates() -> Iterator[tuple[str, PythonName]]:
    """Executables and what their names promise, each once."""
    seen: set[str] = set()
    for path in _places():
        match = _PROGRAM.fullmatch(path.name)
        if match is None or str(path) in seen or not os.access(path, os.X_OK) or not path.is_file():
            continue
        seen.add(str(path))
        minor = int(match[1] or match[4])
        yield str(path), PythonName(match[3] or "cpython", (3, minor), match[2] == "t")


def _places() -> Iterator[Path]:
    for directory in filter(os.path.isabs, os.environ.get("PATH", "").split(os.pathsep)):
        yield from _listed(Path(directory))
    threads = "t" if getattr(sys, "abiflags", "").startswith("t") else ""
    # The one that runs us, by the name that its bin directory has for its version.
    yield Path(sys.executable).with_name(f"python{sys.version_info[0]}.{sys.version_info[1]}{threads}")
    home = Path(os.path.expanduser("~"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    for root in (pyenv, uv):
        for version in sorted(_listed(root), key=lambda path: _newest_first(path.name)):
            yield from _listed(version / "bin")


def _newest_first(name: str) -> list[int]:
    return [-int(number) for number in re.findall(r"[0-9]+", name)]


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


# --- images ------------------------------------------------------------------------------------------------------


def find_in_image(reference: str, engine_name: str) -> Optional[list[Python]]:
    """The interpreters under ``/opt/python`` of an image; ``None`` where the image is not on the engine yet.

    :raises StrategyBlocked: if there is no engine, or the image does not run.
    """
    import uuid

    from ..strategies.container.engine import RUN_LABEL, ContainerSpec, find_engine
    from ..strategies.container.guard import guarded

    engine = find_engine(engine_name)
    image = engine.find_image(reference)
    if image is None:
        return None
    run = uuid.uuid4().hex
    command = ("/bin/sh", "-c", "ls /opt/python")
    spec = ContainerSpec(image=image.id, command=command, labels={RUN_LABEL: run}, network=False)
    said = b""
    with guarded(engine, run), engine.start(spec) as connection:
        connection.end_input()
        while (piece := connection.receive()) is not None:
            said += piece[1] if piece[0] == 1 else b""
    return parse_listing(said.decode(errors="replace"))


def parse_listing(text: str) -> list[Python]:
    """Interpreters by the names of their directories in an image, as ``cp313-cp313t`` or ``pp310-pypy310_pp73``."""
    found = []
    for word in text.split():
        match = _IN_IMAGE.fullmatch(word)
        if match is not None:
            version = (3, int(match[1] or match[4]))
            name = PythonName("pypy" if match[3] else "cpython", version, match[2] == "t")
            found.append(Python(name, version))
    return found
