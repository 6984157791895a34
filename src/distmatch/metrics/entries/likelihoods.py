"""How likely data are: bounds, exact densities, reconstructions."""

from __future__ import annotations

from dataclasses import replace

import torch

from distmatch.metrics.checks import as_distribution
from distmatch.metrics.entries.gather import codes, held_out
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.likelihood.bits import bits_per_dim
from distmatch.metrics.likelihood.elbo import evidence_lower_bound
from distmatch.metrics.likelihood.importance import log_likelihood
from distmatch.metrics.likelihood.rate_distortion import rate_plane
from distmatch.metrics.likelihood.reconstruction import reconstruction_error
from distmatch.metrics.model import Diagnostic, Findings, Options, Subject
from distmatch.random import own_randomness

WEIGHTED = 5000  # a tenth of this many examples, at most, for the importance-weighted bound


def run_elbo(subject: Subject, options: Options) -> Findings:
    """ELBO, rate and distortion on held-out data, and the model's place in the plane of the two."""
    encode, decode = subject.encode, subject.decode
    assert encode is not None
    assert decode is not None
    x, y = held_out(subject, options)
    found = evidence_lower_bound(
        lambda x, y=None: encode(x, y),
        lambda z, y=None: decode(z, y),
        x,
        y=y,
        prior=subject.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    metrics = {"elbo": found.elbo, "rate": found.rate, "distortion": found.distortion}
    return Findings(metrics, (rate_plane({"this model": found}),))


def run_log_likelihood(subject: Subject, options: Options) -> Findings:
    """The importance-weighted bound on a tenth of the held-out data."""
    encode, decode = subject.encode, subject.decode
    assert encode is not None
    assert decode is not None
    x, y = held_out(subject, replace(options, samples=max(2, min(options.samples, WEIGHTED) // 10)))
    found = log_likelihood(
        lambda x, y=None: encode(x, y),
        lambda z, y=None: decode(z, y),
        x,
        y=y,
        prior=subject.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    return Findings({"log_likelihood": found})


def run_bits_per_dim(subject: Subject, options: Options) -> Findings:
    """Of held-out data, where log p(x) is known."""
    assert subject.log_prob is not None
    x, y = held_out(subject, options)
    parts = []
    for start in range(0, len(x), options.batch_size):
        part = slice(start, start + options.batch_size)
        parts.append(subject.log_prob(x[part], None if y is None else y[part]))
    log_p = torch.cat(parts)
    found = {"bits_per_dim": bits_per_dim(log_p, x[0].numel(), subject.grey_levels)}
    if subject.grey_levels is None:
        found["nll"] = Estimate.mean(-log_p.double(), "nats per example", "exact; error over examples")
    return Findings(found)


def run_reconstruction(subject: Subject, options: Options) -> Findings:
    """The decoder's mean at one draw of the code, against held-out data."""
    assert subject.decode is not None
    x, y = held_out(subject, options)
    z = codes(subject, x, y, options)
    made = []
    with torch.no_grad(), own_randomness(options.seed):
        for start in range(0, len(x), options.batch_size):
            part = slice(start, start + options.batch_size)
            p = as_distribution(subject.decode(z[part], None if y is None else y[part]), "the decoder")
            try:
                made.append(p.mean)
            except NotImplementedError:
                made.append(p.sample())
    found = reconstruction_error(x, torch.cat(made).reshape(x.shape))
    return Findings({"mse": found.mse, "l1": found.l1})


ENTRIES = (
    Diagnostic(
        "elbo",
        "How likely is held-out data, and what do its code and its reconstruction cost?",
        ("encode", "decode", "has_likelihood", "test"),
        run_elbo,
        "Kingma and Welling, 1312.6114",
        {"elbo": "higher", "rate": "", "distortion": ""},
    ),
    Diagnostic(
        "log_likelihood",
        "How likely is held-out data, with many draws of the code for each?",
        ("encode", "decode", "has_likelihood", "test"),
        run_log_likelihood,
        "Burda, Grosse and Salakhutdinov, 1509.00519",
        {"log_likelihood": "higher"},
    ),
    Diagnostic(
        "bits_per_dim",
        "How many bits does the model need to code held-out data?",
        ("log_prob", "test"),
        run_bits_per_dim,
        "Theis, van den Oord and Bethge, 1511.01844",
        {"bits_per_dim": "lower", "nll": "lower"},
    ),
    Diagnostic(
        "reconstruction",
        "How far is a reconstruction from its datum?",
        ("encode", "decode", "test"),
        run_reconstruction,
        "mean squared and absolute error per pixel",
        {"mse": "lower", "l1": "lower"},
    ),
)
