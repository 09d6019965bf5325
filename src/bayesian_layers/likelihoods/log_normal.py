"""Likelihood of positive targets with Normal noise of the logarithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
from torch import Tensor

from ..priors import Site
from .base import squeeze_last
from .parameters import POSITIVE, Positive, check_positive, for_targets, positive_site
from .positive_targets import LOG_BOUND, PositiveTargets
from .special import soft_clip


@dataclass(frozen=True)
class LogNormal(PositiveTargets):
    r"""Positive targets with Normal noise of the logarithm: :math:`\log y_k \mid x, w \sim N(f_k(x), s^2)`.

    .. math:: p(y) = \frac1{\sqrt{2 \pi}\, s\, y} \exp\left(-\frac{(\log y - f)^2}{2 s^2}\right), \qquad
        E[y] = e^{f + s^2 / 2}, \quad \operatorname{Var}[y] = (e^{s^2} - 1)\, E[y]^2

    It suits amounts whose noise is multiplicative, with heavier tails than :class:`Gamma`. It needs one output per
    target, the logarithm of the median; shapes are those of :class:`Normal`. It is :class:`Normal` for the logarithm
    of the targets, with densities and predictions in the units of ``y``. Targets must not be standardized, which would
    make them negative; priors of unit scale expect :math:`\log y` of unit scale, so divide targets by their geometric
    mean. Beyond :math:`f = \pm 30` the median, or its reciprocal, grows linearly instead of exponentially
    (:func:`~bayesian_layers.likelihoods.special.soft_clip`), so moments do not overflow.

    Attributes:
        noise_scale: Standard deviation s of :math:`\log y`, without unit: a number; ``"learned"`` for a point estimate
            (site ``noise_scale``, initially 1); or a ``bl.priors.LogNormal``.

    Raises:
        DataError: If ``noise_scale`` is not a finite positive number, ``"learned"`` or a ``bl.priors.LogNormal``.

    References:
        Limpert, Stahel & Abbt (2001), "Log-normal distributions across the sciences", BioScience 51.

    Example:
        >>> import torch
        >>> mean, _ = LogNormal(noise_scale=1.0).moments(torch.zeros(1, 5, 1))
        >>> mean.log().unique()
        tensor([0.5000])
    """

    ARGUMENTS: ClassVar = {"noise_scale": POSITIVE}

    noise_scale: Positive = "learned"

    def __post_init__(self) -> None:
        check_positive("noise_scale", self.noise_scale, "the standard deviation of the logarithm")

    def sites(self, like: Tensor) -> dict[str, Site]:
        """Return the site ``noise_scale``, unless its value is fixed."""
        return positive_site("noise_scale", self.noise_scale, like)

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`."""
        log_median, event_dim = squeeze_last(f, output_axes)
        scale = for_targets(latents.get("noise_scale", self.noise_scale), event_dim)
        return dist.LogNormal(soft_clip(log_median, LOG_BOUND), scale, validate_args=False).to_event(
            event_dim
        )
