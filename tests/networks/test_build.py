"""Parameter counts against the published tables, initialisation, and what is refused."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch

from distmatch.batch_statistics import gathers
from distmatch.distributions.functions import kl_divergence_to_standard_normal
from distmatch.distributions.points import Delta
from distmatch.errors import BadInput
from distmatch.networks import (
    NETWORKS,
    DCGANOptions,
    MLPOptions,
    ProgressiveOptions,
    Shapes,
    append_labels,
    build,
    mixes_batch,
    refuses_penalties,
    resolve_options,
)
from distmatch.networks.families import dcgan
from distmatch.networks.posteriors import gaussian_posterior


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("side", "decoder", "critic"), [(64, 3_576_704, 2_765_568), (32, 1_068_928, 663_296)]
)
def test_dcgan_has_the_published_counts(side, decoder, critic):
    shapes = Shapes((3, side, side), 100)
    assert count(build("dcgan", "decoder", shapes, likelihood="implicit")) == decoder
    assert count(build("dcgan", "critic", shapes)) == critic


def test_mlp_vae_is_784_400_400_20():
    shapes = Shapes((1, 28, 28), 20)
    assert count(build("mlp", "encoder", shapes)) == 784 * 400 + 400 + 400 * 400 + 400 + 400 * 40 + 40
    assert count(build("mlp", "decoder", shapes)) == 20 * 400 + 400 + 400 * 400 + 400 + 400 * 784 + 784
    assert (
        count(build("mlp", "critic", shapes, spaces=("z",))) == 20 * 1000 + 2 * 1000 * 1000 + 3 * 1000 + 1001
    )


def test_dcgan_initialisation():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build("dcgan", "decoder", Shapes((1, 28, 28), 50), likelihood="implicit")
    convolution = next(m for m in net.modules() if isinstance(m, torch.nn.ConvTranspose2d))
    assert convolution.weight.std().item() == pytest.approx(0.02, rel=0.02)
    norm = next(m for m in net.modules() if type(m).__name__ == "BatchNorm")
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.01)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.3)


def test_a_fresh_gaussian_encoder_is_near_the_prior():
    torch.testing.assert_close(gaussian_posterior(torch.zeros(1, 2)).base_dist.scale, torch.ones(1, 1))
    q = build("dcgan", "encoder", Shapes((1, 8, 8), 5))(torch.rand(16, 1, 8, 8))
    assert q.base_dist.scale.log().abs().max() < 3
    extreme = gaussian_posterior(torch.tensor([[0.0, 0.0, -1e4, 1e4]]))
    assert kl_divergence_to_standard_normal(extreme).isfinite().all()
    q = build("mlp", "encoder", Shapes((1, 8, 8), 5), posterior="deterministic")(torch.rand(16, 1, 8, 8))
    assert isinstance(q, Delta)


NORMED = ["mlp", "dcgan"]
GENERATORS = [*NORMED, "progressive"]


@pytest.mark.parametrize("name", NORMED)
def test_batch_norm_goes_where_the_options_say(name):
    shapes = Shapes((1, 8, 8), 2)
    for on in (False, True):
        for other in (None, False, True):
            options = {"width": 4, "code_width": 4, "batch_norm": on, "critic_batch_norm": other}
            nets = {r: build(name, r, shapes, options=options) for r in ("encoder", "decoder", "critic")}
            assert gathers(nets["encoder"]) == gathers(nets["decoder"]) == on
            assert gathers(nets["critic"]) == (on if other is None else other)
            assert not gathers(build(name, "critic", shapes, spaces=("z",), options=options))
            assert mixes_batch(nets["critic"]) == refuses_penalties(nets["critic"]) == gathers(nets["critic"])
    net = build(name, "critic", shapes, options={"width": 4, "batch_norm": True, "spectral_norm": True})
    assert not gathers(net)


@pytest.mark.parametrize("option", [{"minibatch_kernels": 3}, {"symmetric": True}])
@pytest.mark.parametrize("name", NORMED)
def test_critics_that_look_across_the_batch_say_so(name, option):
    options = {"width": 4, "batch_norm": False, "code_width": 4} | option
    seen, code = (build(name, "critic", Shapes((1, 8, 8), 2), spaces=s, options=options) for s in ("xz", "z"))
    assert mixes_batch(seen)
    assert refuses_penalties(seen)
    assert not gathers(seen)
    assert mixes_batch(code) == ("symmetric" in option)


def test_a_growing_critic_bears_penalties():
    shapes, small = Shapes((1, 8, 8), 2), {"width": 2, "most": 4}
    with_it, without = (
        build("progressive", "critic", shapes, options=small | {"minibatch_stddev": on})
        for on in (True, False)
    )
    assert mixes_batch(with_it)
    assert not mixes_batch(without)
    assert not refuses_penalties(with_it)


def test_maxout_critic_of_the_ring_has_the_published_counts():
    options = MLPOptions(critic_width=200, critic_depth=3, critic_maxout=5)
    net = build("mlp", "critic", Shapes((2,), 2, bounded=False), options=options)
    assert count(net) == 3 * 1000 + 2 * 201 * 1000 + 201


def test_a_critic_without_new_options_keeps_its_names():
    shapes, options = Shapes((1, 8, 8), 2), {"width": 2}
    flat, image = (build(name, "critic", shapes, options=options) for name in ("mlp", "dcgan"))
    assert {k for k, _ in flat.named_parameters()} == {
        f"body.{i}.{k}" for i in (0, 2, 4) for k in ("weight", "bias")
    }
    assert [k for k, _ in image.named_parameters() if k.startswith("head")] == ["head.0.weight"]


def test_initial_std():
    net = build(
        "mlp", "decoder", Shapes((2,), 2, bounded=False), likelihood="implicit", options={"initial_std": 0.02}
    )
    hidden = next(m for m in net.modules() if isinstance(m, torch.nn.Linear) and m.in_features == 400)
    assert hidden.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not hidden.bias.any()


@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize("packed", [2, 3])
@pytest.mark.parametrize("name", GENERATORS)
def test_packed_critics(name, packed, labels):
    """One score for several data side by side, each of which it looks at, and labels count once."""
    shapes, small = Shapes((2, 8, 8), 2, labels), {"width": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, one = (build(name, "critic", shapes, spaces=("x",) * n, options=small) for n in (packed, 1))
    first = next(p for k, p in net.named_parameters() if k.endswith("weight"))
    assert first.shape[1] - next(p for k, p in one.named_parameters() if k.endswith("weight")).shape[1] == (
        (packed - 1) * (128 if name == "mlp" else 2)
    )
    xs = [torch.rand(4, 2, 8, 8, requires_grad=True) for _ in range(packed)]
    scores = net(*xs, **({"y": torch.tensor([0, 1, 2, 0])} if labels else {}))
    assert scores.shape == (4,)
    grads = torch.autograd.grad(scores.square().sum(), xs)
    assert all(g.any() for g in grads)


@pytest.mark.parametrize("spaces", [("x",), ("x", "z"), ("z",)])
@pytest.mark.parametrize("name", GENERATORS)
def test_hidden_features_are_what_the_head_is_given(name, spaces):
    net = build(name, "critic", Shapes((1, 8, 8), 2), spaces=spaces, options={"width": 4, "code_width": 4})
    inputs = [torch.rand(4, 1, 8, 8) if s == "x" else torch.rand(4, 2) for s in spaces]
    head = net.body[-1] if hasattr(net, "body") else net.head
    h = net(*inputs, hidden=True)
    assert h.ndim == 2
    torch.testing.assert_close(head(h).squeeze(-1), net(*inputs))


def test_scores_and_laws_are_per_sample_without_batch_norm():
    for name in NORMED:
        net = build(name, "critic", Shapes((1, 8, 8), 2), options={"batch_norm": False, "width": 4})
        x = torch.rand(4, 1, 8, 8)
        torch.testing.assert_close(net(x)[:2], net(x[:2]))


def test_labels_are_planes_or_features():
    y = torch.tensor([2, 0])
    planes = append_labels(torch.zeros(2, 1, 3, 3), y, 3)
    assert planes.shape == (2, 4, 3, 3)
    assert planes[:, 1:].amin((2, 3)).equal(torch.nn.functional.one_hot(y, 3).float())
    assert append_labels(torch.zeros(2, 5), y, 3).shape == (2, 8)


TOY, IMAGE = Shapes((2,), 2, bounded=False), Shapes((1, 28, 28), 2)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: build("mpl", "encoder", IMAGE), "unknown network 'mpl'; did you mean 'mlp'"),
        (lambda: build("mlp", "generator", IMAGE), "unknown role 'generator'"),
        (lambda: build("mlp", "encoder", IMAGE, posterior="normal"), "unknown posterior"),
        (lambda: build("mlp", "decoder", IMAGE, likelihood="bernouli"), "did you mean 'bernoulli'"),
        (lambda: build("mlp", "critic", IMAGE, spaces=("x", "y")), "each 'x' or 'z'"),
        (lambda: build("mlp", "critic", IMAGE, spaces=()), "each 'x' or 'z'"),
        (lambda: build("mlp", "encoder", IMAGE, options={"widht": 3}), "did you mean 'width'"),
        (
            lambda: build("mlp", "encoder", IMAGE, options=DCGANOptions()),
            "takes MLPOptions, not DCGANOptions",
        ),
        (lambda: build("dcgan", "encoder", TOY), "8×8, 28×28, 32×32, 64×64; use mlp"),
        (lambda: build("dcgan", "critic", Shapes((1, 30, 30), 2)), "8×8, 28×28, 32×32, 64×64; use mlp"),
        (lambda: build("dcgan", "decoder", Shapes((1, 28, 32), 2)), "8×8, 28×28, 32×32, 64×64; use mlp"),
        (lambda: build("mlp", "decoder", TOY, likelihood="bernoulli"), r"needs data in \[0, 1\]"),
        (lambda: build("mlp", "decoder", TOY, likelihood="categorical"), r"needs data in \[0, 1\]"),
        (lambda: MLPOptions(width=0), "width is 0"),
        (lambda: MLPOptions(depth=2.5), "depth is 2.5"),
        (lambda: MLPOptions(activation="gelu"), "unknown activation 'gelu'"),
        (lambda: DCGANOptions(code_depth=-1), "code_depth is -1"),
        (lambda: MLPOptions(critic_maxout=1), "give 2 pieces or more"),
        (
            lambda: MLPOptions(minibatch_kernels=-1),
            "minibatch_kernels is -1; give a whole number of at least 0",
        ),
        (lambda: MLPOptions(initial_std=0.0), "initial_std is 0.0"),
        (lambda: MLPOptions(spectral_norm=True, critic_batch_norm=True), "would undo the spectral norm"),
        (lambda: DCGANOptions(spectral_norm=True, critic_batch_norm=True), "would undo the spectral norm"),
        (lambda: ProgressiveOptions(stable=0), "stable is 0"),
        (lambda: build("progressive", "critic", TOY), "4 or 7 times a power of two; use dcgan or mlp"),
        (lambda: build("progressive", "decoder", Shapes((1, 24, 24), 2)), "4 or 7 times a power of two"),
        (lambda: build("progressive", "decoder", Shapes((1, 28, 32), 2)), "4 or 7 times a power of two"),
        (lambda: build("progressive", "lens", IMAGE), "progressive has no lens; .*: mlp, dcgan"),
        (lambda: build("dcgan", "lens", TOY), "lens is for images"),
        (lambda: Shapes((2, 2), 2), r"must be \(D,\) or \(C, H, W\)"),
        (lambda: Shapes((0,), 2), "sizes above 0"),
        (lambda: Shapes((2,), 0), "latent is 0"),
        (lambda: build("mlp", "critic", TOY)(torch.zeros(1, 2), torch.zeros(1, 2)), "was given 2 inputs"),
    ],
)
def test_refusals(act, sentence):
    with pytest.raises(BadInput, match=sentence):
        act()


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("mlp", {"width": "wide"}, "network.width is 'wide'; give a whole number"),
        ("mlp", {"width": 2.5}, "network.width is 2.5; give a whole number"),
        ("mlp", {"depth": True}, "network.depth is true; give a whole number"),
        ("mlp", {"width": None}, "network.width is null; give a whole number"),
        ("mlp", {"critic_width": [8]}, "network.critic_width is [8]; give a whole number, or null"),
        ("mlp", {"batch_norm": "yes"}, "network.batch_norm is 'yes'; give true or false"),
        ("mlp", {"spectral_norm": 3}, "network.spectral_norm is 3; give true or false"),
        ("dcgan", {"critic_batch_norm": 1}, "network.critic_batch_norm is 1; give true or false, or null"),
        ("mlp", {"activation": 3}, "network.activation is 3; give a name"),
        ("mlp", {"initial_std": "x"}, "network.initial_std is 'x'; give a finite number, or null"),
        ("mlp", {"initial_std": math.inf}, "network.initial_std is inf; give a finite number, or null"),
        ("real-nvp", {"alpha": "x"}, "network.alpha is 'x'; give a finite number"),
        ("real-nvp", {"alpha": False}, "network.alpha is false; give a finite number"),
        ("real-nvp", {"act_norm": 0}, "network.act_norm is 0; give true or false"),
        ("pixelcnn", {"conditioning": 3}, "network.conditioning is 3; give a name"),
        ("progressive", {"minibatch_stddev": "no"}, "network.minibatch_stddev is 'no'; give true or false"),
    ],
)
def test_an_option_of_the_wrong_kind_is_refused(name, given, sentence):
    with pytest.raises(BadInput) as error:
        resolve_options(name, given)
    assert str(error.value) == sentence


@pytest.mark.parametrize("name", NETWORKS)
def test_every_default_is_of_its_options_kind(name):
    """And so is what a configuration holds, where a whole number may stand for any."""
    default = NETWORKS[name].options()
    assert resolve_options(name, asdict(default)) == default
    assert resolve_options("mlp", {"initial_std": 1}).initial_std == 1


def test_dcgan_fits_square_images_of_its_sizes():
    fitting = [x for x in ((1, 28, 28), (3, 64, 64), (1, 30, 30), (1, 28, 32), (28,)) if dcgan.fits(x)]
    assert fitting == [(1, 28, 28), (3, 64, 64)]
