"""Input columns: their statistics in the table that a schema was inferred from, and their encoding."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import TableError
from .cells import Cells, is_finite_number
from .checks import (
    check_mean_and_scale,
    check_name,
    check_no_typos,
    finite_numbers,
    looks_like_identifiers,
    positions,
)


def mean_and_scale(values: np.ndarray, name: str) -> tuple[float, float]:
    """Compute the mean and the standard deviation with which a column is standardized."""
    if values.min() == values.max():  # the computed standard deviation of equal floats can be 1e-17
        return float(values[0]), 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(np.mean(values)), float(np.std(values))
    if not (is_finite_number(mean) and is_finite_number(scale) and scale > 0):
        raise TableError(
            f"column `{name}` must have a finite standard deviation above 0; its numbers range from "
            f"{values.min():.3g} to {values.max():.3g}. Use another unit."
        )
    return mean, scale


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers; its input of the network is (x - mean) / scale."""

    name: str
    mean: float  # in the table that the schema was inferred from
    scale: float  # population standard deviation there; 1 for a constant column

    def __post_init__(self) -> None:
        check_name(self.name)
        check_mean_and_scale(self.name, self.mean, self.scale)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of its inputs of the network."""
        return (self.name,)

    def encode(self, cells: Cells) -> np.ndarray:
        """Standardize N cells, (N, 1)."""
        values = finite_numbers(cells)
        with np.errstate(over="ignore"):  # the schema reports what overflows float32
            return ((values - self.mean) / self.scale)[:, None]

    def to_document(self) -> dict[str, Any]:
        """Describe the column in JSON's types."""
        return {"kind": "numeric", **asdict(self)}


@dataclass(frozen=True)
class CategoricalColumn:
    """A column of categories; each is one input of the network, 1 in the rows of the category and 0 in others."""

    name: str
    categories: tuple[str, ...]  # as text (True is "True"), in order

    def __post_init__(self) -> None:
        check_name(self.name)
        if not isinstance(self.categories, tuple) or not all(
            isinstance(each, str) for each in self.categories
        ):
            raise TableError(f"column `{self.name}` must have a tuple of texts as its categories")
        if not self.categories or len(set(self.categories)) < len(self.categories):
            raise TableError(f"column `{self.name}` must have categories, all different")

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of its inputs of the network."""
        return tuple(f"{self.name}={category}" for category in self.categories)

    def encode(self, cells: Cells) -> np.ndarray:
        """Encode N cells of K categories, one-hot, (N, K)."""
        return np.eye(len(self.categories))[positions(cells, self.categories)]

    def to_document(self) -> dict[str, Any]:
        """Describe the column in JSON's types."""
        return {"kind": "categorical", "name": self.name, "categories": list(self.categories)}


Column = NumericColumn | CategoricalColumn


def infer_column(cells: Cells) -> Column:
    """Infer whether an input column is numeric or categorical."""
    if cells.kind == "numbers" and not cells.is_category_dtype:
        return NumericColumn(cells.name, *mean_and_scale(finite_numbers(cells), cells.name))
    if not cells.is_category_dtype:
        check_no_typos(cells)
    categories = tuple(sorted(set(cells.texts())))
    if looks_like_identifiers(len(categories), len(cells)):
        raise TableError(
            f"column `{cells.name}` must have few categories; it has {len(categories)} different texts in "
            f"{len(cells)} rows, such as {cells.example(np.ones(len(cells), dtype=bool))}. "
            "Drop it if it is an identifier; convert it to numbers if it is a date or a quantity."
        )
    return CategoricalColumn(cells.name, categories)
