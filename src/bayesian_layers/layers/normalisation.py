"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..priors import Prior
from .base import BiasPrior, Twin, remember_affine


class BatchNorm1d(Twin, nn.BatchNorm1d):
    r"""``torch.nn.BatchNorm1d``, whose scale and shift are point estimates unless they are given a prior.

    In a fit it uses its running statistics, frozen: pass data through the network in training mode first.

    Args:
        num_features: As in torch.
        eps: As in torch.
        momentum: As in torch.
        affine: As in torch.
        track_running_stats: As in torch.
        device: As in torch.
        dtype: As in torch.
        bias: Whether there is a shift.
        prior: Prior of the scale; ``None`` makes it a point estimate.
        bias_prior: Prior of the shift: by default the scale's; ``None`` makes it a point estimate.

    Shape:
        As in torch.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
    """

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
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, **_shift(bias)
        )
        remember_affine(self, prior, bias_prior)


class BatchNorm2d(Twin, nn.BatchNorm2d):
    r"""``torch.nn.BatchNorm2d``, whose scale and shift are point estimates unless they are given a prior.

    In a fit it uses its running statistics, frozen: pass data through the network in training mode first.

    Args:
        num_features: As in torch.
        eps: As in torch.
        momentum: As in torch.
        affine: As in torch.
        track_running_stats: As in torch.
        device: As in torch.
        dtype: As in torch.
        bias: Whether there is a shift.
        prior: Prior of the scale; ``None`` makes it a point estimate.
        bias_prior: Prior of the shift: by default the scale's; ``None`` makes it a point estimate.

    Shape:
        As in torch.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
    """

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
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, **_shift(bias)
        )
        remember_affine(self, prior, bias_prior)


class BatchNorm3d(Twin, nn.BatchNorm3d):
    r"""``torch.nn.BatchNorm3d``, whose scale and shift are point estimates unless they are given a prior.

    In a fit it uses its running statistics, frozen: pass data through the network in training mode first.

    Args:
        num_features: As in torch.
        eps: As in torch.
        momentum: As in torch.
        affine: As in torch.
        track_running_stats: As in torch.
        device: As in torch.
        dtype: As in torch.
        bias: Whether there is a shift.
        prior: Prior of the scale; ``None`` makes it a point estimate.
        bias_prior: Prior of the shift: by default the scale's; ``None`` makes it a point estimate.

    Shape:
        As in torch.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
    """

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
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, **_shift(bias)
        )
        remember_affine(self, prior, bias_prior)


class GroupNorm(Twin, nn.GroupNorm):
    r"""``torch.nn.GroupNorm``, whose scale and shift are point estimates unless they are given a prior.

    Args:
        num_groups: As in torch.
        num_channels: As in torch.
        eps: As in torch.
        affine: As in torch.
        device: As in torch.
        dtype: As in torch.
        bias: Whether there is a shift.
        prior: Prior of the scale; ``None`` makes it a point estimate.
        bias_prior: Prior of the shift: by default the scale's; ``None`` makes it a point estimate.

    Shape:
        As in torch.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
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
        super().__init__(num_groups, num_channels, eps, affine, device, dtype, **_shift(bias))
        remember_affine(self, prior, bias_prior)


class LayerNorm(Twin, nn.LayerNorm):
    r"""``torch.nn.LayerNorm``, whose scale and shift are point estimates unless they are given a prior.

    Args:
        normalized_shape: As in torch.
        eps: As in torch.
        elementwise_affine: As in torch.
        bias: Whether there is a shift.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the scale; ``None`` makes it a point estimate.
        bias_prior: Prior of the shift: by default the scale's; ``None`` makes it a point estimate.

    Shape:
        As in torch.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

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
        remember_affine(self, prior, bias_prior)


def _shift(bias: bool) -> dict[str, bool]:
    """Torch before 2.13 has no such argument, and always a shift."""
    return {} if bias else {"bias": False}
