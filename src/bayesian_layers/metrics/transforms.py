"""Probability integral transforms and their histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_fraction, check_integer, check_seed
from ..errors import DataError, ShapeError
from ..lazy_imports import scipy_special, scipy_stats
from ._checks import draws_and_rows, standardized, vectors
from .uniform import Uniformity, uniformity

# Probabilities are clipped to this distance from 0 and 1, below which float64 would round 1 - p to 1.
_INSIDE = 2.0**-53


def pit(y: Any, draws: Any, seed: int = 0) -> np.ndarray:
    r"""Return randomized probability integral transforms of targets, ``(N,)``, from their ranks among draws.

    .. math:: p_n = \frac{\#\{s: x_{sn} < y_n\} + u_n\,(\#\{s: x_{sn} = y_n\} + 1)}{S + 1},\qquad u_n \sim U(0, 1)

    If target and draws come from the same distribution, discrete or continuous, the transforms are exactly uniform for
    every S, and strictly between 0 and 1. If too many are near 0 and 1, the draws are too narrow; if too many are near
    one half, too wide.

    References:
        Dawid (1984), J. R. Stat. Soc. A 147; Czado, Gneiting & Held (2009), Biometrics 65, for counts.

    Example:
        >>> p = pit([0.0, 9.0], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
        >>> bool(0 < p[0] < 1 / 4), bool(3 / 4 < p[1] < 1)
        (True, True)
    """
    target, table = draws_and_rows("draws", draws, y)
    below, equal = (table < target).sum(axis=0), (table == target).sum(axis=0)
    u = _uniform(seed, len(target))
    return _inside((below + u * (equal + 1)) / (len(table) + 1))


def pit_normal(y: Any, mean: Any, std: Any) -> np.ndarray:
    r"""Return probability integral transforms under Normal predictions, :math:`\Phi((y_n - m_n)/\sigma_n)`, ``(N,)``.

    Example:
        >>> pit_normal([0.0, 1.0], [0.0, 0.0], 1.0).round(3)
        array([0.5  , 0.841])
    """
    z, _ = standardized(y, mean, std)
    return _inside(scipy_special().ndtr(z))


def pit_discrete(below: Any, at_most: Any, seed: int = 0) -> np.ndarray:
    r"""Return randomized transforms of discrete targets from their CDFs, :math:`F(y^-) + u\,(F(y) - F(y^-))`, ``(N,)``.

    Args:
        below: :math:`P(Y < y_n)`, ``(N,)``; for labels 0 and 1: 0 where the label is 0, else P(y = 0).
        at_most: :math:`P(Y \le y_n)`, ``(N,)``.
        seed: Seed of the u.

    Raises:
        DataError: If a value is not a probability, ``below`` exceeds ``at_most``, or ``seed`` is invalid.

    References:
        Czado, Gneiting & Held (2009), Biometrics 65.

    Example:
        >>> bool(0.3 < pit_discrete([0.3], [1.0])[0] < 1.0)
        True
    """
    low, high = vectors(below=below, at_most=at_most)
    if low.min() < 0.0 or high.max() > 1.0 or np.any(low > high):
        raise DataError("`below` and `at_most` must satisfy 0 <= below <= at_most <= 1; were they swapped?")
    return _inside(low + _uniform(seed, len(low)) * (high - low))


def _uniform(seed: int, count: int) -> np.ndarray:
    """Draw uniform numbers; number ``i`` depends only on ``(seed, i)``."""
    return np.random.Generator(np.random.Philox(key=check_seed(seed))).random(count)


def _inside(p: np.ndarray) -> np.ndarray:
    return np.clip(p, _INSIDE, 1.0 - _INSIDE)


@dataclass(frozen=True, eq=False)
class PitHistogram:
    """Histogram of probability integral transforms, with the counts expected of uniform ones.

    Attributes:
        edges: Edges of the B bins, ``(B + 1,)``.
        counts: Number of transforms in each bin, ``(B,)``.
        expected: Expected count of each bin under uniformity.
        lower: Lower end of the band that contains all counts with probability ``level`` or more under uniformity.
        upper: Upper end of the band.
        level: Simultaneous level of the band.
        uniformity: Tests of uniformity, which do not depend on the bins.
    """

    edges: np.ndarray
    counts: np.ndarray
    expected: float
    lower: int
    upper: int
    level: float
    uniformity: Uniformity

    def __post_init__(self) -> None:
        if self.counts.shape != (len(self.edges) - 1,):
            raise ShapeError("counts", (len(self.edges) - 1,), self.counts.shape, "Pass one count per bin.")

    @property
    def outside(self) -> np.ndarray:
        """Indices of the bins whose counts are outside the band."""
        return np.flatnonzero((self.counts < self.lower) | (self.counts > self.upper))

    @property
    def p_value(self) -> float:
        """P-value of the Kolmogorov-Smirnov test of uniformity."""
        return self.uniformity.p_value

    def verdict(self, level: float = 0.05) -> str:
        """Describe the results of the tests in words; see :meth:`Uniformity.verdict`."""
        return self.uniformity.verdict(level)


def pit_histogram(probabilities: Any, bins: int = 20, level: float = 0.95) -> PitHistogram:
    """Return the histogram of probability integral transforms in bins of equal width, with a simultaneous band.

    The band excludes each bin's binomial count with probability ``(1 - level) / bins`` (Bonferroni), so the whole
    histogram of calibrated predictions is inside with probability ``level`` or slightly more.

    Args:
        probabilities: Numbers strictly between 0 and 1, such as results of :func:`pit`, ``(N,)``.
        bins: Number of bins B, 2 or more.
        level: Level of the band.

    Example:
        >>> import numpy as np
        >>> table = pit_histogram((np.arange(1000) + 0.5) / 1000, bins=10)
        >>> table.counts.tolist() == [100] * 10, table.lower, table.upper
        (True, 74, 128)
    """
    bins, level = check_integer("bins", bins, least=2), check_fraction("level", level)
    tested = uniformity(probabilities)
    (p,) = vectors(probabilities=probabilities)
    edges = np.linspace(0.0, 1.0, bins + 1)
    count, tail = scipy_stats().binom(len(p), 1 / bins), (1 - level) / (2 * bins)
    lower, upper = int(count.ppf(tail)), int(count.isf(tail))
    return PitHistogram(edges, np.histogram(p, edges)[0], len(p) / bins, lower, upper, level, tested)
