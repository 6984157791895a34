"""Lanes of one program are the runs that they would have been alone, whatever happens to the others.

They are so to rounding, and how far rounding is blown up over some steps depends on the run and on the processor. So
all is computed in float64, where a lane and its run differ by less than 1e-12 and `FINE` is asked for. Tests of
float32 first measure what one rounding more does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts.toys import assert_same, generator
from distmatch.errors import BadInput
from distmatch.networks import Shapes, build
from distmatch.objectives.objective import Objective
from distmatch.objectives.terms.clamp import Clamp
from distmatch.objectives.terms.likelihood import KL, NLL
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X
from distmatch.schedules import Ramp
from distmatch.systems import gan, vae, vgh_plus_plus, wgan, wgan_gp
from distmatch.training import SGD, Adam, Diverged, Feed, RMSProp, Settings, Trainer
from distmatch.training.lanes.lanes import Lanes, Loop, Pack, alike
from distmatch.training.optimisers import cosine, linear

PICTURES = Shapes((1, 8, 8), 4)
SMALL = {"mlp": {"width": 8, "depth": 1}, "dcgan": {"width": 4}, "progressive": {"width": 4, "most": 4}}
FIRM = 1e-5  # an ε well above the rounding of gradients, which Adam would blow up
FAR = 600  # times what one rounding of the start does; see `test_lanes_are_the_runs_alone_to_rounding`
FINE = 1e-9  # far above what rounding does in float64, and far below what any other run does
in_float32 = pytest.mark.parametrize("dtype", [torch.float32], indirect=True, ids=["float32"])


@pytest.fixture(autouse=True)
def dtype(request: pytest.FixtureRequest) -> Iterator[None]:
    """What nets, data and noise are in."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(request, "param", torch.float64))
    yield
    torch.set_default_dtype(before)


def prepared(x: Tensor, noise: Tensor | None = None) -> Tensor:
    """Bytes as [0, 1], in the default dtype."""
    return x.to(torch.get_default_dtype()) / 255


def data(seed: int = 0, shapes: Shapes = PICTURES, size: int = 40) -> Tensor:
    return torch.randint(0, 256, (size, *shapes.x), generator=generator(seed), dtype=torch.uint8)


def trainer(
    objective: Objective,
    seed: int = 0,
    lr: float = 0.01,
    critic_lr: float | None = None,
    *,
    family: str = "mlp",
    options: Mapping[str, Any] | None = None,
    critic_steps: int = 1,
    x: Tensor | None = None,
    schedule: Any = None,
    engine: Any = "eager",
    batch_size: int = 6,
    **settings: Any,
) -> Trainer:
    """A run of its own: nets, order of the data and noise from its seed."""
    size = 32 if family == "dcgan" else 8
    shapes = Shapes((1, size, size), 4, 3 if objective.labels else 0)
    chosen = {**SMALL[family], **(options or {})}
    likelihood = "bernoulli" if objective.needs_likelihood else "implicit"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nets = {n: build(family, n, shapes, likelihood=likelihood, options=chosen) for n in objective.uses}
        for name, spaces in objective.critics.items():
            nets[name] = build(family, "critic", shapes, spaces=spaces, options=chosen)
    x = data(shapes=shapes) if x is None else x
    y = torch.arange(len(x)) % 3 if objective.labels else None
    rates = {"model": lr, "critics": critic_lr or 2 * lr}
    made = {side: Adam(rate, schedule=schedule, eps=FIRM) for side, rate in rates.items()}
    feed = Feed(objective, x, y, latent=4, batch_size=batch_size, seed=seed, prepare=prepared)
    return Trainer(objective, nets, feed, Settings(**{**made, **settings}), critic_steps, engine)


def kept(made: Trainer) -> dict[str, Tensor]:
    return {k: v.clone().double() for k, v in made.snapshot()[0].items()}


def assert_alike(found: Trainer, expected: Trainer, tolerance: float = FINE) -> None:
    """Weights, moments, buffers, pending losses, noise and records of two trainers are the same to rounding."""
    assert_same(kept(found), kept(expected), rtol=tolerance, atol=tolerance)
    assert found.snapshot()[1] == expected.snapshot()[1]
    assert torch.equal(found.feed.generator.get_state(), expected.feed.generator.get_state())


def rate(lr: float, kind: Any = SGD, **more: Any) -> dict[str, Any]:
    return {"model": kind(lr=lr, **more), "critics": kind(lr=2 * lr, **more)}


Make = Callable[[], list[Trainer]]
CASES: dict[str, Make] = {
    "seeds": lambda: [trainer(vae(), seed) for seed in range(3)],
    "rates and weights": lambda: [trainer(vae(beta), k, 0.01 / (k + 1)) for k, beta in enumerate((0.5, 1.0, 4.0))],
    "one critic's rate": lambda: [trainer(gan(), 0, 0.01, rate) for rate in (0.01, 0.03)],
    "wgan-gp": lambda: [trainer(wgan_gp(w), k, 0.003 * (k + 1), critic_steps=3) for k, w in enumerate((1.0, 10.0))],
    "wgan": lambda: [trainer(wgan(b), k, critic_steps=2) for k, b in enumerate((0.1, 0.3))],
    "vgh++": lambda: [trainer(vgh_plus_plus(w), k, norms=True) for k, w in enumerate((1.0, 10.0))],
    "dcgan": lambda: [trainer(gan(), k, family="dcgan", **rate(0.001 * (k + 1))) for k in range(2)],
    "spectral norm": lambda: [
        trainer(gan(), k, family="dcgan", options={"spectral_norm": True}, **rate(0.02 * (k + 1))) for k in range(2)
    ],
    "ramps": lambda: [trainer(NLL() + Ramp(0, 1, 4) * KL(), k) for k in range(2)],
    "ramps of their own": lambda: [
        trainer(NLL() + w * KL(), k) for k, w in enumerate((Ramp(0, 1, 4), Ramp(0.5, 2, 3), 0.7))
    ],
    "labels": lambda: [trainer(gan().with_labels(), k) for k in range(2)],
    "ema": lambda: [trainer(gan(), k, 0.01 * (k + 1), ema=0.8) for k in range(2)],
    "clipped gradients": lambda: [trainer(vae(), k, 0.01 * (k + 1), clip_gradient=0.5) for k in range(2)],
    "a scalar weight": lambda: [scaled(k) for k in range(2)],
    "simultaneous": lambda: [trainer(vgh_plus_plus(), k, simultaneous=True) for k in range(2)],
    "unrolled": lambda: [trainer(gan(), k, 0.01 * (k + 1), unroll=2) for k in range(2)],
    "consensus": lambda: [trainer(gan(), k, consensus=0.5, **rate(0.01)) for k in range(2)],
    "momentum": lambda: [trainer(vae(), k, **rate(0.001 * (k + 1), momentum=0.9)) for k in range(2)],
    "rmsprop": lambda: [trainer(vae(), k, **rate(0.002 * (k + 1), RMSProp, eps=FIRM)) for k in range(2)],
    "schedule": lambda: [trainer(vae(), k, 0.01 * (k + 1), schedule=cosine(9)) for k in range(2)],
    "data of their own": lambda: [trainer(vae(), k, x=data(k % 2, size=30 + 5 * (k % 2))) for k in range(3)],
    "bf16": lambda: [trainer(vae(), k, precision="bf16") for k in range(2)],
    "growing": lambda: [
        trainer(gan(), k, family="progressive", options={"stable": 2, "fade": 2}) for k in range(2)
    ],
    "one": lambda: [trainer(vae(), 3)],
}  # fmt: skip
IN_FLOAT64 = {name: make for name, make in CASES.items() if name != "bf16"}  # which autocast leaves alone
every = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


@pytest.mark.parametrize("make", IN_FLOAT64.values(), ids=IN_FLOAT64)
def test_lanes_are_the_runs_alone(make):
    """Over an epoch's end, with everything that a run keeps, and the logs of each step."""
    lanes, alone = Lanes(make()), make()
    for turn in range(8):
        logs = lanes.advance(norms=turn == 5)
        expected = [t.advance(norms=turn == 5) for t in alone]
        for found, wanted in zip(logs, expected, strict=True):
            assert_same(found, {k: v.detach() for k, v in wanted.items()}, rtol=FINE, atol=FINE)
    for found, wanted in zip(lanes.trainers, alone, strict=True):
        assert_alike(found, wanted)


# To rounding


def nudged(made: Trainer, seed: int) -> Trainer:
    """The run from a start whose every weight is one rounding off, up or down by a throw of `seed`."""
    g = generator(seed)
    rounding = torch.finfo(torch.bfloat16 if made.settings.precision == "bf16" else torch.float32).eps
    with torch.no_grad():
        for p in (p for net in made.state.params.values() for p in net.values()):
            p.mul_(1 + rounding * (2 * torch.randint(0, 2, p.shape, generator=g) - 1))
    return made


def faster(made: Trainer, by: float) -> Trainer:
    """The run at learning rates that much higher."""
    own = made.settings
    sides = {"model": own.model, "critics": own.critics}
    rates = {side: replace(o, lr=by * o.lr) for side, o in sides.items()}
    return Trainer(made.objective, made.nets, made.feed, replace(own, **rates), made.critic_steps)


def walked(pack: Pack) -> list[dict[str, Tensor]]:
    """For each run, where it is after eight steps, and each log over all of them."""
    logs: list[dict[str, list[Tensor]]] = [defaultdict(list) for _ in pack.trainers]
    for turn in range(8):
        for log, new in zip(logs, pack.advance(norms=turn % 2 == 1), strict=True):
            for name, value in new.items():
                log[f"logs/{name}"].append(value.detach().double())
    ends = [{k: v for k, v in kept(t).items() if not k.startswith("pending/")} for t in pack.trainers]
    return [end | {k: torch.stack(v) for k, v in log.items()} for end, log in zip(ends, logs, strict=True)]


def beyond_rounding(
    found: dict[str, Tensor], alone: dict[str, Tensor], others: Sequence[dict[str, Tensor]]
) -> float:
    """How far a run is from the run alone, as a multiple of what one rounding more does: of the worst tensor.

    Of each tensor, the largest difference over the largest that the nudged runs have, or over four roundings of its
    largest number, which are left where a nudge does nothing.
    """
    assert found.keys() == alone.keys()

    def apart(a: dict[str, Tensor], key: str) -> float:
        return float((a[key] - alone[key]).abs().max())

    def rounding(key: str) -> float:
        stored = 4 * torch.finfo(torch.float32).eps * float(alone[key].abs().max())
        return max(stored, *(apart(other, key) for other in others)) or torch.finfo(torch.float32).tiny

    return (
        torch.tensor([apart(found, key) / rounding(key) for key in alone]).max().item()
    )  # NaN if there is one


@every
@in_float32
def test_lanes_are_the_runs_alone_to_rounding(make):
    """In float32 and bf16 a lane is as near to its run as rounding leaves it, and no other run is.

    A step rounds many times, and otherwise in lanes and on each processor; a run blows that up as it does a nudge of
    its start, which for vgh++'s critic of 1,000 units is a thousandfold. Of the farthest of three nudges, lanes were
    seen at up to 4 times the distance in float32; at 77 times, what one rounding can do where it takes a unit over
    the kink of its ReLU, and no nudge did; and at 6,000 times and more, a learning rate 1 % higher. `FAR` is between.
    In bf16, where 1 % is about one rounding, the bar is between 1 and the 19 of a rate half as high again.
    """
    alone, found = walked(Loop(make())), walked(Lanes(make()))
    nudges = [walked(Loop([nudged(t, seed) for t in make()])) for seed in range(3)]
    bar, by = (4, 1.5) if make is CASES["bf16"] else (FAR, 1.01)
    wrong = walked(Loop([faster(t, by) for t in make()]))
    for k, run in enumerate(alone):
        others = [nudge[k] for nudge in nudges]
        assert beyond_rounding(found[k], run, others) < bar < beyond_rounding(wrong[k], run, others)


def test_lanes_with_one_rate_take_the_fused_kernel_and_others_its_step(monkeypatch):
    """The rate of each lane is a number where all share it, and `(K,)` where they do not."""
    lanes = Lanes([trainer(gan(), k, 0.01 * (k + 1), 0.02) for k in range(3)])
    settings = lanes._numbers.settings(lanes.trainers[0].settings)
    assert settings.critics.lr == 0.02
    assert settings.model.lr.tolist() == pytest.approx([0.01, 0.02, 0.03])
    monkeypatch.setattr(Adam, "direction", lambda *_: pytest.fail("the slow way was taken"))
    lanes.advance()


def test_a_trainers_tensors_are_views_of_the_stack_and_of_no_other_lane():
    lanes = Lanes([trainer(vae(), 0), trainer(vae(), 1)])
    before = kept(lanes.trainers[1])
    with torch.no_grad():
        for p in lanes.trainers[0].state.params["decoder"].values():
            p.zero_()
    assert_same(kept(lanes.trainers[1]), before, rtol=0, atol=0)
    logs = lanes.advance()
    assert logs[0]["nll"] == pytest.approx(64 * 0.6931, rel=1e-3)  # of a decoder of zeros, log 2 a pixel
    assert logs[1]["nll"] != logs[0]["nll"]


def test_data_are_held_once():
    made = [trainer(vae(), k, x=data()) for k in range(3)]
    Lanes(made)
    assert made[0].feed.x is made[1].feed.x is made[2].feed.x
    apart = [trainer(vae(), k, x=data(k % 2)) for k in range(4)]
    Lanes(apart)
    assert apart[0].feed.x.data_ptr() == apart[2].feed.x.data_ptr() != apart[1].feed.x.data_ptr()
    assert torch.equal(apart[1].feed.x, data(1))


def test_weights_stay_laid_out_as_they_were():
    """Images' filters always; matrices lie by columns while they are lanes."""

    def make(seed: int) -> Trainer:
        t = trainer(gan(), seed, family="dcgan", **rate(0.001 * (seed + 1)))
        nets = {n: net.to(memory_format=torch.channels_last) for n, net in t.nets.items()}
        return Trainer(t.objective, nets, t.feed, t.settings)

    made, alone = [make(k) for k in range(2)], make(1)
    strides = {k: v.stride() for k, v in made[1].snapshot()[0].items()}
    assert any(s[-1] != 1 for s in strides.values() if len(s) == 4)
    lanes = Lanes(made)
    for _ in range(3):
        lanes.advance()
        alone.advance()
    for frozen in (False, True):
        if frozen:
            lanes.freeze(1)
        found = {k: v.stride() for k, v in made[1].snapshot()[0].items() if k in strides}
        assert all(found[k] == s for k, s in strides.items() if frozen or len(s) == 4)
        assert frozen or all(found[k][0] == 1 for k, s in strides.items() if len(s) == 2)
    assert_alike(made[1], alone)


def by_batch(x: Tensor, noise: Tensor | None) -> Tensor:
    return (x / 255 - (x / 255).mean()).sigmoid()


@pytest.mark.parametrize("prepare", [None, by_batch])
@pytest.mark.parametrize("noisy", [False, True])
def test_batches_are_prepared_as_alone(prepare, noisy):
    """Also by what looks at the whole batch, or asks for noise."""

    def dithered(x: Tensor, noise: Tensor | None) -> Tensor:
        assert noise is not None
        return (x + noise) / 256

    def make() -> list[Trainer]:
        found = [trainer(vae(), k) for k in range(3)]
        for t in found:
            t.feed.prepare = prepare or (dithered if noisy else t.feed.prepare)
            t.feed.prepare_noise = noisy
        return found

    lanes, alone = Lanes(make()), make()
    for _ in range(3):
        lanes.advance()
        for t in alone:
            t.advance()
    for found, wanted in zip(lanes.trainers, alone, strict=True):
        assert_alike(found, wanted)


# A lane that stops


def diverging(pack: type, **more: Any) -> Pack:
    """Four runs; the second diverges at its second step."""
    return pack([trainer(vae(), k, **rate(1e300 if k == 1 else 1e-3)) for k in range(4)], **more)


@pytest.mark.parametrize("pack", [Lanes, Loop])
def test_a_lane_that_diverges_spoils_no_other(pack):
    lanes, calm = diverging(pack), [trainer(vae(), k, **rate(1e-3)) for k in (0, 2, 3)]
    for _ in range(5):
        lanes.advance()
        for t in calm:
            t.advance()
    with pytest.raises(Diverged) as caught:
        lanes.trainers[1].collect()
    assert caught.value.step == 2
    lanes.freeze(1)
    lanes.freeze(1)  # once is enough
    frozen, noise = kept(lanes.trainers[1]), lanes.trainers[1].feed.taken
    for _ in range(4):
        logs = lanes.advance()
        assert [bool(found) for found in logs] == [True, False, True, True]
        for t in calm:
            t.advance()
    assert lanes.alive == [0, 2, 3]
    torch.testing.assert_close(kept(lanes.trainers[1]), frozen, rtol=0, atol=0, equal_nan=True)
    assert (lanes.trainers[1].steps_done, lanes.trainers[1].feed.taken) == (5, noise)
    for lane, wanted in zip((0, 2, 3), calm, strict=True):
        assert_alike(lanes.trainers[lane], wanted)
        lanes.trainers[lane].check()


def test_the_others_go_on_bit_for_bit_while_the_stack_is_as_it_was():
    """A lane that was frozen leaves no NaN behind in its slot, and costs no batch."""
    lanes = diverging(Lanes, spare=0.5)
    other = Lanes([trainer(vae(), k, **rate(1e-3 if k != 1 else 2e-3)) for k in range(4)], spare=0.5)
    for _ in range(3):
        lanes.advance()
        other.advance()
    lanes.freeze(1)
    for _ in range(3):
        lanes.advance()
        other.advance()
    assert all(p.isfinite().all() for net in lanes._state.params.values() for p in net.values())
    assert len(next(iter(lanes._state.params["decoder"].values()))) == 4
    for lane in (0, 2, 3):
        assert_same(kept(lanes.trainers[lane]), kept(other.trainers[lane]), rtol=0, atol=0)


@pytest.mark.parametrize("spare", [0.0, 0.4, 1.0])
def test_the_stack_shrinks_when_enough_is_idle(spare):
    make = CASES["rates and weights"]
    lanes, alone = Lanes([*make(), *[trainer(vae(2.0), 9 + k, 0.005) for k in range(2)]], spare), make()
    stacks = []
    for turn in range(6):
        if turn == 2:
            lanes.freeze(3)
        if turn == 4:
            lanes.freeze(4)
            lanes.freeze(0)
        lanes.advance()
        for t in alone[1:] if turn >= 4 else alone:
            t.advance()
        stacks.append(len(next(iter(lanes._state.params["decoder"].values()))))
    assert stacks == {0.0: [5, 5, 4, 4, 2, 2], 0.4: [5, 5, 5, 5, 2, 2], 1.0: [5] * 6}[spare]
    for found, wanted in zip(lanes.trainers[:3], alone, strict=True):
        assert_alike(found, wanted)


def test_idle_slots_repeat_a_lane_that_moves_even_when_that_one_stops():
    make = CASES["ramps of their own"]
    lanes, alone = Lanes(make(), spare=1.0), make()
    for turn in range(6):
        if turn in (2, 4):
            lanes.freeze(turn // 2 - 1)
        lanes.advance()
        alone[2].advance()
    assert_alike(lanes.trainers[2], alone[2])
    assert [t.steps_done for t in lanes.trainers] == [2, 4, 6]
    lanes.release()
    assert lanes.advance() == [{}, {}, {}]


def test_a_frozen_lane_goes_on_alone():
    lanes, alone = Lanes([trainer(wgan_gp(), k) for k in range(3)]), trainer(wgan_gp(), 1)
    for _ in range(3):
        lanes.advance()
        alone.advance()
    lanes.freeze(1)
    lanes.advance()
    assert lanes.trainers[1].run(4) == pytest.approx(alone.run(4), rel=FINE)
    assert_alike(lanes.trainers[1], alone)


def test_trainers_are_packed_anew():
    """Out of one pack into others, as a sweep does when half of its runs stop."""
    alone = [trainer(gan(), k) for k in range(4)]
    first = Lanes([trainer(gan(), k) for k in range(4)])
    for _ in range(2):
        first.advance()
    first.release()
    packs: list[Pack] = [Lanes(first.trainers[:2]), Loop(first.trainers[2:])]
    for _ in range(3):
        for pack in packs:
            pack.advance()
    for t in alone:
        t.run(5)
        t.pending.clear()
    for found, wanted in zip(first.trainers, alone, strict=True):
        found.pending.clear()
        assert_alike(found, wanted)


# Stopped and taken up


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_lanes_snapshot_is_taken_up_alone_and_in_lanes(ema):
    def make() -> list[Trainer]:
        return [trainer(wgan_gp(), k, 0.01 * (k + 1), ema=ema, critic_steps=2) for k in range(2)]

    whole = Lanes(make())
    for _ in range(4):
        whole.advance()
    saved = [({k: v.clone() for k, v in t.snapshot()[0].items()}, t.snapshot()[1]) for t in whole.trainers]
    for _ in range(4):
        whole.advance()
    again = make()
    for t, (tensors, info) in zip(again, saved, strict=True):
        t.restore(tensors, info)
    lanes = Lanes(again)
    for _ in range(4):
        lanes.advance()
    alone = make()[1]
    alone.restore(*saved[1])
    alone.run(4)
    for found, wanted in zip(lanes.trainers, whole.trainers, strict=True):
        assert_same(kept(found), kept(wanted), rtol=0, atol=0)
    whole.trainers[1].pending.clear()
    assert_alike(whole.trainers[1], alone)


def test_one_lane_is_set_back_and_the_others_are_not():
    lanes = Lanes([trainer(vae(), k) for k in range(2)])
    tensors, info = lanes.trainers[0].snapshot()
    saved = {k: v.clone() for k, v in tensors.items()}
    lanes.advance()
    other = kept(lanes.trainers[1])
    lanes.trainers[0].restore(saved, info)
    after = kept(lanes.trainers[1])
    counts = {k for k in other if "/step/" in k or "/taken/" in k}
    assert_same(
        {k: after[k] for k in after.keys() - counts}, {k: other[k] for k in other.keys() - counts}, 0, 0
    )
    with pytest.raises(BadInput, match="take their steps together, and these are at steps 0, 1"):
        lanes.advance()
    lanes.trainers[0].restore(*_advanced(saved, info))
    assert_alike(lanes.trainers[0], _one_step(vae()))
    lanes.advance()


def _one_step(objective: Objective) -> Trainer:
    made = trainer(objective, 0)
    made.advance()
    return made


def _advanced(saved: dict[str, Tensor], info: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    made = trainer(vae(), 0)
    made.restore(saved, info)
    made.advance()
    return made.snapshot()


def test_each_lane_is_evaluated_and_written_back_by_itself():
    lanes, alone = Lanes([trainer(vae(), k) for k in range(2)]), trainer(vae(), 1)
    for _ in range(3):
        lanes.advance()
        alone.advance()
    fresh = [Feed(vae(), data(7), latent=4, batch_size=6, prepare=prepared) for _ in range(2)]
    assert lanes.trainers[1].losses(fresh[0], 2) == pytest.approx(alone.losses(fresh[1], 2), rel=FINE)
    found, wanted = (t.write_back()["decoder"].state_dict() for t in (lanes.trainers[1], alone))
    assert_same(found, wanted, rtol=FINE, atol=FINE)
    lanes.advance()
    assert lanes.trainers[1].collect().keys() == {"nll", "kl"}


def test_losses_are_collected_for_each_lane():
    lanes, alone = Lanes([trainer(vae(), k) for k in range(2)]), [trainer(vae(), k) for k in range(2)]
    for _ in range(3):
        lanes.advance()
        for t in alone:
            t.advance()
    for found, wanted in zip(lanes.trainers, alone, strict=True):
        assert found.collect() == pytest.approx(wanted.collect(), rel=FINE)
        assert found.pending == []


# How its steps run


@pytest.mark.slow
@in_float32
def test_compiled_lanes_are_the_runs_alone(monkeypatch, caplog):
    """To rounding, of which `test_lanes_are_the_runs_alone_to_rounding` says what it is."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **k: compiled(*a, **{**k, "backend": "aot_eager"}))
    torch.compiler.reset()

    def make(engine: str) -> list[Trainer]:
        return [
            trainer(wgan_gp(w), k, 0.01 * (k + 1), engine=engine) for k, w in enumerate((1.0, 10.0, 3.0, 2.0))
        ]

    lanes = Lanes(make("compiled"))
    assert lanes.spare == 0.25
    for turn in range(4):
        if turn == 2:
            lanes.freeze(3)
        lanes.advance()
    alone = advanced(Loop(make("eager")), 4)
    nudges = [advanced(Loop([nudged(t, seed) for t in make("eager")]), 4) for seed in range(3)]
    for k, (found, wanted) in enumerate(zip(lanes.trainers[:3], alone[:3], strict=True)):
        assert beyond_rounding(kept(found), kept(wanted), [kept(nudge[k]) for nudge in nudges]) < FAR
        assert found.snapshot()[1] == wanted.snapshot()[1]
    assert "steps run eager" not in caplog.text


# Refusals


class Scaled(nn.Module):
    """A critic times a number that it learns."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.scale = body, nn.Parameter(torch.ones(()))

    def forward(self, *inputs: Tensor, **more: Any) -> Tensor:
        return self.scale * self.body(*inputs, **more)


def scaled(seed: int) -> Trainer:
    made = trainer(gan(), seed, clip_gradient=0.5, norms=True)
    nets = {"decoder": made.nets["decoder"], "data": Scaled(made.nets["data"])}
    return Trainer(gan(), nets, made.feed, made.settings)


def frozen(made: Trainer, by: float = 0.0) -> Trainer:
    """The same with a decoder whose first weight is not trained."""
    nets = {n: net for n, net in made.nets.items()}
    first = next(nets["decoder"].parameters()).requires_grad_(False)
    with torch.no_grad():
        first.fill_(0.1 + by)
    return Trainer(made.objective, nets, made.feed, made.settings)


def buffered(value: float) -> Trainer:
    made = trainer(gan())
    made.nets["data"].register_buffer("offset", torch.tensor(value))
    return made


class Sloped(nn.Module):
    def __init__(self, body: nn.Module, slope: float) -> None:
        super().__init__()
        self.body, self.bend = body, lambda h: slope * h

    def forward(self, *inputs: Tensor, **more: Any) -> Tensor:
        return self.bend(self.body(*inputs, **more))


def sloped(slope: float) -> Trainer:
    made = trainer(gan())
    nets = {"decoder": made.nets["decoder"], "data": Sloped(made.nets["data"], slope)}
    return Trainer(gan(), nets, made.feed, made.settings)


Pair = Callable[[], tuple[Trainer, Trainer]]
UNLIKE: dict[str, tuple[Pair, str]] = {
    "objectives": (
        lambda: (trainer(vae()), trainer(NLL() + KL() + 0.5 * KL())),
        "their objectives differ by more than numbers: .*",
    ),
    "penalties": (
        lambda: (trainer(gan()), trainer(wgan_gp())),
        "their objectives differ by more than numbers: .*",
    ),
    "labels": (
        lambda: (trainer(gan()), trainer(gan().with_labels())),
        "their objectives differ by more than numbers: .*",
    ),
    "critic steps": (
        lambda: (trainer(gan()), trainer(gan(), critic_steps=2)),
        "their critic steps differ: 1 and 2",
    ),
    "widths": (lambda: (trainer(vae()), trainer(vae(), options={"width": 9})), "the nets '.*' differ: .*"),
    "layers": (lambda: (trainer(gan()), trainer(gan(), options={"depth": 2})), "the nets '.*' differ: .*"),
    "slopes": (lambda: (sloped(0.1), sloped(0.2)), "the nets 'data' differ: bend of the net itself.*"),
    "buffers": (
        lambda: (buffered(0.0), buffered(1.0)),
        "offset of the net 'data' is not trained, and differs",
    ),
    "frozen": (
        lambda: (frozen(trainer(gan())), frozen(trainer(gan()), 1.0)),
        ".* of the net 'decoder' is not trained, and differs",
    ),
    "batches": (lambda: (trainer(vae()), trainer(vae(), batch_size=7)), "their batch sizes differ: 6 and 7"),
    "optimisers": (lambda: (trainer(vae()), trainer(vae(), **rate(0.1))), "the setting model differs: .*"),
    "momenta": (
        lambda: (trainer(vae(), **rate(0.1)), trainer(vae(), **rate(0.1, momentum=0.9))),
        "momentum of the optimiser of the model differs: 0.0 and 0.9",
    ),
    "schedules": (
        lambda: (trainer(vae(), schedule=linear(5)), trainer(vae(), schedule=linear(9))),
        "schedule of the optimiser of the model differs: .*",
    ),
    "settings": (
        lambda: (trainer(vae(), ema=0.9), trainer(vae(), ema=0.8)),
        "the setting ema differs: 0.9 and 0.8",
    ),
    "engines": (
        lambda: (trainer(vae()), trainer(vae(), engine="compiled")),
        "their engines differ: eager and compiled",
    ),
}


def test_numbers_beyond_one_another_do_not_part_lanes():
    """Clamp's low end must be below its high end; structures are compared without any number of theirs."""
    lows = [Objective(Match(X_GEN, X), Clamp(low=low, high=high)) for low, high in ((1.5, 20.0), (2.0, 3.0))]
    first, second = (trainer(objective, seed) for seed, objective in enumerate(lows))
    assert alike(first, second) is None
    logs = Lanes([first, second]).advance()
    assert [sorted(losses) for losses in logs] == 2 * [sorted(trainer(lows[0], 0).run(1))]


@pytest.mark.parametrize(("pair", "why"), UNLIKE.values(), ids=UNLIKE)
def test_trainers_that_cannot_share_lanes(pair, why):
    with pytest.raises(BadInput, match=f"^runs 0 and 1 cannot share lanes: {why}; pack them apart$"):
        Lanes(pair())


@every
def test_trainers_that_can(make):
    made = make()
    assert all(alike(made[0], other) is None for other in made)


def test_the_same_things_made_twice_are_alike():
    for make in (lambda: sloped(0.1), lambda: buffered(1.0), lambda: frozen(trainer(gan()))):
        assert alike(make(), make()) is None


def test_statistics_for_evaluation_may_differ():
    from distmatch.batch_statistics import recording

    a, b = (trainer(gan(), k, family="dcgan") for k in range(2))
    with recording(a.nets["decoder"]), torch.no_grad():
        a.nets["decoder"](torch.randn(5, 4, generator=generator()))
    assert alike(a, b) is None


def test_other_refusals():
    moved = trainer(vae())
    moved.advance()
    for bad, why in (
        ([], "there are no trainers"),
        ([moved, moved], "one trainer is given twice"),
        ([moved, trainer(vae())], "these are at steps 0, 1"),
    ):
        with pytest.raises(BadInput, match=why):
            Lanes(bad)
    with pytest.raises(BadInput, match="no trainers"):
        Loop([])
    for pack in (Lanes, Loop):
        with pytest.raises(BadInput, match="no lane 3 among 1"):
            pack([trainer(vae())]).freeze(3)


def advanced(pack: Pack, steps: int) -> Sequence[Trainer]:
    for _ in range(steps):
        pack.advance()
    return pack.trainers


def test_the_loop_is_the_runs_alone():
    found, wanted = advanced(Loop(CASES["vgh++"]()), 3), CASES["vgh++"]()
    for t in wanted:
        for _ in range(3):
            t.advance()
    for a, b in zip(found, wanted, strict=True):
        assert_same(kept(a), kept(b), rtol=0, atol=0)
