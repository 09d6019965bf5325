"""Guides: variational families q(w).

A guide has everything that is learned, from construction on, without data and without randomness.
"""

from .base import Guide
from .blocks import BlockNormal
from .ensemble import Ensemble
from .flow import Flow
from .full_rank import FullRankNormal
from .low_rank import LowRankNormal
from .matrix_normal import MatrixNormal
from .mean_field import MeanFieldNormal

__all__ = [
    "BlockNormal",
    "Ensemble",
    "Flow",
    "FullRankNormal",
    "Guide",
    "LowRankNormal",
    "MatrixNormal",
    "MeanFieldNormal",
]
