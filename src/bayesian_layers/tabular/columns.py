"""Input columns: what each was in the table that a schema was learned from, and what it gives a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import TableError
from .cells import Cells, is_finite_number
from .checks import check_mean_and_scale, check_name, find, finite_numbers, is_too_many, refuse_typos


def center(values: np.ndarray, name: str) -> tuple[float, float]:
    """Find the mean and the standard deviation that standardize a column."""
    if values.min() == values.max():  # the deviation of equal floats can come out as 1e-17
        return float(values[0]), 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(np.mean(values)), float(np.std(values))
    if not (is_finite_number(mean) and is_finite_number(scale) and scale > 0):
        raise TableError(
            f"column `{name}` must have a finite deviation above 0; its numbers reach from "
            f"{values.min():.3g} to {values.max():.3g}. Bring it to another unit."
        )
    return mean, scale


@dataclass(frozen=True)
class NumericColumn:
    r"""A column of numbers, given to the network as :math:`(x - \text{mean}) / \text{scale}`."""

    # Its name in the table.
    name: str
    # Mean in the table that the schema was learned from.
    mean: float
    # Population standard deviation there, above 0; 1 for a constant column.
    scale: float

    def __post_init__(self) -> None:
        check_name(self.name)
        check_mean_and_scale(self.name, self.mean, self.scale)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that it gives."""
        return (self.name,)

    def encode(self, cells: Cells) -> np.ndarray:
        """Standardize a column of a table."""
        values = finite_numbers(cells)
        with np.errstate(over="ignore"):  # what leaves float32 is reported by the schema
            return ((values - self.mean) / self.scale)[:, None]

    def to_document(self) -> dict[str, Any]:
        """Describe the column in JSON's types."""
        return {"kind": "numeric", **asdict(self)}


@dataclass(frozen=True)
class CategoricalColumn:
    """A column of names, given to the network as one input a name: 1 where it stands, else 0."""

    # Its name in the table.
    name: str
    # All names, as text (``True`` is ``"True"``), in order.
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name(self.name)
        if not isinstance(self.categories, tuple) or not all(
            isinstance(each, str) for each in self.categories
        ):
            raise TableError(f"column `{self.name}` must have a tuple of texts as categories")
        if not self.categories or len(set(self.categories)) < len(self.categories):
            raise TableError(f"column `{self.name}` must have categories, all different")

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that it gives."""
        return tuple(f"{self.name}={category}" for category in self.categories)

    def encode(self, cells: Cells) -> np.ndarray:
        """Encode a column of a table, one-hot."""
        return np.eye(len(self.categories))[find(cells, self.categories)]

    def to_document(self) -> dict[str, Any]:
        """Describe the column in JSON's types."""
        return {"kind": "categorical", "name": self.name, "categories": list(self.categories)}


Column = NumericColumn | CategoricalColumn


def infer_column(cells: Cells) -> Column:
    """Find out what an input column is."""
    if cells.kind == "numbers" and not cells.declared:
        return NumericColumn(cells.name, *center(finite_numbers(cells), cells.name))
    if not cells.declared:
        refuse_typos(cells)
    categories = tuple(sorted(set(cells.texts())))
    if is_too_many(len(categories), len(cells)):
        raise TableError(
            f"column `{cells.name}` must have few categories; it has {len(categories)} different texts in "
            f"{len(cells)} rows, such as {cells.example(np.ones(len(cells), dtype=bool))}. "
            "Drop it if it is an identifier; make it numbers if it is a date or a quantity."
        )
    return CategoricalColumn(cells.name, categories)
