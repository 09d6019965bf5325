"""Guides with one density over all entries together, and those of them that are Gaussian."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.distributions.transforms import CatTransform, ExpTransform, identity_transform

from ..errors import SiteError
from ..model import BayesianModel
from .base import Guide
from .kl import FlatPriors


class Joint(Guide):
    """One density over the flat vector of all random entries."""

    # The Pyro program draws the auxiliary site `_joint`, the flat vector of the sites' values; each site is a Delta
    # at its part of it.
    _MULTIPLIES_NOISE: ClassVar[bool] = True

    def __init__(self, model: BayesianModel, *, init_scale: float | None) -> None:
        super().__init__(model, init_scale=init_scale)
        if not len(self.loc):
            raise SiteError(
                f"a {type(self).__name__} needs parameters with a prior; all of this model's are point-estimated. "
                "Give them priors, or use MeanFieldNormal."
            )

    @abstractmethod
    def _flat_distribution(self) -> Any:
        """Return q as a Pyro distribution of the unconstrained vector."""

    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of q over the flat vector."""
        return self._flat_distribution().log_prob(flat)

    def flat_priors(self, model: BayesianModel, kl_weight: float | Mapping[str, float] = 1.0) -> FlatPriors:
        """Gather the constants of the KL; one weight for all sites."""
        priors = super().flat_priors(model, kl_weight)
        if isinstance(priors.weight, Tensor):
            raise SiteError(
                f"`kl_weight` must be one number for a {type(self).__name__}, whose KL is not a sum over sites; "
                f"received {kl_weight}. Use MeanFieldNormal for weights per site."
            )
        return priors

    def _sample(self) -> dict[str, Tensor]:
        # On the sites' own axis: TraceMeanField_ELBO would ignore a Jacobian that a Delta had as its log density.
        flat = pyro.sample("_joint", self._constrained_distribution(), infer={"is_auxiliary": True})
        points = self.layout.split(self.point, self.layout.points)
        values = {
            **self.layout.split(flat, self.layout.random),
            **{name: self.layout.constrain(name, value) for name, value in points.items()},
        }
        shapes = self.layout.shapes
        found = {name: dist.Delta(value, event_dim=len(shapes[name])) for name, value in values.items()}
        found |= self._drawn_distributions()
        return {name: pyro.sample(name, found[name]) for name in shapes}

    def _constrained_distribution(self) -> Any:
        names, positive = self.layout.random, self.layout.positive
        if positive.isdisjoint(names):
            return self._flat_distribution()
        parts = [ExpTransform() if name in positive else identity_transform for name in names]
        exp = CatTransform(parts, dim=-1, lengths=self.layout.sizes(names))
        return dist.TransformedDistribution(self._flat_distribution(), [exp])


class JointNormal(Joint):
    """One Gaussian over the flat vector of all random entries."""

    @abstractmethod
    def variance(self) -> Tensor:
        """Return the variances of the entries."""

    @abstractmethod
    def covariance_rows(self, index: Tensor) -> Tensor:
        """Return rows of the covariance, ``(len(index), P)``."""

    @abstractmethod
    def half_log_det(self) -> Tensor:
        """Return half the logarithm of the covariance's determinant, ``()``."""

    def kl_to(self, priors: FlatPriors) -> Tensor:
        r"""Compute :math:`\text{weight} \cdot \mathrm{KL}(q \| p)` in closed form."""
        learned, covariance = priors.learned, None
        if learned is not None and len(learned.random):
            covariance = self.covariance_rows(learned.random)
        cross_entropy = priors.cross_entropy(self.loc, self.variance(), self.point, covariance)
        return priors.total(cross_entropy.sum() - self.half_log_det())


class NoiseMap(Transform):
    """A guide's reversible map from standard normal noise to the flat vector, as torch's distributions need it."""

    bijective = True
    domain = constraints.real_vector
    codomain = constraints.real_vector

    def __init__(self, guide: Mapped) -> None:
        super().__init__()
        self._guide = guide

    def _call(self, x: Tensor) -> Tensor:
        return self._guide.from_noise(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._guide.to_noise(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithm of the determinant of the Jacobian at ``x``."""
        return self._guide.log_det(x)


class Mapped(Joint):
    """A guide whose draws are a reversible function of standard normal noise, one number per entry."""

    @abstractmethod
    def from_noise(self, noise: Tensor) -> Tensor:
        """Return draws of the random entries, ``(*batch, P)``, for standard normal noise of this shape."""

    @abstractmethod
    def to_noise(self, flat: Tensor) -> Tensor:
        """Return the noise from which :meth:`from_noise` makes these draws, ``(*batch, P)``."""

    @abstractmethod
    def log_det(self, noise: Tensor) -> Tensor:
        """Return the logarithm of the determinant of the Jacobian of :meth:`from_noise`, ``(*batch,)``."""

    def _unconstrained(self, noise: Tensor) -> Tensor:
        return self.from_noise(noise)

    def _flat_distribution(self) -> Any:
        noise = dist.Normal(torch.zeros_like(self.loc), 1.0).to_event(1)
        return dist.TransformedDistribution(noise, [NoiseMap(self)])
