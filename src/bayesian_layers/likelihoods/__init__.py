"""Likelihoods: from the network's output to the distribution of the targets, with its moments.

``f`` has shape ``(*batch, N, outputs)``. Targets have shape ``(N,)`` where there is one a row, else
``(N, K)``.
"""

from .base import Likelihood
from .classes import Bernoulli, Categorical
from .description import from_document, to_document
from .normal import Normal
from .prediction import Prediction, moments

__all__ = [
    "Bernoulli",
    "Categorical",
    "Likelihood",
    "Normal",
    "Prediction",
    "from_document",
    "moments",
    "to_document",
]
