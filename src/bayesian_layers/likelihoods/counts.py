"""Counts: how often something happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Gamma, constraints

from ..errors import DataError
from ..priors import Site
from .base import Likelihood, one_a_target
from .elementwise import Elementwise
from .positive import POSITIVE, Positive, check_positive, for_targets, positive_site
from .special import incomplete_beta, log_gamma_ratio, restrained

LOG_RATE_BOUND = 20.0  # beyond 4.9e8 the rate grows like a line


class LogPoisson(Elementwise):
    """Poisson by the logarithm of its rate, whose density stays finite where the rate underflows."""

    parameters = ("log_rate",)
    support = constraints.nonnegative_integer  # pyright: ignore[reportAssignmentType]
    log_rate: Tensor

    @property
    def mean(self) -> Tensor:
        """The rate."""
        return self.log_rate.exp()

    variance = mean

    def log_prob(self, value: Tensor) -> Tensor:
        """Give the log probability of counts."""
        return value * self.log_rate - self.log_rate.exp() - torch.lgamma(value + 1)

    def cdf(self, value: Tensor) -> Tensor:
        """Give the probability of counts up to one."""
        below = torch.special.gammaincc(value.floor().clamp(min=0) + 1, self.mean)
        return below.where(value >= 0, 0.0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw counts."""
        with torch.no_grad():
            return torch.poisson(self.mean.expand(self._extended_shape(torch.Size(sample_shape))))


class GammaPoisson(Elementwise):
    """Negative binomial by the logarithm of its mean m and its dispersion, whose limit at 0 is Poisson."""

    parameters = ("log_mean", "dispersion")
    support = constraints.nonnegative_integer  # pyright: ignore[reportAssignmentType]
    log_mean: Tensor
    dispersion: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean m."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """``m + dispersion * m**2``."""
        return self.mean + self.dispersion * self.mean.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Give the log probability of counts."""
        size = self.dispersion.reciprocal()
        spread = (self.dispersion * self.mean).log1p()
        ways = log_gamma_ratio(value, size) - torch.lgamma(value + 1)
        return ways + value * self.log_mean - (value + size) * spread

    def cdf(self, value: Tensor) -> Tensor:
        """Give the probability of counts up to one."""
        odds = self.dispersion * self.mean
        k = value.floor().clamp(min=0)
        below = incomplete_beta(self.dispersion.reciprocal(), k + 1, 1 / (1 + odds), odds / (1 + odds))
        return below.where(value >= 0, 0.0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw counts: Poisson ones of rates with a Gamma distribution."""
        with torch.no_grad():
            size = self.dispersion.reciprocal().expand(self._extended_shape(torch.Size(sample_shape)))
            return torch.poisson(Gamma(size, size).sample() * self.mean)


def check_counts(y: Tensor) -> None:
    """Refuse what is no count."""
    bad = (
        int((~torch.isfinite(y) | (y < 0) | (y != y.floor())).sum())
        if y.is_floating_point()
        else int((y < 0).sum())
    )
    if bad:
        raise DataError(
            f"`y` must hold counts, whole numbers from 0; {bad} of its {y.numel()} values are not. Turn rates back "
            "into counts; for amounts use bl.likelihoods.Normal on their logarithm"
        )


@dataclass(frozen=True)
class Poisson(Likelihood):
    r"""Counts whose variance is their mean: :math:`y_k \mid x, w \sim \text{Poisson}(e^{f_k(x)})`.

    One output a target, the logarithm of the rate; shapes as those of :class:`Normal`. Where counts belong to exposures
    of different sizes, let the network add the logarithm of the exposure to its output. Beyond
    :math:`f = \pm 20` the rate grows or falls like a line
    (:func:`~bayesian_layers.likelihoods.special.restrained`), so that nothing overflows.

    References:
        McCullagh & Nelder (1989), "Generalized Linear Models".

    Example:
        >>> import torch
        >>> mean, variance = Poisson().moments(torch.full((1, 5, 1), 2.0).log())
        >>> mean.unique(), variance.unique()
        (tensor([2.]), tensor([2.]))
    """

    ARGUMENTS: ClassVar = {}
    unit_scale: ClassVar[bool] = False

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the counts; see :meth:`Likelihood.distribution`."""
        log_rate, event_dim = one_a_target(f, output_axes)
        return LogPoisson(restrained(log_rate, LOG_RATE_BOUND)).to_event(event_dim)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse what is no count."""
        check_counts(y)


@dataclass(frozen=True)
class NegativeBinomial(Likelihood):
    r"""Counts that vary more than Poisson's: :math:`\operatorname{Var}[y] = m + \alpha m^2` with :math:`m = e^{f(x)}`.

    .. math:: P(y) = \frac{\Gamma(y + 1 / \alpha)}{\Gamma(1 / \alpha)\, y!}
        \left(\frac{\alpha m}{1 + \alpha m}\right)^y (1 + \alpha m)^{-1 / \alpha}

    One output a target, the logarithm of the mean, held as that of :class:`Poisson`, which is the limit
    :math:`\alpha \to 0`. Near that limit the textbook formula loses all digits in float32; this one does not.

    Attributes:
        dispersion: :math:`\alpha`, the squared relative deviation of the rates that Poisson does not explain: a number;
            ``"learned"`` for a point estimate (site ``dispersion``, first 1); or a ``bl.priors.LogNormal``.

    Raises:
        DataError: If a number is not finite and positive, or something else comes.

    References:
        Hilbe (2011), "Negative Binomial Regression": the form NB2.

    Example:
        >>> import torch
        >>> NegativeBinomial(dispersion=0.5).moments(torch.full((1, 5, 1), 2.0).log())[1].unique()
        tensor([4.])
    """

    ARGUMENTS: ClassVar = {"dispersion": POSITIVE}
    unit_scale: ClassVar[bool] = False
    dispersion: Positive = "learned"

    def __post_init__(self) -> None:
        check_positive("dispersion", self.dispersion, "the variance beyond Poisson's over the squared mean")

    def sites(self, like: Tensor) -> dict[str, Site]:
        """List the site ``dispersion``, unless its value is given."""
        return positive_site("dispersion", self.dispersion, like)

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the counts; see :meth:`Likelihood.distribution`."""
        log_mean, event_dim = one_a_target(f, output_axes)
        dispersion = for_targets(latents.get("dispersion", self.dispersion), event_dim)
        return GammaPoisson(restrained(log_mean, LOG_RATE_BOUND), dispersion).to_event(event_dim)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse what is no count."""
        check_counts(y)
