"""Distributions that nets return, beside torch's own, and what the engine asks of any distribution.

Everything here is a `torch.distributions.Distribution`, built without validation, so that it works inside
`torch.compile` and `torch.func.vmap`. Random numbers come from outside: see `reparameterise`.
"""
