"""Data sets: what they hold, where they come from, and one function that loads them.

>>> from distmatch.data import DATA_SETS, load
>>> load("digits").train.x.shape
torch.Size([1297, 1, 8, 8])
>>> DATA_SETS["digits"].licence
'CC BY 4.0'
"""

from distmatch.data.catalogue import DATA_SETS, load
from distmatch.data.places import cache_folder
from distmatch.data.prepare import PREPARATIONS, Preparation, binarise, dequantise, to_unit
from distmatch.data.splits import DataSet, Entry, Split

__all__ = [
    "DATA_SETS",
    "PREPARATIONS",
    "DataSet",
    "Entry",
    "Preparation",
    "Split",
    "binarise",
    "cache_folder",
    "dequantise",
    "load",
    "to_unit",
]
