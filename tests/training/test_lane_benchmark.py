"""How fast and how large: measured on trainers that are then as they were, to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.networks import Shapes, build
from distmatch.systems import gan, vae
from distmatch.training import Adam, Feed, Settings, Trainer
from distmatch.training.lanes.benchmark import Memory, _Peak, faster, memory
from distmatch.training.lanes.lanes import Lanes, Loop


def trainer(seed: int = 0, system: object = vae, batch_size: int = 8, width: int = 16) -> Trainer:
    objective = system()  # type: ignore[operator]
    shapes, options = Shapes((1, 8, 8), 4), {"width": width, "depth": 1}
    likelihood = "bernoulli" if objective.needs_likelihood else "implicit"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nets = {n: build("mlp", n, shapes, likelihood=likelihood, options=options) for n in objective.uses}
        for name, spaces in objective.critics.items():
            nets[name] = build("mlp", "critic", shapes, spaces=spaces, options=options)
    x = torch.randint(0, 256, (70, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    feed = Feed(objective, x, latent=4, batch_size=batch_size, seed=seed)
    return Trainer(objective, nets, feed, Settings(Adam(1e-3), Adam(1e-3)))


def copied(made: Trainer) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in made.snapshot()[0].items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def started(count: int) -> list[Trainer]:
    """Runs some steps on, close to the end of an epoch, with losses that nobody has collected."""
    made = [trainer(k, gan) for k in range(count)]
    for t in made:
        for _ in range(6):
            t.advance()
    return made


def test_a_calibration_leaves_no_trace():
    made, untouched = started(3), started(3)
    before = [(copied(t), t.snapshot()[1]) for t in made]
    pace = faster(made, steps=2)
    assert pace.lanes > 0
    assert pace.loop > 0
    assert pace.ratio == pace.loop / pace.lanes
    assert pace.pack is (Lanes if pace.ratio > 1 else Loop)
    for t, (tensors, info) in zip(made, before, strict=True):
        assert same(copied(t), tensors)
        assert t.snapshot()[1] == info
    for t, other in zip(made, untouched, strict=True):
        for _ in range(5):
            t.advance()
            other.advance()
        assert same(copied(t), copied(other))


def test_lanes_that_do_not_fit_are_not_the_faster(monkeypatch):
    made = started(2)
    before = [copied(t) for t in made]

    def full(self: Lanes, norms: bool = False, most: int = 1) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Lanes, "advance", full)
    pace = faster(made, steps=1)
    assert pace.lanes == float("inf")
    assert pace.pack is Loop
    assert all(map(same, map(copied, made), before))


def test_trainers_that_are_no_lanes_are_refused_and_left_alone():
    made = [trainer(0, gan), trainer(1, gan, batch_size=9)]
    before = [copied(t) for t in made]
    with pytest.raises(BadInput, match="their batch sizes differ: 8 and 9"):
        faster(made)
    assert all(map(same, map(copied, made), before))


def test_memory_is_what_a_run_holds_and_what_a_step_adds():
    made = trainer()
    before = copied(made)
    found = memory(made)
    weights = sum(p.numel() for net in made.nets.values() for p in net.parameters())
    assert found.state == 4 * (
        4 * weights + 2
    )  # nets, parameters and two moments, in float32; and two counts
    assert found.step > 4 * weights  # gradients
    assert same(copied(made), before)
    larger = memory(trainer(batch_size=64))
    assert larger.state == found.state
    assert larger.step > found.step + 56 * 4 * (64 + 16)  # a picture and a hidden layer of 56 examples more


def test_the_peak_is_of_what_is_held_at_once():
    x = torch.zeros(1000)
    with _Peak() as peak:
        y = x + 1
        z = y.view(10, 100) * 2
        del y, z
        y = x + 1
        y.add_(1)
    assert peak.most == 8000
    with _Peak() as peak:
        for _ in range(5):
            y = x + 1
    assert 4000 <= peak.most <= 8000


def test_how_many_lanes_fit():
    assert [Memory(10, 30).lanes(room) for room in (0, 79, 80, 1000)] == [1, 1, 2, 25]
