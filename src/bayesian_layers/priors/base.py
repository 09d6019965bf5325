"""The interface of priors, and the latent sites that they make of parameters."""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from ..saving.storable import Storable
from .distribution import PriorDistribution

PRIOR_SCALE = "prior_scale"  # of a parameter with one: what follows its name


class Prior(Storable, ABC):
    r"""A distribution over the independent entries of a parameter.

    Densities are those of unconstrained values u: the value itself, or its logarithm for a positive parameter. Every
    prior has a Normal reference, and ``kl`` tells how it relates to it:

    ``"normal"``: the prior is its reference, so that the KL from a Gaussian guide has a closed form.

    ``"expected"``: it has a :meth:`log_density` of its own, whose mean under a Normal has a closed form,
    :meth:`expected_log_density`; so has the KL.

    ``"sampled"``: it has a :meth:`log_density` of its own, and the KL is that from the reference, in closed form, less
    the mean of :meth:`log_ratio` over the draws of each step:

    .. math:: \mathrm{KL}(q \| p) = \mathrm{KL}(q \| r) - E_q[\log p(u) - \log r(u)], \quad r \text{ the reference}.

    The nearer the reference, the less noise; the estimate is unbiased for any reference.

    In all methods ``like`` is any tensor with the parameter's shape, dtype and device, ``scale`` the product of the
    values of the sites :meth:`hypers`, ``(*batch, *first axes)`` (``None`` without them), and ``u`` unconstrained
    values, ``(*batch, *shape)``. Densities are in nats, entry by entry. The key of a site of ``hypers`` follows the
    parameter's name; its shape is ``()`` for one scale, or the parameter's first axes for one scale each.
    """

    FAMILY: ClassVar = "bl.priors"
    kl: Literal["normal", "expected", "sampled"] = "normal"
    proper = True  # whether the density has an integral, so that there are draws
    positive = False  # whether values must be positive
    drawn = False  # whether guides draw it from the prior and learn nothing, as the base noise of a random function
    joint = False  # whether the entries along the last axis belong together, in a full covariance

    def hypers(self, like: Tensor) -> dict[str, Site]:
        """Return the latent sites whose product is the scale of the prior; none if it is fixed."""
        return {}

    @abstractmethod
    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the reference's mean, ``shape``, and standard deviation, ``(*batch, *shape)``, perhaps expanded."""

    def log_density(self, u: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Compute the log density of unconstrained values: of logarithms for a positive parameter."""
        return self._log_reference(u, like, scale)

    def log_ratio(self, u: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Compute the log density less that of the reference."""
        if self.kl == "normal":
            return torch.zeros_like(u)
        return self.log_density(u, like, scale) - self._log_reference(u, like, scale)

    def _log_reference(self, u: Tensor, like: Tensor, scale: Tensor | None) -> Tensor:
        # Values of a guide's flat vectors may be infinite; callers check the result.
        return torch.distributions.Normal(*self.unconstrained(like, scale), validate_args=False).log_prob(u)

    def from_normal(self, noise: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Turn standard normal noise into draws of unconstrained values; raise SiteError if the prior is improper."""
        loc, std = self.unconstrained(like, scale)
        return loc + std * noise

    def expected_log_density(self, loc: Tensor, variance: Tensor) -> Tensor:
        r"""Compute :math:`E[\log p(u)]` for :math:`u \sim N(\text{loc}, \text{variance})`, entry by entry."""
        # Gradients must flow to both arguments.
        raise NotImplementedError(f"E[log p] under a Normal has no closed form for {self}")

    def distribution(self, like: Tensor, scale: Tensor | None = None) -> Any:
        """Build the Pyro distribution of a parameter, with batch shape ``batch`` and event shape ``shape``."""
        if self.kl != "normal":
            return PriorDistribution(self, like, scale)
        family = dist.LogNormal if self.positive else dist.Normal
        return family(*self.unconstrained(like, scale)).to_event(like.dim())

    def arrays(self, like: Tensor) -> dict[str, Tensor]:
        """Return the arrays that a file must hold in addition to :meth:`spec`, by constructor argument."""
        return {}

    def with_arrays(self, arrays: Mapping[str, Tensor]) -> Prior:
        """Return this prior with the arrays that :meth:`arrays` returned when it was saved."""
        return self

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, like: Tensor | None = None) -> Self:
        """Build a stored prior; ``like`` is the parameter, where it belongs to one."""
        return cls(**arguments)


class _PointEstimate(dist.Delta):
    """A point estimate in the model: a fixed value with log density 0 everywhere."""

    # With a Delta in the guide it adds nothing to the ELBO but the gradient of the likelihood.

    def log_prob(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.dim() - self.event_dim])


class _PositivePointEstimate(_PointEstimate):
    support = constraints.positive  # pyright: ignore


@dataclass(frozen=True)
class Site:
    """One latent site of a model: a parameter of the network, of a prior or of the likelihood."""

    initial: Tensor  # where a fit starts; it also carries shape, dtype and device
    prior: Prior | None  # None for a point estimate
    positive: bool = False  # whether values must be positive: a scale, not a weight
    # Sites whose product is the scale of the prior, each with its number of axes: the first ones of the parameter.
    scale_sites: Mapping[str, int] = field(default_factory=dict)

    @property
    def scale_axes(self) -> int:
        """Number of the parameter's first axes over which the scales of its prior differ."""
        return max(self.scale_sites.values(), default=0)

    def scale(self, values: Mapping[str, Tensor]) -> Tensor | None:
        """Return the product of the scales that are sites, ``(*batch, *first axes)``; ``None`` without any."""
        parts = [
            values[name].reshape((*values[name].shape, *[1] * (self.scale_axes - axes)))
            for name, axes in self.scale_sites.items()
        ]
        return functools.reduce(operator.mul, parts) if parts else None

    def distribution(self, scale: Tensor | None = None) -> Any:
        """Return the site's distribution in the model; ``scale`` is what :meth:`scale` returned."""
        if self.prior is not None:
            return self.prior.distribution(self.initial, scale)
        kind = _PositivePointEstimate if self.positive else _PointEstimate
        return kind(self.initial, event_dim=self.initial.dim())


def needed(prior: Prior, scale: Tensor | None) -> Tensor:
    """Return ``scale``, the value of the latent site; raise TypeError if it is missing."""
    if scale is None:
        raise TypeError(
            f"`scale` must be the value of the scale of {prior}, which is a latent site; received None"
        )
    return scale


def not_needed(prior: Prior, scale: Tensor | None) -> None:
    """Raise TypeError if a scale is passed to a prior that has a fixed one."""
    if scale is not None:
        raise TypeError(f"`scale` must be None, as the scale of {prior} is fixed; received {scale}")


def check_is_prior(prior: object) -> None:
    """Raise TypeError if a value is neither a prior nor ``None``."""
    if not isinstance(prior, Prior | None):
        raise TypeError(f"a prior must be one of bl.priors; received {prior!r}")
