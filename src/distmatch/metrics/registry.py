"""The bench's diagnostics by name. Add an entry to its group and every caller sees it."""

from __future__ import annotations

from distmatch.metrics.entries import (
    codes,
    explicit,
    features,
    geometry,
    likelihoods,
    maps,
    samples,
)

GROUPS = (likelihoods, explicit, codes, samples, features, geometry, maps)
DIAGNOSTICS = {entry.name: entry for group in GROUPS for entry in group.ENTRIES}
