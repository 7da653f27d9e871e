"""Finding libraries on the machine."""

from __future__ import annotations

import functools
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import pytest
from elf_builder import Elf, build
from wheel_maker import compile_c, compile_extension, compile_library, extension, needs_cc

from portable_backend import elf
from portable_backend.auditing.facts import arch_of
from portable_backend.auditing.libraries import Closure, LibraryFinder, Trail, find_closure, read_ld_cache
from portable_backend.errors import RepairError
from portable_backend.policy.policy import C_LIBRARY
from portable_backend.targets import Arch, Libc

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks the loader of this machine")
AARCH64 = 183


def put(directory: Path, name: str, machine: int = 62) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_bytes(build(Elf(machine=machine)).bytes)
    return path


def test_the_order_is_the_loader_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {name: put(tmp_path / name, "libdemo.so.1") for name in ("rpath", "ldpaths", "variable", "runpath")}
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{tmp_path / 'variable'}")
    rpath, runpath = (str(tmp_path / "rpath"),), (str(tmp_path / "runpath"),)

    def found(trail: Trail) -> Optional[Path]:
        return LibraryFinder(Arch.X86_64, Libc.GLIBC, [str(tmp_path / "ldpaths")]).find("libdemo.so.1", trail)

    assert found(Trail(rpath)) == places["rpath"]
    assert found(Trail(rpath, runpath)) == places["ldpaths"]  # a RUNPATH disables the RPATH
    places["ldpaths"].unlink()
    assert found(Trail((), runpath)) == places["variable"]
    places["variable"].unlink()
    assert found(Trail((), runpath)) == places["runpath"]
    assert found(Trail()) is None


def test_libraries_of_other_machines_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "first", "libdemo.so.1", AARCH64)
    right = put(tmp_path / "second", "libdemo.so.1")
    finder = LibraryFinder(Arch.X86_64, Libc.GLIBC, [str(tmp_path / "first"), str(tmp_path / "second")])
    assert finder.find("libdemo.so.1") == right


def test_a_linker_script_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "libdemo.so").write_text("INPUT(libdemo.so.1)")
    assert LibraryFinder(Arch.X86_64, Libc.GLIBC, [str(tmp_path)]).find("libdemo.so") is None


# --- the directories of a machine --------------------------------------------------------------------------------


def finder(root: Path, libc: Libc = Libc.GLIBC, arch: Arch = Arch.X86_64) -> LibraryFinder:
    return LibraryFinder(arch, libc, root=root)


def at(root: Path, name: str, machine: int = 62) -> Path:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(build(Elf(machine=machine)).bytes)
    return path


def test_configured_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    conf = tmp_path / "etc/ld.so.conf.d"
    conf.mkdir(parents=True)
    (tmp_path / "etc/ld.so.conf").write_text("# here\ninclude\tld.so.conf.d/*.conf\n/opt/last # why\ninclude none\n")
    (conf / "a.conf").write_text("/opt/a\ninclude /etc/ld.so.conf\n")  # a circle
    (conf / "b.conf").write_text("relative\n/opt/b=libc6\n")
    for number, place in enumerate(("/usr/lib", "/opt/a", "/opt/b", "/opt/last"), 1):
        at(tmp_path, f"{place}/lib{number}.so")
        at(tmp_path, f"{place}/liball.so")
        assert finder(tmp_path).find(f"lib{number}.so") == tmp_path / place[1:] / f"lib{number}.so"
    assert finder(tmp_path).find("liball.so") == tmp_path / "usr/lib/liball.so"
    (tmp_path / "usr/lib/liball.so").unlink()
    assert finder(tmp_path).find("liball.so") == tmp_path / "opt/a/liball.so"


def cache(entries: list[tuple[str, str, int]], old: int = -1) -> bytes:
    """An ld.so.cache of (soname, path, hardware capabilities); ``old`` entries of the old format in front."""
    strings, rows = b"", b""
    start = 48 + 24 * len(entries)
    for name, path, capabilities in entries:
        key, value = start + len(strings), start + len(strings) + len(name) + 1
        strings += name.encode() + b"\0" + path.encode() + b"\0"
        rows += struct.pack("=iIIIQ", 0x303, key, value, 0, capabilities)
    head = b"glibc-ld.so.cache1.1" + struct.pack("=7I", len(entries), len(strings), 2, 0, 0, 0, 0)
    front = b"" if old < 0 else b"ld.so-1.7.0\0" + struct.pack("=I", old) + b"\0" * (12 * old)
    return front + b"\0" * (-len(front) % 8) + head + rows + strings


@pytest.mark.parametrize("old", [-1, 0, 1, 3])
def test_cache_comes_before_the_default_directories(old: int, tmp_path: Path) -> None:
    """And what it says of a copy for newer processors, or of a file that is gone, is not followed."""
    for name in ("/usr/lib/libfoo.so.1", "/opt/libfoo-1.9.so", "/usr/lib/glibc-hwcaps/x86-64-v3/libfoo.so.1"):
        at(tmp_path, name)
    entries = [
        ("libfoo.so.1", "/usr/lib/glibc-hwcaps/x86-64-v3/libfoo.so.1", 1 << 62),
        ("libfoo.so.1", "/gone/libfoo.so.1", 0),
        ("libfoo.so.1", "/opt/libfoo-1.9.so", 0),
        ("libfoo.so.1", "/usr/lib/libfoo.so.1", 0),
    ]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.cache").write_bytes(cache(entries, old))
    assert finder(tmp_path).find("libfoo.so.1") == tmp_path / "opt/libfoo-1.9.so"


@pytest.mark.parametrize("length", [0, 11, 15, 20, 47, 60, 80])
def test_damaged_cache_is_no_harm(length: int, tmp_path: Path) -> None:
    for whole in (cache([("libfoo.so.1", "/x", 0)]), cache([("libfoo.so.1", "/x", 0)], 2), b"\xff" * 200):
        (tmp_path / "cache").write_bytes(whole[:length])
        assert read_ld_cache(tmp_path / "cache").keys() <= {"libfoo.so.1", ""}


@linux
def test_cache_of_this_machine() -> None:
    """ldconfig tells the same of it."""
    tool = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if tool is None or not Path("/etc/ld.so.cache").exists():
        pytest.skip("this machine has no ld.so.cache")
    told = subprocess.run([tool, "-p"], capture_output=True, text=True, check=True).stdout
    expected: dict[str, list[str]] = {}
    for name, more, path in re.findall(r"^\t(\S+) \(([^)]*)\) => (\S+)$", told, re.MULTILINE):
        if "hwcap" not in more.lower():
            expected.setdefault(name, []).append(path)
    assert expected
    assert {name: list(paths) for name, paths in read_ld_cache(Path("/etc/ld.so.cache")).items()} == {
        name: list(dict.fromkeys(paths)) for name, paths in expected.items()
    }


def test_copies_for_newer_processors_are_never_taken(tmp_path: Path) -> None:
    """The wheel has to run on processors that do not have what those need."""
    places = ["glibc-hwcaps/x86-64-v2", "glibc-hwcaps/x86-64-v3", "tls/haswell", "haswell", ""]
    for place in places:
        at(tmp_path, f"/usr/lib/{place}/libfoo.so")
    trail = finder(tmp_path).trail(elf.scan(build(Elf(rpath=f"{tmp_path}/usr/lib")).bytes), None)
    assert finder(tmp_path).find("libfoo.so") == finder(tmp_path).find("libfoo.so", trail)
    assert finder(tmp_path).find("libfoo.so") == tmp_path / "usr/lib/libfoo.so"
    (tmp_path / "usr/lib/libfoo.so").unlink()
    assert finder(tmp_path).find("libfoo.so") is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/opt/$LIB:/a", ["/opt/lib64", "/a"]),
        ("/opt/${LIB}/x", ["/opt/lib64/x"]),
        ("$ORIGIN/../x:${ORIGIN}", ["/o/../x", "/o"]),
        ("/$PLATFORM", ["/x86_64", "/haswell", "/xeon_phi"]),
        ("$ORIGINAL:/$LIBRARY:/$FOO", ["/$LIBRARY", "/$FOO"]),
        ("relative:./a::/b", ["/b"]),
        ("$LIB", []),
    ],
)
def test_tokens(path: str, expected: list[str], tmp_path: Path) -> None:
    at(tmp_path, "/lib64/libc.so.6")
    assert finder(tmp_path).expand(path, Path("/o")) == tuple(expected)


def test_lib_is_where_glibc_was_installed(tmp_path: Path) -> None:
    at(tmp_path, "/lib/x86_64-linux-gnu/libc.so.6")
    assert finder(tmp_path).expand("/x/$LIB", None) == ("/x/lib/x86_64-linux-gnu",)
    assert finder(tmp_path).expand("$ORIGIN/y:/z", None) == ("/z",)  # of a member: wherever it will be
    assert finder(tmp_path, arch=Arch.ARMV7L).expand("/$PLATFORM:/y", None) == ("/y",)  # v7l, or v8l


def test_musl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "variable"))
    musl = functools.partial(finder, tmp_path, Libc.MUSL)
    for place in ("variable", "run", "usr/local/lib", "lib", "opt", "caller"):
        at(tmp_path, f"{place}/libfoo.so")
    assert musl().find("libfoo.so") == tmp_path / "variable/libfoo.so"
    (tmp_path / "variable/libfoo.so").unlink()
    assert musl().find("libfoo.so") is None  # there is no musl here
    at(tmp_path, "/lib/ld-musl-x86_64.so.1")
    assert musl().find("libfoo.so") == tmp_path / "lib/libfoo.so"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld-musl-x86_64.path").write_text("/none\n/opt:/lib\n")
    assert musl().find("libfoo.so") == tmp_path / "opt/libfoo.so"
    own = elf.scan(build(Elf(runpath=f"{tmp_path}/run")).bytes)
    caller = (f"{tmp_path}/caller",)
    assert musl().find("libfoo.so", musl().trail(own, None, caller)) == tmp_path / "run/libfoo.so"
    (tmp_path / "run/libfoo.so").unlink()  # a RUNPATH hides nobody else's path, and is inherited
    assert musl().find("libfoo.so", musl().trail(own, None, caller)) == tmp_path / "caller/libfoo.so"
    assert musl().expand("/a:/$LIB:/b", None) == ()


# --- the same as the loader --------------------------------------------------------------------------------------


def loader_says(program: Path, **environ: str) -> dict[str, str]:
    """What the loader of this machine finds for each name, but the C library, real paths."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    command = {**kept, **environ, "LD_TRACE_LOADED_OBJECTS": "1"}
    told = subprocess.run([program], capture_output=True, text=True, check=True, env=command).stdout
    pairs = re.findall(r"^\t(\S+) => (\S+) \(0x", told, re.MULTILINE)
    return {name: str(Path(path).resolve()) for name, path in pairs if not C_LIBRARY.fullmatch(name)}


def closed(files: Mapping[str, Path], *ldpaths: str) -> Closure:
    elves = {member: elf.scan(path.read_bytes()) for member, path in files.items()}
    arch = arch_of(next(iter(elves.values())))
    assert arch is not None
    return find_closure(elves, lambda name: not C_LIBRARY.fullmatch(name), LibraryFinder(arch, Libc.GLIBC, ldpaths))


def we_say(program: Path) -> dict[str, str]:
    """The same by ours: each name in the load of one executable."""
    closure = closed({"tool": program})
    return {name: str(closure.libraries[target].path) for (_, name), target in closure.links.items() if target}


RPATH, RUNPATH = "-Wl,--disable-new-dtags", "-Wl,--enable-new-dtags"


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    if sys.platform != "linux":
        pytest.skip("asks the loader of this machine")
    needs_cc()
    return tmp_path / "lib"


def program(path: Path, *flags: str) -> Path:
    return compile_c(path, "int main(void) { return 0; }", "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", *flags)


def library(path: Path, *flags: str) -> Path:
    name = re.sub("[^a-z]", "_", path.name.partition(".")[0])
    return compile_library(path, f"int {name}(void) {{ return 1; }}", "-Wl,--no-as-needed", *flags)


@pytest.mark.parametrize("tags", [RPATH, RUNPATH])
@pytest.mark.parametrize("inner_tags", [None, RPATH, RUNPATH])
def test_inherited_paths(tags: str, inner_tags: Optional[str], lib: Path) -> None:
    """RPATHs are inherited, RUNPATHs are not, and a RUNPATH hides the RPATHs of one's loaders."""
    deep = library(lib / "deep" / "libdeep.so")
    own = [f"-Wl,-rpath,{lib}/nowhere", inner_tags] if inner_tags else []
    middle = library(lib / "libmiddle.so", str(deep), *own)
    tool = program(lib / "tool", str(middle), tags, f"-Wl,-rpath,{lib}:{lib}/deep")
    assert we_say(tool) == {name: path for name, path in loader_says(tool).items() if path != "not"}


def platform_of_the_loader() -> str:
    """What ``$PLATFORM`` is here: some processors of Intel's have a name of their own (glibc since 2.33 tells)."""
    command = ["/lib64/ld-linux-x86-64.so.2", "--list-diagnostics"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        told = ""
    found = re.search(r'^dl_platform="(\w+)"$', told, re.MULTILINE)
    return found[1] if found else os.uname().machine


@pytest.mark.parametrize("token", ["$ORIGIN/deep", "${ORIGIN}/x/../deep", "$ORIGIN/$LIB", "$ORIGIN/$PLATFORM"])
def test_tokens_mean_what_the_loader_takes_them_for(token: str, lib: Path) -> None:
    lib_value = LibraryFinder(Arch.X86_64, Libc.GLIBC).expand("/$LIB", None)[0].lstrip("/")
    (lib / "x").mkdir(parents=True)
    for place in ("deep", "lib", "lib64", lib_value, platform_of_the_loader()):
        library(lib / place / "libdeep.so")
    middle = library(lib / "libmiddle.so", str(lib / "deep" / "libdeep.so"), f"-Wl,-rpath,{token}")
    tool = program(lib / "tool", str(middle), f"-Wl,-rpath,{lib}")
    said = loader_says(tool)
    assert set(said) == {"libmiddle.so", "libdeep.so"}
    assert we_say(tool) == said


def test_libraries_of_this_system(lib: Path) -> None:
    """By ld.so.cache, directories and links of this machine, for many of its libraries at once."""
    found = {path.name: path for path in sorted(Path("/usr/lib").glob("*-linux-gnu/lib[a-z]*.so.[0-9]"))}
    some = [path for path in found.values() if not C_LIBRARY.fullmatch(path.name)][::9][:25]
    tool = program(lib / "tool", *map(str, some))
    said = loader_says(tool)
    assert len(said) >= len(some) > 0
    assert we_say(tool) == said


def test_library_that_is_loaded_already_serves_all(lib: Path) -> None:
    one = library(lib / "one" / "libfoo.so.1")
    two = library(lib / "two" / "libfoo.so.1")
    bar = library(lib / "libbar.so", str(two), RUNPATH, "-Wl,-rpath,/nowhere")
    tool = program(lib / "tool", str(bar), str(one), RPATH, f"-Wl,-rpath,{lib}:{one.parent}")
    said = loader_says(tool, LD_LIBRARY_PATH=str(two.parent))
    assert said["libfoo.so.1"] == str(one)
    closure = closed({"tool": tool}, str(two.parent))
    assert {name: target for (_, name), target in closure.links.items()} == said
    (note,) = closure.notes
    assert str(one) in note
    assert str(two) in note


@pytest.mark.parametrize("tags", [RPATH, RUNPATH])
def test_library_whose_own_path_leads_elsewhere_gets_that(tags: str, lib: Path) -> None:
    """The loader would give both the first; grafts have names of their own, so each can have its own."""
    one, two = (library(lib / name / "libfoo.so.1") for name in ("one", "two"))
    bar = library(lib / "libbar.so", str(two), tags, f"-Wl,-rpath,{two.parent}")
    tool = program(lib / "tool", str(bar), str(one), f"-Wl,-rpath,{lib}:{one.parent}")
    closure = closed({"tool": tool})
    assert closure.links["tool", "libfoo.so.1"] == str(one)
    assert closure.links[str(bar), "libfoo.so.1"] == str(two)
    assert "both go in" in closure.notes[0]


def test_links_in_a_row_lead_to_one_library(lib: Path) -> None:
    real = library(lib / "store" / "libfoo-1.9.so", "-Wl,-soname,libfoo.so.1")
    for name, to in (("libfoo.so.1", "libfoo.so.1.9"), ("libfoo.so.1.9", "store/libfoo-1.9.so"), ("libalias.so", real)):
        (lib / name).symlink_to(to)
    (lib / "circle.so").symlink_to("circle.so")
    other = library(lib / "libother.so", str(real))
    tool = program(lib / "tool", str(other), str(lib / "libalias.so"), RPATH, f"-Wl,-rpath,{lib}")
    assert we_say(tool) == loader_says(tool)
    assert sorted(closed({"tool": tool}).libraries) == sorted([str(other), str(real)])
    assert LibraryFinder(Arch.X86_64, Libc.GLIBC, [str(lib)]).find("circle.so") is None


@pytest.mark.parametrize("tags", [RPATH, RUNPATH])
def test_the_same_as_musl_s_loader(tags: str, lib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are inherited over a file with a path of its own, and a path with unknown tokens counts for nothing."""
    compiler, loader = shutil.which("musl-gcc"), Path(f"/lib/ld-musl-{os.uname().machine}.so.1")
    if compiler is None or not loader.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs musl-gcc")
    monkeypatch.setattr("wheel_maker.needs_cc", lambda: compiler)
    (lib / "x").mkdir(parents=True)
    shadowed = library(lib / "x" / "libdeep.so")
    deep = library(lib / "deep" / "libdeep.so")
    middle = library(lib / "libmiddle.so", str(deep), tags, "-Wl,-rpath,$ORIGIN/x:/$LIB")
    tool = program(lib / "tool", str(middle), tags, f"-Wl,-rpath,{lib}:$ORIGIN/deep", f"-Wl,-rpath-link,{lib}/deep")
    told = subprocess.run([loader, "--list", tool], capture_output=True, text=True, check=True).stdout
    said = dict(re.findall(r"^\t(lib\S*) => (\S+) \(0x", told, re.MULTILINE))
    assert said.pop("libc.so")
    assert said["libdeep.so"] == str(deep) != str(shadowed)
    elves = {"demo/tool": elf.scan(tool.read_bytes())}
    arch = arch_of(elves["demo/tool"])
    assert arch is not None
    # The tool's own $ORIGIN is inside the wheel, where there is no such file: ours has to be told the place.
    closure = find_closure(
        {"demo/tool": elves["demo/tool"]._replace(runpath=f"{lib}:{lib}/deep")},
        lambda name: name.startswith("lib") and name != "libc.so",
        LibraryFinder(arch, Libc.MUSL),
    )
    assert {name: target for (_, name), target in closure.links.items()} == said


def test_baseline_copy_is_the_one(lib: Path) -> None:
    """The loader of this machine may take the copy for its own processor; a wheel must not."""
    base = library(lib / "libfoo.so")
    for level in (2, 3, 4):
        library(lib / "glibc-hwcaps" / f"x86-64-v{level}" / "libfoo.so")
    tool = program(lib / "tool", str(base), f"-Wl,-rpath,{lib}")
    assert we_say(tool) == {"libfoo.so": str(base)}


# --- several loads -----------------------------------------------------------------------------------------------


def test_one_library_that_finds_two_others(lib: Path) -> None:
    """Two extension modules lead the same library, by their RPATHs, to different files of one soname."""
    needed = library(lib / "zero" / "libfoo.so")
    middle = library(lib / "libmiddle.so", str(needed))
    files = {}
    for name in ("one", "two"):
        library(lib / name / "libfoo.so", f"-Wl,-soname,libfoo.so,--defsym,mark_{name}=0")
        files[f"demo/{name}.so"] = compile_extension(
            lib / f"{name}.so", "-Wl,--no-as-needed", str(middle), RPATH, f"-Wl,-rpath,{lib}:{lib}/{name}", module=name
        )
    closure = closed(files)
    first, second = (closure.links[f"demo/{name}.so", "libmiddle.so"] for name in ("one", "two"))
    assert first
    assert second
    assert first != second
    assert closure.libraries[first].path == closure.libraries[second].path == middle
    found = [closure.links[middle_copy, "libfoo.so"] for middle_copy in (first, second)]
    assert found == [f"{lib}/one/libfoo.so", f"{lib}/two/libfoo.so"]


def test_bundled_file_that_leads_to_a_bundled_library_keeps_it(lib: Path) -> None:
    """Although a library of this machine, loaded before, answers to the name."""
    system = library(lib / "libfoo.so")
    user = library(lib / "libuser.so", str(system), "-Wl,-rpath,$ORIGIN")
    bundled = library(lib / "own" / "libfoo.so")
    inner = library(lib / "own" / "libinner.so", str(bundled), RUNPATH, "-Wl,-rpath,$ORIGIN")
    outer = library(lib / "own" / "libouter.so", str(inner), RUNPATH, "-Wl,-rpath,$ORIGIN")
    module = compile_extension(
        lib / "ext.so",
        "-Wl,--no-as-needed",
        str(user),
        str(outer),
        f"-Wl,-rpath,$ORIGIN:{lib}",
        f"-Wl,-rpath-link,{lib}",
    )
    names = {"libfoo.so": bundled, "libinner.so": inner, "libouter.so": outer}
    closure = closed({"demo/ext.so": module, **{f"demo/{name}": path for name, path in names.items()}})
    assert closure.links["demo/libinner.so", "libfoo.so"] == "demo/libfoo.so"
    assert closure.links[str(user), "libfoo.so"] == str(system)
    (note,) = closure.notes
    assert "own demo/libfoo.so; both go in" in note


def test_circle_is_one_copy_of_each(lib: Path) -> None:
    library(lib / "liba.so")
    library(lib / "libb.so", str(lib / "liba.so"), RUNPATH, "-Wl,-rpath,$ORIGIN")
    library(lib / "liba.so", str(lib / "libb.so"), RUNPATH, "-Wl,-rpath,$ORIGIN")
    files = {
        f"demo/{name}.so": compile_extension(
            lib / f"{name}.so", "-Wl,--no-as-needed", str(lib / f"lib{name}.so"), f"-Wl,-rpath,{lib}", module=name
        )
        for name in "ab"
    }
    assert sorted(closed(files).libraries) == [f"{lib}/liba.so", f"{lib}/libb.so"]


def test_many_modules_are_no_burden(lib: Path) -> None:
    """300 modules that share a chain of 40 libraries: one copy of each."""
    previous: list[str] = []
    for number in range(40):
        previous = [str(library(lib / f"lib{number}.so", *previous[:1], "-Wl,-rpath,$ORIGIN"))]
    module = compile_extension(lib / "m.so", "-Wl,--no-as-needed", *previous, f"-Wl,-rpath,{lib}", module="m")
    closure = closed({f"demo/p{number}/m.so": module for number in range(300)})
    assert len(closure.libraries) == 40
    assert not closure.conflicts


@pytest.mark.parametrize("scanner", ["native", "python"])
def test_damaged_library_is_named(scanner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if scanner == "python":
        monkeypatch.setattr(elf, "_native", None)
    whole = build(Elf(needed=("libx.so",))).bytes
    (tmp_path / "libfoo.so").write_bytes(whole[: len(whole) // 2])
    module = elf.scan(extension("ext", needed=["libfoo.so"]))
    with pytest.raises(RepairError, match=r"libfoo\.so: cannot be grafted"):
        find_closure(
            {"demo/ext.so": module}, lambda name: True, LibraryFinder(Arch.X86_64, Libc.GLIBC, [str(tmp_path)])
        )


@pytest.fixture
def other_root(tmp_path: Path) -> Path:
    """A directory with a C library and its loader, to be the root of a process."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ldconfig", path="/sbin:/usr/sbin") is None:
        pytest.skip("changing the root takes root, and ldconfig")
    needs_cc()
    tool = compile_c(tmp_path / "tool", "int main(void) { return 0; }")
    told = subprocess.run(["ldd", tool], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(/\S+) \(0x", told):
        copy = tmp_path / "root" / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path / "root"


def test_cache_and_directories_as_ldconfig_and_the_loader_have_them(other_root: Path) -> None:
    root = other_root
    names = {
        "libboth.so.1": ["opt/one", "usr/lib"],
        "libtwice.so.1": ["opt/two", "opt/one"],
        "libdefault.so.1": ["lib", "usr/lib"],
        "libcpu.so.1": ["opt/one", "opt/one/glibc-hwcaps/x86-64-v2"],
        "liblink.so.1": ["opt/two/store"],
    }
    for name, places in names.items():
        for place in places:
            library(root / place / name)
    (root / "opt/two/liblink.so.1").symlink_to("store/liblink.so.1")
    (root / "etc/ld.so.conf.d").mkdir(parents=True)
    (root / "etc/ld.so.conf").write_text("include ld.so.conf.d/*.conf\n")
    (root / "etc/ld.so.conf.d/b.conf").write_text("/opt/two\n")
    (root / "etc/ld.so.conf.d/a.conf").write_text("/opt/one\n")
    flags = [str(root / places[0] / name) for name, places in names.items()]
    program(root / "tool", *flags)
    environ = {"PATH": os.environ["PATH"], "LD_TRACE_LOADED_OBJECTS": "1"}
    for configured in (False, True):
        if configured:
            subprocess.run([shutil.which("ldconfig", path="/sbin:/usr/sbin") or "", "-r", root], check=True)
        enter = f"import os; os.chroot({str(root)!r}); os.chdir('/'); os.execve('/tool', ['/tool'], {environ!r})"
        told = subprocess.run([sys.executable, "-c", enter], capture_output=True, text=True, check=True).stdout
        said = dict(re.findall(r"^\t(lib\S*) => (/\S+) \(0x", told, re.MULTILINE))
        said.pop("libc.so.6")
        assert ("libtwice.so.1" in said) == configured
        for name, path in said.items():
            ours = finder(root, arch=machine()).find(name)
            assert ours is not None
            assert f"/{ours.relative_to(root)}" == path.replace("glibc-hwcaps/x86-64-v2/", ""), name
    # What ldconfig has not seen is found all the same, after everything else.
    library(root / "opt/one/liblate.so.1")
    assert finder(root, arch=machine()).find("liblate.so.1") == root / "opt/one/liblate.so.1"


def machine() -> Arch:
    return Arch(os.uname().machine)
