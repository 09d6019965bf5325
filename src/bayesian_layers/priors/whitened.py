"""Priors of what random functions are made of: noise that is only drawn, and values that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import Prior, not_needed


class _Standard(Prior):
    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give mean 0 and deviation 1; see :meth:`Prior.unconstrained`."""
        not_needed(self, scale)
        like = like.detach()
        return like.new_zeros(()).expand(like.shape), like.new_ones(()).expand(like.shape)


@dataclass(frozen=True)
class Noise(_Standard):
    r"""N(0, 1) for the base noise of a random function: every guide draws it from here and learns nothing of it.

    A draw of a Gaussian process takes thousands of numbers that say which function it is, of which the data are to
    change nothing: what is sought is the distribution of the function's values at a few points. Since
    :math:`q = p` for these entries they are in neither the KL nor any density ratio, in no table of weights, and
    cost a guide no parameter. ``posterior.sample`` gives them, as they are part of a draw.

    The parameter itself, which a plain call of the network uses, is best 0: the mean of the noise.

    Example:
        >>> import torch
        >>> Noise().distribution(torch.zeros(3, 2)).event_shape
        torch.Size([3, 2])
    """

    ARGUMENTS: ClassVar = {}
    drawn = True


@dataclass(frozen=True)
class Whitened(_Standard):
    r"""N(0, I) for whitened values of functions, whose posterior ties all entries of a row together.

    Data at one place say something about the function at every other: of the inducing values of a Gaussian process
    the posterior covariance is full, and independent Normals miss the variance of the function by a factor.
    ``bl.guides.BlockNormal`` keeps a covariance along the last axis for sites with this prior, and is the guide that
    ``bl.fit`` takes where there are such sites.

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
