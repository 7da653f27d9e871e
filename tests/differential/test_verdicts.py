"""Our verdicts on published wheels against auditwheel's, our ELF facts against pyelftools' and readelf's.

The wheels are those of ``corpus.json``; see :mod:`corpus` for ``TESTS_CACHE`` and ``TESTS_WHEELS``, and
``docs/explanation/corpus.md`` for what came out on all of them.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("auditwheel", reason="auditwheel is not installed")
pytest.importorskip("elftools", reason="pyelftools is not installed")

from corpus import LIST, Entry, Unavailable, cache_directory, chosen, get_wheel, read_corpus, write_corpus
from corpus_differences import DIFFERENCES, ELF_DIFFERENCES, UNTRUE
from corpus_elf import compare_elf
from corpus_verdicts import compare, unexplained, unlisted, unlisted_elf

from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.verdict import JudgeOptions

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="auditwheel runs on Linux only"),
]

CHOSEN = chosen()
GREENLET = "greenlet-3.5.6-cp314-cp314t-musllinux_1_2_x86_64.whl"


def wheel(entry: Entry) -> Path:
    """The wheel, or the end of the test: a failure in CI."""
    try:
        return get_wheel(entry, cache_directory())
    except Unavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.mark.parametrize("entry", CHOSEN, ids=lambda entry: entry.file)
def test_verdict(entry: Entry) -> None:
    """Equal, or listed with the reason; never without a finding that says why; no claim untrue that is not listed."""
    path = wheel(entry)
    if not metadata.version("auditwheel").startswith("6.8.") and not os.environ.get("CI"):
        pytest.skip("the differences are listed for auditwheel 6.8")
    assert list(unlisted(compare(entry, path, cache_directory()))) == []


@pytest.mark.parametrize("entry", CHOSEN, ids=lambda entry: entry.file)
def test_elf_facts(entry: Entry) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    found = compare_elf(wheel(entry))
    assert found.files or "pure" in entry.kinds
    assert list(unlisted_elf(found)) == []


def test_the_list_is_canonical_and_diverse(tmp_path: Path) -> None:
    entries = read_corpus()
    write_corpus(entries, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == LIST.read_bytes()
    assert len(read_corpus("all")) >= 150
    assert sum(entry.size for entry in read_corpus("ci")) < 15e6
    assert len({entry.sha256 for entry in entries}) == len(entries)
    platforms = Counter(
        match[1] for entry in entries for match in re.finditer(r"((?:many|musl)linux_?\d+)(?=_)", entry.file)
    )
    machines = {entry.file.rpartition("linux")[2].partition("_")[2] for entry in entries}
    assert {"manylinux1", "manylinux2010", "manylinux2014", "manylinux_2", "musllinux_1"} <= set(platforms)
    for machine in ("x86_64", "i686", "aarch64", "armv7l", "ppc64le", "s390x", "riscv64"):
        assert any(name.endswith(f"{machine}.whl") for name in machines), machine


def test_every_listed_difference_is_about_a_wheel_of_the_corpus() -> None:
    files = {entry.file for entry in read_corpus()}
    assert set(DIFFERENCES) | set(UNTRUE) | {file for file, _, _ in ELF_DIFFERENCES} <= files
    assert all(each.ours != each.theirs and each.right in ("ours", "theirs", "both") for each in DIFFERENCES.values())


def test_a_verdict_without_its_findings_is_not_explained() -> None:
    """The check itself can fail."""
    entry = next(entry for entry in CHOSEN if entry.project == "psutil")
    path = wheel(entry)
    verdict = read_verdict(path, JudgeOptions())
    with zipfile.ZipFile(path) as archive:
        members = frozenset(archive.namelist())
    assert list(unexplained(verdict, members)) == []
    assert list(unexplained(verdict, frozenset())) != []
    verdict = verdict._replace(findings=())
    assert list(unexplained(verdict, members)) == ["nothing says why it is manylinux_2_12_x86_64"]


OPENER = """
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **names) { puts(dlopen(names[1], RTLD_NOW) ? "opened" : dlerror()); return 0; }
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the wheel is for x86-64")
def test_packed_relocations_on_an_older_musl_1_2(tmp_path: Path) -> None:
    """Why so many musllinux_1_2 wheels are called untrue: musl 1.2.3, which accepts the tag, cannot load them."""
    loader = Path("/lib/ld-musl-x86_64.so.1")
    if not loader.exists() or shutil.which("musl-gcc") is None:
        pytest.skip("musl is not installed")
    said = subprocess.run([str(loader)], capture_output=True, text=True, check=False).stderr
    found = re.search(r"Version 1\.2\.(\d+)", said)
    if found is None or int(found[1]) >= 4:
        pytest.skip(f"this musl applies packed relocations: {said.split(chr(10))[1:2]}")
    with zipfile.ZipFile(wheel(next(entry for entry in read_corpus("all") if entry.file == GREENLET))) as archive:
        member = next(name for name in archive.namelist() if "/libgcc_s" in name)
        library = Path(archive.extract(member, tmp_path))
    source, program = tmp_path / "opener.c", tmp_path / "opener"
    source.write_text(OPENER, "utf-8")
    subprocess.run(["musl-gcc", "-o", str(program), str(source)], check=True)
    control = tmp_path / "libcontrol.so"
    source.write_text("void (*here)(void); static void f(void) {} void (*pointer)(void) = f;", "utf-8")
    subprocess.run(["musl-gcc", "-shared", "-fPIC", "-o", str(control), str(source)], check=True)
    assert subprocess.run([str(program), str(control)], capture_output=True, text=True).stdout == "opened\n"
    assert subprocess.run([str(program), str(library)], capture_output=True, check=False).returncode < 0
