"""Architectures and platform tags: parse, print, compare."""

from __future__ import annotations

import pytest

from portable_backend.errors import SettingsError
from portable_backend.targets import Arch, Libc, PlatformTag, find_platform_tag, parse_arch, parse_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("manylinux_2_17", "manylinux_2_17_x86_64"),
        ("manylinux2014", "manylinux_2_17_x86_64"),
        ("manylinux1", "manylinux_2_5_x86_64"),
        ("manylinux2010_i686", "manylinux_2_12_i686"),
        ("manylinux_2_28_aarch64", "manylinux_2_28_aarch64"),
        ("manylinux_2_28_arm64", "manylinux_2_28_aarch64"),
        ("manylinux_2_28_amd64", "manylinux_2_28_x86_64"),
        (" musllinux_1_2 ", "musllinux_1_2_x86_64"),
        ("musllinux_1_2_ppc64le", "musllinux_1_2_ppc64le"),
        ("manylinux_2_999", "manylinux_2_999_x86_64"),
    ],
)
def test_target(text: str, expected: str) -> None:
    assert str(parse_target(text, Arch.X86_64)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "manylinux", "manylinux2015", "manylinux_2", "manylinux_2_17_", "manylinux_2_17_vax", "manylinux_9_9",
     "musllinux_2_0", "musllinux1", "linux_x86_64", "manylinux_2_1777", "manylinux_2_17 x86_64", "MANYLINUX_2_17",
     "manylinux_2_17_x86_64.manylinux2014_x86_64", "manylinux_\u0662_17", "any", "manylinux_-2_17"],
)  # fmt: skip
def test_no_target(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_target(text, Arch.X86_64)
    assert caught.value.cure


@pytest.mark.parametrize("arch", list(Arch))
def test_tags_survive_printing(arch: Arch) -> None:
    for text in ("manylinux_2_5", "manylinux_2_17", "manylinux_2_39", "musllinux_1_2"):
        tag = parse_target(text, arch)
        assert find_platform_tag(str(tag)) == tag
        assert all(find_platform_tag(name) == tag for name in tag.names)
        assert parse_target(tag.policy, arch) == tag


@pytest.mark.parametrize("text", ["manylinux_2_17", "linux_x86_64", "any", "manylinux_2_17_vax", "win_amd64", ""])
def test_no_platform_tag(text: str) -> None:
    assert find_platform_tag(text) is None


def test_names_include_the_old_ones() -> None:
    tag = PlatformTag(Libc.GLIBC, (2, 17), Arch.X86_64)
    assert tag.names == ("manylinux2014_x86_64", "manylinux_2_17_x86_64")
    assert PlatformTag(Libc.GLIBC, (2, 18), Arch.X86_64).names == ("manylinux_2_18_x86_64",)
    assert PlatformTag(Libc.MUSL, (2, 17), Arch.X86_64).legacy is None


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", True),
        ("manylinux_2_17_x86_64", "manylinux2014_x86_64", True),
        ("manylinux_2_17_x86_64", "manylinux_2_28_x86_64", False),
        ("manylinux_2_9_x86_64", "manylinux_2_12_x86_64", False),
        ("manylinux_2_28_x86_64", "manylinux_2_17_aarch64", False),
        ("manylinux_2_28_x86_64", "musllinux_1_2_x86_64", False),
    ],
)
def test_which_machine_accepts_which_tag(one: str, other: str, covers: bool) -> None:
    assert parse_target(one, Arch.X86_64).covers(parse_target(other, Arch.X86_64)) == covers


@pytest.mark.parametrize(
    ("text", "arch"),
    [
        ("x86_64", Arch.X86_64),
        ("AMD64", Arch.X86_64),
        ("i386", Arch.I686),
        ("arm64", Arch.AARCH64),
        (" s390x", Arch.S390X),
    ],
)
def test_arch(text: str, arch: Arch) -> None:
    assert parse_arch(text) is arch


@pytest.mark.parametrize("text", ["", "vax", "x86_64 linux", "win32"])
def test_no_arch(text: str) -> None:
    with pytest.raises(SettingsError, match="x86_64, i686"):
        parse_arch(text)
