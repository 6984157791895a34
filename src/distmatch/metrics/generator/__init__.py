"""The generator's map and critics: Jacobians, inversion, an independent critic, gradients."""
