"""The corpus: published wheels of many kinds, by name, version and hash. They come from pip's index, once.

``TESTS_CACHE`` says where they are kept (one directory, the wheels flat in it). ``TESTS_WHEELS`` says which ones the
tests take: ``ci`` (the default: a few small ones), ``all``, or ``large`` (all, and those of hundreds of megabytes).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

LIST = Path(__file__).with_name("corpus.json")
GROUPS = ("ci", "all", "large")
# What a wheel for every interpreter is asked for with; the second for projects that have left the first behind.
_PYTHONS = ("3.13", "3.8")


class Unavailable(Exception):
    """A wheel of the corpus cannot be had."""


@dataclass(frozen=True, order=True)
class Entry:
    """One wheel.

    :param file: its file name.
    :param sha256: of its bytes, in hexadecimal.
    :param size: in bytes.
    :param kinds: words for what it is there for; ``ci`` and ``large`` are groups.
    """

    file: str
    project: str
    version: str
    sha256: str
    size: int
    kinds: tuple[str, ...]

    @property
    def group(self) -> str:
        """The smallest group that it belongs to."""
        return next((group for group in ("ci", "large") if group in self.kinds), "all")


def read_corpus(group: str = "large", path: Path = LIST) -> tuple[Entry, ...]:
    """The wheels of a group, the small ones first.

    :raises ValueError: if there is no such group.
    """
    if group not in GROUPS:
        raise ValueError(f"TESTS_WHEELS is {group!r}, not one of {', '.join(GROUPS)}")
    entries = [Entry(**{**each, "kinds": tuple(each["kinds"])}) for each in json.loads(path.read_bytes())]
    wanted = GROUPS[: GROUPS.index(group) + 1]
    return tuple(sorted((entry for entry in entries if entry.group in wanted), key=lambda entry: entry.size))


def write_corpus(entries: Iterable[Entry], path: Path = LIST) -> None:
    """One line a wheel, so that a change is a line."""
    lines = [json.dumps(asdict(entry)) for entry in sorted(entries)]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


def chosen() -> tuple[Entry, ...]:
    """The wheels that the tests of this run take."""
    return read_corpus(os.environ.get("TESTS_WHEELS") or "ci")


def cache_directory() -> Path:
    """Where the wheels are kept."""
    return Path(os.environ.get("TESTS_CACHE") or Path.home() / ".cache" / "portable-backend-tests")


def find_wheel(entry: Entry, cache: Path) -> Optional[Path]:
    """The wheel in the cache; one of another size is none."""
    path = cache / entry.file
    return path if path.is_file() and path.stat().st_size == entry.size else None


def get_wheel(entry: Entry, cache: Path) -> Path:
    """The wheel, from the cache or from pip's index.

    :raises Unavailable: if it cannot be downloaded, or is another one than it was.
    """
    path = find_wheel(entry, cache)
    if path is None:
        path = download(entry.file, cache, entry.sha256)
    return path


def get_wheels(entries: Sequence[Entry], cache: Path, parallel: int = 3) -> list[Path]:
    """All of them, in their order.

    :raises Unavailable: if one of them is.
    """
    with ThreadPoolExecutor(parallel) as pool:
        return list(pool.map(lambda entry: get_wheel(entry, cache), entries))


def download(file: str, cache: Path, sha256: Optional[str] = None) -> Path:
    """Download a wheel by its file name, and by its hash where that is known.

    :raises Unavailable: if pip does not find this very file.
    """
    cache.mkdir(parents=True, exist_ok=True)
    said = ""
    for python in _pythons(file):
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as scratch:
            requirements = Path(scratch, "requirements.txt")
            name, version = file.split("-")[:2]
            requirements.write_text(f"{name}=={version}" + (f" --hash=sha256:{sha256}" if sha256 else "") + "\n")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--no-deps"]
            command += [*_tag_options(file), "--python-version", python, "-r", str(requirements), "-d", scratch]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if Path(scratch, file).is_file():
                os.replace(Path(scratch, file), cache / file)
                return cache / file
            said = done.stderr.strip() or f"pip chose {[path.name for path in Path(scratch).glob('*.whl')]}"
    raise Unavailable(f"{file} cannot be downloaded: {said[-1000:]}")


def _tag_options(file: str) -> list[str]:
    python, abi, platform = file[: -len(".whl")].split("-")[-3:]
    word = python.split(".")[0][:2]
    options = ["--only-binary", ":all:", "--implementation", word if word in ("cp", "pp") else "cp"]
    options += [] if abi == "none" else ["--abi", abi.rpartition(".")[2]]
    return [*options, *(f"--platform={each}" for each in platform.split("."))]


def _pythons(file: str) -> Sequence[str]:
    word = file.split("-")[-3].partition(".")[0]
    # The last release of the interpreter that there could be: some projects exclude early ones.
    return (f"{word[2]}.{word[3:]}.99",) if word[:2] in ("cp", "pp") else _PYTHONS


def digest_of(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
