"""Fitting a guide: the objective, the step, the schedule, the loop, and what it returns."""

from .checkpoints.checkpoint import Checkpoint
from .fit import fit
from .result import FitResult

__all__ = ["Checkpoint", "FitResult", "fit"]
