"""Thirteen wheels about which auditwheel 6.8.2 is wrong, built on the spot; each test is named after what is true.

Where it matters, a load on a machine of the age in question is the proof (a bare container, see ``tests/images``).
What auditwheel says is held against the very version that was measured (:func:`peer`): a later one may be right.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import packaging
import pytest
from command_line import entries, run
from wheel_maker import (
    MACHINE,
    RAW_NAME,
    SOURCE,
    compile_c,
    compile_extension,
    compile_library,
    environment,
    libc_extension,
    make_wheel,
    needs_cc,
    read_members,
    verify_record,
)

from portable_backend import elf
from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.verdict import Finding, JudgeOptions, Verdict
from support.images import bare_image, need, run_in

Capture = pytest.CaptureFixture[str]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="files and containers are for x86-64"),
]
MEASURED = "6.8.2"
OLDEST = "manylinux_2_5_x86_64"
FOO = "extern int foo(void);"


@pytest.fixture(autouse=True)
def compiler() -> None:
    needs_cc()


@pytest.fixture(scope="session")
def glibc_2_31() -> str:
    """An image with glibc 2.31."""
    return bare_image("bullseye")


@pytest.fixture(scope="session")
def glibc_2_36() -> str:
    """An image with glibc 2.36."""
    return bare_image("bookworm")


# --- what the tests share ----------------------------------------------------------------------------------------


def judged(wheel: Path) -> Verdict:
    return read_verdict(wheel, JudgeOptions())


def found(verdict: Verdict, kind: str) -> list[Finding]:
    return [finding for finding in verdict.findings if finding.kind == kind]


def auditwheel(*arguments: object) -> Optional[subprocess.CompletedProcess[str]]:
    """Run the version of auditwheel that was measured; ``None`` if it is not here."""
    if importlib.util.find_spec("auditwheel") is None or importlib.metadata.version("auditwheel") != MEASURED:
        return None
    command = [sys.executable, "-m", "auditwheel", *map(str, arguments)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**environment(), "PATH": path})


def peer(wheel: Path, says: str) -> None:
    """Hold auditwheel to the policy that it was measured to give a wheel, or to ``error`` for a traceback."""
    done = auditwheel("show", "--json", wheel)
    if done is not None:
        failed = done.returncode != 0 and "Traceback" in done.stderr
        assert ("error" if failed else json.loads(done.stdout).get("overall_tag")) == says, done


def without_sections(path: Path) -> bytes:
    """A file without its section headers, as some packers make them; loaders do not notice."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, 40, 0)  # e_shoff
    struct.pack_into("<3H", data, 58, 0, 0, 0)  # e_shentsize, e_shnum, e_shstrndx
    return bytes(data)


def extension(path: Path, *flags: str, answer: str = "42", declarations: str = "") -> Path:
    """An extension module that takes a symbol from libc: without one auditwheel ends in a traceback."""
    return compile_extension(
        path, *flags, answer=f"({answer}) + 0 * getpid()", declarations=f"extern int getpid(void); {declarations}"
    )


def needs_glibc_2_34(path: Path) -> Path:
    """An extension module that takes a function from glibc which moved into libc in 2.34."""
    declarations = "extern int pthread_join(unsigned long, void **);"
    extension(path, answer="self ? 42 : pthread_join(0, 0)", declarations=declarations)
    versions = {version for each in elf.scan(path.read_bytes()).version_needs for version in each.versions}
    need("GLIBC_2.34" in versions, "the system's glibc is older than 2.34")
    return path


def unpacked(wheel: Path, site: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def answer(site: Path, expression: str) -> str:
    """What a Python expression gives with the files under ``site`` to import."""
    code = f"import sys; sys.path.insert(0, {str(site)!r}); print({expression})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


TRY_IMPORT = """
try:
    import demo.ext
    print(demo.ext.answer())
except ImportError as error:
    print(error)
"""


def repaired(capsys: Capture, wheel: Path, out: Path, *options: object) -> Path:
    outcome = run(capsys, "repair", wheel, "-w", out, *options)
    assert outcome.code == 0, outcome.err
    path = Path(outcome.out.strip())
    verify_record(path)
    return path


def package(**files: Any) -> dict[str, Any]:
    """Files of a package ``demo``; keys are names without the dot that no keyword can have."""
    return {"demo/__init__.py": b"", **{f"demo/{name.replace('__', '.')}": data for name, data in files.items()}}


# --- 1 -----------------------------------------------------------------------------------------------------------


def test_a_file_without_section_headers_is_judged_by_its_dynamic_segment(tmp_path: Path, glibc_2_31: str) -> None:
    stripped = without_sections(needs_glibc_2_34(tmp_path / "ext.so"))
    wheel = make_wheel(tmp_path, package(ext__so=stripped), RAW_NAME)
    verdict = judged(wheel)
    assert verdict.policy_name == "manylinux_2_34_x86_64"
    assert {each.symbol for each in found(verdict, "symbol-version")} == {"pthread_join@GLIBC_2.34"}
    peer(wheel, OLDEST)
    site = unpacked(wheel, tmp_path / "site")
    assert answer(site, "__import__('demo.ext').ext.answer()") == "42"
    assert "GLIBC_2.34" in run_in(glibc_2_31, site, TRY_IMPORT)


# --- 2 -----------------------------------------------------------------------------------------------------------


def test_native_code_is_found_under_any_name(tmp_path: Path) -> None:
    recent = needs_glibc_2_34(tmp_path / "recent.so")
    wheel = make_wheel(tmp_path, package(ext__so=libc_extension(), plugin__py=recent), RAW_NAME)
    verdict = judged(wheel)
    assert verdict.policy_name == "manylinux_2_34_x86_64"
    assert {each.member for each in found(verdict, "symbol-version")} == {"demo/plugin.py"}
    peer(wheel, OLDEST)


def test_native_code_that_record_forgot_is_judged_and_the_lie_is_told(tmp_path: Path, capsys: Capture) -> None:
    recent = needs_glibc_2_34(tmp_path / "recent.so")
    files = package(ext__so=libc_extension(), forgotten__so=recent)
    forget = lambda text: b"".join(line for line in text.splitlines(True) if b"forgotten" not in line)  # noqa: E731
    wheel = make_wheel(tmp_path, files, RAW_NAME, record=forget)
    verdict = judged(wheel)
    assert verdict.policy_name == "linux_x86_64"  # a wheel that installers refuse has no tag
    assert {each.member for each in found(verdict, "symbol-version")} == {"demo/forgotten.so"}
    assert "does not list demo/forgotten.so" in found(verdict, "record")[0].message
    assert run(capsys, "repair", wheel, "-w", tmp_path / "out").code == 7
    assert entries(tmp_path / "out") == []
    peer(wheel, OLDEST)
    done = auditwheel("repair", wheel, "-w", tmp_path / "peer")
    if done is not None:  # it makes a true RECORD of what it never looked at
        (other,) = (tmp_path / "peer").glob("*.whl")
        rows = csv.reader(io.StringIO(read_members(other)["demo-1.0.dist-info/RECORD"].decode()))
        assert "manylinux1" in other.name
        assert "demo/forgotten.so" in {row[0] for row in rows}


# --- 3 -----------------------------------------------------------------------------------------------------------

RELR_SOURCE = """
static int value;
int *volatile pointer = &value;
int is_relocated(void) { return pointer == &value; }
"""


def test_packed_relocations_need_glibc_2_36_even_without_a_libc(
    tmp_path: Path, glibc_2_31: str, glibc_2_36: str
) -> None:
    library = compile_library(tmp_path / "libr.so", RELR_SOURCE, "-nostdlib", "-Wl,-z,pack-relative-relocs")
    facts = elf.scan(library.read_bytes())
    need(facts.relr, "the system's linker cannot pack relative relocations (binutils 2.38)")
    assert facts.needed == ()
    wheel = make_wheel(tmp_path, package(ext__so=libc_extension(), libr__so=library), RAW_NAME)
    verdict = judged(wheel)
    assert verdict.policy_name == "manylinux_2_36_x86_64"
    assert [each.member for each in found(verdict, "relr")] == ["demo/libr.so"]
    peer(wheel, OLDEST)
    site = unpacked(wheel, tmp_path / "site")
    code = "import ctypes; print(ctypes.CDLL('/site/demo/libr.so').is_relocated())"
    assert run_in(glibc_2_36, site, code) == "1\n"
    assert run_in(glibc_2_31, site, code) == "0\n"  # it loads, and its pointers point nowhere


MUSL_LOADER = """
extern int printf(const char *, ...);
extern void *dlopen(const char *, int), *dlsym(void *, const char *);
int main(int count, char **arguments) {
    void *library = dlopen(arguments[1], 2);
    int (*is_relocated)(void) = dlsym(library, "is_relocated");
    return printf("%d\\n", is_relocated()) < 0;
}
"""


def test_packed_relocations_need_musl_1_2_4(tmp_path: Path) -> None:
    """The machine's own musl shows it, where it is an older one. The same program shows whom a libc.so leads to."""
    compiler, loader = shutil.which("musl-gcc"), Path("/lib/ld-musl-x86_64.so.1")
    need(compiler and loader.exists(), "needs musl and musl-gcc")
    said = subprocess.run([str(loader)], capture_output=True, text=True, check=False).stderr
    version = tuple(map(int, said.partition("Version ")[2].split()[0].split(".")))
    program = tmp_path / "program"
    command = [str(compiler), "-x", "c", "-", "-w", "-o", str(program)]
    subprocess.run(command, input=MUSL_LOADER, text=True, check=True)
    results = []
    for number, flag in enumerate(("-Wl,-z,nopack-relative-relocs", "-Wl,-z,pack-relative-relocs")):
        library = compile_library(tmp_path / f"lib{number}.so", RELR_SOURCE, "-nostdlib", flag)
        results.append(subprocess.check_output([str(program), str(library)], text=True))
    need(elf.scan(library.read_bytes()).relr, "the system's linker cannot pack relative relocations (binutils 2.38)")
    assert results == ["1\n", "1\n" if version >= (1, 2, 4) else "0\n"]
    wheel = make_wheel(tmp_path, package(libr__so=library), MUSL_CLAIM)
    assert [each.member for each in found(judged(wheel), "relr")] == ["demo/libr.so"]

    imitation = compile_library(tmp_path / "empty" / "libc.so", "", "-nostdlib")
    needy = compile_library(
        tmp_path / "libn.so", "int is_relocated(void) { return 1; }", "-nostdlib", "-Wl,--no-as-needed", str(imitation)
    )
    assert elf.scan(needy.read_bytes()).needed == ("libc.so",)
    assert subprocess.check_output([str(program), str(needy)], text=True) == "1\n"
    wheel = make_wheel(tmp_path / "needy", package(libn__so=needy), MUSL_CLAIM)
    assert judged(wheel).compliant
    assert [each.warning for each in judged(wheel).findings] == [True]


# --- 4 -----------------------------------------------------------------------------------------------------------


def middle_library(tmp_path: Path, name: str, value: int) -> Path:
    """``lib<name>.so.1``, whose RPATH leads to a ``libleaf.so.1`` of its own."""
    leaf = compile_library(tmp_path / name / "libleaf.so.1", f"int leaf(void) {{ return {value}; }}")
    source = f"extern int leaf(void); int {name}(void) {{ return leaf(); }}"
    path = f"-Wl,-rpath,{leaf.parent},--disable-new-dtags"
    return compile_library(tmp_path / "lib" / f"lib{name}.so.1", source, str(leaf), path)


def test_each_library_gets_the_copy_that_its_own_rpath_leads_to(tmp_path: Path, capsys: Capture) -> None:
    """Two modules have a library each, and these need one soname and find different files of that name."""
    values = {"one": 1, "two": 2}
    modules = {}
    for name, value in values.items():
        middle = middle_library(tmp_path, name, value)
        modules[f"demo/{name}.so"] = compile_extension(
            tmp_path / f"{name}.so", str(middle), f"-Wl,-rpath,{middle.parent}",
            module=name, answer=f"{name}() + 0 * getpid()", declarations=f"extern int {name}(void), getpid(void);",
        )  # fmt: skip
    wheel = make_wheel(tmp_path, {**package(), **modules}, RAW_NAME)

    def answers(path: Path, site: Path) -> dict[str, int]:
        unpacked(path, site)
        return {name: int(answer(site, f"__import__('demo.{name}').{name}.answer()")) for name in values}

    assert answers(wheel, tmp_path / "raw") == values
    result = repaired(capsys, wheel, tmp_path / "out")
    assert answers(result, tmp_path / "site") == values
    assert len([name for name in read_members(result) if name.startswith("demo.libs/libleaf-")]) == 2
    both = "__import__('demo.one').one.answer(), __import__('demo.two').two.answer()"
    assert answer(tmp_path / "site", both) == "1 2"
    done = auditwheel("repair", wheel, "-w", tmp_path / "peer")
    if done is not None:
        (other,) = (tmp_path / "peer").glob("*.whl")
        assert answers(other, tmp_path / "peer-site") != values


def test_in_one_load_a_library_serves_all_as_it_did_before(tmp_path: Path, capsys: Capture) -> None:
    """The loader takes the first library of a name for everybody, whatever the RPATHs of others say."""
    middles = [middle_library(tmp_path, name, value) for name, value in (("one", 1), ("two", 2))]
    module = extension(
        tmp_path / "ext.so", *map(str, middles), f"-Wl,-rpath,{tmp_path / 'lib'}",
        answer="10 * one() + two()", declarations="extern int one(void), two(void);",
    )  # fmt: skip
    wheel = make_wheel(tmp_path, package(ext__so=module), RAW_NAME)
    expression = "__import__('demo.ext').ext.answer()"
    before = answer(unpacked(wheel, tmp_path / "raw"), expression)
    result = repaired(capsys, wheel, tmp_path / "out")
    assert answer(unpacked(result, tmp_path / "site"), expression) == before == "11"


# --- 5 -----------------------------------------------------------------------------------------------------------


def uses_libgomp(tmp_path: Path) -> Path:
    module = extension(
        tmp_path / "ext.so", "-Wl,--no-as-needed", "-l:libgomp.so.1",
        answer="omp_get_max_threads()", declarations="extern int omp_get_max_threads(void);",
    )  # fmt: skip
    return make_wheel(tmp_path / "wheel", package(ext__so=module), RAW_NAME)


LISTEN = """
import json, sys
opened = []
sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
from portable_backend.cli import main
code = main(["audit", "--json", sys.argv[1]])
print(json.dumps(opened), file=sys.stderr)
"""


def test_the_verdict_does_not_depend_on_the_libraries_of_the_machine(
    tmp_path: Path, glibc_2_31: str, glibc_2_36: str
) -> None:
    wheel = uses_libgomp(tmp_path)
    here = run_audit(wheel, [sys.executable, "-c", LISTEN])
    verdict = json.loads(here.stdout)
    assert (verdict["policy"], verdict["external_libraries"]) == ("linux_x86_64", ["libgomp.so.1"])
    opened = {Path(name) for name in json.loads(here.stderr.splitlines()[-1])}
    ours = (SOURCE, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), wheel.parent)
    assert [path for path in opened if path.is_absolute() and not _below(path, ours)] == []

    other = tmp_path / "other"
    compile_library(other / "libgomp.so.1", "int omp_get_max_threads(void) { return 1; }")
    elsewhere = run_audit(wheel, [sys.executable, "-c", LISTEN], LD_LIBRARY_PATH=str(other))
    assert elsewhere.stdout == here.stdout

    site = tmp_path / "site"
    shutil.copytree(SOURCE, site, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copytree(Path(packaging.__file__).parent, site / "packaging")
    shutil.copy(wheel, site)
    code = f"import sys; from portable_backend.cli import main; main(['audit', '--json', '/site/{wheel.name}'])"
    for image in (glibc_2_31, glibc_2_36):
        assert run_in(image, site, code) == here.stdout


def _below(path: Path, roots: tuple[Path, ...]) -> bool:
    return any(root in (path, *path.parents) or root in path.resolve().parents for root in roots)


def run_audit(wheel: Path, command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*command, str(wheel)], capture_output=True, text=True, check=False, env=environment(**environ)
    )
    assert done.returncode == 0, done.stderr
    return done


# --- 6 -----------------------------------------------------------------------------------------------------------


def bundles_libz(tmp_path: Path, defined: str, wanted: str) -> Path:
    """A wheel with a libz of its own, which has one symbol version, and a user of it that was linked to another."""

    def libz(directory: str, version: str) -> Path:
        script = tmp_path / f"{directory}.map"
        script.write_text(f"{version} {{ global: foo; local: *; }};\n")
        flags = (f"-Wl,--version-script={script}", "-Wl,-soname,libz.so.1")
        return compile_library(tmp_path / directory / "libz.so.1", "int foo(void) { return 7; }", *flags)

    module = extension(
        tmp_path / "ext.so", str(libz("linked", wanted)), "-Wl,-rpath,$ORIGIN", answer="foo()", declarations=FOO
    )
    return make_wheel(tmp_path, {**package(ext__so=module), "demo/libz.so.1": libz("bundled", defined)}, RAW_NAME)


def test_a_bundled_library_is_judged_by_the_versions_that_it_defines(tmp_path: Path, glibc_2_31: str) -> None:
    """No system has ZLIB_1.2.99, and this wheel does not need one that has."""
    wheel = bundles_libz(tmp_path, "ZLIB_1.2.99", "ZLIB_1.2.99")
    verdict = judged(wheel)
    assert (verdict.policy_name, verdict.findings) == (OLDEST, ())
    peer(wheel, "linux_x86_64")
    assert run_in(glibc_2_31, unpacked(wheel, tmp_path / "site"), TRY_IMPORT) == "7\n"


def test_a_version_that_the_bundled_library_lacks_is_not_taken_from_the_system(tmp_path: Path) -> None:
    """The loader takes the library of the wheel, and refuses it for the version that it has not."""
    wheel = bundles_libz(tmp_path, "ZLIB_1.2.0", "ZLIB_1.2.2")
    verdict = judged(wheel)
    assert verdict.policy is None
    assert "does not define that version" in found(verdict, "symbol-version")[0].message
    peer(wheel, "manylinux_2_12_x86_64")  # the system's libz has it
    site = unpacked(wheel, tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-c", TRY_IMPORT],
        capture_output=True,
        text=True,
        check=True,
        env=environment(PYTHONPATH=str(site)),
    )
    assert "ZLIB_1.2.2" in done.stdout


# --- 7 -----------------------------------------------------------------------------------------------------------


def test_the_bill_of_materials_names_every_graft(tmp_path: Path, capsys: Capture) -> None:
    """Packages know files by the names that they were installed under: /lib/…, though /lib is a link to /usr/lib."""
    wanted = ("libtinfo.so.6", "libkeyutils.so.1", "libuuid.so.1", "libgomp.so.1")
    directories = [Path(f"{root}/lib/x86_64-linux-gnu") for root in ("", "/usr")]
    there = [name for name in wanted if any((each / name).exists() for each in directories)]
    need(len(there) >= 2, f"needs some of {', '.join(wanted)}")
    module = extension(tmp_path / "ext.so", "-Wl,--no-as-needed", *(f"-l:{name}" for name in there))
    wheel = make_wheel(tmp_path, package(ext__so=module), RAW_NAME)
    members = read_members(repaired(capsys, wheel, tmp_path / "out"))
    grafts = {name for name in members if name.startswith("demo.libs/")}
    (bill,) = (json.loads(data) for name, data in members.items() if name.endswith(".cdx.json"))
    assert len(grafts) >= len(there)
    assert {each["bom-ref"] for each in bill["components"]} == {f"file:{name}" for name in grafts}
    if shutil.which("dpkg"):
        assert [each["name"] for each in bill["components"] if "purl" not in each] == []
    done = auditwheel("repair", "--plat", "auto", wheel, "-w", tmp_path / "peer")
    if done is not None and Path("/lib").is_symlink():
        (other,) = (tmp_path / "peer").glob("*.whl")
        members = read_members(other)
        (bill,) = (json.loads(data) for name, data in members.items() if name.endswith(".cdx.json"))
        grafts = {name for name in members if name.startswith("demo.libs/")}
        assert len(bill["components"]) - 1 < len(grafts)  # the wheel itself is one of its components


# --- 8 -----------------------------------------------------------------------------------------------------------


def test_a_strong_symbol_that_nothing_provides_is_reported(tmp_path: Path) -> None:
    module = extension(tmp_path / "ext.so", answer="foo()", declarations=FOO)
    wheel = make_wheel(tmp_path, package(ext__so=module), RAW_NAME)
    verdict = judged(wheel)
    assert verdict.policy is None
    assert [each.symbol for each in found(verdict, "undefined-symbol")] == ["foo"]
    peer(wheel, OLDEST)


DLOPEN = "extern void *dlopen(const char *, int);"


def test_a_library_that_is_opened_by_name_is_a_warning(tmp_path: Path, capsys: Capture) -> None:
    names = ("libnowhere.so.3", "libplugin.so", "libm.so.6", "/opt/acme/libacme.so")
    calls = " + ".join(f'!!dlopen("{name}", 1)' for name in names)
    module = extension(tmp_path / "ext.so", answer=calls, declarations=DLOPEN)
    plugin = compile_library(tmp_path / "libplugin.so", "int foo(void) { return 1; }")
    wheel = make_wheel(tmp_path, package(ext__so=module, libplugin__so=plugin), RAW_NAME)
    verdict = judged(wheel)
    warned = found(verdict, "dlopen")
    assert [each.library for each in warned] == ["libnowhere.so.3", "libacme.so"]
    assert all(each.warning and each.member == "demo/ext.so" for each in warned)
    assert "libnowhere.so.3" in run(capsys, "audit", wheel).out
    assert verdict.policy is not None
    done = auditwheel("show", "-v", wheel)
    assert done is None or "libnowhere" not in done.stdout + done.stderr


def test_an_executable_stack_is_reported(tmp_path: Path) -> None:
    module = extension(tmp_path / "ext.so", "-Wl,-z,execstack")
    wheel = make_wheel(tmp_path, package(ext__so=module), RAW_NAME)
    verdict = judged(wheel)
    assert verdict.policy is None
    assert [each.kind for each in verdict.findings] == ["executable-stack"]
    peer(wheel, OLDEST)


def test_indirect_functions_need_a_glibc_that_knows_them(tmp_path: Path) -> None:
    """The oldest policy's loader, glibc 2.5, takes such a symbol for an ordinary function and calls the resolver."""
    source = (
        'static int f(void) { return 1; } static void *r(void) { return f; } int foo(void) __attribute__((ifunc("r")));'
    )
    library = compile_library(tmp_path / "libi.so", source)
    wheel = make_wheel(tmp_path, package(ext__so=libc_extension(), libi__so=library), RAW_NAME)
    verdict = judged(wheel)
    assert (verdict.policy_name, found(verdict, "ifunc")[0].member) == ("manylinux_2_12_x86_64", "demo/libi.so")
    peer(wheel, OLDEST)


# --- 9 -----------------------------------------------------------------------------------------------------------


def test_a_token_in_the_runpath_is_told_and_a_failed_repair_leaves_nothing(tmp_path: Path, capsys: Capture) -> None:
    library = compile_library(tmp_path / "lib" / "libfoo.so.1", "int foo(void) { return 3; }")
    module = extension(tmp_path / "ext.so", str(library), "-Wl,-rpath,$ORIGIN/$LIB", answer="foo()", declarations=FOO)
    wheel = make_wheel(tmp_path / "raw", package(ext__so=module), RAW_NAME)
    verdict = judged(wheel)
    assert "$ORIGIN/$LIB" in found(verdict, "rpath")[0].message
    assert verdict.external_libraries == ("libfoo.so.1",)
    out = tmp_path / "out"
    outcome = run(capsys, "repair", wheel, "-w", out)
    assert (outcome.code, "libfoo.so.1" in outcome.err, "Traceback" in outcome.err) == (8, True, False)
    assert entries(out) == []
    result = repaired(capsys, wheel, out, "--ldpaths", library.parent)
    assert answer(unpacked(result, tmp_path / "site"), "__import__('demo.ext').ext.answer()") == "3"
    done = auditwheel("repair", wheel, "-w", tmp_path / "peer")
    if done is not None:
        assert (done.returncode, "Traceback" in done.stderr) == (1, True)
        assert entries(tmp_path / "peer") == [RAW_NAME]


def test_an_extension_without_a_libc_is_nothing_special(tmp_path: Path, capsys: Capture) -> None:
    module = compile_extension(tmp_path / "ext.so", "-nostdlib")
    assert elf.scan(module.read_bytes()).needed == ()
    wheel = make_wheel(tmp_path / "raw", package(ext__so=module), RAW_NAME)
    assert (judged(wheel).policy_name, judged(wheel).findings) == (OLDEST, ())
    result = repaired(capsys, wheel, tmp_path / "out")
    assert answer(unpacked(result, tmp_path / "site"), "__import__('demo.ext').ext.answer()") == "42"
    peer(wheel, "error")


# --- 10 ----------------------------------------------------------------------------------------------------------

MUSL_CLAIM = RAW_NAME.replace("linux_", "musllinux_1_1_")


def musl_extension(path: Path, **parts: str) -> Path:
    """An extension module that needs musl by its own name; what stands for it at link time exports what is used."""
    libc = path.parent / "musl" / "libc.musl-x86_64.so.1"
    compile_library(
        libc, "void *malloc(long size) { return 0; } char *gnu_get_libc_version(void) { return 0; }", "-nostdlib"
    )
    return compile_extension(path, "-nostdlib", "-Wl,--no-as-needed", str(libc), **parts)


def test_a_musl_wheel_is_judged_for_the_musl_that_it_claims_anywhere(tmp_path: Path) -> None:
    module = musl_extension(tmp_path / "ext.so", answer="(long)malloc(1)", declarations="extern void *malloc(long);")
    wheel = make_wheel(tmp_path, package(ext__so=module), MUSL_CLAIM)
    verdict = judged(wheel)
    assert (verdict.policy_name, verdict.compliant, verdict.findings) == ("musllinux_1_1_x86_64", True, ())
    peer(wheel, "musllinux_1_2_x86_64")


def test_a_symbol_that_no_musl_exports_is_found(tmp_path: Path) -> None:
    declarations = "extern char *gnu_get_libc_version(void);"
    module = musl_extension(tmp_path / "ext.so", answer="(long)gnu_get_libc_version()", declarations=declarations)
    wheel = make_wheel(tmp_path, package(ext__so=module), MUSL_CLAIM)
    verdict = judged(wheel)
    assert not verdict.compliant
    assert [each.symbol for each in found(verdict, "undefined-symbol")] == ["gnu_get_libc_version"]
    peer(wheel, "musllinux_1_2_x86_64")


# --- 11 ----------------------------------------------------------------------------------------------------------


def static_tool(path: Path, *flags: str) -> Path:
    source = 'extern int puts(const char *); int main(void) { return puts("static") < 0; }'
    return compile_c(path, source, *flags)


@pytest.mark.parametrize("flag", ["-static", "-static-pie"])
def test_a_static_executable_is_for_every_c_library(flag: str, tmp_path: Path, glibc_2_31: str) -> None:
    tool = static_tool(tmp_path / "tool", flag)
    for platforms in ("manylinux_2_5_x86_64", "musllinux_1_1_x86_64", "manylinux_2_5_x86_64.musllinux_1_1_x86_64"):
        name = RAW_NAME.replace("linux_x86_64", platforms)
        wheel = make_wheel(tmp_path / platforms, package(tool=tool), name, modes={"demo/tool": 0o755})
        verdict = judged(wheel)
        assert (verdict.findings, verdict.compliant) == ((), True)
    untagged = make_wheel(tmp_path, package(tool=tool), RAW_NAME, modes={"demo/tool": 0o755})
    assert (judged(untagged).policy_name, judged(untagged).findings) == (OLDEST, ())
    done = auditwheel("show", untagged)
    assert done is None or "couldn't detect wheel libc, defaulting to" in done.stderr
    site = unpacked(wheel, tmp_path / "site")
    (site / "demo" / "tool").chmod(0o755)
    code = "import subprocess; print(subprocess.check_output(['/site/demo/tool'], text=True), end='')"
    assert run_in(glibc_2_31, site, code) == "static\n"


# --- 12 ----------------------------------------------------------------------------------------------------------


def test_a_symbolic_link_becomes_a_copy_of_what_it_leads_to(tmp_path: Path, capsys: Capture) -> None:
    """Installers write a text file in place of a link, so a wheel with the usual chain of names cannot be loaded."""
    library = compile_library(tmp_path / "lib" / "libfoo.so.1", "int foo(void) { return 5; }")
    module = extension(tmp_path / "ext.so", str(library), "-Wl,-rpath,$ORIGIN/lib", answer="foo()", declarations=FOO)
    links = {"demo/lib/libfoo.so": b"libfoo.so.1", "demo/lib/libfoo.so.1": b"../lib/libfoo.so.1.2"}
    files = {**package(ext__so=module), **links, "demo/lib/libfoo.so.1.2": library, "demo/gone": b"/etc/nowhere"}
    modes = dict.fromkeys((*links, "demo/gone"), 0o120777)
    wheel = make_wheel(tmp_path / "raw", files, RAW_NAME, modes=modes)
    shutil.rmtree(library.parent)
    verdict = judged(wheel)
    assert [each.member for each in found(verdict, "symlink")] == ["demo/gone", *links]
    assert verdict.external_libraries == ("libfoo.so.1",)  # as it will be when installed
    site = install(wheel, tmp_path / "raw-site")
    assert (site / "demo/lib/libfoo.so.1").read_bytes() == links["demo/lib/libfoo.so.1"]

    result = repaired(capsys, wheel, tmp_path / "out")
    members = read_members(result)
    assert members["demo/lib/libfoo.so"] == members["demo/lib/libfoo.so.1"] == members["demo/lib/libfoo.so.1.2"]
    assert members["demo/gone"] == b"/etc/nowhere"
    assert found(judged(result), "symlink") == []
    assert answer(install(result, tmp_path / "site"), "__import__('demo.ext').ext.answer()") == "5"
    done = auditwheel("repair", wheel, "-w", tmp_path / "peer")
    assert done is None or (done.returncode, "Magic number does not match" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "links",
    [
        {"demo/a": b"b", "demo/b": b"a"},
        {"demo/a": b"a"},
        {"demo/a": b"../../demo/ext.so"},
        {"demo/a": b""},
        {"demo/a": b"/demo/ext.so"},
        {"demo/a": b"x" * 5000},
        {f"demo/{number}": f"{number + 1}".encode() for number in range(100)},
    ],
    ids=["circle", "itself", "outside", "empty", "absolute", "long", "chain"],
)
def test_a_symbolic_link_that_leads_nowhere_is_only_told(
    links: Mapping[str, bytes], tmp_path: Path, capsys: Capture
) -> None:
    modes = dict.fromkeys(links, 0o120777)
    wheel = make_wheel(tmp_path / "raw", {**package(ext__so=libc_extension()), **links}, RAW_NAME, modes=modes)
    assert {each.member for each in found(judged(wheel), "symlink")} == set(links)
    members = read_members(repaired(capsys, wheel, tmp_path / "out"))
    assert {name: members[name] for name in links} == links


def install(wheel: Path, site: Path) -> Path:
    # The wheel bears the tags of this very machine.
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return site


# --- 13 ----------------------------------------------------------------------------------------------------------


def test_a_bundled_library_is_not_called_the_systems(tmp_path: Path, capsys: Capture) -> None:
    wheel = bundles_libz(tmp_path, "ZLIB_1.2.2", "ZLIB_1.2.2")
    outcome = run(capsys, "audit", "-v", wheel)
    assert "libz" not in outcome.out
    data = json.loads(run(capsys, "audit", "--json", wheel).out)
    assert (data["external_libraries"], data["findings"]) == ([], [])
    done = auditwheel("show", wheel)
    if done is not None:
        said = " ".join(done.stdout.split())
        assert "system-provided shared libraries: " in said
        assert "libz.so.1 with versions" in said
