"""Samples against data: diversity, modes, topology, duplicates, two-sample tests."""
