r"""The rows of each step of a fit, and the scale of their log likelihood.

The likelihood term of a step is ``scale`` times the sum over the batch's rows, which may have weights. With N rows
and an epoch of m batches of :math:`B_1, \dots, B_m` rows the scale is

- **all rows**: 1, or N over the rows given;
- **shuffled tensors**: :math:`N / B_j`. Each batch is a uniformly drawn set of rows, so each step is unbiased by
  itself, also that of the smaller last batch;
- **streams**: :math:`N m / \sum_j B_j` for every batch, which is N over the mean number of rows per batch: see
  :class:`~bayesian_layers.fitting.data.stream_batches.StreamBatches`.

If all batches have the same number of rows, the three are equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...arguments import check_integer
from ...errors import DataError
from ...network import Inputs, num_rows
from ...streams import Stream
from ...streams.base import shuffled
from .batch import Batch, Batches, SampleWeight, check_num_data, check_position, placed
from .stream_batches import Check, StreamBatches

__all__ = ["Batch", "Batches", "FullBatch", "ShuffledBatches", "StreamBatches", "make_batches"]


def make_batches(
    x: Any,
    y: Tensor | None = None,
    *,
    network: nn.Module,
    batch_size: int | None = None,
    seed: int = 0,
    num_data: int | None = None,
    sample_weight: SampleWeight = None,
    check: Check | None = None,
) -> Batches:
    """Make the batches of a fit from its arguments."""
    if y is None:
        _check_is_source(x, batch_size, sample_weight)
        third = sample_weight == "third"
        return StreamBatches(
            x, network=network, seed=seed, num_data=num_data, third_is_weight=third, check=check
        )
    if isinstance(x, Stream | DataLoader) or hasattr(x, "__next__"):
        raise DataError(f"`y` must be None if `x` is a {type(x).__name__}: its batches hold the targets")
    if isinstance(sample_weight, str):
        raise DataError(
            f"`sample_weight` must be a tensor of one number per row if `x` and `y` are tensors; received "
            f'{sample_weight!r} ("third" is for a source of batches)'
        )
    tensors = placed(x, y, sample_weight, network)
    if check is not None:
        check(tensors[0], tensors[1])
    if batch_size is not None:
        check_integer("batch_size", batch_size, least=1)
    if batch_size is None or batch_size >= len(y):
        return FullBatch(*tensors, num_data=num_data)
    return ShuffledBatches(*tensors, batch_size=batch_size, seed=seed, num_data=num_data)


def _check_is_source(x: Any, batch_size: int | None, sample_weight: SampleWeight) -> None:
    # Tensors, NumPy arrays and data frames have a shape; a source of batches does not.
    arrays = x if isinstance(x, tuple) and x else (x,)
    if all(hasattr(part, "shape") for part in arrays):
        raise DataError("`y` is missing: pass targets, or a source of (x, y) batches such as a DataLoader")
    if batch_size is not None:
        raise DataError(
            f"`batch_size` is for tensors; received {batch_size} with a source of batches, which has its own"
        )
    if sample_weight is not None and not (isinstance(sample_weight, str) and sample_weight == "third"):
        what = repr(sample_weight) if isinstance(sample_weight, str) else f"a {type(sample_weight).__name__}"
        raise DataError(
            '`sample_weight` must be "third" or None with a source of batches: "third" takes the third item of each '
            f"batch (x, y, weight) as the weights of its rows; received {what}"
        )


class FullBatch:
    """All rows in each step; the tensors are placed."""

    exact_order = True
    with_replacement = False
    num_batches = 1

    def __init__(
        self, x: Inputs, y: Tensor, weight: Tensor | None = None, *, num_data: int | None = None
    ) -> None:
        n = num_rows(x)
        self.num_data = n if num_data is None else check_integer("num_data", num_data, least=1)
        check_num_data(self.num_data, n, "`x`")
        self.batch_rows = n
        self.rows_given = n
        self.weighted = weight is not None
        self.all = Batch(x, y, weight, self.num_data / n)
        self._epoch = 0

    def next(self) -> Batch:
        """Return all rows."""
        self._epoch += 1
        return self.all

    def once(self) -> Iterator[Batch]:
        """Iterate over all rows, which are one batch."""
        yield self.all

    def pick(self, index: Tensor) -> tuple[Batch, float]:
        """Return the rows with these numbers, and the sum of all weights."""
        index = index.to(self.all.y.device)
        return self.all.take(index, self.num_data / len(index)), self.all.weight_sum

    def state(self) -> dict[str, int]:
        """Return the position."""
        return {"epoch": self._epoch, "num_data": self.num_data, "batch_rows": self.batch_rows}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position."""
        check_position(state, self.state())
        self._epoch = state["epoch"]


class ShuffledBatches:
    """Batches of placed tensors, each epoch in an order that depends on ``(seed, epoch)``."""

    exact_order = True
    with_replacement = False

    def __init__(
        self,
        x: Inputs,
        y: Tensor,
        weight: Tensor | None = None,
        *,
        batch_size: int,
        seed: int = 0,
        num_data: int | None = None,
    ) -> None:
        check_integer("batch_size", batch_size, least=1)
        check_integer("seed", seed, least=0)
        full = FullBatch(x, y, weight, num_data=num_data)
        self.num_data, self.weighted = full.num_data, full.weighted
        self._full, self.rows_given = full, full.rows_given
        self.batch_rows = min(batch_size, self.rows_given)
        self.num_batches = math.ceil(self.rows_given / self.batch_rows)
        self._seed = seed
        self._start(0, 0)

    def _start(self, epoch: int, index: int) -> None:
        self._epoch, self._index = epoch, index
        self._order = torch.from_numpy(shuffled(self.rows_given, self._seed, epoch)).to(
            self._full.all.y.device
        )

    def next(self) -> Batch:
        """Return the next batch."""
        if self._index == self.num_batches:
            self._start(self._epoch + 1, 0)
        start = self._index * self.batch_rows
        self._index += 1
        index = self._order[start : start + self.batch_rows]
        return self._full.all.take(index, self.num_data / len(index))

    def once(self) -> Iterator[Batch]:
        """Iterate over all rows, which are one batch."""
        return self._full.once()

    def pick(self, index: Tensor) -> tuple[Batch, float]:
        """Return the rows with these numbers, and the sum of all weights."""
        return self._full.pick(index)

    def state(self) -> dict[str, int]:
        """Return the position."""
        return {
            "epoch": self._epoch,
            "index": self._index,
            "num_data": self.num_data,
            "batch_rows": self.batch_rows,
            "seed": self._seed,
        }

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position."""
        check_position(state, self.state())
        self._start(state["epoch"], state["index"])
