"""Reversible layers: bijections with their inverse and the log determinant of their Jacobian."""

from collections.abc import Mapping
from typing import Any

from ...saving.schema import SCALE, Bool, Integer, ListOf
from .autoregressive import MADE, MAF
from .base import Reversible
from .coupling import RealNVP
from .no_context import NoContext
from .spline import NeuralSpline

ARGUMENTS = {
    "features": Integer(1, 2**31 - 1),
    "hidden": ListOf(Integer(1, 2**31 - 1), most=64),
    "layers": Integer(1, 1000),
    "bins": Integer(2, 999),
    "bound": SCALE,
    "context": Integer(0, 2**31 - 1),
    "reverse": Bool(),
}


def _modules(arguments: Mapping[str, Any]) -> int:
    return 2 + arguments.get("layers", 6) * (4 + 3 * (1 + len(arguments.get("hidden", (1, 1)))))


MODULES = dict.fromkeys(("MADE", "MAF", "NeuralSpline", "RealNVP"), _modules)

__all__ = ["MADE", "MAF", "NeuralSpline", "NoContext", "RealNVP", "Reversible"]
