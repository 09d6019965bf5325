"""Data larger than memory, read batch by batch: NumPy's ``.npy`` files and Parquet.

A stream keeps its rows in blocks: stretches of an array, row groups of a Parquet file. An epoch takes the
blocks in a shuffled order, holds as many of them as a fixed amount of memory takes (at least one), and
hands out the rows of these in a shuffled order. All of it follows from ``(seed, epoch)``.
"""

from .array_files import arrays
from .base import Stream
from .parquet_files import parquet

__all__ = ["Stream", "arrays", "parquet"]
