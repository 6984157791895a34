"""The command line, one file for each group of commands."""

from distmatch.cli.entry import main, run

__all__ = ["main", "run"]
