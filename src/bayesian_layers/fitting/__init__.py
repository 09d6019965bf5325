"""Fitting a guide: the objective, the step, the schedule, the loop, and what it returns."""

from .loop import fit
from .result import FitResult

__all__ = ["FitResult", "fit"]
