# The public names, by what they are for. `__init__.py` reads this file.

# Verbs.
# Rooms.
from distmatch import data as data
from distmatch import dirac as dirac
from distmatch import distributions as distributions
from distmatch import metrics as metrics
from distmatch import networks as networks
from distmatch import systems as systems
from distmatch import testing as testing

# What is refused.
from distmatch.errors import BadInput as BadInput

# Measuring.
from distmatch.metrics.declaration import Metric as Metric
from distmatch.metrics.declaration import metric as metric
from distmatch.metrics.estimate import Estimate as Estimate
from distmatch.metrics.model import Critic as Critic
from distmatch.metrics.model import Model as Model
from distmatch.objectives import comparisons as comparisons
from distmatch.objectives import penalties as penalties

# Terms and their sums.
from distmatch.objectives.objective import Objective as Objective
from distmatch.objectives.parser import parse as parse
from distmatch.objectives.term import Term as Term
from distmatch.objectives.terms.clamp import Clamp as Clamp
from distmatch.objectives.terms.critic import AdaptiveContrast as AdaptiveContrast
from distmatch.objectives.terms.critic import FeatureDistance as FeatureDistance
from distmatch.objectives.terms.critic import MixedBatch as MixedBatch
from distmatch.objectives.terms.distance import CosineDistance as CosineDistance
from distmatch.objectives.terms.distance import Distance as Distance
from distmatch.objectives.terms.likelihood import IWAE as IWAE
from distmatch.objectives.terms.likelihood import KL as KL
from distmatch.objectives.terms.likelihood import NLL as NLL
from distmatch.objectives.terms.likelihood import TargetRate as TargetRate
from distmatch.objectives.terms.match import Match as Match
from distmatch.objectives.terms.moments import MMD as MMD
from distmatch.objectives.terms.moments import CodeKL as CodeKL
from distmatch.objectives.variables import X_GEN as X_GEN
from distmatch.objectives.variables import X_LENS as X_LENS
from distmatch.objectives.variables import X_NEAR as X_NEAR
from distmatch.objectives.variables import X_REC as X_REC
from distmatch.objectives.variables import Z_CODE as Z_CODE
from distmatch.objectives.variables import Z_MARGINAL as Z_MARGINAL
from distmatch.objectives.variables import Z_NEAR as Z_NEAR
from distmatch.objectives.variables import Z_PRIOR as Z_PRIOR
from distmatch.objectives.variables import Z_REC as Z_REC

# Draws.
from distmatch.objectives.variables import X as X
from distmatch.runs.run import Run as Run
from distmatch.runs.run import evaluate as evaluate
from distmatch.runs.run import load as load
from distmatch.runs.run import report as report
from distmatch.runs.run import train as train
from distmatch.schedules import Ramp as Ramp

# Training with nets and data of one's own.
from distmatch.training.batches import Feed as Feed
from distmatch.training.optimisers import SGD as SGD
from distmatch.training.optimisers import Adam as Adam
from distmatch.training.optimisers import RMSProp as RMSProp
from distmatch.training.step import Settings as Settings
from distmatch.training.trainer import Diverged as Diverged
from distmatch.training.trainer import Trainer as Trainer

__version__: str
