"""Puts this folder on the path, so that every test may import `contracts.toys`; makes hypothesis repeatable."""

import os

from hypothesis import settings

# The same examples at every run: a test that fails does so for everybody.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Tests read what a pipe gets; parallel test processes are told a terminal's width.
os.environ.pop("COLUMNS", None)
