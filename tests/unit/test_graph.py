"""Which file of a wheel loads which, as the dynamic loader would find out."""

from __future__ import annotations

import pytest
from wheel_maker import extension, shared

from portable_backend import elf
from portable_backend.auditing.facts import installed_path, is_script, root_of
from portable_backend.auditing.graph import Graph, entry_inside, is_extension_module, is_root, partition, plan_graph
from portable_backend.targets import Libc


def graph(**files: bytes) -> Graph:
    """The graph of files whose names have ``__`` for each slash and no ending."""
    return plan_graph({name.replace("__", "/") + ".so": elf.scan(data) for name, data in files.items()})


def test_shared_library_found_by_runpath() -> None:
    found = graph(p__ext=extension("ext", needed=["a.so"], runpath="$ORIGIN/lib"), p__lib__a=shared(soname="a.so"))
    assert found.edges["p/ext.so"] == {"a.so": ("p/lib/a.so",)}
    assert found.unresolved["p/ext.so"] == ()
    assert found.scopes["p/lib/a.so"] == {"p/ext.so", "p/lib/a.so"}


def test_runpath_is_not_inherited() -> None:
    files = {"p__lib__a": shared(soname="a.so", needed=["b.so"]), "p__lib__b": shared(soname="b.so")}
    inherited = graph(p__ext=extension("ext", needed=["a.so"], rpath="$ORIGIN/lib"), **files)
    assert inherited.unresolved["p/lib/a.so"] == ()
    own = graph(p__ext=extension("ext", needed=["a.so"], runpath="$ORIGIN/lib"), **files)
    assert own.unresolved["p/lib/a.so"] == ("b.so",)


def test_library_at_the_top_brings_others_along() -> None:
    """Opened with ctypes, it is no extension module; its rpath serves what it needs all the same."""
    files = {"p__top": shared(soname="top.so", needed=["a.so"], rpath="$ORIGIN/lib")}
    files["p__lib__a"] = shared(soname="a.so", needed=["b.so"])
    files["p__lib__b"] = shared(soname="b.so")
    found = graph(**files)
    assert [found.unresolved[name] for name in found.unresolved] == [(), (), ()]
    assert found.scopes["p/lib/b.so"] == {"p/top.so", "p/lib/a.so", "p/lib/b.so"}
    files["p__top"] = shared(soname="top.so", needed=["a.so"], runpath="$ORIGIN/lib")
    assert graph(**files).unresolved["p/lib/a.so"] == ("b.so",)
    ring = graph(
        p__a=shared(soname="a.so", needed=["b.so", "c.so"], runpath="$ORIGIN"),
        p__b=shared(soname="b.so", needed=["a.so", "d.so"], runpath="$ORIGIN"),
    )
    assert ring.unresolved == {"p/a.so": ("c.so",), "p/b.so": ("d.so",)}


def test_musl_inherits_every_path_and_knows_no_sonames() -> None:
    files = {
        "p/ext.so": extension("ext", needed=["a.so", "x.so"], runpath="$ORIGIN/lib"),
        "p/lib/a.so": shared(soname="a.so", needed=["b.so"], runpath="$ORIGIN/none"),
        "p/lib/b.so": shared(soname="x.so"),
    }
    elves = {name: elf.scan(data) for name, data in files.items()}
    assert plan_graph(elves, Libc.MUSL).unresolved == {"p/ext.so": ("x.so",), "p/lib/a.so": (), "p/lib/b.so": ()}
    assert plan_graph(elves).unresolved["p/lib/a.so"] == ("b.so",)


def test_runpath_disables_rpath() -> None:
    """Of the file itself, and what it would inherit."""
    both = extension("ext", needed=["a.so"], rpath="$ORIGIN/lib", runpath="$ORIGIN")
    assert graph(p__ext=both, p__lib__a=shared(soname="a.so")).unresolved["p/ext.so"] == ("a.so",)
    files = {"p__lib__a": shared(soname="a.so", needed=["b.so"], runpath="/opt"), "p__lib__b": shared(soname="b.so")}
    found = graph(p__ext=extension("ext", needed=["a.so"], rpath="$ORIGIN/lib"), **files)
    assert found.unresolved["p/lib/a.so"] == ("b.so",)


def test_library_that_is_loaded_already_is_found_by_its_soname() -> None:
    files = {
        "p__lib__a": shared(soname="a.so"),
        "p__b": shared(soname="b.so", needed=["a.so"]),
    }
    found = graph(p__ext=extension("ext", needed=["a.so", "b.so"], runpath="$ORIGIN/lib:$ORIGIN"), **files)
    assert found.edges["p/b.so"] == {"a.so": ("p/lib/a.so",)}
    assert found.unresolved["p/b.so"] == ()


def test_order_of_loading_decides() -> None:
    """Breadth first: what the root needs itself is there before what its libraries need."""
    files = {
        "p__one__a": shared(soname="a.so"),
        "p__two__a": shared(soname="a.so"),
        "p__b": shared(soname="b.so", needed=["a.so"], runpath="$ORIGIN/two"),
    }
    found = graph(p__ext=extension("ext", needed=["b.so", "a.so"], runpath="$ORIGIN/one:$ORIGIN"), **files)
    assert found.edges["p/b.so"] == {"a.so": ("p/one/a.so",)}


def test_one_soname_and_two_files() -> None:
    files = {"p__one__a": shared(soname="a.so"), "p__two__a": shared(soname="a.so")}
    files["p__c"] = shared(soname="c.so", needed=["a.so"])
    roots = {
        f"p__{name}": extension(name, needed=["a.so", "c.so"], runpath=f"$ORIGIN/{name}:$ORIGIN")
        for name in ("one", "two")
    }
    found = graph(**roots, **files)
    assert found.edges["p/one.so"] == {"a.so": ("p/one/a.so",), "c.so": ("p/c.so",)}
    assert found.edges["p/two.so"]["a.so"] == ("p/two/a.so",)
    assert set(found.edges["p/c.so"]["a.so"]) == {"p/one/a.so", "p/two/a.so"}
    assert "p/two/a.so" not in found.scopes["p/one.so"]


def test_two_files_of_one_soname_in_one_load() -> None:
    """The one that is loaded first serves all; the other one is named, too."""
    files = {
        "p__one__a": shared(soname="a.so"),
        "p__two__a": shared(soname="a.so"),
        "p__two__other": shared(soname="a.so"),
        "p__b": shared(soname="b.so", needed=["a.so"], runpath="$ORIGIN/two"),
        "p__c": shared(soname="c.so", needed=["other.so"], runpath="$ORIGIN/two"),
    }
    found = graph(p__ext=extension("ext", needed=["a.so", "b.so", "c.so"], runpath="$ORIGIN/one:$ORIGIN"), **files)
    assert found.edges["p/b.so"] == {"a.so": ("p/one/a.so",)}
    assert found.doubles == (("a.so", "p/one/a.so", "p/two/a.so"), ("a.so", "p/one/a.so", "p/two/other.so"))
    alone = graph(p__ext=extension("ext", needed=["b.so"], runpath="$ORIGIN"), **files)
    assert ("a.so", "p/one/a.so", "p/two/a.so") not in alone.doubles


def test_equal_nodes_of_a_graph() -> None:
    """Nodes are equal where no walk along edges tells them apart, circles or not."""
    kinds = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "b3": "b", "c": "c"}
    edges = {
        "a1": {"x": "b1"}, "a2": {"x": "b2"}, "b1": {"y": "a1"}, "b2": {"y": "a2"}, "b3": {"y": "outside"}, "c": {},
    }  # fmt: skip
    found = partition(kinds, edges)
    assert found["a1"] == found["a2"]
    assert found["b1"] == found["b2"] != found["b3"]
    told = partition(kinds, {**edges, "b2": {"y": "a2", "z": None}})
    assert told["a1"] != told["a2"]
    chain = {number: {"next": number + 1} for number in range(300)}
    assert len(set(partition(dict.fromkeys(chain, "same"), {**chain}).values())) == 300


def test_extension_without_soname_is_no_library() -> None:
    """Python loads it by its path, under which nobody needs it."""
    files = {"p__ext": extension("ext", needed=["a.so"], runpath="$ORIGIN"), "p__a": shared(needed=["ext.so"])}
    assert graph(**files).unresolved["p/a.so"] == ("ext.so",)


def test_circle() -> None:
    found = graph(
        p__ext=extension("ext", needed=["a.so"], runpath="$ORIGIN"),
        p__a=shared(soname="a.so", needed=["b.so"], runpath="$ORIGIN"),
        p__b=shared(soname="b.so", needed=["a.so", "b.so"], runpath="$ORIGIN"),
    )
    assert found.unresolved == {"p/ext.so": (), "p/a.so": (), "p/b.so": ()}


def test_library_that_nothing_needs() -> None:
    """Somebody may open it by its path: it is judged on its own."""
    found = graph(p__ext=extension("ext"), p__plugin=shared(needed=["a.so"], runpath="$ORIGIN"), p__a=shared())
    assert found.edges["p/plugin.so"] == {"a.so": ("p/a.so",)}
    assert found.scopes["p/plugin.so"] == {"p/plugin.so", "p/a.so"}


def test_long_chain() -> None:
    count = 1000
    files = {f"p__l{n}": shared(needed=[f"l{n + 1}.so"], runpath="$ORIGIN") for n in range(count)}
    files[f"p__l{count}"] = shared()
    files["p__ext"] = extension("ext", needed=["l0.so"], runpath="$ORIGIN")
    found = graph(**files)
    assert not any(found.unresolved.values())
    assert len(found.scopes["p/ext.so"]) == count + 2


@pytest.mark.parametrize(
    ("entry", "member", "expected"),
    [
        ("$ORIGIN", "p/ext.so", "p"),
        ("$ORIGIN/", "p/ext.so", "p"),
        ("${ORIGIN}/lib", "p/ext.so", "p/lib"),
        ("$ORIGIN/..", "p/ext.so", "."),
        ("$ORIGIN/../p.libs", "p/ext.so", "p.libs"),
        ("$ORIGIN", "ext.so", "."),
        ("$ORIGIN/lib", "ext.so", "lib"),
        ("$ORIGIN/../..", "p/ext.so", None),
        ("$ORIGIN/../../site-packages/p", "p/ext.so", None),
        ("$ORIGIN/..", "ext.so", None),
        ("$ORIGINAL", "p/ext.so", None),
        ("$ORIGIN/$LIB", "p/ext.so", None),
        ("$ORIGIN/${PLATFORM}", "p/ext.so", None),
        ("lib", "p/ext.so", None),
        (".", "p/ext.so", None),
        ("", "p/ext.so", None),
        ("/usr/lib", "p/ext.so", None),
        ("/$ORIGIN", "p/ext.so", None),
        ("$ORIGIN/../lib", "d.data/scripts/tool", "<data>/lib"),
        ("$ORIGIN/../../lib", "d.data/scripts/tool", None),
        ("$ORIGIN/../p", "d.data/data/lib.so", None),
        ("$ORIGIN", "d.data/platlib/p/ext.so", "p"),
        ("$ORIGIN/..", "d.data/headers/p/ext.so", "<headers>"),
        ("$ORIGIN/../..", "d.data/headers/p/ext.so", None),
    ],
)
def test_entries_of_an_rpath(entry: str, member: str, expected: str) -> None:
    assert entry_inside(entry, member) == expected


@pytest.mark.parametrize(
    ("member", "installed", "root"),
    [
        ("p/ext.so", "p/ext.so", ""),
        ("ext.so", "ext.so", ""),
        ("d.data/platlib/p/ext.so", "p/ext.so", ""),
        ("d.data/purelib/ext.so", "ext.so", ""),
        ("d.data/scripts/tool", "<data>/bin/tool", "<data>/"),
        ("d.data/data/lib/a.so", "<data>/lib/a.so", "<data>/"),
        ("d.data/include/x", "<include>/x", "<include>/"),
        ("p.data/x", "p.data/x", ""),
    ],
)
def test_where_members_go(member: str, installed: str, root: str) -> None:
    assert installed_path(member) == installed
    assert root_of(installed) == root


def test_scripts() -> None:
    assert is_script("d.data/scripts/tool")
    assert not is_script("d/scripts/tool")
    assert not is_script("d.data/scripts/below/tool")


@pytest.mark.parametrize(
    ("member", "symbol", "expected"),
    [
        ("p/ext.cpython-311-x86_64-linux-gnu.so", "PyInit_ext", True),
        ("p/ext.abi3.so", "PyInit_ext", True),
        ("p/ext.so", "PyModExport_ext", True),
        ("p/\u6587.so", "PyInitU_dxr", True),
        ("p/ext.so", "initext", True),
        ("p/ext.pypy310-pp73-x86_64-linux-gnu.so", "_cffi_pypyinit_ext", True),
        ("p/other.so", "initext", False),
        ("p/libext.so", "ext_init", False),
    ],
)
def test_extension_modules(member: str, symbol: str, expected: bool) -> None:
    facts = elf.scan(shared(exports=[symbol]))
    assert is_extension_module(member, facts) == expected
    assert is_root(member, facts) == expected


def test_executables_are_roots() -> None:
    assert is_root("p/tool", elf.scan(shared(interpreter="/lib64/ld-linux-x86-64.so.2")))
