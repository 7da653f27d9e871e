"""Libraries that are left out by ``exclude``: the wheel's own way to them stays, as the how-to about CUDA promises."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from command_line import run
from wheel_maker import libc_extension, make_wheel

from portable_backend.elf import scan


@pytest.mark.parametrize(
    ("member", "runpath", "kept"),
    [
        ("pkg/gpu.so", "$ORIGIN/../nvidia/cuda_runtime/lib", True),
        ("gpu.so", "$ORIGIN/nvidia/cuda_runtime/lib", True),
        ("gpu.so", "$ORIGIN/../nvidia/cuda_runtime/lib", False),
    ],
)
def test_a_runpath_to_another_package_stays(
    member: str, runpath: str, kept: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = libc_extension("GLIBC_2.14", "gpu", needed=["libcudart.so.12"], runpath=runpath)
    wheel = make_wheel(tmp_path, {member: module})
    outcome = run(capsys, "repair", "--exclude", "libcudart.so.*", "-w", tmp_path / "out", wheel)
    assert outcome.code == 0
    (repaired,) = (tmp_path / "out").iterdir()
    with zipfile.ZipFile(repaired) as archive:
        facts = scan(archive.read(member))
    assert "libcudart.so.12" in facts.needed
    assert (facts.runpath == runpath) is kept
    assert run(capsys, "audit", repaired).code == 1
    assert run(capsys, "audit", "--exclude", "libcudart.so.*", repaired).code == 0
