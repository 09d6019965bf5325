"""A mixture of a wide and a narrow Normal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..arguments import check_fraction, check_positive
from ..errors import DataError
from ..saving.schema import SCALE, ListOf, Number
from ._numbers import STD, filled, uniform
from .base import Prior, not_needed


@dataclass(frozen=True)
class ScaleMixture(Prior):
    r"""A mixture of two Normals around 0: most weights near 0, some far away.

    .. math:: p(w_j) = \pi N(w_j; 0, \text{scale}_1^2) + (1 - \pi) N(w_j; 0, \text{scale}_2^2)

    :math:`E_q[\log p]` has no closed form for a sum; the KL is estimated on the draws of each step, relative to the
    Normal with the mixture's variance.

    Attributes:
        weight: Share :math:`\pi` of the first Normal, between 0 and 1.
        scales: Standard deviations of the two, above 0. The default is one of the pairs that Blundell et al. tried,
            :math:`e^0` and :math:`e^{-6}`.

    Raises:
        DataError: If ``weight`` is not between 0 and 1, or ``scales`` are not two finite numbers above 0.

    References:
        Blundell et al. (2015), arXiv 1505.05424, section 3.3.

    Example:
        >>> import torch
        >>> ScaleMixture(0.5, (1.0, 0.1)).distribution(torch.zeros(3, 2)).event_shape
        torch.Size([3, 2])
    """

    ARGUMENTS: ClassVar = {"weight": Number(0, 1), "scales": ListOf(SCALE, most=2)}

    weight: float = 0.5
    scales: tuple[float, float] = (1.0, math.exp(-6))
    kl = "sampled"

    def __post_init__(self) -> None:
        check_fraction("weight", self.weight)
        if not isinstance(self.scales, tuple | list) or len(self.scales) != 2:
            raise DataError(f"`scales` must be two standard deviations; received {self.scales!r}")
        for scale in self.scales:
            check_positive("scales", scale, hint=STD)
        object.__setattr__(self, "scales", tuple(self.scales))

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the mixture; see :meth:`Prior.unconstrained`."""
        not_needed(self, scale)
        one, two = self.scales
        return filled(like, 0.0), filled(like, math.sqrt(self.weight * one**2 + (1 - self.weight) * two**2))

    def log_density(self, u: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Compute the log density; see :meth:`Prior.log_density`."""
        not_needed(self, scale)
        one, two = (-0.5 * (u / each).square() - math.log(each) for each in self.scales)
        both = torch.logaddexp(one + math.log(self.weight), two + math.log1p(-self.weight))
        return both - 0.5 * math.log(2 * math.pi)

    def from_normal(self, noise: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Turn standard normal noise into draws; see :meth:`Prior.from_normal`."""
        # The lowest ranks, as many as its weight, belong to the first Normal; within them ranks are uniform again.
        not_needed(self, scale)
        rank, share = uniform(noise), self.weight
        first = rank < share
        inside = torch.where(first, rank / share, (rank - share) / (1 - share))
        one, two = self.scales
        return (torch.special.ndtri(inside) * torch.where(first, one, two)).to(noise)
