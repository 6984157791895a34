"""Sweeps: many runs from one file, packed into lanes, on one machine or many.

`file` reads what is asked for and `plan` decides every run; `packing` makes tasks of them, and `pool` performs them: a
`worker` one, `local` or `ray` many. `sweep` drives all of it, and `table` is what comes out. The run folders are the
only truth.

>>> from distmatch.sweeps import parse, planned
>>> file = parse({"seeds": 2, "base": {"system": "vae", "data.name": "ring"}, "grid": {"training.lr": [1e-3, 1e-4]}})
>>> [run.name for run in planned(file)]
['lr=0.001,seed=0', 'lr=0.001,seed=1', 'lr=0.0001,seed=0', 'lr=0.0001,seed=1']
"""

from distmatch.sweeps.file import SweepFile, parse, read
from distmatch.sweeps.folder import Sweep, opened
from distmatch.sweeps.plan import Run, planned
from distmatch.sweeps.sweep import Machine, perform

__all__ = ["Machine", "Run", "Sweep", "SweepFile", "opened", "parse", "perform", "planned", "read"]
