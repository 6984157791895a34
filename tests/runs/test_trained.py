"""What a trained run offers to the bench."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal

from distmatch.distributions.dequantised import QuantizedNormal
from distmatch.distributions.pixels import PixelCategorical
from distmatch.errors import BadInput
from distmatch.metrics.generator.gradients import gradient_norms
from distmatch.networks.layers.latent_flow import LatentFlow
from distmatch.networks.priors import NormalMixture
from distmatch.runs.build import assemble, layered
from distmatch.runs.devices import mapped, on_cpu
from distmatch.runs.model import finalize

SMALL = {
    "data.name": "ring",
    "data.limit": 200,
    "training.batch_size": 20,
    "device": "cpu",
}


def trained(system, **more):
    assembly = assemble(layered({"system": system, **SMALL, **more}))
    assembly.trainer.run(2)
    return finalize(assembly)


def test_codes_and_their_images():
    run = trained("gan", **{"network.latent": 3})
    model = run.as_model()
    z = model.draw_prior(5, 1)
    assert torch.equal(z, model.draw_prior(5, 1))
    assert torch.equal(model.generate(z, None), model.sample(5, 1))
    (slope,) = torch.autograd.grad(model.generate(z.requires_grad_(), None).sum(), z)
    assert slope.abs().sum() > 0


def test_the_mean_of_an_explicit_law_and_none_of_an_autoregressive_one():
    z = torch.zeros(2, 20)
    run = trained("vae")
    assert torch.equal(run.as_model().generate(z, None), run.decode(z).mean)
    assert run.as_model().critics is None
    small = {"data.name": "digits", "data.limit": 64}
    assert trained("pixelvae", **small).as_model().generate is None


def test_a_critic_is_given_what_training_gives_it():
    """GAN on the ring: held-out points against the decoder's, scored by the trained critic itself."""
    run = trained("gan")
    found = run.as_model().critics(50, 3)
    assert list(found) == ["data"]
    critic = found["data"]
    (target,), (model,) = critic.target, critic.model
    assert target.shape == model.shape == (50, 2)
    held_out = run.prepared("test")
    assert all((held_out == row).all(1).any() for row in target)
    assert torch.equal(critic.score(model), run.critic_nets["data"](model))
    assert critic.is_log_ratio
    again = run.as_model().critics(50, 3)["data"]
    assert torch.equal(again.target[0], target)
    assert torch.equal(again.model[0], model)
    assert not torch.equal(run.as_model().critics(50, 4)["data"].model[0], model)


def test_of_joints_both_draws_of_one_row_belong_together():
    run = trained("ali")
    critic = run.as_model().critics(30, 0)["joint"]
    made = [torch.allclose(run.decoded(z), x, atol=1e-5) for x, z in (critic.target, critic.model)]
    assert sorted(made) == [False, True]  # (x̃, z) has x̃ = G(z), and (x, ẑ) has not


def test_terms_that_share_a_critic_share_its_draws():
    """VGH++: the critic of data tells x from x̂ and from x̃, half of each, over different data."""
    run = trained("vgh++")
    critic = run.as_model().critics(20, 0)["data"]
    assert critic.target[0].shape == critic.model[0].shape == (20, 2)
    assert len(critic.target[0].unique(dim=0)) == 20


def test_labels_are_the_last_input():
    run = trained("cgan")
    critic = run.as_model().critics(30, 0)["data"]
    x, y = critic.target
    assert torch.equal(y, critic.model[1])
    assert torch.equal(critic.score(x, y), run.critic_nets["data"](x, y=y))
    assert gradient_norms(critic.score, critic.target, critic.model).mean.value > 0


def test_packs_and_noise():
    critic = trained("pacgan").as_model().critics(30, 0)["data"]
    assert [v.shape for v in critic.target] == [(15, 2), (15, 2)]
    assert critic.score(*critic.target).shape == (15,)
    run = trained("noisy-gan")
    (target,) = run.as_model().critics(30, 0)["data"].target
    held_out = run.prepared("test")
    assert not any((held_out == row).all(1).any() for row in target)


@pytest.mark.parametrize(
    ("system", "calibrated"), [("gan", True), ("lsgan", False), ("wgan-gp", False), ("avb-ac", True)]
)
def test_whose_score_is_a_log_ratio(system, calibrated):
    (critic,) = trained(system).as_model().critics(10, 0).values()
    assert critic.is_log_ratio is calibrated


def test_critics_of_batches():
    """`mixed_batch` has none of single examples; minibatch features are scored as in training, batch by batch."""
    assert trained("bgan").as_model().critics(20, 0) == {}
    run = trained("minibatch-gan")
    critic = run.as_model().critics(40, 0)["data"]
    x, side = critic.target
    assert side.tolist() == [0] * 40
    net = run.critic_nets["data"]
    assert torch.equal(critic.score(x, side), torch.cat([net(x[:20]), net(x[20:])]))
    with pytest.raises(BadInput, match="depends on the others"):
        gradient_norms(critic.score, critic.target, critic.model)


def test_global_randomness_is_left_alone():
    model = trained("vgh++").as_model()
    before = torch.get_rng_state()
    model.critics(20, 0)
    model.draw_prior(20, 0)
    assert torch.equal(before, torch.get_rng_state())


LAWS = {
    "normal": Independent(Normal(torch.zeros(3, 2), torch.ones(3, 2)), 1),
    "bernoulli": Independent(Bernoulli(logits=torch.ones(3, 2)), 1),
    "quantised": Independent(QuantizedNormal(torch.full((3, 2), 0.5), torch.tensor(0.1)), 1),
    "categorical": Independent(PixelCategorical(torch.zeros(3, 2, 256)), 1),
    "mixture": NormalMixture(torch.zeros(4), torch.zeros(4, 2), torch.ones(4, 2)),
    "flow": LatentFlow(2)(Independent(Normal(torch.zeros(3, 2), torch.ones(3, 2)), 1)),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_moved_with_all_that_it_holds(name):
    """By the move to another precision, which a CPU can show as it can not show one to another device."""
    distribution = LAWS[name]
    value = torch.full((3, 2), 1.0)
    moved = mapped(distribution, Tensor.double)
    assert type(moved) is type(distribution)
    assert moved.log_prob(value.double()).dtype == torch.float64
    assert moved.mean.dtype == torch.float64
    torch.testing.assert_close(moved.log_prob(value.double()).float(), distribution.log_prob(value))
    assert distribution.mean.dtype == torch.float32
    assert torch.equal(on_cpu(distribution).log_prob(value), distribution.log_prob(value))


def test_a_learned_prior_is_held_still():
    prior = trained("vae-flow-prior").as_model().prior
    assert not prior.log_prob(torch.zeros(3, 20)).requires_grad


def test_moving_keeps_the_graph():
    loc = torch.zeros(2, requires_grad=True)
    on_cpu(Normal(loc, 1.0)).log_prob(torch.ones(2)).sum().backward()
    assert loc.grad.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("system", "more"),
    [
        ("gan", {"network.latent": 3}),
        ("gan", {"network.latent": 3, "network.prior": "sphere"}),
        ("vae", {"network.latent": 5, "network.prior": "mixture", "terms": "nll + kl(prior=learned)"}),
        ("cvae", {"network.latent": 3}),
        (
            "pixelvae",
            {
                "data.name": "digits",
                "data.limit": 64,
                "network.width": 4,
                "network.layers": 2,
                "network.latent": 3,
            },
        ),
    ],
    ids=["normal", "sphere", "learned", "labels", "autoregressive"],
)
def test_the_first_samples_are_the_same_however_many_are_drawn(system, more):
    run = trained(None if "terms" in more else system, **more)
    whole = run.sample(130, seed=7)
    for n in (1, 2, 10, 15, 17, 33, 63, 64, 65, 100, 127):
        torch.testing.assert_close(run.sample(n, seed=7), whole[:n], rtol=1e-5, atol=1e-6)
        assert torch.equal(run.prior_draws(n, 7), run.prior_draws(130, 7)[:n])
    assert not torch.equal(run.sample(10, seed=8), whole[:10])
    assert len({tuple(row.flatten().tolist()) for row in run.prior_draws(130, 7)}) == 130
