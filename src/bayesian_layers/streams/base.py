"""What every stream does: blocks into windows, windows into shuffled batches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError

CLEAN = "remove or impute these rows"
_WINDOW = 2**24  # bytes of rows that are held, and shuffled, together


def shuffled(n: int, seed: int, epoch: int, part: int = 0) -> np.ndarray:
    """Give an order of n things that depends on ``(seed, epoch, part)`` alone.

    Args:
        n: How many.
        seed: A whole number, 0 or more.
        epoch: A whole number, 0 or more.
        part: The same, for more than one order an epoch.

    Returns:
        The numbers 0 to n - 1 in a uniformly drawn order, shape ``(n,)``.

    References:
        Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3" (Philox).

    Example:
        >>> bool((shuffled(9, seed=0, epoch=5) == shuffled(9, seed=0, epoch=5)).all())
        True
    """
    # The last word sets these streams apart from those of bayesian_layers.noise. Sorting raw numbers, where
    # `Generator.permutation` may change with NumPy's version and so move a checkpoint's rows.
    stream = np.random.Philox(key=seed, counter=[0, part, epoch, 1])
    return np.argsort(stream.random_raw(n), kind="stable")


class Stream(ABC):
    """Batches of rows that are read when they are needed, in an order that ``(seed, epoch)`` decides.

    For data of another format, inherit and write :meth:`read`.

    Args:
        block_rows: Rows of each block, all above 0.
        row_bytes: Memory of one row; decides how many blocks are held at once.
        batch_size: Rows a batch; the last of an epoch has what is left.
        seed: Seed of the order.

    Attributes:
        num_data: Rows N of the whole data set.
        batch_rows: Rows of a full batch.
        seed: Seed of the order.

    Raises:
        DataError: If there are no rows, or ``batch_size`` or ``seed`` is out of range.
    """

    def __init__(self, block_rows: Sequence[int], *, row_bytes: int, batch_size: int, seed: int) -> None:
        check_whole("batch_size", batch_size, 1)
        check_whole("seed", seed, 0)
        self._block_rows = np.asarray(block_rows, dtype=np.int64)
        self.num_data = int(self._block_rows.sum())
        if self.num_data == 0:
            raise DataError("a stream must have at least one row; this one has none")
        self.batch_rows = min(batch_size, self.num_data)
        self.seed = seed
        self._window_rows = max(1, _WINDOW // row_bytes)

    @abstractmethod
    def read(self, blocks: Sequence[int]) -> tuple[Any, ...]:
        """Read blocks.

        Args:
            blocks: Their numbers.

        Returns:
            The rows of these blocks, one block after the other: ``(x, y)``, or ``(x, y, weight)``. ``x`` is a
            tensor or a tuple of tensors; every tensor has the rows in front.
        """

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return math.ceil(self.num_data / self.batch_rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Give all rows in the order in which they are stored."""
        return self._batches(np.arange(len(self._block_rows)), 0, None)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, ...]]:
        """Give all rows in the order of one epoch.

        Args:
            epoch: Which, counted from 0.
            start: The first batch to give; what comes before is not read.

        Returns:
            Batches ``(x, y)`` or ``(x, y, weight)``.
        """
        order = shuffled(len(self._block_rows), self.seed, epoch)
        return self._batches(order, start * self.batch_rows, epoch)

    def _batches(self, blocks: np.ndarray, skip: int, epoch: int | None) -> Iterator[tuple[Any, ...]]:
        begun: list[tuple[Any, ...]] = []  # pieces of the batch that is being put together
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
                begun.append(_take(held, index[:missing]))
                index, missing = index[missing:], missing - min(missing, len(index))
                if missing == 0:
                    yield _join(begun)
                    begun, missing = [], self.batch_rows
            skip = 0
            del held  # or two windows would be in memory while the next is read
        if begun:
            yield _join(begun)

    def _windows(self, blocks: np.ndarray) -> list[np.ndarray]:
        rows = self._block_rows[blocks]
        window = (np.cumsum(rows) - rows) // self._window_rows
        return np.split(blocks, np.flatnonzero(np.diff(window)) + 1)


def _take(parts: tuple[Any, ...], index: Tensor) -> tuple[Any, ...]:
    return tuple(
        _take(part, index) if isinstance(part, tuple) else part.index_select(0, index) for part in parts
    )


def _join(pieces: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Put pieces of a batch together."""
    if len(pieces) == 1:
        return pieces[0]
    return tuple(
        _join(parts) if isinstance(parts[0], tuple) else torch.cat(parts)
        for parts in zip(*pieces, strict=True)
    )


def pack(tensors: list[Tensor], several: bool, weighted: bool) -> tuple[Any, ...]:
    """Make a batch of its tensors."""
    inputs = len(tensors) - 1 - weighted
    return (tuple(tensors[:inputs]) if several else tensors[0], *tensors[inputs:])


def check_finite(where: str, values: np.ndarray) -> None:
    """Refuse NaN and infinities."""
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        raise DataError(f"{where} has {int((~finite).sum())} values that are NaN or infinite; {CLEAN}")


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number, or too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"`{name}` must be a whole number, {least} or more; received {value!r}")
