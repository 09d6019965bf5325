"""The target column: its task, and its encoding for training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..errors import TableError
from .cells import Cells, Label, is_finite_number, listed, text_of
from .checks import check_no_typos, check_text, finite_numbers, looks_like_identifiers, positions
from .columns import StandardizedColumn, mean_and_scale, to_float32

Task = Literal["binary", "multiclass", "regression"]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
AS_SPECIFIED = "as specified"  # the reason for a task that the user chose
_MOST_CLASSES = 10  # of integers


@dataclass(frozen=True)
class RegressionTarget(StandardizedColumn):
    """A column of numbers, which the network is trained on."""

    task: ClassVar[Task] = "regression"
    reason: str  # for this task, in a few words

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("the reason for a task", self.reason)

    def encode(self, cells: Cells) -> Tensor:
        """Standardize N cells, float32 (N,)."""
        return to_float32(self.standardize(cells), (self.name,)).squeeze(1)

    def to_document(self) -> dict[str, Any]:
        """Describe the target in JSON's types."""
        return {"task": self.task, **asdict(self)}


@dataclass(frozen=True)
class ClassTarget:
    """A column of classes."""

    name: str
    task: Task  # "binary" (trained on 0.0 and 1.0) or "multiclass" (trained on positions in `classes`)
    classes: tuple[Label, ...]  # in order: all booleans, all numbers or all text
    reason: str  # for this task, in a few words

    def __post_init__(self) -> None:
        check_text("the name of a column", self.name)
        check_text("the reason for a task", self.reason)
        if self.task not in ("binary", "multiclass") or not isinstance(self.classes, tuple):
            raise TableError(f"target `{self.name}` must be binary or multiclass, with a tuple of classes")
        kinds = {"number" if is_finite_number(label) else type(label) for label in self.classes}
        if kinds not in ({bool}, {"number"}, {str}):
            raise TableError(f"target `{self.name}` must have labels of one type: booleans, numbers or text")
        if len(set(self.names)) < len(self.classes) or len(self.classes) < 2:
            raise TableError(f"target `{self.name}` must have at least two classes, all different")
        if self.task == "binary" and len(self.classes) != 2:
            raise TableError(f"binary target `{self.name}` must have 2 classes; received {len(self.classes)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The labels as text."""
        return tuple(map(text_of, self.classes))

    def encode(self, cells: Cells) -> Tensor:
        """Encode N cells, (N,): float32 0 and 1 for a binary task, else int64 positions in ``classes``."""
        encoded = torch.from_numpy(positions(cells, self.names))
        return encoded.to(torch.float32) if self.task == "binary" else encoded

    def to_document(self) -> dict[str, Any]:
        """Describe the target in JSON's types."""
        return {**asdict(self), "classes": list(self.classes)}


Target = RegressionTarget | ClassTarget


def infer_target(cells: Cells, task: str | None) -> Target:
    """Infer the task of a target column, or check that the column fits the given task."""
    if task is not None and task not in TASKS:
        raise TableError(f"a task must be one of {listed(list(TASKS))}; received {task!r}")
    if task == "regression":
        return _regression(cells, AS_SPECIFIED)
    numeric = cells.kind == "numbers" and not cells.is_category_dtype
    if numeric:
        finite_numbers(cells)
    elif task is None:
        check_no_typos(cells)
    distinct = sorted(set(cells.labels()))
    if len(distinct) == 1:
        kind = "constant" if numeric and task is None else "of one class only"
        raise TableError(
            f"target `{cells.name}` must have at least two values; it is {kind}: "
            f"{listed(distinct)} in all {len(cells)} rows. Choose another target."
        )
    counted = f"{len(distinct)} distinct {'numbers' if numeric else 'values'}"
    few_integers = numeric and len(distinct) <= _MOST_CLASSES and all(float(n).is_integer() for n in distinct)
    if task is None and numeric and len(distinct) > 2 and not few_integers:
        return _regression(cells, counted)
    return _classes(cells, task, distinct, counted)


def _regression(cells: Cells, reason: str) -> RegressionTarget:
    if cells.kind == "booleans":
        raise TableError(
            f"target `{cells.name}` must be numeric for regression, but is boolean. Use task='binary'."
        )
    values = finite_numbers(cells)
    if values.min() == values.max():
        raise TableError(
            f"target `{cells.name}` must vary; it is constant: {values[0]:g} in all {len(cells)} rows. "
            "Choose another target."
        )
    return RegressionTarget(cells.name, *mean_and_scale(values, cells.name), reason)


def _classes(cells: Cells, task: str | None, distinct: list[Any], counted: str) -> ClassTarget:
    if looks_like_identifiers(len(distinct), len(cells)):
        raise TableError(
            f"target `{cells.name}` must have few classes; it has {counted} in {len(cells)} rows, such as "
            f"{listed(distinct[:3])}. Convert it to numbers for regression, or choose another target."
        )
    if task == "binary" and len(distinct) != 2:
        raise TableError(
            f"target `{cells.name}` must have 2 values for task binary; it has {counted}: {listed(distinct)}"
        )
    found: Task = "binary" if task == "binary" or (task is None and len(distinct) == 2) else "multiclass"
    return ClassTarget(cells.name, found, tuple(distinct), AS_SPECIFIED if task else counted)
