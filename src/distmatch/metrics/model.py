"""A model under test, how much work a metric may do, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from distmatch.metrics.estimate import Estimate
from distmatch.metrics.features.nets import FeatureNet
from distmatch.metrics.plots import Plot

Data = Tensor | Callable[[], Tensor]


@dataclass(frozen=True)
class Critic:
    """A trained critic with what it was to tell apart.

    Attributes:
        score: (*draws) -> (n,), differentiable.
        target, model: fresh draws of both sides, one tensor (n, *) for each input of `score`, in the critic's units
            (pictures as in [-1, 1], but for the shift), as its penalty has them.
        is_log_ratio: whether the score of an ideal critic is log target/model, as under the logistic loss.
        apart: whether each side is scored by a function of its own (batch norm), so that there is none between them;
            then the last input says of each row which one is meant.

    >>> import torch
    >>> draws = (torch.zeros(4, 2),)
    >>> Critic(lambda x: x.sum(1), draws, draws).score(*draws).shape
    torch.Size([4])
    """

    score: Callable[..., Tensor]
    target: tuple[Tensor, ...]
    model: tuple[Tensor, ...]
    is_log_ratio: bool = False
    apart: bool = False


@dataclass(frozen=True)
class Model:
    """A model under test: every field is optional, and the metrics that need a missing one do not apply.

    Attributes:
        sample: (n, seed) -> x, n draws from the model.
        encode: (x, y or None) -> q(z|x), of data; decode: (z, y or None) -> p(x|z), of codes; as torch.distributions.
        encode_samples, decode_prior: the same of the model's own samples, and of draws of the prior, where nets tell
            them apart (batch norm does); None where they do not.
        sample_with_labels: (y, seed) -> x, one draw for each label (n,).
        generate: (z, y or None) -> x, one image of each draw of the prior, differentiable.
        draw_prior: (n, seed) -> z, (n, D).
        critics: (n, seed) -> its trained critics by name, each with n draws of both sides.
        has_likelihood: whether the decoder's density means something (False for one that only generates).
        log_prob: (x, y or None) -> log p(x) in nats (n,), where the model knows it.
        grey_levels: how many levels the data had before noise made them continuous on [0, 1]; None for others.
        prior: p(z), batch shape (), where it was learned; None for a fixed one.
        standard_prior: whether p(z) is N(0, I).
        latent: the dimension of z.
        train, test: prepared data (n, *), as tensors or as functions that load them; with labels.
        modes, mode_scale: the true mixture's means (K, D) and its σ, where the data have them.
        is_image: whether x is (n, c, h, w); image_range: the values of black and white.
        stacked_digits: whether x is three digits of MNIST as channels.

    >>> Model().has_likelihood
    False
    """

    sample: Callable[[int, int], Tensor] | None = None
    encode: Callable[[Tensor, Tensor | None], Distribution] | None = None
    decode: Callable[[Tensor, Tensor | None], Distribution] | None = None
    encode_samples: Callable[[Tensor, Tensor | None], Distribution] | None = None
    decode_prior: Callable[[Tensor, Tensor | None], Distribution] | None = None
    sample_with_labels: Callable[[Tensor, int], Tensor] | None = None
    generate: Callable[[Tensor, Tensor | None], Tensor] | None = None
    draw_prior: Callable[[int, int], Tensor] | None = None
    critics: Callable[[int, int], Mapping[str, Critic]] | None = None
    has_likelihood: bool = False
    log_prob: Callable[[Tensor, Tensor | None], Tensor] | None = None
    grey_levels: int | None = None
    prior: Distribution | None = None
    standard_prior: bool = True
    latent: int | None = None
    train: Data | None = None
    test: Data | None = None
    train_labels: Data | None = None
    test_labels: Data | None = None
    modes: Tensor | None = None
    mode_scale: float | None = None
    is_image: bool = False
    image_range: tuple[float, float] = (0.0, 1.0)
    stacked_digits: bool = False


@dataclass(frozen=True)
class Options:
    """The amount of work: codes, samples or examples at most, the seed, and the batch of encoder and decoder.

    `features` turns images into what the scores compare; None for the classifier that is made for the data, where
    there is one. `progress` is called with the share that is done, 0 to 1, by whatever takes more than a few seconds.
    """

    samples: int = 10_000
    seed: int = 0
    batch_size: int = 256
    progress: Callable[[float], None] | None = None
    features: FeatureNet | None = None


@dataclass(frozen=True)
class Result:
    """The result of one metric: estimates by key, and plots beside them."""

    metrics: dict[str, Estimate]
    plots: tuple[Plot, ...] = ()


REASONS = {  # why a metric that needs a field does not apply
    "sample": "needs samples; this system cannot be sampled",
    "encode": "needs an encoder; this system has none",
    "decode": "needs a decoder; this system has none",
    "generate": "needs images of codes that can be differentiated; this system gives none",
    "draw_prior": "needs a prior that can be drawn from; this system has none",
    "critics": "needs a critic; this system has none",
    "has_likelihood": "needs a decoder with a likelihood; this system has none",
    "sample_with_labels": "needs a model that is given labels; this one is not",
    "log_prob": "needs a model that knows log p(x) itself; this one does not",
    "standard_prior": "compares with N(0, I); the prior of this system is another",
    "train_labels": "needs labelled training data; none was given",
    "latent": "needs the latent dimension; this system has none",
    "train": "needs training data; none was given",
    "test": "needs held-out data; none was given",
    "modes": "needs data whose modes are known; this data's are not",
    "mode_scale": "needs the scale of the data's modes; none was given",
    "stacked_digits": "needs stacked MNIST, three digits as channels; this data is not",
    "is_image": "needs images; this data is not made of images",
}
