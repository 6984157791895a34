"""A run does not depend on how many ranks train it; ranks are threads here, and processes in test_torchrun.py."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.distributions import Distribution

from contracts.toys import LABELS, assert_same, flat, generator, linear_nets, toy_of
from distmatch.systems import SYSTEMS, find
from distmatch.training import Adam, Feed, Settings, Trainer
from distmatch.training.distributed.ranks import Ranks

BATCH, STEPS = 12, 3
NEED_WHOLE_BATCHES = {"consensus-gan", "unrolled-gan"} | {
    name for name, system in SYSTEMS.items() if not all(t.per_sample for t in system.objective().terms)
}
SEE_THEIR_SHARE = {"dragan", "pacgan"}  # the spread of a batch, and who is whose neighbour


class Threads(Ranks):
    """Ranks that meet in memory."""

    def __init__(self, rank, table, barrier):
        super().__init__(rank, len(table))
        self.table, self.barrier = table, barrier

    def mean(self, tensors):
        self.table[self.rank] = list(tensors)
        self.barrier.wait(20)
        found = [sum(parts) / self.count for parts in zip(*self.table, strict=True)]
        self.barrier.wait(20)
        return found


@pytest.fixture(autouse=True)
def in_float64():
    before, validates = torch.get_default_dtype(), Distribution._validate_args
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
    Distribution.set_default_validate_args(validates)


def trained(system, ranks=None, **settings):
    """The weights after some steps, and what was logged."""
    objective = system.objective().over(100)
    g = generator(1)
    x, y = torch.rand(50, 2, generator=g), torch.randint(LABELS, (50,), generator=g)
    feed = Feed(objective, x, y if objective.labels else None, latent=2, batch_size=BATCH, seed=3)
    feed.ranks = ranks
    nets = linear_nets(objective, toy=toy_of(system))
    adam = Adam(lr=1e-2, eps=1e-5)
    chosen = Settings(model=adam, critics=adam, **settings)
    trainer = Trainer(objective, nets, feed, chosen, critic_steps=2)
    trainer.changing = []  # no toy changes with time; one has a weight named `at`
    logs = [trainer.advance(norms=True) for _ in range(STEPS)]
    return flat(trainer.state), logs[-1] | trainer.collect()


def together(system, count, **settings):
    """What each of several ranks has in the end."""
    table, barrier = [[] for _ in range(count)], threading.Barrier(count)

    def one(rank):
        try:
            return trained(system, Threads(rank, table, barrier), **settings)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def assert_alike(system, count, **settings):
    weights, logs = trained(system, **settings)
    for own_weights, own_logs in together(system, count, **settings):
        assert_same(own_weights, weights, rtol=1e-8, atol=1e-9)
        assert own_logs.keys() == logs.keys()
        for name, value in logs.items():
            assert float(own_logs[name]) == pytest.approx(float(value), rel=1e-7, abs=1e-9), name


@pytest.mark.parametrize("name", sorted(SYSTEMS.keys() - NEED_WHOLE_BATCHES - SEE_THEIR_SHARE))
def test_two_ranks_are_one(name):
    assert_alike(find(name), 2)


@pytest.mark.parametrize("name", ["vae", "iwae", "wgan-gp", "vgh++"])
def test_three_ranks_are_one_with_clipped_gradients_and_an_average(name):
    assert_alike(find(name), 3, clip_gradient=0.1, ema=0.9)


@pytest.mark.parametrize("name", ["gan", "wgan-gp"])
def test_ranks_that_move_all_at_once(name):
    assert_alike(find(name), 2, simultaneous=True)


@pytest.mark.parametrize("name", sorted(SEE_THEIR_SHARE))
def test_what_looks_at_its_share_stays_the_same_on_all_ranks(name):
    first, second = together(find(name), 2)
    assert_same(first[0], second[0], rtol=0, atol=0)
    alone, _ = trained(find(name))
    assert any(not torch.equal(alone[k], v) for k, v in first[0].items())


def test_without_the_mean_ranks_would_part():
    class Deaf(Ranks):
        def mean(self, tensors):
            return list(tensors)

    (first, _), (second, _) = (trained(find("vae"), Deaf(rank, 2)) for rank in range(2))
    assert any(not torch.equal(first[k], second[k]) for k in first)


def test_shares_make_up_the_batch():
    objective = find("iwae").objective()
    x = torch.arange(24.0).reshape(12, 2)

    def batches(ranks=None):
        feed = Feed(objective, x, latent=3, batch_size=6, prepare=lambda x, u: x + u, prepare_noise=True)
        feed.ranks = ranks
        return [feed.next() for _ in range(3)]

    shares = zip(*(batches(Ranks(rank, 3)) for rank in range(3)), strict=True)
    for whole, parts in zip(batches(), shares, strict=True):
        assert torch.equal(torch.cat([part.x for part in parts]), whole.x)
        codes = [part.noise["z_code"].unflatten(0, (objective.samples, 2)) for part in parts]
        assert torch.equal(torch.cat(codes, 1).flatten(0, 1), whole.noise["z_code"])


def test_one_number_for_all_is_shared_by_all():
    feed = Feed(find("bgan").objective(), torch.rand(8, 2), latent=2, batch_size=8)
    feed.ranks = Ranks(1, 2)
    noise = feed.next().noise
    assert sorted(e.dim() for k, e in noise.items() if k != "z_prior") == [0, 1]
