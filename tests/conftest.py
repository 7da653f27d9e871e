"""What a machine must have for some of the tests. Missing, it is a reason to skip; in CI it is a failure."""

from __future__ import annotations

import os
import shutil

import pytest

# Programs of the system by module: they build C extensions with the machine's own compiler, mount a source tree
# read-only, or look at the process table. Nothing of this can be installed without the system's package manager.
_PROGRAMS = {
    "test_strategies.py": ("cc",),
    "test_build_command.py": ("cc", "ps"),
    "test_container_builds.py": ("cc",),
    "test_container_sources.py": ("git", "mount"),
    "test_frontends.py": ("cc", "c++"),
    "test_hooks.py": ("cc", "mount"),
    "test_init_builds.py": ("cc",),
    "test_old_machine.py": ("cc", "c++"),
    "test_zig_toolchain.py": ("cc", "c++"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail in CI, what needs a program that is not there."""
    missing = [name for name in _PROGRAMS.get(item.path.name, ()) if shutil.which(name) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {', '.join(missing)}")
