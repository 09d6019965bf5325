"""A deterministic Keras network, to compare Bayesian networks with."""

from .keras import KerasFit, fit_keras

__all__ = ["KerasFit", "fit_keras"]
