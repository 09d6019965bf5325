"""Targets drawn from the prior or posterior predictive distribution, and checks of the data against them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..arguments import check_draws
from ..draw_sources import DrawSource
from ..guides.layout import Layout
from ..metrics.predictive_checks import Statistic
from ..model import BayesianModel, sample
from ..network import Inputs
from ..noise import standard_normal
from .arrays import as_array
from .densities import check_data

_BLOCK = 64  # draws of the weights whose targets are drawn together
_SEEDS = 2**32  # seeds of the targets' noise for each seed of the weights
_PRIOR = 2**48  # added to the seed of draws from the prior


def predictive_check(
    model: BayesianModel,
    source: DrawSource,
    x: Inputs,
    y: Tensor,
    statistics: Mapping[str, Statistic],
    num_draws: int,
    seed: int,
    *,
    prior: bool,
) -> metrics.PredictiveCheck:
    """Compare data with simulated data; see ``Posterior.predictive_check`` and ``Posterior.prior_check``."""
    y, simulated = _data_sets(model, source, x, y, num_draws, seed, prior=prior)
    return metrics.predictive_check(y.cpu().reshape(-1), simulated.reshape(num_draws, -1), statistics)


def pit(
    model: BayesianModel, source: DrawSource, x: Inputs, y: Tensor, num_draws: int, seed: int
) -> np.ndarray:
    """Compute randomized probability integral transforms; see ``Posterior.pit``."""
    y, simulated = _data_sets(model, source, x, y, num_draws, seed, prior=False)
    flat = metrics.pit(y.cpu().reshape(-1), simulated.reshape(num_draws, -1), seed)
    return flat.reshape(tuple(y.shape))


def _data_sets(
    model: BayesianModel,
    source: DrawSource,
    x: Inputs,
    y: Tensor,
    num_draws: int,
    seed: int,
    *,
    prior: bool,
) -> tuple[Tensor, np.ndarray]:
    """Return the checked targets, and S simulated sets of them, ``(S, *shape of y)``."""
    num_draws, seed = check_draws(num_draws, seed, least=2)
    x, y = check_data(model, source, x, y)
    draws = prior_draws(model, source, num_draws, seed) if prior else source.draw(num_draws, seed)
    return y, draw_targets(model, draws, x, seed, prior=prior)


def prior_draws(model: BayesianModel, source: DrawSource, num_draws: int, seed: int) -> dict[str, Tensor]:
    """Draw from the priors; parameters without one, such as learned scales, have the values of the fit."""
    sites, points = model.sites(), source.mean()
    layout = Layout.of(sites)
    like = next(iter(sites.values())).initial
    names = (*layout.random, *layout.drawn)
    size = sum(layout.sizes(names))
    # Other numbers than the guide's draws are made of: prior and posterior draws would be correlated.
    noise = standard_normal(seed + _PRIOR, num_draws, size, dtype=like.dtype, device=like.device)
    parts = layout.split(noise, names)
    draws: dict[str, Tensor] = {}
    for name, site in sites.items():  # the scale of a prior comes before what depends on it
        if site.prior is None:
            draws[name] = points[name].expand(num_draws, *site.initial.shape)
            continue
        u = site.prior.from_normal(parts[name], site.initial, site.scale(draws))
        draws[name] = layout.constrain(name, u)
    return draws


def draw_targets(
    model: BayesianModel, draws: Mapping[str, Tensor], x: Inputs, seed: int, *, prior: bool = False
) -> np.ndarray:
    """Draw targets under draws of the weights, a few at a time to bound the memory of activations."""
    first = seed * _SEEDS + prior * _SEEDS // 2
    size = len(next(iter(draws.values())))
    blocks = [
        sample(model, {n: v[start : start + _BLOCK] for n, v in draws.items()}, x, "y", first + start)
        for start in range(0, size, _BLOCK)
    ]
    return as_array(torch.cat(blocks))
