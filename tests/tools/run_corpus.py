"""Judge the whole corpus, beside auditwheel, pyelftools and readelf; print a table and a summary as JSON.

    python tests/tools/run_corpus.py --cache DIR [--group ci|all|large] [--large] [--no-elf] [--jobs N] [--json FILE]

Wheels that are missing from the cache are downloaded; auditwheel's answers are kept there, too. Exit status 1 if a
difference is not listed in corpus_differences.py, if a listed one is gone, or if a verdict is not explained.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Optional

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))

from corpus import GROUPS, Entry, cache_directory, get_wheels, read_corpus
from corpus_differences import DIFFERENCES, UNTRUE
from corpus_elf import ElfComparison, compare_elf
from corpus_verdicts import Comparison, compare, unlisted, unlisted_elf

from portable_backend import elf


def work(job: tuple[Entry, Path, Path, bool]) -> tuple[Comparison, Optional[ElfComparison]]:
    """All about one wheel."""
    entry, path, cache, with_elf = job
    return compare(entry, path, cache), compare_elf(path) if with_elf else None


def summary(results: list[tuple[Comparison, Optional[ElfComparison]]]) -> dict[str, Any]:
    """The counts."""
    comparisons = [comparison for comparison, _ in results]
    due = [each for each in comparisons if each.explained]
    elves = [each for _, each in results if each is not None]
    return {
        "scanner": elf.IMPLEMENTATION,
        "wheels": len(results),
        "megabytes": round(sum(each.entry.size for each in comparisons) / 1e6),
        "kinds": dict(sorted(Counter(kind for each in comparisons for kind in each.entry.kinds).items())),
        "same_policy": sum(each.ours == each.theirs for each in comparisons),
        "differences_listed": sum(each.entry.file in DIFFERENCES for each in comparisons),
        "untrue_claims": sum(bool(each.untrue) for each in comparisons),
        "untrue_claims_listed": sum(each.entry.file in UNTRUE for each in comparisons),
        "to_explain": len(due),
        "explained": sum(not each.unexplained for each in due),
        "our_cpu_seconds": round(sum(each.seconds for each in comparisons), 2),
        "auditwheel_cpu_seconds": round(sum(each.their_seconds for each in comparisons), 1),
        "elf_files": sum(each.files for each in elves),
        "elf_megabytes": round(sum(each.size for each in elves) / 1e6),
        "elf_differences": sum(len(each.lines) for each in elves),
        "wrong": [line for comparison, _ in results for line in unlisted(comparison)]
        + [line for each in elves for line in unlisted_elf(each)],
    }


def main() -> int:
    """Run, print, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=cache_directory())
    parser.add_argument("--group", choices=GROUPS, default="all")
    parser.add_argument("--large", dest="group", action="store_const", const="large")
    parser.add_argument("--only", default="", help="only wheels with this in their names")
    parser.add_argument("--no-elf", action="store_true", help="verdicts only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the summary there, too")
    options = parser.parse_args()
    entries = [entry for entry in read_corpus(options.group) if options.only in entry.file]
    paths = get_wheels(entries, options.cache)
    jobs = [(entry, path, options.cache, not options.no_elf) for entry, path in zip(entries, paths)]
    results = []
    with ProcessPoolExecutor(options.jobs, initializer=os.nice, initargs=(10,)) as pool:
        for comparison, facts in pool.map(work, jobs):
            results.append((comparison, facts))
            mark = "=" if comparison.ours == comparison.theirs else "≠"
            found = "" if facts is None else f"{facts.files:5} ELF {len(facts.lines):3} differ"
            untrue = f"  not true: {', '.join(comparison.untrue)}" if comparison.untrue else ""
            print(f"{comparison.ours:24} {mark} {comparison.theirs[:24]:24} {found}  {comparison.entry.file}{untrue}")
            sys.stdout.flush()
    counts = summary(results)
    text = json.dumps(counts, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", "utf-8")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
