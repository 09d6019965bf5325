"""Likelihood of positive targets with a constant coefficient of variation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from ..lazy_imports import scipy_special
from .one_output import POSITIVE, Positive
from .positive_targets import LOG_BOUND, PositiveTargets
from .special import log_gamma_constant, soft_clip
from .univariate import Univariate


class MeanGamma(Univariate):
    """Gamma in terms of its log mean and its dispersion, with a density that is accurate for small dispersions."""

    parameters = ("log_mean", "dispersion")
    support = constraints.positive  # pyright: ignore[reportAssignmentType]
    log_mean: Tensor
    dispersion: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """``dispersion * mean**2``."""
        return self.dispersion * self.mean.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log density."""
        shape, log_ratio = self.dispersion.reciprocal(), value.log() - self.log_mean
        return log_gamma_constant(shape) + shape * (log_ratio - log_ratio.expm1()) - value.log()

    def cdf(self, value: Tensor) -> Tensor:
        """Compute the distribution function."""
        shape = self.dispersion.reciprocal()
        return torch.special.gammainc(shape, shape * (value.clamp(min=0) / self.mean))

    def icdf(self, value: Tensor) -> Tensor:
        """Compute quantiles, without gradients."""
        shape, value = torch.broadcast_tensors(self.dispersion.reciprocal(), value)
        found = scipy_special().gammaincinv(shape.double().cpu().numpy(), value.double().cpu().numpy())
        return torch.as_tensor(found).to(self.mean) * self.dispersion * self.mean

    def entropy(self) -> Tensor:
        """Compute the differential entropy."""
        shape = self.dispersion.reciprocal()
        return self.log_mean - log_gamma_constant(shape) - (shape - 1) * (shape.digamma() - shape.log())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw positive numbers."""
        with torch.no_grad():
            shape = self.dispersion.reciprocal().expand(self._extended_shape(torch.Size(sample_shape)))
            drawn = torch.distributions.Gamma(shape, shape).sample() * self.mean
            return drawn.clamp(min=torch.finfo(drawn.dtype).tiny)


@dataclass(frozen=True)
class Gamma(PositiveTargets):
    r"""Positive targets with a constant coefficient of variation: :math:`\operatorname{Var}[y] = \phi\, E[y]^2`.

    .. math:: p(y) = \frac{k^k}{\Gamma(k)\, y} \left(\frac ym\right)^k e^{-k y / m}, \qquad k = 1 / \phi,\; m = e^{f(x)}

    It suits amounts, durations and rates whose noise grows in proportion to their mean. It needs one output per
    target, the logarithm of the mean, softly clipped at :math:`\pm 30`; shapes are those of :class:`Normal`. For
    :math:`\phi = 1` it is an exponential distribution, for :math:`\phi > 1` the density is unbounded at 0, and for
    small :math:`\phi` it is close to a Normal with standard deviation :math:`\sqrt\phi\, m`. Do not standardize
    targets, but divide them by their geometric mean, as for :class:`LogNormal`.

    Attributes:
        dispersion: :math:`\phi`, the squared coefficient of variation; initially 1 if ``"learned"``.

    References:
        McCullagh & Nelder (1989), "Generalized Linear Models", chapter 8: data with constant coefficient of variation.

    Example:
        >>> mean, variance = Gamma(dispersion=0.25).moments(torch.full((1, 5, 1), 2.0).log())
        >>> mean.unique(), variance.unique()
        (tensor([2.]), tensor([1.]))
    """

    ARGUMENTS: ClassVar = {"dispersion": POSITIVE}
    PARAMETERS: ClassVar = {"dispersion": ("the squared coefficient of variation", 1.0)}
    dispersion: Positive = "learned"

    def _per_target(self, f: Tensor, dispersion: Any) -> Any:
        return MeanGamma(soft_clip(f, LOG_BOUND), dispersion)
