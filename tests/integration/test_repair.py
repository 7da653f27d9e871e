"""Repairing real wheels, built on the spot by the system's compiler: what comes out is true, loads, and stays put."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import pytest
from command_line import entries, refuse, run
from wheel_maker import (
    MACHINE,
    METADATA,
    PYTHON_TAG,
    RAW_NAME,
    compile_c,
    compile_extension,
    compile_library,
    environment,
    libc_extension,
    make_wheel,
    needs_cc,
    read_members,
    run_command,
    verify_record,
    wheel_text,
)

from portable_backend import elf

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="repairs are for Linux")
DIST_INFO = "demo-1.0.dist-info"
EXT = "demo/ext.so"


@pytest.fixture(autouse=True)
def compiler() -> None:
    needs_cc()


def repaired(capsys: Capture, wheel: Path, out: Path, *options: object) -> Path:
    """Repair a wheel and check what has to be true of every result."""
    before = wheel.read_bytes()
    outcome = run(capsys, "repair", wheel, "-w", out, *options)
    assert outcome.code == 0, outcome.err
    assert wheel.read_bytes() == before
    path = Path(outcome.out.strip())
    assert entries(out) == [path.name]
    verify_record(path)
    if "--no-update-tags" not in options:
        assert run(capsys, "audit", path).code == 0
    return path


def again(capsys: Capture, wheel: Path, out: Path, *options: object) -> None:
    """Repairing a repaired wheel gives the same bytes under the same name."""
    second = repaired(capsys, wheel, out, *options)
    assert second.name == wheel.name
    assert second.read_bytes() == wheel.read_bytes()


def facts(wheel: Path, member: str) -> elf.ElfFacts:
    return elf.scan(read_members(wheel)[member])


def tree(directory: Path) -> tuple[Path, Path]:
    """A private library that needs another, found by its own $ORIGIN, and an extension module that needs the first."""
    lib = directory / "lib"
    compile_library(lib / "libinner.so.2", "int inner(void) { return 40; }")
    compile_library(
        lib / "libouter.so.1",
        "int inner(void); int outer(void) { return inner() + 2; }",
        str(lib / "libinner.so.2"),
        "-Wl,-rpath,$ORIGIN",
    )
    extension = compile_extension(
        directory / "ext.so",
        str(lib / "libouter.so.1"),
        f"-Wl,-rpath,{lib}",
        f"-Wl,-rpath-link,{lib}",
        answer="outer()",
        declarations="extern int outer(void);",
    )
    return extension, lib


def answer(site: Path, expression: str = "__import__('demo.ext').ext.answer()", **environ: str) -> str:
    """What an expression gives in a fresh interpreter that finds the wheel's modules."""
    code = f"import sys; sys.path.insert(0, {str(site)!r}); print({expression})"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, env=environment(**environ)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def unpacked(wheel: Path, directory: Path) -> Path:
    """The wheel as an installer lays it down, without the scripts."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    for scheme in ("purelib", "platlib"):
        for path in sorted((directory / "demo-1.0.data" / scheme).glob("*")):
            shutil.copytree(path, directory / path.name, dirs_exist_ok=True)
    return directory


# --- grafts ------------------------------------------------------------------------------------------------------


def test_libraries_are_grafted_with_what_they_need(tmp_path: Path, capsys: Capture) -> None:
    extension, lib = tree(tmp_path)
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out")
    members = read_members(result)
    grafts = [name for name in members if name.startswith("demo.libs/")]
    assert [name.split("-")[0] for name in grafts] == ["demo.libs/libinner", "demo.libs/libouter"]
    outer = facts(result, grafts[1])
    assert (outer.soname, outer.rpath, outer.runpath) == (grafts[1][len("demo.libs/") :], "$ORIGIN", None)
    assert outer.needed[0] == grafts[0][len("demo.libs/") :]
    assert facts(result, EXT).rpath == "$ORIGIN/../demo.libs"
    shutil.rmtree(lib)  # only the copies are left
    assert answer(unpacked(result, tmp_path / "site")) == "42"
    again(capsys, result, tmp_path / "again")


def test_bill_of_materials(tmp_path: Path, capsys: Capture) -> None:
    extension, _ = tree(tmp_path)
    result = repaired(capsys, make_wheel(tmp_path, {EXT: extension}, RAW_NAME), tmp_path / "out")
    bill = json.loads(read_members(result)[f"{DIST_INFO}/sboms/portable-backend.cdx.json"])
    assert {component["name"] for component in bill["components"]} == {"libinner.so.2", "libouter.so.1"}
    assert bill["metadata"]["component"]["purl"] == "pkg:pypi/demo@1.0"


def test_where_a_private_library_lies_leaves_no_trace(tmp_path: Path, capsys: Capture) -> None:
    lib = tmp_path / "lib"
    inner = compile_library(lib / "libinner.so", "int inner(void) { return 40; }")
    compile_library(lib / "libouter.so", "int inner(void); int outer(void) { return inner() + 2; }", str(inner))
    extension = compile_extension(
        tmp_path / "ext.so", str(lib / "libouter.so"), f"-Wl,-rpath-link,{lib}",
        answer="outer()", declarations="extern int outer(void);",
    )  # fmt: skip
    wheel = make_wheel(tmp_path, {EXT: extension}, RAW_NAME)
    first = repaired(capsys, wheel, tmp_path / "out", "--ldpaths", lib)
    (tmp_path / "zz").mkdir()
    (tmp_path / "aa").mkdir()
    inner.rename(tmp_path / "zz" / "libinner.so")
    (lib / "libouter.so").rename(tmp_path / "aa" / "libouter.so")
    second = repaired(capsys, wheel, tmp_path / "again", "--ldpaths", f"{tmp_path}/zz:{tmp_path}/aa")
    assert first.read_bytes() == second.read_bytes()


def test_library_of_the_system_knows_its_package(tmp_path: Path, capsys: Capture) -> None:
    if not shutil.which("dpkg"):
        pytest.skip("this system has no dpkg")
    owners = subprocess.run(["dpkg", "-S", "*/libgomp.so.1"], capture_output=True, text=True, check=False).stdout
    if "libgomp1" not in owners:
        pytest.skip("libgomp is not installed")
    extension = compile_extension(tmp_path / "ext.so", "-fopenmp", answer="omp_get_max_threads() > 0",
                                  declarations="extern int omp_get_max_threads(void);")  # fmt: skip
    result = repaired(
        capsys, make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME), tmp_path / "out"
    )
    bill = json.loads(read_members(result)[f"{DIST_INFO}/sboms/portable-backend.cdx.json"])
    (component,) = bill["components"]
    assert component["purl"].startswith("pkg:deb/")
    texts = [each["url"] for each in component["externalReferences"]]
    assert f"../licenses/demo.libs/{component['name']}/copyright" in texts
    assert all(read_members(result)[f"{DIST_INFO}/{text[3:]}"].strip() for text in texts)
    told = json.loads(run(capsys, "repair", "--json", tmp_path / RAW_NAME, "-w", tmp_path / "json").out)
    assert told["grafts"][0]["package"]["name"] == component["name"]
    assert [f"../{text}" for text in told["grafts"][0]["licence_files"]] == texts
    assert answer(unpacked(result, tmp_path / "site")) == "1"


@pytest.mark.parametrize("way", ["runpath", "rpath", "ldpaths", "relative ldpaths"])
def test_ways_to_a_library(way: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    library = compile_library(tmp_path / "lib" / "libfoo.so.1", "int foo(void) { return 7; }")
    flags = {
        "runpath": ["-Wl,--enable-new-dtags", f"-Wl,-rpath,{tmp_path}/none:{tmp_path}/lib"],
        "rpath": ["-Wl,--disable-new-dtags", f"-Wl,-rpath,{tmp_path}/lib"],
    }.get(way, [])
    options = {"ldpaths": [f"--ldpaths=/none:{tmp_path}/lib"], "relative ldpaths": ["--ldpaths", "lib"]}.get(way, [])
    monkeypatch.chdir(tmp_path)
    extension = compile_extension(
        tmp_path / "ext.so", str(library), *flags, answer="foo()", declarations="extern int foo(void);"
    )
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out", *options)
    shutil.rmtree(tmp_path / "lib")
    assert answer(unpacked(result, tmp_path / "site")) == "7"


def test_symbolic_links_to_a_library(tmp_path: Path, capsys: Capture) -> None:
    library = compile_library(
        tmp_path / "lib" / "libfoo.so.1.2.3", "int foo(void) { return 7; }", "-Wl,-soname,libfoo.so.1"
    )
    (tmp_path / "lib" / "libfoo.so.1").symlink_to("libfoo.so.1.2.3")
    extension = compile_extension(
        tmp_path / "ext.so", str(library), answer="foo()", declarations="extern int foo(void);"
    )
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out", "--ldpaths", tmp_path / "lib")
    (graft,) = [name for name in read_members(result) if name.startswith("demo.libs/")]
    assert graft.startswith("demo.libs/libfoo-")
    assert graft.endswith(".so.1.2.3")
    assert answer(unpacked(result, tmp_path / "site")) == "7"


def test_library_without_soname(tmp_path: Path, capsys: Capture) -> None:
    """The linker then writes the path that it was given into the needed entry."""
    library = compile_c(tmp_path / "lib" / "libfoo.so", "int foo(void) { return 7; }", "-shared", "-fPIC")
    extension = compile_extension(
        tmp_path / "ext.so", str(library), answer="foo()", declarations="extern int foo(void);"
    )
    assert elf.scan(extension.read_bytes()).needed[0] == str(library)
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out")
    shutil.rmtree(tmp_path / "lib")
    assert answer(unpacked(result, tmp_path / "site")) == "7"
    again(capsys, result, tmp_path / "again")


def test_libraries_that_need_each_other(tmp_path: Path, capsys: Capture) -> None:
    lib = tmp_path / "lib"
    compile_library(lib / "libb.so", "int b(void) { return 5; }")
    compile_library(lib / "liba.so", "int b(void); int a(void) { return b() + 1; }", str(lib / "libb.so"))
    compile_library(
        lib / "libb.so", "int a(void); int b(void) { return 5; } int c(void) { return a(); }", str(lib / "liba.so")
    )
    extension = compile_extension(tmp_path / "ext.so", str(lib / "libb.so"), f"-Wl,-rpath-link,{lib}",
                                  answer="c()", declarations="extern int c(void);")  # fmt: skip
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out", "--ldpaths", lib)
    assert answer(unpacked(result, tmp_path / "site")) == "6"
    again(capsys, result, tmp_path / "again")


def two_copies(tmp_path: Path, values: Sequence[int]) -> Path:
    """A wheel of extension modules of one name, each of them linked against its own file of one soname."""
    files: dict[str, Any] = {}
    for number, value in enumerate(values):
        library = compile_library(tmp_path / f"lib{number}" / "libfoo.so.1", f"int foo(void) {{ return {value}; }}")
        files[f"demo/p{number}/ext.so"] = compile_extension(
            tmp_path / f"ext{number}.so", str(library), f"-Wl,-rpath,{library.parent}",
            answer="foo()", declarations="extern int foo(void);",
        )  # fmt: skip
        files[f"demo/p{number}/__init__.py"] = b""
    return make_wheel(tmp_path, {**files, "demo/__init__.py": b""}, RAW_NAME)


def test_library_that_finds_two_others(tmp_path: Path, capsys: Capture) -> None:
    """One library, led by the RPATHs of two modules to two files of one soname: each module gets its own pair."""
    middle = "int foo(void); int middle(void) { return 10 * foo(); }"
    files: dict[str, Any] = {"demo/__init__.py": b""}
    for number in (1, 2):
        lib = tmp_path / f"lib{number}"
        foo = compile_library(lib / "libfoo.so.1", f"int foo(void) {{ return {number}; }}")
        shared = compile_library(tmp_path / "lib" / "libmiddle.so", middle, str(foo))
        files[f"demo/ext{number}.so"] = compile_extension(
            tmp_path / f"ext{number}.so", str(shared), "-Wl,--disable-new-dtags", f"-Wl,-rpath,{shared.parent}:{lib}",
            f"-Wl,-rpath-link,{lib}", module=f"ext{number}", answer="middle()", declarations="extern int middle(void);",
        )  # fmt: skip
    result = repaired(capsys, make_wheel(tmp_path, files, RAW_NAME), tmp_path / "out")
    for name in ("lib", "lib1", "lib2"):
        shutil.rmtree(tmp_path / name)
    names = [name.split("-")[0] for name in read_members(result) if name.startswith("demo.libs/")]
    assert names == ["demo.libs/libfoo"] * 2 + ["demo.libs/libmiddle"] * 2
    site = unpacked(result, tmp_path / "site")
    assert answer(site, "[__import__(f'demo.ext{n}', fromlist='x').answer() for n in (1, 2)]") == "[10, 20]"
    assert answer(site, "[__import__(f'demo.ext{n}', fromlist='x').answer() for n in (2, 1)]") == "[20, 10]"
    again(capsys, result, tmp_path / "again")


def versioned(path: Path, version: str, source: str, *flags: str) -> Path:
    script = path.parent / f"{version}.map"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(f"{version} {{ global: *; }};")
    return compile_library(path, source, f"-Wl,--version-script={script}", *flags)


def test_two_versions_of_a_library_in_one_load(tmp_path: Path, capsys: Capture) -> None:
    """The loader would take the first for both and fail; under names of their own both are there."""
    old = versioned(tmp_path / "old" / "libfoo.so.1", "V1", "int foo(void) { return 1; }")
    new = versioned(tmp_path / "new" / "libfoo.so.1", "V2", "int foo(void) { return 20; }")
    user = compile_library(
        tmp_path / "lib" / "libuser.so", "int foo(void); int user(void) { return foo(); }",
        str(new), f"-Wl,-rpath,{new.parent}",
    )  # fmt: skip
    extension = compile_extension(
        tmp_path / "ext.so", str(old), str(user), f"-Wl,-rpath,{old.parent}:{user.parent}",
        "-Wl,--allow-shlib-undefined", answer="foo() + user()", declarations="extern int foo(void), user(void);",
    )  # fmt: skip
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    outcome = run(capsys, "repair", wheel, "-w", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert str(old) in outcome.err
    assert str(new) in outcome.err
    for path in (old, new, user):
        path.unlink()
    assert answer(unpacked(Path(outcome.out.strip()), tmp_path / "site")) == "21"


def test_bundled_library_serves_a_grafted_one(tmp_path: Path, capsys: Capture) -> None:
    """As it would without a repair: it is loaded first. Its state is not there twice."""
    counter = compile_library(tmp_path / "lib" / "libcounter.so", "int n; int count(void) { return ++n; }")
    user = compile_library(
        tmp_path / "lib" / "libuser.so", "int count(void); int user(void) { return count(); }", str(counter),
        "-Wl,-rpath,$ORIGIN",
    )  # fmt: skip
    extension = compile_extension(
        tmp_path / "ext.so", str(counter), str(user), f"-Wl,-rpath,$ORIGIN/own:{user.parent}",
        answer="count() * 10 + user()", declarations="extern int count(void), user(void);",
    )  # fmt: skip
    files = {EXT: extension, "demo/own/libcounter.so": counter, "demo/__init__.py": b""}
    result = repaired(capsys, make_wheel(tmp_path, files, RAW_NAME), tmp_path / "out")
    shutil.rmtree(tmp_path / "lib")
    (graft,) = [name for name in read_members(result) if name.startswith("demo.libs/")]
    assert facts(result, graft).needed[0] == "libcounter.so"
    assert facts(result, graft).rpath == "$ORIGIN/../demo/own"
    site = unpacked(result, tmp_path / "site")
    assert answer(site) in ("12", "21")
    alone = f"__import__('ctypes').CDLL({str(site / graft)!r}).user()"  # and finds it when it is loaded by itself
    assert answer(site, alone) == "1"
    again(capsys, result, tmp_path / "again")


def test_bundled_file_that_two_modules_lead_elsewhere(tmp_path: Path, capsys: Capture) -> None:
    """It can be linked with one of two libraries only: no name cures that."""
    files: dict[str, Any] = {"demo/__init__.py": b""}
    for number in (1, 2):
        foo = compile_library(tmp_path / f"lib{number}" / "libfoo.so.1", f"int foo(void) {{ return {number}; }}")
        files["demo/libmiddle.so"] = compile_library(
            tmp_path / "libmiddle.so", "int foo(void); int middle(void) { return foo(); }", str(foo)
        )
        files[f"demo/ext{number}.so"] = compile_extension(
            tmp_path / f"ext{number}.so", str(files["demo/libmiddle.so"]), "-Wl,--disable-new-dtags",
            f"-Wl,-rpath,$ORIGIN:{foo.parent}", f"-Wl,-rpath-link,{foo.parent}", module=f"ext{number}",
            answer="middle()", declarations="extern int middle(void);",
        )  # fmt: skip
    error = refuse(capsys, 8, "repair", make_wheel(tmp_path, files, RAW_NAME), "-w", tmp_path / "out")
    for name in ("demo/libmiddle.so", str(tmp_path / "lib1/libfoo.so.1"), str(tmp_path / "lib2/libfoo.so.1")):
        assert name in error


def test_bundled_library_under_another_file_name(tmp_path: Path, capsys: Capture) -> None:
    library = compile_library(tmp_path / "lib" / "libfoo.so.1", "int foo(void) { return 9; }")
    user = compile_library(
        tmp_path / "lib" / "libuser.so", "int foo(void); int user(void) { return foo(); }", str(library)
    )
    extension = compile_extension(
        tmp_path / "ext.so", str(user), str(library), "-Wl,-rpath,$ORIGIN/lib", "-Wl,--no-as-needed",
        answer="user() + foo()", declarations="extern int user(void), foo(void);",
    )  # fmt: skip
    files = {EXT: extension, "demo/lib/foo-1.9.so": library, "demo/lib/libuser.so": user, "demo/__init__.py": b""}
    wheel = make_wheel(tmp_path, files, RAW_NAME)
    shutil.rmtree(tmp_path / "lib")
    result = repaired(capsys, wheel, tmp_path / "out")
    assert not [name for name in read_members(result) if name.startswith("demo.libs/")]
    assert "foo-1.9.so" in facts(result, EXT).needed
    assert answer(unpacked(result, tmp_path / "site")) == "18"
    again(capsys, result, tmp_path / "again")


def test_promised_library_is_grafted_when_asked_for(tmp_path: Path, capsys: Capture) -> None:
    extension = compile_extension(
        tmp_path / "ext.so", "-Wl,--no-as-needed", "-l:libgcc_s.so.1", answer="_Unwind_Find_FDE(0, 0) == 0",
        declarations="extern void *_Unwind_Find_FDE(void *, void *);",
    )  # fmt: skip
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    plain = repaired(capsys, wheel, tmp_path / "plain")
    assert not [name for name in read_members(plain) if name.startswith("demo.libs/")]
    result = repaired(capsys, wheel, tmp_path / "out", "--graft", "libgcc_s.so.*", "--graft", "libz.so.1")
    (graft,) = [name for name in read_members(result) if name.startswith("demo.libs/")]
    assert graft.startswith("demo.libs/libgcc_s-")
    assert facts(result, EXT).needed[0] == graft[len("demo.libs/") :]
    assert answer(unpacked(result, tmp_path / "site")) == "1"
    again(capsys, result, tmp_path / "again")
    every = repaired(capsys, wheel, tmp_path / "every", "--graft", "*")
    grafted = [name for name in read_members(every) if name.startswith("demo.libs/")]
    assert grafted == [graft]  # the C library stays what it is
    assert "C library" in refuse(capsys, 3, "repair", wheel, "-w", tmp_path / "no", "--graft", "libc.so.6")


def test_two_files_of_one_soname(tmp_path: Path, capsys: Capture) -> None:
    result = repaired(capsys, two_copies(tmp_path, [1, 2]), tmp_path / "out")
    assert len([name for name in read_members(result) if name.startswith("demo.libs/")]) == 2
    site = unpacked(result, tmp_path / "site")
    expression = "(__import__('demo.p0.ext').p0.ext.answer(), __import__('demo.p1.ext').p1.ext.answer())"
    assert answer(site, expression) == "(1, 2)"
    again(capsys, result, tmp_path / "again")


def test_two_copies_of_one_library(tmp_path: Path, capsys: Capture) -> None:
    result = repaired(capsys, two_copies(tmp_path, [1, 1]), tmp_path / "out")
    assert len([name for name in read_members(result) if name.startswith("demo.libs/")]) == 1
    expression = "(__import__('demo.p0.ext').p0.ext.answer(), __import__('demo.p1.ext').p1.ext.answer())"
    assert answer(unpacked(result, tmp_path / "site"), expression) == "(1, 1)"


def test_one_soname_and_two_files_within_the_wheel(tmp_path: Path, capsys: Capture) -> None:
    files: dict[str, Any] = {"demo/__init__.py": b""}
    for number in (0, 1):
        library = compile_library(tmp_path / f"lib{number}" / "libfoo.so.1", f"int foo(void) {{ return {number}; }}")
        files[f"demo/lib{number}/libfoo.so.1"] = library
        module = f"ext{number}"
        files[f"demo/{module}.so"] = compile_extension(
            tmp_path / f"{module}.so", str(library), f"-Wl,-rpath,$ORIGIN/lib{number}",
            module=module, answer="foo()", declarations="extern int foo(void);",
        )  # fmt: skip
    wheel = make_wheel(tmp_path, files, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out")
    for number in (0, 1):
        site = unpacked(result, tmp_path / "site")
        assert answer(site, f"__import__('demo.ext{number}').ext{number}.answer()") == str(number)
        assert facts(result, f"demo/ext{number}.so").needed[0] == "libfoo.so.1"


def test_library_in_the_wheel_without_rpath(tmp_path: Path, capsys: Capture) -> None:
    library = compile_library(tmp_path / "lib" / "libfoo.so.1", "int foo(void) { return 9; }")
    extension = compile_extension(
        tmp_path / "ext.so", str(library), answer="foo()", declarations="extern int foo(void);"
    )
    files = {"demo/deep/ext.so": extension, "demo/lib/libfoo.so.1": library, "demo/__init__.py": b""}
    wheel = make_wheel(tmp_path, {**files, "demo/deep/__init__.py": b""}, RAW_NAME)
    shutil.rmtree(tmp_path / "lib")
    result = repaired(capsys, wheel, tmp_path / "out")
    assert not [name for name in read_members(result) if name.startswith("demo.libs/")]
    assert facts(result, "demo/deep/ext.so").rpath == "$ORIGIN/../lib"
    assert answer(unpacked(result, tmp_path / "site"), "__import__('demo.deep.ext').deep.ext.answer()") == "9"
    again(capsys, result, tmp_path / "again")


def test_nearest_of_several_bundled_libraries(tmp_path: Path, capsys: Capture) -> None:
    """Two sub-packages bring a library of the same name each; each gets its own."""
    files: dict[str, Any] = {"demo/__init__.py": b""}
    for package, value in (("a", 1), ("b", 2)):
        library = compile_library(tmp_path / package / "libfoo.so", f"int foo(void) {{ return {value}; }}")
        files[f"demo/{package}/lib/libfoo.so"] = library
        files[f"demo/{package}/__init__.py"] = b""
        files[f"demo/{package}/ext.so"] = compile_extension(
            tmp_path / package / "ext.so", str(library), answer="foo()", declarations="extern int foo(void);"
        )
    result = repaired(capsys, make_wheel(tmp_path, files, RAW_NAME), tmp_path / "out")
    site = unpacked(result, tmp_path / "site")
    for package, value in (("a", 1), ("b", 2)):
        assert answer(site, f"__import__('demo.{package}.ext').{package}.ext.answer()") == str(value)


def test_rpath_that_leaves_the_wheel_goes(tmp_path: Path, capsys: Capture) -> None:
    path = "/opt/lib:$ORIGIN/../../../lib:$ORIGIN:$ORIGIN/../other.libs:lib"
    extension = compile_extension(tmp_path / "ext.so", f"-Wl,-rpath,{path}")
    result = repaired(capsys, make_wheel(tmp_path, {EXT: extension}, RAW_NAME), tmp_path / "out")
    assert facts(result, EXT).rpath == "$ORIGIN:$ORIGIN/../other.libs"


@pytest.mark.parametrize("token", ["$LIB", "$ORIGIN/$LIB", "$PLATFORM"])
def test_tokens_in_the_runpath(token: str, tmp_path: Path, capsys: Capture) -> None:
    library = compile_library(tmp_path / "lib" / "libfoo.so", "int foo(void) { return 9; }")
    extension = compile_extension(
        tmp_path / "ext.so", str(library), f"-Wl,-rpath,{token}", answer="foo()", declarations="extern int foo(void);"
    )
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    refuse(capsys, 8, "repair", wheel, "-w", tmp_path / "out")
    assert entries(tmp_path / "out") == []
    result = repaired(capsys, wheel, tmp_path / "out", "--ldpaths", tmp_path / "lib")
    assert facts(result, EXT).rpath == "$ORIGIN/../demo.libs"


def test_libpython_is_dropped(tmp_path: Path, capsys: Capture) -> None:
    """Of extension modules and of what they bring along, since the interpreter that imports them has it all."""
    for name in ("libpython3.14t.so.1.0", "libpython3.so"):
        compile_library(tmp_path / "lib" / name, "void PyHidden_Symbol(void) {}")
    helper = compile_library(
        tmp_path / "lib" / "libhelper.so", "int helper(void) { return 3; }", "-Wl,--no-as-needed",
        str(tmp_path / "lib" / "libpython3.so"),
    )  # fmt: skip
    extension = compile_extension(
        tmp_path / "ext.so", "-Wl,--no-as-needed", str(tmp_path / "lib" / "libpython3.14t.so.1.0"), str(helper),
        f"-Wl,-rpath-link,{tmp_path}/lib", answer="helper()", declarations="extern int helper(void);",
    )  # fmt: skip
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    assert "libpython3.14t.so.1.0" in run(capsys, "audit", wheel).out
    result = repaired(capsys, wheel, tmp_path / "out", "--ldpaths", tmp_path / "lib")
    needed = {name for member in read_members(result) if ".so" in member for name in facts(result, member).needed}
    assert not [name for name in needed if "python" in name]
    shutil.rmtree(tmp_path / "lib")
    assert answer(unpacked(result, tmp_path / "site")) == "3"


def test_executable_keeps_libpython_and_is_refused(tmp_path: Path, capsys: Capture) -> None:
    library = compile_library(tmp_path / "lib" / "libpython3.so", "int Py_BytesMain(void) { return 0; }")
    tool = compile_c(
        tmp_path / "tool", "int Py_BytesMain(void); int main(void) { return Py_BytesMain(); }", str(library)
    )
    wheel = make_wheel(
        tmp_path, {"demo-1.0.data/scripts/tool": tool, "demo/ext.so": compile_extension(tmp_path / "e.so")}, RAW_NAME
    )
    assert "libpython3.so" in refuse(capsys, 1, "repair", wheel, "-w", tmp_path / "out", "--ldpaths", tmp_path / "lib")
    assert entries(tmp_path / "out") == []


# --- executables -------------------------------------------------------------------------------------------------


def tool_wheel(tmp_path: Path, **more: Any) -> tuple[Path, Path]:
    """A wheel with an executable among its scripts that needs a private library, and that library's directory."""
    library = compile_library(tmp_path / "lib" / "libfoo.so.1", "int foo(void) { return 7; }")
    body = 'int main(int n, char **v) { printf("%d %s\\n", foo(), v[n - 1]); return 3; }'
    source = f"#include <stdio.h>\nint foo(void); {body}"
    tool = compile_c(tmp_path / "tool", source, str(library))
    wheel = make_wheel(
        tmp_path,
        {"demo/__init__.py": b"", "demo-1.0.data/scripts/tool": tool},
        f"demo-1.0-py3-none-linux_{MACHINE}.whl",
        **more,
    )
    return wheel, library.parent


@pytest.mark.parametrize("mode", [0o755, 0o644])
def test_executables_move_behind_a_launcher(mode: int, tmp_path: Path, capsys: Capture) -> None:
    wheel, lib = tool_wheel(tmp_path, modes={"demo-1.0.data/scripts/tool": mode})
    result = repaired(capsys, wheel, tmp_path / "out", "--ldpaths", lib)
    members = read_members(result)
    assert members["demo-1.0.data/scripts/tool"].startswith(b"#!python\n")
    assert members["demo.scripts/tool"][:4] == b"\x7fELF"
    with zipfile.ZipFile(result) as archive:
        assert archive.getinfo("demo.scripts/tool").external_attr >> 16 == 0o100755
        assert archive.getinfo("demo-1.0.data/scripts/tool").external_attr >> 16 == 0o100755
    again(capsys, result, tmp_path / "again")


@pytest.mark.parametrize("way", ["venv", "target"])
def test_launcher_works_when_installed(way: str, tmp_path: Path, capsys: Capture) -> None:
    wheel, lib = tool_wheel(tmp_path)
    result = repaired(capsys, wheel, tmp_path / "out", "--ldpaths", lib)
    shutil.rmtree(lib)
    if way == "venv":
        python, environ = new_venv(tmp_path / "venv"), {}
        pip(python, "install", str(result))
        script = tmp_path / "venv" / "bin" / "tool"
    else:
        pip(Path(sys.executable), "install", "--target", str(tmp_path / "target"), str(result))
        script, environ = tmp_path / "target" / "bin" / "tool", {"PYTHONPATH": str(tmp_path / "target")}
    done = subprocess.run([script, "a b"], capture_output=True, text=True, check=False, env={**os.environ, **environ})
    assert (done.returncode, done.stdout) == (3, "7 a b\n"), done.stderr


def test_place_of_a_moved_executable_is_taken(tmp_path: Path, capsys: Capture) -> None:
    wheel, lib = tool_wheel(tmp_path)
    files = {name: data for name, data in read_members(wheel).items() if not name.startswith(DIST_INFO)}
    wheel = make_wheel(tmp_path / "2", {**files, "demo.scripts/tool": b"mine"}, wheel.name)
    assert "demo.scripts/tool" in refuse(capsys, 8, "repair", wheel, "-w", tmp_path / "out", "--ldpaths", lib)


def test_executable_without_foreign_libraries_stays(tmp_path: Path, capsys: Capture) -> None:
    tool = compile_c(tmp_path / "tool", "int main(void) { return 0; }")
    wheel = make_wheel(tmp_path, {"demo-1.0.data/scripts/tool": tool}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out")
    assert read_members(result)["demo-1.0.data/scripts/tool"] == tool.read_bytes()


def test_static_executable_stays(tmp_path: Path, capsys: Capture) -> None:
    probe = subprocess.run(
        [needs_cc(), "-static", "-x", "c", "-", "-o", str(tmp_path / "probe")],
        input="int main(void) { return 0; }", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if probe.returncode:
        pytest.skip("no static C library")
    wheel = make_wheel(tmp_path, {"demo-1.0.data/scripts/tool": tmp_path / "probe"}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out")
    assert read_members(result)["demo-1.0.data/scripts/tool"] == (tmp_path / "probe").read_bytes()
    assert "musl" not in result.name


def prefix_wheel(tmp_path: Path, rpath: str) -> tuple[Path, Path]:
    """An executable in ``bin`` and its library in ``lib`` of the environment, as a Unix package lays them out."""
    library = compile_library(tmp_path / "lib" / "libfoo.so.1", "int foo(void) { return 7; }")
    tool = compile_c(
        tmp_path / "tool", "int foo(void); int main(void) { return foo(); }", str(library), f"-Wl,-rpath,{rpath}"
    )
    data = "demo-1.0.data"
    return make_wheel(
        tmp_path, {f"{data}/scripts/tool": tool, f"{data}/data/lib/libfoo.so.1": library}, RAW_NAME
    ), library


def test_executable_and_library_of_the_environment(tmp_path: Path, capsys: Capture) -> None:
    wheel, library = prefix_wheel(tmp_path, "$ORIGIN/../lib")
    result = repaired(capsys, wheel, tmp_path / "out")
    library.unlink()
    members = read_members(result)
    for member, place in (("scripts/tool", "bin/tool"), ("data/lib/libfoo.so.1", "lib/libfoo.so.1")):
        path = tmp_path / "prefix" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(members[f"demo-1.0.data/{member}"])
        path.chmod(0o755)
    assert subprocess.run([tmp_path / "prefix" / "bin" / "tool"], check=False).returncode == 7


def test_rpath_is_set_within_the_environment(tmp_path: Path, capsys: Capture) -> None:
    wheel, _ = prefix_wheel(tmp_path, "/nowhere")
    result = repaired(capsys, wheel, tmp_path / "out")
    assert facts(result, "demo-1.0.data/scripts/tool").rpath == "$ORIGIN/../lib"


def test_library_of_the_environment_cannot_have_grafts(tmp_path: Path, capsys: Capture) -> None:
    """No relative path leads from there to site-packages; nothing is written that would not load."""
    library = compile_library(tmp_path / "lib" / "libfoo.so.1", "int foo(void) { return 7; }")
    other = compile_library(tmp_path / "other.so", "int foo(void); int bar(void) { return foo(); }", str(library))
    wheel = make_wheel(tmp_path, {"demo-1.0.data/data/lib/other.so": other}, RAW_NAME)
    message = refuse(capsys, 8, "repair", wheel, "-w", tmp_path / "out", "--ldpaths", library.parent)
    assert "no relative path" in message
    assert entries(tmp_path / "out") == []


# --- shapes of wheels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "expression"),
    [
        ("demo/ext.so", "__import__('demo.ext').ext.answer()"),
        ("ext.so", "__import__('ext').answer()"),
        ("demo-1.0.data/platlib/demo/ext.so", "__import__('demo.ext').ext.answer()"),
        ("space/a/b/c/ext.so", "__import__('space.a.b.c.ext').a.b.c.ext.answer()"),
        ("demo/with space/ext.so", "__import__('importlib').import_module('demo.with space.ext').answer()"),
        ("d\u00e9mo/\u6587/ext.so", "__import__('d\u00e9mo.\u6587.ext').\u6587.ext.answer()"),
        (
            "demo/" + "\u6587" * 60 + "/ext.so",
            "__import__('importlib').import_module('demo.' + '\u6587' * 60 + '.ext').answer()",
        ),
    ],
    ids=["package", "root", "platlib", "namespace", "space", "letters", "long"],
)
def test_places_of_an_extension(member: str, expression: str, tmp_path: Path, capsys: Capture) -> None:
    extension, lib = tree(tmp_path)
    result = repaired(capsys, make_wheel(tmp_path, {member: extension}, RAW_NAME), tmp_path / "out")
    shutil.rmtree(lib)
    assert answer(unpacked(result, tmp_path / "site"), expression) == "42"
    again(capsys, result, tmp_path / "again")


def test_name_of_a_library_in_other_letters(tmp_path: Path, capsys: Capture) -> None:
    name = "lib" + "\u6587" * 40 + " x.so"
    library = compile_library(tmp_path / "lib" / name, "int foo(void) { return 7; }")
    extension = compile_extension(
        tmp_path / "ext.so", str(library), answer="foo()", declarations="extern int foo(void);"
    )
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out", "--ldpaths", library.parent)
    shutil.rmtree(library.parent)
    assert answer(unpacked(result, tmp_path / "site")) == "7"


def test_several_packages_with_extensions_of_one_name(tmp_path: Path, capsys: Capture) -> None:
    extension, lib = tree(tmp_path)
    files: dict[str, Any] = {f"{name}/ext.so": extension for name in ("one", "two", "two/sub")}
    result = repaired(capsys, make_wheel(tmp_path, files, RAW_NAME), tmp_path / "out")
    shutil.rmtree(lib)
    site = unpacked(result, tmp_path / "site")
    assert facts(result, "two/sub/ext.so").rpath == "$ORIGIN/../../demo.libs"
    for name in ("one", "two", "two.sub"):
        assert answer(site, f"__import__('importlib').import_module('{name}.ext').answer()") == "42"


def test_build_tag_is_kept(tmp_path: Path, capsys: Capture) -> None:
    name = f"demo-1.0-7foo-{PYTHON_TAG}-{PYTHON_TAG}-linux_{MACHINE}.whl"
    result = repaired(
        capsys, make_wheel(tmp_path, {EXT: compile_extension(tmp_path / "ext.so")}, name), tmp_path / "out"
    )
    assert result.name.startswith(f"demo-1.0-7foo-{PYTHON_TAG}-{PYTHON_TAG}-manylinux")
    again(capsys, result, tmp_path / "again")


def test_wheel_file_changes_only_in_its_tags(tmp_path: Path, capsys: Capture) -> None:
    text = b"Wheel-Version: 1.0\r\nGenerator: x\r\nRoot-Is-Purelib: false\r\n"
    text += b"Tag: a-b-linux_x\r\nBuild: 7\r\nTag: c-d-e\r\n"
    wheel = make_wheel(tmp_path, {EXT: compile_extension(tmp_path / "ext.so")}, RAW_NAME, wheel=text)
    result = repaired(capsys, wheel, tmp_path / "out")
    lines = read_members(result)[f"{DIST_INFO}/WHEEL"].split(b"\r\n")
    tags = result.name[: -len(".whl")].split("-", 2)[2].split("-")
    expected = [f"Tag: {tags[0]}-{tags[1]}-{platform}".encode() for platform in tags[2].split(".")]
    assert lines[:3] == text.split(b"\r\n")[:3]
    assert lines[3:] == [*expected, b"Build: 7", b""]
    again(capsys, result, tmp_path / "again")


def test_metadata_and_other_files_stay_as_they_are(tmp_path: Path, capsys: Capture) -> None:
    files: Mapping[str, Any] = {
        EXT: compile_extension(tmp_path / "ext.so"),
        "demo/data.bin": bytes(range(256)) * 100,
        "demo/empty": b"",
        "demo/crlf.py": b"x = 1\r\n",
        f"{DIST_INFO}/entry_points.txt": b"[console_scripts]\n",
        f"{DIST_INFO}/licenses/LICENSE": b"free",
    }
    wheel = make_wheel(tmp_path, files, RAW_NAME, modes={"demo/data.bin": 0o755, "demo/empty": 0o600, EXT: 0o775})
    result = repaired(capsys, wheel, tmp_path / "out")
    members = read_members(result)
    assert members[f"{DIST_INFO}/METADATA"] == METADATA
    for name in files:
        assert members[name] == read_members(wheel)[name]
    with zipfile.ZipFile(result) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    assert (modes["demo/data.bin"], modes["demo/empty"], modes[EXT]) == (0o100755, 0o100644, 0o100755)
    assert list(members)[-1] == f"{DIST_INFO}/RECORD"


def test_record_with_sha512(tmp_path: Path, capsys: Capture) -> None:
    extension, _ = tree(tmp_path)
    files = {EXT: extension, "demo/__init__.py": b"x = 1\n"}
    wheel = make_wheel(tmp_path, files, RAW_NAME, algorithm="sha512")
    result = repaired(capsys, wheel, tmp_path / "out")
    again(capsys, result, tmp_path / "again")
    lies = read_members(wheel)[f"{DIST_INFO}/RECORD"].replace(b"sha512=", b"sha512=A", 1)
    wheel = make_wheel(tmp_path / "lying", files, RAW_NAME, record=lies)
    refuse(capsys, 7, "repair", wheel, "-w", tmp_path / "out2")


def test_signatures_of_record_are_dropped(tmp_path: Path, capsys: Capture) -> None:
    """They sign the RECORD that a repair replaces."""
    wheel = make_wheel(
        tmp_path, {EXT: compile_extension(tmp_path / "ext.so"), f"{DIST_INFO}/RECORD.jws": b"{}"}, RAW_NAME
    )
    assert f"{DIST_INFO}/RECORD.jws" not in read_members(repaired(capsys, wheel, tmp_path / "out"))


@pytest.mark.integration
def test_more_members_than_16_bits_can_count(tmp_path: Path, capsys: Capture) -> None:
    files: dict[str, Any] = {f"demo/{number:x}": b"" for number in range(66_000)}
    wheel = make_wheel(tmp_path, {**files, EXT: compile_extension(tmp_path / "ext.so")}, RAW_NAME)
    assert run(capsys, "repair", wheel, "-w", tmp_path / "out").code == 0
    (result,) = (tmp_path / "out").iterdir()
    with zipfile.ZipFile(result) as archive:
        assert len(archive.infolist()) == 66_004
    assert run(capsys, "audit", result).code == 0


def test_pure_wheel_is_copied(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/__init__.py": b""}, "demo-1.0-py3-none-any.whl", purelib=True)
    result = repaired(capsys, wheel, tmp_path / "out", "--plat", "manylinux_2_17")
    assert result.name == wheel.name
    assert result.read_bytes() == wheel.read_bytes()


def test_purelib_wheel_with_native_code_is_refused(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(
        tmp_path, {EXT: compile_extension(tmp_path / "ext.so")}, "demo-1.0-py3-none-any.whl", purelib=True
    )
    assert "Root-Is-Purelib" in refuse(capsys, 7, "repair", wheel, "-w", tmp_path / "out")


def test_wheel_for_any_platform_with_native_code_is_retagged(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {EXT: compile_extension(tmp_path / "ext.so")}, "demo-1.0-py3-none-any.whl")
    assert run(capsys, "audit", wheel).code == 1
    assert repaired(capsys, wheel, tmp_path / "out").name.startswith("demo-1.0-py3-none-manylinux")


# --- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["libouter.so.1", "libouter*", "lib*"])
def test_excluded_libraries_are_left_to_the_user(pattern: str, tmp_path: Path, capsys: Capture) -> None:
    extension, lib = tree(tmp_path)
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    result = repaired_excluding(capsys, wheel, tmp_path / "out", pattern)
    assert not [name for name in read_members(result) if name.startswith("demo.libs/")]
    assert "libouter.so.1" in facts(result, EXT).needed
    assert answer(unpacked(result, tmp_path / "site"), LD_LIBRARY_PATH=str(lib)) == "42"


def repaired_excluding(capsys: Capture, wheel: Path, out: Path, *patterns: str) -> Path:
    options = [option for pattern in patterns for option in ("--exclude", pattern)]
    outcome = run(capsys, "repair", wheel, "-w", out, *options)
    assert outcome.code == 0, outcome.err
    path = Path(outcome.out.strip())
    verify_record(path)
    assert run(capsys, "audit", path, *options).code == 0
    assert run(capsys, "audit", path).code == 1
    return path


def test_excluded_library_of_a_graft(tmp_path: Path, capsys: Capture) -> None:
    extension, _ = tree(tmp_path)
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    result = repaired_excluding(capsys, wheel, tmp_path / "out", "libinner.so.2")
    (graft,) = [name for name in read_members(result) if name.startswith("demo.libs/")]
    assert "libinner.so.2" in facts(result, graft).needed


@pytest.mark.parametrize("option", ["--only-plat", None])
def test_tags(option: Optional[str], tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {EXT: compile_extension(tmp_path / "ext.so", "-nostdlib")}, RAW_NAME)
    options = ["--plat", "manylinux_2_39", *([option] if option else [])]
    result = repaired(capsys, wheel, tmp_path / "out", *options)
    platforms = result.name[: -len(".whl")].rpartition("-")[2].split(".")
    assert f"manylinux_2_39_{MACHINE}" in platforms
    assert (len(platforms) == 1) == (option is not None)
    again(capsys, result, tmp_path / "again", *options)


def test_tags_left_alone(tmp_path: Path, capsys: Capture) -> None:
    extension, _ = tree(tmp_path)
    wheel = make_wheel(tmp_path, {EXT: extension}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out", "--no-update-tags")
    assert result.name == RAW_NAME
    assert read_members(result)[f"{DIST_INFO}/WHEEL"] == wheel_text(RAW_NAME)
    assert facts(result, EXT).rpath == "$ORIGIN/../demo.libs"


def test_name_of_the_directory_of_grafts(tmp_path: Path, capsys: Capture) -> None:
    extension, lib = tree(tmp_path)
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out", "-L", "_native-1.x")
    assert len([name for name in read_members(result) if name.startswith("demo_native-1.x/")]) == 2
    shutil.rmtree(lib)
    assert answer(unpacked(result, tmp_path / "site")) == "42"


def test_levels_of_compression(tmp_path: Path, capsys: Capture) -> None:
    extension, _ = tree(tmp_path)
    wheel = make_wheel(tmp_path, {EXT: extension}, RAW_NAME)
    results = {level: repaired(capsys, wheel, tmp_path / f"out{level}", "-z", level) for level in (0, 1, 9)}
    assert results[0].stat().st_size > results[1].stat().st_size >= results[9].stat().st_size
    assert len({tuple(read_members(result).items()) for result in results.values()}) == 1


def test_strip(tmp_path: Path, capsys: Capture) -> None:
    library = compile_library(tmp_path / "lib" / "libfoo.so.1", "static int hidden_one(void) { return 7; }\n"
                              "int foo(void) { return hidden_one(); }", "-g", "-O0")  # fmt: skip
    extension = compile_extension(
        tmp_path / "ext.so", str(library), "-g", answer="foo()", declarations="extern int foo(void);"
    )
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b"", "demo/arm": foreign_elf()}, RAW_NAME)
    result = repaired(capsys, wheel, tmp_path / "out", "--strip", "--ldpaths", library.parent)
    members = read_members(result)
    assert not [name for name, data in members.items() if b"hidden_one" in data]
    for name in members:
        if name.endswith((".so", ".so.1")):
            (tmp_path / "stripped").write_bytes(members[name])
            sections = subprocess.check_output(["readelf", "-SW", str(tmp_path / "stripped")], text=True)
            assert ".dynsym" in sections
            assert ".debug_" not in sections
            assert ".symtab" not in sections
    shutil.rmtree(library.parent)
    assert answer(unpacked(result, tmp_path / "site")) == "7"
    second = repaired(capsys, result, tmp_path / "again", "--strip")
    assert answer(unpacked(second, tmp_path / "site2")) == "7"


def foreign_elf() -> bytes:
    """An executable for another machine, as debuggers and packers carry them."""
    from elf_builder import Elf, build

    return build(Elf(machine=183 if MACHINE == "x86_64" else 62, needed=["libelsewhere.so"])).bytes


def test_executable_stack(tmp_path: Path, capsys: Capture) -> None:
    extension = compile_extension(tmp_path / "ext.so", "-z", "execstack")
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    assert "executable stack" in refuse(capsys, 1, "repair", wheel, "-w", tmp_path / "out")
    assert entries(tmp_path / "out") == []
    result = repaired(capsys, wheel, tmp_path / "out", "--clear-execstack")
    assert not facts(result, EXT).executable_stack
    assert answer(unpacked(result, tmp_path / "site")) == "42"


def test_several_wheels_at_once(tmp_path: Path, capsys: Capture) -> None:
    """A wheel that fails keeps no other from being repaired; the exit code is that of the worst."""
    good = make_wheel(tmp_path / "a", {EXT: compile_extension(tmp_path / "ext.so")}, RAW_NAME)
    bad = make_wheel(tmp_path / "b", {EXT: b"\x7fELF"}, RAW_NAME.replace("demo", "bad"))
    other = make_wheel(tmp_path / "c", {EXT: tmp_path / "ext.so"}, RAW_NAME.replace("demo", "other"))
    outcome = run(capsys, "repair", good, bad, other, "-w", tmp_path / "out", "--json")
    assert outcome.code == 7
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [line["wheel"].partition("-")[0] for line in lines] == ["demo", "bad", "other"]
    assert lines[1]["error"]["exit_code"] == 7
    assert len(entries(tmp_path / "out")) == 2


# --- musl --------------------------------------------------------------------------------------------------------


def musl_extension(tmp_path: Path, body: str = "") -> Path:
    """An extension module that needs ``libc.so``, as compilers for musl other than Alpine's own write it."""
    libc = compile_c(
        tmp_path / "musl" / "libc.so", "void *malloc(unsigned long n) { return 0; }", "-shared", "-fPIC", "-nostdlib",
        "-Wl,-soname,libc.so",
    )  # fmt: skip
    source = f"void *malloc(unsigned long); {body} void *PyInit_ext(void) {{ return malloc(1); }}"
    return compile_c(tmp_path / "ext.so", source, "-shared", "-fPIC", "-nostdlib", str(libc))


def test_needed_entry_of_musl_is_renamed(tmp_path: Path, capsys: Capture) -> None:
    name = f"demo-1.0-{PYTHON_TAG}-{PYTHON_TAG}-linux_{MACHINE}.whl"
    wheel = make_wheel(tmp_path, {EXT: musl_extension(tmp_path)}, name)
    assert "libc.so" in run(capsys, "audit", wheel).out
    result = repaired(capsys, wheel, tmp_path / "out", "--plat", "musllinux_1_2")
    (needed,) = facts(result, EXT).needed
    assert needed.startswith("libc.musl-")
    assert "musllinux_1_2" in result.name
    again(capsys, result, tmp_path / "again")


def test_symbol_of_glibc_in_a_musl_wheel(tmp_path: Path, capsys: Capture) -> None:
    extension = musl_extension(
        tmp_path, "int gnu_get_libc_version(void); int f(void) { return gnu_get_libc_version(); }"
    )
    wheel = make_wheel(tmp_path, {EXT: extension}, RAW_NAME)
    assert "gnu_get_libc_version" in refuse(capsys, 1, "repair", wheel, "-w", tmp_path / "out")


# --- the same bytes everywhere -----------------------------------------------------------------------------------


def test_same_bytes_in_any_circumstances(tmp_path: Path) -> None:
    extension, _ = tree(tmp_path)
    files = {"demo/\u00e9.py": b"", EXT: extension, "demo/__init__.py": b"x = 1\n"}
    results = []
    circumstances: list[tuple[int, dict[str, str], Any]] = [
        (0o022, {}, files),
        (0o077, {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "1"}, files),
        (0o000, {"TZ": "America/St_Johns", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2"}, dict(reversed(files.items()))),
    ]
    for number, (mask, environ, ordered) in enumerate(circumstances):
        place = tmp_path / f"place {number}"
        wheel = make_wheel(place, ordered, RAW_NAME)
        os.utime(wheel, (number, number))
        old = os.umask(mask)
        try:
            done = run_command("repair", wheel.name, "-w", "out", cwd=place, TMPDIR=str(place), **environ)
        finally:
            os.umask(old)
        assert done.returncode == 0, done.stderr
        (result,) = (place / "out").iterdir()
        assert result.stat().st_mode & 0o777 == 0o666 & ~mask
        results.append((result.name, result.read_bytes()))
        time.sleep(0.01)
    assert results[0][0] == results[1][0] == results[2][0]
    assert results[0][1] == results[1][1] == results[2][1]


@pytest.mark.parametrize(
    ("epoch", "when"),
    [
        ("1700000001", (2023, 11, 14, 22, 13, 20)),
        ("0", (1980, 1, 1, 0, 0, 0)),
        ("99999999999999999999", (2107, 12, 31, 23, 59, 58)),
        ("", (1980, 1, 1, 0, 0, 0)),
        ("yesterday", (1980, 1, 1, 0, 0, 0)),
        ("-1", (1980, 1, 1, 0, 0, 0)),
    ],
)
def test_time_of_members(
    epoch: str, when: tuple[int, ...], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    wheel = make_wheel(tmp_path, {EXT: compile_extension(tmp_path / "ext.so")}, RAW_NAME)
    with zipfile.ZipFile(repaired(capsys, wheel, tmp_path / "out")) as archive:
        assert {info.date_time for info in archive.infolist()} == {when}


# --- the neighbours ----------------------------------------------------------------------------------------------


def new_venv(directory: Path) -> Path:
    """The interpreter of a fresh virtual environment without pip (the running one's pip serves it)."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    return directory / "bin" / "python"


def pip(python: Path, *arguments: str) -> None:
    pytest.importorskip("pip")
    options = ["--disable-pip-version-check", "--no-input", "--python", str(python)]
    command = [sys.executable, "-m", "pip", *options, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(PIP_NO_INDEX="1"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_repaired_wheel_installs_and_imports(tmp_path: Path, capsys: Capture) -> None:
    extension, lib = tree(tmp_path)
    files = {EXT: extension, "demo/__init__.py": b"", "demo/caf\u00e9.txt": b"x", "demo/a,b.txt": b"y"}
    result = repaired(capsys, make_wheel(tmp_path, files, RAW_NAME), tmp_path / "out")
    shutil.rmtree(lib)
    python = new_venv(tmp_path / "venv")
    pip(python, "install", str(result))
    done = subprocess.run(
        [python, "-I", "-c", "import demo.ext; print(demo.ext.answer())"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "42\n", done.stderr


def auditwheel(*arguments: object) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("auditwheel")
    command = [sys.executable, "-m", "auditwheel", *map(str, arguments)]
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**environment(), "PATH": paths})
    assert done.returncode == 0, done.stderr
    return done


def test_auditwheel_agrees_and_has_nothing_to_do(tmp_path: Path, capsys: Capture) -> None:
    extension, _ = tree(tmp_path)
    result = repaired(
        capsys, make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME), tmp_path / "out"
    )
    ours = json.loads(run(capsys, "audit", "--json", result).out)["policy"]
    shown = auditwheel("show", result).stdout
    assert f'"{ours}"' in shown
    assert ours in result.name
    auditwheel("repair", result, "-w", tmp_path / "theirs", "--plat", ours)
    (theirs,) = (tmp_path / "theirs").iterdir()
    native = lambda path: {name: data for name, data in read_members(path).items() if data[:4] == b"\x7fELF"}  # noqa: E731
    assert native(theirs) == native(result)


def test_what_auditwheel_repaired_is_left_alone(tmp_path: Path, capsys: Capture) -> None:
    extension, lib = tree(tmp_path)
    path = f"-Wl,-rpath,{lib}"  # auditwheel reads no extension module that does not name its libc
    compile_extension(
        extension, "-Wl,--no-as-needed", str(lib / "libouter.so.1"), path, f"-Wl,-rpath-link,{lib}", "-lc"
    )
    wheel = make_wheel(tmp_path, {EXT: extension, "demo/__init__.py": b""}, RAW_NAME)
    auditwheel("repair", wheel, "-w", tmp_path / "theirs")
    (theirs,) = (tmp_path / "theirs").iterdir()
    result = repaired(capsys, theirs, tmp_path / "out")
    assert set(theirs.name.rpartition("-")[2][:-4].split(".")) <= set(result.name.rpartition("-")[2][:-4].split("."))
    native = lambda path: {name: data for name, data in read_members(path).items() if data[:4] == b"\x7fELF"}  # noqa: E731
    assert native(theirs) == native(result)


# --- what changes under our hands --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_library_that_does_not_stay(how: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the plan, which names it by its hash, and the writing of it."""
    from portable_backend.repairing import apply

    extension, lib = tree(tmp_path)
    wheel = make_wheel(tmp_path, {EXT: extension}, RAW_NAME)
    library, plan_repair = lib / "libinner.so.2", apply.plan_repair

    def plan(*arguments: Any) -> Any:
        result = plan_repair(*arguments)
        library.unlink() if how == "gone" else library.write_bytes(b"\x7fELF" + bytes(500))
        return result

    monkeypatch.setattr(apply, "plan_repair", plan)
    told = refuse(capsys, 8, "repair", wheel, "-w", tmp_path / "out")
    assert "libinner.so.2" in told
    assert entries(tmp_path / "out") == []


def test_input_that_is_changed_meanwhile(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from portable_backend.repairing import apply

    wheel = make_wheel(tmp_path, {EXT: compile_extension(tmp_path / "ext.so"), "demo/data": b"x" * 9999}, RAW_NAME)
    plan_repair = apply.plan_repair

    def plan(*arguments: Any) -> Any:
        with wheel.open("r+b") as file:
            byte = file.read(1)
            file.seek(0)
            file.write(byte)
        os.utime(wheel, ns=(1, 1))
        return plan_repair(*arguments)

    monkeypatch.setattr(apply, "plan_repair", plan)
    assert "was changed while" in refuse(capsys, 7, "repair", wheel, "-w", tmp_path / "out")
    assert entries(tmp_path / "out") == []


def test_copied_member_that_arrives_damaged(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that are copied are compared with the input; what differs is read and judged as it is."""
    from portable_backend.repairing import apply

    wheel = make_wheel(tmp_path, {EXT: compile_extension(tmp_path / "ext.so"), "demo/data": b"y" * 9999}, RAW_NAME)
    write_archive = apply.write_archive

    def write(file: Any, *arguments: Any, **named: Any) -> None:
        write_archive(file, *arguments, **named)
        file.flush()
        file.seek(0)
        at = file.read().index(b"demo/data") + len("demo/data") + 3
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x10]))

    monkeypatch.setattr(apply, "write_archive", write)
    assert "demo/data" in refuse(capsys, 7, "repair", wheel, "-w", tmp_path / "out")
    assert entries(tmp_path / "out") == []


@pytest.mark.parametrize(("version", "policy"), [("2.30", "manylinux_2_30"), ("2.29", "manylinux_2_30")])
def test_target_between_two_published_policies(version: str, policy: str, tmp_path: Path, capsys: Capture) -> None:
    raw = make_wheel(tmp_path, {"demo/ext.so": libc_extension(f"GLIBC_{version}")})
    wheel = repaired(capsys, raw, tmp_path / "out", "--plat", "manylinux_2_30_x86_64")
    assert f"{policy}_x86_64" in wheel.name, "every version of glibc is a tag (PEP 600)"
    newer = make_wheel(tmp_path / "newer", {"demo/ext.so": libc_extension("GLIBC_2.31")})
    said = refuse(capsys, 1, "repair", newer, "-w", tmp_path / "out", "--plat", "manylinux_2_30_x86_64")
    assert "GLIBC_2.31" in said
