"""distmatch: declare which distributions are matched and how they are compared; train; measure."""

__version__ = "0.1.0"
