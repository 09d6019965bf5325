"""Networks as functions of their parameters: which parameters are sites, and calls with one draw or many."""

from .calling import Outputs, call, call_many, outputs, with_padding
from .inputs import (
    Inputs,
    check_inputs,
    dtype_and_device,
    evaluating,
    explain_errors,
    named_parts,
    num_rows,
    take_rows,
)
from .sites import check_not_lazy, hyperparameter_sites, parameter_sites, priors_by_id

__all__ = [
    "Inputs",
    "Outputs",
    "call",
    "call_many",
    "check_inputs",
    "check_not_lazy",
    "dtype_and_device",
    "evaluating",
    "explain_errors",
    "hyperparameter_sites",
    "named_parts",
    "num_rows",
    "outputs",
    "parameter_sites",
    "priors_by_id",
    "take_rows",
    "with_padding",
]
