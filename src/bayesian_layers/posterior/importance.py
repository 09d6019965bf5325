"""Importance weights from the guide to the posterior: PSIS-LOO and k-hat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .. import inference_data
from ..arguments import check_draws
from ..draw_sources import DrawSource, StoredDraws
from ..errors import DataError
from ..inference_data import Loo
from ..model import BayesianModel
from ..network import Inputs, num_rows
from .arrays import as_array
from .densities import check_data, densities

_NUMBERS = 2**24  # weights, or densities of rows, in memory at a time: 64 MiB in float32


def loo(model: BayesianModel, source: DrawSource, x: Inputs, y: Tensor, num_draws: int, seed: int) -> Loo:
    """Estimate leave-one-out predictive densities; see ``Posterior.loo``."""
    num_draws, seed = check_draws(num_draws, seed, least=2)
    x, y = check_data(model, source, x, y)
    if isinstance(source, StoredDraws):  # the same draw twice adds no information, but hides a heavy tail
        num_draws = min(num_draws, source.draws)
    by_row, weights = [], []
    size = max(1, _NUMBERS // _num_weights(model))
    for start in range(0, num_draws, size):
        draws = source.draw(min(size, num_draws - start), seed, start)
        found = densities(model, source, draws, x, y)
        by_row.append(as_array(found.log_likelihood))
        weights.append(found.log_weights)
    log_weights = None if weights[0] is None else torch.cat(weights).cpu().numpy()
    try:
        return inference_data.psis_loo(np.concatenate(by_row), log_weights)
    except ValueError as error:
        raise DataError(f"these draws cannot be cross-validated: {error}") from error


def k_hat(model: BayesianModel, source: DrawSource, x: Inputs, y: Tensor, num_draws: int, seed: int) -> float:
    """Estimate the tail of the importance weights; see ``Posterior.k_hat``."""
    num_draws, seed = check_draws(num_draws, seed, least=2)
    x, y = check_data(model, source, x, y)
    parts = []
    size = max(1, _NUMBERS // max(_num_weights(model), num_rows(x)))
    for start in range(0, num_draws, size):
        draws = source.draw(min(size, num_draws - start), seed, start)
        weights = densities(model, source, draws, x, y).log_weights
        if weights is None:
            raise DataError(
                "k-hat needs the density of a guide, which stored draws do not have. Ask the posterior that they were "
                "refined from, or judge the draws by R-hat and effective sample size."
            )
        parts.append(weights)
    return tail_index(torch.cat(parts))


def tail_index(log_weights: Tensor) -> float:
    """Return k-hat of importance weights; infinity if one of them is not finite."""
    weights = log_weights.cpu().numpy()
    return inference_data.pareto_k_hat(weights) if np.isfinite(weights).all() else float("inf")


def _num_weights(model: BayesianModel) -> int:
    return sum(site.initial.numel() for site in model.sites().values())
