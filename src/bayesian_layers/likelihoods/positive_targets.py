"""Base class of likelihoods of positive targets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import check_targets
from .one_output import OneOutput

LOG_BOUND = 30.0  # for outputs that are logarithms: numbers up to 1e13 are exact, and squares do not overflow


class PositiveTargets(OneOutput):
    """A likelihood of positive targets, with one output per target on the scale of their logarithm."""

    def scaled_targets(self, y: Tensor) -> dict[str, Tensor]:
        """Return the logarithm of the targets, which has the scale of the outputs."""
        return {"log(y)": y.log()}

    def observed(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> Tensor | None:
        """Validate and convert targets; those that round to 0 become the smallest normal number."""
        targets = super().observed(f, y, output_axes=output_axes)
        return None if targets is None else targets.clamp(min=torch.finfo(targets.dtype).tiny)

    def check_values(self, y: Tensor, outputs: Sequence[int]) -> None:
        """Validate that targets are positive and finite."""
        hint = "Do not standardize positive targets; divide them by their geometric mean"
        check_targets(y, torch.isfinite(y) & (y > 0), "positive and finite", hint)
