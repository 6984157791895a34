"""What a trustworthy marginal KL costs: `empirical_marginal_kl` against the bare arithmetic that it cannot do without.

    python benchmarks/marginal_kl.py [--json FILE] [--threads N] [--components 60000] [--codes 10000] [--latent 50]

- `floor`: a float64 product of (codes, latent) and (latent, components), and the exponential of every entry, in
  tiles of 256 × 2048 that are written over one another. Its entries are moderate, so that no exponential underflows.
- `floor, squares`: the same with the 2·latent + 1 columns that components with variances of their own need.
- `log q(z)`: `log_mixture` alone.
- `empirical_marginal_kl`: the whole call, decomposition and checks with it.

The goal is a ratio of at most 2.5 of `empirical_marginal_kl` to the stricter `floor`, and a peak of memory under 1 GB:
that of a process of its own that does nothing else, less what it had after its imports (`above imports`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from measure import interleaved, print_machine, print_table, write_json
from torch import Tensor

from distmatch.metrics import empirical_marginal_kl
from distmatch.metrics.codes.mixture import COLUMNS, ROWS, log_mixture

GOAL, GIGABYTES = 2.5, 1.0
DRAWN = 1_000  # components that the codes are drawn from


def mixture(components: int, latent: int) -> tuple[Tensor, Tensor]:
    """Means and scales such as those of an encoder that uses its code."""
    g = torch.Generator().manual_seed(0)
    loc = torch.randn(components, latent, generator=g, dtype=torch.float64)
    return loc, 0.3 * torch.exp(0.3 * torch.randn(components, latent, generator=g, dtype=torch.float64))


def floor(codes: int, components: int, columns: int) -> Callable[[], None]:
    """The product and the exponential, tile by tile."""
    rows = torch.randn(codes, columns, dtype=torch.float64)
    blocks = (torch.randn(columns, components, dtype=torch.float64) / columns).split(COLUMNS, 1)
    blocks = tuple(block.contiguous() for block in blocks)
    buffer = torch.empty(ROWS * COLUMNS, dtype=torch.float64)

    def run() -> None:
        for block in blocks:
            for part in rows.split(ROWS):
                scores = buffer[: len(part) * block.shape[1]].view(len(part), -1)
                torch.mm(part, block, out=scores).exp_()

    return run


def rivals(codes: int, components: int, latent: int) -> dict[str, Callable[[], object]]:
    """By name, what is timed."""
    loc, scale = mixture(components, latent)
    own = torch.arange(codes) % components
    drawn = loc[own] + scale[own] * torch.randn(codes, latent, dtype=torch.float64)
    return {
        "floor": floor(codes, components, latent),
        "floor, squares": floor(codes, components, 2 * latent + 1),
        "log q(z)": lambda: log_mixture(drawn, loc, scale, own),
        "empirical_marginal_kl": lambda: whole(codes, loc, scale),
    }


def whole(codes: int, loc: Tensor, scale: Tensor) -> object:
    """The call as a user makes it."""
    evaluate = min(DRAWN, len(loc))
    return empirical_marginal_kl(loc, scale, samples=-(-codes // evaluate), evaluate=evaluate)


def peak(codes: int, components: int, latent: int) -> tuple[float, float]:
    """Peak memory of one call in a process of its own, in GB: in all, and above that of the imports.

    A process starts with its parent's peak: call this before anything large is made here.
    """
    code = (
        "import resource, marginal_kl as b;"
        "now = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        f"before = now(); b.whole({codes}, *b.mixture({components}, {latent})); print(before, now())"
    )
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    before, after = (int(v) * UNIT / 1e9 for v in out.stdout.split())
    return after, after - before


UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in the unit of ru_maxrss


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--blocks", type=int, default=5, help="calls of each")
    parser.add_argument("--threads", type=int, help="of torch; default: as torch decides")
    parser.add_argument("--components", type=int, default=60_000)
    parser.add_argument("--codes", type=int, default=10_000)
    parser.add_argument("--latent", type=int, default=50)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print_machine()
    sizes = options.codes, options.components, options.latent
    total, above = peak(*sizes)
    torch.manual_seed(0)
    times = interleaved(rivals(*sizes), calls=1, blocks=options.blocks, warm_up=1)
    rows = []
    for name, time in times.items():
        low, high = time.spread(times["floor"])
        ratios = round(time.over(times["floor"]), 2), round(time.over(times["floor, squares"]), 2)
        quartiles = f"{low:.2f}-{high:.2f}"
        rows.append(
            {"what": name, "s": round(time.median, 2), "to floor": ratios[0], "quartiles": quartiles}
            | {"to floor, squares": ratios[1], "goal": GOAL if name == "empirical_marginal_kl" else ""}
        )
    print_table(rows)
    memory = {"peak, GB": round(total, 3), "above imports, GB": round(above, 3), "goal": GIGABYTES}
    print()
    print_table([memory])
    write_json(options.json, [*rows, memory])


if __name__ == "__main__":
    main()
