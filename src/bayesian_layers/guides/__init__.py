"""Guides q(w): the families in which a posterior is sought.

A guide owns all that is learned, from construction on, without data and without randomness.
"""

from .base import Guide
from .blocks import BlockNormal, default_guide
from .ensemble import Ensemble
from .flow import Flow
from .full_rank import FullRankNormal
from .low_rank import LowRankNormal
from .matrix_normal import MatrixNormal
from .mean_field import MeanFieldNormal
from .prior_density import log_prior

__all__ = [
    "BlockNormal",
    "Ensemble",
    "Flow",
    "FullRankNormal",
    "Guide",
    "LowRankNormal",
    "MatrixNormal",
    "MeanFieldNormal",
    "default_guide",
    "log_prior",
]
