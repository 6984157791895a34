"""One engine: a pure step, and what feeds, drives and keeps it."""

from distmatch.training.batches import FIXED_PRIORS, Feed
from distmatch.training.optimisers import OPTIMISERS, SCHEDULES, SGD, Adam, Optimiser, RMSProp
from distmatch.training.step import Batch, Settings, State, init
from distmatch.training.trainer import Diverged, Trainer

__all__ = [
    "FIXED_PRIORS",
    "OPTIMISERS",
    "SCHEDULES",
    "SGD",
    "Adam",
    "Batch",
    "Diverged",
    "Feed",
    "Optimiser",
    "RMSProp",
    "Settings",
    "State",
    "Trainer",
    "init",
]
