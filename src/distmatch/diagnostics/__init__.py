"""Functions from tensors or callables to numbers with error bars; usable on models trained elsewhere.

Each measures one thing; the bench (`evaluate`) runs all that apply to a model under test.
"""

from distmatch.diagnostics.bench import Results, by_metric, evaluate
from distmatch.diagnostics.bits import bits_per_dim
from distmatch.diagnostics.catalogue import DIAGNOSTICS
from distmatch.diagnostics.codes import CodeMoments, RatioCalibration, code_moments, ratio_calibration
from distmatch.diagnostics.conditional import class_agreement
from distmatch.diagnostics.coverage import ModeCoverage, mode_coverage
from distmatch.diagnostics.estimate import Estimate
from distmatch.diagnostics.importance import log_likelihood
from distmatch.diagnostics.likelihood import EvidenceLowerBound, evidence_lower_bound
from distmatch.diagnostics.marginal_kl import MarginalKL, marginal_kl
from distmatch.diagnostics.ms_ssim import ms_ssim, ms_ssim_diversity
from distmatch.diagnostics.reconstruction import ReconstructionError, reconstruction_error
from distmatch.diagnostics.subject import Diagnostic, Options, Subject, missing

__all__ = [
    "DIAGNOSTICS",
    "CodeMoments",
    "Diagnostic",
    "Estimate",
    "EvidenceLowerBound",
    "MarginalKL",
    "ModeCoverage",
    "Options",
    "RatioCalibration",
    "ReconstructionError",
    "Results",
    "Subject",
    "bits_per_dim",
    "by_metric",
    "class_agreement",
    "code_moments",
    "evaluate",
    "evidence_lower_bound",
    "log_likelihood",
    "marginal_kl",
    "missing",
    "mode_coverage",
    "ms_ssim",
    "ms_ssim_diversity",
    "ratio_calibration",
    "reconstruction_error",
]
