"""Whether probabilities are uniform between 0 and 1, and if not, in which way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from ..errors import DataError
from ._checks import vectors

_TESTS = 3  # behind a verdict: of bias, of width, of shape


@dataclass(frozen=True)
class Uniformity:
    r"""How far probabilities :math:`p_n = P(Y \le y_n)` are from the uniform numbers that right ones would be.

    Let :math:`z_n = \Phi^{-1}(p_n)`, which would be standard normal.

    Attributes:
        count: How many, N.
        p_value: Of the Kolmogorov-Smirnov test of uniformity, whatever the deviation.
        symmetry_p_value: Of the test that ``p`` and ``1 - p`` are distributed alike: small says biased.
        shift: Mean of z. Above 0: what came is larger than was said.
        spread: Standard deviation of z. Above 1: what was said is too narrow; below 1: too wide.
        spread_p_value: Of the chi-square test that the spread is 1, two-sided.

    Raises:
        DataError: If a p-value is none, or there are fewer than 2 numbers.
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
                f"uniformity needs 2 numbers or more, and p-values in [0, 1]; received {self.count}, {found}"
            )

    def is_biased(self, level: float = 0.05) -> bool:
        """Tell whether bias is shown.

        Args:
            level: Probability of any false alarm, of bias, width or shape, if all is right.

        Returns:
            Whether the test of symmetry says so at a third of the level, since there are three tests.
        """
        return self.symmetry_p_value < level / _TESTS

    def is_too_narrow(self, level: float = 0.05) -> bool:
        """Tell whether it is shown that the distributions were too narrow.

        Args:
            level: As in :meth:`is_biased`.

        Returns:
            Whether the spread is significantly above 1.
        """
        return self.spread > 1 and self.spread_p_value < level / _TESTS

    def is_too_wide(self, level: float = 0.05) -> bool:
        """Tell whether it is shown that the distributions were too wide.

        Args:
            level: As in :meth:`is_biased`.

        Returns:
            Whether the spread is significantly below 1.
        """
        return self.spread < 1 and self.spread_p_value < level / _TESTS

    def verdict(self, level: float = 0.05) -> str:
        """Say it in words.

        Args:
            level: As in :meth:`is_biased`.

        Returns:
            For instance ``too narrow (over-confident), biased downwards``, or ``calibrated, as far as this shows``.
        """
        said = []
        if self.is_too_narrow(level):
            said.append("too narrow (over-confident)")
        if self.is_too_wide(level):
            said.append("too wide (under-confident)")
        if self.is_biased(level):
            said.append(f"biased {'downwards' if self.shift > 0 else 'upwards'}")
        if not said and self.p_value < level / _TESTS:
            said.append("of another shape")
        return ", ".join(said) or "calibrated, as far as this shows"


def uniformity(probabilities: Any) -> Uniformity:
    r"""Test whether probability integral transforms are uniform, and tell bias from width.

    There are three tests.

    * Uniformity: Kolmogorov and Smirnov's, with the exact distribution of :math:`\sup_t |F_N(t) - t|`.
    * Symmetry: it compares the empirical distributions of :math:`p` and :math:`1 - p`. If :math:`p` is symmetric about
      one half, then its sides, ordered from the most extreme inwards, are tosses of a fair coin, and N times the
      largest distance is how far their random walk comes, whose distribution is known exactly. (The usual two-sample
      test treats :math:`p` and :math:`1 - p` as independent: at 5 % it rejects in 12 % of the cases where nothing is
      wrong.)
    * Spread: :math:`\sum_n (z_n - \bar z)^2` is chi-square with N - 1 degrees of freedom.

    The numbers must be independent of each other. Those of rows predicted by one posterior are nearly so where there
    are many more rows than parameters, and the noise is large against what is not known about ``f``.

    Args:
        probabilities: For instance what :func:`pit` gives, ``(N,)``, strictly between 0 and 1; N at least 2.

    Returns:
        The tests, with the shift and the spread that say which way it is off.

    Raises:
        ShapeError: If there is not one axis.
        DataError: If a number is not strictly between 0 and 1, or there is only one.

    References:
        Butler (1969), Ann. Math. Statist. 40, for the test of symmetry; Yao, Vehtari, Simpson & Gelman (2018), "Yes,
        but did it work?", arXiv 1802.02538, section 4, for what it says about variational inference.

    Example:
        >>> import numpy as np
        >>> p = (np.arange(1000) + 0.5) / 1000
        >>> uniformity(p).verdict(), uniformity(0.3 + 0.4 * p).verdict()
        ('calibrated, as far as this shows', 'too wide (under-confident)')
    """
    (p,) = vectors(probabilities=probabilities)
    if p.min() <= 0.0 or p.max() >= 1.0 or len(p) < 2:
        raise DataError(
            "`probabilities` must be 2 or more, strictly between 0 and 1; "
            f"received {len(p)} from {p.min():g} to {p.max():g}. bl.metrics.pit gives such numbers."
        )
    z = scipy.special.ndtri(p)
    shift, spread = float(z.mean()), float(z.std(ddof=1))
    degrees, statistic = len(p) - 1, (len(p) - 1) * spread**2
    tails = scipy.special.chdtr(degrees, statistic), scipy.special.chdtrc(degrees, statistic)
    return Uniformity(
        count=len(p),
        p_value=float(scipy.stats.kstwo.sf(_distance(p), len(p))),
        symmetry_p_value=_walk_tail(_excursion(p), len(p)),
        shift=shift,
        spread=spread,
        spread_p_value=float(min(1.0, 2 * min(tails))),
    )


def _distance(p: np.ndarray) -> float:
    """Largest distance of the empirical distribution function from the diagonal, on either side of its steps."""
    steps = np.arange(len(p) + 1) / len(p)
    ordered = np.sort(p)
    return float(max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1])))


def _excursion(p: np.ndarray) -> int:
    """How far the walk of sides comes, from the most extreme inwards; ties count only when all are in."""
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
