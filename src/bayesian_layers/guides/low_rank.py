"""A Gaussian whose covariance is diagonal plus low rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..arguments import check_integer
from ..model import BayesianModel
from ..saving.schema import Integer
from .joint import JointNormal
from .layout import Layout

DEFAULT_RANK = 10
_MOST = "The rank is at most the number of entries with a prior."
_FIRST = 0.1  # size of the factor's entries at the start: at 0 their gradient would always be 0


class LowRankNormal(JointNormal):
    r"""A Gaussian over all random entries together, its covariance diagonal plus low rank.

    .. math:: q(w) = N(\text{loc},\; D (I + V V^\top) D), \quad D = \operatorname{diag}(\exp \text{log\_scale})

    where V is the ``factor``; so :math:`w = \text{loc} + D (\epsilon_1 + V \epsilon_2)`. The family is that of
    :math:`D^2 + L L^\top` with :math:`L = D V`; relative to the scales, one learning rate suits all entries. Positive
    sites (a noise scale) take part with their logarithms; sites without a prior are points.

    It is trained by ``bl.fit``, by ``pyro.infer.SVI``, or by a torch optimizer, as :class:`MeanFieldNormal`.

    Args:
        model: The model that the guide is for; it is only read.
        rank: Columns of the factor, from 1 to P; ``None`` for 10, or P if that is smaller.
        init_scale: Standard deviation at which each entry starts, above 0; ``None`` for one over the inputs of
            the widest layer, between 0.02 and 0.1.

    Attributes:
        loc: Means of the P entries that have a prior, ``(P,)``, unconstrained.
        log_scale: Logarithms of the scales D, ``(P,)``.
        factor: The factor V, ``(P, rank)``; starts at small fixed numbers.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If ``init_scale`` is not positive or ``rank`` is not an integer from 1 to P.
        SiteError: If no site of the model has a prior.
        TypeError: If ``model`` is not a ``BayesianModel``.

    References:
        Ong, Nott & Smith (2018), "Gaussian variational approximation with a factor covariance structure",
        arXiv 1701.03208.

    Example:
        >>> import bayesian_layers as bl
        >>> guide = LowRankNormal(bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli()), rank=2)
        >>> guide.factor.shape, guide.noise_size
        (torch.Size([3, 2]), 5)
    """

    ARGUMENTS: ClassVar = {"rank": Integer(1)}

    def __init__(
        self, model: BayesianModel, *, rank: int | None = None, init_scale: float | None = None
    ) -> None:
        super().__init__(model, init_scale=init_scale)
        loc = self.loc.detach()
        rank = min(DEFAULT_RANK, len(loc)) if rank is None else rank
        check_integer("rank", rank, least=1, most=len(loc), hint=_MOST)
        fixed = torch.Generator().manual_seed(0)
        first = _FIRST * torch.randn(len(loc), rank, generator=fixed, dtype=torch.float64)
        self.factor = nn.Parameter(first.to(loc))
        with torch.no_grad():
            self.log_scale.sub_(0.5 * self.factor.square().sum(1).log1p())

    def start_at(self, loc: Tensor, point: Tensor, log_scale: Tensor) -> None:
        """Set means, point estimates and standard deviations, before any training; see :meth:`Guide.start_at`."""
        super().start_at(loc, point, log_scale - 0.5 * self.factor.detach().square().sum(1).log1p())

    @classmethod
    def _further_entries(cls, layout: Layout, random: int, arguments: Mapping[str, Any]) -> int:
        return random * arguments["rank"]

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, model: BayesianModel | None = None) -> Self:
        guide = cls(model, rank=1)  # type: ignore
        guide.factor = nn.Parameter(guide.factor.detach().expand(-1, arguments["rank"]))  # takes no memory
        check_integer("rank", guide.rank, least=1, most=len(guide.loc), hint=_MOST)
        return guide

    @property
    def rank(self) -> int:
        """Columns of the factor."""
        return self.factor.shape[1]

    @property
    def own_noise_size(self) -> int:
        """Standard normal numbers that one draw of the random entries takes: P + rank."""
        return len(self.loc) + self.rank

    def _unconstrained(self, noise: Tensor) -> Tensor:
        own, common = noise.split([len(self.loc), self.rank], dim=1)
        return self.loc + self.log_scale.exp() * torch.addmm(own, common, self.factor.T)

    def variance(self) -> Tensor:
        """Return the variances of the entries."""
        return (2 * self.log_scale).exp() * (1 + self.factor.square().sum(1))

    def covariance_rows(self, index: Tensor) -> Tensor:
        """Return rows of the covariance."""
        rows = self.log_scale.exp().unsqueeze(1) * self.factor
        return rows[index] @ rows.T

    def half_log_det(self) -> Tensor:
        r"""Return :math:`\sum_j \text{log\_scale}_j + \tfrac12 \log |I + V^\top V|`."""
        # In double precision: V'V may be so large that the identity next to it is lost in single precision.
        factor = self.factor.double()
        inner = factor.T @ factor + torch.eye(self.rank, dtype=factor.dtype, device=factor.device)
        half = torch.linalg.cholesky_ex(inner).L.diagonal().log().sum()
        return self.log_scale.sum() + half.to(self.loc.dtype)

    def _flat_distribution(self) -> Any:
        scale = self.log_scale.exp()
        return dist.LowRankMultivariateNormal(self.loc, scale.unsqueeze(1) * self.factor, scale.square())
