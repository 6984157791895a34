"""E14: variational auto-encoders of two codes on MNIST: batch normalisation, convolutions, conditioning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distmatch.objectives.variables import X_GEN
from distmatch.reproduction.framework.common import (
    cell_difference,
    digits_of,
    kept,
    label_of,
    mean_curve,
    pack,
    show,
    sized,
    thin,
    unpack,
    value,
)
from distmatch.reproduction.framework.experiment import (
    Bench,
    Cell,
    Claim,
    Experiment,
    Numbers,
    Results,
    Scale,
)
from distmatch.reproduction.framework.train import logged, train_run
from distmatch.reproduction.framework.verdict import Expected
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import Trained, load_trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH, CODES, SIDE, DIGIT, NEIGHBOURS = 128, 2000, 9, 9, 5
PLAIN: dict[str, Any] = {"system": "vae", "network.width": 100, "network.depth": 1}
MODELS: dict[str, dict[str, Any]] = {
    "vae": PLAIN,
    "vae-norm": {**PLAIN, "network.batch_norm": True},
    "cvae-norm": {**PLAIN, "system": "cvae", "network.batch_norm": True},
    "conv-vae-norm": {"system": "conv-vae"},
}
NAMES = {
    "vae": "VAE, no batch norm",
    "vae-norm": "VAE",
    "cvae-norm": "CVAE",
    "conv-vae-norm": "convolutional VAE",
}
VAE, CVAE = {"model": "vae-norm"}, {"model": "cvae-norm"}
SOURCE = "seed 003, section 4.1"


def cells(scale: Scale) -> list[Cell]:
    """Every model."""
    return [{"model": name} for name in MODELS]


def epochs(scale: Scale, model: str) -> int:
    """Number of epochs: a convolutional net costs ten times as much on a CPU."""
    return sized(scale, 3, 2, 15) if model.startswith("conv") else sized(scale, 3, 15, 30)


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """Validation loss after each epoch; the uncertainty of samples' pixels; pictures of the codes."""
    model = str(cell["model"])
    per_epoch = sized(bench.scale, 1297, 55_000, 55_000) // BATCH
    often = ("log_every", "checkpoint_every")
    settings = {
        **digits_of(bench.scale),
        **MODELS[model],
        "data.binarise": "dynamic",
        "network.latent": 2,
        "training.lr": 1e-2,
        "training.batch_size": BATCH,
        "training.steps": per_epoch * epochs(bench.scale, model),
        "training.sample_every": per_epoch * epochs(bench.scale, model),
        **{f"training.{name}": per_epoch for name in often},
    }
    if model.startswith("conv"):
        settings["network.width"] = sized(bench.scale, 4, 8, 32)
    if (path := train_run(settings, seed, bench)) is None:
        return Numbers({"diverged": 1.0})
    trained, _ = load_trained(RunFolder.open(path))
    both = [
        [a + b for a, b in zip(*(logged(path, w + n) for n in ("nll", "kl")), strict=True)]
        for w in ("", "validation/")
    ]
    probability = trained.sample(500, seed)
    values = {"loss": both[1][-1], "unsure": float((probability * (1 - probability)).mean())}
    curves = {"train": thin(both[0]), "validation": thin(both[1])}
    if model == "vae-norm":
        codes = trained.encode(trained.prepared("test", CODES)).mean
        classes = trained.assembly.data.test.y
        assert classes is not None
        values |= neighbourhood(codes, classes[: len(codes)])
        curves |= scatter(codes, classes) if seed == 0 else {}
    if seed == 0 and model in ("vae-norm", "cvae-norm"):
        curves["manifold"] = pack(manifold(trained))
    return Numbers(values, curves)


def neighbourhood(codes: Tensor, classes: Tensor) -> dict[str, float]:
    """Share of the five nearest other codes that are of a code's own class, and how much more often 7 and 9 are
    neighbours, and 0 and 6, than two different classes are on average."""
    near = torch.cdist(codes, codes).fill_diagonal_(torch.inf).topk(NEIGHBOURS, largest=False).indices
    counts = torch.zeros(10, 10).index_put_(
        (classes[:, None].expand_as(near), classes[near]), torch.tensor(1.0), accumulate=True
    )
    share = counts / counts.sum(1, keepdim=True)
    other = (share.sum() - share.trace()) / 90
    pairs = {f"frontier_{a}{b}": float((share[a, b] + share[b, a]) / 2 / other) for a, b in ((7, 9), (0, 6))}
    return {"own_class": float(counts.trace() / counts.sum()), **pairs}


def scatter(codes: Tensor, classes: Tensor) -> dict[str, list[float]]:
    """A few codes and their classes, for the figure."""
    few = codes[:600]
    return {
        "code_1": [round(v, 2) for v in few[:, 0].tolist()],
        "code_2": [round(v, 2) for v in few[:, 1].tolist()],
        "class": [float(c) for c in classes[: len(few)].tolist()],
    }


def manifold(trained: Trained) -> Tensor:
    """Images decoded from a grid of codes, even in the prior's mass: of one digit where the label is given."""
    at = torch.special.ndtri(torch.linspace(0.03, 0.97, SIDE))
    z = torch.stack([at.repeat(SIDE), at.flip(0).repeat_interleave(SIDE)], 1)
    y = torch.full((len(z),), DIGIT) if trained.assembly.objective.labels else None
    return trained.decoded(z, y, of=X_GEN)


def epochs_needed(results: Results) -> list[float]:
    """The first epoch after which batch norm's validation loss is at or below what the plain VAE ends with; one
    more than there are if there is none."""
    plain, norm = (results.curves("validation", model=m) for m in ("vae", "vae-norm"))
    return [
        float(next((k for k, v in enumerate(b, 1) if v <= a[-1]), len(b) + 1))
        for a, b in zip(plain, norm, strict=True)
    ]


def convolution(results: Results) -> list[float]:
    """The convolutional VAE's loss less the other's after as many epochs."""
    conv, flat = (results.curves("validation", model=m) for m in ("conv-vae-norm", "vae-norm"))
    return [a[-1] - b[len(a) - 1] for a, b in zip(conv, flat, strict=True)]


def figures(results: Results) -> Mapping[str, Figure]:
    """Losses; the codes by class; images decoded from codes."""
    from distmatch.reports.style import COLOURS, legend, new_figure, styled

    @styled
    def losses() -> Figure:
        figure, panels = new_figure(1, 2, (3.6, 2.9))
        for axes, part in zip(panels, ("train", "validation"), strict=True):
            for (model, name), colour in zip(NAMES.items(), COLOURS, strict=False):
                curves = kept(results, part, model=model)
                label = label_of(name, results, part, model=model)
                mean_curve(axes, range(1, len(curves[0]) + 1) if curves else [], curves, label, colour)
            axes.set(xlabel="epoch", ylabel=f"{part} loss, nats per image")
        legend(panels[0])
        panels[1].set_title("bands: 95 % over seeds")
        return figure

    @styled
    def codes() -> Figure:
        figure, panels = new_figure(1, 3, (3.1, 3.1))
        points = [kept(results, name, **VAE) for name in ("code_1", "code_2", "class")]
        if all(points):
            for digit in range(10):
                at = [k for k, c in enumerate(points[2][0]) if c == digit]
                colour = COLOURS[digit % len(COLOURS)]
                place = [[points[i][0][k] for k in at] for i in (0, 1)]
                panels[0].plot(*place, ls="", marker=f"${digit}$", color=colour, ms=4, mew=0.3)
        panels[0].set(xlabel="code 1", ylabel="code 2", title="codes of held-out digits")
        for axes, where, title in zip(
            panels[1:],
            (VAE, CVAE),
            ("VAE: codes, decoded", f"CVAE: codes of a {DIGIT}, decoded"),
            strict=True,
        ):
            for packed in kept(results, "manifold", **where)[:1]:
                show(axes, unpack(packed, 28 if len(packed) > 10 * SIDE**2 else 8), SIDE)
            axes.set_title(title)
        return figure

    return {"losses": losses(), "codes": codes()}


E14 = Experiment(
    name="E14",
    title="VAE, convolutional VAE and CVAE with a code of two on MNIST",
    seed="003",
    about="Nets of the document: 784-100-(2+2) and 2-100-784, ReLU, Adam at 1e-2; batches of 128 (not stated "
    "there), pixels drawn anew at each step from their grey levels. The convolutional VAE is convolutional on both "
    "sides, where the document's decoder stays fully connected, and at the scale cpu it is trained for two epochs and "
    "compared with the other after as many. Losses are validated with batch norm's statistics of training batches.",
    cells=cells,
    run=run,
    claims=(
        Claim(
            "With batch normalisation the validation loss reaches the converged value of the plain VAE in 2 epochs "
            "instead of 15.",
            f"{SOURCE}, batch normalisation",
            "first epoch at which the VAE with batch norm is at or below the final validation loss of the VAE without",
            epochs_needed,
            Expected(high=2.5, unit="epochs", of="median"),
        ),
        Claim(
            "Convolutions make no significant difference.",
            f"{SOURCE}, vanilla against CNN",
            "validation loss, convolutional less fully connected, after as many epochs",
            convolution,
            Expected(low=-5.0, high=5.0, unit="nats"),
        ),
        Claim(
            "The CVAE achieves a lower loss.",
            "seed 003, figure 4",
            "final validation loss, CVAE less VAE",
            cell_difference("loss", CVAE, VAE),
            Expected(high=0.0, unit="nats"),
        ),
        Claim(
            "CVAE samples are brighter: their pixels' probabilities are nearer to 0 and 1.",
            "seed 003, figure 5",
            "mean p(1 - p) of samples' pixels, CVAE less VAE",
            cell_difference("unsure", CVAE, VAE),
            Expected(high=0.0),
        ),
        Claim(
            "Without labels, codes of a digit cluster together.",
            "seed 003, figure 6",
            "share of the five nearest codes that are of the same class (chance: 0.1)",
            value("own_class", VAE),
            Expected(low=0.5),
        ),
        *(
            Claim(
                f"Similar digits share a frontier: {a} and {b}.",
                "seed 003, figure 6",
                "how often their codes are near neighbours, over the mean of all pairs of classes",
                value(f"frontier_{a}{b}", VAE),
                Expected(low=1.0),
            )
            for a, b in ((0, 6), (7, 9))
        ),
    ),
    figures=figures,
)
