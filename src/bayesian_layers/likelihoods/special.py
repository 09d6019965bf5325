"""Special functions that are accurate where the textbook formula loses its digits."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..lazy_imports import scipy_special

_STIRLING = 10.0  # above this, four terms of the series are exact to 1e-12


def soft_clip(value: Tensor, bound: float) -> Tensor:
    r"""Return values up to a bound unchanged, and let them grow logarithmically beyond.

    .. math:: r(v) = v \text{ for } |v| \le b, \quad \operatorname{sign}(v)\,(b + \log(1 + |v| - b)) \text{ beyond},

    so :math:`e^{r(v)}` grows linearly beyond the bound b and does not overflow. Unlike a clamp, the function has a
    gradient everywhere, so saturated parameters can still recover; it is increasing, with a continuous slope.

    Example:
        >>> soft_clip(torch.tensor([-3.0, 10.0, 1e6]), 10.0)
        tensor([-3.0000, 10.0000, 23.8155])
    """
    excess = (value.abs() - bound).clamp(min=0)
    return value.clamp(-bound, bound) + value.sign() * excess.log1p()


def log_gamma_ratio(y: Tensor, r: Tensor) -> Tensor:
    """Compute ``lgamma(r + y) - lgamma(r) - y log(r)`` for ``y >= 0`` and ``r > 0``."""
    # For large r it goes to 0 and the difference loses all digits, in float32 from r = 1e6 on. There Stirling's series
    # with the remainder S is used (Abramowitz & Stegun, 6.1.41): (r + y - 1/2) log(1 + y / r) - y + S(r + y) - S(r).
    small, large = r.clamp(max=_STIRLING), r.clamp(min=_STIRLING)
    direct = torch.lgamma(small + y) - torch.lgamma(small) - y * small.log()
    series = (large + y - 0.5) * torch.log1p(y / large) - y + _remainder(large + y) - _remainder(large)
    return torch.where(r < _STIRLING, direct, series)


def log_gamma_constant(k: Tensor) -> Tensor:
    """Compute ``k log(k) - k - lgamma(k)`` for ``k > 0``, the logarithm of the constant of a Gamma density."""
    # For large k it is log(k / 2 pi) / 2 minus the remainder of Stirling's series, and the difference loses all digits.
    small, large = k.clamp(max=_STIRLING), k.clamp(min=_STIRLING)
    direct = small * small.log() - small - torch.lgamma(small)
    series = 0.5 * (large / (2 * math.pi)).log() - _remainder(large)
    return torch.where(k < _STIRLING, direct, series)


def _remainder(z: Tensor) -> Tensor:
    """Compute the remainder of Stirling's formula for the log gamma function."""
    w = z.reciprocal()
    square = w * w
    return w * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))


def incomplete_beta(a: Tensor, b: Tensor, x: Tensor, complement: Tensor) -> Tensor:
    """Compute the regularized incomplete beta function, the CDF of a Beta, in ``float64`` and without gradients."""
    # The complement 1 - x is an argument because callers know it to more digits than the difference has near x = 1.
    i, j, p, q = (each.double().cpu().numpy() for each in torch.broadcast_tensors(a, b, x, complement))
    found = np.where(p < 0.5, scipy_special().betainc(i, j, p), scipy_special().betaincc(j, i, q))
    return torch.from_numpy(found).to(x)
