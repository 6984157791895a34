"""E17: phase portraits of the smallest game."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from distmatch.dirac import METHODS, SCHEDULES, jacobian_eigenvalues, trajectory
from distmatch.reproduction.framework.common import thin
from distmatch.reproduction.framework.experiment import (
    Bench,
    Cell,
    Claim,
    Experiment,
    Numbers,
    Results,
    Scale,
)
from distmatch.reproduction.framework.verdict import Expected

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = {"smoke": 50, "cpu": 500, "paper": 5000}
ORDERS = {str(schedule): schedule for schedule in SCHEDULES}
SMOOTH = [name for name in METHODS if name != "wgan-gp"]  # its field jumps at the equilibrium
SOURCE = "seed 000, Dirac-GAN"


def cells(scale: Scale) -> list[Cell]:
    """Every method under every schedule."""
    return [{"method": m, "order": order} for m in METHODS for order in ORDERS]


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """The distance from the equilibrium after all rounds from (1, 1), and the eigenvalues there."""
    method = METHODS[str(cell["method"])]()
    path = trajectory(method, steps=STEPS[bench.scale], **ORDERS[str(cell["order"])]._asdict())
    values = {"rounds": len(path) - 1, "start": float(path[0].norm()), "end": float(path[-1].norm())}
    if cell["method"] in SMOOTH:
        eigenvalues = jacobian_eigenvalues(method)
        values |= {"real": float(eigenvalues.real.max()), "imaginary": float(eigenvalues.imag.abs().max())}
    return Numbers(values, {"distance": thin(path.norm(dim=-1).tolist())})


def end(method: str, order: str) -> Callable[[Results], Sequence[float]]:
    """The distance from the equilibrium at which a method ends under a schedule."""
    return lambda results: results.values("end", method=method, order=order)


def figures(results: Results) -> Mapping[str, Figure]:
    """The gallery of seed 000's second figure."""
    from distmatch.reports.phase import phase_gallery

    steps = int(results.values("rounds", method="gan", order="simultaneous")[0])
    return {
        "gallery": phase_gallery([make() for make in METHODS.values()], steps=steps, schedules=SCHEDULES[:2])
    }


def _still_turning(results: Results) -> list[float]:
    """Number of unregularised methods that have purely imaginary eigenvalues."""
    values = [
        (results.values(name, method=m, order="simultaneous")[0] for name in ("real", "imaginary"))
        for m in ("gan", "ns-gan")
    ]
    return [float(sum(abs(real) < 1e-6 and imaginary > 0.1 for real, imaginary in values))]


E17 = Experiment(
    name="E17",
    title="Dirac-GAN: which methods converge in the smallest game",
    seed="000",
    about="One data point at 0, one model point at θ, a critic of slope ψ; steps of 0.2 from (1, 1), as in the "
    "authors' notebook. Instance noise is integrated exactly, where they draw it. Nothing is random.",
    cells=cells,
    run=run,
    claims=(
        Claim(
            "Simultaneous updates force the trajectory away from the equilibrium.",
            SOURCE,
            "distance from the equilibrium after all rounds, start √2",
            end("gan", "simultaneous"),
            Expected(low=2.0**0.5, exact=True),
        ),
        Claim(
            "With alternating updates the standard GAN neither converges nor escapes.",
            SOURCE,
            "distance from the equilibrium after all rounds, start √2",
            end("gan", "alternating"),
            Expected(low=1.0, high=2.0, exact=True),
        ),
        Claim(
            "The field around the equilibrium rotates: without regularisation the eigenvalues are imaginary.",
            SOURCE,
            "of the minimax and the non-saturating GAN, how many have eigenvalues on the imaginary axis",
            _still_turning,
            Expected(low=1.5, exact=True),
        ),
        *(
            Claim(
                f"Many methods are caught in a limit cycle: {name} does not reach the equilibrium.",
                SOURCE,
                "distance from the equilibrium after all rounds of alternating updates",
                end(method, "alternating"),
                Expected(low=0.05, exact=True),
            )
            for name, method in (("WGAN with clipping", "wgan"), ("WGAN-GP", "wgan-gp"))
        ),
        *(
            Claim(
                f"{name} converges.",
                SOURCE,
                "distance from the equilibrium after all rounds of alternating updates",
                end(method, "alternating"),
                Expected(high=1e-3, exact=True),
            )
            for name, method in (
                ("Instance noise", "instance-noise"),
                ("The zero-centred penalty R1", "r1"),
                ("Consensus optimisation", "consensus"),
            )
        ),
    ),
    figures=figures,
    seeded=False,
)
