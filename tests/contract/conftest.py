"""Where the tests' own modules are."""

from __future__ import annotations
