"""Quantiles of a mixture over draws whose components have a CDF, by a search."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_ITERATIONS = 200
_STEP_TOLERANCE, _CDF_TOLERANCE = 1e-12, 1e-14  # the step is relative to the bracket's ends
_WIDER = 1 + 1e-6


def quantile(components: Any, level: float) -> Tensor:
    """Return a quantile of the mixture: the least number whose CDF is at least the level."""
    return (
        _bisect_integers(components, level) if components.support.is_discrete else _newton(components, level)
    )


def _excess(components: Any, t: Tensor, level: float) -> Tensor:
    return components.cdf(t).mean(0) - level


def _bracket(components: Any, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return a lower and an upper bound of the quantile, and a start of the search."""
    try:  # a mixture's quantile lies between those of its components
        ends = components.icdf(torch.as_tensor(level, dtype=torch.float64, device=components.mean.device))
        return ends.amin(0), ends.amax(0), ends.mean(0)
    except NotImplementedError:
        mean = components.mean.mean(0)
        std = (components.variance.mean(0) + components.mean.var(0, correction=0)).sqrt()
    if not bool(std.isfinite().all()):
        return _doubled(components, level)
    # Cantelli's inequality, a little wider, because some distributions attain it.
    odds = _WIDER * math.sqrt(level / (1 - level)), _WIDER * math.sqrt((1 - level) / level)
    start = mean + std * torch.special.ndtri(std.new_tensor(level))
    return mean - odds[1] * std, mean + odds[0] * std, start


def _doubled(components: Any, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return bounds found by doubling steps, for distributions without moments such as Student's t."""
    low, high = components.loc.amin(0) - 1, components.loc.amax(0) + 1
    step = high - low
    for _ in range(_ITERATIONS):
        above, below = _excess(components, low, level) >= 0, _excess(components, high, level) < 0
        if not bool((above | below).any()):
            break
        low, high, step = torch.where(above, low - step, low), torch.where(below, high + step, high), 2 * step
    return low, high, (low + high) / 2


def _bisect_integers(components: Any, level: float) -> Tensor:
    """Return the least integer t with F(t) >= level, by bisection."""
    support = getattr(
        components.support, "base_constraint", components.support
    )  # of a mixture: that of its components
    if hasattr(support, "upper_bound"):
        like = _excess(components, torch.zeros((), dtype=torch.float64), level)
        low, high = torch.full_like(like, -1), torch.full_like(like, support.upper_bound)
    else:
        low, high, _ = _bracket(components, level)
        low, high = low.floor() - 1, high.ceil()
    for _ in range(_ITERATIONS):
        middle = ((low + high) / 2).floor()
        below = _excess(components, middle, level) < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        if bool((high - low <= 1).all()):
            break
    return high


def _newton(components: Any, level: float) -> Tensor:
    """Solve F(t) = level by Newton's method in a bracket."""
    low, high, t = _bracket(components, level)
    close = _STEP_TOLERANCE * (low.abs() + high.abs())
    last, done = high - low, torch.zeros_like(low, dtype=torch.bool)
    for _ in range(_ITERATIONS):
        excess = _excess(components, t, level)
        low, high = torch.where(excess < 0, t, low), torch.where(excess < 0, high, t)
        step = -excess / components.log_prob(t).exp().mean(0)
        # Bisect if a step leaves the bracket, or steps do not shrink.
        newton = (t + step > low) & (t + step < high) & (step.abs() < last.abs() / 2)
        last = torch.where(newton, step, (low + high) / 2 - t)
        done |= excess.abs() <= _CDF_TOLERANCE
        t = torch.where(done, t, t + last)
        done |= last.abs() <= close
        if bool(done.all()):
            break
    return t
