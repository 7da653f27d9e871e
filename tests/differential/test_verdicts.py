"""Our verdicts on published wheels against auditwheel's. Each allowed difference has one line with its reason.

The wheels come from the package index, once; ``PORTABLE_BACKEND_TEST_CACHE`` says where they are kept.
``PORTABLE_BACKEND_TEST_WHEELS=all`` adds the large ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from portable_backend.auditing.read import read_verdict
from portable_backend.auditing.verdict import JudgeOptions

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="auditwheel runs on Linux only"),
]
pytest.importorskip("auditwheel", reason="auditwheel is not installed")

SMALL = ["markupsafe==3.0.4", "numpy==2.4.6", "psycopg2-binary==2.9.13", "cryptography==50.0.2"]
LARGE = ["lxml==6.1.3", "scipy==1.17.1", "pyarrow==26.0.1", "opencv-python-headless==5.0.0.93", "lightgbm==4.7.0"]
CHOSEN = [*SMALL, *LARGE] if os.environ.get("PORTABLE_BACKEND_TEST_WHEELS") == "all" else SMALL

#: Project → (what we say instead, why).
DIFFERENCES = {
    "lightgbm": ("linux_x86_64", "needs libgomp.so.1, which auditwheel judges by the copy on the machine it runs on"),
}


def download(requirement: str) -> Path:
    """The wheel of a pinned requirement for CPython 3.11 on x86-64, from the cache or the package index."""
    default = Path.home() / ".cache" / "portable-backend-tests"
    cache = Path(os.environ.get("PORTABLE_BACKEND_TEST_CACHE") or default) / requirement
    found = sorted(cache.glob("*.whl"))
    if found:
        return found[0]
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 26, 27, 28, 34)] + ["manylinux2014_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += [
        "--python-version",
        "3.11",
        *(f"--platform={name}" for name in platforms),
        "-d",
        str(cache),
        requirement,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(cache.glob("*.whl"))
    if done.returncode or not found:
        if os.environ.get("CI"):
            pytest.fail(f"{requirement} cannot be downloaded: {done.stderr}")
        pytest.skip(f"{requirement} cannot be downloaded")
    return found[0]


def auditwheel_policy(wheel: Path) -> str:
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    return str(data["overall_tag"])


@pytest.mark.parametrize("requirement", CHOSEN)
def test_policy(requirement: str) -> None:
    wheel = download(requirement)
    verdict = read_verdict(wheel, JudgeOptions())
    project = requirement.partition("==")[0]
    expected = DIFFERENCES[project][0] if project in DIFFERENCES else auditwheel_policy(wheel)
    assert verdict.policy_name == expected
    if project not in DIFFERENCES:
        assert verdict.false_claims == ()
        assert [finding for finding in verdict.findings if finding.kind == "record"] == []
