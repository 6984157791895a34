"""The decoder as a map, and critics: those that a system was trained with, and a fresh one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.codes.moments import ratio_calibration
from distmatch.metrics.entries.gather import codes, held_out, load, subset
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.generator.gradients import gradient_norms
from distmatch.metrics.generator.independent_critic import independent_critic
from distmatch.metrics.generator.inversion import inference_via_optimization
from distmatch.metrics.generator.jacobian import JacobianSpectrum, jacobian_spectrum
from distmatch.metrics.model import Critic, Diagnostic, Findings, Options, Subject
from distmatch.metrics.plots import Exhibit, Histograms, Lines, Pictures
from distmatch.random import own_randomness

MAPPED = 64  # codes at which the decoder's Jacobian is looked at
MAPPED_ENTRIES = 2**22  # of all these Jacobians together
INVERTED = 64  # held-out examples for which a code is sought
INVERSION_STEPS = 80
SHOWN = 16
JUDGED = 4000  # examples of each set that the fresh critic sees
CRITIC_STEPS = {True: 200, False: 500}  # on images, on other data
STEEP = 512  # pairs between which a trained critic's slope is taken
CALIBRATED = 1000
CRITICS = ("data", "code", "joint")  # their usual names


def run_jacobian_spectrum(subject: Subject, options: Options) -> Findings:
    """At codes from the prior; with the labels in turn where the model is given labels."""
    assert subject.generate is not None
    assert subject.draw_prior is not None
    z = subject.draw_prior(max(2, min(options.samples, MAPPED)), options.seed)
    y = _labels(subject, len(z))
    with torch.no_grad():
        size = subject.generate(z[:1], None if y is None else y[:1]).numel()
    n = max(2, MAPPED_ENTRIES // (size * z.shape[1]))
    found = jacobian_spectrum(
        _decoder(subject), z[:n], y=None if y is None else y[:n], progress=options.progress
    )
    metrics = {
        "log_condition_number": found.log_condition_number,
        "log_condition_number_spread": found.log_condition_number_spread,
        "log_volume": found.log_volume,
    }
    return Findings(metrics, _spectra(found))


def _spectra(found: JacobianSpectrum) -> tuple[Exhibit, ...]:
    singular = found.singular_values
    tiny = singular.max() * 1e-8
    rank = torch.arange(1, singular.shape[1] + 1)
    log_condition = 2 * (singular[:, 0] / singular[:, -1].clamp_min(tiny)).log()
    return (
        Histograms(
            "Condition numbers of the decoder's metric at codes from the prior: two clusters foretell bad samples",
            {"codes": log_condition},
            "log cond(JᵀJ), nats",
        ),
        Lines(
            "Singular values of the decoder's Jacobian: how much each direction of z moves x",
            rank,
            {
                "geometric mean over codes": singular.clamp_min(tiny).log().mean(0).exp(),
                "of the averaged J": found.of_mean.clamp_min(tiny),
                "of the averaged JᵀJ (root)": found.of_mean_metric[: len(rank)].clamp_min(tiny),
            },
            "rank",
            "singular value",
            log="y",
        ),
    )


def run_inversion(subject: Subject, options: Options) -> Findings:
    """For held-out examples, from draws of the prior and, where there is an encoder, from its code."""
    assert subject.draw_prior is not None
    assert subject.latent is not None
    x, y = held_out(subject, replace(options, samples=min(options.samples, INVERTED)))
    start = None if subject.encode is None else codes(subject, x, y, options).flatten(1)
    found = inference_via_optimization(
        _decoder(subject),
        x,
        subject.latent,
        y=y,
        start=start,
        draw_prior=subject.draw_prior,
        restarts=2 if start is None else 1,
        steps=INVERSION_STEPS,
        seed=options.seed,
        progress=options.progress,
    )
    exhibits: list[Exhibit] = [
        Lines(
            "The least error found, step by step: still falling at the end means that more steps would help",
            torch.arange(len(found.history)),
            {"mean over examples": found.history},
            "step",
            "squared error per pixel",
            log="y",
        )
    ]
    if subject.is_image:
        low, high = subject.image_range
        worst = found.errors.argsort(descending=True)[:SHOWN]
        pair = torch.cat([x[worst], found.reconstructions[worst]])
        exhibits.append(
            Pictures(
                "Held-out images that are hardest for the model, over the nearest that it can make",
                ((pair - low) / (high - low)).clamp(0, 1),
                len(worst),
                ("data", "nearest G(z)"),
            )
        )
    return Findings({"inversion_error": found.error, "inversion_code_norm": found.code_norm}, tuple(exhibits))


def run_independent_critic(subject: Subject, options: Options) -> Findings:
    """One half of the held-out data is for the critic (its training and validation), one for the test."""
    assert subject.sample is not None
    count, seed = min(options.samples, JUDGED), options.seed
    train, test = load(subject.train), load(subject.test)
    assert train is not None
    assert test is not None
    test = subset(test, min(2 * count, len(test)), seed)
    test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(seed)).to(test.device)]
    middle = len(test) // 2
    found = independent_critic(
        subject.sample(count, seed),
        subset(train, count, seed),
        test[:middle],
        test[middle:],
        steps=CRITIC_STEPS[subject.is_image],
        seed=seed,
        progress=options.progress,
    )
    assert found.test is not None
    metrics = {
        "critic_distance_train": found.train,
        "critic_distance_validation": found.validation,
        "critic_distance_test": found.test,
        "critic_overfitting": found.overfitting,
        "critic_slope": found.slope.mean,
    }
    curve = Lines(
        "The fresh critic's loss: still falling at the end means that it could tell more apart",
        torch.arange(1, len(found.losses) + 1),
        {"critic": found.losses},
        "step",
        "loss",
    )
    return Findings(metrics, (curve,))


def run_gradient_norms(subject: Subject, options: Options) -> Findings:
    """Of each trained critic that scores examples one by one."""
    metrics: dict[str, Estimate] = {}
    norms: dict[str, Tensor] = {}
    refusals: list[str] = []
    for name, critic in _critics(subject, options, STEEP).items():
        try:
            if critic.apart:
                raise BadInput(
                    "its batch norm scores data and samples by statistics of their own, so that there is no one "
                    "slope between them"
                )
            found = gradient_norms(critic.score, critic.target, critic.model, seed=options.seed)
        except BadInput as refusal:
            refusals.append(f"critic {name!r}: {refusal}")
            continue
        metrics |= {f"gradient_norm_{name}": found.mean, f"gradient_norm_spread_{name}": found.spread}
        norms[name] = found.norms
    if not metrics:
        raise BadInput("; ".join(refusals))
    caption = "Slopes of the trained critics between data and samples; a Wasserstein critic's should be 1"
    return Findings(metrics, (Histograms(caption, norms, "‖∇f‖"),))


def run_ratio_calibration(subject: Subject, options: Options) -> Findings:
    """Of each trained critic whose score is to be log p/q."""
    metrics: dict[str, Estimate] = {}
    exhibits: list[Exhibit] = []
    ratios = {k: c for k, c in _critics(subject, options, CALIBRATED).items() if c.is_log_ratio}
    if not ratios:
        raise BadInput(
            "needs a critic whose score is log p/q, as under the logistic loss; this system's are not"
        )
    for name, critic in ratios.items():
        scores = {}
        with torch.no_grad(), own_randomness(options.seed):
            for side, draws in {"target": critic.target, "model": critic.model}.items():
                scores[side] = _in_batches(critic.score, draws, options.batch_size)
        found = ratio_calibration(scores["target"], scores["model"])
        metrics |= {
            f"calibration_model_{name}": found.model,
            f"calibration_target_{name}": found.target,
            f"critic_accuracy_{name}": found.accuracy,
        }
        caption = f"Scores of critic {name!r}, log target/model at best: where they overlap it cannot tell them apart"
        exhibits.append(Histograms(caption, scores, "score, nats"))
    return Findings(metrics, tuple(exhibits))


def _critics(subject: Subject, options: Options, most: int) -> Mapping[str, Critic]:
    """The subject's critics, with at most so many draws."""
    assert subject.critics is not None
    found = subject.critics(max(2, min(options.samples, most)), options.seed)
    if not found:
        raise BadInput("needs a critic of single examples; every critic of this system judges whole batches")
    return found


def _in_batches(score: Callable[..., Tensor], draws: tuple[Tensor, ...], size: int) -> Tensor:
    rows = range(0, len(draws[0]), size)
    return torch.cat([score(*(v[i : i + size] for v in draws)) for i in rows]).double()


def _decoder(subject: Subject) -> Callable[..., Tensor]:
    generate = subject.generate
    assert generate is not None
    return lambda z, y=None: generate(z, y)


def _labels(subject: Subject, n: int) -> Tensor | None:
    """All classes in turn, where the model is given labels."""
    known = load(subject.train_labels) if subject.sample_given is not None else None
    return None if known is None else torch.arange(n) % (int(known.max()) + 1)


ENTRIES = (
    Diagnostic(
        "jacobian_spectrum",
        "Does the decoder stretch all directions of z alike, or does it flatten some?",
        ("generate", "draw_prior"),
        run_jacobian_spectrum,
        "Odena et al., 1802.08768",
        {"log_condition_number": "lower", "log_condition_number_spread": "lower", "log_volume": ""},
    ),
    Diagnostic(
        "inference_via_optimization",
        "Can the model make held-out data at all, from the best code for each?",
        ("generate", "draw_prior", "latent", "test"),
        run_inversion,
        "Metz et al., 1611.02163; Srivastava et al., 1705.07761",
        {"inversion_error": "lower", "inversion_code_norm": ""},
        quick=False,
    ),
    Diagnostic(
        "independent_critic",
        "How far are samples from data that neither model nor critic has seen, and from the training data?",
        ("sample", "train", "test"),
        run_independent_critic,
        "Danihelka et al., 1705.05263",
        {
            "critic_distance_train": "lower",
            "critic_distance_validation": "lower",
            "critic_distance_test": "lower",
            "critic_overfitting": "lower",
            "critic_slope": "",
        },
        quick=False,
    ),
    Diagnostic(
        "gradient_norms",
        "How steep is each critic between data and samples?",
        ("critics",),
        run_gradient_norms,
        "Gulrajani et al., 1704.00028",
        {f"gradient_norm_{part}{name}": "" for name in CRITICS for part in ("", "spread_")},
    ),
    Diagnostic(
        "ratio_calibration",
        "Is each critic's score the log of the density ratio, and how well does it tell the two apart?",
        ("critics",),
        run_ratio_calibration,
        "E_q e^t = E_p e^-t = 1 for t = log p/q",
        {
            f"{metric}_{name}": ""
            for name in CRITICS
            for metric in ("calibration_model", "calibration_target", "critic_accuracy")
        },
    ),
)
