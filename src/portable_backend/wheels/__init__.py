"""Wheels: their names, their archives, read with suspicion and written canonically."""

from __future__ import annotations

from .deflating import Compressor, find_compressor
from .names import RecordEntry, WheelName, arch_of_name, parse_wheel_name
from .reading import RawMember, Wheel, find_record_lies, open_wheel
from .writing import Deferred, NewMember, Written, canonical_order, digest_of, make_record, write_archive, writing

__all__ = [
    "Compressor",
    "Deferred",
    "NewMember",
    "RawMember",
    "RecordEntry",
    "Wheel",
    "WheelName",
    "Written",
    "arch_of_name",
    "canonical_order",
    "digest_of",
    "find_compressor",
    "find_record_lies",
    "make_record",
    "open_wheel",
    "parse_wheel_name",
    "write_archive",
    "writing",
]
