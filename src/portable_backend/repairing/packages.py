"""Which package of the system a file belongs to, by the package managers' own databases.

dpkg's and apk's are text and read in this process: ``dpkg -S`` reads every list of files anew for each call. rpm's
is asked for all files at once, since its format (Berkeley DB, ndb, SQLite) is rpm's own affair.

Sources: dpkg's ``admindir`` (``info/*.list``, ``status``, ``diversions``), as dpkg-query(1) describes
it; apk's database format v2 (``P:``, ``V:``, ``A:``, ``L:``, ``F:``, ``R:``); rpm(8), query formats; the package-url
specification.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from ..records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Optional

SYSTEM = Path("/")
_APK_DATABASES = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
# One line for a package, then one for each of its files; the flag l marks licence files (rpm(8), fflags).
_RPM_FORMAT = (
    "P\\t%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{LICENSE}\\n"
    "[F\\t%{FILEFLAGS:fflags}\\t%{FILENAMES}\\n]"
)


@dataclass(frozen=True)
class Package:
    """A package of the system.

    :param kind: ``deb``, ``rpm`` or ``apk``, as in a package URL.
    :param purl: its package URL.
    :param licence: what the package manager's database says its licence is, if it says so.
    :param texts: where the database itself knows them, the paths of its licence files.
    :param origin: the source package that it was made of, if the database says so.
    """

    kind: str
    name: str
    version: str
    purl: str
    licence: Optional[str] = None
    texts: tuple[str, ...] = field(default=(), compare=False)
    origin: Optional[str] = None


def find_packages(paths: Iterable[Path], root: Path = SYSTEM) -> dict[Path, Package]:
    """The packages that own these files; what no package manager knows is left out.

    :param paths: with symbolic links resolved.
    :param root: the directory whose databases are read; ``paths`` lie below it.
    """
    system = _read_os_release(root)
    found: dict[Path, Package] = {}
    for ask in (_ask_dpkg, _ask_apk, _ask_rpm):
        left = [path for path in dict.fromkeys(paths) if path not in found]
        if left:
            found.update(ask(_Spellings(left, root), root, system))
    return found


class _Spellings:
    """The names that a database may have for files: where ``/lib`` is merged into ``/usr``, packages name either."""

    def __init__(self, paths: Sequence[Path], root: Path) -> None:
        self.names: dict[str, Path] = {}
        for path in paths:
            name = f"/{path.relative_to(root)}" if path.is_relative_to(root) else str(path)
            other = name[len("/usr") :] if name.startswith("/usr/") else f"/usr{name}"
            self.names[name] = path
            if _same_file(root / other[1:], path):
                self.names.setdefault(other, path)


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# --- dpkg --------------------------------------------------------------------------------------------------------


class _Diversion(NamedTuple):
    """A file that one package has moved aside: ``package`` owns ``name``, everybody else's ``name`` is ``moved``."""

    name: str
    moved: str
    package: str


def _ask_dpkg(spellings: _Spellings, root: Path, system: Mapping[str, str]) -> dict[Path, Package]:
    admin = root / "var/lib/dpkg"
    owners = _dpkg_owners(admin, spellings.names)
    known = _dpkg_packages(_read(admin / "status"), set(owners.values()), system)
    return {path: known[owner] for path, owner in owners.items() if owner in known}


def _dpkg_owners(admin: Path, names: Mapping[str, Path]) -> dict[Path, str]:
    """By file the name of the list that has it, ``libfoo1:amd64`` or ``libfoo1``."""
    diversions = _read_diversions(admin)
    asked: defaultdict[bytes, list[Path]] = defaultdict(list)
    for name, path in names.items():
        for listed in (name, *(each.name for each in diversions if each.moved == name)):
            asked[os.fsencode(listed)].append(path)
    owners: dict[Path, str] = {}
    left = set(names.values())
    for owner, data in _dpkg_lists(admin / "info", names):
        if b".so" not in data:
            continue
        for line in asked.keys() & data.split(b"\n"):
            for path in left.intersection(asked[line]):
                if _owns(owner.partition(":")[0], _text(line), path, names, diversions):
                    owners[path] = owner
        left -= owners.keys()
        if not left:
            break
    return owners


def _owns(package: str, listed: str, path: Path, names: Mapping[str, Path], diversions: Sequence[_Diversion]) -> bool:
    """Whether the file that a package lists is this one, diversions considered."""
    own = {name for name, other in names.items() if other == path}
    for each in diversions:
        if each.name == listed:
            return package == each.package if listed in own else package != each.package and each.moved in own
    return listed in own


def _read_diversions(admin: Path) -> list[_Diversion]:
    lines = _text(_read(admin / "diversions")).splitlines()
    return [_Diversion(*lines[at : at + 3]) for at in range(0, len(lines) - 2, 3)]


def _dpkg_lists(info: Path, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """All lists of files, those first that are likely: a library's package is named after it (Debian Policy 8.1)."""
    try:
        lists = [name for name in os.listdir(info) if name.endswith(".list")]
    except OSError:
        return
    stems = tuple({os.path.basename(name).partition(".so")[0].lower().replace("_", "-") for name in names} - {""})

    def likelihood(name: str) -> tuple[int, str]:
        # Packages of shared libraries are nearly all installable for several architectures (":amd64.list").
        return 0 if name.startswith(stems) else 1 if ":" in name else 2, name

    for name in sorted(lists, key=likelihood):
        yield name[: -len(".list")], _read(info / name)


def _dpkg_packages(status: bytes, owners: Iterable[str], system: Mapping[str, str]) -> dict[str, Package]:
    found = {}
    status = b"\n" + status
    for owner in owners:
        name, _, wanted = owner.partition(":")
        start = 0
        while True:
            start = status.find(b"\nPackage: " + os.fsencode(name) + b"\n", start)
            if start < 0:
                break
            end = status.find(b"\n\n", start)
            fields = _fields(_text(status[start + 1 : end if end > 0 else len(status)]), ": ")
            start += 1
            if wanted in ("", fields.get("Architecture")) and "Version" in fields:
                version, arch = fields["Version"], fields.get("Architecture", "")
                purl = _purl("deb", "debian", name, version, {"arch": arch}, system)
                found[owner] = Package("deb", name, version, purl, origin=fields.get("Source", name).partition(" ")[0])
                break
    return found


def _fields(paragraph: str, mark: str) -> dict[str, str]:
    pairs = (line.partition(mark) for line in paragraph.split("\n") if line[:1] not in ("", " ", "\t"))
    return {key: value for key, found, value in pairs if found}


# --- apk ---------------------------------------------------------------------------------------------------------


def _ask_apk(spellings: _Spellings, root: Path, system: Mapping[str, str]) -> dict[Path, Package]:
    found: dict[Path, Package] = {}
    wanted = {os.fsencode(name[1:]): path for name, path in spellings.names.items()}
    bases = {name.rpartition(b"/")[2] for name in wanted}
    for database in _APK_DATABASES:
        for record in _read(root / database).split(b"\n\n"):
            if any(base in record for base in bases):
                owned = [wanted[name] for name in _apk_files(record) if name in wanted]
                package = _apk_package(_text(record), system) if owned else None
                found.update({path: package for path in owned if package is not None})
    return found


def _apk_files(record: bytes) -> Iterator[bytes]:
    directory = b""
    for line in record.split(b"\n"):
        if line.startswith(b"F:"):
            directory = line[2:]
        elif line.startswith(b"R:"):
            yield directory + b"/" + line[2:] if directory else line[2:]


def _apk_package(record: str, system: Mapping[str, str]) -> Optional[Package]:
    fields = _fields(re.split(r"^[FMRZa]:", record, maxsplit=1, flags=re.MULTILINE)[0], ":")
    name, version = fields.get("P"), fields.get("V")
    if not name or not version:
        return None
    purl = _purl("apk", "alpine", name, version, {"arch": fields.get("A", "")}, system)
    return Package("apk", name, version, purl, fields.get("L") or None, origin=fields.get("o"))


# --- rpm ---------------------------------------------------------------------------------------------------------


def _ask_rpm(spellings: _Spellings, root: Path, system: Mapping[str, str]) -> dict[Path, Package]:
    """One call for all files. The answers come by package, each with the names of its files."""
    if not any((root / place).is_dir() for place in ("var/lib/rpm", "usr/lib/sysimage/rpm")):
        return {}
    paths = sorted({str(path) for path in spellings.names.values()})
    found: dict[Path, Package] = {}
    answer = "\n" + _run(["rpm", "-qf", "--queryformat", _RPM_FORMAT, *paths])
    for block in answer.split("\nP\t")[1:]:
        head, *rest = block.split("\n")
        files = [row for row in (line.split("\t", 2) for line in rest) if len(row) == 3 and row[0] == "F"]
        package = _rpm_package(head.split("\t"), [name for _, flags, name in files if "l" in flags], system)
        if package is not None:
            names = spellings.names
            found.update({names[name]: package for _, _, name in files if name in names})
    return found


def _rpm_package(fields: Sequence[str], texts: Sequence[str], system: Mapping[str, str]) -> Optional[Package]:
    if len(fields) != 5:
        return None
    name, epoch, version, arch, licence = fields
    qualifiers = {"arch": arch, "epoch": "" if epoch == "0" else epoch}
    purl = _purl("rpm", "fedora", name, version, qualifiers, system)
    return Package("rpm", name, version, purl, None if licence in ("", "(none)") else licence, tuple(texts))


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


# --- package URLs ------------------------------------------------------------------------------------------------


def _purl(
    kind: str, default: str, name: str, version: str, qualifiers: Mapping[str, str], system: Mapping[str, str]
) -> str:
    vendor = system.get("ID", default)
    release = system.get("VERSION_ID")
    more = {**qualifiers, "distro": f"{vendor}-{release}" if release else ""}
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(more.items()) if value)
    purl = f"pkg:{kind}/{quote(vendor, safe='')}/{quote(name, safe='')}@{quote(version, safe='')}"
    return f"{purl}?{query}" if query else purl


def _read_os_release(root: Path) -> dict[str, str]:
    data = _read(root / "etc/os-release") or _read(root / "usr/lib/os-release")
    pairs = (line.partition("=") for line in _text(data).splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
