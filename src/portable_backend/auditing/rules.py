"""The rules of judging, one function each: what a file of a wheel needs that not every machine of a policy has.

Each rule yields findings of one file, of which they do not say the name yet. A rule that knows a lower bound (a symbol
version, a policy's library list) gives it as the ceiling; a rule that rules out every policy gives ``None``.

Sources: PEP 513, 571, 599, 600 and 656 for what policies promise; the gABI and the GNU extensions for the files.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from types import MappingProxyType

from ..elf import ElfFacts, group_names
from ..patterns import later
from ..policy.policy import (
    GLIBC_LIBRARIES,
    Policy,
    glibc_symbol,
    musl_symbol,
    newest_known_glibc,
    parse_version_name,
)
from ..records import NamedTuple
from ..targets import Arch, Libc, PlatformTag
from .facts import arch_of, basename
from .finding import Finding
from .graph import Graph, entry_inside, index_names, is_extension_module
from .lookup import Lookups, look_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Optional

    Rule = Callable[["Scene", str], Iterator[Finding]]

LIBPYTHON = later(r"lib(?:python|pypy)[23](?:\.[0-9]+[a-z]*)?(?:-c)?\.so(?:\..*)?")
# What the interpreter itself exports to extension modules (CPython, PyPy); private names included, and those of PyPy's
# embedding interface (pypy/module/_cffi_backend/src/embedding.c), which cffi and pyo3 call.
_INTERPRETER_SYMBOL = later(
    r"_?Py(?:Py)?[A-Z_].*|_?PyPy.*|rpython_startup_code"
    r"|pypy_(?:carefully_make_gil|execute_source(?:_ptr)?|init_embedded_cffi_module|init_home|init_threads|setup_home|thread_attach)"
)
_INTERPRETER_BEGINNINGS = ("Py", "_Py", "rpython_", "pypy_")
# auditwheel and this project mark grafts with the beginning of a digest.
_GRAFT = later(r"(.+?)(?:-[0-9a-f]{8})+\.so(?:\..*)?")
_COMPILER_LIBRARIES = frozenset({"libstdc++.so.6", "libgcc_s.so.1", "libatomic.so.1"})
_CXX_SYMBOL = later(r"_Z.*|__cxa_.*|__gxx_.*|_Unwind_.*|__dynamic_cast|__gcc_.*|__emutls.*")
# The linkers resolve these themselves; some leave them in the dynamic symbol table all the same.
_LINKER_SYMBOLS = frozenset(
    {"_GLOBAL_OFFSET_TABLE_", "_DYNAMIC", "__dso_handle", "_end", "_edata", "__bss_start", "_init", "_fini", "__end__"}
)
_ISA_LEVELS = {2: "x86-64-v2", 4: "x86-64-v3", 8: "x86-64-v4"}
_BASELINE_ISA = 1
# glibc learned STT_GNU_IFUNC in 2.11 on x86; every later port was born with it.
_IFUNC_SINCE = (2, 12)
_RELR_SINCE = (2, 36)

# Where glibc's ABI has its loader in /lib64; elsewhere it is /lib, on 64 bits, too.
_LIB64 = frozenset({Arch.X86_64, Arch.PPC64, Arch.PPC64LE, Arch.LOONGARCH64})

_ZIG_OR_IMAGE = "build with the zig strategy and the target that you need, or in an image of that age"


class _Given(NamedTuple):
    elves: Mapping[str, ElfFacts]
    graph: Graph
    libc: Libc
    arch: Arch
    policies: Sequence[Policy]
    excluded: Callable[[str], bool]
    isa_check: bool
    dlopen_names: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Scene(_Given):
    """All that the rules may look at, and what follows from it, found out once for all files."""

    def lowest(self, passes: Callable[[Policy], bool]) -> Optional[PlatformTag]:
        """The most portable policy that passes."""
        return next((policy.tag for policy in self.policies if passes(policy)), None)

    def at_least(self, version: Sequence[int]) -> Optional[PlatformTag]:
        """The most portable tag that promises this version of the C library."""
        known = self.lowest(lambda policy: policy.tag.version >= tuple(version[:2]))
        if known is None and self.libc is Libc.GLIBC and self.policies and tuple(version[:2]) <= newest_known_glibc():
            return PlatformTag(self.libc, (version[0], version[1]), self.arch)
        return known

    def version_ceiling(self, library: str, version: str) -> Optional[PlatformTag]:
        """The most portable tag that promises a symbol version of a library; ``None`` if none does."""
        key = library, version
        if key not in self._ceilings:  # the same few in every file
            self._ceilings[key] = self._find_ceiling(library, version)
        return self._ceilings[key]

    @functools.cached_property
    def _ceilings(self) -> dict[tuple[str, str], Optional[PlatformTag]]:
        return {}

    def _find_ceiling(self, library: str, version: str) -> Optional[PlatformTag]:
        namespace, number = parse_version_name(version)
        ceiling = None
        if any(namespace in policy.versions for policy in self.policies):
            ceiling = self.lowest(lambda policy: library in policy.libraries and policy.allowed(namespace, number))
        if ceiling is None and namespace == "GLIBC" and re.fullmatch(r"[0-9]+\.[0-9]+", number):
            ceiling = self.at_least(tuple(map(int, number.split("."))))
        return ceiling

    @functools.cached_property
    def native(self) -> frozenset[str]:
        """The files that are for the wheel's architecture; others are taken for data beside them."""
        return frozenset(member for member, facts in self.elves.items() if arch_of(facts) is self.arch)

    @functools.cached_property
    def provided(self) -> frozenset[str]:
        """Every name by which a library of the wheel may be asked for, or which a file needs anyway."""
        return frozenset(
            name
            for member, facts in self.elves.items()
            for name in (basename(member), facts.soname or "", *facts.needed)
        )

    @functools.cached_property
    def bearers(self) -> Mapping[str, Sequence[str]]:
        """By file name and soname the files that bear it, sorted."""
        return index_names(self.elves)

    @functools.cached_property
    def grafts(self) -> frozenset[str]:
        """Grafted libraries, by their names up to ``.so`` and without a mark.

        Their old names stay among the strings of files that were edited, though nothing refers to them any more.
        """
        marked = (_GRAFT.fullmatch(basename(member)) for member in self.elves)
        return frozenset(match[1] for match in marked if match)

    @property
    def loader_path(self) -> str:
        """Where every machine of this architecture and C library has its dynamic loader."""
        if self.libc is Libc.MUSL:
            return f"/lib/ld-musl-{self.arch.musl_name}.so.1"
        return f"/{'lib64' if self.arch in _LIB64 else 'lib'}/{self.arch.glibc_loader}"

    @functools.cached_property
    def system_libraries(self) -> frozenset[str]:
        """Every library that some policy promises."""
        return frozenset(name for policy in self.policies for name in policy.libraries)

    @functools.cached_property
    def lookups(self) -> Lookups:
        """What became of all names that files look up, and who refers to those that some policy has reasons against."""
        watch = frozenset({_FPECTL}.union(*self.forbidden.values()))
        return look_up(self.elves, self.graph.scopes, self.libc is Libc.MUSL, watch)

    @functools.cached_property
    def brought(self) -> frozenset[str]:
        """Of the names that some file misses, those that an interpreter brings along or a linker resolves."""
        begin, whole = _INTERPRETER_BEGINNINGS, _INTERPRETER_SYMBOL.fullmatch
        missing: set[str] = set().union(*self.lookups.missing.values())
        # The expression is asked about few; others begin otherwise.
        return _LINKER_SYMBOLS.union(name for name in missing if name.startswith(begin) and whole(name))

    @functools.cached_property
    def forbidden(self) -> Mapping[str, frozenset[str]]:
        """By library the symbols that some policy forbids to take from it."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for policy in self.policies:
            for library, names in policy.forbidden.items():
                found[library].update(names)
        return {library: frozenset(names) for library, names in found.items()}

    @property
    def musl_soname(self) -> str:
        """musl's own name, which a *needed* entry must have (Alpine's architecture names differ from the loader's)."""
        names = sorted(name for name in self.system_libraries if name.startswith("libc.musl-"))
        return names[0] if names else f"libc.musl-{self.arch.musl_name}.so.1"

    def is_limit(self, ceiling: Optional[PlatformTag]) -> bool:
        """Whether a ceiling rules out anything."""
        return ceiling is None or not self.policies or ceiling.version > self.policies[0].tag.version


def is_graft(member: str) -> bool:
    """Whether a file bears the mark of a graft in its name."""
    return _GRAFT.fullmatch(basename(member)) is not None


def libc_of(facts: ElfFacts) -> Optional[Libc]:
    """The C library that a file names, in its *needed* entries, its loader or its version needs."""
    names = (*facts.needed, basename(facts.interpreter or ""))
    if any(name == "libc.so" or name.startswith(("libc.musl-", "ld-musl-")) for name in names):
        return Libc.MUSL
    if "libc.so.6" in names or any(name.startswith(("ld-linux", "ld64.so")) for name in names):
        return Libc.GLIBC
    if any(version.startswith("GLIBC_") for need in facts.version_needs for version in need.versions):
        return Libc.GLIBC
    return None


def _machine(scene: Scene, member: str) -> Iterator[Finding]:
    facts = scene.elves[member]
    arch = arch_of(facts)
    if arch is scene.arch:
        named = libc_of(facts)
        if named is not None and named is not scene.libc:
            message = f"is linked against {named.value}, in a wheel for {scene.libc.value}"
            yield Finding("c-library", None, None, None, message, "build every part of the wheel for one C library")
        return
    name = arch.value if arch else _unknown_machine(facts)
    message = f"is for {name}, in a wheel for {scene.arch.value}"
    if is_extension_module(member, facts) or not scene.native:
        yield Finding("architecture", None, None, None, message, "build it for the wheel's architecture")
    else:  # data, for all we know: debuggers and packers carry helpers for other machines
        cure = "leave it out of the wheel if nothing reads it"
        yield Finding("architecture", None, None, None, message + " (taken for data)", cure, warning=True)


def _unknown_machine(facts: ElfFacts) -> str:
    if (facts.machine, facts.bits) == (Arch.ARMV7L.machine, Arch.ARMV7L.bits):
        return "ARM by another convention than that of armv7l (EABI 5, hard float)"
    return f"an architecture without platform tag (e_machine {facts.machine}, {facts.bits} bits)"


def _versions(scene: Scene, member: str) -> Iterator[Finding]:
    """Symbol versions, which the loader of glibc checks before anything runs. That of musl ignores them."""
    if scene.libc is Libc.MUSL:
        return
    facts = scene.elves[member]
    wrong: dict[tuple[str, str], Sequence[str]] = {}  # by library and version the files in the wheel that lack it
    edges = scene.graph.edges[member]
    for library, versions in facts.version_needs:
        inside = edges.get(library)
        for version in versions:
            if inside is not None:
                lacking = [target for target in inside if _lacks(scene.elves[target], version)]
                if lacking:
                    wrong[library, version] = lacking
            elif library in scene.system_libraries and scene.is_limit(scene.version_ceiling(library, version)):
                wrong[library, version] = ()
    if not wrong:  # nobody asks of most files who uses what
        return
    users = group_names(facts.imports, wrong)
    for (library, version), targets in wrong.items():
        names = users[library, version]
        if targets:
            yield from _inside_version(targets, library, version, names)
        else:
            yield from _system_version(scene, library, version, names)


def _lacks(facts: ElfFacts, version: str) -> bool:
    return bool(facts.version_definitions) and version not in facts.version_definitions


def _inside_version(targets: Sequence[str], library: str, version: str, names: Sequence[str]) -> Iterator[Finding]:
    symbol = f"{names[0]}@{version}" if names else version
    for target in targets:
        message = f"needs {symbol} of {library}, but {target} in the wheel does not define that version"
        yield Finding("symbol-version", library, symbol, None, message, "bundle the library that it was linked against")


def _system_version(scene: Scene, library: str, version: str, names: Sequence[str]) -> Iterator[Finding]:
    ceiling = scene.version_ceiling(library, version)
    cure = _version_cure(parse_version_name(version)[0], version)
    every: Sequence[Optional[str]] = names or [None]
    for name in every:
        symbol = version if name is None else f"{name}@{version}"
        yield Finding("symbol-version", library, symbol, ceiling, f"needs {symbol} of {library}", cure)


def _version_cure(namespace: str, version: str) -> str:
    if version == "GLIBC_PRIVATE":
        return "nothing outside of glibc may use its private symbols; leave glibc's own libraries out of the wheel"
    if namespace in ("GLIBCXX", "CXXABI"):
        return "build with the zig strategy (its C++ library is linked in), or in an image with an older compiler"
    return _ZIG_OR_IMAGE


def _libraries(scene: Scene, member: str) -> Iterator[Finding]:
    facts = scene.elves[member]
    edges, unresolved = scene.graph.edges[member], scene.graph.unresolved[member]
    for name in facts.needed:
        if name in edges and name not in unresolved:
            continue
        if LIBPYTHON.fullmatch(name):
            yield _libpython(name, executable=facts.interpreter is not None)
        elif name == "libc.so" and scene.libc is Libc.MUSL:
            # The loader takes libc.so for itself (as any libc., libm. and the like), so this rules out nothing.
            message = f"needs libc.so; musl's own name is {scene.musl_soname}, and other tools insist on it"
            yield Finding("musl-soname", name, None, None, message, "repair renames the entry", warning=True)
        elif scene.excluded(name) or (scene.libc is Libc.MUSL and name.startswith(("libc.musl-", "ld-musl-"))):
            continue
        elif name in scene.system_libraries:
            ceiling = scene.lowest(functools.partial(_promises, name))
            if scene.is_limit(ceiling):
                message = f"needs {name}, which older policies do not promise"
                yield Finding(
                    "external-library", name, None, ceiling, message, f"do without {name}, or link it statically"
                )
        else:
            yield _external(scene, name)


def _libpython(name: str, executable: bool) -> Finding:
    if executable:
        message = f"is an executable linked against {name}, which not every interpreter comes with"
        cure = "start it from Python, or link it with a static libpython"
    else:
        message = f"is linked against {name}; the interpreter that imports it may be linked statically, or elsewhere"
        cure = "do not link extension modules with libpython; repair drops the entry"
    return Finding("libpython", name, None, None, message, cure)


def _promises(library: str, policy: Policy) -> bool:
    return library in policy.libraries


def _allows_symbol(library: str, name: str, policy: Policy) -> bool:
    return name not in policy.forbidden.get(library, ())


def _external(scene: Scene, name: str) -> Finding:
    bundled = scene.bearers.get(name)
    if bundled:
        message = f"needs {name}, which is in the wheel as {bundled[0]}, but no rpath leads there"
        cure = "link with an rpath such as -Wl,-rpath,'$ORIGIN'; repair sets it"
    else:
        message = f"needs {name}, which is neither in the wheel nor promised by any policy"
        cure = f"let repair graft it into the wheel; or exclude {name} if every user is sure to have it"
    return Finding("external-library", name, None, None, message, cure)


def _forbidden(scene: Scene, member: str) -> Iterator[Finding]:
    facts = scene.elves[member]
    libraries = [name for name in facts.needed if name in scene.forbidden and name not in scene.graph.edges[member]]
    strong = scene.lookups.watched[member]
    if _FPECTL in strong:
        message = f"refers to {_FPECTL}, which only interpreters built --with-fpectl have"
        yield Finding("forbidden-symbol", None, _FPECTL, None, message, "build with an interpreter without that option")
    for library in libraries:
        for name in sorted(strong & scene.forbidden[library]):
            ceiling = scene.lowest(functools.partial(_allows_symbol, library, name))
            message = f"takes {name} from {library}, which not every build of that library exports"
            yield Finding(
                "forbidden-symbol", library, name, ceiling, message, f"link {library} statically, or bundle it"
            )


_FPECTL = "PyFPE_jbuf"


def _undefined(scene: Scene, member: str) -> Iterator[Finding]:
    """Strong symbols without a version that nothing is sure to provide.

    A symbol that was linked against glibc bears a version. One that does not was never seen by the linker, as when an
    archive was compiled against a newer glibc than the one that was linked; at import it is looked up by name alone.
    """
    known = _LINKER_SYMBOLS
    # An interpreter that loads a file brings its symbols along; an executable has those of its own libpython at most.
    if scene.elves[member].interpreter is None or any(map(LIBPYTHON.fullmatch, scene.graph.outside(member))):
        known = scene.brought
    names = [name for name in scene.lookups.missing[member] if name not in known]
    if not names or _asks_others(scene, member):
        return
    for name in sorted(names):
        raw = _undefined_name(scene, member, name)
        if raw is not None:
            yield raw


def _asks_others(scene: Scene, member: str) -> bool:
    """Whether a library that we cannot see may well have what is missing; it is a finding of its own."""
    foreign = scene.graph.outside(member) - scene.system_libraries
    return any(
        not library.startswith(("libc.musl-", "libc.so", "ld-musl-")) and not LIBPYTHON.fullmatch(library)
        for library in foreign
    )


def _undefined_name(scene: Scene, member: str, name: str) -> Optional[Finding]:
    if scene.libc is Libc.GLIBC:
        known = glibc_symbol(name, scene.arch)
        if known is not None:
            ceiling = scene.at_least(known.since)
            if not scene.is_limit(ceiling):
                return None
            since = ".".join(map(str, known.since))
            message = f"refers to {name} without a version; glibc has it since {since} ({known.library})"
            return Finding("undefined-symbol", known.library, name, ceiling, message, _ZIG_OR_IMAGE)
        if scene.arch is Arch.PPC64:  # no symbol list to judge by
            return None
    elif musl_symbol(name, scene.arch):
        return None
    return _unprovided(scene, name, scene.graph.outside(member))


def _unprovided(scene: Scene, name: str, outside: frozenset[str]) -> Optional[Finding]:
    unversioned = outside & scene.system_libraries - GLIBC_LIBRARIES - _COMPILER_LIBRARIES
    unversioned -= {library for library in unversioned if library.startswith("libc.")}
    if unversioned or (_CXX_SYMBOL.fullmatch(name) and outside & _COMPILER_LIBRARIES):
        return None
    elsewhere = scene.lookups.providers.get(name)
    if elsewhere:
        message = f"refers to {name}, which {elsewhere[0]} has, but nothing makes the loader look there"
        return Finding("undefined-symbol", None, name, None, message, "link with the library that has it", warning=True)
    message = f"refers to {name}, which nothing that it needs provides"
    return Finding("undefined-symbol", None, name, None, message, "link with the library that has it")


def _instruction_set(scene: Scene, member: str) -> Iterator[Finding]:
    needed = scene.elves[member].isa_needed
    if not scene.isa_check or scene.arch is not Arch.X86_64 or needed <= _BASELINE_ISA:
        return
    level = _ISA_LEVELS.get(1 << (needed.bit_length() - 1), f"instruction sets {needed:#x}")
    message = f"is marked as needing {level}, beyond the architecture's baseline"
    cure = "compile without -march=…; or waive the check where you dispatch at run time (isa-check = false)"
    yield Finding("instruction-set", None, None, None, message, cure)


def _stack(scene: Scene, member: str) -> Iterator[Finding]:
    if scene.libc is Libc.GLIBC and scene.elves[member].executable_stack and scene.elves[member].dynamic:
        message = "asks for an executable stack; glibc 2.41 and hardened kernels refuse to load it"
        cure = "link with -Wl,-z,noexecstack (assembly needs a .note.GNU-stack section), or set clear-execstack"
        yield Finding("executable-stack", None, None, None, message, cure)


def _relocations(scene: Scene, member: str) -> Iterator[Finding]:
    facts = scene.elves[member]
    if facts.text_relocations:
        message = "has text relocations; SELinux may refuse to load it"
        yield Finding("text-relocations", None, None, None, message, "compile with -fPIC", warning=True)
    if is_static(facts):
        return
    if facts.relr and scene.libc is Libc.GLIBC:  # musl's loader: see musl.py
        message = "has packed relative relocations (DT_RELR), which loaders before glibc 2.36 do not apply"
        yield Finding("relr", None, None, scene.at_least(_RELR_SINCE), message, "link without -z pack-relative-relocs")
    if facts.ifunc and scene.libc is Libc.MUSL:
        message = "has indirect functions (IFUNC), which musl does not support"
        yield Finding("ifunc", None, None, None, message, "choose the implementation by a pointer instead")
    elif facts.ifunc and scene.is_limit(scene.at_least(_IFUNC_SINCE)):
        message = "has indirect functions (IFUNC), which the oldest glibc does not know"
        cure = "choose the implementation by a pointer instead (target_clones and ifunc attributes make such functions)"
        yield Finding("ifunc", None, None, scene.at_least(_IFUNC_SINCE), message, cure)


def _rpath(scene: Scene, member: str) -> Iterator[Finding]:
    facts = scene.elves[member]
    path = facts.runpath if facts.runpath is not None else facts.rpath
    outside = [entry for entry in (path or "").split(":") if entry and entry_inside(entry, member) is None]
    if outside:
        message = f"looks for libraries outside of the wheel: rpath {':'.join(outside)}"
        yield Finding("rpath", None, None, None, message, "link without that rpath; repair drops it", warning=True)


def _interpreter(scene: Scene, member: str) -> Iterator[Finding]:
    facts = scene.elves[member]
    if facts.interpreter is None or facts.soname is not None or facts.interpreter == scene.loader_path:
        return  # a library with a loader's name is a library first
    if libc_of(facts) is scene.libc or libc_of(facts) is None:
        message = f"is started by {facts.interpreter}, which not every machine has; the place is {scene.loader_path}"
        cure = f"link it with -Wl,--dynamic-linker={scene.loader_path}"
        yield Finding("interpreter", None, None, None, message, cure)


def judge_names(scene: Scene, member: str) -> Iterator[Finding]:
    """What a file may open by name. Apart from the rules: that takes more of a file than its structures."""
    if member in scene.native:
        yield from _dlopen(scene, member)


def _dlopen(scene: Scene, member: str) -> Iterator[Finding]:
    """Libraries that a file may ask for at run time, by a name that neither the wheel nor a policy has."""
    for path in scene.dlopen_names.get(member, ()):
        name = basename(path)
        promised = name in scene.system_libraries or name in GLIBC_LIBRARIES or LIBPYTHON.fullmatch(name)
        if promised or name in scene.provided or name.partition(".so")[0] in scene.grafts or scene.excluded(name):
            continue
        message = f"may load {path} by name at run time (dlopen), which neither the wheel nor any policy provides"
        cure = "see that it does without where that library is missing; repair neither grafts nor renames such names"
        yield Finding("dlopen", name, None, None, message, cure, warning=True)


def is_static(facts: ElfFacts) -> bool:
    """Whether a position-independent file is a static executable, which relocates itself, rather than a library.

    It names no loader and no library. Nor does a library that needs nothing, but that has something to be used for.
    """
    asks = (facts.interpreter, facts.soname, facts.needed, facts.version_needs, facts.exports)
    return not any(asks) and all(symbol.weak for symbol in facts.imports)


RULES: tuple[Rule, ...] = (
    _versions,
    _libraries,
    _forbidden,
    _undefined,
    _instruction_set,
    _stack,
    _relocations,
    _rpath,
    _interpreter,
)


def judge_file(scene: Scene, member: str) -> Iterator[Finding]:
    """All findings of one file. Nothing but its architecture is held against one that this machine cannot load."""
    yield from _machine(scene, member)
    if member in scene.native:
        for rule in RULES:
            yield from rule(scene, member)
