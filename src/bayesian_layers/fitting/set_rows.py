"""Which rows each set of draws of an evaluation sees: all, or a random part of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..streams.base import shuffled
from .data.batches import Batch, Batches
from .rows_seen import RowsSeen


class SetRows:
    """The same rows at each evaluation of a fit."""

    # The parts are drawn independently, so the estimates from the sets are independent and unbiased for all rows, and
    # their spread shows the error that is due to the rows together with that due to the draws. Parts of their own show
    # the evaluation 16 times as many rows as one part for all sets, at the same cost.

    def __init__(self, batches: Batches, sets: int, rows: int | None, seed: int) -> None:
        self._batches, self._sets, self._rows, self._seed = batches, sets, rows, seed
        self._parts: list[Batch] = []
        self._distinct, self._total_weight = 0, 0.0

    def pieces(self, sets: range) -> Iterator[tuple[range, Batch]]:
        """Yield batches, each with the numbers of the sets that see it."""
        if self._rows is None:
            yield from ((sets, batch) for batch in self._batches.once())
            return
        self._pick(self._rows)
        for i in sets:
            yield range(i, i + 1), self._parts[i]

    def seen(self) -> RowsSeen:
        """Return an empty account of the rows."""
        if self._rows is None:
            return RowsSeen(self._batches)
        self._pick(self._rows)
        given = self._batches.rows_given
        return RowsSeen(self._batches, given, distinct=self._distinct, total_weight=self._total_weight)

    def _pick(self, rows: int) -> None:
        """Take the parts out of the data, in one pass for the whole fit."""
        if self._parts:
            return
        given = self._batches.rows_given
        numbers = [part_of(given, min(rows, given), self._seed, i) for i in range(self._sets)]
        together, where = np.unique(np.concatenate(numbers), return_inverse=True)
        picked, self._total_weight = self._batches.pick(torch.from_numpy(together))
        self._distinct = len(together)
        for part in np.split(where, self._sets):
            index = torch.from_numpy(part).to(picked.y.device)
            self._parts.append(picked.take(index, self._batches.num_data / len(index)))


def part_of(given: int, rows: int, seed: int, part: int) -> np.ndarray:
    """Draw ``rows`` of the numbers below ``given`` without replacement, as ``(seed, part)`` decides."""
    if 4 * rows > given:
        return shuffled(given, seed, 0, part)[:rows]
    stream, found = np.random.Philox(key=seed, counter=[0, part, 0, 1]), np.empty(0, dtype=np.int64)
    while len(found) < rows:
        found = np.concatenate([found, (stream.random_raw(rows) % given).astype(np.int64)])
        _, first = np.unique(found, return_index=True)
        found = found[np.sort(first)]  # the first of equal numbers, in the order in which they came
    return found[:rows]
