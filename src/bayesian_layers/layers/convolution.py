"""Convolutions."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from ..priors import Prior
from .base import BiasPrior, Twin, remember_weight_and_bias

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class Conv1d(Twin, nn.Conv1d):
    r"""``torch.nn.Conv1d`` with priors on its weight and bias.

    One draw of the weights for all rows and positions.

    Args:
        in_channels: Channels of the input, C.
        out_channels: Channels of the output, K.
        kernel_size: As in torch.
        stride: As in torch.
        padding: As in torch.
        dilation: As in torch.
        groups: As in torch.
        bias: Whether there is a bias.
        padding_mode: As in torch.
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
        padding: str | int | tuple[int] = 0,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        bias: bool = True,
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
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)


class Conv2d(Twin, nn.Conv2d):
    r"""``torch.nn.Conv2d`` with priors on its weight and bias.

    One draw of the weights for all rows and positions.

    Args:
        in_channels: Channels of the input, C.
        out_channels: Channels of the output, K.
        kernel_size: As in torch.
        stride: As in torch.
        padding: As in torch.
        dilation: As in torch.
        groups: As in torch.
        bias: Whether there is a bias.
        padding_mode: As in torch.
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
        >>> Conv2d(1, 3, kernel_size=3, padding=1)(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
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
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)


class Conv3d(Twin, nn.Conv3d):
    r"""``torch.nn.Conv3d`` with priors on its weight and bias.

    One draw of the weights for all rows and positions.

    Args:
        in_channels: Channels of the input, C.
        out_channels: Channels of the output, K.
        kernel_size: As in torch.
        stride: As in torch.
        padding: As in torch.
        dilation: As in torch.
        groups: As in torch.
        bias: Whether there is a bias.
        padding_mode: As in torch.
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
        padding: str | int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        groups: int = 1,
        bias: bool = True,
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
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        remember_weight_and_bias(self, prior, bias_prior)
