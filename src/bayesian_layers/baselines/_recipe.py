"""What the Keras process is given: the recipe, and the data as it takes them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError, ShapeError
from ..metrics import numeric_array


@dataclass(frozen=True)
class Recipe:
    """What the worker builds; an invalid one cannot exist."""

    task: str
    hidden: Sequence[int]
    activation: str
    epochs: int
    batch_size: int
    learning_rate: float
    validation_fraction: float
    patience: int | None
    seed: int
    num_outputs: int = 1

    def __post_init__(self) -> None:
        if self.task not in ("binary", "multiclass", "regression"):
            raise DataError(
                f"`task` must be 'binary', 'multiclass' or 'regression'; received {self.task!r}. Choose one."
            )
        if not isinstance(self.activation, str):
            raise DataError(f"`activation` must be a name such as 'tanh'; received {self.activation!r}.")
        if not isinstance(self.hidden, (tuple, list)):
            raise DataError(f"`hidden` must be a tuple of widths; received {self.hidden!r}. Write (10,).")
        for width in self.hidden:
            _check_whole("each width in `hidden`", width, 1)
        _check_whole("`epochs`", self.epochs, 1)
        _check_whole("`batch_size`", self.batch_size, 1)
        _check_whole("`seed`", self.seed, 0, 2**32 - 1)
        if self.patience is not None:
            _check_whole("`patience`", self.patience, 1)
        self._check_reals()

    def _check_reals(self) -> None:
        rate, fraction = self.learning_rate, self.validation_fraction
        if not (isinstance(rate, numbers.Real) and math.isfinite(rate) and rate > 0):
            raise DataError(f"`learning_rate` must be a positive number; received {rate!r}. Try 0.001.")
        if not (isinstance(fraction, numbers.Real) and 0 <= fraction < 1):
            raise DataError(f"`validation_fraction` must lie in [0, 1); received {fraction!r}. Try 0.2.")
        if self.patience is not None and fraction == 0:
            raise DataError("`patience` needs validation rows; received none. Pass validation_fraction=0.2.")


def _check_whole(name: str, value: Any, least: int, most: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        span = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise DataError(f"{name} must be an integer {span}; received {value!r}. Pass a whole number.")


def _float32(name: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused here
        narrow = array.astype(np.float32)
    infinite = int(np.isinf(narrow).sum())
    if infinite:
        raise DataError(
            f"`{name}` must be finite in float32; received {infinite} values of {array.size} that are not. "
            "Standardize them."
        )
    return narrow


def read_inputs(name: str, value: Any, num_inputs: int | None = None) -> np.ndarray:
    """Inputs (N, D) in ``float32``."""
    array = numeric_array(name, value)
    if array.ndim != 2 or 0 in array.shape or num_inputs not in (None, array.shape[1]):
        hint = "For one input use .reshape(-1, 1)." if array.ndim == 1 else "Rows first, inputs second."
        raise ShapeError(name, ("N >= 1", num_inputs or "D >= 1"), array.shape, hint)
    return _float32(name, array)


def read_targets(y: Any, task: str, rows: int, num_classes: int | None) -> tuple[np.ndarray, int]:
    """Targets (N,) as the loss takes them, and how many outputs the network needs."""
    # Keras itself takes targets of shape (N, 4) for one output, by broadcasting.
    array = numeric_array("y", y)
    if array.shape != (rows,):
        raise ShapeError("y", (rows,), array.shape, "One target a row.")
    if task == "regression":
        return _float32("y", array), 1
    classes = _num_classes(array, task, num_classes)
    wrong = (array != np.floor(array)) | (array < 0) | (array >= classes)
    if wrong.any():
        raise DataError(
            f"`y` must hold the labels 0 to {classes - 1}; received {array[wrong][0]:g} among others. "
            "Number the classes from 0."
        )
    return (_float32("y", array), 1) if task == "binary" else (array.astype(np.int64), classes)


def _num_classes(labels: np.ndarray, task: str, num_classes: int | None) -> int:
    if task == "binary":
        return 2
    if num_classes is not None:
        _check_whole("`num_classes`", num_classes, 2)
        return int(num_classes)
    classes = max(int(np.nan_to_num(labels.max())), 1) + 1
    if classes > max(len(labels), 2):  # a column of ids, say, would make a softmax of a million outputs
        raise DataError(
            f"`y` must hold labels 0..K-1; received up to {labels.max():g} in {len(labels)} rows. "
            "Renumber the classes, or pass `num_classes`."
        )
    return classes


def split(rows: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate with."""
    # Both parts stay in the caller's order: without validation the arrays are the caller's own.
    held = max(1, round(fraction * rows)) if fraction else 0
    if held >= rows:
        raise DataError(
            f"`validation_fraction` must leave rows to train on; {fraction} of {rows} leaves none. Lower it."
        )
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[held:]), np.sort(order[:held])
