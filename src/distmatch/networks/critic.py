"""Critics around a family's layers: from what is compared to one score for each example."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distmatch.errors import BadInput
from distmatch.networks.inputs import centred, full
from distmatch.networks.shapes import Shapes, append_labels


class FlatCritic(nn.Module):
    """A critic of any tuple of variables, flattened and set beside one another: scores `(B,)`.

    Arguments:
        body: from the sum of the sizes (and labels) to `(B, 1)`; all but its last module make the features.
        shapes: of x, z and y.
        spaces: `"x"` or `"z"` per input.
    """

    def __init__(self, body: nn.Sequential, shapes: Shapes, spaces: tuple[str, ...]) -> None:
        super().__init__()
        self.prepare, self.body, self.shapes, self.spaces = centred(shapes), body, shapes, spaces
        self.x_units = shapes.x_units

    def forward(self, *inputs: Tensor, y: Tensor | None = None, hidden: bool = False) -> Tensor:
        """Scores `(B,)`, raw, of inputs `(B, *x)` or `(B, latent)` in the order of `spaces`.

        With `hidden`, the features `(B, F)` that the last layer is given.
        """
        check_inputs(inputs, self.spaces)
        seen = [self.prepare(v) if s == "x" else v for v, s in zip(inputs, self.spaces, strict=True)]
        flat = torch.cat([v.flatten(1) for v in seen], 1) if len(seen) > 1 else seen[0].flatten(1)
        *inner, last = self.body
        h = append_labels(flat, y, self.shapes.num_classes)
        for layer in inner:
            h = layer(h)
        return full(h if hidden else last(h).squeeze(-1))


class ImageCritic(nn.Module):
    """A critic of images, and of codes beside them: scores `(B,)`.

    Images are stacked as channels, y joins them as planes; codes go through `code`, then beside the features.

    Arguments:
        prepare: what is done to the images before the labels join them.
        features: from images to `(B, F)`.
        code: from the codes to `(B, G)`; None where `spaces` has no `"z"`.
        head: from `(B, F + G)` to `(B, 1)`.
        shapes: of x, z and y.
        spaces: `"x"` or `"z"` per input, with at least one `"x"`.
    """

    def __init__(
        self,
        prepare: nn.Module,
        features: nn.Module,
        code: nn.Module | None,
        head: nn.Module,
        shapes: Shapes,
        spaces: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.prepare, self.features, self.code, self.head = prepare, features, code, head
        self.shapes, self.spaces, self.x_units = shapes, spaces, shapes.x_units

    def forward(self, *inputs: Tensor, y: Tensor | None = None, hidden: bool = False) -> Tensor:
        """Scores `(B,)`, raw, of inputs `(B, C, H, W)` or `(B, latent)` in the order of `spaces`.

        With `hidden`, what the head is given: the features `(B, F)`, or `(B, F + G)` with codes.
        """
        check_inputs(inputs, self.spaces)
        images = [v for v, s in zip(inputs, self.spaces, strict=True) if s == "x"]
        x = self.prepare(torch.cat(images, 1) if len(images) > 1 else images[0])
        h = self.features(append_labels(x, y, self.shapes.num_classes))
        if self.code is not None:
            codes = [v for v, s in zip(inputs, self.spaces, strict=True) if s == "z"]
            h = torch.cat([h, self.code(torch.cat(codes, 1))], 1)
        return full(h if hidden else self.head(h).squeeze(-1))


def check_inputs(inputs: tuple[Tensor, ...], spaces: tuple[str, ...]) -> None:
    """Raises `BadInput` where a critic is given more or fewer variables than it was built for.

    >>> check_inputs((torch.zeros(1, 2),), ("z",))
    """
    if len(inputs) != len(spaces):
        raise BadInput(f"this critic compares ({', '.join(spaces)}) and was given {len(inputs)} inputs")
