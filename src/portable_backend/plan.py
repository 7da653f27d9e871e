"""Request, settings and facts of the machine in; what will be done, and why, out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from .errors import SettingsError
from .policy.policy import get_policy
from .settings import Settings
from .targets import Arch, Libc, PlatformTag, find_platform_tag, parse_target

if TYPE_CHECKING:
    from .machine import HostFacts

# Architectures for which the ziglang distribution has wheels for Linux.
ZIG_ARCHES = frozenset({Arch.X86_64, Arch.AARCH64, Arch.I686, Arch.ARMV7L})
# Ports that are younger than glibc 2.17 start with their own first version.
_DEFAULT_GLIBC = {Arch.RISCV64: (2, 31), Arch.LOONGARCH64: (2, 36)}
# PEP 517: what a project without a build-backend key is built with.
LEGACY_BACKEND = "setuptools.build_meta:__legacy__"
# Backends that have no way to build native code, so that no toolchain is worth fetching for them.
PURE_BACKENDS = frozenset({"flit-core", "uv-build"})


@dataclass(frozen=True)
class InnerBackend:
    """The backend that does the building.

    :param name: the object reference of PEP 517, as ``setuptools.build_meta``.
    :param path: its in-tree directories (``backend-path``), relative to the source, or empty.
    :param kind: the short name of a known backend (``setuptools``, ``maturin``, …), else ``None``.
    """

    name: str
    path: tuple[str, ...] = ()
    kind: Optional[str] = None


@dataclass(frozen=True)
class BuildPlan:
    """What a build will do.

    :param target: what was asked for; ``None`` lets the result speak (the best policy that is true).
    :param strategy: ``host``, ``zig`` or ``container``.
    :param mode: ``repair``, ``check`` or ``off``.
    :param environ: variables that the project's settings add to the build.
    :param reasons: why it is so, one line per decision, in the order they were taken.
    """

    target: Optional[PlatformTag]
    strategy: str
    inner: InnerBackend
    mode: str
    environ: Mapping[str, str]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """What is asked for, beside the settings.

    :param arch: the architecture of the interpreter that builds.
    :param libc: its C library.
    """

    arch: Arch
    libc: Libc
    pyproject: Mapping[str, Any]


def plan_build(request: Request, settings: Settings, inner: InnerBackend, host: HostFacts) -> BuildPlan:
    """Decide target and strategy.

    :raises SettingsError: if the target makes no sense on this machine.
    """
    reasons = [f"mode {settings.mode}: {settings.origin('mode')}"]
    strategy, why = choose_strategy(request, settings, inner, host)
    reasons.append(f"strategy {strategy}: {why}")
    target, why = _choose_target(request, settings, strategy, host)
    reasons.append(f"target {target or 'the most portable that is true'}: {why}")
    reasons.append(f"inner backend {inner.name}: {_inner_reason(settings, request, inner)}")
    return BuildPlan(target, strategy, inner, settings.mode, settings.environment, tuple(reasons))


def choose_strategy(request: Request, settings: Settings, inner: InnerBackend, host: HostFacts) -> tuple[str, str]:
    """The strategy and the reason for it. What the user names is never replaced."""
    if settings.mode == "off":
        return "host", "the inner wheel is returned as it is"
    if settings.strategy != "auto":
        return settings.strategy, settings.origin("strategy")
    rules = (
        (host.system != "linux", "host", f"on {host.system} the inner wheel is returned as it is"),
        (host.policy_image is not None, "host", f"this is an image for {host.policy_image} already"),
        (host.cibuildwheel, "host", "cibuildwheel has chosen the environment"),
        (bool(settings.container), "container", "[tool.portable-backend.container] is there"),
        (host.pip_build and host.source_is_sdist, "host", "pip builds a published sdist, so the wheel is for here"),
        (inner.kind in PURE_BACKENDS, "host", f"{inner.kind} builds pure Python only"),
        (not _zig_available(request, host), "host", f"there is no zig for {request.arch.value}"),
    )
    for applies, strategy, why in rules:
        if applies:
            return strategy, why
    return "zig", "the default"


def _zig_available(request: Request, host: HostFacts) -> bool:
    return host.zig_on_path is not None or request.arch in ZIG_ARCHES


def _choose_target(
    request: Request, settings: Settings, strategy: str, host: HostFacts
) -> tuple[Optional[PlatformTag], str]:
    if settings.mode == "off":
        return None, "the inner wheel is returned as it is"
    if settings.target is not None:
        target = parse_target(settings.target, request.arch)
        if target.libc is not request.libc:
            raise SettingsError(
                f"the target {target} is for {target.libc.value}; this interpreter uses {request.libc.value}",
                f"build with an interpreter of {target.libc.value}, as inside an image",
            )
        get_policy(target)  # so that a version that does not exist is told before anything is installed
        return target, settings.origin("target")
    if host.policy_image is not None:
        image = find_platform_tag(host.policy_image)
        if image is not None and (image.arch, image.libc) == (request.arch, request.libc):
            return image, "the policy of this image"
    if strategy == "host":
        return None, "the host strategy takes the machine as it is"
    if request.libc is Libc.MUSL:
        return PlatformTag(Libc.MUSL, (1, 2), request.arch), "the default for musl"
    return PlatformTag(Libc.GLIBC, _DEFAULT_GLIBC.get(request.arch, (2, 17)), request.arch), "the default"


def _inner_reason(settings: Settings, request: Request, inner: InnerBackend) -> str:
    if settings.inner_backend is not None:
        return settings.origin("inner_backend")
    declared = request.pyproject.get("build-system", {}).get("build-backend")
    if declared is not None and declared.partition(":")[0] != "portable_backend":
        return "what build-system declares"
    inferred = declared is not None or inner.name != LEGACY_BACKEND
    return "the only known backend in build-system.requires" if inferred else "the default of PEP 517"
