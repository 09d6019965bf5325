"""Likelihood of proportions, that is numbers between 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
from torch import Tensor

from ..priors import Site
from .base import Likelihood, check_targets, squeeze_last
from .parameters import POSITIVE, Positive, check_positive, for_targets, positive_site
from .special import incomplete_beta, soft_clip
from .univariate import off_the_border

_LOGIT_BOUND = 20.0  # means of 2e-9 and 1 - 2e-9
_INITIAL_PRECISION = 10.0


class BetaWithCDF(dist.Beta):
    """Torch's Beta with a CDF, and with draws strictly between 0 and 1."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw proportions with gradients."""
        return off_the_border(super().rsample(sample_shape))

    def cdf(self, value: Tensor) -> Tensor:
        """Compute the distribution function."""
        x = value.clamp(0, 1)
        return incomplete_beta(self.concentration1, self.concentration0, x, 1 - x)


@dataclass(frozen=True)
class Beta(Likelihood):
    r"""Proportions: :math:`y_k \mid x, w \sim \text{Beta}(\phi m, \phi (1 - m))` with :math:`m = \sigma(f_k(x))`.

    .. math:: E[y] = m, \qquad \operatorname{Var}[y] = \frac{m (1 - m)}{1 + \phi}

    It needs one output per target, the logit of the mean. Targets are strictly between 0 and 1; shapes are those of
    :class:`Normal`. Beyond :math:`f = \pm 20` the logit grows logarithmically
    (:func:`~bayesian_layers.likelihoods.special.soft_clip`), because m would round to 0 or 1.

    Attributes:
        precision: :math:`\phi`: a number; ``"learned"`` for a point estimate (site ``precision``, initially 10); or a
            ``bl.priors.LogNormal``.

    Raises:
        DataError: If ``precision`` is not a finite positive number, ``"learned"`` or a ``bl.priors.LogNormal``.

    References:
        Ferrari & Cribari-Neto (2004), "Beta regression for modelling rates and proportions", J. Appl. Stat. 31.

    Example:
        >>> import torch
        >>> Beta(precision=4.0).moments(torch.zeros(1, 5, 1))[1].unique()
        tensor([0.0500])
    """

    ARGUMENTS: ClassVar = {"precision": POSITIVE}
    unit_scale: ClassVar[bool] = False
    precision: Positive = "learned"

    def __post_init__(self) -> None:
        check_positive("precision", self.precision, "the precision")

    def sites(self, like: Tensor) -> dict[str, Site]:
        """Return the site ``precision``, unless its value is fixed."""
        return positive_site("precision", self.precision, like, _INITIAL_PRECISION)

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the proportions; see :meth:`Likelihood.distribution`."""
        logit, event_dim = squeeze_last(f, output_axes)
        logit = soft_clip(logit, _LOGIT_BOUND)
        precision = for_targets(latents.get("precision", self.precision), event_dim)
        return BetaWithCDF(
            precision * logit.sigmoid(), precision * (-logit).sigmoid(), validate_args=False
        ).to_event(event_dim)

    def observed(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> Tensor | None:
        """Validate and convert targets; those that round to 0 or 1 move inside, as they would have no density."""
        targets = super().observed(f, y, output_axes=output_axes)
        return None if targets is None else off_the_border(targets)

    def check_values(self, y: Tensor, outputs: Sequence[int]) -> None:
        """Validate that targets are strictly between 0 and 1."""
        check_targets(
            y,
            (y > 0) & (y < 1),
            "strictly between 0 and 1",
            "If 0 and 1 come from rounding, replace all N targets by (y * (N - 1) + 0.5) / N "
            "(Smithson & Verkuilen 2006)",
        )
