"""Ways to run a step: as it is, compiled, or as a CUDA graph."""
