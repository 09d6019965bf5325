"""Data larger than memory, read batch by batch: NumPy's ``.npy`` files and Parquet.

A stream reads its rows in blocks: ranges of rows of an array, row groups of a Parquet file. An epoch reads the blocks
in a shuffled order, as many at a time as fit into a fixed amount of memory (at least one), and shuffles their rows. The
order depends only on ``(seed, epoch)``.
"""

from .array_files import arrays
from .base import Stream
from .parquet_files import parquet

__all__ = ["Stream", "arrays", "parquet"]
