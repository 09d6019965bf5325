"""The mixture of a likelihood's distributions over draws of the weights: quantiles and ranked scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from ..arguments import check_tensor
from ..errors import ShapeError
from ..noise import seeded
from .predictive_draws import PredictiveDraws
from .quantile_search import quantile

# Of the trapezoid rule, in standard deviations: the step in the smallest, the reach in each component's own.
_STEP, _REACH = 0.5, 7.5
_SQRT_2 = math.sqrt(2.0)


def components(draws: PredictiveDraws) -> Any:
    """Return the distribution of each single target under each draw, in float64."""
    wide = PredictiveDraws(
        draws.f.double(), draws.likelihood, {name: value.double() for name, value in draws.latents.items()}
    )
    found = wide.distribution()
    while isinstance(found, Independent):
        found = found.base_dist
    return found


def is_label(distribution: Any) -> bool:
    """Check whether a distribution is of labels 0 and 1."""
    return isinstance(distribution, Bernoulli)


def is_class(distribution: Any) -> bool:
    """Check whether a distribution is of labels or classes."""
    return isinstance(distribution, Bernoulli | Categorical)


def targets(draws: PredictiveDraws, y: Tensor) -> Tensor:
    """Return targets in the dtype of the distribution; raise if they do not belong to the outputs."""
    f, y = draws.f, check_tensor("y", y)
    if y.dim() == 0 or len(y) != draws.num_rows:
        raise ShapeError("y", (draws.num_rows, "..."), y.shape)
    observed = draws.likelihood.observed(f[0].double(), y.to(f.device), output_axes=f.dim() - 2)
    assert observed is not None  # y is given
    # In the dtype in which they came: the cast may have rounded them.
    draws.likelihood.check_values(y, f.shape[2:])
    return observed


def joint_log_prob(draws: PredictiveDraws, y: Tensor) -> Tensor:
    """Return the log density of each row's targets under each draw."""
    log_prob = components(draws).log_prob(y)
    return log_prob.flatten(2).sum(2) if log_prob.dim() > 2 else log_prob


def quantiles(draws: PredictiveDraws, levels: Sequence[float], seed: int) -> Tensor:
    """Return quantiles of each target."""
    found = components(draws)
    if is_class(found):
        return torch.stack([_class_quantile(found, level) for level in levels], -1)
    try:
        return torch.stack([quantile(found, level) for level in levels], -1)
    except NotImplementedError:  # no CDF
        ordered = _samples(found, seed).sort(0).values
    ranks = [max(0, math.ceil(level * len(ordered)) - 1) for level in levels]
    return torch.stack([ordered[rank] for rank in ranks], -1)


def crps(draws: PredictiveDraws, y: Tensor, seed: int) -> Tensor:
    """Return the continuous ranked probability score of each target."""
    found = components(draws)
    if is_label(found):
        return (found.probs.mean(0) - y).square()
    if is_class(found):
        below = found.probs.mean(0).cumsum(-1)
        reached = y.unsqueeze(-1) <= torch.arange(below.shape[-1], device=y.device)
        return (below - reached.double()).square().sum(-1)
    if isinstance(found, Normal):
        return _distance(y - found.loc, found.scale).mean(0) - _half_spread(found.loc, found.scale)
    drawn = _samples(found, seed)
    if len(drawn) < 2:
        raise ShapeError("draws", ("S >= 2",), (1,), "Take more draws.")
    ordered, size = drawn.sort(0).values - y, len(drawn)
    weight = 2.0 * torch.arange(1, size + 1, device=y.device, dtype=ordered.dtype) - size - 1
    return ordered.abs().mean(0) - torch.tensordot(weight, ordered, 1) / (size * (size - 1))


def _class_quantile(found: Any, level: float) -> Tensor:
    p = found.probs.mean(0)
    if is_label(found):
        return (1 - p < level).double()
    below = p.cumsum(-1)
    below[..., -1] = 1.0  # exactly, not only up to rounding
    return (below < level).sum(-1).double()


def _samples(found: Any, seed: int) -> Tensor:
    with seeded(seed):
        return found.sample().double()


def _distance(m: Tensor, scale: Tensor) -> Tensor:
    """E|m + scale z| of a standard normal z."""
    z = m / scale
    return 2 * scale * torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi) + m * torch.erf(z / _SQRT_2)


def _half_spread(loc: Tensor, scale: Tensor) -> Tensor:
    """Half the mean distance of two draws of a mixture of Normals, which is the integral of F (1 - F)."""
    # By the trapezoid rule, whose error with steps h is below exp(-pi^2 scale^2 / h^2) for mixtures of Normals; over
    # pairs of draws if that takes more steps than there are draws.
    low, high = ((loc + sign * _REACH * scale) for sign in (-1, 1))
    low, high, step = low.amin(0), high.amax(0), _STEP * scale.amin(0)
    points = int(((high - low) / step).amax()) + 2
    if points > len(loc):
        pairs = (
            _distance(loc - m, torch.hypot(scale, s)).sum(0)
            for m, s in zip(loc, scale.expand_as(loc), strict=True)
        )
        return sum(pairs, torch.zeros_like(loc[0])) / (2 * len(loc) ** 2)
    total, wide = torch.zeros_like(loc[0]), _SQRT_2 * scale
    for i in range(points):
        below = 0.5 + 0.5 * ((low + i * step - loc).div_(wide).erf_().mean(0))
        total += below * (1 - below)
    return total * step
