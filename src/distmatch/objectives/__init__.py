"""Objectives: which distributions are matched, and how they are compared."""
