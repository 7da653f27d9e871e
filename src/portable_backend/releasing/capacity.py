"""How many jobs a machine can do at a time."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Optional

# What compiling one file of a large C++ project takes.
_MEMORY_OF_A_JOB = 1 << 30
_CGROUP = Path("/sys/fs/cgroup")


def default_parallel() -> int:
    """As many as there are processors, and as their memory allows."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(_read(_CGROUP / "cpu.max"))
    memory = available_memory(
        _read(Path("/proc/meminfo")), _read(_CGROUP / "memory.max"), _read(_CGROUP / "memory.current")
    )
    return jobs_for(count, quota, memory)


def jobs_for(processors: int, quota: Optional[float], memory: Optional[int]) -> int:
    """Jobs for so many processors, a quota of processor time, and bytes of memory that can be had."""
    count = processors if quota is None else min(processors, max(1, int(quota)))
    return max(1, count if memory is None else min(count, memory // _MEMORY_OF_A_JOB))


def available_memory(meminfo: str, most: str, current: str) -> Optional[int]:
    """Bytes that can be had: what the kernel says, or what the control group still may have."""
    match = re.search(r"^MemAvailable:\s+([0-9]+) kB", meminfo, re.MULTILINE)
    values = [int(match[1]) << 10] if match else []
    if most.strip().isdigit():
        values.append(max(0, int(most) - int(current.strip() if current.strip().isdigit() else 0)))
    return min(values, default=None)


def _quota(text: str) -> Optional[float]:
    parts = text.split()
    return int(parts[0]) / int(parts[1]) if len(parts) == 2 and parts[0].isdigit() and parts[1] != "0" else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
