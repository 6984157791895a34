"""Experiments of the notes on VAEs and GANs on MNIST."""
