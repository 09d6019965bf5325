"""Root mean square normalization, as transformers use it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..priors import Prior
from ..saving.schema import Number, optional
from .base import BayesianLayer, set_layer_priors

ARGUMENTS = {"eps": optional(Number(0))}


class RMSNorm(BayesianLayer, nn.RMSNorm):
    r"""``torch.nn.RMSNorm`` whose scale is a point estimate unless it is given a prior.

    .. math:: y = \frac{x}{\sqrt{\operatorname{mean}(x^2) + \epsilon}} \circ \gamma

    Args: as ``torch.nn.RMSNorm``, and:
        prior: Prior of the scale :math:`\gamma`; ``None`` makes it a point estimate.

    Raises:
        TypeError: If the prior is not one of ``bl.priors``.

    References:
        Zhang & Sennrich (2019), "Root mean square layer normalization", arXiv 1910.07467.

    Example:
        >>> from bayesian_layers import priors
        >>> RMSNorm(3, prior=priors.Normal(1.0, 0.5))
        RMSNorm((3,), eps=None, elementwise_affine=True, weight ~ Normal(loc=1.0, scale=0.5))
    """

    def __init__(
        self,
        normalized_shape: int | list[int] | torch.Size,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine, device, dtype)
        set_layer_priors(self, prior, None)
