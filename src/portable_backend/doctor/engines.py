"""Container engines: which answer, as whom they are asked, and which of their images can build wheels for here."""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional
from urllib.parse import quote

from ..errors import PortableBackendError, SettingsError
from ..strategies.container import dial
from ..strategies.container.engine import Engine, find_engine
from ..strategies.container.images import fits_arch
from ..targets import Arch, parse_arch
from . import cures
from .ask import SECONDS, ask
from .check import BROKEN, MISSING, OK, Check

_POLICY_IMAGE = re.compile(r"(manylinux|musllinux)")
_MOST_IMAGES = 20
_PASSWORD = re.compile(r"(://[^/@\s]*?):[^/@\s]*@")


def engine(program: str, distribution: Optional[str], machine: str) -> Sequence[Check]:
    """docker or podman, and its images."""
    enables = "the container strategy: libraries of a distribution, Fortran, other architectures"
    try:
        found = find_engine(program)
    except PortableBackendError as error:
        missing = "is not installed" in error.message or "no container engine" in error.message
        cure = cures.install(program, distribution, f"install {program}") if missing else _unsaid(error.cure or "")
        return [Check("containers", program, MISSING if missing else BROKEN, _unsaid(error.message), enables, cure)]
    told = _info(found)
    rootless = _is_rootless(told)
    how = "" if rootless is None else f"; the engine runs {'rootless' if rootless else 'as root'}"
    description = _unsaid(found.description)
    detail = f"{description} answers {_user()}{how}"
    data = {"description": description, "user": _user(), "rootless": rootless}
    return [Check("containers", program, OK, detail, data=data), _images(found, program, machine)]


def _unsaid(text: str) -> str:
    """Addresses without the passwords that some have in them."""
    return _PASSWORD.sub(r"\1:…@", text)


def _user() -> str:
    uid = os.getuid() if hasattr(os, "getuid") else None
    try:
        import pwd

        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})" if uid is not None else "this user"
    except (ImportError, KeyError):
        return f"uid {uid}"


def _get(engine: Engine, path: str) -> Any:
    """What the engine's API says, ``None`` where this engine is not spoken to through it."""
    if "endpoint" not in engine.address:
        return None
    endpoint = dial.Endpoint.from_json(engine.address["endpoint"])
    try:
        return json.loads(dial.call(endpoint, "GET", f"/v{engine.address['api']}{path}", SECONDS))
    except (OSError, ValueError, http.client.HTTPException, dial.HttpError):
        return None


def _command(engine: Engine, *arguments: str) -> Optional[str]:
    """What the engine's program says."""
    if "endpoint" in engine.address:
        return None
    environ = {**os.environ, **engine.address["environ"]}
    return ask([engine.address["command"], *engine.address["options"], *arguments], environ)


def _info(engine: Engine) -> Mapping[str, Any]:
    said = _get(engine, "/info")
    if said is None:
        try:
            said = json.loads(_command(engine, "info", "--format", "{{json .}}") or "null")
        except ValueError:
            said = None
    return said if isinstance(said, dict) else {}


def _is_rootless(info: Mapping[str, Any]) -> Optional[bool]:
    host = info.get("host")
    if isinstance(host, dict) and isinstance(host.get("security"), dict):  # podman's own words
        return bool(host["security"].get("rootless"))
    if "SecurityOptions" not in info:
        return None
    return any("name=rootless" in str(option) for option in info["SecurityOptions"] or ())


def _images(engine: Engine, program: str, machine: str) -> Check:
    """Images with a policy for this machine: those that say so themselves."""
    try:
        arch: Optional[Arch] = parse_arch(machine)
    except SettingsError:
        arch = None
    fitting: dict[str, str] = {}
    more = 0
    for name in _names(engine):
        if len(fitting) == _MOST_IMAGES:
            more += 1
            continue
        try:
            image = engine.find_image(name)
        except PortableBackendError:
            continue
        if image is not None and arch is not None and fits_arch(image.arch, arch):
            fitting[name] = image.environ.get("AUDITWHEEL_PLAT", "")
    name = f"{program} images"
    if not fitting:
        detail = f"none with a policy for {machine} yet; the first build pulls what it needs"
        return Check("containers", name, MISSING, detail, "builds in containers without a download", None, data={})
    listed = ", ".join(f"{each} ({plat})" if plat else each for each, plat in fitting.items())
    detail = f"{listed}{f', and {more} more' if more else ''}"
    return Check("containers", name, OK, detail, data={"images": fitting})


def _names(engine: Engine) -> list[str]:
    filters = quote(json.dumps({"dangling": ["false"]}))
    listed = _get(engine, f"/images/json?filters={filters}")
    if isinstance(listed, list):
        names = [str(tag) for each in listed if isinstance(each, dict) for tag in each.get("RepoTags") or ()]
    else:
        said = _command(engine, "images", "--format", "{{.Repository}}:{{.Tag}}") or ""
        names = said.split()
    return sorted(name for name in set(names) if _POLICY_IMAGE.search(name) and "<none>" not in name)
