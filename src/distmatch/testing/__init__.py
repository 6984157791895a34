"""Checks of the members of registries, which say in one sentence what is wrong.

A new critic loss is ten lines and one call:

>>> import torch
>>> from torch.nn.functional import softplus
>>> from distmatch.objectives.comparisons import Comparison, Sides
>>> logistic = Comparison(
...     name="logistic",
...     symbol="L",
...     critic=Sides(target=lambda s: softplus(-s), model=softplus),
...     generator=Sides(target=None, model=lambda s: -s),
...     log_ratio=lambda s: s,
...     reference="ours",
... )
>>> check_comparison(logistic)
"""

from distmatch.testing.comparison import check_comparison
from distmatch.testing.metric import check_metric
from distmatch.testing.network import check_network
from distmatch.testing.penalty import check_penalty

__all__ = ["check_comparison", "check_metric", "check_network", "check_penalty"]
