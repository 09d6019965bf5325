"""Predictive moments, and their computation from draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ShapeError
from .base import Likelihood


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


def moments(likelihood: Likelihood, f: Tensor, latents: Mapping[str, Tensor]) -> Prediction:
    """Compute predictive moments from draws of the network's output."""
    if f.dim() < 3 or len(f) < 2:
        raise ShapeError("f", ("S >= 2", "N", "outputs"), f.shape, "Take more draws.")
    mean, variance = likelihood.moments(f, output_axes=f.dim() - 2, **latents)
    return Prediction(mean.mean(0), mean.std(0, correction=0), variance.expand_as(mean).mean(0).sqrt())
