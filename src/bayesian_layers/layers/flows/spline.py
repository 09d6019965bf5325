"""Coupling layers by monotone splines: a bijection of any shape, also of a single number.

Pyro's splines cannot stand here: they pick the entries inside the box by a mask, which has no rule under vmap, and
assert about values, which no recording can repeat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import DataError
from ..base import BiasPrior
from .base import (
    FlowPrior,
    MakeLinear,
    Reversible,
    ReversibleStack,
    bounded,
    check_count,
    check_sizes,
    dense,
    joined,
    linear_layers,
)

_LEAST = 1e-3  # width and height of a bin, of the whole, and slope at a knot
_SLOPE_ONE = math.log(math.expm1(1 - _LEAST))


class NeuralSpline(ReversibleStack):
    r"""Couplings by monotone rational-quadratic splines, with alternating halves.

    .. math:: z_a = x_a, \qquad z_b = g_{x_a, c}\left(x_b \odot e^{s(x_a, c)} + m(x_a, c)\right)

    g maps each entry by a spline of its own between -bound and bound, and is the identity outside. So it gives
    densities of any shape, also of one number: with one feature the context alone steers it. As cheap to undo as to do.
    It begins as the identity. Over the entries of the vector x it is a :class:`RealNVP` whose couplings bend.

    The coupling networks are Bayesian, or with ``prior="point"`` plain ones.

    Args:
        features: Entries K of a vector.
        hidden: Widths of the hidden layers of each coupling's network.
        layers: Number of couplings.
        bins: Pieces of each spline, 2 or more.
        bound: Where the splines end; data should be standardized, so that most are inside.
        context: Entries C of the context, 0 for none.
        device: As in torch.
        dtype: As in torch.
        prior: Prior of the networks' weights; ``None`` is a Normal whose scale is learned; ``"point"`` makes
            weights and biases point estimates.
        bias_prior: Prior of their biases: by default the weights'; ``None`` makes them point estimates.

    Shape:
        As :class:`RealNVP`.

    Raises:
        DataError: If a size is no whole number or too small, or ``bound`` is not above 0.
        TypeError: If a prior is not one of ``bl.priors``.

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
        hidden = check_sizes(hidden, layers)
        check_count("bins", bins, 2)
        if bins * _LEAST >= 1:
            raise DataError(f"`bins` must be below {1 / _LEAST:.0f}; received {bins}")
        if not 0 < bound < math.inf:
            raise DataError(f"`bound` must be finite and above 0; received {bound}")
        linear = linear_layers(prior, bias_prior, device, dtype)
        steps = [
            _SplineCoupling(features, hidden, bins, bound, context, i % 2 == 1, linear) for i in range(layers)
        ]
        super().__init__(steps, features, context)
        self.hidden = hidden
        self.layers = layers
        self.bins = bins
        self.bound = bound

    def extra_repr(self) -> str:
        """Show the sizes.

        Returns:
            The inside of the layer's ``repr``.
        """
        sizes = f"{self.features}, hidden={self.hidden}, layers={self.layers}, bins={self.bins}"
        return f"{sizes}, bound={self.bound}, context={self.context}"


class _SplineCoupling(Reversible):
    """One coupling: the first half of the entries steers the others, or the last where it is flipped."""

    def __init__(
        self,
        features: int,
        hidden: Sequence[int],
        bins: int,
        bound: float,
        context: int,
        flipped: bool,
        linear: MakeLinear,
    ) -> None:
        super().__init__(features, context)
        self._kept = features // 2
        self._flipped = flipped
        self._bound = bound
        self._parts = (1, 1, bins, bins, bins - 1)  # shift, log scale; widths, heights, slopes at inner knots
        outputs = (features - self._kept) * sum(self._parts)
        # Where nothing steers, the network has the constant 1 to go by.
        self.network = dense(max(1, self._kept + context), hidden, outputs, linear)

    def _forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, rest = self._halves(x)
        shift, log_scale, left, low, slope = self._steered(kept, context)
        moved = rest * log_scale.exp() + shift
        z, log_slope = _spline(moved, left, low, slope, self._bound)
        return self._whole(kept, z), (log_scale + log_slope).sum(-1)

    def _inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, rest = self._halves(z)
        shift, log_scale, left, low, slope = self._steered(kept, context)
        moved, log_slope = _inverse_spline(rest, left, low, slope, self._bound)
        x = (moved - shift) * (-log_scale).exp()
        return self._whole(kept, x), -(log_scale + log_slope).sum(-1)

    def _halves(self, x: Tensor) -> tuple[Tensor, ...]:
        turned = x.flip(-1) if self._flipped else x
        return turned.split([self._kept, self.features - self._kept], -1)

    def _whole(self, kept: Tensor, rest: Tensor) -> Tensor:
        joint = torch.cat([kept, rest], -1)
        return joint.flip(-1) if self._flipped else joint

    def _steered(self, kept: Tensor, context: Tensor) -> list[Tensor]:
        """Shift and log scale ``(*batch, K')``; knots of the two axes and slopes, ``(*batch, K', bins + 1)``."""
        given = joined(kept, context)
        given = given if given.shape[-1] else given.new_ones(*given.shape[:-1], 1)
        raw = self.network(given).unflatten(-1, (-1, sum(self._parts)))
        shift, log_scale, widths, heights, slopes = raw.split(self._parts, -1)
        ends = functional.pad(functional.softplus(slopes + _SLOPE_ONE) + _LEAST, (1, 1), value=1.0)
        axes = [_knots(each, self._bound) for each in (widths, heights)]
        return [shift.squeeze(-1), bounded(log_scale.squeeze(-1)), *axes, ends]


def _knots(raw: Tensor, bound: float) -> Tensor:
    """Increasing numbers from -bound to bound."""
    bins = raw.shape[-1]
    shares = _LEAST + (1 - _LEAST * bins) * raw.softmax(-1)
    inner = shares.cumsum(-1)[..., :-1]
    return bound * (2 * functional.pad(functional.pad(inner, (1, 0)), (0, 1), value=1.0) - 1)


def _spline(x: Tensor, left: Tensor, low: Tensor, slope: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Equations 4 and 5 of the paper: y and the logarithm of dy/dx; knots ``(left, low)`` with slopes."""
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
    """Equations 6 to 8: x and the logarithm of dy/dx there, by the root of a quadratic equation."""
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
    """Where the bin of each number begins on both axes, its width and height, and the slopes at its ends."""
    index = (at.unsqueeze(-1) >= axis[..., 1:-1]).sum(-1, keepdim=True)
    (start, end), (bottom, top), (first, last) = (
        [each.gather(-1, index + i).squeeze(-1) for i in (0, 1)] for each in (left, low, slope)
    )
    return start, end - start, bottom, top - bottom, first, last
