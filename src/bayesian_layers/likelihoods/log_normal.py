"""Likelihood of positive targets with Normal noise of the logarithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
from torch import Tensor

from .one_output import POSITIVE, Positive
from .positive_targets import LOG_BOUND, PositiveTargets
from .special import soft_clip


@dataclass(frozen=True)
class LogNormal(PositiveTargets):
    r"""Positive targets with Normal noise of the logarithm: :math:`\log y_k \mid x, w \sim N(f_k(x), s^2)`.

    .. math:: p(y) = \frac1{\sqrt{2 \pi}\, s\, y} \exp\left(-\frac{(\log y - f)^2}{2 s^2}\right), \qquad
        E[y] = e^{f + s^2 / 2}, \quad \operatorname{Var}[y] = (e^{s^2} - 1)\, E[y]^2

    It suits amounts whose noise is multiplicative, with heavier tails than :class:`Gamma`. It needs one output per
    target, the logarithm of the median, softly clipped at :math:`\pm 30`; shapes are those of :class:`Normal`.
    Densities and predictions are in the units of ``y``. Do not standardize targets, which would make them negative, but
    divide them by their geometric mean: priors of unit scale expect :math:`\log y` of unit scale.

    Attributes:
        noise_scale: Standard deviation s of :math:`\log y`, without unit; initially 1 if ``"learned"``.

    References:
        Limpert, Stahel & Abbt (2001), "Log-normal distributions across the sciences", BioScience 51.

    Example:
        >>> import torch
        >>> mean, _ = LogNormal(noise_scale=1.0).moments(torch.zeros(1, 5, 1))
        >>> mean.log().unique()
        tensor([0.5000])
    """

    ARGUMENTS: ClassVar = {"noise_scale": POSITIVE}
    PARAMETERS: ClassVar = {"noise_scale": ("the standard deviation of the logarithm", 1.0)}
    noise_scale: Positive = "learned"

    def _per_target(self, f: Tensor, noise_scale: Any) -> Any:
        return dist.LogNormal(soft_clip(f, LOG_BOUND), noise_scale, validate_args=False)
