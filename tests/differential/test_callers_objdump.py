"""The calls that we find are those that objdump shows, one by one, on each machine that the installed one knows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from portable_backend.auditing.callers import _USES
from portable_backend.auditing.image import Image

# zig's target, and what objdump calls the machine; lld's stubs for 32-bit Arm have no names in objdump.
_MACHINES = {
    "x86_64-linux-gnu.2.17": "i386:x86-64",
    "aarch64-linux-gnu.2.17": "aarch64",
    "x86-linux-gnu.2.17": "i386",
    "powerpc64le-linux-gnu.2.19": "powerpc:common64",
    "s390x-linux-gnu.2.17": "s390:64-bit",
    "riscv64-linux-gnu.2.27": "riscv:rv64",
}
_SYMBOLS = ["getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getpgrp", "random", "rand", "abort"]
# "  13cc:  call  1450 <getppid@plt>"; ppc64le's stubs are symbols of lld's, __plt_getppid
_CALL = re.compile(r"\s*([0-9a-f]+):\t\S+\s.*<(?:__plt_)?([a-z]+)(@plt)?(?:@\S+)?>\s*")


def _source() -> str:
    """Many functions with calls of all kinds, some of them through stubs of the file's own functions."""
    declared = "".join(f"extern int {name}();" for name in _SYMBOLS)
    lines = [declared, "__attribute__((noinline)) int own0(int x) { return x * 7; }"]
    for number in range(1, 120):
        first, second = _SYMBOLS[number % 10], _SYMBOLS[number * 7 % 10]
        lines.append(
            f"__attribute__((noinline)) int own{number}(int x) {{ if (x > {number}) return {first}();"
            f" x += own{number - 1}(x) * {second}(x); return x % 3 ? {second}() : own{number // 2}(x); }}"
        )
    return "\n".join(lines)


def _shown(path: Path) -> dict[int, str]:
    """Calls of stubs by their addresses."""
    command = ["objdump", "-d", "--no-show-raw-insn", path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = {}
    for section in done.stdout.split("Disassembly of section ")[1:]:
        for line in section.splitlines() if not section.startswith(".plt") else ():
            match = _CALL.fullmatch(line)
            if match and match[2] in _SYMBOLS and (match[3] or "__plt_" in line):
                found[int(match[1], 16)] = match[2]
    return found


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("objdump"), reason="binutils are not installed")
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2"])
def test_calls_are_those_that_objdump_shows(level: str, tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    (tmp_path / "many.c").write_text(_source())
    known = subprocess.run(["objdump", "-i"], check=True, capture_output=True, text=True).stdout.split()
    compared = 0
    for target, machine in _MACHINES.items():
        if machine not in known:
            continue
        path = tmp_path / f"{target}.so"
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-shared", "-fPIC", level, "-s"]
        if target.startswith("powerpc"):
            zig.remove("-s")
        subprocess.run([*zig, "many.c", "-o", path], check=True, cwd=tmp_path, capture_output=True)
        image = Image(memoryview(path.read_bytes()))
        slots = image.find_slots(_Wanted())
        ours = {
            use.address + (4 if target.startswith("riscv") else 0): use.symbol.partition("@")[0]
            for use in _USES[image.machine](image, slots.code)
            if use.how in ("call", "jump")
        }
        shown = _shown(path)
        assert len(shown) >= 100
        assert ours == shown, target
        compared += 1
    assert compared


class _Wanted(list[str]):
    def __contains__(self, name: object) -> bool:
        return str(name).partition("@")[0] in _SYMBOLS
