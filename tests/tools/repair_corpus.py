"""Repair every compliant wheel of the corpus, and the result again: same tags or better ones, then the same bytes.

    python tests/tools/repair_corpus.py --cache DIR [--group ci|all|large] [--largest MB] [--json FILE]

For each wheel: the first repair claims only tags that a verdict on its bytes bears out, and loses none that was true;
the second gives the same name and the same bytes. Prints a line for each wheel where that is not so, then counts. Exit
status 1 if there was one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))

from corpus import GROUPS, cache_directory, digest_of, get_wheels, read_corpus

from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.verdict import JudgeOptions
from portable_backend.errors import PortableBackendError
from portable_backend.repairing.apply import repair_wheel
from portable_backend.repairing.plan import RepairOptions
from portable_backend.wheels import parse_wheel_name


def repair_twice(path: Path) -> tuple[str, str]:
    """What is wrong with repairing this wheel: (``ok``, ``not compliant`` or ``WRONG``, in which way)."""
    try:
        before = read_verdict(path, JudgeOptions())
    except PortableBackendError as error:
        return "WRONG", f"cannot be judged: {error.message}"
    if not before.compliant:
        return "not compliant", ", ".join(before.false_claims)
    with tempfile.TemporaryDirectory(prefix="portable-backend-corpus-") as scratch:
        one, two = Path(scratch, "one"), Path(scratch, "two")
        try:
            first = repair_wheel(path, one, RepairOptions(), lambda line: None)
            second = repair_wheel(first.path, two, RepairOptions(), lambda line: None)
        except PortableBackendError as error:
            return "WRONG", f"repair: {type(error).__name__}: {error.message}"
        after = read_verdict(first.path, JudgeOptions())
        lost = set(parse_wheel_name(path.name).platforms) - set(parse_wheel_name(first.path.name).platforms)
        if not after.compliant or after.policy_name != first.after.policy_name:
            return "WRONG", f"the result is {after.policy_name}, of which {after.false_claims} are not true"
        if after.policy_name != before.policy_name:
            return "WRONG", f"{before.policy_name} became {after.policy_name}"
        if second.path.name != first.path.name:
            return "WRONG", f"the second repair calls it {second.path.name}, the first {first.path.name}"
        if digest_of(second.path) != digest_of(first.path):
            return "WRONG", "the second repair gives other bytes"
        edits = 0 if first.plan is None else len(first.plan.edits)
        return "ok", f"{edits} edited" + (f"; dropped {', '.join(sorted(lost))}" if lost else "")


def main() -> int:
    """Repair, print, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=cache_directory())
    parser.add_argument("--group", choices=GROUPS, default="all")
    parser.add_argument("--largest", type=float, default=1e6, metavar="MB", help="pass over larger wheels")
    parser.add_argument("--only", default="", help="only wheels with this in their names")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("-v", "--verbose", action="store_true", help="print good ones too")
    options = parser.parse_args()
    entries = [each for each in read_corpus(options.group) if each.size <= options.largest * 1e6]
    entries = [each for each in entries if options.only in each.file]
    paths = get_wheels(entries, options.cache)
    results: dict[str, tuple[str, str]] = {}
    with ProcessPoolExecutor(options.jobs, initializer=os.nice, initargs=(10,)) as pool:
        for path, result in zip(paths, pool.map(repair_twice, paths)):
            results[path.name] = result
            if result[0] == "WRONG" or options.verbose:
                print(f"{result[0]:13} {path.name}: {result[1]}", flush=True)
    counts = Counter(state for state, _ in results.values())
    edited = sum(state == "ok" and not detail.startswith("0 ") for state, detail in results.values())
    print(f"{len(results)} wheels: {dict(counts)}; {edited} of the good ones had files edited")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    return 1 if counts["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
