"""Write a corpus for the fuzzer: small synthetic files in both classes and byte orders, and small real files.

Usage: ``python tests/fuzz/make_seeds.py [--edits] DIRECTORY [FILE-OR-DIRECTORY ...]``; of the paths, every ELF file up
to ``LIMIT`` bytes is taken. With ``--edits``, each is followed by bytes that choose the edits in ``fuzz_elfedit.c``.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from elf_builder import X86_64, Definition, Elf, Need, Symbol, build, isa_note

LIMIT = 32 * 1024
#: A soname and an RPATH; everything at once; shorter names, and stripping.
EDITS = (b"\4\0\0\0\3\0\0\0", b"\3\3\3\x3a\x1f\0\0\0", b"\1\0\0\1\x12\0\0\0")


def synthetic() -> list[bytes]:
    """Files that use every structure, so that the fuzzer need not invent them."""
    seeds = []
    for bits in (32, 64):
        for order in "<>":
            for sections in (False, True):
                template = Elf(bits=bits, order=order)
                full = Elf(
                    bits=bits,
                    order=order,
                    machine=X86_64,
                    interpreter="/lib/ld.so",
                    needed=("liba.so.1", "libc.so.6"),
                    soname="libb.so",
                    rpath="$ORIGIN",
                    runpath="/x",
                    symbols=(
                        Symbol("printf", version=2),
                        Symbol("w", binding=2, version=3),
                        Symbol("made", defined=True, version=0x8005),
                        Symbol("f", defined=True, kind=10),
                    ),
                    needs=(Need("libc.so.6", (("GLIBC_2.4", 2), ("GLIBC_2.5", 3))), Need("liba.so.1", (("A", 4),))),
                    definitions=(Definition("libb.so", 1, flags=1), Definition("B", 5), Definition("C", 6, 0, ("B",))),
                    sysv_hash=True,
                    gnu_hash=True,
                    relocations=((1, 6), (0, 37)),
                    plt=((2, 7),),
                    note=isa_note(template, 3),
                    extra=((30, 4), (36, 0x10000), (35, 8)),
                    sections=sections,
                )
                seeds += [build(full).bytes, build(template).bytes]
    return seeds


def real(paths: list[str]) -> list[bytes]:
    """Small ELF files out of the paths."""
    files = [file for path in map(Path, paths) for file in (path.rglob("*") if path.is_dir() else [path])]
    small = [file for file in files if file.is_file() and file.stat().st_size <= LIMIT]
    return [content for content in (file.read_bytes() for file in small) if content[:4] == b"\x7fELF"]


def main(arguments: list[str]) -> None:
    edits = EDITS if arguments[0] == "--edits" else (b"",)
    directory, *paths = [argument for argument in arguments if argument != "--edits"]
    corpus = Path(directory)
    corpus.mkdir(parents=True, exist_ok=True)
    for content in synthetic() + real(paths):
        for tail in edits:
            (corpus / hashlib.sha256(content + tail).hexdigest()[:16]).write_bytes(content + tail)
    print(len(list(corpus.iterdir())), "files in", corpus)


if __name__ == "__main__":
    main(sys.argv[1:])
