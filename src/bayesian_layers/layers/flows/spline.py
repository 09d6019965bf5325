"""Coupling layers with monotone splines: flexible bijections, also of a single number."""

# Why not Pyro's splines: they select the entries inside the box by a mask, which has no rule under vmap, and assert
# conditions on values, which cannot be recorded.

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...arguments import check_integer, check_positive
from ..base import BiasPrior
from .base import (
    FlowPrior,
    MakeLinear,
    Reversible,
    ReversibleStack,
    bounded,
    dense,
    linear_layers,
    with_context,
)

_LEAST = 1e-3  # smallest width and height of a bin, as a share of all, and smallest slope at a knot
_MOST_BINS = 999  # bins * _LEAST must be below 1
_SLOPE_ONE = math.log(math.expm1(1 - _LEAST))


class NeuralSpline(ReversibleStack):
    r"""Couplings by monotone rational-quadratic splines, with alternating halves.

    .. math:: z_a = x_a, \qquad z_b = g_{x_a, c}\left(x_b \odot e^{s(x_a, c)} + m(x_a, c)\right)

    g maps each entry by its own spline between -bound and bound, and is the identity outside. So the densities can
    have many shapes, also for one number: with one feature the spline depends on the context only. It is a
    :class:`RealNVP` with a spline after each affine map.

    Args:
        features: Entries K of a vector, 1 or more.
        bins: Number of pieces of each spline, from 2 to 999.
        bound: End of the splines, above 0; standardize the data, so that most are inside.

    The other arguments, the shapes and the exceptions are those of :class:`RealNVP`.

    References:
        Durkan, Bekasov, Murray & Papamakarios (2019), "Neural spline flows", arXiv 1906.04032.

    Example:
        >>> flow = NeuralSpline(1, hidden=(8,), layers=1, context=2)
        >>> flow(torch.ones(4, 1), torch.zeros(4, 2))[0].shape
        torch.Size([4, 1])
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (32, 32),
        layers: int = 2,
        bins: int = 8,
        bound: float = 4.0,
        context: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: FlowPrior = None,
        bias_prior: BiasPrior = "as weight",
    ) -> None:
        bins, bound = check_integer("bins", bins, least=2, most=_MOST_BINS), check_positive("bound", bound)
        linear = linear_layers(prior, bias_prior, device, dtype)
        make = partial(_SplineCoupling, features, hidden, bins, bound, context, linear)
        super().__init__(make, features, hidden, layers, context)
        self.bins, self.bound = bins, bound

    def extra_repr(self) -> str:
        """Show the sizes."""
        sizes = f"{self.features}, hidden={self.hidden}, layers={self.layers}, bins={self.bins}"
        return f"{sizes}, bound={self.bound}, context={self.context}"


class _SplineCoupling(Reversible):
    """One coupling: the first half of the entries is kept, or with ``flipped`` the last half."""

    def __init__(
        self,
        features: int,
        hidden: Sequence[int],
        bins: int,
        bound: float,
        context: int,
        linear: MakeLinear,
        flipped: bool,
    ) -> None:
        super().__init__(features, context)
        self._kept, self._flipped, self._bound = features // 2, flipped, bound
        self._parts = (1, 1, bins, bins, bins - 1)  # shift, log scale; widths, heights, slopes at inner knots
        outputs = (features - self._kept) * sum(self._parts)
        # Without kept entries and context the input of the network is the constant 1.
        self.network = dense(max(1, self._kept + context), hidden, outputs, linear)

    def _forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, rest = self._halves(x)
        shift, log_scale, left, low, slope = self._map_parameters(kept, context)
        shifted = rest * log_scale.exp() + shift
        z, log_slope = _spline(shifted, left, low, slope, self._bound)
        return self._whole(kept, z), (log_scale + log_slope).sum(-1)

    def _inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, rest = self._halves(z)
        shift, log_scale, left, low, slope = self._map_parameters(kept, context)
        shifted, log_slope = _inverse_spline(rest, left, low, slope, self._bound)
        x = (shifted - shift) * (-log_scale).exp()
        return self._whole(kept, x), -(log_scale + log_slope).sum(-1)

    def _halves(self, x: Tensor) -> tuple[Tensor, ...]:
        turned = x.flip(-1) if self._flipped else x
        return turned.split([self._kept, self.features - self._kept], -1)

    def _whole(self, kept: Tensor, rest: Tensor) -> Tensor:
        joint = torch.cat([kept, rest], -1)
        return joint.flip(-1) if self._flipped else joint

    def _map_parameters(self, kept: Tensor, context: Tensor) -> list[Tensor]:
        """Return shift and log scale ``(*batch, K')``; knots of both axes and slopes, ``(*batch, K', bins + 1)``."""
        inputs = with_context(kept, context)
        inputs = inputs if inputs.shape[-1] else inputs.new_ones(*inputs.shape[:-1], 1)
        raw = self.network(inputs).unflatten(-1, (-1, sum(self._parts)))
        shift, log_scale, widths, heights, slopes = raw.split(self._parts, -1)
        ends = functional.pad(functional.softplus(slopes + _SLOPE_ONE) + _LEAST, (1, 1), value=1.0)
        axes = [_knots(each, self._bound) for each in (widths, heights)]
        return [shift.squeeze(-1), bounded(log_scale.squeeze(-1)), *axes, ends]


def _knots(raw: Tensor, bound: float) -> Tensor:
    """Return increasing numbers from -bound to bound."""
    bins = raw.shape[-1]
    shares = _LEAST + (1 - _LEAST * bins) * raw.softmax(-1)
    inner = shares.cumsum(-1)[..., :-1]
    return bound * (2 * functional.pad(functional.pad(inner, (1, 0)), (0, 1), value=1.0) - 1)


def _spline(x: Tensor, left: Tensor, low: Tensor, slope: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Return y and log dy/dx, by equations 4 and 5 of Durkan et al.; the knots are ``(left, low)``."""
    at, inside = x.clamp(-bound, bound), x.abs() < bound
    start, width, bottom, height, first, last = _bin(at, left, left, low, slope)
    mean = height / width
    theta = (at - start) / width
    mix = theta * (1 - theta)
    below = mean + (first + last - 2 * mean) * mix
    y = bottom + height * (mean * theta.square() + first * mix) / below
    return torch.where(inside, y, x), torch.where(inside, _log_slope(theta, mean, first, last), 0)


def _inverse_spline(
    y: Tensor, left: Tensor, low: Tensor, slope: Tensor, bound: float
) -> tuple[Tensor, Tensor]:
    """Return x and log dy/dx there, by equations 6 to 8: a root of a quadratic equation."""
    at, inside = y.clamp(-bound, bound), y.abs() < bound
    start, width, bottom, height, first, last = _bin(at, low, left, low, slope)
    mean = height / width
    rise = (at - bottom) * (first + last - 2 * mean)
    a, b, c = height * (mean - first) + rise, height * first - rise, -mean * (at - bottom)
    root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
    theta = 2 * c / (-b - root)
    x = start + theta * width
    return torch.where(inside, x, y), torch.where(inside, _log_slope(theta, mean, first, last), 0)


def _log_slope(theta: Tensor, mean: Tensor, first: Tensor, last: Tensor) -> Tensor:
    mix = theta * (1 - theta)
    above = last * theta.square() + 2 * mean * mix + first * (1 - theta).square()
    return 2 * mean.log() + above.log() - 2 * (mean + (first + last - 2 * mean) * mix).log()


def _bin(at: Tensor, axis: Tensor, left: Tensor, low: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    """Return for each number the start of its bin on both axes, the bin's width and height, the slopes at its ends."""
    index = (at.unsqueeze(-1) >= axis[..., 1:-1]).sum(-1, keepdim=True)
    (start, end), (bottom, top), (first, last) = (
        [each.gather(-1, index + i).squeeze(-1) for i in (0, 1)] for each in (left, low, slope)
    )
    return start, end - start, bottom, top - bottom, first, last
