"""Predictive moments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ShapeError


@dataclass(frozen=True)
class Prediction:
    r"""Moments of the predictive distribution, in the shape and the units of ``y``.

    By the law of total variance,
    :math:`\operatorname{Var}[y] = \operatorname{Var}_w[E[y \mid w]] + E_w[\operatorname{Var}[y \mid w]]`,
    ``std**2 == epistemic_std**2 + aleatoric_std**2``.

    Attributes:
        mean: Predictive mean; ``P(y = 1)`` for Bernoulli; probabilities ``(*shape of y, K)`` for Categorical.
        epistemic_std: Standard deviation due to uncertainty about the weights.
        aleatoric_std: Standard deviation that would remain if the weights were known.

    References:
        Kendall & Gal (2017), arXiv 1703.04977.
    """

    mean: Tensor
    epistemic_std: Tensor
    aleatoric_std: Tensor

    def __post_init__(self) -> None:
        for name in ("epistemic_std", "aleatoric_std"):
            if getattr(self, name).shape != self.mean.shape:
                raise ShapeError(name, self.mean.shape, getattr(self, name).shape)

    @property
    def std(self) -> Tensor:
        """Total standard deviation, in the shape and units of ``y``."""
        return torch.hypot(self.epistemic_std, self.aleatoric_std)
