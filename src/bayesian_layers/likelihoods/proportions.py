"""Proportions: numbers between 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from ..errors import DataError
from ..priors import Site
from .base import Likelihood, one_a_target
from .positive import POSITIVE, Positive, check_positive, for_targets, positive_site
from .special import incomplete_beta, restrained

_LOGIT_BOUND = 20.0  # means of 2e-9 and 1 - 2e-9
_FIRST_PRECISION = 10.0


class BetaWithCDF(dist.Beta):
    """Torch's Beta with a CDF, whose draws are strictly between 0 and 1."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw proportions."""
        return off_the_border(super().rsample(sample_shape))

    def cdf(self, value: Tensor) -> Tensor:
        """Give the probability of values up to one."""
        x = value.clamp(0, 1)
        return incomplete_beta(self.concentration1, self.concentration0, x, 1 - x)


def off_the_border(y: Tensor) -> Tensor:
    """Move proportions that rounding has put on 0 or 1, where they have no density."""
    # To the next numbers inside.
    info = torch.finfo(y.dtype)
    return y.clamp(info.tiny, 1 - info.eps / 2)


@dataclass(frozen=True)
class Beta(Likelihood):
    r"""Proportions: :math:`y_k \mid x, w \sim \text{Beta}(\phi m, \phi (1 - m))` with :math:`m = \sigma(f_k(x))`.

    .. math:: E[y] = m, \qquad \operatorname{Var}[y] = \frac{m (1 - m)}{1 + \phi}

    One output a target, the logit of the mean; targets strictly between 0 and 1, in the shapes of :class:`Normal`.
    Beyond :math:`f = \pm 20` the logit grows like a logarithm
    (:func:`~bayesian_layers.likelihoods.special.restrained`), as m would be 0 or 1 to rounding.

    Attributes:
        precision: :math:`\phi`: a number; ``"learned"`` for a point estimate (site ``precision``, first 10); or a
            ``bl.priors.LogNormal``.

    Raises:
        DataError: If a number is not finite and positive, or something else comes.

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
        check_positive("precision", self.precision, "a precision")

    def sites(self, like: Tensor) -> dict[str, Site]:
        """List the site ``precision``, unless its value is given."""
        return positive_site("precision", self.precision, like, _FIRST_PRECISION)

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the proportions; see :meth:`Likelihood.distribution`."""
        logit, event_dim = one_a_target(f, output_axes)
        logit = restrained(logit, _LOGIT_BOUND)
        precision = for_targets(latents.get("precision", self.precision), event_dim)
        return BetaWithCDF(
            precision * logit.sigmoid(), precision * (-logit).sigmoid(), validate_args=False
        ).to_event(event_dim)

    def observed(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> Tensor | None:
        """Check targets against the output, and give them its type; see :meth:`Likelihood.observed`."""
        targets = super().observed(f, y, output_axes=output_axes)
        return None if targets is None else off_the_border(targets)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse what is not strictly between 0 and 1."""
        bad = int((~((y > 0) & (y < 1))).sum())
        if bad:
            raise DataError(
                f"`y` must lie strictly between 0 and 1; {bad} of its {y.numel()} values do not. Where 0 and 1 come "
                "from rounding, shrink all N targets by (y * (N - 1) + 0.5) / N (Smithson & Verkuilen 2006)"
            )
