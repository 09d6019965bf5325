"""Activations that have parameters."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..priors import Prior
from .base import BayesianLayer, set_layer_priors


class PReLU(BayesianLayer, nn.PReLU):
    r"""``torch.nn.PReLU`` with a prior on its slopes: :math:`f = \max(0, x) + w \min(0, x)`.

    Args: as ``torch.nn.PReLU``, and:
        prior: Prior of the slopes; ``None`` is the library's default prior.

    Raises:
        TypeError: If the prior is not one of ``bl.priors``.

    References:
        He, Zhang, Ren & Sun (2015), "Delving deep into rectifiers", arXiv 1502.01852.

    Example:
        >>> import torch
        >>> PReLU(3)(torch.ones(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
    ) -> None:
        super().__init__(num_parameters, init, device, dtype)
        set_layer_priors(self, prior, None)
