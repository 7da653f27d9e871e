"""CPython's stable ABI: which symbol every interpreter has since which version.

The facts are those of CPython's own list (``Misc/stable_abi.toml``), in ``stable_abi.json``, which is not written by
hand. It is read on first use: only wheels that claim a stable ABI need it.

Sources: PEP 384 and 652 (the stable ABI), PEP 803 (that of free-threaded builds).
"""

from __future__ import annotations

import functools

from ..records import NamedTuple
from .policy import read_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Optional

Version = tuple[int, int]

# The version that brought the stable ABI, and the one that brought it to free-threaded builds (PEP 384, PEP 803).
FIRST_ABI3: Version = (3, 2)
FIRST_ABI3T: Version = (3, 15)


class StableSymbol(NamedTuple):
    """A function or an object of the stable ABI.

    :param since: the first version whose stable ABI has it.
    :param only: the feature macro without which it does not exist, where a release build for Linux lacks that
        (``MS_WINDOWS``, ``Py_REF_DEBUG``).
    """

    since: Version
    only: Optional[str] = None


@functools.lru_cache(maxsize=4096)  # the same few names in every file of a wheel
def stable_symbol(name: str) -> Optional[StableSymbol]:
    """What is known of ``name``, or ``None`` if it is no part of the stable ABI."""
    since = _since().get(name)
    return None if since is None else StableSymbol(_version(since), _only().get(name))


def stable_symbols(version: Version) -> frozenset[str]:
    """All that a release build of this version for Linux has in its stable ABI."""
    return frozenset(name for name, since in _since().items() if _version(since) <= version and name not in _only())


def newest_known_python() -> Version:
    """The newest version of CPython that the data know."""
    return max(map(_version, _data()["since"]))


@functools.cache
def _since() -> Mapping[str, str]:
    return {name: since for since, names in _data()["since"].items() for name in names.split()}


@functools.cache
def _only() -> Mapping[str, str]:
    return {name: macro for macro, names in _data()["only"].items() for name in names.split()}


@functools.cache
def _data() -> Any:
    return read_data("stable_abi.json")


def _version(text: str) -> Version:
    major, minor = map(int, text.split("."))
    return major, minor


__all__ = ["FIRST_ABI3", "FIRST_ABI3T", "StableSymbol", "newest_known_python", "stable_symbol", "stable_symbols"]
