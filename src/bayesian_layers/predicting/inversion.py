"""The inverse of the CDF of a mixture over draws, whose components have a CDF."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_TURNS, _CLOSE, _ROUNDING, _WIDER = 200, 1e-12, 1e-14, 1 + 1e-6


def quantile(found: Any, level: float) -> Tensor:
    """Give a quantile of the mixture, the least number whose CDF reaches a level."""
    return _invert_whole(found, level) if found.support.is_discrete else _invert(found, level)


def _excess(found: Any, t: Tensor, level: float) -> Tensor:
    return found.cdf(t).mean(0) - level


def _bracket(found: Any, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Two ends with the quantile between, and where to begin."""
    try:  # a mixture's quantile lies between those of its components
        ends = found.icdf(torch.as_tensor(level, dtype=torch.float64, device=found.mean.device))
        return ends.amin(0), ends.amax(0), ends.mean(0)
    except NotImplementedError:
        mean = found.mean.mean(0)
        deviation = (found.variance.mean(0) + found.mean.var(0, correction=0)).sqrt()
    if not bool(deviation.isfinite().all()):
        return _doubled(found, level)
    # Cantelli's inequality, a little wider, as there are distributions that reach it.
    odds = _WIDER * math.sqrt(level / (1 - level)), _WIDER * math.sqrt((1 - level) / level)
    start = mean + deviation * torch.special.ndtri(deviation.new_tensor(level))
    return mean - odds[1] * deviation, mean + odds[0] * deviation, start


def _doubled(found: Any, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Ends by steps that double, where there are no moments: of Student's t."""
    low, high = found.loc.amin(0) - 1, found.loc.amax(0) + 1
    step = high - low
    for _ in range(_TURNS):
        above, below = _excess(found, low, level) >= 0, _excess(found, high, level) < 0
        if not bool((above | below).any()):
            break
        low, high, step = torch.where(above, low - step, low), torch.where(below, high + step, high), 2 * step
    return low, high, (low + high) / 2


def _invert_whole(found: Any, level: float) -> Tensor:
    """The least whole number t with F(t) >= level, by halving."""
    support = getattr(
        found.support, "base_constraint", found.support
    )  # a mixture's is that of its components
    if hasattr(support, "upper_bound"):
        like = _excess(found, torch.zeros((), dtype=torch.float64), level)
        low, high = torch.full_like(like, -1), torch.full_like(like, support.upper_bound)
    else:
        low, high, _ = _bracket(found, level)
        low, high = low.floor() - 1, high.ceil()
    for _ in range(_TURNS):
        middle = ((low + high) / 2).floor()
        below = _excess(found, middle, level) < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        if bool((high - low <= 1).all()):
            break
    return high


def _invert(found: Any, level: float) -> Tensor:
    """Newton's method on F(t) = level, in a bracket."""
    low, high, t = _bracket(found, level)
    close = _CLOSE * (low.abs() + high.abs())
    last, done = high - low, torch.zeros_like(low, dtype=torch.bool)
    for _ in range(_TURNS):
        excess = _excess(found, t, level)
        low, high = torch.where(excess < 0, t, low), torch.where(excess < 0, high, t)
        step = -excess / found.log_prob(t).exp().mean(0)
        # Halves the bracket where a step leaves it, or steps do not shrink.
        newton = (t + step > low) & (t + step < high) & (step.abs() < last.abs() / 2)
        last = torch.where(newton, step, (low + high) / 2 - t)
        done |= excess.abs() <= _ROUNDING  # and stays where it is
        t = torch.where(done, t, t + last)
        done |= last.abs() <= close
        if bool(done.all()):
            break
    return t
