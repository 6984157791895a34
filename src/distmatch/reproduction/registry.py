"""Every experiment by name."""

from __future__ import annotations

from distmatch.errors import unknown
from distmatch.reproduction.framework.experiment import Experiment
from distmatch.reproduction.icml2018.e17_dirac import E17
from distmatch.reproduction.icml2018.e18_rate_distortion import E18
from distmatch.reproduction.icml2018.e19_lens import E19
from distmatch.reproduction.icml2018.e20_batch_critics import E20
from distmatch.reproduction.icml2018.e21_geometry import E21
from distmatch.reproduction.icml2018.e22_birthday import E22
from distmatch.reproduction.icml2018.e23_conditioning import E23
from distmatch.reproduction.icml2018.inverse_cdf import INVERSE_CDF
from distmatch.reproduction.lectures.e10_real_nvp import E10
from distmatch.reproduction.lectures.e11_disjoint import E11
from distmatch.reproduction.lectures.e12_ratio_losses import E12
from distmatch.reproduction.lectures.e13_mode_collapse import E13
from distmatch.reproduction.mnist_notes.e14_vae_mnist import E14
from distmatch.reproduction.mnist_notes.e15_gan_mnist import E15
from distmatch.reproduction.mnist_notes.e16_wgan_failure import E16
from distmatch.reproduction.mnist_notes.pixelvae import PIXELVAE
from distmatch.reproduction.own.hybrids import HYBRIDS_EXPERIMENT
from distmatch.reproduction.own.modes import MODES
from distmatch.reproduction.rosca2018.e01_marginal_kl import E1
from distmatch.reproduction.rosca2018.e02_likelihoods import E2
from distmatch.reproduction.rosca2018.e03_low_posterior import E3
from distmatch.reproduction.rosca2018.e04_ratio_estimates import E4
from distmatch.reproduction.rosca2018.e05_curves import E5
from distmatch.reproduction.rosca2018.e06_many_latents import E6
from distmatch.reproduction.rosca2018.e07_gaussians import E7
from distmatch.reproduction.rosca2018.e08_density_models import E8
from distmatch.reproduction.rosca2018.e09_nine_ways import E9
from distmatch.reproduction.rosca2018.optimal_transport import OPTIMAL_TRANSPORT

_SEED_002 = (E1, E2, E3, E4, E5, E6, E7, E8, E9, OPTIMAL_TRANSPORT)
_SEED_001 = (E10, E11, E12, E13)
_SEED_003 = (E14, E15, E16, PIXELVAE)
_SEED_000 = (E17, E18, E19, E20, E21, E22, E23, INVERSE_CDF)
_BEYOND = (HYBRIDS_EXPERIMENT, MODES)
EXPERIMENTS: dict[str, Experiment] = {
    e.name: e for e in _SEED_002 + _SEED_001 + _SEED_003 + _SEED_000 + _BEYOND
}


def find(name: str) -> Experiment:
    """The experiment of this name, in any case of letters.

    >>> find("e17").title
    'Dirac-GAN: which methods converge in the smallest game'
    """
    by_name = {known.lower(): e for known, e in EXPERIMENTS.items()}
    if name.lower() not in by_name:
        raise unknown("experiment", name, EXPERIMENTS)
    return by_name[name.lower()]
