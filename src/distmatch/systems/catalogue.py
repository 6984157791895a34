"""Every system by its name: what the modules beside this one declare in `SYSTEMS`, at their foot.

A system is a function to an objective with choices of its options, and with what its paper trains it with. Many are one
function with other choices, which a table beside it shows better than as many decorators would.
"""

from __future__ import annotations

from distmatch.declared import declared
from distmatch.errors import unknown
from distmatch.systems.system import System

FIRST = ("explicit", "adversarial", "autoencoders", "joint", "hybrids")  # the order of lists; others follow


SYSTEMS = declared("distmatch.systems", System, FIRST)


def find(name: str) -> System:
    """The system of this name; `BadInput` with the nearest name if there is none.

    >>> print(find("vgh++").objective(weight=5.0))
    5·E‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)] + D[p(x̃) ‖ p*(x)]
    >>> print(find("gan").objective(by="lsif", generator="kl", penalty="r1(10)"))
    KL_lsif[p*(x) ‖ p(x̃)] (critic data: penalty 5·E[‖∇f‖²] target)
    """
    if name not in SYSTEMS:
        raise unknown("system", name, SYSTEMS)
    return SYSTEMS[name]
