"""Coverage of central intervals at all levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_fraction
from ..errors import DataError, ShapeError
from ..lazy_imports import scipy_stats
from ._checks import numeric_array, vectors

LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))


@dataclass(frozen=True, eq=False)
class CoverageCurve:
    """Coverage of central intervals: the fraction of targets inside, at several levels.

    Attributes:
        levels: Levels of the intervals, ``(L,)``, strictly increasing.
        shares: Fractions of the N targets inside the intervals, ``(L,)``.
        stderr: Standard error of each fraction under the hypothesis that the intervals are calibrated, ``(L,)``.
        count: Number of targets N.
    """

    levels: np.ndarray
    shares: np.ndarray
    stderr: np.ndarray
    count: int

    def __post_init__(self) -> None:
        for name in ("shares", "stderr"):
            shape = getattr(self, name).shape
            if shape != self.levels.shape:
                raise ShapeError(name, self.levels.shape, shape, "Pass one number per level.")
        if not len(self.levels) or np.any(np.diff([0.0, *self.levels, 1.0]) <= 0):
            raise DataError(
                f"`levels` must be strictly increasing between 0 and 1; received {self.levels.tolist()}"
            )

    @property
    def p_value(self) -> float:
        """P-value of the largest distance between shares and levels, by Kolmogorov's test; conservative here."""
        return float(scipy_stats().kstwo.sf(np.max(np.abs(self.shares - self.levels)), self.count))

    @property
    def off(self) -> float:
        """Mean of shares minus levels: negative if intervals are too narrow, positive if too wide."""
        return float(np.mean(self.shares - self.levels))

    def band(self, level: float = 0.95) -> float:
        """Return half the width of the band around the diagonal that holds calibrated curves with this probability."""
        return float(scipy_stats().kstwo.isf(1 - check_fraction("level", level), self.count))

    def verdict(self, level: float = 0.05) -> str:
        """Describe the result in words: too narrow, too wide, or calibrated as far as this shows."""
        if self.p_value >= check_fraction("level", level):
            return "calibrated, as far as this shows"
        return "too narrow (over-confident)" if self.off < 0 else "too wide (under-confident)"


def coverage_curve(probabilities: Any, levels: Any = LEVELS) -> CoverageCurve:
    r"""Return the coverage of central intervals at several levels from probability integral transforms.

    A target is inside the central interval at level c if :math:`|2 p_n - 1| \le c`.

    Args:
        probabilities: Results of :func:`pit`, :func:`pit_normal` or :func:`pit_discrete`, ``(N,)``.
        levels: Levels between 0 and 1, strictly increasing, ``(L,)``.

    Raises:
        DataError: If a number is out of range.

    Example:
        >>> coverage_curve([0.05, 0.3, 0.5, 0.6], levels=[0.5, 0.9]).shares
        array([0.75, 1.  ])
    """
    (p,) = vectors(probabilities=probabilities)
    if p.min() < 0.0 or p.max() > 1.0:
        raise DataError(f"`probabilities` must lie in [0, 1]; received {p.min():g} to {p.max():g}.")
    (chosen,) = vectors(levels=levels)
    return _curve(chosen, (np.abs(2 * p - 1) <= chosen[:, np.newaxis]).mean(axis=1), len(p))


def interval_coverage_curve(y: Any, lower: Any, upper: Any, levels: Any) -> CoverageCurve:
    """Return the coverage of given intervals at several levels.

    Args:
        y: Targets, ``(N,)``.
        lower: Lower ends, ``(L, N)``; ``-inf`` leaves that side open.
        upper: Upper ends, ``(L, N)``.
        levels: Levels of the intervals, strictly increasing, ``(L,)``.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is NaN, or a lower end above its upper end.

    Example:
        >>> interval_coverage_curve([1.0, 5.0], [[0.0, 0.0]], [[2.0, 2.0]], levels=[0.5]).shares
        array([0.5])
    """
    (target,), (chosen,) = vectors(y=y), vectors(levels=levels)
    low, high = numeric_array("lower", lower), numeric_array("upper", upper)
    for name, ends in (("lower", low), ("upper", high)):
        if ends.shape != (len(chosen), len(target)):
            raise ShapeError(name, (len(chosen), len(target)), ends.shape, "Levels come first, rows second.")
    if np.any(low > high):
        raise DataError("`lower` must not be above `upper`. Were they swapped?")
    return _curve(chosen, ((low <= target) & (target <= high)).mean(axis=1), len(target))


def _curve(levels: np.ndarray, shares: np.ndarray, count: int) -> CoverageCurve:
    return CoverageCurve(levels, shares, np.sqrt(levels * (1 - levels) / count), count)
