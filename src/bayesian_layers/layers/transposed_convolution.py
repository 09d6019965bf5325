"""Transposed convolutions."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from ..priors import Prior
from ..saving.schema import AnyOf, Integer, ListOf
from .base import BiasPrior, Twin, remember_weight_and_bias

_EDGE = Integer(0, 2**31 - 1)
ARGUMENTS = {"output_padding": AnyOf((_EDGE, ListOf(_EDGE, most=8)), "a whole number or a list of them")}

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class ConvTranspose1d(Twin, nn.ConvTranspose1d):
    r"""``torch.nn.ConvTranspose1d`` with priors on its weight and bias.

    One draw of the weights for all rows and positions. The weight's first axis is that of the inputs; priors with a
    scale by fan-in read it as the outputs'.

    Args:
        in_channels: Channels of the input, C.
        out_channels: Channels of the output, K.
        kernel_size: As in torch.
        stride: As in torch.
        padding: As in torch.
        output_padding: As in torch.
        groups: As in torch.
        bias: Whether there is a bias.
        dilation: As in torch.
        padding_mode: As in torch, which knows ``"zeros"`` alone.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weight; ``None`` is the library's default prior.
        bias_prior: Prior of the bias: by default the weight's; ``None`` makes it a point estimate.

    Shape:
        Input ``(N, C, L)``, output ``(N, K, L')``.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: int | tuple[int] = 0,
        output_padding: int | tuple[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int] = 1,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
            device,
            dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)


class ConvTranspose2d(Twin, nn.ConvTranspose2d):
    r"""``torch.nn.ConvTranspose2d`` with priors on its weight and bias.

    One draw of the weights for all rows and positions. The weight's first axis is that of the inputs; priors with a
    scale by fan-in read it as the outputs'.

    Args:
        in_channels: Channels of the input, C.
        out_channels: Channels of the output, K.
        kernel_size: As in torch.
        stride: As in torch.
        padding: As in torch.
        output_padding: As in torch.
        groups: As in torch.
        bias: Whether there is a bias.
        dilation: As in torch.
        padding_mode: As in torch, which knows ``"zeros"`` alone.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weight; ``None`` is the library's default prior.
        bias_prior: Prior of the bias: by default the weight's; ``None`` makes it a point estimate.

    Shape:
        Input ``(N, C, H, W)``, output ``(N, K, H', W')``.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.

    Example:
        >>> import torch
        >>> ConvTranspose2d(1, 3, kernel_size=2, stride=2)(torch.ones(5, 1, 4, 4)).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        output_padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, int] = 1,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
            device,
            dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)


class ConvTranspose3d(Twin, nn.ConvTranspose3d):
    r"""``torch.nn.ConvTranspose3d`` with priors on its weight and bias.

    One draw of the weights for all rows and positions. The weight's first axis is that of the inputs; priors with a
    scale by fan-in read it as the outputs'.

    Args:
        in_channels: Channels of the input, C.
        out_channels: Channels of the output, K.
        kernel_size: As in torch.
        stride: As in torch.
        padding: As in torch.
        output_padding: As in torch.
        groups: As in torch.
        bias: Whether there is a bias.
        dilation: As in torch.
        padding_mode: As in torch, which knows ``"zeros"`` alone.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the weight; ``None`` is the library's default prior.
        bias_prior: Prior of the bias: by default the weight's; ``None`` makes it a point estimate.

    Shape:
        Input ``(N, C, D, H, W)``, output ``(N, K, D', H', W')``.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        output_padding: int | tuple[int, int, int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, int, int] = 1,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
            device,
            dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)
