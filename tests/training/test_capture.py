"""How steps run. What a CUDA graph does with them is in `tests/gpu`; here, that nothing in a step keeps one from it."""

import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from contracts.toys import batch, generator
from distmatch.errors import BadInput
from distmatch.networks import Shapes, build
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import Clip, gradient_penalty
from distmatch.objectives.terms.likelihood import KL, NLL
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X
from distmatch.runs.build import assemble, layered
from distmatch.schedules import Ramp
from distmatch.systems import SYSTEMS, vae, vgh_plus_plus
from distmatch.training import Adam, Feed, Settings, Trainer
from distmatch.training.engine.cuda_graphs import BLOCK, WARM_UP, Stepper, pure_step
from distmatch.training.optimisers import cosine
from distmatch.training.step import init


class Tape:
    """A recorder without a device: what it records runs at each replay, from the same tensors as a graph would."""

    def __init__(self, fails=None):
        self.fails, self.warmed, self.recorded, self.replayed, self.abandoned = fails, 0, 0, 0, 0

    def warm(self, run):
        self.warmed += 1
        return run()

    def record(self, run):
        if self.fails is not None:
            raise self.fails
        self.recorded += 1
        out = None

        def replay():
            nonlocal out
            self.replayed += 1
            new = run()
            out = new if out is None else out.copy_(new)  # a graph fills the same tensor anew
            return out

        return replay

    def abandon(self):
        self.abandoned += 1


def trainer(objective=None, tape=None, critic_steps=1, engine="eager", **settings):
    torch.manual_seed(0)
    objective = objective or vae()
    shapes = Shapes(x=(3,), latent=2, bounded=False)
    options = {"width": 8, "code_width": 8}
    nets = {p: build("mlp", p, shapes, likelihood="gaussian", options=options) for p in objective.uses}
    nets |= {
        c: build("mlp", "critic", shapes, spaces=s, options=options) for c, s in objective.critics.items()
    }
    x = torch.randn(70, 3, generator=torch.Generator().manual_seed(0))
    feed = Feed(objective, x, latent=2, batch_size=8)
    optimisers = {"model": Adam(lr=1e-2, schedule=cosine(60)), "critics": Adam(lr=1e-2)}
    made = Trainer(objective, nets, feed, Settings(**optimisers, **settings), critic_steps, engine=engine)
    if tape is not None:
        made._stepper = Stepper(made._stepper.take, tape)
    return made


def train(made, steps=40, every=20):
    """As a run does: norms at logged steps, the others as they fit between; the lines of the log."""
    lines = []
    while made.steps_done < steps:
        left = every - made.steps_done % every
        logs = made.advance(norms=left == 1, most=left - 1)
        if made.steps_done % every == 0:
            lines.append({**made.collect(), **{k: v.item() for k, v in logs.items()}})
    return lines


def same(one, other):
    a, b = one.snapshot(), other.snapshot()
    return (
        a[1] == b[1] and a[0].keys() == b[0].keys() and all(torch.equal(v, b[0][k]) for k, v in a[0].items())
    )


FADING = NLL() + Ramp(0, 1, 30) * KL() + Match(X_GEN, X, critic="mine", instance_noise=Ramp(0.5, 0, 20))
CASES = {
    "vae": ({}, {}),
    "ramps": ({"objective": FADING}, {}),
    "ema": ({"objective": vgh_plus_plus()}, {"ema": 0.9}),
    "critics": (
        {"objective": Objective(Match(X_GEN, X, penalty=gradient_penalty(10))), "critic_steps": 3},
        {},
    ),
    "clipped": ({"objective": Objective(Match(X_GEN, X, penalty=Clip(0.1)))}, {"clip_gradient": 1.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_recorded_steps_are_the_steps(case):
    """Places, ramps, noise and logs of every replay are those of its own step, alone or in a block."""
    given, settings = CASES[case]
    tape = Tape()
    eager, recorded = trainer(**given, **settings), trainer(**given, **settings, tape=tape)
    assert train(eager) == train(recorded)
    assert same(eager, recorded)
    assert tape.warmed == WARM_UP + 1  # and the first step with norms
    assert tape.recorded == 3  # one step, a block, one step with norms
    blocks = (40 - tape.warmed - tape.replayed) // (BLOCK - 1)
    assert blocks == (19 - WARM_UP) // BLOCK + 19 // BLOCK
    assert not tape.abandoned


@pytest.mark.parametrize("stop", [2, 13, 20])
def test_a_recorded_run_is_taken_up_exactly(stop):
    whole, stopped, fresh = (trainer(FADING, tape=Tape()) for _ in range(3))
    train(whole, 40)
    train(stopped, stop, every=stop)
    tensors, info = stopped.snapshot()
    fresh.restore({k: v.clone() for k, v in tensors.items()}, info)
    train(fresh, 40)
    train(stopped, 40)
    for other in (fresh, stopped):
        kept = {k: v for k, v in other.snapshot()[0].items() if not k.startswith("pending")}
        assert all(torch.equal(v, whole.snapshot()[0][k]) for k, v in kept.items())


def test_run_takes_blocks_too():
    tape = Tape()
    eager, recorded = trainer(), trainer(tape=tape)
    assert eager.run(WARM_UP + 2 * BLOCK + 1) == recorded.run(WARM_UP + 2 * BLOCK + 1)
    assert (tape.warmed, tape.recorded, tape.replayed) == (WARM_UP, 2, 3)
    assert eager.steps_done == recorded.steps_done
    assert same(eager, recorded)


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so_once(caplog):
    tape = Tape(fails=RuntimeError("operation not permitted when stream is capturing\nand more"))
    eager, failing = trainer(), trainer(tape=tape)
    with caplog.at_level(logging.WARNING):
        assert train(eager) == train(failing)
    assert same(eager, failing)
    assert [r.getMessage() for r in caplog.records] == [
        "note: steps run eager: operation not permitted when stream is capturing"
    ]
    assert tape.abandoned == 1


def test_the_choice_on_a_cpu(caplog):
    for engine, lines in (("eager", 0), ("auto", 0), ("captured", 1)):
        caplog.clear()
        made = trainer(engine=engine)
        made.run(2)
        assert len(caplog.records) == lines
    assert "a CUDA graph needs a CUDA device, and this run is on cpu" in caplog.text
    with pytest.raises(BadInput, match="unknown engine 'captive'; did you mean 'captured'"):
        trainer(engine="captive")


@pytest.mark.parametrize(
    "case", ["vae", *(pytest.param(c, marks=pytest.mark.slow) for c in ("critics", "ramps"))]
)
def test_compiled_steps_are_the_steps(case, monkeypatch):
    """With the back end that takes no minute; the parameters move, and as eager's do."""
    calls = []
    compiler = torch.compile

    def quickly(run, **how):
        fast = compiler(run, backend="aot_eager", **how)
        return lambda *given: calls.append(1) or fast(*given)

    monkeypatch.setattr(torch, "compile", quickly)
    torch.compiler.reset()
    given, _ = CASES[case]
    eager, compiled = trainer(**given), trainer(**given, engine="compiled")
    start = {k: v.clone() for k, v in eager.snapshot()[0].items() if k.startswith("params")}
    eager.run(3)
    compiled.run(3)
    assert len(calls) == 3
    for key, value in start.items():
        ours, theirs = eager.snapshot()[0][key], compiled.snapshot()[0][key]
        assert not torch.equal(ours, value) or not value.any() or key.endswith("bias")
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_compiled_runs_as_it_is(monkeypatch, caplog):
    def refuse(run, **how):
        def fail(*given):
            raise torch._dynamo.exc.BackendCompilerFailed("inductor", RuntimeError("no compiler"), None)

        return fail

    import torch._dynamo

    monkeypatch.setattr(torch, "compile", refuse)
    eager, compiled = trainer(), trainer(engine="compiled")
    assert eager.run(3) == compiled.run(3)
    assert same(eager, compiled)
    assert len(caplog.records) == 1


def test_one_number_in_float64_is_not_lost_by_the_compiler(monkeypatch, caplog):
    """On a CPU torch.compile takes it for Python's own and drops what is written into it: such a step runs eager, and
    says so. The decoder's learned scale is one."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda run, **how: compiler(run, backend="aot_eager", **how))
    torch.compiler.reset()
    ends = []
    for compiled in (False, True):
        made = trainer()
        nets = {n: net.double() for n, net in made.nets.items()}
        settings = Settings(Adam(lr=0.1), Adam(lr=0.1))
        state = init(vae(), nets, settings)
        take = pure_step(vae(), nets, settings, compiled)
        b = batch(vae(), generator(0), 8, (3,), 2)
        for _ in range(3):
            state, _ = take(state, [b], {})
        ends.append(state.params["decoder"]["log_scale"].item())
    assert ends[1] == ends[0] != 0
    assert "log_scale of the net 'decoder' is one number in float64" in caplog.text


# Nothing in a step asks the host


class NoHost(TorchDispatchMode):
    """Refuses what would wait for a device, or send something to it."""

    ASKS = (
        "_local_scalar_dense",
        "nonzero",
        "is_nonzero",
        "equal",
        "masked_select",
        "_unique2",
        "lift_fresh",
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        by_mask = name in ("index", "index_put", "index_put_") and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if name in self.ASKS or by_mask:
            raise RuntimeError(f"{name} asks the host")
        return func(*args, **(kwargs or {}))


def test_the_watch_itself():
    with NoHost(), pytest.raises(RuntimeError, match="asks the host"):
        torch.ones(2).sum().item()
    with NoHost(), pytest.raises(RuntimeError, match="asks the host"):
        torch.tensor(1.0)


ON_THE_WAY = ("lens-gan", "progressive-gan")  # they change with time, and run eager for that


ONE_OF_EACH_KIND = (  # of net, posterior, prior, term, penalty and step; the others are looked at by `make slow`
    *(
        "vae-nvp",
        "vae-vamp",
        "iwae",
        "pixelvae",
        "real-nvp",
        "cgan",
        "wgan",
        "wgan-gp",
        "sngan",
        "minibatch-gan",
    ),
    *("unrolled-gan", "consensus-gan", "pacgan", "bgan", "avb-ac", "age", "vae-gan", "wae-mmd", "noisy-gan"),
)


@pytest.mark.parametrize(
    "system",
    [
        pytest.param(s, marks=() if s in ONE_OF_EACH_KIND else pytest.mark.slow)
        for s in SYSTEMS
        if s not in ON_THE_WAY
    ],
)
def test_no_step_asks_the_host(system):
    """From places in the data to new weights, with the nets, optimisers and schedules of the system's own run."""
    wanted = {"system": system, "data.name": "digits", "data.limit": 64, "training.steps": 10}
    small = {"training.batch_size": 8, "network.width": 4, "training.schedule": "linear", "device": "cpu"}
    if (
        "network.width" in SYSTEMS[system].defaults
        or SYSTEMS[system].defaults.get("network.family") == "real-nvp"
    ):
        small.pop("network.width")
    made = assemble(layered(wanted, small)).trainer
    made.advance()
    for norms in (False, True):
        places, numbers = [made.feed.places() for _ in range(made.critic_steps)], made._numbers()
        with NoHost():
            made._stepper.take(places, numbers, norms)
