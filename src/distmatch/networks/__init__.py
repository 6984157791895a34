"""Nets by family: encoders and decoders that return distributions, critics that return scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from torch import nn

from distmatch.batch_statistics import recording
from distmatch.declared import declared
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.errors import BadInput, unknown
from distmatch.networks.critic import FlatCritic, ImageCritic
from distmatch.networks.decoder import Decoder
from distmatch.networks.encoder import Encoder
from distmatch.networks.families.dcgan import DCGANOptions
from distmatch.networks.families.family import Family
from distmatch.networks.families.mlp import MLPOptions
from distmatch.networks.families.pixelcnn import PixelCNNOptions, PixelDecoder
from distmatch.networks.families.progressive import ProgressiveOptions
from distmatch.networks.families.real_nvp import RealNVP, RealNVPOptions
from distmatch.networks.layers.batch_norm import BatchNorm, mixes_batch, refuses_penalties
from distmatch.networks.lens import Lens
from distmatch.networks.posteriors import POSTERIORS
from distmatch.networks.priors import PRIORS, prior
from distmatch.networks.shapes import Shapes, append_labels
from distmatch.schedules import Share

__all__ = [
    "NETWORKS",
    "POSTERIORS",
    "PRIORS",
    "BatchNorm",
    "DCGANOptions",
    "Decoder",
    "Encoder",
    "Family",
    "FlatCritic",
    "ImageCritic",
    "Lens",
    "MLPOptions",
    "PixelCNNOptions",
    "PixelDecoder",
    "ProgressiveOptions",
    "RealNVP",
    "RealNVPOptions",
    "Shapes",
    "append_labels",
    "build",
    "mixes_batch",
    "options_over",
    "prior",
    "recording",
    "refuses_penalties",
]

ROLES = ("encoder", "decoder", "critic", "lens")
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a name",
    Share: "a share of the run such as 20%",
    type(None): "null",
}


FIRST = ("mlp", "dcgan", "progressive", "pixelcnn", "real_nvp")  # the order of lists; others follow
NETWORKS = declared("distmatch.networks.families", Family, FIRST)
"""The families, by the name that the command line takes."""


def build(
    name: str,
    role: str,
    shapes: Shapes,
    *,
    likelihood: str = "bernoulli",
    posterior: str = "gaussian",
    spaces: tuple[str, ...] = ("x",),
    until: int | None = None,
    options: Any = None,
) -> nn.Module:
    """A net of a family, initialised from torch's global generator (seed it, or fork it, around the call).

    Arguments:
        name: a key of `NETWORKS`.
        role: `"encoder"`, `"decoder"`, `"critic"` or `"lens"`.
        shapes: what it must fit.
        likelihood: of a decoder, a key of `LIKELIHOODS`.
        posterior: of an encoder, a key of `POSTERIORS`.
        spaces: of a critic, `"x"` or `"z"` per input.
        until: of a lens, the step from which on it is removed; None: never.
        options: the family's options, or a mapping of their names; None: the defaults.

    Raises:
        BadInput: a name, option or combination that does not exist.

    >>> net = build("mlp", "encoder", Shapes(x=(1, 28, 28), latent=20))
    >>> sum(p.numel() for p in net.parameters())
    490440
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    family = NETWORKS[name]
    chosen = resolve_options(name, options)
    if role == "encoder":
        if posterior not in POSTERIORS:
            raise unknown("posterior", posterior, POSTERIORS)
        return family.encoder(shapes, POSTERIORS[posterior], chosen)
    if role == "decoder":
        if likelihood not in LIKELIHOODS:
            raise unknown("likelihood", likelihood, LIKELIHOODS)
        return family.decoder(shapes, LIKELIHOODS[likelihood], chosen)
    if role == "critic":
        if not spaces or set(spaces) - {"x", "z"}:
            raise BadInput(f"a critic's spaces are {tuple(spaces)}: give at least one, each 'x' or 'z'")
        return family.critic(shapes, tuple(spaces), chosen)
    if role == "lens":
        if family.lens is None:
            having = ", ".join(n for n, f in NETWORKS.items() if f.lens)
            raise BadInput(f"{name} has no lens; take one of a family that has: {having}")
        return family.lens(shapes, until, chosen)
    raise unknown("role", role, ROLES)


def resolve_options(name: str, options: Any) -> Any:
    """The family's options: as given, from a mapping of their names, or its defaults.

    Raises:
        BadInput: another family's options, a name that is not one, or a value of another kind than the option's.

    >>> resolve_options("mlp", {"width": 8}).width
    8
    """
    kind = NETWORKS[name].options
    if options is None:
        return kind()
    if isinstance(options, kind):
        return options
    if not isinstance(options, Mapping):
        raise BadInput(f"{name} takes {kind.__name__}, not {type(options).__name__}")
    kinds = get_type_hints(kind)
    for key, value in options.items():
        if key not in kinds:
            raise unknown(f"option of {name}", key, kinds)
        _check_kind(key, value, kinds[key])
    read = {k: Share.read(v) if _is_share(v, kinds[k]) else v for k, v in options.items()}
    return kind(**read)


def options_over(name: str, options: Mapping[str, Any], shapes: Shapes, steps: int) -> dict[str, Any]:
    """The family's options, and those that are lengths of time in steps of a run of so many.

    >>> options_over("progressive", {"width": 8, "fade": "10%"}, Shapes(x=(1, 28, 28), latent=2), 1000)
    {'width': 8, 'fade': 100, 'stable': 200}
    """
    chosen = resolve_options(name, options)
    if not hasattr(chosen, "over"):
        return dict(options)
    known = chosen.over(shapes, steps)
    lengths = [n for n, kind in get_type_hints(type(known)).items() if Share in get_args(kind)]
    return {**options, **{n: getattr(known, n) for n in lengths}}


def _check_kind(name: str, value: object, kind: Any) -> None:
    """Raise `BadInput` where an option's value is not of its annotated kind; a whole number may stand for any."""
    allowed = get_args(kind) or (kind,)
    fits = type(value) in allowed or (float in allowed and type(value) is int) or _is_share(value, kind)
    if fits and not (isinstance(value, float) and not math.isfinite(value)):
        return
    shown = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    wanted = ", or ".join(KINDS[k] for k in allowed)
    raise BadInput(f"network.{name} is {shown}; give {wanted}")


def _is_share(value: object, kind: Any) -> bool:
    """Return whether an option of this kind is given as the text of a share of a run."""
    return isinstance(value, str) and value.endswith("%") and Share in get_args(kind)
