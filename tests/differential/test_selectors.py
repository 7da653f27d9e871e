"""What cibuildwheel's selectors select, asked of cibuildwheel itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from portable_backend.adopting.selectors import PYTHONS, architectures, select

_CASES = [
    ({}, None),
    ({"build": "cp3{11,12}-*", "skip": "*-musllinux*"}, ">=3.10"),
    ({"build": "cp31[0-3]-* pp*", "enable": "pypy pypy-eol"}, "<3.13"),
    ({"skip": "*_i686 cp3?-* cp314t-*", "archs": "all"}, None),
    ({"build": ["*-many*"], "skip": ["cp*t-*", "pp3{9,10}*"], "enable": ["all"], "archs": "i686 aarch64"}, None),
]  # fmt: skip


@pytest.mark.skipif(sys.version_info < (3, 11), reason="cibuildwheel needs Python 3.11")
@pytest.mark.parametrize(("options", "requires"), _CASES)
def test_the_same_builds_are_selected(options: dict[str, object], requires: str | None, tmp_path: Path) -> None:
    project = [f"requires-python = '{requires}'"] if requires else []
    lines = ["[project]", "name = 'x'", "version = '1'", *project, "[tool.cibuildwheel]"]
    lines += [f"{name} = {value!r}" for name, value in options.items()]
    (tmp_path / "pyproject.toml").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", "linux", str(tmp_path)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CIBW_")}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    theirs = {line for line in done.stdout.split() if line.partition("-")[0] in PYTHONS}

    def words(name: str) -> list[str]:
        value = options.get(name, "")
        return value.split() if isinstance(value, str) else list(value)  # type: ignore[call-overload,no-any-return]

    arches, _ = architectures(words("archs"))
    ours = select(words("build"), words("skip"), words("enable"), arches, requires)
    assert {build.identifier for build in ours} - {f"cp313t-{rest}" for rest in _platforms(theirs)} == theirs


def _platforms(identifiers: set[str]) -> set[str]:
    return {each.partition("-")[2] for each in identifiers}
