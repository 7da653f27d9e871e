"""What every strategy keeps to. A fake one shows that the suite asks for no more than the protocol promises."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import pytest
from packaging.requirements import Requirement

from portable_backend import pipeline
from portable_backend.errors import BuildFailed, StrategyBlocked
from portable_backend.interpreters import Interpreter, read_interpreter
from portable_backend.machine import HostFacts, read_host_facts
from portable_backend.plan import BuildPlan
from portable_backend.strategies import STRATEGIES
from portable_backend.strategies.base import BuildEnvironment, Strategy
from support.projects import write_fake_project

_NATIVE = {"tag": "py3-none-linux_x86_64", "compile": ["mod.c"]}
_C = {"mod.c": "#include <string.h>\nunsigned long answer(const char *text) { return strlen(text); }\n"}


class FakeStrategy:
    """The least that a strategy can be; it remembers what was done with it."""

    name = "fake"

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.output: list[str] = []

    def blocked(self, plan: BuildPlan, host: HostFacts) -> Optional[str]:
        return None if host.system == "linux" else "not here"

    def requires(self, plan: BuildPlan) -> Sequence[str]:
        return ("something>=1",)

    def _explain(self, lines: Sequence[str]) -> Optional[str]:
        self.output = list(lines)
        return "the fake toolchain lacks everything"

    @contextmanager
    def open(self, plan: BuildPlan, interpreter: Interpreter) -> Iterator[BuildEnvironment]:
        self.opened += 1
        try:
            environ = {"FAKE_STRATEGY": Path.cwd().name, "FAKE_BOTH": "strategy"}
            settings = {"key": ["strategy"]}
            yield BuildEnvironment(interpreter, environ, ("FAKE_HIDDEN",), settings, self._explain, lambda: ["a note"])
        finally:
            self.closed += 1


@pytest.fixture(params=[*STRATEGIES, "fake"])
def strategy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Strategy:
    """Each strategy there is, and one that is none; on a project that it is chosen for."""
    monkeypatch.setenv("PORTABLE_BACKEND_STRATEGY", "host" if request.param == "fake" else request.param)
    monkeypatch.delenv("PORTABLE_BACKEND_MODE", raising=False)
    return FakeStrategy() if request.param == "fake" else STRATEGIES[request.param]


def _build(source: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> pipeline.Build:
    build = pipeline.read_build(source)
    monkeypatch.setattr(pipeline, "STRATEGIES", {**STRATEGIES, strategy.name: strategy})
    return dataclasses.replace(build, plan=dataclasses.replace(build.plan, strategy=strategy.name))


def _free(strategy: Strategy, build: pipeline.Build) -> None:
    if strategy.blocked(build.plan, build.host) is not None:
        pytest.skip(f"the {strategy.name} strategy is blocked here")


def test_blocked_is_a_pure_question(tmp_path: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> None:
    build = _build(write_fake_project(tmp_path), strategy, monkeypatch)
    other = dataclasses.replace(build.host, system="darwin", machine="arm64", libc=None)
    before = dict(os.environ)
    for host in (build.host, other):
        answers = {strategy.blocked(build.plan, host) for _ in range(2)}
        assert len(answers) == 1
        (answer,) = answers
        assert answer is None or answer.strip()
    assert dict(os.environ) == before


def test_requirements_are_pep_508(tmp_path: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> None:
    build = _build(write_fake_project(tmp_path), strategy, monkeypatch)
    for text in strategy.requires(build.plan):
        assert Requirement(text).name


def test_a_blocked_strategy_is_an_error_with_another_way(
    tmp_path: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = _build(write_fake_project(tmp_path / "p"), strategy, monkeypatch)
    reason = strategy.blocked(build.plan, build.host)
    if reason is None:
        pytest.skip(f"the {strategy.name} strategy is not blocked here")
    with pytest.raises(StrategyBlocked) as caught:
        pipeline.build_wheel(build, tmp_path / "w")
    assert reason in str(caught.value)
    assert "strategy" in str(caught.value.cure)
    assert strategy.name not in str(caught.value.cure)


def test_it_opens_inside_the_source_and_cleans_up(
    tmp_path: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_fake_project(tmp_path / "p")
    build = _build(source, strategy, monkeypatch)
    _free(strategy, build)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    before, files = dict(os.environ), sorted(source.rglob("*"))
    monkeypatch.chdir(source)
    with strategy.open(build.plan, build.interpreter) as environment:
        assert environment.interpreter == read_interpreter()
        assert not set(environment.environ).intersection(environment.unset)
        assert all(isinstance(each, str) for pair in environment.environ.items() for each in pair)
    assert os.listdir(tmp_path / "tmp") == []
    assert dict(os.environ) == before
    assert sorted(source.rglob("*")) == files


def test_it_cleans_up_after_a_failure(tmp_path: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_fake_project(tmp_path / "p", _NATIVE, files={"mod.c": "#error nonsense\n"})
    build = _build(source, strategy, monkeypatch)
    _free(strategy, build)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    here = Path.cwd()
    with pytest.raises(BuildFailed):
        pipeline.build_wheel(build, tmp_path / "w")
    assert os.listdir(tmp_path / "tmp") == []
    assert not (tmp_path / "w").exists() or os.listdir(tmp_path / "w") == []
    assert Path.cwd() == here


def test_it_builds_a_compliant_wheel(tmp_path: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_fake_project(tmp_path / "p", _NATIVE, files=_C)
    build = _build(source, strategy, monkeypatch)
    _free(strategy, build)
    name = pipeline.build_wheel(build, tmp_path / "w")
    assert os.listdir(tmp_path / "w") == [name]
    assert name.startswith("fake-1.0-py3-none-manylinux")


def test_the_project_s_own_word_counts_most(
    tmp_path: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its environment wins over a strategy's, and a user's config settings come before those that a strategy adds."""
    from support.projects import read_log

    log = tmp_path / "log"
    source = write_fake_project(tmp_path / "p", {"log": str(log)}, 'environment = { FAKE_BOTH = "project" }')
    build = _build(source, strategy, monkeypatch)
    _free(strategy, build)
    pipeline.build_wheel(build, tmp_path / "w", {"key": "user"})
    call = read_log(log)[-1]
    assert call["seen"]["FAKE_BOTH"] == "project"
    given = call["config_settings"]["key"]
    assert (given if isinstance(given, str) else given[0]) == "user"


def test_what_a_strategy_says_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTABLE_BACKEND_STRATEGY", "host")
    monkeypatch.setenv("FAKE_HIDDEN", "1")
    from support.projects import read_log

    log, fake, told = tmp_path / "log", FakeStrategy(), list[str]()
    build = _build(write_fake_project(tmp_path / "p", {"log": str(log)}), fake, monkeypatch)
    pipeline.build_wheel(build, tmp_path / "w", {"key": "user"}, progress=told.append)
    assert "a note" in told
    assert read_log(log)[-1]["config_settings"] == {"key": ["user", "strategy"]}
    assert read_log(log)[-1]["seen"] == {"FAKE_STRATEGY": "p", "FAKE_BOTH": "strategy"}
    assert "something>=1" in pipeline.build_requirements(build)
    failing = _build(write_fake_project(tmp_path / "q", {"fail": "it broke"}), fake, monkeypatch)
    with pytest.raises(BuildFailed, match="the fake toolchain lacks everything"):
        pipeline.build_wheel(failing, tmp_path / "w")
    assert "it broke" in fake.output
    assert (fake.opened, fake.closed) == (2, 2)


def test_the_host_is_read_once_and_says_where_we_are(tmp_path: Path) -> None:
    facts = read_host_facts(tmp_path, {"CIBUILDWHEEL": "1", "PIP_BUILD_TRACKER": "x", "PATH": ""})
    assert (facts.cibuildwheel, facts.pip_build, facts.source_is_sdist, facts.zig_on_path) == (True, True, False, None)
    (tmp_path / "zig").write_text("")
    (tmp_path / "zig").chmod(0o755)
    assert read_host_facts(tmp_path, {"PATH": f":{tmp_path}"}).zig_on_path == str(tmp_path / "zig")
