"""The cells of one column, independent of the type that pandas gave them."""

from __future__ import annotations

import math
import numbers
import sys
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..arguments import is_number
from ..lazy_imports import require

if TYPE_CHECKING:
    import pandas

Label = bool | int | float | str
Kind = Literal["numbers", "booleans", "text"]

# `None` and the other texts that pandas takes for missing are categories here.
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null"})
# Written by `read_table`: the line of the row with index 0. Index labels do not change when rows are selected.
FIRST_LINE = "bayesian_layers_first_line"
_SHOWN = 10


def import_pandas() -> Any:
    """Import pandas, which only tables need."""
    return require("pandas", "pandas", "cli")


class Cells:
    """The cells of one column."""

    def __init__(self, name: str, series: pandas.Series) -> None:
        self.name = name
        self._series = series
        dtype = series.dtype
        self._is_numpy = isinstance(dtype, np.dtype) and dtype.kind in "iufb"
        self._objects = None if self._is_numpy else series.astype(object).tolist()
        words = [isinstance(cell, str) and cell in MISSING for cell in self._objects or ()]
        missing = series.isna().to_numpy(dtype=bool)
        self.missing = missing | np.array(words) if words else missing  # (N,)
        self.kind: Kind = self._kind()  # of all cells that are not missing; numbers in text are text
        self.is_category_dtype = getattr(dtype, "name", "") == "category"  # even of numbers

    def __len__(self) -> int:
        return len(self._series)

    def _kind(self) -> Kind:
        if self._objects is None:
            return "booleans" if self._series.dtype.kind == "b" else "numbers"
        present = [cell for cell, missing in zip(self._objects, self.missing, strict=True) if not missing]
        booleans = [isinstance(cell, (bool, np.bool_)) for cell in present]
        if all(booleans):
            return "booleans"
        are_numbers = not any(booleans) and all(isinstance(cell, (numbers.Real, Decimal)) for cell in present)
        return "numbers" if are_numbers else "text"

    def numbers(self) -> np.ndarray:
        """Return the cells as float64; NaN where they are missing or text."""
        if self._is_numpy:
            return self._series.to_numpy(np.float64)
        if self.kind == "text":
            read = import_pandas().to_numeric(np.array(self.texts(), dtype=object), errors="coerce")
        else:
            pairs = zip(self._cells(), self.missing, strict=True)
            read = [0.0 if missing else _as_float(cell) for cell, missing in pairs]
        return np.where(self.missing, np.nan, np.asarray(read, dtype=np.float64))

    def texts(self) -> list[str]:
        """Return each cell as text, which is the same for equal values of different types."""
        return [text_of(cell) for cell in self._cells()]

    def labels(self) -> list[Label]:
        """Return the cells as class labels, in their own type."""
        return [*self.texts()] if self.kind == "text" else [_as_label(cell) for cell in self._cells()]

    def place(self, row: int) -> str:
        """Return the line or row of a cell, for messages."""
        label = self._series.index[row]
        first_line = self._series.attrs.get(FIRST_LINE)
        if isinstance(first_line, int) and isinstance(label, (int, np.integer)):
            return f"line {int(label) + first_line}"
        return f"row {label}"

    def example(self, rows: np.ndarray) -> str:
        """Return the first of some cells and its place, for messages."""
        row = int(np.argmax(rows))
        return f"{self.texts()[row][:40]!r} in {self.place(row)}"

    def _cells(self) -> list[Any]:
        return self._series.tolist() if self._objects is None else self._objects


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:  # integers are unbounded, floats are not
        return math.inf


def _as_label(cell: Any) -> Any:
    if isinstance(cell, np.generic):
        return cell.item()
    return float(cell) if isinstance(cell, Decimal | Fraction) else cell


def is_finite_number(value: Any) -> bool:
    """Check whether a value is a number that a float can hold."""
    return is_number(value) and abs(value) <= sys.float_info.max


def text_of(cell: Any) -> str:
    """Return one cell as text."""
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)


def listed(values: list[Any]) -> str:
    """List values for a message: the first few if there are many."""
    shown = ", ".join(repr(value) if isinstance(value, str) else str(value) for value in values[:_SHOWN])
    return shown + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")
