"""Layers that the families are made of."""
