"""What nets keep: shapes, labels, vmap over parameters, compile, double backward.

PixelCNN and RealNVP, whose decoders make other promises, have their own.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vjp, vmap

from distmatch.distributions.flatten import flatten_distribution
from distmatch.distributions.functions import reparameterise
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.networks import Shapes, build

BATCH, LATENT, LABELS = 6, 3, 4
TINY = {
    "mlp": {"width": 6, "code_width": 5, "batch_norm": True},
    "dcgan": {"width": 2, "code_width": 5},
    "progressive": {"width": 2, "most": 4, "code_width": 5},
}
DATA = {
    "mlp": [(1, 8, 8), (2,)],
    "dcgan": [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)],
    "progressive": [(1, 8, 8)],
}
ROLES: list[tuple[str, dict]] = [
    ("encoder", {"posterior": "gaussian"}),
    ("encoder", {"posterior": "deterministic"}),
    ("decoder", {"likelihood": "gaussian"}),
    ("decoder", {"likelihood": "implicit"}),
    ("critic", {"spaces": ("x",)}),
    ("critic", {"spaces": ("z",)}),
    ("critic", {"spaces": ("x", "z")}),
    ("critic", {"spaces": ("x", "x")}),
]
VARIANTS: list[tuple[str, tuple[int, ...], tuple[str, ...], dict]] = [
    ("mlp", (2,), ("x",), {"critic_maxout": 3}),
    ("mlp", (2,), ("x",), {"spectral_norm": True, "minibatch_kernels": 2, "symmetric": True}),
    ("dcgan", (1, 8, 8), ("x",), {"spectral_norm": True, "minibatch_kernels": 2}),
    ("dcgan", (1, 8, 8), ("x", "z"), {"symmetric": True}),
]
CASES = [
    pytest.param(
        name, x, role, kwargs, id="-".join([name, "x".join(map(str, x)), role, "".join(*kwargs.values())])
    )
    for name in TINY
    for x in DATA[name]
    for role, kwargs in ROLES
]
CASES += [
    pytest.param(name, x, "critic", {"spaces": spaces, "options": options}, id="-".join([name, *options]))
    for name, x, spaces, options in VARIANTS
]
every_net = pytest.mark.parametrize(("name", "x", "role", "kwargs"), CASES)
COMPILED = {  # at a family's first data; the others of their kind are compiled by `make slow`
    *(
        f"{name}-{'x'.join(map(str, DATA[name][0]))}-{role}"
        for name in TINY
        for role in ("encoder-gaussian", "critic-xz")
    ),
    *("dcgan-1x8x8-decoder-gaussian", "mlp-critic_maxout", "mlp-spectral_norm-minibatch_kernels-symmetric"),
}
every_net_but_slowly = pytest.mark.parametrize(
    ("name", "x", "role", "kwargs"),
    [
        case if case.id in COMPILED else pytest.param(*case.values, id=case.id, marks=pytest.mark.slow)
        for case in CASES
    ],
)


def shapes_of(x: tuple[int, ...], labels: int = 0) -> Shapes:
    return Shapes(x, LATENT, labels, bounded=len(x) == 3)


def case(
    name: str, x: tuple[int, ...], role: str, kwargs: dict, labels: int = 0
) -> tuple[nn.Module, list[Tensor]]:
    """A tiny net and inputs for it, from a fixed seed that leaves the global one alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = TINY[name] | kwargs.get("options", {})
        net = build(name, role, shapes_of(x, labels), **{**kwargs, "options": options})
        spaces = kwargs.get("spaces", ("x",) if role == "encoder" else ("z",))
        inputs = [torch.rand(BATCH, *x) if s == "x" else torch.randn(BATCH, LATENT) for s in spaces]
    return net, inputs


def tensors_of(out: object) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else flatten_distribution(out)[0]


def penalty(net: nn.Module) -> Callable[..., Tensor]:
    """A loss with the gradient by the inputs in it, as a gradient penalty has."""

    def loss(parameters: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        def total(*inputs: Tensor) -> Tensor:
            return torch.stack(
                [t.square().sum() for t in tensors_of(functional_call(net, parameters, inputs))]
            ).sum()

        value, back = vjp(total, *inputs)
        return value + sum(g.square().sum() for g in back(torch.ones_like(value)))

    return loss


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    for key in a:
        size = float(a[key].abs().max()) + 1e-6
        torch.testing.assert_close(
            a[key] / size, b[key] / size, rtol=1e-3, atol=2e-4, msg=lambda m, k=key: f"{k}: {m}"
        )


@every_net
def test_shapes(name, x, role, kwargs):
    net, inputs = case(name, x, role, kwargs)
    out = net(*inputs)
    if role == "critic":
        assert out.shape == (BATCH,)
        return
    event = (LATENT,) if role == "encoder" else x
    assert (out.batch_shape, out.event_shape, out.mean.shape) == ((BATCH,), event, (BATCH, *event))
    assert reparameterise(out, torch.zeros(BATCH, *event)).shape == (BATCH, *event)


@every_net
def test_labels_change_the_output_and_only_fit_nets_built_for_them(name, x, role, kwargs):
    net, inputs = case(name, x, role, kwargs, LABELS)
    y = torch.arange(BATCH) % LABELS  # mixed: batch norm would take out a label that all rows share
    a, b = (tensors_of(net(*inputs, y=v))[0] for v in (y, y.flip(0)))
    assert not torch.allclose(a, b, rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match=r"num_classes=4: give it y"):
        net(*inputs)
    plain, _ = case(name, x, role, kwargs)
    with pytest.raises(ValueError, match=r"num_classes=0: it takes no y"):
        plain(*inputs, y=y)


@every_net
def test_a_vmapped_lane_is_the_net_alone_through_double_backward(name, x, role, kwargs):
    net, inputs = case(name, x, role, kwargs)
    other, _ = case(name, x, role, kwargs)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.5)
    stacked, _ = stack_module_state([net, other])
    stacked = {k: v.detach() for k, v in stacked.items()}
    dims = (0, *(None for _ in inputs))
    lanes = vmap(grad(penalty(net)), dims)(stacked, *inputs)
    for i in range(2):
        alone = grad(penalty(net))({k: v[i] for k, v in stacked.items()}, *inputs)
        close(alone, {k: v[i] for k, v in lanes.items()})
        assert all(v.isfinite().all() for v in alone.values())


@every_net_but_slowly
def test_compiled_equals_eager_through_double_backward(name, x, role, kwargs):
    net, inputs = case(name, x, role, kwargs)
    parameters = {k: v.detach() for k, v in net.named_parameters()}
    step = grad(penalty(net))
    torch.compiler.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    close(step(parameters, *inputs), compiled(parameters, *inputs))


@pytest.mark.parametrize("labels", [0, LABELS])
@pytest.mark.parametrize("name", TINY)
def test_labels_go_through_vmap_and_compile(name, labels):
    net, inputs = case(name, (1, 8, 8), "critic", {"spaces": ("x", "z")}, labels)
    y = torch.arange(BATCH) % labels if labels else None
    parameters = {k: v.detach() for k, v in net.named_parameters()}

    def scores(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(net, parameters, tuple(inputs), {"y": y})

    alone = scores(parameters)
    lanes = vmap(scores)({k: torch.stack([v, v]) for k, v in parameters.items()})
    torch.testing.assert_close(lanes, torch.stack([alone, alone]), rtol=1e-4, atol=1e-5)
    torch.compiler.reset()
    compiled = torch.compile(scores, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(parameters), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("name", "x"), [("mlp", (2, 3, 3)), ("mlp", (5,)), ("dcgan", (2, 8, 8))])
def test_every_likelihood_fits_every_decoder(name, x, likelihood):
    net = build(name, "decoder", Shapes(x, LATENT), likelihood=likelihood, options=TINY[name])
    distribution = net(torch.randn(BATCH, LATENT))
    assert (distribution.batch_shape, distribution.event_shape, distribution.mean.shape) == (
        (BATCH,),
        x,
        (BATCH, *x),
    )
    assert ((distribution.mean >= 0) & (distribution.mean <= 1)).all()
    assert (net.log_scale is not None) == LIKELIHOODS[likelihood].learned_scale
    if likelihood != "implicit":
        assert distribution.log_prob(torch.rand(BATCH, *x)).shape == (BATCH,)


def test_channels_of_parameters_are_not_mixed():
    """A decoder of an image, and of the same numbers flat, gives the same distribution."""
    raw = torch.randn(4, 2 * 256, 3, 3)
    distribution = LIKELIHOODS["categorical"](raw, (2, 3, 3)).base_dist
    torch.testing.assert_close(distribution.logits[1, 1, 2, 0], raw[1, 256:, 2, 0])
    flat = LIKELIHOODS["categorical"](raw[:, :, 0, 0], (2,)).base_dist
    torch.testing.assert_close(flat.logits, distribution.logits[:, :, 0, 0])
