import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from distmatch.errors import BadInput
from distmatch.metrics.generator.inversion import inference_via_optimization
from distmatch.random import seeded


def test_a_linear_decoder_gets_the_residual_of_least_squares():
    g = seeded(0)
    a, x = torch.randn(8, 3, generator=g), torch.randn(20, 8, generator=g)
    found = inference_via_optimization(lambda z: z @ a.T, x, 3, steps=400)
    solution = torch.linalg.lstsq(a.double(), x.double().T)
    residual = (a.double() @ solution.solution - x.double().T).square().mean(0)
    torch.testing.assert_close(found.errors, residual, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.codes.double(), solution.solution.T, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found.reconstructions, found.codes @ a.T)
    assert found.error.value == pytest.approx(residual.mean().item(), rel=1e-4)
    assert found.error.standard_error == pytest.approx(residual.std().item() / math.sqrt(20), rel=1e-3)


def test_what_the_decoder_makes_is_found_again():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 12), nn.Unflatten(1, (1, 3, 4)))
    z = torch.randn(200, 4, generator=seeded(1))
    x = net(z).detach()
    found = inference_via_optimization(net, x, 4, steps=300)
    assert found.error.value < 1e-4
    assert found.reconstructions.shape == x.shape
    low, high = found.code_norm.interval(0.999)
    assert low < 1 < high
    assert (found.history.diff() <= 0).all()
    assert found.history[-1].item() == pytest.approx(found.error.value)
    assert all(p.grad is None for p in net.parameters())


def test_a_lost_mode_is_noticed():
    """G makes points on the circle of radius 1 alone; x at radius 3 stays 2 away."""
    found = inference_via_optimization(
        lambda z: z / z.norm(dim=1, keepdim=True), torch.tensor([[1.0, 0.0], [0.0, 3.0]]), 2
    )
    assert found.errors.tolist() == pytest.approx([0, 4 / 2], abs=1e-3)


def test_codes_of_unlikely_norm_are_noticed():
    x = 10 * torch.randn(100, 5, generator=seeded(0))
    found = inference_via_optimization(lambda z: z, x, 5, rate=1.0)
    assert found.error.value < 1e-3
    assert found.code_norm.value == pytest.approx(10, abs=4 * found.code_norm.standard_error)


def test_a_start_helps_where_the_prior_does_not():
    """A needle that no draw of the prior finds: exp(-50 (z - 6)²)."""
    needle = lambda z: (-50 * (z - 6) ** 2).exp()  # noqa: E731
    x = torch.ones(2, 1)
    blind = inference_via_optimization(needle, x, 1, steps=50)
    seeing = inference_via_optimization(needle, x, 1, steps=50, start=torch.full((2, 1), 5.9))
    assert blind.error.value > 0.9
    assert seeing.error.value < 1e-3


def test_laws_labels_and_batches():
    y = torch.arange(7.0)
    x = torch.stack([y, 2 * y], 1)
    shares = []
    found = inference_via_optimization(
        lambda z, y: Normal(z * 0 + y[:, None] * torch.tensor([1.0, 2.0]), 1.0),
        x, 2, y=y, batch_size=3, steps=4, progress=shares.append,
    )  # fmt: skip
    assert found.errors.tolist() == [0] * 7
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) == 3 * 5


def test_repeats_by_seed_and_leaves_global_randomness_alone():
    x = torch.randn(5, 2, generator=seeded(0))
    before = torch.get_rng_state()
    first, second, third = (
        inference_via_optimization(lambda z: z.tanh(), x, 2, steps=5, seed=s) for s in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.codes, second.codes)
    assert not torch.equal(first.codes, third.codes)
    with torch.no_grad():
        assert inference_via_optimization(lambda z: z.tanh(), x, 2, steps=5, seed=1) == first


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": torch.zeros(1, 2)}, "too small"),
        ({"x": torch.full((3, 2), math.nan)}, "NaN"),
        ({"latent": 0}, "latent is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"rate": 0.0}, "rate is 0"),
        ({"y": torch.zeros(2)}, "2 labels for 3"),
        ({"start": torch.zeros(3, 1)}, "start must have shape"),
        ({"draw_prior": lambda n, seed: torch.zeros(n, 3)}, "draw_prior must return 9 codes"),
        ({"draw_prior": lambda n, seed: torch.zeros(n, 2)}, "nothing but zeros"),
        ({"decoder": lambda z: z[:, :1]}, "1 coordinates for x"),
        ({"decoder": lambda z: z.detach()}, "differentiable"),
        ({"decoder": lambda z: z * math.nan}, "NaN"),
    ],
)
def test_degenerate_input(given, message):
    arguments = {"decoder": lambda z: z, "x": torch.zeros(3, 2), "latent": 2, **given}
    with pytest.raises(BadInput, match=message):
        inference_via_optimization(**arguments)
