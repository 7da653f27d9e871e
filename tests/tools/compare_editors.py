"""Our ELF editor beside patchelf: the same edits on the same files, what they add, and whether both results load.

Usage: ``python tests/tools/compare_editors.py [--load] [--rows] FILE-OR-DIRECTORY ...``; of the paths, every shared
object is taken, and every one in a wheel. With ``--load``, what this machine can load before, it has to load after.
Exits with a failure where ours differs from what was foretold, or does not load where patchelf's does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from portable_backend import elf
from portable_backend.elf import ElfEdits, ElfFacts
from portable_backend.errors import EditRefused, ElfError

MARK = "-0123abcd"
LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


def shared_objects(paths: list[str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of all ELF files, each content once."""
    seen: set[int] = set()
    for path in map(Path, paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            for name, data in contents(file):
                if data[:4] == b"\x7fELF" and data[16:18] in (b"\3\0", b"\0\3") and hash(data) not in seen:
                    seen.add(hash(data))
                    yield name, data


def contents(file: Path) -> Iterator[tuple[str, bytes]]:
    if file.suffix == ".whl" and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as wheel:
            for name in wheel.namelist():
                if ".so" in name:
                    yield f"{file.name}:{name}", wheel.read(name)
    elif ".so" in file.name and file.is_file():
        yield str(file), file.read_bytes()


@dataclass
class Totals:
    files: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    ours: int = 0
    theirs: int = 0
    larger: int = 0
    seconds: float = 0
    loaded: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def make_edits(facts: ElfFacts, libs: Path) -> ElfEdits:
    """What a repair asks for: a new soname, one library renamed, an RPATH."""
    renamed = [name for name in facts.needed if "/" not in name and not name.startswith("ld-")][-1:]
    return ElfEdits(
        soname=(facts.soname or "libnameless.so") + MARK,
        replace_needed=tuple((name, name.replace(".so", MARK + ".so", 1)) for name in renamed),
        rpath=str(libs),
    )


def edit_with_patchelf(path: Path, edits: ElfEdits) -> Optional[bytes]:
    options = ["--set-soname", str(edits.soname), "--force-rpath", "--set-rpath", str(edits.rpath)]
    for old, new in edits.replace_needed:
        options += ["--replace-needed", old, new]
    done = subprocess.run(["patchelf", *options, str(path)], capture_output=True)
    return path.read_bytes() if done.returncode == 0 else None


def loads(path: Path) -> bool:
    return subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True).returncode == 0


def is_native(facts: ElfFacts) -> bool:
    with open(sys.executable, "rb") as file:
        head = file.read(20)
    own = int.from_bytes(head[18:20], "little"), 64 if head[4] == 2 else 32
    return sys.byteorder == "little" and (facts.machine, facts.bits) == own


def provide(edits: ElfEdits, libs: Path) -> None:
    """Put the renamed library where the RPATH leads: a link to the one that there is."""
    for old, new in edits.replace_needed:
        found = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True).stdout
        place = next((line.split("=>")[1].strip() for line in found.splitlines() if line.split()[:1] == [old]), None)
        if place and not (libs / new).exists():
            (libs / new).symlink_to(place)


def compare(name: str, data: bytes, scratch: Path, load: bool, totals: Totals) -> Optional[tuple[int, Optional[int]]]:
    """One file. What each editor added to it."""
    libs, theirs = scratch / "libs", scratch / "theirs.so"
    try:
        facts = elf.scan(data)
    except ElfError as error:
        totals.refused[f"malformed: {error.what}"] += 1
        return None
    if not facts.dynamic:
        return None
    totals.files += 1
    edits = make_edits(facts, libs)
    start = time.perf_counter()
    try:
        result = elf.edit(data, edits)
    except EditRefused as error:
        totals.refused[error.what] += 1
        return None
    totals.seconds += time.perf_counter() - start
    if elf.scan(result) != edits.foretell(facts) or elf.edit(result, edits) != result:
        totals.wrong.append(f"{name}: not what was foretold")
    theirs.write_bytes(data)
    peer = edit_with_patchelf(theirs, edits)
    growth = len(result) - len(data), None if peer is None else len(peer) - len(data)
    if growth[1] is None:
        totals.failed += 1
    else:
        totals.ours += growth[0]
        totals.theirs += growth[1]
        totals.larger += growth[0] > growth[1]
    if load and is_native(facts):
        compare_loading(name, data, result, scratch, edits, totals)
    return growth


def compare_loading(name: str, data: bytes, result: bytes, scratch: Path, edits: ElfEdits, totals: Totals) -> None:
    before, ours, theirs = scratch / "before.so", scratch / "ours.so", scratch / "theirs.so"
    before.write_bytes(data)
    if not loads(before):
        totals.loaded["not loadable before"] += 1
        return
    ours.write_bytes(result)
    provide(edits, scratch / "libs")
    outcome = loads(ours), loads(theirs)
    totals.loaded[f"ours {'loads' if outcome[0] else 'fails'}, patchelf's {'loads' if outcome[1] else 'fails'}"] += 1
    if outcome == (False, True):
        totals.wrong.append(f"{name}: does not load, and patchelf's does")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--rows", action="store_true", help="a row for each file")
    parser.add_argument("paths", nargs="+")
    options = parser.parse_args()
    totals = Totals()
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        (scratch / "libs").mkdir()
        for name, data in shared_objects(options.paths):
            growth = compare(name, data, scratch, options.load, totals)
            if options.rows and growth is not None:
                print(f"{growth[0]:9} {growth[1] if growth[1] is not None else '-':>9} {len(data):10}  {name}")
    print(
        f"{totals.files} files; {elf.IMPLEMENTATION} editor, {totals.seconds:.2f} s; patchelf failed on {totals.failed}"
    )
    print(f"growth in bytes: ours {totals.ours}, patchelf's {totals.theirs}; ours is larger {totals.larger} times")
    for count in (totals.loaded, totals.refused):
        for what, number in count.most_common():
            print(f"{number:6}  {what}")
    for line in totals.wrong:
        print("WRONG", line)
    return bool(totals.wrong)


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C"
    sys.exit(main())
