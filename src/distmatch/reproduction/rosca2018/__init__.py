"""Experiments of Rosca, Lakshminarayanan and Mohamed, 1802.06847."""
