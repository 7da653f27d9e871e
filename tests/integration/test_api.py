"""The Python interface: two functions that do what the commands do, in this process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command_line import entries, run
from wheel_maker import RAW_NAME, compile_extension, compile_library, make_wheel, needs_cc, read_members, verify_record

from portable_backend import audit, repair
from portable_backend.errors import NotCompliant, SettingsError, UsageError, WheelError

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="repairs are for Linux")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A wheel with an extension module that needs a library of this machine."""
    needs_cc()
    library = compile_library(tmp_path / "lib" / "libanswer.so.1", "int the_answer(void) { return 42; }")
    module = compile_extension(
        tmp_path / "ext.so",
        str(library),
        f"-Wl,-rpath,{library.parent}",
        answer="the_answer()",
        declarations="int the_answer(void);",
    )
    return make_wheel(tmp_path / RAW_NAME, {"demo/ext.so": module.read_bytes()})


def test_audit_says_what_the_command_says(raw: Path, capsys: Capture) -> None:
    verdict = audit(raw)
    said = json.loads(run(capsys, "audit", "--json", raw).out)
    assert verdict.policy_name == said["policy"]
    assert [finding.message for finding in verdict.findings] == [each["message"] for each in said["findings"]]
    assert verdict.external_libraries == ("libanswer.so.1",)
    assert audit(str(raw)) == verdict


def test_repair_does_what_the_command_does(raw: Path, tmp_path: Path, capsys: Capture) -> None:
    lines: list[str] = []
    result = repair(raw, tmp_path / "ours", progress=lines.append)
    outcome = run(capsys, "repair", raw, "-w", tmp_path / "theirs")
    assert result.path.read_bytes() == Path(outcome.out.strip()).read_bytes()
    assert result.path.parent == tmp_path / "ours"
    assert any("libanswer" in line for line in lines)
    assert result.before.policy is None
    assert audit(result.path) == result.after
    assert result.after.compliant
    verify_record(result.path)
    assert capsys.readouterr().out == ""


def test_no_other_process_is_started(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        pytest.fail(f"a process was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr("os.posix_spawn", refuse)
    audit(raw)
    repair(raw, tmp_path / "out")


def test_a_target_that_cannot_be_reached_leaves_nothing(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(NotCompliant, match="the target is musllinux_1_2_x86_64"):
        repair(raw, out, target="musllinux_1_2_x86_64")
    assert not out.exists() or entries(out) == []


def test_options_reach_the_repair(raw: Path, tmp_path: Path) -> None:
    result = repair(raw, tmp_path / "out", libs_dir=".private", exclude=["libnothing.so*"], compression_level=0)
    assert any(name.startswith("demo.private/libanswer-") for name in read_members(result.path))


def test_bad_arguments_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    missing = tmp_path / "demo-1.0-py3-none-any.whl"
    with pytest.raises(UsageError, match="exclude"):
        audit(missing, exclude="libfoo.so.1")
    with pytest.raises(UsageError, match="ldpaths"):
        repair(missing, tmp_path, ldpaths="/opt/lib")
    with pytest.raises(UsageError, match="compression_level"):
        repair(missing, tmp_path, compression_level=10)
    with pytest.raises(SettingsError):
        repair(missing, tmp_path, target="plan9_1_0")
    with pytest.raises(SettingsError):
        repair(missing, tmp_path, libs_dir="../elsewhere")


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match="No such file"):
        audit(tmp_path / "demo-1.0-py3-none-any.whl")


def test_both_can_be_called_from_threads(raw: Path, tmp_path: Path) -> None:
    start = threading.Barrier(4)

    def one(number: int) -> bytes:
        start.wait()
        return repair(raw, tmp_path / str(number)).path.read_bytes()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, range(4)))
    assert len(set(results)) == 1


def test_the_functions_are_attributes_of_the_package_and_typed(tmp_path: Path) -> None:
    """What an editor and a type checker see: names, keywords and types, without importing anything else first."""
    mypy = pytest.importorskip("mypy.api", reason="mypy is not installed")
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "from pathlib import Path\n"
        "from portable_backend import audit, repair\n"
        "names: tuple[str, ...] = audit('a.whl').external_libraries\n"
        "path: Path = repair('a.whl', Path('out'), target='musllinux_1_2', strip=True).path\n"
        "repair('a.whl', 'out', stripe=True)\n",
        "utf-8",
    )
    told, _, _ = mypy.run(["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"), str(snippet)])
    assert [line for line in told.splitlines() if "error" in line and "snippet.py:5" not in line][:-1] == []
    assert 'Unexpected keyword argument "stripe"' in told
