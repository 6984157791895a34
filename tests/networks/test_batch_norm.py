"""Batch norm against torch's, its gathered statistics against the whole sample's."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, vmap

from distmatch.errors import BadInput
from distmatch.networks import BatchNorm, recording


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 4, 5)])
def test_equals_torch_in_training(shape, generator):
    h = torch.randn(shape, generator=generator) * 3 + 1
    theirs = torch.nn.BatchNorm1d(3) if len(shape) == 2 else torch.nn.BatchNorm2d(3)
    ours = BatchNorm(3)
    torch.testing.assert_close(ours(h), theirs(h))
    assert (ours.var == -1).all()  # nothing was kept


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5)])
def test_recording_gives_the_statistics_of_all_that_was_seen(shape, generator):
    h = torch.randn(40, *shape, generator=generator) * torch.arange(40.0).reshape(-1, *(1 for _ in shape)) + 5
    net = BatchNorm(3)
    with recording(net):
        for part in h.split([4, 16, 20]):
            functional_call(net, dict(net.named_parameters()), (part,))
    dims = [0, *range(2, h.ndim)]
    torch.testing.assert_close(net.mean, h.mean(dims))
    torch.testing.assert_close(net.var, h.var(dims, correction=0))
    one = net.eval()(h)
    torch.testing.assert_close(one, BatchNorm(3)(h), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(h[:1]), one[:1])  # a row no longer depends on the others


def test_evaluation_without_statistics_is_refused():
    with pytest.raises(BadInput, match="no statistics for evaluation"):
        BatchNorm(2).eval()(torch.randn(3, 2))


def test_evaluation_without_statistics_is_nan_where_values_cannot_be_read():
    net = BatchNorm(2).eval()
    state = {
        k: torch.stack([v, v]) for k, v in (dict(net.named_parameters()) | dict(net.named_buffers())).items()
    }
    out = vmap(lambda s: functional_call(net, s, (torch.randn(3, 2),)), randomness="same")(state)
    assert out.isnan().all()


def test_recording_is_refused_inside_vmap():
    net = BatchNorm(2)
    with recording(net), pytest.raises(BadInput, match="inside vmap"):
        vmap(net)(torch.randn(4, 3, 2))


def test_recording_leaves_no_trace_when_it_fails():
    net = BatchNorm(2)
    with pytest.raises(ValueError, match="more than 1 value"), recording(net):
        [net(torch.randn(rows, 2)) for rows in (3, 1)]
    assert net.record is None
    assert (net.var == -1).all()


def test_statistics_travel_in_the_state():
    net, other = BatchNorm(2), BatchNorm(2).eval()
    with recording(net):
        net(torch.randn(5, 2))
    other.load_state_dict(net.state_dict())
    assert other(torch.zeros(1, 2)).isfinite().all()
