"""Experiments of Lakshminarayanan's lecture Understanding GANs."""
