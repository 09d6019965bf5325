"""Checks of the numbers that priors are made of, and vectors of them."""

from __future__ import annotations

import math
import numbers
from typing import TypeGuard

import torch
from torch import Tensor

from ..errors import DataError


def is_number(value: object) -> TypeGuard[float]:
    """Tell real numbers from all else."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_loc(loc: object) -> None:
    """Refuse what is no mean."""
    if not is_number(loc) or not math.isfinite(loc):
        raise DataError(f"the `loc` of a prior must be a finite number; received {loc!r}")


def check_scale(scale: object, otherwise: str = "", name: str = "scale") -> None:
    """Refuse what is no scale."""
    if not is_number(scale) or not 0 < scale < math.inf:
        raise DataError(
            f"the `{name}` of a prior is a standard deviation, a finite number above 0{otherwise}; received {scale!r}"
        )


def filled(like: Tensor, value: float) -> Tensor:
    """Give one number for all entries."""
    return like.detach().new_full((), float(value)).expand(like.shape)


def uniform(noise: Tensor) -> Tensor:
    """Turn standard normal noise into uniform numbers."""
    tiny = torch.finfo(torch.float64).eps
    return torch.special.ndtr(noise.double()).clamp(tiny, 1 - tiny)


def spread(like: Tensor, scale: Tensor, axes: int = 0) -> Tensor:
    """Give each scale to all entries of its part of the parameter."""
    batch = scale.shape[: scale.dim() - axes]
    return scale.reshape((*scale.shape, *[1] * (like.dim() - axes))).expand((*batch, *like.shape))
