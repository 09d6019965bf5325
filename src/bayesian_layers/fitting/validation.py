"""The log predictive density of held-out data while a fit runs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..guides import Guide
from ..model import BayesianModel, log_likelihood
from ..network import Inputs

_DRAWS = 64
_BLOCK = 2**22  # draws x size that are made together


class Validation:
    """Estimates the mean over the rows of held-out data of the log of the mean likelihood over draws."""

    def __init__(self, model: BayesianModel, x: Inputs, y: Tensor, *, every: int, seed: int) -> None:
        self.every = every  # steps from one evaluation to the next
        self._model = model
        self._x, self._y = x, y
        self._seed = seed

    def __call__(self, guide: Guide) -> float:
        """Evaluate a guide."""
        block = min(max(1, _BLOCK // max(1, guide.noise_size)), _DRAWS)
        parts = []
        for start in range(0, _DRAWS, block):
            draws = guide.draw(min(block, _DRAWS - start), self._seed, start)
            parts.append(log_likelihood(self._model, draws, self._x, self._y).double().logsumexp(0))
        return float((torch.stack(parts).logsumexp(0) - math.log(_DRAWS)).mean())
