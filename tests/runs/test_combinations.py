"""What cannot be combined is refused in one sentence; what can be, trains, resumes and is measured."""

import json
from pathlib import Path

import pytest
import torch

from distmatch.runs.folder import RunFolder
from distmatch.runs.model import load_trained
from distmatch.systems import SYSTEMS
from distmatch.training import checkpoint

DIGITS = ("--data", "digits", "--steps", "1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("wgan-gp", "--set", "network.minibatch_kernels=5"), "mixes the samples"),
        (("wgan-gp", "--set", "network.symmetric=true"), "mixes the samples"),
        (("pixelvae", "--likelihood", "bernoulli"), "pixels that are 0 or 1"),
        (("gan", "--network", "pixelcnn", "--likelihood", "categorical"), "no gradient comes back"),
        (("vae", "--network", "real-nvp"), "p(x), not p(x|z)"),
        (("real-nvp", "--network", "mlp"), "network.family=real-nvp"),
        (("real-nvp", "--latent", "20"), "network.latent=64"),
        (("real-nvp", "--binarise", "none"), "data.binarise=dequantise"),
        (("real-nvp", "--binarise", "threshold"), "data.binarise=dequantise"),
        (("real-nvp-wgan", "--binarise", "none"), "data.binarise=dequantise"),
        (("real-nvp", "--set", "network.prior=uniform"), "N(0, I) carried over"),
        (("avb-ac", "--set", "network.prior=uniform"), "adaptive_contrast compares codes with N(0, I)"),
        (("pixelcnn", "--likelihood", "quantized-normal"), "network.likelihood=categorical"),
        (("pixelcnn", "--likelihood", "gaussian"), "network.likelihood=categorical"),
        (("pixelvae", "--set", "network.uses_code=false"), "does not read its codes"),
        (("vae", "--set", "training.unroll=2"), "no term has one"),
        (("consensus-gan", "--set", "training.critic_steps=5"), "one step each"),
        (("consensus-gan", "--set", "training.order=simultaneous"), "one step each"),
        (("bgan", "--set", "network.symmetric=false"), "network.symmetric=true"),
        (("pixelcnn", "--set", "network.uses_code=true"), "network.uses_code=false"),
        (("vae", "--set", "network.posterior=deterministic"), "no density"),
        (("vae", "--set", "network.posterior=noise"), "no density"),
        (("vae", "--set", "network.posterior=sphere"), "no density"),
        (("vae", "--set", "network.posterior=gausian"), "did you mean 'gaussian'?"),
        (("vae", "--set", "network.prior=sphere"), "N(0, I)"),
        (("vae", "--set", "network.prior=mixture"), "nothing trains the prior"),
        (("vae-mixture", "--set", "network.prior=normal"), "has nothing to learn"),
        (("vae", "--set", "network.prior=vampp"), "did you mean 'vamp'?"),
        (("vae-vamp", "--labels"), "without labels"),
        (("pacgan", "--labels"), "pack"),
        (("gan", "--set", "system.by=wasserstein", "system.generator=kl"), "ratio"),
        (("gan", "--set", "training.consensus=1", "training.unroll=2"), "leave one of them out"),
        (("gan", "--set", "training.consensus=-1"), "training.consensus is -1"),
        (("vae", "--set", "system.beta=ramp(0, 1, 0)"), "at least 1"),
        (
            ("progressive-gan", "--network", "mlp", "--set", "network.stable=3"),
            "unknown option of mlp 'stable'",
        ),
        (("lens-gan", "--network", "progressive"), "no lens"),
    ],
)
def test_refused(arguments, words, refused):
    assert words in refused("train", *arguments, *DIGITS)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("nll + kl(prior=learned) + match(x_gen, x)", "learned prior"),
        ("iwae(5) + kl", "different numbers of codes"),
        ("distance(x, x_rec) + match(x_gen, x, teach=false)", "no term trains it"),
    ],
)
def test_refused_terms(terms, words, distmatch):
    """With the column, the text and a caret below the sentence."""
    code, _, errors = distmatch("train", "--terms", terms, *DIGITS)
    assert code == 2
    assert words in errors.splitlines()[0]
    assert errors.splitlines()[2].strip() == "^"


SMALL_NETS = {
    "vae-nvp": ("network.width=8",),
    "vae-vamp": ("network.width=8",),
    "vae-flow-prior": ("network.width=8",),
    "iwae": ("network.width=8",),
    "pixelvae": ("network.width=4", "network.layers=2", "data.binarise=threshold"),
    "pixelcnn": ("network.width=4", "network.layers=2"),
    "real-nvp": ("network.width=4", "network.blocks=1", "network.scales=1"),
    "avb-ac": ("network.width=8",),
    "age": ("network.width=8",),
    "sngan": ("network.width=8",),
    "lens-gan": ("network.width=8", "network.lens_width=8", "network.lens_blocks=1", "system.steps=4"),
    "progressive-gan": ("network.width=4", "network.most=8", "network.stable=2", "network.fade=2"),
    "unrolled-gan": ("network.width=8",),
    "consensus-gan": ("network.width=8",),
    "gan-roth": ("network.width=8", "system.penalty=roth(ramp(1, 0, 5))"),
}
COMMON = ("--data", "digits", "--limit", "64", "--batch-size", "32", "--device", "cpu", "--steps", "6")


QUICK = ("vae-flow-prior", "real-nvp", "age", "lens-gan", "gan-roth")  # of each kind; the others: `make slow`


@pytest.mark.parametrize(
    "system", [pytest.param(s, marks=() if s in QUICK else pytest.mark.slow) for s in SMALL_NETS]
)
def test_it_trains_is_measured_and_resumes_to_the_bit(system, distmatch):
    """One of each kind of net, posterior, prior and step. The second run stops half-way, by its checkpoint."""
    every = "training.checkpoint_every=3"
    words = ("train", system, *COMMON, "--set", *SMALL_NETS[system], every)
    code, _, errors = distmatch(*words, "--out", "whole")
    assert code == 0, errors
    code, _, errors = distmatch("evaluate", "whole", "--quick", "--samples", "20")
    assert code == 0, errors
    metrics = json.loads(Path("whole/metrics.json").read_text())["metrics"]
    assert metrics
    assert all(torch.tensor(m["value"]).isfinite() for m in metrics.values())
    code, _, errors = distmatch("sample", "whole", "-n", "4", "--out", "four.npy")
    assert code == 0, errors

    code, _, errors = distmatch(*words, "--out", "half")
    assert code == 0, errors
    (Path("half/checkpoints") / "00000006.safetensors").unlink(missing_ok=True)
    checkpoint.drop_after(Path("half/checkpoints"), 3)
    Path("half/status.json").unlink()
    code, _, errors = distmatch("resume", "half")
    assert code == 0, errors
    first, second = (checkpoint.read_latest(Path(run) / "checkpoints")[0] for run in ("whole", "half"))
    assert first.keys() == second.keys()
    assert [k for k in first if not torch.equal(first[k], second[k])] == []


def test_samples_of_every_kind_are_fixed_by_their_seed(distmatch):
    for system in ("vae-mixture", "pixelcnn"):
        nets = SMALL_NETS.get(system, ("network.width=8",))
        code, _, errors = distmatch("train", system, *COMMON, "--set", *nets, "--out", system)
        assert code == 0, errors
        trained, _ = load_trained(RunFolder.open(Path(system)))
        before = torch.get_rng_state()
        assert torch.equal(trained.sample(5, seed=1), trained.sample(5, seed=1))
        assert not torch.equal(trained.sample(5, seed=1), trained.sample(5, seed=2))
        assert torch.equal(before, torch.get_rng_state())


def test_learned_priors_of_points(distmatch):
    ring = (
        "--data",
        "ring",
        "--limit",
        "64",
        "--batch-size",
        "32",
        "--steps",
        "2",
        "--set",
        "network.width=8",
    )
    for system in ("vae-mixture", "vae-vamp"):
        code, _, errors = distmatch("train", system, *ring, "--out", system)
        assert code == 0, errors


def test_another_prior_is_not_measured_as_if_it_were_normal(distmatch):
    words = ("train", "bigan", *COMMON, "--network", "mlp", "--set", "network.width=8", "--out", "run")
    assert distmatch(*words)[0] == 0
    assert distmatch("evaluate", "run", "--quick", "--samples", "50")[0] == 0
    found = json.loads(Path("run/metrics.json").read_text())
    assert "empirical_marginal_kl" not in found["metrics"]
    assert "the prior of this system is another" in found["skipped"]["code_moments"]


def test_the_lens_is_removed_where_its_own_ramp_ends(distmatch):
    nets = ("network.width=8", "network.lens_width=8", "network.lens_blocks=1")
    words = ("system.steps=3", "system.penalty=roth(ramp(2, 0.5, 500))")
    code, _, errors = distmatch(
        "train", "lens-gan", *COMMON, "--network", "mlp", "--set", *nets, *words, "--out", "a"
    )
    assert code == 0, errors
    trained, _ = load_trained(RunFolder.open(Path("a")))
    assert trained.nets["lens"].until == 3


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_trains_from_the_command_line(system, distmatch):
    data = "digits" if SYSTEMS[system].defaults.get("network.family") else "ring"
    words = ("train", system, "--data", data, "--limit", "1024", "--steps", "5", "--out", "run")
    code, _, errors = distmatch(*words)
    assert code == 0, errors
    code, _, errors = distmatch("evaluate", "run", "--quick", "--samples", "50")
    assert code == 0, errors
