"""The declarations: each system is a function to an `Objective`, with its defaults and its source.

`SYSTEMS` is all that the command line knows of them.
"""

from distmatch.systems.adversarial import gan, wgan, wgan_gp
from distmatch.systems.explicit import vae
from distmatch.systems.hybrids import aae, ali, vgh, vgh_plus_plus
from distmatch.systems.system import SYSTEMS, System, find

__all__ = ["SYSTEMS", "System", "aae", "ali", "find", "gan", "vae", "vgh", "vgh_plus_plus", "wgan", "wgan_gp"]
