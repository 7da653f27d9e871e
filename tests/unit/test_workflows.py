"""``ci github`` prints a workflow that GitHub's schema accepts, and ``--matrix`` its matrix alone."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from portable_backend.adopting.github import ACTIONS, parse_pythons
from portable_backend.targets import Arch
from support.command_line import Outcome, entries, refuse, run

PROJECT = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


def github(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    outcome = run(capsys, "ci", "github", *arguments)
    assert outcome.code == 0, outcome
    return outcome


def parsed(text: str) -> dict[Any, Any]:
    # Workflows are YAML 1.2, PyYAML knows 1.1, in which "on" is a boolean.
    data = yaml.load(text, yaml.BaseLoader)
    assert isinstance(data, dict)
    return data


def steps(job: dict[str, Any], action: str) -> list[dict[str, Any]]:
    return [step for step in job["steps"] if str(step.get("uses", "")).startswith(f"{action}@")]


def commands(job: dict[str, Any]) -> str:
    return "\n".join(step["run"] for step in job["steps"] if "run" in step)


EVERY_ARCH = [f"manylinux_2_39_{arch.value}" for arch in Arch] + [f"musllinux_1_2_{arch.value}" for arch in Arch]


WORKFLOWS = {
    "usual": [],
    "no publishing": ["--no-publish"],
    "environment": ["--environment", "release.pypi-1"],
    "interpreters": ["--python", "3.9-3.13", "--python", "3.13t,pp311", "--target", "musllinux_1_2_x86_64"],
    "every architecture": [part for target in EVERY_ARCH for part in ("--target", target)],
}


def test_github_accepts_the_workflows(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All in one run of the checker, which takes a second to begin."""
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema, for Python 3.10 and newer")
    paths = []
    for name, arguments in WORKFLOWS.items():
        for table in ("", "[tool.portable-backend.container]\n"):
            (project / "pyproject.toml").write_text(PROJECT + table)
            path = project / ".github" / "workflows" / f"{name} {len(table)}.yml"
            assert github(capsys, project, *arguments, "--output", path).out.strip() == str(path)
            shown = github(capsys, project, *arguments).out
            assert path.read_text().partition("\n#\n# The job")[2] == shown.partition("\n#\n# The job")[2] != ""
            paths.append(str(path))
    assert len(paths) == 2 * len(WORKFLOWS)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actions_are_pinned_by_commit(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = github(capsys, project, "--target", "manylinux_2_17_s390x").out
    used = re.findall(r"uses: (\S+)@(\S+) # (v\d+\.\d+\.\d+)\n", text)
    assert len(used) == text.count("uses:") >= 8
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for _, commit, _ in used)
    assert {action for action, _, _ in used} <= set(ACTIONS)


def test_no_job_may_do_more_than_it_has_to(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = parsed(github(capsys, project).out)
    assert data["permissions"] == {"contents": "read"}
    jobs = data["jobs"]
    assert {name: job["permissions"] for name, job in jobs.items() if "permissions" in job} == {
        "publish": {"id-token": "write", "attestations": "write"}
    }
    assert steps(jobs["sdist"], "actions/checkout")[0]["with"]["persist-credentials"] == "false"
    assert "secrets." not in json.dumps(data)


def test_what_is_published_is_attested_and_comes_from_tags_only(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = parsed(github(capsys, project, "--environment", "release").out)["jobs"]
    publish = jobs["publish"]
    assert publish["environment"] == "release"
    assert publish["needs"] == ["sdist", "wheels"]
    assert "refs/tags/" in publish["if"]
    assert "'push'" in publish["if"]
    assert not commands(publish)  # nothing of the project runs where the token is
    assert steps(publish, "actions/attest-build-provenance")[0]["with"] == {"subject-path": "dist/*"}
    assert steps(publish, "pypa/gh-action-pypi-publish")
    assert set(parsed(github(capsys, project, "--no-publish").out)["jobs"]) == {"sdist", "wheels"}


def test_wheels_are_built_from_the_sdist_that_is_published(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = parsed(github(capsys, project).out)["jobs"]
    assert "--sdist" in commands(jobs["sdist"])
    wheels = jobs["wheels"]
    assert not steps(wheels, "actions/checkout")
    assert steps(wheels, "actions/download-artifact")[0]["with"]["name"] == "sdist"
    assert "portable-backend build sdist/*.tar.gz" in commands(wheels)
    assert "portable-backend audit wheelhouse/*.whl" in commands(wheels)
    assert wheels["strategy"]["matrix"] == "${{ fromJSON(needs.sdist.outputs.matrix) }}"
    # what a matrix says reaches a shell by the environment, never by the text of a script
    assert "${{" not in commands(wheels)


def test_the_first_job_asks_for_the_same_matrix(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--python", "3.9-3.12,3.13t", "--target", "musllinux_1_2_aarch64,manylinux_2_28_ppc64le"]
    text = github(capsys, project, *asked).out
    line = next(line for line in commands(parsed(text)["jobs"]["sdist"]).splitlines() if "--matrix" in line)
    words = shlex.split(line.partition("$(")[2].rstrip(")"))
    assert words[:3] == ["portable-backend", "ci", "github"]
    assert run(capsys, *words[1:]).out == github(capsys, project, *asked, "--matrix").out


def test_the_first_comment_makes_the_same_file_again(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = github(capsys, project, "--python", "3.12", "--no-publish", "--target", "manylinux2014_x86_64").out
    again = next(line for line in text.splitlines() if "ci github" in line)
    monkeypatch.chdir(project)
    assert run(capsys, *shlex.split(again.lstrip("# "))[1:]).code == 0
    assert (project / ".github/workflows/wheels.yml").read_text() == text


def test_the_matrix_runs_each_architecture_where_it_is_native(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = github(capsys, project, "--matrix").out
    assert out.count("\n") == 1
    include = json.loads(out)["include"]
    assert [(each["target"], each["runner"], each["how"]) for each in include] == [
        ("manylinux_2_17_x86_64", "ubuntu-24.04", "native"),
        ("manylinux_2_17_aarch64", "ubuntu-24.04-arm", "native"),
    ]
    assert [each["python"] for each in include] == ["3.11-3.14"] * 2
    assert include[0]["interpreters"].splitlines()[-1] == "3.13"  # that is the one that is called python
    assert sorted(include[0]["interpreters"].splitlines()) == ["3.11", "3.12", "3.13", "3.14"]
    assert github(capsys, project, "--matrix").out == out


def test_other_architectures_are_crossed_and_a_line_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--target", "manylinux_2_17_s390x", "--target", "manylinux_2_17_i686"]
    first, second = json.loads(github(capsys, project, "--matrix", *asked).out)["include"]
    assert (first["how"], first["emulated"], first["runner"]) == ("zig", True, "ubuntu-24.04")
    assert (second["how"], second["emulated"], second["runner"]) == ("native", False, "ubuntu-24.04")
    text = github(capsys, project, *asked).out
    assert "# manylinux_2_17_s390x: cross-compiled by zig on ubuntu-24.04; its tests run under qemu.\n" in text
    assert "qemu-user-static" in text
    assert "qemu" not in github(capsys, project).out
    (project / "pyproject.toml").write_text(PROJECT + '[tool.portable-backend]\nstrategy = "container"\n')
    (first, _) = json.loads(github(capsys, project, "--matrix", *asked).out)["include"]
    assert (first["how"], first["interpreters"]) == ("qemu", "3.13")
    text = github(capsys, project, *asked).out
    assert "# manylinux_2_17_s390x: built under qemu, in a container" in text
    assert "portable-backend[container]" in text
    assert steps(parsed(text)["jobs"]["wheels"], "docker/setup-qemu-action")[0]["if"] == "matrix.emulated"


def test_targets_come_from_the_settings(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def targets() -> list[str]:
        return [each["target"] for each in json.loads(github(capsys, project, "--matrix").out)["include"]]

    (project / "pyproject.toml").write_text(PROJECT + '[tool.portable-backend]\ntarget = "musllinux_1_2"\n')
    assert targets() == ["musllinux_1_2_x86_64", "musllinux_1_2_aarch64"]
    (project / "pyproject.toml").write_text(PROJECT + '[tool.portable-backend]\ntarget = "manylinux2014_x86_64"\n')
    assert targets() == ["manylinux_2_17_x86_64"]
    (project / "pyproject.toml").write_text(PROJECT + "[tool.portable-backend.container]\n")
    assert targets() == ["manylinux_2_28_x86_64", "manylinux_2_28_aarch64"]


def test_the_script_hands_each_interpreter_on(
    project: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The shell script of the build step, run with a command that prints what it is given."""
    job = parsed(github(capsys, project, "--python", "3.9-3.10,3.13t").out)["jobs"]["wheels"]
    step = next(step for step in job["steps"] if "build sdist" in step.get("run", ""))
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "portable-backend"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    environ = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "TARGET": "t; exit 3", "PYTHONS": "3.9-3.10 3.13t"}
    done = subprocess.run(["bash", "-e", "-c", step["run"]], env=environ, capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    assert words[-4:] == ["--target", "t; exit 3", "--python=3.9-3.10", "--python=3.13t"]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["3.12"], ("3.12",)),
        (["3.13", "3.9-3.11"], ("3.9", "3.10", "3.11", "3.13")),
        (["cp312, pp311,3.13t"], ("3.12", "3.13t", "pp311")),
        (["pypy3.10", "cp313t"], ("3.13t", "pp310")),
    ],
)
def test_interpreters_are_said_in_several_ways(texts: list[str], found: tuple[str, ...]) -> None:
    assert parse_pythons(texts) == found


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--python", "banana"], 2, "names no interpreter"),
        (["--python", "3.13-3.9"], 2, "names no interpreter"),
        (["--python", "$(id)"], 2, "names no interpreter"),
        (["--target", "win_amd64"], 3, "unknown target"),
        (["--environment", "x}} ${{ secrets.X"], 2, "--environment"),
        (["/no/such/directory"], 2, "no such directory"),
    ],
)
def test_bad_options_are_refused(
    arguments: list[str], code: int, said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if arguments[0].startswith("/") else [project]
    assert said in refuse(capsys, code, "ci", "github", *where, *arguments)


@pytest.mark.parametrize(("text", "code"), [("'>=3.99'", 2), ("'banana'", 3), ("3", 3)])
def test_a_project_for_no_interpreter_is_refused(
    text: str, code: int, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "pyproject.toml").write_text(f"[project]\nname = 'x'\nrequires-python = {text}\n")
    assert "requires-python" in refuse(capsys, code, "ci", "github", project)


def test_anothers_file_is_not_replaced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "wheels.yml"
    path.write_text("name: mine\n")
    assert "--force" in refuse(capsys, 9, "ci", "github", project, "--output", path)
    assert path.read_text() == "name: mine\n"
    github(capsys, project, "--output", path, "--force")
    made = path.read_text()
    github(capsys, project, "--output", path, "--python", "3.12")  # its own it replaces
    assert path.read_text() != made
    github(capsys, project, "--output", project / "matrix.json", "--matrix")
    github(capsys, project, "--output", project / "matrix.json", "--matrix", "--python", "3.12")
    assert json.loads((project / "matrix.json").read_text())["include"][0]["python"] == "3.12"
    assert entries(project) == ["matrix.json", "pyproject.toml", "wheels.yml"]


def test_an_output_that_cannot_be_written_is_an_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "file").touch()
    refuse(capsys, 9, "ci", "github", project, "--output", project / "file" / "wheels.yml")
