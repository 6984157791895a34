"""The contract of a family of nets, at one tiny shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from distmatch.distributions.flatten import flatten_distribution
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.networks import POSTERIORS, Family, Shapes
from distmatch.random import own_randomness, seeded

ROWS = 6


def check_network(family: Family, options: Any = None, x: tuple[int, ...] = (1, 8, 8)) -> None:
    """Raise `AssertionError` with one sentence where a family of nets breaks its contract.

    An encoder returns a distribution of codes, a decoder one of data (unless it is a flow or autoregressive), a critic
    one score for each example; all their parameters get a gradient (but in nets that grow, which use some later); and
    a net vmapped over parameters is the net alone, through double backward.

    Args:
        family: the family.
        options: its options; None for the defaults, which may be large.
        x: the shape of a datum that its nets take.

    >>> from distmatch.networks import MLPOptions, NETWORKS
    >>> check_network(NETWORKS["mlp"], MLPOptions(width=6, code_width=5), (2,))
    """
    latent = torch.Size(x).numel() if family.flow else 3
    shapes, chosen = Shapes(x, latent, bounded=len(x) == 3), options or family.options()
    makers: dict[str, tuple[str, Callable[[], nn.Module]]] = {
        "encoder": ("x", lambda: family.encoder(shapes, POSTERIORS["gaussian"], chosen)),
        "critic of x": ("x", lambda: family.critic(shapes, ("x",), chosen)),
        "critic of z": ("z", lambda: family.critic(shapes, ("z",), chosen)),
        "critic of x and z": ("xz", lambda: family.critic(shapes, ("x", "z"), chosen)),
    }
    if not family.flow and not family.autoregressive:
        makers["decoder"] = ("z", lambda: family.decoder(shapes, LIKELIHOODS["gaussian"], chosen))
    events = {"encoder": (latent,), "decoder": x}
    for role, (spaces, make) in makers.items():
        with own_randomness(0):
            net = make()
        g = seeded(1)
        draws = {"x": torch.rand(ROWS, *x, generator=g), "z": torch.randn(ROWS, latent, generator=g)}
        inputs = [draws[space] for space in spaces]
        out, wanted = net(*inputs), (ROWS, *events.get(role, ()))
        got = tuple(out.shape if isinstance(out, Tensor) else out.batch_shape + out.event_shape)
        where = f"network {family.name!r}: the {role}"
        assert got == wanted, f"{where} returns the shape {got} for {ROWS} examples; it must be {wanted}"
        _check_gradients(where, net, inputs, hasattr(chosen, "over"))


def _check_gradients(where: str, net: nn.Module, inputs: list[Tensor], grows: bool) -> None:
    parameters = {k: v.detach() for k, v in net.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        def total(*inputs: Tensor) -> Tensor:
            out = functional_call(net, parameters, inputs)
            tensors = [out] if isinstance(out, Tensor) else flatten_distribution(out)[0]
            return torch.stack([t.square().sum() for t in tensors]).sum()

        value, back, *_ = vjp(total, *inputs)
        return value + sum(slope.square().sum() for slope in back(torch.ones_like(value)))

    lanes = vmap(grad(loss))({k: torch.stack([v, 1.5 * v]) for k, v in parameters.items()})
    for lane, factor in enumerate((1.0, 1.5)):
        for key, slope in grad(loss)({k: factor * v for k, v in parameters.items()}).items():
            assert slope.isfinite().all() and (grows or slope.any()), (  # noqa: PT018
                f"{where} gives {key} a gradient that is zero or not finite; each parameter must be trained"
            )
            size = slope.abs().max() + 1e-6
            assert torch.allclose(lanes[key][lane] / size, slope / size, rtol=1e-3, atol=2e-4), (
                f"{where} has another gradient of {key} under vmap than alone; they must be the same"
            )
