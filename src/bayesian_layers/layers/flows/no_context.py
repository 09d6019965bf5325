"""The network of a density that depends on nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class NoContext(nn.Module):
    """A network without outputs: N rows of anything become ``(N, 0)``.

    With it a :class:`~bayesian_layers.likelihoods.Flow` is a density of y alone. As x anything will do that has the
    rows of y, such as y itself.

    Args:
        device: Where the density is computed.
        dtype: In which floating type.

    Shape:
        Input ``(N, ...)``, output ``(N, 0)``.

    Example:
        >>> NoContext()(torch.ones(5, 2)).shape
        torch.Size([5, 0])
    """

    empty: Tensor

    def __init__(self, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.register_buffer("empty", torch.empty(0, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Forget the inputs.

        Args:
            x: Inputs with N rows in front.

        Returns:
            ``(N, 0)``.
        """
        return self.empty.expand(len(x), 0)
