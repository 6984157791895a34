from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Independent, Normal

from distmatch.random import seeded
from distmatch.reproduction.framework.measure import Judged, Look

DATA = torch.randn(2, 2000, 2, generator=seeded(0)) * 0.75**0.5 + torch.tensor([0.0, 1.0])[:, None, None]


def judged(prior="normal"):
    """A run whose codes follow the prior for training data, and are off by 1 in both coordinates for held-out data."""
    network = SimpleNamespace(prior=prior, posterior="gaussian")
    trained = SimpleNamespace(
        nets={"encoder": None},
        assembly=SimpleNamespace(config=SimpleNamespace(network=network)),
        encode=lambda x: Independent(Normal(x, 0.5), 1),
        prepared=lambda split, n: dict(zip(("train", "test"), DATA, strict=True))[split][:n],
    )
    return Judged(trained, Look(samples=10, critic=(1, 1, 0.1), batches=(1, 2), codes=1500))


def test_one_kl_is_of_the_training_mixture_and_the_other_of_held_out_codes():
    assert judged().kl() == pytest.approx(0, abs=0.03)
    assert judged().kl_density() == pytest.approx(1, abs=0.12)


def test_there_is_none_against_another_prior():
    assert judged("uniform").kl_density() is None
