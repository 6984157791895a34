"""Figures, tables and the self-contained HTML page, from plain data: nothing here trains or measures.

- `grids`: pictures of samples and reconstructions
- `figures`: curves, scatters, metrics with their intervals, as matplotlib figures and as SVG
- `table`: numbers with their errors, for the terminal and the page
- `html`: the page of one run, or of several side by side
- `tensorboard`: the same log for TensorBoard (extra)
"""
