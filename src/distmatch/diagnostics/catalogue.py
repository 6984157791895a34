"""The bench's diagnostics: how each is run on a subject. Add one here and every caller sees it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from distmatch.diagnostics.bits import bits_per_dim
from distmatch.diagnostics.codes import code_moments
from distmatch.diagnostics.conditional import class_agreement
from distmatch.diagnostics.coverage import SAMPLES, mode_coverage
from distmatch.diagnostics.estimate import Estimate, seeded
from distmatch.diagnostics.importance import log_likelihood
from distmatch.diagnostics.likelihood import as_distribution, evidence_lower_bound, own_randomness
from distmatch.diagnostics.marginal_kl import marginal_kl
from distmatch.diagnostics.ms_ssim import BATCH_SIZE, BATCHES, CONVENTIONS, ms_ssim_diversity
from distmatch.diagnostics.reconstruction import reconstruction_error
from distmatch.diagnostics.subject import Data, Diagnostic, Options, Subject
from distmatch.errors import BadInput

WEIGHTED = 5000  # a tenth of this many examples, at most, for the importance-weighted bound
JUDGED = 20_000  # labelled examples of the judge of classes


def run_elbo(subject: Subject, options: Options) -> dict[str, Estimate]:
    """ELBO, rate and distortion on held-out data."""
    encode, decode = subject.encode, subject.decode
    assert encode is not None
    assert decode is not None
    x, y = _held_out(subject, options)
    found = evidence_lower_bound(
        lambda x, y=None: encode(x, y),
        lambda z, y=None: decode(z, y),
        x,
        y=y,
        prior=subject.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    return {"elbo": found.elbo, "rate": found.rate, "distortion": found.distortion}


def run_log_likelihood(subject: Subject, options: Options) -> dict[str, Estimate]:
    """The importance-weighted bound on a tenth of the held-out data."""
    encode, decode = subject.encode, subject.decode
    assert encode is not None
    assert decode is not None
    x, y = _held_out(subject, replace(options, samples=max(2, min(options.samples, WEIGHTED) // 10)))
    found = log_likelihood(
        lambda x, y=None: encode(x, y),
        lambda z, y=None: decode(z, y),
        x,
        y=y,
        prior=subject.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    return {"log_likelihood": found}


def run_bits_per_dim(subject: Subject, options: Options) -> dict[str, Estimate]:
    """Of held-out data, where log p(x) is known."""
    assert subject.log_prob is not None
    x, y = _held_out(subject, options)
    parts = []
    for start in range(0, len(x), options.batch_size):
        part = slice(start, start + options.batch_size)
        parts.append(subject.log_prob(x[part], None if y is None else y[part]))
    log_p = torch.cat(parts)
    found = {"bits_per_dim": bits_per_dim(log_p, x[0].numel(), subject.grey_levels)}
    if subject.grey_levels is None:
        found["nll"] = Estimate.mean(-log_p.double(), "nats per example", "exact; error over examples")
    return found


def run_class_agreement(subject: Subject, options: Options) -> dict[str, Estimate]:
    """Samples of all classes, and held-out data as the judge's own mark."""
    assert subject.sample_given is not None
    data, classes = _load(subject.train), _load(subject.train_labels)
    assert data is not None
    assert classes is not None
    data, classes = _subset(data, JUDGED, options.seed), _subset(classes, JUDGED, options.seed)
    asked = torch.arange(min(options.samples, 1000)) % (int(classes.max()) + 1)
    found = {
        "class_agreement": class_agreement(subject.sample_given(asked, options.seed), asked, data, classes)
    }
    if subject.test is not None and subject.test_labels is not None:
        x, y = _held_out(subject, replace(options, samples=1000))
        assert y is not None
        found["class_agreement_data"] = class_agreement(x, y, data, classes)
    return found


def run_marginal_kl(subject: Subject, options: Options) -> dict[str, Estimate]:
    """Algorithm 2 over the encodings of the whole training set."""
    loc, scale = _gaussians(subject, options)
    evaluate = max(2, min(len(loc), options.samples // 10))
    samples = max(2, options.samples // evaluate)
    found = marginal_kl(loc, scale, samples=samples, evaluate=evaluate, seed=options.seed).estimates()
    found["marginal_rate"] = found.pop("rate")  # over the training set: not the held-out rate of "elbo"
    return found


def run_reconstruction(subject: Subject, options: Options) -> dict[str, Estimate]:
    """The decoder's mean at one draw of the code, against held-out data."""
    assert subject.decode is not None
    x, y = _held_out(subject, options)
    z = _codes(subject, x, y, options)
    made = []
    with torch.no_grad(), own_randomness(options.seed, x):
        for start in range(0, len(x), options.batch_size):
            part = slice(start, start + options.batch_size)
            p = as_distribution(subject.decode(z[part], None if y is None else y[part]), "the decoder")
            try:
                made.append(p.mean)
            except NotImplementedError:
                made.append(p.sample())
    found = reconstruction_error(x, torch.cat(made).reshape(x.shape))
    return {"mse": found.mse, "l1": found.l1}


def run_code_moments(subject: Subject, options: Options) -> dict[str, Estimate]:
    """Mean and covariance of codes of held-out data."""
    x, y = _held_out(subject, options)
    found = code_moments(_codes(subject, x, y, options).flatten(1))
    return {"code_mean": found.mean, "code_covariance": found.covariance}


def run_mode_coverage(subject: Subject, options: Options) -> dict[str, Estimate]:
    """The VEEGAN protocol: always 2,500 samples, for the count depends on their number."""
    assert subject.sample is not None
    assert subject.modes is not None
    assert subject.mode_scale is not None
    found = mode_coverage(subject.sample(SAMPLES, options.seed), subject.modes, subject.mode_scale)
    how = f"of {found.total}; captured by at least one high-quality sample of {SAMPLES}"
    modes = Estimate(found.modes, found.modes_error, SAMPLES, "modes", how)
    return {"modes": modes, "high_quality": found.high_quality, "mode_kl": found.kl}


def run_ms_ssim_diversity(subject: Subject, options: Options) -> dict[str, Estimate]:
    """Both conventions, of the samples and, where there is enough of it, of the held-out data."""
    assert subject.sample is not None
    count = BATCHES * BATCH_SIZE
    sets = {"": subject.sample(count, options.seed)}
    test = _load(subject.test)
    if test is not None and len(test) >= count:
        sets["_data"] = _subset(test, count, options.seed)
    low, high = subject.image_range
    found = {}
    for suffix, images in sets.items():
        unit = ((images - low) / (high - low)).clamp(0, 1)
        for convention in CONVENTIONS:
            key = f"ms_ssim_diversity_{convention}{suffix}"
            found[key] = ms_ssim_diversity(unit, convention=convention, seed=options.seed)
    return found


def _load(data: Data | None) -> Tensor | None:
    return data() if callable(data) and not isinstance(data, Tensor) else data


def _subset(values: Tensor, count: int, seed: int) -> Tensor:
    """At most `count` rows, a random subset: the same rows for data and labels of one length."""
    if len(values) <= count:
        return values
    return values[torch.randperm(len(values), generator=seeded(seed))[:count].to(values.device)]


def _held_out(subject: Subject, options: Options) -> tuple[Tensor, Tensor | None]:
    x, y = _load(subject.test), _load(subject.test_labels)
    assert x is not None
    if y is not None and len(y) != len(x):
        raise BadInput(f"the held-out data have {len(x)} examples and {len(y)} labels")
    count, seed = options.samples, options.seed
    return _subset(x, count, seed), None if y is None else _subset(y, count, seed)


def _codes(subject: Subject, x: Tensor, y: Tensor | None, options: Options) -> Tensor:
    """One draw of q(z|x) for every example."""
    assert subject.encode is not None
    codes = []
    with torch.no_grad(), own_randomness(options.seed, x):
        for start in range(0, len(x), options.batch_size):
            part = slice(start, start + options.batch_size)
            q = as_distribution(subject.encode(x[part], None if y is None else y[part]), "the encoder")
            codes.append(q.sample())
    return torch.cat(codes)


def _gaussians(subject: Subject, options: Options) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of q(z|x) over the training set, (N, D) each."""
    assert subject.encode is not None
    x, y = _load(subject.train), _load(subject.train_labels)
    assert x is not None
    locs, scales = [], []
    with torch.no_grad(), own_randomness(options.seed, x):
        for start in range(0, len(x), options.batch_size):
            part = slice(start, start + options.batch_size)
            q = as_distribution(subject.encode(x[part], None if y is None else y[part]), "the encoder")
            while isinstance(q, Independent):
                q = q.base_dist
            if not isinstance(q, Normal):
                raise BadInput(f"needs a diagonal Gaussian encoder; this one returns {type(q).__name__}")
            locs.append(q.loc.flatten(1))
            scales.append(q.scale.flatten(1))
    return torch.cat(locs), torch.cat(scales)


_ENTRIES = (
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
        "class_agreement",
        "Does the model draw the class that it was asked for?",
        ("sample_given", "train", "train_labels"),
        run_class_agreement,
        "a 3-nearest-neighbour classifier of data; class_agreement_data is its mark on real ones",
        {"class_agreement": "higher", "class_agreement_data": ""},
    ),
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
        "reconstruction",
        "How far is a reconstruction from its datum?",
        ("encode", "decode", "test"),
        run_reconstruction,
        "mean squared and absolute error per pixel",
        {"mse": "lower", "l1": "lower"},
    ),
    Diagnostic(
        "code_moments",
        "Have the codes the prior's mean and covariance?",
        ("encode", "test", "standard_prior"),
        run_code_moments,
        "the first two moments of N(0, I)",
        {"code_mean": "lower", "code_covariance": "lower"},
    ),
    Diagnostic(
        "mode_coverage",
        "How many of the data's modes does the model reach, and how well?",
        ("sample", "modes", "mode_scale"),
        run_mode_coverage,
        "Srivastava et al., 1705.07761",
        {"modes": "higher", "high_quality": "higher", "mode_kl": "lower"},
    ),
    Diagnostic(
        "ms_ssim_diversity",
        "Are samples as different from one another as data are?",
        ("sample", "is_image"),
        run_ms_ssim_diversity,
        "Fedus, Rosca et al., 1710.08446, section 5.3",
        {f"ms_ssim_diversity_{c}{suffix}": "" for c in CONVENTIONS for suffix in ("", "_data")},
    ),
)

DIAGNOSTICS = {entry.name: entry for entry in _ENTRIES}
