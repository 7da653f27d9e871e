"""``python -m portable_backend.cli``."""

from . import run

run()
