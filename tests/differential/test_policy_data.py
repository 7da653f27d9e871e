"""The package's data against their sources: auditwheel, ziglang and abi3info as installed, and this machine's glibc."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Optional

import pytest

from portable_backend.policy.cpython import stable_symbol, stable_symbols
from portable_backend.policy.policy import (
    GLIBC_LIBRARIES,
    get_policies,
    glibc_symbol,
    newest_known_glibc,
    parse_version_name,
)
from portable_backend.targets import Arch, Libc, parse_arch

GENERATOR = Path(__file__).parents[1] / "tools" / "update_policies.py"


def unavailable(reason: str) -> NoReturn:
    """Skip on a laptop, fail in CI, where everything has to be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            unavailable(f"{package} is not installed")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("update_policies", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_the_files_are_what_the_generator_writes(generator: ModuleType, tmp_path: Path) -> None:
    need("auditwheel", "ziglang", "abi3info")
    assert generator.main([str(tmp_path)]) == 0
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    package = resources.files("portable_backend.policy")
    assert sorted(written) == ["published.py", "stable_abi.json", "symbols.json"]
    for name, content in written.items():
        # Not the contents themselves: a difference of a hundred kilobytes on one line is unreadable.
        assert (content == package.joinpath(name).read_bytes()) is True, f"{name} is out of date; run the generator"


# ---- auditwheel ----


def auditwheel_policies(libc: Libc, arch: Arch) -> list[Any]:
    """auditwheel's policies, oldest C library first, without ``linux``."""
    import auditwheel.policy
    from auditwheel.architecture import Architecture
    from auditwheel.libc import Libc as AuditwheelLibc
    from auditwheel.policy import WheelPolicies

    architecture = Architecture(arch.value)
    if libc is Libc.GLIBC:
        found = [*WheelPolicies(libc=AuditwheelLibc.GLIBC, arch=architecture)]
        return [policy for policy in reversed(found) if policy.priority]
    # For musl it loads one policy at a time, and fails an assertion when the architecture lacks it.
    source = json.loads(Path(auditwheel.policy.__file__).with_name("musllinux-policy.json").read_text("utf-8"))
    names = [policy["name"] for policy in source if arch.value in policy["symbol_versions"]]
    return [
        WheelPolicies(libc=AuditwheelLibc.MUSL, arch=architecture, musl_policy=name).highest for name in sorted(names)
    ]


@pytest.mark.parametrize("arch", Arch)
@pytest.mark.parametrize("libc", Libc)
def test_every_fact_of_every_policy(libc: Libc, arch: Arch) -> None:
    need("auditwheel")
    theirs, ours = auditwheel_policies(libc, arch), get_policies(libc, arch)
    assert [str(policy.tag) for policy in ours] == [policy.name for policy in theirs]
    for our, their in zip(ours, theirs):
        assert set(our.tag.names) == {their.name, *their.aliases}
        assert our.versions == their.symbol_versions
        assert our.forbidden == their.blacklist
        # auditwheel passes over loaders by a rule in its code and has no names of them in the list.
        loader = {arch.glibc_loader} if libc is Libc.GLIBC else set()
        assert our.libraries == their.whitelist | loader


@pytest.mark.parametrize("arch", Arch)
def test_every_version_name_leads_to_the_same_policy(arch: Arch) -> None:
    need("auditwheel")
    from auditwheel.architecture import Architecture
    from auditwheel.libc import Libc as AuditwheelLibc
    from auditwheel.policy import WheelPolicies

    theirs = WheelPolicies(libc=AuditwheelLibc.GLIBC, arch=Architecture(arch.value))
    ours = get_policies(Libc.GLIBC, arch)
    known = {f"{space}_{version}" for policy in ours for space, all_ in policy.versions.items() for version in all_}
    odd = {"GLIBC_PRIVATE", "GLIBC_2.99", "GLIBC", "GLIBC_", "OPENSSL_3.0.0", "unknown", "", "_", "GLIBC_ABI_DT_RELR"}
    for name in known | odd:
        namespace, version = parse_version_name(name)
        first = next((str(policy.tag) for policy in ours if policy.allowed(namespace, version)), f"linux_{arch.value}")
        assert first == theirs.versioned_symbols_policy({"libc.so.6": {name}}).name, name


# ---- abi3info ----


def test_every_symbol_of_the_stable_abi() -> None:
    need("abi3info")
    from abi3info import DATAS, FUNCTIONS

    theirs = {each.symbol.name: each for each in (*FUNCTIONS.values(), *DATAS.values())}
    assert len(theirs) > 900
    on_linux = {"HAVE_FORK", "PY_HAVE_THREAD_NATIVE_ID", None}
    for name, each in theirs.items():
        known = stable_symbol(name)
        macro = None if each.ifdef is None else each.ifdef.name
        assert known is not None, name
        assert known.since == (each.added.major, each.added.minor), name
        assert known.only == (None if macro in on_linux else macro), name
    windows = {name for name, each in theirs.items() if each.ifdef is not None and each.ifdef.name == "MS_WINDOWS"}
    assert windows
    assert windows.isdisjoint(stable_symbols((3, 99)))


# ---- this machine's glibc ----

# In the real library, not in the data: names that only carry a version, and names of libanl (zig has no libanl),
# which the data know since they moved into libc.
PLACEHOLDER = re.compile(r"__\w+_version_placeholder(_\w+)?")
FROM_LIBANL = {"gai_cancel", "gai_error", "gai_suspend", "getaddrinfo_a"}
# In the data, not in the real library: moved to libc_malloc_debug, which programs do not link with.
GONE = {"malloc_get_state", "malloc_set_state"}


def libc_directory() -> Optional[Path]:
    """Where the glibc of this process lives."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text("utf-8").splitlines() if maps.is_file() else []
    libc = re.compile(r"/libc(\.so\.6|-2\.\d+\.so)$")
    return next((Path(line.split()[-1]).parent for line in lines if libc.search(line)), None)


def exported(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names that a library exports with a numbered version of glibc."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerDefSection, GNUVerSymSection
    from elftools.elf.sections import SymbolTableSection

    with path.open("rb") as stream:
        elf = ELFFile(stream)
        definitions = elf.get_section_by_name(".gnu.version_d")
        indexes = elf.get_section_by_name(".gnu.version")
        symbols = elf.get_section_by_name(".dynsym")
        assert isinstance(definitions, GNUVerDefSection)
        assert isinstance(indexes, GNUVerSymSection)
        assert isinstance(symbols, SymbolTableSection)
        versions = {definition["vd_ndx"]: next(names).name for definition, names in definitions.iter_versions()}
        for number, symbol in enumerate(symbols.iter_symbols()):
            index = indexes.get_symbol(number)["ndx"]
            if symbol["st_shndx"] in ("SHN_UNDEF", "SHN_ABS") or not isinstance(index, int):
                continue
            match = re.fullmatch(r"GLIBC_([0-9.]+)", versions.get(index & 0x7FFF) or "")
            if match is not None:
                yield symbol.name, tuple(map(int, match[1].split(".")))


@pytest.fixture(scope="module")
def oldest() -> dict[str, tuple[int, ...]]:
    """Every name that this machine's glibc exports, with its oldest version."""
    need("elftools")
    directory = libc_directory()
    if sys.platform != "linux" or directory is None:
        pytest.skip("this machine has no glibc")
    found: dict[str, tuple[int, ...]] = {}
    for library in sorted(GLIBC_LIBRARIES):
        if (directory / library).is_file():
            for name, version in exported(directory / library):
                found[name] = min(version, found.get(name, version))
    return found


def test_every_symbol_of_this_machine_is_known_with_its_oldest_version(oldest: dict[str, tuple[int, ...]]) -> None:
    arch = parse_arch(platform.machine())
    assert len(oldest) > 2000
    wrong = {}
    for name, version in oldest.items():
        if version > newest_known_glibc() or name in FROM_LIBANL or PLACEHOLDER.fullmatch(name):
            continue
        known = glibc_symbol(name, arch)
        if known is None or known.since != version:
            wrong[name] = (version, known)
    assert wrong == {}


def test_every_known_symbol_is_in_this_machine(oldest: dict[str, tuple[int, ...]]) -> None:
    arch, newest = parse_arch(platform.machine()), max(oldest.values())
    groups = json.loads(resources.files("portable_backend.policy").joinpath("symbols.json").read_bytes())
    names = {name for _, _, members in groups["glibc"]["groups"] for name in members.split()}
    due = {name for name in names if (known := glibc_symbol(name, arch)) is not None and known.since <= newest}
    assert due - set(oldest) - GONE == set()
