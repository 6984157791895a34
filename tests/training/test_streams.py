"""Of a feed: the order of the data, the noise and the labels each follow what they should, and nothing else."""

import pytest
import torch

from distmatch.objectives.variables import Z_CODE, Z_PRIOR
from distmatch.systems import gan, iwae, vae
from distmatch.training import Feed

X = torch.arange(40.0)[:, None].expand(40, 2).contiguous()
Y = torch.arange(40)


def feed(objective=None, seed=0, **more):
    return Feed(objective or gan(), X, **{"latent": 3, "batch_size": 8, "seed": seed, **more})


def orders(feed, epochs=2):
    return [torch.cat([feed.places() for _ in range(feed.batches_per_epoch)]).tolist() for _ in range(epochs)]


def test_the_order_is_of_the_seed_and_the_epoch_alone():
    """Neither the system nor how much noise was drawn changes it."""
    first, second = orders(feed())
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second
    assert orders(feed(seed=1))[0] != first
    other = feed(vae(), latent=5)
    drawn = [other.next().x[:, 0].int().tolist() for _ in range(10)]
    assert [i for batch in drawn for i in batch] == [*first, *second]


def test_the_noise_is_of_the_seed_and_not_the_order():
    first, again, other = (feed(seed=s).next().noise[Z_PRIOR.name] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    drawn = feed()
    noise = [drawn.next().noise[Z_PRIOR.name] for _ in range(10)]
    assert len(torch.cat(noise).unique(dim=0)) == 80  # new in every batch and epoch


def test_every_draw_of_a_code_has_noise_of_its_own():
    noise = feed(iwae(samples=5)).next().noise[Z_CODE.name]
    assert noise.shape == (40, 3)
    assert len(noise.unique(dim=0)) == 40


def test_labels_go_with_their_rows():
    given = feed(vae().with_labels(), y=Y)
    for _ in range(7):
        batch = given.next()
        assert torch.equal(batch.y.float(), batch.x[:, 0])


@pytest.mark.parametrize("prior", ["sphere", "uniform"])
def test_draws_of_the_prior_have_its_law(prior):
    z = torch.cat([made.next().noise[Z_PRIOR.name] for made in [feed(prior=prior)] for _ in range(20)])
    if prior == "sphere":
        torch.testing.assert_close(z.norm(dim=1), torch.full((len(z),), 3**0.5))
    else:
        assert z.abs().max() <= 1
        assert abs(float(z.square().mean()) - 1 / 3) < 0.05


def test_a_feed_beside_begins_anew_and_leaves_the_run_alone():
    run, alone = feed(), feed()
    run.next(), alone.next()
    other = run.beside(5)
    assert other.epoch == 0
    seen = torch.cat([other.next().x[:, 0] for _ in range(5)])
    assert sorted(seen.tolist()) == list(range(40))
    assert seen.int().tolist() == orders(feed(seed=5))[0]
    a, b = run.next(), alone.next()
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.noise[Z_PRIOR.name], b.noise[Z_PRIOR.name])
