"""Metrics of predictions: functions from arrays to numbers.

Arguments may be NumPy arrays or anything that ``np.asarray`` reads, CPU tensors included; sums are in ``float64``.
Axis letters: S draws, N rows, K classes. Arguments of the same name mean the same in all functions:

* ``y``: targets, ``(N,)``; for classes, the labels 0 to K - 1.
* ``probabilities`` of classes: ``(N, K)``, or ``(N,)`` for two classes, where it is P(y = 1). The predicted class is
  the most probable one, and of equally probable classes that with the lowest label, so P(y = 1) = 0.5 predicts 0.
* ``mean`` and ``std``: predictive means and standard deviations, ``(N,)``; ``std`` may be one number for all rows.
* ``draws``: draws from the predictive distribution, noise included, ``(S, N)``.
* ``seed``: an integer from 0; random number n depends only on ``(seed, n)``.
* ``level``: between 0 and 1; that of a verdict is the probability of a false alarm if the predictions are calibrated.

Functions and results raise ShapeError if shapes do not fit each other, and DataError if a value is NaN, infinite
(unless stated otherwise) or out of range. Metrics that return one number average over rows. For scores per row,
computed from draws of the weights, use ``bl.predictive``.
"""

from ._checks import numeric_array as numeric_array  # for the rest of the package; not in __all__
from .classes import accuracy, brier, ece, nll
from .coverage_curves import CoverageCurve, coverage_curve, interval_coverage_curve
from .ece_intervals import EceInterval, ece_interval
from .predictive_checks import PredictiveCheck, predictive_check
from .regression import coverage, crps, crps_normal, mixture_nll, normal_nll, rmse
from .reliability_tables import Reliability, reliability
from .transforms import PitHistogram, pit, pit_discrete, pit_histogram, pit_normal
from .uniform import Uniformity, uniformity

__all__ = [
    "CoverageCurve",
    "EceInterval",
    "PitHistogram",
    "PredictiveCheck",
    "Reliability",
    "Uniformity",
    "accuracy",
    "brier",
    "coverage",
    "coverage_curve",
    "crps",
    "crps_normal",
    "ece",
    "ece_interval",
    "interval_coverage_curve",
    "mixture_nll",
    "nll",
    "normal_nll",
    "pit",
    "pit_discrete",
    "pit_histogram",
    "pit_normal",
    "predictive_check",
    "reliability",
    "rmse",
    "uniformity",
]
