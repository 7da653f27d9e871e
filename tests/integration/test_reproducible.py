"""The same raw wheel gives the same bytes wherever, however and by whatever interpreter it is repaired."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest
from wheel_maker import (
    RAW_NAME,
    SOURCE,
    command,
    compile_extension,
    compile_library,
    environment,
    make_wheel,
    needs_cc,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="repairs are for Linux"),
]
LARGE = 9 << 20  # more than one piece of what the writer compresses at once


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw wheel that needs a small and a large library grafted, and has a stored file."""
    needs_cc()
    directory = tmp_path_factory.mktemp("raw")
    lib = directory / "lib"
    compile_library(lib / "libinner.so.2", "int inner(void) { return 40; }")
    source = random.Random(7)
    words = ",".join(str(source.getrandbits(12)) for _ in range(LARGE // 4))
    compile_library(
        lib / "libouter.so.1",
        f"int inner(void); const int table[] = {{{words}}}; int outer(void) {{ return inner() + table[inner()]; }}",
        str(lib / "libinner.so.2"),
        "-Wl,-rpath,$ORIGIN",
    )
    extension = compile_extension(
        directory / "ext.so",
        str(lib / "libouter.so.1"),
        f"-Wl,-rpath,{lib}",
        f"-Wl,-rpath-link,{lib}",
        answer="outer()",
        declarations="extern int outer(void);",
    )
    return make_wheel(directory, {"demo/ext.so": extension, "demo/caf\u00e9.txt": b"x" * 5000}, RAW_NAME)


def digest(out: Path) -> str:
    (wheel,) = out.iterdir()
    return f"{wheel.name} {hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def repaired(raw: Path, out: Path, umask: int = -1, cwd: Optional[Path] = None, **environ: str) -> str:
    """Repair in a process of its own; the name and the digest of the result."""
    line = [*command("repair", raw, "-w", out)]
    done = subprocess.run(
        line, env=environment(**environ), cwd=cwd, umask=umask, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return digest(out)


@pytest.fixture(scope="module")
def usual(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return repaired(raw, tmp_path_factory.mktemp("usual") / "out")


def test_directory(raw: Path, usual: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "a place with sp\u00e4ces"
    elsewhere.mkdir()
    copy = Path(shutil.copy(raw, elsewhere))
    os.utime(copy, (1, 1))
    copy.chmod(0o600)
    assert repaired(copy, tmp_path / "out", cwd=elsewhere, TMPDIR=str(elsewhere)) == usual


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "tr_TR.UTF-8", "de_DE.ISO-8859-1"])
def test_locale(locale: str, raw: Path, usual: str, tmp_path: Path) -> None:
    assert repaired(raw, tmp_path / "out", LC_ALL=locale, LANG=locale, PYTHONUTF8="0") == usual


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/St_Johns", "XYZ-13"])
def test_time_zone(zone: str, raw: Path, usual: str, tmp_path: Path) -> None:
    assert repaired(raw, tmp_path / "out", TZ=zone) == usual


@pytest.mark.skipif(sys.version_info < (3, 9), reason="subprocess has no umask")
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_umask(umask: int, raw: Path, usual: str, tmp_path: Path) -> None:
    assert repaired(raw, tmp_path / "out", umask=umask) == usual


def test_order_of_hashes(raw: Path, usual: str, tmp_path: Path) -> None:
    for seed in ("0", "1", "77"):
        assert repaired(raw, tmp_path / seed, PYTHONHASHSEED=seed) == usual


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads(threads: int, raw: Path, usual: str, tmp_path: Path) -> None:
    from portable_backend.repairing.apply import repair_wheel
    from portable_backend.repairing.plan import RepairOptions

    repair_wheel(raw, tmp_path / "out", RepairOptions(), threads=threads)
    assert digest(tmp_path / "out") == usual


def test_epoch_is_heeded_and_nothing_else_of_the_time(raw: Path, usual: str, tmp_path: Path) -> None:
    assert repaired(raw, tmp_path / "one", SOURCE_DATE_EPOCH="315532800") == usual
    later = [repaired(raw, tmp_path / name, SOURCE_DATE_EPOCH="1700000000") for name in ("two", "three")]
    assert later[0] == later[1] != usual


def test_without_the_compiled_scanner(raw: Path, usual: str, tmp_path: Path) -> None:
    pytest.importorskip("elftools")
    plain = tmp_path / "src"
    shutil.copytree(SOURCE, plain, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    assert repaired(raw, tmp_path / "out", PYTHONPATH=str(plain)) == usual


def other_interpreters() -> list[str]:
    """Interpreters beside the running one, by the names that installations give them; ``TESTS_PYTHONS`` adds paths."""
    names = [f"python3.{minor}" for minor in range(9, 20)]
    named = [found for name in names if (found := shutil.which(name))]
    return [*named, *filter(None, os.environ.get("TESTS_PYTHONS", "").split(os.pathsep))]


@pytest.mark.parametrize("python", other_interpreters() or [""])
def test_interpreter(python: str, raw: Path, usual: str, tmp_path: Path) -> None:
    if not python:
        pytest.skip("there is no other interpreter here")
    probe = [python, "-c", "import packaging, deflate, sys; sys.exit(sys.version_info < (3, 9))"]
    if subprocess.run(probe, env=environment(), capture_output=True, check=False).returncode:
        pytest.skip(f"{python} lacks what the package depends on")
    line = [python, "-m", "portable_backend.cli", "repair", str(raw), "-w", str(tmp_path / "out")]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "out") == usual


def test_fallback_says_so(raw: Path, tmp_path: Path) -> None:
    """Without ``deflate`` the wheel is good all the same, and the user knows what its bytes depend on."""
    import json

    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "deflate.py").write_text("raise ImportError\n")
    path = os.pathsep.join([str(absent), str(SOURCE)])
    line = command("repair", raw, "-w", tmp_path / "out", "--json")
    done = subprocess.run(line, env=environment(PYTHONPATH=path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "zlib compresses" in done.stderr
    assert json.loads(done.stdout)["compressor"] == "zlib"
