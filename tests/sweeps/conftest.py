"""Sweeps by the command line, in an empty folder."""

from commands import distmatch, here, one_thread  # noqa: F401  # fixtures are asked for by their names
