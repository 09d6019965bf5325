"""Independent Normals, except for sites with a joint prior: those have a full covariance for each of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..errors import DataError
from ..model import BayesianModel
from .layout import Layout
from .mean_field import MeanFieldNormal

LARGEST = 25_000_000  # numbers in the factors of all blocks: 100 MB in float32, and Adam keeps two more


class BlockNormal(MeanFieldNormal):
    r"""Independent Normals, and a Gaussian with any covariance for each row of the sites with a joint prior.

    .. math:: q(w) = \prod_j N(w_j; \text{loc}_j, d_j^2) \prod_b N(w_b; \text{loc}_b, D_b C_b C_b^\top D_b), \quad
              d = \exp(\text{log\_scale}), \; D_b = \operatorname{diag}(d_b)

    A block b is one row, along the last axis, of a site whose prior is ``bl.priors.Whitened``: the inducing values of
    one function of a ``bl.GaussianProcess``. :math:`C_b` is lower triangular with ones on its diagonal and the
    ``factor`` below it, so :math:`D_b C_b` is the covariance's Cholesky factor. Without such sites it is the
    :class:`MeanFieldNormal`. ``bl.fit`` uses it by default for models with such sites, and takes steps of the blocks in
    natural coordinates (:meth:`retract`); Pyro's SVI changes the parameters themselves, and needs many times the steps.

    Args:
        model: The model that the guide is for; it is only read.
        init_scale: Standard deviation at which each entry starts, above 0; ``None`` for that of the prior, 1, in the
            blocks, and one over the inputs of the widest layer, between 0.02 and 0.1, elsewhere.

    Attributes:
        loc: Means of the P entries that have a prior, ``(P,)``, unconstrained.
        log_scale: Logarithms of the standard deviations of the independent entries and of the diagonals of the blocks'
            Cholesky factors, ``(P,)``.
        factor: The entries of the matrices C, one block after the other, row by row; those on and above the diagonals
            are not used. B blocks of M entries take ``B * M**2``.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If ``init_scale`` is not positive, or the blocks have more than 25 million numbers.
        SiteError: If the model has no latent site.
        TypeError: If ``model`` is not a ``BayesianModel``.

    References:
        Hensman, Matthews & Ghahramani (2015), "Scalable variational Gaussian process classification",
        arXiv 1411.2005; Challis & Barber (2013), "Gaussian Kullback-Leibler approximate inference", for the
        Cholesky factor.

    Example:
        >>> import bayesian_layers as bl
        >>> network = nn.Sequential(bl.Linear(4, 2), bl.GaussianProcess(2, 3, num_inducing=8))
        >>> guide = BlockNormal(bl.BayesianModel(network, bl.likelihoods.Normal("learned")))
        >>> {name: scale_tril.shape for name, (loc, scale_tril) in guide.blocks().items()}
        {'1.inducing_values': torch.Size([3, 8, 8])}
    """

    ARGUMENTS: ClassVar = {}
    _MULTIPLIES_NOISE: ClassVar[bool] = True

    def __init__(self, model: BayesianModel, *, init_scale: float | None = None) -> None:
        super().__init__(model, init_scale=init_scale)
        size = self.layout.factor_size
        if size > LARGEST:
            raise DataError(
                f"the blocks of a BlockNormal must have at most {LARGEST} numbers; this model needs {size}. "
                "Use fewer inducing points, or MeanFieldNormal, which ignores their covariance."
            )
        self.factor = nn.Parameter(self.loc.detach().new_zeros(size))
        if init_scale is None:
            # At the prior: with smaller scales, means would be many standard deviations away.
            with torch.no_grad():
                for name, part in self.layout.split(self.log_scale, self.layout.random).items():
                    part.mul_(name not in self.layout.joint)

    @property
    def is_mean_field(self) -> bool:
        """Whether there are no blocks."""
        return not self.layout.joint

    def blocks(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return mean and Cholesky factor of the blocks of each site."""
        locs, scales = (self.layout.split(f, self.layout.random) for f in (self.loc, self.log_scale.exp()))
        unit = self._unit_factors(self.factor)
        return {
            name: (locs[name], scales[name].unsqueeze(-1) * unit[name].view(*locs[name].shape, -1))
            for name in unit
        }

    def variance(self) -> Tensor:
        """Return the variances of the entries."""
        unit = self._unit_factors(self.factor)
        found = self.layout.split(super().variance(), self.layout.random)
        for name, factor in unit.items():
            found[name] = found[name] * factor.square().sum(-1).view_as(found[name])
        return torch.cat([value.reshape(-1) for value in found.values()]) if found else self.loc

    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of q over the flat vector."""

        def decorrelate(rows: Tensor, factor: Tensor) -> Tensor:
            return torch.linalg.solve_triangular(factor.mT, rows, upper=True, left=False, unitriangular=True)

        noise = self._by_block((flat - self.loc) / self.log_scale.exp(), decorrelate)
        return dist.Normal(torch.zeros_like(self.loc), 1.0).log_prob(noise).sum(1) - self.log_scale.sum()

    def distributions(self) -> dict[str, Any]:
        """Build the distribution of each site."""
        found = super().distributions()
        for name, (loc, scale_tril) in self.blocks().items():
            found[name] = dist.MultivariateNormal(loc, scale_tril=scale_tril).to_event(loc.dim() - 1)
        return found

    def moments(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return mean and standard deviation of the sites whose entries are independent Normals."""
        return {name: pair for name, pair in super().moments().items() if name not in self.layout.joint}

    @classmethod
    def _further_entries(cls, layout: Layout, random: int, arguments: Mapping[str, Any]) -> int:
        return layout.factor_size

    @property
    def has_natural_coordinates(self) -> bool:
        """Whether there are blocks, and all of their parameters are trained."""
        trained = self.loc.requires_grad and self.log_scale.requires_grad and self.factor.requires_grad
        return trained and len(self.layout.joint) > 0

    def retract(self, here: Mapping[str, Tensor], step: Mapping[str, Tensor]) -> dict[str, Tensor]:
        r"""Take a step in natural coordinates of the blocks, in which the curvature is about 1.

        .. math:: m \leftarrow m + T\, \text{step}, \quad T \leftarrow T E, \quad
                  E = \operatorname{diag}(\exp \text{step}) + \text{step below the diagonal}

        with m a block's mean and :math:`T = D C` its Cholesky factor. In these coordinates the Fisher information is
        constant, so that a step along the gradient is a natural gradient step. In the parameters themselves it has the
        condition number of the covariance, which is thousands for values of a function (``reports/decisions/010``).

        Returns:
            The names of the parameters to their values after the step.

        References:
            Salimbeni, Eleftheriadis & Hensman (2018), "Natural gradients in practice", arXiv 1803.09151; Lin, Khan &
            Schmidt (2019), arXiv 1902.07306.
        """
        after = super().retract(here, step)
        if not self.has_natural_coordinates:
            return after
        scales, logs, steps = (
            self.layout.split(flat, self.layout.random)
            for flat in (here["log_scale"].exp(), step["log_scale"], step["loc"])
        )
        below, factors = self._matrices(step["factor"]), []
        for name, unit in self._unit_factors(here["factor"]).items():
            size = logs[name].exp().view(unit.shape[:2])
            factors.append((unit * size.unsqueeze(1) + unit @ below[name].tril(-1)) / size.unsqueeze(2))
            along = unit @ steps[name].reshape(*unit.shape[:2], 1)
            steps[name] = scales[name] * along.view_as(scales[name])
        after["factor"] = torch.cat([factor.reshape(-1) for factor in factors])
        after["loc"] = here["loc"] + torch.cat([along.reshape(-1) for along in steps.values()])
        return after

    def _unconstrained(self, noise: Tensor) -> Tensor:
        correlated = self._by_block(noise, lambda rows, factor: rows @ factor.mT)
        return self.loc + self.log_scale.exp() * correlated

    def _unit_factors(self, factor: Tensor) -> dict[str, Tensor]:
        """Return the matrices C of each joint site, ``(rows, M, M)``."""
        return {
            name: matrix.tril(-1) + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
            for name, matrix in self._matrices(factor).items()
        }

    def _matrices(self, factor: Tensor) -> dict[str, Tensor]:
        """Cut a vector like ``factor`` into a stack of square matrices for each joint site, ``(rows, M, M)``."""
        shapes = [self.layout.shapes[name] for name in self.layout.joint]
        parts = factor.split([shape.numel() * shape[-1] for shape in shapes])
        return {
            name: part.view(-1, shape[-1], shape[-1])
            for name, part, shape in zip(self.layout.joint, parts, shapes, strict=True)
        }

    def _by_block(self, flat: Tensor, function: Any) -> Tensor:
        """Apply a function to the blocks, ``(rows, S, M)``, with their matrices C; leave other entries as they are."""
        unit = self._unit_factors(self.factor)
        if not unit:
            return flat
        names = self.layout.random
        parts = list(flat.split(self.layout.sizes(names), dim=1))
        for name, factor in unit.items():
            i = names.index(name)
            rows = parts[i].unflatten(1, factor.shape[:2]).transpose(0, 1)
            parts[i] = function(rows, factor).transpose(0, 1).flatten(1)
        return torch.cat(parts, dim=1)


def default_guide(model: BayesianModel) -> MeanFieldNormal:
    """Make the guide of a fit that is given none: a BlockNormal if a prior is joint, otherwise a MeanFieldNormal."""
    guide = MeanFieldNormal(model)
    return BlockNormal(model) if guide.layout.joint else guide
