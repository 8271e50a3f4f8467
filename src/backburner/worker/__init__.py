"""Runs jobs: the supervisor, its worker processes, and the embedded worker."""
