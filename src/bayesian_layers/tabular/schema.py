"""The schema of a table: learned from one, applied to others, kept with the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import StorageError, TableError
from .cells import Cells, Label, import_pandas, some
from .checks import refuse_duplicates, refuse_infinite, refuse_missing
from .columns import CategoricalColumn, Column, NumericColumn, infer_column
from .predictions import predictions_frame
from .target import ClassTarget, RegressionTarget, Target, Task, infer_target

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class TableSchema:
    """What the columns of a table are, and how they become tensors."""

    # The input columns, in the order of the inputs.
    columns: tuple[Column, ...]
    # The target column.
    target: Target

    def __post_init__(self) -> None:
        if not isinstance(self.columns, tuple) or not all(isinstance(each, Column) for each in self.columns):
            raise TableError("a schema must have a tuple of numeric and categorical columns")
        if not isinstance(self.target, Target):
            raise TableError("a schema must have a regression or a class target")
        if not self.columns:
            raise TableError(f"a table must have input columns; it has only the target `{self.target.name}`")
        for names in ([*(each.name for each in self.columns), self.target.name], self.input_names):
            refuse_duplicates(names)

    @classmethod
    def infer(cls, frame: pandas.DataFrame, target: str, task: str | None = None) -> TableSchema:
        """Learn the schema of a table."""
        # Numbers are numeric; text, booleans and pandas' categories are categorical. Text whose cells are all numbers
        # stays text: ``frame["zip"].astype(str)`` makes categories of numbers.
        cells = _cells_of(frame)
        if target not in cells:
            raise TableError(f"the target must be a column; {target!r} is none of {some(list(cells))}")
        if not len(frame):
            raise TableError("a table must have rows; this one has none")
        if len(cells) == 1:
            raise TableError(f"a table must have input columns; it has only the target `{target}`")
        refuse_missing(list(cells.values()))
        refuse_infinite([each for each in cells.values() if each.kind == "numbers"])
        columns = tuple(infer_column(each) for name, each in cells.items() if name != target)
        return cls(columns, infer_target(cells[target], task))

    def rescaled(self, part: pandas.DataFrame) -> TableSchema:
        """Learn means and scales from a part of the table; categories and classes stay those of the whole."""
        # For honest tests: means and scales would tell of the rows held out. That a category exists tells nothing about
        # its rows, and without it a row that alone has it could not be answered for.
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
        """The class labels in order; none for regression."""
        return self.target.classes if isinstance(self.target, ClassTarget) else ()

    @property
    def task_line(self) -> str:
        """One line for the user: the task and why it was chosen."""
        hint = "" if self.target.reason == "as said" else "; say --task to choose otherwise"
        return f"target `{self.target.name}`: {self.task} ({self.target.reason}){hint}"

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the ``D`` inputs: ``"age"``, ``"colour=red"``."""
        return tuple(name for column in self.columns for name in column.input_names)

    def inputs(self, frame: pandas.DataFrame) -> Tensor:
        """Turn the input columns of a table into numbers; columns are found by name."""
        cells = _cells_of(frame)
        names = [column.name for column in self.columns]
        missing = [name for name in names if name not in cells]
        extra = [name for name in cells if name not in {*names, self.target.name}]
        if missing or extra:
            lacking = f"lacks {some(missing)}" if missing else ""
            having = f"has the unknown {some(extra)}" if extra else ""
            both = " and ".join(filter(None, (lacking, having)))
            raise TableError(
                f"the table must have the columns that the model was fitted on; it {both}. Add or drop them."
            )
        refuse_missing([cells[name] for name in names])
        refuse_infinite([cells[each.name] for each in self.columns if isinstance(each, NumericColumn)])
        encoded = np.concatenate([column.encode(cells[column.name]) for column in self.columns], axis=1)
        with np.errstate(over="ignore"):
            x = encoded.astype(np.float32)
        if not np.isfinite(x).all():
            name = self.input_names[int(np.argmin(np.isfinite(x).all(axis=0)))]
            raise TableError(
                f"column `{name}` must be near what it was in the fit; a cell is out of all proportion"
            )
        return torch.from_numpy(x)

    def targets(self, frame: pandas.DataFrame) -> Tensor:
        """Turn the target column of a table into what the network learns."""
        cells = _cells_of(frame).get(self.target.name)
        if cells is None:
            raise TableError(f"the table must have the target column `{self.target.name}`; it has not")
        refuse_missing([cells])
        return self.target.encode(cells)

    def predictions_frame(
        self, mean: Any, epistemic_std: Any, aleatoric_std: Any, std: Any
    ) -> pandas.DataFrame:
        """Write predictions in the terms of the table."""
        return predictions_frame(self.target, mean, epistemic_std, aleatoric_std, std)

    def to_document(self) -> dict[str, Any]:
        """Describe the schema in JSON's types."""
        return {
            "columns": [column.to_document() for column in self.columns],
            "target": self.target.to_document(),
        }

    @classmethod
    def from_document(cls, document: Any) -> TableSchema:
        """Build the schema that :meth:`to_document` described."""
        try:
            fields = dict(document)
            columns, target = fields.pop("columns"), fields.pop("target")
            return cls(columns=tuple(map(_column_from, columns)), target=_target_from(target), **fields)
        except (TableError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise StorageError(
                f"a table schema must be as this library writes it; received another ({str(error)[:200]}). "
                "Save it again, or take an undamaged copy."
            ) from error


def _column_from(document: Any) -> Column:
    kinds = {"numeric": NumericColumn, "categorical": CategoricalColumn}
    return kinds[document["kind"]](**_fields(document, "kind", "categories"))


def _target_from(document: Any) -> Target:
    if document["task"] == "regression":
        return RegressionTarget(**_fields(document, "task", ""))
    return ClassTarget(**_fields(document, "", "classes"))


def _fields(document: dict[str, Any], without: str, as_tuple: str) -> dict[str, Any]:
    fields = {name: value for name, value in document.items() if name != without}
    if isinstance(fields.get(as_tuple), list):
        fields[as_tuple] = tuple(fields[as_tuple])
    return fields


def _cells_of(frame: Any) -> dict[str, Cells]:
    pandas = import_pandas()
    if not isinstance(frame, pandas.DataFrame):
        raise TableError(
            f"a table must be a pandas DataFrame; received {type(frame).__name__}. Use read_table."
        )
    refuse_duplicates(map(str, frame.columns))
    return {str(name): Cells(str(name), frame[name]) for name in frame.columns}
