"""What an ELF file says about itself: one frozen value, from the compiled scanner or from the pure one.

``scan`` reads what the dynamic loader reads (program headers and the dynamic segment), never the section
headers alone, so a file that was stripped of its section headers is judged like any other. Both scanners give
equal values and raise equal errors; the tests hold them to it.

Sources: System V gABI, chapters 4 and 5; the GNU symbol-versioning and ``DT_GNU_HASH`` extensions; the x86-64
psABI for ``GNU_PROPERTY_X86_ISA_1_NEEDED``.

``edit`` changes what ``scan`` reads, and nothing else that is loaded.
"""

from __future__ import annotations

import operator
import zlib
from collections.abc import Sequence
from itertools import chain, compress, repeat

from .errors import EditRefused
from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from mmap import mmap
    from typing import Any, Optional, TypeVar, Union, overload

    Buffer = Union[bytes, bytearray, memoryview, mmap]
    _Symbol = TypeVar("_Symbol", bound="Union[ImportedSymbol, ExportedSymbol]")
    _Version = tuple[Optional[str], Optional[str]]  # library and version

ET_EXEC = 2
ET_DYN = 3


class ImportedSymbol(NamedTuple):
    """A symbol that the file expects from somewhere else (``st_shndx == SHN_UNDEF``).

    ``version`` and ``library`` are those of its version requirement, both ``None`` for an unversioned symbol;
    ``weak`` symbols may stay undefined.
    """

    name: str
    version: Optional[str]
    library: Optional[str]
    weak: bool


class ExportedSymbol(NamedTuple):
    """A symbol that the file defines and others can bind to.

    ``version`` is ``None`` where the file defines no version for it; ``default`` is false for versions that only
    a versioned reference can reach (``name@VERSION`` rather than ``name@@VERSION``).
    """

    name: str
    version: Optional[str]
    default: bool


class FoldedNames:
    """Names of symbols, a zero byte after each, compressed: all those of a library can take a hundred megabytes.

    :param blocks: some names each, compressed, and how many bytes they are.
    """

    __slots__ = ("_blocks",)

    def __init__(self, blocks: list[tuple[bytes, int]]) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        return (_unfold(folded, size) for folded, size in self._blocks)

    def __eq__(self, other: object) -> bool:
        """Whether they are the same; of those that were compressed in another way, it may say no."""
        return isinstance(other, FoldedNames) and self._blocks == other._blocks

    __hash__ = None  # type: ignore[assignment]  # said aloud: it is compared by what it has, and is no key

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._blocks,)


def fold_names(names: memoryview) -> FoldedNames:
    """Names, or other strings, compressed some at a time."""
    some = _SOME // 4  # there may be little room left
    return FoldedNames([_fold(bytes(names[start : start + some])) for start in range(0, len(names), some)])


def _fold(names: bytes) -> tuple[bytes, int]:
    try:
        from deflate import deflate_compress
    except ImportError:
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        return packer.compress(names) + packer.flush(), len(names)
    return bytes(deflate_compress(names, 1)), len(names)


def _unfold(folded: bytes, size: int) -> bytes:
    try:
        from deflate import deflate_decompress
    except ImportError:
        return zlib.decompress(folded, -15, size)
    return bytes(deflate_decompress(folded, size))


class PackedSymbols(Sequence["_Symbol"]):
    """The symbols of a file as the compiled scanner packs them: equal to a tuple of them, and made when looked at.

    A library may export a hundred thousand names of which nobody ever asks for one.

    :param kind: what each symbol is.
    :param packed: the names, a zero byte after each, or folded; an unsigned short for each, its version index and,
        highest, its flag; version and library of each version index.
    """

    __slots__ = ("_codes", "_kind", "_kinds", "_known", "_names", "_versions")

    def __init__(
        self,
        kind: type[_Symbol],
        packed: tuple[Union[bytes, FoldedNames], Union[bytes, memoryview], tuple[Optional[str], ...]],
    ) -> None:
        self._kind: Any = kind
        self._names, codes, self._versions = packed
        self._codes = codes if isinstance(codes, memoryview) else memoryview(codes).cast("H")
        self._kinds: Optional[dict[int, _Symbol]] = None
        self._known: dict[tuple[str, ...], bool] = {}

    def _parts(self) -> Iterable[bytes]:
        """The packed names, some at a time."""
        if not isinstance(self._names, bytes):
            yield from self._names
            return
        start, size = 0, len(self._names)
        while start < size:
            end = size if size - start <= _SOME else self._names.index(b"\0", start + _SOME) + 1
            yield self._names[start:end]
            start = end

    def _each(self) -> Iterator[str]:
        return chain.from_iterable(map(_split, self._parts()))

    def _alike(self) -> Mapping[int, _Symbol]:
        """By code a symbol without a name."""
        if self._kinds is None:
            self._kinds = {code: self._make("", code) for code in set(self._codes)}
        return self._kinds

    def names(self) -> list[str]:
        """The names alone, in order."""
        return _split(self._names) if isinstance(self._names, bytes) else list(self._each())

    def names_where(self, accept: Callable[[_Symbol], bool]) -> Iterator[str]:
        """The names of the symbols that are accepted for what is not their name: it is asked once for all alike."""
        accepted = {code: accept(symbol) for code, symbol in self._alike().items()}
        if all(accepted.values()):
            return self._each()
        return compress(self._each(), map(accepted.__getitem__, self._codes)) if any(accepted.values()) else iter(())

    def groups(self, wanted: Optional[Collection[_Version]] = None) -> dict[_Version, list[str]]:
        """See :func:`group_names`."""
        if wanted is not None and len(wanted) < _MOST_GROUPS and _native is not None and isinstance(self._names, bytes):
            numbers = {key: number for number, key in enumerate(wanted, 1)}
            keys = zip(self._versions[1::2], self._versions[::2])
            by_version = bytes(map(numbers.get, keys, repeat(0)))
            return dict(zip(numbers, _native.names_in_groups(self._names, self._codes, by_version, len(numbers))))
        return self._groups_plainly(wanted)

    def _groups_plainly(self, wanted: Optional[Collection[_Version]]) -> dict[_Version, list[str]]:
        alike: Mapping[int, Any] = self._alike()
        keys = {code: (symbol.library, symbol.version) for code, symbol in alike.items()}
        groups: dict[_Version, list[str]] = {key: [] for key in (keys.values() if wanted is None else wanted)}
        # Weak and strong ones of a version are one group.
        lists = {code: groups[key] for code, key in keys.items() if key in groups}
        if lists:
            for name, code in compress(zip(self._each(), self._codes), map(lists.__contains__, self._codes)):
                lists[code].append(name)
        return groups

    def _rest(self) -> tuple[bytes, tuple[Optional[str], ...]]:
        """All but the names, as far as it matters."""
        return self._codes.tobytes(), self._versions if self._kind is ImportedSymbol else self._versions[::2]

    def with_libraries(self, renamed: Mapping[str, str]) -> PackedSymbols[_Symbol]:
        """The same imported symbols of libraries that have other names."""
        names = [renamed.get(each, each) if place % 2 and each else each for place, each in enumerate(self._versions)]
        return PackedSymbols(self._kind, (self._names, self._codes, tuple(names)))

    def _make(self, name: str, code: int) -> _Symbol:
        place = 2 * (code & 0x7FFF)
        end = place + 2 if self._kind is ImportedSymbol else place + 1
        symbol: _Symbol = self._kind._make((name, *self._versions[place:end], code >= 0x8000))
        return symbol

    def names_at_hand(self) -> Optional[bytes]:
        """The names, a zero byte after each; ``None`` where they are folded."""
        return self._names if isinstance(self._names, bytes) else None

    def references(self, by_name: bool) -> tuple[bytes, memoryview, bytes]:
        """Imported symbols as :func:`portable_backend._native.look_up` is given them.

        :param by_name: whether all are looked up by name alone, whatever their version.
        """
        names = self._names if isinstance(self._names, bytes) else b"".join(self._names)
        return names, self._codes, bytes(by_name or version is None for version in self._versions[::2])

    def among(self, wanted: set[str]) -> set[str]:
        """Those of the names that are wanted; a large library's are looked through by and by, to save memory."""
        found: set[str] = set()
        for part in self._parts():
            found.update(wanted.intersection(_split(part)))
        return found

    def names_starting(self, starts: tuple[str, ...]) -> list[str]:
        """The names that start with one of some texts, in order."""
        if _native is None:
            return [name for name in self._each() if name.startswith(starts)]
        encoded = tuple(each.encode() for each in starts)
        return [name for part in self._parts() for name in _native.names_of_starts(part, encoded, len(part))]

    def has_name(self, starts: Iterable[str], names: Iterable[str] = ()) -> bool:
        """Whether a name starts with one of ``starts``, or is one of ``names``."""
        wanted = (*starts, *(name + "\0" for name in names))
        if isinstance(self._names, bytes):
            return _have_name((self._names,), wanted)
        if wanted not in self._known:  # several ask for the same, and to unfold takes its time
            self._known[wanted] = _have_name(self._parts(), wanted)
        return self._known[wanted]

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self) -> Iterator[_Symbol]:
        kinds = {code: symbol[1:] for code, symbol in self._alike().items()}
        make = self._kind._make
        return (make((name, *kinds[code])) for name, code in zip(self._each(), self._codes))

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int) -> _Symbol: ...
        @overload
        def __getitem__(self, index: slice) -> Sequence[_Symbol]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[_Symbol, Sequence[_Symbol]]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedSymbols):
            alike = self._kind is other._kind and self._names == other._names
            return (alike and self._rest() == other._rest()) or tuple(self) == tuple(other)
        if isinstance(other, PassedSymbols):
            return other == self
        return isinstance(other, tuple) and tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._kind, (self._names, self._codes.tobytes(), self._versions))


#: Bytes of packed names that are looked through at once.
_SOME = 1 << 20
#: As many groups of names as a byte tells apart, and none.
_MOST_GROUPS = 256

#: How the names begin of which those that passed by are kept besides their digests: an interpreter's own, and those by
#: which it knows a module (``elfpass.c`` has them as well).
KEPT_NAMES = ("Py", "_Py", "init", "_cffi_pypyinit_")


class PassedSymbols(Sequence[ExportedSymbol]):
    """The exported symbols of a file whose tables were too large to be kept: of most names there are digests only.

    It tells how many there are and finds those that are asked for by name. It cannot be gone through.

    :param passed: the first eight bytes of the SHA-256 of each name; an unsigned short for each, its version index and,
        highest, its flag; version and library of each version index; the names that begin like one of
        :data:`KEPT_NAMES`, a zero byte after each.
    """

    __slots__ = ("_codes", "_digests", "_kept", "_versions")

    def __init__(self, passed: tuple[bytes, bytes, tuple[Optional[str], ...], bytes]) -> None:
        self._digests, self._codes, self._versions, self._kept = passed

    def kept(self) -> list[str]:
        """The names that begin like one of :data:`KEPT_NAMES`, in order."""
        return _split(self._kept)

    def among(self, wanted: set[str]) -> set[str]:
        """Those of the names that are wanted; that one of 10**6 has its digest by chance happens once in 10**13."""
        digests = {digest: name for name, digest in zip(wanted, _digests_of(wanted))}
        found = set(digests).intersection(memoryview(self._digests).cast("Q"))
        return set(map(digests.__getitem__, found))

    def has_name(self, starts: Iterable[str], names: Iterable[str] = ()) -> bool:
        """Whether a name is one of ``names``, or starts with one of ``starts``, which begin as those that are kept."""
        starts = tuple(starts)
        assert all(start.startswith(KEPT_NAMES) for start in starts)
        wanted = set(names)
        gone = {name for name in wanted if not name.startswith(KEPT_NAMES)}
        found = any(name.startswith(starts) or name in wanted for name in self.kept())
        return found or (bool(gone) and bool(self.among(gone)))

    def __len__(self) -> int:
        return len(self._codes) // 2

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int) -> ExportedSymbol: ...
        @overload
        def __getitem__(self, index: slice) -> Sequence[ExportedSymbol]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[ExportedSymbol, Sequence[ExportedSymbol]]:
        raise TypeError("the names of so many symbols are not kept; ask for some of them")

    def __eq__(self, other: object) -> bool:
        """Whether they are the same; the names of others are digested for it."""
        if isinstance(other, PassedSymbols):
            return self._told() == other._told()
        if not isinstance(other, (PackedSymbols, tuple)) or len(self) != len(other):
            return False
        codes = memoryview(self._codes).cast("H")
        mine = ((self._versions[2 * (code & 0x7FFF)], code >= 0x8000) for code in codes)
        theirs = ((symbol.version, symbol.default) for symbol in other)
        return all(map(operator.eq, mine, theirs)) and memoryview(self._digests).cast("Q") == _digests_of(
            names_of(other)
        )

    def _told(self) -> tuple[object, ...]:
        return self._digests, self._codes, self._versions[::2], self._kept

    __hash__ = None  # type: ignore[assignment]  # equal ones may have their names at hand

    def __repr__(self) -> str:
        return f"<{len(self)} symbols, of which most names were not kept>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ((self._digests, self._codes, self._versions, self._kept),)


def _digests_of(names: Iterable[str]) -> memoryview:
    """By their digests are names known that passed by: the first eight bytes of their SHA-256, as a native number."""
    packed = "".join(name + "\0" for name in names).encode("utf-8", "surrogateescape")
    if _native is not None:
        return memoryview(_native.digest_names(packed)).cast("Q")
    from hashlib import sha256  # facts may have come from an interpreter that has the compiled module

    return memoryview(b"".join(sha256(name).digest()[:8] for name in packed.split(b"\0")[:-1])).cast("Q")


def _have_name(parts: Iterable[bytes], wanted: Iterable[str]) -> bool:
    """Whether a name begins with one of some texts, where a zero ends a name."""
    encoded = tuple(each.encode("utf-8", "surrogateescape") for each in wanted)
    if _native is not None:
        return any(_native.names_of_starts(part, encoded, 1) for part in parts)
    inside = [b"\0" + each for each in encoded]
    return any(part.startswith(encoded) or any(each in part for each in inside) for part in parts)


def _split(names: bytes) -> list[str]:
    return names[:-1].decode("utf-8", "surrogateescape").split("\0") if names else []


def names_among(symbols: Sequence[ExportedSymbol], wanted: set[str]) -> set[str]:
    """Those of the symbols' names that are wanted."""
    if isinstance(symbols, (PackedSymbols, PassedSymbols)):
        return symbols.among(wanted)
    return wanted.intersection(symbol.name for symbol in symbols)


def names_of(symbols: Sequence[_Symbol]) -> Iterable[str]:
    """The names of all symbols, in order."""
    return symbols.names() if isinstance(symbols, PackedSymbols) else [symbol.name for symbol in symbols]


def names_of_python(symbols: Sequence[ExportedSymbol]) -> list[str]:
    """The names of the symbols that begin as CPython's own do, in order."""
    starts = ("Py", "_Py")
    if isinstance(symbols, PackedSymbols):
        return symbols.names_starting(starts)
    names = symbols.kept() if isinstance(symbols, PassedSymbols) else names_of(symbols)
    return [name for name in names if name.startswith(starts)]


def names_where(symbols: Sequence[_Symbol], accept: Callable[[_Symbol], bool]) -> Iterator[str]:
    """The names of the symbols that are accepted; ``accept`` must not look at the name."""
    if isinstance(symbols, PackedSymbols):
        return symbols.names_where(accept)
    return (symbol.name for symbol in symbols if accept(symbol))


def group_names(
    symbols: Sequence[ImportedSymbol], wanted: Optional[Collection[_Version]] = None
) -> dict[_Version, list[str]]:
    """The names of imported symbols by library and version, each group in order.

    :param wanted: those that are asked for, if not all; of one that nothing has the group is empty.
    """
    if isinstance(symbols, PackedSymbols):
        return symbols.groups(wanted)
    if wanted is None:
        wanted = {(symbol.library, symbol.version) for symbol in symbols}
    groups: dict[_Version, list[str]] = {key: [] for key in wanted}
    for symbol in symbols:
        if (symbol.library, symbol.version) in groups:
            groups[symbol.library, symbol.version].append(symbol.name)
    return groups


def _with_libraries(symbols: Sequence[ImportedSymbol], renamed: Mapping[str, str]) -> Sequence[ImportedSymbol]:
    if isinstance(symbols, PackedSymbols):
        return symbols.with_libraries(renamed)
    return tuple(
        symbol._replace(library=renamed.get(symbol.library, symbol.library)) if symbol.library else symbol
        for symbol in symbols
    )


def has_name(symbols: Sequence[_Symbol], starts: tuple[str, ...], names: Sequence[str] = ()) -> bool:
    """Whether a symbol's name starts with one of ``starts``, or is one of ``names``.

    :param starts: of exported symbols, such that begin like one of :data:`KEPT_NAMES`.
    """
    if isinstance(symbols, (PackedSymbols, PassedSymbols)):
        return symbols.has_name(starts, names)
    return any(symbol.name in names or symbol.name.startswith(starts) for symbol in symbols)


class VersionNeed(NamedTuple):
    """The symbol versions that the file needs of one library (``.gnu.version_r``), whoever refers to them."""

    library: str
    versions: tuple[str, ...]


class ElfFacts(NamedTuple):
    """All that judging and repairing need to know of one ELF file. Strings are UTF-8 with surrogateescape."""

    bits: int
    """Word size: 32 or 64."""
    little: bool
    """Whether the byte order is little-endian."""
    machine: int
    """``e_machine``."""
    type: int
    """``e_type``: 2 executable, 3 shared object (or position-independent executable)."""
    flags: int
    """``e_flags``."""
    interpreter: Optional[str]
    """The dynamic loader that an executable asks for (``PT_INTERP``)."""
    dynamic: bool
    """Whether there is a dynamic segment; without one the file is static (or an object file)."""
    soname: Optional[str]
    needed: tuple[str, ...]
    rpath: Optional[str]
    runpath: Optional[str]
    version_needs: tuple[VersionNeed, ...]
    version_definitions: tuple[str, ...]
    """Versions that the file defines, without the base one (``VER_FLG_BASE``)."""
    imports: Sequence[ImportedSymbol]
    exports: Sequence[ExportedSymbol]
    executable_stack: bool
    """``PT_GNU_STACK`` asks for an executable stack, or is missing where glibc then assumes one."""
    text_relocations: bool
    """``DT_TEXTREL`` or ``DF_TEXTREL``."""
    relr: bool
    """Relative relocations in the packed form of ``DT_RELR``, which only glibc 2.36 and newer apply."""
    ifunc: bool
    """An indirect function: a ``STT_GNU_IFUNC`` dynamic symbol or an ``IRELATIVE`` relocation."""
    isa_needed: int
    """``GNU_PROPERTY_X86_ISA_1_NEEDED`` bits: 1 baseline, 2 v2, 4 v3, 8 v4; 0 where nothing is said."""


class ElfEdits(NamedTuple):
    """Changes to one ELF file, collected first and applied at once.

    A file has an RPATH or a RUNPATH or neither: to set one removes the other, and ``""`` for either removes both.

    :param soname: the new soname; ``None`` keeps what there is.
    :param replace_needed: pairs of old and new *needed* names. The symbol versions that are needed of the old name are
        needed of the new one.
    :param remove_needed: *needed* names to drop.
    :param rpath: the new RPATH, ``""`` to have none; ``None`` keeps what there is.
    :param clear_execstack: say in ``PT_GNU_STACK`` that no executable stack is needed.
    :param runpath: the new RUNPATH, as ``rpath``.
    :param add_needed: *needed* names to have, behind those that there are.
    :param strip: drop debugging sections and the static symbol table.
    """

    soname: Optional[str] = None
    replace_needed: tuple[tuple[str, str], ...] = ()
    remove_needed: tuple[str, ...] = ()
    rpath: Optional[str] = None
    clear_execstack: bool = False
    runpath: Optional[str] = None
    add_needed: tuple[str, ...] = ()
    strip: bool = False

    def __bool__(self) -> bool:
        return self != ElfEdits()

    def foretell(self, facts: ElfFacts) -> ElfFacts:
        """The facts of a file after these edits. Pure."""
        renamed = dict(self.replace_needed)
        needed = [renamed.get(name, name) for name in facts.needed if name not in self.remove_needed]
        needed += [name for name in dict.fromkeys(self.add_needed) if name not in needed]
        keeps_path = self.rpath is None and self.runpath is None
        return facts._replace(
            soname=facts.soname if self.soname is None else self.soname,
            needed=tuple(needed),
            rpath=facts.rpath if keeps_path else self.rpath or None,
            runpath=facts.runpath if keeps_path else self.runpath or None,
            version_needs=tuple(
                need._replace(library=renamed.get(need.library, need.library)) for need in facts.version_needs
            ),
            imports=_with_libraries(facts.imports, renamed),
            executable_stack=facts.executable_stack and not self.clear_execstack,
        )

    def check(self) -> None:
        """See that no edit contradicts another, and that applying them twice is applying them once.

        :raises EditRefused: with the contradiction.
        """
        if self.rpath and self.runpath:
            raise EditRefused("an RPATH and a RUNPATH are both to be set, of which one alone counts")
        if self.soname == "":
            raise EditRefused("the new soname is empty")
        renamed = self._renamed()
        for old, new in renamed.items():
            if renamed.get(new, new) != new:
                raise EditRefused(f"{old} is to be renamed to {new}, which is to be renamed to {renamed[new]}")
            for name in (old, new):
                if name in self.remove_needed:
                    raise EditRefused(f"{old} is to be renamed to {new}, and {name} to be removed")
        for name in self.add_needed:
            if name in self.remove_needed:
                raise EditRefused(f"{name} is to be added and to be removed")
            if renamed.get(name, name) != name:
                raise EditRefused(f"{name} is to be added and to be renamed to {renamed[name]}")
        if "" in (*renamed.values(), *self.add_needed):
            raise EditRefused("the new name of a needed library is empty")

    def _renamed(self) -> dict[str, str]:
        renamed: dict[str, str] = {}
        for old, new in self.replace_needed:
            if renamed.setdefault(old, new) != new:
                raise EditRefused(f"{old} is to be renamed to {renamed[old]} and to {new}")
        return renamed

    def encode(self) -> tuple[object, ...]:
        """What an editor is given: all names as bytes, the one path that there is to be with its tag.

        :raises EditRefused: if the edits contradict each other, or a name is none.
        """
        self.check()
        path = self.rpath if self.rpath or self.runpath is None else self.runpath
        return (
            _encode(self.soname),
            tuple((_encode(old), _encode(new)) for old, new in dict(self.replace_needed).items()),
            tuple(_encode(name) for name in self.remove_needed),
            tuple(_encode(name) for name in dict.fromkeys(self.add_needed)),
            _DT_RUNPATH if self.runpath else _DT_RPATH,
            _encode(path),
            self.clear_execstack,
            self.strip,
        )


_DT_RPATH, _DT_RUNPATH = 15, 29


def _encode(name: Optional[str]) -> Optional[bytes]:
    try:
        encoded = None if name is None else name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise EditRefused("a new name is not one that a file can hold") from None
    if encoded is not None and b"\0" in encoded:
        raise EditRefused("a new name is not one that a file can hold")
    return encoded


try:
    from . import _native
except ImportError:
    _native = None  # type: ignore[assignment]  # a module, or nothing where it is not built
IMPLEMENTATION = "python" if _native is None else "native"


def scan(data: Buffer) -> ElfFacts:
    """Read the facts of one ELF file out of its bytes.

    :param data: the whole file; a mapped one is read only where its tables are.
    :raises ElfError: if the bytes break the format, with the offset of the structure at fault.
    """
    if _native is None:
        from . import elfscan

        return make_facts(elfscan.scan(data))
    found = _native.scan_parts(len(data), ((0, data),), _fold)
    assert isinstance(found, tuple)  # all parts are there
    return make_packed_facts(found)


#: What a range is that is wanted: plain bytes, or a table that may pass by. All others are relocations and hashes.
PLAIN, SYMBOLS, STRINGS = 0, 1, 2


def scan_parts(
    size: int, parts: Sequence[tuple[int, Buffer]], passing: Optional[object] = None
) -> Union[ElfFacts, list[tuple[int, int, int]], None]:
    """The same of a file of which only parts are at hand; or the ranges that are wanted besides, for another try.

    :param parts: offset and bytes of each, in order and apart from each other, the first at offset 0.
    :param passing: tables that need not be among them, since they pass by, see :func:`pass_by`.
    :returns: the facts; or begin, end and kind of each range; or ``None`` if the file cannot be read unless the tables
        that have passed by are kept whole.
    :raises ElfError: as :func:`scan` of the whole file.
    """
    if _native is not None:
        found = _native.scan_parts(size, tuple(parts), _fold, passing)
        return make_packed_facts(found) if isinstance(found, tuple) else found
    if sum(len(part) for _, part in parts) == size:
        return scan(b"".join(bytes(part) for _, part in parts))
    return [(0, size, PLAIN)]


def pass_by(head: Buffer, ranges: Iterable[tuple[int, int, int]]) -> object:
    """What is kept of some tables while they pass by; to be given their bytes, see :func:`feed_pass`.

    :param head: the first bytes of the file.
    :param ranges: as :func:`scan_parts` wants them, none of them plain; symbols with their strings.
    """
    return _native.new_pass(head, tuple(ranges))


def feed_pass(passing: object, position: int, piece: Buffer) -> None:
    """Let bytes of a file pass by, those of each table in order, and symbols before their strings."""
    _native.feed_pass(passing, position, piece)


def scan_file(path: str) -> ElfFacts:
    """Read the facts of the file at ``path``, of which only the pages with tables are read.

    :raises OSError: if it cannot be read.
    :raises ElfError: as :func:`scan`.
    """
    from mmap import ACCESS_READ, mmap

    with open(path, "rb") as file:
        try:
            with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
                return scan(mapped)
        except ValueError:  # an empty file cannot be mapped
            return scan(b"")


def edit(data: Buffer, edits: ElfEdits) -> bytes:
    """Edit one ELF file. Editing the result again changes nothing, and gives it back as it is.

    :param data: the whole file.
    :returns: the edited file; the very bytes of ``data`` where the edits change nothing.
    :raises ElfError: if the bytes break the format, as :func:`scan` does.
    :raises EditRefused: if the edits contradict each other, which is found out before anything is read, or if the
        file is laid out such that it cannot be edited safely.
    """
    encoded: tuple[Any, ...] = edits.encode()
    if not edits:
        return bytes(data)
    if _native is None:
        from . import elfedit

        return elfedit.edit(bytes(data), *encoded)
    return _native.edit(data, *encoded)


def edit_mapped(data: mmap, file: int, edits: ElfEdits) -> tuple[int, Sequence[tuple[int, bytes]]]:
    """The same of a mapped file, where only what the edits change is to be in memory.

    :param data: the whole file, mapped to be read.
    :param file: its descriptor.
    :returns: the size of the result, and what in it is not as in the file: offset and bytes of each place, in order,
        none over another. What lies behind the end of the file is always among it.
    :raises ElfError: as :func:`edit`.
    :raises EditRefused: as :func:`edit`.
    """
    if _native is None or not _native.MAPS:
        edited = edit(data, edits)
        return len(edited), ((0, edited),)
    encoded: tuple[Any, ...] = edits.encode()
    return _native.edit(data, *(*encoded, file)) if edits else (len(data), ())


def make_facts(raw: tuple[object, ...]) -> ElfFacts:
    """Dress the plain tuples that a scanner returns in their names."""
    facts = ElfFacts._make(raw)
    return facts._replace(
        version_needs=tuple(map(VersionNeed._make, facts.version_needs)),
        imports=tuple(map(ImportedSymbol._make, facts.imports)),
        exports=tuple(map(ExportedSymbol._make, facts.exports)),
    )


def make_packed_facts(raw: tuple[object, ...]) -> ElfFacts:
    """The same of what the compiled scanner returns of parts."""
    facts: Any = ElfFacts._make(raw)
    return ElfFacts._make(raw)._replace(
        version_needs=tuple(map(VersionNeed._make, facts.version_needs)),
        imports=PackedSymbols(ImportedSymbol, _wrapped(*facts.imports)),
        exports=_exports(facts.exports),
    )


def _exports(raw: Any) -> Sequence[ExportedSymbol]:
    return PassedSymbols(raw) if len(raw) == 4 else PackedSymbols(ExportedSymbol, _wrapped(*raw))


def _wrapped(names: Any, codes: bytes, versions: Any) -> tuple[Any, bytes, Any]:
    return FoldedNames(names) if isinstance(names, list) else names, codes, versions


def is_elf(head: Buffer) -> bool:
    """Whether a file that starts with these bytes claims to be ELF."""
    return bytes(head[:4]) == b"\x7fELF"
