"""Ten wheels that are broken on purpose: each fault is found, named and given its cure, as the page says."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path

import pytest
from broken_projects import PROJECTS, ours
from wheel_maker import MACHINE, needs_cc

from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.verdict import JudgeOptions

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="the files are for x86-64"),
]
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "broken.md"
# The kind of the finding, and what has to stand in the report: who is at fault, and what to do.
EXPECTED = {
    "too-new-symbol": ("symbol-version", ["arc4random@GLIBC_2.36", "(/home/maker/demo/ext.c:4)", "--strategy zig"]),
    "missing-library": ("external-library", ["needs libacme.so.3", "acme_open@ACME_3.0", 'exclude = ["libacme.so.3"]']),
    "wrong-architecture": ("architecture", ["demo/fast.so", "is for aarch64"]),
    "libpython": ("libpython", ["libpython3.11.so.1.0", "repair drops the entry", "$ portable-backend repair"]),
    "avx2-only": ("instruction-set", ["x86-64-v3", "isa-check = false"]),
    "rpath-outside": ("rpath", ["/home/maker/build/lib", "repair drops it"]),
    "two-of-a-name": ("symbol-version", ["libacme.so.3", "does not define that version"]),
    "abi3-lie": ("stable-abi", ["_PyUnicode_Ready", "Py_LIMITED_API"]),
    "static-glibc": ("symbol-version", ["GLIBC_PRIVATE", "private symbols"]),
    "executable-stack": ("executable-stack", ["executable stack", "clear-execstack = true"]),
}  # fmt: skip


@pytest.mark.parametrize("name", PROJECTS)
def test_what_is_broken_is_named_with_its_cure_and_the_page_says_the_same(name: str, tmp_path: Path) -> None:
    needs_cc()
    wheel = PROJECTS[name].make(tmp_path / name)
    kind, wanted = EXPECTED[name]
    assert kind in {finding.kind for finding in read_verdict(wheel, JudgeOptions()).findings}
    text, status = ours(wheel)
    assert [part for part in wanted if part not in text] == []
    section = PAGE.read_text(encoding="utf-8").partition(f"<!-- {name} -->")[2].partition("</table>")[0]
    shown = re.findall(r"<pre>(.*?)</pre>", section, re.DOTALL)[1]
    assert unescape(shown).replace("\xa0", "") == f"{text}\n(status {status})"


def test_the_page_has_a_section_for_each_and_no_other() -> None:
    assert re.findall(r"^<!-- ([a-z0-9-]+) -->$", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == list(PROJECTS)
