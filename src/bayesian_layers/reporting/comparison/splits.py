"""Random training and test parts of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import DataError, TableError
from ...tabular import TableSchema
from ..extras import require

if TYPE_CHECKING:
    import pandas

TEST_SHARE = 0.25


@dataclass(frozen=True)
class Split:
    """One split of a table.

    Attributes:
        seed: Of the split, and of everything random that is done with it.
        train: Rows to learn from, by position.
        test: Rows to answer for, by position.
    """

    seed: int
    train: np.ndarray
    test: np.ndarray


def split(frame: pandas.DataFrame, schema: TableSchema, count: int, seed: int) -> list[Split]:
    """Split a table at random, several times; each class keeps its share in both parts."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise DataError(f"the number of splits must be a whole number, 1 or more; received {count!r}")
    selection = require("sklearn.model_selection", "scikit-learn")
    classes = schema.targets(frame).numpy() if schema.classes else None
    rows = np.arange(len(frame))
    options = {"test_size": TEST_SHARE, "stratify": classes}
    try:
        parts = [selection.train_test_split(rows, random_state=seed + i, **options) for i in range(count)]
    except ValueError as error:
        raise TableError(f"the table must have rows enough to test on a quarter of them: {error}") from error
    return [Split(seed + i, np.sort(train), np.sort(test)) for i, (train, test) in enumerate(parts)]


def overlap(splits: Sequence[Split]) -> float:
    """Compute what :func:`~bayesian_layers.reporting.scores.estimate` needs to know of the splits."""
    return len(splits[0].test) / len(splits[0].train)
