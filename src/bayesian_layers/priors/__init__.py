"""Priors: from the shape of a parameter to its distribution.

A module remembers the priors of its own parameters in a plain dict (attributes of a ``Parameter`` do not
survive ``deepcopy``); a parameter without one is estimated as a point.
"""

from .base import Prior
from .base import Site as Site  # for the rest of the package; not in __all__
from .base import check_is_prior as check_is_prior
from .elementwise import ElementwiseNormal, from_posterior
from .families import HierarchicalNormal, LogNormal, Normal
from .families import default as default
from .half_cauchy import HalfCauchy
from .horseshoe import Horseshoe
from .laplace import Laplace
from .log_uniform import LogUniform
from .mixture import ScaleMixture
from .parameter_priors import get_priors as get_priors
from .parameter_priors import set_priors as set_priors
from .parameter_priors import set_priors_by_id as set_priors_by_id
from .pretrained import around
from .student_t import StudentT
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
    "StudentT",
    "Whitened",
    "around",
    "from_posterior",
]
