"""Refinement: from the draws of a guide to draws of the posterior itself, by Hamiltonian Monte Carlo."""

from .chains import effective_sample_size, nested_rhat
from .record import Refinement
from .run import ITERATIONS, Settings, refine

__all__ = ["ITERATIONS", "Refinement", "Settings", "effective_sample_size", "nested_rhat", "refine"]
