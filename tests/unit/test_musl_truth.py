"""A musllinux tag is a promise about a version of musl, whose symbols bear none: names alone tell what is too new."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import NoReturn, Optional

import pytest
from elf_builder import Elf
from wheel_maker import extension, make_wheel, shared

from portable_backend.auditing.explain import line_of
from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.verdict import JudgeOptions, Verdict
from portable_backend.policy.policy import find_alpine, known_musl, musl_since, musl_symbol, recent_musl_symbols
from portable_backend.targets import Arch

MUSL = "libc.musl-x86_64.so.1"
LOADER = Path("/lib/ld-musl-x86_64.so.1")
#: The C library of 32-bit Arm, and what its ELF header says: EABI 5, hard-float.
ARM = {"machine": 40, "bits": 32, "flags": 0x05000400}


def judged(directory: Path, tag: str, *symbols: str, **parts: object) -> Verdict:
    data = extension(needed=[MUSL], undefined=symbols, **parts)
    name = f"demo-1.0-cp311-cp311-{tag}_x86_64.whl"
    return read_verdict(make_wheel(directory, {"demo/ext.so": data}, name), JudgeOptions())


# --- the verdict -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "claim", "since", "error"),
    [
        ("malloc", "musllinux_1_1", None, False),
        ("secure_getenv", "musllinux_1_1", "1.1.24 (Alpine 3.11)", False),
        ("secure_getenv", "musllinux_1_2", None, False),
        ("reallocarray", "musllinux_1_2", "1.2.2 (Alpine 3.13)", False),
        ("reallocarray", "musllinux_1_1", "1.2.2 (Alpine 3.13)", True),
        ("qsort_r", "musllinux_1_2", "1.2.3 (Alpine 3.16)", False),
        ("statx", "musllinux_1_2", "1.2.5 (Alpine 3.20)", False),
        ("statx", "musllinux_1_1", "1.2.5 (Alpine 3.20)", True),
        ("__getauxval", "musllinux_1_2", "1.2.6 (Alpine 3.24)", False),
        ("lseek64", "musllinux_1_1", None, False),  # no linker sees it any more, the loader does
        ("lseek64", "musllinux_1_2", None, False),
    ],
)
def test_symbols_by_release(symbol: str, claim: str, since: Optional[str], error: bool, tmp_path: Path) -> None:
    verdict = judged(tmp_path, claim, symbol)
    if since is None:
        assert verdict.findings == ()
        return
    (finding,) = verdict.findings
    assert (finding.kind, finding.library, finding.symbol) == ("musl-symbol", MUSL, symbol)
    assert f"since {since}" in line_of(finding)
    assert finding.cure
    assert finding.warning is not error
    assert verdict.compliant is not error
    assert verdict.policy_name == ("musllinux_1_2_x86_64" if error else f"{claim}_x86_64")


def test_a_symbol_of_no_musl_rules_out_every_tag(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "musllinux_1_2", "qsort_r", "gnu_get_libc_version")
    assert {finding.kind: finding.warning for finding in verdict.findings} == {
        "undefined-symbol": False,
        "musl-symbol": True,
    }
    assert (verdict.policy, verdict.compliant) == (None, False)


def test_of_two_claims_the_older_is_the_untrue_one(tmp_path: Path) -> None:
    data = extension(needed=[MUSL], undefined=["gettid"])
    name = "demo-1.0-cp311-cp311-musllinux_1_1_x86_64.musllinux_1_2_x86_64.whl"
    verdict = read_verdict(make_wheel(tmp_path, {"demo/ext.so": data}, name), JudgeOptions())
    assert verdict.false_claims == ("musllinux_1_1_x86_64",)


def test_a_weak_symbol_may_be_missing(tmp_path: Path) -> None:
    assert judged(tmp_path, "musllinux_1_1", weak=["statx", "gettid"]).findings == ()


def test_a_symbol_that_the_wheel_brings_along(tmp_path: Path) -> None:
    files = {
        "demo/ext.so": extension(needed=[MUSL, "libours.so"], undefined=["reallocarray"], rpath="$ORIGIN"),
        "demo/libours.so": shared(exports=["reallocarray"], soname="libours.so"),
    }
    wheel = make_wheel(tmp_path, files, "demo-1.0-cp311-cp311-musllinux_1_1_x86_64.whl")
    assert read_verdict(wheel, JudgeOptions()).findings == ()


def test_a_version_hides_nothing(tmp_path: Path) -> None:
    """musl's loader looks symbols up by name, whatever version is asked for."""
    verdict = judged(tmp_path, "musllinux_1_1", versioned=[("statx", "GLIBC_2.28", MUSL)])
    assert "musl-symbol" in {finding.kind for finding in verdict.findings}


def test_the_names_mean_nothing_in_a_wheel_for_glibc(tmp_path: Path) -> None:
    data = extension(needed=["libc.so.6"], versioned=[("statx", "GLIBC_2.28", "libc.so.6")])
    wheel = make_wheel(tmp_path, {"demo/ext.so": data}, "demo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl")
    assert read_verdict(wheel, JudgeOptions()).compliant


def test_64_bit_time_on_32_bit_machines_came_with_1_2(tmp_path: Path) -> None:
    """Programs that were compiled with the headers of 1.2 refer to other names there, never to the old ones."""
    elf = Elf(**ARM)
    assert (elf.machine, elf.bits) == (40, 32)
    data = extension(needed=["libc.musl-armv7.so.1"], undefined=["__clock_gettime64"], **ARM)
    for claim, policy in (("musllinux_1_1", "musllinux_1_2_armv7l"), ("musllinux_1_2", "musllinux_1_2_armv7l")):
        wheel = make_wheel(tmp_path / claim, {"demo/ext.so": data}, f"demo-1.0-cp311-cp311-{claim}_armv7l.whl")
        verdict = read_verdict(wheel, JudgeOptions())
        assert (verdict.policy_name, verdict.compliant) == (policy, claim == "musllinux_1_2")


def test_a_young_port_has_had_it_all_along(tmp_path: Path) -> None:
    """No musl for LoongArch is older than 1.2.5."""
    data = extension(needed=["libc.musl-loongarch64.so.1"], undefined=["statx", "qsort_r"], machine=258)
    wheel = make_wheel(tmp_path, {"demo/ext.so": data}, "demo-1.0-cp311-cp311-musllinux_1_2_loongarch64.whl")
    assert read_verdict(wheel, JudgeOptions()).findings == ()


# --- the data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arch", "since"),
    [
        ("malloc", Arch.X86_64, (1, 1, 0)),
        ("malloc", Arch.AARCH64, (1, 1, 7)),
        ("malloc", Arch.LOONGARCH64, (1, 2, 5)),
        ("execvpe", Arch.X86_64, (1, 1, 1)),
        ("thrd_create", Arch.I686, (1, 1, 5)),
        ("thrd_create", Arch.AARCH64, (1, 1, 7)),
        ("getrandom", Arch.X86_64, (1, 1, 20)),
        ("getrandom", Arch.RISCV64, (1, 1, 23)),
        ("qsort_r", Arch.X86_64, (1, 2, 3)),
        ("qsort_r", Arch.LOONGARCH64, (1, 2, 5)),
        ("renameat2", Arch.LOONGARCH64, (1, 2, 6)),
        ("__clock_gettime64", Arch.I686, (1, 2, 0)),
        ("__clock_gettime64", Arch.X86_64, None),
        ("backtrace", Arch.X86_64, None),
        ("malloc", Arch.PPC64, None),
    ],
)
def test_releases(name: str, arch: Arch, since: Optional[tuple[int, ...]]) -> None:
    assert musl_since(name, arch) == since


@pytest.mark.parametrize(
    ("musl", "alpine"),
    [((1, 1, 0), None), ((1, 1, 24), "3.11"), ((1, 2, 0), "3.13"), ((1, 2, 3), "3.16"), ((1, 9, 9), None)],
)
def test_the_first_alpine_with_a_release(musl: tuple[int, ...], alpine: Optional[str]) -> None:
    assert find_alpine(musl) == alpine


def test_no_symbol_is_newer_than_the_data() -> None:
    for arch in Arch:
        recent = recent_musl_symbols(arch)
        assert all(since <= known_musl() and musl_symbol(name, arch) for name, since in recent.items())


# --- a real musl -------------------------------------------------------------------------------------------------

# Debian moves musl's crypt() to a library of its own and adds the functions of BSD's fts.
DEBIAN_LACKS = {"crypt", "crypt_r", "encrypt", "setkey"}
DEBIAN_ADDS = {"fts_children", "fts_close", "fts_open", "fts_read", "fts_set"}


def unavailable(reason: str) -> NoReturn:
    """Skip on a laptop, fail in CI, where everything has to be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def installed() -> tuple[int, ...]:
    """The version of this machine's musl."""
    if not LOADER.exists() or platform.machine() != "x86_64" or shutil.which("musl-gcc") is None:
        unavailable("needs musl (musl-tools) on x86_64")
    said = subprocess.run([str(LOADER)], capture_output=True, text=True, check=False).stderr
    match = re.search(r"Version ([0-9.]+)", said)
    assert match is not None, said
    return tuple(map(int, match[1].split(".")))


def test_this_machines_musl_has_what_the_data_say(installed: tuple[int, ...]) -> None:
    from portable_backend.elf import scan

    real = {symbol.name for symbol in scan(LOADER.read_bytes()).exports}
    assert len(real) > 1500
    groups = json.loads(resources.files("portable_backend.policy").joinpath("symbols.json").read_bytes())["musl"]
    names = {name for _, members in groups["groups"] for name in members.split()}
    since = {name: musl_since(name, Arch.X86_64) for name in names}
    due = {name for name, release in since.items() if release is not None and release <= installed}
    later = {name for name, release in since.items() if release is not None and release > installed}
    assert real - due - DEBIAN_ADDS == set()
    assert real & later == set()
    if installed < (1, 2, 4):  # from then on some names are the loader's secret
        assert due - real - DEBIAN_LACKS == set()


_PROGRAM = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
    int missing = 0;
    for (int i = 1; i < count; i++)
        if (!dlopen(words[i], RTLD_NOW)) { puts(dlerror()); missing = 1; }
    return missing;
}
"""


def test_what_is_said_of_a_symbol_is_what_the_loader_does(installed: tuple[int, ...], tmp_path: Path) -> None:
    """For a name of each release: it loads on this machine's musl if and only if that is new enough."""
    program = _compile(tmp_path / "program", _PROGRAM)
    for name in ("secure_getenv", "gettid", "qsort_r", "statx", "posix_getdents"):
        source = f"extern int {name}(); int (*pointer)() = {name}; int PyInit_ext(void) {{ return pointer != 0; }}"
        file = _compile(tmp_path / name / "ext.so", source, "-shared", "-fPIC")
        loaded = subprocess.run([str(program), str(file)], capture_output=True, text=True, check=False)
        since = musl_since(name, Arch.X86_64)
        assert since is not None
        assert (loaded.returncode == 0) == (since <= installed), (name, since, loaded.stdout)
        wheel = make_wheel(
            tmp_path / f"{name}-wheel", {"demo/ext.so": file}, "demo-1.0-cp311-cp311-musllinux_1_1_x86_64.whl"
        )
        said = [each for each in read_verdict(wheel, JudgeOptions()).findings if each.kind == "musl-symbol"]
        assert [each.symbol for each in said] == [name]
        assert [each.warning for each in said] == [since < (1, 2)]


def _compile(output: Path, source: str, *flags: str) -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    command = ["musl-gcc", "-x", "c", "-", "-w", "-o", str(output), *flags]
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return output
