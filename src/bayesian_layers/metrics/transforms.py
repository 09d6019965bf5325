"""Probability integral transforms and their histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from ..errors import DataError, ShapeError
from ._checks import checked_level, draws_and_rows, standardized, vectors, whole
from .uniform import Uniformity, uniformity

_INSIDE = 2.0**-53  # a float64 probability nearer to 0 or 1 than this is one of them


def pit(y: Any, draws: Any, seed: int = 0) -> np.ndarray:
    r"""Compute randomized probability integral transforms of targets, by their rank among draws.

    .. math:: p_n = \frac{\#\{s: x_{sn} < y_n\} + u_n\,(\#\{s: x_{sn} = y_n\} + 1)}{S + 1},\qquad u_n \sim U(0, 1)

    Where target and draws come from one distribution, discrete or not, these are exactly uniform for every S. Too
    many near 0 and 1: the draws are too narrow. Too many in the middle: too wide.

    Args:
        y: Targets, ``(N,)``.
        draws: Draws from the predictive distribution (noise included), ``(S, N)``.
        seed: Of the :math:`u_n`; number n depends on ``(seed, n)`` alone.

    Returns:
        Numbers strictly between 0 and 1, ``(N,)``.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is NaN or infinite, or the seed no whole number.

    References:
        Dawid (1984), J. R. Stat. Soc. A 147; Czado, Gneiting & Held (2009), Biometrics 65, for counts.

    Example:
        >>> p = pit([0.0, 9.0], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
        >>> bool(0 < p[0] < 1 / 4), bool(3 / 4 < p[1] < 1)
        (True, True)
    """
    target, table = draws_and_rows("draws", draws, y)
    below, equal = (table < target).sum(axis=0), (table == target).sum(axis=0)
    u = _uniform(whole("seed", seed, 0), len(target))
    return _inside((below + u * (equal + 1)) / (len(table) + 1))


def pit_normal(y: Any, mean: Any, std: Any) -> np.ndarray:
    r"""Compute probability integral transforms under Normal predictions, :math:`\Phi((y_n - m_n)/\sigma_n)`.

    Args:
        y: Targets, ``(N,)``.
        mean: Predictive means, ``(N,)``.
        std: Predictive standard deviations, ``(N,)``, or one number for all rows.

    Returns:
        Numbers strictly between 0 and 1, ``(N,)``.

    Raises:
        ShapeError: If the shapes differ.
        DataError: If a value is NaN or infinite, or a deviation not positive.

    Example:
        >>> pit_normal([0.0, 1.0], [0.0, 0.0], 1.0).round(3)
        array([0.5  , 0.841])
    """
    z, _ = standardized(y, mean, std)
    return _inside(scipy.special.ndtr(z))


def pit_discrete(below: Any, at_most: Any, seed: int = 0) -> np.ndarray:
    r"""Compute randomized transforms from distribution functions, :math:`F(y^-) + u\,(F(y) - F(y^-))`.

    Args:
        below: :math:`P(Y < y_n)`, ``(N,)``; for labels 0 and 1: 0 where the label is 0, else P(y = 0).
        at_most: :math:`P(Y \le y_n)`, ``(N,)``.
        seed: Of the u; number n depends on ``(seed, n)`` alone.

    Returns:
        Numbers strictly between 0 and 1, ``(N,)``.

    Raises:
        ShapeError: If the shapes differ.
        DataError: If a value is not a probability, or ``below`` above ``at_most``.

    References:
        Czado, Gneiting & Held (2009), Biometrics 65.

    Example:
        >>> bool(0.3 < pit_discrete([0.3], [1.0])[0] < 1.0)
        True
    """
    low, high = vectors(below=below, at_most=at_most)
    if low.min() < 0.0 or high.max() > 1.0 or np.any(low > high):
        raise DataError("`below` and `at_most` must satisfy 0 <= below <= at_most <= 1; were they swapped?")
    return _inside(low + _uniform(whole("seed", seed, 0), len(low)) * (high - low))


def _uniform(seed: int, count: int) -> np.ndarray:
    """Draw uniform numbers, of which number ``i`` depends on ``(seed, i)`` alone."""
    return np.random.Generator(np.random.Philox(key=seed)).random(count)


def _inside(p: np.ndarray) -> np.ndarray:
    return np.clip(p, _INSIDE, 1.0 - _INSIDE)


@dataclass(frozen=True, eq=False)
class PitHistogram:
    """How probability integral transforms are spread over bins, beside what right ones would do.

    Attributes:
        edges: Ends of the B bins, ``(B + 1,)``.
        counts: Numbers in each, ``(B,)``.
        expected: What each would hold.
        lower: Lower end of the band in which all counts lie with probability ``level`` or more if uniform.
        upper: Its upper end.
        level: Simultaneous level of the band.
        uniformity: Tests that do not depend on the bins, and in words what they say.

    Raises:
        ShapeError: If there is not one count a bin.
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
            raise ShapeError("counts", (len(self.edges) - 1,), self.counts.shape, "One count a bin.")

    @property
    def outside(self) -> np.ndarray:
        """Numbers of the bins outside the band."""
        return np.flatnonzero((self.counts < self.lower) | (self.counts > self.upper))

    @property
    def p_value(self) -> float:
        """Of the Kolmogorov-Smirnov test of uniformity."""
        return self.uniformity.p_value

    def verdict(self, level: float = 0.05) -> str:
        """Describe the results of the tests in words; see :meth:`Uniformity.verdict`.

        Args:
            level: Probability of any false alarm if the predictions are right.

        Returns:
            A few words.
        """
        return self.uniformity.verdict(level)


def pit_histogram(probabilities: Any, bins: int = 20, level: float = 0.95) -> PitHistogram:
    """Count probability integral transforms in bins of equal width, with a simultaneous band.

    The band gives each bin's binomial count the error ``(1 - level) / bins`` (Bonferroni), so that a histogram of
    right predictions stays inside, all of it, with probability ``level`` or a little more.

    Args:
        probabilities: Between 0 and 1, for instance of :func:`pit`, ``(N,)``.
        bins: Bins B, 2 or more.
        level: Level of the band.

    Returns:
        Counts, band and tests.

    Raises:
        ShapeError: If there is not one axis.
        DataError: If a number is out of range.

    Example:
        >>> import numpy as np
        >>> table = pit_histogram((np.arange(1000) + 0.5) / 1000, bins=10)
        >>> table.counts.tolist() == [100] * 10, table.lower, table.upper
        (True, 74, 128)
    """
    bins, level = whole("bins", bins, 2), checked_level(level)
    tested = uniformity(probabilities)
    (p,) = vectors(probabilities=probabilities)
    edges = np.linspace(0.0, 1.0, bins + 1)
    count, tail = scipy.stats.binom(len(p), 1 / bins), (1 - level) / (2 * bins)
    lower, upper = int(count.ppf(tail)), int(count.isf(tail))
    return PitHistogram(edges, np.histogram(p, edges)[0], len(p) / bins, lower, upper, level, tested)
