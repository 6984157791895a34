import numpy as np
import pytest
import torch
from scipy.stats import kstest

from distmatch.errors import BadInput
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import dragan
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.likelihood import IWAE
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X_NEAR, Z_CODE, Z_PRIOR, Z_REC
from distmatch.objectives.variables import X as VISIBLE
from distmatch.systems import ali, find, gan, vae, wgan_gp
from distmatch.training import Feed
from distmatch.training.batches import FIXED_PRIORS

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


def drawn(objective, size=2000, latent=3, **options):
    made = Feed(objective, torch.zeros(size, 2), latent=latent, batch_size=size, **options)
    return made.next().noise


def test_the_prior_is_standard_normal():
    z = drawn(gan())["z_prior"]
    assert z.shape == (2000, 3)
    assert kstest(z.flatten(), "norm").pvalue > 1e-3


def test_a_prior_on_the_sphere():
    z = drawn(gan(), prior="sphere")["z_prior"]
    radius = 3**0.5
    torch.testing.assert_close(z.norm(dim=1), torch.full((2000,), radius))
    assert kstest(z[:, 0] / radius, lambda u: (u + 1) / 2).pvalue > 1e-3, "a coordinate in space is uniform"
    assert z.mean(0).norm() < 0.1


def test_a_uniform_prior():
    z = drawn(gan(), prior="uniform")["z_prior"]
    assert kstest(z.flatten(), lambda u: (u + 1) / 2).pvalue > 1e-3
    assert (z.abs() <= 1).all()


def test_the_prior_is_of_z_alone():
    """The noise of codes and of the step to a neighbour stays normal."""
    objective = ali() + Distance(X_NEAR, X_GEN) + Distance(Z_CODE, Z_REC)
    plain, sphere = drawn(objective), drawn(objective, prior="sphere")
    assert set(plain) == {"z_prior", "z_near", "z_code", "z_rec"}
    for name, noise in plain.items():
        assert torch.equal(noise, sphere[name]) == (name != "z_prior")


@pytest.mark.parametrize("prior", FIXED_PRIORS)
def test_a_prior_is_a_function_of_normal_noise_row_by_row(prior):
    e = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    z = FIXED_PRIORS[prior](e)
    assert z.shape == e.shape
    torch.testing.assert_close(FIXED_PRIORS[prior](e[2:3]), z[2:3])


def test_an_implicit_encoder_has_noise_of_its_own_size():
    noise = drawn(ali() + Distance(Z_CODE, Z_REC) + Distance(X_NEAR, X_GEN), size=10, code_noise=7)
    assert {n: tuple(u.shape) for n, u in noise.items()} == {
        "z_prior": (10, 3), "z_near": (10, 3), "z_code": (10, 7), "z_rec": (10, 7)
    }  # fmt: skip


def test_several_codes_for_each_datum():
    noise = drawn(Objective(IWAE(4)), size=10)
    assert {n: tuple(u.shape) for n, u in noise.items()} == {"z_code": (40, 3)}
    assert drawn(Objective(IWAE(4)), size=10, code_noise=7)["z_code"].shape == (40, 7)


def test_terms_have_the_noise_that_they_name():
    term = Match((X_GEN, Z_PRIOR), (VISIBLE, Z_CODE), penalty=dragan(), instance_noise=0.1)
    noise = drawn(Objective(term), size=10)
    shapes = {n: tuple(u.shape) for n, u in noise.items() if "/" in n}
    instance, penalty = f"instance/joint/{term.name}", f"penalty/{term.name}"
    assert shapes == {
        f"{instance}/0": (10, 2),
        f"{instance}/1": (10, 3),
        f"{instance}/2": (10, 2),
        f"{instance}/3": (10, 3),
        f"{penalty}/0": (10, 2),
        f"{penalty}/1": (10, 3),
    }
    assert (noise[f"{penalty}/0"] >= 0).all()
    assert drawn(wgan_gp(), size=10)["penalty/match(x_gen, x)"].shape == (10,)


def test_dequantisation_is_of_the_datas_shape():
    u = drawn(vae(), size=10, dequantise=True)["dequantise"]
    assert u.shape == (10, 2)
    assert ((u >= 0) & (u < 1)).all()


def test_bad_input():
    with pytest.raises(BadInput, match="give at least 1"):
        Feed(vae(), X, latent=2, batch_size=0)
    with pytest.raises(BadInput, match="23 examples, fewer than one batch of 64; give a smaller"):
        Feed(vae(), X, latent=2)
    with pytest.raises(BadInput, match="no labels"):
        Feed(find("cvae").objective(), X, latent=2, batch_size=5)
    with pytest.raises(BadInput, match="unknown prior 'spere'; did you mean 'sphere'"):
        Feed(vae(), X, latent=2, batch_size=5, prior="spere")
    with pytest.raises(BadInput, match="a batch of 5 holds no pack of 6"):
        Feed(Objective(Match(X_GEN, VISIBLE, pack=6)), X, latent=2, batch_size=5)
    assert Feed(Objective(Match(X_GEN, VISIBLE, pack=5)), X, latent=2, batch_size=5).next()
