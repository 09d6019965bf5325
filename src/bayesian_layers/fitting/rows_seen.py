"""The rows of one pass over the data, and the error of a sum over them if other rows might have come."""

from __future__ import annotations

import math

from torch import Tensor

from .data.batch import Batch, Batches


class RowsSeen:
    r"""Sums over the rows of one pass.

    A pass may see a part of the data set only (``drop_last``, a ``num_data`` above the rows given). With n of N rows,
    drawn without replacement, and the variance :math:`s^2` of their terms, the sum over all N rows is estimated with
    variance :math:`N^2 s^2 / n \cdot (1 - n / N)`; with replacement, without the last factor (Cochran, 1977).

    If an evaluation takes parts of the n ``given`` rows, their terms estimate :math:`s^2`, and the error of the parts
    is not included; ``distinct`` rows and the ``total_weight`` of those given are then known from elsewhere.
    """

    def __init__(
        self,
        batches: Batches,
        given: int | None = None,
        *,
        distinct: int | None = None,
        total_weight: float = math.nan,
    ) -> None:
        self._num_data, self._replaced = batches.num_data, batches.with_replacement
        self._given, self._distinct, self._given_weight = given, distinct, total_weight
        self._terms = 0
        self._counted = self._weights = 0.0
        self._mean = self._squares = 0.0  # mean, and sum of squared deviations

    def add(self, batch: Batch, terms: Tensor) -> None:
        """Add a batch whose rows have these terms, ``(B,)``."""
        n, mean = len(terms), float(terms.mean())
        apart, total = mean - self._mean, self._terms + n
        self._squares += float((terms - mean).square().sum()) + apart**2 * self._terms * n / total
        self._mean += apart * n / total
        self._terms = total
        self._counted += batch.scale * n
        self._weights += batch.weight_sum

    @property
    def rows(self) -> int:
        """The number of rows seen."""
        return self._terms if self._distinct is None else self._distinct

    @property
    def total_weight(self) -> float:
        """The sum of the sample weights over the whole data set; NaN if rows have none."""
        if self._given is not None:
            return self._given_weight * (self._num_data / self._given)
        return self._weights * (self._num_data / self._terms)

    @property
    def correction(self) -> float:
        """Factor of the scaled sum: 1 unless the scales were made before the number of rows was known."""
        return 1.0 if self._given is not None else self._num_data / self._counted

    @property
    def stderr(self) -> float:
        """Standard error of the sum over the whole data set, due to which rows were given; 0 if all were."""
        n = self._terms if self._given is None else self._given
        left = 1.0 if self._replaced else 1 - n / self._num_data
        if left <= 0:
            return 0.0
        variance = self._squares / (self._terms - 1) if self._terms > 1 else math.inf
        return self._num_data * math.sqrt(variance / n * left)
