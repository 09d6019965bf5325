"""Fits of guides by stochastic variational inference: ``fit.py`` is ``bl.fit``."""
