"""Expected calibration error with a confidence interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_fraction, check_integer, check_seed
from ..errors import DataError
from .reliability_tables import Reliability, reliability

_STEPS = 60  # calibration errors that are tried, in addition to 0
_REACH = 5.0  # range of these errors, in standard deviations around the observed one
_ROUNDING = 1e-12  # calibration errors this close are equal


@dataclass(frozen=True)
class EceInterval:
    """Expected calibration error with its uncertainty.

    Attributes:
        ece: The value of ``bl.metrics.ece``. Noise alone makes it positive: compare it with ``expected``.
        corrected: Estimate of the true error, without the bias from noise: the error for which ``ece`` is the median.
        stderr: Standard deviation of ``ece`` over draws of the labels, if ``corrected`` is the true error.
        lower: Lower end of the interval for the true error.
        upper: Upper end of the interval.
        level: Confidence level of the interval.
        expected: Mean of ``ece`` if all probabilities were right.
        p_value: Probability that ``ece`` would then be at least as large; small if the probabilities are miscalibrated.
    """

    ece: float
    corrected: float
    stderr: float
    lower: float
    upper: float
    level: float
    expected: float
    p_value: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.lower <= self.corrected <= self.upper:
            found = (self.lower, self.corrected, self.upper)
            raise DataError(
                f"`lower`, `corrected` and `upper` must be at least 0 and in increasing order; received {found}"
            )


def ece_interval(
    y: Any, probabilities: Any, bins: int = 15, *, level: float = 0.95, num_draws: int = 1000, seed: int = 0
) -> EceInterval:
    r"""Return the expected calibration error with a confidence interval and a test of calibration.

    Noise in each bin makes the plain estimate too large; the bootstrap doubles this bias. Here the interval comes from
    inverting a test instead: for each of many true errors, whose gaps are proportional to the observed ones (on the
    other side where a probability would leave [0, 1]), labels are drawn, and the interval consists of the errors under
    which the observed one is not among the ``1 - level`` most extreme. A true error of 0 gives ``expected`` and the
    p-value. Probabilities and bins are treated as fixed.

    Args:
        y: Labels.
        probabilities: Probabilities of the classes.
        bins: Number of bins B, as for ``ece``.
        level: Confidence level of the interval.
        num_draws: Draws of labels for each of 61 errors, 100 or more; the cost does not depend on N.
        seed: Seed of the draws.

    References:
        Broecker & Smith (2007), Weather and Forecasting 22, for labels drawn from the probabilities.

    Example:
        >>> found = ece_interval([1, 1, 1, 0] * 50, [0.95] * 200)
        >>> round(found.ece, 2), found.p_value < 0.01, bool(found.lower < 0.2 < found.upper)
        (0.2, True, True)
    """
    check_integer("num_draws", num_draws, least=100)
    tail = (1 - check_fraction("level", level)) / 2
    table = reliability(y, probabilities, bins)
    ece = table.calibration_error
    numbers = np.random.Generator(np.random.Philox(key=check_seed(seed)))
    frequencies, confidence, count = _frequencies(table)
    tried = np.abs(frequencies - confidence) @ count / count.sum()
    drawn = np.stack([_errors(count, confidence, each, num_draws, numbers) for each in frequencies])
    # Probabilities of an error at least, and at most, as large as the observed one; monotone except for noise.
    as_large = np.maximum.accumulate((drawn >= ece - _ROUNDING).mean(axis=1))
    as_small = np.maximum.accumulate((drawn <= ece + _ROUNDING).mean(axis=1)[::-1])[::-1]
    low, middle = (float(np.interp(each, as_large, tried)) for each in (tail, 0.5))
    high = float(np.interp(-tail, -as_small, tried))
    return EceInterval(
        ece=ece,
        corrected=middle,
        stderr=float(drawn[min(np.searchsorted(tried, middle), _STEPS)].std()),
        lower=min(low, middle),
        upper=max(high, middle),
        level=level,
        expected=float(drawn[0].mean()),
        p_value=float((1 + np.sum(drawn[0] >= ece - _ROUNDING)) / (1 + num_draws)),
    )


def _frequencies(table: Reliability) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the true frequencies to try, ``(T, B)``, with confidence and count of the bins that are not empty."""
    full = table.count > 0
    count, p, share = table.count[full], table.confidence[full], table.frequency[full]
    # 1 / count is added because a frequency of 0 or 1 does not prove that there is no noise.
    noise = np.sqrt(np.maximum(p * (1 - p), share * (1 - share)) / count) + 1 / count
    weight = count / count.sum()
    ece = table.calibration_error
    shape = share - p if ece > _ROUNDING else noise
    shape = shape / (np.abs(shape) @ weight)
    # On average, noise never lowers the error, and raises it at most by the sum of all noise.
    reach = _REACH * float(np.sqrt(np.sum((weight * noise) ** 2)))
    least = max(0.0, ece - float(noise @ weight) - reach)
    gaps = np.append(0.0, np.linspace(least, ece + reach, _STEPS))[:, np.newaxis] * shape
    inside = (p + gaps >= 0) & (p + gaps <= 1)
    return np.clip(p + np.where(inside, gaps, -gaps), 0.0, 1.0), p, count


def _errors(
    count: np.ndarray,
    confidence: np.ndarray,
    frequency: np.ndarray,
    num_draws: int,
    numbers: np.random.Generator,
) -> np.ndarray:
    """Draw calibration errors under true frequencies, ``(num_draws,)``."""
    total = np.zeros(num_draws)
    # One pair of parameters per call is faster than all at once.
    for rows, p, q in zip(count, confidence, frequency, strict=True):
        total += np.abs(numbers.binomial(rows, q, num_draws) - rows * p)
    return total / count.sum()
