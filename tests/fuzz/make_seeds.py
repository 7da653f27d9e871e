"""Write a corpus for a fuzzer: small synthetic files in both classes and byte orders, and small real files.

Usage: ``python tests/fuzz/make_seeds.py TARGET DIRECTORY [FILE-OR-DIRECTORY ...]``; of the paths, every ELF file up to
``LIMIT`` bytes is taken. For ``elfedit``, each is followed by bytes that choose the edits in ``fuzz_elfedit.c``; for
``inflate``, the seeds are deflate streams, each followed by bytes that say how ``fuzz_inflate.c`` cuts it; for
``lookup``, names as ``fuzz_lookup.c`` takes them; for ``archive``, small archives and texts of RECORD.
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / each) for each in ("unit", "support", "../src")]

from elf_builder import X86_64, Definition, Elf, Need, Symbol, build, isa_note
from zip_maker import Archive, Part

LIMIT = 60 * 1024
#: A soname and an RPATH; everything at once; shorter names, and stripping.
TAILS = {
    "elfedit": (b"\4\0\0\0\3\0\0\0", b"\3\3\3\x3a\x1f\0\0\0", b"\1\0\0\1\x12\0\0\0"),
    # In one piece; in pieces of eleven bytes into small buffers; in pieces of all sizes.
    "inflate": (b"\0\0\1\2", b"\x2d\0\1\2", b"\7\x21\3\4"),
}


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


def streams() -> list[bytes]:
    """Deflate streams with every kind of block: stored, fixed and dynamic codes, long codes, far matches, several."""
    chance = random.Random(1951)
    words = [chance.randbytes(chance.randint(2, 9)) for _ in range(60)]
    text = b"".join(chance.choices(words, k=800))
    # Symbols as rare as Fibonacci's numbers are frequent get codes of all lengths, up to the longest.
    rare = [1, 1]
    while len(rare) < 20:
        rare.append(rare[-1] + rare[-2])
    skewed = bytearray(b"".join(bytes([each]) * count for each, count in enumerate(rare)))
    chance.shuffle(skewed)
    far = text[:3000] + chance.randbytes(29_000) + text[:3000]
    samples = [b"", b"a", b"abc" * 100, bytes(3000), text, chance.randbytes(700), bytes(skewed), far]
    choices = [(0, 0), (1, 0), (6, 0), (9, 0), (6, zlib.Z_HUFFMAN_ONLY), (6, zlib.Z_RLE), (6, zlib.Z_FIXED)]
    made = [_deflated([data], level, strategy) for data in samples for level, strategy in choices]
    made.append(_deflated([text[:900], b"", text[:900], skewed[:500]], 9, 0))
    # Hand-made: a stored block that lies about its size; the empty fixed block; a block of the reserved kind.
    made += [b"\x01" + struct.pack("<HH", 3, 3) + b"abc", b"\x03\x00", b"\x07", b"\x00\x00\x00\xff\xff" * 9 + b"\x03\0"]
    try:
        import deflate  # libdeflate's streams are others than zlib's
    except ImportError:
        return made
    return made + [bytes(deflate.deflate_compress(data, level)) for data in samples for level in (1, 6, 12)]


def archives() -> list[bytes]:
    """Archives with members of all kinds, each with the RECORD that its last member has, and with names that clash."""
    record = b"demo/x.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,5\r\ndemo/RECORD,,\n"
    names = (b"demo/", b"demo/x.py", b"demo/a/b/c", b"demo/a/", b"demo/RECORD")
    parts = [Part(name, record if name.endswith(b"D") else b"x" * place) for place, name in enumerate(names)]
    stored = [Part(part.name, part.data, method=0, flags=0) for part in parts]
    many = [Part(b"demo/%d/%d" % (number % 7, number), method=0) for number in range(90)]
    far = [Part(b"%d" % number, bytes(size), method=0) for number, size in enumerate((9, 5000, 0, 9000, 20))]
    clashing = [*stored, Part(b"demo/x.py/z")], [*stored, stored[1]], [*stored, Part(b"demo/../x")]
    made = [Archive(each).bytes() for each in ([], parts, stored, many, far, *clashing)]
    return [*made, record, record * 9]


def _deflated(parts: Sequence[bytes], level: int, strategy: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    flushed = b"".join(packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH) for part in parts[:-1])
    return flushed + packer.compress(parts[-1]) + packer.flush()


def references() -> list[bytes]:
    """Files that have names for each other, in all scopes and versions."""
    chance = random.Random(2025)
    names = [b"a\0", b"b\0", b"\0", b"longer_than_eight\0", b"longer_than_seven\0"]
    seeds = []
    for count in range(12):
        seed = bytearray(b"\3a\0")
        for _ in range(count):
            imports, exports = (b"".join(chance.choices(names, k=chance.randint(0, 6))) for _ in range(2))
            codes = struct.pack("6H", *chance.choices([0, 1, 2, 3, 0x8000], k=6))
            scope = chance.randbytes(3)
            seed += bytes([0xC0 | chance.randint(0, 63), len(imports), len(codes), len(exports)])
            seed += scope + imports + codes + exports
        seeds.append(bytes(seed))
    return seeds


def main(arguments: list[str]) -> None:
    target, directory, *paths = arguments
    corpus = Path(directory)
    corpus.mkdir(parents=True, exist_ok=True)
    makers = {"archive": archives, "inflate": streams, "lookup": references}
    made = makers.get(target, lambda: synthetic() + real(paths))
    for content in made():
        for tail in TAILS.get(target, (b"",)):
            (corpus / hashlib.sha256(content + tail).hexdigest()[:16]).write_bytes(content + tail)
    print(len(list(corpus.iterdir())), "files in", corpus)


if __name__ == "__main__":
    main(sys.argv[1:])
