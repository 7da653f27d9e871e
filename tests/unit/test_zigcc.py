"""The argument filter of the zig strategy: what zig is run with, what is noted, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from portable_backend.strategies import zigcc
from portable_backend.strategies.zigcc import Config, Refused, filter_command

PYTHON_LIB = "/opt/py/lib"


def config(arch: str = "x86_64", target: str = "x86_64-linux-gnu.2.17") -> Config:
    return Config(
        target,
        arch,
        deny=(PYTHON_LIB, "/opt/py/include"),
        keep=("/opt/py/include/python3.11", "/usr/include/python3.11", "/usr/lib/python3/dist-packages"),
        maps=("/src=.",),
        values={"bin": "/cache/bin"},
    )


def compile_words(*words: str, arch: str = "x86_64") -> list[str]:
    """What is left of the words of a compile command."""
    return kept("-c", "a.c", words=words, arch=arch)


def link_words(*words: str) -> list[str]:
    """What is left of the words of a command that links a shared library from an object file."""
    return kept("-shared", "a.o", words=words)


def kept(*frame: str, words: Sequence[str], arch: str = "x86_64") -> list[str]:
    bare = filter_command("cc", frame, config(arch)).words
    full = filter_command("cc", [*frame, *words], config(arch)).words
    start, end = 0, 0
    while start < len(bare) and bare[start] == full[start]:
        start += 1
    while end < len(bare) - start and bare[-1 - end] == full[-1 - end]:
        end += 1
    assert bare == full[:start] + full[len(full) - end :], "the frame itself has changed"
    return full[start : len(full) - end]


def notes(*words: str) -> list[str]:
    return filter_command("cc", words, config()).notes


@pytest.mark.parametrize(
    "word",
    [
        "-mtune=native",
        "-mtune=generic",
        "-flto",
        "-flto=auto",
        "-ffat-lto-objects",
        "-fprofile-use=/profile",
        "-B/usr/lib/gcc",
        "-specs=/usr/lib/rpm/redhat/redhat-hardened-cc1",
        "-stdlib=libstdc++",
        "--target=x86_64-pc-linux-gnu",
        "-fno-reorder-blocks-and-partition",
        "-fno-var-tracking-assignments",
        "-fno-ipa-cp-clone",
        "-g",
        "-ggdb3",
        "-gdwarf-4",
        "-I/usr/include",
        "-I/usr/include/x86_64-linux-gnu",
        "-isystem/usr/local/include",
        "-I/opt/py/include",
        "-L/usr/lib",
    ],
)
def test_what_only_gcc_or_this_machine_knows_does_not_reach_the_compiler(word: str) -> None:
    assert compile_words(word) == []


@pytest.mark.parametrize(
    "words",
    [
        ["-target", "aarch64-linux-gnu"],
        ["-isystem", "/usr/include"],
        ["-I", "/usr/include"],
        ["-B", "/usr/lib/gcc"],
        ["--sysroot", "/"],
    ],
)
def test_a_dropped_option_takes_its_value_with_it(words: list[str]) -> None:
    assert compile_words(*words) == []


@pytest.mark.parametrize(
    "word",
    [
        "-DNDEBUG",
        "-O3",
        "-fwrapv",
        "-mavx2",
        "-std=c11",
        "-Ivendor/include",
        "-I/opt/py/include/python3.11",
        "-I/usr/include/python3.11",
        "-I/usr/lib/python3/dist-packages/numpy/core/include",
        "-fopenmp-simd",
        "-Wp,-MD,deps.d",
    ],
)
def test_what_concerns_the_project_is_kept(word: str) -> None:
    # -mavx2 brings crc32 with it, so the filter's own -mcrc32 is gone then.
    assert word in filter_command("cc", ["-c", "a.c", word], config()).words


def test_an_options_value_is_not_taken_for_an_option() -> None:
    assert compile_words("-o", "-g", "-D", "-L/usr/lib", "-include", "-flto") == [
        "-o", "-g", "-D", "-L/usr/lib", "-include", "-flto",
    ]  # fmt: skip


def test_preprocessor_lists_become_driver_options() -> None:
    assert compile_words("-Wp,-D_FORTIFY_SOURCE=2,-UFOO") == ["-D_FORTIFY_SOURCE=2", "-UFOO"]


def test_the_processor_that_the_interpreter_was_built_for_is_not_the_projects() -> None:
    flags = ["-O3", "-march=x86-64-v2", "-fPIC", "-I/tools/deps/include"]
    theirs = Config("x86_64-linux-gnu.2.17", "x86_64", python_flags=flags)
    built = filter_command("cc", [*flags, "-c", "a.c"], theirs).words
    assert not [word for word in built if word.startswith(("-march", "-I"))]
    assert "-O3" in built
    assert "-march=x86_64_v2" in filter_command("cc", [*flags, "-march=x86-64-v2", "-c", "a.c"], theirs).words
    assert "-march=x86_64_v2" in filter_command("cc", ["-march=x86-64-v2", "-c", "a.c"], theirs).words


def test_the_target_comes_first_and_undefined_behaviour_is_not_trapped() -> None:
    words = filter_command("cc", ["-c", "a.c"], config()).words
    assert words[:4] == ["cc", "-target", "x86_64-linux-gnu.2.17", "-fno-sanitize=undefined"]
    assert "-ffile-prefix-map=/src=." in words


def test_directories_with_made_up_names_get_a_stable_one() -> None:
    given = config()
    given.temporary = ("/tmp",)
    words = [
        "-I/tmp/abc1/include",
        "-isystem",
        "/tmp/env-2/lib",
        "-c",
        "/tmp/abc1/build/a.c",
        "-DX=/tmp/no/path",
        "/tmp/a.c",
    ]
    maps = [word for word in filter_command("cc", words, given).words if word.startswith("-ffile-prefix-map=")]
    assert maps == [f"-ffile-prefix-map={pair}" for pair in ("/tmp/abc1=/build", "/tmp/env-2=/build", "/src=.")]


@pytest.mark.parametrize(
    ("epoch", "date", "clock", "stamp"),
    [
        ("", "Jan  1 1980", "00:00:00", "Tue Jan  1 00:00:00 1980"),
        ("yesterday", "Jan  1 1980", "00:00:00", "Tue Jan  1 00:00:00 1980"),
        ("9" * 40, "Jan  1 1980", "00:00:00", "Tue Jan  1 00:00:00 1980"),
        ("0", "Jan  1 1970", "00:00:00", "Thu Jan  1 00:00:00 1970"),
        ("1700000000", "Nov 14 2023", "22:13:20", "Tue Nov 14 22:13:20 2023"),
    ],
)
def test_the_time_is_that_of_the_epoch(epoch: str, date: str, clock: str, stamp: str) -> None:
    given = config()
    given.epoch = epoch
    words = filter_command("cc", ["-c", "a.c"], given).words
    assert [f'-D__DATE__="{date}"', f'-D__TIME__="{clock}"', f'-D__TIMESTAMP__="{stamp}"'] == [
        word for word in words if word.startswith("-D__") and "STDC" not in word
    ]
    assert not [word for word in filter_command("cc", ["-shared", "a.o"], given).words if "__DATE__" in word]


def test_one_default_for_all() -> None:
    from portable_backend.strategies import base

    assert zigcc.DEFAULT_EPOCH == base.DEFAULT_EPOCH


@pytest.mark.parametrize("word", ["-march=native", "-mcpu=native"])
def test_the_processor_of_this_machine_is_not_built_for_and_that_is_said(word: str) -> None:
    assert word not in filter_command("cc", ["-c", "a.c", word], config()).words
    (note,) = notes("-c", "a.c", word)
    assert word in note


@pytest.mark.parametrize(
    ("arch", "given", "expected"),
    [
        ("x86_64", "-march=x86-64-v2", "-march=x86_64_v2"),
        ("x86_64", "-march=haswell", "-march=haswell"),
        ("aarch64", "-march=armv8-a", "-mcpu=generic"),
        ("aarch64", "-march=armv8.2-a+dotprod", "-mcpu=generic+v8_2a+dotprod"),
        ("ppc64le", "-mcpu=power9", "-mcpu=pwr9"),
    ],
)
def test_processors_get_the_names_that_zig_has_for_them(arch: str, given: str, expected: str) -> None:
    assert expected in filter_command("cc", ["-c", "a.c", given], config(arch)).words


def test_sse42_functions_may_use_crc32_but_the_macro_stays_undefined() -> None:
    words = filter_command("cc", ["-c", "a.c"], config()).words
    assert words.index("-mcrc32") < words.index("-U__CRC32__")
    assert "-U__CRC32__" not in filter_command("cc", ["-c", "a.c", "-msse4.2"], config()).words
    assert "-mcrc32" not in filter_command("cc", ["-c", "a.c"], config("aarch64")).words


@pytest.mark.parametrize("words", [["-fopenmp"], ["-fopenmp=libomp"], ["-lgomp"], ["-Wl,-lomp"]])
def test_openmp_is_refused_and_the_message_names_the_strategies_that_have_it(words: list[str]) -> None:
    with pytest.raises(Refused, match=r"OpenMP.*container.*host"):
        filter_command("cc", ["-shared", "a.o", *words], config())


@pytest.mark.parametrize(
    "words",
    [
        ["-Wl,-O1"],
        ["-Wl,-Map=out.map"],
        ["-Wl,-Map,out.map"],
        ["-Wl,--build-id=sha1"],
        ["-Wl,--push-state", "-Wl,--pop-state"],
        ["-Wl,-Bsymbolic-functions"],
        ["-Wl,--no-undefined-version"],
        ["-Wl,-plugin-opt=O2"],
        ["-Wl,--fix-cortex-a53-843419"],
        ["-Wl,-rpath-link,/x"],
        ["-Wl,-rpath-link", "-Wl,/x"],
        ["-Wl,-z,separate-code"],
        ["-Wl,-znostart-stop-gc"],
        ["-Wl,-z", "-Wl,pack-relative-relocs"],
        ["-Xlinker", "-rpath-link", "-Xlinker", "/x"],
        ["-z", "combreloc"],
        ["-L/usr/lib/x86_64-linux-gnu"],
        ["-L", PYTHON_LIB],
        ["-Wl,-L,/usr/lib64"],
        ["-Wl,-rpath,/usr/lib/x86_64-linux-gnu"],
        [f"-Wl,-rpath={PYTHON_LIB}"],
        ["-Wl,-rpath,:::::::"],
        ["-lpython3.11"],
        ["-lpython3.13t"],
        ["/usr/lib/x86_64-linux-gnu/libpython3.11.so"],
        ["-lgcc", "-latomic"],
        ["-O0", "-mavx2", "-Wall", "-DX"],
    ],
)
def test_what_does_not_change_a_library_is_dropped_without_a_word(words: list[str]) -> None:
    assert link_words(*words) == []
    assert notes("-shared", "a.o", *words) == []


@pytest.mark.parametrize(
    ("words", "mentioned"),
    [
        (["-Wl,--exclude-libs,ALL"], "--exclude-libs"),
        (["-Wl,--exclude-libs=ALL"], "--exclude-libs"),
        (["-Wl,--dynamic-list=api.txt"], "--dynamic-list"),
        (["-Wl,--defsym=a=b"], "--defsym"),
        (["-Wl,-init,start"], "-init"),
        (["-Wl,-z,nodlopen"], "nodlopen"),
        (["--coverage"], "--coverage"),
    ],
)
def test_what_changes_a_library_is_dropped_with_a_note(words: list[str], mentioned: str) -> None:
    assert link_words(*words) == []
    (note,) = notes("-shared", "a.o", *words)
    assert mentioned in note


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-Wl,-h,libx.so"], ["-Wl,-soname,libx.so"]),
        (["-Wl,-soname,libx.so"], ["-Wl,-soname,libx.so"]),
        (["-Wl,--undefined=start"], ["-Wl,-u,start"]),
        (["-u", "start"], ["-Wl,-u,start"]),
        (["-Xlinker", "--as-needed"], ["-Wl,--as-needed"]),
        (["-Xlinker", "-rpath", "-Xlinker", "/a,b"], ["-Xlinker", "-rpath", "-Xlinker", "/a,b"]),
        (["-Wl,--version-script=x.map"], ["-Wl,--version-script=x.map"]),
        (["-Wl,-rpath,$ORIGIN/lib"], ["-Wl,-rpath,$ORIGIN/lib"]),
        ([f"-Wl,-rpath,{PYTHON_LIB}:$ORIGIN"], ["-Wl,-rpath,$ORIGIN"]),
        (["-Wl,-R/own/lib"], ["-Wl,-rpath,/own/lib"]),
        (["-Wl,-z,relro,-z,now"], ["-Wl,-z,relro", "-Wl,-z,now"]),
        (["-Wl,--hash-style=gnu"], ["-Wl,--hash-style=gnu"]),
        (["-lgcc_s"], ["-lunwind"]),
        (["-Wl,-lm"], ["-lm"]),
        (["-lstdc++"], ["-lc++"]),
        (["/usr/lib/x86_64-linux-gnu/libm.so"], ["-lm"]),
        (["-L/own/lib", "-lfoo"], ["-L/own/lib", "-lfoo"]),
        (["/own/lib/libfoo.a"], ["/own/lib/libfoo.a"]),
        (["-Wl,--whole-archive", "x.a", "-Wl,--no-whole-archive"],
         ["-Wl,--whole-archive", "x.a", "-Wl,--no-whole-archive"]),
    ],
)  # fmt: skip
def test_what_zig_can_do_is_kept_or_put_in_its_words(words: list[str], expected: list[str]) -> None:
    assert link_words(*words) == expected


def test_a_library_of_this_machine_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"/usr/lib/x86_64-linux-gnu/libz\.so.*container"):
        filter_command("cc", ["-shared", "a.o", "/usr/lib/x86_64-linux-gnu/libz.so"], config())


def test_without_the_interpreters_library_its_symbols_may_stay_undefined() -> None:
    words = ["-Wl,--no-undefined", "-Wl,-z,defs"]
    assert link_words(*words, "-lpython3.11") == []
    assert link_words(*words) == ["-Wl,--no-undefined", "-Wl,-z,defs"]


def test_an_executable_keeps_the_interpreters_library() -> None:
    assert "-lpython3.11" in filter_command("cc", ["a.o", "-lpython3.11"], config()).words


def test_linking_strips_and_compiling_does_not() -> None:
    assert filter_command("cc", ["-shared", "a.o"], config()).words[-1] == "-s"
    assert "-s" not in filter_command("cc", ["-c", "a.c"], config()).words


@pytest.mark.parametrize(
    ("target", "defined"),
    [
        ("x86_64-linux-gnu.2.17", True),
        ("x86_64-linux-gnu.2.27", True),
        ("arm-linux-gnueabihf.2.17", True),
        ("x86_64-linux-gnu.2.28", False),
        ("x86_64-linux-musl", False),
    ],
)
def test_old_glibc_says_that_it_has_no_c11_threads(target: str, defined: bool) -> None:
    """Its own headers did; zig's, which are the newest one's, do not, and refuse <threads.h> instead."""
    words = filter_command("cc", ["-c", "a.c"], config(target=target)).words
    assert ("-D__STDC_NO_THREADS__=1" in words) is defined


@pytest.mark.parametrize(
    ("target", "ibm"),
    [
        ("powerpc64le-linux-gnu.2.19", True),
        ("powerpc64le-linux-gnu.2.31", True),
        ("powerpc64le-linux-gnu.2.32", False),
        ("powerpc64le-linux-musl", False),
        ("x86_64-linux-gnu.2.17", False),
    ],
)
def test_old_glibc_of_ppc64le_has_ibm_s_long_double(target: str, ibm: bool) -> None:
    words = filter_command("cc", ["-c", "a.c"], config(target=target)).words
    assert ("-mabi=ibmlongdouble" in words) is ibm


def test_the_unwinder_is_at_hand_as_it_is_with_gcc() -> None:
    """LuaJIT registers frames, and code with cleanup handlers resumes unwinding, and neither names a library."""
    assert "-lunwind" in filter_command("cc", ["-shared", "a.o"], config()).words
    assert "-lunwind" not in filter_command("cc", ["-shared", "-nostdlib", "a.o"], config()).words
    assert "-lunwind" not in filter_command("cc", ["-r", "a.o"], config()).words
    assert "-lunwind" not in filter_command("cc", ["-c", "a.c"], config()).words


def test_all_links_of_objects_share_one_build_of_the_cxx_runtime() -> None:
    commands = {tuple(filter_command("c++", ["-shared", "a.o", *level], config()).words)
                for level in ([], ["-O0"], ["-O3", "-mavx2"], ["-Os", "-g", "-fvisibility=hidden"])}  # fmt: skip
    assert len(commands) == 1


def test_linker_words_in_a_compile_command_are_ignored_as_gcc_does() -> None:
    assert compile_words("-Wl,--no-such-option", "-L/own", "-lfoo") == []


@pytest.mark.parametrize("name", ["x.cpp", "x.cc", "x.C"])
def test_cc_compiles_cxx_sources_as_cxx(name: str) -> None:
    assert filter_command("cc", ["-c", name], config()).words[0] == "c++"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("-dumpmachine", "x86_64-linux-gnu"),
        ("-print-file-name=libm.so", "libm.so"),
        ("-print-prog-name=ld", "/cache/bin/ld"),
        ("-print-prog-name=nm", "nm"),
    ],
)
def test_questions_about_the_machine_are_answered_for_the_target(question: str, answer: str) -> None:
    assert filter_command("cc", [question], config()).answer == answer


def test_no_library_directory_of_this_machine_is_named() -> None:
    answer = filter_command("cc", ["-print-search-dirs"], config()).answer
    assert answer is not None
    assert "libraries: =\n" in answer + "\n"


@pytest.mark.parametrize("question", ["--version", "-v"])
def test_clang_answers_questions_about_itself_with_a_triple_that_it_knows(question: str) -> None:
    assert filter_command("cc", [question], config()).words == ["cc", "-target", "x86_64-linux-gnu", question]


def test_ld_is_the_driver_without_its_start_files() -> None:
    words = filter_command("ld", ["-shared", "-o", "x.so", "a.o", "-soname", "x.so", "--build-id"], config()).words
    assert words[0] == "cc"
    assert "-nostdlib" in words
    assert "-Wl,-soname,x.so" in words
    assert words[words.index("-o") + 1] == "x.so"


def test_ld_says_that_it_is_compatible_with_gnu() -> None:
    assert "GNU" in (filter_command("ld", ["-v"], config()).answer or "")


def test_the_archiver_gets_no_plugin_of_gcc() -> None:
    assert filter_command("ar", ["--plugin", "/x.so", "rcs", "a.a", "a.o"], config()).words == [
        "ar",
        "rcs",
        "a.a",
        "a.o",
    ]


# --- response files ---------------------------------------------------------------------------------------------------


def test_response_files_are_read_wherever_they_stand(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.write_text("'with blank.o' -lgcc_s")
    outer = tmp_path / "outer"
    outer.write_text(f'-O2\n"@{inner}" a\\ b.o')
    assert zigcc.expand_response_files(["-shared", f"@{outer}"]) == [
        "-shared", "-O2", "with blank.o", "-lgcc_s", "a b.o",
    ]  # fmt: skip


def test_a_word_with_an_at_sign_that_names_no_file_is_kept() -> None:
    assert zigcc.expand_response_files(["-DA=@x", "@nowhere/at/all"]) == ["-DA=@x", "@nowhere/at/all"]


@pytest.mark.parametrize("words", [["a b", 'c"d', "e\\f", "", "'g'"], ['-DX="y z"']])
def test_quoted_words_come_back(words: list[str]) -> None:
    assert zigcc.split_response(zigcc.quote_response(words)) == words


def test_the_configuration_comes_back() -> None:
    text = zigcc.format_config(
        {"target": "t", "arch": "x86_64", "log": "/a b/log"}, {"deny": ["/x", "/y"], "map": ["/s=."]}
    )
    read = zigcc.parse_config(text)
    assert (read.target, read.arch, read.values["log"]) == ("t", "x86_64", "/a b/log")
    assert (read.deny, read.maps) == (("/x", "/y"), ("/s=.",))


# --- the script -------------------------------------------------------------------------------------------------------


def run_script(tmp_path: Path, *words: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the file by itself, as the wrappers do, with a ``zig`` that prints its arguments."""
    zig = tmp_path / "zig"
    zig.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "lib=$ZIG_LIB_DIR" "path=$LIBRARY_PATH"\n')
    zig.chmod(0o755)
    values = {"target": "x86_64-linux-gnu.2.17", "arch": "x86_64", "zig": str(zig), "ZIG_LIB_DIR": "/the/lib"}
    settings = tmp_path / "settings"
    settings.write_text(zigcc.format_config({**values, "log": str(tmp_path / "log"), "scratch": str(tmp_path)}, {}))
    command = [sys.executable, "-I", "-S", zigcc.__file__, *words]
    environ = {**os.environ, zigcc.CONFIG_VARIABLE: str(settings), **environ}
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False)


def test_the_script_needs_nothing_but_the_interpreter(tmp_path: Path) -> None:
    done = run_script(
        tmp_path, "cc", "-shared", "a b.o", "-Wl,--exclude-libs,ALL", environ={"LIBRARY_PATH": "/usr/lib"}
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0]) == (0, "cc")
    assert "a b.o" in lines
    assert lines[-2:] == ["lib=/the/lib", "path="]
    assert "exclude-libs" in (tmp_path / "log").read_text()


def test_the_script_refuses_with_a_message_and_logs_it(tmp_path: Path) -> None:
    done = run_script(tmp_path, "cc", "-fopenmp", "-c", "a.c", environ={})
    assert done.returncode == 1
    assert "OpenMP" in done.stderr
    assert (tmp_path / "log").read_text().startswith("refused\t")


def test_a_command_too_long_for_the_system_goes_through_a_response_file(tmp_path: Path) -> None:
    names = [f"{'d' * 100}/{number}.o" for number in range(3000)]
    (tmp_path / "objects").write_text("\n".join(names))
    done = run_script(tmp_path, "cc", "-shared", f"@{tmp_path / 'objects'}", environ={})
    words = done.stdout.splitlines()
    assert words[0] == "cc"
    assert words[1].startswith("@")
    assert set(names) <= set(zigcc.expand_response_files([words[1]]))


def test_stripping_to_another_file_copies(tmp_path: Path) -> None:
    (tmp_path / "in.so").write_bytes(b"elf")
    done = run_script(tmp_path, "strip", "-o", str(tmp_path / "out.so"), str(tmp_path / "in.so"), environ={})
    assert (done.returncode, (tmp_path / "out.so").read_bytes()) == (0, b"elf")


def test_outside_of_a_build_the_script_says_so(tmp_path: Path) -> None:
    done = run_script(tmp_path, "cc", environ={zigcc.CONFIG_VARIABLE: str(tmp_path / "gone")})
    assert done.returncode == 1
    assert "zig strategy" in done.stderr


def test_the_script_loads_no_module_that_costs_time(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-X", "importtime", zigcc.__file__, "cc", "-dumpmachine"]
    settings = tmp_path / "settings"
    settings.write_text(zigcc.format_config({"target": "x86_64-linux-gnu.2.17", "arch": "x86_64"}, {}))
    done = subprocess.run(
        command, capture_output=True, text=True, env={zigcc.CONFIG_VARIABLE: str(settings)}, check=True
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"re", "json", "typing", "dataclasses", "collections", "subprocess", "argparse"}


# --- cross builds -----------------------------------------------------------------------------------------------------

_NUMPY = "/env/site-packages/numpy/_core"
_CROSS = Config(
    "aarch64-linux-gnu.2.17",
    "aarch64",
    deny=(PYTHON_LIB, "/opt/py/include"),
    keep=("/opt/py/include/python3.11",),
    instead=("/opt/py/include/python3.11=/cache/python", f"{_NUMPY}/lib=/cache/numpy/lib"),
    foreign=(f"{_NUMPY}/include=numpy 2.2.6: no wheel of it",),
)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("-I/opt/py/include/python3.11", "-I/cache/python"),
        ("-I/opt/py/../py/include/python3.11/", "-I/cache/python"),
        ("-I/opt/py/include/python3.11/internal", "-I/cache/python/internal"),
        ("-I/opt/py/include/python3.11-other", "-I/opt/py/include/python3.11-other"),
        ("-Ipython3.11", "-Ipython3.11"),
    ],
)
def test_headers_of_this_machine_s_interpreter_give_way_to_the_target_s(word: str, expected: str) -> None:
    assert expected in filter_command("cc", ["-c", "a.c", word], _CROSS).words


def test_so_do_those_of_a_package_and_its_archives() -> None:
    words = filter_command("cc", ["-isystem", "/opt/py/include/python3.11", "-c", "a.c"], _CROSS).words
    assert words[words.index("-isystem") + 1] == "/cache/python"
    link = ["-shared", "a.o", f"-L{_NUMPY}/lib", "-lnpymath", f"{_NUMPY}/lib/libnpymath.a"]
    words = filter_command("cc", link, _CROSS).words
    assert "-L/cache/numpy/lib" in words
    assert "/cache/numpy/lib/libnpymath.a" in words


def test_what_nothing_can_take_the_place_of_is_refused() -> None:
    with pytest.raises(Refused, match=r"numpy 2\.2\.6: no wheel of it.*container"):
        filter_command("cc", ["-c", "a.c", f"-I{_NUMPY}/include"], _CROSS)
    assert filter_command("cc", ["-c", "a.c", f"-I{_NUMPY}/other"], _CROSS).words


@pytest.mark.parametrize(("arch", "word"), [("aarch64", "-m64"), ("i686", "-m32"), ("x86_64", "-m64")])
def test_the_target_s_own_word_size_goes_without_saying(arch: str, word: str) -> None:
    assert compile_words(word, arch=arch) == []


@pytest.mark.parametrize(("arch", "word"), [("aarch64", "-m32"), ("armv7l", "-m64"), ("x86_64", "-m32")])
def test_another_word_size_is_refused(arch: str, word: str) -> None:
    with pytest.raises(Refused, match=f"the wheel is for {arch}"):
        filter_command("cc", ["-c", "a.c", word], config(arch))


def test_processors_of_s390x_are_named_as_zig_does() -> None:
    assert compile_words("-march=z13", arch="s390x") == ["-mcpu=z13"]


def test_a_question_is_no_input() -> None:
    assert not filter_command("cc", ["--version"], config()).inputs
    assert filter_command("cc", ["-c", "a.c"], config()).inputs


def test_what_takes_the_place_of_directories_is_in_the_file() -> None:
    text = zigcc.format_config({"target": "x"}, {"instead": ["/a=/b"], "foreign": ["/c=why = so"]})
    read = zigcc.parse_config(text)
    assert (read.instead, read.foreign) == ([("/a", "/b")], [("/c", "why = so")])
