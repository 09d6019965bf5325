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
    """

    def __init__(self, batches: Batches) -> None:
        self._num_data, self._replaced = batches.num_data, batches.with_replacement
        self.rows = 0
        self._counted = self._weights = 0.0
        self._mean = self._squares = 0.0  # mean, and sum of squared deviations

    def add(self, batch: Batch, terms: Tensor) -> None:
        """Add a batch whose rows have these terms, ``(B,)``."""
        n, mean = len(terms), float(terms.mean())
        apart, total = mean - self._mean, self.rows + n
        self._squares += float((terms - mean).square().sum()) + apart**2 * self.rows * n / total
        self._mean += apart * n / total
        self.rows = total
        self._counted += batch.scale * n
        self._weights += math.nan if batch.weight is None else float(batch.weight.double().sum())

    @property
    def total_weight(self) -> float:
        """The sum of the sample weights over the whole data set; NaN if rows have none."""
        return self._weights * (self._num_data / self.rows)

    @property
    def correction(self) -> float:
        """Factor of the scaled sum: 1 unless the scales were made before the number of rows was known."""
        return self._num_data / self._counted

    @property
    def stderr(self) -> float:
        """Standard error of the sum over the whole data set, due to which rows came; 0 if all did."""
        n, left = self.rows, 1.0 if self._replaced else 1 - self.rows / self._num_data
        if left <= 0:
            return 0.0
        return self._num_data * math.sqrt(self._squares / (n - 1) / n * left) if n > 1 else math.inf
