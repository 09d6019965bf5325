"""A Gaussian with any covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..errors import DataError
from ..model import BayesianModel
from .joint import JointNormal
from .layout import Layout

LARGEST = 5000  # entries: a matrix of 100 MB in single precision, and Adam keeps two more


class FullRankNormal(JointNormal):
    r"""A Gaussian over all random entries together, with any covariance.

    .. math:: q(w) = N(\text{loc},\; D C C^\top D), \quad D = \operatorname{diag}(\exp \text{log\_scale})

    where C is lower triangular with ones on its diagonal and the ``factor`` below it; :math:`D C` is the covariance's
    Cholesky factor, its diagonal positive. Positive sites (a noise scale) take part with their logarithms; sites
    without a prior are points. It starts as the :class:`MeanFieldNormal` of the same arguments.

    It is trained by ``bl.fit``, by ``pyro.infer.SVI``, or by a torch optimizer, as :class:`MeanFieldNormal`.

    Args:
        model: The model that the guide is for; it is only read.
        init_scale: Standard deviation at which each entry starts, above 0; ``None`` for one over the inputs of
            the widest layer, between 0.02 and 0.1.

    Attributes:
        loc: Means of the P entries that have a prior, ``(P,)``, unconstrained.
        log_scale: Logarithms of the Cholesky factor's diagonal, ``(P,)``.
        factor: The entries of C below the diagonal, ``(P, P)``; all others are not used.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If ``init_scale`` is not positive or there are more than 5000 entries with a prior.
        SiteError: If no site of the model has a prior.
        TypeError: If ``model`` is not a ``BayesianModel``.

    References:
        Titsias & Lazaro-Gredilla (2014), "Doubly stochastic variational Bayes for non-conjugate inference";
        Kucukelbir et al. (2017), arXiv 1603.00788.

    Example:
        >>> import bayesian_layers as bl
        >>> guide = FullRankNormal(bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli()))
        >>> guide.factor.shape, guide.noise_size
        (torch.Size([3, 3]), 3)
    """

    ARGUMENTS: ClassVar = {}

    def __init__(self, model: BayesianModel, *, init_scale: float | None = None) -> None:
        super().__init__(model, init_scale=init_scale)
        size = len(self.loc)
        if size > LARGEST:
            raise DataError(
                f"a FullRankNormal must have at most {LARGEST} entries with a prior, as it keeps a matrix of that many "
                f"rows and columns; this model has {size}. Use LowRankNormal."
            )
        self.factor = nn.Parameter(self.loc.detach().new_zeros(size, size))

    @classmethod
    def _further_entries(cls, layout: Layout, random: int, arguments: Mapping[str, Any]) -> int:
        return random**2

    def _unconstrained(self, noise: Tensor) -> Tensor:
        return self.loc + self.log_scale.exp() * torch.addmm(noise, noise, self.factor.tril(-1).T)

    def variance(self) -> Tensor:
        """Return the variances of the entries."""
        return (2 * self.log_scale).exp() * (1 + self.factor.tril(-1).square().sum(1))

    def covariance_rows(self, index: Tensor) -> Tensor:
        """Return rows of the covariance."""
        cholesky = self._cholesky()
        return cholesky[index] @ cholesky.T

    def half_log_det(self) -> Tensor:
        """Return half the logarithm of the covariance's determinant."""
        return self.log_scale.sum()

    def _cholesky(self) -> Tensor:
        scale = self.log_scale.exp()
        return scale.unsqueeze(1) * self.factor.tril(-1) + scale.diag()

    def _flat_distribution(self) -> Any:
        return dist.MultivariateNormal(self.loc, scale_tril=self._cholesky())
