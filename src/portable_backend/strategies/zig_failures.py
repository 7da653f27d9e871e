"""Read from the last lines of a failed build what zig lacked, and say which strategy has it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

_CONTAINER = (
    "build in a container, whose image can have it: [tool.portable-backend.container], or --strategy container;"
    " --strategy host uses this machine's"
)
_HEADERS = (
    "install them (Debian's python3-dev, Fedora's python3-devel), or use an interpreter that comes with them, as"
    " pyenv's and uv's do"
)
_OTHER_COMPILER = "build with gcc: --strategy container, or --strategy host"

# (expression, what zig lacked, cure). The expression's first group, if it has one, is put in for {}. The first rule
# that matches any line wins: the particular stand before the general.
_RULES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(expression), lacked, cure)
    for expression, lacked, cure in (
        (
            r"fatal error: '(Python\.h|(?:\S+/)?pyconfig\.h)' file not found"
            r"|Could NOT find Python\d? \(missing:.*(Development\S*)",
            "the headers of the interpreter that builds are not installed ({} was looked for)",
            _HEADERS,
        ),
        (
            r"zig has no OpenMP|__kmpc_\w+|'omp\.h' file not found|(?:library|-l) ?[\"']?(?:gomp|omp|iomp5)\b",
            "zig has no OpenMP runtime",
            f"build without OpenMP if the project can; else {_OTHER_COMPILER}",
        ),
        (
            r"__cpu_model|__cpu_indicator_init|__cpu_features2",
            "zig's runtime cannot ask for the processor's features (__builtin_cpu_supports, target_clones)",
            _OTHER_COMPILER,
        ),
        (
            r"requires target feature '([^']+)'",
            "zig switches the processor feature {} off, and an attribute that implies it does not bring it back",
            f"add -m<feature> for the files that use it, or {_OTHER_COMPILER}",
        ),
        (
            r"undefined symbol: (__(?:asan|tsan|msan|lsan|ubsan)_\w+)",
            "zig has no runtime for sanitizers ({})",
            "build without -fsanitize, or with --strategy host",
        ),
        (
            r"portable-backend: (\S+: a library of this machine)",
            "the build names {}, which was built for this machine's C library",
            _CONTAINER,
        ),
        (
            r"([\w/.]+\.h did not exist before glibc [\d.]+)",
            "the project includes what the target's glibc does not have: {}",
            "choose a newer target, such as manylinux_2_28",
        ),
        (
            r"[Cc]ompiler cython cannot compile programs",
            "Meson could not compile a Cython program with zig",
            _OTHER_COMPILER,
        ),
        (
            r"fatal error: '?([^':\s]+\.(?:h|hh|hpp|hxx|H))'? file not found",
            "the header {} is not in the project, and zig does not look into this machine's system directories",
            _CONTAINER,
        ),
        (
            r"unable to find (?:dynamic |static )?(?:system )?library ['\"]?([\w+.-]+)"
            r"|(?:cannot find|unable to find library) -l([\w+.-]+)",
            "the library {} is not in the project, and zig does not look into this machine's system directories",
            _CONTAINER,
        ),
        (
            r"Could NOT find (\w+)|Could not find a package configuration file provided by \"?([\w+.-]+)"
            r"|Dependency \"?([\w+.-]+)\"? not found|No package '([\w+.-]+)' found"
            r"|system library `([\w+.-]+)` required by crate|Could not find directory of (\w+) installation",
            "the package {} was not found; with zig, this machine's own libraries are hidden",
            _CONTAINER,
        ),
        (
            r"unsupported linker (?:arg|extension flag): (\S.*)",
            "zig's linker does not know {}",
            _OTHER_COMPILER,
        ),
        (
            r"unknown (?:clang option|argument): ['\"]?([^'\"\s]+)",
            "zig (clang) does not know the option {}",
            f"remove it for compilers other than gcc, or {_OTHER_COMPILER}",
        ),
        (
            r"(?:gfortran|[Ff]ortran compiler|CMAKE_Fortran_COMPILER)",
            "zig has no Fortran compiler",
            _OTHER_COMPILER,
        ),
        (
            r"(?i)could not resolve host|failure in name resolution|network is unreachable|failed to download",
            "the build wants something from the network, which has nothing to do with zig",
            "let it reach the network, or give it what it downloads",
        ),
    )
)


def explain_failure(lines: Sequence[str], refused: Sequence[str] = ()) -> Optional[str]:
    """What zig lacked for a build that failed, and what would cure it; ``None`` if nothing points to zig.

    :param lines: the last lines of its output.
    :param refused: what the compiler wrappers refused to do during the build.
    """
    for pattern, lacked, cure in _RULES:
        for line in lines:
            match = pattern.search(line)
            if match is not None:
                what = next((group for group in match.groups() if group), "")
                return f"{lacked.format(what)}\n  cure: {cure}"
    if refused:
        return f"the compiler refused: {refused[-1]}"
    return None
