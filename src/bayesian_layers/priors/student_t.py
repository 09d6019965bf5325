"""Student's t: a Normal with heavier tails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..arguments import check_finite, check_positive
from ..errors import DataError
from ..lazy_imports import scipy_special
from ..saving.schema import SCALE, Number
from ._numbers import STD, filled, uniform
from .base import Prior, not_needed


@dataclass(frozen=True)
class StudentT(Prior):
    r"""Independent Student t priors, whose tails are heavier the smaller ``df`` is.

    .. math:: p(w_j) \propto \left(1 + \frac{(w_j - \text{loc})^2}{\nu s^2}\right)^{-(\nu + 1) / 2},
              \qquad s = \text{scale} \sqrt{(\nu - 2) / \nu}

    A few weights may be large, as in trained networks. As :math:`\nu \to \infty` it becomes ``Normal(loc, scale)``,
    with the same mean and standard deviation; the KL is estimated on the draws of each step, relative to it.

    Attributes:
        df: Degrees of freedom :math:`\nu`, above 2, so that there is a standard deviation.
        loc: Mean.
        scale: Standard deviation, above 0.

    Raises:
        DataError: If ``df`` is not a finite number above 2, ``loc`` not finite, or ``scale`` not finite and positive.

    References:
        Fortuin et al. (2022), "Bayesian neural network priors revisited", arXiv 2102.06571.

    Example:
        >>> import torch
        >>> StudentT(df=5.0, scale=2.0).distribution(torch.zeros(3, 2)).event_shape
        torch.Size([3, 2])
    """

    ARGUMENTS: ClassVar = {"df": Number(2 + 1e-6, 1e6), "loc": Number(), "scale": SCALE}

    df: float = 5.0
    loc: float = 0.0
    scale: float = 1.0
    kl = "sampled"

    def __post_init__(self) -> None:
        check_positive("df", self.df)
        if not self.df > 2:
            raise DataError(f"`df` must be above 2, for a finite standard deviation; received {self.df!r}")
        check_finite("loc", self.loc)
        check_positive("scale", self.scale, hint=STD)

    @property
    def _width(self) -> float:
        """The usual scale parameter s of the distribution."""
        return self.scale * math.sqrt((self.df - 2) / self.df)

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation; see :meth:`Prior.unconstrained`."""
        not_needed(self, scale)
        return filled(like, self.loc), filled(like, self.scale)

    def log_density(self, u: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Compute the log density; see :meth:`Prior.log_density`."""
        not_needed(self, scale)
        half = 0.5 * (self.df + 1)
        constant = math.lgamma(half) - math.lgamma(0.5 * self.df) - 0.5 * math.log(self.df * math.pi)
        square = ((u - self.loc) / self._width).square()
        return constant - math.log(self._width) - half * torch.log1p(square / self.df)

    def from_normal(self, noise: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Turn standard normal noise into draws, by the quantile function; see :meth:`Prior.from_normal`."""
        not_needed(self, scale)
        # Of the lower tail, where probabilities keep their digits.
        quantile = torch.from_numpy(
            scipy_special().stdtrit(self.df, uniform(-noise.abs()).double().cpu().numpy())
        )
        return self.loc - self._width * noise.sign() * quantile.to(noise)
