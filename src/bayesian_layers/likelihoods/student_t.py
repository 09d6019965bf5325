"""Likelihood of real targets with heavy tails."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from ..errors import DataError, FitWarning
from .one_output import POSITIVE, OneOutput, Positive
from .special import incomplete_beta, log_gamma_ratio

_INITIAL_DF = 4.0
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class HeavyTailed(dist.StudentT):
    """Student's t with a CDF, and with a density that is accurate for large df, where it is that of a Normal."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log density."""
        z = (value - self.loc) / self.scale
        half = 0.5 * self.df
        constant = log_gamma_ratio(half.new_tensor(0.5), half) - _HALF_LOG_TWO_PI - self.scale.log()
        return constant - (half + 0.5) * (z.square() / self.df).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        """Compute the distribution function."""
        z = (value - self.loc) / self.scale
        square = z.square()
        total = self.df + square
        tail = 0.5 * incomplete_beta(0.5 * self.df, self.df.new_tensor(0.5), self.df / total, square / total)
        return tail.where(z < 0, 1 - tail)


@dataclass(frozen=True)
class StudentT(OneOutput):
    r"""Real targets with outliers: :math:`(y_k - f_k(x)) / s \mid x, w` has Student's t with :math:`\nu` degrees.

    .. math:: p(y) = \frac{\Gamma((\nu + 1) / 2)}{\Gamma(\nu / 2) \sqrt{\nu \pi}\, s}
        \left(1 + \frac{(y - f)^2}{\nu s^2}\right)^{-(\nu + 1) / 2}

    It needs one output per target, the median; shapes are those of :class:`Normal`. The standard deviation is
    :math:`s \sqrt{\nu / (\nu - 2)}`, which is **infinite for** :math:`\nu \le 2`: then ``predict`` warns and returns
    infinity. **For** :math:`\nu \le 1` **there is no mean**, and ``predict`` raises DataError. Quantiles, intervals and
    ``log_prob`` in ``bl.predictive`` always exist.

    Attributes:
        df: Degrees of freedom :math:`\nu`; initially 4 if ``"learned"``.
        noise_scale: Scale s in the units of ``y``, for large df the standard deviation; initially 1 if ``"learned"``.

    References:
        Lange, Little & Taylor (1989), "Robust statistical modeling using the t distribution", J. Am. Stat. Assoc. 84.

    Example:
        >>> StudentT(df=4.0, noise_scale=1.0).moments(torch.zeros(1, 5, 1))[1].unique()
        tensor([2.])
    """

    ARGUMENTS: ClassVar = {"df": POSITIVE, "noise_scale": POSITIVE}
    PARAMETERS: ClassVar = {
        "noise_scale": ("the scale of the noise", 1.0),
        "df": ("the number of degrees of freedom", _INITIAL_DF),
    }
    df: Positive = _INITIAL_DF
    noise_scale: Positive = "learned"

    def _per_target(self, f: Tensor, df: Any, noise_scale: Any) -> Any:
        return HeavyTailed(df, f, noise_scale, validate_args=False)

    def moments(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and variance of the targets for each draw; see :meth:`Likelihood.moments`."""
        df = torch.as_tensor(latents.get("df", self.df))
        advice = "Use quantiles, such as bl.predictive.interval(posterior.draws(x))"
        if bool((df <= 1).any()):
            raise DataError(
                f"a StudentT with df = {float(df.min()):.3g} has no mean, because df is at most 1. {advice}"
            )
        if bool((df <= 2).any()):
            warnings.warn(
                f"a StudentT with df = {float(df.min()):.3g} has an infinite standard deviation, because df is at most "
                f"2. {advice}",
                FitWarning,
                stacklevel=2,
            )
        return super().moments(f, output_axes=output_axes, **latents)
