"""Build real projects for every architecture and C library that zig has, and run what can be run; prints a table.

    python tests/tools/cross_table.py [--target TAG]… [--project NAME]… [--json docs/cross.json]
    python tests/tools/cross_table.py --page docs/cross.json > docs/explanation/cross.md

Wheels are loaded and exercised by a CPython of the target under qemu-user, where that is of the version of Python that
runs this (3.11; for riscv64 with glibc 3.13). Of all of them the ELF facts are judged and the names of files compared.
Builds are not isolated: what the projects require must be installed beside the interpreter. Rows in the file that were
made anew take the place of the older ones. Exit status 1 if anything failed that could have worked.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.foreign import ARCHES, WITHOUT_RUST, foreign_rustc, run_foreign, version_of

TARGETS = (
    *("manylinux_2_17_x86_64", "manylinux_2_17_i686", "manylinux_2_17_aarch64", "manylinux_2_17_armv7l"),
    *("manylinux_2_19_ppc64le", "manylinux_2_17_s390x", "manylinux_2_31_riscv64"),
    *(f"musllinux_1_2_{arch}" for arch in ("x86_64", "i686", "aarch64", "armv7l", "ppc64le", "s390x", "riscv64")),
)

_SAMPLES = Path(__file__).resolve().parent.parent / "packages"
_LOAD_ALONE = """
import glob, importlib.machinery, importlib.util, os
path = glob.glob(os.path.join(os.environ["PYTHONPATH"], "Levenshtein", "levenshtein_cpp*.so"))[0]
loader = importlib.machinery.ExtensionFileLoader("levenshtein_cpp", path)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("levenshtein_cpp", loader))
loader.exec_module(module)
assert module.quickmedian(["abc", "abc", "abd"]) == "abc"
assert module.median(["spam", "spam", "ham"]) == "spam"
"""
# What is built by which backend → what is run with it. Levenshtein's package wants another one that is not here.
PROJECTS = {
    "markupsafe==3.0.3": """
from markupsafe._speedups import _escape_inner
assert _escape_inner("<a href='x'>\\u20ac") == "&lt;a href=&#39;x&#39;&gt;\\u20ac"
""",
    "msgpack==1.1.2": """
from msgpack import _cmsgpack as m
data = {"a": [1, 2.5, -3, 2**40, None, True], "b": b"\\0\\1", "c": "\\u00e9" * 300}
packed = m.Packer().pack(data)
assert packed[:5] == b"\\x83\\xa1a\\x96\\x01" and b"\\xcb\\x40\\x04" in packed, packed[:20]
assert m.unpackb(packed) == data
""",
    "kiwisolver==1.4.9": """
import kiwisolver as k
x, y, s = k.Variable("x"), k.Variable("y"), k.Solver()
for each in (x >= 2.5, y == 2 * x + 1, (x <= 1) | "weak"):
    s.addConstraint(each)
s.updateVariables()
assert (x.value(), y.value()) == (2.5, 6.0)
try:
    s.addConstraint(y <= 0)
except k.UnsatisfiableConstraint:
    pass
else:
    raise SystemExit("no exception")
""",
    "levenshtein==0.27.1": _LOAD_ALONE,
    "meson_c": "import sample_meson_c as s; assert s.copy('hello') == 'hello'",
    "maturin_pyo3": "import sample_maturin_pyo3 as s; assert s.copy('h\\u00e9' * 40) == 'h\\u00e9' * 32",
}


@dataclass
class Row:
    """One cell of the table.

    :param tag: platform part of the file name.
    :param verdict: the best policy that is true of the wheel.
    :param executed: ``ok``, ``not here`` (no interpreter of the target), or what went wrong.
    :param seconds: of the build, wall time.
    """

    target: str
    project: str
    tag: str = "-"
    verdict: str = "-"
    executed: str = "-"
    seconds: float = 0.0
    detail: str = ""

    @property
    def good(self) -> bool:
        """Nothing failed."""
        return not self.detail


def arch_of(target: str) -> str:
    """The architecture that a tag names."""
    return "x86_64" if target.endswith("x86_64") else target.rpartition("_")[2]


def build(target: str, project: str, interpreter: str, wheels: Path) -> tuple[Row, Optional[Path]]:
    """Build one project for one target; the wheel, if there is one, was not tried yet."""
    row = Row(target, project)
    out = wheels / f"{project.partition('=')[0]}-{target}-{sys.version_info[1]}"
    kept = out / "row.json"
    if kept.is_file():
        return Row(**json.loads(kept.read_text(encoding="utf-8"))), next(out.glob("*.whl"))
    sample, environ = _SAMPLES / project, dict(os.environ)
    if project == "maturin_pyo3" and target.startswith("manylinux") and arch_of(target) not in WITHOUT_RUST:
        environ["RUSTC"] = foreign_rustc(*(each for each in ARCHES if each != "x86_64" and each not in WITHOUT_RUST))
    begin = time.perf_counter()
    source = shutil.copytree(sample, wheels / f".{project}-{target}") if sample.is_dir() else project
    command = [interpreter, "-m", "portable_backend.cli", "build", str(source)]
    command += ["-w", str(out), "--strategy", "zig", "--target", target, "--no-isolation", "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    row.seconds = round(time.perf_counter() - begin, 1)
    if sample.is_dir():
        shutil.rmtree(source)
    if done.returncode:
        said = done.stderr.strip()
        row.executed = "no std" if "Rust's standard library" in said else "-"
        row.detail = "" if row.executed == "no std" else said[-400:]
        return row, None
    report = json.loads(done.stdout)
    row.verdict = report["policy"]
    wheel = Path(report["path"])
    row.tag = wheel.stem.rpartition("-")[2]
    row.detail = wrong_names(wheel, target, arch_of(target))
    kept.write_text(json.dumps(asdict(row)), encoding="utf-8")
    return row, wheel


def try_wheel(row: Row, wheel: Path) -> None:
    """Say in the row whether its wheel works."""
    arch, musl = arch_of(row.target), row.target.startswith("musllinux")
    if "{}.{}".format(*sys.version_info) != version_of(arch, musl):
        row.executed = "not here"
        return
    try:
        run_foreign(arch, wheel, PROJECTS[row.project], musl)
        row.executed = "ok"
    except AssertionError as error:
        row.executed, row.detail = "failed", str(error)[-400:]


def wrong_names(wheel: Path, target: str, arch: str) -> str:
    """What is wrong with names in the wheel: a suffix of another platform, or no native code at all."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".so")]
    if not names:
        return "no native code in it"
    word = {"i686": "i386", "armv7l": "arm", "ppc64le": "powerpc64le"}.get(arch, arch)
    suffix = {"armv7l": "gnueabihf"}.get(arch, "gnu")
    fits = (
        re.compile(rf"(\.cpython-3\d+-{word}-linux-{suffix}|\.abi3)\.so$")
        if target.startswith("manylinux")
        else re.compile(r"/?[^./]+(\.abi3)?\.so$")
    )
    return "".join(f"{name}: not a name for {target}" for name in names if not fits.search(name))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--project", action="append", choices=[*PROJECTS])
    parser.add_argument("--no-run", action="store_true", help="build and judge alone")
    parser.add_argument("--wheels", metavar="DIR", help="keep wheels there; what is there is not built again")
    parser.add_argument("--json", metavar="FILE", help="keep the rows in this file")
    parser.add_argument("--page", metavar="FILE", help="print the page of the documentation from such a file alone")
    options = parser.parse_args()
    if options.page:
        print(page([Row(**row) for row in json.loads(Path(options.page).read_text(encoding="utf-8"))]), end="")
        return 0
    rows = []
    print("| target | project | tag | verdict | executed | seconds |\n|---|---|---|---|---|---|", flush=True)
    with contextlib.ExitStack() as stack:
        wheels = options.wheels or stack.enter_context(tempfile.TemporaryDirectory())
        for target in options.target or TARGETS:
            for project in options.project or PROJECTS:
                row, wheel = build(target, project, sys.executable, Path(wheels))
                if wheel is not None and not options.no_run:
                    try_wheel(row, wheel)
                rows.append(row)
                cells = (
                    row.target,
                    row.project,
                    row.tag,
                    row.verdict,
                    row.executed,
                    str(row.seconds),
                    row.detail[-200:],
                )
                print(f"| {' | '.join(filter(None, cells))} |", flush=True)
    write(options.json, rows)
    return 0 if all(row.good for row in rows) else 1


def write(path: Optional[str], rows: list[Row]) -> None:
    """Keep the rows, sorted by target and project."""
    if path:
        file = Path(path)
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
        merged = {(row["target"], row["project"]): row for row in [*known, *map(asdict, rows)]}
        order = [(target, project) for target in TARGETS for project in PROJECTS]
        kept = [merged[key] for key in order if key in merged]
        file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


_PAGE = """# Cross builds that were tried

Real projects, built by zig on an x86-64 machine for the targets on the left, by CPython 3.11 (3.13 for riscv64).
`python tests/tools/cross_table.py --json docs/cross.json` builds them, and with `--page` it wrote this page from what
came out; [the strategy's page](../strategies/zig.md#cross-builds) says how such a build works.

{table}

- **executed**: a CPython of that architecture and C library loaded the wheel's extension module under qemu-user and
  used it. For glibc it is Debian's, for musl one that zig compiled from Debian's source, with Debian's musl 1.2.3
  (riscv64: 1.2.5).
- **judged**: the wheel is true of its tag and its files are named for the target; it was not loaded.
- **no std**: Rust's standard library for the target was not there, so nothing was built.
- **not tried**: no more than that.

The verdict is the oldest policy that is true of the wheel, where that is not the target's own.
"""
_SAYS = {"ok": "executed", "not here": "judged", "-": "judged", "no std": "no std", "failed": "**failed**"}


def page(rows: list[Row]) -> str:
    """The page of the documentation."""
    found = {(row.target, row.project): row for row in rows}
    projects = [project for project in PROJECTS if any(project == row.project for row in rows)]
    heads = [project.replace("==", " ") for project in projects]
    lines = [f"| target | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for target in TARGETS:
        cells = [_cell(found.get((target, project))) for project in projects]
        lines.append(f"| `{target}` | {' | '.join(cells)} |")
    return _PAGE.format(table="\n".join(lines))


def _cell(row: Optional[Row]) -> str:
    if row is None:
        return "not tried"
    if row.detail and row.executed != "failed":
        return "**not built**"
    older = row.verdict not in ("-", row.target)
    return _SAYS[row.executed] + (f", {row.verdict.rpartition('_' + arch_of(row.target))[0]}" if older else "")


if __name__ == "__main__":
    sys.exit(main())
