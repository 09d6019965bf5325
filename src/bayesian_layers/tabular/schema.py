"""The schema of a table: inferred from one table, applied to others, saved with the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..data_schema import MAX_NAMES
from ..errors import ShapeError, StorageError, TableError
from .cells import Cells, Label, import_pandas, listed
from .checks import check_can_be_saved, check_finite_cells, check_not_missing, check_unique
from .columns import CategoricalColumn, Column, NumericColumn, infer_column, to_float32
from .target import AS_SPECIFIED, ClassTarget, RegressionTarget, Target, Task, infer_target

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class TableSchema:
    """The input columns, in the order of the inputs, and the target of a table."""

    columns: tuple[Column, ...]
    target: Target

    def __post_init__(self) -> None:
        if not isinstance(self.columns, tuple) or not all(isinstance(each, Column) for each in self.columns):
            raise TableError("a schema must have a tuple of numeric and categorical columns")
        if not isinstance(self.target, Target):
            raise TableError("a schema must have a regression or a class target")
        if not self.columns:
            raise TableError(f"a table must have input columns; it has only the target `{self.target.name}`")
        names = [*(each.name for each in self.columns), self.target.name]
        check_unique(names)
        check_unique(self.input_names)
        check_can_be_saved(names, "the name of a column")
        check_can_be_saved(self.input_names, "the name of a column with a category")
        if len(self.input_names) > MAX_NAMES:
            raise TableError(
                f"a table must give at most {MAX_NAMES} inputs, or the model could not be saved; received "
                f"{len(self.input_names)}. Drop columns, or merge categories."
            )

    @classmethod
    def infer(cls, frame: pandas.DataFrame, target: str, task: str | None = None) -> TableSchema:
        """Infer the schema of a table; ``task`` overrules the task that its target suggests."""
        # Numbers are numeric; text, booleans and pandas' categories are categorical. Text whose cells are all numbers
        # stays text: frame["zip"].astype(str) makes numbers categorical.
        cells = _cells_of(frame)
        if target not in cells:
            raise TableError(f"the target must be a column; {target!r} is not one of {listed(list(cells))}")
        if not len(frame):
            raise TableError("a table must have rows; this one has none")
        if len(cells) == 1:
            raise TableError(f"a table must have input columns; it has only the target `{target}`")
        check_not_missing(list(cells.values()))
        check_finite_cells([each for each in cells.values() if each.kind == "numbers"])
        columns = tuple(infer_column(each) for name, each in cells.items() if name != target)
        return cls(columns, infer_target(cells[target], task))

    def rescaled(self, part: pandas.DataFrame) -> TableSchema:
        """Compute means and scales from a part of the table; categories and classes stay those of the whole table."""
        # Means and scales of the whole table would leak information about the rows held out. The list of categories
        # does not, and without it a category of the rows held out could not be encoded.
        cells = _cells_of(part)
        columns = tuple(
            infer_column(cells[each.name]) if isinstance(each, NumericColumn) else each
            for each in self.columns
        )
        target = self.target
        if isinstance(target, RegressionTarget):
            target = replace(infer_target(cells[target.name], "regression"), reason=target.reason)
        return TableSchema(columns, target)

    @property
    def task(self) -> Task:
        """``"binary"``, ``"multiclass"`` or ``"regression"``."""
        return self.target.task

    @property
    def classes(self) -> tuple[Label, ...]:
        """The class labels in order; empty for regression."""
        return self.target.classes if isinstance(self.target, ClassTarget) else ()

    @property
    def task_line(self) -> str:
        """One line for the user: the task and why it was chosen."""
        hint = "" if self.target.reason == AS_SPECIFIED else "; use --task to choose another"
        return f"target `{self.target.name}`: {self.task} ({self.target.reason}){hint}"

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the ``D`` inputs: ``"age"``, ``"colour=red"``."""
        return tuple(name for column in self.columns for name in column.input_names)

    def inputs(self, frame: pandas.DataFrame) -> Tensor:
        """Encode the input columns, found by name, as float32 of shape (N, D)."""
        cells = _cells_of(frame)
        names = [column.name for column in self.columns]
        missing = [name for name in names if name not in cells]
        extra = [name for name in cells if name not in {*names, self.target.name}]
        if missing or extra:
            lacking, having = f"lacks {listed(missing)}", f"has the unknown {listed(extra)}"
            both = " and ".join(text for text, names in ((lacking, missing), (having, extra)) if names)
            raise TableError(
                f"the table must have the columns that the model was fitted on; it {both}. Add or drop them."
            )
        check_not_missing([cells[name] for name in names])
        check_finite_cells([cells[each.name] for each in self.columns if isinstance(each, NumericColumn)])
        encoded = np.concatenate([column.encode(cells[column.name]) for column in self.columns], axis=1)
        return to_float32(encoded, self.input_names)

    def targets(self, frame: pandas.DataFrame) -> Tensor:
        """Encode the target column, (N,): standardized, 0 and 1 (float32), or positions in ``classes`` (int64)."""
        cells = _cells_of(frame).get(self.target.name)
        if cells is None:
            raise TableError(f"the table must have the target column `{self.target.name}`; it is missing")
        check_not_missing([cells])
        return self.target.encode(cells)

    def predictions_frame(
        self, mean: Any, epistemic_std: Any, aleatoric_std: Any, std: Any
    ) -> pandas.DataFrame:
        """Return the moments of a prediction as a table, in the units and classes of the target."""
        # Regression: mean, epistemic_std, aleatoric_std and std. Binary: p_<second class>, epistemic_std and predicted.
        # Multiclass: p_<class> and epistemic_std_<class> for each class, and predicted.
        given = {"mean": mean, "epistemic_std": epistemic_std, "aleatoric_std": aleatoric_std, "std": std}
        moments = {
            name: torch.as_tensor(each).detach().to("cpu", torch.float64).numpy()
            for name, each in given.items()
        }
        shape: tuple[int | str, ...] = moments["mean"].shape[:1] or ("N",)
        if self.task == "multiclass":
            shape += (len(self.classes),)
        for name, array in moments.items():
            if array.shape != shape:
                raise ShapeError(name, shape, array.shape)
        if isinstance(self.target, ClassTarget):
            columns = _class_columns(self.target, moments["mean"], moments["epistemic_std"])
        else:
            columns = {name: array * self.target.scale for name, array in moments.items()}
            columns["mean"] += self.target.mean
        return import_pandas().DataFrame(columns)

    def to_document(self) -> dict[str, Any]:
        """Describe the schema in JSON's types."""
        columns = [column.to_document() for column in self.columns]
        return {"columns": columns, "target": self.target.to_document()}

    @classmethod
    def from_document(cls, document: Any) -> TableSchema:
        """Build the schema that ``to_document`` described."""
        try:
            fields = dict(document)
            columns, target = fields.pop("columns"), fields.pop("target")
            return cls(columns=tuple(map(_column_from, columns)), target=_target_from(target), **fields)
        except (TableError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise StorageError(
                f"a table schema must be as this library writes it; received another ({str(error)[:200]}). "
                "Save it again, or take an undamaged copy."
            ) from error


def _class_columns(target: ClassTarget, p: np.ndarray, epistemic_std: np.ndarray) -> dict[str, Any]:
    if target.task == "binary":
        columns: dict[str, Any] = {f"p_{target.names[1]}": p, "epistemic_std": epistemic_std}
        most_probable = (p > 0.5).astype(int)
    else:
        columns = {f"p_{name}": p[:, k] for k, name in enumerate(target.names)}
        columns |= {f"epistemic_std_{name}": epistemic_std[:, k] for k, name in enumerate(target.names)}
        most_probable = p.argmax(axis=1)
    return {**columns, "predicted": [target.classes[k] for k in most_probable.tolist()]}


def _column_from(document: Any) -> Column:
    fields = _fields(document)
    return {"numeric": NumericColumn, "categorical": CategoricalColumn}[fields.pop("kind")](**fields)


def _target_from(document: Any) -> Target:
    fields = _fields(document)
    if fields["task"] != "regression":
        return ClassTarget(**fields)
    del fields["task"]
    return RegressionTarget(**fields)


def _fields(document: dict[str, Any]) -> dict[str, Any]:
    # JSON has no tuples.
    return {name: tuple(each) if isinstance(each, list) else each for name, each in document.items()}


def _cells_of(frame: Any) -> dict[str, Cells]:
    pandas = import_pandas()
    if not isinstance(frame, pandas.DataFrame):
        raise TableError(
            f"a table must be a pandas DataFrame; received {type(frame).__name__}. Use read_table."
        )
    check_unique(map(str, frame.columns))
    return {str(name): Cells(str(name), frame[name]) for name in frame.columns}
