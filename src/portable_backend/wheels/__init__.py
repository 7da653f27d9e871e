"""Wheels: their names, their archives, read with suspicion and written canonically."""

from __future__ import annotations

from .names import RecordEntry, WheelName, arch_of_name, parse_wheel_name
from .reading import RawMember, Wheel, find_record_lies, open_wheel

__all__ = [
    "RawMember",
    "RecordEntry",
    "Wheel",
    "WheelName",
    "arch_of_name",
    "find_record_lies",
    "open_wheel",
    "parse_wheel_name",
]
