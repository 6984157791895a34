"""Refusals of what cannot be combined, each in a sentence that says what to do instead."""

from __future__ import annotations

from distmatch.data import DataSet
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.errors import BadInput, unknown
from distmatch.networks import NETWORKS, POSTERIORS
from distmatch.objectives.objective import Objective
from distmatch.objectives.variables import X_GEN, X_REC
from distmatch.runs.config import RunConfig

DISCRETE = ("quantized-normal", "quantized-normal-per-pixel", "categorical")


def check(config: RunConfig, objective: Objective, data: DataSet) -> None:
    """Raise `BadInput` for a resolved configuration that cannot be trained as it stands, or not as asked."""
    _check_data(config, objective, data)
    _check_decoder(config, objective, data)
    _check_codes(config, objective)
    _check_training(config, objective)


def _check_data(config: RunConfig, objective: Objective, data: DataSet) -> None:
    binarise, likelihood = config.data.binarise, config.network.likelihood
    if objective.labels and not data.num_classes:
        raise BadInput(f"the objective is given the label y, and {data.name} has no labels")
    if not data.is_image and binarise != "none":
        raise BadInput(f"binarisation is for images; {data.name} has none, so leave data.binarise at none")
    if binarise == "dequantise" and likelihood in DISCRETE:
        raise BadInput(
            f"the likelihood {likelihood} is of grey levels, and data.binarise=dequantise adds noise to them: "
            "leave one of the two out"
        )


def _check_decoder(config: RunConfig, objective: Objective, data: DataSet) -> None:
    network, family = config.network, NETWORKS[config.network.family]
    likelihood = LIKELIHOODS[network.likelihood]
    own, conditional = X_GEN in objective.distributions, X_REC in objective.distributions
    alone = family.autoregressive and network.options.get("uses_code") is False
    if network.likelihood == "implicit" and objective.needs_likelihood and not family.flow:
        raise BadInput(
            "an implicit decoder has no likelihood, and the objective has a term nll: "
            "choose another network.likelihood, or replace nll by distance(x, x_rec)"
        )
    if own and not (family.flow or alone):
        raise BadInput(
            f"nll(x_gen) is -log p(x), which a decoder of the family {network.family} does not know: set "
            "network.family=real-nvp, or network.family=pixelcnn with network.uses_code=false, or write nll + kl"
        )
    if conditional and family.flow:
        raise BadInput(
            "a flow knows p(x), not p(x|z): write nll(x_gen), or choose another network.family than "
            f"{network.family}"
        )
    if family.flow and network.prior in ("sphere", "uniform"):
        raise BadInput(
            f"a flow's density is that of N(0, I) carried over; network.prior={network.prior} is not it"
        )
    if family.flow and data.is_image and config.data.binarise != "dequantise":
        raise BadInput(
            "a density on grey levels can be made as high as one likes at these levels: "
            "set data.binarise=dequantise for a flow"
        )
    if family.autoregressive and "encoder" in objective.uses and network.options.get("uses_code") is False:
        raise BadInput(
            "the objective has an encoder, and a decoder with network.uses_code=false does not read its codes: "
            "write nll(x_gen), or leave the option out"
        )
    if (
        own
        and data.is_image
        and not (family.flow or likelihood.binary or network.likelihood == "categorical")
    ):
        raise BadInput(
            f"the likelihood {network.likelihood} is a density of grey levels, not their probability: "
            "take network.likelihood=categorical, or bernoulli with data.binarise=threshold"
        )
    if family.autoregressive and any(v.net == "decoder" for v in objective.variables):
        raise BadInput(
            "an autoregressive decoder is drawn from pixel by pixel, and no gradient comes back through that: "
            "use terms of its likelihood alone (nll, kl, ...), or another network.family"
        )
    if family.autoregressive and likelihood.binary and config.data.binarise not in ("threshold", "dynamic"):
        raise BadInput(
            "a PixelCNN with a Bernoulli distribution needs pixels that are 0 or 1: "
            "set data.binarise=threshold or dynamic, or network.likelihood=categorical"
        )


def _check_codes(config: RunConfig, objective: Objective) -> None:
    network = config.network
    if network.posterior not in POSTERIORS:
        raise unknown("posterior", network.posterior, POSTERIORS)
    named = list(zip(objective.names, objective.terms, strict=True))
    scored = [name for name, t in named if t.scores_codes]
    normal = [name for name, t in named if t.scores_codes or t.assumes_normal_prior]
    if scored and not POSTERIORS[network.posterior].has_density:
        raise BadInput(
            f"a posterior of the kind {network.posterior!r} has no density, and the objective has a term {scored[0]}: "
            "choose network.posterior=gaussian, or replace kl by match(z_code, z_prior)"
        )
    if normal and network.prior in ("sphere", "uniform"):
        raise BadInput(
            f"{normal[0]} compares codes with N(0, I), and network.prior is {network.prior}: leave one of them out"
        )
    if objective.samples > 1 and network.posterior == "noise":
        raise BadInput("iwae needs the density of its codes; choose network.posterior=gaussian")
    if network.prior == "vamp" and objective.labels:
        raise BadInput(
            "a VampPrior asks the encoder without labels: leave the labels out, or take another prior"
        )


def _check_training(config: RunConfig, objective: Objective) -> None:
    training = config.training
    if training.unroll and not objective.critics:
        raise BadInput("training.unroll looks ahead of a critic, and no term has one; leave it out")
    if training.consensus and (training.critic_steps > 1 or training.order != "alternating"):
        raise BadInput(
            "consensus optimisation moves model and critics together, one step each: "
            "leave training.critic_steps and training.order out"
        )
    symmetric = config.network.options.get("symmetric")
    if any(t.wants_whole_batches for t in objective.terms) and not symmetric:
        raise BadInput(
            "mixed_batch needs a critic of whole batches: set network.symmetric=true (families mlp and dcgan)"
        )
