"""Transposed convolutions."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..priors import Prior
from ..saving.schema import AnyOf, Integer, ListOf
from .base import BayesianLayer, BiasPrior, set_layer_priors
from .convolution import PaddingMode, Sizes

_EDGE = Integer(0, 2**31 - 1)
ARGUMENTS = {"output_padding": AnyOf((_EDGE, ListOf(_EDGE, most=8)), "an integer or a list of them")}


class _TransposedConvolution(BayesianLayer):
    """The constructor of all transposed convolutions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        sizes, options = (kernel_size, stride, padding, output_padding), (dilation, padding_mode)
        super().__init__(in_channels, out_channels, *sizes, groups, bias, *options, device, dtype)
        set_layer_priors(self, prior, bias_prior)


class ConvTranspose1d(_TransposedConvolution, nn.ConvTranspose1d):
    """``torch.nn.ConvTranspose1d`` with priors on its weight and bias: one draw for all rows and positions.

    The first axis of the weight is the input channels; priors with ``scale="fan_in"`` treat it as the output channels.
    The arguments are those of ``torch.nn.ConvTranspose1d``, and ``prior`` and ``bias_prior`` of :class:`Linear`.
    """


class ConvTranspose2d(_TransposedConvolution, nn.ConvTranspose2d):
    """``torch.nn.ConvTranspose2d`` with priors on its weight and bias; see :class:`ConvTranspose1d`.

    Example:
        >>> import torch
        >>> ConvTranspose2d(1, 3, kernel_size=2, stride=2)(torch.ones(5, 1, 4, 4)).shape
        torch.Size([5, 3, 8, 8])
    """


class ConvTranspose3d(_TransposedConvolution, nn.ConvTranspose3d):
    """``torch.nn.ConvTranspose3d`` with priors on its weight and bias; see :class:`ConvTranspose1d`."""
