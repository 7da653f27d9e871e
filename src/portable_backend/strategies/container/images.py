"""Which image a target is built in, which interpreter of it, and what its caches are called. Pure.

The published images are those of the manylinux project (https://github.com/pypa/manylinux). They are pinned by tag, so
that a build of next year is the build of today; a newer pin comes with a newer version of this package.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Optional

from ...errors import SettingsError
from ...targets import LEGACY_MANYLINUX, Arch, Libc, PlatformTag, find_platform_tag, parse_target

if TYPE_CHECKING:
    from ...interpreters import Interpreter
    from ...settings import ContainerSettings
    from .engine_base import CacheItem

_REGISTRY = "quay.io/pypa"
_PIN = "2026.10.26-1"
# Policies that there are images for, by architecture; a policy's first name is the one that the image has.
_GLIBC_IMAGES: Mapping[Arch, tuple[tuple[int, int], ...]] = {
    Arch.X86_64: ((2, 17), (2, 28), (2, 34)),
    Arch.I686: ((2, 17), (2, 28), (2, 34)),
    Arch.AARCH64: ((2, 17), (2, 28), (2, 34)),
    Arch.PPC64LE: ((2, 17), (2, 28), (2, 34)),
    Arch.S390X: ((2, 17), (2, 28), (2, 34)),
    Arch.ARMV7L: ((2, 31), (2, 35)),
    Arch.RISCV64: ((2, 39),),
}
_MUSL_IMAGES = ((1, 2),)
# The engine's words for architectures (those of the Go programming language), with the variant in an image's platform.
_ENGINE_ARCHES: Mapping[Arch, tuple[str, str]] = {
    Arch.X86_64: ("amd64", "linux/amd64"),
    Arch.I686: ("386", "linux/386"),
    Arch.AARCH64: ("arm64", "linux/arm64"),
    Arch.ARMV7L: ("arm", "linux/arm/v7"),
    Arch.PPC64LE: ("ppc64le", "linux/ppc64le"),
    Arch.S390X: ("s390x", "linux/s390x"),
    Arch.RISCV64: ("riscv64", "linux/riscv64"),
    Arch.LOONGARCH64: ("loong64", "linux/loong64"),
}
CACHES = ("pip", "uv", "cargo", "ccache", "sccache", "pycache")
KINDS = (*CACHES, "before-all")
BEFORE_ALL_REPOSITORY = "portable-backend-before-all"


def published_image(policy: str, arch: str) -> str:
    """The published image of a policy, as ``manylinux_2_28`` or ``manylinux2014``, for an architecture.

    :raises SettingsError: if there is none.
    """
    tag = parse_target(policy, Arch(arch))
    image = _published_images(tag).get(tag.version)
    if image is None:
        raise SettingsError(f"there is no published image for {policy} on {arch}", "name one: container.image")
    return image


def choose_image(target: Optional[PlatformTag], settings: ContainerSettings) -> tuple[str, str]:
    """The reference of the image to build in, and why it is that one.

    Of the images that are no newer than the target, the newest; where all are newer, the oldest, since a wheel that
    uses little of it can still be older than its image.

    :param target: may be ``None`` only where ``settings.image`` names an image.
    :raises SettingsError: if none is known for the target.
    """
    if settings.image is not None:
        return settings.image, "container.image names it"
    if target is None:
        raise SettingsError("the container strategy needs a target to choose an image by", "set target, or image")
    own, published = _own_images(target, settings.images), _published_images(target)
    version = _nearest(target.version, {*own, *published})
    if version is None:
        cure = f'name one: container.images = {{ "{target}" = "…" }}'
        raise SettingsError(f"there is no published image for {target}", cure)
    if version in own:
        return own[version], f"container.images names it for {PlatformTag(target.libc, version, target.arch).policy}"
    return published[version], f"the published image that fits {target}"


def _own_images(target: PlatformTag, images: Mapping[str, str]) -> dict[tuple[int, int], str]:
    """The user's images for a C library and architecture by policy; a key with the architecture counts more."""
    general: dict[tuple[int, int], str] = {}
    exact: dict[tuple[int, int], str] = {}
    for name, image in images.items():
        full = find_platform_tag(name)
        tag = full or parse_target(name, target.arch)
        if (tag.libc, tag.arch) == (target.libc, target.arch):
            (general if full is None else exact)[tag.version] = image
    return {**general, **exact}


def _published_images(target: PlatformTag) -> dict[tuple[int, int], str]:
    """The published images for a C library and architecture by policy."""
    if target.arch not in _GLIBC_IMAGES:
        return {}
    if target.libc is Libc.MUSL:
        versions: tuple[tuple[int, int], ...] = _MUSL_IMAGES
        legacy: dict[tuple[int, int], str] = {}
    else:
        versions, legacy = _GLIBC_IMAGES[target.arch], {number: name for name, number in LEGACY_MANYLINUX.items()}
    policies = {each: legacy.get(each) or PlatformTag(target.libc, each, target.arch).policy for each in versions}
    return {each: f"{_REGISTRY}/{policy}_{target.arch.value}:{_PIN}" for each, policy in policies.items()}


def _nearest(version: tuple[int, int], known: Collection[tuple[int, int]]) -> Optional[tuple[int, int]]:
    older = [each for each in known if each <= version]
    return max(older) if older else min(known, default=None)


def engine_platform(arch: Arch) -> str:
    """What the engine calls the platform of an architecture, as ``linux/arm64``."""
    return _ENGINE_ARCHES[arch][1] if arch in _ENGINE_ARCHES else f"linux/{arch.value}"


def fits_arch(engine_arch: str, arch: Arch) -> bool:
    """Whether an image of the engine's architecture can build for ours; a 64-bit one may hold a 32-bit system."""
    wider = {Arch.I686: {"386", "amd64"}, Arch.ARMV7L: {"arm", "arm64"}}
    return engine_arch in wider.get(arch, {_ENGINE_ARCHES[arch][0] if arch in _ENGINE_ARCHES else arch.value})


def is_emulated(image_arch: str, engine_arch: str) -> bool:
    """Whether a machine needs an emulator for an image, both as the engine calls them; no, where it does not tell."""
    native = {"386": {"amd64"}, "arm": {"arm64"}}
    return bool(image_arch and engine_arch) and engine_arch not in {image_arch, *native.get(image_arch, ())}


def interpreter_names(interpreter: Interpreter) -> tuple[str, str]:
    """What the images call an interpreter under ``/opt/python``, and what its programme is called on a PATH.

    ``cp311-cp311`` and ``python3.11``, ``cp313-cp313t`` and ``python3.13t``, ``pp310-pypy310_pp73`` and ``pypy3.10``.
    """
    major, minor = interpreter.version[:2]
    if interpreter.implementation == "pypy":
        # The ABI tag of PyPy names the version of its own C API, which SOABI ends with, as in pypy310-pp73.
        soabi = str(interpreter.variables.get("SOABI") or "pypy-pp73")
        abi = re.search(r"pp\d+", soabi)
        return f"pp{major}{minor}-pypy{major}{minor}_{abi.group() if abi else 'pp73'}", f"pypy{major}.{minor}"
    threads = "t" if interpreter.free_threaded else ""
    return f"cp{major}{minor}-cp{major}{minor}{threads}", f"python{major}.{minor}{threads}"


def volume_name(kind: str, image: str, arch: str) -> str:
    """The name of the volume that caches ``kind`` for an image.

    One per image (whatever its tag or digest) and architecture: pip's cache holds wheels that it built itself, and
    those of a newer system would not load in an older one.
    """
    repository = re.sub(r"(@sha256:[0-9a-f]+|:[^/:]+)+$", "", image)
    digest = hashlib.sha256(f"{repository} {arch}".encode()).hexdigest()[:12]
    return f"portable-backend-{kind}-{digest}"


def kind_of(item: CacheItem) -> str:
    """Which of :data:`KINDS` something kept is; all images of ours are results of ``before-all``, named or not."""
    if item.kind == "image":
        return "before-all"
    name = item.name
    match = re.fullmatch(r"portable-backend-([a-z]+)-[0-9a-f]{12}", name)
    return match[1] if match and match[1] in CACHES else item.kind


def before_all_tag(image_id: str, commands: Sequence[str], environ: Mapping[str, str], files: Mapping[str, str]) -> str:
    """The tag of the image that holds the result of ``before-all``: equal exactly where nothing it depends on differs.

    :param image_id: the content address of the image that it ran in.
    :param environ: the variables that the project gave it.
    :param files: digests of the project's own files that the commands name.
    """
    said = json.dumps([image_id, list(commands), sorted(environ.items()), sorted(files.items())])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def mentioned_files(commands: Sequence[str]) -> tuple[str, ...]:
    """Words of shell commands that could be files of the project, relative to it."""
    words: list[str] = []
    for command in commands:
        for word in re.split(r"[\s;&|<>()\"'`]+", command):
            name = re.sub(r"^(\{project\}|\{package\}|\.)/", "", word)
            if name and not name.startswith(("/", "-", "$")) and ".." not in name.split("/"):
                words.append(name)
    return tuple(dict.fromkeys(words))
