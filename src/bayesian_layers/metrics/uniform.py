"""Tests of whether probability integral transforms are uniform between 0 and 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_fraction
from ..errors import DataError
from ..lazy_imports import scipy_special, scipy_stats
from ._checks import vectors

_TESTS = 3  # of a verdict: bias, width and shape


@dataclass(frozen=True)
class Uniformity:
    r"""Tests of whether probabilities :math:`p_n = P(Y \le y_n)` are uniform, as those of calibrated predictions are.

    They refer to :math:`z_n = \Phi^{-1}(p_n)`, which is standard normal if the predictions are calibrated. The
    ``level`` of a method is the probability that any of the three tests (bias, width, shape) raises a false alarm if
    the predictions are calibrated; each test has a third of it.

    Attributes:
        count: Number of probabilities N.
        p_value: P-value of the Kolmogorov-Smirnov test of uniformity, which detects any departure.
        symmetry_p_value: P-value of the test that ``p`` and ``1 - p`` have the same distribution; small if biased.
        shift: Mean of z. Positive: observations exceed predictions on average.
        spread: Standard deviation of z. Above 1: predictive distributions are too narrow; below 1: too wide.
        spread_p_value: Two-sided p-value of the chi-square test that the spread is 1.
    """

    count: int
    p_value: float
    symmetry_p_value: float
    shift: float
    spread: float
    spread_p_value: float

    def __post_init__(self) -> None:
        found = (self.p_value, self.symmetry_p_value, self.spread_p_value)
        if self.count < 2 or not all(0.0 <= each <= 1.0 for each in found):
            raise DataError(
                f"`count` must be at least 2 and p-values must be in [0, 1]; received {self.count} and {found}"
            )

    def is_biased(self, level: float = 0.05) -> bool:
        """Check whether the predictions are significantly biased: the test of symmetry rejects."""
        return self.symmetry_p_value < _each(level)

    def is_too_narrow(self, level: float = 0.05) -> bool:
        """Check whether the predictive distributions are too narrow: the spread is significantly above 1."""
        return self.spread > 1 and self.spread_p_value < _each(level)

    def is_too_wide(self, level: float = 0.05) -> bool:
        """Check whether the predictive distributions are too wide: the spread is significantly below 1."""
        return self.spread < 1 and self.spread_p_value < _each(level)

    def verdict(self, level: float = 0.05) -> str:
        """Describe the results in words, such as ``too narrow (over-confident), biased downwards``."""
        found = []
        if self.is_too_narrow(level):
            found.append("too narrow (over-confident)")
        if self.is_too_wide(level):
            found.append("too wide (under-confident)")
        if self.is_biased(level):
            found.append(f"biased {'downwards' if self.shift > 0 else 'upwards'}")
        if not found and self.p_value < _each(level):
            found.append("of another shape")
        return ", ".join(found) or "calibrated, as far as this shows"


def _each(level: float) -> float:
    """Significance level of each of the tests."""
    return check_fraction("level", level) / _TESTS


def uniformity(probabilities: Any) -> Uniformity:
    r"""Return tests of whether probability integral transforms are uniform, which distinguish bias from wrong width.

    There are three tests.

    * Uniformity: Kolmogorov and Smirnov's, with the exact distribution of :math:`\sup_t |F_N(t) - t|`.
    * Symmetry: it compares the empirical distributions of :math:`p` and :math:`1 - p`. If :math:`p` is symmetric about
      one half, then its sides, ordered from the most extreme inwards, are tosses of a fair coin, and N times the
      largest distance is how far their random walk comes, whose distribution is known exactly. (The usual two-sample
      test treats :math:`p` and :math:`1 - p` as independent: at 5 % it rejects in 12 % of the cases where nothing is
      wrong.)
    * Spread: :math:`\sum_n (z_n - \bar z)^2` is chi-square with N - 1 degrees of freedom.

    The probabilities must be independent of each other. Those of rows predicted by one posterior are nearly independent
    if there are many more rows than parameters and the noise is large compared with the epistemic uncertainty.

    Args:
        probabilities: Numbers strictly between 0 and 1, such as results of :func:`pit`, ``(N,)``; N at least 2.

    Raises:
        DataError: If a number is not strictly between 0 and 1, or there are fewer than 2.

    References:
        Butler (1969), Ann. Math. Statist. 40, for the test of symmetry; Yao, Vehtari, Simpson & Gelman (2018), "Yes,
        but did it work?", arXiv 1802.02538, section 4, for its use with variational inference.

    Example:
        >>> import numpy as np
        >>> p = (np.arange(1000) + 0.5) / 1000
        >>> uniformity(p).verdict(), uniformity(0.3 + 0.4 * p).verdict()
        ('calibrated, as far as this shows', 'too wide (under-confident)')
    """
    (p,) = vectors(probabilities=probabilities)
    if p.min() <= 0.0 or p.max() >= 1.0 or len(p) < 2:
        raise DataError(
            "`probabilities` must hold at least 2 numbers strictly between 0 and 1; "
            f"received {len(p)} from {p.min():g} to {p.max():g}. bl.metrics.pit computes such numbers."
        )
    z = scipy_special().ndtri(p)
    shift, spread = float(z.mean()), float(z.std(ddof=1))
    degrees, statistic = len(p) - 1, (len(p) - 1) * spread**2
    tails = scipy_special().chdtr(degrees, statistic), scipy_special().chdtrc(degrees, statistic)
    return Uniformity(
        count=len(p),
        p_value=float(scipy_stats().kstest(p, "uniform").pvalue),
        symmetry_p_value=_walk_tail(_excursion(p), len(p)),
        shift=shift,
        spread=spread,
        spread_p_value=float(min(1.0, 2 * min(tails))),
    )


def _excursion(p: np.ndarray) -> int:
    """Compute the farthest point of the walk of sides, from the most extreme inwards; ties count as one step."""
    off = p - 0.5
    order = np.argsort(-np.abs(off))
    walk = np.cumsum(np.sign(off[order]))
    ends = np.append(np.diff(np.abs(off[order])) != 0, True)
    return int(np.max(np.abs(walk[ends])))


def _walk_tail(reach: int, steps: int) -> float:
    r"""Compute the exact probability that a fair walk of steps of 1 up or down reaches the distance ``reach``."""
    # A walk that is stopped at +-a survives n steps with probability
    #   1/a sum over odd k < 2a of sin(k pi / 2) cot(k pi / 4a) cos(k pi / 2a)^n,
    # the expansion of its start in the eigenvectors of one step.
    if reach <= 1:
        return 1.0 if reach <= 0 or steps else 0.0
    angle = np.arange(1, 2 * reach, 2) * math.pi / (2 * reach)
    sign = (-1.0) ** np.arange(reach)
    survival = np.sum(sign / np.tan(angle / 2) * np.cos(angle) ** steps) / reach
    return float(np.clip(1.0 - survival, 0.0, 1.0))
