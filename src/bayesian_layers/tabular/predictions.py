"""Predictions as a table, in the units and classes of the target."""

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
    """Return the moments of a prediction as a table whose rows are numbered from 0."""
    # Regression: mean, epistemic_std, aleatoric_std and std in the units of the target. Binary: p_<second class>,
    # epistemic_std and predicted. Multiclass: p_<class> and epistemic_std_<class> for each class, and predicted.
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
        most_probable = (p > 0.5).astype(int)
    else:
        columns = {f"p_{name}": p[:, k] for k, name in enumerate(target.names)}
        columns |= {f"epistemic_std_{name}": epistemic_std[:, k] for k, name in enumerate(target.names)}
        most_probable = p.argmax(axis=1)
    return {**columns, "predicted": [target.classes[k] for k in most_probable.tolist()]}


def _check_shapes(target: Target, moments: dict[str, Tensor]) -> None:
    rows = moments["mean"].shape[:1] or ("N",)
    expected: tuple[int | str, ...] = tuple(rows)
    if isinstance(target, ClassTarget) and target.task == "multiclass":
        expected += (len(target.classes),)
    for name, tensor in moments.items():
        if tuple(tensor.shape) != expected:
            raise ShapeError(name, expected, tensor.shape)
