"""The network of an unconditional density."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class NoContext(nn.Module):
    """A network without outputs, with the device and the dtype of a density: its output for N rows is ``(N, 0)``.

    With it a :class:`~bayesian_layers.likelihoods.Flow` is a density of y alone. Pass as x any tensor with the rows of
    y, such as y itself.

    Example:
        >>> NoContext()(torch.ones(5, 2)).shape
        torch.Size([5, 0])
    """

    empty: Tensor

    def __init__(self, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.register_buffer("empty", torch.empty(0, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, 0)``."""
        return self.empty.expand(len(x), 0)
