"""``init`` edits pyproject.toml and nothing else in it, shows the diff first, and can be undone to the byte."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_backend.adopting import editing
from portable_backend.adopting.undoing import remembers, undo, with_memory, without_memory
from portable_backend.errors import SettingsError
from portable_backend.inner import find_inner, own_table, read_pyproject
from portable_backend.plan import InnerBackend
from portable_backend.settings import parse_settings
from support.command_line import entries, refuse, run

SETUPTOOLS = """\
# What builds us.
[build-system]
requires = ["setuptools>=77", "cython"]  # both
build-backend = "setuptools.build_meta"

[project]
name = "sample"
version = "1.0"
"""

# name: (pyproject.toml, the inner backend before and after, a line that must be there afterwards)
TRAITS = {
    "one line": (
        SETUPTOOLS,
        "setuptools.build_meta",
        'requires = ["setuptools>=77", "cython", "portable-backend"]  # both',
    ),
    "a line each": (
        '[build-system]\nrequires = [\n    # pinned\n    "hatchling",  # one\n    "hatch-vcs"\n    # the end\n]\n'
        'build-backend = "hatchling.build" # h\n',
        "hatchling.build",
        '    "portable-backend",',
    ),
    "tabs, literal strings": (
        "[build-system]\nrequires = [\n\t'maturin>=1',\n]\nbuild-backend = 'maturin'\n",
        "maturin",
        '\t"portable-backend",',
    ),
    "aligned below the bracket": (
        '[build-system]\nrequires = ["meson-python",\n            "pybind11"]\nbuild-backend = "mesonpy"\n',
        "mesonpy",
        '            "portable-backend"]',
    ),
    "two known backends": (
        '[build-system]\nrequires = ["scikit-build-core", "setuptools"]\nbuild-backend = "scikit_build_core.build"\n',
        "scikit_build_core.build",
        'inner-backend = "scikit-build-core"',
    ),
    "an unknown backend": (
        '[build-system]\nrequires = ["sipbuild"]\nbuild-backend = "sipbuild.api"\n',
        "sipbuild.api",
        'inner-backend = "sipbuild.api"',
    ),
    "another object of a known one": (
        '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.setuptools.build_meta"\n',
        "scikit_build_core.setuptools.build_meta",
        'inner-backend = "scikit_build_core.setuptools.build_meta"',
    ),
    "an object reference": (
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta:__legacy__"\n',
        "setuptools.build_meta:__legacy__",
        'inner-backend = "setuptools.build_meta:__legacy__"',
    ),
    "in-tree": (
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "backend:hooks"\nbackend-path = [".", "_build"]\n',
        "backend:hooks",
        'inner-backend-path = [".", "_build"]',
    ),
    "no build-backend": (
        '[build-system]\nrequires = ["setuptools", "numpy"]\n\n# the project\n[project]\nname = "x"\n',
        "setuptools.build_meta:__legacy__",
        'build-backend = "portable_backend"',
    ),
    "no build-system": (
        '[project]\nname = "x"\ndynamic = ["version"]\n\n[tool.setuptools.dynamic]\nversion = {file = "VERSION"}',
        "setuptools.build_meta:__legacy__",
        'requires = ["setuptools>=40.8.0", "portable-backend"]',
    ),
    "inline": (
        'build-system = { requires = ["flit_core >=3.4"], build-backend = "flit_core.buildapi" }\n[project]',
        "flit_core.buildapi",
        '"portable-backend"],',
    ),
    "dotted": (
        'build-system.requires = ["poetry-core"]\nbuild-system.build-backend = "poetry.core.masonry.api"\n',
        "poetry.core.masonry.api",
        'build-system.build-backend = "portable_backend"',
    ),
    "out of order": (
        '[tool.black]\nline-length = 100\n[build-system]\nrequires = ["pdm-backend"]\nbuild-backend = "pdm.backend"\n'
        "[tool.isort]\nprofile = 'black'\n[project]\nname = 'x'\n[tool.pdm.version]\nsource = 'scm'\n",
        "pdm.backend",
        'build-backend = "portable_backend"',
    ),
    "nothing required": (
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend",
        'requires = ["portable-backend"]',
    ),
    "letters of the world": (
        "# \u00fcber \u2192 \U0001f40d\n[build-system]\n"
        'requires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
        "setuptools.build_meta",
        "# \u00fcber \u2192 \U0001f40d",
    ),
}


def make(directory: Path, text: str) -> Path:
    (directory / "pyproject.toml").write_bytes(text.encode("utf-8"))
    return directory / "pyproject.toml"


def inner_of(directory: Path) -> InnerBackend:
    data = read_pyproject(directory)
    return find_inner(data, parse_settings(own_table(data), {}))


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("trait", TRAITS)
def test_the_inner_backend_stays_and_undo_gives_the_bytes_back(
    trait: str, ends: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, backend, line = TRAITS[trait]
    path = make(tmp_path, text.replace("\n", ends))
    original, before = path.read_bytes(), inner_of(tmp_path)
    assert before.name == backend
    assert run(capsys, "init", tmp_path, "--yes").code == 0
    assert inner_of(tmp_path) == before
    data = read_pyproject(tmp_path)
    assert data["build-system"]["build-backend"] == "portable_backend"
    assert data["build-system"]["requires"].count("portable-backend") == 1
    assert "backend-path" not in data["build-system"]
    written = path.read_bytes()
    assert line.encode() in written
    assert ends == "\n" or written.count(b"\n") == written.count(b"\r\n")
    assert tomlkit.parse(written.decode()).as_string().encode() == written
    planned = run(capsys, "plan", tmp_path, "--json")
    assert planned.code == 0, planned
    assert json.loads(planned.out)["inner_backend"] == backend
    again = run(capsys, "init", tmp_path, "--yes")
    assert (again.code, path.read_bytes()) == (0, written)
    assert "nothing to change" in again.out
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    assert path.read_bytes() == original
    assert entries(tmp_path) == ["pyproject.toml"]


def test_only_the_lines_that_matter_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, SETUPTOOLS)
    run(capsys, "init", tmp_path, "--yes")
    changed = [line for line in SETUPTOOLS.splitlines() if line not in path.read_text().splitlines()]
    assert changed == ['requires = ["setuptools>=77", "cython"]  # both', 'build-backend = "setuptools.build_meta"']
    assert "[tool.portable-backend]" not in path.read_text()


def test_the_diff_is_shown_and_nothing_is_written_without_consent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path, SETUPTOOLS)
    shown = run(capsys, "init", tmp_path, "--dry-run")
    assert shown.code == 0
    assert '\n-build-backend = "setuptools.build_meta"\n' in shown.out
    assert '\n+build-backend = "portable_backend"\n' in shown.out
    asked = run(capsys, "init", tmp_path)  # there is no terminal
    assert asked.code == 2
    assert "--yes" in asked.err
    assert asked.out == shown.out
    assert path.read_text() == SETUPTOOLS


@pytest.mark.parametrize(("answer", "written"), [(b"y\n", True), (b"n\n", False), (b"\n", False), (b"\x04", False)])
def test_a_terminal_is_asked(answer: bytes, written: bool, tmp_path: Path) -> None:
    path = make(tmp_path, SETUPTOOLS)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "portable_backend.cli", "init", str(tmp_path)]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=_environ()) as process:
        os.write(master, answer)
        os.close(slave)
        shown = _drained(master)
        assert process.wait(60) == (0 if written else 2), shown
    assert b"[y/N]" in shown
    assert (path.read_text() != SETUPTOOLS) is written


def _drained(master: int) -> bytes:
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            os.close(master)
            return shown
        shown += piece


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_settings_of_the_command_line_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, SETUPTOOLS)
    assert run(capsys, "init", tmp_path, "--yes", "--target", "manylinux2014", "--container").code == 0
    assert read_pyproject(tmp_path)["tool"]["portable-backend"] == {"target": "manylinux2014", "container": {}}
    # later ones are added or replaced; what the first one wrote can still be undone in one go
    assert run(capsys, "init", tmp_path, "--yes", "--target", "manylinux_2_28", "--strategy", "zig").code == 0
    table = {"target": "manylinux_2_28", "strategy": "zig", "container": {}}
    assert read_pyproject(tmp_path)["tool"]["portable-backend"] == table
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    assert path.read_text() == SETUPTOOLS


def test_a_bad_target_is_refused_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, SETUPTOOLS)
    assert "unknown target" in refuse(capsys, 3, "init", tmp_path, "--yes", "--target", "manylinux_banana")
    assert path.read_text() == SETUPTOOLS


def test_settings_join_a_table_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        SETUPTOOLS + "\n[tool.portable-backend]  # ours\nstrip = true\n\n# about ruff\n[tool.ruff]\nline-length = 99\n"
    )
    path = make(tmp_path, text)
    assert run(capsys, "init", tmp_path, "--yes", "--target", "musllinux_1_2").code == 0
    assert (
        '[tool.portable-backend]  # ours\ntarget = "musllinux_1_2"\nstrip = true\n\n# about ruff\n' in path.read_text()
    )
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    assert path.read_text() == text


def test_a_project_with_setup_py_alone_gets_a_file_that_undo_removes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "setup.py").write_text("from setuptools import setup\nsetup(name='x', version='1')\n")
    before = inner_of(tmp_path)
    assert run(capsys, "init", tmp_path, "--yes").code == 0
    assert inner_of(tmp_path) == before
    assert stat.S_IMODE((tmp_path / "pyproject.toml").stat().st_mode) & 0o444 == 0o444
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    assert entries(tmp_path) == ["setup.py"]


def test_a_file_that_init_made_stays_when_more_was_written_into_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "setup.py").touch()
    run(capsys, "init", tmp_path, "--yes")
    path = tmp_path / "pyproject.toml"
    path.write_text(path.read_text() + "\n[tool.ruff]\nline-length = 99\n")
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    assert read_pyproject(tmp_path) == {"tool": {"ruff": {"line-length": 99}}}


def test_undo_keeps_what_was_changed_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, SETUPTOOLS)
    run(capsys, "init", tmp_path, "--yes")
    later = (
        path.read_text().replace('"1.0"', '"1.1"').replace("# What builds us.\n", "# What builds us.\n# And more.\n")
    )
    path.write_text(later + "\n[tool.new]\nkey = 1\n")
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    expected = SETUPTOOLS.replace('"1.0"', '"1.1"').replace("# What builds us.\n", "# What builds us.\n# And more.\n")
    assert path.read_text() == expected + "\n[tool.new]\nkey = 1\n"


def test_undo_refuses_where_its_own_lines_have_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, SETUPTOOLS)
    run(capsys, "init", tmp_path, "--yes")
    changed = path.read_text().replace('"portable-backend"]', '"portable-backend>=1"]')
    path.write_text(changed)
    message = refuse(capsys, 3, "init", tmp_path, "--undo", "--yes")
    assert 'build-backend = "setuptools.build_meta"' in message  # what to put back by hand
    assert path.read_text() == changed


def test_undo_without_an_init_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, SETUPTOOLS)
    assert "does not remember" in refuse(capsys, 3, "init", tmp_path, "--undo", "--yes")


def test_without_the_comment_the_change_is_for_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, SETUPTOOLS)
    run(capsys, "init", tmp_path, "--yes")
    path.write_text(without_memory(path.read_text()))
    assert "init" not in path.read_text()
    assert run(capsys, "init", tmp_path, "--yes").code == 0
    assert "init" not in path.read_text()


def test_json_tells_what_was_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, SETUPTOOLS)
    data = json.loads(run(capsys, "init", tmp_path, "--dry-run", "--json").out)
    assert (data["changed"], data["written"], data["inner_backend"]) == (True, False, "setuptools.build_meta")
    data = json.loads(run(capsys, "init", tmp_path, "--yes", "--json").out)
    assert (data["changed"], data["written"], data["path"]) == (True, True, str(path))
    assert "+build-backend" in data["diff"]
    data = json.loads(run(capsys, "init", tmp_path, "--yes", "--json").out)
    assert (data["changed"], data["written"], data["diff"]) == (False, False, "")
    data = json.loads(run(capsys, "init", tmp_path, "--undo", "--yes", "--json").out)
    assert (data["written"], data["inner_backend"]) == (True, None)


# --- attacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"[build-system]\nrequires = [\n\nbuild-backend = 'x'\n", 3, "line 4"),
        (b"\xef\xbb\xbf[build-system]\nrequires = []\n", 3, "byte order mark"),
        (b"[build-system]\n# \xff\nrequires = []\n", 3, "UTF-8"),
        (b"[build-system]\nrequires = 'setuptools'\n", 3, "list of strings"),
        (b"build-system = 1\n", 3, "must be a table"),
        (b"[build-system]\nrequires = ['no requirement']\n", 4, "no requirement"),
        (b"[tool.ruff]\nline-length = 99\n", 2, "neither [build-system] nor [project]"),
        (b"[build-system]\nrequires = []\nbuild-backend = 'b'\nbackend-path = ['../o']\n", 3, "inside the project"),
        (b"[project]\nname = 'x'\n[tool.portable-backend]\ntargt = 'x'\n", 3, "did you mean target"),
        (b"[build-system]\nrequires = ['portable-backend']\nbuild-backend = 'portable_backend'\n", 4, "inner-backend"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_left_alone(
    data: bytes, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_bytes(data)
    assert said in refuse(capsys, code, "init", tmp_path, "--yes")
    assert (tmp_path / "pyproject.toml").read_bytes() == data
    assert entries(tmp_path) == ["pyproject.toml"]


def test_there_has_to_be_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no project" in refuse(capsys, 2, "init", tmp_path, "--yes")
    assert "no such directory" in refuse(capsys, 2, "init", tmp_path / "none", "--yes")
    assert entries(tmp_path) == []


def test_a_read_only_file_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, SETUPTOOLS)
    path.chmod(0o444)
    assert "chmod" in refuse(capsys, 9, "init", tmp_path, "--yes")
    assert path.read_text() == SETUPTOOLS


def test_the_mode_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, SETUPTOOLS)
    path.chmod(0o640)
    run(capsys, "init", tmp_path, "--yes")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_inside_the_project_stays_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "meta").mkdir()
    real = make(tmp_path / "meta", SETUPTOOLS)
    (tmp_path / "pyproject.toml").symlink_to(real)
    assert run(capsys, "init", tmp_path, "--yes").code == 0
    assert (tmp_path / "pyproject.toml").is_symlink()
    assert "portable_backend" in real.read_text()


def test_a_symbolic_link_out_of_the_project_is_not_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "project"
    project.mkdir()
    real = make(tmp_path, SETUPTOOLS)
    (project / "pyproject.toml").symlink_to(real)
    assert "symbolic link" in refuse(capsys, 9, "init", project, "--yes")
    assert real.read_text() == SETUPTOOLS
    assert (project / "pyproject.toml").is_symlink()


def test_a_directory_or_a_pipe_of_that_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pyproject.toml").mkdir()
    assert "no regular file" in refuse(capsys, 3, "init", tmp_path / "a", "--yes")
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "pyproject.toml")
    assert "no regular file" in refuse(capsys, 3, "init", tmp_path / "b", "--yes")


def test_a_failed_write_leaves_the_file_and_nothing_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path, SETUPTOOLS)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in refuse(capsys, 9, "init", tmp_path, "--yes")
    assert path.read_text() == SETUPTOOLS
    assert entries(tmp_path) == ["pyproject.toml"]


def test_a_change_between_the_question_and_the_answer_is_not_lost(tmp_path: Path) -> None:
    from portable_backend.adopting.init import Wishes, apply_proposal, propose_init
    from portable_backend.errors import OutputError

    path = make(tmp_path, SETUPTOOLS)
    proposal = propose_init(tmp_path, Wishes())
    path.write_text(SETUPTOOLS + "# meanwhile\n")
    with pytest.raises(OutputError, match="changed meanwhile"):
        apply_proposal(proposal)
    assert path.read_text() == SETUPTOOLS + "# meanwhile\n"


def test_without_tomlkit_the_message_has_the_line_that_installs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, SETUPTOOLS)
    monkeypatch.setitem(sys.modules, "tomlkit", None)
    assert 'pip install "portable-backend[init]"' in refuse(capsys, 6, "init", tmp_path, "--yes")


def test_tomlkit_is_imported_by_nothing_but_editing() -> None:
    code = "import sys, portable_backend.cli, portable_backend.adopting.init; print('tomlkit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=_environ(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "comment",
    [
        "# 9999999 lines with the digest 0000000000000000 stand for:\n#-x\n",
        "# 1 lines with the digest 0000000000000000 stand for:\n",
        "#-evil = 1\n",
    ],
)
def test_a_comment_that_was_tampered_with_changes_nothing(
    comment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = with_memory("a = 1\n", "a = 2\n").splitlines(keepends=True)[2]
    path = make(tmp_path, "a = 2\n\n" + head + comment)
    before = path.read_text()
    run(capsys, "init", tmp_path, "--undo", "--yes")
    assert path.read_text() in (before, "a = 2\n")


def test_an_undo_that_would_leave_no_toml_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, with_memory("a = [\n", "a = 2\n"))
    before = path.read_text()
    assert "once undone" in refuse(capsys, 3, "init", tmp_path, "--undo", "--yes")
    assert path.read_text() == before


_LINES = st.lists(st.sampled_from(["a\n", "b\r\n", "c\n", "\n", "# d\n", "a\r\n"]), max_size=8).map("".join)
_TEXTS = st.tuples(_LINES, st.sampled_from(["", "e", "a"])).map("".join)


@given(original=_TEXTS, edited=_TEXTS.filter(bool))
def test_whatever_was_edited_is_remembered_to_the_byte(original: str, edited: str) -> None:
    text = with_memory(original, edited)
    assert remembers(text)
    assert undo(text) == original
    whole = edited if edited.endswith("\n") else edited + ("\r\n" if edited.partition("\n")[0].endswith("\r") else "\n")
    assert without_memory(text) == whole


@given(_TEXTS.filter(bool))
def test_a_file_that_was_made_is_gone_after_undo(edited: str) -> None:
    assert undo(with_memory(None, edited)) is None


def test_lines_that_occur_twice_are_told_apart() -> None:
    edited = "x = [\n  'p',\n]\ny = [\n  'p',\n]\n"
    assert undo(with_memory("x = [\n  'p',\n]\ny = [\n]\n", edited)) == "x = [\n  'p',\n]\ny = [\n]\n"
    moved = with_memory("x = [\n]\n", "x = [\n  'p',\n]\n").replace("\n\n#", "\nx = [\n  'p',\n]\n\n#")
    with pytest.raises(SettingsError, match="are there 2 times"):
        undo(moved)


@pytest.mark.parametrize(
    "requires",
    [
        '["a", # one\n  "b" # two\n]',
        '[ # zero\n  "a", # one\n  "b" # two\n]',
        '[\n  # first\n\n  "a"\n  # last\n]',
        '["a" # x\n]',
        '["a"\n , "b" # y\n]',
        "[ # only\n]",
        "[\n  # nothing here\n]",
        '[ "a" , "b" , ]',
        '["a",\n# c1\n"b",\n# c2\n]',
        '[\n    "a", "b", # ab\n    "c"]',
    ],
)
def test_no_comment_is_lost_and_none_swallows_the_requirement(
    requires: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f'# top\n[build-system] # sys\nrequires = {requires} # end\nbuild-backend = "x" # be\n\n# next\n[project]\n'
    path = make(tmp_path, text)
    before = read_pyproject(tmp_path)["build-system"]["requires"]
    assert run(capsys, "init", tmp_path, "--yes").code == 0
    after = read_pyproject(tmp_path)["build-system"]["requires"]
    assert sorted(after) == sorted([*before, "portable-backend"])
    written = without_memory(path.read_text())
    assert [comment for comment in re.findall(r"#[^\n]*", text) if comment.strip() not in written] == []
    assert run(capsys, "init", tmp_path, "--undo", "--yes").code == 0
    assert path.read_text() == text


_GAP = st.sampled_from(["", " ", "\n", "\n  ", " # c1\n", "\n\t# c2\n\t", "\n\n    ", " # 'c3\n# [c4]\n"])
_ITEM = st.sampled_from(['"a"', "'b'", '"c>=1"', '"""d"""', '"e; python_version < \\"3.9\\""'])


@given(parts=st.lists(st.tuples(_GAP, _ITEM, _GAP), max_size=4), comma=st.booleans(), end=_GAP, crlf=st.booleans())
@settings(max_examples=150, deadline=None)
def test_however_the_requirements_are_written(
    parts: list[tuple[str, str, str]], comma: bool, end: str, crlf: bool
) -> None:
    array = (
        ",".join(f"{before}{item}{behind}" for before, item, behind in parts) + ("," if parts and comma else "") + end
    )
    text = f'[build-system]\nrequires = [{array}]  # end\nbuild-backend = "x"\n[project]\n'
    text = text.replace("\n", "\r\n") if crlf else text
    before = tomlkit.parse(text).unwrap()["build-system"]["requires"]
    edited = editing.edit_pyproject(text, editing.Changes(("portable-backend",), True, {}))
    after = tomlkit.parse(edited).unwrap()["build-system"]["requires"]
    assert [each for each in after if each != "portable-backend"] == before
    assert len(after) == len(before) + 1
    assert sorted(re.findall(r"#[^\r\n]*", edited)) == sorted(re.findall(r"#[^\r\n]*", text))
    assert undo(with_memory(text, edited)) == text


def test_an_edit_that_says_something_else_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "_put", lambda array, requirement: None)
    with pytest.raises(SettingsError, match="without harm"):
        editing.edit_pyproject(SETUPTOOLS, editing.Changes(("portable-backend",), True, {}))


def test_what_tomlkit_would_get_wrong_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "_with_system", lambda text, *_: text.replace("sample", "other"))
    with pytest.raises(SettingsError, match="without harm"):
        editing.edit_pyproject(SETUPTOOLS, editing.Changes(("portable-backend",), True, {}))


def test_what_is_to_be_done_by_hand_is_said_in_toml() -> None:
    changes = editing.Changes(("portable-backend",), True, {"target": "manylinux_2_17", "container": {"image": "x"}})
    lines = textwrap.dedent(editing._by_hand(changes))
    assert tomlkit.parse(lines).unwrap()["tool"]["portable-backend"] == dict(changes.settings)
