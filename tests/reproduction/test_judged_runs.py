"""What the comparisons of systems measure of a run: which split, side and seed, with a run that is made up."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Independent, Normal

from distmatch.metrics import feature_net
from distmatch.metrics.estimate import Estimate
from distmatch.reproduction.framework import measure as comparing
from distmatch.reproduction.framework.measure import Judged, Look, digits_net, judged_run

LOOK = Look(samples=6, critic=(2, 2, 1e-3), batches=(2, 3), codes=1200, seed=4)


class Run:
    """1,000 training images of 0.2, 20 test images of 0.5 + i/100, samples that say their seed; q(z|x) = N(x, ½²)."""

    latent = 2

    def __init__(self, prior="normal", posterior="gaussian"):
        network = SimpleNamespace(prior=prior, posterior=posterior)
        self.assembly = SimpleNamespace(config=SimpleNamespace(network=network))
        self.nets = {"encoder": None, "decoder": None}

    def sample(self, n, seed=0):
        return torch.full((n, 1, 28, 28), 0.1 * seed)

    def prepared(self, split, limit=None):
        value = torch.full((1000,), 0.2) if split == "train" else 0.5 + torch.arange(20) / 100
        return value[:limit, None, None, None].expand(-1, 1, 28, 28).contiguous()

    def encode(self, x, y=None):
        return Independent(Normal(x.flatten(1)[:, :2], 0.5), 1)

    def decoded(self, z):
        return z.mean(1)[:, None, None, None].expand(-1, 1, 28, 28)


@pytest.fixture
def judged():
    return Judged(Run(), LOOK)


def brightness(images):
    return images[:, 0, 0, 0].double()


def test_samples_are_of_the_looks_seed_and_real_images_of_the_test_split(judged):
    assert brightness(judged.samples).tolist() == pytest.approx([0.4] * 6)
    assert brightness(judged.real).tolist() == pytest.approx([0.5 + i / 100 for i in range(12)])


def test_a_fresh_critic_is_judged_on_the_half_that_it_was_not_trained_on(judged, monkeypatch):
    given, nets = [], []

    def stand_in(*sets, **more):
        given.extend(sets)
        nets.append(more["critic"][0].weight)
        return SimpleNamespace(test=Estimate(7.0, 0.1, 9), validation=Estimate(1.0, 0.1, 9), train=None)

    monkeypatch.setattr(comparing, "independent_critic", stand_in)
    assert judged.critic() == 7
    samples, train, validation, test = (brightness(x) for x in given)
    for seed in (4, 5):
        Judged(Run(), replace(LOOK, seed=seed)).critic()
    assert torch.equal(nets[0], nets[1])  # the fresh critic is made with the look's seed
    assert not torch.equal(nets[0], nets[2])
    assert samples.unique().tolist() == pytest.approx([0.4])
    assert train.unique().tolist() == pytest.approx([0.2])
    assert validation.tolist() == pytest.approx([0.5 + i / 100 for i in range(6)])
    assert test.tolist() == pytest.approx([0.56 + i / 100 for i in range(6)])


def test_scores_are_of_samples_against_data(judged, monkeypatch):
    monkeypatch.setattr(comparing, "digits_net", lambda: None)
    for name in ("image_features", "image_logits"):
        monkeypatch.setattr(comparing, name, lambda net, images: brightness(images))
    for name in ("frechet_distance", "inception_score", "ms_ssim_diversity"):
        monkeypatch.setattr(comparing, name, lambda *given, **more: SimpleNamespace(value=given))
    real, made = judged.frechet()
    assert (len(real), float(real.min()), float(real.max())) == (6, 0.5, pytest.approx(0.55))
    assert made.unique().tolist() == pytest.approx([0.4])
    assert judged.inception()[0].unique().tolist() == pytest.approx([0.4])
    assert brightness(judged.diversity()[0]).unique().tolist() == pytest.approx([0.4])
    assert brightness(judged.diversity_data()[0]).max() == pytest.approx(0.61)


def test_codes_are_of_training_data(judged):
    loc, scale = judged._gaussians()
    assert loc.shape == scale.shape == (1000, 2)
    assert loc.unique().tolist() == pytest.approx([0.2])
    assert scale.unique().tolist() == [0.5]


def test_reconstructions_are_of_held_out_data_at_a_draw_of_the_code(judged):
    """x̂ is the mean of two coordinates of z, so that E‖x̂ - x‖²/dim = ½²/2."""
    errors = [Judged(Run(), Look(20, LOOK.critic, LOOK.batches, 10, seed=s)).mse() for s in range(40)]
    assert sum(errors) / 40 == pytest.approx(0.125, rel=0.2)


def test_what_is_compared_with_a_standard_prior_is_left_out_under_another():
    for run in (Run(prior="sphere"), Run(prior="mixture")):
        judged = Judged(run, LOOK)
        assert judged.kl() is judged.kl_density() is judged.mse() is None
    assert Judged(Run(posterior="noise"), LOOK).kl() is None


def test_a_judged_run_has_its_seed_and_says_whether_it_diverged(monkeypatch, tmp_path):
    monkeypatch.setattr(comparing.RunFolder, "open", lambda path: None)
    monkeypatch.setattr(comparing, "load_trained", lambda folder: (Run(), []))
    monkeypatch.setitem(comparing.MEASURES, "seed", lambda judged: float(judged.look.seed))
    assert judged_run(tmp_path, ["seed"], "smoke", 3).values == {"diverged": 0, "seed": 3}
    assert judged_run(None, ["seed"], "smoke").values == {"diverged": 1}
    broken = SimpleNamespace(sample=lambda n, seed: torch.full((n, 1, 28, 28), float("nan")))
    monkeypatch.setattr(comparing, "load_trained", lambda folder: (broken, []))
    assert judged_run(tmp_path, ["seed"], "smoke").values == {"diverged": 1}


def test_each_measure_is_what_its_name_says():
    assert {name: getattr(Judged, name) for name in comparing.MEASURES} == dict(comparing.MEASURES)


def test_the_net_of_digits_sees_no_colour():
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    colour = x * torch.tensor([1.0, 0.3, 0.0])[:, None, None]
    seen, grey = digits_net(), feature_net("mnist")
    torch.testing.assert_close(seen.features(colour), grey.features(x))
    torch.testing.assert_close(seen.logits(colour), grey.logits(x))
