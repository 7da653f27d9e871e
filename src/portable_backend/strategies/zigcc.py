"""Turn the command line of gcc, g++, ar, ranlib, strip or ld into one that zig carries out for a chosen glibc or musl.

Builds call the compiler with arguments made for the compiler that built Python, for the machine that builds and for
GNU ld. zig is clang with a linker driver of its own: it refuses many of them, accepts a few silently and gets them
wrong (``-march=native``, a library of the build machine), and the rest it understands. The filter here is pure: words
in, words and notes out. The wrapper scripts that a build calls (``cc``, ``c++``, …) run this file by itself, hundreds
of times, so it imports nothing but what the interpreter has loaded anyway (``os``, ``sys``), and not the package.

Three outcomes for a word:

* kept or rewritten, where zig can do what it says;
* dropped: silently where the result means the same (tuning, diagnostics, link maps), with a note where it does not;
* refused (:class:`Refused`), where zig would go on and produce something that cannot be loaded. A ``configure`` probe
  then sees a compiler that lacks the feature, which is the truth.

The behaviour was established with zig 0.15.2 and 0.17.0.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing takes longer than the whole filter
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import NoReturn

TOOLS = ("cc", "c++", "ar", "ranlib", "strip", "ld")
"""What a build calls."""

CONFIG_VARIABLE = "PORTABLE_BACKEND_ZIG"
"""Names the file that :func:`parse_config` reads, for the build that is running."""

CONFIG_NAME = "config"
"""The file beside the wrappers that is read when the variable is missing (a build tool cleaned its environment)."""


DEFAULT_EPOCH = 315532800
"""1980-01-01, the first time that a zip archive can express; the time of every build that was given no other one."""


class Refused(Exception):
    """zig would make something that cannot be loaded; the message says what, and what cures it."""


class Config:
    """What the filter has to know of the target and of the machine.

    :param target: zig's triple with the C library's version, as ``x86_64-linux-gnu.2.17``.
    :param arch: the architecture as platform tags name it.
    :param deny: directories of the build machine (exactly these) whose headers and libraries are not for the wheel.
    :param keep: directories that are part of the build, although they lie below a system directory.
    :param instead: ``OLD=NEW`` pairs of directories: headers of this machine's interpreter, and the target's.
    :param foreign: ``DIRECTORY=WHY`` pairs: what was compiled for this machine, and why nothing takes its place.
    :param packages: ``DIRECTORY=PLACE=INSIDE=REQUIREMENT``: a package that was compiled for this machine. INSIDE of
        PLACE are the target's files, once the requirement's wheel was fetched.
    :param fetch: the command that fetches; requirement, place and interpreters that may have a pip follow it.
    :param maps: ``OLD=NEW`` pairs for ``-ffile-prefix-map``.
    :param includes: directories to search for headers after all others.
    :param python_flags: the interpreter's own ``CFLAGS``, which setuptools puts before the project's.
    :param temporary: directories in which others have names made up for each build, for ``-ffile-prefix-map``, too.
    :param epoch: ``SOURCE_DATE_EPOCH``: what ``__DATE__`` and its like say.
    :param values: everything else in the file (``zig``, ``log``, ``scratch``, …), by key.
    """

    __slots__ = (
        "arch",
        "deny",
        "epoch",
        "fetch",
        "foreign",
        "includes",
        "instead",
        "keep",
        "maps",
        "packages",
        "python_flags",
        "target",
        "temporary",
        "values",
    )

    def __init__(
        self,
        target: str,
        arch: str,
        *,
        deny: Sequence[str] = (),
        keep: Sequence[str] = (),
        instead: Sequence[str] = (),
        foreign: Sequence[str] = (),
        packages: Sequence[str] = (),
        fetch: Sequence[str] = (),
        maps: Sequence[str] = (),
        includes: Sequence[str] = (),
        python_flags: Sequence[str] = (),
        temporary: Sequence[str] = (),
        epoch: str = "",
        values: Mapping[str, str] | None = None,
    ) -> None:
        self.target = target
        self.arch = arch
        self.deny = tuple(os.path.normpath(path) for path in deny)
        self.keep = tuple(os.path.normpath(path) for path in keep)
        self.instead = [(os.path.normpath(old), new) for old, _, new in (pair.partition("=") for pair in instead)]
        self.foreign = [(os.path.normpath(path), why) for path, _, why in (pair.partition("=") for pair in foreign)]
        self.packages = [tuple(item.split("=", 3)) for item in packages]
        self.fetch = list(fetch)
        self.maps = tuple(maps)
        self.includes = tuple(includes)
        self.python_flags = list(python_flags)
        self.temporary = tuple(temporary)
        self.epoch = epoch
        self.values = values or {}


class Filtered:
    """What shall be run: zig's own arguments, or an answer to print instead of running anything.

    :param words: arguments for zig, its subcommand first.
    :param notes: what was dropped although it changes the meaning of the result, one line each.
    :param answer: text for standard output; when it is not ``None`` nothing is run.
    :param inputs: whether there is something to compile or to link, so that it is no question.
    """

    __slots__ = ("answer", "inputs", "notes", "words")

    def __init__(
        self, words: Sequence[str], notes: Sequence[str] = (), answer: str | None = None, inputs: bool = False
    ) -> None:
        self.words = list(words)
        self.notes = list(notes)
        self.answer = answer
        self.inputs = inputs


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# --- what is known of the driver's options ----------------------------------------------------------------------------

_COMPILE_ONLY = frozenset(("-c", "-S", "-E", "-M", "-MM", "-fsyntax-only"))
_CXX_SOURCES = (".cc", ".cpp", ".cxx", ".c++", ".C", ".ii", ".CPP", ".cp")
_SOURCES = (*_CXX_SOURCES, ".c", ".m", ".mm", ".s", ".S", ".i", ".cu", ".f", ".f90")

# Options whose value is the next word; where a value may also be joined to its option, the word is longer.
_SEPARATE = _names("""
    -o -x -D -U -include -imacros -iprefix -iwithprefix -isysroot --sysroot -MF -MT -MQ -Xclang -Xpreprocessor
    -Xassembler -mllvm -arch -e -T -G -aux-info --param -target --target -B -specs --specs -dumpbase -dumpdir -wrapper
""")
_DROPPED_SEPARATE = _names("-target --target -B -specs --specs -wrapper -aux-info -arch -dumpbase -dumpdir")
_DIRECTORIES = ("-isystem", "-iquote", "-idirafter", "-I", "-L")

# The result means the same without them: tuning, diagnostics, ways to find gcc's own parts, profiles of other builds.
_DROPPED = _names("""
    -s -static-libgcc -static-libstdc++ -shared-libgcc -static-libgfortran -fno-plt -ffat-lto-objects
    -fno-fat-lto-objects -fuse-linker-plugin -fno-use-linker-plugin -fno-lto -fltrans -fno-gnu-unique -fgnu-unique
    -fauto-profile -fbranch-probabilities -fconserve-stack -fext-numeric-literals -fno-ext-numeric-literals
    -fstrong-eval-order -fconcepts -fno-toplevel-reorder -fno-diagnostics-show-caret -maccumulate-outgoing-args
    -mno-fused-madd -fno-lifetime-dse -fno-printf-return-value -fno-allow-store-data-races
    -Wa,-mbranches-within-32B-boundaries
""")
_DROPPED_PREFIXES = tuple(
    _names("""
    -mtune= -flto -fuse-ld= -fprofile- -fno-profile- --gcc-toolchain= --target= -specs= --specs= -stdlib= -freorder-
    -fno-reorder- -fvar-tracking -fno-var-tracking -fipa- -fno-ipa- -fsched- -fno-sched- -fgraphite -floop- -fno-loop-
    -ftree- -fno-tree- -fvect-cost-model -fsimd-cost-model -fcrossjumping -fno-crossjumping -fforward-propagate
    -fno-forward-propagate -fguess-branch- -fno-guess-branch- -faggressive-loop- -fno-aggressive-loop- -flifetime-dse=
    -ftrack-macro-expansion -fdump- -mpreferred-stack-boundary= -B -ggdb -gdwarf -gz -gsplit-dwarf -gstabs
    -grecord-gcc-switches -gno-record-gcc-switches
""")
)
_DEBUG = frozenset(("-g", "-g0", "-g1", "-g2", "-g3"))

_NOTED = {
    "-fabi-version=": "zig follows clang's C++ ABI",
    "-fprofile-arcs": "zig has no runtime for coverage",
    "-ftest-coverage": "zig has no runtime for coverage",
    "--coverage": "zig has no runtime for coverage",
    "-coverage": "zig has no runtime for coverage",
    "-mindirect-branch=": "clang has no such option; the binary lacks this protection",
    "-mfunction-return=": "clang has no such option; the binary lacks this protection",
}

_OPENMP = ("-fopenmp", "-qopenmp", "-fiopenmp", "-fopenacc")
_NOT_OPENMP = ("-fopenmp-simd", "-qopenmp-simd", "-fopenmp-version")

# --- what is known of the linker's options, without their dashes ------------------------------------------------------

_LINKER_VALUES = _names("""
    rpath rpath-link soname h version-script dynamic-list Map z u undefined defsym exclude-libs m e entry init fini T
    script wrap plugin plugin-opt y trace-symbol retain-symbols-file filter F auxiliary f L l R dynamic-linker I
    sort-section a A b image-base dependency-file mllvm
""")
# GNU ld takes the value of these only after "=", or has none.
_LINKER_DROPPED = _names("""
    rpath-link Map build-id push-state pop-state O1 O2 O3 O0 O copy-dt-needed-entries no-copy-dt-needed-entries m
    plugin plugin-opt fix-cortex-a53-843419 fix-cortex-a53-835769 no-fix-cortex-a53-835769 no-undefined-version
    undefined-version Bsymbolic-functions Bsymbolic-non-weak-functions icf warn-common demangle no-demangle
    no-keep-memory reduce-memory-overheads relax no-relax threads no-threads thread-count t trace y trace-symbol cref
    verbose gdb-index no-gdb-index print-memory-usage no-warn-mismatch add-needed no-add-needed package-metadata
    no-ld-generated-unwind-info ld-generated-unwind-info no-export-dynamic q emit-relocs error-limit stats
    fatal-warnings no-fatal-warnings warn-shared-textrel warn-unresolved-symbols no-map-whole-files s S strip-all
    strip-debug compress-debug-sections dependency-file no-rosegment rosegment lto-O0 lto-O1 lto-O2 lto-O3 mllvm flto
    warn-once warn-execstack no-warn-execstack no-warn-rwx-segments warn-rwx-segments secure-plt bsymbolic-functions
""")
_LINKER_NOTED = {
    "exclude-libs": "symbols of static libraries stay visible in the result",
    "dynamic-list": "all its symbols stay open to interposition",
    "defsym": "the symbol is not defined",
    "init": "the function is not run when the library is loaded",
    "fini": "the function is not run when the library is unloaded",
    "retain-symbols-file": "all symbols are retained",
    "filter": "the library is no filter for the other one",
    "F": "the library is no filter for the other one",
    "auxiliary": "the library is no filter for the other one",
    "f": "the library is no filter for the other one",
    "allow-multiple-definition": "a symbol defined twice is an error",
    "unresolved-symbols": "undefined symbols are judged by zig's own rule",
    "pack-dyn-relocs": "relocations are not packed",
}
_Z_DROPPED = _names("""
    separate-code noseparate-code separate-loadable-segments combreloc nocombreloc start-stop-gc nostart-stop-gc text
    pack-relative-relocs nopack-relative-relocs keep-text-section-prefix nokeep-text-section-prefix ibt ibtplt shstk
    cet-report=none cet-report=warning cet-report=error unique-symbol nounique-symbol nognustack common nocommon
""")
_Z_NOTED = {
    "muldefs": "a symbol defined twice is an error",
    "nodlopen": "the library may be opened at run time",
    "initfirst": "the library is initialised in the usual order",
    "interpose": "the library does not interpose on others",
    "execstack": "the stack is not made executable",
    "nodefaultlib": "the default directories are searched",
    "global": "its symbols are not made global",
    "undefs": "undefined symbols are judged by zig's own rule",
}
_NO_RUNTIME = frozenset(("-nostdlib", "-nodefaultlibs"))
_RUNTIME = {"gcc_s": "unwind", "gcc_eh": "unwind", "stdc++": "c++", "supc++": "c++"}
_DROPPED_LIBRARIES = frozenset(("gcc", "atomic", "stdc++fs", "ssp", "ssp_nonshared"))  # parts of zig's own runtime
_LIBC_PARTS = _names("c m pthread dl rt util resolv")
_OPENMP_LIBRARIES = _names("gomp omp iomp5")

_SYSTEM_LIBRARIES = tuple(
    _names("""
    /lib /lib32 /lib64 /libx32 /usr/lib /usr/lib32 /usr/lib64 /usr/libx32 /usr/local/lib /usr/local/lib64
""")
)
_SYSTEM_HEADERS = ("/usr/include", "/usr/local/include")


def filter_command(tool: str, words: Sequence[str], config: Config) -> Filtered:
    """What zig shall be run with when a build runs ``tool`` with ``words``.

    :param tool: ``cc``, ``c++``, ``ar``, ``ranlib``, ``ld`` or ``strip``.
    :param words: its arguments; response files are read by :func:`expand_response_files` beforehand.
    :raises Refused: where the result could not be loaded.
    """
    if tool in ("cc", "c++"):
        return _filter_compiler(tool, words, config)
    if tool == "ld":
        if {"-v", "-V", "--version"} & set(words):
            return Filtered([], answer="LLD (of zig; compatible with GNU linkers)")  # libtool asks whether it is GNU
        return _filter_compiler("cc", _driver_words(words), config)
    if tool == "ar":
        return Filtered(["ar", *_without_plugin(words)])
    if tool == "ranlib":
        return Filtered(["ranlib", *_without_plugin(words)])
    if tool == "strip":
        return Filtered(["strip", *words])
    raise Refused(f"there is no tool named {tool!r}")


def _without_plugin(words: Sequence[str]) -> list[str]:
    """An archiver's arguments without gcc's LTO plugin (binutils; zig's archiver knows the objects itself)."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith("--plugin="):
            skip = False
        elif word in ("--plugin", "-plugin"):
            skip = True
        else:
            kept.append(word)
    return kept


def _driver_words(words: Sequence[str]) -> list[str]:
    """The command line of ``ld`` as one of a compiler driver that only links."""
    driver = ["-nostdlib"]
    rest = iter(words)
    for word in rest:
        if word in ("-shared", "-static", "-r", "-pie") or word[:2] in ("-l", "-L") or word[:1] != "-":
            driver.append(word)
        elif word == "-o":
            driver += [word, next(rest, "a.out")]
        elif word.lstrip("-") in _LINKER_VALUES:
            driver += ["-Xlinker", word, "-Xlinker", next(rest, "")]
        else:
            driver += ["-Xlinker", word]
    return driver


# --- the compiler driver ----------------------------------------------------------------------------------------------


def _filter_compiler(tool: str, words: Sequence[str], config: Config) -> Filtered:
    answer = _answer(words, config)
    if answer is not None:
        return Filtered([tool], answer=answer)
    _refuse_openmp(words)
    driver = _Driver(_without_python_flags(list(words), config.python_flags), config)
    driver.run()
    if not driver.links and any(_is_cxx(word) for word in words):
        tool = "c++"  # gcc compiles foo.cpp as C++ under either name; zig finds libc++'s headers under one only
    return Filtered([tool, *driver.first(), *driver.words, *driver.last()], driver.notes, inputs=driver.inputs)


def _answer(words: Sequence[str], config: Config) -> str | None:
    """The answer to a question about the compiler's surroundings; clang would describe the build machine."""
    triple = _plain(config.target)
    for word in words:
        if word in ("-dumpmachine", "-print-multiarch", "--print-multiarch"):
            return triple
        if word in ("-print-search-dirs", "--print-search-dirs"):
            return "install: \nprograms: =\nlibraries: ="
        if word in ("-print-sysroot", "--print-sysroot"):
            return ""
        if word in ("-print-libgcc-file-name", "--print-libgcc-file-name"):
            return "libgcc.a"
        for question in ("-print-file-name=", "-print-prog-name="):
            if word.startswith((question, "-" + question)):
                name = word.partition("=")[2]
                return f"{config.values['bin']}/{name}" if name in TOOLS and "bin" in config.values else name
    return None


def _plain(target: str) -> str:
    """The triple without the version of its C library, as gcc would say it."""
    return ".".join(target.split(".")[:1])


def _refuse_openmp(words: Iterable[str]) -> None:
    for word in words:
        if word.startswith(_OPENMP) and not word.startswith(_NOT_OPENMP):
            raise Refused(
                f"{word}: zig has no OpenMP runtime, and a module compiled with OpenMP could not be imported;"
                " build without OpenMP, or with the strategy 'container' or 'host'"
            )


def _is_cxx(word: str) -> bool:
    return word[:1] != "-" and word.endswith(_CXX_SOURCES)


def _without_python_flags(words: list[str], flags: list[str]) -> list[str]:
    """The words without processors and directories that come from the interpreter's own flags.

    Interpreters are built for a processor (``-march=x86-64-v2``) and against libraries that have nothing to do with the
    project. The same words from the project count: only the whole run of flags, one after the other, is looked at.
    """
    for start in range(len(words) - len(flags) + 1 if flags else 0):
        if words[start : start + len(flags)] == flags:
            kept = [flag for flag in flags if not flag.startswith(("-march=", "-mcpu=", "-I", "-isystem", "-L"))]
            return [*words[:start], *kept, *words[start + len(flags) :]]
    return words


def _own_macros(target: str) -> list[str]:
    """Macros that the headers of that glibc define, and those of zig, which are the newest one's, do not.

    C11's threads came with 2.28; until then <stdc-predef.h> said so, and Cython's code, for one, asks.
    """
    return ["-D__STDC_NO_THREADS__=1"] if _older_glibc(target, 28) else []


def _older_glibc(target: str, minor: int) -> bool:
    """Whether a target is glibc older than 2.``minor``."""
    version = target.partition("-gnu")[2].partition(".")[2]  # of "…-gnueabihf.2.17", say
    words = version.split(".")
    return words[0] == "2" and words[1:2] != [] and words[1].isdigit() and int(words[1]) < minor


def _long_double(target: str) -> list[str]:
    """The ``long double`` of that glibc, where zig chooses another one.

    On ppc64le it is IBM's pair of doubles by default, and glibc has functions for IEEE's, which zig takes, since 2.32:
    ``printf`` would become ``__printfieee128``, and the module could not be loaded on anything older.
    """
    return ["-mabi=ibmlongdouble"] if target.startswith("powerpc64le-") and _older_glibc(target, 32) else []


def _temporary_maps(words: Sequence[str], temporary: Sequence[str]) -> list[str]:
    """Maps for directories with a name made up for this build (scikit-build-core's, pip's), as the words name them."""
    found: dict[str, None] = {}
    for top in temporary:
        for word in words:
            begin = word.find(top + "/")
            end = word.find("/", begin + len(top) + 1)
            if begin >= 0 and end > 0 and word[:begin] in ("", *_DIRECTORIES):
                found[word[begin:end]] = None
    return [f"{path}=/build" for path in sorted(found)]


_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def _date_macros(epoch: str) -> list[str]:
    """The macros of time with a fixed one.

    zig makes an error of them because its cache knows objects by command line and files; for that reason the time
    is on the command line here. clang's own way, ``SOURCE_DATE_EPOCH`` in the environment, is not for zig's cache.
    """
    import time

    seconds = int(epoch) if epoch.isascii() and epoch.isdigit() and len(epoch) < 12 else DEFAULT_EPOCH
    at = time.gmtime(seconds)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    day = f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2}"
    return [
        "-Wno-builtin-macro-redefined",
        f'-D__DATE__="{day} {at.tm_year:04}"',
        f'-D__TIME__="{clock}"',
        f'-D__TIMESTAMP__="{_DAYS[at.tm_wday]} {day} {clock} {at.tm_year:04}"',
    ]


class _Driver:
    """One pass over the words of a compiler command."""

    def __init__(self, words: Sequence[str], config: Config) -> None:
        self.given = list(words)
        self.config = config
        self.words: list[str] = []
        self.notes: list[str] = []
        present = set(words)
        self.links = not present & _COMPILE_ONLY
        self.shared = bool(present & {"-shared", "--shared", "-Wl,-shared", "-Wl,-Bshareable", "-Wl,-G"})
        self.sources = "-x" in present or "-" in present or any(w.endswith(_SOURCES) and w[:1] != "-" for w in words)
        self.inputs = False
        self.drops_python = self.shared and any(_names_python(word) for word in words)
        # The options that imply crc32, or forbid it.
        self.isa = any(w.startswith(("-msse4", "-mavx", "-mcrc32", "-mno-crc32", "-mno-sse")) for w in words)

    def run(self) -> None:
        given, index = self.given, 0
        while index < len(given):
            linker: list[str] = []
            while index < len(given) and (taken := _linker_words(given, index)):
                linker += taken[1]
                index += taken[0]
            if linker:
                self._linker(linker)
            else:
                index += self._driver(given[index], given[index + 1] if index + 1 < len(given) else None)

    def first(self) -> list[str]:
        """What goes before the build's own words, so that those can still override it."""
        if not self.inputs:
            # Questions such as --version or -v: clang itself answers, and it does not know zig's versioned triples.
            return ["-target", _plain(self.config.target)]
        words = ["-target", self.config.target, "-fno-sanitize=undefined", "-Qunused-arguments"]
        if self.sources or not self.links:
            words += ["-Wno-unknown-warning-option", "-g0"]
            # clang takes the longest prefix that fits, and other compilers the last one.
            maps = [*_temporary_maps(self.given, self.config.temporary), *self.config.maps]
            words += [f"-ffile-prefix-map={pair}" for pair in maps]
            words += _date_macros(self.config.epoch)
            words += [*_own_macros(self.config.target), *_long_double(self.config.target)]
        if self.links and self.sources:
            words += ["-O2"]  # without a level zig makes a build of libc++ for debugging
        if not self.links and self.config.arch in ("x86_64", "i686") and not self.isa:
            # clang lets target("sse4.2") imply crc32, but zig has switched it off explicitly. The compiler never takes
            # such instructions on its own, and the macro is undefined again: code that asks is told the truth.
            words += ["-mcrc32", "-U__CRC32__"]
        return words

    def last(self) -> list[str]:
        if not self.inputs:
            return []
        words: list[str] = []
        for path in self.config.includes:
            words += ["-idirafter", path]
        if not self.links:
            return words
        if not self.sources:
            # One optimisation level for all links: zig builds libc++ anew for each.
            words += ["-O2"]
        if "-r" in self.given:
            return words
        if not _NO_RUNTIME.intersection(self.given):
            # gcc ends every link with libgcc, which unwinds the stack. It is an archive: unasked, it adds nothing.
            words += ["-lunwind"]
        return [*words, "-s"]

    # -- one word of the driver; each returns how many words it took

    def _driver(self, word: str, following: str | None) -> int:
        if word[:1] != "-" or word == "-":
            self._input(word)
            return 1
        for option in _DIRECTORIES:
            if word.startswith(option):
                return self._directory(option, word, following)
        if word.startswith("-l"):
            self._library(word[2:] if len(word) > 2 else following or "")
            return 1 if len(word) > 2 else 2
        if word in _SEPARATE:
            return self._separate(word, following)
        self._plain_word(word)
        return 1

    def _directory(self, option: str, word: str, following: str | None) -> int:
        value = _instead(following or "" if word == option else word[len(option) :], self.config)
        roots = _SYSTEM_LIBRARIES if option == "-L" else _SYSTEM_HEADERS
        if value and not _of_machine(value, roots, self.config) and (option != "-L" or self.links):
            self.words += [option + value] if option in ("-I", "-L") else [option, value]
        return 2 if word == option else 1

    def _library(self, name: str) -> None:
        if not self.links:
            return
        if name in _OPENMP_LIBRARIES:
            _refuse_openmp([f"-fopenmp (-l{name})"])
        if name in _DROPPED_LIBRARIES or (self.shared and _is_python(name)):
            return
        if name.startswith(":lib"):
            # -l:libm.so.6 is a file name; zig knows the parts of the C library by name only.
            stem = name[4:].partition(".so")[0]
            name = stem if stem in _LIBC_PARTS else name
        self.words.append("-l" + _RUNTIME.get(name, name))

    def _separate(self, word: str, following: str | None) -> int:
        value = following or ""
        if word in _DROPPED_SEPARATE:
            return 2
        if word in ("-isysroot", "--sysroot"):
            if os.path.normpath(value) != "/":
                self.notes.append(f"dropped {word} {value}: zig brings its own headers and libraries")
            return 2
        if word == "-e":
            self._linker(["-e", value])
            return 2
        self.words += [word, value]
        return 2

    def _plain_word(self, word: str) -> None:
        if word in _DROPPED or word in _DEBUG:
            return
        for prefix, meaning in _NOTED.items():
            if word.startswith(prefix):
                self.notes.append(f"dropped {word}: {meaning}")
                return
        if word.startswith(_DROPPED_PREFIXES):
            return
        if word in ("-m32", "-m64"):
            self._word_size(word)
        elif word.startswith(("-march=", "-mcpu=")):
            self.words += self._cpu(word)
        elif word.startswith("-Wp,"):
            self.words += _preprocessor_words(word)
        elif word.startswith(("--sysroot=", "-isysroot")):
            self._separate("--sysroot", word.partition("=")[2] or word[len("-isysroot") :])
        elif word.startswith("-u") and len(word) > 2 and word[2] != "n":
            self._linker(["-u", word[2:]])
        elif not (self.links and not self.sources and _only_compiles(word)):
            self.words.append(word)

    def _word_size(self, word: str) -> None:
        """The target has its own; compilers for some processors do not know these options at all."""
        bits = "-m32" if self.config.arch in ("i686", "armv7l") else "-m64"
        if word != bits:
            raise Refused(f"{word}: the wheel is for {self.config.arch}, whose words are of {bits[2:]} bits")

    def _cpu(self, word: str) -> list[str]:
        if not self.sources and self.links:
            return []
        option, _, value = word.partition("=")
        if value.startswith("native"):
            self.notes.append(f"dropped {word}: the wheel is for other machines than this one")
            return []
        arch = self.config.arch
        if arch in ("x86_64", "i686"):
            self.isa = self.isa or value != "x86-64"
            return [f"{option}={value.replace('-', '_')}"]
        if arch == "aarch64" and option == "-march" and value.startswith("armv"):
            return [_arm_cpu(value)]
        if arch == "s390x":
            return [f"-mcpu={value}"]
        if arch == "ppc64le" and value.startswith("power"):
            return [f"-mcpu=pwr{value[5:]}"]
        if option == "-march" and arch in ("armv7l", "riscv64"):
            if value not in ("armv7-a", "rv64gc"):
                self.notes.append(f"dropped {word}: zig builds for the baseline of {arch}")
            return []
        return [word]

    def _input(self, word: str) -> None:
        self.inputs = True
        word = _instead(word, self.config)
        name = _library_name(word)
        if name is None or not os.path.isabs(word):
            self.words.append(word)
        elif self.shared and _is_python(name):
            return
        elif not _of_machine(os.path.dirname(word), _SYSTEM_LIBRARIES, self.config):
            self.words.append(word)
        elif name in _LIBC_PARTS or name in _RUNTIME or name in _DROPPED_LIBRARIES:
            self._library(name)
        else:
            raise Refused(
                f"{word}: a library of this machine was built for this machine's C library,"
                f" not for {self.config.target}; use the project's bundled copy, or the strategy 'container' or 'host'"
            )

    # -- the linker's words

    def _linker(self, words: Sequence[str]) -> None:
        if not self.links:
            return
        rest = iter(words)
        for word in rest:
            name, value = _split_linker_word(word)
            given = [word]
            if value is None and name in _LINKER_VALUES:
                value = next(rest, "")
                given.append(value)
            self._linker_option(name, value, given)

    def _linker_option(self, name: str, value: str | None, given: list[str]) -> None:
        if name in _LINKER_NOTED:
            self.notes.append(f"dropped {' '.join(given)}: {_LINKER_NOTED[name]}")
        elif name in _LINKER_DROPPED or (self.drops_python and name == "no-undefined"):
            return
        elif name in ("shared", "Bshareable", "G"):
            self.words.append("-shared")
        elif given[0][:1] != "-":
            self._input(given[0])  # a file handed over by -Wl,
        elif value is None:
            self.words += _to_linker(given)
        elif name == "z":
            self._z(value)
        elif name in ("rpath", "R"):
            self._rpath(value)
        elif name == "L":
            self._directory("-L", "-L", value)
        elif name == "l":
            self._library(value)
        elif name in _LINKER_RENAMED:
            self.words += _to_linker([_LINKER_RENAMED[name], value])
        else:
            self.words += _to_linker(given)

    def _z(self, value: str) -> None:
        if value in _Z_NOTED:
            self.notes.append(f"dropped -z {value}: {_Z_NOTED[value]}")
            return
        dropped = value in _Z_DROPPED or value.startswith("x86-64-") or (self.drops_python and value == "defs")
        if not dropped:
            self.words += _to_linker(["-z", value])

    def _rpath(self, value: str) -> None:
        kept = [path for path in value.split(":") if path and not _of_machine(path, _SYSTEM_LIBRARIES, self.config)]
        if kept:
            self.words += _to_linker(["-rpath", ":".join(kept)])


_LINKER_RENAMED = {"h": "-soname", "undefined": "-u", "u": "-u"}
# One letter with its value in the same word (-z now may be written -znow), and long names that begin like that.
_LINKER_JOINED = tuple("zLlRhumyO")
_LINKER_LONG = ("undefined", "unresolved", "hash-style", "oformat")


def _linker_words(given: Sequence[str], index: int) -> tuple[int, list[str]] | None:
    """How many words at ``index`` are for the linker, and what it gets of them; ``None`` if none is."""
    word = given[index]
    if word.startswith("-Wl,"):
        return 1, [part for part in word[4:].split(",") if part]
    if word in ("-Xlinker", "-z", "-u") and index + 1 < len(given):
        value = given[index + 1]
        return 2, [value] if word == "-Xlinker" else [word, value]
    return None


def _split_linker_word(word: str) -> tuple[str, str | None]:
    """An option of GNU ld as its name without dashes, and the value that is joined to it, if one is."""
    text, equals, value = word.partition("=")
    name = text.lstrip("-")
    if equals and not (word[1:2] == "z" and word[:2] != "--"):
        return name, value
    known = name in _LINKER_VALUES or name in _LINKER_DROPPED or name in _LINKER_NOTED
    if known or word[:1] != "-" or word[:2] == "--" or word[1:2] not in _LINKER_JOINED or name.startswith(_LINKER_LONG):
        return name, None
    return (word[1], word[2:]) if len(word) > 2 else (name, None)


def _to_linker(words: Sequence[str]) -> list[str]:
    if any("," in word for word in words):
        return [part for word in words for part in ("-Xlinker", word)]
    return ["-Wl," + ",".join(words)]


def _preprocessor_words(word: str) -> list[str]:
    """``-Wp,`` lists: zig knows those that write dependency files; macros and their like are driver options anyway."""
    if word.startswith(("-Wp,-MD", "-Wp,-MMD", "-Wp,-MT")):
        return [word]
    return [part for part in word.split(",")[1:] if part]


def _only_compiles(word: str) -> bool:
    """Whether a word means nothing to a link of object files, except that zig would build its runtime anew for it."""
    return word.startswith(
        ("-O", "-f", "-m", "-W", "-D", "-U", "-std=", "-ansi", "-pedantic", "-w")
    ) and not word.startswith(("-fsanitize", "-mabi=", "-m32"))


def _arm_cpu(value: str) -> str:
    """The value of ``-march`` as zig's CPU and features: ``armv8.2-a+crc`` is ``generic+v8_2a+crc``."""
    base, *extensions = value.split("+")
    version = base[len("armv") :].partition("-")[0].replace(".", "_")
    features = ([] if version == "8" else [f"v{version}a"]) + [name.replace("-", "_") for name in extensions]
    return "-mcpu=" + "+".join(["generic", *features])


# --- paths and libraries ----------------------------------------------------------------------------------------------


def _library_name(path: str) -> str | None:
    """``m`` for ``/usr/lib/libm.so.6``, ``None`` for what is no library by its name."""
    base = os.path.basename(path)
    if not base.startswith("lib") or not (base.endswith((".so", ".a")) or ".so." in base):
        return None
    stem = base[3:].partition(".so")[0]
    return stem[:-2] if stem.endswith(".a") else stem


def _is_python(name: str) -> bool:
    """Whether ``-l<name>`` is an interpreter's library: an extension finds its symbols in the process that loads it."""
    return name.startswith("python") and name[len("python") :].rstrip("tdmu").replace(".", "", 1).isdigit()


def _names_python(word: str) -> bool:
    if word.startswith("-l"):
        return _is_python(word[2:])
    name = None if word.startswith("-") else _library_name(word)
    return name is not None and _is_python(name)


def _of_machine(path: str, roots: Sequence[str], config: Config) -> bool:
    """Whether a directory holds headers or libraries of the machine that builds, which are not for the wheel."""
    if not os.path.isabs(path):
        return False
    path = os.path.normpath(path)
    if any(_is_below(path, top) for top in config.keep):
        return False
    return path in config.deny or any(_is_below(path, root) for root in roots)


def _instead(path: str, config: Config) -> str:
    """The directory or file that takes the place of one that is for this machine only."""
    if (config.instead or config.foreign) and os.path.isabs(path):
        plain = os.path.normpath(path)
        for old, new in config.instead:
            if _is_below(plain, old):
                return new + plain[len(old) :]
        for top, why in config.foreign:
            if _is_below(plain, top):
                raise Refused(
                    f"{path} is for this machine, not for {config.target} ({why});"
                    " build with the container strategy, whose image can have it"
                )
    return path


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


# --- response files ---------------------------------------------------------------------------------------------------


def expand_response_files(words: Sequence[str], depth: int = 0) -> list[str]:
    """The words with each ``@file`` replaced by the words in it, which may be such words again.

    A word that starts with ``@`` and names no readable file stays as it is, as gcc does it.
    """
    expanded: list[str] = []
    for word in words:
        text = None
        if word.startswith("@") and len(word) > 1 and depth < 10:
            try:
                with open(word[1:], encoding="utf-8", errors="surrogateescape") as file:
                    text = file.read()
            except OSError:
                text = None
        expanded += [word] if text is None else expand_response_files(split_response(text), depth + 1)
    return expanded


def split_response(text: str) -> list[str]:
    """The words in the text of a response file, by the GNU rules: blanks, quotes, backslashes."""
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            word = [*(word or []), next(characters, "")]
        elif quote:
            if character == quote:
                quote = ""
            elif word is not None:
                word.append(character)
        elif character in "\"'":
            quote = character
            word = word or []
        elif character.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
        elif word is None:
            word = [character]
        else:
            word.append(character)
    return words if word is None else [*words, "".join(word)]


def quote_response(words: Iterable[str]) -> str:
    """The text of a response file with these words."""
    lines = []
    for word in words:
        escaped = word.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'"{escaped}"\n')
    return "".join(lines)


# --- the script -------------------------------------------------------------------------------------------------------

_LISTS = ("deny", "keep", "map", "include", "python-flag", "temporary", "instead", "foreign", "package", "fetch")
# zig and clang search these directories in addition; they name places of this machine.
CLEARED_VARIABLES = tuple(
    sorted(
        _names("""
    C_INCLUDE_PATH CPLUS_INCLUDE_PATH CPATH OBJC_INCLUDE_PATH LIBRARY_PATH NIX_CFLAGS_COMPILE NIX_CFLAGS_LINK
    NIX_LDFLAGS ZIG_LIBC LD_RUN_PATH
""")
    )
)


def format_config(values: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> str:
    """The text of a configuration file: one ``key<TAB>value`` per line; the keys of lists stand once per item."""
    lines = [f"{key}\t{value}\n" for key, value in values.items()]
    lines += [f"{key}\t{value}\n" for key, items in lists.items() for value in items]
    return "".join(line for line in lines if line.count("\n") == 1)


def parse_config(text: str) -> Config:
    """Read what :func:`format_config` wrote. It is not JSON because importing its parser doubles the start-up time."""
    values: dict[str, str] = {}
    lists: dict[str, list[str]] = {key: [] for key in _LISTS}
    for line in text.split("\n"):
        key, _, value = line.partition("\t")
        if key in lists:
            lists[key].append(value)
        elif key:
            values[key] = value
    return Config(
        values.get("target", ""),
        values.get("arch", ""),
        deny=lists["deny"],
        keep=lists["keep"],
        instead=lists["instead"],
        foreign=lists["foreign"],
        packages=lists["package"],
        maps=lists["map"],
        includes=lists["include"],
        python_flags=lists["python-flag"],
        temporary=lists["temporary"],
        fetch=lists["fetch"],
        values=values,
    )


def take_packages(words: Sequence[str], config: Config) -> None:
    """Let the target's files take the place of those of packages that the words lead into; they are fetched now.

    Where that is not possible, the packages' files are refused, with the reason.
    """
    for top, place, inside, requirement in config.packages:
        if any(top in word for word in words):
            why = "" if os.path.isdir(place) else _fetch(requirement, place, config)
            if why:
                config.foreign.append((os.path.normpath(top), f"{requirement.replace('==', ' ')}: {why}"))
            else:
                config.instead.append((os.path.normpath(top), f"{place}/{inside}"))


def _fetch(requirement: str, place: str, config: Config) -> str:
    """Have a package's wheel for the target fetched; returns why that is not possible."""
    import subprocess  # costs time, and few calls need it

    # The command is of the interpreter that runs this backend, which is not to take itself for one of the target.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("_PYTHON_")}
    environ["PYTHONPATH"] = config.values.get("fetch-path", "")
    python = config.values.get("fetch-python", "")
    done = subprocess.run(
        [*config.fetch, requirement, place, *([python] if python else [])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environ,
        check=False,
    )
    if done.returncode == 0:
        return ""
    said = (done.stdout or done.stderr[-300:]).decode("utf-8", "replace")
    return " ".join(said.split()) or f"fetching its wheel for the target failed with status {done.returncode}"


def main(tool: str, words: Sequence[str], directory: str) -> NoReturn:
    """Run ``tool``: filter the words, then become zig. ``directory`` is the one of the wrapper scripts."""
    path = os.environ.get(CONFIG_VARIABLE) or os.path.join(directory, CONFIG_NAME)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            config = parse_config(file.read())
        config.epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    except OSError as error:
        _fail(f"cannot read {path}: {error.strerror}; this compiler works only inside a build of the zig strategy")
    try:
        words = expand_response_files(words)
        take_packages(words, config)
        filtered = filter_command(tool, words, config)
    except Refused as refused:
        _log(config, "refused", [str(refused)])
        _fail(str(refused))
    _log(config, "note", filtered.notes)
    if filtered.answer is not None:
        sys.stdout.write(filtered.answer + "\n")
        sys.stdout.flush()
        os._exit(0)
    if tool == "strip":
        os._exit(_strip(words))
    if filtered.inputs:
        _log(config, "ran", [tool])
    _become_zig(config, filtered.words)


_LONG = 100_000  # characters; Linux takes 128 KiB per word, and a quarter of the stack limit for all of them


def _become_zig(config: Config, words: list[str]) -> NoReturn:
    environ = {key: value for key, value in os.environ.items() if key not in CLEARED_VARIABLES}
    for key in ("ZIG_LIB_DIR", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        if key in config.values:
            environ[key] = config.values[key]
    zig = config.values.get("zig", "zig")
    try:
        if sum(map(len, words)) > _LONG and words[0] in ("cc", "c++"):
            response = os.path.join(config.values.get("scratch", "."), f"words-{os.getpid()}")
            with open(response, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(quote_response(words[1:]))
            words = [words[0], "@" + response]
        os.execve(zig, [zig, *words], environ)  # noqa: S606 - becoming the compiler is what this is for
    except OSError as error:
        _fail(f"cannot run {zig}: {error.strerror}: {error.filename}")


def _strip(words: Sequence[str]) -> int:
    """Everything was linked without symbols already: only ``-o`` asks for something, a copy."""
    if "-o" not in words[:-1]:
        return 0
    at = words.index("-o")
    inputs = [word for word in (*words[:at], *words[at + 2 :]) if not word.startswith("-")]
    if len(inputs) == 1:
        with open(inputs[0], "rb") as source, open(words[at + 1], "wb") as target:
            target.write(source.read())
        os.chmod(words[at + 1], os.stat(inputs[0]).st_mode & 0o7777)
        return 0
    return 1


def _log(config: Config, kind: str, lines: Sequence[str]) -> None:
    path = config.values.get("log")
    if not path or not lines:
        return
    text = "".join(f"{kind}\t{line[:500]}\n" for line in lines)
    try:
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(log, text.encode("utf-8", "surrogateescape"))
        os.close(log)
    except OSError:
        pass  # the note is lost, the build is not


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"portable-backend: {message}\n")
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:], os.path.dirname(os.path.abspath(sys.argv[0])))
