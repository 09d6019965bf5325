"""Checks of the arrays that metrics take."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, ShapeError

# Probabilities computed in float32 differ from 0, 1 and a sum of 1 by about 1e-7 per class.
_ROUNDING = 1e-6


def numeric_array(name: str, value: Any) -> np.ndarray:
    """Convert numbers to ``float64``; raise DataError for text, objects and NaN."""
    if isinstance(value, Tensor) and value.dtype == torch.bfloat16:  # which NumPy does not have
        value = value.float()
    try:
        array = np.asarray(value)
    # Ragged lists, and tensors on a GPU or with a graph.
    except (TypeError, ValueError, RuntimeError) as problem:
        raise DataError(
            f"`{name}` must be an array of numbers; received {type(value).__name__}, which NumPy cannot read: "
            f"{problem} For a tensor, pass tensor.detach().cpu()."
        ) from problem
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"`{name}` must hold real numbers; received dtype {array.dtype}. Convert with .astype(float)."
        )
    array = array.astype(np.float64)
    missing = int(np.isnan(array).sum())
    if missing:
        raise DataError(f"`{name}` must hold no NaN; received {missing} of {array.size}. Drop those rows.")
    return array


def _check_finite(name: str, array: np.ndarray) -> None:
    infinite = int(np.isinf(array).sum())
    if infinite:
        raise DataError(f"`{name}` must be finite; received {infinite} infinite values of {array.size}.")


def vectors(finite: tuple[str, ...] | None = None, **named: Any) -> list[np.ndarray]:
    """Convert arrays of one shape ``(N,)``; ``finite`` names those that must be finite, ``None`` means all."""
    arrays = {name: numeric_array(name, value) for name, value in named.items()}
    # The first vector determines the number of rows, so that the error names the array that differs.
    rows = next((len(array) for array in arrays.values() if array.ndim == 1), 0)
    for name, array in arrays.items():
        if array.shape != (rows,) or rows == 0:
            column = array.ndim == 2 and array.shape[1] == 1
            hint = "Use .squeeze(-1)." if column else "Pass one value per row."
            raise ShapeError(name, (rows or "N >= 1",), array.shape, hint)
        if finite is None or name in finite:
            _check_finite(name, array)
    return list(arrays.values())


def draws_and_rows(name: str, draws: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Convert targets ``(N,)`` and draws ``(S, N)``, which must be finite."""
    (target,) = vectors(y=y)
    table = numeric_array(name, draws)
    if table.ndim != 2 or len(table) == 0 or table.shape[1] != len(target):
        raise ShapeError(name, ("S >= 1", len(target)), table.shape, "Draws come first, rows second.")
    _check_finite(name, table)
    return target, table


def standardized(y: Any, mean: Any, std: Any) -> tuple[np.ndarray, np.ndarray]:
    """Compute ``(y - mean) / std``, and ``std`` per row."""
    scale = numeric_array("std", std)
    # One number holds for all rows; shapes (1,) and (N, 1) may be accidents.
    if scale.ndim == 0:
        target, center = vectors(y=y, mean=mean)
        scale = np.full(len(target), scale)
        _check_finite("std", scale)
    else:
        target, center, scale = vectors(y=y, mean=mean, std=scale)
    if scale.min() <= 0.0:
        raise DataError(f"`std` must be positive; its smallest value is {scale.min()}.")
    return (target - center) / scale, scale


def classification(y: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    """Convert labels to integers ``(N,)`` and probabilities to ``(N, K)``, for two classes too."""
    table, labels = numeric_array("probabilities", probabilities), numeric_array("y", y)
    if labels.ndim != 1 or len(labels) == 0:
        rows = len(table) if table.ndim else 0
        raise ShapeError("y", (rows or "N >= 1",), labels.shape, "Pass one label per row; use .squeeze(-1).")
    if table.ndim not in (1, 2) or len(table) != len(labels) or table.shape[1:] in ((0,), (1,)):
        expected = (len(labels),) if table.ndim != 2 or table.shape[1] < 2 else (len(labels), table.shape[1])
        hint = "Pass P(y = 1) as (N,), or all K >= 2 classes as (N, K)."
        raise ShapeError("probabilities", expected, table.shape, hint)
    table = _checked_probabilities(table)
    bad = (labels != np.floor(labels)) | (labels < 0) | (labels >= table.shape[1])
    if bad.any():
        raise DataError(
            f"`y` must hold the labels 0 to {table.shape[1] - 1}; received {labels[bad][0]:g} among others. "
            "Number the classes from 0."
        )
    return labels.astype(np.int64), table


def _checked_probabilities(table: np.ndarray) -> np.ndarray:
    low, high = table.min(), table.max()
    if low < -_ROUNDING or high > 1.0 + _ROUNDING:
        raise DataError(
            f"`probabilities` must lie in [0, 1]; received {low:g} to {high:g}. Are they logits? "
            "Apply a sigmoid or softmax first."
        )
    if table.ndim == 2:
        off = float(np.abs(table.sum(axis=1) - 1.0).max())
        if off > _ROUNDING * table.shape[1]:
            raise DataError(
                f"each row of `probabilities` must sum to 1; one is off by {off:.3g}. Apply a softmax first."
            )
    table = table.clip(0.0, 1.0)
    return table if table.ndim == 2 else np.stack([1.0 - table, table], axis=1)
