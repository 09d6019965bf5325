"""Base class of likelihoods that need several network outputs per target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from ..arguments import check_choice
from ..saving.schema import String
from .base import Likelihood, squeeze_last

AXES = ("last", "first")
OUTPUT_AXIS = {"output_axis": String(AXES)}  # its schema in a file


@dataclass(frozen=True)
class SeveralOutputs(Likelihood):
    """A likelihood with m outputs per target; :mod:`bayesian_layers.likelihoods` describes their layout."""

    output_axis: Literal["last", "first"] = field(default="last", kw_only=True)

    def __post_init__(self) -> None:
        check_choice("output_axis", self.output_axis, AXES)

    def parts(self, f: Tensor, output_axes: int) -> tuple[Tensor, int]:
        """Move the outputs of each target to the last axis; return the number of axes of an event too."""
        axis = -output_axes if self.output_axis == "first" else -1
        each: Any = self.outputs_per_target
        targets = f.unflatten(axis, (each, -1))
        first, event_dim = squeeze_last(targets.movedim(axis - 1, 0), output_axes)
        return first.movedim(0, -1), event_dim
