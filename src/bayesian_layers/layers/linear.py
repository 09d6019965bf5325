"""Dense layers."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..priors import Prior
from ..saving.schema import Integer
from .base import BiasPrior, Twin, remember_weight_and_bias

ARGUMENTS = dict.fromkeys(("in1_features", "in2_features"), Integer(1, 2**31 - 1))


class Linear(Twin, nn.Linear):
    r"""``torch.nn.Linear`` with priors on its weight and bias: :math:`f = x W^\top + b`.

    A plain module: called by itself it is ``nn.Linear``. In a :class:`~bayesian_layers.BayesianModel` its
    parameters are latent sites.

    Args:
        in_features: Inputs D.
        out_features: Outputs K.
        bias: Whether there is a bias.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weight; ``None`` is the library's default prior.
        bias_prior: Prior of the bias: by default the weight's; ``None`` makes it a point estimate.

    Shape:
        Input ``(..., D)``, output ``(..., K)``.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

    References:
        Tran et al. (2019), "Bayesian Layers", arXiv 1812.03973.

    Example:
        >>> Linear(2, 10, bias_prior=None)
        Linear(in_features=2, out_features=10, bias=True, weight ~ Normal(loc=0.0, scale=1.0), bias: point)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        remember_weight_and_bias(self, prior, bias_prior)


class Bilinear(Twin, nn.Bilinear):
    r"""``torch.nn.Bilinear`` with priors on its weight and bias: :math:`f_k = x_1^\top W_k x_2 + b_k`.

    Args:
        in1_features: Entries of the first input.
        in2_features: Entries of the second input.
        out_features: Outputs K.
        bias: Whether there is a bias.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weight; ``None`` is the library's default prior.
        bias_prior: Prior of the bias: by default the weight's; ``None`` makes it a point estimate.

    Shape:
        Inputs ``(..., in1_features)`` and ``(..., in2_features)``, output ``(..., K)``.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

    Example:
        >>> import torch
        >>> Bilinear(2, 3, 4)(torch.ones(5, 2), torch.ones(5, 3)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(in1_features, in2_features, out_features, bias, device, dtype)
        remember_weight_and_bias(self, prior, bias_prior)
