"""What the command line knows of a system: its declaration, defaults and source."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distmatch.comparisons import COMPARISONS, Comparison
from distmatch.errors import BadInput, unknown
from distmatch.objective import Objective
from distmatch.systems.adversarial import gan, wgan, wgan_gp
from distmatch.systems.explicit import vae
from distmatch.systems.hybrids import aae, ali, vgh, vgh_plus_plus


@dataclass(frozen=True)
class System:
    """A named declaration.

    Args:
        build: the function from its options to the objective; the options' defaults are the paper's.
        summary: one line on what it is.
        reference: where it comes from.
        defaults: what a run takes where the user says nothing, as dotted paths of its configuration.
        conditional: whether every net is given the label.
    """

    build: Callable[..., Objective]
    summary: str
    reference: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    conditional: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The declaration's options with their defaults; a comparison by its name."""
        defaults = {p.name: p.default for p in inspect.signature(self.build).parameters.values()}
        return {k: v.name if isinstance(v, Comparison) else v for k, v in defaults.items()}

    def objective(self, **options: Any) -> Objective:
        """The objective at these options; an option it does not have raises `BadInput`."""
        for name in options:
            if name not in self.options:
                raise unknown("option of this system", name, self.options)
        built = self.build(**{k: _like(self.options[k], v, k) for k, v in options.items()})
        return built.conditional() if self.conditional else built


def _like(default: Any, value: Any, name: str) -> Any:
    """The value as the declaration takes it, of the default's type."""
    if isinstance(default, str):
        key = str(value).replace("-", "_")
        if key not in COMPARISONS:
            raise unknown("comparison", str(value), COMPARISONS)
        return COMPARISONS[key]
    if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, int | float):
        kind = "true or false" if isinstance(default, bool) else "a number"
        raise BadInput(f"system.{name} is {value!r}; give {kind}")
    return value


_ADVERSARIAL = {"training.lr": 2e-4, "training.betas": (0.5, 0.9)}
_WGAN_GP = {**_ADVERSARIAL, "training.lr": 1e-4, "training.critic_steps": 5}
_WGAN = {
    "training.lr": 5e-5,
    "training.optimiser": "rmsprop",
    "training.critic_steps": 5,
}
_GIVEN_Y = "Given the label y: "

SYSTEMS: dict[str, System] = {
    "vae": System(vae, "Variational auto-encoder (β-VAE with system.beta).", "arXiv:1312.6114"),
    "cvae": System(vae, _GIVEN_Y + "variational auto-encoder.", "Sohn et al. 2015", conditional=True),
    "gan": System(
        gan, "Generative adversarial net, non-saturating.", "arXiv:1406.2661, 1511.06434", _ADVERSARIAL
    ),
    "cgan": System(
        gan, _GIVEN_Y + "generative adversarial net.", "arXiv:1411.1784", _ADVERSARIAL, conditional=True
    ),
    "wgan": System(wgan, "Wasserstein GAN, weights clipped.", "arXiv:1701.07875", _WGAN),
    "wgan-gp": System(wgan_gp, "Wasserstein GAN with gradient penalty.", "arXiv:1704.00028", _WGAN_GP),
    "aae": System(
        aae,
        "Adversarial auto-encoder: the codes' marginal meets the prior.",
        "arXiv:1511.05644",
        _ADVERSARIAL,
    ),
    "ali": System(ali, "Adversarially learned inference: joints meet.", "arXiv:1606.00704", _ADVERSARIAL),
    "vgh": System(vgh, "Variational GAN hybrid.", "arXiv:1802.06847", _ADVERSARIAL),
    "vgh++": System(
        vgh_plus_plus, "Variational GAN hybrid with samples.", "arXiv:1802.06847, appendix F", _ADVERSARIAL
    ),
}


def find(name: str) -> System:
    """The system of this name; `BadInput` with the nearest name if there is none.

    >>> print(find("vgh++").objective(weight=5.0))
    5·E‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)] + D[p(x̃) ‖ p*(x)]
    """
    if name not in SYSTEMS:
        raise unknown("system", name, SYSTEMS)
    return SYSTEMS[name]
