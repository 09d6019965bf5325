"""Distributions of one number, of our own: where torch and Pyro have none, or one that loses its digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions.utils import broadcast_all


class Elementwise(TorchDistribution):
    """A distribution of one number whose parameters are tensors of its batch shape.

    Values are not checked: likelihoods check targets once, before a fit, not at every step.

    Args:
        *parameters: In the order of ``parameters``.
    """

    parameters: ClassVar[tuple[str, ...]]
    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, *parameters: Any) -> None:
        whole = broadcast_all(*parameters)
        for name, value in zip(self.parameters, whole, strict=True):
            setattr(self, name, value)
        super().__init__(whole[0].shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Give the same distribution with a larger batch shape."""
        del _instance  # torch's way to expand a subclass; ours do it themselves
        return type(self)(*(getattr(self, name).expand(batch_shape) for name in self.parameters))

    def _uniform(self, sample_shape: Sequence[int]) -> Tensor:
        """Numbers between 0 and 1, each exclusive: torch's can be 0, whose quantile may be infinite."""
        like = getattr(self, self.parameters[0])
        u = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=like.dtype, device=like.device)
        info = torch.finfo(like.dtype)
        return u.clamp(info.tiny, 1 - info.eps / 2)
