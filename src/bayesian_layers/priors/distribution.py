"""A prior that is not a Normal, as a distribution for Pyro's programs."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, constraints, register_kl

from ..errors import SiteError


class PriorDistribution(dist.TorchDistribution):
    """Independent entries with the density of a prior, for a parameter like ``like``."""

    arg_constraints = {}  # noqa: RUF012  # pyright: ignore
    has_rsample = False

    def __init__(self, prior: Any, like: Tensor, scale: Tensor | None = None) -> None:
        self.prior = prior  # a Prior, whose file imports this one
        self._like, self._scale = like.detach(), scale
        batch = prior.unconstrained(like, scale)[1].shape[: -like.dim() or None]
        super().__init__(batch, like.shape, validate_args=False)

    @property
    def support(self) -> Any:
        """Positive or all numbers."""
        kind = constraints.positive if self.prior.positive else constraints.real
        return constraints.independent(kind, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> PriorDistribution:
        """Return the same distribution for more draws; see torch."""
        new: Any = self._get_checked_instance(PriorDistribution, _instance)
        new.prior, new._like, new._scale = self.prior, self._like, self._scale
        dist.TorchDistribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log density of values."""
        u = value.log() if self.prior.positive else value
        found = self.prior.log_density(u, self._like, self._scale)
        return _summed(found - u if self.prior.positive else found, len(self.event_shape))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Draw, in a program that has no value for the site."""
        if not self.prior.proper:
            raise SiteError(no_draws(self.prior))
        return super().__call__(*args, **kwargs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw; an improper prior gives ones, from which Pyro's tools read the shapes of a program."""
        shape = self._extended_shape(sample_shape)
        if not self.prior.proper:
            return self._like.new_ones(shape)
        noise = torch.randn(shape, dtype=self._like.dtype, device=self._like.device)
        u = self.prior.from_normal(noise, self._like, self._scale)
        return u.exp() if self.prior.positive else u


def no_draws(prior: Any) -> str:
    """Return the message about draws from an improper prior."""
    return (
        f"the prior {prior} is improper, so there are no draws from it and no chains on it; fit a guide with bl.fit or "
        "pyro.infer.SVI, or use a proper prior such as bl.priors.Horseshoe"
    )


@register_kl(Independent, PriorDistribution)
def _kl_independent_prior(q: Independent[Any], p: PriorDistribution) -> Tensor:
    if not isinstance(q.base_dist, Normal) or q.reinterpreted_batch_ndims != len(p.event_shape):
        raise NotImplementedError
    return _summed(_kl_normal_prior(q.base_dist, p), len(p.event_shape))


@register_kl(Normal, PriorDistribution)
def _kl_normal_prior(q: Normal, p: PriorDistribution) -> Tensor:
    """Give Pyro's ``TraceMeanField_ELBO`` the closed forms, too; where there is none, it uses its draws."""
    if p.prior.kl != "expected":
        raise NotImplementedError
    variance = q.scale.square()
    return -0.5 * (2 * math.pi * math.e * variance).log() - p.prior.expected_log_density(q.loc, variance)


def _summed(entries: Tensor, axes: int) -> Tensor:
    return entries.sum(tuple(range(-axes, 0))) if axes else entries
