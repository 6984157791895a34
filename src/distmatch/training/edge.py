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

from distmatch.distributions.checks import check_support, unvalidated
from distmatch.errors import BadInput
from distmatch.objectives.objective import Objective
from distmatch.objectives.term import MODEL_NETS, Critics
from distmatch.objectives.variables import X_GEN, X_REC, Draws, draw
from distmatch.random import own_randomness
from distmatch.training.batches import Feed
from distmatch.training.step import Batch
from distmatch.training.watched import Watched, check_apart, check_repeats

EDGE_SEED = 1_618_033  # of the tiny batch's noise, which is apart from the run's


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
    shape = tuple(batch.x.shape[1:])
    watched = {name: Watched(name, net, objective, shape, feed.latent) for name, net in nets.items()}
    with _graph(), unvalidated(), own_randomness(EDGE_SEED):
        draws = _drawn(objective, watched, batch)
        critics = Critics({n: watched[n] for n in objective.critics}, draws)
        losses = _losses(objective, draws, critics)
        _check_gradients(nets, losses)
        for net in watched.values():
            check_repeats(net)
        for critic, penalty in objective.penalties.values():
            if penalty.per_sample:
                check_apart(watched[critic])
        notes = [_sigmoid(objective, watched[name]) for name in objective.critics]
    return [note for note in (_frozen(objective, nets), _layout(feed.x), *_of_data(draws), *notes) if note]


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
    for name in sorted(
        losses, key=MODEL_NETS.__contains__
    ):  # critics first: one that detaches cuts others off
        parts = losses[name]
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


def _sigmoid(objective: Objective, critic: Watched) -> str | None:
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


def _layout(x: Tensor) -> str | None:
    """Return a note on data whose dimensions stand in another order than nets take them."""
    shape = tuple(x.shape)
    if len(shape) == 4 and shape[1] > 4 and shape[3] in (1, 3, 4):
        return (
            f"the data of shape {shape} look like (N, H, W, C), and nets take (N, C, H, W): x.movedim(-1, 1)"
        )
    if len(shape) == 2 and shape[1] > 10 * shape[0]:
        return f"the data have {shape[0]} examples of {shape[1]} values: if they are (D, N), give x.T"
    return None
