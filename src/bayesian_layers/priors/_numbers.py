"""Tensors that priors are made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import DataError

STD = "A scale is a standard deviation."  # what an error adds


def filled(like: Tensor, value: float) -> Tensor:
    """Return one number for all entries; raise DataError if their dtype cannot hold it."""
    if torch.finfo(like.dtype).max < abs(float(value)) < math.inf:
        raise DataError(f"a prior's numbers must be within the range of {like.dtype}; received {value}")
    return like.detach().new_full((), float(value)).expand(like.shape)


def uniform(noise: Tensor) -> Tensor:
    """Turn standard normal noise into uniform numbers."""
    tiny = torch.finfo(torch.float64).eps
    return torch.special.ndtr(noise.double()).clamp(tiny, 1 - tiny)


def spread(like: Tensor, scale: Tensor, axes: int = 0) -> Tensor:
    """Return each scale to all entries of its part of the parameter."""
    batch = scale.shape[: scale.dim() - axes]
    return scale.reshape((*scale.shape, *[1] * (like.dim() - axes))).expand((*batch, *like.shape))
