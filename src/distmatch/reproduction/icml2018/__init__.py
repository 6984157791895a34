"""Experiments of the review of ICML 2018."""
