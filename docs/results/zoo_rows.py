"""The rows of the zoo: what is trained, on what, what to expect of it, and what must hold."""

from __future__ import annotations

from dataclasses import dataclass

from distmatch.systems import find

GROUPS = (
    "Explicit",
    "Autoregressive",
    "Flows",
    "Adversarial, in the plane",
    "Adversarial, images",
    "Comparisons",
    "Latent and joint hybrids",
    "Failures of the seeds",
)

PLANE = "--latent 2 --batch-size 256"
PLANE_NETS = "network.width=128 network.depth=3 training.schedule=linear"
RING = f"--data ring {PLANE} --steps 5000 --set {PLANE_NETS} training.lr=1e-3"
VEEGAN = (
    "--data ring --latent 2 --batch-size 128 --steps 15000 --set network.width=64 network.depth=3 "
    "training.schedule=linear training.lr=2e-3 training.ema=0.99"
)
FIVE = f"--data gaussians {PLANE} --steps 4000 --set {PLANE_NETS} training.lr=5e-4"
SMOOTH = " training.lr=2e-4 system.penalty='gp(1, centre=0)'"
FLAT = "training.lr=2e-4 system.penalty='gp(30, centre=0)' system.instance_noise=0.3"
BINARY = "--data mnist --binarise dynamic"
FIXED = "--data mnist --binarise threshold"
HYBRID = "--data mnist --precision bf16 --set network.width=16 training.lr=4e-4 training.schedule=linear"
LONG = "--latent 16 --steps 4500 --set network.code_width=300 training.critic_lr=8e-4"
CONV = "--data mnist --precision bf16 --set network.width=16 training.ema=0.99"


@dataclass(frozen=True)
class Check:
    """A demand on a metric: at least, or at most, a bound, which adds to another row's value where one is named."""

    metric: str
    sign: str
    bound: float
    than: str = ""


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        group: its heading.
        system: a name of `distmatch list systems`.
        words: the rest of its command line; names its data with --data.
        expect: a sentence on what to expect of it.
        checks: what must hold.
        name: where it differs from the system's.
        source: the reference, where it differs from the system's.
        samples: how many codes, samples or examples are measured at most.
        only: the metrics, where not all that apply.
    """

    group: str
    system: str
    words: str
    expect: str
    checks: tuple[Check, ...] = ()
    named: str = ""
    source: str = ""
    samples: int = 2000
    only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How the page calls it."""
        return self.named or self.system

    @property
    def command(self) -> str:
        """The command line that trains it."""
        return f"distmatch train {self.system} {self.words}"

    @property
    def data(self) -> str:
        """The data set."""
        words = self.words.split()
        return words[words.index("--data") + 1]

    @property
    def reference(self) -> str:
        """Where it comes from."""
        return self.source or find(self.system).reference


def at_least(metric: str, bound: float) -> Check:
    """metric ≥ bound."""
    return Check(metric, ">=", bound)


def at_most(metric: str, bound: float) -> Check:
    """metric ≤ bound."""
    return Check(metric, "<=", bound)


ALL_MODES = (at_least("modes", 8),)
ASKED = (at_least("class_agreement", 0.9),)
FITS_PRIOR = (at_most("code_mean", 0.3), at_most("code_covariance", 0.4))
RECONSTRUCTS = (at_most("mse", 0.04),)

EXPLICIT = (
    Row(
        "Explicit",
        "vae",
        f"{FIXED} --latent 8 --epochs 12 --set training.schedule=cosine",
        "Blurred but whole digits; the yardstick of the PixelVAE below, which has the same code size and data.",
        (at_least("elbo", -100),),
    ),
    Row(
        "Explicit",
        "conv-vae",
        f"{BINARY} --steps 2500 --precision bf16 --set network.width=16 training.lr=2e-3 training.schedule=cosine",
        "As good as fully connected nets on digits.",
        (at_least("elbo", -120),),
    ),
    Row(
        "Explicit",
        "vae",
        "--data digits --epochs 40 --set network.width=128 network.batch_norm=true",
        "Batch normalisation in encoder and decoder: a lower loss after few epochs.",
        named="vae-batch-norm",
    ),
    Row(
        "Explicit",
        "cvae",
        "--data mnist --latent 4 --epochs 6 --set training.schedule=cosine",
        "The digit that was asked for, in many hands: the code holds style alone.",
        ASKED,
    ),
    Row(
        "Explicit",
        "beta-vae",
        f"{BINARY} --epochs 6 --set 'system.beta=ramp(0, 4, 2000)'",
        "A lower rate and a higher distortion than at β = 1; the ramp keeps codes from dying early.",
        (at_most("rate", 15),),
    ),
    Row(
        "Explicit",
        "vae-rate",
        f"{BINARY} --epochs 5 --set system.rate=10",
        "The rate stays where it was asked to be, 10 nats.",
        (at_least("rate", 9), at_most("rate", 11)),
    ),
    Row(
        "Explicit",
        "iwae",
        f"{BINARY} --epochs 2",
        "Five codes for each datum: its ELBO (one code) may be worse than the VAE's, its bound on log p(x) is better.",
    ),
    Row(
        "Explicit",
        "vae-nvp",
        f"{BINARY} --epochs 3",
        "A flow as posterior fits each datum's posterior better; the marginal of the codes is no nearer to the prior.",
    ),
    Row(
        "Explicit",
        "vae-mixture",
        f"{BINARY} --epochs 2",
        "A mixture learned as prior: the rate falls, for the prior comes to the codes.",
    ),
    Row(
        "Explicit",
        "vae-vamp",
        f"{BINARY} --epochs 2",
        "The prior is the posterior at learned pseudo-inputs, which look like digits.",
    ),
    Row("Explicit", "vae-flow-prior", f"{BINARY} --epochs 2", "A flow learned as prior."),
    *(
        Row(
            "Explicit",
            "vae",
            f"--data digits --epochs 40 --likelihood {likelihood} --set network.width=128",
            expect,
            named=f"vae-{likelihood}",
            source="arXiv:1511.01844 (spec of the likelihood); arXiv:1312.6114",
        )
        for likelihood, expect in (
            ("gaussian", "One learned σ; densities, so the ELBO may be above 0."),
            ("laplace", "As Gaussian, with ℓ1 instead of ℓ2."),
            (
                "quantized-normal",
                "A density of dequantised grey levels, one σ; a bound on their probability.",
            ),
            (
                "quantized-normal-per-pixel",
                "The same with a σ for each pixel: constant pixels become very sharp.",
            ),
            ("categorical", "A probability for each of 256 levels; digits use 17 of them, which it learns."),
        )
    ),
)

AUTOREGRESSIVE = (
    Row(
        "Autoregressive",
        "pixelcnn",
        f"{FIXED} --steps 700 --precision bf16 "
        "--set network.width=16 network.layers=5 training.lr=4e-3 training.schedule=cosine",
        "Sharp strokes, digits often broken: it sees ten rows and columns, not the whole image.",
        (at_most("nll", 80),),
        samples=2000,
    ),
    Row(
        "Autoregressive",
        "pixelvae",
        f"{FIXED} --latent 8 --steps 1500 --precision bf16 --set 'system.beta=ramp(0, 1, 500)' network.width=16 "
        "network.layers=2 network.kernel=3 network.conditioning=spatial network.encoder_width=16 training.lr=2e-3 "
        "training.schedule=cosine",
        "A weak, local PixelCNN beside a code that it needs: 10 nats and more better than the VAE with such a code.",
        (Check("elbo", ">=", 10.0, than="vae"), at_least("rate", 4)),
        samples=2000,
    ),
    Row(
        "Autoregressive",
        "pixelvae",
        f"{FIXED} --latent 8 --steps 700 --precision bf16 --set network.width=16 network.layers=4 "
        "network.encoder_width=16 training.lr=2e-3 training.schedule=cosine",
        "Posterior collapse: a decoder strong enough to do without its code does so at β = 1, and the rate is near 0.",
        (at_most("rate", 2.5),),
        named="pixelvae-collapsed",
        samples=2000,
    ),
    Row(
        "Autoregressive",
        "pixelvae-rate",
        f"{FIXED} --latent 8 --steps 700 --precision bf16 --set system.rate=12 system.weight=1 network.width=16 "
        "network.layers=4 network.encoder_width=16 training.lr=2e-3 training.schedule=cosine",
        "The cure: the same nets with |R - 12| beside the ELBO keep their code. Their codes leave the prior, though, "
        "and samples show it.",
        (at_least("rate", 10), at_least("mutual_information", 4)),
        samples=2000,
    ),
)

FLOWS = (
    Row(
        "Flows",
        "real-nvp",
        "--data digits --steps 700 --batch-size 100 --set network.width=16 network.blocks=1 training.lr=2e-3 "
        "training.schedule=cosine",
        "Exact likelihood, below the 8 bits of the uniform density; digits among speckles.",
        (at_most("bits_per_dim", 5.5),),
    ),
    Row(
        "Flows",
        "real-nvp-wgan",
        "--data digits --steps 500 --batch-size 100 --set network.width=16 network.blocks=1 training.lr=2e-4",
        "The same net by WGAN-GP: nicer digits, and a likelihood worse than the uniform density's 8 bits.",
        (at_least("bits_per_dim", 8),),
    ),
    Row(
        "Flows",
        "real-nvp",
        "--data gaussians --steps 2000 --batch-size 256 --set network.width=64 network.blocks=1 "
        "training.schedule=linear",
        "Points need no logit and no squeeze; bridges between the modes remain, for the map is continuous.",
        named="real-nvp-points",
    ),
)

IN_PLANE = (
    Row(
        "Adversarial, in the plane",
        "gan",
        RING,
        "With these nets it finds all modes; with others it may find one.",
    ),
    Row(
        "Adversarial, in the plane",
        "minimax-gan",
        RING,
        "The original game: its gradient fades where the critic is sure.",
    ),
    Row("Adversarial, in the plane", "lsgan", RING, "Squared scores instead of logarithms."),
    Row(
        "Adversarial, in the plane",
        "hinge-gan",
        RING,
        "Margins: samples beyond the margin teach the critic nothing.",
    ),
    Row(
        "Adversarial, in the plane",
        "wgan",
        f"--data ring {PLANE} --steps 3000 --set {PLANE_NETS} system.penalty='clip(0.1)' training.lr=5e-4",
        "Clipped weights make a critic too simple for narrow modes; samples lie on the ring, not in its modes.",
    ),
    Row(
        "Adversarial, in the plane",
        "wgan-gp",
        f"--data ring {PLANE} --steps 3000 --set {PLANE_NETS} system.penalty='gp(0.1)' training.lr=5e-4",
        "All modes, evenly; the weight is the toy's of the authors' code.",
        ALL_MODES,
    ),
    Row(
        "Adversarial, in the plane",
        "gan-gp",
        f"{RING} system.penalty='gp(0.1)'",
        "WGAN-GP's penalty on a GAN.",
    ),
    Row(
        "Adversarial, in the plane",
        "dragan",
        f"{RING} system.penalty='dragan(0.1)'",
        "The critic is held to slope 1 around the data only.",
    ),
    Row(
        "Adversarial, in the plane",
        "gan-r1",
        f"{RING} system.penalty='r1(0.1)' training.optimiser=adam 'training.betas=[0.5,0.9]'",
        "All modes, and it stays there: the only force at the data is the penalty.",
        ALL_MODES,
    ),
    Row(
        "Adversarial, in the plane",
        "gan-r2",
        f"{RING} system.penalty='r2(0.1)' training.optimiser=adam 'training.betas=[0.5,0.9]'",
        "The same on samples.",
    ),
    Row(
        "Adversarial, in the plane",
        "gan-roth",
        f"{RING} 'system.penalty=roth(ramp(0.5, 0.005, 5000))'",
        "The effect of instance noise without the noise, annealed.",
    ),
    Row(
        "Adversarial, in the plane",
        "consensus-gan",
        f"--data ring --latent 16 --batch-size 256 --steps 3000 "
        f"--set {PLANE_NETS} training.lr=1e-3 training.consensus=1",
        "The gradient's own norm is minimised beside the losses: slow and steady.",
    ),
    Row(
        "Adversarial, in the plane",
        "noisy-gan",
        f"{RING} 'system.instance_noise=ramp(0.3, 0, 5000)'",
        "Noise on both sides gives the supports something to share; it fades to none.",
    ),
    Row(
        "Adversarial, in the plane",
        "unrolled-gan",
        f"--data ring {PLANE} --steps 1500 --set network.width=128 network.activation=tanh training.schedule=linear",
        "The generator sees five steps of the critic ahead, through Adam; minimax losses survive so.",
    ),
    Row(
        "Adversarial, in the plane",
        "pacgan",
        RING,
        "The critic sees two samples at once, and so the lack of variety.",
        ALL_MODES,
    ),
    Row(
        "Adversarial, in the plane",
        "pacgan",
        f"--data grid {PLANE} --steps 6000 --set {PLANE_NETS} training.lr=1e-3",
        "The grid of 25.",
        named="pacgan-grid",
    ),
    Row(
        "Adversarial, in the plane",
        "lens-gan",
        f"{RING} system.steps=3000",
        "The data come to the samples first; the lens opens over 3,000 steps and is then removed.",
    ),
    Row(
        "Adversarial, in the plane",
        "bgan",
        RING,
        "A critic of whole batches, which each of its layers sees, that estimates the share of real points.",
    ),
    Row(
        "Adversarial, in the plane",
        "m-bgan",
        RING,
        "The same with the cross-entropy of each element, then averaged.",
    ),
    Row(
        "Adversarial, in the plane",
        "clamped-gan",
        f"{RING} system.low=0.1 system.high=4",
        "The generator's stretch is held between two bounds (in the plane the data are 2 wide, z about 4).",
    ),
    Row(
        "Adversarial, in the plane",
        "gmmn",
        f"--data gaussians {PLANE} --steps 4000 --set {PLANE_NETS} training.lr=1e-3",
        "No critic: the maximum mean discrepancy of the minibatch.",
    ),
    Row(
        "Adversarial, in the plane",
        "veegan",
        VEEGAN,
        "The reconstructor's codes of samples must be the codes they came from, so no mode can be left out cheaply. "
        "Smaller nets and three times the steps of its neighbours: its critic is long in getting sharp.",
        (*ALL_MODES, at_least("high_quality", 0.5)),
    ),
    Row("Adversarial, in the plane", "ali", RING, "Joints of points and codes."),
    Row(
        "Adversarial, in the plane",
        "alice",
        f"--data gaussians {PLANE} --steps 4000 --set {PLANE_NETS} training.lr=5e-4",
        "ALI with a cycle: codes of a point lead back to it. On the authors' five Gaussians.",
    ),
    Row(
        "Adversarial, in the plane",
        "alice",
        f"--data gaussians {PLANE} --steps 4000 --set {PLANE_NETS} training.lr=5e-4 system.cycle=adversarial "
        "system.weight=0.1",
        "The cycle by a critic of pairs instead of a distance.",
        named="alice-adversarial",
    ),
)

ON_IMAGES = (
    Row(
        "Adversarial, images",
        "cgan",
        "--data digits --steps 8000 --latent 16 --network mlp --set network.width=256 training.ema=0.99 "
        "training.lr=5e-4 'system.penalty=r1(1)'",
        "Fully connected, on 8×8 digits; each draws the class asked for.",
        ASKED,
    ),
    Row("Adversarial, images", "dcgan", f"{CONV} --latent 64 --steps 2500", "Digits with sharp strokes."),
    Row(
        "Adversarial, images",
        "cdcgan",
        f"{CONV} --latent 64 --steps 3000",
        "The digit that was asked for.",
        ASKED,
    ),
    Row(
        "Adversarial, images",
        "dcgan",
        "--data color-mnist --latent 64 --steps 1500 --precision bf16 --set network.width=16 training.ema=0.99",
        "In colour.",
        named="dcgan-colour",
    ),
    Row(
        "Adversarial, images",
        "wgan-gp",
        f"{CONV} --latent 64 --steps 700 --set training.lr=2e-4",
        "Slower for each step of the generator; the critic's loss means something.",
        named="wgan-gp-mnist",
    ),
    Row(
        "Adversarial, images",
        "sngan",
        f"{CONV} --latent 64 --steps 1000 --set training.critic_steps=2",
        "Spectral normalisation holds the critic to slope 1 everywhere, at the price of one power iteration a step.",
    ),
    Row(
        "Adversarial, images",
        "minibatch-gan",
        "--data digits --network mlp --latent 16 --steps 5000 --set network.width=256 network.minibatch_kernels=20 "
        "training.ema=0.99",
        "The critic sees how near the samples of a batch are to each other.",
    ),
    Row(
        "Adversarial, images",
        "lens-gan",
        "--data digits --latent 16 --steps 4000 --network mlp --set network.width=128 system.steps=2000 "
        "training.ema=0.99",
        "The lens on images.",
        named="lens-gan-digits",
    ),
    Row(
        "Adversarial, images",
        "progressive-gan",
        "--data mnist --latent 32 --steps 1600 --precision bf16 "
        "--set network.width=16 network.most=64 network.stable=250 network.fade=250",
        "From 7×7 over 14×14 to 28×28.",
    ),
    Row(
        "Adversarial, images",
        "gmmn",
        "--data digits --latent 10 --batch-size 500 --steps 3000 --network mlp --set network.width=256 "
        "training.schedule=linear",
        "The maximum mean discrepancy on pixels: digits, blurred.",
        named="gmmn-digits",
    ),
)

COMPARISONS = (
    *(
        Row(
            "Comparisons",
            "f-gan",
            f"{FIVE} system.by={name}{held}",
            expect,
            named=f"f-gan-{name.removeprefix('f_').replace('_', '-')}",
        )
        for name, held, expect in (
            (
                "f_kl",
                SMOOTH,
                "KL(p* ‖ p) covers all modes; its bound has an exponential: without a penalty scores overflow.",
            ),
            (
                "f_reverse_kl",
                "",
                "KL(p ‖ p*) would rather leave a mode out than draw where there are no data.",
            ),
            ("f_pearson", "", "χ² with the model in the denominator."),
            ("f_neyman", "", "χ² with the data in the denominator."),
            ("f_hellinger", SMOOTH, "Between the two KLs."),
            ("f_jensen_shannon", "", "Twice the Jensen-Shannon divergence."),
            ("f_gan", "", "The GAN's own bound: Jensen-Shannon less ln 4."),
            ("f_jeffreys", SMOOTH, "Both KLs; its conjugate needs Lambert's W."),
        )
    ),
    *(
        Row("Comparisons", "gan", f"{FIVE} {words}", expect, named=name, source=source)
        for name, words, expect, source in (
            (
                "lsif",
                f"system.by=lsif {FLAT}",
                "The ratio by least squares, which squares an exponential and so needs a flat critic; the generator "
                "minimises reverse KL.",
                "Kanamori et al. 2009; arXiv:1610.03483",
            ),
            (
                "kliep",
                f"system.by=kliep{SMOOTH}",
                "The ratio by KL; the generator minimises reverse KL.",
                "Sugiyama et al. 2008; arXiv:1610.03483",
            ),
            (
                "brier",
                "system.by=brier",
                "The Brier score of the critic's probability instead of its logarithm.",
                "arXiv:1610.03483",
            ),
            (
                "lsif-with-jensen-shannon",
                f"system.by=lsif system.generator=jensen_shannon {FLAT}",
                "Ratio loss and generator loss need not belong together.",
                "arXiv:1610.03483, section 3.5",
            ),
            (
                "logistic-with-hellinger",
                "system.generator=hellinger",
                "A GAN's critic, a Hellinger generator.",
                "arXiv:1610.03483",
            ),
            (
                "hinge-with-r1-packed",
                "system.by=hinge system.penalty='r1(0.1)' system.pack=2 system.instance_noise=0.05",
                "Comparison, penalty, packing and noise are chosen independently.",
                "the four sources of its parts",
            ),
        )
    ),
)

HYBRIDS = (
    Row(
        "Latent and joint hybrids",
        "aae",
        "--data mnist --latent 8 --steps 10000 --set network.code_width=300 training.lr=5e-4 training.critic_lr=5e-4 "
        "training.schedule=linear",
        "Reconstructs; its codes' mean and covariance fit the prior.",
        (*RECONSTRUCTS, *FITS_PRIOR),
    ),
    Row(
        "Latent and joint hybrids",
        "wae-gan",
        "--data mnist --latent 8 --steps 3500 --network mlp --set network.code_width=300 system.weight=1 "
        "training.lr=5e-4 training.critic_lr=5e-4 training.schedule=linear",
        "An optimal-transport reading of the AAE, with a deterministic encoder.",
        (*RECONSTRUCTS, *FITS_PRIOR),
    ),
    Row(
        "Latent and joint hybrids",
        "wae-mmd",
        f"{CONV} --latent 8 --steps 1800",
        "The same without a critic: stable, and its codes fit the prior less closely in the tails.",
        (*RECONSTRUCTS, *FITS_PRIOR),
    ),
    Row(
        "Latent and joint hybrids",
        "avb-ac",
        "--data mnist --latent 8 --steps 2500 --set training.lr=3e-4 training.critic_lr=5e-4",
        "Adaptive contrast: the critic compares normalised codes, so that it has less to learn.",
        RECONSTRUCTS,
    ),
    Row(
        "Latent and joint hybrids",
        "ali",
        f"{HYBRID} --latent 32 --steps 1800",
        "Samples like a GAN's; reconstructions are of the same kind as the datum, not the datum.",
        named="ali-mnist",
    ),
    Row(
        "Latent and joint hybrids",
        "bigan",
        f"{HYBRID} --steps 1800",
        "ALI with a deterministic encoder and a uniform code of 50.",
    ),
    Row(
        "Latent and joint hybrids",
        "alice",
        f"{CONV} --latent 32 --steps 1800 --set training.lr=2e-4 system.weight=0.1",
        "The cycle makes ALI reconstruct.",
        RECONSTRUCTS,
        named="alice-mnist",
    ),
    Row(
        "Latent and joint hybrids",
        "veegan",
        f"{HYBRID} --latent 32 --steps 1800",
        "Codes are reconstructed, not images.",
        named="veegan-mnist",
    ),
    Row(
        "Latent and joint hybrids",
        "veegan",
        f"{VEEGAN} system.encoder_sees_critic=false",
        "The algorithm as it is published: the reconstructor does not meet the critic.",
        named="veegan-as-published",
    ),
    Row(
        "Latent and joint hybrids",
        "age",
        "--data digits --latent 8 --steps 8000 --network mlp --set network.width=128 system.weight=50 training.lr=3e-4 "
        "training.schedule=linear",
        "No critic at all: the encoder plays against the decoder over the moments of codes.",
        RECONSTRUCTS,
    ),
    Row(
        "Latent and joint hybrids",
        "alpha-gan",
        f"{CONV} {LONG} training.schedule=linear system.weight=60",
        "VAE and GAN by density ratios alone.",
        (*RECONSTRUCTS, *FITS_PRIOR),
    ),
    Row(
        "Latent and joint hybrids",
        "vgh",
        f"{HYBRID} {LONG}",
        "Reconstructions alone meet the visible critic, so samples are worse than reconstructions.",
        (*RECONSTRUCTS, *FITS_PRIOR),
    ),
    Row(
        "Latent and joint hybrids",
        "vgh++",
        f"{CONV} {LONG} training.schedule=linear system.weight=40",
        "Samples meet the critic too.",
        (*RECONSTRUCTS, *FITS_PRIOR),
    ),
    Row(
        "Latent and joint hybrids",
        "vae-gan",
        "--data digits --network dcgan --latent 8 --steps 2000 --set network.width=16 network.critic_batch_norm=false "
        "training.lr=5e-4 training.schedule=linear system.precision=300 system.weight=0.05",
        "Reconstructs in the features of the critic. Its features must say enough: here they are scaled up, and the "
        "critic has no batch norm, which would hide brightness from them.",
        RECONSTRUCTS,
    ),
)

FAILURES = (
    Row(
        "Failures of the seeds",
        "avb",
        "--data mnist --latent 8 --steps 2500 --set training.lr=3e-4 training.critic_lr=5e-4",
        "AVB without adaptive contrast underperforms, as in the seeds: the critic must learn a sharp ratio between "
        "q(z|x) and p(z), falls short of it, and what it reports as the rate is too low.",
        named="avb",
    ),
    Row(
        "Failures of the seeds",
        "vae",
        "--data color-mnist --limit 10000 --latent 10000 --steps 500",
        "With 10,000 latents a VAE still trains: it switches off what it does not need.",
        named="vae-10000-latents",
        only=("elbo", "reconstruction"),
    ),
    Row(
        "Failures of the seeds",
        "aae",
        "--data color-mnist --limit 10000 --latent 10000 --steps 500 --set network.code_width=500",
        "With 10,000 latents an AAE's samples are no digits: its critic of codes is lost in so many.",
        named="aae-10000-latents",
        only=("elbo", "reconstruction"),
    ),
)

ROWS = (*EXPLICIT, *AUTOREGRESSIVE, *FLOWS, *IN_PLANE, *ON_IMAGES, *COMPARISONS, *HYBRIDS, *FAILURES)
