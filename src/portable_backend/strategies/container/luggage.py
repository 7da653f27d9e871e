"""What goes into the container beside the sources: our own code, and what installing requirements takes there.

Nothing is downloaded for ourselves: this package and the pure-Python distributions that it needs inside travel as they
are installed here. Of the user's environment only two kinds of things enter unasked: how this machine reaches package
indexes (proxies, certificates, pip's and uv's index settings), and ``SOURCE_DATE_EPOCH``.
"""

from __future__ import annotations

import configparser
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Optional

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ...errors import StrategyBlocked

# "build" makes the isolated environments inside; its requirements and ours come with it.
REQUIRED = ("build", "packaging", "pyproject-hooks")
_TOMLI = "tomli"  # before Python 3.11
# What older Pythons do without where it is not installed here, with the module that it is: build has the standard
# library's instead of the other.
_SPARED = {_TOMLI: _TOMLI, "importlib-metadata": "importlib_metadata"}
# pip has it within, for itself: where we run on a newer Python than the image's, it is not installed here.
_TOMLI_OF_PIP = b"from pip._vendor.tomli import TOMLDecodeError, load, loads\n"
_PACKAGE = Path(__file__).resolve().parents[2]
_LEFT = frozenset({".so", ".pyd", ".pyc", ".pyi"})
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy")
_LOOPBACK = re.compile(r"(//|@|^)(localhost|127\.[0-9.]+|\[::1\])([:/]|$)")
_PASSED = ("SOURCE_DATE_EPOCH", "PORTABLE_BACKEND_TRACEBACK")
# Variables that name one file with certificates; each is set to the copy inside.
_CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
_ALL_CERTIFICATES = (*_CERTIFICATES, "CARGO_HTTP_CAINFO", "NODE_EXTRA_CA_CERTS")
# Options of pip by how they travel: as they are, as a file, as links that may be local directories.
_PLAIN = (
    "index-url",
    "extra-index-url",
    "no-index",
    "trusted-host",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
    "pre",
    "prefer-binary",
    "only-binary",
    "no-binary",
    "use-feature",
    "uploaded-prior-to",
)
_FILES = ("cert", "client-cert", "constraint", "build-constraint")
_LINKS = ("find-links",)
_SYSTEM_PIP = ("/etc/pip.conf",)
_PIP_SECTIONS = ("global", "install")
_ARCHIVES = (".whl", ".tar.gz", ".zip")
_LINKS_LIMIT = 256 << 20
_UV = (
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "UV_HTTP_TIMEOUT",
    "UV_EXCLUDE_NEWER",
    "UV_INDEX_STRATEGY",
    "UV_OFFLINE",
)


@dataclass
class Carried:
    """Settings of this machine that the container shall have.

    :param environ: variables to set inside.
    :param files: contents by path inside, relative to the carried directory.
    :param notes: what could not be carried, a line each.
    """

    environ: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


# --- our own code ------------------------------------------------------------------------------------------------


def pack(files: Mapping[str, bytes], inside: tuple[int, int] = sys.version_info[:2]) -> bytes:
    """A tar of this package and of the pure-Python distributions that it needs inside, under ``own``.

    :param files: contents to add, by path.
    :param inside: the version of Python that will run it.
    :raises StrategyBlocked: if one of those distributions is not installed here, or is not for that Python.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        own = _own_files(inside)
        for name, path in sorted(own.items()):
            _add(archive, f"own/{name}", path.read_bytes())
        if inside < (3, 11) and not any(name.startswith(f"{_TOMLI}/") for name in own):
            _add(archive, f"own/{_TOMLI}.py", _TOMLI_OF_PIP)
        for name, content in sorted(files.items()):
            _add(archive, name, content)
    return buffer.getvalue()


def content_time(content: bytes) -> int:
    """A modification time that tells contents apart: seconds since 1970, somewhere in the years 2001 to 2010.

    Python takes compiled code for current by its source's time and size. Of files that are written anew for each build
    it keeps compiled what has not changed, if their times are made from what is in them.
    """
    return 1_000_000_000 + int.from_bytes(hashlib.sha256(content).digest()[:4], "big") % (1 << 28)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(content), 0o644, content_time(content)
    archive.addfile(info, io.BytesIO(content))


@functools.cache
def _own_files(inside: tuple[int, int]) -> dict[str, Path]:
    files = {f"portable_backend/{path.relative_to(_PACKAGE).as_posix()}": path for path in _PACKAGE.rglob("*")}
    for name in _closure(REQUIRED, inside):
        _require_for(name, inside)
        files.update(_files_of(name))
    return {name: path for name, path in files.items() if _travels(name) and path.is_file()}


def _travels(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix not in _LEFT and "__pycache__" not in path.parts


def _require_for(name: str, inside: tuple[int, int]) -> None:
    """See that a distribution, as it is installed here, is for the Python of the image."""
    distribution = _distribution(name)
    requires = distribution.metadata["Requires-Python"]
    version = f"{inside[0]}.{inside[1]}"
    if requires and not any(SpecifierSet(requires).contains(f"{version}.{last}") for last in (0, 999)):
        raise StrategyBlocked(
            f"Python {version} of the image cannot run {name} {distribution.version}, which is installed beside"
            f" portable-backend and requires Python {requires}",
            f"run portable-backend with Python {version}, or install an older {name} beside it",
        )


def _closure(names: Iterable[str], inside: tuple[int, int]) -> list[str]:
    """Distributions and, transitively, what they require of the interpreter inside, as far as it can be had here."""
    version = f"{inside[0]}.{inside[1]}"
    environment = {"extra": "", "python_version": version, "python_full_version": f"{version}.999"}
    seen: dict[str, None] = {}
    todo = [canonicalize_name(name) for name in names]
    if inside < (3, 11) and importlib.util.find_spec(_TOMLI) is not None:
        todo.append(canonicalize_name(_TOMLI))
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen[name] = None
        for text in _distribution(name).requires or ():
            requirement = Requirement(text)
            module = _SPARED.get(canonicalize_name(requirement.name))
            if module is not None and importlib.util.find_spec(module) is None:
                continue
            if requirement.marker is None or requirement.marker.evaluate(environment):
                todo.append(canonicalize_name(requirement.name))
    return list(seen)


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        message = f"the container strategy needs {name}, which is not installed beside portable-backend"
        raise StrategyBlocked(message, "pip install 'portable-backend[container]'") from None


def _files_of(name: str) -> Iterator[tuple[str, Path]]:
    """The importable files of a distribution; where nothing recorded them, those of the packages that it names."""
    distribution = _distribution(name)
    for file in distribution.files or ():
        if file.parts[0] != ".." and not file.is_absolute():
            yield file.as_posix(), Path(str(distribution.locate_file(file)))
    if not distribution.files:
        top = name.replace("-", "_")
        root = Path(str(distribution.locate_file(top)))
        yield from ((f"{top}/{path.relative_to(root).as_posix()}", path) for path in root.rglob("*"))


# --- the way to package indexes ----------------------------------------------------------------------------------


def read_carried(inside: str, environ: Mapping[str, str] = os.environ) -> Carried:
    """How this machine reaches package indexes, and what else of the environment enters unasked.

    :param inside: the directory in the container that the files are unpacked to.
    """
    carried = Carried()
    for name in (*_PASSED, *_UV):
        if name in environ:
            carried.environ[name] = environ[name]
    for name in _PROXIES:
        for spelled in (name, name.upper()):
            if spelled in environ:
                carried.environ[spelled] = environ[spelled]
                if name != "no_proxy" and _LOOPBACK.search(environ[spelled]):
                    carried.notes.append(f"{spelled} leads to this machine's loopback, where a container finds nobody")
    options = _pip_options(environ)
    _carry_certificates(carried, options, inside, environ)
    _carry_pip(carried, options, inside)
    return carried


def _pip_options(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's index options, from its configuration files and from the environment, which wins (pip's own rule)."""
    options: dict[str, str] = {}
    for path in _pip_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip itself will say so, where it matters
        for section in _PIP_SECTIONS:
            if parser.has_section(section):
                options.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    for name in (*_PLAIN, *_FILES, *_LINKS):
        value = environ.get("PIP_" + name.upper().replace("-", "_"))
        if value:
            options[name] = value
    return options


def _pip_files(environ: Mapping[str, str]) -> list[str]:
    """Where pip looks for its configuration, the most general first."""
    home = os.path.expanduser("~")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    sites = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    files = [os.path.join(site, "pip", "pip.conf") for site in sites if site]
    files += [*_SYSTEM_PIP, os.path.join(home, ".pip", "pip.conf"), os.path.join(config, "pip", "pip.conf")]
    files.append(os.path.join(sys.prefix, "pip.conf"))
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    return [*files, named] if named else files


def _carry_certificates(carried: Carried, options: dict[str, str], inside: str, environ: Mapping[str, str]) -> None:
    """One bundle for all: whoever needed it on this machine needs it in the container, whose own system lacks it."""
    named = [environ[name] for name in _CERTIFICATES if environ.get(name)]
    if "cert" in options:
        named.append(options.pop("cert"))
    bundle = next((path for path in named if os.path.isfile(path)), None)
    if bundle is None:
        return
    carried.files["certificates.pem"] = Path(bundle).read_bytes()
    carried.environ.update(dict.fromkeys(_ALL_CERTIFICATES, f"{inside}/certificates.pem"))


def _carry_pip(carried: Carried, options: Mapping[str, str], inside: str) -> None:
    lines = ["[global]", "disable-pip-version-check = true", "root-user-action = ignore"]
    for name, value in sorted(options.items()):
        if name in _PLAIN:
            lines.append(f"{name} = {_continued(value)}")
        elif name in _FILES:
            path = _carry_file(carried, name, value, inside)
            lines += [f"{name} = {path}"] if path else []
        elif name in _LINKS:
            links = [link for link in (_carry_link(carried, each, inside) for each in value.split()) if link]
            if links:
                lines.append(f"{name} = {' '.join(links)}")
                carried.environ.setdefault("UV_FIND_LINKS", ",".join(links))
    carried.files["pip.conf"] = "\n".join([*lines, ""]).encode()
    carried.environ["PIP_CONFIG_FILE"] = f"{inside}/pip.conf"
    _carry_uv(carried, options)


def _carry_uv(carried: Carried, options: Mapping[str, str]) -> None:
    """uv reads none of pip's settings: it is told the same, unless the user told it something of its own."""
    own = {"UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL"}.intersection(carried.environ)
    if "index-url" in options and not own:
        carried.environ["UV_DEFAULT_INDEX"] = options["index-url"].split()[0]
    if "extra-index-url" in options and not own and "UV_EXTRA_INDEX_URL" not in carried.environ:
        carried.environ["UV_INDEX"] = " ".join(options["extra-index-url"].split())
    if "trusted-host" in options:
        carried.environ.setdefault("UV_INSECURE_HOST", " ".join(options["trusted-host"].split()))
    if "no-index" in options and options["no-index"].lower() in ("1", "true", "yes", "on"):
        carried.environ["UV_NO_INDEX"] = "1"
    if "proxy" in options:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            if not {name, name.lower()}.intersection(carried.environ):
                carried.environ[name] = options["proxy"]


def _continued(value: str) -> str:
    """A value on one line; pip splits lists at any white space."""
    return " ".join(value.split())


def _carry_file(carried: Carried, name: str, value: str, inside: str) -> Optional[str]:
    if "://" in value:
        return value
    path = Path(os.path.expanduser(value))
    if not path.is_file():
        carried.notes.append(f"pip's {name} {value} is no file here and stays behind")
        return None
    carried.files[f"{name}{path.suffix}"] = path.read_bytes()
    return f"{inside}/{name}{path.suffix}"


def _carry_link(carried: Carried, link: str, inside: str) -> Optional[str]:
    """A place of ``find-links``; a local directory travels with the archives in it."""
    local = link[7:] if link.startswith("file://") else link
    if "://" in local:
        return link
    directory = Path(os.path.expanduser(local))
    if not directory.is_dir():
        return None
    archives = [path for path in sorted(directory.iterdir()) if path.name.endswith(_ARCHIVES) and path.is_file()]
    if sum(path.stat().st_size for path in archives) > _LINKS_LIMIT:
        carried.notes.append(f"pip's find-links {link} holds more than {_LINKS_LIMIT >> 20} MiB and stays behind")
        return None
    number = len({name.split("/")[1] for name in carried.files if name.startswith("links/")})
    for path in archives:
        carried.files[f"links/{number}/{path.name}"] = path.read_bytes()
    return f"{inside}/links/{number}" if archives else None
