"""The mixture of a likelihood's distributions over draws of the weights: its quantiles, and its ranked score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from ..errors import ShapeError
from ..noise import seeded
from . import inversion
from .draws import PredictiveDraws

_STEP, _REACH = 0.5, 7.5  # of the smallest deviation, of each component's
_TWO = math.sqrt(2.0)


def components(draws: PredictiveDraws) -> Any:
    """Give the distribution of each single target under each draw, in ``float64``."""
    wide = PredictiveDraws(
        draws.f.double(), draws.likelihood, {name: value.double() for name, value in draws.latents.items()}
    )
    found = wide.distribution()
    while isinstance(found, Independent):
        found = found.base_dist
    return found


def labels(distribution: Any) -> bool:
    """Tell a distribution of labels."""
    return isinstance(distribution, Bernoulli)


def finite(distribution: Any) -> bool:
    """Tell a distribution of labels or classes."""
    return isinstance(distribution, Bernoulli | Categorical)


def class_probabilities(distribution: Any) -> Tensor:
    """Give the probabilities of labels or classes."""
    return distribution.probs


def targets(draws: PredictiveDraws, y: Tensor) -> Tensor:
    """Check targets against the outputs."""
    f = draws.f
    if y.dim() == 0 or len(y) != draws.num_rows:
        raise ShapeError("y", (draws.num_rows, "..."), y.shape)
    observed = draws.likelihood.observed(f[0].double(), y.to(f.device), output_axes=f.dim() - 2)
    assert observed is not None  # y is given
    # As they came: what the distribution takes may already be rounded.
    draws.likelihood.check_values(y, f.shape[2:])
    return observed


def joint_log_prob(draws: PredictiveDraws, y: Tensor) -> Tensor:
    """Give the log density of each row's targets under each draw."""
    log_prob = components(draws).log_prob(y)
    return log_prob.flatten(2).sum(2) if log_prob.dim() > 2 else log_prob


def quantiles(draws: PredictiveDraws, levels: Sequence[float], seed: int) -> Tensor:
    """Give quantiles of each target."""
    found = components(draws)
    if finite(found):
        return torch.stack([_class_quantile(found, level) for level in levels], -1)
    try:
        return torch.stack([inversion.quantile(found, level) for level in levels], -1)
    except NotImplementedError:  # no CDF
        ordered = _samples(found, seed).sort(0).values
    ranks = [max(0, math.ceil(level * len(ordered)) - 1) for level in levels]
    return torch.stack([ordered[rank] for rank in ranks], -1)


def crps(draws: PredictiveDraws, y: Tensor, seed: int) -> Tensor:
    """Give the continuous ranked probability score of each target."""
    found = components(draws)
    if labels(found):
        return (found.probs.mean(0) - y).square()
    if finite(found):
        below = found.probs.mean(0).cumsum(-1)
        return (
            (below - (y.unsqueeze(-1) <= torch.arange(below.shape[-1], device=y.device)).double())
            .square()
            .sum(-1)
        )
    if isinstance(found, Normal):
        return _distance(y - found.loc, found.scale).mean(0) - _half_spread(found.loc, found.scale)
    drawn = _samples(found, seed)
    if len(drawn) < 2:
        raise ShapeError("draws", ("S >= 2",), (1,), "Take more draws.")
    ordered, size = drawn.sort(0).values - y, len(drawn)
    weight = 2.0 * torch.arange(1, size + 1, device=y.device, dtype=ordered.dtype) - size - 1
    return ordered.abs().mean(0) - torch.tensordot(weight, ordered, 1) / (size * (size - 1))


def _class_quantile(found: Any, level: float) -> Tensor:
    p = class_probabilities(found).mean(0)
    if labels(found):
        return (1 - p < level).double()
    below = p.cumsum(-1)
    below[..., -1] = 1.0  # up to rounding it is
    return (below < level).sum(-1).double()


def _samples(found: Any, seed: int) -> Tensor:
    with seeded(seed):
        return found.sample().double()


def _distance(m: Tensor, scale: Tensor) -> Tensor:
    """E|m + scale z| of a standard normal z."""
    z = m / scale
    return 2 * scale * torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi) + m * torch.erf(z / _TWO)


def _half_spread(loc: Tensor, scale: Tensor) -> Tensor:
    """Half the mean distance of two draws of a mixture of Normals, which is the integral of F (1 - F)."""
    # By the trapezoid rule, whose error for steps h is below exp(-pi^2 scale^2 / h^2), as F's density is so smooth; by
    # pairs, where that takes more steps than there are draws.
    low, high = ((loc + sign * _REACH * scale) for sign in (-1, 1))
    low, high, step = low.amin(0), high.amax(0), _STEP * scale.amin(0)
    points = int(((high - low) / step).amax()) + 2
    if points > len(loc):
        pairs = (
            _distance(loc - m, torch.hypot(scale, s)).sum(0)
            for m, s in zip(loc, scale.expand_as(loc), strict=True)
        )
        return sum(pairs, torch.zeros_like(loc[0])) / (2 * len(loc) ** 2)
    total, wide = torch.zeros_like(loc[0]), _TWO * scale
    for i in range(points):
        below = 0.5 + 0.5 * ((low + i * step - loc).div_(wide).erf_().mean(0))
        total += below * (1 - below)
    return total * step
