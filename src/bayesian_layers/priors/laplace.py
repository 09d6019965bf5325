"""The double exponential."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..arguments import check_finite, check_positive
from ..saving.schema import SCALE, Number
from ._numbers import STD, filled, uniform
from .base import Prior, not_needed


@dataclass(frozen=True)
class Laplace(Prior):
    r"""Independent Laplace priors, :math:`p(w_j) = \frac{1}{2b} e^{-|w_j - \text{loc}| / b}`.

    It is peaked at its mean and has heavier tails than a Normal. The KL from a Normal with distance d from the mean and
    standard deviation s has a closed form, by

    .. math:: E|w - \text{loc}| = s \sqrt{2 / \pi}\, e^{-d^2 / 2 s^2} + d \operatorname{erf}(d / \sqrt{2} s).

    Attributes:
        loc: Mean.
        scale: Standard deviation :math:`\sqrt 2\, b`, above 0.

    Raises:
        DataError: If ``loc`` is not finite or ``scale`` not finite and positive.

    References:
        Williams (1995), "Bayesian regularization and pruning using a Laplace prior".

    Example:
        >>> import torch
        >>> Laplace(scale=2.0).distribution(torch.zeros(3, 2)).event_shape
        torch.Size([3, 2])
    """

    ARGUMENTS: ClassVar = {"loc": Number(), "scale": SCALE}

    loc: float = 0.0
    scale: float = 1.0
    kl = "expected"

    def __post_init__(self) -> None:
        check_finite("loc", self.loc)
        check_positive("scale", self.scale, hint=STD)

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation; see :meth:`Prior.unconstrained`."""
        not_needed(self, scale)
        return filled(like, self.loc), filled(like, self.scale)

    def log_density(self, u: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Compute the log density; see :meth:`Prior.log_density`."""
        not_needed(self, scale)
        return self._log_density_at((u - self.loc).abs())

    def expected_log_density(self, loc: Tensor, variance: Tensor) -> Tensor:
        """Compute its mean under a Normal; see :meth:`Prior.expected_log_density`."""
        std = variance.sqrt()
        z = (loc - self.loc) / std
        near = math.sqrt(2 / math.pi) * torch.exp(-0.5 * z.square())
        return self._log_density_at(std * (near + z * torch.erf(z * math.sqrt(0.5))))

    def _log_density_at(self, distance: Tensor) -> Tensor:
        return -distance * (math.sqrt(2) / self.scale) - math.log(math.sqrt(2) * self.scale)

    def from_normal(self, noise: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Turn standard normal noise into draws; see :meth:`Prior.from_normal`."""
        not_needed(self, scale)
        tail = uniform(-noise.abs())  # of one side: at most one half
        return self.loc - (self.scale / math.sqrt(2)) * (noise.sign() * torch.log(2 * tail)).to(noise)
