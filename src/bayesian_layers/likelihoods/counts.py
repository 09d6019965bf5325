"""Likelihoods of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Gamma, constraints

from .base import check_targets
from .one_output import POSITIVE, OneOutput, Positive
from .special import incomplete_beta, log_gamma_ratio, soft_clip
from .univariate import Univariate

LOG_RATE_BOUND = 20.0  # rates above 4.9e8 grow linearly with the output


class LogPoisson(Univariate):
    """Poisson in terms of its log rate; the log density is finite where the rate underflows."""

    parameters = ("log_rate",)
    support = constraints.nonnegative_integer  # pyright: ignore[reportAssignmentType]
    log_rate: Tensor

    @property
    def mean(self) -> Tensor:
        """The rate."""
        return self.log_rate.exp()

    variance = mean

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log probability."""
        return value * self.log_rate - self.log_rate.exp() - torch.lgamma(value + 1)

    def cdf(self, value: Tensor) -> Tensor:
        """Compute the distribution function."""
        below = torch.special.gammaincc(value.floor().clamp(min=0) + 1, self.mean)
        return below.where(value >= 0, 0.0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw counts."""
        with torch.no_grad():
            return torch.poisson(self.mean.expand(self._extended_shape(torch.Size(sample_shape))))


class GammaPoisson(Univariate):
    """Negative binomial in terms of its log mean and dispersion; for dispersion 0 the limit is Poisson."""

    parameters = ("log_mean", "dispersion")
    support = constraints.nonnegative_integer  # pyright: ignore[reportAssignmentType]
    log_mean: Tensor
    dispersion: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """``mean + dispersion * mean**2``."""
        return self.mean + self.dispersion * self.mean.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log probability."""
        size = self.dispersion.reciprocal()
        spread = (self.dispersion * self.mean).log1p()
        ways = log_gamma_ratio(value, size) - torch.lgamma(value + 1)
        return ways + value * self.log_mean - (value + size) * spread

    def cdf(self, value: Tensor) -> Tensor:
        """Compute the distribution function."""
        odds = self.dispersion * self.mean
        k = value.floor().clamp(min=0)
        below = incomplete_beta(self.dispersion.reciprocal(), k + 1, 1 / (1 + odds), odds / (1 + odds))
        return below.where(value >= 0, 0.0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw counts from Poisson distributions whose rates are drawn from a Gamma distribution."""
        with torch.no_grad():
            size = self.dispersion.reciprocal().expand(self._extended_shape(torch.Size(sample_shape)))
            return torch.poisson(Gamma(size, size).sample() * self.mean)


class Counts(OneOutput):
    """A likelihood of integers from 0, one output per target."""

    unit_scale: ClassVar[bool] = False

    def check_values(self, y: Tensor, outputs: Sequence[int]) -> None:
        """Validate that targets are counts."""
        counts = torch.isfinite(y) & (y >= 0) & (y == y.floor()) if y.is_floating_point() else y >= 0
        hint = "Convert rates to counts; for positive amounts use bl.likelihoods.Gamma"
        check_targets(y, counts, "counts, that is integers from 0", hint)


@dataclass(frozen=True)
class Poisson(Counts):
    r"""Counts whose variance equals their mean: :math:`y_k \mid x, w \sim \text{Poisson}(e^{f_k(x)})`.

    It needs one output per target, the logarithm of the rate, softly clipped at :math:`\pm 20`; shapes are those of
    :class:`Normal`. If counts have different exposures, let the network add the logarithm of the exposure to its
    output.

    References:
        McCullagh & Nelder (1989), "Generalized Linear Models".

    Example:
        >>> mean, variance = Poisson().moments(torch.full((1, 5, 1), 2.0).log())
        >>> mean.unique(), variance.unique()
        (tensor([2.]), tensor([2.]))
    """

    ARGUMENTS: ClassVar = {}

    def _per_target(self, f: Tensor) -> Any:
        return LogPoisson(soft_clip(f, LOG_RATE_BOUND))


@dataclass(frozen=True)
class NegativeBinomial(Counts):
    r"""Overdispersed counts: :math:`\operatorname{Var}[y] = m + \alpha m^2` with :math:`m = e^{f(x)}`.

    .. math:: P(y) = \frac{\Gamma(y + 1 / \alpha)}{\Gamma(1 / \alpha)\, y!}
        \left(\frac{\alpha m}{1 + \alpha m}\right)^y (1 + \alpha m)^{-1 / \alpha}

    It needs one output per target, the logarithm of the mean, clipped as that of :class:`Poisson`, which is the limit
    :math:`\alpha \to 0` and is computed accurately.

    Attributes:
        dispersion: :math:`\alpha`, the squared coefficient of variation of the rates; initially 1 if ``"learned"``.

    References:
        Hilbe (2011), "Negative Binomial Regression": the form NB2.

    Example:
        >>> NegativeBinomial(dispersion=0.5).moments(torch.full((1, 5, 1), 2.0).log())[1].unique()
        tensor([4.])
    """

    ARGUMENTS: ClassVar = {"dispersion": POSITIVE}
    PARAMETERS: ClassVar = {"dispersion": ("the excess variance over the squared mean", 1.0)}
    dispersion: Positive = "learned"

    def _per_target(self, f: Tensor, dispersion: Any) -> Any:
        return GammaPoisson(soft_clip(f, LOG_RATE_BOUND), dispersion)
