import numpy as np
import pytest
import torch

from distmatch.errors import BadInput
from distmatch.systems import find, vae
from distmatch.training import Feed

X = torch.arange(23.0)[:, None]


def feed(seed=0, x=X, objective=None, **options):
    return Feed(objective or vae(), x, latent=2, batch_size=5, seed=seed, **options)


def order(made, batches):
    return [made.next().x.flatten().tolist() for _ in range(batches)]


def test_every_example_once_in_an_epoch():
    made = feed()
    for epoch in range(3):
        seen = [i for batch in order(made, made.batches_per_epoch) for i in batch]
        assert len(seen) == len(set(seen)) == 20
        assert made.epoch == epoch + 1


def test_the_order_depends_on_seed_and_epoch_alone():
    first, second = feed(), feed(prepare=lambda x, u: x, prepare_noise=True)
    second.generator.manual_seed(99)
    assert order(first, 9) == order(second, 9)
    assert order(feed(seed=0), 4) != order(feed(seed=1), 4)
    made = feed()
    assert order(made, 4) != order(made, 4)


def test_the_order_can_be_taken_up_anywhere():
    whole, later = feed(), feed()
    order(whole, 6)
    later.taken = 6
    assert order(whole, 5) == order(later, 5)


def test_noise_does_not_depend_on_the_order():
    first, second = feed(), feed()
    second.taken = 17
    for _ in range(3):
        a, b = first.next(), second.next()
        assert a.noise.keys() == b.noise.keys() == {"z_code"}
        assert torch.equal(a.noise["z_code"], b.noise["z_code"])
    assert not torch.equal(feed(seed=1).next().noise["z_code"], feed(seed=2).next().noise["z_code"])


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_noise_is_not_what_a_plain_seed_gives(seed):
    """Nets and toy data are made with it; the prior's draws must not repeat theirs."""
    generator = torch.Generator().manual_seed(seed)
    plain = {round(v, 6) for v in torch.randn(4000, generator=generator).tolist()}
    made = feed(seed=seed)
    drawn = torch.cat([made.next().noise["z_code"].flatten() for _ in range(100)]).tolist()
    assert sum(round(v, 6) in plain for v in drawn) < 20


def test_a_map_of_a_file_is_read_batch_by_batch(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 1, 4, 4)).astype(np.uint8))
    mapped = torch.from_numpy(np.load(path, mmap_mode="c"))
    whole = torch.from_numpy(np.load(path))
    lazy, eager = feed(x=mapped), feed(x=whole)
    assert lazy.x.data_ptr() == mapped.data_ptr()
    for _ in range(10):
        batch = lazy.next()
        assert batch.x.shape == (5, 1, 4, 4)
        assert batch.x.max() <= 1
        assert torch.equal(batch.x, eager.next().x)


def test_labels_follow_their_examples():
    y = torch.arange(23)
    made = Feed(find("cvae").objective(), X, y, latent=2, batch_size=5)
    for _ in range(6):
        batch = made.next()
        assert torch.equal(batch.x.flatten().long(), batch.y)


def test_bad_input():
    with pytest.raises(BadInput, match="give at least 1"):
        Feed(vae(), X, latent=2, batch_size=0)
    with pytest.raises(BadInput, match="23 examples, fewer than one batch of 64; give a smaller"):
        Feed(vae(), X, latent=2)
    with pytest.raises(BadInput, match="no labels"):
        Feed(find("cvae").objective(), X, latent=2, batch_size=5)
