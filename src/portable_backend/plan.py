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
# Ports that are younger than glibc 2.17 start with their own first version; zig has none of ppc64le's before 2.19.
_DEFAULT_GLIBC = {Arch.PPC64LE: (2, 19), Arch.RISCV64: (2, 31), Arch.LOONGARCH64: (2, 36)}
# In a container the oldest policy does not cost a toolchain its age: what has an image that is still looked after.
_CONTAINER_GLIBC = {Arch.ARMV7L: (2, 31), Arch.RISCV64: (2, 39), Arch.LOONGARCH64: (2, 38)}
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
    target, why = choose_target(request, settings, strategy, host)
    _check_target(target, request, strategy, inner)
    reasons.append(f"target {target or 'the most portable that is true'}: {why}")
    if target is not None and strategy == "zig" and is_cross(target, request):
        own = f"{request.arch.value} ({request.libc.value})"
        reasons.append(
            f"cross build: this interpreter is for {own}, so the inner backend is told that it runs on"
            f" {target.arch.value} ({target.libc.value}); programs of the target are not run"
        )
    reasons.append(f"inner backend {inner.name}: {_inner_reason(settings, request, inner)}")
    return BuildPlan(target, strategy, inner, settings.mode, settings.environment, tuple(reasons))


def choose_strategy(request: Request, settings: Settings, inner: InnerBackend, host: HostFacts) -> tuple[str, str]:
    """The strategy and the reason for it. What the user names is not replaced, save a container that makes no sense."""
    if settings.mode == "off":
        return "host", "the inner wheel is returned as it is"
    asked = settings.strategy
    if asked not in ("auto", "container"):
        return asked, settings.origin("strategy")
    inside = "; no container inside it" if asked == "container" or settings.container is not None else ""
    # Whoever installs a package did not ask for its author's containers.
    for_here = host.pip_build and host.source_is_sdist and (asked == "auto" or settings.from_project("strategy"))
    for_here = for_here and not _is_for_elsewhere(request, settings)
    rules = (
        (asked == "auto" and host.system != "linux", "host", f"on {host.system} the inner wheel is returned as it is"),
        (host.policy_image is not None, "host", f"this is an image for {host.policy_image} already{inside}"),
        (host.cibuildwheel, "host", "cibuildwheel has chosen the environment"),
        (for_here, "host", "pip builds a published sdist, so the wheel is for here"),
        (asked == "container", "container", settings.origin("strategy")),
        (settings.container is not None, "container", f"{settings.origin('container')} is there"),
        (inner.kind in PURE_BACKENDS, "host", f"{inner.kind} builds pure Python only"),
        (not _zig_available(request, host), "host", f"there is no zig for {request.arch.value}"),
    )
    for applies, strategy, why in rules:
        if applies:
            return strategy, why
    return "zig", "the default"


def _is_for_elsewhere(request: Request, settings: Settings) -> bool:
    """Whether the user, and not the project, names a target of another platform."""
    if settings.target is None or settings.from_project("target"):
        return False
    return is_cross(parse_target(settings.target, request.arch), request)


def is_cross(target: PlatformTag, request: Request) -> bool:
    """Whether the interpreter that builds is of another platform than the target."""
    return (target.arch, target.libc) != (request.arch, request.libc)


def _zig_available(request: Request, host: HostFacts) -> bool:
    return host.zig_on_path is not None or request.arch in ZIG_ARCHES


def choose_target(
    request: Request, settings: Settings, strategy: str, host: HostFacts
) -> tuple[Optional[PlatformTag], str]:
    """The target and the reason for it; whether the strategy can reach it is not looked at.

    :raises SettingsError: if the settings' target is no platform tag.
    """
    if settings.mode == "off":
        return None, "the inner wheel is returned as it is"
    if settings.target is not None:
        return parse_target(settings.target, request.arch), settings.origin("target")
    if host.policy_image is not None:
        image = find_platform_tag(host.policy_image)
        if image is not None and (image.arch, image.libc) == (request.arch, request.libc):
            return image, "the policy of this image"
    if strategy == "host":
        return None, "the host strategy takes the machine as it is"
    if strategy == "container" and settings.container is not None:
        if settings.container.image is not None:
            return None, "the policy of the image"
        only = _only_target(settings.container.images, request)
        if only is not None:
            return only, f"the only one that has an image: {settings.origin('container.images')}"
    if request.libc is Libc.MUSL:
        return PlatformTag(Libc.MUSL, (1, 2), request.arch), "the default for musl"
    if strategy == "container":
        version = _CONTAINER_GLIBC.get(request.arch, (2, 28))
        return PlatformTag(Libc.GLIBC, version, request.arch), "the default for containers"
    return PlatformTag(Libc.GLIBC, _DEFAULT_GLIBC.get(request.arch, (2, 17)), request.arch), "the default"


def _only_target(images: Mapping[str, str], request: Request) -> Optional[PlatformTag]:
    """What the user's images are for, if that is one thing: on this architecture, then also with this C library."""
    tags = {parse_target(name, request.arch) for name in images}
    fitting = {tag for tag in tags if tag.arch is request.arch}
    if len(fitting) > 1:
        fitting = {tag for tag in fitting if tag.libc is request.libc}
    return fitting.pop() if len(fitting) == 1 else None


def _check_target(target: Optional[PlatformTag], request: Request, strategy: str, inner: InnerBackend) -> None:
    """Refuse what cannot be, before anything is installed for it."""
    if target is None:
        return
    # In a container another interpreter builds, and zig builds for any; pure Python is for all of them.
    if strategy == "host" and is_cross(target, request) and inner.kind not in PURE_BACKENDS:
        raise SettingsError(
            f"the target {target} is for {target.arch.value} and {target.libc.value}; this interpreter is for"
            f" {request.arch.value} and {request.libc.value}, and the host strategy takes the machine as it is",
            'use the zig strategy (strategy = "zig"), or the container strategy with an image of the target',
        )
    get_policy(target)


def _inner_reason(settings: Settings, request: Request, inner: InnerBackend) -> str:
    if settings.inner_backend is not None:
        return settings.origin("inner_backend")
    declared = request.pyproject.get("build-system", {}).get("build-backend")
    if declared is not None and declared.partition(":")[0] != "portable_backend":
        return "what build-system declares"
    inferred = declared is not None or inner.name != LEGACY_BACKEND
    return "the only known backend in build-system.requires" if inferred else "the default of PEP 517"
