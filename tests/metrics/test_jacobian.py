import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn
from torch.distributions import Categorical, Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.generator.jacobian import jacobian_spectrum, log_condition_number
from distmatch.metrics.spread import spread
from distmatch.random import seeded


def perceptron(seed, *sizes):
    """tanh layers in float64, with weights of its own."""
    g = seeded(seed)
    weights = [torch.randn(b, a, generator=g, dtype=torch.float64) for a, b in pairwise(sizes)]

    def decoder(z):
        for w in weights:
            z = torch.tanh(z @ w.T)
        return z

    return decoder


def numerical(decoder, z, step=1e-6):
    """Singular values of central differences, code by code, in numpy."""
    found = []
    for row in z:
        columns = []
        for i in range(len(row)):
            e = torch.zeros_like(row)
            e[i] = step
            up, down = (decoder((row + s * e)[None])[0].flatten().numpy() for s in (1, -1))
            columns.append((up - down) / (2 * step))
        found.append(np.linalg.svd(np.stack(columns, 1), compute_uv=False))
    return torch.tensor(np.stack(found))


@pytest.mark.parametrize("sizes", [(3, 8, 7), (7, 8, 3), (4, 4)], ids=["tall", "wide", "square"])
def test_the_singular_values_of_finite_differences(sizes):
    decoder = perceptron(0, *sizes)
    z = torch.randn(6, sizes[0], generator=seeded(1), dtype=torch.float64)
    found = jacobian_spectrum(decoder, z)
    expected = numerical(decoder, z)
    torch.testing.assert_close(found.singular_values, expected, rtol=1e-6, atol=1e-7)
    assert found.singular_values.shape == (6, min(sizes[0], sizes[-1]))
    log_condition = 2 * (expected[:, 0] / expected[:, -1]).log()
    torch.testing.assert_close(log_condition_number(decoder, z), log_condition, rtol=1e-4, atol=1e-5)
    assert found.log_condition_number.value == pytest.approx(log_condition.mean().item(), rel=1e-4)
    assert found.log_volume.value == pytest.approx(expected.log().sum(1).mean().item(), rel=1e-4)


def test_the_condition_number_is_of_the_metric():
    a = torch.randn(9, 4, generator=seeded(2), dtype=torch.float64)
    found = log_condition_number(lambda z: z @ a.T, torch.zeros(1, 4, dtype=torch.float64))
    assert found.item() == pytest.approx(math.log(np.linalg.cond((a.T @ a).numpy())))


def test_images_are_flattened_and_chunks_change_nothing(monkeypatch):
    decoder = nn.Sequential(
        nn.Linear(3, 8), nn.Tanh(), nn.Unflatten(1, (2, 2, 2)), nn.ConvTranspose2d(2, 3, 3)
    )
    z = torch.randn(10, 3, generator=seeded(0))
    whole = jacobian_spectrum(decoder, z)
    monkeypatch.setattr("distmatch.metrics.generator.jacobian.ENTRIES_AT_ONCE", 3 * 48 * 3)
    shares = []
    parts = jacobian_spectrum(decoder, z, progress=shares.append)
    torch.testing.assert_close(parts.singular_values, whole.singular_values)
    torch.testing.assert_close(parts.of_mean_metric, whole.of_mean_metric)
    assert shares == pytest.approx([0.3, 0.6, 0.9, 1.0])


def test_averages():
    """x = (z₁²/2, z₂): J = diag(z₁, 1), so that E J loses what changes its sign and E JᵀJ does not."""
    z = torch.tensor([[-2.0, 0.0], [2.0, 5.0]])
    found = jacobian_spectrum(lambda z: torch.stack([z[:, 0] ** 2 / 2, z[:, 1]], 1), z)
    assert found.of_mean.tolist() == pytest.approx([1, 0])
    assert found.of_mean_metric.tolist() == pytest.approx([2, 1])
    assert found.singular_values.tolist() == [[2, 1], [2, 1]]


class Opaque(torch.autograd.Function):
    """Doubles, without a rule for forward differentiation or vmap."""

    @staticmethod
    def forward(ctx, z):
        return 2 * z

    @staticmethod
    def backward(ctx, g):
        return 2 * g


def looks_at_values(z):
    return 2 * z if z.sum().item() < 1e9 else z


def checks_its_law(z):
    return Independent(Normal(2 * z, torch.ones_like(z), validate_args=True), 1)


@pytest.mark.parametrize("decoder", [Opaque.apply, looks_at_values, checks_its_law])
def test_what_vmap_or_forward_differentiation_refuses(decoder):
    found = jacobian_spectrum(lambda z: decoder(z), torch.ones(3, 2))
    assert found.singular_values.tolist() == [[2, 2]] * 3


def test_labels_stay_with_their_codes(monkeypatch):
    monkeypatch.setattr("distmatch.metrics.generator.jacobian.ENTRIES_AT_ONCE", 8)
    y = torch.arange(5)
    found = jacobian_spectrum(lambda z, y: (1 + y[:, None]) * z, torch.zeros(5, 2), y=y)
    assert found.singular_values[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_flat_directions():
    """σ_min = 0 is +inf per code, and counted as what float32 resolves in the mean, which says so."""
    flat = torch.tensor([1.0, 0.0])
    z = torch.zeros(3, 2)
    assert log_condition_number(lambda z: z * flat, z).tolist() == [math.inf] * 3
    assert log_condition_number(lambda z: 0 * z, z).tolist() == [math.inf] * 3
    found = jacobian_spectrum(lambda z: z * flat, z).log_condition_number
    assert found.value == pytest.approx(-2 * math.log(2**-23))
    assert "3 of 3 codes counted as 31.9" in found.how
    with pytest.raises(BadInput, match="constant around 3 of 3"):
        jacobian_spectrum(lambda z: 0 * z, z)


def test_covers_the_truth():
    """x = (z₁, sinh z₂) has log cond = 2 log cosh z₂; its mean over N(0, 1) by quadrature."""
    truth, _ = quad(
        lambda u: 2 * math.log(math.cosh(u)) * math.exp(-u * u / 2) / math.sqrt(2 * math.pi), -9, 9
    )
    hits = 0
    for seed in range(200):
        z = torch.randn(60, 2, generator=seeded(seed))
        found = jacobian_spectrum(lambda z: torch.stack([z[:, 0], z[:, 1].sinh()], 1), z)
        low, high = found.log_condition_number.interval()
        hits += low <= truth <= high
    assert 0.9 <= hits / 200 <= 0.99


def test_the_spread_covers_the_truth():
    hits = 0
    for seed in range(400):
        low, high = spread(3 * torch.randn(100, generator=seeded(seed))).interval()
        hits += low <= 3 <= high
    assert 0.9 <= hits / 400 <= 0.99
    assert spread(torch.ones(5)).standard_error == 0


@pytest.mark.parametrize(("n", "truth"), [(10, 1.0), (64, 1.0)])
def test_the_spread_of_few_and_of_skewed_covers_the_truth(n, truth):
    """Of 10 from N(0, 1), and of 64 from an exponential: value ± t·error covers 83 and 84 %."""
    hits = 0
    for seed in range(400):
        drawn = torch.randn(2, n, generator=seeded(seed), dtype=torch.float64)
        low, high = spread(drawn[0] if n == 10 else drawn.square().sum(0) / 2).interval()
        hits += low <= truth <= high
    assert 0.88 <= hits / 400 <= 0.99


def test_a_decoder_in_training_mode_is_refused_and_chance_is_left_alone():
    z = torch.randn(8, 2, generator=seeded(0))
    before = torch.get_rng_state()
    with pytest.raises(BadInput, match="evaluation mode"):
        jacobian_spectrum(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)), z)
    torch.set_rng_state(before)
    net = nn.Sequential(nn.Linear(2, 64), nn.Dropout(0.5))
    before = torch.get_rng_state()
    with pytest.raises(BadInput, match="or on chance"):
        jacobian_spectrum(net, z)
    assert jacobian_spectrum(net.eval(), z) == jacobian_spectrum(net, z)
    assert torch.equal(before, torch.get_rng_state())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    ("decoder", "z", "message"),
    [
        (lambda z: z, torch.zeros(1, 2), "at least 2"),
        (lambda z: z, torch.zeros(3), "shape"),
        (lambda z: z, torch.full((3, 2), math.nan), "NaN"),
        (lambda z: z, torch.zeros(3, 2, dtype=torch.long), "floating-point"),
        (lambda z: z[:1], torch.zeros(3, 2), "one for each code"),
        (lambda z: None, torch.zeros(3, 2), "NoneType"),
        (lambda z: Categorical(logits=z), torch.zeros(3, 2), "which has no mean|one for each"),
        (lambda z: z[:, 0], torch.zeros(3, 2), r"shape \(3,\)"),
        (lambda z: z.detach().requires_grad_() * 2, torch.zeros(3, 2), "constant"),
        (lambda z: z / 0, torch.zeros(3, 2), "NaN"),
        (lambda z: z.abs().sqrt(), torch.zeros(3, 2), "Jacobian holds NaN"),
    ],
)
def test_degenerate_input(decoder, z, message):
    with pytest.raises(BadInput, match=message):
        jacobian_spectrum(decoder, z)


def test_labels_of_another_number():
    with pytest.raises(BadInput, match="2 labels for 3 codes"):
        log_condition_number(lambda z, y: z, torch.zeros(3, 2), y=torch.zeros(2))
