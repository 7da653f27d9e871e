"""Which wheels a release consists of, and in which order they may be built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_backend.errors import OutputError, SettingsError, UsageError
from portable_backend.releasing.capacity import available_memory, jobs_for
from portable_backend.releasing.finding import parse_listing
from portable_backend.releasing.logs import log_directory
from portable_backend.releasing.plan import (
    Job,
    Python,
    PythonName,
    Schedule,
    choose,
    covers,
    distinct,
    parse_wishes,
    serves,
)
from portable_backend.releasing.prepare import sdist_key
from portable_backend.releasing.project import read_project
from portable_backend.releasing.trials import copy_sources, filled, group_requirements, module_name
from portable_backend.wheels.names import parse_wheel_name

_LINUX = "manylinux_2_17_x86_64"
_OTHER = "musllinux_1_2_x86_64"


def _python(minor: int, free_threaded: bool = False, implementation: str = "cpython", patch: int = 1) -> Python:
    name = PythonName(implementation, (3, minor), free_threaded)
    return Python(name, (3, minor, patch), f"/bin/{name.tag}")


_HERE = [*(_python(minor) for minor in (13, 9, 12, 10, 11)), _python(13, True), _python(10, implementation="pypy")]


def _chosen(*texts: str, requires: Optional[str] = None) -> list[str]:
    return [python.name.tag for python in choose(parse_wishes(texts), _HERE, requires, "here").pythons]


# --- selection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "tags"),
    [
        (["3.9-3.13"], ["cp39", "cp310", "cp311", "cp312", "cp313"]),
        (["3.11,3.13"], ["cp311", "cp313"]),
        (["3.13", "3.11"], ["cp311", "cp313"]),
        (["cp312"], ["cp312"]),
        (["python3.12", "cp3.12"], ["cp312"]),
        (["cp39-cp311"], ["cp39", "cp310", "cp311"]),
        (["3.12-"], ["cp312", "cp313"]),
        (["all"], ["cp39", "cp310", "cp311", "cp312", "cp313"]),
        (["3.13t"], ["cp313t"]),
        (["cp313t", "3.13"], ["cp313", "cp313t"]),
        (["3.13t-"], ["cp313t"]),
        (["pypy"], ["pp310"]),
        (["pypy3.10", "pp310", "3.9"], ["cp39", "pp310"]),
        (["3.11.1"], ["cp311"]),
        (["/bin/cp312", "3.9"], ["cp39", "cp312"]),
    ],
)
def test_words_of_python_choose_interpreters(texts: list[str], tags: list[str]) -> None:
    assert _chosen(*texts) == tags


@pytest.mark.parametrize(
    "text", ["banana", "3.x", "2.7", "3.13-3.9", "3.9-3.13t", "-3.9", "3.9--3.11", "312", "", ",", "3"]
)
def test_words_that_name_nothing_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_wishes([text])


@pytest.mark.parametrize("text", ["3.8", "3.8-3.10", "3.14t", "3.11.4", "pypy3.9", "/bin/none"])
def test_what_is_asked_for_by_name_has_to_be_there(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        _chosen(text)
    assert "here" in caught.value.message
    assert caught.value.cure


def test_a_range_leaves_out_what_the_project_does_not_admit_and_says_so() -> None:
    selection = choose(parse_wishes(["3.6-3.13"]), _HERE, ">=3.11", "here")
    assert [python.name.tag for python in selection.pythons] == ["cp311", "cp312", "cp313"]
    assert [line.partition(":")[0] for line in selection.left_out] == ["3.6", "3.7", "3.8", "3.9", "3.10"]


@pytest.mark.parametrize("text", ["3.9", "cp39", "/bin/cp39"])
def test_a_single_one_that_the_project_does_not_admit_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"requires Python >=3\.10"):
        _chosen(text, requires=">=3.10")


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(UsageError, match="no interpreter that the project admits"):
        _chosen("all", requires=">=3.20")


@pytest.mark.parametrize(("requires", "tags"), [(">=3.9.1", ["cp39"]), (">=3.9.2", []), ("<3.10,!=3.9.7", ["cp39"])])
def test_the_last_number_counts_where_it_is_known(requires: str, tags: list[str]) -> None:
    python = _python(9)
    try:
        found = [each.name.tag for each in choose(parse_wishes(["3.9-"]), [python], requires, "here").pythons]
    except UsageError:
        found = []
    assert found == tags


def test_a_specifier_that_is_none_is_the_project_s_fault() -> None:
    with pytest.raises(SettingsError, match="requires-python"):
        _chosen("3.9", requires="3.9+")


def test_of_equal_interpreters_the_first_counts() -> None:
    first, second = _python(11, patch=7), _python(11, patch=9)._replace(executable="/other")
    assert choose(parse_wishes(["3.11"]), [first, second], None, "here").pythons == (first,)
    assert choose(parse_wishes(["3.11.9"]), [first, second], None, "here").pythons == (second,)


def test_interpreters_of_an_image_are_read_from_the_names_of_directories() -> None:
    listing = "cp313-cp313t\ncp39-cp39\npp310-pypy310_pp73\ncp314-cp314\ngraalpy312\nREADME ../../x\n"
    assert [python.name.tag for python in parse_listing(listing)] == ["cp313t", "cp39", "pp310", "cp314"]
    assert {python.executable for python in parse_listing(listing)} == {None}


# --- wheels and jobs ---------------------------------------------------------------------------------------------


def _name(tags: str) -> Any:
    return parse_wheel_name(f"p-1-{tags}.whl")


@pytest.mark.parametrize(
    ("tags", "serving"),
    [
        ("py3-none-any", "cp39 cp310 cp313 cp313t pp310"),
        ("py2.py3-none-any", "cp39 cp310 cp313 cp313t pp310"),
        ("py310-none-any", "cp310 cp313 cp313t pp310"),
        ("cp39-abi3-x", "cp39 cp310 cp313"),
        ("cp310-abi3-x", "cp310 cp313"),
        ("cp310-abi3.abi3t-x", "cp310 cp313 cp313t"),
        ("cp313-abi3t-x", "cp313t"),
        ("cp39-cp39-x", "cp39"),
        ("cp313-cp313t-x", "cp313t"),
        ("cp313-cp313-x", "cp313"),
        ("cp39-none-any", "cp39"),
        ("pp310-pypy310_pp73-x", "pp310"),
        ("py3-none-x", "cp39 cp310 cp313 cp313t pp310"),
    ],
)
def test_whom_a_wheel_serves(tags: str, serving: str) -> None:
    pythons = [_python(9), _python(10), _python(13), _python(13, True), _python(10, implementation="pypy")]
    assert " ".join(each.name.tag for each in pythons if serves(_name(tags), each.name)) == serving


def test_a_pure_wheel_is_for_every_target_another_for_its_own() -> None:
    job = Job(_python(11), _OTHER, _OTHER, "zig")
    assert covers(_name("py3-none-any"), _LINUX, job)
    assert not covers(_name("cp39-abi3-manylinux_2_17_x86_64"), _LINUX, job)
    assert covers(_name("cp39-abi3-musllinux_1_2_x86_64"), _OTHER, job)


def test_two_spellings_of_a_target_are_one_job() -> None:
    jobs = [Job(_python(11), "manylinux2014", _LINUX, "zig"), Job(_python(11), _LINUX, _LINUX, "zig")]
    assert distinct(jobs) == (jobs[0],)


_MINORS = (9, 10, 11, 12, 13)
_KINDS = ("py3-none-any", "cp39-abi3-{t}", "cp311-abi3-{t}", "{p}-{p}-{t}", "py3-none-{t}")


@given(
    kind=st.sampled_from(_KINDS),
    targets=st.lists(st.sampled_from([_LINUX, _OTHER, "manylinux_2_28_aarch64"]), min_size=1, max_size=3, unique=True),
    parallel=st.integers(1, 6),
    failing=st.sets(st.integers(0, 14), max_size=3),
    data=st.data(),
)
def test_every_job_gets_a_wheel_or_fails_and_none_is_built_for_nothing(
    kind: str, targets: list[str], parallel: int, failing: set[int], data: st.DataObject
) -> None:
    """Whatever the order that jobs end in: a stable ABI is compiled once a target, pure Python once."""
    jobs = [Job(_python(minor), target, target, "zig") for target in targets for minor in _MINORS]
    failed = {job for number, job in enumerate(jobs) if number in failing}
    schedule, running, served, built = Schedule(jobs), [], [], []
    while not schedule.finished:
        while len(running) < parallel and (job := schedule.begin()) is not None:
            running.append(job)
        assert running, "somebody may always begin"
        job = running.pop(data.draw(st.integers(0, len(running) - 1)))
        if job in failed:
            schedule.end(job)
            continue
        low = "cp311" in kind and job.python.name.version < (3, 11)
        tag = job.python.name.tag
        text = (_KINDS[3] if low else kind).format(t=job.target, p=tag)
        built.append(job)
        served += [job, *schedule.know(_name(text), job)]
        schedule.end(job)
    assert len(served) == len(set(served)), "nobody is served twice"
    assert set(jobs) - set(served) <= failed
    if kind == "py3-none-any":
        assert len(built) == (1 if served else 0)
    elif kind in ("cp39-abi3-{t}", "py3-none-{t}"):
        assert len({job.target for job in built}) == len(built)
    elif kind == "{p}-{p}-{t}":
        assert len(built) == len(jobs) - len(failed)


def test_once_wheels_are_known_to_be_for_one_interpreter_all_run_at_once() -> None:
    jobs = [Job(_python(minor), _LINUX, _LINUX, "zig") for minor in _MINORS]
    schedule = Schedule(jobs)
    assert schedule.begin() == jobs[0]
    assert schedule.begin() is None
    schedule.know(_name(f"cp39-cp39-{_LINUX}"), jobs[0])
    schedule.end(jobs[0])
    assert [schedule.begin() for _ in range(5)] == [*jobs[1:], None]


# --- the project -------------------------------------------------------------------------------------------------


def test_an_sdist_s_metadata_fill_what_pyproject_leaves_open(tmp_path: Path) -> None:
    (tmp_path / "PKG-INFO").write_text("Name: x\nVersion: 2.0\nRequires-Python: >=3.10\n\nName: body\n")
    assert read_project(tmp_path, {"project": {"name": "x", "dynamic": ["version"]}}) == ("x", "2.0", ">=3.10")
    (tmp_path / "PKG-INFO").unlink()
    (tmp_path / "setup.cfg").write_text(
        "[metadata]\nname = y\nversion = attr: y.v\n[options]\npython_requires = >=3.8\n"
    )
    project = read_project(tmp_path, {})
    assert project == ("y", None, ">=3.8")
    assert project.key is None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("My_Pkg-1.0.tar.gz", ("my-pkg", "1.0")),
        ("my-pkg-1.0rc1.tar.gz", ("my-pkg", "1.0rc1")),
        ("nothing.tar.gz", None),
        ("my-1.whl", None),
    ],
)
def test_what_an_sdist_is_called(name: str, key: Optional[tuple[str, str]]) -> None:
    assert sdist_key(Path(name)) == key


# --- trials ------------------------------------------------------------------------------------------------------


def test_groups_include_groups_and_never_themselves() -> None:
    groups: dict[str, Any] = {"Test_it": ["pytest", {"include-group": "more"}], "more": ["numpy>=2"], "loop": []}
    groups["loop"] = [{"include-group": "LOOP"}]
    pyproject = {"dependency-groups": groups}
    assert group_requirements(pyproject, ["test-it"]) == ["pytest", "numpy>=2"]
    for wrong in ("loop", "absent"):
        with pytest.raises(SettingsError, match=wrong):
            group_requirements(pyproject, [wrong])
    with pytest.raises(SettingsError, match="PEP 735"):
        group_requirements({"dependency-groups": {"x": [{"path": "."}]}}, ["x"])


def test_placeholders_are_quoted_and_variables_are_left_to_the_shell() -> None:
    said = "pytest {project}/tests {wheel} ${project} {other} {package}"
    assert filled(said, "/a b", "/w.whl") == "pytest '/a b'/tests /w.whl ${project} {other} '/a b'"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.cpython-312-x86_64-linux-gnu.so", "a.b"),
        ("b.abi3.so", "b"),
        ("a/__init__.cpython-39-x86_64-linux-gnu.so", "a"),
        ("a/b/c.so", "a.b.c"),
    ],
)
def test_the_name_of_a_module(path: str, name: str) -> None:
    assert module_name(path) == name


def test_sources_of_tests_are_copied_and_lead_nowhere_else(tmp_path: Path) -> None:
    root, there = tmp_path / "root", tmp_path / "there"
    (root / "tests" / "__pycache__").mkdir(parents=True)
    (root / "tests" / "t.py").write_text("")
    (root / "conftest.py").write_text("")
    (tmp_path / "secret").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    copy_sources(root, ("tests", "conftest.py", "tests/t.py"), there)
    assert sorted(path.relative_to(there).as_posix() for path in there.rglob("*")) == [
        "conftest.py",
        "tests",
        "tests/t.py",
    ]
    with pytest.raises(SettingsError, match="leads out"):
        copy_sources(root, ("link",), there)
    with pytest.raises(SettingsError, match="absent"):
        copy_sources(root, ("absent",), there)


# --- logs --------------------------------------------------------------------------------------------------------


def test_the_last_releases_are_remembered_and_nothing_else_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    logs = tmp_path / "portable-backend" / "logs"
    (logs / "somebody else's").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (logs / "x-20200101-000000").symlink_to(tmp_path / "elsewhere")
    old = [logs / f"p-20200101-0000{number:02}" for number in range(25)]
    for number, path in enumerate(old):
        path.mkdir()
        os.utime(path, (number, number))
    made = log_directory(None, "../my project")
    assert made.parent == logs
    assert [path for path in (*old, made) if path.is_dir()] == [*old[6:], made]
    assert (logs / "somebody else's").is_dir()
    assert (tmp_path / "elsewhere").is_dir()


def test_a_directory_for_logs_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--log-dir"):
        log_directory(tmp_path / "file" / "logs", "p")
    assert log_directory(tmp_path / "logs", "p") == tmp_path / "logs"


# --- the machine -------------------------------------------------------------------------------------------------


def test_jobs_by_processors_quota_and_memory() -> None:
    assert jobs_for(8, None, None) == 8
    assert jobs_for(8, 2.5, None) == 2
    assert jobs_for(8, 0.5, None) == 1
    assert jobs_for(8, None, 3 << 30) == 3
    assert jobs_for(8, None, 0) == 1
    assert available_memory("MemAvailable:  1024 kB\n", "max\n", "") == 1 << 20
    assert available_memory("MemAvailable:  1024 kB\n", "4096\n", "96\n") == 4000
    assert available_memory("", "max", "1") is None
