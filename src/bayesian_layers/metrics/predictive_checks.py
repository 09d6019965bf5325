"""Whether data look like what a model makes of itself."""

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
    """Statistics of the data beside the same statistics of data that a model has made.

    Attributes:
        names: Names of the J statistics.
        observed: Of the data, ``(J,)``, in the units of each.
        replicated: Of S data sets that the model has made, ``(S, J)``.

    Raises:
        ShapeError: If the shapes do not fit each other.
    """

    names: tuple[str, ...]
    observed: np.ndarray
    replicated: np.ndarray

    def __post_init__(self) -> None:
        size = len(self.names)
        if self.observed.shape != (size,):
            raise ShapeError("observed", (size,), self.observed.shape, "One number a statistic.")
        if self.replicated.ndim != 2 or self.replicated.shape[1] != size or not len(self.replicated):
            raise ShapeError("replicated", ("S >= 1", size), self.replicated.shape, "Draws come first.")

    @property
    def tail_probability(self) -> np.ndarray:
        r"""Share of made data sets whose statistic is larger than the data's, ties by half, ``(J,)``.

        Near 0 or 1 the model does not make such data. Where the same data were used for the fit these are not
        uniform, but nearer to one half: a small one counts all the more.
        """
        larger, equal = self.replicated > self.observed, self.replicated == self.observed
        return larger.mean(axis=0) + equal.mean(axis=0) / 2

    @property
    def surprising(self) -> tuple[str, ...]:
        """Names of the statistics in the outer 2.5 % on either side."""
        return tuple(
            n for n, p in zip(self.names, self.tail_probability, strict=True) if not 0.025 <= p <= 0.975
        )

    def __str__(self) -> str:
        low, middle, high = np.quantile(self.replicated, [0.025, 0.5, 0.975], axis=0)
        rows = zip(self.names, self.observed, middle, low, high, self.tail_probability, strict=True)
        width = max(map(len, self.names))
        return "\n".join(
            f"{name:{width}}  observed {seen:.4g}, made {mid:.4g} (95 %: {lo:.4g} to {hi:.4g}), "
            f"P(made > observed) {tail:.3f}{'' if 0.025 <= tail <= 0.975 else '  <- surprising'}"
            for name, seen, mid, lo, hi, tail in rows
        )


def predictive_check(y: Any, y_rep: Any, statistics: Mapping[str, Statistic] = STATISTICS) -> PredictiveCheck:
    r"""Compare statistics of the data with those of data sets drawn from a model, prior or posterior.

    .. math:: P(T(y^{rep}) > T(y)) + \tfrac12 P(T(y^{rep}) = T(y))

    Args:
        y: Targets, ``(N,)``.
        y_rep: Data sets drawn from the prior or posterior predictive distribution, noise included, ``(S, N)``.
        statistics: Name to a function from ``(N,)`` to one number.

    Returns:
        The statistics, and how far out in the tails those of the data are.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is NaN or infinite, there is no statistic, or one does not give a finite number.

    References:
        Rubin (1984), Ann. Statist. 12; Gelman, Meng & Stern (1996), Statistica Sinica 6.

    Example:
        >>> import numpy as np
        >>> made = np.random.default_rng(0).normal(size=(500, 50))
        >>> predictive_check(3.0 * (made[0] - made[0].mean()), made).surprising
        ('sd', 'min', 'max')
    """
    target, table = draws_and_rows("y_rep", y_rep, y)
    if not statistics:
        raise DataError("`statistics` must name one function or more; received none")
    observed = np.array([_number(name, each(target)) for name, each in statistics.items()])
    made = [[_number(name, each(row)) for name, each in statistics.items()] for row in table]
    return PredictiveCheck(tuple(statistics), observed, np.array(made))


def _number(name: str, value: Any) -> float:
    if np.ndim(value) != 0 or not np.isfinite(value):
        raise DataError(f"the statistic {name!r} must give one finite number; it gave {value!r}")
    return float(value)
