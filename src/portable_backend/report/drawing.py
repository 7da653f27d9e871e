"""The dependencies of a wheel as a picture: layers from left to right, drawn as SVG. Pure.

What loads stands left of what it loads::

    demo/ext.so ──► demo.libs/libfoo-1a2b3c4d.so.1 ──► libc.so.6
                └───────────────────────────────────► libm.so.6

An edge that would close a circle does not move its end to the right. Within a layer a box stands near the boxes that
lead to it. A wheel may hold a thousand files, of which no picture would show anything: those that findings name come
first, and what is left out is counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape

from ..auditing.closer import Closer
from ..auditing.facts import basename
from ..auditing.graph import is_root
from ..errors import one_line
from ..records import NamedTuple

_MOST_NODES = 150
_ROW, _HEIGHT, _GAP, _MARGIN = 34, 24, 70, 8
_LETTER, _LONGEST = 7.4, 44


def short(text: str, most: int = 1000) -> str:
    """Text of a bounded length, since a name in a file is not bound to any."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} letters)"


class Node(NamedTuple):
    """A box. ``kind`` is ``root``, ``inside``, ``system`` or ``missing``; ``marked`` if a finding names it."""

    name: str
    label: str
    kind: str
    marked: bool


class _Picture(NamedTuple):
    nodes: Mapping[str, Node]
    edges: Sequence[tuple[str, str]]
    omitted: int


def draw_graph(look: Closer) -> str:
    """The picture as an ``svg`` element; empty for a wheel without native code."""
    picture = _plan(look)
    if not picture.nodes:
        return ""
    layers = _layers(picture)
    places, widths = _places(layers, picture)
    width = sum(widths) + _GAP * (len(widths) - 1) + 2 * _MARGIN
    height = max(len(layer) for layer in layers) * _ROW + 2 * _MARGIN
    parts = [
        f'<svg id="graph" role="img" aria-label="Dependencies" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" xmlns="http://www.w3.org/2000/svg">'
    ]
    parts += [_edge(places[start], places[end], picture.nodes[end]) for start, end in picture.edges]
    parts += [_box(places[name], node) for name, node in picture.nodes.items()]
    parts.append("</svg>")
    if picture.omitted:
        parts.append(f'<p class="note">{picture.omitted} more files and libraries are not drawn.</p>')
    return "\n".join(parts)


def _plan(look: Closer) -> _Picture:
    elves, findings = look.facts.elves, look.verdict.findings
    blamed = {finding.member for finding in findings if not finding.warning}
    missing = {
        finding.library
        for finding in findings
        if finding.kind in ("external-library", "libpython") and finding.ceiling is None and not finding.warning
    }
    wanted = {finding.library for finding in findings if not finding.warning}
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], None] = {}
    for member in sorted(elves, key=lambda each: (each not in blamed, not is_root(each, elves[each]), each)):
        kind = "root" if is_root(member, elves[member]) else "inside"
        nodes[member] = Node(member, basename(member), kind, member in blamed)
        for name in elves[member].needed:
            for target in look.graph.edges[member].get(name, ()):
                edges[member, target] = None
            if name in look.graph.unresolved[member] or name not in look.graph.edges[member]:
                # No member is called that: a member's name is never empty before the colon.
                outside = f":{name}"
                kind = "missing" if name in missing else "system"
                nodes.setdefault(outside, Node(outside, name, kind, name in wanted))
                edges[member, outside] = None
    kept = dict(list(nodes.items())[:_MOST_NODES])
    drawn = [(start, end) for start, end in edges if start in kept and end in kept and start != end]
    return _Picture(kept, drawn, len(nodes) - len(kept))


def _layers(picture: _Picture) -> list[list[str]]:
    """Each box one layer behind the last of those that lead to it (longest path); circles are cut where they close."""
    forward: defaultdict[str, list[str]] = defaultdict(list)
    for start, end in picture.edges:
        forward[start].append(end)
    order: list[str] = []
    state: dict[str, bool] = {}  # being visited, or done
    back: set[tuple[str, str]] = set()
    for root in picture.nodes:
        stack = [(root, iter(forward[root]))] if root not in state else []
        if stack:
            state[root] = True
        while stack:
            name, ends = stack[-1]
            end = next(ends, "")
            if not end:
                state[name] = False
                order.append(name)
                stack.pop()
            elif end not in state:
                state[end] = True
                stack.append((end, iter(forward[end])))
            elif state[end]:
                back.add((name, end))
    depth = dict.fromkeys(picture.nodes, 0)
    for name in reversed(order):
        for end in forward[name]:
            if (name, end) not in back:
                depth[end] = max(depth[end], depth[name] + 1)
    last = max(depth.values())
    outside = [name for name in picture.nodes if picture.nodes[name].kind in ("system", "missing")]
    depth.update(dict.fromkeys(outside, last))  # the machine's own, in one column
    layers: list[list[str]] = [[] for _ in range(last + 1)]
    for name in picture.nodes:
        layers[depth[name]].append(name)
    return _untangled([layer for layer in layers if layer], picture)


def _untangled(layers: list[list[str]], picture: _Picture) -> list[list[str]]:
    """Each layer sorted by where the boxes stand, on average, that lead to each of its own (barycentre)."""
    rows = {name: float(row) for layer in layers for row, name in enumerate(layer)}
    before: defaultdict[str, list[str]] = defaultdict(list)
    for start, end in picture.edges:
        before[end].append(start)
    for layer in layers[1:]:
        means = {
            name: sum(rows[each] for each in before[name]) / len(before[name]) if before[name] else rows[name]
            for name in layer
        }
        layer.sort(key=lambda name: means[name])
        rows.update((name, float(row)) for row, name in enumerate(layer))
    return layers


class _Place(NamedTuple):
    x: int
    y: int
    width: int


def _places(layers: Sequence[Sequence[str]], picture: _Picture) -> tuple[dict[str, _Place], list[int]]:
    places: dict[str, _Place] = {}
    widths: list[int] = []
    x = _MARGIN
    tallest = max(map(len, layers))
    for layer in layers:
        width = int(max(len(_label(picture.nodes[name])) for name in layer) * _LETTER) + 20
        top = _MARGIN + (tallest - len(layer)) * _ROW // 2
        places.update((name, _Place(x, top + row * _ROW, width)) for row, name in enumerate(layer))
        widths.append(width)
        x += width + _GAP
    return places, widths


def _label(node: Node) -> str:
    label = one_line(node.label)
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST // 2]}…{label[-_LONGEST // 2 + 1 :]}"


def _edge(start: _Place, end: _Place, node: Node) -> str:
    x1, y1 = start.x + start.width, start.y + _HEIGHT // 2
    x2, y2 = end.x, end.y + _HEIGHT // 2
    bend = max(abs(x2 - x1) // 2, 30)
    kind = f"edge {node.kind}" if node.marked else "edge"
    return f'<path class="{kind}" d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'


def _box(place: _Place, node: Node) -> str:
    title = escape(short(one_line(node.name.removeprefix(":"))))
    marked = " marked" if node.marked else ""
    return (
        f'<g class="node {node.kind}{marked}"><title>{title}</title>'
        f'<rect x="{place.x}" y="{place.y}" width="{place.width}" height="{_HEIGHT}" rx="4"/>'
        f'<text x="{place.x + 10}" y="{place.y + 16}">{escape(_label(node))}</text></g>'
    )


__all__ = ["draw_graph", "short"]
