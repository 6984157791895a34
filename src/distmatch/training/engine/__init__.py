"""How a step is run: as it is, compiled, or as a CUDA graph."""
