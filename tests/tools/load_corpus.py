"""Load the native files of the corpus before an edit, after ours, and after patchelf's: is the outcome the same?

    python tests/tools/load_corpus.py --cache DIR [--group ci|all] [--largest MB] [--only TEXT] [--json FILE] [-v]

Every wheel for this machine's architecture and glibc is unpacked three times. In two of the copies every library that
another file of the wheel needs is given a new name, as a repair does it: its file, its soname, the *needed* entries and
version needs of those who need it; and every RPATH is made longer. Then each file is opened (``dlopen``, ``RTLD_NOW``)
in a process of its own, and where the wheel is for this interpreter its packages are imported. An outcome is that it
loads, or the loader's error; names are compared without the marks.

Prints a line for each file whose outcome differs, then counts. Exit status 1 if one loads before or after patchelf's
edit and not after ours, or if the result of ours is larger.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))

from corpus import GROUPS, cache_directory, get_wheels, read_corpus

from portable_backend import elf
from portable_backend.auditing.facts import arch_of
from portable_backend.auditing.graph import plan_graph
from portable_backend.elf import ElfEdits, ElfFacts
from portable_backend.errors import EditRefused, ElfError
from portable_backend.targets import parse_arch
from portable_backend.wheels import parse_wheel_name

MARK = "-0123abcd"
COPIES = ("before", "ours", "patchelf")
#: Opens each file in a child of its own, so that none has what another has loaded, and a crash is an outcome.
LOADER = """
import ctypes, json, os, signal, sys
found = {}
for path in json.load(sys.stdin):
    end, begin = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            ctypes.CDLL(path, os.RTLD_NOW)
            said = "loads"
        except OSError as error:
            said = str(error)
        os.write(begin, said.encode("utf-8", "replace")[:4000])
        os._exit(0)
    os.close(begin)
    with os.fdopen(end, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    status = os.waitpid(child, 0)[1]
    found[path] = said or f"ended with status {status}"
print(json.dumps(found))
"""
IMPORTER = "import importlib, sys; sys.path.insert(0, sys.argv[1]); importlib.import_module(sys.argv[2])"


@dataclass
class Totals:
    """What was found."""

    wheels: int = 0
    files: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    imports: Counter[str] = field(default_factory=Counter)
    growth: Counter[str] = field(default_factory=Counter)
    larger: int = 0
    wrong: list[str] = field(default_factory=list)


def find_files(root: Path) -> dict[str, ElfFacts]:
    """The shared objects for this machine below a directory, by relative path."""
    arch = parse_arch(os.uname().machine)
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        try:
            facts = elf.scan(path.read_bytes())
        except ElfError:
            continue
        if facts.dynamic and facts.type == elf.ET_DYN and facts.interpreter is None and arch_of(facts) is arch:
            found[str(path.relative_to(root))] = facts
    return found


def plan(files: Mapping[str, ElfFacts]) -> dict[str, ElfEdits]:
    """The edits of each file: libraries that others need get new names, whoever needs them the same, RPATHs grow.

    Only those are renamed that everybody who needs them finds in the wheel: others are this machine's.
    """
    graph = plan_graph(files)
    needed = {name for facts in files.values() for name in facts.needed}
    lost = {name for names in graph.unresolved.values() for name in names}
    names = {os.path.basename(file) for file in files} & needed - lost
    new = {name: name.replace(".so", f"{MARK}.so", 1) for name in names if ".so" in name}
    edits = {}
    for file, facts in files.items():
        renamed = tuple((name, new[name]) for name in facts.needed if name in new)
        path = facts.runpath if facts.runpath is not None else facts.rpath
        longer = f"{path}:$ORIGIN/nowhere" if path else None
        runpath = facts.runpath is not None
        edits[file] = ElfEdits(
            soname=new.get(os.path.basename(file)),
            replace_needed=renamed,
            rpath=None if runpath else longer,
            runpath=longer if runpath else None,
        )
    return edits


def edit_with_patchelf(path: Path, edits: ElfEdits) -> bool:
    """The same edits by patchelf, in place."""
    words = [] if edits.soname is None else ["--set-soname", edits.soname]
    for old, new in edits.replace_needed:
        words += ["--replace-needed", old, new]
    if edits.rpath is not None:
        words += ["--force-rpath", "--set-rpath", edits.rpath]
    if edits.runpath is not None:
        words += ["--set-rpath", edits.runpath]
    return subprocess.run(["patchelf", *words, str(path)], capture_output=True, check=False).returncode == 0


def edit_copies(scratch: Path, edits: Mapping[str, ElfEdits], totals: Totals, name: str) -> None:
    """Edit both copies, and rename what was given a new name."""
    for file, each in edits.items():
        ours, theirs = scratch / "ours" / file, scratch / "patchelf" / file
        data = ours.read_bytes()
        if each:
            try:
                result = elf.edit(data, each)
            except EditRefused as error:
                totals.refused[error.what] += 1
                result = data
            if not edit_with_patchelf(theirs, each):
                totals.refused["patchelf failed"] += 1
            ours.write_bytes(result)
            sizes = len(result) - len(data), theirs.stat().st_size - len(data)
            totals.growth.update({"ours": sizes[0], "patchelf": sizes[1]})
            if sizes[0] > sizes[1]:
                totals.larger += 1
                totals.wrong.append(f"{name}: {file} grows by {sizes[0]} bytes, with patchelf by {sizes[1]}")
        if each.soname is not None:
            for copy in COPIES[1:]:
                (scratch / copy / file).rename((scratch / copy / file).with_name(each.soname))


def load(root: Path, files: Mapping[str, ElfEdits]) -> dict[str, str]:
    """What comes of opening each file, by its old name; paths and marks are taken out of what is said."""
    edited = root.name != "before"
    places = {
        file: str(root / (Path(file).with_name(each.soname) if edited and each.soname else file))
        for file, each in files.items()
    }
    command = [sys.executable, "-I", "-c", LOADER]
    done = subprocess.run(command, input=json.dumps(list(places.values())), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return {file: found[place].replace(str(root), "").replace(MARK, "") for file, place in places.items()}


def import_packages(root: Path) -> dict[str, str]:
    """What comes of importing each package: nothing, or its last line of complaint."""
    names = {path.name.partition(".")[0] for path in root.iterdir() if path.suffix in ("", ".py", ".so")}
    found = {}
    for name in sorted(name for name in names if name.isidentifier()):
        command = [sys.executable, "-I", "-c", IMPORTER, str(root), name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            found[name] = "takes too long"
            continue
        said = (done.stderr.strip().splitlines() or [""])[-1] if done.returncode else "imports"
        found[name] = said.replace(str(root), "").replace(MARK, "")
    return found


def compare(
    outcomes: Mapping[str, Mapping[str, str]], good: str, counts: Counter[str], totals: Totals, name: str
) -> None:
    """Count, and tell of what differs."""
    for what, before in outcomes["before"].items():
        ours, theirs = outcomes["ours"][what], outcomes["patchelf"][what]
        if before == ours == theirs:
            counts["the same, " + (before if before == good else "an error")] += 1
            continue
        counts[f"before {_word(before, good)}, ours {_word(ours, good)}, patchelf's {_word(theirs, good)}"] += 1
        line = f"{name}: {what}: before: {before}; after ours: {ours}; after patchelf's: {theirs}"
        if ours != good and good in (before, theirs):
            totals.wrong.append(line)
        print(line, flush=True)


def _word(outcome: str, good: str) -> str:
    return outcome if outcome == good else "fails"


def is_for_us(path: Path) -> tuple[bool, bool]:
    """Whether a wheel is for this machine, and whether it is for this interpreter."""
    name = parse_wheel_name(path.name)
    here = any(each.startswith("manylinux") and each.endswith(f"_{os.uname().machine}") for each in name.platforms)
    own = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return here, own in name.python.split(".") or "abi3" in name.abi or "none" in name.abi


def check(path: Path, totals: Totals) -> None:
    """All about one wheel."""
    here, ours = is_for_us(path)
    if not here:
        return
    with tempfile.TemporaryDirectory(prefix="portable-backend-load-") as directory:
        scratch = Path(directory)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(scratch / "before")
        files = find_files(scratch / "before")
        if not files:
            return
        totals.wheels += 1
        totals.files += len(files)
        for copy in COPIES[1:]:
            shutil.copytree(scratch / "before", scratch / copy, symlinks=True)
        edits = plan(files)
        edit_copies(scratch, edits, totals, path.name)
        compare({copy: load(scratch / copy, edits) for copy in COPIES}, "loads", totals.outcomes, totals, path.name)
        if ours:
            found = {copy: import_packages(scratch / copy) for copy in COPIES}
            compare(found, "imports", totals.imports, totals, path.name)


def main() -> int:
    """Check, print, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=cache_directory())
    parser.add_argument("--group", choices=GROUPS, default="all")
    parser.add_argument("--largest", type=float, default=1e6, metavar="MB", help="pass over larger wheels")
    parser.add_argument("--only", default="", help="only wheels with this in their names")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    entries = [each for each in read_corpus(options.group) if each.size <= options.largest * 1e6]
    paths = get_wheels([each for each in entries if options.only in each.file], options.cache)
    totals = Totals()
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda path: check(path, totals), paths))
    data = {
        "wheels": totals.wheels,
        "files": totals.files,
        "outcomes": dict(totals.outcomes.most_common()),
        "imports": dict(totals.imports.most_common()),
        "growth_in_bytes": dict(totals.growth),
        "ours_larger": totals.larger,
        "refused": dict(totals.refused),
        "wrong": totals.wrong,
    }
    print(json.dumps(data, indent=1))
    if options.json:
        options.json.write_text(json.dumps(data, indent=1), "utf-8")
    return bool(totals.wrong)


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C"
    sys.exit(main())
