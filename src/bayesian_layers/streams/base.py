"""Streams: blocks of rows are read in windows, whose rows are shuffled into batches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import check_integer, check_seed
from ..errors import DataError

_WINDOW = 2**24  # bytes of rows that are shuffled together in memory


def shuffled(n: int, seed: int, epoch: int, part: int = 0) -> np.ndarray:
    """Return the numbers 0 to n - 1 in a random order that depends only on ``(seed, epoch, part)``."""
    # Philox: Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3". The last word of the counter
    # separates these numbers from those of bayesian_layers.noise. Raw numbers are sorted because
    # `Generator.permutation` may change with NumPy's version, and a checkpoint must resume with the same order.
    stream = np.random.Philox(key=seed, counter=[0, part, epoch, 1])
    return np.argsort(stream.random_raw(n), kind="stable")


class Stream(ABC):
    """Batches of rows that are read when they are needed, in an order that depends only on ``(seed, epoch)``.

    Rows are ``(x, y)`` or ``(x, y, weight)``, where ``x`` is a tensor or a tuple of tensors; the first axis of every
    tensor is the rows. For data in another format, inherit from this class, implement :meth:`read`, and
    set ``weighted`` if rows have weights.

    Args:
        block_rows: Rows of each block, all above 0.
        row_bytes: Memory of one row; it determines how many blocks are in memory at once.
        batch_size: Rows per batch; the last batch of an epoch has the remaining rows.
        seed: Seed of the order.

    Attributes:
        num_data: Rows N of the whole data set.
        batch_rows: Rows of a full batch.
        seed: Seed of the order.
        weighted: Whether rows are ``(x, y, weight)``, so that a fit takes the third item as sample weights.

    Raises:
        DataError: If there are no rows, or ``batch_size`` or ``seed`` is out of range.
    """

    weighted = False

    def __init__(self, block_rows: Sequence[int], *, row_bytes: int, batch_size: int, seed: int) -> None:
        batch_size = check_integer("batch_size", batch_size, least=1)
        self.seed = check_seed(seed)
        self._block_rows = np.asarray(block_rows, dtype=np.int64)
        self.num_data = int(self._block_rows.sum())
        if self.num_data == 0:
            raise DataError("a stream must have at least one row; received none")
        self.batch_rows = min(batch_size, self.num_data)
        self._window_rows = max(1, _WINDOW // row_bytes)

    @abstractmethod
    def read(self, blocks: Sequence[int]) -> tuple[Any, ...]:
        """Read blocks by their numbers; the rows of one block follow those of the one before."""

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(self.num_data / self.batch_rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield batches of all rows in their stored order."""
        return self._batches(np.arange(len(self._block_rows)), 0, None)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, ...]]:
        """Return the batches of an epoch, counted from 0, from batch ``start`` on; earlier ones are not read."""
        order = shuffled(len(self._block_rows), self.seed, epoch)
        return self._batches(order, start * self.batch_rows, epoch)

    def _batches(self, blocks: np.ndarray, skip: int, epoch: int | None) -> Iterator[tuple[Any, ...]]:
        pieces: list[tuple[Any, ...]] = []  # of the next batch
        missing = self.batch_rows
        for number, window in enumerate(self._windows(blocks)):
            rows = int(self._block_rows[window].sum())
            if skip >= rows:
                skip -= rows
                continue
            order = np.arange(rows) if epoch is None else shuffled(rows, self.seed, epoch, number + 1)
            index = torch.from_numpy(order)[skip:]
            held = self.read(window.tolist())
            while len(index):
                pieces.append(_take(held, index[:missing]))
                index, missing = index[missing:], missing - min(missing, len(index))
                if missing == 0:
                    yield _join(pieces)
                    pieces, missing = [], self.batch_rows
            skip = 0
            del held  # before the next window is read
        if pieces:
            yield _join(pieces)

    def _windows(self, blocks: np.ndarray) -> list[np.ndarray]:
        rows = self._block_rows[blocks]
        window = (np.cumsum(rows) - rows) // self._window_rows
        return np.split(blocks, np.flatnonzero(np.diff(window)) + 1)


def _take(parts: tuple[Any, ...], index: Tensor) -> tuple[Any, ...]:
    return tuple(
        _take(part, index) if isinstance(part, tuple) else part.index_select(0, index) for part in parts
    )


def _join(pieces: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Concatenate pieces of a batch."""
    if len(pieces) == 1:
        return pieces[0]
    return tuple(
        _join(parts) if isinstance(parts[0], tuple) else torch.cat(parts)
        for parts in zip(*pieces, strict=True)
    )


def pack(tensors: list[Tensor], several: bool, weighted: bool) -> tuple[Any, ...]:
    """Arrange tensors as a batch: inputs, targets and perhaps weights."""
    inputs = len(tensors) - 1 - weighted
    return (tuple(tensors[:inputs]) if several else tensors[0], *tensors[inputs:])


def check_finite(where: str, values: np.ndarray) -> np.ndarray:
    """Return values if they are finite; raise DataError otherwise."""
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        raise DataError(
            f"{where} has {int((~finite).sum())} values that are NaN or infinite; remove or impute these rows"
        )
    return values
