"""Likelihoods that take several outputs of the network for each target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from ..errors import DataError
from ..saving.schema import String
from .base import Likelihood, one_a_target

OUTPUT_AXIS = {"output_axis": String(("last", "first"))}  # in a file


@dataclass(frozen=True)
class SeveralOutputs(Likelihood):
    """A likelihood with m outputs a target; how they are laid out is said in :mod:`bayesian_layers.likelihoods`.

    Attributes:
        output_axis: Which axis of a row's outputs they are on: ``"last"``, or ``"first"``, where torch's
            convolutions put their channels, ``(N, m C, H, W)``.

    Raises:
        DataError: If ``output_axis`` is something else.
    """

    output_axis: Literal["last", "first"] = field(default="last", kw_only=True)

    def __post_init__(self) -> None:
        if self.output_axis not in ("last", "first"):
            raise DataError(f"`output_axis` must be 'last' or 'first'; received {self.output_axis!r}")

    def parts(self, f: Tensor, output_axes: int) -> tuple[Tensor, int]:
        """Take the outputs of each target together."""
        axis = -output_axes if self.output_axis == "first" else -1
        each: Any = self.outputs_per_target
        targets = f.unflatten(axis, (each, -1))
        first, event_dim = one_a_target(targets.movedim(axis - 1, 0), output_axes)
        return first.movedim(0, -1), event_dim
