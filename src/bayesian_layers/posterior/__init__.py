"""The posterior: draws, functions, predictive moments, ArviZ, and files."""

from .loading import load
from .posterior import Posterior

__all__ = ["Posterior", "load"]
