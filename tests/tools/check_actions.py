"""The actions that ``ci github`` names: is each commit that of the version behind it, and what runs them?

    python tests/tools/check_actions.py [--from https://github.com]

``--from`` is what stands before ``OWNER/NAME``: an address, or a directory that has clones. Prints a table; exit status
1 if a version has another commit, or cannot be asked for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from portable_backend.adopting.github import ACTIONS


def commit_of(repository: str, tag: str) -> str:
    """The commit of a tag, or why there is none."""
    # What an annotated tag leads to stands under its name with ^{}.
    names = (f"refs/tags/{tag}", f"refs/tags/{tag}^{{}}")
    done = subprocess.run(["git", "ls-remote", repository, *names], capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["git does not say why"])[-1]
    found = {name: commit for commit, _, name in (line.partition("\t") for line in done.stdout.splitlines())}
    return found.get(names[1]) or found.get(names[0]) or "no such tag"


def main() -> int:
    """Compare all, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="base", default="https://github.com", metavar="BASE")
    base = parser.parse_args().base
    wrong = 0
    for action, (commit, version) in ACTIONS.items():
        seen = commit_of(f"{base}/{action}", version)
        wrong += seen != commit
        print(f"{action:<34}{version:<9}{'as pinned' if seen == commit else f'pinned {commit}, is: {seen}'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
