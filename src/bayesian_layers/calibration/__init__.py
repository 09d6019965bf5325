"""Simulation-based calibration: whether an inference method gives calibrated posteriors.

The package simuk implements it for PyMC, Bambi and NumPyro's MCMC kernels only, and computes ranks without the tests of
Yao et al., so it is implemented here.
"""

from .result import CalibrationResult
from .run import calibrate

__all__ = ["CalibrationResult", "calibrate"]
