"""How good predictions are: arrays in, one number out.

Arguments may be NumPy arrays or anything that ``np.asarray`` reads, CPU tensors included; sums run in
``float64``. Axis letters: S draws, N rows, K classes. For classification ``y`` holds the labels 0..K-1 and
``probabilities`` has shape ``(N, K)``, or ``(N,)`` for two classes, where it is P(y = 1). Of equally
probable classes the one with the lowest label is the prediction, so P(y = 1) = 0.5 predicts 0.
"""

from ._checks import numeric_array as numeric_array  # for the rest of the package; not in __all__
from .classes import accuracy, brier, ece, nll
from .regression import coverage, crps, crps_normal, mixture_nll, normal_nll, rmse

__all__ = [
    "accuracy",
    "brier",
    "coverage",
    "crps",
    "crps_normal",
    "ece",
    "mixture_nll",
    "nll",
    "normal_nll",
    "rmse",
]
