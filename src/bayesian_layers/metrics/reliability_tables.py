"""Whether predicted probabilities of classes come true as often as they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from ..errors import DataError, ShapeError
from ._checks import checked_level, classification, whole

_STEPS = 60  # errors that are tried, beside 0
_REACH = 5.0  # deviations around the one seen
_ROUNDING = 1e-12  # of a mean of shares: which of two equal ones is larger is chance


@dataclass(frozen=True, eq=False)
class Reliability:
    r"""How often an event came in rows that were given about the same probability.

    Attributes:
        edges: Ends of the B bins of probability, ``(B + 1,)``, each bin closed on the right.
        confidence: Mean probability of the rows of each bin, ``(B,)``; NaN where there is none.
        frequency: Share of them in which the event came, ``(B,)``; NaN where there is none.
        count: Rows in each bin, ``(B,)``.
        stderr: Standard deviation of ``frequency`` if the probabilities are right,
            :math:`\sqrt{\sum_n p_n(1-p_n)}/n`, ``(B,)``; NaN where there is no row.
        lower: Lower end of Wilson's interval of the frequency at ``level``, ``(B,)``: the error bars.
        upper: Its upper end, ``(B,)``.
        level: Confidence level of each bar.
        event: The class whose probability is judged; ``None``: that of the predicted class, the confidence.

    Raises:
        ShapeError: If there is not one number a bin.
    """

    edges: np.ndarray
    confidence: np.ndarray
    frequency: np.ndarray
    count: np.ndarray
    stderr: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float
    event: int | None

    def __post_init__(self) -> None:
        bins = (len(self.edges) - 1,)
        for name in ("confidence", "frequency", "count", "stderr", "lower", "upper"):
            shape = getattr(self, name).shape
            if shape != bins:
                raise ShapeError(name, bins, shape, "One number a bin.")

    @property
    def calibration_error(self) -> float:
        """Mean distance of frequency from confidence, by rows; for predicted classes it is ``ece``."""
        full = self.count > 0
        gaps = np.abs(self.frequency - self.confidence)[full]
        return float(gaps @ self.count[full] / self.count.sum())

    @property
    def overconfidence(self) -> float:
        """By how much probabilities are too extreme, mean over rows: above 0 too sure, below 0 not sure enough.

        Confidence minus frequency; for the probability of one class with the sign turned where it is below one half.
        """
        full = self.count > 0
        gaps = (self.confidence - self.frequency)[full]
        sign = 1.0 if self.event is None else np.sign(self.confidence[full] - 0.5)
        return float((sign * gaps) @ self.count[full] / self.count.sum())

    @property
    def p_value(self) -> float:
        r"""Of the test that the probabilities are right: :math:`\sum_b (\text{gap}_b/\text{stderr}_b)^2` is chi-square.

        The degrees of freedom are the bins that hold rows (nothing was fitted to these labels). Good where a bin
        expects some five events and five of the contrary; 0 where an event came that was given probability 0.
        """
        free = (self.count > 0) & (self.stderr > 0)
        certain = (self.count > 0) & (self.stderr == 0)
        if np.any(np.abs(self.frequency - self.confidence)[certain] > 0):
            return 0.0
        if not free.any():
            return 1.0
        z = (self.frequency - self.confidence)[free] / self.stderr[free]
        return float(scipy.special.chdtrc(free.sum(), z @ z))

    def verdict(self, level: float = 0.05) -> str:
        """Describe the result of the test in words.

        Args:
            level: Probability of a false alarm if the probabilities are right.

        Returns:
            ``over-confident``, ``under-confident`` or ``calibrated, as far as this shows``.

        Raises:
            DataError: If ``level`` is not between 0 and 1.
        """
        if self.p_value >= checked_level(level):
            return "calibrated, as far as this shows"
        return "over-confident" if self.overconfidence > 0 else "under-confident"


@dataclass(frozen=True)
class EceInterval:
    """Expected calibration error with its uncertainty.

    Attributes:
        ece: As ``bl.metrics.ece`` gives it. Noise alone keeps it above 0: compare ``expected``.
        corrected: The error under which one draw in two would show more than ``ece``: the estimate without what noise
            adds.
        stderr: Standard deviation of ``ece`` over sets of labels, if ``corrected`` is right.
        lower: Lower end of the interval at ``level`` for the error without noise.
        upper: Its upper end.
        level: Level of the interval.
        expected: What ``ece`` would be on average if all probabilities were right.
        p_value: How often it would then be as large as it is: small says miscalibrated.

    Raises:
        DataError: If the ends are in the wrong order.
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
                f"an interval of an error begins at 0 or above and holds the estimate; received {found}"
            )


def reliability(
    y: Any, probabilities: Any, bins: int = 15, *, event: int | None = None, level: float = 0.95
) -> Reliability:
    r"""Tabulate how often the predicted class, or one class, came against its probability.

    Args:
        y: Labels, ``(N,)``.
        probabilities: P(y = 1), ``(N,)``, or all classes, ``(N, K)``.
        bins: Number of bins B of equal width over (0, 1].
        event: The class whose probability is judged; for two classes 1 is usual, and uses all of [0, 1].
            ``None`` judges the confidence, the probability of the predicted class, as ``ece`` does.
        level: Confidence level of the error bars.

    Returns:
        Confidence, frequency, count and errors of each bin.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is not a label or not a probability, or a number is out of range.

    References:
        Murphy & Winkler (1977), Appl. Statist. 26; Guo et al. (2017), arXiv 1706.04599.

    Example:
        >>> table = reliability([1, 1, 1, 0], [0.9, 0.9, 0.9, 0.9], bins=2)
        >>> table.count, table.frequency, round(table.calibration_error, 2)
        (array([0, 4]), array([ nan, 0.75]), 0.15)
    """
    bins, level = whole("bins", bins, 1), checked_level(level)
    p, came = _event(y, probabilities, event)
    index = _bins(p, bins)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean, share, variance = (
            np.bincount(index, weights=each, minlength=bins) / count for each in (p, came, p * (1 - p))
        )
        lower, upper = np.full((2, bins), np.nan)
        full = count > 0
        lower[full], upper[full] = _wilson_interval((share * count)[full], count[full], level)
        stderr = np.sqrt(variance / count)
    return Reliability(
        np.linspace(0.0, 1.0, bins + 1), mean, share, count, stderr, lower, upper, level, event
    )


def ece_interval(
    y: Any, probabilities: Any, bins: int = 15, *, level: float = 0.95, num_draws: int = 1000, seed: int = 0
) -> EceInterval:
    r"""Estimate the expected calibration error with an interval, and what right probabilities would score.

    Noise in each bin makes the estimate too large, the more so the more bins there are; the bootstrap doubles that
    error. So instead many errors are tried, each with gaps in proportion to those seen (to the other side where
    a probability would leave [0, 1]); labels are drawn for each, and the interval consists of the errors under which
    the one seen is not among the ``1 - level`` most extreme (a test, inverted). At error 0 the probabilities are
    right, which gives ``expected`` and the p-value. There is no closed form: the error is a mean of absolute
    values. The probabilities and the bins are taken as given.

    Args:
        y: Labels, ``(N,)``.
        probabilities: P(y = 1), ``(N,)``, or all classes, ``(N, K)``.
        bins: Number of bins B, as for ``ece``.
        level: Level of the interval.
        num_draws: Draws of labels for each of 61 errors, 100 or more; only counts are drawn, so N costs nothing.
        seed: Of the draws.

    Returns:
        The error with its interval and p-value.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is not a label or not a probability, or a number is out of range.

    References:
        Broecker & Smith (2007), Weather and Forecasting 22, for labels drawn from the probabilities.

    Example:
        >>> found = ece_interval([1, 1, 1, 0] * 50, [0.95] * 200)
        >>> round(found.ece, 2), found.p_value < 0.01, bool(found.lower < 0.2 < found.upper)
        (0.2, True, True)
    """
    whole("num_draws", num_draws, 100)
    tail = (1 - checked_level(level)) / 2
    table = reliability(y, probabilities, bins)
    ece = table.calibration_error
    numbers = np.random.Generator(np.random.Philox(key=whole("seed", seed, 0)))
    chances, confidence, count = _chances(table)
    tried = np.abs(chances - confidence) @ count / count.sum()
    seen = np.stack([_errors(count, confidence, chance, num_draws, numbers) for chance in chances])
    # Of each, the probability to show an error as large, and as small, as the one seen; monotone but for noise.
    as_large = np.maximum.accumulate((seen >= ece - _ROUNDING).mean(axis=1))
    as_small = np.maximum.accumulate((seen <= ece + _ROUNDING).mean(axis=1)[::-1])[::-1]
    low, middle = (float(np.interp(each, as_large, tried)) for each in (tail, 0.5))
    high = float(np.interp(-tail, -as_small, tried))
    return EceInterval(
        ece=ece,
        corrected=middle,
        stderr=float(seen[min(np.searchsorted(tried, middle), _STEPS)].std()),
        lower=min(low, middle),
        upper=max(high, middle),
        level=level,
        expected=float(seen[0].mean()),
        p_value=float((1 + np.sum(seen[0] >= ece - _ROUNDING)) / (1 + num_draws)),
    )


def _chances(table: Reliability) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True shares that are tried, ``(T, B)``, the confidence and the count, of the bins that hold rows."""
    full = table.count > 0
    count, p, share = table.count[full], table.confidence[full], table.frequency[full]
    # One row more or less: a share of 0 or 1 does not say that there is no noise.
    noise = np.sqrt(np.maximum(p * (1 - p), share * (1 - share)) / count) + 1 / count
    weight = count / count.sum()
    ece = table.calibration_error
    shape = share - p if ece > _ROUNDING else noise
    shape = shape / (np.abs(shape) @ weight)
    # Noise never takes away from the error on average, and adds to it at most the sum of all noise.
    reach = _REACH * float(np.sqrt(np.sum((weight * noise) ** 2)))
    least = max(0.0, ece - float(noise @ weight) - reach)
    gaps = np.append(0.0, np.linspace(least, ece + reach, _STEPS))[:, np.newaxis] * shape
    inside = (p + gaps >= 0) & (p + gaps <= 1)
    return np.clip(p + np.where(inside, gaps, -gaps), 0.0, 1.0), p, count


def _errors(
    count: np.ndarray,
    confidence: np.ndarray,
    chance: np.ndarray,
    num_draws: int,
    numbers: np.random.Generator,
) -> np.ndarray:
    """Calibration errors that labels show which come with the given chances, ``(draws,)``."""
    total = np.zeros(num_draws)
    for rows, p, q in zip(count, confidence, chance, strict=True):  # one pair of parameters a call is faster
        total += np.abs(numbers.binomial(rows, q, num_draws) - rows * p)
    return total / count.sum()


def _event(y: Any, probabilities: Any, event: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the event judged, and whether it came (0 or 1), row by row."""
    labels, table = classification(y, probabilities)
    if event is None:
        return table.max(axis=1), (table.argmax(axis=1) == labels).astype(float)
    if whole("event", event, 0) >= table.shape[1]:
        raise DataError(f"`event` must be a class, 0 to {table.shape[1] - 1}; received {event}")
    return table[:, event], (labels == event).astype(float)


def _wilson_interval(
    successes: np.ndarray, trials: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute Wilson's interval for proportions: within [0, 1], and of positive width at 0 and 1 too."""
    z = float(scipy.special.ndtri((1 + level) / 2))
    share, weight = successes / trials, z**2 / trials
    center = (share + weight / 2) / (1 + weight)
    half = np.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return np.clip(center - half, 0.0, 1.0), np.clip(center + half, 0.0, 1.0)


def _bins(p: np.ndarray, bins: int) -> np.ndarray:
    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], p, side="left")
