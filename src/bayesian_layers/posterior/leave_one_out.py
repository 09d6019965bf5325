"""PSIS-LOO of a posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .. import inference_data
from ..draw_sources import StoredDraws
from ..errors import DataError
from ..inference_data import Loo
from ..network import Inputs
from .densities import check_numbers, checked, densities

if TYPE_CHECKING:
    from .posterior import Posterior

_NUMBERS = 2**24  # of the weights in memory at a time: 64 MiB in float32


def loo(posterior: Posterior, x: Inputs, y: Tensor, num_draws: int, seed: int) -> Loo:
    """Estimate leave-one-out predictive densities; see ``Posterior.loo``."""
    check_numbers(num_draws, seed)
    _, x, y = checked(posterior.model, x, y)
    source = posterior.source
    if isinstance(source, StoredDraws):  # a draw that comes twice says nothing new, but hides a heavy tail
        num_draws = min(num_draws, len(next(iter(source.samples.values()))))
    numbers = sum(site.initial.numel() for site in posterior.model.sites().values())
    size = max(1, _NUMBERS // numbers)
    by_row, weights = [], []
    for start in range(0, num_draws, size):
        draws = source.draw(min(size, num_draws - start), seed, start)
        found = densities(posterior.model, source, draws, x, y)
        by_row.append(found.log_likelihood.cpu().numpy())
        weights.append(found.log_weights)
    log_weights = None if weights[0] is None else torch.cat(weights).cpu().numpy()
    try:
        return inference_data.psis_loo(np.concatenate(by_row), log_weights)
    except ValueError as error:
        raise DataError(f"no cross-validation of these draws: {error}") from error
