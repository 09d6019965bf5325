"""Any PyTorch network as a Bayesian one: a Pyro program, a mean-field guide, and honest predictions."""

from . import baselines, datasets, errors, guides, layers, likelihoods, metrics, priors, streams
from .bayesianize import bayesianize, bayesianize_report
from .calibration import CalibrationResult, calibrate
from .fitting.checkpoints.checkpoint import Checkpoint
from .fitting.fit import fit
from .fitting.result import FitResult
from .handlers import temper
from .inference_data import Loo
from .layers import *  # noqa: F403  (`layers.__all__` is the one list of its names)
from .likelihoods import Prediction
from .model import BayesianModel
from .posterior import Posterior, load
from .predicting import PredictiveDraws, predictive

__version__ = "0.1.0"

__all__ = [
    "BayesianModel",
    "CalibrationResult",
    "Checkpoint",
    "FitResult",
    "Loo",
    "Posterior",
    "Prediction",
    "PredictiveDraws",
    "baselines",
    "bayesianize",
    "bayesianize_report",
    "calibrate",
    "datasets",
    "errors",
    "fit",
    "guides",
    "likelihoods",
    "load",
    "metrics",
    "predictive",
    "priors",
    "streams",
    "temper",
]
__all__ += layers.__all__
