"""A PEP 517 build backend that wraps another one and returns wheels that are already portable.

Write ``build-backend = "portable_backend"`` and require the backend that does the building beside it. This module is
what frontends import and probe for hooks, so it imports nothing: the hooks are fetched when they are asked for, and
the optional ones exist exactly when the inner backend has them.

``from portable_backend import audit, repair`` gives the Python interface; see :mod:`portable_backend.api`.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .api import audit as audit
    from .api import repair as repair

_API = ("audit", "repair")
_ALWAYS = ("build_wheel", "build_sdist", "get_requires_for_build_wheel", "UnsupportedOperation")
_MIRRORED = (
    "prepare_metadata_for_build_wheel",
    "get_requires_for_build_sdist",
    "build_editable",
    "get_requires_for_build_editable",
    "prepare_metadata_for_build_editable",
)


def __getattr__(name: str) -> Any:
    if name in _API:
        from . import api

        return getattr(api, name)
    if name in _ALWAYS or name in _MIRRORED:
        from . import hooks

        if name in _ALWAYS or hooks.has_hook(name):
            return getattr(hooks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
