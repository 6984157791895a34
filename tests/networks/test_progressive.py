"""Growing nets: when they grow, that a level fades in from the one below, and equalised layers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from distmatch.errors import BadInput
from distmatch.networks import Shapes, build, resolve_options
from distmatch.networks.families.growth import Growing, Growth
from distmatch.networks.families.progressive import Generator, Plan, ProgressiveOptions
from distmatch.networks.layers.equalised import EqualConv2d, EqualLinear, PixelNorm, enlarge, shrink
from distmatch.schedules import Share

OPTIONS = ProgressiveOptions(width=2, most=4, stable=10, fade=4)
SIDES = [8, 16, 28]


def at(net: nn.Module, step: int) -> nn.Module:
    """What the trainer does before each step."""
    for m in net.modules():
        if hasattr(m, "at"):
            m.at(step)
    return net


def made(role: str, side: int, **given: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shapes = Shapes((2, side, side), 3)
        return build("progressive", role, shapes, likelihood="implicit", options=OPTIONS, **given).double()


def inputs_of(role: str, side: int) -> torch.Tensor:
    shape = (4, 3) if role == "decoder" else (4, 2, side, side)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def output(role: str, net: nn.Module, v: torch.Tensor) -> torch.Tensor:
    return net(v).mean if role == "decoder" else net(v)


def test_stages_follow_the_schedule():
    growth = Growth(top=2, stable=10, fade=4)
    stages = [growth.stage(t) for t in range(60)]
    assert [s.level for s in stages] == [0] * 10 + [1] * 14 + [2] * 36
    assert [s.share for s in stages[10:15]] == [0, 0.25, 0.5, 0.75, 1]
    assert [s.share for s in stages[24:29]] == [0, 0.25, 0.5, 0.75, 1]
    assert {s.share for s in stages[:10] + stages[14:24] + stages[28:]} == {1.0}
    assert [t for t in range(60) if growth.starts(t)] == [10, 24]
    at_once = Growth(top=1, stable=3, fade=0)
    assert [at_once.stage(t) for t in (2, 3)] == [(0, 1.0), (1, 1.0)]


@pytest.mark.parametrize("role", ["decoder", "critic", "encoder"])
@pytest.mark.parametrize("side", SIDES)
def test_a_level_fades_in_from_the_one_below(role, side):
    net, v = made(role, side), inputs_of(role, side)
    if role == "encoder":
        net, role = nn.Sequential(net.prepare, net.body), "critic"
    before, first, last, half, stable = (output(role, at(net, t), v) for t in (9, 10, 14, 12, 23))
    torch.testing.assert_close(first, before)  # share 0: the level below, enlarged
    torch.testing.assert_close(last, stable)  # share 1: the new level alone
    assert not torch.allclose(first, last)
    assert not torch.allclose(half, first)
    assert not torch.allclose(half, last)


@pytest.mark.parametrize("side", SIDES)
def test_shapes_do_not_change_and_low_levels_are_coarse(side):
    net, top = made("decoder", side), {8: 1, 16: 2, 28: 2}[side]
    for step in (0, 12, 20, 26, 100):
        x = at(net, step)(inputs_of("decoder", side)).mean
        assert x.shape == (4, 2, side, side)
    x = at(net, 0)(inputs_of("decoder", side)).mean
    torch.testing.assert_close(enlarge(shrink(x, 2**top), 2**top), x)
    critic, v = made("critic", side), inputs_of("critic", side)
    coarse = enlarge(shrink(v, 2**top), 2**top)
    torch.testing.assert_close(at(critic, 0)(coarse), at(critic, 0)(v))
    assert not torch.allclose(at(critic, 100)(coarse), at(critic, 100)(v))


def test_the_fade_is_linear_in_the_raw_image():
    plan = Plan.of(Shapes((1, 8, 8), 3), OPTIONS)
    net = Generator(3, 1, plan, Growth(1, 10, 4))
    z = torch.randn(4, 3)
    old, new, quarter = (at(net, t)(z) for t in (10, 14, 11))
    torch.testing.assert_close(quarter, 0.75 * old + 0.25 * new)


def test_level_depends_on_the_step_alone_and_is_no_part_of_the_state():
    net = made("critic", 16)
    assert not [k for k in net.state_dict() if "share" in k]
    v = inputs_of("critic", 16)
    now = at(net, 12)(v)
    assert at(at(net, 40), 12)(v).equal(now)
    grown = made("critic", 16)  # as built: all of it
    assert grown(v).equal(at(net, 10**6)(v))


def test_all_growing_parts_say_when_optimisers_start_anew():
    for role in ("decoder", "critic", "encoder"):
        (part,) = [m for m in made(role, 16).modules() if isinstance(m, Growing)]
        assert [t for t in range(60) if part.resets_at(t)] == [10, 24]


@pytest.mark.parametrize("role", ["decoder", "critic"])
def test_vmap_and_compile_while_a_level_fades_in(role):
    net, v = at(made(role, 8), 12), inputs_of(role, 8)
    parameters = {k: p.detach() for k, p in net.named_parameters()}

    def loss(parameters, v):
        return output(role, lambda v: functional_call(net, parameters, (v,)), v).square().sum()

    alone = grad(loss)(parameters, v)
    lanes = vmap(grad(loss), (0, None))({k: torch.stack([p, 2 * p]) for k, p in parameters.items()}, v)
    torch.compiler.reset()
    compiled = torch.compile(grad(loss), fullgraph=True, backend="aot_eager")(parameters, v)
    for k, g in alone.items():
        torch.testing.assert_close(lanes[k][0], g)
        torch.testing.assert_close(compiled[k], g)


def test_a_compiled_net_is_not_compiled_anew_while_a_level_fades_in():
    net, v = made("critic", 8), inputs_of("critic", 8)
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        for step in (11, 12, 13):
            at(net, step)
            with torch.compiler.set_stance("default" if step == 11 else "fail_on_recompile"):
                torch.testing.assert_close(compiled(v), net(v))


def test_only_the_present_levels_learn():
    net, v = at(made("critic", 16), 0), inputs_of("critic", 16)
    parameters = {k: p.detach() for k, p in net.named_parameters()}
    grads = grad(lambda p: functional_call(net, p, (v,)).square().sum())(parameters)
    learning = {k for k, g in grads.items() if g.any()}
    assert learning == {k for k in grads if "blocks" not in k and "images.1" not in k and "images.2" not in k}


def test_the_published_sizes():
    plan = Plan.of(Shapes((3, 64, 64), 512), ProgressiveOptions(width=256))
    assert (plan.first, plan.maps) == (4, (512, 512, 512, 512, 256))
    net = build(
        "progressive", "decoder", Shapes((3, 32, 32), 512), likelihood="implicit", options={"width": 512}
    )
    per_level, seed = 2 * (512 * 512 * 9 + 512), 512 * 512 * 16 + 512 * 16 + 512 * 512 * 9 + 512
    assert sum(p.numel() for p in net.parameters()) == seed + 3 * per_level + 4 * (3 * 512 + 3)


def test_equalised_layers_keep_the_size_of_signals():
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear, conv = EqualLinear(400, 300), EqualConv2d(50, 40, 3, gain=1.0)
    h = torch.randn(200, 400, generator=generator)
    assert linear(h).var().item() == pytest.approx(2, rel=0.1)
    torch.testing.assert_close(linear(h), F.linear(h, linear.weight * math.sqrt(2 / 400)))
    image = torch.randn(8, 50, 9, 9, generator=generator)
    assert conv(image)[:, :, 1:-1, 1:-1].var().item() == pytest.approx(1, rel=0.1)


def test_pixel_norm_is_per_place():
    h = torch.randn(3, 5, 2, 2)
    torch.testing.assert_close(PixelNorm()(h).square().mean(1), torch.ones(3, 2, 2), rtol=1e-4, atol=1e-4)


def test_enlarge_is_torch_nearest():
    h = torch.randn(2, 3, 4, 5)
    assert enlarge(h, 3).equal(F.interpolate(h, scale_factor=3, mode="nearest"))
    torch.testing.assert_close(shrink(enlarge(h, 4), 4), h)


def test_times_are_equal_shares_of_a_run_unless_given():
    shapes = Shapes((1, 28, 28), 2)  # 7, 14, 28: five phases
    for options, expected in (
        (ProgressiveOptions(), (20, 20)),
        (ProgressiveOptions(stable=Share(0.3)), (31, 20)),
        (ProgressiveOptions(stable=40, fade=0), (40, 0)),
    ):
        known = options.over(shapes, 104)
        assert (known.stable, known.fade) == expected
        assert known.over(shapes, 7) == known
    assert resolve_options("progressive", {"fade": "12.5%"}) == ProgressiveOptions(fade=Share(0.125))


def test_a_net_that_grows_by_shares_is_refused_until_the_run_is_known():
    net = build("progressive", "critic", Shapes((1, 8, 8), 2), options={"width": 2, "most": 2})
    assert net(torch.rand(4, 1, 8, 8)).shape == (4,)  # as it is born: fully grown
    with pytest.raises(BadInput, match=r"a net grows over shares of a run, and nobody said .*Options\.over"):
        at(net, 0)
