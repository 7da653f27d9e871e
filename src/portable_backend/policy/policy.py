"""Policies as values: what a platform tag allows a file to need. And the symbols that glibc and musl export.

The facts are those of PEP 513, 571, 599, 600 and 656 as the manylinux project publishes them (:mod:`.published`) and
of the symbol lists of glibc and musl (``symbols.json``). Both are read on first use and kept; neither is written by
hand. Nothing else is read, and nothing of the machine is asked.
"""

from __future__ import annotations

import functools

from ..errors import SettingsError
from ..patterns import later
from ..records import NamedTuple
from ..targets import Arch, Libc, PlatformTag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Optional

# glibc's libraries that the symbol data covers. Only the name of the loader differs by architecture.
GLIBC_LIBRARIES = frozenset(
    {
        "libc.so.6",
        "libm.so.6",
        "libpthread.so.0",
        "libdl.so.2",
        "librt.so.1",
        "libutil.so.1",
        "libresolv.so.2",
        *(arch.glibc_loader for arch in Arch),
    }
)

# glibc's own libraries and loaders, and musl: one process has one C library, and it is the machine's.
C_LIBRARY = later(
    r"ld-linux.*|ld64\.so.*|ld-musl-.*|ld\.so\.[0-9]+|libc\.(?:so|musl).*"
    r"|lib(?:m|mvec|pthread|dl|rt|util|resolv|anl|thread_db|nss_[a-z]+|BrokenLocale)\.so(?:\..*)?"
)


def check_graft(patterns: Iterable[str], where: str) -> tuple[str, ...]:
    """Sonames (or patterns of them) that are asked to be grafted, if they can be.

    :raises SettingsError: for one of the C library.
    """
    for pattern in patterns:
        if C_LIBRARY.fullmatch(pattern):
            reason = "two C libraries in one process share neither memory nor threads"
            message = f"{where}: {pattern} belongs to the C library, which is the machine's own: {reason}"
            raise SettingsError(message, "build for the C library of the target, with the zig or container strategy")
    return tuple(patterns)


class Policy(NamedTuple):
    """What the files of a wheel may need of the machine, for the wheel to bear a platform tag.

    :param tag: the tag.
    :param versions: by namespace (``GLIBC``, ``GLIBCXX``, …) the allowed versions, as ``2.17``. An empty set says that
        the namespace is known and none of its versions is allowed.
    :param libraries: the file names that a *needed* entry may have although the wheel does not contain them,
        with the loader of glibc.
    :param forbidden: by library, the symbols that must not be taken from it although the library is allowed.
    """

    tag: PlatformTag
    versions: Mapping[str, frozenset[str]]
    libraries: frozenset[str]
    forbidden: Mapping[str, frozenset[str]]

    def __hash__(self) -> int:
        return hash((self.tag, self.libraries))

    @property
    def namespaces(self) -> frozenset[str]:
        """The namespaces of symbol versions that the policy has a say about."""
        return frozenset(self.versions)

    def allowed(self, namespace: str, version: str) -> bool:
        """Whether a file may need the symbol version ``<namespace>_<version>``.

        A namespace that the policy does not know is allowed: it belongs to a library that is no part of the promise
        (and that therefore has to be in the wheel). ``GLIBC_PRIVATE`` is allowed by no policy for glibc.
        """
        known = self.versions.get(namespace)
        return known is None or version in known


class GlibcSymbol(NamedTuple):
    """Where a name comes from in glibc.

    :param library: the soname of the library that had it first.
    :param since: glibc's version then, as ``(2, 2, 5)`` or ``(2, 17)``. The first version of an architecture's port
        stands for all earlier ones (2.17 on aarch64).
    """

    library: str
    since: tuple[int, ...]


def parse_version_name(name: str) -> tuple[str, str]:
    """The namespace and the version text of a symbol version.

    The namespace ends at the first underscore: ``GLIBC_2.17`` is ``("GLIBC", "2.17")`` and ``GLIBC_ABI_DT_RELR`` is
    ``("GLIBC", "ABI_DT_RELR")``. A name without an underscore is a namespace with an empty version, which no policy
    that knows the namespace allows.
    """
    namespace, _, version = name.partition("_")
    return namespace, version


@functools.cache
def get_policies(libc: Libc, arch: Arch) -> tuple[Policy, ...]:
    """The published policies, from the oldest C library (the most portable wheels) to the newest.

    Whatever a policy allows, all later ones allow, too. An architecture that has none gives an empty tuple.
    """
    from .published import POLICIES

    family: Any = POLICIES[libc.value]
    entry = family["arches"].get(arch.value)
    if entry is None:
        return ()
    names: list[str] = family["policies"]
    first = names.index(entry["first"])
    last = names.index(entry["last"])
    libraries = _gathered(family["libraries"], names)
    own = frozenset(entry["libraries"].split())
    own |= {arch.glibc_loader} if libc is Libc.GLIBC else frozenset()
    versions = {namespace: _gathered(added, names) for namespace, added in entry["versions"].items()}
    # What a policy forbids, the policy itself and all older ones do; so the sets grow from the newest to the oldest.
    forbidden = {library: _gathered(symbols, names[::-1])[::-1] for library, symbols in family["forbidden"].items()}
    return tuple(
        Policy(
            tag=PlatformTag(libc, _major_minor(names[index]), arch),
            versions={namespace: sets[index] for namespace, sets in versions.items()},
            libraries=own | libraries[index],
            forbidden={library: sets[index] for library, sets in forbidden.items() if sets[index]},
        )
        for index in range(first, last + 1)
    )


def get_policy(tag: PlatformTag) -> Policy:
    """The policy of any platform tag of PEP 600 or 656, published or not.

    A tag between two published policies, or above all of them, promises what the nearest published one below it does,
    and on glibc all of glibc's own symbol versions up to the tag's, too (PEP 600: the tag *is* glibc's version).

    :raises SettingsError: if the tag is older than the first policy of its architecture, if the architecture has no
        policy, or if there is no such version of the C library, as far as is known.
    """
    known = get_policies(tag.libc, tag.arch)
    below = [policy for policy in known if policy.tag.version <= tag.version]
    if not below or below[-1].tag.version[0] != tag.version[0]:
        raise SettingsError(f"there is no policy {tag}", _known_policies(tag, known))
    nearest = below[-1]
    if nearest.tag == tag:
        return nearest
    newest = max(nearest.tag.version, newest_known_glibc()) if tag.libc is Libc.GLIBC else nearest.tag.version
    if tag.version > newest:
        message = f"there is no policy {tag}: the newest {tag.libc.value} known is {newest[0]}.{newest[1]}"
        raise SettingsError(message, _known_policies(tag, known))
    return nearest._replace(tag=tag, versions=_versions_up_to(tag, nearest))


def glibc_symbol(name: str, arch: Arch) -> Optional[GlibcSymbol]:
    """Where and since when glibc exports ``name``, or ``None`` if none of :data:`GLIBC_LIBRARIES` ever did.

    A name in several libraries since the same version counts as libc's. Names that moved (into libc, in 2.34) are
    known by the library that had them first. The data end with :func:`newest_known_glibc`; there are none for
    big-endian ppc64, where the answer is always ``None``.
    """
    return _glibc_symbols(arch).get(name)


def musl_symbol(name: str, arch: Optional[Arch] = None) -> bool:
    """Whether some musl up to :func:`known_musl` provides ``name``, on ``arch`` or anywhere.

    Names that only its loader knows (``lseek64`` and the like, for old programs) count as provided. Which releases
    lack a name :func:`musl_since` tells.
    """
    return name in _musl_symbols(arch)


def musl_since(name: str, arch: Arch) -> Optional[tuple[int, ...]]:
    """The release in which musl on ``arch`` got ``name``, as ``(1, 2, 3)``.

    ``None`` if no release up to :func:`known_musl` has it. The first release with a port to the architecture stands
    for all earlier ones, and 1.1.0 for all before that.
    """
    if name not in _musl_symbols(arch):
        return None
    return recent_musl_symbols(arch).get(name, _musl_port(arch))


@functools.cache
def recent_musl_symbols(arch: Arch) -> Mapping[str, tuple[int, ...]]:
    """The names that musl on ``arch`` has not had from the beginning (see :func:`musl_since`), with their release."""
    data, here = read_data("symbols.json")["musl"], _musl_symbols(arch)
    return {
        name: _version(release)
        for release, names in data["since"].items()
        if _version(release) > _musl_port(arch)
        for name in names.split()
        if name in here
    }


def find_alpine(musl: tuple[int, ...]) -> Optional[str]:
    """The first release of Alpine Linux with that musl or a newer one; ``None`` where that is not known."""
    listed: Mapping[str, str] = read_data("symbols.json")["musl"]["alpine"]
    releases = {_version(version): alpine for version, alpine in listed.items()}
    if not min(releases) <= musl <= max(releases):
        return None
    return releases[min(version for version in releases if version >= musl)]


def newest_known_glibc() -> tuple[int, int]:
    """The newest version of glibc that :func:`glibc_symbol` knows."""
    from .published import GLIBC

    return _major_minor(GLIBC)


def known_musl() -> tuple[int, ...]:
    """The newest musl that :func:`musl_symbol` knows."""
    return _version(read_data("symbols.json")["musl"]["complete"])


def _gathered(by_policy: Mapping[str, str], names: Sequence[str]) -> list[frozenset[str]]:
    """For each policy its words and those of all before it in ``names``; the same set where nothing is added."""
    sets: list[frozenset[str]] = []
    words: frozenset[str] = frozenset()
    for name in names:
        if name in by_policy:
            words = words.union(by_policy[name].split())
        sets.append(words)
    return sets


def _versions_up_to(tag: PlatformTag, nearest: Policy) -> dict[str, frozenset[str]]:
    """``nearest``'s versions, and glibc's own from there to ``tag``'s (since 2.4 they are all of two numbers)."""
    versions = dict(nearest.versions)
    if tag.libc is Libc.GLIBC:
        major, minor = tag.version
        added = range(nearest.tag.version[1] + 1, minor + 1)
        versions["GLIBC"] = versions["GLIBC"].union(f"{major}.{number}" for number in added)
    return versions


def _known_policies(tag: PlatformTag, known: tuple[Policy, ...]) -> str:
    if not known:
        return f"{tag.arch.value} has no {tag.libc.family} policy; use another architecture or C library"
    return f"use one of {', '.join(policy.tag.policy for policy in known)}"


@functools.cache
def _glibc_symbols(arch: Arch) -> dict[str, GlibcSymbol]:
    data = read_data("symbols.json")["glibc"]
    if arch.value not in data["arches"]:
        return {}
    column = data["arches"].index(arch.value)
    found: dict[str, GlibcSymbol] = {}
    for library, versions, names in data["groups"]:
        version = versions.split()[column]
        if version != "-":
            symbol = GlibcSymbol(arch.glibc_loader if library == "ld" else library, _version(version))
            found.update(dict.fromkeys(names.split(), symbol))
    return found


@functools.cache
def _musl_symbols(arch: Optional[Arch]) -> frozenset[str]:
    data = read_data("symbols.json")["musl"]
    columns = [index for index, name in enumerate(data["arches"]) if arch is None or name == arch.value]
    return frozenset(
        name
        for present, names in data["groups"]
        if any(present[column] == "1" for column in columns)
        for name in names.split()
    )


def _musl_port(arch: Arch) -> tuple[int, ...]:
    """The first release of musl that the architecture has, 1.1.0 at the oldest."""
    return _version(read_data("symbols.json")["musl"]["ports"].get(arch.value, "1.1.0"))


@functools.cache
def read_data(name: str) -> Any:
    """One of the data files of this package."""
    import json  # most commands read none

    # As importlib.resources would, without its import, which takes longer than the reading.
    directory = __file__.replace("\\", "/").rpartition("/")[0]
    loader: Any = __spec__.loader
    return json.loads(loader.get_data(f"{directory}/{name}"))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _major_minor(text: str) -> tuple[int, int]:
    major, minor = _version(text)
    return major, minor


__all__ = [
    "C_LIBRARY",
    "GLIBC_LIBRARIES",
    "GlibcSymbol",
    "Policy",
    "check_graft",
    "find_alpine",
    "get_policies",
    "get_policy",
    "glibc_symbol",
    "known_musl",
    "musl_since",
    "musl_symbol",
    "newest_known_glibc",
    "parse_version_name",
    "recent_musl_symbols",
]
