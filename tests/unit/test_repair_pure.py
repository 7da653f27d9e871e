"""Wheels without native code: for any platform, and for one all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from wheel_maker import make_wheel

from portable_backend.repairing.apply import repair_wheel
from portable_backend.repairing.plan import RepairOptions
from portable_backend.targets import Arch, parse_target
from portable_backend.wheels import open_wheel

FILES = {"demo/__init__.py": b"x = 1\n"}


def test_for_any_platform_it_is_copied_as_it_is(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, FILES, "demo-1.0-py3-none-any.whl")
    result = repair_wheel(wheel, tmp_path / "out", RepairOptions(target=parse_target("manylinux_2_17", Arch.X86_64)))
    assert result.path.name == wheel.name
    assert result.path.read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize(
    ("target", "platforms"),
    [
        ("manylinux_2_17", "manylinux2014_x86_64.manylinux_2_17_x86_64"),
        (None, "manylinux1_x86_64.manylinux_2_5_x86_64"),
    ],
)
def test_for_one_platform_any_policy_is_true_of_it(tmp_path: Path, target: str, platforms: str) -> None:
    """As when an optional extension module could not be built: nobody may upload linux_x86_64, and it is told."""
    wheel = make_wheel(tmp_path, FILES, "demo-1.0-cp311-cp311-linux_x86_64.whl")
    told: list[str] = []
    options = RepairOptions(target=None if target is None else parse_target(target, Arch.X86_64))
    result = repair_wheel(wheel, tmp_path / "out", options, told.append)
    assert result.path.name == f"demo-1.0-cp311-cp311-{platforms}.whl"
    assert any("no native code" in line for line in told)
    with open_wheel(result.path) as written:
        tags = [line for line in written.read_text("WHEEL").splitlines() if line.startswith("Tag:")]
    assert tags == [f"Tag: cp311-cp311-{platform}" for platform in platforms.split(".")]


def test_an_older_claim_stays(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, FILES, "demo-1.0-cp311-cp311-manylinux_2_12_x86_64.whl")
    result = repair_wheel(wheel, tmp_path / "out", RepairOptions(target=parse_target("manylinux_2_17", Arch.X86_64)))
    assert result.path.name == wheel.name
