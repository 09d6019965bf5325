"""Priors: from the shape of a parameter to its distribution.

A module remembers the priors of its own parameters in a plain dict (attributes of a ``Parameter`` do not
survive ``deepcopy``); a parameter without one is estimated as a point.
"""

from .base import Prior, Site, check_is_prior
from .description import arrays, from_document, to_document, with_arrays
from .elementwise import ElementwiseNormal, from_posterior
from .families import HierarchicalNormal, LogNormal, Normal, default
from .half_cauchy import HalfCauchy
from .horseshoe import Horseshoe
from .laplace import Laplace
from .log_uniform import LogUniform
from .mixture import ScaleMixture
from .parameter_priors import get_priors, set_priors, set_priors_by_id
from .pretrained import around
from .whitened import Noise, Whitened

__all__ = [
    "ElementwiseNormal",
    "HalfCauchy",
    "HierarchicalNormal",
    "Horseshoe",
    "Laplace",
    "LogNormal",
    "LogUniform",
    "Noise",
    "Normal",
    "Prior",
    "ScaleMixture",
    "Site",
    "Whitened",
    "around",
    "arrays",
    "check_is_prior",
    "default",
    "from_document",
    "from_posterior",
    "get_priors",
    "set_priors",
    "set_priors_by_id",
    "to_document",
    "with_arrays",
]
