"""A run in memory: objective, nets and data; one step at a time; stopped and taken up again exactly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from distmatch.distributions.checks import unvalidated
from distmatch.errors import BadInput, Doubt, unknown
from distmatch.objectives.objective import Objective
from distmatch.objectives.term import Critics
from distmatch.objectives.variables import draw
from distmatch.training.batches import Feed, fingerprint
from distmatch.training.edge import check_run
from distmatch.training.engine.cuda_graphs import (
    CudaGraphs,
    Engine,
    Stepper,
    cannot_be_captured,
    losses_of,
    pure_step,
    say_eager,
)
from distmatch.training.engine.functional import Bound, bind, evolving, held_by_this_thread
from distmatch.training.engine.memory import keep_heap
from distmatch.training.engine.precision import numerics
from distmatch.training.evaluation import EVALUATION_SEED, by_draw
from distmatch.training.optimisers import forget
from distmatch.training.step import Settings, State, init


class Diverged(RuntimeError):
    """A loss or a weight stopped being a finite number.

    Args:
        step: the step at which it was seen.
        term: the name of the term, or of the weight.
        value: what it was.
        kept: a sentence on what is left, for whoever keeps checkpoints.

    >>> print(Diverged(7, "nll", float("nan")))
    diverged at step 7: nll is nan
    """

    def __init__(self, step: int, term: str, value: float, kept: str = "") -> None:
        super().__init__(f"diverged at step {step}: {term} is {value}" + (f"; {kept}" if kept else ""))
        self.step = step
        self.term = term
        self.value = value


class Trainer:
    """Trains nets on an objective.

    Args:
        objective: what is minimised.
        nets: modules under `"encoder"`, `"decoder"` and each critic's name, as `objective.uses` and
            `objective.critics` ask; copied into the state, so the modules' own weights stay as they are until
            `write_back`.
        feed: the data and the noise.
        settings: optimisers and the order of updates.
        critic_steps: critics' steps for each step of the model.
        engine: how steps run. `"eager"`: as they are. `"compiled"`: by `torch.compile`; the first step takes a minute
            or so. `"captured"`: recorded as a CUDA graph and replayed; `"compiled"` is too, where it can be. `"auto"`:
            captured on a CUDA device, eager elsewhere. What cannot be so runs eager, with a line that says why.

    >>> from distmatch.networks import Shapes, build
    >>> from distmatch.systems import gan
    >>> shapes = Shapes(x=(2,), latent=2, bounded=False)
    >>> nets = {"decoder": build("mlp", "decoder", shapes, likelihood="implicit", options={"width": 8}),
    ...         "data": build("mlp", "critic", shapes, options={"width": 8})}
    >>> trainer = Trainer(gan(), nets, Feed(gan(), torch.randn(100, 2), latent=2, batch_size=10))
    >>> sorted(trainer.run(20))
    ['critic/data/model', 'critic/data/target', 'match(x_gen, x)']
    """

    def __init__(
        self,
        objective: Objective,
        nets: Mapping[str, nn.Module],
        feed: Feed,
        settings: Settings | None = None,
        critic_steps: int = 1,
        engine: Engine = "eager",
    ) -> None:
        wanted = (*objective.uses, *objective.critics)
        missing = [n for n in wanted if n not in nets]
        if missing:
            raise BadInput(
                f"{objective} needs nets named {', '.join(wanted)}; {', '.join(missing)} is missing"
            )
        if critic_steps < 1:
            raise BadInput(f"critic steps are {critic_steps}; give at least 1")
        for name in wanted:
            _check_pure(name, nets[name])
        for name in objective.unmoved:
            if any(p.requires_grad for p in nets[name].parameters()):
                raise BadInput(
                    f"no term of {objective} moves the {name}, so it would stay as it was initialised: "
                    f"add a term that does, or, in Python, freeze it by nets[{name!r}].requires_grad_(False)"
                )
        keep_heap()
        self.objective = objective
        self.nets = {n: nets[n].to(feed.device).train() for n in wanted}
        self.feed = feed
        self.settings = settings or Settings()
        self.critic_steps = critic_steps if objective.critics else 1
        # a net that changes with time has a method `at`, and is a function of its parameters and of that step
        self.changing = [m for net in self.nets.values() for m in net.modules() if hasattr(m, "at")]
        self.state: State = init(objective, self.nets, self.settings)
        self.steps_done = 0
        self._fixed: dict[str, Any] | None = None
        numbers = self._numbers()  # refuses a ramp over a share of a run that nobody has turned into steps
        self.notes = tuple(check_run(objective.with_numbers(numbers), self.nets, feed))
        for note in self.notes:
            warnings.warn(note, Doubt, stacklevel=2)
        self.keys: list[str] = []
        self.pending: list[Tensor] = []
        self.engine = engine
        self._stepper = self._stepper_of(engine)

    def advance(self, norms: bool = False, most: int = 1) -> dict[str, Tensor]:
        """One step; its logs stay on the device, and are kept until `collect`.

        Args:
            norms: log gradient norms and mean scores too.
            most: the steps that may be taken before anything is looked at: where one recording holds several, these
                are taken together, and the logs are those of the last.
        """
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            raise BadInput(
                "gradients are switched off here (torch.no_grad or torch.inference_mode), so that no step can learn; "
                "train outside of that block"
            )
        with held_by_this_thread(self.nets.values()), unvalidated(), numerics(self.settings.precision):
            count = self._stepper.fits(most, norms)
            places = [self.feed.places() for _ in range(count * self.critic_steps)]
            numbers = [self._numbers_at(self.steps_done + i) for i in range(count)]
            self.tell_nets()
            self.reset_moments()
            logs, rows = self._stepper.steps(places, numbers, norms)
        self.steps_done += count
        self.keys = self.keys or losses_of(logs)
        self.pending.extend(rows)
        return logs

    def _stepper_of(self, engine: Engine) -> Stepper:
        """Return what takes the steps; where they are not captured as asked, say so."""
        if engine not in get_args(Engine):
            raise unknown("engine", engine, get_args(Engine))
        compiled = engine == "compiled"
        settings = replace(self.settings, functional=compiled or self.settings.functional)
        plain = pure_step(self.objective, self.nets, settings, compiled)
        detailed = pure_step(self.objective, self.nets, replace(settings, norms=True), compiled)

        def take(places: Sequence[Tensor], numbers: Mapping[str, Tensor], norms: bool) -> dict[str, Tensor]:
            batches = [self.feed.batch(index) for index in places]
            self.state, logs = (detailed if norms else plain)(self.state, batches, numbers)
            return logs

        why = cannot_be_captured(self.feed, bool(self.changing))
        if why and (engine == "captured" or (engine == "auto" and self.feed.device.type == "cuda")):
            say_eager(why)
        return Stepper(take, None if why or engine == "eager" else CudaGraphs(self.feed))

    @property
    def runs(self) -> Engine:
        """The engine by which steps run, where `engine` is auto or cannot be used."""
        return "compiled" if self.engine == "compiled" else "captured" if self._stepper.recorder else "eager"

    def rehoused(self) -> None:
        """Say that the state's tensors lie elsewhere now: what was recorded with the old ones is forgotten."""
        if self._stepper.recorder is not None:
            self._stepper = self._stepper_of(self.engine)

    @property
    def records(self) -> bool:
        """True where steps are recorded and replayed."""
        return self._stepper.recorder is not None

    def tell_nets(self) -> None:
        """Tell the nets that change with time how many steps are done."""
        for module in self.changing:
            module.at(self.steps_done)  # type: ignore[operator]

    def reset_moments(self) -> None:
        """Forget the moments where a net that changes with time asks for it at this step; schedules go on."""
        done = self.steps_done
        if done and any(getattr(module, "resets_at", _never)(done) for module in self.changing):
            for moments in self.state.moments.values():
                forget(moments)

    def _numbers_at(self, step: int) -> dict[str, float]:
        """The numbers that change with time, after this many steps."""
        return {k: ramp.at(step) for k, ramp in self.objective.ramps.items()}

    def _numbers(self) -> dict[str, Tensor]:
        """The same as tensors, as they are now."""
        values = self._numbers_at(self.steps_done)
        return {k: torch.full((), value, device=self.feed.device) for k, value in values.items()}

    def collect(self) -> dict[str, float]:
        """The mean of each loss since the last call, read from the device at once.

        Raises:
            Diverged: one of them was not finite; it names the first step and term.
        """
        if not self.pending:
            return {}
        rows = torch.stack(self.pending).double().cpu()
        self.pending.clear()
        self._check_losses(rows)
        return dict(zip(self.keys, rows.mean(0).tolist(), strict=True))

    def run(self, steps: int) -> dict[str, float]:
        """Take this many steps; the mean of each loss over the last of them."""
        if steps < 0:
            raise BadInput(f"steps are {steps}; give 0 or above")
        means: dict[str, float] = {}
        end = self.steps_done + steps
        while self.steps_done < end:
            self.advance(most=min(end - self.steps_done, 100 - len(self.pending)))
            if len(self.pending) >= 100 or self.steps_done == end:
                means = self.collect()
        return means

    def check(self) -> None:
        """Raise `Diverged` if a loss, weight or moment is not finite: such a state is not worth keeping.

        A moment is looked at because an infinite one stops Adam without a trace in losses and weights.
        """
        if self.pending:
            self._check_losses(torch.stack(self.pending))
        for name, tensor in self._kept().items():
            if not tensor.isfinite().all():
                value = tensor[~tensor.isfinite()].flatten()[0].item()
                raise Diverged(self.steps_done, f"a value of {name}", value)

    def _check_losses(self, rows: Tensor) -> None:
        """Raise `Diverged` at the first loss that is not finite in the newest steps' rows `(steps, losses)`."""
        bad = (~rows.isfinite()).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            at = self.steps_done - len(rows) + 1 + row
            raise Diverged(at, self.keys[column], rows[row, column].item())

    def write_back(self) -> Mapping[str, nn.Module]:
        """The nets with the trained weights written into them: the decoder's running average where one is kept."""
        with torch.no_grad():
            for name, net in self.nets.items():
                trained = self.state.ema.get(name, self.state.params[name])
                for key, p in net.named_parameters():
                    if key in trained:
                        p.copy_(trained[key])
                for key, b in evolving(net).items():
                    b.copy_(self.state.buffers[name][key])
        self.tell_nets()
        return self.nets

    def losses(self, feed: Feed, batches: int) -> dict[str, float]:
        """Each term without a critic (likelihood, KL, distance) on other data, with the weights as they are.

        Terms with a critic are left out: a critic's score is not a measure. In float32, whatever the precision. Batch
        norm has the statistics of training batches (`by_draw`), so that an example's loss is its own; they are taken
        beside the run's own feed, and neither it nor the nets are changed.
        """
        if batches < 1:
            raise BadInput(f"batches are {batches}; give at least 1 to take the mean of")
        current = self.objective.with_numbers(self._numbers())
        terms = [(n, t) for n, t in zip(current.names, current.terms, strict=True) if not t.critics]
        if not terms:
            return {}
        params, buffers = self.state.params | self.state.ema, self.state.buffers

        def at(name: str, net: nn.Module) -> Bound:
            return bind(net, params[name] | buffers.get(name, {}))

        total = dict.fromkeys((n for n, _ in terms), 0.0)
        self.tell_nets()
        with torch.no_grad(), unvalidated():
            model = {n: self.nets[n] for n in self.objective.uses}
            nets = {n: at(n, net) for n, net in model.items()}
            nets |= by_draw(self.objective, model, self.feed.beside(EVALUATION_SEED), at)
            for _ in range(batches):
                b = feed.next()
                wanted, distributions = self.objective.variables, self.objective.distributions
                draws = draw(wanted, nets, b.x, b.noise, b.y, distributions, self.objective.samples)
                for name, term in terms:
                    total[name] += term.loss(draws, Critics({}, draws)).mean().item() / batches
        return total

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that a run is, as flat tensors and plain values. The tensors are the state's own."""
        tensors = {**self._kept(), "generator": self.feed.generator.get_state()}
        tensors |= {f"pending/{i}": row for i, row in enumerate(self.pending)}
        progress = {"steps_done": self.steps_done, "taken": self.feed.taken, "keys": self.keys}
        return tensors, {**progress, "facts": self._facts()}

    def restore(self, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
        """Take up where `snapshot` was made: the next step is the one that would have come next.

        Raises:
            BadInput: the snapshot is of other nets, data, labels, seed, batch size or frozen weights, or of another
                kind of device, whose noise differs.
        """
        facts = self._facts()
        for name, theirs in info.get("facts", facts).items():
            if theirs != (ours := facts.get(name)):
                raise BadInput(
                    f"the checkpoint is of a run with another {name} ({theirs}) than this trainer's ({ours}), so it "
                    "would not go on as it began: restore it into an equal one, or take its weights (restore_weights)"
                )
        own = self._kept()
        own["generator"] = self.feed.generator.get_state()
        _copy(own, {k: v for k, v in tensors.items() if not k.startswith("pending/")})
        self.feed.generator.set_state(own["generator"])
        rows = sum(k.startswith("pending/") for k in tensors)
        self.pending = [tensors[f"pending/{i}"].to(self.feed.device) for i in range(rows)]
        self.steps_done, self.feed.taken = info["steps_done"], info["taken"]
        self.keys = list(info["keys"])

    def restore_weights(self, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
        """Take the weights alone from a snapshot, made on any device, to evaluate them.

        Raises:
            BadInput: the snapshot is of other nets.
        """
        wanted = ("params/", "ema/", "buffers/")
        own = {k: v for k, v in self._kept().items() if k.startswith(wanted)}
        _copy(own, {k: v for k, v in tensors.items() if k.startswith(wanted)})
        self.steps_done = info["steps_done"]

    def _facts(self) -> dict[str, Any]:
        """Return what a run is made from and does not change: the feed's facts, critic steps, what nets keep still."""
        if self._fixed is None:
            fixed: dict[str, Any] = {**self.feed.facts(), "number of critic steps": self.critic_steps}
            for name, net in self.nets.items():
                moving = {*self.state.params[name], *self.state.buffers.get(name, {}), *_for_evaluation(net)}
                still = {k: v for k, v in net.state_dict().items() if k not in moving}
                fixed |= {f"{name}.{k} (frozen)": fingerprint(v) for k, v in still.items()}
            self._fixed = fixed
        return self._fixed

    def _kept(self) -> dict[str, Tensor]:
        """The state's tensors by a path of their own."""
        state = self.state
        tensors = {f"params/{n}/{k}": p for n, ps in state.params.items() for k, p in ps.items()}
        tensors |= {f"ema/{n}/{k}": p for n, ps in state.ema.items() for k, p in ps.items()}
        tensors |= {f"buffers/{n}/{k}": b for n, bs in state.buffers.items() for k, b in bs.items()}
        for side, moments in state.moments.items():
            tensors |= {f"moments/{side}/{n}/{i}": m for n, ms in moments.items() for i, m in enumerate(ms)}
        return tensors


def _for_evaluation(net: nn.Module) -> set[str]:
    """Names of the buffers that are gathered once training is done."""
    return {
        f"{name}.{key}" if name else key
        for name, module in net.named_modules()
        for key in getattr(module, "for_evaluation", ())
    }


def _never(step: int) -> bool:
    return False


def _copy(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Fill each tensor in place with the one of the same name.

    Raises:
        BadInput: names, shapes or types differ.
    """
    expected = {k: (v.shape, v.dtype) for k, v in own.items()}
    came = {k: (v.shape, v.dtype) for k, v in given.items()}
    if expected != came:
        odd = min(k for k in expected.keys() | came.keys() if expected.get(k) != came.get(k))
        raise BadInput(f"the checkpoint is of other nets, settings or another kind of device: {odd} differs")
    with torch.no_grad():
        for key, target in own.items():
            target.copy_(given[key])


def _check_pure(name: str, net: nn.Module) -> None:
    """Raise `BadInput` for a net that is not a pure function of its parameters while it trains."""
    for module in net.modules():
        kind = type(module).__name__
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            raise BadInput(
                f"the net {name!r} has a {kind} that keeps running statistics; use distmatch.networks.BatchNorm, "
                "or track_running_stats=False"
            )
        if isinstance(module, _DropoutNd) and module.p > 0:
            raise BadInput(f"the net {name!r} has a {kind}, which draws noise of its own; leave it out")
