"""Request, settings and facts of the machine in; what will be done, and why, out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from .targets import PlatformTag


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
