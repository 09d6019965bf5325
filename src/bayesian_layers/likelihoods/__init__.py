"""Likelihoods: from the network's output to the distribution of the targets, with its moments.

``f`` has shape ``(*batch, N, *axes)``: what comes behind the rows belongs to one row. For a table that is one axis,
``(N, outputs)``; for sequences there are two, ``(N, T, outputs)``, for images three, ``(N, C, H, W)``. How many there
are cannot be read off ``f``, as draws have axes too, so functions take ``output_axes``, which is 1 unless said.

Targets have the shape of the outputs, ``(N, *axes)``, without a last axis of size 1: ``(N,)`` for ``(N, 1)``,
``(N, T)`` for ``(N, T, 1)``. Classes take their axis away: ``(N, T)`` for ``(N, T, K)``. All targets of a row are one
event, whose log density is their sum.
"""

from .base import Likelihood
from .classes import Bernoulli, Categorical
from .description import from_document, to_document
from .flow import Flow
from .normal import Normal
from .prediction import Prediction, moments

__all__ = [
    "Bernoulli",
    "Categorical",
    "Flow",
    "Likelihood",
    "Normal",
    "Prediction",
    "from_document",
    "moments",
    "to_document",
]
