"""Terms one by one, against closed forms and against their equations written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    kl_divergence,
)

from contracts.toys import (
    LABELS,
    Linear,
    LinearDecoder,
    LinearEncoder,
    QuadraticCritic,
    batch,
    generator,
    linear_nets,
)
from distmatch.distributions.dequantised import QuantizedNormal
from distmatch.distributions.points import Delta, DensityAt
from distmatch.errors import BadInput
from distmatch.objectives.comparisons import (
    COMPARISONS,
    GENERATOR_LOSSES,
    LSIF,
    MINIMAX,
    NON_SATURATING,
    WASSERSTEIN,
    GeneratorLoss,
    Sides,
    cross,
)
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import dragan, gradient_penalty, r1, roth
from distmatch.objectives.term import Critics, Term
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.likelihood import IWAE, KL, NLL, TargetRate
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X_REC, Z_CODE, Z_PRIOR, Draws, X, draw
from distmatch.schedules import Ramp
from distmatch.training.optimisers import SGD
from distmatch.training.step import Batch, Settings, init, step

DOUBLE = {"dtype": torch.float64}
MANY = 200_000
Nets = Mapping[str, Callable]


def normals(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), **DOUBLE)


def drawn(objective: Objective, nets: Nets, b: Batch) -> Draws:
    return draw(objective.variables, nets, b.x, b.noise, b.y, objective.distributions, objective.samples)


def losses(objective: Objective, nets: Nets, b: Batch) -> list[Tensor]:
    """The losses of the model, term by term."""
    draws = drawn(objective, nets, b)
    critics = Critics({n: nets[n] for n in objective.critics}, draws)
    return [t.loss(draws, critics) for t in objective.terms]


def diagonal(loc: Tensor, scale: Tensor) -> Independent:
    return Independent(Normal(loc, scale.expand_as(loc), validate_args=False), 1, validate_args=False)


# Likelihoods


class AffineFlow(nn.Module):
    """x = z A + a with z ~ N(0, I): where x is given, its density comes too."""

    teacher_forced = True

    def __init__(self) -> None:
        super().__init__()
        self.map = Linear(generator(1), 2, 2)

    def forward(self, z: Tensor, x: Tensor | None = None) -> Distribution:
        if x is None:
            return Delta(self.map(z), 1)
        back = (x - self.map.bias) @ torch.linalg.inv(self.map.weight)
        log_p = (
            -0.5 * (back.square() + math.log(2 * math.pi)).sum(1) - torch.linalg.slogdet(self.map.weight)[1]
        )
        return DensityAt(log_p, self.map(z))


def test_the_likelihood_of_a_flow_is_that_of_the_data():
    objective, flow = Objective(NLL(X_GEN)), AffineFlow()
    assert (objective.nets, objective.uses, objective.names) == (
        ("decoder",),
        ("decoder",),
        ("nll(x_gen)",),
    )
    assert str(objective) == "E[-log p(x)]"
    b = batch(objective, generator(2))
    (found,) = losses(objective, {"decoder": flow}, b)
    distribution = MultivariateNormal(flow.map.bias, flow.map.weight.T @ flow.map.weight)
    torch.testing.assert_close(found, -distribution.log_prob(b.x))


def test_the_same_flow_by_likelihood_and_by_a_critic_at_once():
    """Where x is given the draw x̃ comes from z all the same."""
    objective, flow = NLL(X_GEN) + Match(X_GEN, X), AffineFlow()
    b = batch(objective, generator(2))
    draws = drawn(objective, {"decoder": flow}, b)
    torch.testing.assert_close(draws[X_GEN], flow.map(b.noise["z_prior"]))


def test_other_draws_have_no_likelihood():
    with pytest.raises(BadInput, match=r"a likelihood is of x_rec, .* or of x_gen, .*; z_code has none"):
        NLL(Z_CODE)


# Rates


def test_a_learned_prior_that_is_standard_gives_the_closed_form_in_expectation():
    nets = linear_nets(Objective(KL()))
    nets["prior"] = Fixed(torch.zeros(2, **DOUBLE), torch.ones(2, **DOUBLE))
    b = one_datum(Objective(KL(prior="learned")))
    (estimate,) = losses(Objective(KL(prior="learned")), nets, b)
    (exact,) = losses(Objective(KL()), nets, b)
    assert estimate.shape == (MANY,)
    assert estimate.mean().item() == pytest.approx(exact[0].item(), abs=5 * standard_error(estimate))
    assert standard_error(estimate) < 0.01


def test_a_learned_prior_that_is_another_normal():
    objective = Objective(KL(prior="learned"))
    nets = linear_nets(objective_of_codes())
    nets["prior"] = Fixed(torch.tensor([0.5, -1.0], **DOUBLE), torch.tensor([2.0, 0.5], **DOUBLE))
    b = one_datum(objective)
    (estimate,) = losses(objective, nets, b)
    q = nets["encoder"](b.x[:1])
    exact = kl_divergence(q, diagonal(nets["prior"].loc, nets["prior"].scale))
    assert estimate.mean().item() == pytest.approx(exact.item(), abs=5 * standard_error(estimate))


class Fixed(nn.Module):
    """m(z) = N(loc, scale²)."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.loc, self.scale = nn.Parameter(loc), nn.Parameter(scale)

    def forward(self, encode: object = None) -> Distribution:
        return diagonal(self.loc, self.scale)


def objective_of_codes() -> Objective:
    return Objective(KL())


def one_datum(objective: Objective) -> Batch:
    """One x many times over, with as many codes."""
    return replace(
        batch(objective, generator(3), MANY), x=torch.tensor([[0.3, 0.9]], **DOUBLE).expand(MANY, 2)
    )


def standard_error(values: Tensor) -> float:
    return (values.std() / len(values) ** 0.5).item()


def test_the_learned_priors_term_moves_encoder_and_prior():
    objective = NLL() + KL(prior="learned")
    assert objective.nets == objective.uses == ("encoder", "decoder", "prior")
    assert objective.groups == {("encoder", "decoder", "prior"): (0, 1)}
    assert str(objective) == "E[-log p(x|ẑ)] + E KL[q(z|x) ‖ m(z)]"
    nets = {**linear_nets(NLL() + KL()), "prior": Fixed(torch.zeros(2, **DOUBLE), torch.ones(2, **DOUBLE))}
    settings = Settings(model=SGD(1.0))
    b = batch(objective, generator(1))
    state, _ = step(objective, nets, init(objective, nets, settings), [b], settings)
    z = drawn(objective, nets, b)[Z_CODE].detach()
    torch.testing.assert_close(state.params["prior"]["loc"], z.mean(0))
    torch.testing.assert_close(state.params["prior"]["scale"], z.square().mean(0))


class MovedEncoder(nn.Module):
    """A normal, moved by a transform: a flow whose distribution is known."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = LinearEncoder(generator(5), 2, 2)
        self.shift, self.scale = torch.tensor([0.3, -0.2], **DOUBLE), torch.tensor([0.5, 1.5], **DOUBLE)

    def forward(self, x: Tensor) -> Distribution:
        moved = [AffineTransform(self.shift, self.scale)]
        return TransformedDistribution(self.inner(x), moved, validate_args=False)


@pytest.mark.parametrize("term", [KL(), TargetRate(0.0)], ids=["kl", "target_rate"])
def test_the_rate_of_a_flow_is_that_of_its_law_in_expectation(term):
    """Also where no other term wants the codes."""
    objective, encoder = Objective(term), MovedEncoder()
    b = one_datum(objective)
    (estimate,) = losses(objective, {"encoder": encoder}, b)
    base = encoder.inner(b.x[:1]).base_dist
    distribution = diagonal(encoder.shift + encoder.scale * base.loc, encoder.scale * base.scale)
    exact = kl_divergence(distribution, diagonal(torch.zeros(1, 2, **DOUBLE), torch.ones(2, **DOUBLE)))
    assert estimate.mean().item() == pytest.approx(exact.item(), abs=0.02)


@pytest.mark.parametrize("target", [0.0, 0.5, 50.0])
def test_a_target_rate_is_the_distance_of_the_mean_rate(target):
    objective = Objective(KL(), TargetRate(target))
    nets, b = linear_nets(objective), batch(objective, generator(1))
    rate, found = losses(objective, nets, b)
    assert found.shape == ()
    torch.testing.assert_close(found, (rate.mean() - target).abs())
    slopes = [
        torch.autograd.grad(v, nets["encoder"].log_scale, retain_graph=True)[0] for v in (rate.mean(), found)
    ]
    torch.testing.assert_close(slopes[1], slopes[0] * (1 if rate.mean() > target else -1))


def test_a_target_rate_holds_the_rate():
    """Whatever else would lower it."""
    objective = Objective(KL(), 3.0 * TargetRate(2.0))
    nets, settings = linear_nets(objective), Settings(model=SGD(0.005))
    state, data = init(objective, nets, settings), batch(objective, generator(1), 64)
    for _ in range(400):
        state, logs = step(objective, nets, state, [data], settings)
    assert logs["kl"].item() == pytest.approx(2.0, abs=0.2)


def test_printed_rates():
    assert str(TargetRate(8)) == "|E KL[q(z|x) ‖ p(z)] - 8|"
    assert str(TargetRate(Ramp(0, 1, 9), prior="learned")) == "|E KL[q(z|x) ‖ m(z)] - λ(step)|"
    assert type(TargetRate(8).target) is float


def test_bad_rates():
    for make in (KL, IWAE):
        with pytest.raises(BadInput, match="the prior of kl is standard or learned, not 'flat'"):
            make(prior="flat")
    with pytest.raises(BadInput, match="the prior of kl"):
        TargetRate(1.0, prior="flat")  # type: ignore[arg-type]
    for number in (-1.0, math.inf, math.nan):
        with pytest.raises(BadInput, match="a target rate is"):
            TargetRate(number)


# Importance weights


def linear_gaussian(posterior: str = "exact") -> tuple[dict[str, nn.Module], MultivariateNormal]:
    """z ~ N(0, 1), x = zW + b + σε in the plane, q(z|x) exact or too narrow; and the distribution of x."""
    g = generator(4)
    decoder, encoder = LinearDecoder(g, 2, 1, 0, True, True), LinearEncoder(g, 2, 1)
    w, b, variance = decoder.loc.weight, decoder.loc.bias, (2 * decoder.log_scale).exp()
    with torch.no_grad():
        w *= 3
        precision = 1 + (w @ w.T) / variance
        encoder.loc.weight.copy_(w.T / variance / precision)
        encoder.loc.bias.copy_(-(b @ encoder.loc.weight))
        encoder.log_scale.copy_(-0.5 * precision.log().squeeze(0))
        if posterior == "prior":
            encoder.loc.weight.zero_()
            encoder.loc.bias.zero_()
            encoder.log_scale.zero_()
    distribution = MultivariateNormal(b.detach(), (w.T @ w + variance * torch.eye(2, **DOUBLE)).detach())
    return {"encoder": encoder, "decoder": decoder}, distribution


def iwae_batch(samples: int, size: int, seed: int = 6) -> Batch:
    return batch(Objective(IWAE(samples)), generator(seed), size, latent=1)


@pytest.mark.parametrize("samples", [2, 5])
def test_with_the_exact_posterior_every_datum_has_its_own_likelihood(samples):
    """log p(x) to the last digit, whatever K; it would not be were codes and data out of step."""
    nets, distribution = linear_gaussian()
    b = iwae_batch(samples, 7)
    (found,) = losses(Objective(IWAE(samples)), nets, b)
    assert found.shape == (7,)
    assert b.noise["z_code"].shape == (samples * 7, 1)
    torch.testing.assert_close(found, -distribution.log_prob(b.x), rtol=1e-10, atol=1e-10)


def test_the_bound_is_tighter_with_more_codes_and_comes_near_the_truth():
    """With q = p(z), which is far from the posterior: ELBO > IWAE(2) > IWAE(10) > IWAE(200) ≈ -log p(x)."""
    nets, distribution = linear_gaussian("prior")
    elbo = NLL() + KL()
    b = batch(elbo, generator(6), 2000, latent=1)
    truth = -distribution.log_prob(b.x).mean().item()
    bounds = [sum(v.mean().item() for v in losses(elbo, nets, b))]
    for samples in (2, 10, 200):
        again = replace(b, noise=iwae_batch(samples, 2000).noise)
        bounds.append(losses(Objective(IWAE(samples)), nets, again)[0].mean().item())
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > truth + 0.3
    assert abs(bounds[-1] - truth) < 0.02


@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_codes_that_are_all_the_same_give_the_elbo_of_one(prior):
    """1/K Σ w = w: -log p(x|ẑ) + log q(ẑ|x) - log p(ẑ), which nll + kl is in expectation."""
    nets, _ = linear_gaussian("prior")
    nets["prior"] = Fixed(torch.tensor([0.5], **DOUBLE), torch.tensor([2.0], **DOUBLE))
    one = batch(NLL() + KL(), generator(6), MANY, latent=1)
    many = replace(one, noise={"z_code": one.noise["z_code"].repeat(3, 1)})
    (found,) = losses(Objective(IWAE(3, prior)), nets, many)
    nll, rate = losses(NLL() + KL(prior="learned"), nets, one)
    if prior == "learned":
        torch.testing.assert_close(found, nll + rate)
    else:
        nll, rate = losses(NLL() + KL(), nets, one)
        assert found.mean().item() == pytest.approx((nll + rate).mean().item(), abs=0.02)


def test_iwae_by_hand():
    """-log 1/K Σ_k p(x|ẑ_k) p(ẑ_k) / q(ẑ_k|x), one datum and one code at a time."""
    objective = Objective(IWAE(3))
    nets, b = linear_nets(objective), batch(objective, generator(1), 4)
    (found,) = losses(objective, nets, b)
    for i in range(4):
        weights = []
        q = nets["encoder"](b.x[i])
        for k in range(3):
            z = q.base_dist.loc + q.base_dist.scale * b.noise["z_code"][4 * k + i]
            log_prior = Normal(0.0, 1.0).log_prob(z).sum()
            weights.append(nets["decoder"](z).log_prob(b.x[i]) + log_prior - q.log_prob(z))
        torch.testing.assert_close(found[i], -(torch.stack(weights).exp().mean()).log())


def test_iwae_given_labels_and_dequantisation():
    """Each copy of a datum has the label and the noise of its datum."""

    class Levels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loc = Linear(generator(8), 2, 2, LABELS)

        def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
            return Independent(QuantizedNormal(self.loc(z, y), torch.tensor(0.3, **DOUBLE)), 1)

    objective = Objective(IWAE(2)).with_labels()
    nets = {**linear_nets(objective), "decoder": Levels()}
    b = batch(objective, generator(1), 4)
    u = torch.rand(4, 2, generator=generator(2), **DOUBLE)
    b = replace(b, noise={**b.noise, "dequantise": u})
    (found,) = losses(objective, nets, b)
    assert b.y is not None
    for i in range(4):
        row = slice(i, i + 1)
        codes = b.noise["z_code"].reshape(2, 4, 2)[:, i]
        alone = Batch(b.x[row], {"z_code": codes, "dequantise": u[row]}, b.y[row])
        torch.testing.assert_close(losses(objective, nets, alone)[0], found[row])


@pytest.mark.parametrize("samples", [-1, 0, 1])
def test_iwae_wants_several(samples):
    with pytest.raises(BadInput, match=f"iwae has {samples} samples; give at least 2, or write nll"):
        IWAE(samples)


@pytest.mark.parametrize(
    "other",
    [NLL(), KL(), Distance(X, X_REC), Match(Z_CODE, Z_PRIOR), Match(X_REC, X), IWAE(3), TargetRate(1)],
)
def test_several_codes_and_another_number_of_them_are_refused(other: Term):
    with pytest.raises(BadInput, match="different numbers of codes for each datum"):
        Objective(IWAE(2), other)


def test_iwae_may_stand_with_terms_of_samples():
    objective = IWAE(2) + Match(X_GEN, X)
    assert (objective.samples, objective.nets) == (2, ("encoder", "decoder"))
    assert IWAE(2) + IWAE(2)


def test_iwae_of_a_deterministic_encoder_is_refused():
    class Points(Linear):
        def forward(self, u: Tensor, y: Tensor | None = None) -> Delta:
            return Delta(super().forward(u), 1)

    objective = Objective(IWAE(2))
    nets = {**linear_nets(objective), "encoder": Points(generator(), 2, 2)}
    with pytest.raises(BadInput, match="a deterministic encoder a density"):
        losses(objective, nets, batch(objective, generator(1)))


def test_a_learned_prior_and_draws_of_the_fixed_one_do_not_mix():
    with pytest.raises(BadInput, match="a term has a learned prior, and another draws z from the fixed one"):
        NLL() + KL(prior="learned") + Match(X_GEN, X)


# Packs of samples


def parts(objective: Objective, nets: Nets, b: Batch) -> dict[str, Tensor]:
    """What the first term's critic minimises, part by part."""
    draws = drawn(objective, nets, b)
    critics = Critics({n: nets[n] for n in objective.critics}, draws)
    return objective.terms[0].critic_losses(draws, critics)


@pytest.mark.parametrize("by", COMPARISONS.values(), ids=COMPARISONS)
def test_a_packed_critic_sees_several_at_once(by):
    """The critic of 3 samples: the i-th of each third of the batch; the eleventh is left over."""
    objective = Objective(Match(X_GEN, X, by=by, pack=3))
    assert objective.critics == {"data": ("x", "x", "x")}
    nets, b = linear_nets(objective), batch(objective, generator(1), 11)
    fake, score = nets["decoder"](b.noise["z_prior"]).mean, nets["data"]
    packs = {
        part: torch.stack([score(u[i : i + 1], u[i + 3 : i + 4], u[i + 6 : i + 7])[0] for i in range(3)])
        for part, u in {"target": b.x, "model": fake}.items()
    }
    found = parts(objective, nets, b)
    for part, integrand in by.critic._asdict().items():
        if integrand is not None:
            torch.testing.assert_close(found[part], integrand(packs[part]))
    if by.generator.model is not None:
        torch.testing.assert_close(losses(objective, nets, b)[0], by.generator.model(packs["model"]))


def test_a_packed_critic_of_joints_sees_the_members_one_after_the_other():
    objective = Objective(Match((X_GEN, Z_PRIOR), (X, Z_CODE), by=WASSERSTEIN, pack=2))
    assert objective.critics == {"joint": ("x", "z", "x", "z")}
    nets, b = linear_nets(objective), batch(objective, generator(1), 4)
    draws = drawn(objective, nets, b)
    x, z = draws[X], draws[Z_CODE]
    expected = nets["joint"](x[:2], z[:2], x[2:], z[2:])
    torch.testing.assert_close(parts(objective, nets, b)["target"], -expected)


@pytest.mark.parametrize("penalty", [gradient_penalty(3.0), dragan(3.0), r1(3.0), roth(3.0)], ids=str)
def test_a_packed_critic_is_penalised_in_all_its_arguments(penalty):
    objective = Objective(Match(X_GEN, X, penalty=penalty, pack=2))
    nets, b = linear_nets(objective), batch(objective, generator(1), 6)
    fake = nets["decoder"](b.noise["z_prior"]).mean
    own = "penalty/match(x_gen, x)"
    noise: Tensor | list[Tensor] | None = None
    if own in b.noise:
        noise = b.noise[own][:3]
    elif own + "/0" in b.noise:
        noise = list(b.noise[own + "/0"].split(3))
    expected = penalty(nets["data"], list(b.x.split(3)), list(fake.split(3)), noise)
    found = parts(objective, nets, b)["penalty"]
    assert found.shape == (3,)
    torch.testing.assert_close(found, expected)


def test_packs_trains():
    objective = Objective(Match(X_GEN, X, penalty=gradient_penalty(), pack=2))
    nets, settings = linear_nets(objective), Settings(model=SGD(0.1), critics=SGD(0.1))
    b = batch(objective, generator(1), 7)
    _, logs = step(objective, nets, init(objective, nets, settings), [b], settings)
    assert all(v.isfinite() for v in logs.values())


def test_what_a_pack_refuses():
    with pytest.raises(BadInput, match="a critic is given 0 samples at once; give pack at least 1"):
        Match(X_GEN, X, pack=0)
    packed, given = Match(X_GEN, X, pack=2), (NLL() + KL()).with_labels()
    for make in (Objective(packed).with_labels, lambda: given + packed, lambda: packed + given):
        with pytest.raises(
            BadInput, match="critic of packs cannot be given the labels of their members"
        ) as e:
            make()
        assert "\n" not in str(e.value)
    with pytest.raises(BadInput, match="is asked to score both"):
        _ = (packed + Match(X_REC, X)).critics


# Noise on all that the critic sees


@pytest.mark.parametrize("pack", [1, 2])
def test_instance_noise_is_added_to_all_that_the_critic_sees(pack):
    term = Match(X_GEN, X, by=MINIMAX, penalty=r1(2.0), instance_noise=0.3, pack=pack)
    objective = Objective(term)
    nets, b = linear_nets(objective), batch(objective, generator(1), 6)
    names = {"target": "instance/data/match(x_gen, x)/1", "model": "instance/data/match(x_gen, x)/0"}
    assert set(term.noise) == set(names.values())
    clean = {"target": b.x, "model": nets["decoder"](b.noise["z_prior"]).mean}
    seen = {part: (u + 0.3 * b.noise[names[part]]).split(6 // pack) for part, u in clean.items()}
    found = parts(objective, nets, b)
    softplus = nn.functional.softplus
    torch.testing.assert_close(found["target"], softplus(-nets["data"](*seen["target"])))
    torch.testing.assert_close(found["model"], softplus(nets["data"](*seen["model"])))
    torch.testing.assert_close(found["penalty"], r1(2.0)(nets["data"], seen["target"], seen["model"], None))
    torch.testing.assert_close(losses(objective, nets, b)[0], -softplus(nets["data"](*seen["model"])))


def test_instance_noise_is_of_each_arguments_shape():
    term = Match((X_GEN, Z_PRIOR), (X, Z_CODE), instance_noise=1.0)
    shapes = {
        n: distribution.draw({"x": (4, 1, 2, 2), "z": (4, 3)}, generator()).shape
        for n, distribution in term.noise.items()
    }
    own = f"instance/joint/{term.name}"
    visible, latent = (4, 1, 2, 2), (4, 3)
    assert shapes == {f"{own}/0": visible, f"{own}/1": latent, f"{own}/2": visible, f"{own}/3": latent}
    assert {distribution.distribution for distribution in term.noise.values()} == {"normal"}


def test_instance_noise_is_fresh_at_each_place_of_the_same_draw():
    """Else a critic of pairs (x, x) and (x, x̂) would see x - x = 0 through it."""
    pairs = Match((X, X_REC), (X, X), critic="pair", instance_noise=0.5, penalty=dragan())
    assert len(pairs.noise) == 4 + 2
    other = Match((X, X_REC), (X, X), critic="other", instance_noise=0.5)
    assert not {n for n in pairs.noise if n.startswith("instance")} & other.noise.keys()


def test_no_instance_noise_is_no_noise_at_all():
    assert Match(X_GEN, X).noise == {}
    quiet = Objective(Match(X_GEN, X, instance_noise=0.0))
    plain = Objective(Match(X_GEN, X))
    nets, b = linear_nets(quiet), batch(quiet, generator(1))
    assert torch.equal(losses(quiet, nets, b)[0], losses(plain, nets, b)[0])
    for number in (-0.1, math.inf, math.nan):
        with pytest.raises(BadInput, match="instance noise is"):
            Match(X_GEN, X, instance_noise=number)


# Matches that only ask


def test_a_match_that_does_not_teach_asks_only():
    """The critic's loss is that of the other term; the model's is the sum of both."""
    taught = Objective(Match(X_GEN, X))
    both = Match(X_GEN, X) + Match(X_REC, X, teach=False)
    assert both.critics == {"data": ("x",)}
    assert both.terms[1].rule is None
    nets, b = linear_nets(both), batch(both, generator(1))
    draws = drawn(both, nets, b)
    critics = Critics({"data": nets["data"]}, draws)
    assert both.terms[1].critic_losses(draws, critics) == {}
    torch.testing.assert_close(
        both.terms[1].loss(draws, critics), NON_SATURATING.generator.model(nets["data"](draws[X_REC]))
    )
    settings = Settings(model=SGD(1.0), critics=SGD(1.0), simultaneous=True)
    moved = []
    for objective in (taught, both):
        state, logs = step(objective, nets, init(objective, nets, settings), [b], settings)
        moved.append((state.params["data"], {k for k in logs if k.startswith("critic/")}))
    assert moved[0][1] == moved[1][1]
    for k, p in moved[0][0].items():
        torch.testing.assert_close(moved[1][0][k], p, rtol=0, atol=0)


def test_a_critic_that_nobody_teaches_is_refused():
    asked = Match(X_GEN, X, teach=False)
    for terms in ((asked,), (asked, Match(X_REC, X, teach=False)), (asked, Match(X_REC, X, critic="other"))):
        with pytest.raises(BadInput, match="critic 'data' is asked for its verdict, and no term trains it"):
            _ = Objective(*terms).critics
    assert Objective(asked, Match(X_REC, X)).critics == {"data": ("x",)}
    assert Objective(asked, Match(X_REC, X, by=WASSERSTEIN)).critics, (
        "who does not teach has no say in the rule"
    )
    with pytest.raises(
        BadInput, match=r"match\(x_gen, x\) does not teach its critic, so it cannot penalise it"
    ):
        Match(X_GEN, X, teach=False, penalty=r1())


# Nets with a loss of their own


@pytest.mark.parametrize("generator_loss", GENERATOR_LOSSES.values(), ids=GENERATOR_LOSSES)
def test_the_model_may_minimise_another_loss_of_the_same_ratio(generator_loss):
    """LSIF's score is log r: its critic is LSIF's, its generator loss is the other one's at that ratio."""
    objective = Objective(Match((X_GEN, Z_PRIOR), (X, Z_CODE), by=LSIF, generator=generator_loss))
    nets, b = linear_nets(objective), batch(objective, generator(1))
    draws = drawn(objective, nets, b)
    p, q = nets["joint"](draws[X], draws[Z_CODE]), nets["joint"](draws[X_GEN], draws[Z_PRIOR])
    found = parts(objective, nets, b)
    torch.testing.assert_close(found["target"], LSIF.critic.target(p))
    torch.testing.assert_close(found["model"], LSIF.critic.model(q))
    log_ratios = (LSIF.log_ratio(p), LSIF.log_ratio(q))
    expected = sum(s(t) for s, t in zip(generator_loss.sides, log_ratios, strict=True) if s is not None)
    torch.testing.assert_close(losses(objective, nets, b)[0], expected)
    assert objective.terms[0].rule == LSIF.critic


def test_a_generator_decides_who_is_moved():
    joint = ((X_GEN, Z_PRIOR), (X, Z_CODE))
    reverse = GENERATOR_LOSSES["reverse_kl"]
    assert Match(*joint, by=MINIMAX).nets == ("encoder", "decoder")
    assert Match(*joint, by=MINIMAX, generator=reverse).nets == ("encoder", "decoder")
    of_the_model = GeneratorLoss("of_the_model", "S", Sides(None, lambda t: -t))
    assert Match(*joint, by=MINIMAX, generator=of_the_model).nets == ("decoder",)
    assert str(Match(X_GEN, X, by=LSIF, generator=reverse)) == "KL_lsif[p(x̃) ‖ p*(x)]"


def test_critics_that_hold_no_ratio_take_no_other_loss():
    with pytest.raises(BadInput, match="the critic of wasserstein holds no density ratio"):
        Match(X_GEN, X, by=WASSERSTEIN, generator=GENERATOR_LOSSES["kl"])


def test_terms_that_share_a_critic_may_differ_in_what_the_model_minimises():
    shared = Match(X_GEN, X) + Match(X_REC, X, generator=GENERATOR_LOSSES["reverse_kl"])
    assert shared.critics == {"data": ("x",)}
    assert shared.terms[1].comparison == cross(NON_SATURATING, "reverse_kl")


# Critics' features


def test_features_are_asked_for_by_name():
    class Featured(QuadraticCritic):
        def forward(self, *inputs: Tensor, y: Tensor | None = None, hidden: bool = False) -> Tensor:
            if not hidden:
                return super().forward(*inputs, y=y)
            return torch.cat(inputs, 1) @ self.square + (0 if y is None else y[:, None])

    critic, y = Featured(generator(), 2, LABELS), torch.arange(5) % LABELS
    u = normals(1, 5, 2)
    for labels in (None, y):
        draws = Draws({"x": u}, {}, {}, labels)
        found = Critics({"data": critic}, draws).features("data", (X,))
        torch.testing.assert_close(found, u @ critic.square + (0 if labels is None else y[:, None]))
