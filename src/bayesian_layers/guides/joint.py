"""What the guides share that have one density over all entries together, and those of them that are Gaussian."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.transforms import CatTransform, ExpTransform, identity_transform

from ..errors import SiteError
from ..model import BayesianModel
from .base import Guide, draw_in_blocks
from .kl import FlatPriors


class Joint(Guide):
    r"""One density over the flat vector of all random entries.

    As a Pyro program it draws the auxiliary site ``_joint``, the flat vector of the sites' values, and the sites
    are a ``Delta`` each at their part of it.

    Args:
        model: The model whose sites the guide covers; it is only read.
        init_scale: Standard deviation at which each entry begins, above 0; ``None`` for one over the inputs of
            the widest layer, between 0.02 and 0.1.

    Attributes:
        log_scale: Logarithms of the scales with which each entry's noise is multiplied last, ``(P,)``.

    Raises:
        SiteError: If no site of the model has a prior.
    """

    def __init__(self, model: BayesianModel, *, init_scale: float | None) -> None:
        super().__init__(model, init_scale=init_scale)
        if not len(self.loc):
            raise SiteError(
                f"a {type(self).__name__} needs parameters with a prior; all of this model's are point-estimated. "
                "Give them priors, or use MeanFieldNormal."
            )
        self.log_scale = nn.Parameter(torch.full_like(self.loc.detach(), self.init_scale).log())

    @abstractmethod
    def _flat_distribution(self) -> Any:
        """The density, as a Pyro distribution of the unconstrained vector."""

    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of q over the flat vector."""
        return self._flat_distribution().log_prob(flat)

    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Draw from q."""
        return draw_in_blocks(self, num_draws, seed, start)

    def flat_priors(self, model: BayesianModel, kl_weight: float | Mapping[str, float] = 1.0) -> FlatPriors:
        """Gather the constants of the KL; see :meth:`Guide.flat_priors`."""
        priors = super().flat_priors(model, kl_weight)
        if isinstance(priors.weight, Tensor):
            raise SiteError(
                f"the KL of a {type(self).__name__} is one for all sites, no sum over them, so it has one weight; "
                f"received {kl_weight}. Pass one number, or use MeanFieldNormal."
            )
        return priors

    def _sample(self) -> dict[str, Tensor]:
        # On the sites' own axis: TraceMeanField_ELBO would forget a Jacobian that a Delta carries as log density.
        flat = pyro.sample("_joint", self._constrained_distribution(), infer={"is_auxiliary": True})
        points = self.layout.split(self.point, self.layout.points)
        values = {
            **self.layout.split(flat, self.layout.random),
            **{name: self.layout.constrain(name, value) for name, value in points.items()},
        }
        found = {
            name: dist.Delta(value, event_dim=len(self.layout.shapes[name])) for name, value in values.items()
        }
        found |= self._drawn_distributions()
        return {name: pyro.sample(name, found[name]) for name in self.layout.shapes}

    def _constrained_distribution(self) -> Any:
        names, positive = self.layout.random, self.layout.positive
        if positive.isdisjoint(names):
            return self._flat_distribution()
        parts = [ExpTransform() if name in positive else identity_transform for name in names]
        exp = CatTransform(parts, dim=-1, lengths=self.layout.sizes(names))
        return dist.TransformedDistribution(self._flat_distribution(), [exp])


class JointNormal(Joint):
    """One Gaussian over the flat vector of all random entries; see :class:`Joint`."""

    @abstractmethod
    def variance(self) -> Tensor:
        """Give the variances of the entries, ``(P,)``, unconstrained; gradients flow to the parameters."""

    @abstractmethod
    def covariance_rows(self, index: Tensor) -> Tensor:
        """Give rows of the covariance."""

    @abstractmethod
    def half_log_det(self) -> Tensor:
        """Give half the logarithm of the covariance's determinant, ``()``."""

    def kl_to(self, priors: FlatPriors) -> Tensor:
        r"""Compute :math:`\text{weight} \cdot \mathrm{KL}(q \| p)`, in closed form."""
        learned, covariance = priors.learned, None
        if learned is not None and len(learned.random):
            covariance = self.covariance_rows(learned.random)
        surprise = priors.surprise(self.loc, self.variance(), self.point, covariance)
        return priors.total(surprise.sum() - self.half_log_det())
