"""What a trainer refuses before its first step, each with the number that it would have given, or the reason."""

import copy
import math
import threading

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from distmatch.distributions.checks import unvalidated
from distmatch.errors import BadInput, Doubt
from distmatch.objectives.comparisons import LEAST_SQUARES, NON_SATURATING, WASSERSTEIN
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import gradient_penalty
from distmatch.objectives.terms.likelihood import KL, NLL
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X
from distmatch.systems import gan, vae
from distmatch.training import SGD, Adam, Feed, RMSProp, Settings, Trainer

D, LATENT = 4, 2


class Gaussian(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.net = nn.Linear(inputs, outputs)

    def forward(self, h):
        return Independent(Normal(self.net(h), 1.0), 1)


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(LATENT, D)

    def forward(self, z):
        return Independent(Normal(self.net(z), 0.1), 1)


class Critic(nn.Module):
    def __init__(self, last=lambda s: s.squeeze(-1)):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, 1))
        self.last = last

    def forward(self, x):
        return self.last(self.net(x))


class As(nn.Module):
    """A net whose output, `(B, outputs)`, becomes what a function makes of it."""

    def __init__(self, make, inputs, outputs):
        super().__init__()
        self.make, self.net = make, nn.Linear(inputs, outputs)

    def forward(self, h):
        return self.make(self.net(h))


def data(n=50, d=D, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def vae_nets(**more):
    torch.manual_seed(0)
    return {"encoder": Gaussian(D, LATENT), "decoder": Gaussian(LATENT, D)} | more


def trainer(objective=None, nets=None, x=None, **settings):
    objective = objective or vae()
    feed = Feed(objective, data() if x is None else x, latent=LATENT, batch_size=10)
    settings = Settings(model=SGD(0.01), critics=SGD(0.01), **settings)
    return Trainer(objective, nets or vae_nets(), feed, settings)


def gan_trainer(objective=None, critic=None):
    torch.manual_seed(0)
    return trainer(objective or gan(), {"decoder": Point(), "data": critic or Critic()})


def test_a_good_run_has_no_note():
    assert trainer().notes == ()
    assert gan_trainer().notes == ()


# What does not train


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_without_gradients_no_step_is_taken(off):
    made = trainer()
    with off(), pytest.raises(BadInput, match="gradients are switched off"):
        made.run(1)
    assert made.run(1)["nll"] > 0


def test_a_trainer_may_be_made_without_gradients_and_run_with_them():
    with torch.no_grad():
        made = trainer()
    first = made.run(1)["nll"]
    assert made.run(300)["nll"] < first


def test_what_is_all_frozen_does_not_learn():
    nets = vae_nets()
    for net in nets.values():
        net.requires_grad_(False)
    with pytest.raises(BadInput, match="every parameter of encoder, decoder is frozen"):
        trainer(nets=nets)
    nets["decoder"].requires_grad_(True)
    assert trainer(nets=nets).run(3)


def test_a_critic_that_learns_alone_is_noted():
    decoder = Point().requires_grad_(False)
    with pytest.warns(Doubt, match="every parameter of decoder is frozen: only the other nets learn"):
        trainer(gan(), {"decoder": decoder, "data": Critic()})


@pytest.mark.parametrize(
    ("role", "net"),
    [
        ("decoder", As(lambda h: Independent(Normal(h.detach(), 1.0), 1), LATENT, D)),
        ("encoder", As(lambda h: Independent(Normal(h.detach(), h.detach().exp()), 1), D, LATENT)),
    ],
)
def test_a_net_that_detaches_is_named(role, net):
    with pytest.raises(BadInput, match=f"no gradient of its loss reaches the {role}"):
        trainer(nets=vae_nets(**{role: net}))


def test_a_critic_that_detaches_is_named():
    with pytest.raises(BadInput, match="no gradient of its loss reaches the data"):
        gan_trainer(critic=Critic(lambda s: s.detach().squeeze(-1)))


def test_a_net_of_two_roles_is_refused():
    net = Gaussian(D, D)
    objective = vae()
    feed = Feed(objective, data(), latent=D, batch_size=10)
    with pytest.raises(
        BadInput, match=r"decoder and encoder share the parameter net.weight \(net.weight there\)"
    ):
        Trainer(objective, {"encoder": net, "decoder": net}, feed)
    assert Trainer(objective, {"encoder": net, "decoder": copy.deepcopy(net)}, feed).run(1)


def test_weights_tied_between_nets_are_refused_unless_frozen():
    nets = {"encoder": Gaussian(D, D), "decoder": Gaussian(D, D)}
    nets["decoder"].net.bias = nets["encoder"].net.bias
    objective = vae()
    feed = Feed(objective, data(), latent=D, batch_size=10)
    with pytest.raises(BadInput, match=r"share the parameter net.bias"):
        Trainer(objective, nets, feed)
    nets["encoder"].net.bias.requires_grad_(False)
    assert Trainer(objective, nets, feed).run(1)


def test_weights_tied_within_a_net_train_as_in_plain_torch():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(LATENT, LATENT), nn.Linear(LATENT, LATENT)
            self.two.weight = self.one.weight
            self.last = nn.Linear(LATENT, D)

        def forward(self, z):
            return Independent(Normal(self.last(self.two(self.one(z).tanh())), 1.0), 1)

    torch.manual_seed(0)
    nets = vae_nets(decoder=Tied())
    plain = copy.deepcopy(nets)
    made = trainer(nets=nets)
    batch = made.feed.beside(0)  # the data in an order of its own; the batch below is the run's first
    batch = copy.copy(made.feed)
    batch.generator = torch.Generator().set_state(made.feed.generator.get_state())
    b = batch.next()
    made.run(1)
    q = plain["encoder"](b.x)
    z = q.base_dist.loc + q.base_dist.scale * b.noise["z_code"]
    rate = 0.5 * (q.base_dist.loc**2 + q.base_dist.scale**2 - 1 - 2 * q.base_dist.scale.log()).sum(1)
    (rate - plain["decoder"](z).log_prob(b.x)).mean().backward()
    for name in plain:
        for key, p in plain[name].named_parameters():
            torch.testing.assert_close(made.state.params[name][key], p.detach() - 0.01 * p.grad)


# Shapes that broadcast


def test_data_without_a_second_dimension_against_a_decoder_with_one():
    """An ELBO of 50 x 50 densities: -512 for -1.8 in the report that found it."""
    nets = {"encoder": As(lambda h: h, 1, 1), "decoder": Gaussian(LATENT, 1)}
    nets["encoder"] = As(lambda h: Independent(Normal(h, 1.0), 1), 1, LATENT)
    nets["encoder"].forward = lambda x, net=nets["encoder"]: net.make(net.net(x[:, None]))
    with pytest.raises(BadInput, match=r"the decoder .* 3 examples of shape \(\) need \(3,\) and \(\)"):
        trainer(nets=nets, x=torch.randn(50))


@pytest.mark.parametrize(
    ("role", "net", "said"),
    [
        (
            "decoder",
            Gaussian(LATENT, 1),
            r"the decoder .* event shape \(1,\), and 3 examples of shape \(4,\)",
        ),
        (
            "decoder",
            As(lambda h: Normal(h, 1.0), LATENT, D),
            r"wrap it in torch.distributions.Independent\(..., 1\)",
        ),
        (
            "encoder",
            Gaussian(D, 5),
            r"the encoder .* event shape \(5,\), and 3 examples of shape \(2,\) need",
        ),
        (
            "encoder",
            Gaussian(D, 1),
            r"the encoder .* event shape \(1,\), and 3 examples of shape \(2,\) need",
        ),
        (
            "encoder",
            As(lambda h: Normal(h, 1.0), D, LATENT),
            r"wrap it in torch.distributions.Independent\(..., 1\)",
        ),
        (
            "encoder",
            As(lambda h: Independent(Normal(h.mean(0), 1.0), 1), D, LATENT),
            "one distribution for the whole batch; return one for each example",
        ),
        (
            "decoder",
            As(lambda h: h, LATENT, D),
            r"the decoder returned a tensor of shape \(3, 4\); it must return",
        ),
        ("decoder", As(lambda h: (h, h), LATENT, D), "the decoder returned tuple; it must return"),
        (
            "encoder",
            Gaussian(7, LATENT),
            r"the encoder cannot be called with inputs of shape \(3, 4\): .*mat1",
        ),
    ],
)
def test_distributions_must_have_the_shapes_of_data_and_code(role, net, said):
    with pytest.raises(BadInput, match=said):
        trainer(nets=vae_nets(**{role: net}))


def test_pixels_that_are_not_joined():
    """Without `Independent` the mean over 64 pixels would be the loss, 64 times too small."""
    nets = {
        "encoder": As(lambda h: Independent(Normal(h, 1.0), 1), 64, LATENT),
        "decoder": As(lambda h: Bernoulli(logits=h.view(-1, 1, 8, 8)), LATENT, 64),
    }
    nets["encoder"].forward = lambda x, net=nets["encoder"]: net.make(net.net(x.flatten(1)))
    with pytest.raises(BadInput, match=r"wrap it in torch.distributions.Independent\(..., 3\)"):
        trainer(nets=nets, x=torch.rand(50, 1, 8, 8).round())


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (lambda s: s, r"the critic 'data' returned a tensor of shape \(3, 1\) .*return .squeeze\(-1\)"),
        (lambda s: s.mean(), r"the critic 'data' returned a tensor of shape \(\) for 3 examples"),
        (lambda s: s.mean(0), r"returned a tensor of shape \(1,\) for 3 examples; it must return \(3,\)"),
        (lambda s: s.expand(-1, 3), r"returned a tensor of shape \(3, 3\)"),
    ],
)
def test_a_critic_returns_one_score_for_each_example(last, said):
    with pytest.raises(BadInput, match=said):
        gan_trainer(critic=Critic(last))


# Ranges and support


def bernoulli_nets():
    return vae_nets(decoder=As(lambda h: Independent(Bernoulli(logits=h), 1), LATENT, D))


@pytest.mark.parametrize(
    ("x", "said"), [(300 * torch.rand(50, D), "divide x by"), (2 * torch.rand(50, D) - 1, r"\(x \+ 1\) / 2")]
)
def test_data_outside_of_a_bernoulli_distribution(x, said):
    with pytest.raises(
        BadInput, match=rf"x lies in .*Bernoulli distribution, whose values are 0 and 1: .*{said}"
    ):
        trainer(nets=bernoulli_nets(), x=x)


def test_the_one_example_outside_is_in_the_tiny_batch():
    x = torch.rand(50, D).round()
    x[37, 2] = -0.5
    with pytest.raises(BadInput, match=r"x lies in \[-0.5, 1\]"):
        trainer(nets=bernoulli_nets(), x=x)


def test_grey_values_of_a_bernoulli_distribution_are_a_note():
    with pytest.warns(Doubt, match="a cross-entropy, not a log-likelihood"):
        made = trainer(nets=bernoulli_nets(), x=torch.rand(50, D))
    assert len(made.notes) == 1
    assert trainer(nets=bernoulli_nets(), x=torch.rand(50, D).round()).notes == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_data_that_are_not_finite_are_named_by_their_place(bad):
    x = data()
    x[13, 1] = bad
    with pytest.raises(BadInput, match="NaN or infinite values, first in example 13"):
        trainer(x=x)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.rand(50, 8, 8, 3), r"look like \(N, H, W, C\), and nets take \(N, C, H, W\): x.movedim"),
        (torch.rand(12, 300), r"12 examples of 300 values: if they are \(D, N\), give x.T"),
    ],
)
def test_dimensions_in_another_order_are_noted(x, said):
    size = x[0].numel()
    nets = vae_nets(encoder=As(lambda h: Independent(Normal(h, 1.0), 1), size, LATENT))
    nets["encoder"].forward = lambda h, net=nets["encoder"]: net.make(net.net(h.flatten(1)))
    nets["decoder"] = As(
        lambda h: Independent(Normal(h.view(-1, *x.shape[1:]), 1.0), x.ndim - 1), LATENT, size
    )
    with pytest.warns(Doubt, match=said):
        trainer(nets=nets, x=x)


def test_a_critic_that_ends_in_a_sigmoid():
    """Its log-ratio would stay between 0 and 1: a GAN that ends at a tenth of its slope."""
    squashed = Critic(lambda s: s.sigmoid().squeeze(-1))
    with pytest.raises(
        BadInput, match="ends in a sigmoid, and the comparison non_saturating takes its score for"
    ):
        gan_trainer(Objective(Match(X_GEN, X, by=NON_SATURATING)), squashed)
    with pytest.warns(Doubt, match="its scores stay between 0 and 1"):
        gan_trainer(Objective(Match(X_GEN, X, by=WASSERSTEIN)), squashed)
    assert gan_trainer(Objective(Match(X_GEN, X, by=LEAST_SQUARES)), squashed).notes == ()


# Labels


def conditional(y):
    objective = vae().with_labels()
    return Feed(objective, data(), y, latent=LATENT, batch_size=10)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (torch.zeros(49).long(), r"labels have shape \(49,\) for 50 examples"),
        (torch.zeros(51).long(), r"labels have shape \(51,\) for 50 examples"),
        (torch.eye(10)[torch.arange(50) % 10], r"y.argmax\(1\), if they are one-hot"),
        (torch.rand(50), "are not whole numbers"),
        (torch.arange(50) - 1, "count classes from 0"),
        (None, "these data have no labels"),
    ],
)
def test_labels_are_one_whole_number_an_example(y, said):
    with pytest.raises(BadInput, match=said):
        conditional(y)


def test_whole_numbers_of_any_type_are_classes():
    assert conditional((torch.arange(50) % 3).float()).next().y.dtype == torch.long


def test_labels_that_nobody_asks_for_are_refused():
    with pytest.raises(BadInput, match="the objective takes none"):
        Feed(vae(), data(), torch.zeros(50).long(), latent=LATENT, batch_size=10)


def test_labels_beyond_a_nets_classes_are_refused():
    """Its one-hot would be all zero."""
    from distmatch.networks import Shapes, build

    shapes = Shapes((D,), LATENT, num_classes=3, bounded=False)
    nets = {
        "encoder": build("mlp", "encoder", shapes),
        "decoder": build("mlp", "decoder", shapes, likelihood="gaussian"),
    }
    objective = vae().with_labels()
    for y, said in ((torch.arange(50) % 3 + 1, "count classes from 0"), (torch.arange(50), "go up to 49")):
        with pytest.raises(BadInput, match=said):
            Trainer(objective, nets, Feed(objective, data(), y, latent=LATENT, batch_size=10))
    assert Trainer(
        objective, nets, Feed(objective, data(), torch.arange(50) % 3, latent=LATENT, batch_size=10)
    ).run(1)


# Randomness and mixing


@pytest.mark.parametrize(
    "noisy",
    [
        lambda h: nn.functional.dropout(h, 0.5),
        lambda h: h + torch.randn_like(h),
        lambda h: nn.functional.dropout(h, 0.5, training=True),
    ],
)
def test_randomness_inside_a_net_is_found_by_calling_it_twice(noisy):
    net = As(lambda h: Independent(Normal(noisy(h), 1.0), 1), LATENT, D)
    with pytest.raises(BadInput, match="the decoder returns different values for the same input"):
        trainer(nets=vae_nets(decoder=net))


def test_dropout_of_an_lstm_is_found():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.LSTM(1, LATENT, num_layers=2, dropout=0.5, batch_first=True)

        def forward(self, x):
            return Independent(Normal(self.net(x[:, :, None])[0][:, -1], 1.0), 1)

    with pytest.raises(BadInput, match="the encoder returns different values"):
        trainer(nets=vae_nets(encoder=Recurrent()))


def test_the_edge_leaves_every_generator_as_it_was():
    objective = vae()
    feed = Feed(objective, data(), latent=LATENT, batch_size=10)
    before, stream = torch.get_rng_state(), feed.generator.get_state()
    Trainer(objective, vae_nets(), feed)
    torch.manual_seed(0)
    assert torch.equal(feed.generator.get_state(), stream)
    torch.set_rng_state(before)


def test_a_critic_that_mixes_its_batch_under_a_penalty_for_each_example():
    mixing = Critic(lambda s: (s - s.mean(0)).squeeze(-1))
    objective = Objective(Match(X_GEN, X, by=WASSERSTEIN, penalty=gradient_penalty(10.0)))
    with pytest.raises(BadInput, match="the critic 'data' mixes the examples of a batch"):
        gan_trainer(objective, mixing)
    assert gan_trainer(Objective(Match(X_GEN, X, by=WASSERSTEIN)), mixing).run(1)
    assert gan_trainer(objective).run(1)


def test_validation_comes_back_with_the_last_of_several_threads():
    """One thread's step must not switch off what another's end switches on, or the reverse."""
    Distribution.set_default_validate_args(True)  # compiling anything has switched it off
    begun, go_on, seen = threading.Barrier(2), threading.Event(), []

    def step(waits):
        with unvalidated():
            begun.wait()
            if waits:
                go_on.wait()
            seen.append(Distribution._validate_args)

    threads = [threading.Thread(target=step, args=(waits,)) for waits in (True, False)]
    for t in threads:
        t.start()
    threads[1].join()
    assert Distribution._validate_args is False
    go_on.set()
    threads[0].join()
    assert seen == [False, False]
    assert Distribution._validate_args is True


def test_two_threads_cannot_train_one_net():
    """Each step puts its own run's weights into the modules; two at once would mix them."""
    nets = vae_nets()
    first, second = trainer(nets=nets), trainer(nets=nets)
    alone = trainer()
    inside, go_on = threading.Event(), threading.Event()
    net, forward = nets["decoder"], nets["decoder"].forward

    def slow(h):
        inside.set()
        go_on.wait()
        return forward(h)

    net.forward = slow
    thread = threading.Thread(target=first.run, args=(1,))
    thread.start()
    inside.wait()
    with pytest.raises(BadInput, match="another thread is training the same net"):
        second.run(1)
    go_on.set()
    thread.join()
    del net.forward
    assert second.run(1) == alone.run(1)


# Settings


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Adam(lr=-1e-3), "lr of Adam is -0.001; it must be finite and 0 or above"),
        (lambda: Adam(lr=torch.tensor([1e-3, -1e-3])), "lr of Adam is"),
        (lambda: Adam(lr=math.nan), "lr of Adam is nan"),
        (lambda: Adam(beta1=1.0), "beta1 of Adam is 1.0; it must be 0 or above and below 1"),
        (lambda: Adam(beta2=-0.1), "beta2 of Adam is -0.1"),
        (lambda: RMSProp(alpha=2.0), "alpha of RMSProp is 2.0"),
        (lambda: SGD(momentum=1.5), "momentum of SGD is 1.5"),
        (lambda: Settings(clip_gradient=-1.0), "clip_gradient is -1.0"),
        (lambda: Settings(ema=1.0), "ema is 1.0; give a decay"),
        (lambda: Settings(ema=2.0), "ema is 2.0"),
        (lambda: Settings(unroll=-1), "unroll is -1"),
        (lambda: Settings(consensus=-0.1), "consensus is -0.1"),
        (lambda: Settings(precision="fp16"), "unknown precision 'fp16'; did you mean 'bf16'"),
        (lambda: trainer(objective=NLL() + torch.tensor(-1.0) * KL()), "the weight of kl is -1.0"),
        (lambda: Match(X_GEN, X_GEN), "x_gen is matched with itself"),
        (lambda: trainer().run(-1), "steps are -1"),
        (lambda: trainer().losses(trainer().feed, 0), "batches are 0"),
    ],
)
def test_numbers_out_of_their_range(make, said):
    with pytest.raises(BadInput, match=said):
        make()


# Going on elsewhere


def resumed(into, made=None):
    made = made or trainer()
    made.run(3)
    tensors, info = made.snapshot()
    into.restore(tensors, info)
    return made


def with_feed(**more):
    arguments = {"latent": LATENT, "batch_size": 10, "seed": 0} | more
    x = arguments.pop("x", None)
    feed = Feed(vae(), data() if x is None else x, **arguments)
    return Trainer(vae(), vae_nets(), feed, Settings(model=SGD(0.01), critics=SGD(0.01)))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"x": data(seed=1)}, "another data"),
        ({"x": data().flip(0)}, "another data"),
        ({"seed": 1}, r"another seed \(0\) than this trainer's \(1\)"),
        ({"batch_size": 9}, r"another batch size \(10\) than this trainer's \(9\)"),
    ],
)
def test_a_run_goes_on_with_its_own_data_seed_and_batch_size(more, said):
    with pytest.raises(BadInput, match=said):
        resumed(with_feed(**more))


def test_a_run_goes_on_with_its_own_frozen_weights():
    def frozen(value):
        nets = vae_nets()
        nets["encoder"].requires_grad_(False)
        nets["encoder"].net.bias.fill_(value)
        return trainer(nets=nets)

    with pytest.raises(BadInput, match=r"another encoder.net.bias \(frozen\)"):
        resumed(frozen(0.5), frozen(0.0))
    resumed(frozen(0.5), frozen(0.5))


def test_an_equal_trainer_goes_on_bit_for_bit():
    into = trainer()
    made = resumed(into)
    assert made.run(5) == into.run(5)
