"""What ``auditwheel repair --patcher lief-patchelf`` calls, on top of LIEF's Python bindings.

LIEF's own ``lief-patchelf`` is a Rust program that no package index has, so ``bench_engine`` puts this in its place
where the real one is not in PATH. It knows the options that auditwheel uses and asks the same LIEF for the same edits.
The real one does not pay for the start of an interpreter at each call, nor for the import of the bindings: so what that
takes is written down, a line with CPU seconds for each call, in the file that BENCH_LIEF_STARTS names.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import lief

if "BENCH_LIEF_STARTS" in os.environ:
    with open(os.environ["BENCH_LIEF_STARTS"], "a", encoding="utf-8") as starts:
        print(time.process_time(), file=starts)

Tag = lief.ELF.DynamicEntry.TAG


def main() -> int:
    """Print the search path of a file, or edit the file in place."""
    parser = argparse.ArgumentParser(prog="lief-patchelf")
    parser.add_argument("--print-rpath", action="store_true")
    parser.add_argument("--set-soname")
    parser.add_argument("--remove-needed", action="append", default=[])
    parser.add_argument("--replace-needed", nargs=2, action="append", default=[])
    parser.add_argument("--remove-rpath", action="store_true")
    parser.add_argument("--force-rpath", action="store_true")
    parser.add_argument("--set-rpath")
    parser.add_argument("file")
    options = parser.parse_args()
    binary = lief.ELF.parse(options.file)
    if binary is None:
        print(f"lief-patchelf: {options.file} is no ELF file", file=sys.stderr)
        return 1
    if options.print_rpath:
        print_rpath(binary)
        return 0
    set_names(binary, options.set_soname, options.remove_needed, options.replace_needed)
    set_rpath(binary, options.set_rpath, remove=options.remove_rpath, force=options.force_rpath)
    binary.write(options.file)
    return 0


def print_rpath(binary: lief.ELF.Binary) -> None:
    """RUNPATH as it is; RPATH marked as the older of the two."""
    for entry in binary.dynamic_entries:
        if entry.tag == Tag.RUNPATH:
            print(entry.runpath)
        elif entry.tag == Tag.RPATH:
            print(f"{entry.rpath} (legacy)")


def set_names(binary: lief.ELF.Binary, soname: str | None, removed: list[str], replaced: list[list[str]]) -> None:
    """Soname and needed entries, the latter with the versions asked of them."""
    if soname:
        entry = binary.get(Tag.SONAME)
        if entry is None:
            binary.add(lief.ELF.DynamicSharedObject(soname))
        else:
            entry.name = soname
    for name in removed:
        binary.remove_library(name)
        binary.remove_version_requirement(name)
    for old, new in replaced:
        library = binary.get_library(old)
        if library is not None:
            library.name = new
        for requirement in binary.symbols_version_requirement:
            if requirement.name == old:
                requirement.name = new


def set_rpath(binary: lief.ELF.Binary, value: str | None, *, remove: bool, force: bool) -> None:
    """RPATH where it is forced, else RUNPATH; or neither."""
    if not remove and value is None:
        return
    for tag in (Tag.RPATH, Tag.RUNPATH):
        while binary.get(tag) is not None:
            binary.remove(tag)
    if value:
        binary.add(lief.ELF.DynamicEntryRpath(value) if force else lief.ELF.DynamicEntryRunPath(value))


if __name__ == "__main__":
    sys.exit(main())
