"""The bill of materials of grafted libraries (PEP 770), in CycloneDX 1.6's JSON, and their licence texts beside it.

Nothing of the time or the machine goes in, so the same libraries of the same packages give the same bytes.
"""

from __future__ import annotations

import json
import posixpath
from pathlib import Path
from urllib.parse import quote

from ..wheels.hashing import sha256
from .licences import is_spdx, plain_name, read_licences
from .packages import SYSTEM, find_packages
from .plan import Graft, RepairPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "portable-backend.cdx.json"
MEMBER = f"sboms/{NAME}"


def with_packages(plan: RepairPlan, root: Path = SYSTEM) -> RepairPlan:
    """The plan with the package of the system and the licence texts of each graft, where there are any."""
    packages = find_packages([graft.library.path for graft in plan.grafts], root)
    texts = {package: read_licences(package, root) for package in set(packages.values())}
    grafts = []
    for graft in plan.grafts:
        package = packages.get(graft.library.path)
        home = posixpath.dirname(graft.member)
        found = {} if package is None else texts[package]
        licences = {f"licenses/{plain_name(home)}/{name}": text for name, text in found.items()}
        grafts.append(graft._replace(package=package, licences=licences))
    return plan._replace(grafts=tuple(grafts))


def story(grafts: Sequence[Graft]) -> Iterator[str]:
    """What is grafted and where it is from, a line each, and which packages have no licence text."""
    for graft in grafts:
        package = graft.package
        origin = "no package of the system" if package is None else f"{package.name} {package.version}"
        yield f"grafting {graft.library.path} ({origin}) as {graft.member}"
    for name in sorted({graft.package.name for graft in grafts if graft.package is not None and not graft.licences}):
        yield f"{name}: this system has no licence text of it; see to it that its licence is kept"


def make(name: str, version: str, grafts: Sequence[Graft]) -> dict[str, bytes]:
    """The members to add to ``.dist-info`` for these libraries: the document and the licence texts; none for none.

    The texts are not in ``sboms``, where PEP 770 wants documents of that kind only, but in ``licenses``, which PEP 639
    has reserved for them.
    """
    if not grafts:
        return {}
    grafts = sorted(grafts, key=_reference)  # not by where they were found
    root = f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"
    references = {posixpath.basename(graft.member): _reference(graft) for graft in grafts}
    dependencies = [{"ref": root, "dependsOn": sorted(references.values())}]
    for graft in grafts:
        needed = sorted({references[new] for _, new in graft.edits.replace_needed if new in references})
        dependencies.append({"ref": _reference(graft), "dependsOn": needed})
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "library", "bom-ref": root, "name": name, "version": version, "purl": root},
            "tools": {"components": [{"type": "application", "name": "portable-backend"}]},
        },
        "components": [_component(graft) for graft in grafts],
        "dependencies": dependencies,
    }
    members = {MEMBER: (json.dumps(document, indent=1, sort_keys=True) + "\n").encode("utf-8")}
    for graft in grafts:
        members.update(graft.licences)
    return members


def _reference(graft: Graft) -> str:
    return f"file:{graft.member}"


def _source(graft: Graft) -> str:
    """The path, of a package's file; of others the name only, since the directory may be anybody's."""
    return graft.library.path.name if graft.package is None else str(graft.library.path)


def _component(graft: Graft) -> dict[str, object]:
    package = graft.package
    component: dict[str, object] = {
        "type": "library",
        "bom-ref": _reference(graft),
        "name": graft.library.path.name if package is None else package.name,
        "hashes": [{"alg": "SHA-256", "content": graft.library.digest}],
        "properties": [
            {"name": "portable-backend:member", "value": graft.member},
            {"name": "portable-backend:source", "value": _source(graft)},
        ],
    }
    if package is not None:
        component.update(version=package.version, purl=package.purl)
        if package.licence is not None:
            spdx = is_spdx(package.licence)
            choice = {"expression": package.licence} if spdx else {"license": {"name": package.licence}}
            component["licenses"] = [choice]
    if graft.licences:
        component["externalReferences"] = [
            {
                "type": "license",
                "url": f"../{quote(member)}",
                "hashes": [{"alg": "SHA-256", "content": sha256(text).hexdigest()}],
            }
            for member, text in sorted(graft.licences.items())
        ]
    return component
