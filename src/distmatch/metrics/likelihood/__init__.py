"""Metrics of models with an encoder and a decoder: bounds, likelihoods, use of the code."""
