"""What every strategy keeps to. A fake one shows that the suite asks for no more than the protocol promises."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import pytest
from packaging.requirements import Requirement

from portable_backend import pipeline
from portable_backend.errors import BuildFailed, NotCompliant, StrategyBlocked
from portable_backend.interpreters import Interpreter, read_interpreter
from portable_backend.machine import HostFacts, read_host_facts
from portable_backend.plan import BuildPlan
from portable_backend.strategies import STRATEGIES
from portable_backend.strategies.base import AnyStrategy, BuildEnvironment, Order, RemoteStrategy
from portable_backend.strategies.container.images import interpreter_names
from support.images import manylinux_image, need
from support.projects import printed_log, write_fake_project

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


class FakeRemoteStrategy:
    """The least that a strategy can be which builds elsewhere: another directory will do."""

    name = "fake-remote"

    def blocked(self, plan: BuildPlan, host: HostFacts) -> Optional[str]:
        return None if host.system == "linux" else "not here"

    def requires(self, plan: BuildPlan) -> Sequence[str]:
        return ()

    @contextmanager
    def built_wheel(self, order: Order, progress: Callable[[str], None]) -> Iterator[Path]:
        settings = dataclasses.replace(order.settings, strategy="host", container=None)
        with tempfile.TemporaryDirectory() as elsewhere:
            source = Path(shutil.copytree(order.source, Path(elsewhere) / "source"))
            build = pipeline.read_build_with(source, settings, order.interpreter.executable)
            out = Path(elsewhere) / "out"
            yield out / pipeline.build_wheel(build, out, order.config_settings, order.metadata_directory, progress)

    def prepare_metadata(self, order: Order, directory: Path, progress: Callable[[str], None]) -> str:
        (directory / "fake-1.0.dist-info").mkdir()
        return "fake-1.0.dist-info"


_FAKES: dict[str, Callable[[], AnyStrategy]] = {"fake": FakeStrategy, "fake-remote": FakeRemoteStrategy}


@pytest.fixture(params=[*STRATEGIES, *_FAKES])
def strategy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AnyStrategy:
    """Each strategy there is, and those that are none; on a project that it is chosen for."""
    monkeypatch.delenv("PORTABLE_BACKEND_MODE", raising=False)
    if request.param in _FAKES:
        monkeypatch.setenv("PORTABLE_BACKEND_STRATEGY", "host")
        return _FAKES[request.param]()
    monkeypatch.setenv("PORTABLE_BACKEND_STRATEGY", request.param)
    return STRATEGIES[request.param]


def _build(source: Path, strategy: AnyStrategy, monkeypatch: pytest.MonkeyPatch) -> pipeline.Build:
    if strategy.name == "container":
        monkeypatch.setenv("PORTABLE_BACKEND_CONTAINER_IMAGE", manylinux_image())
    build = pipeline.read_build(source)
    monkeypatch.setattr(pipeline, "STRATEGIES", {**STRATEGIES, strategy.name: strategy})
    if strategy.name == "container":
        need(interpreter_names(build.interpreter)[0] in _image_interpreters(), "the image lacks this interpreter")
    return dataclasses.replace(build, plan=dataclasses.replace(build.plan, strategy=strategy.name))


@functools.cache
def _image_interpreters() -> list[str]:
    command = ["docker", "run", "--rm", manylinux_image(), "ls", "/opt/python"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _free(strategy: AnyStrategy, build: pipeline.Build) -> None:
    if strategy.blocked(build.plan, build.host) is not None:
        pytest.skip(f"the {strategy.name} strategy is blocked here")


def test_blocked_is_a_pure_question(tmp_path: Path, strategy: AnyStrategy, monkeypatch: pytest.MonkeyPatch) -> None:
    build = _build(write_fake_project(tmp_path), strategy, monkeypatch)
    other = dataclasses.replace(build.host, system="darwin", machine="arm64", libc=None)
    before = dict(os.environ)
    for host in (build.host, other):
        answers = {strategy.blocked(build.plan, host) for _ in range(2)}
        assert len(answers) == 1
        (answer,) = answers
        assert answer is None or answer.strip()
    assert dict(os.environ) == before


def test_requirements_are_pep_508(tmp_path: Path, strategy: AnyStrategy, monkeypatch: pytest.MonkeyPatch) -> None:
    build = _build(write_fake_project(tmp_path), strategy, monkeypatch)
    for text in strategy.requires(build.plan):
        assert Requirement(text).name


def test_a_blocked_strategy_is_an_error_with_another_way(
    tmp_path: Path, strategy: AnyStrategy, monkeypatch: pytest.MonkeyPatch
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
    tmp_path: Path, strategy: AnyStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(strategy, RemoteStrategy):
        pytest.skip(f"the {strategy.name} strategy opens nothing here")
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


def test_it_cleans_up_after_a_failure(tmp_path: Path, strategy: AnyStrategy, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_it_builds_a_compliant_wheel(tmp_path: Path, strategy: AnyStrategy, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_fake_project(tmp_path / "p", _NATIVE, files=_C)
    build = _build(source, strategy, monkeypatch)
    _free(strategy, build)
    name = pipeline.build_wheel(build, tmp_path / "w")
    assert os.listdir(tmp_path / "w") == [name]
    assert name.startswith("fake-1.0-py3-none-manylinux")


def test_the_project_s_own_word_counts_most(
    tmp_path: Path, strategy: AnyStrategy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its environment wins over a strategy's, and a user's config settings come before those that a strategy adds."""
    source = write_fake_project(tmp_path / "p", {"log": "-"}, 'environment = { FAKE_BOTH = "project" }')
    build = _build(source, strategy, monkeypatch)
    _free(strategy, build)
    pipeline.build_wheel(build, tmp_path / "w", {"key": "user"})
    call = printed_log(capsys.readouterr().out)[-1]
    assert call["seen"]["FAKE_BOTH"] == "project"
    given = call["config_settings"]["key"]
    assert (given if isinstance(given, str) else given[0]) == "user"


def test_a_remote_result_that_does_not_comply_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was judged elsewhere: what counts are the bytes that are returned."""

    class Liar(FakeRemoteStrategy):
        @contextmanager
        def built_wheel(self, order: Order, progress: Callable[[str], None]) -> Iterator[Path]:
            settings = dataclasses.replace(order.settings, strategy="host", mode="off")
            build = pipeline.read_build_with(order.source, settings, order.interpreter.executable)
            out = tmp_path / "elsewhere"
            raw = out / pipeline.build_wheel(build, out)
            yield raw.rename(raw.with_name(raw.name.replace("-linux_", "-manylinux_2_5_")))

    monkeypatch.setenv("PORTABLE_BACKEND_STRATEGY", "host")
    newer = {"mod.c": "#include <string.h>\nextern int __fdelt_chk(long); int f(void) { return __fdelt_chk(1); }\n"}
    build = _build(write_fake_project(tmp_path / "p", _NATIVE, files=newer), Liar(), monkeypatch)
    with pytest.raises(NotCompliant):
        pipeline.build_wheel(build, tmp_path / "w")
    assert not (tmp_path / "w").exists() or os.listdir(tmp_path / "w") == []


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
