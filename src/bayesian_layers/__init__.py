"""Any PyTorch network as a Bayesian one: a Pyro program, a mean-field guide, and honest predictions."""

from . import baselines, datasets, errors, guides, likelihoods, metrics, priors, streams
from .fitting import Checkpoint, FitResult, fit
from .handlers import temper
from .layers import Linear
from .lifting import bayesianize, lifting_report
from .likelihoods import Prediction
from .model import BayesianModel
from .posterior import Posterior, load

__version__ = "0.1.0"

__all__ = [
    "BayesianModel",
    "Checkpoint",
    "FitResult",
    "Linear",
    "Posterior",
    "Prediction",
    "baselines",
    "bayesianize",
    "datasets",
    "errors",
    "fit",
    "guides",
    "lifting_report",
    "likelihoods",
    "load",
    "metrics",
    "priors",
    "streams",
    "temper",
]
