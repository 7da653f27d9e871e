"""Loads that cannot differ are not gone through one by one: what comes out is the same as if they were."""

from __future__ import annotations

import pytest
from elf_builder import Elf, Symbol, build

from portable_backend import elf
from portable_backend.auditing import graph as module
from portable_backend.auditing.graph import Graph, plan_graph
from portable_backend.targets import Libc

pytest.importorskip("hypothesis", reason="Hypothesis is not installed")
from hypothesis import example, given, settings
from hypothesis import strategies as st

_NAMES = ("liba.so", "libb.so", "libc1.so", "libd.so", "libe.so")
_PATHS = (None, "$ORIGIN", "$ORIGIN", "$ORIGIN", "$ORIGIN/sub:$ORIGIN", "$ORIGIN/..:$ORIGIN", "/opt")

# Member → what it needs, soname, path, how it bears that, whether it is an extension module.
_Files = dict[str, tuple[tuple[str, ...], str, str, str, bool]]

_files: st.SearchStrategy[_Files] = st.dictionaries(
    st.sampled_from([f"{place}{name}" for place in ("p/", "p/sub/") for name in _NAMES]),
    st.tuples(
        st.lists(st.sampled_from((*_NAMES, "libz.so.1", "liba.so.1")), unique=True, max_size=3).map(tuple),
        st.sampled_from((*_NAMES[:2], "liba.so.1", "", "", "")),
        st.sampled_from([str(path) for path in _PATHS]),
        st.sampled_from(("rpath", "runpath")),
        st.booleans(),
    ),
    min_size=1,
    max_size=7,
)


def _elves(files: _Files) -> dict[str, elf.ElfFacts]:
    elves = {}
    for member, (needed, soname, path, kind, root) in files.items():
        stem = member.rpartition("/")[2].split(".")[0]
        symbols = [Symbol(f"PyInit_{stem}", defined=True)] if root else []
        paths = {} if path == "None" else {kind: path}
        elves[member] = elf.scan(build(Elf(needed=needed, soname=soname or None, symbols=symbols, **paths)).data)  # type: ignore[arg-type]
    return elves


def _values(graph: Graph) -> tuple[object, ...]:
    edges = {member: list(found.items()) for member, found in graph.edges.items()}
    return edges, dict(graph.unresolved), dict(graph.scopes), graph.doubles, dict(graph.starts)


@settings(max_examples=1500, deadline=None)
@given(_files, st.sampled_from(list(Libc)))
@example(
    {
        "p/liba.so": (("libb.so",), "", "$ORIGIN", "runpath", True),
        "p/libb.so": (("libz.so.1",), "", "None", "rpath", False),
    },
    Libc.GLIBC,
)
def test_what_is_not_gone_through_comes_out_the_same(files: _Files, libc: Libc) -> None:
    elves = _elves(files)
    quick = plan_graph(elves, libc)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_plain_edges", lambda *_: None)
        slow = plan_graph(elves, libc)
    assert _values(quick) == _values(slow)


def test_some_are_not_gone_through() -> None:
    files: _Files = {
        "p/liba.so": (("libb.so", "libz.so.1"), "", "$ORIGIN", "runpath", True),
        "p/libb.so": (("libd.so",), "libb.so", "$ORIGIN", "rpath", False),
        "p/libd.so": (("libb.so",), "", "$ORIGIN", "runpath", False),
    }
    elves = _elves(files)
    assert module._plain_edges(elves, Libc.GLIBC, module.Places(elves)) is not None
    files["p/sub/libb.so"] = ((), "", "None", "rpath", False)
    files["p/sub/libe.so"] = (("libb.so",), "", "$ORIGIN", "rpath", False)
    elves = _elves(files)
    assert module._plain_edges(elves, Libc.GLIBC, module.Places(elves)) is None
