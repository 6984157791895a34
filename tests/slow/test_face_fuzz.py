"""A thousand calls of the public face as people get them wrong: right by plain torch, or refused in one sentence."""

import math
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Bernoulli, Distribution, Independent, Laplace, Normal

import distmatch as dm
from distmatch.errors import BadInput, Doubt
from distmatch.random import seeded

pytestmark = pytest.mark.slow
CALLS = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
N = 24
SHAPES = st.sampled_from([(), (1,), (2,), (3,), (1, 2, 2), (2, 2, 1)])
DTYPES = st.sampled_from(
    [torch.float32] * 5 + [torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool]
)
RANGES = st.sampled_from(["binary", "unit", "signed", "normal", "bytes", "nan"])
KINDS = {
    "normal": lambda h: Normal(h, 0.5),
    "laplace": lambda h: Laplace(h, 0.5),
    "bernoulli": lambda h: Bernoulli(logits=h),
    "tensor": lambda h: h,
    "tuple": lambda h: (h, h),
}


def data_of(shape: tuple[int, ...], dtype: torch.dtype, span: str) -> torch.Tensor:
    unit = torch.rand(N, *shape, generator=seeded(0))
    x = {
        "binary": unit.round(),
        "unit": unit,
        "signed": 2 * unit - 1,
        "normal": torch.randn(N, *shape, generator=seeded(1)),
        "bytes": (255 * unit).round(),
        "nan": torch.where(unit > 0.9, math.nan, unit),
    }[span]
    return x.nan_to_num().to(dtype) if not dtype.is_floating_point else x.to(dtype)


class Net(nn.Module):
    """A linear net whose output of some shape becomes a distribution, with some dimensions in the event."""

    def __init__(self, inputs: int, shape: tuple[int, ...], kind: str, joined: int, whole: bool) -> None:
        super().__init__()
        self.net, self.shape, self.kind = nn.Linear(inputs, math.prod(shape)), shape, kind
        self.joined, self.whole = joined, whole

    def forward(self, h: torch.Tensor) -> object:
        out = self.net(h.reshape(len(h), -1))
        out = (out.mean(0) if self.whole else out).reshape(*(() if self.whole else (len(h),)), *self.shape)
        made = KINDS[self.kind](out)
        return Independent(made, self.joined) if isinstance(made, Distribution) and self.joined else made


@st.composite
def nets(draw: st.DrawFn, inputs: int, right: tuple[int, ...], kinds: list[str]) -> Net:
    """Mostly what it should be; else of another shape, joined otherwise, or one for the whole batch."""
    shape = draw(st.one_of(st.just(right), st.just(right), SHAPES))
    joined = draw(st.one_of(st.just(len(shape)), st.integers(0, len(shape))))
    whole = draw(st.sampled_from([False] * 5 + [True]))
    torch.manual_seed(0)
    return Net(inputs, shape, draw(st.sampled_from(kinds)), joined, whole)


def said_in_one_sentence(error: BadInput) -> None:
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 600


@CALLS
@given(st.data())
def test_a_trainer_of_own_nets(drawn: st.DataObject) -> None:
    """Its first losses are E[-log p(x|z)] and KL[q ‖ N(0, I)] by hand, or it is refused."""
    shape, latent = drawn.draw(SHAPES), drawn.draw(st.integers(1, 3))
    x = data_of(shape, drawn.draw(DTYPES), drawn.draw(RANGES))
    size = max(1, math.prod(shape))
    encoder = drawn.draw(nets(size, (latent,), ["normal"] * 4 + ["laplace", "tensor", "tuple"]))
    decoder = drawn.draw(nets(latent, shape, ["normal", "normal", "laplace", "bernoulli", "tensor"]))
    objective = dm.NLL() + dm.KL()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Doubt)
            feed = dm.Feed(objective, x, latent=latent, batch_size=N)
            trainer = dm.Trainer(objective, {"encoder": encoder, "decoder": decoder}, feed)
    except BadInput as error:
        said_in_one_sentence(error)
        return
    beside = feed.beside(feed.seed)
    b = beside.next()
    q = encoder(b.x).base_dist
    z = q.loc + q.scale * b.noise["z_code"]
    rate = 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * q.scale.log()).sum(1).mean()
    p = decoder(z)
    while isinstance(p, Independent):
        p = p.base_dist
    values = (
        p.log_prob(b.x) if decoder.kind != "bernoulli" else b.x * p.logits - nn.functional.softplus(p.logits)
    )
    losses = trainer.run(1)
    assert losses["kl"] == pytest.approx(rate.item(), rel=1e-4, abs=1e-6)
    assert losses["nll"] == pytest.approx(-values.reshape(N, -1).sum(1).mean().item(), rel=1e-4, abs=1e-5)


@CALLS
@given(st.data())
def test_the_evidence_lower_bound_of_own_nets(drawn: st.DataObject) -> None:
    shape, latent = drawn.draw(SHAPES), drawn.draw(st.integers(1, 3))
    x = data_of(shape, drawn.draw(DTYPES), drawn.draw(RANGES))
    encoder = drawn.draw(nets(max(1, math.prod(shape)), (latent,), ["normal"] * 4 + ["tensor"]))
    decoder = drawn.draw(nets(latent, shape, ["normal", "normal", "laplace", "bernoulli", "tensor"]))
    if drawn.draw(st.booleans()):
        encoder.net = nn.Sequential(encoder.net, nn.Dropout(0.5))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Doubt)
            bound = dm.metrics.evidence_lower_bound(encoder, decoder, x)
    except BadInput as error:
        said_in_one_sentence(error)
        return
    assert bound.elbo.n == N
    assert not any(isinstance(m, nn.Dropout) for m in encoder.modules())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        q = encoder(x)
        q.sample()  # the first is for the shape of the prior
        z = q.sample()
        log_p = decoder(z).log_prob(x).double().reshape(N, -1).sum(1)
    while isinstance(q, Independent):
        q = q.base_dist
    rate = 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * q.scale.log()).double().reshape(N, -1).sum(1)
    assert bound.rate.value == pytest.approx(rate.mean().item(), rel=1e-4, abs=1e-6)
    assert bound.distortion.value == pytest.approx(-log_p.mean().item(), rel=1e-4, abs=1e-5)
