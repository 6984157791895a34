"""Whether codes follow the prior."""

from __future__ import annotations

from distmatch.diagnostics.codes import code_moments
from distmatch.diagnostics.entries.gather import codes, gaussians, held_out
from distmatch.diagnostics.marginal_kl import marginal_kl
from distmatch.diagnostics.subject import Diagnostic, Findings, Options, Subject


def run_marginal_kl(subject: Subject, options: Options) -> Findings:
    """Algorithm 2 over the encodings of the whole training set."""
    loc, scale = gaussians(subject, options)
    evaluate = max(2, min(len(loc), options.samples // 10))
    samples = max(2, options.samples // evaluate)
    found = marginal_kl(loc, scale, samples=samples, evaluate=evaluate, seed=options.seed).estimates()
    found["marginal_rate"] = found.pop("rate")  # over the training set: not the held-out rate of "elbo"
    return Findings(found)


def run_code_moments(subject: Subject, options: Options) -> Findings:
    """Mean and covariance of codes of held-out data."""
    x, y = held_out(subject, options)
    found = code_moments(codes(subject, x, y, options).flatten(1))
    return Findings({"code_mean": found.mean, "code_covariance": found.covariance})


ENTRIES = (
    Diagnostic(
        "marginal_kl",
        "Do the codes of the data, taken together, follow the prior?",
        ("encode", "train", "standard_prior"),
        run_marginal_kl,
        "Rosca et al., 1802.06847, Algorithm 2",
        {
            "marginal_kl": "lower",
            "marginal_rate": "",
            "mutual_information": "",
            "total_correlation": "lower",
            "dimension_wise_kl": "lower",
        },
    ),
    Diagnostic(
        "code_moments",
        "Have the codes the prior's mean and covariance?",
        ("encode", "test", "standard_prior"),
        run_code_moments,
        "the first two moments of N(0, I)",
        {"code_mean": "lower", "code_covariance": "lower"},
    ),
)
