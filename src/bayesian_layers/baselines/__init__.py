"""What the user has today, to compare with: a deterministic network in Keras."""

from .keras import KerasFit, fit_keras

__all__ = ["KerasFit", "fit_keras"]
