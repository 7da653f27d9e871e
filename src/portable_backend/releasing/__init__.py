"""Whole releases: several interpreters and targets by one command, in parallel, tested, resumable."""
