"""Simulation-based calibration: whether a way of fitting gives posteriors that can be believed.

The package simuk does this for PyMC, Bambi and NumPyro's MCMC kernels and refuses any other model, and it
counts ranks without the tests of Yao et al.; so the few lines are here.
"""

from .result import CalibrationResult
from .run import calibrate

__all__ = ["CalibrationResult", "calibrate"]
