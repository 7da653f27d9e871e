"""Making an existing project use us: its ``pyproject.toml`` edited, cibuildwheel's options translated, a workflow."""
