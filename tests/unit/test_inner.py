"""Which backend does the building."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portable_backend.errors import InnerBackendError, SettingsError
from portable_backend.inner import KNOWN_BACKENDS, build_system, find_hooks, find_inner, own_table, read_pyproject
from portable_backend.plan import InnerBackend
from portable_backend.settings import parse_settings


def _find(requires: Any = (), settings: Any = None, **system: Any) -> InnerBackend:
    table = {"requires": list(requires), "build-backend": "portable_backend", **system}
    return find_inner({"build-system": table}, parse_settings(settings or {}, {}))


@pytest.mark.parametrize("name", sorted(KNOWN_BACKENDS))
def test_the_only_known_backend_that_is_required(name: str) -> None:
    found = _find(["portable-backend", "numpy", name])
    assert found == InnerBackend(KNOWN_BACKENDS[name], (), name)


@pytest.mark.parametrize(
    "requirement",
    [
        "Scikit_Build.Core>=0.10",
        "scikit-build-core[pyproject] ~= 0.10",
        "scikit-build-core; python_version > '3'",
        "scikit-build-core @ https://example.org/x.whl",
    ],
)
def test_requirements_are_read_as_pep_508_writes_them(requirement: str) -> None:
    assert _find([requirement]).name == "scikit_build_core.build"


def test_a_backend_that_is_required_twice_is_one() -> None:
    assert (
        _find(["setuptools>=61; python_version < '3.12'", "setuptools>=77; python_version >= '3.12'"]).kind
        == "setuptools"
    )


def test_none_and_several_are_errors_with_the_line_to_add() -> None:
    with pytest.raises(InnerBackendError) as caught:
        _find(["numpy"])
    assert 'inner-backend = "setuptools"' in str(caught.value)
    assert "build-system.requires" in str(caught.value)
    with pytest.raises(InnerBackendError) as caught:
        _find(["maturin", "setuptools"])
    assert "maturin, setuptools" in str(caught.value)
    assert 'inner-backend = "maturin"' in str(caught.value)


def test_what_is_no_requirement_is_shown() -> None:
    with pytest.raises(InnerBackendError, match="setup tools"):
        _find(["setup tools"])


@pytest.mark.parametrize(
    ("name", "reference", "kind"),
    [
        ("maturin", "maturin", "maturin"),
        ("Scikit_build_core", "scikit_build_core.build", "scikit-build-core"),
        ("setuptools.build_meta:__legacy__", "setuptools.build_meta:__legacy__", "setuptools"),
        ("poetry.core.masonry.api", "poetry.core.masonry.api", "poetry-core"),
        ("some.backend:object", "some.backend:object", None),
    ],
)
def test_a_setting_names_it_by_distribution_or_object_reference(name: str, reference: str, kind: Any) -> None:
    assert _find(["maturin", "setuptools"], {"inner-backend": name}) == InnerBackend(reference, (), kind)


def test_an_in_tree_backend_is_not_taken_for_a_known_one() -> None:
    settings = {"inner-backend": "maturin", "inner-backend-path": ["_build"]}
    assert _find(settings=settings) == InnerBackend("maturin", ("_build",), None)


@pytest.mark.parametrize("path", ["/etc", "..", "a/../../b"])
def test_in_tree_directories_are_inside_the_project(path: str) -> None:
    with pytest.raises(SettingsError, match="inside the project"):
        _find(settings={"inner-backend": "x", "inner-backend-path": [path]})


def test_it_is_never_portable_backend_itself() -> None:
    with pytest.raises(InnerBackendError, match="its own"):
        _find(["setuptools"], {"inner-backend": "portable_backend"})


def test_projects_that_declare_their_own_backend() -> None:
    assert _find(["x"], **{"build-backend": "hatchling.build"}) == InnerBackend("hatchling.build", (), "hatchling")
    in_tree = _find([], **{"build-backend": "backend", "backend-path": ["."]})
    assert in_tree == InnerBackend("backend", (".",), None)


@pytest.mark.parametrize("pyproject", [{}, {"build-system": {"requires": ["setuptools"]}}, {"project": {"name": "x"}}])
def test_projects_without_a_build_backend_key(pyproject: Any) -> None:
    assert find_inner(pyproject, parse_settings({}, {})).name == "setuptools.build_meta:__legacy__"


def test_our_own_wrapping_of_ourselves_is_inferred_too() -> None:
    assert _find(["portable-backend", "hatchling"], **{"backend-path": ["src"]}).path == ()


def test_a_pyproject_is_read_or_refused_with_its_path(tmp_path: Path) -> None:
    assert read_pyproject(tmp_path) == {}
    (tmp_path / "pyproject.toml").write_text("[build-system\n")
    with pytest.raises(SettingsError, match=r"pyproject\.toml"):
        read_pyproject(tmp_path)
    (tmp_path / "pyproject.toml").write_bytes(b"a = '\xff'\n")
    with pytest.raises(SettingsError, match=r"pyproject\.toml"):
        read_pyproject(tmp_path)


@pytest.mark.parametrize(
    "pyproject",
    [
        {"build-system": 1},
        {"build-system": {"requires": "setuptools"}},
        {"build-system": {"requires": [1]}},
        {"build-system": {"build-backend": 1}},
        {"build-system": {"backend-path": "x"}},
    ],
)
def test_a_build_system_of_wrong_types_is_refused(pyproject: Any) -> None:
    with pytest.raises(SettingsError, match="build-system"):
        build_system(pyproject)


@pytest.mark.parametrize("pyproject", [{"tool": 1}, {"tool": {"portable-backend": []}}])
def test_a_table_of_ours_that_is_none_is_refused(pyproject: Any) -> None:
    with pytest.raises(SettingsError, match="must be a table"):
        own_table(pyproject)


def test_hooks_are_found_through_noise(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text("print('noise')\nclass backend:\n    build_wheel = build_editable = print\n")
    inner = InnerBackend("noisy:backend", (".",))
    assert find_hooks(inner, tmp_path, ["build_editable", "build_sdist"]) == {"build_editable"}


def test_an_unknown_backend_is_named(tmp_path: Path) -> None:
    with pytest.raises(InnerBackendError, match=r"no_such\.backend cannot be imported: .*no_such"):
        find_hooks(InnerBackend("no_such.backend"), tmp_path, ["build_editable"])


def test_a_backend_that_cannot_be_probed_because_it_exits(tmp_path: Path) -> None:
    (tmp_path / "quits.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(InnerBackendError, match="quits"):
        find_hooks(InnerBackend("quits", (".",)), tmp_path, ["build_editable"])
