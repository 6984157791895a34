"""What every system's nets and critics minimise, from its paper, by hand.

The equations know nothing of terms, comparisons, objectives or the step: they take the nets as functions. Numbers
that change with time are taken half way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from distmatch.distributions.points import Delta

Losses = dict[str, Tensor]
Weights = dict[str, dict[str, Tensor]]


@dataclass
class Here:
    """The nets as functions, one batch, and its noise, as the equations want them."""

    nets: Mapping[str, nn.Module]
    weights: Weights
    x: Tensor
    y: Tensor | None
    noise: Mapping[str, Tensor]

    def call(self, name: str, *inputs: Tensor, **more: Any) -> Any:
        given = more if self.y is None else {"y": self.y, **more}
        return functional_call(self.nets[name], self.weights[name], inputs, given)

    @property
    def z(self) -> Tensor:
        return self.noise["z_prior"]

    def posterior(self) -> tuple[Tensor, Tensor]:
        distribution = self.call("encoder", self.x).base_dist
        return distribution.loc, distribution.scale

    def encode(self, x: Tensor, name: str) -> Tensor:
        if hasattr(self.nets["encoder"], "noise_size"):
            return self.call("encoder", x, noise=self.noise[name]).loc
        distribution = self.call("encoder", x)
        if isinstance(distribution, Delta):
            return distribution.loc
        return distribution.base_dist.loc + distribution.base_dist.scale * self.noise[name]

    def code(self) -> Tensor:
        return self.encode(self.x, "z_code")

    def decode(self, z: Tensor) -> Tensor:
        return self.call("decoder", z).mean

    def nll(self, z: Tensor) -> Tensor:
        """-log N(x; μ, s²)."""
        distribution = self.call("decoder", z).base_dist
        each = (
            0.5 * ((self.x - distribution.loc) / distribution.scale) ** 2
            + distribution.scale.log()
            + 0.5 * math.log(2 * math.pi)
        )
        return each.sum(1).mean()

    def data(self, *inputs: Tensor) -> Tensor:
        return self.call("data", *inputs)

    def code_score(self, z: Tensor) -> Tensor:
        return self.call("code", z)

    def joint(self, x: Tensor, z: Tensor) -> Tensor:
        return self.call("joint", x, z)


def log_d(t: Tensor) -> Tensor:
    """E log σ(t)."""
    return -softplus(-t).mean()


def log_not_d(t: Tensor) -> Tensor:
    """E log(1 - σ(t))."""
    return -softplus(t).mean()


def l1(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean(1).mean()


def vae(here: Here) -> Losses:
    nll = here.nll(here.code())
    return {"encoder": nll + kl(here), "decoder": nll}


def non_saturating_gan(here: Here) -> Losses:
    x_gen = here.decode(here.z)
    return {
        "data": -log_d(here.data(here.x)) - log_not_d(here.data(x_gen)),
        "decoder": -log_d(here.data(x_gen)),
    }


def wasserstein_gan(here: Here) -> Losses:
    x_gen = here.decode(here.z)
    return {
        "data": -here.data(here.x).mean() + here.data(x_gen).mean(),
        "decoder": -here.data(x_gen).mean(),
    }


def wasserstein_gan_gp(here: Here) -> Losses:
    losses, x_gen = wasserstein_gan(here), here.decode(here.z).detach()
    alpha = here.noise["penalty/match(x_gen, x)"][:, None]
    u = (alpha * here.x + (1 - alpha) * x_gen).requires_grad_()
    (slope,) = torch.autograd.grad(here.data(u).sum(), u, create_graph=True)
    norms = (slope**2).sum(1).sqrt()
    return losses | {"data": losses["data"] + 10 * ((norms - 1) ** 2).mean()}


def wasserstein_gan_gp_with_drift(here: Here) -> Losses:
    losses = wasserstein_gan_gp(here)
    return losses | {"data": losses["data"] + 0.001 * (here.data(here.x) ** 2).mean()}


def aae(here: Here) -> Losses:
    code = here.code()
    nll = here.nll(code)
    return {
        "code": -log_d(here.code_score(here.z)) - log_not_d(here.code_score(code)),
        "encoder": nll - log_d(here.code_score(code)),
        "decoder": nll,
    }


def ali(here: Here) -> Losses:
    code, x_gen = here.code(), here.decode(here.z)
    data, model = here.joint(here.x, code), here.joint(x_gen, here.z)
    both = -log_not_d(data) - log_d(model)
    return {"joint": -log_d(data) - log_not_d(model), "encoder": both, "decoder": both}


RATIO_CRITICS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "reverse_kl": (lambda t: -t.sigmoid().log(), lambda t: -(-t).sigmoid().log()),
    "brier": (lambda t: (1 - t.sigmoid()) ** 2, lambda t: t.sigmoid() ** 2),
    "lsif": (lambda t: -t.exp(), lambda t: t.exp() ** 2 / 2),
    "kliep": (lambda t: -t, lambda t: t.exp()),
}
"""What a critic whose score is t = log p/q minimises: on p, and on q."""


def ali_by_ratio(here: Here, by: str) -> Losses:
    """KL[p(x̃, z) ‖ q(x, ẑ)], its ratio r = q(x, ẑ)/p(x̃, z) held still: E_p[-log r], which moves the decoder, and
    E_q[1 - 1/r], which moves the encoder: d/dq of p log p/q is -p/q."""
    data, model = here.joint(here.x, here.code()), here.joint(here.decode(here.z), here.z)
    on_p, on_q = RATIO_CRITICS[by]
    both = -model.mean() + (1 - 1 / data.exp()).mean()
    return {"joint": on_p(data).mean() + on_q(model).mean(), "encoder": both, "decoder": both}


def vgh_by_hand(here: Here, encoder_sees_critic: bool = False) -> Losses:
    """Equations 12 to 14: the encoder minimises λ‖x - x̂‖₁ - log C(ẑ), the decoder λ‖x - x̂‖₁ - log D(x̂)."""
    code = here.code()
    x_rec = here.decode(code)
    seen = -log_d(here.data(x_rec))
    return {
        "data": -log_d(here.data(here.x)) - log_not_d(here.data(x_rec)),
        "code": -log_d(here.code_score(here.z)) - log_not_d(here.code_score(code)),
        "encoder": 10 * l1(here.x, x_rec)
        - log_d(here.code_score(code))
        + (seen if encoder_sees_critic else 0),
        "decoder": 10 * l1(here.x, x_rec) + seen,
    }


def vgh_plus_plus_by_hand(here: Here, encoder_sees_critic: bool = False) -> Losses:
    """And samples: the data count twice in the critic, once against each."""
    losses, x_gen = vgh_by_hand(here, encoder_sees_critic), here.decode(here.z)
    return losses | {
        "data": losses["data"] - log_d(here.data(here.x)) - log_not_d(here.data(x_gen)),
        "decoder": losses["decoder"] - log_d(here.data(x_gen)),
    }


def kl(here: Here) -> Tensor:
    """KL[N(μ, σ²) ‖ N(0, I)]."""
    mean, scale = here.posterior()
    return 0.5 * (mean**2 + scale**2 - 1 - (scale**2).log()).sum(1).mean()


def log_normal(u: Tensor, mean: Tensor | float = 0.0, scale: Tensor | float = 1.0) -> Tensor:
    """log N(u; mean, scale²) of each row."""
    scale = torch.as_tensor(scale, dtype=u.dtype)
    return (-0.5 * ((u - mean) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def slopes(score: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """‖∇ score‖² of each row, differentiable."""
    leaves = [u.detach().requires_grad_() for u in inputs]
    found = torch.autograd.grad(score(*leaves).sum(), leaves, create_graph=True)
    return sum((g**2).sum(1) for g in found)


# Explicit


def beta_vae(here: Here) -> Losses:
    """β half way from 0 to 4."""
    nll = here.nll(here.code())
    return {"encoder": nll + 2 * kl(here), "decoder": nll}


def vae_rate(here: Here, nll: Callable[[Tensor], Tensor] | None = None) -> Losses:
    rate, distortion = kl(here), (nll or here.nll)(here.code())
    return {"encoder": distortion + rate + 10 * (rate - 20).abs(), "decoder": distortion}


def iwae(here: Here) -> Losses:
    """log 1/5 Σ p(x|z) p(z) / q(z|x)."""
    mean, scale = here.posterior()
    weights = []
    for noise in here.noise["z_code"].chunk(5):
        z = mean + scale * noise
        distribution = here.call("decoder", z).base_dist
        log_p = log_normal(here.x, distribution.loc, distribution.scale)
        weights.append((log_p + log_normal(z) - log_normal(z, mean, scale)).exp())
    bound = -(sum(weights) / 5).log().mean()
    return {"encoder": bound, "decoder": bound}


def vae_nvp(here: Here) -> Losses:
    """z₁ = u, z₂ = v exp(k tanh u) with (u, v) ~ N(μ, σ²); log q(z|x) = log N(u, v) - k tanh u."""
    base, k = here.call("encoder", here.x).base_dist.base_dist, here.weights["encoder"]["k"]
    first = base.loc + base.scale * here.noise["z_code"]
    change = k * first[:, 0].tanh()
    z = torch.stack([first[:, 0], first[:, 1] * change.exp()], 1)
    rate = (log_normal(first, base.loc, base.scale) - change - log_normal(z)).mean()
    nll = here.nll(z)
    return {"encoder": nll + rate, "decoder": nll}


def with_prior(here: Here, log_m: Callable[[Tensor], Tensor]) -> Losses:
    mean, scale = here.posterior()
    z = here.code()
    nll, rate = here.nll(z), (log_normal(z, mean, scale) - log_m(z)).mean()
    return {"encoder": nll + rate, "decoder": nll, "prior": rate}


def vae_mixture(here: Here) -> Losses:
    at = here.weights["prior"]["at"]
    return with_prior(here, lambda z: sum(0.5 * log_normal(z, m).exp() for m in at).log())


def vae_vamp(here: Here) -> Losses:
    distribution = here.call("encoder", here.weights["prior"]["at"]).base_dist
    parts = list(zip(distribution.loc, distribution.scale, strict=True))
    return with_prior(here, lambda z: sum(0.5 * log_normal(z, m, s).exp() for m, s in parts).log())


def vae_flow_prior(here: Here) -> Losses:
    """z = a + (u, v exp(k tanh u)), (u, v) ~ N(0, I)."""
    at, k = here.weights["prior"]["at"], here.weights["prior"]["k"]

    def log_m(z: Tensor) -> Tensor:
        u, twisted = (z - at).unbind(1)
        change = k * u.tanh()
        return log_normal(torch.stack([u, twisted / change.exp()], 1)) - change

    return with_prior(here, log_m)


def pixels(here: Here, z: Tensor) -> Tensor:
    """-log N(x₁; m₁, 1) - log N(x₂; m₂ + w x₁, s²), m a function of z or not."""
    weights = here.weights["decoder"]
    m = (
        weights["loc"].expand(len(z), 2)
        if "loc" in weights
        else z @ weights["loc.weight"] + weights["loc.bias"]
    )
    first = log_normal(here.x[:, :1], m[:, :1])
    second = log_normal(here.x[:, 1:], m[:, 1:] + weights["w"] * here.x[:, :1], weights["log_scale"].exp())
    return -(first + second).mean()


def pixelcnn(here: Here) -> Losses:
    return {"decoder": pixels(here, here.z)}


def pixelvae(here: Here) -> Losses:
    nll = pixels(here, here.code())
    return {"encoder": nll + kl(here), "decoder": nll}


def pixelvae_rate(here: Here) -> Losses:
    return vae_rate(here, lambda z: pixels(here, z))


def real_nvp(here: Here) -> Losses:
    """x = z B + b is N(b, BᵀB)."""
    b, shift = here.weights["decoder"]["loc.weight"], here.weights["decoder"]["loc.bias"]
    distribution = torch.distributions.MultivariateNormal(shift, b.T @ b)
    return {"decoder": -distribution.log_prob(here.x).mean()}


# Adversarial


def minimax_gan(here: Here) -> Losses:
    losses = non_saturating_gan(here)
    return losses | {"decoder": log_not_d(here.data(here.decode(here.z)))}


def unrolled_gan(here: Here) -> Losses:
    """The decoder minimises what a critic that has looked ahead gains, on data too: it moves that critic."""
    losses = non_saturating_gan(here)
    return losses | {"decoder": -losses["data"]}


def reverse_kl_gan(here: Here) -> Losses:
    return non_saturating_gan(here) | {"decoder": -here.data(here.decode(here.z)).mean()}


def least_squares_gan(here: Here) -> Losses:
    real, fake = here.data(here.x), here.data(here.decode(here.z))
    return {
        "data": 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean(),
        "decoder": 0.5 * ((fake - 1) ** 2).mean(),
    }


def hinge_gan(here: Here) -> Losses:
    real, fake = here.data(here.x), here.data(here.decode(here.z))
    return {"data": (1 - real).relu().mean() + (1 + fake).relu().mean(), "decoder": -fake.mean()}


def f_gan(here: Here) -> Losses:
    """Jensen-Shannon: T = log 2 - softplus(-v), f*(T) = -log(2 - exp T)."""
    real, fake = (math.log(2) - softplus(-here.data(u)) for u in (here.x, here.decode(here.z)))
    conjugate = -(2 - fake.exp()).log().mean()
    return {"data": -real.mean() + conjugate, "decoder": -conjugate}


def kl_gan(here: Here) -> Losses:
    """KL(p ‖ q) = E_p log r: its gradient in q is that of -E_q r, with r = D/(1 - D) held still."""
    return non_saturating_gan(here) | {"decoder": -here.data(here.decode(here.z)).exp().mean()}


def penalised(here: Here, penalty: Tensor) -> Losses:
    losses = non_saturating_gan(here)
    return losses | {"data": losses["data"] + penalty}


def between(here: Here, name: str = "match(x_gen, x)") -> Tensor:
    alpha = here.noise[f"penalty/{name}"][:, None]
    return alpha * here.x + (1 - alpha) * here.decode(here.z)


def gan_gp(here: Here) -> Losses:
    return penalised(here, 10 * ((slopes(here.data, between(here)).sqrt() - 1) ** 2).mean())


def dragan(here: Here) -> Losses:
    around = here.x + 0.5 * here.x.std() * here.noise["penalty/match(x_gen, x)/0"]
    return penalised(here, 10 * ((slopes(here.data, around).sqrt() - 1) ** 2).mean())


def gan_r1(here: Here) -> Losses:
    return penalised(here, 5 * slopes(here.data, here.x).mean())


def gan_r2(here: Here) -> Losses:
    return penalised(here, 5 * slopes(here.data, here.decode(here.z)).mean())


def gan_roth(here: Here) -> Losses:
    """γ·0.01^(t/T) at t = T/2, with γ = 2: a tenth of it."""
    real, fake = here.x, here.decode(here.z).detach()
    on_p = (1 - here.data(real).sigmoid()) ** 2 * slopes(here.data, real)
    on_q = here.data(fake).sigmoid() ** 2 * slopes(here.data, fake)
    return penalised(here, 0.5 * 0.2 * (on_p + on_q).mean())


def noisy_gan(here: Here) -> Losses:
    """σ half way from 0.5 to 0."""
    noise = {v: 0.25 * here.noise[f"instance/data/match(x_gen, x)/{i}"] for i, v in enumerate(("x_gen", "x"))}
    real, fake = here.data(here.x + noise["x"]), here.data(here.decode(here.z) + noise["x_gen"])
    return {"data": -log_d(real) - log_not_d(fake), "decoder": -log_d(fake)}


def pacgan(here: Here) -> Losses:
    half = len(here.x) // 2

    def packs(u: Tensor) -> Tensor:
        return here.data(u[:half], u[half : 2 * half])

    real, fake = packs(here.x), packs(here.decode(here.z))
    return {"data": -log_d(real) - log_not_d(fake), "decoder": -log_d(fake)}


def lens_gan(here: Here) -> Losses:
    """λ = 1 - sin(πt/2K) at t = K/2; what the lens minimises of the critic's is -log(1 - D(x̄))."""
    seen = here.call("lens", here.x)
    real, fake = here.data(seen), here.data(here.decode(here.z))
    return {
        "data": -log_d(real) - log_not_d(fake),
        "decoder": -log_d(fake),
        "lens": -(1 - math.sin(math.pi / 4)) * log_not_d(real) + ((here.x - seen) ** 2).sum(1).mean(),
    }


def clamped_gan(here: Here) -> Losses:
    step = here.noise["z_near"]
    near = here.z + step / (step**2).sum(1, keepdim=True).sqrt()
    slope = ((here.decode(here.z) - here.decode(near)) ** 2).sum(1).sqrt()
    outside = (slope.clamp(min=20) - 20) ** 2 + (slope.clamp(max=1) - 1) ** 2
    losses = non_saturating_gan(here)
    return losses | {"decoder": losses["decoder"] + outside.mean()}


def mixed(here: Here) -> tuple[float, Tensor, Tensor]:
    """The share of the batch that became real, and σ of the scores of it and of a batch of samples."""
    share, choice = (here.noise[f"{n}/mixed_batch(x_gen, x)"] for n in ("share", "choice"))
    x_gen = here.decode(here.z)
    rows = [a if c < share else b for a, b, c in zip(here.x, x_gen, choice, strict=True)]
    realised = sum(bool(c < share) for c in choice) / len(rows)
    return realised, here.data(torch.stack(rows)).sigmoid(), here.data(x_gen).sigmoid()


def bgan(here: Here) -> Losses:
    share, both, fake = mixed(here)
    real = both.mean()
    return {
        "data": -share * real.log() - (1 - share) * (1 - real).log(),
        "decoder": -fake.mean().log(),
    }


def m_bgan(here: Here) -> Losses:
    share, both, fake = mixed(here)
    return {
        "data": (-share * both.log() - (1 - share) * (1 - both).log()).mean(),
        "decoder": -fake.log().mean(),
    }


SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def kernel_means(a: Tensor, b: Tensor, kernel: Callable[[Tensor, float], Tensor]) -> Tensor:
    """k of all pairs."""
    squares = ((a[:, None] - b[None]) ** 2).sum(2)
    return sum(kernel(squares, s * a.shape[1]) for s in SCALES)


def gmmn(here: Here) -> Losses:
    x_gen = here.decode(here.z)
    xx, yy, xy = (
        kernel_means(a, b, lambda d, s: (-d / (2 * s)).exp()).mean()
        for a, b in ((x_gen, x_gen), (here.x, here.x), (x_gen, here.x))
    )
    return {"decoder": (xx + yy - 2 * xy).sqrt()}


# Codes


def wae_cost(here: Here) -> Tensor:
    return 0.0125 * ((here.x - here.decode(here.code())) ** 2).sum(1).mean()


def wae_gan(here: Here) -> Losses:
    code = here.code()
    return {
        "code": -log_d(here.code_score(here.z)) - log_not_d(here.code_score(code)),
        "encoder": wae_cost(here) - 10 * log_d(here.code_score(code)),
        "decoder": wae_cost(here),
    }


def wae_mmd(here: Here) -> Losses:
    codes, n = here.code(), len(here.x)

    def imq(d: Tensor, s: float) -> Tensor:
        return 2 * s / (2 * s + d)

    within = [kernel_means(u, u, imq) for u in (codes, here.z)]
    mmd = sum((k.sum() - k.trace()) / (n * (n - 1)) for k in within)
    mmd = mmd - 2 * kernel_means(codes, here.z, imq).mean()
    return {"encoder": wae_cost(here) + 10 * mmd, "decoder": wae_cost(here)}


def avb(here: Here) -> Losses:
    """With T = -t, 1 for (x, ẑ) and 0 for (x, z); the encoder minimises -log p(x|ẑ) + T."""
    code = here.code()
    on_code, on_prior = -here.joint(here.x, code), -here.joint(here.x, here.z)
    nll = here.nll(code)
    return {
        "joint": -log_d(on_code) - log_not_d(on_prior),
        "encoder": nll + on_code.mean(),
        "decoder": nll,
    }


def avb_ac(here: Here) -> Losses:
    """T(x, z̄) + log r(ẑ|x) - log p(ẑ), the moments held still."""
    distribution = here.call("encoder", here.x, noise=here.noise["z_code"])
    mean, scale = distribution.moment_loc.detach(), distribution.moment_scale.detach()
    code = distribution.loc
    on_code, on_prior = -here.joint(here.x, (code - mean) / scale), -here.joint(here.x, here.z)
    nll = here.nll(code)
    return {
        "joint": -log_d(on_code) - log_not_d(on_prior),
        "encoder": nll + (on_code + log_normal(code, mean, scale) - log_normal(code)).mean(),
        "decoder": nll,
    }


def fitted_kl(codes: Tensor) -> Tensor:
    """½ mean(m² + s² - 1 - log s²) of the codes' mean and variance."""
    mean, variance = codes.mean(0), codes.var(0, unbiased=False)
    return 0.5 * (mean**2 + variance - 1 - variance.log()).mean()


def age(here: Here) -> Losses:
    code, z_rec = here.code(), here.encode(here.decode(here.z), "z_rec")
    cosine = (here.z * z_rec).sum(1) / ((here.z**2).sum(1) * (z_rec**2).sum(1)).sqrt()
    return {
        "encoder": fitted_kl(code) - fitted_kl(z_rec) + 10 * l1(here.x, here.decode(code)),
        "decoder": fitted_kl(z_rec) + 1000 * (1 - cosine).mean() / here.z.shape[1],
    }


# Joints and hybrids


def alice(here: Here) -> Losses:
    """λ = 1, and means over coordinates: of data, and of codes that went through the decoder."""
    losses = ali(here)
    of_x = ((here.x - here.decode(here.code())) ** 2).mean()
    of_z = ((here.z - here.encode(here.decode(here.z), "z_rec")) ** 2).mean()
    return losses | {p: losses[p] + of_x + of_z for p in ("encoder", "decoder")}


def alice_adversarial(here: Here) -> Losses:
    losses = ali(here)
    z_rec = here.encode(here.decode(here.z), "z_rec")
    same, back = here.call("pair", here.x, here.x), here.call("pair", here.x, here.decode(here.code()))
    same_z, back_z = here.call("code_pair", here.z, here.z), here.call("code_pair", here.z, z_rec)
    return losses | {
        "pair": -log_d(same) - log_not_d(back),
        "code_pair": -log_d(same_z) - log_not_d(back_z),
        **{p: losses[p] - 0.1 * (log_d(back) + log_d(back_z)) for p in ("encoder", "decoder")},
    }


def veegan(here: Here, encoder_sees_critic: bool = True) -> Losses:
    """With t = log of samples over data: the decoder minimises t(x̃, z) + ‖z - F(x̃)‖², the encoder -t(x, F(x)) and
    the same distance."""
    x_gen = here.decode(here.z)
    on_data, on_model = -here.joint(here.x, here.code()), -here.joint(x_gen, here.z)
    back = ((here.z - here.encode(x_gen, "z_rec")) ** 2).sum(1).mean()
    return {
        "joint": -log_d(on_model) - log_not_d(on_data),
        "decoder": on_model.mean() + back,
        "encoder": back - (on_data.mean() if encoder_sees_critic else 0),
    }


def veegan_by_score(here: Here) -> Losses:
    """The same by a score f that holds no ratio: both nets lower the difference of its means."""
    x_gen = here.decode(here.z)
    on_data, on_model = here.joint(here.x, here.code()).mean(), here.joint(x_gen, here.z).mean()
    back = ((here.z - here.encode(x_gen, "z_rec")) ** 2).sum(1).mean()
    both = on_data - on_model + back
    return {"joint": on_model - on_data, "decoder": both, "encoder": both}


def alpha_gan(here: Here, encoder_sees_critic: bool = False) -> Losses:
    """R(u) = -log u + log(1 - u): of C(ẑ) for the encoder, of D(x̂) and D(x̃) for the decoder."""

    def ratio(scores: Tensor) -> Tensor:
        u = scores.sigmoid()
        return (-u.log() + (1 - u).log()).mean()

    code, x_gen = here.code(), here.decode(here.z)
    x_rec = here.decode(code)
    return {
        "data": -2 * log_d(here.data(here.x)) - log_not_d(here.data(x_rec)) - log_not_d(here.data(x_gen)),
        "code": -log_d(here.code_score(here.z)) - log_not_d(here.code_score(code)),
        "encoder": 10 * l1(here.x, x_rec)
        + ratio(here.code_score(code))
        + (ratio(here.data(x_rec)) if encoder_sees_critic else 0),
        "decoder": 10 * l1(here.x, x_rec) + ratio(here.data(x_rec)) + ratio(here.data(x_gen)),
    }


def vae_gan(here: Here) -> Losses:
    """The decoder lowers γ times the features' distance, and raises D(x̃)."""
    real, x_gen = here.x, here.decode(here.z)
    features = [here.call("data", u, hidden=True) for u in (real, here.decode(here.code()))]
    distance = 0.5 * ((features[0] - features[1]) ** 2).sum(1).mean()
    return {
        "data": -log_d(here.data(real)) - log_not_d(here.data(x_gen)),
        "encoder": kl(here) + distance,
        "decoder": 0.01 * distance - log_d(here.data(x_gen)),
    }


BY_HAND: dict[str, Callable[[Here], Losses]] = {
    "vae": vae,
    "cvae": vae,
    "conv-vae": vae,
    "beta-vae": beta_vae,
    "vae-rate": vae_rate,
    "iwae": iwae,
    "vae-nvp": vae_nvp,
    "vae-mixture": vae_mixture,
    "vae-vamp": vae_vamp,
    "vae-flow-prior": vae_flow_prior,
    "pixelcnn": pixelcnn,
    "pixelvae": pixelvae,
    "pixelvae-rate": pixelvae_rate,
    "real-nvp": real_nvp,
    "real-nvp-wgan": wasserstein_gan_gp,
    "gan": non_saturating_gan,
    "cgan": non_saturating_gan,
    "dcgan": non_saturating_gan,
    "cdcgan": non_saturating_gan,
    "minimax-gan": minimax_gan,
    "lsgan": least_squares_gan,
    "hinge-gan": hinge_gan,
    "sngan": hinge_gan,
    "f-gan": f_gan,
    "wgan": wasserstein_gan,
    "wgan-gp": wasserstein_gan_gp,
    "gan-gp": gan_gp,
    "dragan": dragan,
    "gan-r1": gan_r1,
    "gan-r2": gan_r2,
    "gan-roth": gan_roth,
    "consensus-gan": non_saturating_gan,
    "noisy-gan": noisy_gan,
    "minibatch-gan": non_saturating_gan,
    "unrolled-gan": unrolled_gan,
    "pacgan": pacgan,
    "lens-gan": lens_gan,
    "bgan": bgan,
    "m-bgan": m_bgan,
    "progressive-gan": wasserstein_gan_gp_with_drift,
    "clamped-gan": clamped_gan,
    "gmmn": gmmn,
    "aae": aae,
    "wae-gan": wae_gan,
    "wae-mmd": wae_mmd,
    "avb": avb,
    "avb-ac": avb_ac,
    "age": age,
    "ali": ali,
    "bigan": ali,
    "alice": alice,
    "veegan": veegan,
    "alpha-gan": alpha_gan,
    "vgh": vgh_by_hand,
    "vgh++": vgh_plus_plus_by_hand,
    "vae-gan": vae_gan,
}
CLIPPED = {"wgan": 0.01}  # before each of the critic's steps
