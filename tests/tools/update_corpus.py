"""Write the list of the corpus: name, version, file name, sha256, size and kinds of each wheel.

    python tests/tools/update_corpus.py [--cache DIR] [--drop FILE]… [FILE:KIND,KIND…]…

A wheel is added by its file name on pip's index and the kinds that it stands for (``ci``: one of the few that every
run takes; ``large``: only on request). What is in the list stays as it is: its hash is a promise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))

from corpus import LIST, Entry, Unavailable, cache_directory, digest_of, download, read_corpus, write_corpus
from packaging.utils import canonicalize_name


def add(line: str, cache: Path) -> Entry:
    """The entry of one wheel, downloaded if it is not there.

    :raises Unavailable: if it cannot be.
    """
    file, _, kinds = line.partition(":")
    path = cache / file
    if not path.is_file():
        path = download(file, cache)
    name, version = file.split("-")[:2]
    return Entry(
        file=file,
        project=canonicalize_name(name),
        version=version,
        sha256=digest_of(path),
        size=path.stat().st_size,
        kinds=tuple(sorted(kinds.split(","))),
    )


def main() -> int:
    """Add and drop; exit status 1 if a wheel could not be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", metavar="FILE:KINDS", nargs="*")
    parser.add_argument("--drop", metavar="FILE", action="append", default=[])
    parser.add_argument("--cache", type=Path, default=cache_directory())
    options = parser.parse_args()
    entries = {entry.file: entry for entry in (read_corpus() if LIST.is_file() else ())}
    status = 0
    for file in options.drop:
        entries.pop(file, None)
    for line in options.wheels:
        try:
            entry = add(line, options.cache)
        except Unavailable as error:
            print(error, file=sys.stderr)
            status = 1
            continue
        known = entries.get(entry.file)
        if known is not None and known.sha256 != entry.sha256:
            print(f"{entry.file}: the list has another hash; drop it first if that is right", file=sys.stderr)
            status = 1
            continue
        entries[entry.file] = entry
    write_corpus(entries.values())
    print(f"{len(entries)} wheels, {sum(entry.size for entry in entries.values()) / 1e6:.0f} MB")
    return status


if __name__ == "__main__":
    sys.exit(main())
