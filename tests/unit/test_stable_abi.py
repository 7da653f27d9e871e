"""A stable ABI tag is a promise about every later interpreter: what keeps it, what breaks it, and what is told then."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Optional, cast

import pytest
from wheel_maker import (
    MACHINE,
    compile_extension,
    environment,
    extension,
    libc_extension,
    make_wheel,
    run_command,
    shared,
)

from portable_backend import audit, repair
from portable_backend.auditing.explain import line_of
from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.stable_abi import find_claim
from portable_backend.auditing.verdict import KINDS, Finding, JudgeOptions, Verdict
from portable_backend.errors import NotCompliant
from portable_backend.pipeline import repair_options
from portable_backend.plan import BuildPlan
from portable_backend.policy.cpython import newest_known_python, stable_symbol, stable_symbols
from portable_backend.settings import parse_settings

ABI3 = "demo-1.0-cp39-abi3-manylinux_2_17_x86_64.whl"
ABI3T = "demo-1.0-cp315-abi3.abi3t-manylinux_2_17_x86_64.whl"


def judged(directory: Path, files: Mapping[str, bytes], name: str = ABI3, check: bool = True) -> Verdict:
    verdict = read_verdict(make_wheel(directory, files, name), JudgeOptions(abi3_check=check))
    assert {finding.kind for finding in verdict.findings} <= set(KINDS)
    return verdict


def found(verdict: Verdict, kind: str = "stable-abi", warning: bool = False) -> list[Finding]:
    return [each for each in verdict.findings if each.kind == kind and each.warning == warning]


def using(*names: str, module: str = "ext", **parts: object) -> bytes:
    return libc_extension(module=module, undefined=names, **parts)


# --- symbols -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "python", "since"),
    [
        ("PyList_New", "cp32", None),  # a function that was there from the beginning
        ("PyLong_Type", "cp32", None),  # an object
        ("_Py_NoneStruct", "cp32", None),  # private, and behind a macro of the limited API
        ("_PyArg_ParseTuple_SizeT", "cp39", None),
        ("PyUnicode_AsUTF8AndSize", "cp39", "3.10"),
        ("PyUnicode_AsUTF8AndSize", "cp310", None),
        ("PyType_GetName", "cp310", "3.11"),
        ("_Py_SetRefcnt", "cp312", "3.13"),
        ("PyStructSequence_UnnamedField", "cp310", "3.11"),  # an object that came late
        ("PyOS_AfterFork_Child", "cp37", None),  # where there is fork()
        ("PyThread_get_thread_native_id", "cp39", None),
    ],
)
def test_symbols_by_version(symbol: str, python: str, since: Optional[str], tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.abi3.so": using(symbol)}, ABI3.replace("cp39", python))
    if since is None:
        assert verdict.findings == ()
        assert verdict.compliant
        return
    (finding,) = verdict.findings
    assert (finding.kind, finding.member, finding.symbol) == ("stable-abi", "demo/ext.abi3.so", symbol)
    assert f"since {since}" in finding.message
    assert finding.cure is not None
    assert f"cp{since.replace('.', '')}-abi3" in finding.cure
    assert not verdict.compliant


@pytest.mark.parametrize("symbol", ["_PyLong_Sign", "PyFrame_GetBack", "_PyThreadState_UncheckedGet", "Py_Invented"])
def test_symbols_of_no_stable_abi(symbol: str, tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.abi3.so": using(symbol)})
    (finding,) = verdict.findings
    assert (finding.symbol, verdict.compliant) == (symbol, False)
    assert "not in the stable ABI" in finding.message
    assert finding.cure is not None
    assert "no stable ABI tag is true" in finding.cure


@pytest.mark.parametrize(
    ("symbol", "where"), [("PyErr_SetFromWindowsErr", "on Windows"), ("_Py_NegativeRefcount", "with Py_REF_DEBUG")]
)
def test_symbols_of_other_builds(symbol: str, where: str, tmp_path: Path) -> None:
    (finding,) = judged(tmp_path, {"demo/ext.abi3.so": using(symbol)}).findings
    assert where in finding.message


def test_the_platform_policy_is_another_matter(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.abi3.so": using("_PyLong_Sign")})
    assert verdict.policy_name == "manylinux_2_5_x86_64"
    assert verdict.false_claims == ()
    assert verdict.policy is not None
    assert verdict.blockers(verdict.policy) == ()
    assert "manylinux" not in line_of(verdict.findings[0])


def test_the_lowest_true_tag_is_that_of_the_newest_symbol(tmp_path: Path) -> None:
    files = {
        "demo/one.abi3.so": using("PyType_GetName", module="one"),
        "demo/two.abi3.so": using("PyUnicode_AsUTF8AndSize", "PyLong_AsInt", module="two"),
    }
    findings = judged(tmp_path, files).findings
    assert [finding.symbol for finding in findings] == ["PyType_GetName", "PyLong_AsInt", "PyUnicode_AsUTF8AndSize"]
    assert {finding.cure for finding in findings} == {findings[0].cure}
    assert "cp313-abi3" in str(findings[0].cure)
    assert judged(tmp_path / "true", files, ABI3.replace("cp39", "cp313")).findings == ()


def test_of_several_python_tags_the_lowest_counts(tmp_path: Path) -> None:
    name = ABI3.replace("cp39", "cp39.cp310.cp311")
    assert found(judged(tmp_path, {"demo/ext.abi3.so": using("PyType_GetName")}, name))


def test_a_weak_symbol_asks_the_interpreter_what_it_has(tmp_path: Path) -> None:
    later = libc_extension(weak=["PyType_GetName"])
    assert judged(tmp_path / "later", {"demo/ext.abi3.so": later}).findings == ()
    private = judged(tmp_path / "private", {"demo/ext.abi3.so": libc_extension(weak=["_PyLong_Sign"])})
    assert [finding.symbol for finding in found(private, warning=True)] == ["_PyLong_Sign"]
    assert private.compliant


def test_symbols_that_the_wheel_itself_has(tmp_path: Path) -> None:
    """A name is no proof: projects call their own functions PySomething, too."""
    own = libc_extension(undefined=["PyDemo_Helper"], needed=["libhelp.so"], rpath="$ORIGIN")
    files = {"demo/ext.abi3.so": own, "demo/libhelp.so": shared(exports=["PyDemo_Helper"], soname="libhelp.so")}
    assert found(judged(tmp_path, files)) == []
    itself = libc_extension(exports=["PyErr_SetFromOSErrnoWithSyscall"], undefined=["PyErr_SetFromOSErrnoWithSyscall"])
    assert found(judged(tmp_path / "itself", {"demo/ext.abi3.so": itself})) == []
    assert found(judged(tmp_path / "none", {"demo/ext.abi3.so": files["demo/ext.abi3.so"]}), warning=True)


def test_a_library_that_the_wheel_brings_is_loaded_by_the_same_interpreters(tmp_path: Path) -> None:
    library = shared(undefined=["_PyLong_Sign"], soname="libhelp.so")
    files = {"demo/ext.abi3.so": libc_extension(needed=["libhelp.so"], rpath="$ORIGIN"), "demo/libhelp.so": library}
    assert [finding.member for finding in found(judged(tmp_path, files))] == ["demo/libhelp.so"]


def test_names_that_only_look_like_the_interpreters(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.abi3.so": using("PyInit_other", "PythonicFunction")})
    assert found(verdict) == []


def test_an_executable_is_no_extension_module(tmp_path: Path) -> None:
    program = shared(needed=["libc.so.6"], undefined=["_PyLong_Sign"], interpreter="/lib64/ld-linux-x86-64.so.2")
    files = {"demo/ext.abi3.so": libc_extension(), "demo/program": program}
    assert found(judged(tmp_path, files)) == []


@pytest.mark.parametrize("tags", ["cp311-cp311", "py3-none", "pp39-abi3", "cp313-cp313t"])
def test_other_tags_promise_nothing_of_the_kind(tags: str, tmp_path: Path) -> None:
    name = ABI3.replace("cp39-abi3", tags)
    assert judged(tmp_path, {"demo/ext.abi3.so": using("_PyLong_Sign")}, name).findings == ()


@pytest.mark.parametrize(
    ("python", "abi", "minimum"),
    [
        ("cp39", "abi3", (3, 9)),
        ("cp312.cp311", "abi3", (3, 11)),
        ("py3", "abi3", (3, 2)),
        ("cp3", "abi3", (3, 2)),
        ("cp31", "abi3", (3, 2)),
        ("py39.cp310", "abi3", (3, 9)),
        ("cp315", "abi3.abi3t", (3, 15)),
        ("cp316", "abi3t", (3, 16)),
        ("cp39", "cp39", None),
        ("cp2", "abi3", None),
        ("cp39999", "abi3", None),
        ("", "abi3", None),
    ],
)
def test_what_tags_promise(python: str, abi: str, minimum: Optional[tuple[int, int]]) -> None:
    claim = find_claim(python, abi)
    assert (None if claim is None else claim.minimum) == minimum


def test_the_check_can_be_waived(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.cpython-39-x86_64-linux-gnu.so": using("_PyLong_Sign")}, check=False)
    assert verdict.findings == ()
    assert verdict.compliant


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        (ABI3, ["ext.so"], None),
        (ABI3, ["ext.abi3.so"], None),
        (ABI3, ["ext.cpython-39-x86_64-linux-gnu.so"], "CPython 3.9 only"),
        (ABI3, ["ext.cpython-313t-x86_64-linux-gnu.so"], "CPython 3.13t only"),
        (ABI3, ["ext.pypy39-pp73-x86_64-linux-gnu.so"], "pypy39"),
        (ABI3, ["ext.abi3t.so"], "before 3.15"),
        # another file, or the module in Python, is there for the other interpreters
        (ABI3, ["ext.cpython-39-x86_64-linux-gnu.so", "ext.abi3.so"], None),
        (ABI3, ["ext.cpython-39-x86_64-linux-gnu.so", "ext.py"], None),
        (ABI3, ["ext.cpython-39-x86_64-linux-gnu.so", "ext/__init__.py"], None),
        (ABI3, ["ext.cpython-39-x86_64-linux-gnu.so", "other.abi3.so"], "CPython 3.9 only"),
        (ABI3T, ["ext.so"], None),
        (ABI3T, ["ext.abi3t.so"], None),
        (ABI3T, ["ext.abi3t-x86_64-linux-musl.so"], None),
        (ABI3, ["ext.abi3-x86_64-linux-gnu.so"], "abi3-x86_64-linux-gnu"),
        (ABI3T, ["ext.abi3t.so", "ext.abi3.so"], None),
        (ABI3T, ["ext.abi3.so"], "free-threaded"),
        (ABI3T.replace("abi3.abi3t", "abi3t"), ["ext.abi3.so"], "free-threaded"),
        (ABI3T.replace("abi3.abi3t", "abi3t"), ["ext.abi3t.so"], None),
        (ABI3T.replace("abi3.abi3t", "abi3"), ["ext.abi3t.so"], None),
    ],
)
def test_names_that_interpreters_look_for(name: str, files: list[str], says: Optional[str], tmp_path: Path) -> None:
    data = extension(exports=["PyModExport_ext"])
    verdict = judged(tmp_path, {f"demo/{each}": data if each.endswith(".so") else b"" for each in files}, name)
    messages = [finding.message for finding in found(verdict, "extension-name")]
    assert len(messages) == (0 if says is None else 1)
    assert verdict.compliant == (says is None)
    if says is not None:
        assert says in messages[0]
        assert verdict.findings[0].cure


def test_a_module_for_one_interpreter_promises_only_that_one(tmp_path: Path) -> None:
    files = {
        "demo/ext.cpython-39-x86_64-linux-gnu.so": using("_PyLong_Sign"),
        "demo/ext.abi3.so": libc_extension(),
    }
    assert judged(tmp_path, files).findings == ()


def test_the_data_directory_lands_among_the_packages(tmp_path: Path) -> None:
    files = {
        "demo-1.0.data/platlib/demo/ext.cpython-39-x86_64-linux-gnu.so": libc_extension(),
        "demo/ext.py": b"",
    }
    assert judged(tmp_path, files).findings == ()


# --- entry points, and the stable ABI of free-threaded builds ------------------------------------------------------


def test_an_entry_point_that_older_interpreters_do_not_know(tmp_path: Path) -> None:
    new = shared(needed=["libc.so.6"], exports=["PyModExport_ext"])
    (finding,) = judged(tmp_path, {"demo/ext.abi3.so": new}).findings
    assert (finding.kind, finding.symbol) == ("stable-abi", "PyModExport_ext")
    both = extension(exports=["PyModExport_ext"])
    assert judged(tmp_path / "both", {"demo/ext.abi3.so": both}).findings == ()
    assert judged(tmp_path / "new", {"demo/ext.abi3.so": new}, ABI3.replace("cp39", "cp315")).findings == ()


def test_a_module_definition_is_no_part_of_the_free_threaded_abi(tmp_path: Path) -> None:
    old = extension(undefined=["PyModuleDef_Init"])
    (finding,) = judged(tmp_path, {"demo/ext.abi3t.so": old}, ABI3T).findings
    assert (finding.kind, finding.symbol) == ("stable-abi", "PyModuleDef_Init")
    assert "PyModExport" in str(finding.cure)
    assert judged(tmp_path / "abi3", {"demo/ext.abi3.so": old}, ABI3T.replace(".abi3t", "")).findings == ()
    both = extension(undefined=["PyModuleDef_Init"], exports=["PyModExport_ext"])
    assert judged(tmp_path / "both", {"demo/ext.abi3t.so": both}, ABI3T).findings == ()


def test_a_file_for_3_15_may_use_3_15_in_an_older_wheel(tmp_path: Path) -> None:
    files = {
        "demo/ext.abi3.so": libc_extension(),
        "demo/ext.abi3t.so": using("Py_IS_TYPE", exports=["PyModExport_ext"]),
    }
    assert judged(tmp_path, files, ABI3).findings == ()


# --- what users see ----------------------------------------------------------------------------------------------


def test_a_repair_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "raw", {"demo/ext.abi3.so": using("PyType_GetName")}, ABI3)
    out = tmp_path / "out"
    done = run_command("repair", wheel, "-w", out)
    assert done.returncode == 1, done.stderr
    for word in ("ext.abi3.so", "PyType_GetName", "3.11", "cp311-abi3", "abi3-check"):
        assert word in done.stderr
    assert not out.exists() or list(out.iterdir()) == []
    waived = run_command("repair", "--disable-abi3-check", wheel, "-w", out)
    assert waived.returncode == 0, waived.stderr


def test_an_audit_tells_the_abi_tag_from_the_platform_tag(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"demo/ext.abi3.so": using("PyType_GetName")}, ABI3)
    done = run_command("audit", wheel)
    assert done.returncode == 1
    assert "ABI tag untrue" in done.stdout
    assert "what keeps it from" not in done.stdout


def test_settings_and_python_interface_waive_it_too(tmp_path: Path) -> None:
    settings = parse_settings({"abi3-check": False}, {}, None)
    plan = cast(BuildPlan, SimpleNamespace(target=None))
    assert not repair_options(settings, plan).judge.abi3_check
    assert repair_options(parse_settings({}, {}, None), plan).judge.abi3_check
    wheel = make_wheel(tmp_path, {"demo/ext.abi3.so": using("PyType_GetName")}, ABI3)
    assert not audit(wheel).compliant
    assert audit(wheel, abi3_check=False).compliant
    with pytest.raises(NotCompliant, match="cp311-abi3"):
        repair(wheel, tmp_path / "out")
    assert repair(wheel, tmp_path / "out", abi3_check=False).path.exists()


# --- the data, and the real thing --------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="the list is read for Linux")
def test_this_interpreter_has_all_that_the_data_say() -> None:
    here = sys.version_info[:2]
    due = stable_symbols(here)
    assert len(due) > 700
    # In 3.9 it is a macro only; the headers of every version make it one, too.
    gaps = {"PyCFunction_New"} if here == (3, 9) else set()
    assert {name for name in due if not hasattr(ctypes.pythonapi, name)} == gaps


def test_the_data_reach_the_running_interpreter() -> None:
    assert newest_known_python() >= sys.version_info[:2]


@pytest.mark.skipif(sys.platform != "linux" or sys.implementation.name != "cpython", reason="needs CPython on Linux")
def test_a_symbol_that_this_interpreter_lacks_keeps_a_module_from_loading(tmp_path: Path) -> None:
    """The proof of the rule: strong is fatal at import, called or not; weak is not."""
    newest = "Py_HashBuffer"
    known = stable_symbol(newest)
    assert known is not None
    if known.since <= sys.version_info[:2]:
        pytest.skip(f"this interpreter has {newest}")
    uses = f"extern long {newest}(const void *, long); long (*volatile pointer)(const void *, long) = {newest};"
    results = {}
    for kind, attribute in (("strong", ""), ("weak", "__attribute__((weak)) ")):
        file = compile_extension(tmp_path / kind / "ext.abi3.so", declarations=attribute + uses)
        loaded = subprocess.run(
            [sys.executable, "-c", "import ext; print(ext.answer())"],
            capture_output=True,
            text=True,
            check=False,
            env=environment(PYTHONPATH=str(file.parent)),
        )
        name = f"demo-1.0-cp39-abi3-linux_{MACHINE}.whl"
        verdict = read_verdict(make_wheel(tmp_path / f"{kind}-wheel", {"ext.abi3.so": file}, name), JudgeOptions())
        results[kind] = (loaded.returncode == 0, verdict.compliant)
        assert loaded.returncode == 0 or newest in loaded.stderr
    assert results == {"strong": (False, False), "weak": (True, True)}
