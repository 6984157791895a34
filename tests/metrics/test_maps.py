"""The bench's entries for maps and critics, on small models."""

import dataclasses
import math

import pytest
import torch
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics import METRICS
from distmatch.metrics.generator.inputs import CRITICS
from distmatch.metrics.model import Critic, Model, Options
from distmatch.metrics.plots import Pictures
from distmatch.random import seeded

RUN = {name: metric for name, metric in METRICS.items() if metric.group == "generator"}


def normal(n, seed, d=2):
    return torch.randn(n, d, generator=seeded(seed))


def critics(n, seed):
    """One that knows log N(x; 1, 1)/N(x; 0, 1) in one dimension, and one of a batch."""
    p, q = normal(n, seed, 1) + 1, normal(n, seed + 1, 1)
    return {
        "data": Critic(lambda x: x[:, 0] - 0.5, (p,), (q,), is_log_ratio=True),
        "batch": Critic(lambda x: x[:, 0] - x.mean(), (p,), (q,)),
    }


TOY = Model(
    sample=lambda n, seed: normal(n, seed) * torch.tensor([1.0, 2.0]),
    generate=lambda z, y: z * torch.tensor([1.0, 2.0]),
    draw_prior=normal,
    critics=critics,
    latent=2,
    train=normal(300, 5),
    test=normal(300, 6),
)
TILES = Model(
    generate=lambda z, y: (z.sum(1).sigmoid() * 2 - 1).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8),
    encode=lambda x, y: Independent(Normal(x.flatten(1)[:, :2], 0.1), 1),
    draw_prior=normal,
    latent=2,
    test=torch.linspace(-0.9, 0.9, 40).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8),
    is_image=True,
    image_range=(-1.0, 1.0),
)


@pytest.mark.parametrize("name", RUN)
def test_each_entry_gives_what_it_declares(name):
    entry, shares = RUN[name], []
    before = torch.get_rng_state()
    found = entry(TOY, Options(samples=200, progress=shares.append))
    assert torch.equal(before, torch.get_rng_state())
    assert found.metrics.keys() <= entry.better.keys()
    assert found.plots
    assert all(math.isfinite(e.value) and e.how for e in found.metrics.values())
    assert set(entry.needs) <= {f.name for f in dataclasses.fields(Model)}
    assert shares == sorted(shares)
    if not entry.quick:
        assert shares[-1] == 1
    again = entry(TOY, Options(samples=200))
    assert found.metrics == again.metrics


def test_values_on_the_toy():
    options = Options(samples=1000)
    spectrum = RUN["jacobian_spectrum"](TOY, options).metrics
    assert spectrum["log_condition_number"].value == pytest.approx(2 * math.log(2))
    assert RUN["inference_via_optimization"](TOY, options).metrics["inversion_error"].value < 1e-3
    assert RUN["gradient_norms"](TOY, options).metrics["gradient_norm_data"].value == 1
    calibration = RUN["ratio_calibration"](TOY, options).metrics
    for side in ("model", "target"):
        estimate = calibration[f"calibration_{side}_data"]
        assert abs(estimate.value - 1) < 4 * estimate.standard_error
    accuracy = calibration["critic_accuracy_data"]
    assert abs(accuracy.value - 0.6915) < 4 * accuracy.standard_error  # Φ(1/2)


def test_images_are_shown_with_the_worst_first():
    found = RUN["inference_via_optimization"](TILES, Options(samples=40))
    (pictures,) = (e for e in found.plots if isinstance(e, Pictures))
    assert pictures.images.shape == (2 * pictures.columns, 1, 8, 8)
    assert 0 <= pictures.images.min() <= pictures.images.max() <= 1


def test_labels_take_turns_where_the_model_is_given_them():
    seen = []

    def generate(z, y):
        seen.append(y)
        return z * (1 + y[:, None])

    given = dataclasses.replace(
        TOY, generate=generate, sample_with_labels=lambda y, seed: y, train_labels=torch.tensor([0, 1, 2])
    )
    RUN["jacobian_spectrum"](given, Options(samples=5))
    assert seen[-1].tolist() == [0, 1, 2, 0, 1]


def test_critics_that_do_not_apply_say_so():
    batches = dataclasses.replace(TOY, critics=lambda n, seed: {})
    alone = dataclasses.replace(TOY, critics=lambda n, seed: {"batch": critics(n, seed)["batch"]})
    with pytest.raises(BadInput, match="judges whole batches"):
        RUN["gradient_norms"](batches, Options())
    with pytest.raises(BadInput, match="critic 'batch': the score of one row depends"):
        RUN["gradient_norms"](alone, Options())
    with pytest.raises(BadInput, match="log p/q"):
        RUN["ratio_calibration"](alone, Options())


def test_all_metrics_have_names_of_their_own():
    names = [name for metric in METRICS.values() for name in metric.better]
    assert len(names) == len(set(names))
    assert set(CRITICS) == {"data", "code", "joint"}
