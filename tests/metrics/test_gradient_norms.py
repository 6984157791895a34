import math

import numpy as np
import pytest
import torch
from torch import nn

from distmatch.errors import BadInput
from distmatch.metrics.generator.gradients import gradient_norms, interpolates, layer_gradient_norms
from distmatch.random import seeded


def draws(n, *shape, seed=0):
    return torch.randn(n, *shape, generator=seeded(seed), dtype=torch.float64)


def test_the_norms_of_finite_differences():
    """f(x, z) = sin(x₁) z₁ + x₂² over both inputs together."""

    def score(x, z):
        return x[:, 0].sin() * z[:, 0] + x[:, 1] ** 2

    target, model = (draws(9, 2), draws(9, 1, seed=1)), (draws(9, 2, seed=2), draws(9, 1, seed=3))
    found = gradient_norms(score, target, model, seed=4, batch_size=2)
    x, z = (u.numpy() for u in interpolates(target, model, 4))
    by_hand = np.sqrt((np.cos(x[:, 0]) * z[:, 0]) ** 2 + (2 * x[:, 1]) ** 2 + np.sin(x[:, 0]) ** 2)
    np.testing.assert_allclose(found.norms.numpy(), by_hand, rtol=1e-12)
    assert found.mean.value == pytest.approx(by_hand.mean())
    assert found.spread.value == pytest.approx(by_hand.std(ddof=1))


def test_places_lie_between_their_pairs_with_one_share_for_all_inputs():
    target = (torch.zeros(500, 3), torch.zeros(500, 2))
    model = (torch.ones(500, 3), 2 * torch.ones(500, 2))
    x, z = interpolates(target, model, 0)
    share = x[:, :1]
    assert torch.equal(x, share.expand(500, 3))
    torch.testing.assert_close(z, 2 * share.expand(500, 2))
    assert 0 <= share.min() < 0.01 < 0.99 < share.max() <= 1


def test_labels_are_held():
    y = torch.arange(4)
    _, held = interpolates((torch.zeros(4, 1), y), (torch.ones(4, 1), y), 0)
    assert torch.equal(held, y)
    found = gradient_norms(lambda x, y: x[:, 0] * (1 + y), (torch.zeros(4, 1), y), (torch.ones(4, 1), y))
    assert found.norms.tolist() == [1, 2, 3, 4]


def test_covers_the_truth():
    """f = x²/2 between 0 and 1: the slope is U[0, 1], of mean 1/2 and standard deviation 1/√12."""
    hits = {"mean": 0, "spread": 0}
    for seed in range(300):
        found = gradient_norms(lambda x: x[:, 0] ** 2 / 2, torch.zeros(40, 1), torch.ones(40, 1), seed=seed)
        for name, truth in (("mean", 0.5), ("spread", 1 / math.sqrt(12))):
            low, high = getattr(found, name).interval()
            hits[name] += low <= truth <= high
    assert all(0.9 <= hit / 300 <= 0.99 for hit in hits.values()), hits


def test_repeats_by_seed_and_leaves_nets_and_chance_alone():
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))
    p, q = draws(10, 2).float(), draws(10, 2, seed=1).float()
    before = torch.get_rng_state()
    with torch.no_grad():
        assert gradient_norms(net, p, q, seed=1) == gradient_norms(net, p, q, seed=1)
    assert gradient_norms(net, p, q, seed=1) != gradient_norms(net, p, q, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(w.grad is None for w in net.parameters())


@pytest.mark.parametrize(
    ("score", "target", "model", "message"),
    [
        (lambda x: x[:, 0], torch.zeros(1, 2), torch.zeros(1, 2), "too small"),
        (lambda x: x[:, 0], torch.zeros(3, 2), torch.zeros(4, 2), "same shape"),
        (lambda x: x[:, 0], torch.zeros(3, 2), torch.full((3, 2), math.nan), "NaN"),
        (
            lambda x: x[:, 0],
            torch.zeros(3, 2),
            (torch.zeros(3, 2), torch.zeros(3, 2)),
            "1 inputs and model has 2",
        ),
        (lambda x: x, torch.zeros(3, 2), torch.zeros(3, 2), "must have shape"),
        (lambda x: x[:, 0] / 0, torch.zeros(3, 2), torch.zeros(3, 2), "score holds NaN"),
        (lambda x: x.detach()[:, 0], torch.zeros(3, 2), torch.zeros(3, 2), "differentiable"),
        (lambda x: x[:, 0] - x[:, 0].mean(), draws(8, 2), draws(8, 2), "depends on the others"),
    ],
)
def test_degenerate_input(score, target, model, message):
    with pytest.raises(BadInput, match=message):
        gradient_norms(score, target, model)


def test_layers_by_hand():
    """Loss w₂·w₁·x of two scalar layers: slopes w₂x and w₁x."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        net[0].weight.fill_(2.0)
        net[1].weight.fill_(-3.0)
    x = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    found = layer_gradient_norms((net(v.reshape(1, 1)).sum() for v in x), net)
    assert found.layers["0.weight"].value == pytest.approx(3 * 3)
    assert found.layers["1.weight"].value == pytest.approx(2 * 3)
    assert found.total.value == pytest.approx(math.sqrt(13) * 3)
    assert found.total.standard_error == pytest.approx(math.sqrt(13) * x.std().item() / math.sqrt(3))
    assert found.entries["0.weight"].tolist() == [-3]
    assert all(w.grad is None for w in net.parameters())


def test_parts_of_a_loss_that_share_a_graph():
    net = nn.Linear(2, 1)
    scores = net(torch.ones(4, 2)).squeeze(1)
    real, fake = scores[:2].mean(), scores[2:].mean()
    assert layer_gradient_norms(real, net).layers == layer_gradient_norms(fake, net).layers
    assert layer_gradient_norms(real, net).total.standard_error == math.inf


def test_large_layers_are_thinned_for_their_histograms():
    net = nn.Linear(300, 200)
    found = layer_gradient_norms(net(torch.ones(1, 300)).sum(), net)
    assert len(found.entries["weight"]) == 20_000
    assert len(found.entries["bias"]) == 200


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([], "losses is empty"),
        (torch.ones(2, requires_grad=True), "one finite number"),
        (torch.tensor(math.nan), "one finite number"),
        (torch.tensor(1.0), "no graph"),
    ],
)
def test_losses_that_cannot_be(losses, message):
    with pytest.raises(BadInput, match=message):
        layer_gradient_norms(losses, nn.Linear(1, 1))


def test_frozen_modules_are_refused():
    with pytest.raises(BadInput, match="no parameters"):
        layer_gradient_norms(torch.ones((), requires_grad=True), nn.Linear(1, 1).requires_grad_(False))
