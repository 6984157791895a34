"""Every metric keeps the public contract, on a toy that has what it needs."""

from dataclasses import replace

import pytest

from distmatch.metrics import METRICS
from distmatch.testing import check_metric
from distmatch.testing.metric import toy

SLOW = {
    "annealed_log_likelihood",
    "low_posterior_samples",
    "marginal_kl_by_density",
    "marginal_kl_by_ratio",
    "ms_ssim_diversity",
}
MODELS = {  # where the toy's normal decoder is not what the metric measures
    "bits_per_dim_bound": lambda metric: replace(toy(metric), grey_levels=256),
}
every = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW or not METRICS[n].quick else []) for n in METRICS],
)


@every
def test_it_keeps_the_contract(name):
    metric = METRICS[name]
    check_metric(metric, MODELS[name](metric) if name in MODELS else None)
