"""Tables and plot of what ``bench_engine`` has measured: the same results give the same files."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Row = dict[str, Any]
TIMES, NONE = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
PEERS = ("auditwheel", "auditwheel-lief", "repairwheel")
LABELS = {
    "ours": "portable-backend",
    "auditwheel": "auditwheel",
    "auditwheel-lief": "auditwheel, LIEF",
    "repairwheel": "repairwheel",
}
WORKS = {"audit": "audit", "graft": "repair with grafts", "retag": "repair, nothing to graft"}
MEDIUM = (5e6, 100e6)
MINUTE = ("vtk", "pyside6_essentials", "tensorflow_cpu")  # auditwheel needs more than a minute of each


def write(results: dict[str, Any], path: Path) -> None:
    """Write the JSON's siblings: tables (``.md``) and a plot (``.svg``)."""
    rows = sorted(results["rows"].values(), key=lambda row: (list(WORKS).index(row["work"]), row["size"]))
    path.with_suffix(".md").write_text(page(results["facts"], rows, path.stem), encoding="utf-8")
    path.with_suffix(".svg").write_text(plot(rows), encoding="utf-8")


# What the figures are --------------------------------------------------------------------------------------------


def median(row: Row, tool: str, what: str) -> float | None:
    """A tool's median in a row: ``wall`` and ``cpu`` in seconds, ``peak`` in bytes."""
    measured = row["tools"].get(tool)
    if not measured or "failed" in measured or not measured["runs"]:
        return None
    return statistics.median(run[what] for run in measured["runs"])


def ratio(row: Row, tool: str, what: str) -> float | None:
    """How many times ours a tool's figure is."""
    ours, theirs = median(row, "ours", what), median(row, tool, what)
    return theirs / ours if ours and theirs else None


def floor(row: Row, what: str) -> float | None:
    """The least time in which any way did what cannot be left out, after the start of an interpreter."""
    if not row["floor"]:
        return None
    found = {way: statistics.median(each[way][what] for each in row["floor"]) for way in row["floor"][0]}
    return found["start"] + min(value for way, value in found.items() if way.endswith(("thread", "threads")))


def copying(row: Row, way: str = "copy, fsync") -> float | None:
    """The time to copy the input."""
    return statistics.median(each[way]["wall"] for each in row["floor"]) if row["floor"] else None


# The aims --------------------------------------------------------------------------------------------------------


def aims(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """What was aimed at, the aim, what was reached, what an engine at the floor would reach, and if it is enough."""
    audits = [row for row in rows if row["work"] == "audit"]
    medium = [row for row in audits if MEDIUM[0] <= row["size"] <= MEDIUM[1] and not row["large"]]
    grafts = [row for row in rows if row["work"] == "graft"]
    twins = [row for row in rows if row["work"] == "retag"]
    copies = [[each / copied for row in twins if (each := time(row)) and (copied := copying(row))] for time in ENGINES]
    peaks = [1 / value for row in rows if (value := ratio(row, "auditwheel", "peak"))]
    audit, repair = "`audit` against `auditwheel show`", "`repair` against `auditwheel repair`"
    torch = [row for row in audits if row["input"] == "torch"]
    return [
        aim_row(f"{audit}, wheels of 5 to 100 MB, median", 20, medium, statistics.median),
        aim_row(f"{audit}, every wheel", 1, audits, min),
        *(
            aim_row(f"{audit}, {name.replace('_', '-')}", 100, [row for row in audits if row["input"] == name], min)
            for name in MINUTE
        ),
        aim_row(f"{audit}, torch", 10, torch, min),
        aim_row(f"{repair}, with grafts, median", 8, grafts, statistics.median),
        aim_row(f"{repair}, nothing to graft, median", 35, twins, statistics.median),
        limit_row("`repair`, nothing to graft, against copying the file (with fsync), worst", 2, *copies),
        limit_row("peak memory against auditwheel's, worst", 1, peaks, []),
    ]


#: Wall times of ours, and of an engine at the floor.
ENGINES: tuple[Callable[[Row], float | None], ...] = (
    lambda row: median(row, "ours", "wall"),
    lambda row: floor(row, "wall"),
)


def aim_row(what: str, aim: float, rows: Sequence[Row], pick: Callable[[list[float]], float]) -> tuple[str, ...]:
    """A ratio of auditwheel's time that should be large."""
    found, best = (
        [theirs / each for row in rows if (theirs := median(row, "auditwheel", "wall")) and (each := time(row))]
        for time in ENGINES
    )
    if not found:
        return what, f"≥ {aim}{TIMES}", NONE, NONE, "not measured"
    reached = "yes" if pick(found) >= aim else "**no**"
    return what, f"≥ {aim}{TIMES}", times(pick(found)), times(pick(best) if best else None), reached


def limit_row(what: str, limit: float, found: list[float], best: list[float]) -> tuple[str, ...]:
    """A ratio that should be small."""
    if not found:
        return what, f"≤ {limit}{TIMES}", NONE, NONE, "not measured"
    reached = "yes" if max(found) <= limit else "**no**"
    return what, f"≤ {limit}{TIMES}", times(max(found)), times(max(best, default=None)), reached


# The page --------------------------------------------------------------------------------------------------------

HEAD = """\
# Benchmarks

Written by `benchmarks/bench_engine.py`; do not edit. Every single figure is in [{stem}.json]({stem}.json).

![Seconds per input and tool, on a logarithmic scale]({stem}.svg)

{facts}
How it is measured: each tool is installed by pip in an environment of its own and run as its users run it, a process
per wheel, start-up included. The tools take turns over the same files within a round, after one run each that does not
count; a figure is the median of {rounds}. Ratios are the tool's wall time to ours, those in brackets CPU time (the
process and its children). Peak memory is the largest resident set of any one process. The *floor* is what no engine
can leave out: read the wheel, inflate each member once and hash it; for a repair also compress once what changed and
write the result; by zlib or libdeflate, one thread, or all processors, or all of them as if none ever waited, whichever
was fastest; and the start of an interpreter that does nothing. In brackets beside it: auditwheel's time to it, the
ratio that an engine at the floor would have. The aims have it, too: no engine that reads a whole wheel by these
inflaters does better.
"""


def page(facts: Row, rows: Sequence[Row], stem: str) -> str:
    """The whole page."""
    tools = facts.get("tools", {})
    named = {"CPU": facts.get("CPU"), "processors": facts.get("processors"), "Python": facts.get("Python")}
    named |= {"C library": facts.get("C library")} | {LABELS[name]: tools[name] for name in LABELS if name in tools}
    counts = sorted({len(tool["runs"]) for row in rows for tool in row["tools"].values() if tool["runs"]})
    rounds = " or ".join(f"{count} round{'s' * (count > 1)}" for count in counts) or "no rounds"
    lines = table(("", ""), [(name, str(value)) for name, value in named.items()])
    parts = [HEAD.format(stem=stem, facts=lines, rounds=rounds)]
    parts.append("## Aims\n\n" + table(("work", "aim", "here", "at the floor", "reached"), aims(rows)))
    for work, title in WORKS.items():
        group = [row for row in rows if row["work"] == work]
        tables = (audit_table,) if work == "audit" else (repair_table, result_table)
        if group:
            parts.append(f"## {title.capitalize()}\n\n" + "\n".join(make(group) for make in tables))
    failures = [(row, tool) for row in rows for tool in LABELS if "failed" in row["tools"].get(tool, {})]
    if failures:
        lines = [f"- {LABELS[tool]}, {row['input']}: {row['tools'][tool]['failed']}" for row, tool in failures]
        parts.append("## What failed\n\n" + "\n".join(lines) + "\n")
    if "stand-in" in tools.get("auditwheel-lief", ""):
        parts.append(STAND_IN + starts_table([row for row in rows if row["work"] != "audit"]))
    return "\n".join(parts)


STAND_IN = """\
`lief-patchelf` is a program that no package index has: where it was not in PATH, a stand-in on LIEF's Python bindings
(`benchmarks/lief_patchelf.py`) did the same edits. It starts an interpreter and loads the bindings at each call;
without the CPU time of that there remains:

"""


def starts_table(rows: Sequence[Row]) -> str:
    """What a stand-in's own starts cost, and the rest beside ours."""
    cells = []
    for row in rows:
        total, ours = median(row, "auditwheel-lief", "cpu"), median(row, "ours", "cpu")
        if total:
            runs = row["tools"]["auditwheel-lief"]["runs"]
            starts = statistics.median(run.get("starts", 0.0) for run in runs)
            rest = times((total - starts) / ours) if ours else NONE
            cells.append((row["input"], seconds(total), seconds(starts), seconds(total - starts), rest))
    return table(("wheel", "CPU", "of which starts", "rest", "rest / ours"), cells)


def audit_table(rows: Sequence[Row]) -> str:
    """Time, memory, floor and verdict of judging."""
    head = ("wheel", "MB", "ours", "auditwheel", "ratio (CPU)", "MiB", "auditwheel's", "floor", "ours/floor", "policy")
    cells = []
    for row in rows:
        ours = median(row, "ours", "wall")
        theirs, lowest = median(row, "auditwheel", "wall"), floor(row, "wall")
        own, peer = (row["tools"].get(name, {}).get("policy") for name in ("ours", "auditwheel"))
        policy = str(own) if own == peer or not peer else f"{own} (auditwheel: {peer})"
        both = [memory(median(row, name, "peak")) for name in ("ours", "auditwheel")]
        over = times(ours / lowest) if ours and lowest else NONE
        ahead = (f"{row['input']} {row['version']}", f"{row['size'] / 1e6:.1f}", seconds(ours), seconds(theirs))
        cells.append((*ahead, both_ratios(row, "auditwheel"), *both, floor_cell(row), over, policy))
    return table(head, cells)


def repair_table(rows: Sequence[Row]) -> str:
    """Times of repairing."""
    head = ("wheel", "MB", "ours", *(LABELS[peer] for peer in PEERS), "floor", "ours/floor", "copy", "with fsync")
    cells = []
    for row in rows:
        ours, lowest = median(row, "ours", "wall"), floor(row, "wall")
        peers = [f"{seconds(median(row, peer, 'wall'))}, {both_ratios(row, peer)}" for peer in PEERS]
        over = times(ours / lowest) if ours and lowest else NONE
        copies = [seconds(copying(row, way)) for way in ("copy", "copy, fsync")]
        ahead = (f"{row['input']} {row['version']}", f"{row['size'] / 1e6:.1f}", seconds(ours))
        cells.append((*ahead, *peers, floor_cell(row), over, *copies))
    return table(head, cells)


def result_table(rows: Sequence[Row]) -> str:
    """Memory of repairing, and what came out of it."""
    head = ("wheel", "tool", "peak MiB", "result, MB", "tag", "our verdict", "auditwheel's verdict")
    cells = []
    for row in rows:
        for tool in ("ours", *PEERS):
            result = row["tools"].get(tool, {}).get("result")
            if result:
                tag = oldest(result["tags"])
                says = [verdict(result["says"][judge], tag) for judge in ("ours", "auditwheel")]
                size = f"{result['size'] / 1e6:.2f}"
                cells.append((row["input"], LABELS[tool], memory(median(row, tool, "peak")), size, tag, *says))
    return table(head, cells)


def oldest(tags: Sequence[str]) -> str:
    """The most portable of the tags that a name has, as PEP 600 spells it where it can."""
    return min(tags, key=lambda tag: (glibc_of(tag), not re.search(r"linux_\d", tag)))


def glibc_of(tag: str) -> tuple[int, int]:
    """The C library that a platform tag asks for; a large number for what promises nothing."""
    legacy = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
    if found := legacy.get(tag.split("_", maxsplit=1)[0]):
        return found
    match = re.match(r"(?:many|musl)linux_(\d+)_(\d+)_", tag)
    return (int(match[1]), int(match[2])) if match else (999, 0)


def verdict(policy: str, tag: str) -> str:
    """A judge's verdict beside the tag that the wheel claims."""
    return f"true ({policy})" if glibc_of(policy) <= glibc_of(tag) < (999, 0) else f"**not true** ({policy})"


def both_ratios(row: Row, tool: str) -> str:
    """The ratio of wall times, and of CPU times in brackets."""
    if "failed" in row["tools"].get(tool, {}):
        return "failed"
    wall, cpu = ratio(row, tool, "wall"), ratio(row, tool, "cpu")
    return f"{times(wall)} ({times(cpu)})" if wall and cpu else NONE


def floor_cell(row: Row) -> str:
    """The floor, and how far it is from auditwheel."""
    theirs, lowest = median(row, "auditwheel", "wall"), floor(row, "wall")
    return f"{seconds(lowest)} ({times(theirs / lowest)})" if theirs and lowest else seconds(lowest)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def digits(value: float) -> str:
    """Two digits that count, three from 100."""
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def seconds(value: float | None) -> str:
    """A time."""
    if value is None:
        return NONE
    return f"{digits(value)} s" if value >= 0.1 or not value else f"{digits(value * 1000)} ms"


def times(value: float | None) -> str:
    """A ratio."""
    return NONE if value is None else f"{digits(value)}{TIMES}"


def memory(value: float | None) -> str:
    """Bytes as MiB."""
    return NONE if value is None else f"{value / 2**20:.0f}"


# The plot --------------------------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT, TOP, LINE = 900, 190, 90, 64, 21
STYLE = """\
text { font: 12px sans-serif; fill: #333 } .head { font-weight: bold } .faint { fill: #777 }
.grid { stroke: #8884; stroke-width: 1 } .span { stroke: #8888; stroke-width: 2 }
.floor { stroke: #777; stroke-width: 2 }
.ours { fill: #0b7a75 } .auditwheel { fill: #c2571a } .auditwheel-lief { fill: #d9a21b } .repairwheel { fill: #6a5acd }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .faint { fill: #999 } .ours { fill: #3cc4bd }
.auditwheel { fill: #f08a4b } .auditwheel-lief { fill: #f0c75e } .repairwheel { fill: #a99bf5 }
.floor { stroke: #aaa } }
"""


def plot(rows: Sequence[Row]) -> str:
    """A line per input, a dot per tool, seconds on a logarithmic scale; the floor is a tick."""
    shown = [row for row in rows if median(row, "ours", "wall") is not None]
    values = [value for row in shown for value in points(row).values()]
    values += [value for row in shown if (value := floor(row, "wall"))]
    low = math.floor(math.log10(min(values, default=0.1)))
    high = math.ceil(math.log10(max(values, default=1)))
    high += high == low

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - low) / (high - low)

    body, line = [], TOP
    for work, title in WORKS.items():
        group = [row for row in shown if row["work"] == work]
        if group:
            body.append(f'<text class="head" x="8" y="{line + 14}">{escape(title)}</text>')
            line += LINE
            for row in group:
                body += plot_row(row, line, across)
                line += LINE
            line += LINE // 2
    grid = []
    for power in range(low, high + 1):
        x = across(10**power)
        grid.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{line}"/>')
        label = f"{10**power:g} s"
        grid.append(f'<text class="faint" x="{x:.1f}" y="{TOP - 14}" text-anchor="middle">{label}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {line + 8}" role="img">\n'
    title = "<title>Wall time of whole processes, per input and tool; less is better</title>\n"
    return f"{head}{title}<style>\n{STYLE}</style>\n" + "\n".join([*legend(), *grid, *body]) + "\n</svg>\n"


def points(row: Row) -> dict[str, float]:
    """The wall times that a row has, by tool."""
    return {tool: value for tool in LABELS if (value := median(row, tool, "wall")) is not None}


def plot_row(row: Row, top: int, across: Callable[[float], float]) -> list[str]:
    """One input: its name, the span from the fastest to the slowest, the dots, and the ratio to auditwheel."""
    middle = top + 10
    found = points(row)
    ends = across(min(found.values())), across(max(found.values()))
    name = row["input"].replace("_", "-")
    shapes = [f'<text x="{LEFT - 12}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>']
    shapes.append(f'<line class="span" x1="{ends[0]:.1f}" y1="{middle}" x2="{ends[1]:.1f}" y2="{middle}"/>')
    if lowest := floor(row, "wall"):
        x = across(lowest)
        shapes.append(f'<line class="floor" x1="{x:.1f}" y1="{middle - 6}" x2="{x:.1f}" y2="{middle + 6}"/>')
    for tool, value in reversed(found.items()):
        label = f"{LABELS[tool]}: {seconds(value)}"
        circle = f'<circle class="{tool}" cx="{across(value):.1f}" cy="{middle}" r="5">'
        shapes.append(f"{circle}<title>{escape(label)}</title></circle>")
    ahead = times(ratio(row, "auditwheel", "wall"))
    shapes.append(f'<text x="{WIDTH - 8}" y="{middle + 4}" text-anchor="end">{ahead}</text>')
    return shapes


def legend() -> list[str]:
    """What the dots and ticks are."""
    shapes, x = [], 12
    for tool, label in LABELS.items():
        shapes.append(f'<circle class="{tool}" cx="{x}" cy="18" r="5"/><text x="{x + 10}" y="22">{label}</text>')
        x += 40 + 7 * len(label)
    shapes.append(f'<line class="floor" x1="{x}" y1="12" x2="{x}" y2="24"/><text x="{x + 8}" y="22">floor</text>')
    shapes.append(f'<text class="faint" x="{WIDTH - 8}" y="22" text-anchor="end">auditwheel / ours</text>')
    return shapes
