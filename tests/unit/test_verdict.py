"""What the judge says: each kind of finding with a wheel that shows it and one that just does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import pytest
from elf_builder import Definition, Elf, Symbol, build, isa_note
from wheel_maker import X86_NAME, extension, libc_extension, make_wheel, shared

from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.verdict import KINDS, Finding, JudgeOptions, Verdict
from portable_backend.targets import Libc, find_platform_tag, parse_target

MUSL_NAME = "demo-1.0-cp311-cp311-musllinux_1_2_x86_64.whl"
MUSL = "libc.musl-x86_64.so.1"
LINUX = "linux_x86_64"


def judged(
    directory: Path,
    files: Mapping[str, bytes],
    name: str = X86_NAME,
    options: Optional[JudgeOptions] = None,
    **more: Any,
) -> Verdict:
    return read_verdict(make_wheel(directory, files, name, **more), options or JudgeOptions())


def policy(directory: Path, data: bytes, name: str = X86_NAME, options: Optional[JudgeOptions] = None) -> str:
    """The policy of a wheel with this one extension module, without its architecture."""
    return judged(directory, {"demo/ext.so": data}, name, options).policy_name.replace("_x86_64", "")


def kinds(verdict: Verdict, warnings: bool = False) -> list[str]:
    found = {finding.kind for finding in verdict.findings if finding.warning == warnings}
    assert found <= set(KINDS)
    return sorted(found)


def only(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    return finding


# --- symbol versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("GLIBC_2.2.5", "manylinux_2_5"),
        ("GLIBC_2.5", "manylinux_2_5"),
        ("GLIBC_2.6", "manylinux_2_12"),
        ("GLIBC_2.12", "manylinux_2_12"),
        ("GLIBC_2.14", "manylinux_2_17"),
        ("GLIBC_2.17", "manylinux_2_17"),
        ("GLIBC_2.18", "manylinux_2_24"),
        ("GLIBC_2.28", "manylinux_2_28"),
        ("GLIBC_2.29", "manylinux_2_31"),
        ("GLIBC_2.34", "manylinux_2_34"),
        ("GLIBC_2.36", "manylinux_2_36"),
        ("GLIBC_2.99", "linux"),
        ("GLIBC_3.0", "linux"),
        ("GLIBC_PRIVATE", "linux"),
        ("GLIBC_ABI_DT_RELR", "manylinux_2_36"),
        ("GLIBC_", "linux"),
        ("GLIBC", "linux"),
        ("GLIBC_2", "linux"),
        ("GLIBC_2.x", "linux"),
        ("GLIBC_\u0662.\u0665", "linux"),
    ],
)
def test_glibc_versions(version: str, expected: str, tmp_path: Path) -> None:
    assert policy(tmp_path, libc_extension(version)) == expected


@pytest.mark.parametrize(
    ("library", "version", "expected"),
    [
        ("libstdc++.so.6", "GLIBCXX_3.4.8", "manylinux_2_5"),
        ("libstdc++.so.6", "GLIBCXX_3.4.9", "manylinux_2_12"),
        ("libstdc++.so.6", "GLIBCXX_3.4.19", "manylinux_2_17"),
        ("libstdc++.so.6", "GLIBCXX_3.4.20", "manylinux_2_24"),
        ("libstdc++.so.6", "CXXABI_1.3.7", "manylinux_2_17"),
        ("libstdc++.so.6", "GLIBCXX_3.4.99", "linux"),
        ("libgcc_s.so.1", "GCC_3.0", "manylinux_2_5"),
        ("libgcc_s.so.1", "GCC_4.3.0", "manylinux_2_12"),
        ("libz.so.1", "ZLIB_1.2.3.4", "manylinux_2_17"),
    ],
)
def test_versions_of_other_libraries(library: str, version: str, expected: str, tmp_path: Path) -> None:
    data = libc_extension(needed=[library], versioned=[("symbol", version, library)])
    assert policy(tmp_path, data) == expected


def test_symbol_version_names_symbol_and_library(tmp_path: Path) -> None:
    finding = only(judged(tmp_path, {"demo/ext.so": libc_extension("GLIBC_2.28")}))
    assert (finding.kind, finding.member, finding.library) == ("symbol-version", "demo/ext.so", "libc.so.6")
    assert finding.symbol == "malloc@GLIBC_2.28"
    assert str(finding.ceiling) == "manylinux_2_28_x86_64"
    assert finding.cure


def test_version_that_no_symbol_uses_counts(tmp_path: Path) -> None:
    """The loader refuses a file for a version that it lists, whoever refers to it (or nobody)."""
    needs = [Symbol("PyInit_ext", defined=True)]
    data = build(Elf(needed=["libc.so.6"], symbols=needs, needs=[_need("libc.so.6", "GLIBC_2.34")], sysv_hash=True))
    verdict = judged(tmp_path, {"demo/ext.so": data.bytes})
    assert verdict.policy_name == "manylinux_2_34_x86_64"
    assert verdict.findings[0].symbol == "GLIBC_2.34"


def _need(library: str, *versions: str) -> Any:
    from elf_builder import Need

    return Need(library, tuple((version, number) for number, version in enumerate(versions, 2)))


@pytest.mark.parametrize("wanted", ["GLIBCXX_3.4.30", "GLIBCXX_3.4.99"])
def test_version_of_a_bundled_library_is_not_the_systems(wanted: str, tmp_path: Path) -> None:
    """A bundled libstdc++ is judged by what it defines, not by what the policy says of the system's."""
    libstdcxx = build(
        Elf(
            soname="libstdc++.so.6",
            needed=["libc.so.6"],
            symbols=[Symbol("symbol", defined=True, version=2)],
            definitions=[Definition("libstdc++.so.6", 1, 1), Definition("GLIBCXX_3.4.30", 2)],
            sysv_hash=True,
        )
    ).bytes
    user = libc_extension(
        needed=["libstdc++.so.6"], versioned=[("symbol", wanted, "libstdc++.so.6")], runpath="$ORIGIN/lib"
    )
    verdict = judged(tmp_path, {"demo/ext.so": user, "demo/lib/libstdc++.so.6": libstdcxx})
    if wanted == "GLIBCXX_3.4.30":
        assert verdict.policy_name == "manylinux_2_5_x86_64"
    else:
        assert verdict.policy_name == LINUX
        assert "does not define that version" in only(verdict).message


# --- libraries ---------------------------------------------------------------------------------------------------


def test_external_library(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension(needed=["libfoo.so.1"])})
    finding = only(verdict)
    assert (finding.kind, finding.library, finding.ceiling) == ("external-library", "libfoo.so.1", None)
    assert verdict.external_libraries == ("libfoo.so.1",)
    assert verdict.policy_name == LINUX


@pytest.mark.parametrize("pattern", ["libfoo.so.1", "libfoo.so.*", "libfoo*", "*"])
def test_excluded_library(pattern: str, tmp_path: Path) -> None:
    options = JudgeOptions(exclude=("libother.so", pattern))
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension(needed=["libfoo.so.1"])}, options=options)
    assert (verdict.findings, verdict.external_libraries) == ((), ())


@pytest.mark.parametrize("pattern", ["libfoo", "foo", "LIBFOO.SO.1", ""])
def test_pattern_that_excludes_nothing(pattern: str, tmp_path: Path) -> None:
    options = JudgeOptions(exclude=(pattern,))
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension(needed=["libfoo.so.1"])}, options=options)
    assert kinds(verdict) == ["external-library"]


@pytest.mark.parametrize("runpath", ["$ORIGIN/lib", "${ORIGIN}/lib", "/opt:$ORIGIN/../demo/lib", "$ORIGIN/lib/."])
@pytest.mark.parametrize("tag", ["runpath", "rpath"])
def test_bundled_library_with_a_way_to_it(runpath: str, tag: str, tmp_path: Path) -> None:
    files = {
        "demo/ext.so": libc_extension(needed=["libfoo.so.1"], **{tag: runpath}),
        "demo/lib/libfoo.so.1": shared(needed=["libc.so.6"], soname="libfoo.so.1"),
    }
    verdict = judged(tmp_path, files)
    assert (kinds(verdict), verdict.external_libraries) == ([], ())


@pytest.mark.parametrize(
    "runpath", [None, "lib", "$ORIGIN", "$ORIGIN/../lib", "$ORIGINAL/lib", "$LIB", "$ORIGIN/$LIB", ""]
)
def test_bundled_library_without_a_way_to_it(runpath: Optional[str], tmp_path: Path) -> None:
    files = {
        "demo/ext.so": libc_extension(needed=["libfoo.so.1"], runpath=runpath),
        "demo/lib/libfoo.so.1": shared(needed=["libc.so.6"], soname="libfoo.so.1"),
    }
    verdict = judged(tmp_path, files)
    finding = next(finding for finding in verdict.findings if finding.kind == "external-library")
    assert "demo/lib/libfoo.so.1" in finding.message
    assert verdict.policy_name == LINUX


def test_needed_path_is_not_searched_for(tmp_path: Path) -> None:
    """A needed entry with a slash is opened relative to the working directory, whatever the rpath."""
    files = {
        "demo/ext.so": libc_extension(needed=["lib/libfoo.so.1"], runpath="$ORIGIN"),
        "demo/lib/libfoo.so.1": shared(needed=["libc.so.6"]),
    }
    assert kinds(judged(tmp_path, files)) == ["external-library"]


def test_library_of_another_architecture_is_no_library(tmp_path: Path) -> None:
    files = {
        "demo/ext.so": libc_extension(needed=["libfoo.so.1"], runpath="$ORIGIN"),
        "demo/libfoo.so.1": shared(soname="libfoo.so.1", machine=183),
    }
    assert "external-library" in kinds(judged(tmp_path, files))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("libm.so.6", "manylinux_2_5"),
        ("libglib-2.0.so.0", "manylinux_2_5"),
        ("ld-linux-x86-64.so.2", "manylinux_2_5"),
        ("libz.so.1", "manylinux_2_5"),
        ("libexpat.so.1", "manylinux_2_5"),
        ("libcrypt.so.1", "linux"),
        ("libmvec.so.1", "manylinux_2_24"),
        ("libc.musl-x86_64.so.1", "linux"),
        ("libgomp.so.1", "linux"),
        ("LIBM.SO.6", "linux"),
    ],
)
def test_promised_libraries(name: str, expected: str, tmp_path: Path) -> None:
    from portable_backend.policy.policy import get_policies
    from portable_backend.targets import Arch

    found = policy(tmp_path, libc_extension(needed=[name]))
    promised = next((p.tag.policy for p in get_policies(Libc.GLIBC, Arch.X86_64) if name in p.libraries), "linux")
    assert found == promised
    assert (found == "linux") == (expected == "linux")


@pytest.mark.parametrize(
    "name",
    ["libpython3.11.so.1.0", "libpython3.14t.so.1.0", "libpython3.so", "libpython3.7m.so.1.0", "libpython3.13td.so",
     "libpython2.7.so.1.0", "libpypy3.10-c.so"],
)  # fmt: skip
def test_libpython(name: str, tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension(needed=[name], undefined=["PyList_New"])})
    assert kinds(verdict) == ["libpython"]
    assert verdict.external_libraries == ()
    assert verdict.policy is None


@pytest.mark.parametrize("name", ["libpythonic.so", "libboost_python311.so.1", "python3.11.so"])
def test_what_is_called_like_libpython(name: str, tmp_path: Path) -> None:
    assert kinds(judged(tmp_path, {"demo/ext.so": libc_extension(needed=[name])})) == ["external-library"]


# --- forbidden and undefined symbols -----------------------------------------------------------------------------


def test_forbidden_symbol(tmp_path: Path) -> None:
    data = libc_extension(needed=["libz.so.1"], undefined=["_dist_code"])
    finding = only(judged(tmp_path, {"demo/ext.so": data}))
    assert (finding.kind, finding.library, finding.symbol) == ("forbidden-symbol", "libz.so.1", "_dist_code")
    assert finding.ceiling is None


def test_symbol_that_is_not_forbidden(tmp_path: Path) -> None:
    data = libc_extension(needed=["libz.so.1"], undefined=["inflate"], weak=["_dist_code"])
    assert policy(tmp_path, data) == "manylinux_2_5"


def test_forbidden_symbol_of_a_bundled_library(tmp_path: Path) -> None:
    files = {
        "demo/ext.so": libc_extension(needed=["libz.so.1"], undefined=["_dist_code"], runpath="$ORIGIN"),
        "demo/libz.so.1": shared(needed=["libc.so.6"], soname="libz.so.1", exports=["_dist_code"]),
    }
    assert judged(tmp_path, files).findings == ()


def test_fpectl(tmp_path: Path) -> None:
    assert kinds(judged(tmp_path, {"demo/ext.so": libc_extension(undefined=["PyFPE_jbuf"])})) == ["forbidden-symbol"]


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("arc4random", "manylinux_2_36"),
        ("getentropy", "manylinux_2_26"),
        ("memfd_create", "manylinux_2_27"),
        ("malloc", "manylinux_2_5"),
        ("cos", "manylinux_2_5"),
        ("nobody_has_this", "linux"),
        ("PyList_New", "manylinux_2_5"),
        ("_PyObject_New", "manylinux_2_5"),
        ("Py_BuildValue", "manylinux_2_5"),
        ("_Py_Dealloc", "manylinux_2_5"),
        ("PyPyList_New", "manylinux_2_5"),
        ("pypy_thing", "linux"),
        ("pypy_init_embedded_cffi_module", "manylinux_2_5"),
        ("pypy_carefully_make_gil", "manylinux_2_5"),
        ("_GLOBAL_OFFSET_TABLE_", "manylinux_2_5"),
        ("_ZSt4cout", "linux"),
    ],
)
def test_undefined_symbols(symbol: str, expected: str, tmp_path: Path) -> None:
    assert policy(tmp_path, libc_extension(undefined=[symbol])) == expected
    assert policy(tmp_path / "weak", libc_extension(weak=[symbol])) == "manylinux_2_5"


def test_undefined_symbol_of_the_system_says_where_from(tmp_path: Path) -> None:
    finding = only(judged(tmp_path, {"demo/ext.so": libc_extension(undefined=["arc4random"])}))
    assert (finding.kind, finding.library, finding.symbol) == ("undefined-symbol", "libc.so.6", "arc4random")
    assert "2.36" in finding.message


def test_cxx_symbols_come_with_libstdcxx(tmp_path: Path) -> None:
    data = libc_extension(needed=["libstdc++.so.6"], undefined=["_ZSt4cout", "__gxx_personality_v0"])
    assert policy(tmp_path, data) == "manylinux_2_5"


def test_symbol_of_a_library_in_scope(tmp_path: Path) -> None:
    files = {
        "demo/ext.so": libc_extension(needed=["liba.so", "libb.so"], runpath="$ORIGIN"),
        "demo/liba.so": shared(needed=["libc.so.6"], soname="liba.so", undefined=["foo"]),
        "demo/libb.so": shared(needed=["libc.so.6"], soname="libb.so", exports=["foo"]),
    }
    assert judged(tmp_path, files).findings == ()


def test_symbol_of_a_library_out_of_scope(tmp_path: Path) -> None:
    files = {
        "demo/ext.so": libc_extension(undefined=["foo"]),
        "demo/libb.so": shared(needed=["libc.so.6"], soname="libb.so", exports=["foo"]),
    }
    verdict = judged(tmp_path, files)
    assert (kinds(verdict), kinds(verdict, warnings=True)) == ([], ["undefined-symbol"])
    assert "demo/libb.so" in only(verdict).message
    assert verdict.policy_name == "manylinux_2_5_x86_64"


def test_unknown_library_may_have_the_symbol(tmp_path: Path) -> None:
    """The library that is missing is the finding; what it exports nobody can know here."""
    data = libc_extension(needed=["libfoo.so.1"], undefined=["foo"])
    assert kinds(judged(tmp_path, {"demo/ext.so": data})) == ["external-library"]
    assert policy(tmp_path / "excluded", data, options=JudgeOptions(("libfoo.so.1",))) == "manylinux_2_5"


def test_executable_without_python_cannot_use_its_symbols(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"interpreter": "/lib64/ld-linux-x86-64.so.2", "undefined": ["Py_BytesMain"]}
    verdict = judged(tmp_path, {"demo-1.0.data/scripts/tool": shared(needed=["libc.so.6"], **parts)})
    assert kinds(verdict) == ["undefined-symbol"]
    with_it = shared(needed=["libc.so.6", "libpython3.11.so.1.0"], **parts)
    assert kinds(judged(tmp_path, {"demo-1.0.data/scripts/tool": with_it})) == ["libpython"]


# --- machines ----------------------------------------------------------------------------------------------------


def test_extension_of_another_architecture(tmp_path: Path) -> None:
    files = {"demo/ext.so": libc_extension(), "demo/arm.so": libc_extension(module="arm", machine=183)}
    verdict = judged(tmp_path, files)
    assert kinds(verdict) == ["architecture"]
    assert verdict.policy is None
    assert not verdict.compliant


def test_data_of_another_architecture(tmp_path: Path) -> None:
    files = {"demo/ext.so": libc_extension(), "demo/helper": shared(machine=183, needed=["libx.so"])}
    verdict = judged(tmp_path, files)
    assert (kinds(verdict), kinds(verdict, warnings=True)) == ([], ["architecture"])
    assert verdict.policy_name == "manylinux_2_5_x86_64"


@pytest.mark.parametrize(
    ("flags", "expected"), [(0x05000400, "manylinux_2_17_armv7l"), (0x05000200, "linux_armv7l"), (0, "linux_armv7l")]
)
def test_arm_float_abi(flags: int, expected: str, tmp_path: Path) -> None:
    data = extension(needed=["libc.so.6"], machine=40, bits=32, flags=flags)
    name = "demo-1.0-cp311-cp311-linux_armv7l.whl"
    assert judged(tmp_path, {"demo/ext.so": data}, name).policy_name == expected


@pytest.mark.parametrize(
    ("machine", "bits", "order", "arch", "expected"),
    [
        (183, 64, "<", "aarch64", "manylinux_2_17_aarch64"),
        (3, 32, "<", "i686", "manylinux_2_5_i686"),
        (21, 64, "<", "ppc64le", "manylinux_2_17_ppc64le"),
        (22, 64, ">", "s390x", "manylinux_2_17_s390x"),
        (243, 64, "<", "riscv64", "manylinux_2_31_riscv64"),
        (62, 32, "<", "x86_64", "linux_x86_64"),
        (8, 64, ">", "mips64", "linux_x86_64"),
    ],
)
def test_architectures(machine: int, bits: int, order: str, arch: str, expected: str, tmp_path: Path) -> None:
    data = extension(needed=["libc.so.6"], machine=machine, bits=bits, order=order)
    name = f"demo-1.0-cp311-cp311-linux_{arch}.whl"
    assert judged(tmp_path, {"demo/ext.so": data}, name).policy_name == expected


@pytest.mark.parametrize(
    ("isa", "expected"),
    [(0, "manylinux_2_5"), (1, "manylinux_2_5"), (3, "linux"), (2, "linux"), (7, "linux"), (15, "linux")],
)
def test_instruction_set(isa: int, expected: str, tmp_path: Path) -> None:
    data = libc_extension(note=isa_note(Elf(), isa))
    assert policy(tmp_path, data) == expected
    assert policy(tmp_path / "waived", data, options=JudgeOptions(isa_check=False)) == "manylinux_2_5"


def test_instruction_set_is_named(tmp_path: Path) -> None:
    data = libc_extension(note=isa_note(Elf(), 7))
    assert "x86-64-v3" in only(judged(tmp_path, {"demo/ext.so": data})).message


@pytest.mark.parametrize(("stack", "found"), [(6, []), (7, ["executable-stack"]), (None, ["executable-stack"])])
def test_executable_stack(stack: Optional[int], found: list[str], tmp_path: Path) -> None:
    assert kinds(judged(tmp_path, {"demo/ext.so": libc_extension(stack=stack)})) == found


def test_text_relocations_warn(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension(extra=[(22, 0)])})
    assert (kinds(verdict), kinds(verdict, warnings=True)) == ([], ["text-relocations"])


def test_packed_relocations(tmp_path: Path) -> None:
    """Without any dependency on a libc, the symbol version that would tell an old loader is missing."""
    data = extension(extra=[(36, 0x10000), (35, 8), (37, 8)])
    verdict = judged(tmp_path, {"demo/ext.so": data})
    assert kinds(verdict) == ["relr"]
    assert verdict.policy_name == "manylinux_2_36_x86_64"
    assert judged(tmp_path, {"demo/ext.so": extension()}).policy_name == "manylinux_2_5_x86_64"


def test_indirect_functions(tmp_path: Path) -> None:
    symbols = [Symbol("PyInit_ext", defined=True), Symbol("fast", defined=True, kind=10)]
    data = build(Elf(needed=["libc.so.6"], symbols=symbols, sysv_hash=True)).bytes
    verdict = judged(tmp_path, {"demo/ext.so": data})
    assert (kinds(verdict), verdict.policy_name) == (["ifunc"], "manylinux_2_12_x86_64")
    verdict = judged(tmp_path, {"demo/ext.so": data.replace(b"libc.so.6\0", b"libc.so\0\0\0")}, MUSL_NAME)
    assert "ifunc" in kinds(verdict)
    assert verdict.policy is None


@pytest.mark.parametrize(
    ("path", "warned"),
    [("$ORIGIN", False), ("$ORIGIN/..", False), ("$ORIGIN/../..", True), ("/usr/lib", True), ("lib", True),
     ("$ORIGIN/$LIB", True), ("$LIB", True), ("$ORIGIN:/opt", True), ("$ORIGIN/../other.libs", False), ("", False)],
)  # fmt: skip
def test_rpath_that_leaves_the_wheel(path: str, warned: bool, tmp_path: Path) -> None:
    for tag in ("runpath", "rpath"):
        verdict = judged(tmp_path, {"demo/ext.so": libc_extension(**{tag: path})})
        assert kinds(verdict, warnings=True) == (["rpath"] if warned else [])
        assert verdict.policy_name == "manylinux_2_5_x86_64"


def test_file_without_section_headers(tmp_path: Path) -> None:
    data = libc_extension("GLIBC_2.34", sections=False)
    assert policy(tmp_path, data) == "manylinux_2_34"


@pytest.mark.parametrize(
    "member", ["demo/module.py", "demo/data", "README", "demo-1.0.dist-info/licenses/LICENSE", "a.txt"]
)
def test_native_code_under_any_name(member: str, tmp_path: Path) -> None:
    verdict = judged(tmp_path, {member: shared(needed=["libc.so.6", "libfoo.so"])})
    assert only(verdict).member == member


def test_native_code_that_record_forgot(tmp_path: Path) -> None:
    drop = lambda text: b"".join(line for line in text.splitlines(True) if b"ext.so" not in line)  # noqa: E731
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension("GLIBC_2.34")}, record=drop)
    assert kinds(verdict) == ["record", "symbol-version"]
    assert not verdict.compliant


def test_extension_without_any_library(tmp_path: Path) -> None:
    assert policy(tmp_path, extension()) == "manylinux_2_5"


def test_static_executable(tmp_path: Path) -> None:
    data = build(Elf(type=2, dynamic=False)).bytes
    assert policy(tmp_path, data) == "manylinux_2_5"
    assert judged(tmp_path, {"demo/tool": data}, MUSL_NAME).policy_name == "musllinux_1_2_x86_64"


def test_object_files_are_data(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/part.o": build(Elf(type=1, dynamic=False)).bytes}, "demo-1.0-py3-none-any.whl")
    assert verdict.pure


@pytest.mark.parametrize(
    ("version", "tag", "true"),
    [
        ("GLIBC_2.30", "manylinux_2_30_x86_64", True),
        ("GLIBC_2.30", "manylinux_2_29_x86_64", False),
        ("GLIBC_2.18", "manylinux_2_18_x86_64", True),
        ("GLIBC_2.2.5", "manylinux_2_3_x86_64", True),
        ("GLIBC_2.4", "manylinux_2_3_x86_64", False),
        ("GLIBC_2.30", "manylinux_2_99_x86_64", True),
        ("GLIBC_2.98", "manylinux_2_99_x86_64", False),
    ],
)
def test_every_version_of_glibc_is_a_tag(version: str, tag: str, true: bool, tmp_path: Path) -> None:
    """PEP 600: no list has to name it."""
    name = X86_NAME.replace("linux_x86_64", tag)
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension(version)}, name)
    assert (verdict.compliant, verdict.false_claims) == (true, () if true else (tag,))
    claimed = next(filter(None, map(find_platform_tag, verdict.claimed)))
    assert bool(verdict.blockers(claimed)) is not true


def test_version_of_a_library_that_came_with_no_policy(tmp_path: Path) -> None:
    cxx = libc_extension(needed=["libstdc++.so.6"], versioned=[("_Znwm", "GLIBCXX_3.4", "libstdc++.so.6")])
    verdict = judged(tmp_path, {"demo/ext.so": cxx}, X86_NAME.replace("linux_x86_64", "manylinux_2_3_x86_64"))
    assert (verdict.policy_name, verdict.compliant) == ("manylinux_2_5_x86_64", False)


@pytest.mark.parametrize(("tag", "true"), [("linux_armv6l", True), ("linux_armv7l", True), ("linux_aarch64", False)])
def test_older_arm_has_a_tag_and_no_policy(tag: str, true: bool, tmp_path: Path) -> None:
    data = shared(needed=["libc.so.6"], exports=["PyInit_ext"], bits=32, machine=40, flags=0x5000400)
    assert judged(tmp_path, {"demo/ext.so": data}, X86_NAME.replace("linux_x86_64", tag)).compliant is true
    assert not judged(tmp_path, {"demo/ext.so": libc_extension()}, X86_NAME.replace("x86_64", "armv6l")).compliant


# --- musl --------------------------------------------------------------------------------------------------------


def test_musl_wheel(tmp_path: Path) -> None:
    data = extension(needed=[MUSL], undefined=["malloc", "pthread_create"])
    verdict = judged(tmp_path, {"demo/ext.so": data}, MUSL_NAME)
    assert (verdict.findings, verdict.libc, verdict.policy_name) == ((), Libc.MUSL, "musllinux_1_2_x86_64")


def test_musl_is_recognised_without_a_tag(tmp_path: Path) -> None:
    assert judged(tmp_path, {"demo/ext.so": extension(needed=[MUSL])}).libc is Libc.MUSL


def test_unnamed_c_library_of_musl(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.so": extension(needed=["libc.so"])}, MUSL_NAME)
    finding = only(verdict)
    assert (finding.kind, finding.warning, verdict.compliant) == ("musl-soname", True, True)
    assert MUSL in finding.message


@pytest.mark.parametrize("symbol", ["__memcpy_chk", "gnu_get_libc_version", "backtrace"])
def test_symbol_of_glibc_alone_in_a_musl_wheel(symbol: str, tmp_path: Path) -> None:
    data = extension(needed=[MUSL], undefined=[symbol])
    verdict = judged(tmp_path, {"demo/ext.so": data}, MUSL_NAME)
    assert (kinds(verdict), verdict.policy) == (["undefined-symbol"], None)


def test_two_c_libraries(tmp_path: Path) -> None:
    files = {"demo/ext.so": extension(needed=[MUSL]), "demo/glibc.so": libc_extension(module="glibc")}
    verdict = judged(tmp_path, files, MUSL_NAME)
    assert "c-library" in kinds(verdict)
    assert verdict.policy is None
    verdict = judged(tmp_path, files, X86_NAME.replace("linux", "manylinux_2_17"))
    assert "c-library" in kinds(verdict)


def test_packed_relocations_on_musl(tmp_path: Path) -> None:
    data = extension(needed=[MUSL], extra=[(36, 0x10000), (35, 8), (37, 8)])
    verdict = judged(tmp_path, {"demo/ext.so": data}, MUSL_NAME)
    assert kinds(verdict, warnings=True) == ["relr"]
    assert "1.2.4" in only(verdict).message
    verdict = judged(tmp_path / "older", {"demo/ext.so": data}, MUSL_NAME.replace("1_2", "1_1"))
    assert verdict.policy_name == "musllinux_1_2_x86_64"


def test_symbol_versions_are_nothing_to_musl(tmp_path: Path) -> None:
    """Its loader binds by name alone: a version that Alpine's build of zlib happens to bear rules out no machine."""
    data = extension(needed=[MUSL, "libz.so.1"], versioned=[("inflateReset2", "ZLIB_1.2.3.4", "libz.so.1")])
    assert judged(tmp_path, {"demo/ext.so": data}, MUSL_NAME).policy_name == "musllinux_1_2_x86_64"
    bundled = {
        "demo/ext.so": extension(needed=[MUSL, "liba.so"], versioned=[("a", "A_2", "liba.so")], runpath="$ORIGIN"),
        "demo/liba.so": shared(needed=[MUSL], soname="liba.so", exports=["a"]),
    }
    assert judged(tmp_path, bundled, MUSL_NAME).findings == ()
    bundled["demo/liba.so"] = shared(needed=[MUSL], soname="liba.so", exports=["b"])
    finding = only(judged(tmp_path, bundled, MUSL_NAME))
    assert (finding.kind, finding.symbol) == ("undefined-symbol", "a")


def test_musl_does_not_look_at_symbol_versions(tmp_path: Path) -> None:
    """A library that was linked against a libz with versions loads with one that has none, and the reverse."""
    data = extension(needed=[MUSL, "libz.so.1"], versioned=[("inflateReset2", "ZLIB_1.2.3.4", "libz.so.1")])
    assert judged(tmp_path, {"demo/ext.so": data}, MUSL_NAME).findings == ()


# --- what is opened by name --------------------------------------------------------------------------------------


def opener(*strings: str, symbol: str = "dlopen", **parts: Any) -> bytes:
    """An extension module that can load libraries by name, with these strings behind its tables."""
    data = libc_extension(undefined=[symbol], **parts)
    return data + b"\0" + b"".join(each.encode() + b"\0" for each in strings)


@pytest.mark.parametrize("symbol", ["dlopen", "dlmopen"])
def test_library_opened_by_name(symbol: str, tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.so": opener("libcuda.so.1", symbol=symbol)})
    finding = only(verdict)
    assert (finding.kind, finding.library, finding.warning) == ("dlopen", "libcuda.so.1", True)
    assert verdict.policy_name == "manylinux_2_5_x86_64"


@pytest.mark.parametrize(
    "name",
    ["libm.so.6", "libpthread.so.0", "libGL.so.1", "libpython3.14t.so.1.0", "libown.so", "libinside.so.2", "libname.so",
     "libgraft.so.3", "libexcluded.so", "libtwice.so.1", "libneeded.so.7"],
)  # fmt: skip
def test_library_opened_by_name_that_is_there(name: str, tmp_path: Path) -> None:
    files = {
        "demo/ext.so": opener(name, soname="libown.so", needed=["libneeded.so.7"]),
        "demo/sub/libinside.so.2": shared(soname="libname.so"),
        "demo.libs/libgraft-0123abcd.so.3.1.4": shared(soname="libgraft-0123abcd.so.3.1.4"),
        "demo.libs/libtwice-0123abcd-4567ef89.so.1": shared(),
    }
    options = JudgeOptions(exclude=("libexcluded*", "libneeded*"))
    assert judged(tmp_path, files, options=options).findings == ()


def test_name_in_a_file_that_opens_nothing(tmp_path: Path) -> None:
    assert judged(tmp_path, {"demo/ext.so": opener("libcuda.so.1", symbol="malloc")}).findings == ()


# --- executables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interpreter", "found"),
    [
        ("/lib64/ld-linux-x86-64.so.2", []),
        ("/nix/store/0-glibc/lib/ld-linux-x86-64.so.2", ["interpreter"]),
        ("/usr/lib64/ld-linux-x86-64.so.2", ["interpreter"]),
        ("ld-linux-x86-64.so.2", ["interpreter"]),
        ("/lib/ld-musl-x86_64.so.1", ["c-library"]),
    ],
)
def test_loader_of_an_executable(interpreter: str, found: list[str], tmp_path: Path) -> None:
    tool = shared(interpreter=interpreter)
    claim = X86_NAME.replace("linux", "manylinux_2_17")
    assert kinds(judged(tmp_path / "claim", {"demo/tool": tool}, claim)) == found


def test_loader_of_a_library_is_not_used(tmp_path: Path) -> None:
    library = shared(interpreter="/nix/ld-linux-x86-64.so.2", soname="libfoo.so", needed=["libc.so.6"])
    assert judged(tmp_path, {"demo/libfoo.so": library}).findings == ()


@pytest.mark.parametrize(
    ("machine", "bits", "order", "flags", "loader", "arch"),
    [
        (183, 64, "<", 0, "/lib/ld-linux-aarch64.so.1", "aarch64"),
        (3, 32, "<", 0, "/lib/ld-linux.so.2", "i686"),
        (40, 32, "<", 0x05000400, "/lib/ld-linux-armhf.so.3", "armv7l"),
        (21, 64, "<", 2, "/lib64/ld64.so.2", "ppc64le"),
        (22, 64, ">", 0, "/lib/ld64.so.1", "s390x"),
        (243, 64, "<", 5, "/lib/ld-linux-riscv64-lp64d.so.1", "riscv64"),
        (258, 64, "<", 0x43, "/lib64/ld-linux-loongarch-lp64d.so.1", "loongarch64"),
    ],
)
def test_loaders_of_architectures(
    machine: int, bits: int, order: str, flags: int, loader: str, arch: str, tmp_path: Path
) -> None:
    tool = shared(interpreter=loader, machine=machine, bits=bits, order=order, flags=flags)
    assert judged(tmp_path, {"demo/tool": tool}, f"demo-1.0-py3-none-linux_{arch}.whl").findings == ()


def test_static_position_independent_executable_relocates_itself(tmp_path: Path) -> None:
    """Its DT_RELR and its IRELATIVE relocations are its own start-up code's business, on musl, too."""
    tool = shared(extra=[(36, 0x10000), (35, 8), (37, 8)], weak=["__gmon_start__"])
    assert judged(tmp_path, {"demo/tool": tool}).policy_name == "manylinux_2_5_x86_64"
    assert judged(tmp_path, {"demo/tool": tool}, MUSL_NAME).findings == ()
    for library in ({"soname": "liba.so"}, {"exports": ["a"]}, {"needed": ["libm.so.6"]}, {"undefined": ["malloc"]}):
        data = shared(extra=[(36, 0x10000), (35, 8), (37, 8)], **library)
        assert "relr" in kinds(judged(tmp_path / str(library), {"demo/tool": data}))


# --- the wheel as such -------------------------------------------------------------------------------------------


def test_pure_wheel(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/__init__.py": b""}, "demo-1.0-py3-none-any.whl", purelib=True)
    assert (verdict.pure, verdict.compliant, verdict.policy_name, verdict.findings) == (True, True, "any", ())


def test_native_code_in_a_wheel_for_any_platform(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension()}, "demo-1.0-py3-none-any.whl")
    assert verdict.false_claims == ("any",)
    assert not verdict.compliant
    assert verdict.policy_name == "manylinux_2_5_x86_64"


def test_native_code_among_pure_python(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension()}, "demo-1.0-py3-none-any.whl", purelib=True)
    assert (kinds(verdict), verdict.compliant) == (["purelib"], False)
    # Under a platform tag it loads all the same, from the other of the two directories.
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension()}, purelib=True)
    assert (kinds(verdict, warnings=True), verdict.compliant) == (["purelib"], True)
    member = "demo-1.0.data/{}/demo/ext.so"
    assert kinds(judged(tmp_path, {member.format("purelib"): libc_extension()}), warnings=True) == ["purelib"]
    assert kinds(judged(tmp_path, {member.format("platlib"): libc_extension()}, purelib=True), warnings=True) == []


def test_musl_is_as_old_as_the_wheel_says(tmp_path: Path) -> None:
    """Its symbols bear no versions, so an older one than claimed, or asked for, is never inferred."""
    data = extension(needed=[MUSL], undefined=["malloc"])
    older = MUSL_NAME.replace("1_2", "1_1")
    assert judged(tmp_path, {"demo/ext.so": data}, older).policy_name == "musllinux_1_1_x86_64"
    assert judged(tmp_path, {"demo/ext.so": data}).policy_name == "musllinux_1_2_x86_64"
    asked = JudgeOptions(musl=(1, 1))
    assert judged(tmp_path, {"demo/ext.so": data}, X86_NAME, asked).policy_name == "musllinux_1_1_x86_64"


def test_a_static_executable_serves_every_c_library(tmp_path: Path) -> None:
    data = build(Elf(type=2, dynamic=False)).bytes
    both = X86_NAME.replace("linux", "manylinux_2_17_x86_64.musllinux_1_1")
    assert judged(tmp_path, {"demo/tool": data}, both).compliant
    dynamic = judged(tmp_path, {"demo/ext.so": libc_extension()}, both)
    assert dynamic.false_claims == ("musllinux_1_1_x86_64",)


@pytest.mark.parametrize(
    ("platforms", "false"),
    [
        ("linux_x86_64", ()),
        ("manylinux_2_17_x86_64", ()),
        ("manylinux2014_x86_64.manylinux_2_17_x86_64", ()),
        ("manylinux_2_16_x86_64", ()),
        ("manylinux_2_13_x86_64", ("manylinux_2_13_x86_64",)),
        ("manylinux2010_x86_64.manylinux_2_17_x86_64", ("manylinux2010_x86_64",)),
        ("manylinux_2_28_x86_64", ()),
        ("manylinux_2_17_x86_64.manylinux_2_17_aarch64", ("manylinux_2_17_aarch64",)),
        ("manylinux_2_17_x86_64.musllinux_1_2_x86_64", ("musllinux_1_2_x86_64",)),
        ("manylinux_2_17_x86_64.linux_aarch64", ("linux_aarch64",)),
        ("manylinux_2_17_x86_64.any", ("any",)),
        ("manylinux_2_17_vax.manylinux_2_17_x86_64", ("manylinux_2_17_vax",)),
        ("manylinux.manylinux_2_17_x86_64", ("manylinux",)),
        ("manylinux_2_17.manylinux_2_17_x86_64", ("manylinux_2_17",)),
        ("manylinux_02_17_x86_64", ("manylinux_02_17_x86_64",)),
        ("manylinux_3_1_x86_64", ("manylinux_3_1_x86_64",)),
    ],
)
def test_claims(platforms: str, false: tuple[str, ...], tmp_path: Path) -> None:
    name = f"demo-1.0-cp311-cp311-{platforms}.whl"
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension("GLIBC_2.14")}, name)
    assert verdict.false_claims == false
    assert verdict.compliant == (not false)


def test_blockers_are_those_of_the_target(tmp_path: Path) -> None:
    from portable_backend.targets import Arch

    files = {
        "demo/a.so": libc_extension("GLIBC_2.14", module="a"),
        "demo/b.so": libc_extension("GLIBC_2.28", module="b"),
        "demo/c.so": libc_extension(module="c", rpath="/opt"),
    }
    verdict = judged(tmp_path, files)

    def members(target: str) -> list[str]:
        return [finding.member for finding in verdict.blockers(parse_target(target, Arch.X86_64))]

    assert members("manylinux1") == ["demo/a.so", "demo/b.so"]
    assert members("manylinux2014") == ["demo/b.so"]
    assert members("manylinux_2_28") == []


def test_findings_come_in_a_fixed_order(tmp_path: Path) -> None:
    files = {f"demo/{name}.so": libc_extension("GLIBC_2.28", name, needed=["libx.so"]) for name in "abcd"}
    forward = judged(tmp_path / "1", files)
    backward = judged(tmp_path / "2", dict(reversed(files.items())))
    assert forward == backward


def test_a_wheel_all_of_another_architecture(tmp_path: Path) -> None:
    """A single foreign file beside native ones may be data; a wheel of nothing else is for another machine."""
    verdict = judged(tmp_path, {"demo/libfoo.so": shared(machine=183, needed=["libc.so.6"])})
    assert (kinds(verdict), verdict.compliant) == (["architecture"], False)


def test_soft_float_is_named(tmp_path: Path) -> None:
    data = extension(needed=["libc.so.6"], machine=40, bits=32, flags=0x05000200)
    assert "hard float" in only(judged(tmp_path, {"demo/ext.so": data}, "demo-1.0-py3-none-linux_armv7l.whl")).message


@pytest.mark.parametrize("entry", ["PyInit_ext", "PyInitU_abc", "PyModExport_ext", "PyModExportU_abc", "initext"])
def test_entry_points_of_extension_modules(entry: str, tmp_path: Path) -> None:
    """What an import would load must be for this machine; what nothing would may be data."""
    files = {"demo/own.so": libc_extension(module="own"), "demo/ext.so": shared(machine=183, exports=[entry])}
    assert kinds(judged(tmp_path, files)) == ["architecture"]


@pytest.mark.parametrize(
    ("library", "version"), [("libc.so.6", "UNHEARD_1.0"), ("libz.so.1", "FOO_2"), ("libm.so.6", "X")]
)
def test_version_of_a_namespace_that_no_policy_knows(library: str, version: str, tmp_path: Path) -> None:
    data = libc_extension(needed=[library], versioned=[("symbol", version, library)])
    verdict = judged(tmp_path, {"demo/ext.so": data})
    assert (kinds(verdict), verdict.policy) == (["symbol-version"], None)


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ("any", "any platform"),
        ("manylinux_2_17_x86_64.linux_aarch64", "claims linux_aarch64"),
        ("manylinux_2_17_aarch64.manylinux_2_17_x86_64", "x86_64"),
        ("manylinux_2_17_x86_64.musllinux_1_2_x86_64", "linked against glibc"),
        ("manylinux_2_17_x86_64.manylinux_2_17_vax", "no machine accepts"),
        ("manylinux_2_17_x86_64.manylinux_3_0_x86_64", "no machine accepts"),
    ],
)
def test_why_a_claim_is_false(claim: str, says: str, tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"demo/ext.so": libc_extension()}, f"demo-1.0-cp311-cp311-{claim}.whl")
    assert verdict.false_claims
    assert any(says in finding.message for finding in verdict.findings)
    assert all(finding.cure for finding in verdict.findings)
