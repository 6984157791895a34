"""The declarations: each system is a function to an `Objective`, with its defaults and its source.

`SYSTEMS` is all that the command line knows of them.
"""

from distmatch.systems.adversarial import bgan, clamped_gan, gan, gmmn, lens_gan, wgan, wgan_gp
from distmatch.systems.autoencoders import aae, age, avb, avb_ac, wae_gan, wae_mmd
from distmatch.systems.catalogue import SYSTEMS, find
from distmatch.systems.explicit import iwae, likelihood, vae, vae_rate
from distmatch.systems.hybrids import alpha_gan, vae_gan, vgh, vgh_plus_plus
from distmatch.systems.joint import ali, alice, veegan
from distmatch.systems.system import System

__all__ = [
    "SYSTEMS",
    "System",
    "aae",
    "age",
    "ali",
    "alice",
    "alpha_gan",
    "avb",
    "avb_ac",
    "bgan",
    "clamped_gan",
    "find",
    "gan",
    "gmmn",
    "iwae",
    "lens_gan",
    "likelihood",
    "vae",
    "vae_gan",
    "vae_rate",
    "veegan",
    "vgh",
    "vgh_plus_plus",
    "wae_gan",
    "wae_mmd",
    "wgan",
    "wgan_gp",
]
