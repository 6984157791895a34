"""The Dirac table to the digits given for it, and the eigenvalues in closed form (arXiv:1801.04406)."""

import cmath
import math

import pytest
import torch

from distmatch.dirac import (
    METHODS,
    SCHEDULES,
    Dirac,
    Schedule,
    consensus,
    field_grid,
    find,
    gan,
    instance_noise,
    jacobian_eigenvalues,
    ns_gan,
    r1,
    trajectory,
    update_eigenvalues,
    wgan,
    wgan_gp,
)
from distmatch.errors import BadInput

# ‖(θ, ψ)‖ after 500 rounds from (1, 1) with h = 0.2: simultaneous, alternating, alternating with five critic steps.
TABLE = {
    "gan": ("3.097", "1.421", "1.845"),
    "ns-gan": ("0.640", "0.284", "0.139"),
    "wgan": ("1.002", "1.024", "0.917"),
    "wgan-gp": ("1.802", "1.221", "0.716"),
    "instance-noise": ("5.7e-05", "4.0e-06", "6.0e-28"),
    "r1": ("2.6e-06", "2.3e-07", "9.2e-34"),
    "r1-critical": ("9.5e-22", "7.5e-17", "5.1e-12"),
    "consensus": ("2.6e-10", "1.7e-11", "10.97"),
    "ns-r1": ("2.2e-06", "1.5e-07", "4.0e-34"),
}


def final_norm(method: Dirac, *schedule, steps: int = 500) -> float:
    return trajectory(method, 0.2, (1.0, 1.0), steps, *schedule)[-1].norm().item()


def as_written(value: float, like: str) -> str:
    """The value with the digits of a text."""
    mantissa, exponent, _ = like.partition("e")
    return f"{value:.{len(mantissa.partition('.')[2])}{'e' if exponent else 'f'}}"


@pytest.mark.parametrize("name", METHODS)
def test_table(name: str):
    found = [final_norm(METHODS[name](), *schedule) for schedule in SCHEDULES]
    assert tuple(map(as_written, found, TABLE[name])) == TABLE[name]


def test_critic_first():
    for method, *expected in ((gan(), "1.4126", "1.7098"), (ns_gan(), "0.2706", "0.1564")):
        found = [final_norm(method, *Schedule("alternating", n, "critic")) for n in (1, 5)]
        assert list(map(as_written, found, expected)) == expected


def test_the_non_saturating_cycle_at_5000_rounds():
    assert as_written(final_norm(ns_gan(), steps=5000), "0.624") == "0.624"
    assert as_written(final_norm(ns_gan(), "alternating", steps=5000), "0.088") == "0.088"


def test_integrated_noise_is_exact_however_small_the_field():
    """Near 0 the field is linear: (-ψ/2, θ/2 - ½σ²ψ). Summed as it stands, ±ε leave an error of 1e-17 or so."""
    theta, psi = torch.tensor([2e-25, -1e-25], dtype=torch.float64)
    found = torch.stack(instance_noise(0.7).field(theta, psi))
    expected = torch.stack([-psi / 2, theta / 2 - 0.5 * 0.49 * psi])
    assert torch.allclose(found, expected, rtol=1e-12, atol=0)


def halved_consensus() -> Dirac:
    """A public notebook's: the second term of each derivative of ½(θ² + ψ²)f′² has half its size."""

    def field(theta: torch.Tensor, psi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        slope = torch.sigmoid(-psi * theta)
        bend = 0.5 * (theta**2 + psi**2) * slope * -slope * (1 - slope)
        return -psi * slope - (theta * slope**2 + psi * bend), theta * slope - (psi * slope**2 + theta * bend)

    return Dirac("halved", field, "", "")


def test_the_halved_consensus_gradient_hides_the_escape():
    assert as_written(final_norm(halved_consensus(), "alternating", 5), "4.6e-33") == "4.6e-33"


def test_consensus_gradient_by_finite_differences():
    places, field = field_grid(consensus(0.7), points=5)
    plain = gan().field

    def half_square(theta: torch.Tensor, psi: torch.Tensor) -> torch.Tensor:
        return 0.5 * sum(v**2 for v in plain(theta, psi))

    theta, psi = places.unbind(-1)
    step = 1e-5
    across = (half_square(theta + step, psi) - half_square(theta - step, psi)) / (2 * step)
    up = (half_square(theta, psi + step) - half_square(theta, psi - step)) / (2 * step)
    expected = torch.stack(plain(theta, psi), -1) - 0.7 * torch.stack([across, up], -1)
    assert torch.allclose(field, expected, atol=1e-9)


def pair(mean: float, radicand: float) -> list[complex]:
    root = cmath.sqrt(radicand)
    return sorted([mean - root, mean + root], key=lambda v: (v.imag, v.real))


F1, F2 = 0.5, -0.25  # f′(0), f″(0)
EIGENVALUES = {
    "gan": (gan(), pair(0, -0.25)),
    "ns_gan": (ns_gan(), pair(0, -0.25)),
    "wgan": (wgan(), pair(0, -1)),
    **{f"r1 {g}": (r1(g), pair(-g / 2, g**2 / 4 - 0.25)) for g in (0.3, 0.9, 1.1, 2.0)},
    **{f"ns_r1 {g}": (r1(g, ns_gan()), pair(-g / 2, g**2 / 4 - 0.25)) for g in (0.3, 2.0)},
    **{
        f"noise {s}": (instance_noise(s), pair(F2 * s**2, F2**2 * s**4 - F1**2)) for s in (0.3, 0.7, 1.2, 1.6)
    },
    **{f"consensus {g}": (consensus(g), pair(-g / 4, -0.25)) for g in (0.5, 1.0, 3.0)},
}


@pytest.mark.parametrize("name", EIGENVALUES)
def test_eigenvalues_in_closed_form(name: str):
    method, expected = EIGENVALUES[name]
    found = jacobian_eigenvalues(method)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.complex128), atol=1e-10)


def test_critical_settings():
    """At γ = 1 and at σ² = 2 the two eigenvalues meet: below they turn, above they are real and apart."""
    for critical, method in ((1.0, r1), (math.sqrt(2), instance_noise)):
        below, at, above = (jacobian_eigenvalues(method(critical * k)) for k in (0.99, 1.0, 1.01))
        assert below.imag.abs().min() > 0.01
        assert (at[0] - at[1]).abs() < 1e-6
        assert above.imag.abs().max() == 0
        assert (above.real[1] - above.real[0]) > 0.01


@pytest.mark.parametrize("h", [0.05, 0.2, 1.0])
def test_update_eigenvalues(h: float):
    for method in (gan(), ns_gan()):
        simultaneous = update_eigenvalues(method, h).abs()
        assert torch.allclose(simultaneous, torch.full((2,), math.sqrt(1 + h**2 / 4)).double(), atol=1e-12)
        for schedule in (("alternating",), ("alternating", 1, "critic")):
            one = update_eigenvalues(method, h, *schedule).abs()
            assert torch.allclose(one, torch.ones(2).double(), atol=1e-12)


def test_update_eigenvalues_say_how_fast_the_path_shrinks():
    method = r1(0.3)
    path = trajectory(method, steps=400, order="alternating").norm(dim=-1)
    rate = (path[400] / path[100]).item() ** (1 / 300)
    assert math.isclose(rate, update_eigenvalues(method, order="alternating").abs()[0].item(), rel_tol=2e-3)


def test_wgan_gp_jumps_where_the_slope_changes_sign():
    for eigenvalues in (jacobian_eigenvalues, update_eigenvalues):
        with pytest.raises(BadInput, match=r"jumps at \(0, 0\)"):
            eigenvalues(wgan_gp())
    smooth = jacobian_eigenvalues(wgan_gp(0.7), at=(0.0, 1.0))
    assert torch.allclose(smooth, torch.tensor(pair(-0.35, 0.35**2 - 1), dtype=torch.complex128))
    assert jacobian_eigenvalues(wgan_gp(0.7, centre=0.0)).real.max() < 0


def test_clipping_comes_after_each_of_the_critics_steps():
    path = trajectory(wgan(0.3), order="alternating", critic_steps=5)
    assert path[1:, 1].abs().max() == 0.3
    assert path[1, 0] == 0.8  # the first step was made with the slope of the start


def test_one_round_by_hand():
    method, h = ns_gan(), 0.2
    theta, psi = 1.0, 1.0

    def f(t: float) -> float:
        return 1 / (1 + math.exp(t))

    new_theta = theta - h * psi * f(-psi * theta)
    new_psi = psi + h * new_theta * f(psi * new_theta)
    again = new_psi + h * new_theta * f(new_psi * new_theta)
    path = trajectory(method, h, steps=1, order="alternating", critic_steps=2)
    assert torch.allclose(path[1], torch.tensor([new_theta, again], dtype=torch.float64), atol=1e-15)
    together = trajectory(method, h, steps=1)[1]
    expected = [new_theta, psi + h * theta * f(psi * theta)]
    assert torch.allclose(together, torch.tensor(expected, dtype=torch.float64), atol=1e-15)


def test_many_starts_at_once_are_as_one_by_one():
    starts = torch.tensor([[[1.0, 1.0], [0.2, -1.5]], [[0.0, 0.0], [2.0, 0.3]]], dtype=torch.float64)
    for name in METHODS:
        together = trajectory(find(name), start=starts, steps=5, order="alternating", critic_steps=2)
        assert together.shape == (6, 2, 2, 2)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            alone = trajectory(find(name), start=starts[i, j], steps=5, order="alternating", critic_steps=2)
            assert torch.allclose(together[:, i, j], alone, atol=1e-14), name


@pytest.mark.parametrize("name", METHODS)
def test_every_field_vmaps_and_compiles(name: str):
    theta, psi = torch.rand(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    field = find(name).field
    eager = torch.stack(field(theta, psi))
    assert torch.allclose(torch.stack(torch.func.vmap(field)(theta, psi)), eager, atol=1e-15)
    compiled = torch.compile(field, fullgraph=True, backend="aot_eager")
    assert torch.allclose(torch.stack(compiled(theta, psi)), eager, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: trajectory(gan(), h=0.0), "step size is 0"),
        (lambda: trajectory(gan(), h=math.nan), "step size is nan"),
        (lambda: trajectory(gan(), steps=-1), "-1 steps"),
        (lambda: trajectory(gan(), order="both"), "'both'"),
        (lambda: trajectory(gan(), order="alternating", first="discriminator"), "'discriminator'"),
        (lambda: trajectory(gan(), order="alternating", critic_steps=0), "0 steps"),
        (lambda: trajectory(gan(), critic_steps=5), "make the order alternating"),
        (lambda: trajectory(gan(), start=torch.zeros(3)), r"shape \(3,\)"),
        (lambda: r1(-1.0), "gamma"),
        (lambda: wgan(0.0), "clip"),
        (lambda: find("wgan-gb"), "did you mean 'wgan-gp'"),
    ],
)
def test_bad_input_is_one_sentence(call, words: str):
    with pytest.raises(BadInput, match=words) as refused:
        call()
    assert "\n" not in str(refused.value)
