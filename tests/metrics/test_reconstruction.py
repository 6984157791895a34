import math

import pytest
import torch

from distmatch.errors import BadInput
from distmatch.metrics import reconstruction_error
from distmatch.random import seeded


def test_known_noise():
    x = torch.rand(2000, 1, 8, 8, generator=seeded(0))
    found = reconstruction_error(x, x + 0.1 * torch.randn(x.shape, generator=seeded(1)))
    assert found.mse.value == pytest.approx(0.01, abs=4 * found.mse.standard_error)
    assert found.l1.value == pytest.approx(0.1 * math.sqrt(2 / math.pi), abs=4 * found.l1.standard_error)
    assert found.mse.n == 2000


@pytest.mark.parametrize(
    ("x", "x_rec"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 2)),
        (torch.zeros(1, 3), torch.zeros(1, 3)),
        (torch.zeros(0, 3), torch.zeros(0, 3)),
        (torch.zeros(5, 3), torch.full((5, 3), math.nan)),
    ],
)
def test_degenerate_input_is_refused(x, x_rec):
    with pytest.raises(BadInput):
        reconstruction_error(x, x_rec)
