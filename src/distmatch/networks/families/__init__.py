"""Families of nets: encoder, decoder and critics of one architecture."""
