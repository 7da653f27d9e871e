"""``init`` on the pyproject.toml of real sdists: the same inner backend, a plan that works, undone to the byte.

    python tests/tools/init_real.py [--cache DIR] [--index-url URL] [--json FILE] [NAME==VERSION]…

Nothing is built: sdists are downloaded and unpacked. Prints a table; exit status 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import tomlkit
from unearth import PackageFinder

from portable_backend.adopting.init import known_settings
from portable_backend.inner import find_inner, own_table, read_pyproject
from portable_backend.plan import InnerBackend
from portable_backend.settings import parse_settings
from portable_backend.sources import opened_source

PROJECTS = (
    # setuptools
    "markupsafe==3.0.3",
    "msgpack==1.1.2",
    "kiwisolver==1.4.9",
    "lxml==6.0.2",
    "psutil==7.1.0",
    "regex==2025.9.18",
    "greenlet==3.2.4",
    "wrapt==2.0.1",
    "aiohttp==3.13.0",
    "cffi==2.0.0",
    "zstandard==0.25.0",
    "coverage==7.10.7",
    "mypy==1.18.2",
    # setuptools, and no pyproject.toml or no build-backend in it
    "docopt==0.6.2",
    "crcmod==1.7",
    "simplejson==3.20.2",
    "python-rapidjson==1.22",
    "cython==3.1.4",
    "pycosat==0.6.6",
    # setuptools-rust
    "bcrypt==5.0.0",
    "tiktoken==0.12.0",
    # scikit-build-core
    "levenshtein==0.27.1",
    "rapidfuzz==3.14.1",
    "awkward-cpp==50",
    # maturin
    "orjson==3.11.4",
    "rpds-py==0.27.1",
    "pydantic-core==2.41.4",
    "cryptography==46.0.2",
    # meson-python
    "numpy==2.3.4",
    "contourpy==1.3.3",
    "matplotlib==3.10.7",
    "pandas==2.3.3",
    # hatchling
    "attrs==25.4.0",
    "black==25.9.0",
    "jsonschema==4.25.1",
    # poetry-core, flit, pdm
    "rich==14.2.0",
    "tomlkit==0.13.3",
    "packaging==25.0",
    "idna==3.11",
    "pdm==2.25.9",
    # backends in their own trees
    "setuptools==80.9.0",
    "flit-core==3.12.0",
    "hatchling==1.27.0",
    "pdm-backend==2.4.5",
    "meson-python==0.18.0",
    "pillow==11.3.0",
    "pyyaml==6.0.3",
    "scikit-build-core==0.11.6",
    # another one
    "pyqt6==6.9.1",
)


@dataclass
class Row:
    """One line of the table; of a table for cibuildwheel, how many settings and notes came out of it."""

    project: str
    backend: str = "-"
    path: str = ""
    removed: int = 0
    added: int = 0
    cibuildwheel: str = "-"
    detail: str = "ok"


def find_sdist(finder: PackageFinder, requirement: str, cache: Path) -> Path:
    """The archive of an sdist, downloaded once."""
    known = cache / f"{requirement}.txt"
    if known.is_file():
        return cache / known.read_text(encoding="utf-8")
    best = finder.find_best_match(requirement).best
    if best is None:
        raise LookupError("there is no such sdist")
    assert best.link is not None
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        finder.download_and_unpack(best.link, scratch, cache)
    known.write_text(best.link.filename, encoding="utf-8")
    return cache / best.link.filename


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``portable-backend`` as a user would."""
    whole = [sys.executable, "-m", "portable_backend.cli", *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PORTABLE_BACKEND_")}
    done = subprocess.run(whole, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environ)
    if done.returncode:
        raise ValueError(f"{arguments[0]} ended with {done.returncode}: {done.stderr.strip()[:300]}")
    return done


def inner_of(source: Path) -> tuple[dict[str, Any], InnerBackend]:
    """What the file says, and the backend that builds."""
    data = read_pyproject(source)
    return data, find_inner(data, parse_settings(known_settings(own_table(data)), {}))


def try_project(row: Row, source: Path) -> None:
    """Init, plan, init again, undo."""
    path = source / "pyproject.toml"
    original: Optional[bytes] = path.read_bytes() if path.exists() else None
    _, before = inner_of(source)
    row.backend, row.path = before.name, " ".join(before.path)
    diff = json.loads(command("init", str(source), "--yes", "--json").stdout)["diff"].splitlines()
    row.removed = sum(line.startswith("-") and not line.startswith("---") for line in diff)
    row.added = sum(line.startswith("+") and not line.startswith(("+++", "+#")) for line in diff)
    written = path.read_bytes()
    data, after = inner_of(source)
    expect("the same inner backend", after, before)
    expect("our name in build-backend", data["build-system"]["build-backend"], "portable_backend")
    expect("what tomlkit makes of it", tomlkit.parse(written.decode()).as_string().encode(), written)
    kept = [line for line in (original or b"").splitlines() if line.lstrip().startswith(b"#")]
    expect("comments", [line for line in kept if line not in written.splitlines()], [])
    planned = json.loads(command("plan", str(source), "--json").stdout)
    expect("the inner backend of the plan", planned["inner_backend"], before.name)
    again = json.loads(command("init", str(source), "--yes", "--json").stdout)
    expect("a second init", (again["changed"], path.read_bytes()), (False, written))
    command("init", str(source), "--undo", "--yes")
    expect("the bytes after undo", path.read_bytes() if path.exists() else None, original)
    if "cibuildwheel" in data.get("tool", {}):
        row.cibuildwheel = try_translation(source, original, before)


def try_translation(source: Path, original: Optional[bytes], before: InnerBackend) -> str:
    """The same with the options of cibuildwheel, once with its table left and once without."""
    path = source / "pyproject.toml"
    for more in ((), ("--remove-cibuildwheel",)):
        said = json.loads(command("init", str(source), "--from-cibuildwheel", *more, "--yes", "--json").stdout)
        expect("the inner backend beside cibuildwheel's options", inner_of(source)[1], before)
        command("init", str(source), "--undo", "--yes")
        expect("the bytes after undo, with cibuildwheel's options", path.read_bytes(), original)
    found = said["cibuildwheel"]
    return f"{len(found['settings'])} settings, {len(found['commands'])} commands, {len(found['notes'])} notes"


def expect(what: str, found: object, wanted: object) -> None:
    """Complain if something is not as it should be."""
    if found != wanted:
        raise ValueError(f"{what}: {str(found)[:200]} instead of {str(wanted)[:200]}")


def main() -> int:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "portable-backend-sdists")
    parser.add_argument("--index-url", default=os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("projects", nargs="*", default=PROJECTS)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    finder = PackageFinder(index_urls=[options.index_url], no_binary=[":all:"], ignore_compatibility=True)
    rows: list[Row] = []
    for requirement in options.projects:
        row = Row(requirement)
        try:
            archive = find_sdist(finder, requirement, options.cache)
            with opened_source(str(archive), sys.executable, lambda line: None) as source:
                try_project(row, source)
        except Exception as error:  # whatever it is, the others are tried, too
            row.detail = f"{type(error).__name__}: {error}"
        rows.append(row)
        print(
            f"{row.project:26} {row.backend:34} {row.path:14} -{row.removed} +{row.added:<3} {row.cibuildwheel:36}"
            f" {row.detail}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    good = sum(row.detail == "ok" for row in rows)
    print(f"{good} of {len(rows)} as they should be")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
