"""The strategies by name."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Strategy
from .container import ContainerStrategy
from .host import HostStrategy
from .zig import ZigStrategy

STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy for strategy in (HostStrategy(), ZigStrategy(), ContainerStrategy())
}
