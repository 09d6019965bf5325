"""Base class of univariate distributions that torch and Pyro do not have, or evaluate inaccurately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions.utils import broadcast_all


class Univariate(TorchDistribution):
    """A distribution of one number, with one tensor of its batch shape per name in ``parameters``."""

    # Values are not checked: likelihoods check targets once, before a fit, not at every step.
    parameters: ClassVar[tuple[str, ...]]
    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, *parameters: Any) -> None:
        values = broadcast_all(*parameters)
        for name, value in zip(self.parameters, values, strict=True):
            setattr(self, name, value)
        super().__init__(values[0].shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Return the same distribution with a larger batch shape."""
        return type(self)(*(getattr(self, name).expand(batch_shape) for name in self.parameters))


def open_uniform(shape: Sequence[int], like: Tensor) -> Tensor:
    """Draw uniform numbers strictly between 0 and 1; torch's can be 0, where quantile functions are infinite."""
    return off_the_border(torch.rand(tuple(shape), dtype=like.dtype, device=like.device))


def off_the_border(y: Tensor) -> Tensor:
    """Move numbers that are 0 or 1, perhaps by rounding, to the nearest numbers inside."""
    info = torch.finfo(y.dtype)
    return y.clamp(info.tiny, 1 - info.eps / 2)
