"""The inputs of the Keras process: the checked recipe, and the checked data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_choice, check_integer, check_positive, is_number
from ..errors import DataError, ShapeError
from ..metrics import numeric_array


@dataclass(frozen=True)
class Recipe:
    """The network and its training; invalid values raise DataError."""

    task: str
    hidden: Sequence[int]
    activation: str
    epochs: int
    batch_size: int
    learning_rate: float
    validation_fraction: float
    patience: int | None
    seed: int

    def __post_init__(self) -> None:
        check_choice("task", self.task, ("binary", "multiclass", "regression"))
        if not isinstance(self.activation, str):
            raise DataError(f"`activation` must be a name such as 'tanh'; received {self.activation!r}.")
        if not isinstance(self.hidden, (tuple, list)):
            raise DataError(f"`hidden` must be a tuple of widths; received {self.hidden!r}. Write (10,).")
        for width in self.hidden:
            check_integer("hidden", width, least=1, hint="Each width counts the units of a layer.")
        check_integer("epochs", self.epochs, least=1)
        check_integer("batch_size", self.batch_size, least=1)
        check_integer("seed", self.seed, least=0, most=2**32 - 1)
        check_positive("learning_rate", self.learning_rate, hint="Try 0.001.")
        fraction = self.validation_fraction
        if not is_number(fraction) or not 0 <= fraction < 1:
            raise DataError(
                f"`validation_fraction` must be 0 or more and below 1; received {fraction!r}. Try 0.2."
            )
        if self.patience is not None:
            check_integer("patience", self.patience, least=1)
            if fraction == 0:
                raise DataError("`patience` needs validation rows. Pass validation_fraction=0.2.")


def _float32(name: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # overflow becomes infinite, and raises here
        narrow = array.astype(np.float32)
    if infinite := int(np.isinf(narrow).sum()):
        raise DataError(
            f"`{name}` must be finite in float32; {infinite} of its {array.size} values are not. "
            "Standardize them."
        )
    return narrow


def read_inputs(name: str, value: Any, num_inputs: int | None = None) -> np.ndarray:
    """Return inputs (N, D) as ``float32``."""
    array = numeric_array(name, value)
    if array.ndim != 2 or 0 in array.shape or num_inputs not in (None, array.shape[1]):
        hint = "For one input use .reshape(-1, 1)." if array.ndim == 1 else "Rows first, inputs second."
        raise ShapeError(name, ("N >= 1", num_inputs or "D >= 1"), array.shape, hint)
    return _float32(name, array)


def read_targets(y: Any, task: str, rows: int, num_classes: int | None) -> tuple[np.ndarray, int]:
    """Return targets (N,) as the loss needs them, and the number of outputs of the network."""
    # Keras itself accepts targets of shape (N, 4) for one output, by broadcasting.
    array = numeric_array("y", y)
    if array.shape != (rows,):
        raise ShapeError("y", (rows,), array.shape, "Pass one target per row.")
    if task == "regression":
        return _float32("y", array), 1
    classes = _num_classes(array, task, num_classes)
    wrong = (array != np.floor(array)) | (array < 0) | (array >= classes)
    if wrong.any():
        raise DataError(
            f"`y` must contain only the labels 0 to {classes - 1}; received {array[wrong][0]:g}. "
            "Number the classes from 0."
        )
    return (_float32("y", array), 1) if task == "binary" else (array.astype(np.int64), classes)


def _num_classes(labels: np.ndarray, task: str, num_classes: int | None) -> int:
    if task == "binary":
        return 2
    if num_classes is not None:
        return check_integer("num_classes", num_classes, least=2)
    classes = max(int(np.nan_to_num(labels.max())), 1) + 1
    if classes > max(len(labels), 2):  # a column of identifiers could make a softmax of a million outputs
        raise DataError(
            f"`y` must contain labels 0..K-1; received labels up to {labels.max():g} in {len(labels)} rows. "
            "Renumber the classes, or pass `num_classes`."
        )
    return classes


def split(rows: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows for training and the rows for validation, each in the caller's order."""
    held = max(1, round(fraction * rows)) if fraction else 0
    if held >= rows:
        raise DataError(
            f"`validation_fraction` must leave rows for training; {fraction} of {rows} rows leaves none. Lower it."
        )
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[held:]), np.sort(order[:held])
