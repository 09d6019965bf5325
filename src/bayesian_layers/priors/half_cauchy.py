"""A heavy-tailed prior of scales."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..arguments import check_positive
from ..saving.schema import SCALE
from ._numbers import filled, uniform
from .base import Prior, not_needed


@dataclass(frozen=True)
class HalfCauchy(Prior):
    r"""Half-Cauchy priors for positive parameters, :math:`p(\tau) = \frac{2}{\pi b (1 + \tau^2 / b^2)}`.

    It has much mass near 0 and a heavy tail. The density of the logarithm is
    :math:`p(\log \tau) = 1 / (\pi \cosh(\log \tau - \log b))`, with standard deviation :math:`\pi / 2`. The KL has
    no closed form; it is estimated on the draws of each step, relative to :math:`N(\log b, (\pi / 2)^2)`.

    Attributes:
        scale: The median b, above 0.

    Raises:
        DataError: If ``scale`` is not a finite number above 0.

    References:
        Gelman (2006), "Prior distributions for variance parameters in hierarchical models"; Polson & Scott (2012),
        "On the half-Cauchy prior for a global scale parameter".

    Example:
        >>> import torch
        >>> HalfCauchy(2.0).distribution(torch.zeros(3)).event_shape
        torch.Size([3])
    """

    ARGUMENTS: ClassVar = {"scale": SCALE}

    scale: float = 1.0
    positive = True
    kl = "sampled"

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the logarithm; see :meth:`Prior.unconstrained`."""
        not_needed(self, scale)
        return filled(like, math.log(self.scale)), filled(like, math.pi / 2)

    def log_density(self, u: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Compute the log density of logarithms; see :meth:`Prior.log_density`."""
        not_needed(self, scale)
        off = u - math.log(self.scale)
        return off - softplus(2 * off) + math.log(2 / math.pi)  # -log(pi cosh), which would overflow

    def from_normal(self, noise: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Turn standard normal noise into draws of the logarithm; see :meth:`Prior.from_normal`."""
        not_needed(self, scale)
        return (torch.tan(math.pi / 2 * uniform(noise)).log() + math.log(self.scale)).to(noise)
