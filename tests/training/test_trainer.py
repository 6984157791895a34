import pytest
import torch
from torch import nn
from torch.distributions import Distribution, Independent, Normal
from torch.func import functional_call

from distmatch.errors import BadInput
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import r1
from distmatch.objectives.terms.likelihood import IWAE, KL, NLL, TargetRate
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X
from distmatch.schedules import Ramp, Share
from distmatch.systems import gan, vae
from distmatch.training import SGD, Adam, Diverged, Feed, Settings, Trainer
from distmatch.training.optimisers import linear


class Decoder(nn.Module):
    """A user's own: p(x|z) = N(Wz, σ²I) with a learned σ."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Linear(2, 3)
        self.log_scale = nn.Parameter(torch.zeros(3))

    def forward(self, z):
        return Independent(
            Normal(self.mean(z), self.log_scale.exp(), validate_args=False), 1, validate_args=False
        )


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 4)

    def forward(self, x):
        loc, log_scale = self.body(x).chunk(2, -1)
        return Independent(Normal(loc, log_scale.exp(), validate_args=False), 1, validate_args=False)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x):
        return self.body(x).squeeze(-1)


def data(n=256):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, generator=generator) * 0.3 + torch.tensor([1.0, -1.0, 2.0])


def trainer(objective=None, seed=0, lr=1e-2, critic_steps=1, **settings):
    torch.manual_seed(0)
    objective = objective or NLL() + vae().terms[1] + Match(X_GEN, X, critic="mine")
    nets = {"encoder": Encoder(), "decoder": Decoder(), "mine": Critic(), "data": Critic()}
    feed = Feed(objective, data(), latent=2, batch_size=32, seed=seed)
    optimisers = {"model": Adam(lr=lr), "critics": Adam(lr=lr)}
    return Trainer(objective, nets, feed, Settings(**optimisers, **settings), critic_steps)


def tensors(made):
    return {k: v.clone() for k, v in made.snapshot()[0].items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_nets_of_ones_own_learn():
    made = trainer()
    first = made.run(1)
    assert first.keys() == {"nll", "kl", "match(x_gen, x)", "critic/mine/target", "critic/mine/model"}
    last = made.run(300)
    assert last["nll"] < first["nll"] - 1
    untouched = {k: p.clone() for k, p in made.nets["decoder"].named_parameters()}
    assert not torch.equal(untouched["mean.bias"], made.state.params["decoder"]["mean.bias"])
    decoder = made.write_back()["decoder"]
    assert torch.equal(decoder.mean.bias, made.state.params["decoder"]["mean.bias"])


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"simultaneous": True}, {"clip_gradient": 0.1}])
def test_a_snapshot_is_all_that_a_run_is(settings):
    whole = trainer(critic_steps=2, **settings)
    stopped = trainer(critic_steps=2, **settings)
    for _ in range(7):
        whole.advance()
        stopped.advance()
    kept, about = tensors(stopped), stopped.snapshot()[1]
    stopped.advance()
    fresh = trainer(critic_steps=2, **settings)
    fresh.restore(kept, about)
    assert same(tensors(fresh), kept)
    for made in (whole, fresh):
        for _ in range(9):
            made.advance()
    assert same(tensors(whole), tensors(fresh))
    assert whole.collect() == fresh.collect()
    assert whole.snapshot()[1] == fresh.snapshot()[1]


def test_weights_alone():
    made, other = trainer(ema=0.9), trainer(seed=5, ema=0.9)
    made.run(3)
    kept, about = made.snapshot()
    kept["generator"] = torch.zeros(16, dtype=torch.uint8)  # as of another kind of device
    noise = other.feed.generator.get_state()
    other.restore_weights(kept, about)
    assert other.steps_done == 3
    assert torch.equal(other.feed.generator.get_state(), noise)
    assert torch.equal(other.state.ema["decoder"]["mean.bias"], made.state.ema["decoder"]["mean.bias"])
    with pytest.raises(BadInput, match="generator differs"):
        trainer(ema=0.9).restore(kept, about)
    with pytest.raises(BadInput, match="of other nets"):
        trainer().restore_weights(kept, about)


def test_another_seed_is_another_run():
    first, second = trainer(seed=0), trainer(seed=1)
    assert first.run(3) != second.run(3)


def test_the_step_and_term_that_diverged():
    made = trainer(vae(), lr=1e30)
    with pytest.raises(Diverged, match=r"diverged at step 2: (nll|kl) is (nan|inf|-inf)") as caught:
        made.run(50)
    assert caught.value.step == 2
    made = trainer(vae(), lr=1e30)
    for _ in range(5):
        made.advance()
    with pytest.raises(Diverged) as caught:
        made.check()
    assert caught.value.step == 2


@pytest.mark.parametrize("side", ["params", "moments"])
def test_what_is_not_worth_keeping(side):
    made = trainer()
    made.run(2)
    made.check()
    tensor = (
        made.state.params["mine"]["body.0.bias"]
        if side == "params"
        else made._kept()["moments/model/square/0"]
    )
    tensor.view(-1)[0] = float("inf")
    with pytest.raises(Diverged, match=f"diverged at step 2: a value of {side}/.* is inf"):
        made.check()


def test_losses_on_other_data_change_nothing():
    made = trainer()
    made.run(3)
    before = tensors(made)
    other = Feed(made.objective, data(64), latent=2, batch_size=32, seed=9)
    assert made.losses(other, 2).keys() == {"nll", "kl"}
    assert same(tensors(made), before)
    assert Trainer(gan(), {"decoder": Decoder(), "data": Critic()}, made.feed).losses(other, 1) == {}


def test_bad_input():
    feed = Feed(gan(), data(), latent=2, batch_size=32)
    with pytest.raises(BadInput, match="needs nets named decoder, data; data is missing"):
        Trainer(gan(), {"decoder": Decoder()}, feed)
    with pytest.raises(BadInput, match="give at least 1"):
        Trainer(gan(), {"decoder": Decoder(), "data": Critic()}, feed, critic_steps=0)


def test_no_steps_no_losses():
    assert trainer(Objective(NLL())).run(0) == {}


def test_a_users_law_that_validates_diverges_by_name():
    Distribution.set_default_validate_args(True)  # compiling anything has switched it off

    class Validating(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.full((3,), float("nan")))

        def forward(self, z):
            return Independent(Normal(self.loc.expand(len(z), 3), 1.0), 1)

    made = Trainer(
        gan(), {"decoder": Validating(), "data": Critic()}, Feed(gan(), data(), latent=2, batch_size=32)
    )
    with pytest.raises(Diverged, match="diverged at step 1: critic/data/model is nan"):
        made.run(1)
    assert Distribution._validate_args  # outside the step, what held before holds


def test_frozen_parameters_stay_as_they_are():
    decoder = Decoder()
    frozen = next(iter(decoder.parameters())).requires_grad_(False)
    before = frozen.clone()
    made = Trainer(
        gan(), {"decoder": decoder, "data": Critic()}, Feed(gan(), data(), latent=2, batch_size=32)
    )
    made.run(3)
    assert torch.equal(next(iter(made.write_back()["decoder"].parameters())), before)
    assert any(p.requires_grad for p in decoder.parameters())


@pytest.mark.parametrize(
    ("layer", "words"),
    [(nn.BatchNorm1d(3), "BatchNorm1d that keeps running statistics"), (nn.Dropout(0.5), "noise of its own")],
)
def test_nets_that_are_no_function_of_their_parameters_are_refused(layer, words):
    feed = Feed(gan(), data(), latent=2, batch_size=32)
    with pytest.raises(BadInput, match=words):
        Trainer(gan(), {"decoder": Decoder(), "data": nn.Sequential(layer, Critic())}, feed)


def test_a_net_that_is_frozen_as_a_whole_is_used_and_not_moved():
    encoder = Encoder().requires_grad_(False)
    before = [p.clone() for p in encoder.parameters()]
    objective = NLL() + vae().terms[1].to("encoder")
    feed = Feed(objective, data(), latent=2, batch_size=32)
    decoder = Decoder()
    start = decoder.mean.weight.clone()
    made = Trainer(objective, {"encoder": encoder, "decoder": decoder}, feed)
    made.run(3)
    nets = made.write_back()
    assert all(torch.equal(a, b) for a, b in zip(nets["encoder"].parameters(), before, strict=True))
    assert not torch.equal(nets["decoder"].mean.weight, start)


# What changes with time


def test_a_ramp_changes_the_weight_with_the_steps():
    """Trained by plain descent at rate 1, every move is the ramp's value times the slope of the term."""

    objective = Objective(Ramp(0, 4, 8) * KL())
    made = Trainer(
        objective,
        {"encoder": Encoder()},
        Feed(objective, data(32), latent=2, batch_size=32),
        Settings(model=SGD(lr=1e-3)),
    )
    for t in range(12):
        before = {k: p.clone() for k, p in made.state.params["encoder"].items()}
        made.advance()
        moved = {k: before[k] - p for k, p in made.state.params["encoder"].items()}
        leaves = {k: p.requires_grad_() for k, p in before.items()}
        distribution = functional_call(made.nets["encoder"], leaves, (data(32),))
        base = distribution.base_dist
        rate = 0.5 * (base.loc.square() + base.scale.square() - 1 - 2 * base.scale.log()).sum(1).mean()
        for (k, _), slope in zip(
            leaves.items(), torch.autograd.grad(rate, list(leaves.values())), strict=True
        ):
            torch.testing.assert_close(moved[k], 1e-3 * min(0.5 * t, 4.0) * slope, rtol=1e-3, atol=2e-6)


def test_a_ramp_over_a_share_of_a_run_is_refused_until_the_run_is_known():
    objective = Objective(Ramp(0, 4, Share(0.25)) * KL())
    feed = Feed(objective, data(32), latent=2, batch_size=32)
    with pytest.raises(
        BadInput, match=r"takes 25% of a run, and nobody said .*: take objective\.over\(steps\)"
    ):
        Trainer(objective, {"encoder": Encoder()}, feed)
    assert Trainer(objective.over(8), {"encoder": Encoder()}, feed).run(2)["kl"] > 0


def test_what_is_logged_follows_the_ramps():
    """|R - R*| with R held still by a frozen encoder: the log says R*."""
    target = Ramp(100, 200, 4)
    objective = NLL() + 1.0 * TargetRate(target) + KL()
    encoder = Encoder().requires_grad_(False)
    feed = Feed(objective, data(32), latent=2, batch_size=32)
    made = Trainer(objective, {"encoder": encoder, "decoder": Decoder()}, feed)
    for wanted in (100, 125, 150, 175, 200, 200):
        logs = made.advance()
        assert (logs["kl"] + logs["target_rate"]).item() == pytest.approx(wanted, rel=1e-5)
    assert made.losses(feed, 1)["target_rate"] + made.losses(feed, 1)["kl"] == pytest.approx(200, rel=1e-5)


def test_a_penalty_and_instance_noise_may_fade():
    objective = Objective(
        Match(X_GEN, X, penalty=r1(Ramp(0, 2, 4)), instance_noise=Ramp(1, 0, 4)),
    )
    feed = Feed(objective, data(), latent=2, batch_size=32)
    made = Trainer(objective, {"decoder": Decoder(), "data": Critic()}, feed)
    paid = [made.advance()["critic/data/penalty"].item() for _ in range(6)]
    assert paid[0] == 0
    assert all(p > 0 for p in paid[1:])


class Stage(nn.Module):
    """A layer that knows how many steps are done, doubles its output from step 3 on, and asks for a fresh start."""

    def __init__(self):
        super().__init__()
        self.told = []

    def at(self, step):
        self.told.append(step)

    def resets_at(self, step):
        return step == 3

    def forward(self, x):
        return x * (2 if self.told and self.told[-1] >= 3 else 1)


class StagedCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), Stage(), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        return self.body(x).squeeze(-1)


def staged(settings=None):
    torch.manual_seed(0)
    feed = Feed(gan(), data(), latent=2, batch_size=32)
    return Trainer(gan(), {"decoder": Decoder(), "data": StagedCritic()}, feed, settings, critic_steps=2)


def test_nets_are_told_how_many_steps_are_done():
    """Wherever in a net they are, before each step, and when they are handed back."""
    made = staged()
    stage = made.nets["data"].body[1]
    made.run(5)
    assert stage.told == [0, 1, 2, 3, 4]
    made.write_back()
    assert stage.told[-1] == 5


def test_moments_are_forgotten_where_a_net_asks_for_it():
    made = staged()
    made.run(3)
    assert made.state.moments["model"]["step"][0] == 3
    assert made.state.moments["critics"]["step"][0] == 6
    kept = {k: p.clone() for k, p in made.state.params["decoder"].items()}
    made.run(1)
    assert made.state.moments["model"]["step"][0] == 1
    assert made.state.moments["critics"]["step"][0] == 2
    for k, p in made.state.params["decoder"].items():  # Adam's first step: the rate against the slope's sign
        moved = (p - kept[k]).abs()
        assert ((moved - 1e-3).abs() < 1e-5).logical_or(moved < 1e-6).all()


def test_a_schedule_goes_on_where_moments_are_forgotten():
    """The fourth of twelve steps down to 0 is at 3/4 of the rate, moments or not; the critics' is their seventh."""
    made = staged(Settings(Adam(schedule=linear(12)), Adam(schedule=linear(12))))
    made.run(3)
    kept = {k: p.clone() for k, p in made.state.params["decoder"].items()}
    made.run(1)
    moved = torch.cat([(p - kept[k]).abs().flatten() for k, p in made.state.params["decoder"].items()])
    assert moved.max().item() == pytest.approx(0.75e-3, rel=1e-2)
    taken = {side: moments["taken"][0].item() for side, moments in made.state.moments.items()}
    assert taken == {"model": 4, "critics": 8}


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_run_with_stages_is_taken_up_exactly(stop):
    """Also where the moments are about to be forgotten, and right after."""
    whole, stopped, fresh = staged(), staged(), staged()
    whole.run(7)
    stopped.run(stop)
    fresh.restore(tensors(stopped), stopped.snapshot()[1])
    fresh.run(7 - stop)
    assert same(tensors(whole), tensors(fresh))
    assert whole.nets["data"].body[1].told[-1] == fresh.nets["data"].body[1].told[-1]


def test_losses_are_those_of_the_nets_as_they_are_now():
    """A net that is taken up has not been told yet how far the run is."""

    class Growing(Decoder):
        def __init__(self):
            super().__init__()
            self.factor = 1.0

        def at(self, step):
            self.factor = 1.0 + step

        def forward(self, z):
            return super().forward(self.factor * z)

    def made():
        torch.manual_seed(0)
        feed = Feed(vae(), data(), latent=2, batch_size=32)
        return Trainer(vae(), {"encoder": Encoder(), "decoder": Growing()}, feed)

    first, second = made(), made()
    first.run(4)
    second.restore(*first.snapshot())
    feeds = [Feed(vae(), data(64), latent=2, batch_size=32, seed=9) for _ in "ab"]
    assert first.losses(feeds[0], 2) == second.losses(feeds[1], 2)


@pytest.mark.parametrize("stop", [3, 5])
def test_a_run_with_ramps_is_taken_up_exactly(stop):
    objective = (
        NLL()
        + Ramp(0, 1, 6) * KL()
        + Match(X_GEN, X, critic="mine", penalty=r1(Ramp(2, 0, 6)), instance_noise=Ramp(0.5, 0, 4))
    )
    whole, stopped, fresh = (trainer(objective) for _ in range(3))
    whole.run(9)
    stopped.run(stop)
    fresh.restore(tensors(stopped), stopped.snapshot()[1])
    fresh.run(9 - stop)
    assert same(tensors(whole), tensors(fresh))


def test_several_codes_train_and_are_evaluated():
    objective = Objective(IWAE(4))
    made = trainer(objective)
    first = made.run(1)["iwae"]
    assert made.run(200)["iwae"] < first - 1
    other = Feed(objective, data(64), latent=2, batch_size=32, seed=9)
    assert made.losses(other, 2)["iwae"] == pytest.approx(made.run(1)["iwae"], abs=1)


@pytest.mark.parametrize("how", [{"consensus": 0.1}, {"unroll": 2}], ids=str)
def test_consensus_and_unrolling_in_a_run(how):
    whole, stopped, fresh = (trainer(gan(), **how) for _ in range(3))
    whole.run(5)
    stopped.run(2)
    fresh.restore(tensors(stopped), stopped.snapshot()[1])
    fresh.run(3)
    assert same(tensors(whole), tensors(fresh))
