"""``python -m portable_backend``: what the command ``portable-backend`` does."""

from .cli import run

run()
