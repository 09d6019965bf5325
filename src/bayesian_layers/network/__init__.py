"""Networks as functions of their parameters: which parameters are sites, and calls with one draw or many."""

from .calling import Outputs, call, call_many, outputs, with_padding
from .inputs import Inputs, dtype_and_device, evaluating, named_parts, place, rows, take
from .sites import check_not_lazy, hyper_sites, parameter_sites, priors_by_id

__all__ = [
    "Inputs",
    "Outputs",
    "call",
    "call_many",
    "check_not_lazy",
    "dtype_and_device",
    "evaluating",
    "hyper_sites",
    "named_parts",
    "outputs",
    "parameter_sites",
    "place",
    "priors_by_id",
    "rows",
    "take",
    "with_padding",
]
