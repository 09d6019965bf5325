"""Functions that stay exact where the textbook formula loses its digits."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from torch import Tensor

_STIRLING = 10.0  # from here on four terms of the series are exact to 1e-12


def restrained(value: Tensor, bound: float) -> Tensor:
    r"""Leave a logarithm as it is up to a bound, and let it grow like a logarithm beyond.

    .. math:: r(v) = v \text{ for } |v| \le b, \quad \operatorname{sign}(v)\,(b + \log(1 + |v| - b)) \text{ beyond},

    so that :math:`e^{r(v)}` grows like a line: nothing overflows, and unlike a clamp's the gradient is nowhere 0, so
    that what went too far finds its way back.

    Args:
        value: Of any shape.
        bound: The bound b.

    Returns:
        The same shape; increasing, with a continuous slope.

    Example:
        >>> restrained(torch.tensor([-3.0, 10.0, 1e6]), 10.0)
        tensor([-3.0000, 10.0000, 23.8155])
    """
    excess = (value.abs() - bound).clamp(min=0)
    return value.clamp(-bound, bound) + value.sign() * excess.log1p()


def log_gamma_ratio(y: Tensor, r: Tensor) -> Tensor:
    r"""Compute :math:`\log \Gamma(r + y) - \log \Gamma(r) - y \log r`, which goes to 0 for large r.

    The difference itself loses all digits there, in float32 from r = 1e6 on. By Stirling's series with the remainder S,

    .. math:: (r + y - \tfrac12) \log(1 + y / r) - y + S(r + y) - S(r).

    Args:
        y: Not negative.
        r: Positive.

    Returns:
        The shape that both broadcast to.

    References:
        Abramowitz & Stegun (1964), "Handbook of Mathematical Functions", 6.1.41.
    """
    small, large = r.clamp(max=_STIRLING), r.clamp(min=_STIRLING)
    direct = torch.lgamma(small + y) - torch.lgamma(small) - y * small.log()
    series = (large + y - 0.5) * torch.log1p(y / large) - y + _remainder(large + y) - _remainder(large)
    return torch.where(r < _STIRLING, direct, series)


def _remainder(z: Tensor) -> Tensor:
    """What Stirling's formula for log gamma leaves out."""
    w = z.reciprocal()
    square = w * w
    return w * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))


def incomplete_beta(a: Tensor, b: Tensor, x: Tensor, complement: Tensor) -> Tensor:
    """Compute the regularized incomplete beta function, the CDF of a Beta, in ``float64`` and without gradients."""
    # The complement 1 - x is an argument because callers know it to more digits than the difference has near x = 1.
    dtype, device = x.dtype, x.device
    arrays = [each.double().cpu().numpy() for each in torch.broadcast_tensors(a, b, x, complement)]
    a, b, x, complement = arrays
    found = np.where(x < 0.5, scipy.special.betainc(a, b, x), scipy.special.betaincc(b, a, complement))
    return torch.from_numpy(found).to(device, dtype)
