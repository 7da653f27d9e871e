"""Whether a wheel keeps the promise of a stable ABI tag: that every later interpreter can import and load it. Pure.

The promise has two halves. The *names* of the extension modules must be such that these interpreters look for them,
and the *symbols* that its files leave to the interpreter must be in the stable ABI of the oldest one: CPython loads
extension modules with ``RTLD_NOW``, so one strong symbol that the interpreter lacks, function or object, makes the
import fail.

What no file shows is not judged: whether the layout of a structure was relied on that the stable ABI leaves open.

Sources: PEP 384, 425 and 652; PEP 793 for ``PyModExport_*``; PEP 803 for ``abi3t``; PEP 3149 for the file names.
"""

from __future__ import annotations

import posixpath
import re

from ..elf import ET_EXEC, ElfFacts, names_of_python, names_where
from ..patterns import later
from ..policy.cpython import FIRST_ABI3, FIRST_ABI3T, StableSymbol, Version, stable_symbol
from ..policy.policy import GLIBC_LIBRARIES
from ..records import NamedTuple
from ..targets import Arch
from .facts import WheelFacts, arch_of, basename, installed_path
from .finding import Finding
from .graph import Graph, is_extension_module
from .rules import LIBPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Optional

_PYTHON_TAG = later(r"(?:cp|py)3(?P<minor>[0-9]{0,3})t?")
# How an interpreter's import looks for extension modules: name.so, or with the name of an ABI before the suffix.
_EXTENSION = later(r"(?P<module>[^.]+)\.(?:(?P<abi>[^.]+)\.)?so")
# Since 3.15 a stable ABI's name may say the platform, too: ext.abi3-x86_64-linux-gnu.so (CPython's gh-122931).
_MULTIARCH = later(r"\.(abi3t?)-[^./]+\.so\Z")
_INTERPRETER_SYMBOL = later(r"_?Py[A-Z_].*")
_ENTRY_POINT = later(r"Py(?:Init|ModExport)U?_.*")
# What takes a PyModuleDef, a structure of another size in free-threaded builds.
_MODULE_DEFINITION = ("PyModuleDef_Init", "PyModule_Create2", "PyModule_FromDefAndSpec2")
_WINDOWS = "MS_WINDOWS"
_STABLE = ("abi3", "abi3t")


class Claim(NamedTuple):
    """What the tags of a wheel promise.

    :param tag: as it stands in the name, ``cp39-abi3``.
    :param abis: ``abi3``, ``abi3t`` or both.
    :param minimum: the oldest interpreter.
    """

    tag: str
    abis: frozenset[str]
    minimum: Version


class _Use(NamedTuple):
    """A symbol that a file leaves to the interpreter although not every one has it; ``known`` is what the list says."""

    member: str
    name: str
    known: Optional[StableSymbol]
    minimum: Version
    weak: bool
    doubtful: bool

    @property
    def since(self) -> Optional[Version]:
        """The stable ABI that has it; ``None`` if none that a build for Linux has."""
        return None if self.known is None or self.known.only is not None else self.known.since


def find_claim(python: str, abi: str) -> Optional[Claim]:
    """What a wheel's Python and ABI tags promise, or ``None`` if they name no stable ABI of CPython."""
    abis = frozenset(abi.split(".")).intersection(_STABLE)
    matches = [_PYTHON_TAG.fullmatch(tag) for tag in python.split(".")]
    minors = [int(match["minor"] or 0) for match in matches if match is not None]
    if not abis or not minors:
        return None
    return Claim(f"{python}-{abi}", abis, max((3, min(minors)), FIRST_ABI3))


def judge_stable_abi(facts: WheelFacts, graph: Graph, arch: Arch) -> Iterator[tuple[str, Finding]]:
    """The findings about a wheel's stable ABI tag, each with its member."""
    claim = find_claim(facts.name.python, facts.name.abi)
    if claim is None:
        return
    mine = {member: elf for member, elf in sorted(facts.elves.items()) if arch_of(elf) is arch}
    yield from _names(claim, facts, mine)
    yield from _entry_points(claim, mine)
    uses = list(_uses(claim, graph, mine))
    cure = _cure(uses, claim)
    for use in uses:
        yield use.member, _finding(use, claim, cure)


# --- names -----------------------------------------------------------------------------------------------------------


def _names(claim: Claim, facts: WheelFacts, mine: Mapping[str, ElfFacts]) -> Iterator[tuple[str, Finding]]:
    """Extension modules that some interpreter of the claim does not even look for."""
    present = {_plain(installed_path(member), claim) for member in facts.digests}
    for member, elf in mine.items():
        match = _EXTENSION.fullmatch(_plain(basename(member), claim))
        if match is None or match["abi"] is None or not is_extension_module(member, elf):
            continue
        stem = posixpath.join(posixpath.dirname(installed_path(member)), match["module"])
        why = _unimportable(claim, stem, match["abi"], present)
        if why is not None:
            message = f"is named for {why}; the wheel is tagged {claim.tag}"
            right = "abi3t" if "abi3t" in claim.abis else "abi3"
            cure = f"name it {match['module']}.{right}.so, or tag the wheel for what its files are named for"
            yield member, Finding("extension-name", None, None, None, message, cure)


def _plain(name: str, claim: Claim) -> str:
    """A file's name without the platform, where every interpreter of the claim looks for it with one, too."""
    return _MULTIARCH.sub(r".\1.so", name) if claim.minimum >= FIRST_ABI3T else name


def _unimportable(claim: Claim, stem: str, abi: str, present: set[str]) -> Optional[str]:
    """What a file is named for, if some interpreter of the claim imports neither it nor another in its place."""
    if present.intersection((f"{stem}.so", f"{stem}.py", f"{stem}/__init__.py")):
        return None
    both = f"{stem}.abi3t.so" in present  # all interpreters since 3.15 import that
    if "abi3" in claim.abis and f"{stem}.abi3.so" not in present and not (both and claim.minimum >= FIRST_ABI3T):
        return _named_for(abi)
    if "abi3t" in claim.abis and not both:
        return _named_for(abi)
    return None


def _named_for(abi: str) -> str:
    version = re.fullmatch(r"cpython-3([0-9]+)([a-z]*)(?:-.*)?", abi)
    if version is not None:
        return f"CPython 3.{version[1]}{version[2]} only, and no other imports it"
    if abi == "abi3":
        return "abi3, which free-threaded interpreters do not import"
    if abi == "abi3t":
        return f"abi3t, which no interpreter before {_text(FIRST_ABI3T)} imports"
    return f"{abi}, which CPython does not import"


# --- entry points ----------------------------------------------------------------------------------------------------


def _entry_points(claim: Claim, mine: Mapping[str, ElfFacts]) -> Iterator[tuple[str, Finding]]:
    for member, elf in mine.items():
        names = [name for name in names_of_python(elf.exports) if name.startswith("Py")]
        new = min((name for name in names if name.startswith("PyModExport")), default=None)
        old = any(name.startswith("PyInit") for name in names)
        first = _minimum_of(member, elf, claim)
        if first is None:
            continue
        if new is not None and not old and first < FIRST_ABI3T:
            message = f"has the entry point {new} only, which no interpreter before {_text(FIRST_ABI3T)} looks for"
            cure = f"export PyInit_* too, or tag the wheel {_tag(FIRST_ABI3T)}"
            yield member, Finding("stable-abi", None, new, None, message, cure)
        if "abi3t" in claim.abis and old and new is None and not _is_only_for(member, "abi3"):
            imported = set(names_where(elf.imports, lambda symbol: not symbol.weak))
            for name in imported.intersection(_MODULE_DEFINITION):
                message = f"takes a PyModuleDef to {name}, a structure that free-threaded builds lay out otherwise"
                cure = "export PyModExport_* (PEP 793) and compile with Py_TARGET_ABI3T=0x030F0000"
                yield member, Finding("stable-abi", None, name, None, message, cure)


def _is_only_for(member: str, abi: str) -> bool:
    match = _EXTENSION.fullmatch(basename(member))
    return match is not None and match["abi"] == abi


def _minimum_of(member: str, elf: ElfFacts, claim: Claim) -> Optional[Version]:
    """The oldest interpreter that may load a file; ``None`` where the claim says nothing about it.

    An executable is no interpreter's to load, and a module that is named for one version promises no other.
    """
    if elf.interpreter is not None or elf.type == ET_EXEC:
        return None
    match = _EXTENSION.fullmatch(_plain(basename(member), claim))
    abi = match["abi"] if match is not None and is_extension_module(member, elf) else None
    if abi is None or abi == "abi3":
        return claim.minimum
    return max(claim.minimum, FIRST_ABI3T) if abi == "abi3t" else None


# --- symbols ---------------------------------------------------------------------------------------------------------


def _uses(claim: Claim, graph: Graph, mine: Mapping[str, ElfFacts]) -> Iterator[_Use]:
    """What is left to the interpreter and is not in every one: nothing in the wheel has it."""
    exported = {name for elf in mine.values() for name in names_of_python(elf.exports)}  # nothing else is asked for
    for member, elf in mine.items():
        minimum = _minimum_of(member, elf, claim)
        if minimum is None:
            continue
        doubtful = any(_may_have_others(name) for name in graph.outside(member))
        asked = _asked(elf)
        for name in sorted(asked.keys() - exported):
            known = stable_symbol(name)
            use = _Use(member, name, known, minimum, asked[name], doubtful and known is None)
            later = use.since is None or use.since > minimum
            # A weak symbol of a later stable ABI is how one asks whether this interpreter has it.
            if later and not _ENTRY_POINT.fullmatch(name) and not (use.weak and use.since is not None):
                yield use


def _asked(elf: ElfFacts) -> dict[str, bool]:
    """The symbols of the interpreter that a file takes, and whether weakly."""
    weak = filter(_INTERPRETER_SYMBOL.fullmatch, names_where(elf.imports, lambda symbol: symbol.weak))
    strong = filter(_INTERPRETER_SYMBOL.fullmatch, names_where(elf.imports, lambda symbol: not symbol.weak))
    return {**dict.fromkeys(weak, True), **dict.fromkeys(strong, False)}


def _may_have_others(library: str) -> bool:
    """Whether a library outside of the wheel could have symbols that look like the interpreter's."""
    system = library in GLIBC_LIBRARIES or library.startswith(("libc.", "ld-", "libstdc++.", "libgcc_s."))
    return not system and not LIBPYTHON.fullmatch(library)


def _finding(use: _Use, claim: Claim, cure: str) -> Finding:
    tag = f"the tag {claim.tag} promises {_text(use.minimum)}"
    since = use.since
    if since is not None:
        message = f"needs {use.name}, in the stable ABI since {_text(since)}; {tag}"
    elif use.known is None or use.known.only is None:
        message = f"needs {use.name}, which is not in the stable ABI; {tag} and all later ones"
    else:
        where = "on Windows" if use.known.only == _WINDOWS else f"in builds with {use.known.only}"
        message = f"needs {use.name}, in the stable ABI only {where}; {tag} and all later ones"
    if use.weak:
        message += " (a weak symbol: what loads it does without it)"
    if use.doubtful:
        message += " (unless a library outside of the wheel has it)"
    return Finding("stable-abi", None, use.name, None, message, cure, warning=use.weak or use.doubtful)


def _cure(uses: list[_Use], claim: Claim) -> str:
    """One cure for all, so that it is said once: the lowest tag that would be true, if one would."""
    binding = [use for use in uses if not use.weak and not use.doubtful]
    versions = [use.since for use in binding]
    known = [version for version in versions if version is not None]
    waive = "or waive the check (abi3-check = false)"
    if len(known) < len(versions) or not known:
        return (
            "no stable ABI tag is true of it: compile every file with Py_LIMITED_API="
            f"{_hexadecimal(claim.minimum)}, or build for one version of CPython; {waive}"
        )
    lowest = max(known)
    abi = ".".join(abi for abi in _STABLE if abi in claim.abis)
    return (
        f"tag the wheel {_tag(lowest, abi)}, the lowest that is true, or compile with Py_LIMITED_API="
        f"{_hexadecimal(claim.minimum)}; {waive}"
    )


def _tag(version: Version, abi: str = "abi3") -> str:
    return f"cp{version[0]}{version[1]}-{abi}"


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _hexadecimal(version: Version) -> str:
    """As ``Py_LIMITED_API`` has it: the version as ``PY_VERSION_HEX`` writes it."""
    return f"0x{version[0]:02X}{version[1]:02X}0000"


__all__ = ["Claim", "find_claim", "judge_stable_abi"]
