"""A verdict as one page of HTML that needs nothing else: no server, no other file, no network. Pure.

Every name in it may be hostile: text goes through :func:`_text`, data for the script through :func:`_data`, and the
page's own policy (Content-Security-Policy, by hash) lets no style and no script run but the two that are written here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from typing import Optional

from .. import __version__
from ..auditing.closer import Closer
from ..auditing.finding import Finding
from ..auditing.rules import is_graft
from ..auditing.steps import Remedy, Step, find_remedy, next_better, plan_steps
from ..elf import PassedSymbols
from ..errors import one_line
from .drawing import draw_graph, short
from .explained import place_text

_MOST_FINDINGS, _MOST_OBJECTS, _MOST_MEMBERS, _MOST_SYMBOLS = 2000, 200, 60, 60_000
_FEW_PLACES = 2


def make_page(look: Closer, path: str) -> str:
    """The whole page.

    :param path: the wheel, as it was given.
    """
    steps = plan_steps(look.verdict)
    sections = [
        ("Policies against objects", "policies", "\n".join(_heat_map(look, steps))),
        ("Findings", "findings", "\n".join(_findings(look, path, steps))),
        ("Dependencies", "dependencies", _graph(look)),
        ("Sizes", "sizes", "\n".join(_sizes(look))),
        ("Symbols", "symbols", "\n".join(_symbols(look))),
    ]
    links = " ".join(f'<a href="#{name}">{title}</a>' for title, name, _ in sections)
    body = "\n".join(f'<section id="{name}"><h2>{title}</h2>\n{text}\n</section>' for title, name, text in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="portable-backend {__version__}">
<title>{_text(look.name)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{_text(look.name)}</h1>
{_summary(look, steps)}
<nav>{links}</nav>
</header>
<main>
{body}
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _text(text: str) -> str:
    """Text as it may stand between tags and in attributes; what is longer than anybody reads is cut."""
    return escape(short(one_line(text)), quote=True)


def _data(value: object) -> str:
    """Data as they may stand in a script element of a type that no browser runs."""
    return (
        json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )


def _policy() -> str:
    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{digest(_STYLE)}'; script-src 'sha256-{digest(_SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _summary(look: Closer, steps: Sequence[Step]) -> str:
    verdict = look.verdict
    state = "true" if verdict.compliant else "NOT TRUE" if verdict.false_claims else "but it is broken"
    kind = "good" if verdict.compliant else "bad"
    parts = [
        f'<p><span class="badge {kind}">{_text(verdict.policy_name)}</span> '
        f"claims {_text(', '.join(verdict.claimed))}: <b>{state}</b></p>"
    ]
    better = next_better(verdict, steps)
    if better is not None:
        what = "Any policy at all" if verdict.policy is None else f"One step better, {_text(str(better.tag))},"
        parts.append(
            f"<p>{what} would take {len(better.blockers)} of the findings below gone; "
            f"then the wheel is {_text(str(better.reaches))}.</p>"
        )
    return "\n".join(parts)


# --- findings ----------------------------------------------------------------------------------------------------


def _findings(look: Closer, path: str, steps: Sequence[Step]) -> Iterator[str]:
    findings = sorted(look.verdict.findings, key=_weight)
    if not findings:
        yield "<p>Nothing to be said against it.</p>"
        return
    better = next_better(look.verdict, steps)
    shown = findings[:_MOST_FINDINGS]
    remedies = [find_remedy(finding, path, better and better.target) for finding in shown]
    numbers = {remedy: number for number, remedy in enumerate(dict.fromkeys(remedies), 1)}
    yield '<ol id="cures">'
    yield from (f'<li id="cure-{number}">{_remedy(remedy)}</li>' for remedy, number in numbers.items())
    yield "</ol><table><thead><tr><th>file<th>what<th>leaves<th>who calls<th>cure</tr></thead><tbody>"
    for finding, remedy in zip(shown, remedies):
        kind = "warning" if finding.warning else "error"
        yield (
            f'<tr class="{kind}"><td><code>{_text(finding.member)}</code>'
            f'<td><span class="kind">{_text(finding.kind)}</span> {_text(finding.message)}<td>{_leaves(finding)}'
            f'<td>{_places(finding, look)}<td><a href="#cure-{numbers[remedy]}">{numbers[remedy]}</a></tr>'
        )
    yield "</tbody></table>"
    if len(findings) > _MOST_FINDINGS:
        yield f'<p class="note">{len(findings) - _MOST_FINDINGS} more findings: see <code>audit -v</code>.</p>'


def _weight(finding: Finding) -> tuple[bool, bool, tuple[int, int], str, str]:
    version = finding.ceiling.version if finding.ceiling else (0, 0)
    return finding.warning, finding.ceiling is not None, (-version[0], -version[1]), finding.member, finding.kind


def _leaves(finding: Finding) -> str:
    if not finding.limits:
        return "all"
    return finding.ceiling.policy if finding.ceiling else "none"


def _places(finding: Finding, look: Closer) -> str:
    """Who calls: one or two as they are, more behind a line that opens."""
    lines = list(_place_lines(finding, look))
    inner = "".join(f"<div>{line}</div>" for line in lines)
    if len(lines) <= _FEW_PLACES:
        return inner
    return f"<details><summary>{lines[0]} …</summary>{inner}</details>"


def _place_lines(finding: Finding, look: Closer) -> Iterator[str]:
    of_library = look.examples.get((finding.member, finding.library or ""), ()) if finding.symbol is None else ()
    for symbol in (finding.symbol,) if finding.symbol else of_library:
        calls = look.calls.get((finding.member, symbol))
        if calls is None:
            continue
        if of_library:
            yield f"<code>{_text(symbol)}</code>"
        yield from (_text(place_text(caller)) for caller in calls.callers)
        if calls.unknown:
            yield f"not known: {_text(calls.unknown)}"
        elif calls.total > len(calls.callers):
            yield f"… and {calls.total - len(calls.callers)} more"


def _remedy(remedy: Remedy) -> str:
    parts = [_text(remedy.cure or "no cure is known")]
    if remedy.command:
        parts.append(f"<pre>{_text(remedy.command)}</pre>")
    if remedy.setting:
        head = f"# {remedy.condition}\n" if remedy.condition else ""
        lines = "\n".join(map(_text, ("[tool.portable-backend]", *remedy.setting)))
        parts.append(f"<pre>{_text(head[:-1])}{head[-1:]}{lines}</pre>")
    return "".join(parts)


# --- the heat map ------------------------------------------------------------------------------------------------


def _heat_map(look: Closer, steps: Sequence[Step]) -> Iterator[str]:
    if not steps:
        yield "<p>No native code: there is no policy that it could break.</p>"
        return
    counts = [Counter(finding.member for finding in step.blockers) for step in steps]
    members = sorted({*look.facts.elves, *(member for count in counts for member in count)})
    members.sort(key=lambda member: -sum(count[member] for count in counts))
    heads = "".join(f'<th class="upright"><span>{_text(step.tag.policy)}</span>' for step in steps)
    yield f'<div class="wide"><table id="heat"><thead><tr><th>object{heads}</tr></thead><tbody>'
    for member in members[:_MOST_OBJECTS]:
        cells = "".join(_cell(count[member], step) for count, step in zip(counts, steps))
        yield f"<tr><td><code>{_text(member)}</code>{cells}</tr>"
    yield "</tbody></table></div>"
    yield '<p class="note">How many findings of an object stand in the way of a policy. Newest on the left.</p>'
    if len(members) > _MOST_OBJECTS:
        yield f'<p class="note">{len(members) - _MOST_OBJECTS} more objects, with no more findings than these.</p>'


def _cell(count: int, step: Step) -> str:
    if count == 0:
        return f'<td class="heat0" title="{_text(step.tag.policy)}: nothing in the way">·'
    heat = 1 if count == 1 else 2 if count < 10 else 3
    return f'<td class="heat{heat}" title="{_text(step.tag.policy)}: {count} in the way">{count}'


# --- dependencies and sizes --------------------------------------------------------------------------------------


def _graph(look: Closer) -> str:
    drawn = draw_graph(look)
    if not drawn:
        return "<p>No native code, so no dependencies that a loader would know.</p>"
    legend = " ".join(
        f'<span class="key {kind}">{words}</span>'
        for kind, words in (
            ("root", "loaded by Python, or run"),
            ("inside", "library in the wheel"),
            ("system", "library of the system"),
            ("missing", "missing"),
        )
    )
    note = '<span class="note">a thick border: a finding names it</span>'
    return f'<p>{legend} {note}</p><div class="wide">{drawn}</div>'


def _sizes(look: Closer) -> Iterator[str]:
    grafts = {member for member in look.sizes if is_graft(member)}
    native = set(look.facts.elves) - grafts
    largest = max((size.full for size in look.sizes.values()), default=0)
    totals = [
        ("grafted libraries", grafts),
        ("other native code", native),
        ("everything else", set(look.sizes) - grafts - native),
    ]
    yield "<table><thead><tr><th>what<th>files<th>installed<th>in the wheel</tr></thead><tbody>"
    for words, members in totals:
        full, packed = (sum(look.sizes[member][place] for member in members) for place in (0, 1))
        yield f"<tr><td>{words}<td>{len(members)}<td>{_bytes(full)}<td>{_bytes(packed)}</tr>"
    yield "</tbody></table>"
    yield '<table id="sizes-by-file"><thead><tr><th>file<th>installed<th>in the wheel<th></tr></thead><tbody>'
    ordered = sorted(look.sizes, key=lambda member: (-look.sizes[member].full, member))
    for member in ordered[:_MOST_MEMBERS]:
        size = look.sizes[member]
        kind = "graft" if member in grafts else "native" if member in native else "other"
        bars = "".join(
            f'<rect class="{words}" width="{_share(part, largest)}" height="12"/>'
            for words, part in ((f"bar {kind}", size.full), ("packed", size.packed))
        )
        yield (
            f"<tr><td><code>{_text(member)}</code><td>{_bytes(size.full)}<td>{_bytes(size.packed)}"
            f'<td><svg width="300" height="12" aria-hidden="true">{bars}</svg></tr>'
        )
    yield "</tbody></table>"
    if len(ordered) > _MOST_MEMBERS:
        rest = sum(look.sizes[member].full for member in ordered[_MOST_MEMBERS:])
        yield f'<p class="note">{len(ordered) - _MOST_MEMBERS} smaller files: {_bytes(rest)}.</p>'


def _share(part: int, whole: int) -> int:
    return max(1, 300 * part // whole) if whole and part else 0


def _bytes(count: int) -> str:
    if count < 10_000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 10_000_000 else f"{count / 1e6:.1f} MB"


# --- symbols -----------------------------------------------------------------------------------------------------


def _symbols(look: Closer) -> Iterator[str]:
    """The symbols as data for the script, which makes rows of those that are looked for."""
    members = sorted(look.facts.elves)
    ceilings: dict[tuple[str, str], Optional[str]] = {
        (finding.member, finding.symbol): _leaves(finding)
        for finding in look.verdict.findings
        if finding.symbol and finding.limits
    }
    rows: list[tuple[int, str, str, Optional[str], Optional[str]]] = []
    total = 0
    for place, member in enumerate(members):
        imports = look.facts.elves[member].imports
        total += len(imports)
        for symbol in imports if len(rows) < _MOST_SYMBOLS else ():
            name = f"{symbol.name}@{symbol.version}" if symbol.version else symbol.name
            use = "may use" if symbol.weak else "uses"
            rows.append((place, use, short(one_line(name)), _library(symbol.library), ceilings.get((member, name))))
    for place, member in enumerate(members):
        exports = look.facts.elves[member].exports
        total += len(exports)
        # Of the largest libraries the names are not known; nor would they find room here.
        for export in exports if len(rows) < _MOST_SYMBOLS and not isinstance(exports, PassedSymbols) else ():
            name = f"{export.name}@{export.version}" if export.version else export.name
            rows.append((place, "has", short(one_line(name)), None, None))
    del rows[_MOST_SYMBOLS:]
    rows.sort(key=lambda row: row[4] is None)  # what findings name first
    yield (
        '<p><input id="search" type="search" placeholder="part of a symbol, library, version or file" '
        'aria-label="Search" autocomplete="off" spellcheck="false"> <span id="matches" role="status"></span></p>'
    )
    if total > len(rows):
        yield f'<p class="note">{len(rows)} of {total} symbols are in this page, used ones first.</p>'
    yield (
        '<table id="found"><thead><tr><th>symbol<th><th>file<th>library<th>leaves</tr></thead><tbody></tbody></table>'
        "<noscript><p>The search needs JavaScript; <code>audit --json</code> lists what is in the way.</p></noscript>"
    )
    last = max((row[0] for row in rows), default=-1)
    data = {"members": [short(one_line(member)) for member in members[: last + 1]], "rows": rows}
    yield f'<script type="application/json" id="data">{_data(data)}</script>'


def _library(name: Optional[str]) -> Optional[str]:
    return None if name is None else short(one_line(name))


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --paper: #fff; --soft: #5d6778; --line: #d7dce4; --head: #f3f5f8;
  --good: #1a7f4b; --bad: #b3261e; --warn: #8a5a00;
  --root: #dbe7ff; --inside: #d9f2e3; --system: #eceef2; --missing: #ffd9d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ef; --paper: #14181f; --soft: #98a2b3; --line: #333b48;
  --head: #1d232d; --good: #5fd39a; --bad: #ff8a80; --warn: #f2c063;
  --root: #24395f; --inside: #1d4631; --system: #2a303a; --missing: #5c2622; } }
body { margin: 0 auto; max-width: 1200px; padding: 1rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); }
h1 { font-size: 1.25rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
nav a { margin-right: 1rem; } a { color: inherit; }
code, pre, svg text { font-family: ui-monospace, monospace; font-size: 12px; } code { overflow-wrap: anywhere; }
#findings td:first-child { min-width: 9rem; }
pre { margin: .3rem 0; padding: .3rem .5rem; background: var(--head); white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: .5rem 0; }
th { text-align: left; background: var(--head); font-weight: 600; }
th, td { border: 1px solid var(--line); padding: .25rem .5rem; vertical-align: top; }
.badge { padding: .1rem .6rem; border-radius: 1rem; color: var(--paper); font-weight: 600; }
.badge.good { background: var(--good); }
.badge.bad { background: var(--bad); } .note { color: var(--soft); font-size: .85rem; }
.kind { color: var(--soft); font-size: .85rem; border: 1px solid var(--line); border-radius: .3rem; padding: 0 .3rem; }
tr.error td:first-child { border-left: 4px solid var(--bad); }
tr.warning td:first-child { border-left: 4px solid var(--warn); }
.wide { overflow-x: auto; } #heat td { text-align: center; } #heat td:first-child { text-align: left; }
.upright { vertical-align: bottom; } .upright span { writing-mode: vertical-rl; font-weight: 400; font-size: .8rem; }
.heat0 { color: var(--good); } .heat1 { background: #f6b26b; color: #000; } .heat2 { background: #e06666; color: #000; }
.heat3 { background: #990000; color: #fff; }
.edge { fill: none; stroke: var(--soft); stroke-opacity: .45; } .edge.missing { stroke: var(--bad); stroke-opacity: 1; }
.node rect { stroke: var(--soft); stroke-width: .7; } .node.marked rect { stroke: var(--bad); stroke-width: 2; }
.node text { fill: var(--ink); } .node.root rect { fill: var(--root); } .node.inside rect { fill: var(--inside); }
.node.system rect { fill: var(--system); } .node.missing rect { fill: var(--missing); }
.key { padding: .1rem .5rem; margin-right: .5rem; border: 1px solid var(--soft); font-size: .85rem; }
.key.root { background: var(--root); } .key.inside { background: var(--inside); }
.key.system { background: var(--system); }
.key.missing { background: var(--missing); }
.bar { fill: #8fb3ff; } .bar.graft { fill: #74c69d; } .bar.other { fill: #c3cad6; }
.packed { fill: #000; fill-opacity: .35; }
#search { width: 26rem; max-width: 100%; font: inherit; padding: .2rem .4rem; }
"""

# Rows are made of text nodes alone: nothing of the data is ever parsed as HTML.
_SCRIPT = """
(function () {
  "use strict";
  var data = JSON.parse(document.getElementById("data").textContent);
  var field = document.getElementById("search"), told = document.getElementById("matches");
  var body = document.querySelector("#found tbody"), most = 300;
  var texts = data.rows.map(function (row) {
    return (row[2] + " " + (row[3] || "") + " " + data.members[row[0]]).toLowerCase();
  });
  function show() {
    var words = field.value.toLowerCase().split(/\\s+/).filter(Boolean), count = 0;
    var rows = document.createDocumentFragment();
    data.rows.forEach(function (row, place) {
      if (!words.every(function (word) { return texts[place].indexOf(word) >= 0; })) { return; }
      count += 1;
      if (count > most) { return; }
      var line = document.createElement("tr");
      [row[2], row[1], data.members[row[0]], row[3] || "", row[4] || ""].forEach(function (text) {
        line.appendChild(document.createElement("td")).textContent = text;
      });
      rows.appendChild(line);
    });
    body.replaceChildren(rows);
    told.textContent = count + " of " + data.rows.length + (count > most ? ", the first " + most + " shown" : "");
  }
  function follow() {
    var match = /^#search=(.*)$/.exec(location.hash);
    if (match) {
      try { field.value = decodeURIComponent(match[1]); } catch (error) { field.value = match[1]; }
      document.getElementById("symbols").scrollIntoView();
    }
    show();
  }
  field.addEventListener("input", show);
  window.addEventListener("hashchange", follow);
  follow();
}());
"""

__all__ = ["make_page"]
