"""Columns: their statistics in the table that a schema was inferred from, and their encoding as inputs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import TableError
from .cells import Cells, is_finite_number
from .checks import check_no_typos, check_text, finite_numbers, looks_like_identifiers, positions


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


def to_float32(values: np.ndarray, names: tuple[str, ...]) -> Tensor:
    """Return columns (N, D) as float32; raise TableError, with the name of the column, if a value overflows."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not (finite := np.isfinite(narrow)).all():
        raise TableError(
            f"column `{names[int(np.argmin(finite.all(axis=0)))]}` has a value so large that its scaled value "
            "overflows float32; check the units"
        )
    return torch.from_numpy(narrow)


@dataclass(frozen=True)
class StandardizedColumn:
    """A column of numbers x, which becomes (x - mean) / scale."""

    name: str
    mean: float  # in the table that the schema was inferred from
    scale: float  # population standard deviation there; 1 for a constant column

    def __post_init__(self) -> None:
        check_text("the name of a column", self.name)
        if not (is_finite_number(self.mean) and is_finite_number(self.scale) and self.scale > 0):
            raise TableError(f"column `{self.name}` must have a finite mean and a finite scale above 0")

    def standardize(self, cells: Cells) -> np.ndarray:
        """Standardize N cells, (N, 1)."""
        values = finite_numbers(cells)
        with np.errstate(over="ignore"):  # `to_float32` reports what overflows
            return ((values - self.mean) / self.scale)[:, None]


@dataclass(frozen=True)
class NumericColumn(StandardizedColumn):
    """A column of numbers, which is one input of the network."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of its inputs of the network."""
        return (self.name,)

    def encode(self, cells: Cells) -> np.ndarray:
        """Encode N cells, (N, 1)."""
        return self.standardize(cells)

    def to_document(self) -> dict[str, Any]:
        """Describe the column in JSON's types."""
        return {"kind": "numeric", **asdict(self)}


@dataclass(frozen=True)
class CategoricalColumn:
    """A column of categories; each is one input of the network, 1 in the rows of the category and 0 in others."""

    name: str
    categories: tuple[str, ...]  # as text (True is "True"), in order

    def __post_init__(self) -> None:
        check_text("the name of a column", self.name)
        texts = isinstance(self.categories, tuple) and all(isinstance(each, str) for each in self.categories)
        if not texts:
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
