"""Build real sdists with the zig strategy, confirm each wheel with auditwheel, import it, print a table.

    python tests/tools/build_sdists.py [--python 3.11]… [--target TAG] [--json FILE] [NAME==VERSION[:IMPORT]…]

Exit status 1 if any project did not build, is not confirmed, or does not import.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

# name==version:what to import
PROJECTS = (
    "markupsafe==3.0.3:markupsafe._speedups",
    "msgpack==1.1.2:msgpack._cmsgpack",
    "ujson==5.11.0:ujson",
    "regex==2025.9.18:regex",
    "bitarray==3.7.2:bitarray",
    "wrapt==2.0.1:wrapt._wrappers",
    "kiwisolver==1.4.9:kiwisolver",
    "python-rapidjson==1.22:rapidjson",
    "greenlet==3.2.4:greenlet",
    "cymem==2.0.11:cymem.cymem",
    "murmurhash==1.0.13:murmurhash.mrmr",
    "levenshtein==0.27.1:Levenshtein",
    "rpds-py==0.27.1:rpds",
    "orjson==3.11.4:orjson",
)
QUICK = ("markupsafe", "msgpack", "kiwisolver", "cymem")


@dataclass
class Row:
    """One line of the table. ``seconds`` is wall time of ``portable-backend build``, requirements included."""

    project: str
    python: str
    seconds: float
    policy: str
    auditwheel: str
    imports: str
    detail: str = ""

    @property
    def good(self) -> bool:
        """Built, confirmed and imported."""
        return self.imports == "ok" and self.policy != "-" and self.policy == self.auditwheel


def build(entry: str, python: str, target: str, wheels: Path, interpreter: str) -> Row:
    """Build one project for one interpreter, and try the wheel."""
    requirement, _, module = entry.partition(":")
    row = Row(requirement, python, 0.0, "-", "-", "-")
    begin = time.perf_counter()
    command = [interpreter, "-m", "portable_backend.cli", "build", requirement, "-w", str(wheels)]
    command += ["--strategy", "zig", "--target", target, "--python", python, "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row.seconds = round(time.perf_counter() - begin, 1)
    if done.returncode:
        row.detail = done.stderr.strip()[-400:]
        return row
    report = json.loads(done.stdout)
    row.policy = report["policy"]
    row.auditwheel = auditwheel_policy(report["path"], interpreter)
    row.imports, row.detail = try_import(report["path"], module, python)
    return row


def auditwheel_policy(wheel: str, interpreter: str) -> str:
    """What auditwheel says the wheel is."""
    command = [interpreter, "-m", "auditwheel", "show", "--json", wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return str(json.loads(done.stdout)["overall_tag"]) if done.returncode == 0 else "-"


def try_import(wheel: str, module: str, python: str) -> tuple[str, str]:
    """Install into a new environment and import: ``ok``, or ``failed`` with the reason."""
    from portable_backend.interpreters import find_python

    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([find_python(python), "-m", "venv", scratch], check=True)
        inside = os.path.join(scratch, "bin", "python")
        steps = ([inside, "-m", "pip", "install", "--quiet", wheel], [inside, "-I", "-c", f"import {module}"])
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False, cwd=scratch)
            if done.returncode:
                return "failed", done.stderr.strip()[-400:]
    return "ok", ""


def main() -> int:
    """Parse, build, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("projects", nargs="*", default=list(PROJECTS))
    parser.add_argument("--python", action="append")
    parser.add_argument("--target", default="manylinux_2_17")
    parser.add_argument("--quick", action="store_true", help="the few that build in seconds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    entries = [each for each in options.projects if not options.quick or each.partition("==")[0] in QUICK]
    rows = []
    with tempfile.TemporaryDirectory() as wheels:
        print(f"{'project':28} {'python':7} {'seconds':>8}  {'policy':24} {'auditwheel':24} import")
        for entry in entries:
            for python in options.python or ["3.11"]:
                row = build(entry, python, options.target, Path(wheels), sys.executable)
                rows.append(row)
                verdicts = f"{row.policy:24} {row.auditwheel:24} {row.imports}"
                print(f"{row.project:28} {row.python:7} {row.seconds:8.1f}  {verdicts}", flush=True)
                if row.detail:
                    print("    " + row.detail.replace("\n", "\n    "), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    good = sum(row.good for row in rows)
    print(f"{good} of {len(rows)} built, confirmed and imported")
    return 0 if rows and good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
