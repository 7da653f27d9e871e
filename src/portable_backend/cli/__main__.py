"""``python -m portable_backend.cli``."""

import sys

from . import main

sys.exit(main())
