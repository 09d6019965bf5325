"""Reversible layers: bijections that know their inverse and the determinant of their Jacobian."""

from .autoregressive import MADE, MAF
from .base import Reversible
from .coupling import RealNVP
from .no_context import NoContext
from .spline import NeuralSpline

__all__ = ["MADE", "MAF", "NeuralSpline", "NoContext", "RealNVP", "Reversible"]
