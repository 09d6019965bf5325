r"""The rows that each step of a fit sees, and by how much their log likelihood is scaled.

The likelihood term of a step is ``scale`` times the sum over the batch's rows, weighted where rows have
weights. With N rows and an epoch of m batches of :math:`B_1, \dots, B_m` rows:

- **all rows**: 1, or N over the rows given;
- **shuffled tensors**: :math:`N / B_j`. Each batch is a uniformly drawn set of rows, so each step is
  unbiased by itself, that of the smaller last batch too;
- **streams**: :math:`N m / \sum_j B_j` for every batch, N over the MEAN number of rows a batch: see
  :class:`~bayesian_layers.fitting.data.stream_batches.StreamBatches`.

Where all batches have the same number of rows the three are one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...errors import DataError
from ...network import Inputs, num_rows
from ...streams import Stream
from ...streams.base import check_whole, shuffled
from .batch import Batch, Batches, check_num_data, check_position, placed
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
    sample_weight: Tensor | None = None,
    check: Check | None = None,
) -> Batches:
    """Make the batches of a fit of what the caller gave."""
    if y is None:
        _refuse_settings_of_tensors(x, batch_size, sample_weight)
        return StreamBatches(x, network=network, seed=seed, num_data=num_data, check=check)
    if isinstance(x, Stream | DataLoader) or hasattr(x, "__next__"):
        raise DataError(f"`y` must be None where `x` is a {type(x).__name__}: its batches hold the targets")
    tensors = placed(x, y, sample_weight, network)
    if check is not None:
        check(tensors[0], tensors[1])
    if batch_size is not None:
        check_whole("batch_size", batch_size, 1)
    if batch_size is None or batch_size >= len(y):
        return FullBatch(*tensors, num_data=num_data)
    return ShuffledBatches(*tensors, batch_size=batch_size, seed=seed, num_data=num_data)


def _refuse_settings_of_tensors(x: Any, batch_size: int | None, sample_weight: Tensor | None) -> None:
    # Tensors, NumPy arrays and data frames have a shape; a source of batches has none.
    arrays = x if isinstance(x, tuple) and x else (x,)
    if all(hasattr(part, "shape") for part in arrays):
        raise DataError("`y` is missing: pass targets, or a source of (x, y) batches such as a DataLoader")
    if batch_size is not None:
        raise DataError(
            f"`batch_size` is for tensors; received {batch_size} with a source of batches, which has its own"
        )
    if sample_weight is not None:
        raise DataError(
            "`sample_weight` is for tensors; a source of batches gives it as third element: (x, y, weight)"
        )


class FullBatch:
    """All rows in each step.

    Args:
        x: Inputs with rows in front, placed, or a tuple of them.
        y: Targets, placed.
        weight: Weights of the rows, placed, or ``None``.
        num_data: Rows of the whole data set, if ``x`` is a part of it.

    Attributes:
        all: The batch.

    Raises:
        DataError: If ``num_data`` is no whole number, or below the rows given.
    """

    exact_order = True
    num_batches = 1

    def __init__(
        self, x: Inputs, y: Tensor, weight: Tensor | None = None, *, num_data: int | None = None
    ) -> None:
        n = num_rows(x)
        self.num_data = n if num_data is None else num_data
        check_whole("num_data", self.num_data, 1)
        check_num_data(self.num_data, n, "`x`")
        self.batch_rows = n
        self.weighted = weight is not None
        self.all = Batch(x, y, weight, self.num_data / n)
        self._epoch = 0

    def next(self) -> Batch:
        """Give all rows; see :meth:`Batches.next`."""
        self._epoch += 1
        return self.all

    def once(self) -> Iterator[Batch]:
        """Give all rows; see :meth:`Batches.once`."""
        yield self.all

    def state(self) -> dict[str, int]:
        """Tell the position; see :meth:`Batches.state`."""
        return {"epoch": self._epoch, "num_data": self.num_data, "batch_rows": self.batch_rows}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position; see :meth:`Batches.restore`."""
        check_position(state, self.state())
        self._epoch = state["epoch"]


class ShuffledBatches:
    """Batches of tensors, each epoch in an order that ``(seed, epoch)`` decides.

    Args:
        x: Inputs with rows in front, placed, or a tuple of them.
        y: Targets, placed.
        weight: Weights of the rows, placed, or ``None``.
        batch_size: Rows a batch; the last of an epoch has what is left.
        seed: Seed of the order.
        num_data: Rows of the whole data set, if ``x`` is a part of it.

    Raises:
        DataError: If a setting is out of range.
    """

    exact_order = True

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
        check_whole("batch_size", batch_size, 1)
        check_whole("seed", seed, 0)
        full = FullBatch(x, y, weight, num_data=num_data)
        self.num_data, self.weighted = full.num_data, full.weighted
        self._all, self._given = full.all, full.batch_rows
        self.batch_rows = min(batch_size, self._given)
        self.num_batches = math.ceil(self._given / self.batch_rows)
        self._seed = seed
        self._go(0, 0)

    def _go(self, epoch: int, index: int) -> None:
        self._epoch, self._index = epoch, index
        self._order = torch.from_numpy(shuffled(self._given, self._seed, epoch)).to(self._all.y.device)

    def next(self) -> Batch:
        """Give the next batch; see :meth:`Batches.next`."""
        if self._index == self.num_batches:
            self._go(self._epoch + 1, 0)
        start = self._index * self.batch_rows
        self._index += 1
        index = self._order[start : start + self.batch_rows]
        # Twice as fast as `part[index]`.
        return self._pick(lambda part: part.index_select(0, index), self.num_data / len(index))

    def once(self) -> Iterator[Batch]:
        """Give all rows in order; see :meth:`Batches.once`."""
        for start in range(0, self._given, self.batch_rows):
            stretch = slice(start, start + self.batch_rows)
            yield self._pick(itemgetter(stretch), self.num_data / self._given)

    def _pick(self, pick: Callable[[Tensor], Tensor], scale: float) -> Batch:
        x, weight = self._all.x, self._all.weight
        picked = tuple(pick(part) for part in x) if isinstance(x, tuple) else pick(x)
        return Batch(picked, pick(self._all.y), None if weight is None else pick(weight), scale)

    def state(self) -> dict[str, int]:
        """Tell the position; see :meth:`Batches.state`."""
        return {
            "epoch": self._epoch,
            "index": self._index,
            "num_data": self.num_data,
            "batch_rows": self.batch_rows,
            "seed": self._seed,
        }

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position; see :meth:`Batches.restore`."""
        check_position(state, self.state())
        self._go(state["epoch"], state["index"])
