"""Dense layers."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..priors import Prior
from ..saving.schema import Integer
from .base import BayesianLayer, BiasPrior, set_layer_priors

ARGUMENTS = dict.fromkeys(("in1_features", "in2_features"), Integer(1, 2**31 - 1))


class Linear(BayesianLayer, nn.Linear):
    r"""``torch.nn.Linear`` with priors on its weight and bias: :math:`f = x W^\top + b`.

    Called by itself it is ``nn.Linear``; in a :class:`~bayesian_layers.BayesianModel` its parameters are latent sites.

    Args: as ``torch.nn.Linear``, and:
        prior: Prior of the weights; ``None`` is the library's default prior.
        bias_prior: Prior of the biases: by default the weights'; ``None`` makes them point estimates.

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
        set_layer_priors(self, prior, bias_prior)


class Bilinear(BayesianLayer, nn.Bilinear):
    r"""``torch.nn.Bilinear`` with priors on its weight and bias: :math:`f_k = x_1^\top W_k x_2 + b_k`.

    The arguments are those of ``torch.nn.Bilinear``, and ``prior`` and ``bias_prior`` of :class:`Linear`.

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
        set_layer_priors(self, prior, bias_prior)
