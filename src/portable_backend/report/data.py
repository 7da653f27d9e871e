"""A verdict as plain data: what ``audit --json`` prints, version 1 of its shape. Pure."""

from __future__ import annotations

from ..auditing.verdict import Finding, Verdict
from ..errors import PortableBackendError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Optional

    from ..repairing.plan import Graft, RepairPlan
    from ..strategies.container.engine import CacheItem

VERSION = 1


def verdict_data(wheel: str, verdict: Verdict) -> dict[str, Any]:
    """One wheel. ``ceiling`` is ``null`` for what rules out no policy, ``linux_<arch>`` where none is left."""
    return {
        "version": VERSION,
        "wheel": wheel,
        "pure": verdict.pure,
        "policy": verdict.policy_name,
        "claimed": list(verdict.claimed),
        "compliant": verdict.compliant,
        "findings": [finding_data(finding, verdict) for finding in verdict.findings],
        "external_libraries": list(verdict.external_libraries),
    }


def finding_data(finding: Finding, verdict: Verdict) -> dict[str, Any]:
    """One finding of a verdict."""
    none = f"linux_{verdict.arch.value}" if verdict.arch else "any"
    return {
        "kind": finding.kind,
        "severity": "warning" if finding.warning else "error",
        "member": finding.member,
        "library": finding.library,
        "symbol": finding.symbol,
        "ceiling": str(finding.ceiling or none) if finding.limits else None,
        "message": finding.message,
        "cure": finding.cure,
    }


def error_data(subject: str, error: PortableBackendError) -> dict[str, Any]:
    """What stands in the place of a wheel's object when it could not be judged or repaired."""
    detail = {
        "kind": type(error).__name__,
        "message": error.message,
        "cure": error.cure,
        "exit_code": error.exit_code,
        "address": error.address,
    }
    return {"version": VERSION, "wheel": subject, "error": detail}


def repair_data(
    path: str, verdict: Verdict, plan: Optional[RepairPlan], compressor: Optional[str] = None
) -> Mapping[str, Any]:
    """The result of a repair: the verdict on what was written, what was grafted and edited, and what compressed it."""
    data = verdict_data(path.rpartition("/")[2], verdict)
    return {
        **data,
        "path": path,
        "grafts": [] if plan is None else [_graft_data(graft) for graft in plan.grafts],
        "edited": [] if plan is None else sorted(plan.edits),
        "compressor": compressor,
    }


def _graft_data(graft: Graft) -> dict[str, Any]:
    package = graft.package
    return {
        "library": str(graft.library.path),
        "member": graft.member,
        "package": package and {"name": package.name, "version": package.version, "purl": package.purl},
        "licence": package and package.licence,
        "licence_files": sorted(graft.licences),
    }


def cache_data(engine: str, items: Sequence[CacheItem]) -> dict[str, Any]:
    """What the container strategy keeps: a list of volumes and images, sizes in bytes where the engine tells."""
    from ..strategies.container.images import kind_of  # judging and repairing have no use for the strategies

    kept = [
        {
            "kind": kind_of(item),
            "name": item.name,
            "size": item.size,
            "created": item.created,
            "detail": item.detail,
        }
        for item in items
    ]
    return {"version": VERSION, "engine": engine, "items": kept}
