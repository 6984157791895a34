"""Batch norm in evaluation against plain torch: statistics of each draw alone, as training normalises it.

By hand a net is run in training mode on one population, what each of its batch norms is given is kept, and torch's own
layers are put in their place with the mean and the variance of all of that.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from distmatch.batch_statistics import gathers, recording
from distmatch.errors import BadInput
from distmatch.metrics import METRICS, jacobian_spectrum
from distmatch.metrics.inputs import codes
from distmatch.metrics.model import Model, Options
from distmatch.networks import BatchNorm
from distmatch.objectives.objective import Objective
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X_REC, Z_CODE, Z_PRIOR, Z_REC, X, draw
from distmatch.runs.build import Assembly, assemble, layered
from distmatch.runs.model import Trained, finalize
from distmatch.runs.train import _validation
from distmatch.systems import SYSTEMS
from distmatch.training import Feed
from distmatch.training.evaluation import EVALUATION_SEED, by_draw

BATCHES = 5
INPUTS = {"z_code": "x", "x_rec": "z_code", "x_gen": "z_prior", "x_near": "z_near", "z_rec": "x_gen"}
SMALL = {
    "data.name": "ring",
    "data.limit": 20 * BATCHES + 40,
    "training.batch_size": 20,
    "network.latent": 3,
    "network.batch_norm": True,
    "network.width": 16,
    "device": "cpu",
}


def trained(system: str, steps: int = 20, **more: object) -> Trained:
    assembly = assemble(layered({"system": system, **SMALL, **more}))
    assembly.trainer.run(steps)
    return finalize(assembly)


def training_batches(assembly: Assembly) -> list[dict[str, Tensor]]:
    """Every draw of the batches that are recorded, by nets in training mode; labels and noise too."""
    nets = {n: copy.deepcopy(net).train() for n, net in assembly.trainer.nets.items()}
    feed, objective = assembly.trainer.feed.beside(EVALUATION_SEED), assembly.objective
    found = []
    with torch.no_grad():
        for _ in range(min(50, feed.batches_per_epoch)):
            b = feed.next()
            made = draw(
                objective.variables, nets, b.x, b.noise, b.y, objective.distributions, objective.samples
            )
            codes = {"code_noise": b.noise["z_code"]} if "z_code" in b.noise else {}
            found.append(made.values | codes | ({} if b.y is None else {"y": b.y}))
    return found


def plain(net: nn.Module, forwards: list[tuple[Tensor, ...]], **given: Tensor) -> nn.Module:
    """The net with torch's own batch norm, its statistics those of the given forwards in training mode."""
    net = copy.deepcopy(net).train()
    seen: dict[str, list[Tensor]] = {}
    norms = {name: m for name, m in net.named_modules() if isinstance(m, BatchNorm)}
    for name, m in norms.items():
        m.register_forward_pre_hook(lambda _, h, name=name: seen.setdefault(name, []).append(h[0]))
    with torch.no_grad():
        for inputs in forwards:
            net(*inputs)
    for name, m in norms.items():
        h = torch.cat(seen[name]).double()
        other = nn.BatchNorm1d(h.shape[1]) if h.ndim == 2 else nn.BatchNorm2d(h.shape[1])
        other.load_state_dict(
            {
                "weight": m.weight,
                "bias": m.bias,
                "running_mean": h.mean([0, *range(2, h.ndim)]),
                "running_var": h.var([0, *range(2, h.ndim)], correction=0),
                "num_batches_tracked": torch.tensor(0),
            }
        )
        net.set_submodule(name, other)
    return net.eval()


def statistics(net: nn.Module) -> list[Tensor]:
    return [
        t
        for m in net.modules()
        if isinstance(m, BatchNorm | nn.BatchNorm1d | nn.BatchNorm2d)
        for t in ((m.mean, m.var) if isinstance(m, BatchNorm) else (m.running_mean, m.running_var))
    ]


def off(found: Tensor, truth: Tensor) -> float:
    """The root mean square error, in standard deviations of the truth."""
    found, truth = found.detach(), truth.detach()
    return float(((found - truth).square().mean() / truth.var(0).mean()).sqrt())


def pooled(net: nn.Module, forwards: list[tuple[Tensor, ...]]) -> nn.Module:
    """What was measured before: one set of statistics of all that the net sees."""
    net = copy.deepcopy(net).train()
    with torch.no_grad(), recording(net):
        for inputs in forwards:
            net(*inputs)
    return net.eval()


def bn_options(system: str) -> dict[str, object]:
    """A small run of a system with as much batch norm as its nets can have."""
    family = SYSTEMS[system].defaults.get("network.family", "mlp")
    if family == "mlp":
        return {"system": system, **SMALL}
    small = {"data.name": "digits", "data.limit": 100, "training.batch_size": 20, "device": "cpu"}
    if family == "dcgan":
        return {"system": system, **small, "network.batch_norm": True, "network.width": 4}
    if family == "pixelcnn":
        own = {"network.encoder_width": 4, "network.batch_norm": True} if "vae" in system else {}
        return {"system": system, **small, "network.width": 4, "network.layers": 1, **own}
    return {}


WITH_NORM = [name for name in SYSTEMS if bn_options(name)]


@pytest.mark.parametrize("system", WITH_NORM)
def test_every_system_has_the_statistics_of_each_of_its_draws(system):
    assembly = assemble(layered(bn_options(system)))
    assembly.trainer.run(1)
    run = finalize(assembly)
    batches = training_batches(assembly)
    made = {name for name in INPUTS if INPUTS[name] in batches[0]}
    checked = set()
    for name, given in INPUTS.items():
        role = "encoder" if name.startswith("z") else "decoder"
        trains = name in {v.name for v in (*assembly.objective.variables, *assembly.objective.distributions)}
        if role not in run.nets or not gathers(run.nets[role]) or not trains:
            continue
        assert name in made
        noise = [b["code_noise"] for b in batches] if hasattr(run.nets[role], "noise_size") else None
        forwards = []
        for i, b in enumerate(batches):
            y = b.get("y")
            labels = () if y is None else (y.repeat(len(b[given]) // len(y)),)
            implicit = noise is not None and run.nets[role].noise_size
            forwards.append(
                (b[given], *(labels or ((None,) if implicit else ())), *([noise[i]] if implicit else []))
            )
        hand = plain(assembly.trainer.nets[role], forwards)
        for ours, theirs in zip(statistics(run.nets[name]), statistics(hand), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        checked.add(name)
    expected = {p for p in ("encoder", "decoder") if p in run.nets and gathers(run.nets[p])}
    assert {"encoder" if c.startswith("z") else "decoder" for c in checked} == expected
    for net in assembly.trainer.nets.values():  # the run's own nets hold none
        assert all((m.var == -1).all() for m in net.modules() if isinstance(m, BatchNorm))


@pytest.mark.parametrize(("system", "least"), [("veegan", 0.4), ("age", 0.3)])
def test_codes_of_data_and_of_samples(system, least):
    """Pooled over both, a code is off; the least that it was off is stated, in standard deviations of the codes."""
    run = trained(system)
    batches = training_batches(run.assembly)
    raw, x = run.assembly.trainer.nets["encoder"], run.prepared("test")[:50]
    data, samples = [(b["x"],) for b in batches], [(b["x_gen"],) for b in batches]
    truth = plain(raw, data)(x).mean
    assert off(run.encode(x).mean, truth) < 1e-5
    assert off(run.as_model().encode(x, None).mean, truth) < 1e-5
    assert off(pooled(raw, data + samples)(x).mean, truth) > least
    made = run.sample(50)
    of_samples = plain(raw, samples)(made).mean
    assert off(run.encode(made, of=Z_REC).mean, of_samples) < 1e-5
    assert off(run.as_model().encode_samples(made, None).mean, of_samples) < 1e-5


@pytest.mark.parametrize("system", ["alpha-gan", "vgh++", "vae-gan", "alice"])
def test_reconstructions_and_samples(system):
    """Pooled, reconstructions were off by more than 0.3 of their standard deviations, and samples by 0.2."""
    run = trained(system)
    batches = training_batches(run.assembly)
    raw, x = run.assembly.trainer.nets["decoder"], run.prepared("test")[:50]
    codes, prior = [(b["z_code"],) for b in batches], [(b["z_prior"],) for b in batches]
    z, model = run.encode(x).mean, run.as_model()
    truth = plain(raw, codes)(z).mean
    assert off(run.decode(z).mean, truth) < 1e-5
    assert off(run.decoded(z), truth) < 1e-5
    assert off(model.decode(z, None).mean, truth) < 1e-5
    assert off(pooled(raw, codes + prior)(z).mean, truth) > 0.2
    z = run.prior_draws(50)
    truth = plain(raw, prior)(z).mean
    for found in (run.sample(50), run.generate(z), model.generate(z, None), model.sample(50, 0)):
        assert off(found, truth) < 1e-5
    assert off(model.decode_prior(z, None).mean, truth) < 1e-5
    assert off(pooled(raw, codes + prior)(z).mean, truth) > 0.2
    assert off(run.decode(z, of=X_REC).mean, truth) > 0.3


def test_a_metric_of_reconstructions_and_one_of_samples():
    run = trained("vgh++")
    batches = training_batches(run.assembly)
    raw, model = run.assembly.trainer.nets["decoder"], run.as_model()
    x = run.prepared("test")
    found = METRICS["reconstruction"](model, Options())
    hand = plain(raw, [(b["z_code"],) for b in batches])
    with torch.no_grad():
        z = codes(model, x, None, Options())
        mse = float((hand(z).mean - x).square().mean())
    assert found.metrics["mse"].value == pytest.approx(mse, rel=1e-5)
    hand = plain(raw, [(b["z_prior"],) for b in batches])
    spectrum = METRICS["jacobian_spectrum"](model, Options()).metrics["log_volume"].value
    by_hand = jacobian_spectrum(lambda z: hand(z).mean, run.prior_draws(64, 0)).log_volume.value
    assert spectrum == pytest.approx(by_hand, rel=1e-4)


def test_a_draw_that_training_does_not_make_has_the_statistics_of_one_that_it_does():
    vae, gan = trained("vae"), trained("gan")
    z = torch.randn(9, 3)
    assert torch.equal(vae.generate(z), vae.decode(z).mean)
    assert torch.equal(gan.generate(z), gan.decode(z).mean)
    x = vae.prepared("test")[:9]
    assert torch.equal(vae.encode(x, of=Z_REC).mean, vae.encode(x).mean)


def test_the_inputs_of_a_vamp_prior_are_a_population():
    run = trained("vae-vamp")
    prior = run.assembly.trainer.nets["prior"]
    with torch.no_grad():
        hand = plain(run.assembly.trainer.nets["encoder"], [(prior.pseudo_inputs,)])
        truth = prior(hand)
    z = torch.randn(9, 3)
    torch.testing.assert_close(run.prior().log_prob(z), truth.log_prob(z), rtol=1e-4, atol=1e-4)


class Far(nn.Module):
    """An encoder or decoder of the plane with one batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), BatchNorm(8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, given: Tensor) -> torch.distributions.Distribution:
        return torch.distributions.Independent(torch.distributions.Normal(self.net(given), 0.1), 1)


def test_populations_that_lie_far_apart():
    """Data at 8, samples near 0, in nets of one's own: pooled, codes are off by more than half their spread."""
    torch.manual_seed(0)
    objective = Objective(Match((X_GEN, Z_PRIOR), (X, Z_CODE)), Distance(Z_PRIOR, Z_REC, order=2))
    nets = {"encoder": Far(), "decoder": Far()}
    data = torch.randn(400, 2) + 8
    feed = Feed(objective, data, latent=2, batch_size=40)
    found = by_draw(objective, nets, feed.beside(3), lambda name, net: net)
    assert found["encoder"] is found["z_code"]
    truth = plain(nets["encoder"], [(data,)])(data).mean
    assert off(found["z_code"](data).mean, truth) < 1e-5
    made = nets["decoder"].train()(torch.randn(400, 2)).mean.detach()
    assert off(pooled(nets["encoder"], [(data,), (made,)])(data).mean, truth) > 0.5


@pytest.mark.parametrize("system", ["gan", "vgh++", "veegan", "cgan", "pacgan", "noisy-gan"])
def test_a_critic_with_batch_norm_scores_one_example_by_its_sides_statistics(system):
    run = trained(system)
    (critic,) = (c for name, c in run.as_model().critics(40, 0).items() if name != "code")
    assert critic.apart
    for side in (critic.target, critic.model):
        together = critic.score(*side)
        alone = torch.cat([critic.score(*(v[i : i + 1] for v in side)) for i in range(len(together))])
        torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)
    if system == "gan":
        raw, batches = run.assembly.trainer.nets["data"], training_batches(run.assembly)
        for draws, name in ((critic.target, "x"), (critic.model, "x_gen")):
            truth = plain(raw, [(b[name],) for b in batches])(draws[0])
            torch.testing.assert_close(critic.score(*draws), truth, rtol=1e-4, atol=1e-5)
    if system == "vgh++":
        raw, batches = run.assembly.trainer.nets["data"], training_batches(run.assembly)
        x, side = critic.model
        assert side.unique().tolist() == [1, 3]  # reconstructions, samples
        for k, name in ((1, "x_rec"), (3, "x_gen")):
            truth = plain(raw, [(b[name],) for b in batches])(x[side == k])
            torch.testing.assert_close(critic.score(x, side)[side == k], truth, rtol=1e-4, atol=1e-5)


def test_a_critic_of_batches_with_batch_norm_judges_batches_of_one_side():
    run = trained("minibatch-gan", **{"network.critic_batch_norm": True})
    critic = run.as_model().critics(40, 0)["data"]
    x, side = critic.target
    net = plain(run.assembly.trainer.nets["data"], [(b["x"],) for b in training_batches(run.assembly)])
    truth = torch.cat([net(x[:20]), net(x[20:])])
    torch.testing.assert_close(critic.score(x, side), truth, rtol=1e-4, atol=1e-5)


def test_there_is_no_slope_between_two_sides_that_are_normalised_apart():
    with pytest.raises(BadInput, match="critic 'data': its batch norm scores data and samples by statistics"):
        METRICS["gradient_norms"](trained("gan").as_model(), Options())


def validated(**more: object) -> tuple[Assembly, Tensor]:
    """A trained auto-encoder with batch norm and no noise in its distance, and its validation data."""
    terms = {"terms": "distance(x, x_rec, order=2)", "network.posterior": "deterministic"}
    assembly = assemble(layered({**terms, **SMALL, **more}))
    assembly.trainer.run(20)
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 0.2])
    return assembly, x


def feed_over(assembly: Assembly, x: Tensor, size: int) -> Feed:
    return Feed(assembly.objective, x, latent=3, batch_size=size, seed=4)


def test_validation_normalises_by_training_batches():
    """By hand; and row by row, where statistics of the batch itself do not even exist."""
    assembly, x = validated()
    trainer = assembly.trainer
    together = trainer.losses(feed_over(assembly, x, 20), 1)["distance(x, x_rec)"]
    alone = trainer.losses(feed_over(assembly, x, 1), 20)["distance(x, x_rec)"]
    assert alone == pytest.approx(together, rel=1e-5)
    trainer.write_back()
    batches = training_batches(assembly)
    q = plain(trainer.nets["encoder"], [(b["x"],) for b in batches])
    p = plain(trainer.nets["decoder"], [(b["z_code"],) for b in batches])
    with torch.no_grad():
        by_hand = float((p(q(x).mean).mean - x).square().sum(1).mean())
        raw_q, raw_p = trainer.nets["encoder"], trainer.nets["decoder"]
        before = float((raw_p(raw_q(x).mean).mean - x).square().sum(1).mean())
    assert together == pytest.approx(by_hand, rel=1e-5)
    assert abs(before - by_hand) > 0.1 * by_hand


def test_validation_takes_the_running_average_of_the_decoder():
    assembly, x = validated(**{"training.ema": 0.9})
    found = assembly.trainer.losses(feed_over(assembly, x, 20), 1)["distance(x, x_rec)"]
    run = finalize(assembly)
    with torch.no_grad():
        by_run = float((run.decoded(run.encode(x).mean) - x).square().sum(1).mean())
    assert found == pytest.approx(by_run, rel=1e-5)


def test_looking_at_validation_moves_nothing():
    """Bit for bit: the state, the noise, the order of the data, the nets' own weights, modes and buffers."""
    looked, other = (assemble(layered({"system": "vgh++", **SMALL, "training.ema": 0.5})) for _ in range(2))
    for assembly in (looked, other):
        assembly.trainer.run(3)
    before = {n: copy.deepcopy(net.state_dict()) for n, net in looked.trainer.nets.items()}
    chance = torch.get_rng_state()
    x = looked.data.validation.x
    assert len(x)
    _validation(looked)
    assert torch.equal(chance, torch.get_rng_state())
    for n, net in looked.trainer.nets.items():
        assert all(m.training for m in net.modules())
        assert all(torch.equal(v, before[n][k]) for k, v in net.state_dict().items())
    for assembly in (looked, other):
        assembly.trainer.run(9)  # into the next epoch
    (a, about), (b, same) = (t.trainer.snapshot() for t in (looked, other))
    assert about == same
    assert all(torch.equal(v, b[k]) for k, v in a.items())


def test_low_posterior_samples_are_decoded_as_draws_of_the_prior_and_encoded_as_samples():
    asked: list[str] = []

    def distribution(name: str, mean: float):
        def of(given: Tensor, y: Tensor | None) -> torch.distributions.Distribution:
            asked.append(name)
            return torch.distributions.Independent(torch.distributions.Normal(given * 0 + mean, 1.0), 1)

        return of

    model = Model(
        encode=distribution("data", 0.0),
        encode_samples=distribution("samples", 3.0),
        decode=distribution("codes", 5.0),
        decode_prior=distribution("prior", 7.0),
        train=torch.full((30, 2), 0.5),
    )
    found = METRICS["low_posterior_samples"](model, Options(samples=20)).metrics
    assert found["low_posterior_pixel_low_posterior"].value == 7
    assert found["low_posterior_rate_data"].value == pytest.approx(0)
    assert found["low_posterior_rate_low_posterior"].value == pytest.approx(9)  # ½·3² for two units
    assert "codes" not in asked  # there is no likelihood
