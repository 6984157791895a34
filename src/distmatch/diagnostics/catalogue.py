"""The bench's diagnostics by name. Add an entry to its group and every caller sees it."""

from __future__ import annotations

from distmatch.diagnostics.entries import codes, likelihoods, samples

GROUPS = (likelihoods, codes, samples)
DIAGNOSTICS = {entry.name: entry for group in GROUPS for entry in group.ENTRIES}
