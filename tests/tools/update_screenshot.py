"""Write ``docs/images/report.png``: the page of ``audit --html`` as a browser shows it (needs cc and chromium)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "docs" / "images" / "report.png"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "unit")]

from broken_projects import LIBC, native, stub, wheel  # noqa: E402  # the path is made above
from wheel_maker import compile_library, environment  # noqa: E402


def make(directory: Path) -> Path:
    """A wheel with a graft, a library that is missing, and symbols of two ages that are too new."""
    newer = stub(directory / "newer", "libc.so.6", LIBC, ("arc4random", "GLIBC_2.36"), ("getrandom", "GLIBC_2.25"))
    source = "extern int getrandom(void); int cipher(void) { return getrandom(); }"
    name = "libcipher-1a2b3c4d.so.3"
    graft = compile_library(directory / "graft" / name, source, "-nostdlib", "-Wl,--no-as-needed", str(newer))
    rpath = "-Wl,-rpath,$ORIGIN/../demo.libs"
    declarations = "extern int cipher(void), arc4random(void);"
    module = native(directory / "ext", "cipher() + arc4random()", declarations, graft, newer, rpath)
    acme = stub(directory / "acme", "libacme.so.3", ("acme_open", "ACME_3.0"))
    links = (acme, graft, rpath)
    fast = native(directory / "fast", "acme_open()", "extern int acme_open(void);", *links, name="_fast.so")
    return wheel(directory, {"demo/ext.so": module, "demo/_fast.so": fast, f"demo.libs/{name}": graft})


def main() -> None:
    """Build, write the page, photograph it."""
    with tempfile.TemporaryDirectory() as name:
        path = make(Path(name))
        page = Path(name) / "report.html"
        audit = [sys.executable, "-m", "portable_backend.cli", "audit", "--html", str(page), path.name]
        subprocess.run(audit, check=False, cwd=path.parent, env=environment())
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1180,1640"]
        subprocess.run(["chromium", *options, f"--screenshot={IMAGE}", page.as_uri()], check=True)


if __name__ == "__main__":
    main()
