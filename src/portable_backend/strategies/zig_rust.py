"""What Cargo is told for builds with zig: which linker, and which paths of this machine must not be in the result.

rustc writes the paths of sources into messages of panics, those of crates below Cargo's home among them. A wrapper
around it (``RUSTC_WRAPPER``) maps them. Flags in the environment would do so, too, but they take the place of the
project's own (``build.rustflags``), and Cargo compiles everything anew when they change; it does not look at what a
wrapper adds.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Optional

WRAPPER = "portable-backend-rustc"
"""File name of the wrapper, among the toolchain's."""

MAPS_VARIABLE = "PORTABLE_BACKEND_ZIG_RUST_MAPS"
CHAINED_VARIABLE = "PORTABLE_BACKEND_ZIG_RUST_WRAPPER"

WRAPPER_TEXT = f"""#!/bin/sh
# Cargo runs this with rustc and its arguments.
chained=${{{CHAINED_VARIABLE}-}}
IFS='
'
set -f
for map in ${{{MAPS_VARIABLE}-}}; do
  set -- "$@" "--remap-path-prefix=$map"
done
exec ${{chained:+"$chained"}} "$@"
"""


def cargo_home(environ: Mapping[str, str], source: Path) -> str:
    """Cargo's home directory, empty if there is none (the Cargo book, "Cargo Home")."""
    if environ.get("CARGO_HOME"):
        return os.path.join(source, environ["CARGO_HOME"])
    home = environ.get("HOME", "")
    return os.path.join(home, ".cargo") if os.path.isabs(home) else ""


def path_maps(source: Path, scratch: Path, environ: Mapping[str, str]) -> Sequence[str]:
    """``OLD=NEW`` pairs for rustc, of which the last one that fits counts."""
    home, target = cargo_home(environ, source), environ.get("CARGO_TARGET_DIR", "")
    olds = [(str(scratch), "/build"), (str(source), ".")]
    if target:
        olds.append((os.path.join(source, target), "./target"))
    if home:
        olds += [(os.path.realpath(home), "/cargo"), (home, "/cargo")]
    return [f"{old}={new}" for old, new in dict(olds).items() if "\n" not in old]


def users_wrapper(source: Path, environ: Mapping[str, str]) -> str:
    """The wrapper around rustc that Cargo would run without us (as sccache), empty if there is none.

    ``RUSTC_WRAPPER`` counts, else ``build.rustc-wrapper``: of the environment, then of the nearest
    ``.cargo/config.toml``, then of that in Cargo's home (the Cargo book, "Configuration"). An empty value says that
    there shall be none.
    """
    for name in ("RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"):
        if name in environ:
            found = environ[name]
            # A build inside a build: ours would run itself.
            return environ.get(CHAINED_VARIABLE, "") if os.path.basename(found) == WRAPPER else found
    home = cargo_home(environ, source)
    places = [directory / ".cargo" for directory in (source, *source.parents)]
    for place in [*places, *([Path(home)] if home else [])]:
        for text in _configured(place):
            # A path is relative to the directory that .cargo is in; a bare name is looked for on PATH.
            return os.path.join(place.parent, text) if os.sep in text else text
    return ""


def needs_rust(kind: Optional[str], source: Path) -> bool:
    """Whether a project is built by Cargo: by maturin, or by setuptools with setuptools-rust."""
    if kind != "setuptools":
        return kind == "maturin"
    try:
        with (source / "pyproject.toml").open("rb") as file:
            requires = _load_toml(file)["build-system"]["requires"]
    except (OSError, KeyError, TypeError, ValueError):
        return False
    return any(re.match(r"setuptools[-_.]+rust\b", text, re.IGNORECASE) for text in requires if isinstance(text, str))


def _load_toml(file: IO[bytes]) -> dict[str, Any]:
    """As tomllib does; imported when there is something to read, so that ``doctor`` can do without."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.load(file)


def lacks_std(triple: str, source: Path, environ: Mapping[str, str]) -> bool:
    """Whether there is a rustc that has no standard library for a target; Cargo would say so crate by crate.

    Asked in the source, where a ``rust-toolchain.toml`` may choose another rustc.
    """
    command = [environ.get("RUSTC") or "rustc", "--print", "target-libdir", "--target", triple]
    try:
        directory = subprocess.run(
            command,
            cwd=source,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return False  # maturin may bring one; else it says that there is none
    return not glob.glob(os.path.join(glob.escape(directory), "libstd-*.rlib"))


def _configured(place: Path) -> Iterator[str]:
    """``build.rustc-wrapper`` in Cargo's configuration in that directory."""
    for name in ("config", "config.toml"):  # Cargo takes the old name where both are there
        try:
            with (place / name).open("rb") as file:
                table: dict[str, Any] = _load_toml(file)
            text = table["build"]["rustc-wrapper"]
        except (OSError, KeyError, TypeError, ValueError, RecursionError):
            continue  # Cargo itself will say what is wrong
        if isinstance(text, str):
            yield text
