"""The story in one place: settings → plan → strategy → inner backend → judge → repair → judge again → wheel."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from .errors import BuildFailed, InnerBackendError, NotCompliant, SettingsError, StrategyBlocked
from .inner import Inner, find_inner, own_table, read_pyproject, writable_source
from .interpreters import Interpreter, read_interpreter
from .machine import HostFacts, read_host_facts
from .overrides import resolve_overrides
from .plan import PURE_BACKENDS, BuildPlan, Request, plan_build
from .settings import Settings, inner_settings, parse_settings
from .strategies import STRATEGIES
from .strategies.base import (
    DEFAULT_EPOCH,
    EPOCH_VARIABLE,
    BuildEnvironment,
    ConfigSettings,
    Order,
    RemoteStrategy,
    merged_settings,
)
from .strategies.cross import is_cross, write_cross
from .targets import Arch, Libc, parse_arch

if TYPE_CHECKING:
    from .repairing.plan import RepairOptions

Progress = Callable[[str], None]


# The compressor, as among the dependencies in pyproject.toml: they are not installed where we build ourselves, nor in
# containers.
DEFLATE = (
    "deflate>=0.8.1,<0.10; implementation_name == 'cpython' and sys_platform in 'linux darwin win32'"
    " and platform_machine in 'x86_64 aarch64 arm64 AMD64 ARM64'",
    "deflate==0.8.1; implementation_name == 'cpython' and sys_platform == 'linux' and platform_machine == 'i686'",
    "deflate==0.8.1; implementation_name == 'pypy' and sys_platform in 'linux darwin' and python_version < '3.12'"
    " and platform_machine in 'x86_64 aarch64 arm64'",
)


@dataclass(frozen=True)
class Build:
    """One build, planned and not yet begun.

    :param said: what the user called the project by, where that is not its directory.
    """

    source: Path
    settings: Settings
    host: HostFacts
    interpreter: Interpreter
    plan: BuildPlan
    said: Optional[str] = None

    @property
    def passes_through(self) -> bool:
        """Whether the inner wheel is returned as it is."""
        return self.plan.mode == "off" or self.host.system != "linux"

    @property
    def is_remote(self) -> bool:
        """Whether the inner backend runs elsewhere, where its requirements are installed too."""
        return not self.passes_through and isinstance(STRATEGIES[self.plan.strategy], RemoteStrategy)


def read_build(
    source: Path,
    config_settings: Optional[Mapping[str, Any]] = None,
    python: Union[str, Interpreter, None] = None,
    environ: Mapping[str, str] = os.environ,
) -> Build:
    """Gather what there is to know and plan the build of a project.

    :param python: the interpreter that will run the inner backend, or what is known of it; the running one when
        ``None``.
    :raises SettingsError: see :func:`portable_backend.settings.parse_settings`.
    :raises InnerBackendError: see :func:`portable_backend.inner.find_inner`.
    """
    pyproject = read_pyproject(source)
    settings = parse_settings(own_table(pyproject), environ, config_settings)
    inner = find_inner(pyproject, settings)
    host = read_host_facts(source, environ)
    interpreter = python if isinstance(python, Interpreter) else read_interpreter(python)
    request = Request(_arch(interpreter, host, settings.mode), _libc(host), pyproject)
    settings = resolve_overrides(settings, request, inner, host, interpreter)
    return Build(source, settings, host, interpreter, plan_build(request, settings, inner, host))


def read_build_with(source: Path, settings: Settings, python: str) -> Build:
    """Plan the build of a project with settings that were decided elsewhere: inside a container, by the client."""
    pyproject = read_pyproject(source)
    inner = find_inner(pyproject, settings)
    host = read_host_facts(source)
    interpreter = read_interpreter(python)
    request = Request(_arch(interpreter, host, settings.mode), _libc(host), pyproject)
    return Build(source, settings, host, interpreter, plan_build(request, settings, inner, host))


def build_requirements(build: Build) -> list[str]:
    """The requirements that our part of the build adds to those of the inner backend."""
    if build.passes_through:
        return []
    own = list(STRATEGIES[build.plan.strategy].requires(build.plan))
    if build.is_remote:
        return own  # the rest is done, and edited, elsewhere
    edits = build.plan.mode == "repair" and build.plan.inner.kind not in PURE_BACKENDS
    return [*own, *DEFLATE] if edits else own


def build_wheel(
    build: Build,
    directory: Path,
    config_settings: Optional[ConfigSettings] = None,
    metadata_directory: Optional[str] = None,
    progress: Progress = lambda line: None,
) -> str:
    """Build a compliant wheel into ``directory`` and return its file name.

    :raises PortableBackendError: whatever is wrong; then nothing is left in ``directory``.
    """
    inner_config = inner_settings(config_settings)
    directory = directory.absolute()
    if build.passes_through:
        return _build_through(build, directory, inner_config, metadata_directory, progress)
    require_strategy(build)
    strategy = STRATEGIES[build.plan.strategy]
    progress(f"building with the {strategy.name} strategy for {build.plan.target or 'the best policy that is true'}")
    if isinstance(strategy, RemoteStrategy):
        with (
            _with_next_best(build),
            strategy.built_wheel(_order(build, inner_config, metadata_directory), progress) as wheel,
        ):
            name = _accept(build, wheel, directory)
        progress(f"{name}: judged again as it came out of the container")
        return name
    with tempfile.TemporaryDirectory(prefix="portable-backend-") as scratch, writable_source(build.source) as source:
        with _inside(source), strategy.open(build.plan, build.interpreter) as opened:
            # What the project says of its own environment is not a strategy's to forget.
            environment = replace(opened, environ={**opened.environ, **_environ(build)})
            inner = Inner(build.plan.inner, source, environment)
            settings = merged_settings(inner_config, environment.inner_settings)
            name = inner.call("build_wheel", scratch, settings, metadata_directory)
            for note in environment.notes():
                progress(note)
            compiled = environment.compiled()
        raw = _raw_wheel(build, Path(scratch), name)
        if compiled and raw.name.endswith("-none-any.whl"):
            progress(
                f"{raw.name}: pure Python, although a compiler ran: what the project tried to compile is not in it"
                " (the output above says why)"
            )
        return _finish(build, raw, source, directory, progress)


def _environ(build: Build) -> dict[str, str]:
    """The variables of the project's own environment, and a time for generators and compilers that ask for one.

    All hooks get the same: versions that are made of the date have to agree between the metadata and the wheel.
    """
    if build.passes_through or os.environ.get(EPOCH_VARIABLE):
        return dict(build.plan.environ)
    return {EPOCH_VARIABLE: str(DEFAULT_EPOCH), **build.plan.environ}


def _epoch(environ: Mapping[str, str]) -> int:
    text = environ[EPOCH_VARIABLE]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else DEFAULT_EPOCH


@contextmanager
def _inside(source: Path) -> Iterator[None]:
    """Work in the source, as hooks do: strategies look around in the working directory."""
    before = Path.cwd()
    os.chdir(source)
    try:
        yield
    finally:
        os.chdir(before)


def _raw_wheel(build: Build, scratch: Path, name: object) -> Path:
    if not isinstance(name, str) or not name or os.sep in name or not (scratch / name).is_file():
        raise BuildFailed(f"the inner backend {build.plan.inner.name} returned {name!r} and left no such wheel")
    return scratch / name


def require_strategy(build: Build) -> None:
    """See that nothing stands in the way of the strategy that was chosen.

    :raises StrategyBlocked: if something does, with the next best one.
    """
    reason = find_obstacle(build)
    if reason is not None:
        raise StrategyBlocked(f"the {build.plan.strategy} strategy is blocked: {reason}", _next_best(build))


def find_obstacle(build: Build) -> Optional[str]:
    """What stands in the way of the strategy that was chosen, as far as it can be told before anything is done."""
    return None if build.passes_through else STRATEGIES[build.plan.strategy].blocked(build.plan, build.host)


def _finish(build: Build, raw: Path, source: Path, directory: Path, progress: Progress) -> str:
    from .repairing.apply import repair_wheel
    from .repairing.inner_sboms import Source

    if build.plan.mode == "repair":
        options = repair_options(build.settings, build.plan)
        paths = dict.fromkeys((os.path.abspath(source), os.path.realpath(source)))
        built_from = Source(tuple(paths), _epoch({**os.environ, **_environ(build)}))
        # A file that needs no C library at all is for the one that was built for.
        libc = _libc(build.host) if options.target is None else options.target.libc
        result = repair_wheel(raw, directory, options, progress, libc, source=built_from)
        progress(
            f"{result.path.name}: {'pure Python' if result.after.pure else result.after.policy_name}, judged as written"
        )
        return result.path.name
    return _accept(build, raw, directory)


def _accept(build: Build, wheel: Path, directory: Path) -> str:
    """Judge a wheel that nothing more is done to, and put it into ``directory``."""
    from .auditing.read import read_verdict
    from .repairing.apply import copy_wheel

    options = repair_options(build.settings, build.plan)
    target = options.target
    verdict = read_verdict(wheel, options.judging, _libc(build.host) if target is None else target.libc)
    reached = target is None or verdict.satisfies(target)
    if not (reached and verdict.compliant):
        from .auditing.explain import describe, describe_blockers

        why = describe(verdict.findings) if reached else describe_blockers(verdict, target)
        raise NotCompliant(f"{wheel.name} does not satisfy {target or 'what its tag claims'}:\n{why}")
    return copy_wheel(wheel, directory).name


def repair_options(settings: Settings, plan: BuildPlan) -> RepairOptions:
    """The part of the settings that repairing needs."""
    from .auditing.verdict import JudgeOptions
    from .repairing.plan import RepairOptions

    return RepairOptions(
        target=plan.target,
        judge=JudgeOptions(settings.exclude, settings.isa_check, abi3_check=settings.abi3_check),
        only_target_tag=settings.only_target_tag,
        libs_dir=settings.libs_dir,
        ldpaths=settings.ldpaths,
        graft=settings.graft,
        clear_execstack=settings.clear_execstack,
        strip=settings.strip,
        compression_level=settings.compression_level,
    )


def _build_through(
    build: Build,
    directory: Path,
    inner_config: Optional[dict[str, Any]],
    metadata_directory: Optional[str],
    progress: Progress,
) -> str:
    if build.plan.mode != "off":
        progress(f"wheels for {build.host.system} are not repaired yet; the inner wheel is returned as it is")
    directory.mkdir(parents=True, exist_ok=True)
    inner = Inner(build.plan.inner, build.source, BuildEnvironment(build.interpreter, dict(build.plan.environ)))
    return str(inner.call("build_wheel", str(directory), inner_config, metadata_directory))


def _order(build: Build, inner_config: Optional[ConfigSettings], metadata_directory: Optional[str]) -> Order:
    said = build.said
    return Order(build.source, build.plan, build.settings, build.interpreter, inner_config, metadata_directory, said)


def prepare_metadata(
    build: Build, directory: Path, inner_config: Optional[ConfigSettings], progress: Progress = lambda line: None
) -> str:
    """The inner backend's metadata: made here, or, where a build elsewhere alone has what it takes, there."""
    hook = "prepare_metadata_for_build_wheel"
    strategy = STRATEGIES[build.plan.strategy]
    try:
        return str(call_inner(build, hook, str(directory), config_settings=inner_config, _allow_fallback=False))
    except (BuildFailed, InnerBackendError) as error:
        if not (build.is_remote and isinstance(strategy, RemoteStrategy)):
            raise
        progress(
            f"{error.message.partition(chr(10))[0]}: the metadata are made by the {strategy.name} strategy instead"
        )
    for left in directory.iterdir():  # a hook that failed half-way
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return strategy.prepare_metadata(_order(build, inner_config, None), directory, progress)


def call_inner(build: Build, hook: str, *arguments: Any, **named: Any) -> Any:
    """Call a hook of the inner backend without any strategy: metadata, sdists, editable wheels, requirements."""
    # An editable wheel points at the source, so a copy of it would be no use.
    with (
        nullcontext(build.source) if "editable" in hook else writable_source(build.source) as source,
        _describing(build, hook) as environment,
    ):
        return Inner(build.plan.inner, source, environment).call(hook, *arguments, **named)


@contextmanager
def _describing(build: Build, hook: str) -> Iterator[BuildEnvironment]:
    """Where hooks run that build nothing. Those that speak of a wheel for another platform speak as on that platform:
    a ``setup.py`` may choose requirements by it, and the wheel's metadata have to be the same."""
    plain = BuildEnvironment(build.interpreter, _environ(build))
    target = build.plan.target
    pretends = hook.endswith("_for_build_wheel") and build.plan.strategy == "zig" and not build.passes_through
    # Cargo's packages describe themselves in a file, and maturin compares the interpreter with its own target.
    if not pretends or target is None or build.plan.inner.kind == "maturin" or not is_cross(target, build.interpreter):
        yield plain
        return
    with tempfile.TemporaryDirectory(prefix="portable-backend-") as scratch:
        cross = write_cross(target, build.interpreter, Path(scratch))
        yield replace(plain, environ={**cross.environ, **plain.environ}, python_path=(str(cross.path),))


@contextmanager
def _with_next_best(build: Build) -> Iterator[None]:
    """Let an error that says what the machine lacks for a strategy say, too, which other one it has."""
    try:
        yield
    except StrategyBlocked as error:
        ways = "\n  or ".join(filter(None, (error.cure, _next_best(build))))
        raise StrategyBlocked(f"the {build.plan.strategy} strategy is blocked: {error.message}", ways) from None


def _next_best(build: Build) -> Optional[str]:
    """The first other strategy that nothing stands in the way of."""
    for name in ("zig", "container", "host"):
        if name != build.plan.strategy and STRATEGIES[name].blocked(build.plan, build.host) is None:
            return f'use the {name} strategy (strategy = "{name}")'
    return None


def _arch(interpreter: Interpreter, host: HostFacts, mode: str) -> Arch:
    if host.system != "linux":
        return Arch.X86_64  # not used: nothing is judged there
    machine = interpreter.platform.partition("-")[2] or interpreter.machine
    try:
        arch = parse_arch(machine)
    except SettingsError:
        if mode == "off":
            return Arch.X86_64  # likewise, and off never fails
        message = f"{machine} has no manylinux or musllinux platform tags"
        raise StrategyBlocked(message, "set PORTABLE_BACKEND_MODE=off to build without us") from None
    return Arch.I686 if (arch, interpreter.bits) == (Arch.X86_64, 32) else arch


def _libc(host: HostFacts) -> Libc:
    return Libc.MUSL if host.libc == "musl" else Libc.GLIBC


__all__: Sequence[str] = ("Build", "build_requirements", "build_wheel", "call_inner", "read_build")
