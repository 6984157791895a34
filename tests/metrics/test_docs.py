"""Every metric has a section on its page."""

import re
from pathlib import Path

from distmatch.metrics import METRICS

PAGES = Path(__file__).parents[2] / "docs" / "metrics"
SHARED = {"bits_per_dim_bound": "bits_per_dim"}  # described in the section of


def test_every_diagnostic_has_a_section_that_says_when_it_lies():
    sections = {}
    for page in PAGES.glob("*.md"):
        for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)[1:]:
            heading, _, text = section.partition("\n")
            sections |= {name: text for name in re.findall(r"\w+", heading)}
    for name in METRICS:
        text = sections[SHARED.get(name, name)]
        for part in ("What it answers.", "When it lies.", "How to read it.", "Reference."):
            assert part in text, f"{name}: {part}"
