"""The bill of materials of grafted libraries (PEP 770), in CycloneDX 1.6's JSON.

Which package of the system a library came from is asked of that system's package manager, once for all libraries.
Nothing of the time or the machine goes in, so the same libraries give the same bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from urllib.parse import quote

from .plan import Graft

NAME = "portable-backend.cdx.json"


@dataclass(frozen=True)
class Package:
    """A package of the system. ``purl`` is its package URL."""

    name: str
    version: str
    purl: str


def make(name: str, version: str, grafts: Sequence[tuple[Graft, bytes]]) -> Optional[bytes]:
    """The document for these grafted libraries; ``None`` if there are none."""
    if not grafts:
        return None
    packages = find_packages([graft.library.path for graft, _ in grafts])
    root = f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"
    components = [_component(graft, packages.get(graft.library.path)) for graft, _ in grafts]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "library", "bom-ref": root, "name": name, "version": version, "purl": root},
            "tools": {"components": [{"type": "application", "name": "portable-backend"}]},
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": sorted(str(each["bom-ref"]) for each in components)}],
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode("utf-8")


def _component(graft: Graft, package: Optional[Package]) -> dict[str, object]:
    component: dict[str, object] = {
        "type": "library",
        "bom-ref": f"file:{graft.member}",
        "name": graft.library.path.name if package is None else package.name,
        "hashes": [{"alg": "SHA-256", "content": graft.library.digest}],
        "properties": [
            {"name": "portable-backend:member", "value": graft.member},
            {"name": "portable-backend:source", "value": str(graft.library.path)},
        ],
    }
    if package is not None:
        component.update(version=package.version, purl=package.purl)
    return component


def find_packages(paths: Sequence[Path]) -> dict[Path, Package]:
    """The packages that own these files, as far as dpkg, rpm or apk knows them."""
    release = _os_release()
    for ask in (_ask_dpkg, _ask_rpm, _ask_apk):
        found = ask(paths, release)
        if found:
            return found
    return {}


def _run(command: Sequence[str]) -> str:
    """Standard output, whatever the exit status (it is 1 as soon as one of many files is unknown)."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except OSError:
        return ""
    return done.stdout


def _spellings(path: Path) -> list[str]:
    """A path with and without /usr: where /lib is merged into /usr/lib, dpkg knows the name the package used."""
    text = str(path)
    return [text, text[4:]] if text.startswith("/usr/lib") else [text]


def _ask_dpkg(paths: Sequence[Path], release: dict[str, str]) -> dict[Path, Package]:
    asked = {spelling: path for path in paths for spelling in _spellings(path)}
    owners: dict[Path, str] = {}
    for line in _run(["dpkg", "-S", *asked]).splitlines():
        owner, _, file = line.partition(": ")
        if file in asked and not owner.startswith("diversion "):
            owners.setdefault(asked[file], owner.split(",")[0])
    if not owners:
        return {}
    shape = "${binary:Package}\\t${Package}\\t${Version}\\t${Architecture}\\n"
    known: dict[str, Package] = {}
    for line in _run(["dpkg-query", "-W", f"-f={shape}", *sorted(set(owners.values()))]).splitlines():
        fields = line.split("\t")
        if len(fields) == 4:
            binary, name, version, arch = fields
            known[binary] = known[name] = Package(name, version, _purl("deb", "debian", name, version, arch, release))
    return {path: known[owner] for path, owner in owners.items() if owner in known}


def _ask_rpm(paths: Sequence[Path], release: dict[str, str]) -> dict[Path, Package]:
    shape = "%{NAME}\\t%{VERSION}-%{RELEASE}\\t%{ARCH}\\n"
    found = {}
    for path in paths:  # one call a file: rpm's answers do not name the file that they are about
        fields = _run(["rpm", "-qf", "--queryformat", shape, str(path)]).strip().split("\n")[0].split("\t")
        if len(fields) == 3:
            name, version, arch = fields
            found[path] = Package(name, version, _purl("rpm", "fedora", name, version, arch, release))
    return found


def _ask_apk(paths: Sequence[Path], release: dict[str, str]) -> dict[Path, Package]:
    found = {}
    for path in paths:
        _, _, owner = _run(["apk", "info", "--who-owns", str(path)]).strip().partition(" is owned by ")
        name, _, rest = owner.partition(" ")[0].rpartition("-r")
        name, _, version = name.rpartition("-")
        if name and version:
            full = f"{version}-r{rest}"
            found[path] = Package(name, full, _purl("apk", "alpine", name, full, "", release))
    return found


def _purl(kind: str, default: str, name: str, version: str, arch: str, release: dict[str, str]) -> str:
    system = release.get("ID", default)
    qualifiers = [f"arch={quote(arch)}"] if arch else []
    if release.get("VERSION_ID"):
        qualifiers.append(f"distro={quote(system)}-{quote(release['VERSION_ID'])}")
    purl = f"pkg:{kind}/{quote(system)}/{quote(name, safe='')}@{quote(version, safe='')}"
    return f"{purl}?{'&'.join(qualifiers)}" if qualifiers else purl


def _os_release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
