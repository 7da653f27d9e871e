"""The strategies by name."""

from __future__ import annotations

from collections.abc import Mapping

from .base import AnyStrategy
from .container import ContainerStrategy
from .host import HostStrategy
from .zig import ZigStrategy

STRATEGIES: Mapping[str, AnyStrategy] = {
    strategy.name: strategy for strategy in (HostStrategy(), ZigStrategy(), ContainerStrategy())
}
