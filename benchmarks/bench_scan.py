"""How fast are the compiled scanner, the pure one and pyelftools on real files?

Usage: ``python benchmarks/bench_scan.py [--largest MIB] PATH [PATH ...]``; of the paths, every ELF file is scanned.
Each implementation scans all files, which are in memory by then; the best of some rounds counts. pyelftools is asked
for the same facts and no more: the dynamic entries, the versions and the dynamic symbols.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

from portable_backend import elf, elfscan

Scanner = Callable[[bytes], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the speed of the ELF scanners.")
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--largest", type=float, default=1024, help="leave out larger files (MiB)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    files = read_files(options.paths, options.largest)
    if not files:
        parser.error("there is no ELF file in these paths")
    print(f"{len(files)} ELF files, {sum(map(len, files)) / 1e6:.1f} MB")
    scanners = {"native": native(), "python": elfscan.scan, "pyelftools": pyelftools()}
    times = {name: measure(scan, files, options.rounds) for name, scan in scanners.items() if scan is not None}
    base = min(times.values())
    print(f"{'scanner':12}{'seconds':>10}{'files/s':>10}{'ratio':>8}")
    for name, seconds in times.items():
        print(f"{name:12}{seconds:10.4f}{len(files) / seconds:10.0f}{seconds / base:8.1f}")
    for name, scan in scanners.items():
        if scan is None:
            print(f"{name:12}  not installed")


def read_files(paths: Sequence[Path], largest: float) -> list[bytes]:
    """The ELF files in the paths, each once."""
    found = {file.resolve() for path in paths for file in (path.rglob("*") if path.is_dir() else [path])}
    files = []
    for file in sorted(found):
        if file.is_file() and 4 <= file.stat().st_size <= largest * 2**20:
            with file.open("rb") as stream:
                head = stream.read(4)
                if head == b"\x7fELF":
                    files.append(head + stream.read())
    return files


def measure(scan: Scanner, files: Sequence[bytes], rounds: int) -> float:
    """Seconds for one pass over all files: the best of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for data in files:
            scan(data)
        best = min(best, time.perf_counter() - start)
    return best


def native() -> Optional[Scanner]:
    return elf.scan if elf.IMPLEMENTATION == "native" else None


def pyelftools() -> Optional[Scanner]:
    try:
        from elftools.elf.dynamic import DynamicSegment
        from elftools.elf.elffile import ELFFile
        from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection, GNUVerSymSection
        from elftools.elf.sections import SymbolTableSection
    except ImportError:
        return None

    def scan(data: bytes) -> Any:
        elf = ELFFile(io.BytesIO(data))
        facts: list[Any] = [elf.header]
        for segment in elf.iter_segments():
            facts.append(list(segment.iter_tags()) if isinstance(segment, DynamicSegment) else segment.header)
        for section in elf.iter_sections():
            if isinstance(section, (GNUVerNeedSection, GNUVerDefSection)):
                facts.append([(entry.entry, [part.name for part in parts]) for entry, parts in section.iter_versions()])
            elif isinstance(section, GNUVerSymSection) or (
                isinstance(section, SymbolTableSection) and section.header.sh_type == "SHT_DYNSYM"
            ):
                facts.append([(symbol.name, symbol.entry) for symbol in section.iter_symbols()])
        return facts

    return scan


if __name__ == "__main__":
    main()
