"""The edge of training: a tiny batch through nets and terms, once, before the first step.

Whatever would train to a number that means nothing is refused here in one sentence, so that the step itself checks
nothing: shapes that only broadcast, data outside of the decoder's support, a net that no gradient reaches, randomness
inside a net, critics that mix a batch under a penalty for each example. What may be meant is a note.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from distmatch.distributions.checks import check_distribution, check_support, unvalidated
from distmatch.distributions.flatten import flatten_distribution
from distmatch.errors import BadInput
from distmatch.objectives.objective import Objective
from distmatch.objectives.term import MODEL_NETS, Critics
from distmatch.objectives.variables import X_GEN, X_REC, Draws, draw
from distmatch.random import own_randomness
from distmatch.training.batches import Feed
from distmatch.training.step import Batch

EDGE_SEED = 1_618_033  # of the tiny batch's noise, which is apart from the run's
LIKE = 1e-3  # two calls of one function differ by rounding alone, of this share of their range at most


def check_run(objective: Objective, nets: Mapping[str, nn.Module], feed: Feed) -> list[str]:
    """Return notes on a run that is about to begin: what may be meant, but seldom is.

    Args:
        objective: what is minimised.
        nets: in training mode, by name.
        feed: whose data and noise the tiny batch is made of; it stays as it is.

    Raises:
        BadInput: the run would not train, or to numbers that mean nothing.
    """
    _check_weights(objective)
    _check_learners(objective, nets)
    _check_sharing(nets)
    _check_labels(feed, nets)
    batch = _tiny_batch(objective, feed)
    watched = {name: _Watched(name, net, objective, batch, feed.latent) for name, net in nets.items()}
    with _graph(), unvalidated(), own_randomness(EDGE_SEED):
        draws = _drawn(objective, watched, batch)
        critics = Critics({n: watched[n] for n in objective.critics}, draws)
        losses = _losses(objective, draws, critics)
        _check_gradients(nets, losses)
        for net in watched.values():
            _check_repeats(net)
        for critic, penalty in objective.penalties.values():
            if penalty.per_sample:
                _check_apart(watched[critic])
        notes = [_sigmoid(objective, watched[name]) for name in objective.critics]
    return [note for note in (_frozen(objective, nets), *_of_data(draws), *notes) if note]


class _Watched:
    """A net that checks the shape of whatever it returns, and keeps it."""

    def __init__(self, name: str, net: nn.Module, objective: Objective, batch: Batch, latent: int) -> None:
        self.name, self.net, self.who = (
            name,
            net,
            f"the {name}" if name in objective.uses else f"the critic {name!r}",
        )
        self.spaces = objective.critics.get(name)
        self.x, self.latent = tuple(batch.x.shape[1:]), latent
        self.call: tuple[tuple[Any, ...], dict[str, Any], Any] | None = (
            None  # the first: inputs, labels, output
        )

    def __getattr__(self, key: str) -> Any:
        return getattr(self.net, key)

    def __call__(self, *inputs: Any, **more: Any) -> Any:
        tensors = [v for v in (*inputs, *more.values()) if isinstance(v, Tensor)]
        try:
            made = self.net(*inputs, **more)
        except BadInput:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise BadInput(
                f"{self.who} cannot be called with inputs of shape {shapes}"
                f"{' and the labels y' if 'y' in more else ''}: {' '.join(str(error).split())}"
            ) from error
        self.check(made, len(tensors[0]) if tensors else 1, more)
        if self.call is None and not any(is_functorch_wrapped_tensor(t) for t in tensors):
            self.call = inputs, more, made
        return made

    def check(self, made: Any, batch: int, more: Mapping[str, Any]) -> None:
        """Raise `BadInput` unless the output is what a net of this role returns for `batch` examples."""
        if self.spaces is not None:
            _check_scores_of(self.who, made, batch, bool(more.get("hidden")))
        elif self.name == "encoder":
            check_distribution(made, batch, (self.latent,), self.who)
        elif self.name == "decoder":
            check_distribution(made, batch, self.x, self.who)
        elif self.name == "lens" and (not isinstance(made, Tensor) or made.shape != (batch, *self.x)):
            came = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise BadInput(
                f"the lens returned {came} for data of shape {(batch, *self.x)}; it must return that shape"
            )


def _check_scores_of(who: str, made: Any, batch: int, hidden: bool) -> None:
    came = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
    if not isinstance(made, Tensor) or made.ndim != 1 + hidden or len(made) != batch:
        remedy = (
            "return .squeeze(-1)" if came.endswith(f"({batch}, 1)") else "return one score for each example"
        )
        wanted = f"features ({batch}, F)" if hidden else f"({batch},)"
        raise BadInput(f"{who} returned {came} for {batch} examples; it must return {wanted}: {remedy}")


@contextmanager
def _graph() -> Iterator[None]:
    """Gradients are on inside, whatever they are outside, and distributions are not validated."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _tiny_batch(objective: Objective, feed: Feed) -> Batch:
    """A batch of a size that no shape of the run has, with the data's extremes in it."""
    pack = math.lcm(*(t.pack for t in objective.terms))
    taken = {feed.latent, *feed.x.shape[1:]}
    size = next(n for n in range(3 * pack, 10**6, pack) if n not in taken)
    size = min(size, len(feed.x) // pack * pack)
    flat = feed.x.flatten(1) if feed.x.ndim > 1 else feed.x[:, None]
    if not flat.is_floating_point() or bool(flat.isfinite().all()):
        extremes = [int(flat.amax(1).argmax()), int(flat.amin(1).argmin())]
    else:
        row = int((~flat.isfinite().all(1)).nonzero()[0])
        raise BadInput(
            f"the data hold NaN or infinite values, first in example {row}; leave such examples out"
        )
    rows = list(dict.fromkeys([*extremes, *range(len(feed.x))][: size + 2]))[:size]
    return feed.beside(EDGE_SEED).batch(torch.tensor(rows, device=feed.x.device))


def _drawn(objective: Objective, nets: Mapping[str, Any], batch: Batch) -> Draws:
    return draw(
        objective.variables, nets, batch.x, batch.noise, batch.y, objective.distributions, objective.samples
    )


def _losses(objective: Objective, draws: Draws, critics: Critics) -> dict[str, list[Tensor]]:
    """Return the losses of each net, without their weights, by the net's name."""
    losses: dict[str, list[Tensor]] = {}
    for term in objective.terms:
        for name in term.nets:
            losses.setdefault(name, []).append(term.loss(draws, critics).mean())
        for part in term.critic_losses(draws.detach(), Critics(critics.nets, draws.detach())).values():
            losses.setdefault(next(iter(term.critics)), []).append(part.mean())
    return losses


def _check_weights(objective: Objective) -> None:
    """Raise `BadInput` for a weight that is a tensor and negative or not finite; others are checked by their terms."""
    for name, term in zip(objective.names, objective.terms, strict=True):
        weight = term.weight
        if isinstance(weight, Tensor) and not bool(((weight >= 0) & weight.isfinite()).all()):
            raise BadInput(f"the weight of {name} is {weight.tolist()}; give finite numbers, 0 or above")


def _check_learners(objective: Objective, nets: Mapping[str, nn.Module]) -> None:
    """Raise `BadInput` where all that should learn is frozen."""
    learn = (*objective.nets, *objective.critics)
    if not any(p.requires_grad for name in learn for p in nets[name].parameters()):
        raise BadInput(
            f"every parameter of {', '.join(learn)} is frozen, so nothing would learn: "
            "call requires_grad_() on a net that should"
        )


def _frozen(objective: Objective, nets: Mapping[str, nn.Module]) -> str | None:
    """Return a note where the model is frozen and its critics alone learn, or the reverse."""
    for side in (objective.nets, tuple(objective.critics)):
        if side and not any(p.requires_grad for name in side for p in nets[name].parameters()):
            return f"every parameter of {', '.join(side)} is frozen: only the other nets learn"
    return None


def _check_sharing(nets: Mapping[str, nn.Module]) -> None:
    """Raise `BadInput` for a parameter of two nets, whose copies would be trained apart."""
    owners: dict[int, tuple[str, str]] = {}
    for name, net in nets.items():
        for key, p in net.named_parameters():
            if p.requires_grad and (owner := owners.setdefault(id(p), (name, key))) != (name, key):
                raise BadInput(
                    f"{name} and {owner[0]} share the parameter {key} ({owner[1]} there), and each net is trained on "
                    "its own: give each its own copy (copy.deepcopy), or freeze what they share"
                )


def _check_labels(feed: Feed, nets: Mapping[str, nn.Module]) -> None:
    """Raise `BadInput` for a label that a net built for some number of classes does not know."""
    if feed.y is None:
        return
    highest = int(feed.y.max())
    for name, net in nets.items():
        classes = getattr(getattr(net, "shapes", None), "num_classes", 0)
        if classes and highest >= classes:
            counted = "; count classes from 0" if highest == classes and int(feed.y.min()) == 1 else ""
            raise BadInput(
                f"the labels go up to {highest}, and the {name} knows the classes 0 to {classes - 1}{counted}"
            )


def _check_gradients(nets: Mapping[str, nn.Module], losses: Mapping[str, list[Tensor]]) -> None:
    """Raise `BadInput` for a net with parameters to learn that no gradient of its losses reaches."""
    for name, parts in sorted(
        losses.items(), key=lambda item: item[0] in MODEL_NETS
    ):  # critics cut others off
        params = [p for p in nets[name].parameters() if p.requires_grad]
        total = sum(parts[1:], parts[0])
        if not params:
            continue
        slopes = (
            torch.autograd.grad(total, params, retain_graph=True, allow_unused=True)
            if total.requires_grad
            else [None] * len(params)
        )
        if all(slope is None for slope in slopes):
            raise BadInput(
                f"no gradient of its loss reaches the {name}: what it returns does not depend on its parameters "
                "(detach, no_grad or .data inside of it?), so it would not learn"
            )


def _check_repeats(net: _Watched) -> None:
    """Raise `BadInput` for a net that answers one input in two ways."""
    if net.call is None:
        return
    inputs, more, made = net.call
    if not _alike(made, net.net(*inputs, **more)):
        raise BadInput(
            f"{net.who} returns different values for the same input, so it draws random numbers of its own "
            "(dropout, randn) or changes itself at each call: leave that out, since all randomness is the run's"
        )


def _check_apart(critic: _Watched) -> None:
    """Raise `BadInput` for a critic whose score of one example depends on the others of the batch.

    A layer that was published with such a penalty says so by `bears_penalties = True`.
    """
    if critic.call is None or any(getattr(m, "bears_penalties", False) for m in critic.net.modules()):
        return
    inputs, more, made = critic.call
    others = [torch.cat([v[:1], 2 * v[1:].flip(0)]) if v.is_floating_point() else v for v in inputs]
    if not _alike(made[:1], critic.net(*others, **more)[:1]):
        raise BadInput(
            f"{critic.who} mixes the examples of a batch (batch norm, minibatch features), and its penalty is one for "
            "each example: take a norm of each example alone (LayerNorm, GroupNorm), or leave the penalty out"
        )


def _alike(a: Any, b: Any) -> bool:
    """True where two outputs, tensors or distributions, are equal to rounding."""
    pairs = zip(
        *(([v] if isinstance(v, Tensor) else flatten_distribution(v)[0]) for v in (a, b)), strict=True
    )
    return all(_close(u.detach(), v.detach()) for u, v in pairs if u.numel())


def _close(u: Tensor, v: Tensor) -> bool:
    scale = float(u.abs().nan_to_num(0.0, 0.0, 0.0).max())
    return bool(torch.isclose(u, v, rtol=0, atol=LIKE * scale + 1e-12, equal_nan=True).all())


def _sigmoid(objective: Objective, critic: _Watched) -> str | None:
    """Return a note on a critic whose scores are squashed to (0, 1); raise `BadInput` where they must be logits."""
    if critic.call is None or not _ends_in_sigmoid(critic.call[2]):
        return None
    some = torch.tensor([-1.0, 0.5])
    for term in objective.terms:
        by = getattr(term, "by", None)
        if by is not None and critic.name in term.critics and by.log_ratio is not None:
            if torch.equal(by.log_ratio(some), some):
                raise BadInput(
                    f"{critic.who} ends in a sigmoid, and the comparison {by.name} takes its score for the log-ratio "
                    "log p/q, a logit: return the score before the sigmoid"
                )
            return None
    return f"{critic.who} ends in a sigmoid, so its scores stay between 0 and 1"


def _ends_in_sigmoid(scores: Tensor) -> bool:
    node = scores.grad_fn
    while node is not None and node.name().startswith(
        ("Squeeze", "View", "Reshape", "Select", "UnsafeView", "Flatten")
    ):
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith("Sigmoid")


def _of_data(draws: Draws) -> Iterator[str | None]:
    """Yield notes on data that the decoder's distribution scores; raise `BadInput` for data outside of its support."""
    for variable in (X_REC, X_GEN):
        made = draws.distributions.get(variable.name)
        if made is not None:
            x = draws.values["x"]
            copies = math.prod(made.batch_shape) // len(x) if len(x) else 1
            yield check_support(made, x.repeat(copies, *[1] * (x.ndim - 1)), "the decoder")
