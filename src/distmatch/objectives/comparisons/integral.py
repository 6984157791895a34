"""Integral probability metrics and their margins: the score f is not a log-ratio.

W₁(p, q) = sup over 1-Lipschitz f of E_p[f] - E_q[f]; a penalty keeps f Lipschitz.
"""

from __future__ import annotations

from torch.nn.functional import relu

from distmatch.objectives.comparisons.comparison import Comparison, Sides

WASSERSTEIN = Comparison(
    name="wasserstein",
    symbol="W₁",
    critic=Sides(target=lambda f: -f, model=lambda f: f),
    generator=Sides(target=lambda f: f, model=lambda f: -f),
    log_ratio=None,
    reference="Arjovsky et al. 2017, arXiv:1701.07875",
)

HINGE = Comparison(
    name="hinge",
    symbol="H",
    critic=Sides(target=lambda t: relu(1.0 - t), model=lambda t: relu(1.0 + t)),
    generator=Sides(target=lambda t: t, model=lambda t: -t),
    log_ratio=None,
    reference="Lim and Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957",
)
