"""The order of the pixels, exact probabilities, ancestral draws against teacher forcing, and what is refused."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Laplace, Normal
from torch.func import functional_call, grad, vmap

from distmatch.distributions.dequantised import QuantizedNormal, log_likelihood
from distmatch.distributions.inverse_cdf import inverse_cdf
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.distributions.pixels import PixelCategorical
from distmatch.distributions.points import Delta
from distmatch.errors import BadInput
from distmatch.networks.critic import ImageCritic
from distmatch.networks.families import pixelcnn
from distmatch.networks.families.dcgan import DCGANOptions
from distmatch.networks.families.mlp import MLPOptions
from distmatch.networks.families.pixelcnn import PixelCNNOptions, PixelDecoder
from distmatch.networks.layers.masked import colour_groups, row_mask
from distmatch.networks.posteriors import POSTERIORS
from distmatch.networks.shapes import Shapes

LATENT, LABELS = 3, 4
EXPLICIT = [name for name in LIKELIHOODS if name != "implicit"]
MODES = [("bias", True), ("spatial", True), ("bias", False)]
every_mode = pytest.mark.parametrize(("conditioning", "uses_code"), MODES)


def net(
    x: tuple[int, ...] = (1, 4, 5),
    likelihood: str = "bernoulli",
    labels: int = 0,
    bounded: bool = True,
    strength: float = 1.0,
    **options: object,
) -> PixelDecoder:
    """A small decoder in float64, its weights from a fixed seed, times `strength`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shapes = Shapes(x, LATENT, labels, bounded)
        chosen = PixelCNNOptions(**{"width": 6, "layers": 3, "kernel": 3, **options})
        made = pixelcnn.decoder(shapes, LIKELIHOODS[likelihood], chosen).double()
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(strength)
    return made


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def influence(decoder: PixelDecoder, x: tuple[int, ...]) -> Tensor:
    """|d raw / d x|, `(outputs, inputs)`: both in the order in which a PixelCNN draws; summed over channels."""
    channels = decoder.likelihood.channels
    code = random(1, LATENT * decoder.uses_code + decoder.shapes.num_classes)

    def raw(image: Tensor) -> Tensor:
        parts = decoder.body(image, code).unflatten(1, (x[0], channels))
        mixed = (parts * random(1, 1, channels, 1, 1)).sum(2)
        return mixed.permute(0, 2, 3, 1).flatten()

    found = torch.autograd.functional.jacobian(raw, random(1, *x))
    return found.permute(0, 1, 3, 4, 2).flatten(1).abs()


@every_mode
@pytest.mark.parametrize("likelihood", ["bernoulli", "quantized-normal-per-pixel", "categorical"])
@pytest.mark.parametrize(("colours", "kernel"), [(1, 3), (1, 5), (3, 3), (2, 5)])
def test_a_pixel_sees_every_pixel_before_it_and_none_after(
    colours, kernel, likelihood, conditioning, uses_code
):
    x = (colours, 4, 5)
    options = {"conditioning": conditioning, "uses_code": uses_code}
    made = net(x, likelihood, width=12 * colours, layers=5, kernel=kernel, **options)
    found = influence(made, x)
    before = torch.ones_like(found).tril(-1).bool()
    assert (found[~before] == 0).all()
    assert (found[before] > 0).all()


@pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (2, 3), (1, 5), (3, 3)])
def test_the_receptive_field_is_the_one_that_the_options_promise(layers, kernel):
    reach = PixelCNNOptions(layers=layers, kernel=kernel).reach
    assert reach == layers * (kernel // 2)
    x, row, column = (1, 6, 9), 4, 4
    seen = influence(net(x, width=12, layers=layers, kernel=kernel), x)[row * 9 + column].reshape(6, 9) > 0
    expected = torch.zeros(6, 9, dtype=torch.bool)
    expected[max(0, row - reach) : row, max(0, column - reach) : column + reach + 1] = True
    expected[row, max(0, column - reach) : column] = True
    assert seen.equal(expected)


def test_colours_are_masked_in_order():
    assert colour_groups(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    own, earlier = (
        row_mask(colour_groups(3, 3), colour_groups(3, 3), 1, own)[:, :, 0] for own in (True, False)
    )
    assert own[..., 0].equal(torch.ones(3, 3))
    assert earlier[..., 0].equal(torch.ones(3, 3))
    assert own[..., 1].equal(torch.ones(3, 3).tril())
    assert earlier[..., 1].equal(torch.ones(3, 3).tril(-1))


def test_one_layer_is_its_equation():
    """v̂, then h = out(gate(row + W v̂)), by hand at each pixel of a 2×2 image, kernel 3, one map."""
    made = net((1, 2, 2), width=1, layers=1, uses_code=False)
    layer, x = made.body.layers[0], random(1, 1, 2, 2)
    p = dict(layer.named_parameters())
    image = 2 * x[0, 0] - 1
    expected = torch.empty(2, 2, dtype=torch.float64)
    for i, j in itertools.product(range(2), range(2)):
        v, r = p["column.bias"].clone(), p["row.bias"].clone()
        for dj in (-1, 0, 1):
            if i > 0 and 0 <= j + dj < 2:
                v = v + p["column.weight"][:, 0, 0, 1 + dj] * image[i - 1, j + dj]
        if j > 0:
            r = r + p["row.weight"][:, 0, 0, 0] * image[i, j - 1]
        a, b = r + p["across.weight"][:, :, 0, 0] @ v
        h = p["out.weight"].squeeze() * torch.tanh(a) * torch.sigmoid(b) + p["out.bias"].squeeze()
        hidden = made.body.hidden.weight.squeeze() * h.relu() + made.body.hidden.bias.squeeze()
        expected[i, j] = made.body.last.weight.squeeze() * hidden.relu() + made.body.last.bias.squeeze()
    torch.testing.assert_close(made(None, x=x).base_dist.logits[0, 0], expected)


def binary_images(x: tuple[int, ...]) -> Tensor:
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=math.prod(x))), dtype=torch.float64)
    return bits.reshape(-1, *x)


@every_mode
@pytest.mark.parametrize("x", [(1, 2, 2), (3, 1, 2)])
def test_the_probabilities_of_all_images_sum_to_one(x, conditioning, uses_code):
    made = net(x, labels=LABELS, strength=2, conditioning=conditioning, uses_code=uses_code)
    images = binary_images(x)
    n, totals = len(images), []
    for label in range(LABELS):
        z, y = random(1, LATENT, seed=label).expand(n, -1), torch.full((n,), label)
        p = made(z, y, images).log_prob(images).exp()
        assert p.std() > 1e-3 * p.mean()
        totals.append(p.sum())
    torch.testing.assert_close(
        torch.stack(totals), torch.ones(LABELS, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_draws_have_the_frequencies_of_the_model():
    x, n = (1, 2, 2), 20_000
    made = net(x, labels=LABELS, strength=2.5)
    z, y = random(1, LATENT), torch.tensor([2])
    images = binary_images(x)
    p = made(z.expand(16, -1), y.expand(16), images).log_prob(images).exp()
    draws = made.ancestral(z.expand(n, -1), random(n, *x), y.expand(n))
    places = (draws.flatten(1) @ torch.tensor([8.0, 4, 2, 1], dtype=torch.float64)).long()
    counts = torch.bincount(places, minlength=16)
    chi2 = ((counts - n * p).square() / (n * p)).sum()
    assert n * p.min() > 5
    assert p.max() > 2 * p.min()
    assert chi2 < 37.7  # the 99.9 % point at 15 degrees of freedom
    uniform = ((counts - n / 16).square() / (n / 16)).sum()
    assert uniform > 100  # so that the test above can tell distributions apart


@every_mode
@pytest.mark.parametrize("likelihood", EXPLICIT)
@pytest.mark.parametrize("colours", [1, 3])
def test_each_pixel_of_a_draw_is_drawn_from_its_teacher_forced_law(
    colours, likelihood, conditioning, uses_code
):
    """On an image beyond the receptive field, with noise u: x = F⁻¹(u | x before) at every sub-pixel."""
    x = (colours, 7, 6)
    made = net(x, likelihood, LABELS, conditioning=conditioning, uses_code=uses_code, strength=1.5)
    z, y, u = random(5, LATENT), torch.arange(5) % LABELS, random(5, *x, seed=3)
    draw = made.ancestral(z, u, y)
    distribution = made(z, y, draw)
    assert draw.std() > 0
    assert not draw.requires_grad
    torch.testing.assert_close(inverse_cdf(distribution, u), draw, rtol=0, atol=1e-9)
    assert log_likelihood(distribution, draw, u).isfinite().all()
    assert not inverse_cdf(made(z, y, 1 - draw), u).equal(draw)


def test_draws_of_unbounded_data():
    made = net((1, 3, 3), "laplace", bounded=False)
    z, u = random(4, LATENT), random(4, 1, 3, 3)
    draw = made.ancestral(z, u)
    assert draw.min() < 0
    torch.testing.assert_close(inverse_cdf(made(z, x=draw), u), draw)


def test_inverse_distribution_functions():
    u = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    assert inverse_cdf(Bernoulli(torch.tensor(0.3)), u).mean().item() == pytest.approx(0.3, abs=1e-4)
    p = torch.tensor([0.1, 0.2, 0.0, 0.7], dtype=torch.float64)
    levels = (inverse_cdf(PixelCategorical(p.log().expand(10_000, 4)), u) * 3).round().long()
    assert levels.diff().min() == 0
    torch.testing.assert_close(torch.bincount(levels, minlength=4) / 10_000, p.float(), rtol=0, atol=2e-4)
    distribution = QuantizedNormal(torch.tensor(0.4).double(), torch.tensor(0.3).double(), bins=4)
    levels = (inverse_cdf(distribution, u) * 3).round().long()
    inner = Normal(0.4, 0.3).cdf(torch.tensor([0.25, 0.5, 0.75])).double()
    cuts = torch.cat([torch.zeros(1).double(), inner, torch.ones(1).double()])
    torch.testing.assert_close(
        torch.bincount(levels, minlength=4) / 10_000, cuts.diff().float(), atol=2e-4, rtol=0
    )
    edges = torch.tensor([0.0, 1 - 2**-24])
    zero, one = torch.zeros(2), torch.ones(2)
    for case in (Normal(zero, one), Laplace(zero, one), QuantizedNormal(zero, one)):
        assert inverse_cdf(case, edges).isfinite().all()
    assert inverse_cdf(PixelCategorical(torch.full((2, 256), 1.7)), edges).tolist() == [0, 1]
    with pytest.raises(BadInput, match="no draw from Delta"):
        inverse_cdf(Delta(zero), edges)


@pytest.mark.parametrize("conditioning", ["bias", "spatial"])
def test_the_code_and_the_label_change_the_law_where_they_are_used(conditioning):
    x, y = random(2, 1, 4, 5).round(), torch.tensor([0, 1])
    z, other = random(2, LATENT), random(2, LATENT, seed=5)
    made = net(labels=LABELS, conditioning=conditioning)
    logits = made(z, y, x).base_dist.logits
    moved = (made(other, y, x).base_dist.logits - logits).abs()
    assert (moved > 1e-9).all()
    assert ((made(z, y + 1, x).base_dist.logits - logits).abs() > 1e-9).all()
    alone = net(labels=LABELS, conditioning=conditioning, uses_code=False)
    logits = alone(None, y, x).base_dist.logits
    assert alone(z, y, x).base_dist.logits.equal(logits)
    assert (made.density_needs_code, alone.density_needs_code) == (True, False)
    assert ((alone(None, y + 1, x).base_dist.logits - logits).abs() > 1e-9).all()
    assert alone.ancestral(None, x, y).equal(alone.ancestral(z, x, y))


def test_a_bias_is_the_same_for_all_pixels_and_a_map_is_not():
    """On a constant image, far from the edges, only a map can tell pixels apart."""
    x, z = torch.full((1, 1, 12, 12), 0.5, dtype=torch.float64), random(1, LATENT)
    for conditioning, spread in (("bias", False), ("spatial", True)):
        made = net((1, 12, 12), conditioning=conditioning)
        middle = made(z, x=x).base_dist.logits[0, 0, 4:, 4:8]
        assert bool((middle.max() - middle.min()) > 1e-9) == spread


def case(conditioning: str, x: tuple[int, ...] = (3, 5, 4)):
    made = net(x, "quantized-normal", LABELS, layers=2, conditioning=conditioning)
    z, y, image = random(4, LATENT), torch.arange(4), random(4, *x)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return -functional_call(made, parameters, (z, y, image)).log_prob(image).mean()

    return loss, {k: v.detach() for k, v in made.named_parameters()}


@pytest.mark.parametrize("conditioning", ["bias", "spatial"])
def test_a_vmapped_lane_is_the_net_alone(conditioning):
    loss, parameters = case(conditioning)
    both = {k: torch.stack([v, 1.5 * v]) for k, v in parameters.items()}
    gradients, values = vmap(torch.func.grad_and_value(loss))(both)
    for i in range(2):
        lane = {k: v[i] for k, v in both.items()}
        torch.testing.assert_close(values[i], loss(lane))
        torch.testing.assert_close({k: v[i] for k, v in gradients.items()}, grad(loss)(lane))


@pytest.mark.parametrize("conditioning", ["bias", "spatial"])
def test_compiled_equals_eager(conditioning):
    loss, parameters = case(conditioning)
    step = torch.func.grad_and_value(loss)
    torch.compiler.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(parameters), step(parameters))


@pytest.mark.parametrize("conditioning", ["bias", "spatial"])
def test_every_parameter_but_the_masked_ones_is_used(conditioning):
    loss, parameters = case(conditioning)
    gradients = grad(loss)(parameters)
    masks = {k.replace("mask", "weight"): v for k, v in net((3, 5, 4)).named_buffers()}
    for name, g in gradients.items():
        used = masks.get(name, torch.ones(())).expand_as(g) > 0
        assert (g[used] != 0).any(), name
        assert (g[~used] == 0).all(), name


def test_autocast_keeps_the_law_in_full_precision():
    made = net().float()
    x = random(2, 1, 4, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        distribution = made(torch.zeros(2, LATENT), x=x)
    assert distribution.base_dist.logits.dtype == torch.float32


@pytest.mark.parametrize(("colours", "channels"), [(1, 1), (3, 256)])
@pytest.mark.parametrize(("conditioning", "uses_code"), [*MODES, ("spatial", False)])
def test_parameter_counts(colours, channels, conditioning, uses_code):
    """Per layer the 6 convolutions of figure 2 of the paper; the whole two more, and the map of the code."""
    w, n, k = 6, 4, 5
    likelihood = {1: "bernoulli", 256: "categorical"}[channels]
    made = net(
        (colours, 8, 6), likelihood, layers=n, kernel=k, conditioning=conditioning, uses_code=uses_code
    )
    context = (LATENT if conditioning == "bias" else w) * uses_code

    def layer(inputs: int, rows: int) -> int:
        column = inputs * rows * k * 2 * w + 2 * w
        row = inputs * (k // 2 + 1) * 2 * w + 2 * w
        return column + row + (2 * w) ** 2 + w * w + w + context * 4 * w

    head = w * w + w + (w + 1) * colours * channels
    spatial = (LATENT + 1) * w * 2 * 2 + 2 * (w * w * 16 + w) if context and conditioning == "spatial" else 0
    expected = layer(colours, k // 2) + (n - 1) * layer(w, k // 2 + 1) + head + spatial
    assert sum(p.numel() for p in made.parameters()) == expected


def test_the_state_holds_no_masks():
    assert set(net().state_dict()) == {name for name, _ in net().named_parameters()}


def test_encoder_and_critics_are_of_the_family_that_fits():
    options = PixelCNNOptions(encoder_width=4, batch_norm=False, code_width=5)
    gaussian = POSTERIORS["gaussian"]
    for x, convolutional in (((1, 8, 8), True), ((1, 5, 5), False), ((1, 8, 7), False)):
        shapes = Shapes(x, LATENT)
        q = pixelcnn.encoder(shapes, gaussian, options)
        scores = pixelcnn.critic(shapes, ("x", "z"), options)
        image, z = torch.rand(2, *x), torch.zeros(2, LATENT)
        assert any(isinstance(m, torch.nn.Conv2d) for m in q.modules()) == convolutional
        assert isinstance(scores, ImageCritic) == convolutional
        assert q(image).event_shape == (LATENT,)
        assert scores(image, z).shape == (2,)
    defaults = pixelcnn.others_options(PixelCNNOptions())
    assert DCGANOptions(**defaults) == DCGANOptions()
    assert MLPOptions(**defaults) == MLPOptions()


def test_what_is_refused():
    bernoulli, options = LIKELIHOODS["bernoulli"], PixelCNNOptions(width=2)
    with pytest.raises(BadInput, match="needs images"):
        pixelcnn.decoder(Shapes((7,), LATENT), bernoulli, options)
    with pytest.raises(BadInput, match="one map per colour"):
        pixelcnn.decoder(Shapes((3, 4, 4), LATENT), bernoulli, options)
    with pytest.raises(BadInput, match="no implicit form"):
        pixelcnn.decoder(Shapes((1, 4, 4), LATENT), LIKELIHOODS["implicit"], options)
    with pytest.raises(BadInput, match="unbounded"):
        pixelcnn.decoder(Shapes((1, 4, 4), LATENT, bounded=False), bernoulli, options)
    with pytest.raises(BadInput, match="teacher forcing"):
        net()(torch.zeros(1, LATENT))
    with pytest.raises(BadInput, match="give it z"):
        net()(None, x=random(1, 1, 4, 5))
    with pytest.raises(BadInput, match=r"give \(B, 1, 4, 5\)"):
        net().ancestral(torch.zeros(1, LATENT), random(1, 1, 5, 4))
    with pytest.raises(BadInput, match="num_classes=4: give it y"):
        net(labels=LABELS)(random(1, LATENT), x=random(1, 1, 4, 5))
    for wrong, message in (
        ({"kernel": 4}, "odd"),
        ({"kernel": 1}, "odd"),
        ({"layers": 0}, "layers is 0"),
        ({"conditioning": "map"}, "unknown conditioning 'map'"),
    ):
        with pytest.raises(BadInput, match=message):
            PixelCNNOptions(**wrong)
