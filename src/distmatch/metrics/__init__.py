"""Functions from tensors or callables to numbers with error bars; usable on models trained elsewhere.

Each measures one thing; `evaluate` measures all that apply to a model.
"""

from distmatch.metrics.codes.density_models import DENSITY_MODELS, DensityFit
from distmatch.metrics.codes.empirical_kl import empirical_marginal_kl
from distmatch.metrics.codes.kl_by_density import marginal_kl_by_density
from distmatch.metrics.codes.kl_by_ratio import RatioKL, marginal_kl_by_ratio
from distmatch.metrics.codes.moments import CodeMoments, code_moments
from distmatch.metrics.codes.population_kl import PopulationKL, population_marginal_kl
from distmatch.metrics.codes.posterior_kl import empirical_marginal_kl_of
from distmatch.metrics.codes.surgery import EmpiricalKL
from distmatch.metrics.declaration import Metric, metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.evaluation import Results, by_key, evaluate
from distmatch.metrics.features.frechet import (
    FrechetDistances,
    frechet_distance,
    frechet_distances,
    frechet_from_moments,
)
from distmatch.metrics.features.inception_score import inception_score
from distmatch.metrics.features.kernel_distance import kernel_distance
from distmatch.metrics.features.manifold import (
    PrecisionRecallDensityCoverage,
    precision_recall_density_coverage,
)
from distmatch.metrics.features.nets import (
    FEATURE_NETS,
    FeatureNet,
    feature_net,
    image_features,
    image_logits,
)
from distmatch.metrics.features.stacked import StackedModes, stacked_mnist_modes
from distmatch.metrics.generator.calibration import RatioCalibration, ratio_calibration
from distmatch.metrics.generator.gradients import (
    GradientNorms,
    LayerGradientNorms,
    gradient_norms,
    layer_gradient_norms,
)
from distmatch.metrics.generator.independent_critic import IndependentCritic, independent_critic
from distmatch.metrics.generator.inversion import Inversion, inference_via_optimization
from distmatch.metrics.generator.jacobian import JacobianSpectrum, jacobian_spectrum, log_condition_number
from distmatch.metrics.likelihood.annealed import (
    AnnealedLogLikelihood,
    Simulated,
    annealed_log_likelihood,
    simulate,
)
from distmatch.metrics.likelihood.bits import bits_per_dim
from distmatch.metrics.likelihood.elbo import EvidenceLowerBound, evidence_lower_bound, rate_plane
from distmatch.metrics.likelihood.importance import log_likelihood
from distmatch.metrics.likelihood.latent_usage import LatentUsage, latent_usage
from distmatch.metrics.likelihood.low_posterior import LowPosterior, low_posterior_of, low_posterior_samples
from distmatch.metrics.likelihood.populations import (
    Neighbours,
    Population,
    code_map,
    cost_histograms,
    nearest_neighbours,
    paired_pictures,
    pixel_histograms,
    population,
)
from distmatch.metrics.likelihood.rate_distortion import (
    RateDistortion,
    RatePoint,
    rate_distortion,
)
from distmatch.metrics.likelihood.reconstruction import ReconstructionError, reconstruction_error
from distmatch.metrics.model import Critic, Model, Options, Result
from distmatch.metrics.registry import BETTER, METRICS, find
from distmatch.metrics.samples.birthday import BirthdayTest, birthday_test
from distmatch.metrics.samples.conditional import class_agreement
from distmatch.metrics.samples.coverage import ModeCoverage, mode_coverage
from distmatch.metrics.samples.duplicates import ClosestPairs, closest_pairs, duplicate_threshold
from distmatch.metrics.samples.geometry import (
    RelativeLivingTimes,
    geometry_score,
    mean_relative_living_times,
    persistence_intervals,
)
from distmatch.metrics.samples.ms_ssim import ms_ssim, ms_ssim_diversity
from distmatch.metrics.samples.two_sample import (
    NearestNeighbourTest,
    TwoSampleTest,
    maximum_mean_discrepancy,
    nearest_neighbour_two_sample,
    sliced_wasserstein,
)

__all__ = [
    "BETTER",
    "DENSITY_MODELS",
    "FEATURE_NETS",
    "METRICS",
    "AnnealedLogLikelihood",
    "BirthdayTest",
    "ClosestPairs",
    "CodeMoments",
    "Critic",
    "DensityFit",
    "EmpiricalKL",
    "Estimate",
    "EvidenceLowerBound",
    "FeatureNet",
    "FrechetDistances",
    "GradientNorms",
    "IndependentCritic",
    "Inversion",
    "JacobianSpectrum",
    "LatentUsage",
    "LayerGradientNorms",
    "LowPosterior",
    "Metric",
    "ModeCoverage",
    "Model",
    "NearestNeighbourTest",
    "Neighbours",
    "Options",
    "Population",
    "PopulationKL",
    "PrecisionRecallDensityCoverage",
    "RateDistortion",
    "RatePoint",
    "RatioCalibration",
    "RatioKL",
    "ReconstructionError",
    "RelativeLivingTimes",
    "Result",
    "Results",
    "Simulated",
    "StackedModes",
    "TwoSampleTest",
    "annealed_log_likelihood",
    "birthday_test",
    "bits_per_dim",
    "by_key",
    "class_agreement",
    "closest_pairs",
    "code_map",
    "code_moments",
    "cost_histograms",
    "duplicate_threshold",
    "empirical_marginal_kl",
    "empirical_marginal_kl_of",
    "evaluate",
    "evidence_lower_bound",
    "feature_net",
    "find",
    "frechet_distance",
    "frechet_distances",
    "frechet_from_moments",
    "geometry_score",
    "gradient_norms",
    "image_features",
    "image_logits",
    "inception_score",
    "independent_critic",
    "inference_via_optimization",
    "jacobian_spectrum",
    "kernel_distance",
    "latent_usage",
    "layer_gradient_norms",
    "log_condition_number",
    "log_likelihood",
    "low_posterior_of",
    "low_posterior_samples",
    "marginal_kl_by_density",
    "marginal_kl_by_ratio",
    "maximum_mean_discrepancy",
    "mean_relative_living_times",
    "metric",
    "mode_coverage",
    "ms_ssim",
    "ms_ssim_diversity",
    "nearest_neighbour_two_sample",
    "nearest_neighbours",
    "paired_pictures",
    "persistence_intervals",
    "pixel_histograms",
    "population",
    "population_marginal_kl",
    "precision_recall_density_coverage",
    "rate_distortion",
    "rate_plane",
    "ratio_calibration",
    "reconstruction_error",
    "simulate",
    "sliced_wasserstein",
    "stacked_mnist_modes",
]
