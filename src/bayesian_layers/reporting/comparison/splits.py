"""Random training and test parts of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...arguments import check_integer
from ...errors import TableError
from ...tabular import TableSchema
from ..extras import require

if TYPE_CHECKING:
    import pandas

TEST_SHARE = 0.25


@dataclass(frozen=True)
class Split:
    """Training and test rows by position, and the seed of everything random that is done with them."""

    seed: int
    train: np.ndarray
    test: np.ndarray


def random_splits(frame: pandas.DataFrame, schema: TableSchema, count: int, seed: int) -> list[Split]:
    """Split a table at random, ``count`` times; each class keeps its share in both parts."""
    check_integer("splits", count, least=1)
    selection = require("sklearn.model_selection", "scikit-learn")
    classes = schema.targets(frame).numpy() if schema.classes else None
    rows = np.arange(len(frame))
    options = {"test_size": TEST_SHARE, "stratify": classes}
    try:
        parts = [selection.train_test_split(rows, random_state=seed + i, **options) for i in range(count)]
    except ValueError as error:
        raise TableError(
            f"the table has too few rows to keep {100 * TEST_SHARE:.0f} % of them for testing: {error}"
        ) from error
    return [Split(seed + i, np.sort(train), np.sort(test)) for i, (train, test) in enumerate(parts)]
