"""Priors of random functions: base noise that is only drawn, and function values with a joint covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ._numbers import filled
from .base import Prior, not_needed


class _Standard(Prior):
    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean 0 and standard deviation 1; see :meth:`Prior.unconstrained`."""
        not_needed(self, scale)
        return filled(like, 0.0), filled(like, 1.0)


@dataclass(frozen=True)
class Noise(_Standard):
    r"""N(0, 1) for the base noise of a random function, which every guide draws from this prior.

    A draw of a Gaussian process takes thousands of numbers that select a function. The data do not change their
    distribution, so :math:`q = p`: they are part of neither the KL nor any density ratio, of no table of weights,
    and need no parameter in a guide. The parameter itself, which a plain call of the network uses, should be 0.

    Example:
        >>> import torch
        >>> Noise().distribution(torch.zeros(3, 2)).event_shape
        torch.Size([3, 2])
    """

    ARGUMENTS: ClassVar = {}
    drawn = True


@dataclass(frozen=True)
class Whitened(_Standard):
    r"""N(0, I) for whitened values of a function, which are correlated in the posterior.

    Data at one input inform the function everywhere: the posterior covariance of the inducing values of a Gaussian
    process is full, and independent Normals get the variance of the function wrong by a factor. ``bl.fit`` uses
    ``bl.guides.BlockNormal``, with a full covariance along the last axis, where there are sites with this prior.

    References:
        Hensman, Matthews & Ghahramani (2015), "Scalable variational Gaussian process classification",
        arXiv 1411.2005, for whitening.

    Example:
        >>> import torch
        >>> Whitened().distribution(torch.zeros(1, 8)).event_shape
        torch.Size([1, 8])
    """

    ARGUMENTS: ClassVar = {}
    joint = True
