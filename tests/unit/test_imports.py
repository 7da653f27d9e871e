"""Imports point one way, pure rooms stay pure, and a frontend that imports the backend gets nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import portable_backend
from portable_backend.elf import IMPLEMENTATION, _native
from support.wheel_maker import X86_NAME, libc_extension, make_wheel

_PACKAGE = Path(portable_backend.__file__).parent
_EFFECTS = {"os", "subprocess", "zipfile", "docker", "tempfile", "shutil", "socket", "sys"}
# Pure rooms: values in, values out.
_PURE = [
    "errors",
    "records",
    "patterns",
    "settings",
    "settings_pages",
    "targets",
    "plan",
    "overrides",
    "elf",
    "elfscan",
    "elfstream",
    "elfedit",
    "policy.policy",
    "policy.cpython",
    "auditing.finding",
    "auditing.graph",
    "auditing.lookup",
    "auditing.musl",
    "auditing.stable_abi",
    "auditing.rules",
    "auditing.verdict",
    "auditing.explain",
    "auditing.facts",
    "auditing.strings",
    "auditing.callers",
    "auditing.demangle",
    "auditing.dwarf",
    "auditing.image",
    "auditing.lines",
    "auditing.more_uses",
    "auditing.units",
    "auditing.uses",
    "auditing.linkmap",
    "auditing.steps",
    "repairing.inner_sboms",
    "repairing.plan",
    "wheels.inflating",
    "completion",
    "describing",
    "doctor.check",
    "doctor.cures",
    "manual",
    "report.colour",
    "report.doctor",
    "report.github",
    "report.text",
    "report.data",
    "report.adopting",
    "adopting.undoing",
    "adopting.cibuildwheel",
    "adopting.github",
    "report.release",
    "releasing.plan",
    "report.explained",
    "report.changes",
    "report.drawing",
    "report.page",
    "strategies.base",
    "strategies.cross_facts",
    "strategies.container.images",
    "strategies.container.wire",
]
# Who may import whom: a room may use its own layer's other rooms and every layer below.
_LAYERS = (
    {"errors", "interrupts", "records", "patterns", "signs"},
    {"targets", "elfscan", "elfedit"},
    {"policy", "elf", "elfstream", "settings", "settings_pages", "settings_schema", "_native", "describing", "manual"},
    {
        "wheels",
        "plan",
        "overrides",
        "inner",
        "interpreters",
        "machine",
        "sources",
        "environments",
        "strategies",
        "auditing",
    },
    {"repairing", "doctor"},
    {"report"},
    {"pipeline", "explaining"},
    {"frontend", "worker", "adopting"},
    {"releasing"},
    {"completion", "hooks", "cli", "api"},
    {"__main__"},
)


def _modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(_PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(_PACKAGE.rglob("*.py"))
        if path != _PACKAGE / "__init__.py"
    }


def _imports(path: Path, with_types: bool) -> Iterator[str]:
    """Modules that a file imports, wherever it does; ours as ``.room.module``, those of others by their first part."""
    package = path.relative_to(_PACKAGE).parts[:-1]

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and not with_types:
            return
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{stem}.{alias.name}" if stem else alias.name
                yield f".{full if full in _modules() else stem}"
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def _room(module: str) -> str:
    return module.lstrip(".").partition(".")[0]


@pytest.mark.parametrize("module", _PURE)
def test_pure_rooms_import_no_effects(module: str) -> None:
    assert not _EFFECTS.intersection(_imports(_modules()[module], with_types=False))


def test_zipfile_is_used_by_nobody_and_docker_by_the_container_only() -> None:
    users = {name: set(_imports(path, with_types=False)) for name, path in _modules().items()}
    assert [name for name, imported in users.items() if "zipfile" in imported] == []
    assert {name for name, imported in users.items() if "docker" in imported} <= {"strategies.container.engine"}


def test_imports_point_one_way() -> None:
    level = {room: number for number, rooms in enumerate(_LAYERS) for room in rooms}
    wrong = [
        f"{module} imports {imported}"
        for module, path in _modules().items()
        for imported in _imports(path, with_types=False)
        if imported.startswith(".") and _room(imported) and level[_room(imported)] > level[_room(module)]
    ]
    assert wrong == []


def test_there_are_no_cycles() -> None:
    names = _modules()
    graph = {
        name: {each[1:] for each in _imports(path, with_types=False) if each.startswith(".") and each[1:] in names}
        for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join([*trail, name])
        if name not in done:
            for other in graph[name] - {name}:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_strategies_know_nothing_of_each_other() -> None:
    ways = ("host", "zig", "container")
    for module, path in _modules().items():
        own = next((way for way in ways if module.startswith(f"strategies.{way}")), None)
        others = [f".strategies.{way}" for way in ways if way != own]
        if own is not None:
            assert not [each for each in _imports(path, with_types=True) if each.startswith(tuple(others))], module


def test_importing_the_backend_imports_nothing_that_takes_time() -> None:
    code = "import sys; before = set(sys.modules); import portable_backend; print(*sorted(set(sys.modules) - before))"
    environ = {"PYTHONPATH": str(_PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"portable_backend", "__future__"}


def test_an_attribute_that_no_backend_has_costs_no_import_either() -> None:
    code = "import sys, portable_backend as b; hasattr(b, 'invented'); print('portable_backend.hooks' in sys.modules)"
    environ = {"PYTHONPATH": str(_PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# What takes a millisecond or more to import, and what imports such; sha256 is hashlib's where ours is not as fast.
_SLOW = {
    *("argparse", "csv", "dataclasses", "gettext", "inspect", "json", "locale", "packaging", "pathlib", "queue"),
    *("shutil", "subprocess", "tempfile", "typing", "urllib"),
    *(("hashlib", "_hashlib") if IMPLEMENTATION == "native" and _native.hashes_fast() else ()),
}
# pathlib brings urllib along in older interpreters.
_REPAIR_TAKES = {"pathlib", "queue", "urllib"}


@pytest.mark.parametrize("line", ["audit WHEEL", "show -v WHEEL", "repair -w OUT WHEEL"])
def test_a_command_imports_nothing_that_takes_long(line: str, tmp_path: Path) -> None:
    """Half of what an audit of a small wheel takes are imports."""
    members = {"ext.cpython-311-x86_64-linux-gnu.so": libc_extension()}
    wheel = make_wheel(tmp_path / X86_NAME, members)
    arguments = [{"WHEEL": str(wheel), "OUT": str(tmp_path / "out")}.get(word, word) for word in line.split()]
    code = (
        "import sys; before = set(sys.modules); from portable_backend.cli import main; main(sys.argv[1:]);"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    command = [sys.executable, "-S", "-c", code, *arguments]
    environ = {"PYTHONPATH": str(_PACKAGE.parent)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    imported = set(done.stderr.splitlines()[-1].split())
    assert "portable_backend.auditing.read" in imported
    assert imported & _SLOW <= (_REPAIR_TAKES if line.startswith("repair") else set())
