"""Convolutions."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from ..priors import Prior
from .base import BayesianLayer, BiasPrior, set_layer_priors

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Sizes = int | tuple[int, ...]


class _Convolution(BayesianLayer):
    """The constructor of all convolutions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: str | Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        sizes = kernel_size, stride, padding, dilation
        super().__init__(in_channels, out_channels, *sizes, groups, bias, padding_mode, device, dtype)
        set_layer_priors(self, prior, bias_prior)


class Conv1d(_Convolution, nn.Conv1d):
    """``torch.nn.Conv1d`` with priors on its weight and bias: one draw of them for all rows and positions.

    The arguments are those of ``torch.nn.Conv1d``, and ``prior`` and ``bias_prior`` of :class:`Linear`.
    """


class Conv2d(_Convolution, nn.Conv2d):
    """``torch.nn.Conv2d`` with priors on its weight and bias; see :class:`Conv1d`.

    Example:
        >>> import torch
        >>> Conv2d(1, 3, kernel_size=3, padding=1)(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """


class Conv3d(_Convolution, nn.Conv3d):
    """``torch.nn.Conv3d`` with priors on its weight and bias; see :class:`Conv1d`."""
