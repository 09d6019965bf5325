"""Predictions in the terms of the table that they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ShapeError
from .cells import import_pandas
from .target import ClassTarget, RegressionTarget, Target

if TYPE_CHECKING:
    import pandas


def predictions_frame(
    target: Target, mean: Any, epistemic_std: Any, aleatoric_std: Any, std: Any
) -> pandas.DataFrame:
    """Write predictions as a table; see :meth:`TableSchema.predictions_frame`."""
    given = {"mean": mean, "epistemic_std": epistemic_std, "aleatoric_std": aleatoric_std, "std": std}
    moments = {name: torch.as_tensor(each).detach().to("cpu", torch.float64) for name, each in given.items()}
    _check_shapes(target, moments)
    arrays = {name: tensor.numpy() for name, tensor in moments.items()}
    if isinstance(target, RegressionTarget):
        columns = {name: array * target.scale for name, array in arrays.items()}
        columns["mean"] += target.mean
    else:
        columns = _class_columns(target, arrays["mean"], arrays["epistemic_std"])
    return import_pandas().DataFrame(columns)


def _class_columns(target: ClassTarget, p: np.ndarray, epistemic_std: np.ndarray) -> dict[str, Any]:
    if target.task == "binary":
        columns: dict[str, Any] = {f"p_{target.names[1]}": p, "epistemic_std": epistemic_std}
        likeliest = (p > 0.5).astype(int)
    else:
        columns = {f"p_{name}": p[:, k] for k, name in enumerate(target.names)}
        columns |= {f"epistemic_std_{name}": epistemic_std[:, k] for k, name in enumerate(target.names)}
        likeliest = p.argmax(axis=1)
    return {**columns, "predicted": [target.classes[k] for k in likeliest.tolist()]}


def _check_shapes(target: Target, moments: dict[str, Tensor]) -> None:
    rows = moments["mean"].shape[:1] or ("N",)
    expected: tuple[int | str, ...] = tuple(rows)
    if isinstance(target, ClassTarget) and target.task == "multiclass":
        expected += (len(target.classes),)
    for name, tensor in moments.items():
        if tuple(tensor.shape) != expected:
            raise ShapeError(name, expected, tensor.shape)
