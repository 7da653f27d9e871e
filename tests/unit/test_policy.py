"""What a platform tag promises, and what glibc and musl provide."""

from __future__ import annotations

import pytest

from portable_backend.errors import SettingsError
from portable_backend.policy.policy import (
    GLIBC_LIBRARIES,
    Policy,
    get_policies,
    get_policy,
    glibc_symbol,
    known_musl,
    musl_symbol,
    newest_known_glibc,
    parse_version_name,
    read_data,
)
from portable_backend.targets import Arch, Libc, PlatformTag, parse_target

EVERY_FAMILY = [(libc, arch) for libc in Libc for arch in Arch]


def policy(name: str, arch: Arch = Arch.X86_64) -> Policy:
    return get_policy(parse_target(name, arch))


@pytest.mark.parametrize(("libc", "arch"), EVERY_FAMILY)
def test_policies_run_from_the_oldest_c_library_to_the_newest(libc: Libc, arch: Arch) -> None:
    tags = [one.tag for one in get_policies(libc, arch)]
    assert tags == sorted(set(tags), key=lambda tag: tag.version)
    assert all((tag.libc, tag.arch) == (libc, arch) for tag in tags)


@pytest.mark.parametrize(("libc", "arch"), EVERY_FAMILY)
def test_a_newer_policy_allows_whatever_an_older_one_does(libc: Libc, arch: Arch) -> None:
    policies = get_policies(libc, arch)
    for older, newer in zip(policies, policies[1:]):
        assert older.namespaces == newer.namespaces
        assert all(versions <= newer.versions[namespace] for namespace, versions in older.versions.items())
        assert older.libraries <= newer.libraries
        for library, symbols in newer.forbidden.items():
            assert symbols <= older.forbidden[library]


def test_the_first_policies_of_the_architectures() -> None:
    firsts = {arch.value: str(get_policies(Libc.GLIBC, arch)[0].tag) for arch in Arch}
    assert firsts["x86_64"] == "manylinux_2_5_x86_64"
    assert firsts["aarch64"] == "manylinux_2_17_aarch64"
    assert firsts["riscv64"] == "manylinux_2_31_riscv64"
    assert firsts["loongarch64"] == "manylinux_2_36_loongarch64"
    assert [one.tag.policy for one in get_policies(Libc.GLIBC, Arch.PPC64)] == ["manylinux_2_17"]
    assert [one.tag.policy for one in get_policies(Libc.MUSL, Arch.X86_64)] == ["musllinux_1_1", "musllinux_1_2"]
    assert get_policies(Libc.MUSL, Arch.PPC64) == ()


@pytest.mark.parametrize(
    ("legacy", "name"),
    [("manylinux1", "manylinux_2_5"), ("manylinux2010", "manylinux_2_12"), ("manylinux2014", "manylinux_2_17")],
)
def test_a_legacy_name_is_the_same_policy(legacy: str, name: str) -> None:
    assert policy(legacy) is policy(name)


def test_what_manylinux_2_17_allows() -> None:
    found = policy("manylinux_2_17")
    assert found.allowed("GLIBC", "2.17")
    assert found.allowed("GLIBCXX", "3.4.19")
    assert not found.allowed("GLIBC", "2.18")
    assert not found.allowed("GLIBCXX", "3.4.20")
    assert {"libc.so.6", "libstdc++.so.6", "libz.so.1", "ld-linux-x86-64.so.2"} <= found.libraries
    assert "libssl.so.3" not in found.libraries
    assert "__cxa_thread_atexit_impl" in found.forbidden["libc.so.6"]


def test_a_namespace_known_without_versions_allows_none_and_an_unknown_one_allows_all() -> None:
    found = policy("manylinux_2_5")
    assert "ZLIB" in found.namespaces
    assert not found.allowed("ZLIB", "1.2.0")
    assert "OPENSSL" not in found.namespaces
    assert found.allowed("OPENSSL", "3.0.0")


@pytest.mark.parametrize("name", ["manylinux_2_5", "manylinux_2_20", "manylinux_2_41", "manylinux_2_43"])
def test_private_symbols_are_never_allowed(name: str) -> None:
    assert not policy(name).allowed(*parse_version_name("GLIBC_PRIVATE"))


def test_relative_relocations_need_glibc_2_36() -> None:
    assert not policy("manylinux_2_35").allowed(*parse_version_name("GLIBC_ABI_DT_RELR"))
    assert policy("manylinux_2_36").allowed(*parse_version_name("GLIBC_ABI_DT_RELR"))


def test_a_symbol_forbidden_once_is_free_again_when_the_library_has_it() -> None:
    assert "libc.so.6" not in policy("manylinux_2_24").forbidden
    assert "uncompress2" in policy("manylinux_2_31").forbidden["libz.so.1"]
    assert "uncompress2" not in policy("manylinux_2_34").forbidden["libz.so.1"]


def test_each_architecture_allows_its_own_loader_only() -> None:
    assert "ld-linux-aarch64.so.1" in policy("manylinux_2_28", Arch.AARCH64).libraries
    assert "ld-linux-x86-64.so.2" not in policy("manylinux_2_28", Arch.AARCH64).libraries


@pytest.mark.parametrize(
    ("arch", "soname"),
    [
        (Arch.X86_64, "libc.musl-x86_64.so.1"),
        (Arch.I686, "libc.musl-x86.so.1"),
        (Arch.ARMV7L, "libc.musl-armv7.so.1"),
    ],
)
def test_musllinux_allows_the_musl_of_the_architecture_and_zlib(arch: Arch, soname: str) -> None:
    assert policy("musllinux_1_2", arch).libraries == {soname, "libz.so.1"}
    assert policy("musllinux_1_2", arch).namespaces == set()


def test_a_tag_between_two_policies_adds_only_glibc_versions() -> None:
    below, found = policy("manylinux_2_17"), policy("manylinux_2_20")
    assert str(found.tag) == "manylinux_2_20_x86_64"
    assert found.versions["GLIBC"] - below.versions["GLIBC"] == {"2.18", "2.19", "2.20"}
    assert {**found.versions, "GLIBC": None} == {**below.versions, "GLIBC": None}
    assert (found.libraries, found.forbidden) == (below.libraries, below.forbidden)


def test_a_tag_newer_than_all_policies_follows_the_newest() -> None:
    newest = get_policies(Libc.GLIBC, Arch.AARCH64)[-1]
    major, minor = newest.tag.version
    found = get_policy(PlatformTag(Libc.GLIBC, (major, minor + 2), Arch.AARCH64))
    assert found.versions["GLIBC"] - newest.versions["GLIBC"] == {f"2.{minor + 1}", f"2.{minor + 2}"}
    assert found.libraries == newest.libraries
    assert found not in get_policies(Libc.GLIBC, Arch.AARCH64)


@pytest.mark.parametrize("name", ["musllinux_1_5", "manylinux_2_99"])
def test_a_c_library_that_does_not_exist_yet_has_no_policy(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}_x86_64.*the newest"):
        policy(name)


@pytest.mark.parametrize(
    ("tag", "cure"),
    [
        (PlatformTag(Libc.GLIBC, (2, 4), Arch.X86_64), "manylinux_2_5, manylinux_2_12"),
        (PlatformTag(Libc.GLIBC, (2, 5), Arch.AARCH64), "manylinux_2_17, manylinux_2_24"),
        (PlatformTag(Libc.GLIBC, (3, 0), Arch.X86_64), "manylinux_2_41"),
        (PlatformTag(Libc.MUSL, (1, 0), Arch.X86_64), "musllinux_1_1, musllinux_1_2"),
        (PlatformTag(Libc.MUSL, (1, 2), Arch.PPC64), "ppc64 has no musllinux policy"),
    ],
)
def test_a_tag_without_a_policy_is_an_error_that_lists_the_policies(tag: PlatformTag, cure: str) -> None:
    with pytest.raises(SettingsError, match=str(tag)) as caught:
        get_policy(tag)
    assert caught.value.cure is not None
    assert cure in caught.value.cure


def test_policies_are_values() -> None:
    assert len({*get_policies(Libc.GLIBC, Arch.X86_64), policy("manylinux_2_20"), policy("manylinux_2_20")}) == 1 + len(
        get_policies(Libc.GLIBC, Arch.X86_64)
    )


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("GLIBC_2.17", ("GLIBC", "2.17")),
        ("GLIBC_ABI_DT_RELR", ("GLIBC", "ABI_DT_RELR")),
        ("CXXABI_LDBL_1.3", ("CXXABI", "LDBL_1.3")),
        ("GLIBC", ("GLIBC", "")),
        ("", ("", "")),
    ],
)
def test_version_names(name: str, parts: tuple[str, str]) -> None:
    assert parse_version_name(name) == parts


@pytest.mark.parametrize(
    ("name", "arch", "library", "since"),
    [
        ("arc4random", Arch.X86_64, "libc.so.6", (2, 36)),
        ("getrandom", Arch.X86_64, "libc.so.6", (2, 25)),
        ("memcpy", Arch.X86_64, "libc.so.6", (2, 2, 5)),
        ("memcpy", Arch.I686, "libc.so.6", (2, 0)),
        ("memcpy", Arch.AARCH64, "libc.so.6", (2, 17)),
        ("pow", Arch.X86_64, "libm.so.6", (2, 2, 5)),
        ("pthread_create", Arch.X86_64, "libpthread.so.0", (2, 2, 5)),
        ("pthread_create", Arch.LOONGARCH64, "libc.so.6", (2, 36)),
        ("clock_gettime", Arch.X86_64, "librt.so.1", (2, 2, 5)),
        ("clock_gettime", Arch.RISCV64, "libc.so.6", (2, 27)),
        ("dlopen", Arch.S390X, "libdl.so.2", (2, 2)),
        ("__tls_get_addr", Arch.X86_64, "ld-linux-x86-64.so.2", (2, 3)),
        ("__tls_get_addr", Arch.PPC64LE, "ld64.so.2", (2, 17)),
        ("stdout", Arch.ARMV7L, "libc.so.6", (2, 4)),
        ("fcntl", Arch.X86_64, "libc.so.6", (2, 2, 5)),
    ],
)
def test_symbols_of_glibc(name: str, arch: Arch, library: str, since: tuple[int, ...]) -> None:
    found = glibc_symbol(name, arch)
    assert found is not None
    assert (found.library, found.since) == (library, since)
    assert found.library in GLIBC_LIBRARIES


@pytest.mark.parametrize("name", ["PyObject_Call", "_ZNSt6thread4joinEv", "", "arc4random_of_tomorrow"])
@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.AARCH64])
def test_a_name_of_no_glibc_is_unknown(name: str, arch: Arch) -> None:
    assert glibc_symbol(name, arch) is None


def test_there_are_no_symbols_for_big_endian_power() -> None:
    assert glibc_symbol("memcpy", Arch.PPC64) is None


def test_the_symbols_reach_beyond_the_newest_policy() -> None:
    assert newest_known_glibc() == tuple(map(int, read_data("symbols.json")["glibc"]["complete"].split(".")))
    assert newest_known_glibc() >= get_policies(Libc.GLIBC, Arch.X86_64)[-1].tag.version


def test_symbols_of_musl() -> None:
    assert known_musl() >= (1, 2, 5)
    assert musl_symbol("qsort_r")
    assert musl_symbol("lseek64")  # known to the loader only
    assert not musl_symbol("gnu_get_libc_version")
    assert not musl_symbol("__memcpy_chk")
    assert musl_symbol("___tls_get_addr", Arch.I686)
    assert not musl_symbol("___tls_get_addr", Arch.X86_64)
    assert musl_symbol("__clock_gettime64", Arch.ARMV7L)
    assert not musl_symbol("__clock_gettime64", Arch.AARCH64)
    assert not musl_symbol("memcpy", Arch.PPC64)
