"""Predictive checks: statistics of the data compared with those of data simulated from the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError, ShapeError
from ._checks import draws_and_rows

Statistic = Callable[[np.ndarray], Any]
STATISTICS: Mapping[str, Statistic] = {"mean": np.mean, "sd": np.std, "min": np.min, "max": np.max}


@dataclass(frozen=True, eq=False)
class PredictiveCheck:
    """Statistics of the observed data, and the same statistics of data sets simulated from a model.

    Attributes:
        names: Names of the J statistics.
        observed: Statistics of the observed data, ``(J,)``, each in its units.
        replicated: Statistics of S simulated data sets, ``(S, J)``.
    """

    names: tuple[str, ...]
    observed: np.ndarray
    replicated: np.ndarray

    def __post_init__(self) -> None:
        size = len(self.names)
        if self.observed.shape != (size,):
            raise ShapeError("observed", (size,), self.observed.shape, "Pass one number per statistic.")
        if self.replicated.ndim != 2 or self.replicated.shape[1] != size or not len(self.replicated):
            raise ShapeError("replicated", ("S >= 1", size), self.replicated.shape, "Draws come first.")

    @property
    def tail_probability(self) -> np.ndarray:
        r"""Fraction of simulated data sets with a larger statistic than the data, ties counted by half, ``(J,)``.

        Values near 0 or 1 show that the model rarely produces such data. If the model was fitted to the same data,
        they are closer to one half than uniform numbers would be, so an extreme value is even stronger evidence.
        """
        larger, equal = self.replicated > self.observed, self.replicated == self.observed
        return larger.mean(axis=0) + equal.mean(axis=0) / 2

    @property
    def surprising(self) -> tuple[str, ...]:
        """Names of the statistics with a tail probability below 2.5 % or above 97.5 %."""
        tails = zip(self.names, self.tail_probability, strict=True)
        return tuple(name for name, tail in tails if not 0.025 <= tail <= 0.975)

    def __str__(self) -> str:
        low, middle, high = np.quantile(self.replicated, [0.025, 0.5, 0.975], axis=0)
        rows = zip(self.names, self.observed, middle, low, high, self.tail_probability, strict=True)
        width = max(map(len, self.names))
        return "\n".join(
            f"{name:{width}}  observed {seen:.4g}, simulated {mid:.4g} (95 %: {lo:.4g} to {hi:.4g}), "
            f"P(simulated > observed) {tail:.3f}{'' if 0.025 <= tail <= 0.975 else '  <- surprising'}"
            for name, seen, mid, lo, hi, tail in rows
        )


def predictive_check(y: Any, y_rep: Any, statistics: Mapping[str, Statistic] = STATISTICS) -> PredictiveCheck:
    r"""Return statistics of the data, and those of data sets drawn from a prior or posterior predictive distribution.

    .. math:: P(T(y^{rep}) > T(y)) + \tfrac12 P(T(y^{rep}) = T(y))

    Args:
        y: Targets, ``(N,)``.
        y_rep: Data sets drawn from the predictive distribution, noise included, ``(S, N)``.
        statistics: Name of each statistic to a function from ``(N,)`` to one number.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is NaN or infinite, ``statistics`` is empty, or a statistic is not one finite number.

    References:
        Rubin (1984), Ann. Statist. 12; Gelman, Meng & Stern (1996), Statistica Sinica 6.

    Example:
        >>> import numpy as np
        >>> y_rep = np.random.default_rng(0).normal(size=(500, 50))
        >>> predictive_check(3.0 * (y_rep[0] - y_rep[0].mean()), y_rep).surprising
        ('sd', 'min', 'max')
    """
    target, table = draws_and_rows("y_rep", y_rep, y)
    if not statistics:
        raise DataError("`statistics` must name at least one function; received none")
    observed = np.array([_number(name, each(target)) for name, each in statistics.items()])
    replicated = [[_number(name, each(row)) for name, each in statistics.items()] for row in table]
    return PredictiveCheck(tuple(statistics), observed, np.array(replicated))


def _number(name: str, value: Any) -> float:
    if np.ndim(value) != 0 or not np.isfinite(value):
        raise DataError(f"the statistic {name!r} must return one finite number; it returned {value!r}")
    return float(value)
