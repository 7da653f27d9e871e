"""What ``portable-backend audit`` prints and returns."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from command_line import run
from wheel_maker import X86_NAME, command, environment, libc_extension, make_wheel

Capture = pytest.CaptureFixture[str]
KEYS = {"version", "wheel", "pure", "policy", "claimed", "compliant", "findings", "external_libraries"}
FINDING_KEYS = {"kind", "severity", "member", "library", "symbol", "ceiling", "message", "cure"}


def wheels(directory: Path) -> dict[str, Path]:
    """One wheel of each sort."""
    recent = libc_extension("GLIBC_2.28", needed=["libfoo.so.1"], runpath="/opt")
    return {
        "true": make_wheel(directory / "true", {"demo/ext.so": libc_extension()}),
        "false": make_wheel(directory / "false", {"demo/ext.so": recent}, X86_NAME.replace("linux", "manylinux1")),
        "pure": make_wheel(directory / "pure", {"demo/x.py": b""}, "demo-1.0-py3-none-any.whl", purelib=True),
        "damaged": make_wheel(directory / "damaged", {"demo/ext.so": libc_extension()}, drop=["METADATA"]),
    }


def test_json_lines(tmp_path: Path, capsys: Capture) -> None:
    outcome = run(capsys, "audit", "--json", *wheels(tmp_path).values())
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(lines) == 4
    for line in lines[:3]:
        assert set(line) == KEYS
        assert line["version"] == 1
        assert all(set(finding) == FINDING_KEYS for finding in line["findings"])
    true, false, pure, damaged = lines
    assert (true["wheel"], true["policy"], true["compliant"]) == (X86_NAME, "manylinux_2_5_x86_64", True)
    assert (false["claimed"], false["compliant"]) == (["manylinux1_x86_64"], False)
    assert false["external_libraries"] == ["libfoo.so.1"]
    by_kind = {finding["kind"]: finding for finding in false["findings"]}
    assert by_kind["symbol-version"]["symbol"] == "malloc@GLIBC_2.28"
    assert by_kind["symbol-version"]["ceiling"] == "manylinux_2_28_x86_64"
    assert by_kind["external-library"]["ceiling"] == "linux_x86_64"
    assert (by_kind["rpath"]["severity"], by_kind["rpath"]["ceiling"]) == ("warning", None)
    assert (pure["pure"], pure["policy"], pure["findings"]) == (True, "any", [])
    assert damaged["error"]["kind"] == "WheelError"
    assert damaged["error"]["exit_code"] == outcome.code == 7
    assert "METADATA" in damaged["error"]["message"]


@pytest.mark.parametrize(
    ("names", "code"),
    [(["true"], 0), (["pure"], 0), (["true", "pure"], 0), (["false"], 1), (["true", "false"], 1), (["damaged"], 7),
     (["false", "damaged"], 7), (["damaged", "false", "true"], 7)],
)  # fmt: skip
def test_exit_codes(names: list[str], code: int, tmp_path: Path, capsys: Capture) -> None:
    made = wheels(tmp_path)
    for form in ([], ["--json"], ["-v"]):
        assert run(capsys, "audit", *form, *(made[name] for name in names)).code == code


def test_text(tmp_path: Path, capsys: Capture) -> None:
    made = wheels(tmp_path)
    assert run(capsys, "audit", made["true"]).out.splitlines() == [
        f"{X86_NAME}: manylinux_2_5_x86_64",
        "  claims linux_x86_64: true",
    ]
    text = run(capsys, "audit", made["false"]).out
    assert "NOT TRUE of manylinux1_x86_64" in text
    assert "demo/ext.so: needs libfoo.so.1" in text
    assert "malloc@GLIBC_2.28" not in text  # it is not what decides
    assert text.count("cure:") == 1
    assert "malloc@GLIBC_2.28" in run(capsys, "audit", "-v", made["false"]).out
    assert "pure Python" in run(capsys, "audit", made["pure"]).out


def test_long_reports_are_cut_short(tmp_path: Path, capsys: Capture) -> None:
    symbols = [(f"symbol{number}", "GLIBC_2.28", "libc.so.6") for number in range(200)]
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension(versioned=symbols)})
    assert len(run(capsys, "audit", wheel).out.splitlines()) < 15
    assert len(run(capsys, "audit", "-v", wheel).out.splitlines()) > 200


def test_show_is_audit(tmp_path: Path, capsys: Capture) -> None:
    wheel = wheels(tmp_path)["true"]
    assert run(capsys, "show", wheel) == run(capsys, "audit", wheel)


def test_waivers(tmp_path: Path, capsys: Capture) -> None:
    from elf_builder import Elf, isa_note

    name = X86_NAME.replace("linux", "manylinux1")
    data = libc_extension(needed=["libfoo.so.1"], note=isa_note(Elf(), 7))
    wheel = make_wheel(tmp_path, {"demo/ext.so": data}, name)
    assert run(capsys, "audit", wheel, "--exclude", "libfoo*").code == 1
    assert run(capsys, "audit", wheel, "--disable-isa-ext-check").code == 1
    assert run(capsys, "audit", wheel, "--exclude", "libfoo*", "--disable-isa-ext-check").code == 0


@pytest.mark.parametrize("arguments", [[], ["audit"], ["audit", "--nonsense", "x.whl"], ["nonsense"], ["repair"]])
def test_command_without_sense(arguments: list[str], capsys: Capture) -> None:
    outcome = run(capsys, *arguments)
    assert outcome.code == 2
    assert "usage:" in outcome.err


def test_reader_that_goes_away(tmp_path: Path) -> None:
    """``audit … | head -1`` ends without a traceback."""
    symbols = [(f"symbol{number}", "GLIBC_2.28", "libc.so.6") for number in range(20_000)]
    wheel = make_wheel(tmp_path, {"demo/ext.so": libc_extension(versioned=symbols)})
    process = subprocess.Popen(
        command("audit", "-v", wheel), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.wait(60)
    assert b"Traceback" not in errors
    assert b"Exception ignored" not in errors
