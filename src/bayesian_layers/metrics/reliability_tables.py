"""Reliability tables: predicted probabilities against frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_fraction, check_integer
from ..errors import ShapeError
from ..lazy_imports import scipy_special
from ._checks import classification


@dataclass(frozen=True, eq=False)
class Reliability:
    r"""Frequency of an event in bins of rows with similar predicted probabilities.

    Attributes:
        edges: Edges of the B bins of probability, ``(B + 1,)``, each bin closed on the right.
        confidence: Mean probability of the rows in each bin, ``(B,)``; NaN for empty bins.
        frequency: Fraction of these rows in which the event occurred, ``(B,)``; NaN for empty bins.
        count: Number of rows in each bin, ``(B,)``.
        stderr: Standard error of ``frequency`` if the probabilities are right,
            :math:`\sqrt{\sum_n p_n(1-p_n)}/n`, ``(B,)``; NaN for empty bins.
        lower: Lower end of Wilson's interval for the frequency at ``level``, ``(B,)``: the error bars.
        upper: Upper end of the interval, ``(B,)``.
        level: Confidence level of each interval.
        event: Class whose probability is assessed; ``None`` for the predicted class, whose probability is the
            confidence.
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
                raise ShapeError(name, bins, shape, "Pass one number per bin.")

    @property
    def calibration_error(self) -> float:
        """Mean distance between frequency and confidence, weighted by count; for predicted classes this is ``ece``."""
        full = self.count > 0
        gaps = np.abs(self.frequency - self.confidence)[full]
        return float(gaps @ self.count[full] / self.count.sum())

    @property
    def overconfidence(self) -> float:
        """Mean over rows of how much too extreme the probabilities are: positive if over-confident, negative if under.

        It is confidence minus frequency; for the probability of one class, the sign is reversed below one half.
        """
        full = self.count > 0
        gaps = (self.confidence - self.frequency)[full]
        sign = 1.0 if self.event is None else np.sign(self.confidence[full] - 0.5)
        return float((sign * gaps) @ self.count[full] / self.count.sum())

    @property
    def p_value(self) -> float:
        r"""P-value of the test that the probabilities are right.

        Then :math:`\sum_b (\text{gap}_b/\text{stderr}_b)^2` is approximately chi-square, with one degree of freedom for
        each bin that is not empty, as nothing was fitted to these labels. The approximation is good if each bin expects
        at least about five events and five non-events. The p-value is 0 if an event of probability 0 occurred.
        """
        gaps, free = self.frequency - self.confidence, self.stderr > 0
        if np.any(np.abs(gaps[self.stderr == 0]) > 0):
            return 0.0
        if not free.any():
            return 1.0
        z = gaps[free] / self.stderr[free]
        return float(scipy_special().chdtrc(free.sum(), z @ z))

    def verdict(self, level: float = 0.05) -> str:
        """Return ``over-confident``, ``under-confident`` or ``calibrated, as far as this shows``."""
        if self.p_value >= check_fraction("level", level):
            return "calibrated, as far as this shows"
        return "over-confident" if self.overconfidence > 0 else "under-confident"


def reliability(
    y: Any, probabilities: Any, bins: int = 15, *, event: int | None = None, level: float = 0.95
) -> Reliability:
    r"""Return the frequency of the predicted class, or of one class, in bins of its predicted probability.

    Args:
        y: Labels.
        probabilities: Probabilities of the classes.
        bins: Number of bins B of equal width over (0, 1].
        event: Class whose probability is assessed; for two classes 1 is usual and uses all of [0, 1]. ``None`` assesses
            the confidence, that is the probability of the predicted class, as ``ece`` does.
        level: Confidence level of the error bars.

    References:
        Murphy & Winkler (1977), Appl. Statist. 26; Guo et al. (2017), arXiv 1706.04599.

    Example:
        >>> table = reliability([1, 1, 1, 0], [0.9, 0.9, 0.9, 0.9], bins=2)
        >>> table.count, table.frequency, round(table.calibration_error, 2)
        (array([0, 4]), array([ nan, 0.75]), 0.15)
    """
    bins, level = check_integer("bins", bins, least=1), check_fraction("level", level)
    p, occurred = _event(y, probabilities, event)
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.searchsorted(edges[1:-1], p, side="left")
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean, share, variance = (
            np.bincount(index, weights=each, minlength=bins) / count for each in (p, occurred, p * (1 - p))
        )
        lower, upper = np.full((2, bins), np.nan)
        full = count > 0
        lower[full], upper[full] = _wilson_interval((share * count)[full], count[full], level)
        stderr = np.sqrt(variance / count)
    return Reliability(edges, mean, share, count, stderr, lower, upper, level, event)


def _event(y: Any, probabilities: Any, event: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the event, and whether it occurred (0 or 1), for each row."""
    labels, table = classification(y, probabilities)
    if event is None:
        return table.max(axis=1), (table.argmax(axis=1) == labels).astype(float)
    check_integer("event", event, least=0, most=table.shape[1] - 1, hint="It is the label of a class.")
    return table[:, event], (labels == event).astype(float)


def _wilson_interval(
    successes: np.ndarray, trials: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute Wilson's interval for proportions: within [0, 1], and of positive width at 0 and 1 too."""
    z = float(scipy_special().ndtri((1 + level) / 2))
    share, weight = successes / trials, z**2 / trials
    center = (share + weight / 2) / (1 + weight)
    half = np.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return np.clip(center - half, 0.0, 1.0), np.clip(center + half, 0.0, 1.0)
