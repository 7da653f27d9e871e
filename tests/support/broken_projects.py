"""Ten wheels that are broken on purpose, each in one way, and what a tool says of them.

What a file needs of glibc depends on the glibc that it was linked with. So these are linked with stand-ins that define
just the versions wanted, and what is said of them is the same on every machine with a compiler.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from wheel_maker import compile_library, environment, make_wheel, needs_cc

NAME = "demo-1.0-cp311-cp311-linux_x86_64.whl"
LIBC = ("getpid", "GLIBC_2.2.5")
_SOURCE = """
extern int getpid(void);
%(declarations)s
int PyInit_ext(void) { return getpid() + (%(body)s); }
"""


class Project(NamedTuple):
    """A broken project.

    :param title: what is broken, in a few words.
    :param story: how such a wheel comes about.
    :param make: makes the wheel in a directory.
    """

    title: str
    story: str
    make: Callable[[Path], Path]


def stub(directory: Path, soname: str, *symbols: tuple[str, str]) -> Path:
    """A library that exports these symbols in these versions, to link with."""
    versions = {version: [name for name, each in symbols if each == version] for _, version in symbols}
    script = directory / f"{soname}.map"
    directory.mkdir(parents=True, exist_ok=True)
    script.write_text(
        "".join(f"{version} {{ {''.join(f'{name}; ' for name in names)}}};\n" for version, names in versions.items())
    )
    source = "".join(f"int {name}(void) {{ return 0; }}\n" for name, _ in symbols)
    return compile_library(directory / soname, source, "-nostdlib", f"-Wl,--version-script={script}")


def native(directory: Path, body: str = "0", declarations: str = "", *flags: object, name: str = "ext.so") -> Path:
    """A module that needs one old symbol of glibc, and what ``flags`` add. Its debugging data name no real place."""
    libc = stub(directory / "stubs", "libc.so.6", LIBC)
    (directory / "ext.c").write_text(_SOURCE % {"body": body, "declarations": declarations})
    usual = ("-shared", "-fPIC", "-O1", "-g", f"-ffile-prefix-map={directory}=/home/maker/demo")
    links = ("-nostdlib", "-Wl,-z,noexecstack", "-Wl,-z,nopack-relative-relocs", "-Wl,-z,lazy")
    command = [needs_cc(), *usual, "ext.c", "-o", name, *links, *map(str, flags), "-Wl,--no-as-needed", str(libc)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    assert done.returncode == 0, done.stderr
    return directory / name


def wheel(directory: Path, files: dict[str, Any], name: str = NAME) -> Path:
    """A wheel of a package ``demo``."""
    return make_wheel(directory / "dist", {"demo/__init__.py": b"", **files}, name)


def too_new(directory: Path) -> Path:
    newer = stub(directory / "newer", "libc.so.6", LIBC, ("arc4random", "GLIBC_2.36"))
    module = native(directory, "arc4random()", "extern int arc4random(void);", newer)
    return wheel(directory, {"demo/ext.so": module})


def missing_library(directory: Path) -> Path:
    library = stub(directory / "lib", "libacme.so.3", ("acme_open", "ACME_3.0"))
    module = native(directory, "acme_open()", "extern int acme_open(void);", library)
    return wheel(directory, {"demo/ext.so": module})


def wrong_architecture(directory: Path) -> Path:
    data = bytearray(native(directory).read_bytes())
    struct.pack_into("<H", data, 18, 183)  # e_machine: AArch64
    return wheel(directory, {"demo/ext.so": native(directory), "demo/fast.so": bytes(data)})


def links_libpython(directory: Path) -> Path:
    library = compile_library(
        directory / "lib" / "libpython3.11.so.1.0", "int Py_IsInitialized(void) { return 1; }", "-nostdlib"
    )
    module = native(directory, "Py_IsInitialized()", "extern int Py_IsInitialized(void);", library)
    return wheel(directory, {"demo/ext.so": module})


def needs_avx2(directory: Path) -> Path:
    note = directory / "isa.s"
    directory.mkdir(parents=True, exist_ok=True)
    # GNU_PROPERTY_X86_ISA_1_NEEDED with the bit of x86-64-v3, as -march=x86-64-v3 -Wl,-z,x86-64-v3 write it
    note.write_text(
        '.section .note.gnu.property,"a",@note\n.p2align 3\n.long 4,16,5\n.asciz "GNU"\n'
        '.long 0xc0008002,4,4,0\n.section .note.GNU-stack,"",@progbits\n'
    )
    module = native(directory, "0", "", "-x", "assembler", note, "-x", "none")
    return wheel(directory, {"demo/ext.so": module})


def rpath_outside(directory: Path) -> Path:
    library = stub(directory / "lib", "libacme.so.3", ("acme_open", "ACME_3.0"))
    module = native(
        directory, "acme_open()", "extern int acme_open(void);", library, "-Wl,-rpath,/home/maker/build/lib"
    )
    return wheel(directory, {"demo/ext.so": module, "demo/lib/libacme.so.3": library})


def two_of_a_name(directory: Path) -> Path:
    """Each of two libraries leads to its own copy; but the loader takes the first of a name for everybody."""
    files: dict[str, Any] = {}
    users = []
    for name, symbol in (("one", "acme_old"), ("two", "acme_new")):
        copy = stub(directory / name, "libacme.so.3", (symbol, f"ACME_{name}"))
        source = f"extern int {symbol}(void); int use_{name}(void) {{ return {symbol}(); }}"
        links = ("-nostdlib", "-Wl,-z,noexecstack", str(copy), f"-Wl,-rpath,$ORIGIN/{name}")
        users.append(compile_library(directory / f"lib{name}.so.1", source, *links))
        files |= {f"demo/{name}/libacme.so.3": copy, f"demo/lib{name}.so.1": users[-1]}
    declarations = "extern int use_one(void), use_two(void);"
    module = native(directory, "use_one() + use_two()", declarations, *users, "-Wl,-rpath,$ORIGIN", "-Wl,-rpath-link,.")
    return wheel(directory, {**files, "demo/ext.so": module})


def untrue_abi3(directory: Path) -> Path:
    module = native(directory, "_PyUnicode_Ready(0)", "extern int _PyUnicode_Ready(void *);", name="ext.abi3.so")
    return wheel(directory, {"demo/ext.abi3.so": module}, "demo-1.0-cp39-abi3-linux_x86_64.whl")


def static_glibc(directory: Path) -> Path:
    private = stub(directory / "private", "libc.so.6", ("__libc_early_init", "GLIBC_PRIVATE"))
    module = native(directory, "__libc_early_init(1)", "extern int __libc_early_init(int);", private)
    return wheel(directory, {"demo/ext.so": module})


def executable_stack(directory: Path) -> Path:
    return wheel(directory, {"demo/ext.so": native(directory, "0", "", "-Wl,-z,execstack")})


PROJECTS = {
    "too-new-symbol": Project(
        "a symbol that is too new", "It was built on a recent distribution, whose glibc has arc4random.", too_new
    ),
    "missing-library": Project(
        "a library that is missing", "It was linked with a library of the machine that built it.", missing_library
    ),
    "wrong-architecture": Project(
        "an object for another architecture", "A file of an earlier cross build was picked up.", wrong_architecture
    ),
    "libpython": Project(
        "libpython linked", "A build script takes its flags from python3-config --ldflags --embed.", links_libpython
    ),
    "avx2-only": Project(
        "an object for processors with AVX2 only",
        "It was compiled and linked for x86-64-v3, as -march=native may.",
        needs_avx2,
    ),
    "rpath-outside": Project(
        "an RPATH that leads outside",
        "The rpath of the build tree stayed; the library was packed elsewhere.",
        rpath_outside,
    ),
    "two-of-a-name": Project(
        "two libraries with one soname",
        "A module needs two libraries, and each of these brings a copy of a third one, of another age.",
        two_of_a_name,
    ),
    "abi3-lie": Project(
        "a stable ABI tag that is not true",
        "The wheel was tagged abi3, but compiled without Py_LIMITED_API.",
        untrue_abi3,
    ),
    "static-glibc": Project(
        "parts of glibc linked statically",
        "Objects of a glibc archive came along and refer to what glibc keeps to itself. (GNU ld refuses the usual "
        "libc.a in a shared object; one that was compiled with -fPIC it takes.)",
        static_glibc,
    ),
    "executable-stack": Project(
        "an executable stack", "An assembly source has no .note.GNU-stack section.", executable_stack
    ),
}


def ours(path: Path) -> tuple[str, int]:
    """What ``portable-backend audit --explain`` prints, and its exit status."""
    command = [sys.executable, "-m", "portable_backend.cli", "audit", "--explain", path.name]
    return _said(
        subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent, env=environment())
    )


def peers(path: Path) -> tuple[str, int]:
    """What ``auditwheel show`` prints."""
    command = [sys.executable, "-m", "auditwheel", "show", path.name]
    return _said(
        subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent, env=environment())
    )


def _run(command: list[str], directory: Path) -> tuple[str, int]:
    environ = {name: value for name, value in environment().items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    environ["PYTHONHASHSEED"] = "0"  # the peer prints sets
    return _said(subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory, env=environ))


_BLOCK = re.compile(r"(In order to achieve the tag platform tag '[^']+' the\n(?:.+\n)*\n)(.*(?:\n|$))", re.MULTILINE)


def _said(done: subprocess.CompletedProcess[str]) -> tuple[str, int]:
    """All that was printed, without the paths in a traceback and without paragraphs that differ in a policy's name."""
    lines = [line.rstrip() for line in (done.stdout + done.stderr).strip().splitlines()]
    if "Traceback (most recent call last):" in lines:
        lines = ["Traceback …", lines[-1]]
    text = "\n".join(lines)
    blocks = list(_BLOCK.finditer(text))
    if len(blocks) > 1:
        first, last = blocks[0], blocks[-1]
        text = f"{text[: first.end()]}… (and so on for {len(blocks) - 1} more policies)\n{text[last.end() :]}"
    return text, done.returncode
