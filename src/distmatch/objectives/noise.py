"""Noise of a step, named and made outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """The noise that a term takes from outside.

    Args:
        distribution: uniform on [0, 1), or standard normal.
        shape: one number for each example, or as many as x or z has; `"batch"` is one for all.
    """

    distribution: Literal["uniform", "normal"] = "uniform"
    shape: Literal["each", "x", "z", "batch"] = "each"

    def draw(
        self,
        sizes: Mapping[str, tuple[int, ...]],
        generator: torch.Generator,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Fresh noise; `sizes` gives the shape of a batch of `"x"` and of `"z"`.

        >>> g = torch.Generator().manual_seed(0)
        >>> Noise("normal", "z").draw({"x": (5, 1, 8, 8), "z": (5, 2)}, g).shape
        torch.Size([5, 2])
        """
        shape = {**sizes, "each": sizes["x"][:1], "batch": ()}[self.shape]
        make = torch.rand if self.distribution == "uniform" else torch.randn
        return make(shape, generator=generator, device=generator.device, dtype=dtype)
