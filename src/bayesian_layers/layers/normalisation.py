"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..priors import Prior
from .base import BayesianLayer, BiasPrior, set_layer_priors


class _BatchNorm(BayesianLayer):
    """The constructor of all batch normalisations."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        options = momentum, affine, track_running_stats, device, dtype
        super().__init__(num_features, eps, *options, **_bias_option(bias))
        set_layer_priors(self, prior, bias_prior)


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` whose scale and shift are point estimates unless they are given a prior.

    A fit uses its running statistics and does not change them: pass data through the network in training mode first.

    Args: as ``torch.nn.BatchNorm1d``, and:
        prior: Prior of the scale; ``None`` makes it a point estimate.
        bias_prior: Prior of the shift: by default the scale's; ``None`` makes it a point estimate.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
    """


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d`` with optional priors on its scale and shift; see :class:`BatchNorm1d`."""


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """``torch.nn.BatchNorm3d`` with optional priors on its scale and shift; see :class:`BatchNorm1d`."""


class GroupNorm(BayesianLayer, nn.GroupNorm):
    """``torch.nn.GroupNorm`` whose scale and shift are point estimates unless they are given a prior.

    The arguments are those of ``torch.nn.GroupNorm``, and ``prior`` and ``bias_prior`` of :class:`BatchNorm1d`.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(num_groups, num_channels, eps, affine, device, dtype, **_bias_option(bias))
        set_layer_priors(self, prior, bias_prior)


class LayerNorm(BayesianLayer, nn.LayerNorm):
    """``torch.nn.LayerNorm`` whose scale and shift are point estimates unless they are given a prior.

    The arguments are those of ``torch.nn.LayerNorm``, and ``prior`` and ``bias_prior`` of :class:`BatchNorm1d`.

    Example:
        >>> from bayesian_layers import priors
        >>> LayerNorm(3, prior=priors.Normal(1.0, 0.5), bias_prior=None)
        LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True, weight ~ Normal(loc=1.0, scale=0.5), bias: point)
    """

    def __init__(
        self,
        normalized_shape: int | list[int] | torch.Size,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine, bias, device, dtype)
        set_layer_priors(self, prior, bias_prior)


def _bias_option(bias: bool) -> dict[str, bool]:
    return {} if bias else {"bias": False}  # torch before 2.13 has no such argument, and always a shift
