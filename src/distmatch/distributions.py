"""The laws that nets return, beside torch's own, and what the engine asks of any law.

Everything here is a `torch.distributions.Distribution`, built without validation, so that it works inside
`torch.compile` and `torch.func.vmap`. Random numbers come from outside: see `reparameterise`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Distribution,
    Independent,
    Normal,
    TransformedDistribution,
    constraints,
)
from torch.distributions.utils import broadcast_all
from torch.nn.functional import softplus

from distmatch.errors import BadInput

EXACT = 40.0  # from here on softplus(l) is l in double precision too
SampleShape = torch.Size | list[int] | tuple[int, ...]


class Delta(Distribution):
    """The point mass at `loc`: an implicit decoder's or a deterministic encoder's law.

    Arguments:
        loc: the point, `(*batch, *event)`.
        event_dim: how many last dimensions of `loc` make one event.

    >>> law = Delta(torch.tensor([[1.0, 2.0]]), event_dim=1)
    >>> law.batch_shape, law.event_shape, law.rsample((3,)).shape
    (torch.Size([1]), torch.Size([2]), torch.Size([3, 1, 2]))
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)
    has_rsample = True

    def __init__(self, loc: Tensor, event_dim: int = 0) -> None:
        self.loc = loc
        cut = loc.ndim - event_dim
        super().__init__(loc.shape[:cut], loc.shape[cut:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The point itself, `(*batch, *event)`."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The point itself, `(*batch, *event)`."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Zero, `(*batch, *event)`."""
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """The point, repeated: `(*sample_shape, *batch, *event)`."""
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def expand(self, batch_shape: SampleShape, _instance: Distribution | None = None) -> Delta:
        """The same point for each of a larger batch, `(*batch_shape, *event)`."""
        return Delta(self.loc.expand(*batch_shape, *self.event_shape), len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Raises `BadInput`: a point mass has no density."""
        raise BadInput(
            "an implicit decoder has no likelihood (nor has a deterministic encoder a density): "
            "use a term that needs draws only, or an explicit law such as 'bernoulli' or 'gaussian'"
        )


class NoisyPoint(Delta):
    """An implicit posterior's draw: a point whose noise went in before, with the moments of its law.

    Arguments:
        loc: the draw, `(*batch, *event)`.
        moments: mean and standard deviation of the law that it was drawn from, each of the shape of `loc`.
        event_dim: how many last dimensions of `loc` make one event.

    >>> zero = torch.zeros(3, 2)
    >>> NoisyPoint(zero, (zero, zero + 1), event_dim=1).batch_shape
    torch.Size([3])
    """

    def __init__(self, loc: Tensor, moments: tuple[Tensor, Tensor], event_dim: int = 0) -> None:
        self.moment_loc, self.moment_scale = moments
        super().__init__(loc, event_dim)


class DensityAt(Distribution):
    """A law of which the log-density is known at one point only.

    This is what an exact but costly density leaves behind: a flow's or an autoregressive net's forward pass at a
    point. It holds tensors alone, so it passes through `torch.func.vmap`.

    Arguments:
        log_density: log p(point) in nats, `(*batch)`.
        mean: a draw of the law, `(*batch, *event)`, where there is one.

    >>> DensityAt(torch.tensor([-1.5]), torch.zeros(1, 2)).log_prob(torch.ones(1, 2))
    tensor([-1.5000])
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(self, log_density: Tensor, mean: Tensor | None = None) -> None:
        self.log_density = log_density
        self.draw = mean
        event = torch.Size() if mean is None else mean.shape[log_density.ndim :]
        super().__init__(log_density.shape, event, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The draw that came with it, `(*batch, *event)`."""
        if self.draw is None:
            raise BadInput("this law is known by its density at one point alone, and was not drawn from")
        return self.draw

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density at the one point, which `value` must be; in nats, `(*batch)`."""
        return self.log_density


class TeacherForced(Distribution):
    """The law of an autoregressive net, for evaluation: its density by teacher forcing, its draws one by one.

    Arguments:
        given: x -> the law of each sub-pixel given those before it in x.
        ancestral: () -> a draw, `(B, *event)`.
        batch: B.
        event: the shape of one x.
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(
        self,
        given: Callable[[Tensor], Distribution],
        ancestral: Callable[[], Tensor],
        batch: int,
        event: tuple[int, ...],
    ) -> None:
        self.given = given
        self.ancestral = ancestral
        super().__init__(torch.Size((batch,)), torch.Size(event), validate_args=False)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """One draw for each row, `(B, *event)`; `sample_shape` must be empty."""
        if tuple(sample_shape):
            raise BadInput("an autoregressive law is drawn from once for each code; repeat the codes")
        return self.ancestral()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x|z), in nats, `(B,)`."""
        return self.given(value).log_prob(value)

    @property
    def support(self) -> constraints.Constraint | None:
        """That of each sub-pixel."""
        return self.given(torch.zeros(*self.batch_shape, *self.event_shape)).support


class Dequantised(Distribution):
    """A law that dequantises, scored with fresh uniform noise from torch's global generator, as training scores it.

    Arguments:
        law: the law, batch shape `(B,)`.

    >>> law = Dequantised(Independent(QuantizedNormal(torch.full((1, 2), 0.5), torch.tensor(1e-3)), 1))
    >>> x = torch.full((1, 2), 0.5)
    >>> bool(law.log_prob(x) == law.log_prob(x)), law.mean.shape
    (False, torch.Size([1, 2]))
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(self, law: Distribution) -> None:
        self.law = law
        super().__init__(law.batch_shape, law.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The law's mean, `(B, *event)`."""
        return self.law.mean

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """A draw of the law, `(*sample_shape, B, *event)`."""
        return self.law.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x + u), in nats, at a fresh u; `(B,)`."""
        return log_likelihood(self.law, value, torch.rand_like(value))


class Levels(constraints.Constraint):
    """x in {0, 1/(n-1), ..., 1}, within a hundredth of a level."""

    is_discrete = True

    def __init__(self, n: int) -> None:
        self.n = n
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each entry is a level."""
        level = value * (self.n - 1)
        return (level >= -0.01) & (level <= self.n - 0.99) & ((level - level.round()).abs() < 0.01)


class QuantizedNormal(Distribution):
    """A normal density for discrete data x in {0, 1/(n-1), ..., 1}, by uniform dequantisation.

    With u ~ U[0, 1) and n = `bins`, the dequantised x̃ = ((n-1) x + u) / n lies in [0, 1), and
    log p(x) = log N(x̃; loc, scale) in nats, a density on [0, 1]. Per dimension,
    log P(x) ≥ E_u[log N(x̃; loc, scale)] - log n bounds the probability of the level x; so a discrete
    negative log-likelihood is bounded by the one here plus D log n.

    Arguments:
        loc: the mean of x̃, `(*)`.
        scale: its standard deviation, broadcast against `loc`.
        bins: the number of levels.

    Reference: Theis, van den Oord and Bethge, A note on the evaluation of generative models,
    arXiv:1511.01844, section 3.1.

    >>> law = QuantizedNormal(torch.tensor(0.5), torch.tensor(0.1))
    >>> round(law.mean.item(), 6), round(law.log_prob(torch.tensor(0.5)).item(), 4)
    (0.5, 1.3836)
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(self, loc: Tensor, scale: Tensor, bins: int = 256) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.bins = bins
        super().__init__(self.loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """(n·loc - ½) / (n-1), in the data's units; levels are not clipped to [0, 1]. `(*)`."""
        return (self.bins * self.loc - 0.5) / (self.bins - 1)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Levels in {0, 1/(n-1), ..., 1}, the tails in the end levels. `(*sample_shape, *)`."""
        with torch.no_grad():
            shape = (*sample_shape, *self.loc.shape)
            dequantised = torch.normal(self.loc.expand(shape), self.scale.expand(shape))
            return (self.bins * dequantised).floor().clamp(0, self.bins - 1) / (self.bins - 1)

    def log_prob(self, value: Tensor, noise: Tensor | None = None) -> Tensor:
        """log N(((n-1) x + u) / n; loc, scale), in nats; `noise` is u in [0, 1), and None ½. `(*)`."""
        u: Tensor | float = 0.5 if noise is None else noise
        dequantised = ((self.bins - 1) * value + u) / self.bins
        return Normal(self.loc, self.scale, validate_args=False).log_prob(dequantised)


class LogitBernoulli(Bernoulli):
    """Torch's Bernoulli law by its logits, with a log-probability of two operations.

    log p(x) = x·l - ln(1 + eˡ), in nats; a score, no log-probability, where x lies between 0 and 1. Torch's own form
    falls into a dozen operations where runs are trained as lanes (half of the time of a small VAE), and cancels where
    it is all but certain that x is 0, as on the background of digits.

    Arguments:
        logits: l, of the batch's shape.

    >>> LogitBernoulli(torch.zeros(2)).log_prob(torch.tensor([0.0, 1.0])).exp()
    tensor([0.5000, 0.5000])
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats, of the shape of `value` and the logits together."""
        return value * self.logits - softplus(self.logits, threshold=EXACT)


class PixelCategorical(Distribution):
    """A categorical law over n grey levels per pixel: x in {0, 1/(n-1), ..., 1}.

    log p(x) = log softmax(logits)[(n-1) x], in nats: a probability, not a density.

    Arguments:
        logits: unnormalised log-probabilities of the levels, `(*, n)`; the batch shape is `(*)`.

    >>> law = PixelCategorical(torch.zeros(3, 256))
    >>> law.batch_shape, 256 * law.log_prob(torch.ones(3)).exp().round(decimals=8)
    (torch.Size([3]), tensor([1., 1., 1.]))
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], validate_args=False)

    @property
    def levels(self) -> int:
        """The number of grey levels n."""
        return self.logits.shape[-1]

    @property
    def support(self) -> Levels:
        """The grey levels.

        >>> PixelCategorical(torch.zeros(1, 3)).support.check(torch.tensor([0.5, 0.6]))
        tensor([ True, False])
        """
        return Levels(self.levels)

    @property
    def mean(self) -> Tensor:
        """The expected level over n-1, differentiable in the logits. `(*)`."""
        grey = torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.softmax(-1) @ grey

    @property
    def mode(self) -> Tensor:
        """The most probable level over n-1. `(*)`."""
        return self.logits.argmax(-1).to(self.logits.dtype) / (self.levels - 1)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Levels in {0, 1/(n-1), ..., 1}. `(*sample_shape, *)`."""
        with torch.no_grad():
            rows = self.logits.softmax(-1).reshape(-1, self.levels)
            draws = math.prod(sample_shape)
            picked = torch.multinomial(rows, draws, replacement=True).T
            shape = (*sample_shape, *self.logits.shape[:-1])
            return picked.reshape(shape).to(self.logits.dtype) / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of the level nearest to `value` in [0, 1], in nats. `(*)`."""
        level = (value * (self.levels - 1)).round().long().unsqueeze(-1)
        shape = torch.broadcast_shapes(level.shape[:-1], self.logits.shape[:-1])
        table = self.logits.log_softmax(-1).expand(*shape, self.levels)
        return table.gather(-1, level.expand(*shape, 1)).squeeze(-1)


def standard_normal(latent: int, device: torch.device | str | None = None) -> Independent:
    """The prior p(z) = N(0, I) over `(latent,)`.

    >>> standard_normal(2).event_shape
    torch.Size([2])
    """
    zeros = torch.zeros(latent, device=device)
    return Independent(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1, validate_args=False)


def reparameterise(distribution: Distribution, noise: Tensor) -> Tensor:
    """The draw as a deterministic, differentiable function of `noise` ~ N(0, 1) of the draw's shape.

    N(μ, σ²): μ + σ·noise. A point mass: its point. A transformed law: the transforms of its base's draw.
    (`rsample` draws its own numbers, which `torch.func.vmap` refuses.)

    Raises:
        BadInput: the law has no such form here.

    >>> reparameterise(Normal(1.0, 2.0), torch.tensor([-1.0, 0.5]))
    tensor([-1.,  2.])
    """
    if isinstance(distribution, Independent):
        return reparameterise(distribution.base_dist, noise)
    if isinstance(distribution, Normal):
        return distribution.loc + distribution.scale * noise
    if isinstance(distribution, Delta):
        return distribution.loc
    if isinstance(distribution, TransformedDistribution):
        draw = reparameterise(distribution.base_dist, noise)
        for transform in distribution.transforms:
            draw = transform(draw)
        return draw
    raise BadInput(
        f"a draw from {type(distribution).__name__} is not a differentiable function of normal noise; "
        "use its mean, or a law that is normal or implicit"
    )


def draw_and_score(distribution: Distribution, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A draw z as a function of `noise` ~ N(0, 1), and log q(z) in nats, `(*batch)`.

    A transformed law is scored on the way: log q(z) = log q₀(z₀) - Σ log|det ∂f_k|, without inverting a transform.

    >>> z, log_q = draw_and_score(standard_normal(2), torch.zeros(2))
    >>> z, round(log_q.item(), 4)
    (tensor([0., 0.]), -1.8379)
    """
    if not isinstance(distribution, TransformedDistribution):
        z = reparameterise(distribution, noise)
        return z, distribution.log_prob(z)
    z, log_q = draw_and_score(distribution.base_dist, noise)
    for transform in distribution.transforms:
        before, z = z, transform(z)
        change = transform.log_abs_det_jacobian(before, z)
        log_q = log_q - change.reshape(*log_q.shape, -1).sum(-1)
    return z, log_q


def log_likelihood(distribution: Distribution, x: Tensor, noise: Tensor | None = None) -> Tensor:
    """log p(x), in nats, with `noise` in [0, 1) as the dequantisation where the law has one.

    Arguments:
        distribution: the law of x, batch shape `(B,)`.
        x: `(B, *event)`.
        noise: uniform, of the shape of `x`; a law that does not dequantise ignores it.

    >>> law = Independent(QuantizedNormal(torch.full((1, 2), 0.5), torch.tensor(0.1)), 1)
    >>> log_likelihood(law, torch.full((1, 2), 0.5), noise=torch.full((1, 2), 0.5))
    tensor([2.7673])
    """
    if noise is None:
        return distribution.log_prob(x)
    if isinstance(distribution, QuantizedNormal):
        return distribution.log_prob(x, noise)
    if isinstance(distribution, Independent) and isinstance(distribution.base_dist, QuantizedNormal):
        events = tuple(range(-distribution.reinterpreted_batch_ndims, 0))
        each = distribution.base_dist.log_prob(x, noise)
        return each.sum(events) if events else each
    return distribution.log_prob(x)


def is_diagonal_normal(q: Distribution) -> bool:
    """Whether q is a diagonal normal over vectors.

    >>> is_diagonal_normal(standard_normal(3)), is_diagonal_normal(Normal(0.0, 1.0))
    (True, False)
    """
    return isinstance(q, Independent) and isinstance(q.base_dist, Normal) and len(q.event_shape) == 1


def kl_divergence_to_standard_normal(q: Distribution) -> Tensor:
    """KL[q ‖ N(0, I)] = ½ Σ (μ² + σ² - 1 - ln σ²), in nats, `(B,)`.

    Raises:
        BadInput: `q` is not a diagonal normal over vectors, so that this form does not hold.

    >>> kl_divergence_to_standard_normal(standard_normal(3))
    tensor(0.)
    """
    if isinstance(q, Delta):
        raise BadInput(
            "a deterministic encoder has no KL to the prior: give the encoder a 'gaussian' posterior, "
            "or match the codes to the prior with a critic"
        )
    if not is_diagonal_normal(q):
        raise BadInput(
            f"no closed form is known here for the KL of {type(q).__name__} to N(0, I); "
            "it needs a diagonal normal"
        )
    base = q.base_dist  # type: ignore[attr-defined]
    return 0.5 * (base.loc.square() + base.scale.square() - 1 - 2 * base.scale.log()).sum(-1)


def flatten_distribution(
    distribution: Distribution,
) -> tuple[list[Tensor], Callable[[list[Tensor]], Distribution]]:
    """Every tensor that a law holds, and the way back: what carries laws across `torch.func.vmap`.

    Nested laws (`Independent`, `TransformedDistribution`) are followed; transforms stay as they are. Values
    that a law computed from its parameters and kept (`Bernoulli.probs`) are left out, and computed anew.

    Returns:
        The tensors, and `rebuild(tensors)`: a copy of the law on other tensors, without validation. Where
        they have leading dimensions more than the old ones, the batch shape has them too.

    >>> tensors, rebuild = flatten_distribution(Independent(Normal(torch.zeros(2), torch.ones(2)), 1))
    >>> rebuild([t.expand(5, 2) for t in tensors]).batch_shape
    torch.Size([5])
    """
    tensors: list[Tensor] = []
    places: dict[str, int] = {}
    nested: dict[str, tuple[int, int, Callable[[list[Tensor]], Distribution]]] = {}
    other: dict[str, object] = {}
    for name, value in _own_attributes(distribution).items():
        if isinstance(value, Tensor):
            same = [i for i, t in enumerate(tensors) if t is value]
            places[name] = same[0] if same else len(tensors)
            tensors += [] if same else [value]
        elif isinstance(value, Distribution):
            inner, inner_rebuild = flatten_distribution(value)
            nested[name] = (len(tensors), len(inner), inner_rebuild)
            tensors += inner
        else:
            other[name] = value
    kind, batch_shape, dims = type(distribution), distribution.batch_shape, tensors[0].ndim if tensors else 0

    def rebuild(new: list[Tensor]) -> Distribution:
        copy = object.__new__(kind)
        for name, value in other.items():
            setattr(copy, name, value)
        for name, place in places.items():
            setattr(copy, name, new[place])
        for name, (start, length, inner_rebuild) in nested.items():
            setattr(copy, name, inner_rebuild(new[start : start + length]))
        if new and new[0].ndim > dims:
            copy._batch_shape = new[0].shape[: new[0].ndim - dims] + batch_shape
        return copy

    return tensors, rebuild


def _own_attributes(distribution: Distribution) -> dict[str, object]:
    """A law's attributes, but for what `lazy_property` computed from others and kept.

    The compiler of torch 2.11 looks names up in an instance's `__dict__`, but cannot list them: there the class tells.
    """
    kind, held = type(distribution), distribution.__dict__
    source = held.get("_param")
    names = _named_in(kind) if torch.compiler.is_compiling() else tuple(held)
    own: dict[str, object] = {}
    for name in names:
        if name in held and (held[name] is source or not hasattr(kind, name) or name.startswith("_")):
            own[name] = held[name]
    return own


@torch.compiler.assume_constant_result
def _named_in(kind: type) -> tuple[str, ...]:
    """Every name in the code of a class's methods: what they may set on an instance, and more.

    >>> {"loc", "scale", "_batch_shape"} <= set(_named_in(Normal))
    True
    """
    methods = [f for base in kind.__mro__ for f in vars(base).values() if isinstance(f, FunctionType)]
    return tuple(dict.fromkeys(name for method in methods for name in method.__code__.co_names))
