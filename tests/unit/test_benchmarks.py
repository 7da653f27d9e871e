"""The benchmarks measure what they say: figures of the right process, verdicts of the right ratio, one page a JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "benchmarks"))

if sys.platform != "linux":
    pytest.skip("the tools that are compared run on Linux", allow_module_level=True)

import bench_engine  # noqa: E402
import engine_report  # noqa: E402
import floor  # noqa: E402
import inputs  # noqa: E402


def row(work: str, name: str, size: float, ours: float, theirs: float, **more: Any) -> dict[str, Any]:
    """A measured row; peaks are 10 MiB for us and 20 for auditwheel."""
    tools = {
        tool: {"version": "1", "policy": "manylinux_2_17_x86_64", "runs": [{"wall": wall, "cpu": wall, "peak": peak}]}
        for tool, wall, peak in (("ours", ours, 10 * 2**20), ("auditwheel", theirs, 20 * 2**20))
    }
    one = {"wall": 0.1, "cpu": 0.1}
    floors = [{"zlib, 1 thread": one, "start": one, "copy": one, "copy, fsync": one}]
    given = {"work": work, "input": name, "version": "1", "size": size, "large": False, "tools": tools}
    return {**given, "floor": floors, **more}


def reached(*rows: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What the page says of each aim."""
    return {what: (here, verdict) for what, _, here, _, verdict in engine_report.aims(rows)}


def test_peak_is_of_the_command_and_not_of_who_measures(tmp_path: Path) -> None:
    ballast = bytearray(os.urandom(1) * (100 * 2**20))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > len(ballast)
    small = bench_engine.run_measured(["/bin/true"], {}, tmp_path)
    assert small.status == 0
    assert 0 < small.peak < 30 * 2**20
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'bytearray(80 << 20)[::4096]'])"
    child = bench_engine.run_measured([sys.executable, "-c", code], {}, tmp_path)
    assert child.peak > 80 * 2**20, "a child of the command counts"


def test_figures_of_a_command_that_fails(tmp_path: Path) -> None:
    code = "import sys, time; time.sleep(0.2); sys.exit('no')"
    run = bench_engine.run_measured([sys.executable, "-c", code], {}, tmp_path)
    assert (run.status, run.stderr.strip()) == (1, "no")
    assert run.wall >= 0.2 > run.cpu


def test_aims_are_judged_by_medians_and_by_the_worst() -> None:
    audits = [row("audit", name, 10e6, 1, theirs) for name, theirs in (("a", 19), ("b", 21), ("c", 30))]
    said = reached(*audits, row("audit", "small", 1e4, 1.0, 0.9))
    assert said["`audit` against `auditwheel show`, wheels of 5 to 100 MB, median"] == ("21\u00d7", "yes")
    assert said["`audit` against `auditwheel show`, every wheel"] == ("0.90\u00d7", "**no**")
    assert said["`audit` against `auditwheel show`, torch"][1] == "not measured"
    assert said["peak memory against auditwheel's, worst"] == ("0.50\u00d7", "yes")


def test_copying_is_compared_with_the_time_for_a_file_that_is_on_disk() -> None:
    said = reached(row("retag", "numpy", 10e6, 0.3, 30.0))
    assert said["`repair`, nothing to graft, against copying the file (with fsync), worst"] == ("3.0\u00d7", "**no**")


def test_each_of_the_large_ones_has_its_aim() -> None:
    rows = [
        row("audit", name, 2e8, 1, theirs, large=True) for name, theirs in (("vtk", 99), ("pyside6_essentials", 100))
    ]
    said = {what.rpartition(" ")[2]: verdict for what, (_, verdict) in reached(*rows).items() if "show`, " in what}
    assert said["vtk"] == "**no**"
    assert said["pyside6-essentials"] == "yes"
    assert said["tensorflow-cpu"] == "not measured"


def test_the_same_results_give_the_same_page_and_plot(tmp_path: Path) -> None:
    failed = row("graft", "lxml", 1e6, 1, 5)
    failed["tools"]["repairwheel"] = {"version": "1", "runs": [], "failed": "a <reason> & more"}
    rows = {"audit/a": row("audit", "a_b", 10e6, 0.0213, 19), "graft/lxml": failed}
    results = json.loads(json.dumps({"facts": {"CPU": "x"}, "rows": rows}))
    shuffled = {"rows": dict(reversed(results["rows"].items())), "facts": results["facts"]}
    for name, each in (("one", results), ("two", shuffled)):
        (tmp_path / name).mkdir()
        engine_report.write(each, tmp_path / name / "benchmarks.json")
    for suffix in ("md", "svg"):
        assert len({(tmp_path / name / f"benchmarks.{suffix}").read_bytes() for name in ("one", "two")}) == 1
    plot = ElementTree.fromstring((tmp_path / "one" / "benchmarks.svg").read_text(encoding="utf-8"))
    assert len([each for each in plot.iter() if each.tag.endswith("circle")]) == 4 + 4, "legend, and two tools a row"
    page = (tmp_path / "one" / "benchmarks.md").read_text(encoding="utf-8")
    assert "| a_b 1 | 10.0 | 21 ms | 19 s | 892\u00d7 (892\u00d7) | 10 | 20 |" in page
    assert "repairwheel, lxml: a <reason> & more" in page


@pytest.mark.parametrize(
    ("policy", "tag", "true"),
    [
        ("manylinux_2_17_x86_64", "manylinux2014_x86_64", True),
        ("manylinux_2_17_x86_64", "manylinux_2_28_x86_64", True),
        ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", False),
        ("linux_x86_64", "manylinux_2_28_x86_64", False),
        ("linux_x86_64", "linux_x86_64", False),
    ],
)
def test_a_claim_is_true_if_the_verdict_is_no_younger(policy: str, tag: str, true: bool) -> None:
    assert engine_report.verdict(policy, tag).startswith("true" if true else "**not")


def test_a_twin_has_lost_its_tag_and_nothing_else(tmp_path: Path) -> None:
    original, twin = tmp_path / "a-1-cp39-abi3-manylinux_2_17_x86_64.whl", tmp_path / "a-1-cp39-abi3-linux_x86_64.whl"
    with zipfile.ZipFile(original, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/x.so", b"\x7fELF" * 1000)
        archive.writestr("a-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: cp39-abi3-manylinux_2_17_x86_64\n")
        archive.writestr("a-1.dist-info/RECORD", "a/x.so,sha256=x,4000\na-1.dist-info/WHEEL,sha256=old,1\n")
    inputs.retag(original, twin, "linux_x86_64")
    with zipfile.ZipFile(twin) as archive:
        assert archive.read("a/x.so") == b"\x7fELF" * 1000
        wheel = archive.read("a-1.dist-info/WHEEL")
        assert wheel == b"Wheel-Version: 1.0\nTag: cp39-abi3-linux_x86_64\n"
        record = archive.read("a-1.dist-info/RECORD").decode().splitlines()
    assert record[0] == "a/x.so,sha256=x,4000"
    assert record[1].endswith(f",{len(wheel)}")
    assert "old" not in record[1]


def test_floor_compresses_what_changed_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = tmp_path / "before.whl", tmp_path / "after.whl"
    for path, tag in ((before, b"old"), (after, b"new")):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("same", b"same" * 1000)
            archive.writestr("empty", b"")
            archive.writestr("tag", tag)
    compressed: list[bytes] = []
    codec = floor.Codec(floor.CODECS["zlib"].inflate, lambda data: compressed.append(data) or b"")
    monkeypatch.setitem(floor.CODECS, "zlib", codec)
    monkeypatch.delitem(floor.CODECS, "libdeflate", raising=False)
    times = floor.measure(before, after)
    assert set(compressed) == {b"new"}
    assert {"copy", "copy, fsync", "zlib, 1 thread"} <= set(times)
    assert all(each["wall"] > 0 for each in times.values())
